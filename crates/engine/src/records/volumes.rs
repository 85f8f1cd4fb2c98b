//! Records of volumes and of who uses them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::containers::{from_nanoseconds, nanoseconds};
use super::{RecordError, Records, is_constraint, statement};

/// A volume as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeRecord {
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    /// Made for one container.
    pub(crate) anonymous: bool,
    /// The image's content has been copied into it, or it is not wanted.
    pub(crate) populated: bool,
    pub(crate) labels: BTreeMap<String, String>,
}

/// A volume that a new container uses; made when it isn't there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeUse {
    pub(crate) name: String,
    pub(crate) anonymous: bool,
}

/// Makes the volumes that are missing and records their use.
pub(super) fn insert_uses(
    transaction: &Transaction<'_>,
    container: &str,
    created: Timestamp,
    volumes: &[VolumeUse],
) -> Result<(), RecordError> {
    for volume in volumes {
        transaction
            .execute(
                "INSERT OR IGNORE INTO volumes (name, created, anonymous, labels) \
                 VALUES (?1, ?2, ?3, '{}')",
                params![volume.name, nanoseconds(created), volume.anonymous],
            )
            .map_err(statement("record a volume"))?;
        transaction
            .execute(
                "INSERT OR IGNORE INTO volume_uses (volume, container) VALUES (?1, ?2)",
                [volume.name.as_str(), container],
            )
            .map_err(statement("record a volume's use"))?;
    }
    Ok(())
}

/// Anonymous volumes that this container alone uses.
pub(super) fn orphans_of(
    transaction: &Transaction<'_>,
    container: &str,
) -> Result<Vec<String>, RecordError> {
    let failed = || statement("look up a container's volumes");
    let mut query = transaction
        .prepare_cached(
            "SELECT name FROM volumes JOIN volume_uses AS used ON used.volume = name \
             WHERE used.container = ?1 AND anonymous = 1 AND NOT EXISTS \
             (SELECT 1 FROM volume_uses AS other WHERE other.volume = name AND other.container <> ?1)",
        )
        .map_err(failed())?;
    let rows = query.query_map([container], |row| row.get(0)).map_err(failed())?;
    rows.collect::<Result<_, _>>().map_err(failed())
}

impl Records {
    /// A volume by its name.
    pub(crate) fn volume(&self, name: &str) -> Result<Option<VolumeRecord>, RecordError> {
        self.connection
            .query_row(
                "SELECT name, created, anonymous, populated, labels FROM volumes WHERE name = ?1",
                [name],
                volume,
            )
            .optional()
            .map_err(statement("look up a volume"))
    }

    /// All volumes by name.
    pub(crate) fn volumes(&self) -> Result<Vec<VolumeRecord>, RecordError> {
        let failed = || statement("list volumes");
        let mut query = self
            .connection
            .prepare(
                "SELECT name, created, anonymous, populated, labels FROM volumes ORDER BY name",
            )
            .map_err(failed())?;
        let rows = query.query_map([], volume).map_err(failed())?;
        rows.collect::<Result<_, _>>().map_err(failed())
    }

    /// Ids of the containers that use a volume.
    pub(crate) fn volume_users(&self, name: &str) -> Result<Vec<String>, RecordError> {
        let failed = || statement("look up a volume's users");
        let mut query = self
            .connection
            .prepare_cached("SELECT container FROM volume_uses WHERE volume = ?1")
            .map_err(failed())?;
        let rows = query.query_map([name], |row| row.get(0)).map_err(failed())?;
        rows.collect::<Result<_, _>>().map_err(failed())
    }

    /// Records a new volume.
    pub(crate) fn insert_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        anonymous: bool,
    ) -> Result<(), RecordError> {
        let labels = serde_json::to_string(labels)
            .map_err(|source| RecordError::Encode { id: name.to_owned(), source })?;
        let inserted = self.connection.execute(
            "INSERT INTO volumes (name, created, anonymous, labels) VALUES (?1, ?2, ?3, ?4)",
            params![name, nanoseconds(Timestamp::now()), anonymous, labels],
        );
        match inserted {
            Ok(_) => Ok(()),
            Err(error) if is_constraint(&error) => {
                Err(RecordError::VolumeExists { name: name.to_owned() })
            }
            Err(error) => Err(statement("record a volume")(error)),
        }
    }

    /// Records that a volume has its first content.
    pub(crate) fn set_populated(&self, name: &str) -> Result<(), RecordError> {
        self.connection
            .execute("UPDATE volumes SET populated = 1 WHERE name = ?1", [name])
            .map_err(statement("record a volume's content"))?;
        Ok(())
    }

    /// Forgets a volume that nobody uses; `false` when it is not recorded.
    pub(crate) fn delete_volume(&mut self, name: &str) -> Result<bool, RecordError> {
        let transaction = self.write()?;
        let deleted = transaction.execute("DELETE FROM volumes WHERE name = ?1", [name]);
        match deleted {
            Ok(count) => {
                transaction.commit().map_err(statement("remove a volume"))?;
                Ok(count > 0)
            }
            Err(error) if is_constraint(&error) => {
                drop(transaction);
                let users = self.volume_users(name)?;
                Err(RecordError::VolumeInUse { name: name.to_owned(), users })
            }
            Err(error) => Err(statement("remove a volume")(error)),
        }
    }
}

fn volume(row: &rusqlite::Row<'_>) -> rusqlite::Result<VolumeRecord> {
    let labels: String = row.get(4)?;
    Ok(VolumeRecord {
        name: row.get(0)?,
        created: from_nanoseconds(row.get(1)?),
        anonymous: row.get(2)?,
        populated: row.get(3)?,
        labels: serde_json::from_str(&labels).unwrap_or_default(),
    })
}
