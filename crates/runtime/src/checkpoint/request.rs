//! What is asked of CRIU, and what it answers: the fields of `criu_req`, `criu_opts` and `criu_resp`
//! (CRIU's `rpc.proto`) that the runtime uses.

use super::options::{CriuOptions, Direction, ManageCgroups, SWITCHES};
use super::wire::{Fields, Malformed, Message, Value};

/// `criu_req_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

/// Fields of `criu_opts`.
pub(super) mod option {
    pub(crate) const IMAGES_DIRECTORY: u32 = 1;
    pub(crate) const PID: u32 = 2;
    pub(crate) const EVASIVE_DEVICES: u32 = 6;
    pub(crate) const LOG_LEVEL: u32 = 9;
    pub(crate) const LOG_FILE: u32 = 10;
    pub(crate) const PAGE_SERVER: u32 = 11;
    pub(crate) const NOTIFY: u32 = 12;
    pub(crate) const ROOT: u32 = 13;
    pub(crate) const PARENT_IMAGES: u32 = 14;
    pub(crate) const TRACK_MEMORY: u32 = 15;
    pub(crate) const WORK_DIRECTORY: u32 = 17;
    pub(crate) const EXTERNAL_MOUNT: u32 = 23;
    pub(crate) const MANAGE_CGROUPS: u32 = 24;
    pub(crate) const CGROUP_ROOT: u32 = 25;
    pub(crate) const RESTORE_SIBLING: u32 = 26;
    pub(crate) const INHERIT_FD: u32 = 27;
    pub(crate) const MANAGE_CGROUPS_MODE: u32 = 34;
    pub(crate) const EXTERNAL: u32 = 37;
    pub(crate) const EMPTY_NAMESPACES: u32 = 38;
    pub(crate) const JOIN_NAMESPACE: u32 = 39;
    pub(crate) const FREEZE_CGROUP: u32 = 44;
    pub(crate) const ORPHAN_TERMINAL: u32 = 50;
    pub(crate) const CONFIGURATION: u32 = 51;
    pub(crate) const LSM_PROFILE: u32 = 53;
    pub(crate) const LSM_MOUNT_CONTEXT: u32 = 63;
    pub(crate) const NETWORK_LOCK: u32 = 64;
}

/// A request without options.
pub(super) fn plain(kind: Kind) -> Message {
    let mut request = Message::default();
    request.number(1, kind as u64);
    request
}

/// A request with options.
pub(super) fn with_options(kind: Kind, options: &Message) -> Message {
    let mut request = plain(kind);
    request.message(2, options);
    request
}

/// The answer to a notification.
pub(super) fn notified(success: bool) -> Message {
    let mut request = plain(Kind::Notify);
    request.number(3, u64::from(success));
    request
}

/// A question for what CRIU and the kernel can do.
pub(super) fn features(wanted: &[Feature]) -> Message {
    let mut list = Message::default();
    for feature in wanted {
        list.number(*feature as u32, 1);
    }
    let mut request = plain(Kind::FeatureCheck);
    request.message(5, &list);
    request
}

/// The options that both directions have, but for directories.
pub(super) fn common(
    options: &CriuOptions,
    direction: Direction,
    log: &str,
    configuration: Option<&str>,
) -> Message {
    use option as field;
    let mut message = Message::default();
    message.number(field::LOG_LEVEL, 4);
    message.bytes(field::LOG_FILE, log.as_bytes());
    message.number(field::NOTIFY, 1);
    message.number(field::ORPHAN_TERMINAL, 1);
    // The older of two fields for the same, which is needed for the newer one to count.
    message.number(field::MANAGE_CGROUPS, 1);
    message.number(field::MANAGE_CGROUPS_MODE, options.manage_cgroups as u64);
    if options.empty_network {
        message.number(field::EMPTY_NAMESPACES, libc::CLONE_NEWNET as u64);
    }
    if let Some(path) = configuration {
        message.bytes(field::CONFIGURATION, path.as_bytes());
    }
    for switch in SWITCHES {
        if switch.has(direction) && options.switches.has(switch.name) {
            message.number(switch.field, 1);
        }
    }
    message
}

/// Adds a message of two fields to `options`: a name, and what belongs to it.
pub(super) fn pair(options: &mut Message, field: u32, name: &[u8], value: Value<'_>) {
    let mut message = Message::default();
    message.bytes(1, name);
    match value {
        Value::Number(number) => message.number(2, number),
        Value::Bytes(bytes) => message.bytes(2, bytes),
    }
    options.message(field, &message);
}

impl ManageCgroups {
    /// The word of the command line.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "" => Self::Default,
            "ignore" => Self::Ignore,
            "soft" => Self::Soft,
            "full" => Self::Full,
            "strict" => Self::Strict,
            _ => return None,
        })
    }
}

