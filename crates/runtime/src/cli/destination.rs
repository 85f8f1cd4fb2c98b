//! Where `--log` goes: a file, or as crun has it, the system's log or the journal.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::log::{Fault, Level};

/// Where lines go.
#[derive(Debug)]
pub(crate) enum Destination {
    /// To the end of a file.
    File(File),
    /// To syslog, under a name.
    Syslog(UnixDatagram, String),
    /// To systemd's journal, under a name.
    Journal(UnixDatagram, String),
}

impl Destination {
    /// Opens `PATH`, `file:PATH`, `syslog:NAME` or `journald:NAME`.
    pub(crate) fn open(text: &OsStr) -> Result<Self, Fault> {
        if let Some(name) = text.as_bytes().strip_prefix(b"syslog:") {
            return Ok(Self::Syslog(connect("/dev/log")?, identifier(name)));
        }
        if let Some(name) = text.as_bytes().strip_prefix(b"journald:") {
            return Ok(Self::Journal(connect("/run/systemd/journal/socket")?, identifier(name)));
        }
        let path = text.as_bytes().strip_prefix(b"file:").map_or(text, OsStr::from_bytes);
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map(Self::File)
            .map_err(|e| Fault::io(format!("open the log {}", path.display()), &e))
    }

    /// Writes a message, of which `line` is the line for a file. There is nobody to tell of a log
    /// that cannot be written.
    pub(crate) fn write(&self, level: Level, message: &str, line: &str) {
        let _ = match self {
            Self::File(file) => (&*file).write_all(line.as_bytes()),
            Self::Syslog(socket, name) => send(socket, &syslog(level, name, message)),
            Self::Journal(socket, name) => send(socket, &journal(level, name, message)),
        };
    }
}

fn connect(path: &str) -> Result<UnixDatagram, Fault> {
    let failed = |e| Fault::io(format!("open the log {path}"), &e);
    let socket = UnixDatagram::unbound().map_err(failed)?;
    socket.connect(Path::new(path)).map_err(failed)?;
    Ok(socket)
}

/// The name that messages are under, as one word.
fn identifier(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let name: String = name.chars().filter(|c| !c.is_control() && !c.is_whitespace()).collect();
    if name.is_empty() { super::arguments::basename() } else { name }
}

fn send(socket: &UnixDatagram, bytes: &[u8]) -> std::io::Result<()> {
    socket.send(bytes).map(drop)
}

/// syslog(3)'s priorities.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warning => 4,
        Level::Debug => 7,
    }
}

/// RFC 3164, as far as local senders have it: the facility is user (1).
fn syslog(level: Level, name: &str, message: &str) -> Vec<u8> {
    format!("<{}>{name}: {message}", 8 + priority(level)).into_bytes()
}

/// The journal's native protocol; text may have lines, so its length is said.
fn journal(level: Level, name: &str, message: &str) -> Vec<u8> {
    let head =
        format!("PRIORITY={}\nSYSLOG_IDENTIFIER={name}\nMESSAGE\n", priority(level)).into_bytes();
    let length = (message.len() as u64).to_le_bytes();
    [&head, &length[..], message.as_bytes(), b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_syslog_and_the_journal_want_them() {
        assert_eq!(syslog(Level::Error, "me", "a b"), b"<11>me: a b");
        let expected = b"PRIORITY=4\nSYSLOG_IDENTIFIER=me\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n";
        assert_eq!(journal(Level::Warning, "me", "a\nb"), expected);
        assert_eq!(identifier(b"two words\n"), "twowords");
        assert!(!identifier(b"").is_empty());
    }
}
