//! A connection to a D-Bus peer over a unix socket: authentication, calls and signals, one at a
//! time and with a deadline (D-Bus specification, "Authentication protocol").

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::SystemdError;
use super::wire::{self, FIXED_HEADER, Kind, Message, Target};
use crate::namespace::in_user_namespace;

/// How long an answer or a job may take in all.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A message bus, which wants a Hello and to be told which signals matter.
    Bus,
    /// systemd itself, on its private socket.
    Manager,
}

/// A socket to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) path: PathBuf,
    pub(crate) peer: Peer,
}

impl Endpoint {
    /// From a D-Bus address: the first `unix:path=` of the list.
    pub(crate) fn parse(address: &str) -> Result<Self, SystemdError> {
        let path = address.split(';').find_map(|one| {
            one.strip_prefix("unix:")?.split(',').find_map(|p| p.strip_prefix("path="))
        });
        match path {
            Some(path) => Ok(Self { path: PathBuf::from(unescape(path)), peer: Peer::Bus }),
            None => Err(SystemdError::Address { address: address.to_owned() }),
        }
    }
}

/// Addresses write unusual bytes as `%` and two digits.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let code = rest.get(at + 1..at + 3).and_then(|d| u8::from_str_radix(d, 16).ok());
        out.push(code.map_or('%', char::from));
        let skip = if code.is_some() { 3 } else { 1 };
        rest = rest.get(at + skip..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// An authenticated connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    pub(crate) peer: Peer,
    serial: u32,
    signals: VecDeque<Message>,
    end: Instant,
}

impl Connection {
    /// Connects to the first endpoint that takes the connection.
    pub(crate) fn open(endpoints: &[Endpoint]) -> Result<Self, SystemdError> {
        let mut last = SystemdError::Address { address: String::new() };
        for endpoint in endpoints {
            match Self::connect(endpoint) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect(endpoint: &Endpoint) -> Result<Self, SystemdError> {
        let stream = stream(&endpoint.path)?;
        let mut connection = Self {
            stream,
            peer: endpoint.peer,
            serial: 0,
            signals: VecDeque::new(),
            end: Instant::now() + PATIENCE,
        };
        connection.authenticate()?;
        if endpoint.peer == Peer::Bus {
            connection.call(&bus("Hello"), "", &[])?;
        }
        Ok(connection)
    }

    fn authenticate(&mut self) -> Result<(), SystemdError> {
        let mut line = String::from("\0AUTH EXTERNAL");
        let named = !in_user_namespace();
        if named {
            // The user's number in decimal digits, each of which is spelled in hexadecimal.
            line.push(' ');
            let uid = rustix::process::geteuid().as_raw().to_string();
            for digit in uid.bytes() {
                line.push_str(&format!("{digit:02x}"));
            }
        } else {
            // The peer has another number for this user: it shall go by the socket's.
            line.push_str("\r\nDATA");
        }
        // BEGIN goes with it: systemd's own server would read a first message that arrives along
        // with a later BEGIN into its buffer, and leave it there until there is more to read.
        line.push_str("\r\nBEGIN\r\n");
        self.send(line.as_bytes())?;
        let mut answer = self.line()?;
        if !named && answer == "DATA" {
            answer = self.line()?;
        }
        if answer.starts_with("OK ") {
            Ok(())
        } else {
            Err(SystemdError::Authentication { answer })
        }
    }

    fn line(&mut self) -> Result<String, SystemdError> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            if line.len() > 1024 {
                return Err(SystemdError::Malformed { what: "an endless line" });
            }
            self.receive(&mut byte)?;
            line.extend(byte);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Wants a signal.
    pub(crate) fn add_match(&mut self, rule: &str) -> Result<(), SystemdError> {
        let mut body = wire::Writer::default();
        body.text(rule);
        self.call(&bus("AddMatch"), "s", &body.into_bytes()).map(|_| ())
    }

    /// Calls a method and waits for its answer; signals that come first are kept.
    pub(crate) fn call(
        &mut self,
        target: &Target<'_>,
        signature: &str,
        body: &[u8],
    ) -> Result<Message, SystemdError> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&wire::call(serial, target, signature, body))?;
        loop {
            let message = self.message()?;
            match message.kind {
                Kind::Signal => self.signals.push_back(message),
                Kind::Return if message.reply_to == serial => return Ok(message),
                Kind::Error if message.reply_to == serial => {
                    let text = if message.signature.starts_with('s') {
                        message.body().text()?
                    } else {
                        String::new()
                    };
                    return Err(SystemdError::Method {
                        method: target.member,
                        name: message.error,
                        message: text,
                    });
                }
                _ => {}
            }
        }
    }

    /// The next signal.
    pub(crate) fn signal(&mut self) -> Result<Message, SystemdError> {
        if let Some(message) = self.signals.pop_front() {
            return Ok(message);
        }
        loop {
            let message = self.message()?;
            if message.kind == Kind::Signal {
                return Ok(message);
            }
        }
    }

    fn message(&mut self) -> Result<Message, SystemdError> {
        let mut fixed = [0; FIXED_HEADER];
        self.receive(&mut fixed)?;
        let mut rest = vec![0; wire::remaining(&fixed)?];
        self.receive(&mut rest)?;
        Message::parse(&[fixed.as_slice(), &rest].concat())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), SystemdError> {
        self.stream.write_all(bytes).map_err(|source| SystemdError::Io { action: "write", source })
    }

    /// Reads all of it before the deadline.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<(), SystemdError> {
        let failed = |source| SystemdError::Io { action: "read", source };
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|r| !r.is_empty()) {
            let left = self.end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(io::ErrorKind::TimedOut.into()));
            }
            self.stream.set_read_timeout(Some(left)).map_err(failed)?;
            match self.stream.read(rest) {
                Ok(0) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => filled += n,
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(())
    }
}

fn stream(path: &Path) -> Result<UnixStream, SystemdError> {
    let failed = |source| SystemdError::Connect { path: path.to_owned(), source };
    let stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    Ok(stream)
}

fn bus(member: &'static str) -> Target<'static> {
    Target {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gives_its_first_unix_path() {
        let endpoint =
            Endpoint::parse("tcp:host=x;unix:guid=1,path=/run/a%20b,x=y").expect("an address");
        assert_eq!(endpoint.path, Path::new("/run/a b"));
        assert!(Endpoint::parse("unix:abstract=/x").is_err());
    }
}
