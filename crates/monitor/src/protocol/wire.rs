//! Requests and replies as frames, and back.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::codec::{Reader, Writer};
use super::*;

impl Request {
    /// The frame for this request under `number`.
    pub fn encode(&self, number: u32) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Hello { version } => w.head(1, number).u16(*version),
            Self::Create(create) => encode_create(w.head(2, number), create),
            Self::Start { id } => w.head(3, number).text(id),
            Self::Exec(exec) => encode_exec(w.head(4, number), exec),
            Self::Attach { id, streams, slow } => {
                w.head(5, number).text(id).u8(streams_to_byte(*streams)).u8(*slow as u8)
            }
            Self::Detach { target } => w.head(6, number).target(target),
            Self::Resize { target, size } => w.head(7, number).target(target).size(*size),
            Self::Stdin { target, data } => w.head(8, number).target(target).rest(data),
            Self::CloseStdin { target } => w.head(9, number).target(target),
            Self::Signal { target, signal } => w.head(10, number).target(target).i32(*signal),
            Self::NoRestart { id } => w.head(11, number).text(id),
            Self::Pause { id } => w.head(12, number).text(id),
            Self::Resume { id } => w.head(13, number).text(id),
            Self::ReopenLog { id } => w.head(14, number).text(id),
            Self::CleanupDone { id } => w.head(15, number).text(id),
            Self::Replace { binary } => w.head(16, number).os(binary.as_os_str()),
            Self::Status => w.head(17, number),
            Self::Shutdown => w.head(18, number),
        };
        w.finish()
    }

    /// Reads a frame. Gives the request and its number.
    pub fn decode(frame: &[u8]) -> Result<(u32, Self), DecodeError> {
        let mut r = Reader::new(frame);
        let (kind, number) = r.head()?;
        let request = match kind {
            1 => Self::Hello { version: r.u16("version")? },
            2 => Self::Create(Box::new(decode_create(&mut r)?)),
            3 => Self::Start { id: r.name("id")? },
            4 => Self::Exec(Box::new(decode_exec(&mut r)?)),
            5 => Self::Attach {
                id: r.name("id")?,
                streams: r.streams()?,
                slow: slow_from_byte(r.u8("slow")?)?,
            },
            6 => Self::Detach { target: r.target()? },
            7 => Self::Resize { target: r.target()?, size: r.size()? },
            8 => {
                let target = r.target()?;
                let data = r.rest();
                if data.len() > MAX_STDIN {
                    return Err(DecodeError::Value { field: "data", value: data.len() as u64 });
                }
                Self::Stdin { target, data: data.to_vec() }
            }
            9 => Self::CloseStdin { target: r.target()? },
            10 => {
                let target = r.target()?;
                let signal = r.i32("signal")?;
                if !(0..=64).contains(&signal) {
                    return Err(DecodeError::Value { field: "signal", value: signal as u64 });
                }
                Self::Signal { target, signal }
            }
            11 => Self::NoRestart { id: r.name("id")? },
            12 => Self::Pause { id: r.name("id")? },
            13 => Self::Resume { id: r.name("id")? },
            14 => Self::ReopenLog { id: r.name("id")? },
            15 => Self::CleanupDone { id: r.name("id")? },
            16 => Self::Replace { binary: r.path("binary")? },
            17 => Self::Status,
            18 => Self::Shutdown,
            other => return Err(DecodeError::Type(other)),
        };
        r.end()?;
        Ok((number, request))
    }
}

/// The first part of a data frame: what precedes the payload.
pub(crate) fn data_head(kind: DataKind, target: &Target) -> Vec<u8> {
    let mut w = Writer::new();
    w.head(kind as u8, 0).target(target);
    w.finish()
}

/// The two data frames that a monitor sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataKind {
    /// [`Reply::Stdout`].
    Stdout = 71,
    /// [`Reply::Stderr`].
    Stderr = 72,
}

