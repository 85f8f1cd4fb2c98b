//! `berth-runtime` in the place of runc: under podman, buildah, containerd and docker, doing what
//! people do with them every day.

mod buildah;
mod containerd;
mod docker;
mod place;
mod podman;
