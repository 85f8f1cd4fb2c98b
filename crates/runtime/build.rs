//! Makes `berth_entry` (src/entry.rs) the first code of the binary, where there is one.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if matches!(architecture.as_str(), "x86_64" | "aarch64" | "riscv64") {
        println!("cargo::rustc-link-arg-bin=berth-runtime=-Wl,-e,berth_entry");
    }
}
