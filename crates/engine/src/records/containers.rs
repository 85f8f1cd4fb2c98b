//! Records of containers.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::{RecordError, Records, VolumeUse, is_constraint, statement};
use crate::plan::Details;

/// Somebody set out to start the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// The boot that it happened in.
    pub(crate) boot_id: String,
    /// The process that did.
    pub(crate) pid: i32,
    /// That process's start time (proc_pid_stat(5), field 22), so that its pid is never mistaken.
    pub(crate) pid_start_time: u64,
    /// When.
    pub(crate) at: Timestamp,
}

/// What became of the container when it ran last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// `None`: nobody saw it end.
    pub(crate) exit_code: Option<i32>,
    /// Whether the kernel killed it for lack of memory.
    #[serde(default)]
    pub(crate) oom_killed: bool,
    /// When it was started.
    pub(crate) started_at: Option<Timestamp>,
    /// When it ended.
    pub(crate) finished_at: Option<Timestamp>,
    /// How often it was started again by its policy.
    #[serde(default)]
    pub(crate) restarts: u32,
    /// Why it could not be started.
    #[serde(default)]
    pub(crate) error: Option<String>,
}

/// A container as it is recorded.
#[derive(Debug, Clone)]
pub(crate) struct ContainerRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    /// The image as it was named.
    pub(crate) image: String,
    /// Its id, hexadecimal; empty for a bare root file system.
    pub(crate) image_id: String,
    /// `--rm`.
    pub(crate) remove: bool,
    /// Its removal has begun and must be brought to its end.
    pub(crate) removing: bool,
    /// The last start, until its outcome is recorded.
    pub(crate) launch: Option<Launch>,
    /// The last run's end.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) details: Details,
}

/// What a new record is made of.
#[derive(Debug)]
pub(crate) struct NewContainer<'a> {
    pub(crate) id: &'a str,
    /// `None` asks for a generated one.
    pub(crate) name: Option<&'a str>,
    pub(crate) created: Timestamp,
    pub(crate) image: &'a str,
    pub(crate) image_id: &'a str,
    pub(crate) remove: bool,
    pub(crate) launch: Option<&'a Launch>,
    pub(crate) details: &'a Details,
    pub(crate) volumes: &'a [VolumeUse],
}

const COLUMNS: &str =
    "id, name, created, image, image_id, remove, removing, launch, outcome, details";
/// How many generated names are tried; each further one is less likely to be taken.
const NAME_ATTEMPTS: u32 = 64;

/// A row whose JSON is not read yet.
struct Raw {
    record: (String, String, i64, String, String, bool, bool),
    json: (Option<String>, Option<String>, String),
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok(Raw {
        record: (
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
            row.get(6)?,
        ),
        json: (row.get(7)?, row.get(8)?, row.get(9)?),
    })
}

impl Raw {
    fn read(self) -> Result<ContainerRecord, RecordError> {
        let (id, name, created, image, image_id, remove, removing) = self.record;
        let damaged = |source| RecordError::Damaged { id: id.clone(), source };
        let (launch, outcome, details) = &self.json;
        let launch = launch.as_deref().map(serde_json::from_str).transpose().map_err(damaged)?;
        let outcome = outcome.as_deref().map(serde_json::from_str).transpose().map_err(damaged)?;
        let details = serde_json::from_str(details).map_err(damaged)?;
        Ok(ContainerRecord {
            created: from_nanoseconds(created),
            id,
            name,
            image,
            image_id,
            remove,
            removing,
            launch,
            outcome,
            details,
        })
    }
}

pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