impl Reply {
    /// The frame for this reply.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Hello { version, pid } => w.head(65, 0).u16(*version).i32(*pid),
            Self::Ok { request } => w.head(66, *request),
            Self::Error { request, kind, text, hint } => {
                w.head(67, *request).u8(*kind as u8).text(clip(text));
                match hint {
                    None => &mut w,
                    Some(hint) => w.text(clip(hint)),
                }
            }
            Self::Created { request, id, pid } => w.head(68, *request).text(id).i32(*pid),
            Self::Started { request, id } => w.head(69, *request).text(id),
            Self::ExecStarted { request, target, pid } => {
                w.head(70, *request).target(target).i32(*pid)
            }
            Self::Stdout { target, data } => {
                w.head(DataKind::Stdout as u8, 0).target(target).rest(data)
            }
            Self::Stderr { target, data } => {
                w.head(DataKind::Stderr as u8, 0).target(target).rest(data)
            }
            Self::StdinTaken { target, bytes } => w.head(73, 0).target(target).u32(*bytes),
            Self::Exited { target, exit } => encode_exit(w.head(74, 0).target(target), exit),
            Self::Status { request, program, containers } => {
                w.head(75, *request).text(program).u16(containers.len() as u16);
                for container in containers {
                    w.text(&container.id)
                        .u8(container.state as u8)
                        .i32(container.pid)
                        .u32(container.sessions)
                        .u32(container.clients);
                }
                &mut w
            }
        };
        w.finish()
    }

    /// Reads a frame.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(frame);
        let (kind, request) = r.head()?;
        let reply = match kind {
            65 => Self::Hello { version: r.u16("version")?, pid: r.i32("pid")? },
            66 => Self::Ok { request },
            67 => Self::Error {
                request,
                kind: error_kind_from_byte(r.u8("kind")?)?,
                text: r.text("text")?,
                hint: if r.is_empty() { None } else { Some(r.text("hint")?) },
            },
            68 => Self::Created { request, id: r.name("id")?, pid: r.i32("pid")? },
            69 => Self::Started { request, id: r.name("id")? },
            70 => Self::ExecStarted { request, target: r.target()?, pid: r.i32("pid")? },
            71 => Self::Stdout { target: r.target()?, data: r.rest().to_vec() },
            72 => Self::Stderr { target: r.target()?, data: r.rest().to_vec() },
            73 => Self::StdinTaken { target: r.target()?, bytes: r.u32("bytes")? },
            74 => Self::Exited { target: r.target()?, exit: decode_exit(&mut r)? },
            75 => {
                let program = r.text("program")?;
                let count = r.u16("count")?;
                let mut containers = Vec::new();
                for _ in 0..count {
                    containers.push(ContainerSummary {
                        id: r.name("id")?,
                        state: state_from_byte(r.u8("state")?)?,
                        pid: r.i32("pid")?,
                        sessions: r.u32("sessions")?,
                        clients: r.u32("clients")?,
                    });
                }
                Self::Status { request, program, containers }
            }
            other => return Err(DecodeError::Type(other)),
        };
        r.end()?;
        Ok(reply)
    }
}

/// The longest prefix of an error text that fits a frame comfortably.
fn clip(text: &str) -> &str {
    let mut end = text.len().min(8 * 1024);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn encode_exit<'w>(w: &'w mut Writer, exit: &Exit) -> &'w mut Writer {
    w.option_i32(exit.code).option_i32(exit.signal).bool(exit.oom_killed).bool(exit.restarting)
}

fn decode_exit(r: &mut Reader<'_>) -> Result<Exit, DecodeError> {
    Ok(Exit {
        code: r.option_i32("code")?,
        signal: r.option_i32("signal")?,
        oom_killed: r.bool("oom_killed")?,
        restarting: r.bool("restarting")?,
    })
}

fn encode_create<'w>(w: &'w mut Writer, create: &CreateRequest) -> &'w mut Writer {
    w.text(&create.id).os(create.directory.as_os_str()).os(create.bundle.as_os_str());
    match &create.runtime {
        RuntimeChoice::Builtin => w.u8(0),
        RuntimeChoice::Program(program) => {
            w.u8(1).os(program.path.as_os_str()).list(&program.options).bool(program.sandboxed)
        }
    };
    w.u8(create.cgroup_driver as u8);
    match &create.log {
        LogConfig::None => w.u8(0),
        LogConfig::Path { path, max_size, max_files } => {
            w.u8(1).os(path.as_os_str()).u64(*max_size).u32(*max_files)
        }
    };
    w.bool(create.terminal).u8(create.stdin as u8);
    match create.attach {
        None => w.u8(0),
        Some(streams) => w.u8(1).u8(streams_to_byte(streams)),
    };
    w.u8(create.slow as u8).bool(create.start);
    match create.restart {
        RestartPolicy::No => w.u8(0),
        RestartPolicy::Always => w.u8(1),
        RestartPolicy::OnFailure { max: None } => w.u8(2),
        RestartPolicy::OnFailure { max: Some(max) } => w.u8(3).u32(max),
        RestartPolicy::UnlessStopped => w.u8(4),
    };
    w.u8(create.cleanup as u8).option_size(create.console_size)
}

