//! Messages of the libraries on standard error, from `--log-level` on.

use tracing_subscriber::filter::LevelFilter;

use crate::args::LogLevel;

/// Prints messages of `level` and above from now on.
pub fn start(level: LogLevel) {
    let filter = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    tracing_subscriber::fmt()
        .with_max_level(filter)
        .with_writer(std::io::stderr)
        .with_target(matches!(level, LogLevel::Trace | LogLevel::Debug))
        .init();
}
