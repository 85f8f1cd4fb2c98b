//! `berth-monitor`: supervises the containers of one directory. All of it is in the library.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    berth_monitor::server::main()
}
