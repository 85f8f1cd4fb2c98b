//! Two things that only the linker can do for the binary: making `berth_entry` (src/entry.rs) its
//! first code, and leaving out the tables that nothing reads when a panic aborts.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwind.ld");
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if matches!(architecture.as_str(), "x86_64" | "aarch64" | "riscv64") {
        link("-Wl,-e,berth_entry");
    }
    // A build script is not told the profile's name or panic strategy; the directory it may write to
    // has the name in it. `dist` aborts.
    let output = env::var_os("OUT_DIR").unwrap_or_default();
    let shipped = std::path::Path::new(&output).components().any(|part| part.as_os_str() == "dist");
    if let (true, Ok(directory)) = (shipped, env::var("CARGO_MANIFEST_DIR")) {
        link(&format!("-Wl,-T,{directory}/no-unwind.ld"));
        link("-Wl,--no-eh-frame-hdr");
    }
}

fn link(argument: &str) {
    println!("cargo::rustc-link-arg-bin=berth-runtime={argument}");
}
