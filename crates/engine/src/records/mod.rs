//! The records: what is persistent about containers and volumes, in SQLite.
//!
//! Any number of processes use the database at once. It is in WAL mode with `synchronous = NORMAL`
//! (a power cut may lose the last records, never damage the file) and nobody checkpoints on close,
//! since every command is the last to close it. Transactions are short: one statement or a few, and
//! never a hook, a network call, a process or a wait inside.
//!
//! The schema only grows. `user_version` is the schema's version; `meta.oldest_reader` is the oldest
//! version whose programs may still use the file. A newer file whose oldest reader is not above ours
//! is used as it is: columns and tables that we don't know have defaults.
//!
//! What a container *does* is not in here: its monitor writes that to tmpfs (see `crate::state`).

mod containers;
mod volumes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

pub(crate) use containers::{ContainerRecord, Launch, NewContainer, Outcome};
pub(crate) use volumes::{VolumeRecord, VolumeUse};

/// The schema's version that this program writes.
const VERSION: i64 = 1;
/// Pages in the log from which a writer brings them into the file. Whoever opens the database alone
/// reads the log from its beginning, some microseconds a page, and each container takes a dozen;
/// bringing them in costs two waits for the disk.
const LOG_PAGES: u32 = 200;
/// The size of the reserve in bytes: room for some ten changes.
const RESERVE: u64 = 128 * 1024;
/// How long a writer waits for others.
const PATIENCE: Duration = Duration::from_mins(1);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    image TEXT NOT NULL,
    image_id TEXT NOT NULL,
    remove INTEGER NOT NULL,
    removing INTEGER NOT NULL DEFAULT 0,
    launch TEXT,
    outcome TEXT,
    details TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS volumes (
    name TEXT PRIMARY KEY,
    created INTEGER NOT NULL,
    anonymous INTEGER NOT NULL,
    populated INTEGER NOT NULL DEFAULT 0,
    labels TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS volume_uses (
    volume TEXT NOT NULL REFERENCES volumes (name),
    container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    PRIMARY KEY (volume, container)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS volume_uses_container ON volume_uses (container);
INSERT OR IGNORE INTO meta (key, value) VALUES ('oldest_reader', '1');
";

/// What SQLite says, once: its own error says the same again as its cause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DatabaseError(rusqlite::Error);

impl DatabaseError {
    /// The class that SQLite gives it.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        self.0.sqlite_error_code()
    }

    /// Whether there is no room on the disk. The file that the log's index is in does not say that
    /// it was this for which it could not grow.
    pub(crate) fn is_full(&self) -> bool {
        let extended = self.0.sqlite_error().map(|error| error.extended_code);
        self.code() == Some(ErrorCode::DiskFull)
            || extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
    }
}

/// What goes wrong with the database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It cannot be opened.
    #[error("cannot open the database {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: DatabaseError,
    },
    /// It was written by a newer berth that this one must not touch.
    #[error(
        "the database {path} was written by a newer berth (schema {found}, readable from {oldest} on; this one knows {VERSION})"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The oldest schema whose readers may use it.
        oldest: i64,
    },
    /// A statement failed.
    #[error("cannot {action} in the database")]
    Statement {
        /// What was being done.
        action: &'static str,
        /// Why.
        #[source]
        source: DatabaseError,
    },
    /// A record's JSON is damaged.
    #[error("the record of {id} in the database is damaged")]
    Damaged {
        /// The container.
        id: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A record cannot be written as JSON.
    #[error("cannot write the record of {id}")]
    Encode {
        /// The container.
        id: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The name is taken.
    #[error("the name {name:?} is in use by container {}", short(holder))]
    NameInUse {
        /// The name.
        name: String,
        /// The holder's id.
        holder: String,
    },
    /// A container that is used is not there any more.
    #[error("container {} is gone", short(id))]
    Gone {
        /// The container.
        id: String,
    },
    /// A volume is used.
    #[error("volume {name:?} is used by {} container(s)", users.len())]
    VolumeInUse {
        /// The volume.
        name: String,
        /// Ids.
        users: Vec<String>,
    },
    /// A volume's name is taken.
    #[error("volume {name:?} exists already")]
    VolumeExists {
        /// The volume.
        name: String,
    },
}

/// The first twelve digits of an id.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn statement(action: &'static str) -> impl FnOnce(rusqlite::Error) -> RecordError {
    move |source| RecordError::Statement { action, source: DatabaseError(source) }
}

/// An open database. Not shared between threads; each opens its own or locks one.
#[derive(Debug)]
pub(crate) struct Records {
    connection: Connection,
    reserve: PathBuf,
}

