//! The specifications' own data: OCI runtime-spec 1.3 and image-spec 1.1 types, nothing else.
//!
//! Fields are named as the specifications spell them (camelCase in JSON). Unknown properties are
//! ignored, as both specifications demand; every property that the specifications define is
//! present, so that a consumer can refuse by name what it does not do yet. This crate holds no
//! behaviour beyond defaults and small look-ups.
#![forbid(unsafe_code)]

pub mod capability;
pub mod features;
pub mod image;
mod resources;
pub mod rootfs;
pub mod runtime;
mod seccomp;
pub mod state;
pub mod time;

/// The version of the OCI runtime specification that these types follow.
pub const RUNTIME_SPEC_VERSION: &str = "1.3.0";

/// Takes `null` as if the property were not there: Go writes it for a list, a map or an object that
/// it has not.
fn null_as_absent<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + Default,
{
    <Option<T> as serde::Deserialize>::deserialize(deserializer).map(Option::unwrap_or_default)
}
