//! What `--help` says: one entry a command, laid out as runc's callers and tests know it.

use super::arguments::basename;

/// A command as it is explained.
pub(crate) struct Topic {
    /// Its name.
    name: &'static str,
    /// What it does, in a line.
    purpose: &'static str,
    /// The words after it.
    words: &'static str,
    /// Its options, a line each; `+` stands for [`SHARED`], `*` for [`CRIU`].
    options: &'static str,
}

/// Options of both `create` and `run`.
const SHARED: &str = "   -b, --bundle DIR         the bundle (default: the working directory)
   -f, --config FILE        the configuration (default: config.json in the bundle)
   --console-socket PATH    a unix socket that the terminal's master is sent over
   --pidfd-socket PATH      a unix socket that a pidfd of the first process is sent over
   --pid-file FILE          where to write the id of the first process
   --no-pivot               change the root without pivot_root, for one on a ramdisk
   --no-new-keyring         keep the caller's session keyring
   --preserve-fds N         pass N more descriptors on, after those of $LISTEN_FDS
";

/// Options of both `checkpoint` and `restore`.
const CRIU: &str =
    "   --image-path DIR         the files (default: checkpoint, in the working directory)
   --work-path DIR          criu's log and statistics (default: beside the files)
   --tcp-established        allow open TCP connections
   --ext-unix-sk            allow sockets that are connected to others outside
   --shell-job              allow a terminal that is not the container's
   --file-locks             keep locks on files
   --lazy-pages             move memory when it is asked for
   --auto-dedup             keep each page of memory in one of several checkpoints only
   --manage-cgroups-mode MODE
                            soft, full, strict or ignore, for cgroups below the container's
   --empty-ns network       leave the network namespace empty
";

const TOPICS: &[Topic] = &[
    Topic { name: "create", purpose: "create a container", words: "[options] ID", options: "+" },
    Topic {
        name: "run",
        purpose: "create and start a container",
        words: "[options] ID",
        options: "\
+   -d, --detach             do not wait for the container's end
   --keep                   do not delete the container at its end
   --no-subreaper           leave the container's orphans to the host's init
",
    },
    Topic { name: "start", purpose: "start a created container", words: "ID", options: "" },
    Topic {
        name: "exec",
        purpose: "execute another process in a container",
        words: "[options] ID COMMAND [ARGUMENT ...] | -p FILE [options] ID",
        options: "   -p, --process FILE       a file with a `process` object
   -d, --detach             do not wait for the process' end
   -t, --tty                give it a terminal
   -e, --env NAME=VALUE     set a variable of its environment
   -u, --user UID[:GID]     the user and group
   -g, --additional-gids N  another group
   -c, --cap NAME           another capability
   --cwd DIR                the working directory
   --console-socket PATH    a unix socket that the terminal's master is sent over
   --pidfd-socket PATH      a unix socket that a pidfd of the process is sent over
   --pid-file FILE          where to write the id of the process
   --preserve-fds N         pass N more descriptors on, after those of $LISTEN_FDS
   --cgroup [NAME,...:]PATH run it in a cgroup below the container's
   --no-new-privs           let it gain no privileges by exec
   --apparmor PROFILE       its AppArmor profile
   --process-label LABEL    its SELinux label
   --ignore-paused          do so in a paused container, too
",
    },
    Topic {
        name: "kill",
        purpose: "send a signal to a container",
        words: "[options] ID [SIGNAL]",
        options: "   -a, --all                to every process, not just the first
   -r, --regex              ID is an extended regular expression of ids
",
    },
    Topic {
        name: "delete",
        purpose: "delete a container",
        words: "[options] ID",
        options: "   -f, --force              kill it first, if it lives
   -r, --regex              ID is an extended regular expression of ids
",
    },
    Topic { name: "pause", purpose: "freeze a container's processes", words: "ID", options: "" },
    Topic { name: "resume", purpose: "thaw a container's processes", words: "ID", options: "" },
    Topic { name: "state", purpose: "print a container's state", words: "ID", options: "" },
    Topic {
        name: "list",
        purpose: "list containers",
        words: "[options]",
        options: "   -f, --format table|json  how (default: table)
   -q, --quiet              ids only
",
    },
    Topic {
        name: "ps",
        purpose: "list a container's processes",
        words: "[options] ID [PS OPTIONS]",
        options: "   -f, --format table|json  how (default: table)\n",
    },
    Topic {
        name: "update",
        purpose: "change a container's limits",
        words: "[options] ID",
        options:
            "   -r, --resources FILE|-   a file with a `linux.resources` object; options override it
   --memory BYTES           memory
   --memory-reservation BYTES
                            memory that is left to it when memory is scarce
   --memory-swap BYTES      memory and swap together; -1 for unlimited
   --cpu-period N           the period of the quota, in microseconds
   --cpu-quota N            CPU time in a period, in microseconds
   --cpu-burst N            unused CPU time that may be added, in microseconds
   --cpu-share N            relative weight of CPU time
   --cpu-idle 0|1           whether it runs only when nothing else does
   --cpu-rt-period N        the period of realtime CPU time, in microseconds
   --cpu-rt-runtime N       realtime CPU time in a period, in microseconds
   --cpuset-cpus LIST       CPUs
   --cpuset-mems LIST       memory nodes
   --pids-limit N           processes and threads
   --blkio-weight N         relative weight of block I/O, 10 to 1000
   --kernel-memory BYTES    obsolete, like --kernel-memory-tcp: changes nothing
   --l3-cache-schema TEXT   Intel RDT: L3 cache
   --mem-bw-schema TEXT     Intel RDT: memory bandwidth
",
    },
    Topic {
        name: "events",
        purpose: "print statistics and out-of-memory events, a line each",
        words: "[options] ID",
        options: "   --interval DURATION      how often statistics are printed (default: 5s)
   --stats                  print statistics once and end
",
    },
    Topic {
        name: "mounts",
        purpose: "add mounts to a running container, or remove them",
        words: "add|remove ID FILE",
        options: "   FILE holds an array of the specification's mounts, or an object with `mounts`\n",
    },
    Topic {
        name: "spec",
        purpose: "write a config.json",
        words: "[options]",
        options: "   -b, --bundle DIR         where to (default: the working directory)
   -f, --file NAME          the file's name (default: config.json)
   --rootless               one for an unprivileged user
",
    },
    Topic { name: "features", purpose: "print what is supported", words: "", options: "" },
    Topic {
        name: "checkpoint",
        purpose: "save a running container's processes to files, by criu",
        words: "[options] ID",
        options: "\
*   --leave-running          do not end the container
   --pre-dump               keep memory only, and let the container run on
   --parent-path DIR        the files of the --pre-dump before, relative to --image-path
   --page-server ADDRESS:PORT
                            send memory to a page server, or serve it with --lazy-pages
   --status-fd FD           gets a zero byte when lazy pages are ready to be asked for
   --link-remap             give files without a name one, when possible
   --tcp-skip-in-flight     leave out TCP connections that are not established yet
   --network-lock METHOD    keep the network quiet by iptables, nftables or skip
",
    },
    Topic {
        name: "restore",
        purpose: "restore a container from such files",
        words: "[options] ID",
        options: "\
*   -b, --bundle DIR         the bundle (default: the working directory)
   -d, --detach             do not wait for the container's end
   --pid-file FILE          where to write the id of the first process
   --console-socket PATH    a unix socket that the terminal's master is sent over
   --no-subreaper           leave the container's orphans to the host's init
   --no-pivot               taken for runc's sake: criu changes the root in its own way
   --lsm-profile TYPE:NAME  restore under this profile
   --lsm-mount-context CONTEXT
                            restore with this mount context
",
    },
];

