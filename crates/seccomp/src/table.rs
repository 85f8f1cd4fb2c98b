//! System call numbers of every architecture that a filter can be compiled for.
//!
//! One row a name, one column an architecture (in the order of [`Architecture`]'s variants). The
//! numbers are those of Linux 6.17's headers; x32's are without [`X32_BIT`], which every x32 call
//! carries. Names stand in the rows themselves rather than behind pointers, so that the table needs
//! no relocation and costs a process that never looks at it no memory. This module must not know
//! what a profile is.

use crate::architecture::Architecture;

/// The bit that marks an x32 call in the number that the kernel reports.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// The first of arm's private calls (`__ARM_NR_BASE`), far above all others.
pub(crate) const ARM_PRIVATE: u32 = 0x000f_0000;

/// How many architectures have a column.
const COLUMNS: usize = 6;

/// Marks a call that an architecture does not have.
const NO: u32 = u32::MAX;

/// The longest name.
const LONGEST: usize = 28;

/// The numbers of one system call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// The call's name, as the kernel's headers spell it, filled up with zeros.
    name: [u8; LONGEST],
    numbers: [u32; COLUMNS],
}

impl Row {
    /// The number that the kernel reports for the call on `architecture`.
    pub(crate) fn number(&self, architecture: Architecture) -> Option<u32> {
        let number = *self.numbers.get(architecture as usize)?;
        match (number, architecture) {
            (NO, _) => None,
            (number, Architecture::X32) => Some(number | X32_BIT),
            (number, _) => Some(number),
        }
    }

    /// The call's name.
    pub(crate) fn name(&self) -> &[u8] {
        let end = self.name.iter().position(|&byte| byte == 0).unwrap_or(LONGEST);
        self.name.get(..end).unwrap_or_default()
    }
}

