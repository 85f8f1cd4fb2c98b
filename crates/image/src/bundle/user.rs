//! Who a container's process runs as: `Config.User` against the image's `/etc/passwd` and
//! `/etc/group` (image-spec config.md "User", conversion.md "Config.User").

use berth_spec::runtime::User;

use crate::bundle::RootLookup;
use crate::error::{ErrorKind, Explain, FileError};

/// Why a user cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// The name is not in the image's `/etc/passwd`.
    #[error("the image has no user `{0}` in its /etc/passwd")]
    UnknownUser(String),
    /// The name is not in the image's `/etc/group`.
    #[error("the image has no group `{0}` in its /etc/group")]
    UnknownGroup(String),
    /// A number that no user or group can have.
    #[error("`{0}` is beyond the user and group ids that the kernel has")]
    Range(String),
    /// A file of the image could not be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Explain for UserError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownUser(_) | Self::UnknownGroup(_) | Self::Range(_) => ErrorKind::Invalid,
            Self::File(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::UnknownUser(_) | Self::UnknownGroup(_) => {
                vec!["give numbers instead, such as `--user 1000:1000`".to_owned()]
            }
            Self::Range(_) => Vec::new(),
            Self::File(error) => error.hints(),
        }
    }
}

/// A user as the image knows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageUser {
    /// Ids for `process.user`.
    pub user: User,
    /// The home directory, if the image's `/etc/passwd` says.
    pub home: Option<String>,
}

/// A line of `/etc/passwd`.
struct PasswdEntry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// A line of `/etc/group`.
struct GroupEntry {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Resolves `user`, `uid`, `user:group`, `uid:gid`, `uid:group` or `user:gid`; the empty string is
/// root.
///
/// Further groups are those that list the user as a member (and its own first, so that a group's
/// lesser permissions cannot be shed), but only for a user given by name, or not at all, and
/// without a group: the specification leaves them alone otherwise.
pub fn resolve_user(wanted: &str, root: &dyn RootLookup) -> Result<ImageUser, UserError> {
    let (user_part, group_part) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (wanted, None),
    };
    let passwd = passwd(root)?;
    let number = id(user_part)?;
    let entry = match (user_part, number) {
        ("", _) => passwd.iter().find(|entry| entry.uid == 0),
        (_, Some(uid)) => passwd.iter().find(|entry| entry.uid == uid),
        (name, None) => Some(
            passwd
                .iter()
                .find(|entry| entry.name == name)
                .ok_or_else(|| UserError::UnknownUser(name.to_owned()))?,
        ),
    };
    let uid = number.or(entry.map(|entry| entry.uid)).unwrap_or(0);
    let mut gid = entry.map_or(0, |entry| entry.gid);
    let mut additional_gids = Vec::new();
    match group_part {
        Some(group) => {
            gid = match id(group)? {
                Some(gid) => gid,
                None => groups(root)?
                    .into_iter()
                    .find(|entry| entry.name == group)
                    .map(|entry| entry.gid)
                    .ok_or_else(|| UserError::UnknownGroup(group.to_owned()))?,
            };
        }
        None if number.is_none() => {
            if let Some(entry) = entry {
                additional_gids = memberships(&entry.name, gid, &groups(root)?);
            }
        }
        None => {}
    }
    let home = entry.map(|entry| entry.home.clone()).filter(|home| !home.is_empty());
    Ok(ImageUser { user: User { uid, gid, additional_gids, ..User::default() }, home })
}

/// The ids of groups given by name or number, as `--group-add` wants them.
pub fn resolve_groups<S: AsRef<str>>(
    wanted: &[S],
    root: &dyn RootLookup,
) -> Result<Vec<u32>, UserError> {
    let mut known = None;
    wanted
        .iter()
        .map(AsRef::as_ref)
        .map(|name| {
            if let Some(gid) = id(name)? {
                return Ok(gid);
            }
            if known.is_none() {
                known = Some(groups(root)?);
            }
            known
                .iter()
                .flatten()
                .find(|entry| entry.name == name)
                .map(|entry| entry.gid)
                .ok_or_else(|| UserError::UnknownGroup(name.to_owned()))
        })
        .collect()
}

fn memberships(name: &str, gid: u32, groups: &[GroupEntry]) -> Vec<u32> {
    let mut gids = vec![gid];
    for group in groups {
        if group.members.iter().any(|member| member == name) && !gids.contains(&group.gid) {
            gids.push(group.gid);
        }
    }
    gids
}