const GLOBAL: &str =
    "   --root DIR               where states are kept (default: /run/berth-runtime, or
                            $XDG_RUNTIME_DIR/berth-runtime without privileges)
   --log FILE               write errors and warnings to FILE, too; or to syslog:NAME, or to
                            journald:NAME
   --log-format text|json   its format (default: text)
   --log-level LEVEL        error, warning (the default) or debug
   --debug                  the same as --log-level debug
   --systemd-cgroup         the same as --cgroup-manager systemd
   --cgroup-manager NAME    who makes cgroups: cgroupfs (the default), systemd or disabled
   --rootless true|false|auto
                            do without a cgroup of its own where none may be made (default: auto,
                            which is true without privileges)
   -v, --version            print the version
   -h, --help               print this, or what a command's options are
";

/// The explanation of a command, or of all.
pub(crate) fn text(command: Option<&str>) -> Option<String> {
    let program = basename();
    let Some(command) = command else {
        let mut text = format!(
            "NAME:\n   {program} - Open Container Initiative runtime\n\n\
             USAGE:\n   {program} [global options] COMMAND [options] [words]\n\nCOMMANDS:\n"
        );
        for topic in TOPICS {
            text.push_str(&format!("   {:<12}{}\n", topic.name, topic.purpose));
        }
        text.push_str("\nGLOBAL OPTIONS:\n");
        text.push_str(GLOBAL);
        return Some(text);
    };
    let topic = TOPICS.iter().find(|topic| topic.name == command)?;
    let mut text = format!(
        "NAME:\n   {program} {command} - {}\n\nUSAGE:\n   {program} {command} {}\n",
        topic.purpose, topic.words
    );
    let shared = |mark: char, shared| Some((shared, topic.options.strip_prefix(mark)?));
    let (shared, own) =
        shared('+', SHARED).or_else(|| shared('*', CRIU)).unwrap_or(("", topic.options));
    if !topic.options.is_empty() {
        text.push_str("\nOPTIONS:\n");
        text.push_str(shared);
        text.push_str(own);
    }
    Some(text)
}