/// Finds a call by its name.
pub(crate) fn look_up(name: &str) -> Option<&'static Row> {
    let mut padded = [0; LONGEST];
    padded.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    let mut slot = hash(&padded);
    loop {
        let row = ROWS.get(usize::from(*INDEX.get(slot)?))?;
        if row.name == padded {
            return Some(row);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// How many places the index has: twice as many as there are names, or more, so that a search soon
/// meets an empty one.
const SLOTS: usize = 1024;

/// Marks an empty place of the index.
const EMPTY: u16 = u16::MAX;

/// Where each name's row is, at the place of the name's hash or the next free one behind it.
static INDEX: [u16; SLOTS] = index();

#[expect(clippy::indexing_slicing, reason = "runs at compile time, where a panic is an error")]
const fn index() -> [u16; SLOTS] {
    let mut index = [EMPTY; SLOTS];
    let mut row = 0;
    while row < ROWS.len() {
        let mut slot = hash(&ROWS[row].name);
        while index[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = row as u16;
        row += 1;
    }
    index
}

/// The place of a name in the index: FNV-1a.
#[expect(clippy::indexing_slicing, reason = "const functions have no iterators")]
const fn hash(name: &[u8; LONGEST]) -> usize {
    let mut hash = 0x811c_9dc5_u32;
    let mut place = 0;
    while place < LONGEST && name[place] != 0 {
        hash = (hash ^ name[place] as u32).wrapping_mul(0x0100_0193);
        place += 1;
    }
    (hash ^ (hash >> 16)) as usize % SLOTS
}

#[expect(clippy::indexing_slicing, reason = "runs at compile time, where a panic is an error")]
const fn row(name: &str, numbers: [u32; COLUMNS]) -> Row {
    let mut padded = [0; LONGEST];
    let mut place = 0;
    while place < name.len() {
        padded[place] = name.as_bytes()[place];
        place += 1;
    }
    Row { name: padded, numbers }
}

/// x86_64, x86, x32, aarch64, arm, riscv64.
pub(crate) static ROWS: &[Row] = &[
    row("_llseek", [NO, 140, NO, NO, 140, NO]),
    row("_newselect", [NO, 142, NO, NO, 142, NO]),
    row("_sysctl", [156, 149, NO, NO, 149, NO]),
    row("accept", [43, NO, 43, 202, 285, 202]),
    row("accept4", [288, 364, 288, 242, 366, 242]),
    row("access", [21, 33, 21, NO, 33, NO]),
    row("acct", [163, 51, 163, 89, 51, 89]),
    row("add_key", [248, 286, 248, 217, 309, 217]),
    row("adjtimex", [159, 124, 159, 171, 124, 171]),
    row("afs_syscall", [183, 137, 183, NO, NO, NO]),
    row("alarm", [37, 27, 37, NO, NO, NO]),
    row("arch_prctl", [158, 384, 158, NO, NO, NO]),
    row("arm_fadvise64_64", [NO, NO, NO, NO, 270, NO]),
    row("arm_sync_file_range", [NO, NO, NO, NO, 341, NO]),
    row("bdflush", [NO, 134, NO, NO, 134, NO]),
    row("bind", [49, 361, 49, 200, 282, 200]),
    row("bpf", [321, 357, 321, 280, 386, 280]),
    row("break", [NO, 17, NO, NO, NO, NO]),
    row("breakpoint", [NO, NO, NO, NO, 983041, NO]),
    row("brk", [12, 45, 12, 214, 45, 214]),
    row("cacheflush", [NO, NO, NO, NO, 983042, NO]),
    row("cachestat", [451, 451, 451, 451, 451, 451]),
    row("capget", [125, 184, 125, 90, 184, 90]),
    row("capset", [126, 185, 126, 91, 185, 91]),
    row("chdir", [80, 12, 80, 49, 12, 49]),
    row("chmod", [90, 15, 90, NO, 15, NO]),
    row("chown", [92, 182, 92, NO, 182, NO]),
    row("chown32", [NO, 212, NO, NO, 212, NO]),
    row("chroot", [161, 61, 161, 51, 61, 51]),
    row("clock_adjtime", [305, 343, 305, 266, 372, 266]),
    row("clock_adjtime64", [NO, 405, NO, NO, 405, NO]),
    row("clock_getres", [229, 266, 229, 114, 264, 114]),
    row("clock_getres_time64", [NO, 406, NO, NO, 406, NO]),
    row("clock_gettime", [228, 265, 228, 113, 263, 113]),
    row("clock_gettime64", [NO, 403, NO, NO, 403, NO]),
    row("clock_nanosleep", [230, 267, 230, 115, 265, 115]),
    row("clock_nanosleep_time64", [NO, 407, NO, NO, 407, NO]),
    row("clock_settime", [227, 264, 227, 112, 262, 112]),
    row("clock_settime64", [NO, 404, NO, NO, 404, NO]),
    row("clone", [56, 120, 56, 220, 120, 220]),
    row("clone3", [435, 435, 435, 435, 435, 435]),
    row("close", [3, 6, 3, 57, 6, 57]),
    row("close_range", [436, 436, 436, 436, 436, 436]),
    row("connect", [42, 362, 42, 203, 283, 203]),
    row("copy_file_range", [326, 377, 326, 285, 391, 285]),
    row("creat", [85, 8, 85, NO, 8, NO]),
    row("create_module", [174, 127, NO, NO, NO, NO]),
    row("delete_module", [176, 129, 176, 106, 129, 106]),
    row("dup", [32, 41, 32, 23, 41, 23]),
    row("dup2", [33, 63, 33, NO, 63, NO]),
    row("dup3", [292, 330, 292, 24, 358, 24]),
    row("epoll_create", [213, 254, 213, NO, 250, NO]),
    row("epoll_create1", [291, 329, 291, 20, 357, 20]),
    row("epoll_ctl", [233, 255, 233, 21, 251, 21]),
    row("epoll_ctl_old", [214, NO, NO, NO, NO, NO]),
    row("epoll_pwait", [281, 319, 281, 22, 346, 22]),
    row("epoll_pwait2", [441, 441, 441, 441, 441, 441]),
    row("epoll_wait", [232, 256, 232, NO, 252, NO]),
    row("epoll_wait_old", [215, NO, NO, NO, NO, NO]),
    row("eventfd", [284, 323, 284, NO, 351, NO]),
    row("eventfd2", [290, 328, 290, 19, 356, 19]),
    row("execve", [59, 11, 520, 221, 11, 221]),
    row("execveat", [322, 358, 545, 281, 387, 281]),
    row("exit", [60, 1, 60, 93, 1, 93]),
    row("exit_group", [231, 252, 231, 94, 248, 94]),
    row("faccessat", [269, 307, 269, 48, 334, 48]),
    row("faccessat2", [439, 439, 439, 439, 439, 439]),
    row("fadvise64", [221, 250, 221, 223, NO, 223]),
    row("fadvise64_64", [NO, 272, NO, NO, NO, NO]),
    row("fallocate", [285, 324, 285, 47, 352, 47]),
    row("fanotify_init", [300, 338, 300, 262, 367, 262]),
    row("fanotify_mark", [301, 339, 301, 263, 368, 263]),
    row("fchdir", [81, 133, 81, 50, 133, 50]),
    row("fchmod", [91, 94, 91, 52, 94, 52]),
    row("fchmodat", [268, 306, 268, 53, 333, 53]),
    row("fchmodat2", [452, 452, 452, 452, 452, 452]),
    row("fchown", [93, 95, 93, 55, 95, 55]),
    row("fchown32", [NO, 207, NO, NO, 207, NO]),
    row("fchownat", [260, 298, 260, 54, 325, 54]),
    row("fcntl", [72, 55, 72, 25, 55, 25]),
    row("fcntl64", [NO, 221, NO, NO, 221, NO]),
    row("fdatasync", [75, 148, 75, 83, 148, 83]),
    row("fgetxattr", [193, 231, 193, 10, 231, 10]),
    row("file_getattr", [468, 468, 468, 468, 468, 468]),
    row("file_setattr", [469, 469, 469, 469, 469, 469]),
    row("finit_module", [313, 350, 313, 273, 379, 273]),
    row("flistxattr", [196, 234, 196, 13, 234, 13]),
    row("flock", [73, 143, 73, 32, 143, 32]),
    row("fork", [57, 2, 57, NO, 2, NO]),
    row("fremovexattr", [199, 237, 199, 16, 237, 16]),
    row("fsconfig", [431, 431, 431, 431, 431, 431]),
    row("fsetxattr", [190, 228, 190, 7, 228, 7]),
    row("fsmount", [432, 432, 432, 432, 432, 432]),
    row("fsopen", [430, 430, 430, 430, 430, 430]),
    row("fspick", [433, 433, 433, 433, 433, 433]),
    row("fstat", [5, 108, 5, 80, 108, 80]),
    row("fstat64", [NO, 197, NO, NO, 197, NO]),
    row("fstatat64", [NO, 300, NO, NO, 327, NO]),
    row("fstatfs", [138, 100, 138, 44, 100, 44]),
    row("fstatfs64", [NO, 269, NO, NO, 267, NO]),
    row("fsync", [74, 118, 74, 82, 118, 82]),
    row("ftime", [NO, 35, NO, NO, NO, NO]),
    row("ftruncate", [77, 93, 77, 46, 93, 46]),
    row("ftruncate64", [NO, 194, NO, NO, 194, NO]),
    row("futex", [202, 240, 202, 98, 240, 98]),
    row("futex_requeue", [456, 456, 456, 456, 456, 456]),
    row("futex_time64", [NO, 422, NO, NO, 422, NO]),
    row("futex_wait", [455, 455, 455, 455, 455, 455]),
    row("futex_waitv", [449, 449, 449, 449, 449, 449]),
    row("futex_wake", [454, 454, 454, 454, 454, 454]),
    row("futimesat", [261, 299, 261, NO, 326, NO]),
    row("get_kernel_syms", [177, 130, NO, NO, NO, NO]),
    row("get_mempolicy", [239, 275, 239, 236, 320, 236]),
    row("get_robust_list", [274, 312, 531, 100, 339, 100]),
    row("get_thread_area", [211, 244, NO, NO, NO, NO]),
    row("get_tls", [NO, NO, NO, NO, 983046, NO]),
    row("getcpu", [309, 318, 309, 168, 345, 168]),
    row("getcwd", [79, 183, 79, 17, 183, 17]),
    row("getdents", [78, 141, 78, NO, 141, NO]),
    row("getdents64", [217, 220, 217, 61, 217, 61]),
    row("getegid", [108, 50, 108, 177, 50, 177]),
    row("getegid32", [NO, 202, NO, NO, 202, NO]),
    row("geteuid", [107, 49, 107, 175, 49, 175]),
    row("geteuid32", [NO, 201, NO, NO, 201, NO]),
    row("getgid", [104, 47, 104, 176, 47, 176]),
    row("getgid32", [NO, 200, NO, NO, 200, NO]),
    row("getgroups", [115, 80, 115, 158, 80, 158]),
    row("getgroups32", [NO, 205, NO, NO, 205, NO]),
    row("getitimer", [36, 105, 36, 102, 105, 102]),
    row("getpeername", [52, 368, 52, 205, 287, 205]),
    row("getpgid", [121, 132, 121, 155, 132, 155]),
    row("getpgrp", [111, 65, 111, NO, 65, NO]),
    row("getpid", [39, 20, 39, 172, 20, 172]),
    row("getpmsg", [181, 188, 181, NO, NO, NO]),
    row("getppid", [110, 64, 110, 173, 64, 173]),
    row("getpriority", [140, 96, 140, 141, 96, 141]),
    row("getrandom", [318, 355, 318, 278, 384, 278]),
    row("getresgid", [120, 171, 120, 150, 171, 150]),
    row("getresgid32", [NO, 211, NO, NO, 211, NO]),
    row("getresuid", [118, 165, 118, 148, 165, 148]),
    row("getresuid32", [NO, 209, NO, NO, 209, NO]),
    row("getrlimit", [97, 76, 97, 163, NO, 163]),
    row("getrusage", [98, 77, 98, 165, 77, 165]),
    row("getsid", [124, 147, 124, 156, 147, 156]),
    row("getsockname", [51, 367, 51, 204, 286, 204]),
    row("getsockopt", [55, 365, 542, 209, 295, 209]),
    row("gettid", [186, 224, 186, 178, 224, 178]),
    row("gettimeofday", [96, 78, 96, 169, 78, 169]),
    row("getuid", [102, 24, 102, 174, 24, 174]),
    row("getuid32", [NO, 199, NO, NO, 199, NO]),
    row("getxattr", [191, 229, 191, 8, 229, 8]),
    row("getxattrat", [464, 464, 464, 464, 464, 464]),
    row("gtty", [NO, 32, NO, NO, NO, NO]),
    row("idle", [NO, 112, NO, NO, NO, NO]),
    row("init_module", [175, 128, 175, 105, 128, 105]),
    row("inotify_add_watch", [254, 292, 254, 27, 317, 27]),
    row("inotify_init", [253, 291, 253, NO, 316, NO]),
    row("inotify_init1", [294, 332, 294, 26, 360, 26]),
    row("inotify_rm_watch", [255, 293, 255, 28, 318, 28]),
    row("io_cancel", [210, 249, 210, 3, 247, 3]),
    row("io_destroy", [207, 246, 207, 1, 244, 1]),
    row("io_getevents", [208, 247, 208, 4, 245, 4]),
    row("io_pgetevents", [333, 385, 333, 292, 399, 292]),
    row("io_pgetevents_time64", [NO, 416, NO, NO, 416, NO]),
    row("io_setup", [206, 245, 543, 0, 243, 0]),
    row("io_submit", [209, 248, 544, 2, 246, 2]),
    row("io_uring_enter", [426, 426, 426, 426, 426, 426]),
    row("io_uring_register", [427, 427, 427, 427, 427, 427]),
    row("io_uring_setup", [425, 425, 425, 425, 425, 425]),
    row("ioctl", [16, 54, 514, 29, 54, 29]),
    row("ioperm", [173, 101, 173, NO, NO, NO]),
    row("iopl", [172, 110, 172, NO, NO, NO]),
    row("ioprio_get", [252, 290, 252, 31, 315, 31]),
    row("ioprio_set", [251, 289, 251, 30, 314, 30]),
    row("ipc", [NO, 117, NO, NO, NO, NO]),
    row("kcmp", [312, 349, 312, 272, 378, 272]),
    row("kexec_file_load", [320, NO, 320, 294, 401, 294]),
    row("kexec_load", [246, 283, 528, 104, 347, 104]),
    row("keyctl", [250, 288, 250, 219, 311, 219]),
    row("kill", [62, 37, 62, 129, 37, 129]),
    row("landlock_add_rule", [445, 445, 445, 445, 445, 445]),
    row("landlock_create_ruleset", [444, 444, 444, 444, 444, 444]),
    row("landlock_restrict_self", [446, 446, 446, 446, 446, 446]),
    row("lchown", [94, 16, 94, NO, 16, NO]),
    row("lchown32", [NO, 198, NO, NO, 198, NO]),
    row("lgetxattr", [192, 230, 192, 9, 230, 9]),
    row("link", [86, 9, 86, NO, 9, NO]),
    row("linkat", [265, 303, 265, 37, 330, 37]),
    row("listen", [50, 363, 50, 201, 284, 201]),
    row("listmount", [458, 458, 458, 458, 458, 458]),
    row("listxattr", [194, 232, 194, 11, 232, 11]),
    row("listxattrat", [465, 465, 465, 465, 465, 465]),
    row("llistxattr", [195, 233, 195, 12, 233, 12]),
    row("lock", [NO, 53, NO, NO, NO, NO]),
    row("lookup_dcookie", [212, 253, 212, 18, 249, 18]),
    row("lremovexattr", [198, 236, 198, 15, 236, 15]),
    row("lseek", [8, 19, 8, 62, 19, 62]),
    row("lsetxattr", [189, 227, 189, 6, 227, 6]),
    row("lsm_get_self_attr", [459, 459, 459, 459, 459, 459]),
    row("lsm_list_modules", [461, 461, 461, 461, 461, 461]),
    row("lsm_set_self_attr", [460, 460, 460, 460, 460, 460]),
    row("lstat", [6, 107, 6, NO, 107, NO]),
    row("lstat64", [NO, 196, NO, NO, 196, NO]),
    row("madvise", [28, 219, 28, 233, 220, 233]),
    row("map_shadow_stack", [453, 453, 453, 453, 453, 453]),
    row("mbind", [237, 274, 237, 235, 319, 235]),
    row("membarrier", [324, 375, 324, 283, 389, 283]),
    row("memfd_create", [319, 356, 319, 279, 385, 279]),
    row("memfd_secret", [447, 447, 447, 447, NO, 447]),
    row("migrate_pages", [256, 294, 256, 238, 400, 238]),
    row("mincore", [27, 218, 27, 232, 219, 232]),
    row("mkdir", [83, 39, 83, NO, 39, NO]),
    row("mkdirat", [258, 296, 258, 34, 323, 34]),
    row("mknod", [133, 14, 133, NO, 14, NO]),
    row("mknodat", [259, 297, 259, 33, 324, 33]),
    row("mlock", [149, 150, 149, 228, 150, 228]),
    row("mlock2", [325, 376, 325, 284, 390, 284]),
    row("mlockall", [151, 152, 151, 230, 152, 230]),
    row("mmap", [9, 90, 9, 222, NO, 222]),
    row("mmap2", [NO, 192, NO, NO, 192, NO]),
    row("modify_ldt", [154, 123, 154, NO, NO, NO]),
    row("mount", [165, 21, 165, 40, 21, 40]),
    row("mount_setattr", [442, 442, 442, 442, 442, 442]),
    row("move_mount", [429, 429, 429, 429, 429, 429]),
    row("move_pages", [279, 317, 533, 239, 344, 239]),
    row("mprotect", [10, 125, 10, 226, 125, 226]),
    row("mpx", [NO, 56, NO, NO, NO, NO]),
    row("mq_getsetattr", [245, 282, 245, 185, 279, 185]),
    row("mq_notify", [244, 281, 527, 184, 278, 184]),
    row("mq_open", [240, 277, 240, 180, 274, 180]),
    row("mq_timedreceive", [243, 280, 243, 183, 277, 183]),
    row("mq_timedreceive_time64", [NO, 419, NO, NO, 419, NO]),
    row("mq_timedsend", [242, 279, 242, 182, 276, 182]),
    row("mq_timedsend_time64", [NO, 418, NO, NO, 418, NO]),
    row("mq_unlink", [241, 278, 241, 181, 275, 181]),
    row("mremap", [25, 163, 25, 216, 163, 216]),
    row("mseal", [462, 462, 462, 462, 462, 462]),
    row("msgctl", [71, 402, 71, 187, 304, 187]),
    row("msgget", [68, 399, 68, 186, 303, 186]),
    row("msgrcv", [70, 401, 70, 188, 302, 188]),
    row("msgsnd", [69, 400, 69, 189, 301, 189]),
    row("msync", [26, 144, 26, 227, 144, 227]),
    row("munlock", [150, 151, 150, 229, 151, 229]),
    row("munlockall", [152, 153, 152, 231, 153, 231]),
    row("munmap", [11, 91, 11, 215, 91, 215]),
    row("name_to_handle_at", [303, 341, 303, 264, 370, 264]),
    row("nanosleep", [35, 162, 35, 101, 162, 101]),
    row("newfstatat", [262, NO, 262, 79, NO, 79]),
    row("nfsservctl", [180, 169, NO, 42, 169, 42]),
    row("nice", [NO, 34, NO, NO, 34, NO]),
    row("oldfstat", [NO, 28, NO, NO, NO, NO]),
    row("oldlstat", [NO, 84, NO, NO, NO, NO]),
    row("oldolduname", [NO, 59, NO, NO, NO, NO]),
    row("oldstat", [NO, 18, NO, NO, NO, NO]),
    row("olduname", [NO, 109, NO, NO, NO, NO]),
    row("open", [2, 5, 2, NO, 5, NO]),
    row("open_by_handle_at", [304, 342, 304, 265, 371, 265]),
    row("open_tree", [428, 428, 428, 428, 428, 428]),
    row("open_tree_attr", [467, 467, 467, 467, 467, 467]),
    row("openat", [257, 295, 257, 56, 322, 56]),
    row("openat2", [437, 437, 437, 437, 437, 437]),
    row("pause", [34, 29, 34, NO, 29, NO]),
    row("pciconfig_iobase", [NO, NO, NO, NO, 271, NO]),
    row("pciconfig_read", [NO, NO, NO, NO, 272, NO]),
    row("pciconfig_write", [NO, NO, NO, NO, 273, NO]),
    row("perf_event_open", [298, 336, 298, 241, 364, 241]),
    row("personality", [135, 136, 135, 92, 136, 92]),
    row("pidfd_getfd", [438, 438, 438, 438, 438, 438]),
    row("pidfd_open", [434, 434, 434, 434, 434, 434]),
    row("pidfd_send_signal", [424, 424, 424, 424, 424, 424]),
    row("pipe", [22, 42, 22, NO, 42, NO]),
    row("pipe2", [293, 331, 293, 59, 359, 59]),
    row("pivot_root", [155, 217, 155, 41, 218, 41]),
    row("pkey_alloc", [330, 381, 330, 289, 395, 289]),
    row("pkey_free", [331, 382, 331, 290, 396, 290]),
    row("pkey_mprotect", [329, 380, 329, 288, 394, 288]),
    row("poll", [7, 168, 7, NO, 168, NO]),
    row("ppoll", [271, 309, 271, 73, 336, 73]),
    row("ppoll_time64", [NO, 414, NO, NO, 414, NO]),
    row("prctl", [157, 172, 157, 167, 172, 167]),
    row("pread64", [17, 180, 17, 67, 180, 67]),
    row("preadv", [295, 333, 534, 69, 361, 69]),
    row("preadv2", [327, 378, 546, 286, 392, 286]),
    row("prlimit64", [302, 340, 302, 261, 369, 261]),
    row("process_madvise", [440, 440, 440, 440, 440, 440]),
    row("process_mrelease", [448, 448, 448, 448, 448, 448]),
    row("process_vm_readv", [310, 347, 539, 270, 376, 270]),
    row("process_vm_writev", [311, 348, 540, 271, 377, 271]),
    row("prof", [NO, 44, NO, NO, NO, NO]),
    row("profil", [NO, 98, NO, NO, NO, NO]),
    row("pselect6", [270, 308, 270, 72, 335, 72]),
    row("pselect6_time64", [NO, 413, NO, NO, 413, NO]),
    row("ptrace", [101, 26, 521, 117, 26, 117]),
    row("putpmsg", [182, 189, 182, NO, NO, NO]),
    row("pwrite64", [18, 181, 18, 68, 181, 68]),
    row("pwritev", [296, 334, 535, 70, 362, 70]),
    row("pwritev2", [328, 379, 547, 287, 393, 287]),
    row("query_module", [178, 167, NO, NO, NO, NO]),
    row("quotactl", [179, 131, 179, 60, 131, 60]),
    row("quotactl_fd", [443, 443, 443, 443, 443, 443]),
    row("read", [0, 3, 0, 63, 3, 63]),
    row("readahead", [187, 225, 187, 213, 225, 213]),
    row("readdir", [NO, 89, NO, NO, NO, NO]),
    row("readlink", [89, 85, 89, NO, 85, NO]),
    row("readlinkat", [267, 305, 267, 78, 332, 78]),
    row("readv", [19, 145, 515, 65, 145, 65]),
    row("reboot", [169, 88, 169, 142, 88, 142]),
    row("recv", [NO, NO, NO, NO, 291, NO]),
    row("recvfrom", [45, 371, 517, 207, 292, 207]),
    row("recvmmsg", [299, 337, 537, 243, 365, 243]),
    row("recvmmsg_time64", [NO, 417, NO, NO, 417, NO]),
    row("recvmsg", [47, 372, 519, 212, 297, 212]),
    row("remap_file_pages", [216, 257, 216, 234, 253, 234]),
    row("removexattr", [197, 235, 197, 14, 235, 14]),
    row("removexattrat", [466, 466, 466, 466, 466, 466]),
    row("rename", [82, 38, 82, NO, 38, NO]),
    row("renameat", [264, 302, 264, 38, 329, NO]),
    row("renameat2", [316, 353, 316, 276, 382, 276]),
    row("request_key", [249, 287, 249, 218, 310, 218]),
    row("restart_syscall", [219, 0, 219, 128, 0, 128]),
    row("riscv_flush_icache", [NO, NO, NO, NO, NO, 259]),
    row("riscv_hwprobe", [NO, NO, NO, NO, NO, 258]),
    row("rmdir", [84, 40, 84, NO, 40, NO]),
    row("rseq", [334, 386, 334, 293, 398, 293]),
    row("rt_sigaction", [13, 174, 512, 134, 174, 134]),
    row("rt_sigpending", [127, 176, 522, 136, 176, 136]),
    row("rt_sigprocmask", [14, 175, 14, 135, 175, 135]),
    row("rt_sigqueueinfo", [129, 178, 524, 138, 178, 138]),
    row("rt_sigreturn", [15, 173, 513, 139, 173, 139]),
    row("rt_sigsuspend", [130, 179, 130, 133, 179, 133]),
    row("rt_sigtimedwait", [128, 177, 523, 137, 177, 137]),
    row("rt_sigtimedwait_time64", [NO, 421, NO, NO, 421, NO]),
    row("rt_tgsigqueueinfo", [297, 335, 536, 240, 363, 240]),
    row("sched_get_priority_max", [146, 159, 146, 125, 159, 125]),
    row("sched_get_priority_min", [147, 160, 147, 126, 160, 126]),
    row("sched_getaffinity", [204, 242, 204, 123, 242, 123]),
    row("sched_getattr", [315, 352, 315, 275, 381, 275]),
    row("sched_getparam", [143, 155, 143, 121, 155, 121]),
    row("sched_getscheduler", [145, 157, 145, 120, 157, 120]),
    row("sched_rr_get_interval", [148, 161, 148, 127, 161, 127]),
    row("sched_rr_get_interval_time64", [NO, 423, NO, NO, 423, NO]),
    row("sched_setaffinity", [203, 241, 203, 122, 241, 122]),
    row("sched_setattr", [314, 351, 314, 274, 380, 274]),
    row("sched_setparam", [142, 154, 142, 118, 154, 118]),
    row("sched_setscheduler", [144, 156, 144, 119, 156, 119]),
    row("sched_yield", [24, 158, 24, 124, 158, 124]),
    row("seccomp", [317, 354, 317, 277, 383, 277]),
    row("security", [185, NO, 185, NO, NO, NO]),
    row("select", [23, 82, 23, NO, NO, NO]),
    row("semctl", [66, 394, 66, 191, 300, 191]),
    row("semget", [64, 393, 64, 190, 299, 190]),
    row("semop", [65, NO, 65, 193, 298, 193]),
    row("semtimedop", [220, NO, 220, 192, 312, 192]),
    row("semtimedop_time64", [NO, 420, NO, NO, 420, NO]),
    row("send", [NO, NO, NO, NO, 289, NO]),
    row("sendfile", [40, 187, 40, 71, 187, 71]),
    row("sendfile64", [NO, 239, NO, NO, 239, NO]),
    row("sendmmsg", [307, 345, 538, 269, 374, 269]),
    row("sendmsg", [46, 370, 518, 211, 296, 211]),
    row("sendto", [44, 369, 44, 206, 290, 206]),
    row("set_mempolicy", [238, 276, 238, 237, 321, 237]),
    row("set_mempolicy_home_node", [450, 450, 450, 450, 450, 450]),
    row("set_robust_list", [273, 311, 530, 99, 338, 99]),
    row("set_thread_area", [205, 243, NO, NO, NO, NO]),
    row("set_tid_address", [218, 258, 218, 96, 256, 96]),
    row("set_tls", [NO, NO, NO, NO, 983045, NO]),
    row("setdomainname", [171, 121, 171, 162, 121, 162]),
    row("setfsgid", [123, 139, 123, 152, 139, 152]),
    row("setfsgid32", [NO, 216, NO, NO, 216, NO]),
    row("setfsuid", [122, 138, 122, 151, 138, 151]),
    row("setfsuid32", [NO, 215, NO, NO, 215, NO]),
    row("setgid", [106, 46, 106, 144, 46, 144]),
    row("setgid32", [NO, 214, NO, NO, 214, NO]),
    row("setgroups", [116, 81, 116, 159, 81, 159]),
    row("setgroups32", [NO, 206, NO, NO, 206, NO]),
    row("sethostname", [170, 74, 170, 161, 74, 161]),
    row("setitimer", [38, 104, 38, 103, 104, 103]),
    row("setns", [308, 346, 308, 268, 375, 268]),
    row("setpgid", [109, 57, 109, 154, 57, 154]),
    row("setpriority", [141, 97, 141, 140, 97, 140]),
    row("setregid", [114, 71, 114, 143, 71, 143]),
    row("setregid32", [NO, 204, NO, NO, 204, NO]),
    row("setresgid", [119, 170, 119, 149, 170, 149]),
    row("setresgid32", [NO, 210, NO, NO, 210, NO]),
    row("setresuid", [117, 164, 117, 147, 164, 147]),
    row("setresuid32", [NO, 208, NO, NO, 208, NO]),
    row("setreuid", [113, 70, 113, 145, 70, 145]),
    row("setreuid32", [NO, 203, NO, NO, 203, NO]),
    row("setrlimit", [160, 75, 160, 164, 75, 164]),
    row("setsid", [112, 66, 112, 157, 66, 157]),
    row("setsockopt", [54, 366, 541, 208, 294, 208]),
    row("settimeofday", [164, 79, 164, 170, 79, 170]),
    row("setuid", [105, 23, 105, 146, 23, 146]),
    row("setuid32", [NO, 213, NO, NO, 213, NO]),
    row("setxattr", [188, 226, 188, 5, 226, 5]),
    row("setxattrat", [463, 463, 463, 463, 463, 463]),
    row("sgetmask", [NO, 68, NO, NO, NO, NO]),
    row("shmat", [30, 397, 30, 196, 305, 196]),
    row("shmctl", [31, 396, 31, 195, 308, 195]),
    row("shmdt", [67, 398, 67, 197, 306, 197]),
    row("shmget", [29, 395, 29, 194, 307, 194]),
    row("shutdown", [48, 373, 48, 210, 293, 210]),
    row("sigaction", [NO, 67, NO, NO, 67, NO]),
    row("sigaltstack", [131, 186, 525, 132, 186, 132]),
    row("signal", [NO, 48, NO, NO, NO, NO]),
    row("signalfd", [282, 321, 282, NO, 349, NO]),
    row("signalfd4", [289, 327, 289, 74, 355, 74]),
    row("sigpending", [NO, 73, NO, NO, 73, NO]),
    row("sigprocmask", [NO, 126, NO, NO, 126, NO]),
    row("sigreturn", [NO, 119, NO, NO, 119, NO]),
    row("sigsuspend", [NO, 72, NO, NO, 72, NO]),
    row("socket", [41, 359, 41, 198, 281, 198]),
    row("socketcall", [NO, 102, NO, NO, NO, NO]),
    row("socketpair", [53, 360, 53, 199, 288, 199]),
    row("splice", [275, 313, 275, 76, 340, 76]),
    row("ssetmask", [NO, 69, NO, NO, NO, NO]),
    row("stat", [4, 106, 4, NO, 106, NO]),
    row("stat64", [NO, 195, NO, NO, 195, NO]),
    row("statfs", [137, 99, 137, 43, 99, 43]),
    row("statfs64", [NO, 268, NO, NO, 266, NO]),
    row("statmount", [457, 457, 457, 457, 457, 457]),
    row("statx", [332, 383, 332, 291, 397, 291]),
    row("stime", [NO, 25, NO, NO, NO, NO]),
    row("stty", [NO, 31, NO, NO, NO, NO]),
    row("swapoff", [168, 115, 168, 225, 115, 225]),
    row("swapon", [167, 87, 167, 224, 87, 224]),
    row("symlink", [88, 83, 88, NO, 83, NO]),
    row("symlinkat", [266, 304, 266, 36, 331, 36]),
    row("sync", [162, 36, 162, 81, 36, 81]),
    row("sync_file_range", [277, 314, 277, 84, NO, 84]),
    row("sync_file_range2", [NO, NO, NO, NO, 341, NO]),
    row("syncfs", [306, 344, 306, 267, 373, 267]),
    row("sysfs", [139, 135, 139, NO, 135, NO]),
    row("sysinfo", [99, 116, 99, 179, 116, 179]),
    row("syslog", [103, 103, 103, 116, 103, 116]),
    row("tee", [276, 315, 276, 77, 342, 77]),
    row("tgkill", [234, 270, 234, 131, 268, 131]),
    row("time", [201, 13, 201, NO, NO, NO]),
    row("timer_create", [222, 259, 526, 107, 257, 107]),
    row("timer_delete", [226, 263, 226, 111, 261, 111]),
    row("timer_getoverrun", [225, 262, 225, 109, 260, 109]),
    row("timer_gettime", [224, 261, 224, 108, 259, 108]),
    row("timer_gettime64", [NO, 408, NO, NO, 408, NO]),
    row("timer_settime", [223, 260, 223, 110, 258, 110]),
    row("timer_settime64", [NO, 409, NO, NO, 409, NO]),
    row("timerfd_create", [283, 322, 283, 85, 350, 85]),
    row("timerfd_gettime", [287, 326, 287, 87, 354, 87]),
    row("timerfd_gettime64", [NO, 410, NO, NO, 410, NO]),
    row("timerfd_settime", [286, 325, 286, 86, 353, 86]),
    row("timerfd_settime64", [NO, 411, NO, NO, 411, NO]),
    row("times", [100, 43, 100, 153, 43, 153]),
    row("tkill", [200, 238, 200, 130, 238, 130]),
    row("truncate", [76, 92, 76, 45, 92, 45]),
    row("truncate64", [NO, 193, NO, NO, 193, NO]),
    row("tuxcall", [184, NO, 184, NO, NO, NO]),
    row("ugetrlimit", [NO, 191, NO, NO, 191, NO]),
    row("ulimit", [NO, 58, NO, NO, NO, NO]),
    row("umask", [95, 60, 95, 166, 60, 166]),
    row("umount", [NO, 22, NO, NO, NO, NO]),
    row("umount2", [166, 52, 166, 39, 52, 39]),
    row("uname", [63, 122, 63, 160, 122, 160]),
    row("unlink", [87, 10, 87, NO, 10, NO]),
    row("unlinkat", [263, 301, 263, 35, 328, 35]),
    row("unshare", [272, 310, 272, 97, 337, 97]),
    row("uretprobe", [335, NO, 335, NO, NO, NO]),
    row("uselib", [134, 86, NO, NO, 86, NO]),
    row("userfaultfd", [323, 374, 323, 282, 388, 282]),
    row("usr26", [NO, NO, NO, NO, 983043, NO]),
    row("usr32", [NO, NO, NO, NO, 983044, NO]),
    row("ustat", [136, 62, 136, NO, 62, NO]),
    row("utime", [132, 30, 132, NO, NO, NO]),
    row("utimensat", [280, 320, 280, 88, 348, 88]),
    row("utimensat_time64", [NO, 412, NO, NO, 412, NO]),
    row("utimes", [235, 271, 235, NO, 269, NO]),
    row("vfork", [58, 190, 58, NO, 190, NO]),
    row("vhangup", [153, 111, 153, 58, 111, 58]),
    row("vm86", [NO, 166, NO, NO, NO, NO]),
    row("vm86old", [NO, 113, NO, NO, NO, NO]),
    row("vmsplice", [278, 316, 532, 75, 343, 75]),
    row("vserver", [236, 273, NO, NO, 313, NO]),
    row("wait4", [61, 114, 61, 260, 114, 260]),
    row("waitid", [247, 284, 529, 95, 280, 95]),
    row("waitpid", [NO, 7, NO, NO, NO, NO]),
    row("write", [1, 4, 1, 64, 4, 64]),
    row("writev", [20, 146, 516, 66, 146, 66]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_once_and_is_found() {
        assert!(ROWS.is_sorted_by(|one, next| one.name() < next.name()));
        for row in ROWS {
            let name = std::str::from_utf8(row.name()).expect("plain letters");
            let found = look_up(name).expect("is in the table");
            assert!(std::ptr::eq(found, row), "{name}");
        }
        for unknown in ["", "no_such_call", "reads", "rea", "sched_rr_get_interval_time64x"] {
            assert!(look_up(unknown).is_none(), "{unknown:?}");
        }
    }

    #[test]
    fn an_architecture_has_no_number_twice_but_for_one_alias() {
        for &architecture in Architecture::ALL {
            let mut numbers: Vec<u32> =
                ROWS.iter().filter_map(|row| row.number(architecture)).collect();
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            // arm gives `sync_file_range2` a second name.
            let aliases = usize::from(architecture == Architecture::Arm);
            assert_eq!(numbers.len(), count - aliases, "{architecture:?}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn numbers_are_those_of_the_c_library() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone", libc::SYS_clone),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("personality", libc::SYS_personality),
            ("mseal", libc::SYS_mseal),
        ] {
            let row = look_up(name).expect("is in the table");
            assert_eq!(row.number(Architecture::X86_64).map(i64::from), Some(number), "{name}");
        }
    }
}
