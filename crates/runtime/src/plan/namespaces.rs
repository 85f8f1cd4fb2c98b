//! Which namespaces are made, which are joined, and in what order (config-linux.md, "Namespaces").

use std::os::fd::OwnedFd;
use std::path::Path;

use berth_spec::runtime::{Linux, LinuxNamespaceType};
use rustix::fs::{Mode, OFlags};

use crate::config::ConfigError;

/// `CLONE_NEW*` of a kind of namespace.
pub(crate) fn flag(kind: LinuxNamespaceType) -> u64 {
    (match kind {
        LinuxNamespaceType::Pid => libc::CLONE_NEWPID,
        LinuxNamespaceType::Network => libc::CLONE_NEWNET,
        LinuxNamespaceType::Mount => libc::CLONE_NEWNS,
        LinuxNamespaceType::Ipc => libc::CLONE_NEWIPC,
        LinuxNamespaceType::Uts => libc::CLONE_NEWUTS,
        LinuxNamespaceType::User => libc::CLONE_NEWUSER,
        LinuxNamespaceType::Cgroup => libc::CLONE_NEWCGROUP,
        LinuxNamespaceType::Time => libc::CLONE_NEWTIME,
    }) as u64
}

/// Its file below /proc/PID/ns.
pub(crate) fn file_name(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Network => "net",
        LinuxNamespaceType::Mount => "mnt",
        kind => kind.as_str(),
    }
}

/// A namespace to join.
#[derive(Debug)]
pub(crate) struct Join {
    /// Its kind.
    pub kind: LinuxNamespaceType,
    /// Its file, or a pidfd of a process in it.
    pub file: OwnedFd,
    /// The flags for `setns`; more than one only with a pidfd.
    pub flags: u64,
}

/// The namespaces of a new process.
#[derive(Debug, Default)]
pub(crate) struct NamespacePlan {
    /// Made by the clone itself.
    pub clone: u64,
    /// Made by the new process at once, while its maker has something else to do.
    pub first: u64,
    /// Made by the new process afterwards: what depends on its cgroup, and the time namespace.
    pub unshare: u64,
    /// A user namespace to join before the clone.
    pub join_user: Option<Join>,
    /// A PID namespace to join before the clone.
    pub join_pid: Option<Join>,
    /// Joined by the new process.
    pub join: Vec<Join>,
    /// Offsets of the clocks, as lines for `timens_offsets`.
    pub time_offsets: Vec<u8>,
    /// Whether ids have to be mapped before the process can go on.
    pub map_ids: bool,
    /// The id that it works as while it sets itself up, in a user namespace that it is new to.
    pub become_root: bool,
}

impl NamespacePlan {
    /// Every namespace that the process does not share with its maker.
    pub(crate) fn all(&self) -> u64 {
        let joined = self.join.iter().chain(&self.join_user).chain(&self.join_pid);
        self.clone | self.first | self.unshare | joined.fold(0, |flags, join| flags | join.flags)
    }

    /// Whether the process gets a mount namespace of its own.
    pub(crate) fn has_new(&self, kind: LinuxNamespaceType) -> bool {
        (self.clone | self.first | self.unshare) & flag(kind) != 0
    }

    /// Whether the process is in a user namespace other than its maker's.
    pub(crate) fn in_user_namespace(&self) -> bool {
        self.become_root
    }

    /// Leaves to the new process what it can make as well as its maker.
    pub(crate) fn leave_to_process(&mut self) {
        let own = flag(LinuxNamespaceType::Pid) | flag(LinuxNamespaceType::User);
        self.first = self.clone & !own;
        self.clone &= own;
    }

    /// Works out the namespaces of a container.
    pub(crate) fn new(linux: &Linux) -> Result<Self, ConfigError> {
        let mut plan = Self::default();
        let mut seen = 0;
        for (index, namespace) in linux.namespaces.iter().enumerate() {
            let field = format!("linux.namespaces[{index}]");
            let bit = flag(namespace.typ);
            if seen & bit != 0 {
                return Err(ConfigError::invalid(
                    field,
                    format!("the {} namespace is given twice", namespace.typ.as_str()),
                ));
            }
            seen |= bit;
            // An empty path is none: callers whose strings cannot be absent send it.
            match namespace.path.as_deref().filter(|path| !path.as_os_str().is_empty()) {
                Some(path) => plan.join(namespace.typ, path, &field)?,
                None => plan.make(namespace.typ),
            }
        }
        plan.check_mappings(linux)?;
        plan.time(linux)?;
        Ok(plan)
    }

    fn make(&mut self, kind: LinuxNamespaceType) {
        match kind {
            // The cgroup namespace has its root where the process is when it is made; the time
            // namespace can be entered only after its offsets are set.
            LinuxNamespaceType::Cgroup | LinuxNamespaceType::Time => self.unshare |= flag(kind),
            LinuxNamespaceType::User => {
                self.clone |= flag(kind);
                self.map_ids = true;
                self.become_root = true;
            }
            kind => self.clone |= flag(kind),
        }
    }