/// Waits a little, longer after a few times, and gives up after [`PATIENCE`] or so.
fn wait_for_others(attempt: i32) -> bool {
    let longest = 500 << attempt.clamp(0, 5); // up to 16 ms
    let [low, high] = crate::identity::random::<2>();
    let micros = u64::from(u16::from_le_bytes([low, high])) % longest + 100;
    std::thread::sleep(Duration::from_micros(micros));
    u64::from(attempt.unsigned_abs()) < PATIENCE.as_millis() as u64 / 8
}

impl Records {
    /// Opens the database, making it and its tables where they are missing.
    pub(crate) fn open(path: &Path) -> Result<Self, RecordError> {
        let failed =
            |source| RecordError::Open { path: path.to_owned(), source: DatabaseError(source) };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_handler(Some(wait_for_others)).map_err(failed)?;
        connection
            .set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(failed)?;
        let mut records = Self { connection, reserve: path.with_extension("reserve") };
        let version: i64 = records.pragma("user_version").map_err(failed)?;
        if version < VERSION {
            records.make_tables().map_err(failed)?;
        } else if version > VERSION {
            records.refuse_if_too_new(path, version)?;
        }
        records
            .connection
            .execute_batch(&format!(
                "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; \
                 PRAGMA wal_autocheckpoint = {LOG_PAGES};"
            ))
            .map_err(failed)?;
        records.keep_reserve();
        Ok(records)
    }

    /// Sees that there is the file that gives its room to what has to be written on a full disk.
    fn keep_reserve(&self) {
        if self.reserve.exists() {
            return;
        }
        use rustix::fs::{FallocateFlags, fallocate};
        let reserved = std::fs::File::create(&self.reserve)
            .map_err(|error| rustix::io::Errno::from_io_error(&error))
            .and_then(|file| fallocate(&file, FallocateFlags::empty(), 0, RESERVE).map_err(Some));
        if reserved.is_err() {
            // There is no room for it now; whoever opens the database next tries again.
            let _ = std::fs::remove_file(&self.reserve);
        }
    }

    fn pragma(&self, name: &str) -> rusqlite::Result<i64> {
        self.connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
    }

    /// First use. Changing to WAL needs the file alone for a moment and ignores the busy handler.
    fn make_tables(&mut self) -> rusqlite::Result<()> {
        let mut attempt = 0;
        loop {
            match self.connection.execute_batch("PRAGMA journal_mode = WAL;") {
                Ok(()) => break,
                Err(error) if is_busy(&error) && wait_for_others(attempt) => attempt += 1,
                Err(error) => return Err(error),
            }
        }
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()
    }

    fn refuse_if_too_new(&self, path: &Path, found: i64) -> Result<(), RecordError> {
        let oldest: String = self
            .connection
            .query_row("SELECT value FROM meta WHERE key = 'oldest_reader'", [], |row| row.get(0))
            .map_err(|source| RecordError::Open {
                path: path.to_owned(),
                source: DatabaseError(source),
            })?;
        let oldest = oldest.parse().unwrap_or(i64::MAX);
        if oldest > VERSION {
            return Err(RecordError::TooNew { path: path.to_owned(), found, oldest });
        }
        Ok(())
    }

    /// A value of the whole engine, such as the boot id that its state was settled for.
    pub(crate) fn meta(&self, key: &str) -> Result<Option<String>, RecordError> {
        use rusqlite::OptionalExtension as _;
        self.connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map_err(statement("read a setting"))
    }

    /// Sets such a value.
    pub(crate) fn set_meta(&self, key: &str, value: &str) -> Result<(), RecordError> {
        self.connection
            .execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", [key, value])
            .map_err(statement("write a setting"))?;
        Ok(())
    }

    /// Makes a change that has to be possible on a full disk, since it is on the way to more room:
    /// the reserve makes room for it. Bringing the log into the file lets the next change use the
    /// log from its beginning.
    fn with_little_room<T>(
        &mut self,
        change: impl Fn(&mut Self) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        match change(self) {
            Err(RecordError::Statement { source, .. }) if source.is_full() => {
                // What fails here is told by the change.
                let _ = std::fs::remove_file(&self.reserve);
                match change(self) {
                    Err(RecordError::Statement { source, .. }) if source.is_full() => {
                        let _ = self.pragma("wal_checkpoint(RESTART)");
                        change(self)
                    }
                    result => result,
                }
            }
            result => result,
        }
    }

    fn write(&mut self) -> Result<rusqlite::Transaction<'_>, RecordError> {
        self.connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(statement("begin a change"))
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

#[cfg(test)]
mod tests;