fn decode_create(r: &mut Reader<'_>) -> Result<CreateRequest, DecodeError> {
    Ok(CreateRequest {
        id: r.name("id")?,
        directory: r.path("directory")?,
        bundle: r.path("bundle")?,
        runtime: match r.u8("runtime")? {
            0 => RuntimeChoice::Builtin,
            1 => RuntimeChoice::Program(RuntimeProgram {
                path: r.path("runtime")?,
                options: r.list("runtime options")?,
                sandboxed: r.bool("sandboxed")?,
            }),
            other => return Err(value("runtime", other)),
        },
        cgroup_driver: match r.u8("cgroup_driver")? {
            0 => CgroupDriver::Cgroupfs,
            1 => CgroupDriver::Systemd,
            other => return Err(value("cgroup_driver", other)),
        },
        log: match r.u8("log")? {
            0 => LogConfig::None,
            1 => LogConfig::Path {
                path: r.path("log")?,
                max_size: r.u64("max_size")?,
                max_files: r.u32("max_files")?,
            },
            other => return Err(value("log", other)),
        },
        terminal: r.bool("terminal")?,
        stdin: match r.u8("stdin")? {
            0 => StdinMode::Null,
            1 => StdinMode::Open,
            2 => StdinMode::Once,
            other => return Err(value("stdin", other)),
        },
        attach: if r.bool("attach")? { Some(r.streams()?) } else { None },
        slow: slow_from_byte(r.u8("slow")?)?,
        start: r.bool("start")?,
        restart: match r.u8("restart")? {
            0 => RestartPolicy::No,
            1 => RestartPolicy::Always,
            2 => RestartPolicy::OnFailure { max: None },
            3 => RestartPolicy::OnFailure { max: Some(r.u32("max")?) },
            4 => RestartPolicy::UnlessStopped,
            other => return Err(value("restart", other)),
        },
        cleanup: match r.u8("cleanup")? {
            0 => CleanupBy::Monitor,
            1 => CleanupBy::Client,
            other => return Err(value("cleanup", other)),
        },
        console_size: r.option_size()?,
    })
}

fn encode_exec<'w>(w: &'w mut Writer, exec: &ExecRequest) -> &'w mut Writer {
    w.text(&exec.id)
        .text(&exec.session)
        .os(exec.process.as_os_str())
        .bool(exec.terminal)
        .u8(streams_to_byte(exec.streams))
        .u8(exec.slow as u8)
        .option_size(exec.console_size)
}

fn decode_exec(r: &mut Reader<'_>) -> Result<ExecRequest, DecodeError> {
    Ok(ExecRequest {
        id: r.name("id")?,
        session: r.name("session")?,
        process: r.path("process")?,
        terminal: r.bool("terminal")?,
        streams: r.streams()?,
        slow: slow_from_byte(r.u8("slow")?)?,
        console_size: r.option_size()?,
    })
}

pub(super) fn value(field: &'static str, value: u8) -> DecodeError {
    DecodeError::Value { field, value: u64::from(value) }
}

fn streams_to_byte(streams: Streams) -> u8 {
    u8::from(streams.stdin) | u8::from(streams.stdout) << 1 | u8::from(streams.stderr) << 2
}

fn slow_from_byte(byte: u8) -> Result<SlowClient, DecodeError> {
    match byte {
        0 => Ok(SlowClient::Wait),
        1 => Ok(SlowClient::Drop),
        other => Err(value("slow", other)),
    }
}

fn state_from_byte(byte: u8) -> Result<crate::status::State, DecodeError> {
    use crate::status::State;
    [
        State::Creating,
        State::Created,
        State::Running,
        State::Paused,
        State::Restarting,
        State::Stopped,
    ]
    .into_iter()
    .find(|state| *state as u8 == byte)
    .ok_or(value("state", byte))
}

fn error_kind_from_byte(byte: u8) -> Result<ErrorKind, DecodeError> {
    [
        ErrorKind::NotFound,
        ErrorKind::Exists,
        ErrorKind::Invalid,
        ErrorKind::CommandNotFound,
        ErrorKind::CommandNotExecutable,
        ErrorKind::State,
        ErrorKind::Permission,
        ErrorKind::Protocol,
        ErrorKind::Other,
    ]
    .into_iter()
    .find(|kind| *kind as u8 == byte)
    .ok_or(value("kind", byte))
}

/// Reads an [`ErrorKind`] from its byte on the wire, for the reports of workers.
pub(crate) fn error_kind(byte: u8) -> ErrorKind {
    error_kind_from_byte(byte).unwrap_or(ErrorKind::Other)
}

pub(super) fn os_from_bytes(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

pub(super) fn os_to_bytes(text: &OsStr) -> &[u8] {
    text.as_bytes()
}
