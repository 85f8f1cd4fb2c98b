//! The built monitor, with containers of runc and of our own runtime.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests end with a panic, and tell by printing"
)]

mod sandbox;

/// Makes a test of a function for each runtime.
macro_rules! for_each_runtime {
    ($($name:ident)*) => {
        mod with_runc {
            $(#[test]
            fn $name() {
                if let Some(sandbox) = crate::sandbox::Sandbox::new(crate::sandbox::Kind::Runc) {
                    super::$name(&sandbox);
                }
            })*
        }
        mod with_our_runtime {
            $(#[test]
            fn $name() {
                if let Some(sandbox) = crate::sandbox::Sandbox::new(crate::sandbox::Kind::Builtin) {
                    super::$name(&sandbox);
                }
            })*
        }
    };
}

mod exec;
mod life;
mod streams;
mod takeover;
mod trouble;