/// Something that not every CRIU, or not every kernel, can do: its field in `criu_features`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Feature {
    MemoryTracking = 1,
    LazyPages = 2,
}

impl Feature {
    /// For people.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::MemoryTracking => "tracking changes of memory",
            Self::LazyPages => "restoring memory lazily (userfaultfd)",
        }
    }
}

/// What CRIU says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    /// What it answers.
    pub kind: u64,
    /// Whether it did it.
    pub success: bool,
    /// The restored process.
    pub restored: i32,
    /// The name of a notification.
    pub notification: Option<String>,
    /// The process that the notification is about.
    pub notification_pid: i32,
    /// Why it did not do it.
    pub errno: i32,
    /// The same in words.
    pub message: String,
    /// What it can do: bit `n` for the field `n` of `criu_features`.
    pub features: u64,
    /// Its version as one number: 3.17.1 is 31701.
    pub version: u64,
}

impl Response {
    /// Reads a message.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut response = Self::default();
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Number(kind)) => response.kind = kind,
                (2, Value::Number(success)) => response.success = success != 0,
                (4, Value::Bytes(restore)) => {
                    response.restored = number(restore, 1)?.unwrap_or_default() as i32;
                }
                (5, Value::Bytes(notify)) => {
                    response.notification = Some(text(notify, 1)?);
                    response.notification_pid = number(notify, 2)?.unwrap_or_default() as i32;
                }
                (7, Value::Number(errno)) => response.errno = errno as i32,
                (8, Value::Bytes(features)) => {
                    for field in Fields::of(features) {
                        if let (bit @ 0..64, Value::Number(1)) = field? {
                            response.features |= 1 << bit;
                        }
                    }
                }
                (9, Value::Bytes(message)) => {
                    response.message = String::from_utf8_lossy(message).into_owned();
                }
                (10, Value::Bytes(version)) => {
                    let part = |field| Ok(number(version, field)?.unwrap_or_default().min(99));
                    response.version = part(1)? * 10_000 + part(2)? * 100 + part(4)?;
                }
                _ => {}
            }
        }
        Ok(response)
    }

    /// Whether it can do something.
    pub(super) fn has(&self, feature: Feature) -> bool {
        self.features & 1 << feature as u32 != 0
    }
}

fn find(message: &[u8], wanted: u32) -> Result<Option<Value<'_>>, Malformed> {
    for field in Fields::of(message) {
        let (field, value) = field?;
        if field == wanted {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn number(message: &[u8], wanted: u32) -> Result<Option<u64>, Malformed> {
    Ok(find(message, wanted)?.and_then(|value| match value {
        Value::Number(number) => Some(number),
        Value::Bytes(_) => None,
    }))
}

fn text(message: &[u8], wanted: u32) -> Result<String, Malformed> {
    Ok(match find(message, wanted)? {
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_read_and_fields_of_later_versions_are_passed_over() {
        let mut notify = Message::default();
        notify.bytes(1, b"post-restore");
        notify.number(2, 4711);
        let mut response = plain(Kind::Notify);
        response.number(2, 1);
        response.message(5, &notify);
        response.bytes(77, b"later");
        let found = Response::read(response.as_bytes()).unwrap();
        assert_eq!(found.notification.as_deref(), Some("post-restore"));
        assert_eq!((found.notification_pid, found.success), (4711, true));
        assert_eq!(found.kind, Kind::Notify as u64);
    }

    #[test]
    fn versions_compare_as_numbers_and_a_failure_keeps_its_reason() {
        let mut version = Message::default();
        version.number(1, 3);
        version.number(2, 17);
        version.number(4, 1);
        let mut response = plain(Kind::Version);
        response.number(2, 0);
        response.number(7, (-5i64) as u64);
        response.bytes(9, b"no");
        response.message(10, &version);
        let found = Response::read(response.as_bytes()).unwrap();
        assert_eq!((found.version, found.errno, &*found.message), (31701, -5, "no"));
        assert!(!found.success);
    }

    #[test]
    fn hostile_bytes_are_an_error_and_no_crash() {
        for length in 0..64 {
            let bytes: Vec<u8> = (0..length).map(|n| (n * 37 + length) as u8).collect();
            let _ = Response::read(&bytes);
        }
        assert!(Response::read(&[0x2a, 0x7f]).is_err());
    }

    #[test]
    fn a_switch_reaches_criu_only_in_the_direction_that_has_it() {
        let mut options = CriuOptions::new("/images");
        assert!(options.switches.set("leave-running", Direction::Checkpoint));
        assert!(!options.switches.set("leave-running", Direction::Restore));
        assert!(!options.switches.set("no-such-thing", Direction::Checkpoint));
        let has = |direction| {
            let message = common(&options, direction, "x.log", None);
            Fields::of(message.as_bytes()).any(|field| field == Ok((3, Value::Number(1))))
        };
        assert!(has(Direction::Checkpoint) && !has(Direction::Restore));
    }
}
