//! `berth-runtime` in the place of runc: under podman, buildah, containerd and docker, doing what
//! people do with them every day.

#![expect(clippy::print_stdout, reason = "what a daemon said, where its test failed")]

mod buildah;
mod containerd;
mod docker;
mod place;
mod podman;
