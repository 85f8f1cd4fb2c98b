//! What only the linker can do for the binary: making `berth_entry` (src/entry.rs) its first code,
//! leaving out the tables that nothing reads when a panic aborts, and leaving out the C library
//! where `src/bare` stands in for it.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The libraries that the compiler names and that must give nothing to a program without them.
const LIBRARIES: &[&str] = &["c", "dl", "gcc_eh", "m", "pthread", "rt", "util"];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwind.ld");
    println!("cargo::rustc-check-cfg=cfg(bare)");
    // Tests start the binary as it is shipped where there is one (tests/common).
    println!("cargo::rerun-if-env-changed=BERTH_BIN_DIR");
    if let Some(directory) = env::var_os("BERTH_BIN_DIR") {
        let binary = PathBuf::from(directory).join("berth-runtime");
        println!("cargo::rustc-env=BERTH_RUNTIME_UNDER_TEST={}", binary.display());
    }
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let architecture = target("ARCH");
    if matches!(architecture.as_str(), "x86_64" | "aarch64" | "riscv64") {
        link("-Wl,-e,berth_entry");
    }
    // A build script is not told the profile's name or panic strategy; the directory it may write to
    // has the name in it. `dist` aborts.
    let output = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let shipped = output.components().any(|part| part.as_os_str() == "dist");
    if !shipped {
        return Ok(());
    }
    if let Ok(directory) = env::var("CARGO_MANIFEST_DIR") {
        link(&format!("-Wl,-T,{directory}/no-unwind.ld"));
        link("-Wl,--no-eh-frame-hdr");
    }
    let is_static = target("FEATURE").split(',').any(|feature| feature == "crt-static");
    if architecture == "x86_64" && target("ENV") == "gnu" && is_static {
        println!("cargo::rustc-cfg=bare");
        without_libraries(&output)?;
    }
    Ok(())
}

/// Lets the linker find empty libraries before it finds the platform's: whatever `src/bare` lacks
/// is then an error, rather than a function of a C library that was never started.
fn without_libraries(output: &Path) -> io::Result<()> {
    let directory = output.join("empty");
    fs::create_dir_all(&directory)?;
    for library in LIBRARIES {
        fs::write(directory.join(format!("lib{library}.a")), "!<arch>\n")?;
    }
    link("-nostartfiles");
    link(&format!("-L{}", directory.display()));
    Ok(())
}

fn link(argument: &str) {
    println!("cargo::rustc-link-arg-bin=berth-runtime={argument}");
}