    fn join(
        &mut self,
        kind: LinuxNamespaceType,
        path: &Path,
        field: &str,
    ) -> Result<(), ConfigError> {
        if !path.is_absolute() {
            return Err(ConfigError::invalid(format!("{field}.path"), "must be absolute"));
        }
        let failed = |errno: rustix::io::Errno| ConfigError::Open {
            field: format!("{field}.path"),
            path: path.to_owned(),
            source: errno.into(),
        };
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed)?;
        // The namespace of a process that asked for its own again is left as it is.
        let own = rustix::fs::stat(format!("/proc/self/ns/{}", file_name(kind))).map_err(failed)?;
        let wanted = rustix::fs::fstat(&file).map_err(failed)?;
        if (own.st_dev, own.st_ino) == (wanted.st_dev, wanted.st_ino) {
            return Ok(());
        }
        let join = Join { kind, file, flags: flag(kind) };
        match kind {
            LinuxNamespaceType::User => {
                self.join_user = Some(join);
                self.become_root = true;
            }
            LinuxNamespaceType::Pid => self.join_pid = Some(join),
            _ => self.join.push(join),
        }
        Ok(())
    }

    fn check_mappings(&self, linux: &Linux) -> Result<(), ConfigError> {
        let given = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
        let new = self.has_new(LinuxNamespaceType::User);
        if given && !new && self.join_user.is_none() {
            return Err(ConfigError::invalid(
                "linux.uidMappings",
                "id mappings need a user namespace in linux.namespaces",
            ));
        }
        if new && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty()) {
            return Err(ConfigError::invalid(
                "linux.uidMappings",
                "a new user namespace needs linux.uidMappings and linux.gidMappings",
            ));
        }
        Ok(())
    }

    fn time(&mut self, linux: &Linux) -> Result<(), ConfigError> {
        if linux.time_offsets.is_empty() {
            return Ok(());
        }
        if !self.has_new(LinuxNamespaceType::Time) {
            return Err(ConfigError::invalid(
                "linux.timeOffsets",
                "offsets need a new time namespace in linux.namespaces",
            ));
        }
        for (clock, offset) in &linux.time_offsets {
            if clock != "monotonic" && clock != "boottime" {
                return Err(ConfigError::invalid(
                    format!("linux.timeOffsets.{clock}"),
                    "the clocks are monotonic and boottime",
                ));
            }
            let line =
                format!("{clock} {} {}\n", offset.secs.unwrap_or(0), offset.nanosecs.unwrap_or(0));
            self.time_offsets.extend_from_slice(line.as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_spec::runtime::{LinuxNamespace, LinuxTimeOffset};

    fn linux(kinds: &[LinuxNamespaceType]) -> Linux {
        let namespaces = kinds.iter().map(|&typ| LinuxNamespace { typ, path: None }).collect();
        Linux { namespaces, ..Linux::default() }
    }

    #[test]
    fn what_depends_on_the_cgroup_is_made_after_the_clone() {
        use LinuxNamespaceType::*;
        let plan = NamespacePlan::new(&linux(&[Pid, Mount, Cgroup])).unwrap();
        assert_eq!(plan.clone, flag(Pid) | flag(Mount));
        assert_eq!(plan.unshare, flag(Cgroup));
        assert_eq!(plan.all(), flag(Pid) | flag(Mount) | flag(Cgroup));
    }

    #[test]
    fn what_is_left_to_the_process_is_still_made() {
        use LinuxNamespaceType::*;
        let mut plan = NamespacePlan::new(&linux(&[Pid, Mount, Network, Cgroup])).unwrap();
        let all = plan.all();
        plan.leave_to_process();
        assert_eq!((plan.clone, plan.unshare), (flag(Pid), flag(Cgroup)));
        assert_eq!(plan.all(), all);
        assert!(plan.has_new(Mount));
    }

    #[test]
    fn contradictions_are_refused() {
        use LinuxNamespaceType::*;
        assert!(NamespacePlan::new(&linux(&[Pid, Pid])).is_err());
        assert!(NamespacePlan::new(&linux(&[User])).is_err());
        let mut offsets = linux(&[Pid]);
        offsets.time_offsets.insert("boottime".to_owned(), LinuxTimeOffset::default());
        assert!(NamespacePlan::new(&offsets).is_err());
    }

    #[test]
    fn the_own_namespace_is_not_joined_again() {
        let path = Some("/proc/self/ns/net".into());
        let namespaces = vec![LinuxNamespace { typ: LinuxNamespaceType::Network, path }];
        let plan = NamespacePlan::new(&Linux { namespaces, ..Linux::default() }).unwrap();
        assert_eq!(plan.all(), 0);
    }
}
