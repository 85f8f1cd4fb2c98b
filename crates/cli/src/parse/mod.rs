//! Words that only the command line has: keys that detach, times seen from now, paths into
//! containers. All other words are read by [`berth_engine::parse`].

pub mod container_path;
pub mod detach_keys;

/// A moment, or a duration before now.
pub fn moment(text: &str) -> Result<jiff::Timestamp, berth_engine::error::ParseError> {
    berth_engine::parse::moment(text, jiff::Timestamp::now())
}
