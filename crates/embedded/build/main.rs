//! Builds the applets as a static program and assembles the embedded image around it.
//!
//! The applets have no dependencies, so a bare `rustc` builds them: no cargo runs inside cargo, and
//! `cargo check` in a clean clone works without a network. The same source and toolchain always
//! give the same bytes: times are fixed, entries sorted.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod image;
mod rootfs;

/// Why the image could not be built.
#[derive(Debug)]
enum BuildError {
    /// Cargo did not set a variable that it promises to.
    Variable(&'static str),
    /// A file could not be read or written.
    File { path: PathBuf, source: io::Error },
    /// An archive could not be written to memory.
    Archive(io::Error),
    /// A document could not be written as JSON.
    Json(serde_json::Error),
    /// The compiler could not be started.
    Compiler { program: OsString, source: io::Error },
    /// The compiler, or the program it made, failed.
    Failed { what: &'static str, output: String },
    /// The image names CPUs as Go does, and has no name for this one.
    Architecture(String),
}

impl Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(formatter, "cargo did not set {name}"),
            Self::File { path, source } => write!(formatter, "{}: {source}", path.display()),
            Self::Archive(source) => write!(formatter, "cannot assemble the archive: {source}"),
            Self::Json(source) => write!(formatter, "cannot write JSON: {source}"),
            Self::Compiler { program, source } => {
                write!(formatter, "cannot start {}: {source}", program.display())
            }
            Self::Failed { what, output } => write!(formatter, "{what} failed:\n{output}"),
            Self::Architecture(name) => {
                write!(formatter, "no GOARCH name is known for the architecture {name}")
            }
        }
    }
}

/// A variable that cargo sets for build scripts.
fn variable(name: &'static str) -> Result<OsString, BuildError> {
    std::env::var_os(name).ok_or(BuildError::Variable(name))
}

/// Gives a file error its path.
fn at(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::File { path, source }
}

/// Compiles the applets to `program`.
fn compile_applets(source: &Path, program: &Path) -> Result<(), BuildError> {
    let compiler = variable("RUSTC")?;
    let mut command = Command::new(&compiler);
    command
        .args(["--edition=2024", "--crate-name=berth_applets", "--crate-type=bin"])
        .args(["--cap-lints=allow", "--target"])
        .arg(variable("TARGET")?)
        .args(["-Copt-level=s", "-Cpanic=abort", "-Ccodegen-units=1", "-Clto=fat"])
        .args(["-Cstrip=symbols", "-Ctarget-feature=+crt-static", "-Crelocation-model=static"])
        .arg("--remap-path-prefix")
        .arg(prefix_map(source))
        .arg("-o")
        .arg(program)
        .arg(source.join("main.rs"));
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        let mut option = OsString::from("-Clinker=");
        option.push(linker);
        command.arg(option);
    }
    let output = command.output();
    let output = output.map_err(|source| BuildError::Compiler { program: compiler, source })?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(BuildError::Failed { what: "building the applets", output })
}

/// Keeps the place of the checkout out of the program.
fn prefix_map(source: &Path) -> OsString {
    let mut map = source.as_os_str().to_owned();
    map.push("=applets");
    map
}

/// The applets' names, from the table in their source.
fn applet_names(source: &Path) -> Result<Vec<String>, BuildError> {
    let main = source.join("main.rs");
    let text = fs::read_to_string(&main).map_err(at(&main))?;
    let names: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("applet(\""))
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        let output = format!("{}: no applet(\"NAME\", ...) rows", main.display());
        return Err(BuildError::Failed { what: "reading the table of applets", output });
    }
    Ok(names)
}

/// Tells cargo every source file, so that a change rebuilds the image.
fn watch(directory: &Path) -> Result<(), BuildError> {
    let mut instructions = vec![format!("cargo::rerun-if-changed={}", directory.display())];
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let path = entry.map_err(at(directory))?.path();
        if path.is_dir() {
            watch(&path)?;
        } else {
            instructions.push(format!("cargo::rerun-if-changed={}", path.display()));
        }
    }
    instruct(&instructions);
    Ok(())
}

/// Prints instructions for cargo.
#[expect(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn instruct(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}

/// Does all of it.
fn build() -> Result<(), BuildError> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let source = manifest.join("../applets/src");
    let source = fs::canonicalize(&source).map_err(at(&source))?;
    let files = manifest.join("rootfs");
    watch(&source)?;
    watch(&files)?;
    watch(&manifest.join("build"))?;
    instruct(&["cargo::rerun-if-env-changed=RUSTC_LINKER".to_owned()]);
    let program = out.join("berth-applets");
    compile_applets(&source, &program)?;
    let bytes = fs::read(&program).map_err(at(&program))?;
    let layer = rootfs::layer(&bytes, &applet_names(&source)?, &files)?;
    let architecture = variable("CARGO_CFG_TARGET_ARCH")?.to_string_lossy().into_owned();
    let archive = image::archive(&layer, &architecture)?;
    let path = out.join("demo.oci.tar");
    fs::write(&path, archive).map_err(at(&path))
}

#[expect(clippy::print_stderr, reason = "cargo shows a failed build script's standard error")]
fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
