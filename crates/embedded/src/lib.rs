//! The image that berth carries with it, so that a first container needs nothing from outside.
//!
//! The build script compiles the `applets` crate's source to one static program and assembles a
//! real OCI image around it: an archive of an image layout with one gzip layer. This crate only
//! holds the bytes; it knows neither stores nor containers.

#![forbid(unsafe_code)]

/// The image as an OCI archive: an uncompressed tar of an image layout (image-spec,
/// image-layout.md).
pub const ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo.oci.tar"));

/// The image's full reference.
pub const REFERENCE: &str = "berth.local/demo:latest";

/// The name that stands for [`REFERENCE`] on a command line.
pub const SHORT_NAME: &str = "demo";

/// The static program itself. Called by the name `init` or `berth-init` (or with `init` as its
/// first argument) it is a PID 1 that starts a command, passes signals on and reaps orphans.
pub const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/berth-applets"));