/// A number, or `None` for a name.
fn id(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) if id != u32::MAX => Ok(Some(id)),
        _ => Err(UserError::Range(text.to_owned())),
    }
}

/// An id of a line; nobody has -1, which to the kernel means to stay who one is.
fn known_id(field: &str) -> Option<u32> {
    field.trim().parse().ok().filter(|&id| id != u32::MAX)
}

fn passwd(root: &dyn RootLookup) -> Result<Vec<PasswdEntry>, FileError> {
    Ok(lines(root, "/etc/passwd")?
        .iter()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
            let uid = fields.nth(1).and_then(known_id)?;
            let gid = fields.next().and_then(known_id)?;
            let home = fields.nth(1).unwrap_or_default().to_owned();
            Some(PasswdEntry { name, uid, gid, home })
        })
        .collect())
}

fn groups(root: &dyn RootLookup) -> Result<Vec<GroupEntry>, FileError> {
    Ok(lines(root, "/etc/group")?
        .iter()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
            let gid = fields.nth(1).and_then(known_id)?;
            let members = fields.next().unwrap_or_default();
            let members = members.split(',').map(|member| member.trim().to_owned()).collect();
            Some(GroupEntry { name, gid, members })
        })
        .collect())
}

fn lines(root: &dyn RootLookup, path: &str) -> Result<Vec<String>, FileError> {
    let bytes = root.read(path)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files;

    impl RootLookup for Files {
        fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
            Ok(match path {
                "/etc/passwd" => Some(
                    b"root:x:0:0:root:/root:/bin/sh\n# a remark\nbroken\n\
                      same:x:4294967295:0::/:/bin/sh\n\
                      alice:x:1000:1001::/home/alice:/bin/sh\n"
                        .to_vec(),
                ),
                "/etc/group" => Some(
                    b"root:x:0:\nwheel:x:10:root,alice\nalice:x:1001:\nextra:x:2000:alice".to_vec(),
                ),
                _ => None,
            })
        }
    }

    struct Nothing;

    impl RootLookup for Nothing {
        fn read(&self, _: &str) -> Result<Option<Vec<u8>>, FileError> {
            Ok(None)
        }
    }

    fn ids(wanted: &str) -> (u32, u32, Vec<u32>) {
        let user = resolve_user(wanted, &Files).unwrap().user;
        (user.uid, user.gid, user.additional_gids)
    }

    #[test]
    fn every_form_of_the_specification_resolves() {
        assert_eq!(ids(""), (0, 0, vec![0, 10]));
        assert_eq!(ids("root"), (0, 0, vec![0, 10]));
        assert_eq!(ids("alice"), (1000, 1001, vec![1001, 10, 2000]));
        assert_eq!(ids("1000"), (1000, 1001, vec![]));
        assert_eq!(ids("4242"), (4242, 0, vec![]));
        assert_eq!(ids("alice:extra"), (1000, 2000, vec![]));
        assert_eq!(ids("alice:7"), (1000, 7, vec![]));
        assert_eq!(ids("5:6"), (5, 6, vec![]));
        assert_eq!(ids("5:wheel"), (5, 10, vec![]));
        assert_eq!(resolve_user("alice", &Files).unwrap().home.unwrap(), "/home/alice");
    }

    #[test]
    fn what_the_image_does_not_know_is_an_error() {
        assert!(matches!(resolve_user("bob", &Files), Err(UserError::UnknownUser(_))));
        assert!(matches!(resolve_user("same", &Files), Err(UserError::UnknownUser(_))));
        assert!(matches!(resolve_user("alice:staff", &Files), Err(UserError::UnknownGroup(_))));
        assert!(matches!(resolve_user("4294967295", &Files), Err(UserError::Range(_))));
        assert!(matches!(resolve_user("root", &Nothing), Err(UserError::UnknownUser(_))));
        let nobody = resolve_user("", &Nothing).unwrap();
        assert_eq!((nobody.user.uid, nobody.user.gid), (0, 0));
    }

    #[test]
    fn groups_are_added_by_name_or_number() {
        assert_eq!(resolve_groups(&["wheel", "77"], &Files).unwrap(), [10, 77]);
        assert!(resolve_groups(&["staff"], &Files).is_err());
    }
}