pub(super) fn from_nanoseconds(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn encode<T: Serialize>(id: &str, value: &T) -> Result<String, RecordError> {
    serde_json::to_string(value).map_err(|source| RecordError::Encode { id: id.to_owned(), source })
}

impl Records {
    /// Inserts a container, its name unique among all, with the volumes it uses; gives the name.
    /// This is the moment from which the container exists.
    pub(crate) fn insert(&mut self, new: &NewContainer<'_>) -> Result<String, RecordError> {
        let details = encode(new.id, new.details)?;
        let launch = new.launch.map(|launch| encode(new.id, launch)).transpose()?;
        let transaction = self.write()?;
        let mut attempt = 0;
        let name = loop {
            let name = new.name.map_or_else(|| crate::identity::new_name(attempt), str::to_owned);
            let inserted = transaction.execute(
                "INSERT INTO containers (id, name, created, image, image_id, remove, launch, details) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    new.id,
                    name,
                    nanoseconds(new.created),
                    new.image,
                    new.image_id,
                    new.remove,
                    launch,
                    details
                ],
            );
            match inserted {
                Ok(_) => break name,
                Err(error) if is_constraint(&error) => {
                    attempt += 1;
                    if new.name.is_none() && attempt < NAME_ATTEMPTS {
                        continue;
                    }
                    let holder = transaction
                        .query_row("SELECT id FROM containers WHERE name = ?1", [&name], |row| {
                            row.get(0)
                        })
                        .optional()
                        .map_err(statement("look up a name"))?;
                    return Err(match holder {
                        Some(holder) => RecordError::NameInUse { name, holder },
                        None => statement("record a container")(error),
                    });
                }
                Err(error) => return Err(statement("record a container")(error)),
            }
        };
        super::volumes::insert_uses(&transaction, new.id, new.created, new.volumes)?;
        transaction.commit().map_err(statement("record a container"))?;
        Ok(name)
    }

    /// A container by its id.
    pub(crate) fn container(&self, id: &str) -> Result<Option<ContainerRecord>, RecordError> {
        self.connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM containers WHERE id = ?1"))
            .and_then(|mut query| query.query_row([id], raw).optional())
            .map_err(statement("look up a container"))?
            .map(Raw::read)
            .transpose()
    }

    /// All containers, newest first.
    pub(crate) fn containers(&self) -> Result<Vec<ContainerRecord>, RecordError> {
        let mut query = self
            .connection
            .prepare(&format!("SELECT {COLUMNS} FROM containers ORDER BY created DESC, id"))
            .map_err(statement("list containers"))?;
        let rows = query.query_map([], raw).map_err(statement("list containers"))?;
        rows.map(|row| row.map_err(statement("list containers"))?.read()).collect()
    }

    /// Ids that a word may stand for: of the container with exactly that name or id, else of all
    /// whose id begins with it.
    pub(crate) fn matches(&self, word: &str) -> Result<Vec<String>, RecordError> {
        let failed = || statement("look up a container");
        let exact: Option<String> = self
            .connection
            .query_row(
                "SELECT id FROM containers WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1",
                [word],
                |row| row.get(0),
            )
            .optional()
            .map_err(failed())?;
        if let Some(id) = exact {
            return Ok(vec![id]);
        }
        if word.is_empty()
            || !word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Ok(Vec::new());
        }
        let mut query = self
            .connection
            .prepare("SELECT id FROM containers WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 8")
            .map_err(failed())?;
        let rows = query.query_map([word], |row| row.get(0)).map_err(failed())?;
        rows.collect::<Result<_, _>>().map_err(failed())
    }

    /// Records that somebody sets out to start it.
    pub(crate) fn set_launch(&self, id: &str, launch: &Launch) -> Result<(), RecordError> {
        let launch = encode(id, launch)?;
        self.change(
            id,
            "record a start",
            "UPDATE containers SET launch = ?2 WHERE id = ?1",
            &launch,
        )
    }

    /// Records how its last run ended.
    pub(crate) fn set_outcome(&mut self, id: &str, outcome: &Outcome) -> Result<(), RecordError> {
        let outcome = encode(id, outcome)?;
        let sql = "UPDATE containers SET launch = NULL, outcome = ?2 WHERE id = ?1";
        self.with_little_room(|records| records.change(id, "record an exit", sql, &outcome))
    }

    /// Forgets a start that came to nothing.
    pub(crate) fn clear_launch(&self, id: &str) -> Result<(), RecordError> {
        self.connection
            .execute("UPDATE containers SET launch = NULL WHERE id = ?1", [id])
            .map_err(statement("forget a start"))?;
        Ok(())
    }

    /// Changes what was asked of it.
    pub(crate) fn set_details(&self, id: &str, details: &Details) -> Result<(), RecordError> {
        let details = encode(id, details)?;
        self.change(
            id,
            "change a container",
            "UPDATE containers SET details = ?2 WHERE id = ?1",
            &details,
        )
    }

    /// Gives it another name.
    pub(crate) fn rename(&self, id: &str, name: &str) -> Result<(), RecordError> {
        let sql = "UPDATE containers SET name = ?2 WHERE id = ?1";
        match self.connection.execute(sql, [id, name]) {
            Ok(0) => Err(RecordError::Gone { id: id.to_owned() }),
            Ok(_) => Ok(()),
            Err(error) if is_constraint(&error) => {
                let holder = self.matches(name)?.into_iter().next().unwrap_or_default();
                Err(RecordError::NameInUse { name: name.to_owned(), holder })
            }
            Err(error) => Err(statement("rename a container")(error)),
        }
    }

    /// Records that its removal has begun; whoever finds it so afterwards brings it to its end.
    pub(crate) fn set_removing(&mut self, id: &str) -> Result<(), RecordError> {
        self.with_little_room(|records| {
            let changed = records
                .connection
                .execute("UPDATE containers SET removing = 1 WHERE id = ?1", [id]);
            changed.map(drop).map_err(statement("record a removal"))
        })
    }

    /// Forgets the container, and gives the names of anonymous volumes that nobody uses any more.
    pub(crate) fn delete(&mut self, id: &str) -> Result<Vec<String>, RecordError> {
        self.with_little_room(|records| records.try_delete(id))
    }

    fn try_delete(&mut self, id: &str) -> Result<Vec<String>, RecordError> {
        let transaction = self.write()?;
        let orphans = super::volumes::orphans_of(&transaction, id)?;
        transaction
            .execute("DELETE FROM containers WHERE id = ?1", [id])
            .map_err(statement("remove a container"))?;
        transaction.commit().map_err(statement("remove a container"))?;
        Ok(orphans)
    }

    fn change(
        &self,
        id: &str,
        action: &'static str,
        sql: &str,
        value: &str,
    ) -> Result<(), RecordError> {
        let changed = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut change| change.execute([id, value]))
            .map_err(statement(action))?;
        if changed == 0 {
            return Err(RecordError::Gone { id: id.to_owned() });
        }
        Ok(())
    }
}
