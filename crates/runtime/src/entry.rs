//! The first instructions of the program, ahead of the C library's: executing it again from where a
//! container cannot write to it.
//!
//! Starting a C library costs up to half a millisecond in a virtual machine, where every CPUID
//! instruction traps. A program that is going to execute itself again needs none, so this is done
//! before: for the commands that make a process in a container, by root, when the executable's
//! mount is writable. Whatever else may come is `protect`'s business, later.
//!
//! This runs before the program is relocated: no statics, no calls into other crates, no panics.

use std::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl berth_entry",
    ".type berth_entry, @function",
    "berth_entry:",
    // The dynamic linker's parting gift and the stack pointer survive in preserved registers.
    "mov rbx, rdx",
    "mov rbp, rsp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {early}",
    "mov rsp, rbp",
    "mov rdx, rbx",
    "jmp _start",
    early = sym early,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl berth_entry",
    ".type berth_entry, %function",
    "berth_entry:",
    "mov x19, x0",
    "mov x20, sp",
    "mov x0, sp",
    "bl {early}",
    "mov sp, x20",
    "mov x0, x19",
    "b _start",
    early = sym early,
);

#[cfg(target_arch = "riscv64")]
global_asm!(
    ".globl berth_entry",
    ".type berth_entry, @function",
    "berth_entry:",
    "mv s1, a0",
    "mv s2, sp",
    "mv a0, sp",
    "andi sp, sp, -16",
    "call {early}",
    "mv sp, s2",
    "mv a0, s1",
    "tail _start",
    early = sym early,
);

unsafe extern "C" {
    fn berth_entry();
}

/// Keeps the entry point, which only the linker's command line refers to.
#[used]
static ENTRY: unsafe extern "C" fn() = berth_entry;

#[cfg(target_arch = "x86_64")]
mod call {
    pub(super) const GETEUID: usize = 107;
    pub(super) const CLOSE: usize = 3;
    pub(super) const OPENAT: usize = 257;
    pub(super) const FSTATFS: usize = 138;
    pub(super) const OPEN_TREE: usize = 428;
    pub(super) const MOUNT_SETATTR: usize = 442;
    pub(super) const EXECVEAT: usize = 322;
}

#[cfg(not(target_arch = "x86_64"))]
mod call {
    pub(super) const GETEUID: usize = 175;
    pub(super) const CLOSE: usize = 57;
    pub(super) const OPENAT: usize = 56;
    pub(super) const FSTATFS: usize = 44;
    pub(super) const OPEN_TREE: usize = 428;
    pub(super) const MOUNT_SETATTR: usize = 442;
    pub(super) const EXECVEAT: usize = 281;
}

/// Makes a system call.
#[inline]
fn system_call(
    number: usize,
    first: usize,
    second: usize,
    third: usize,
    fourth: usize,
    fifth: usize,
) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the callers pass pointers to what outlives the call; the kernel's ABI is followed.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") first, in("rsi") second,
            in("rdx") third, in("r10") fourth, in("r8") fifth, lateout("rcx") _, lateout("r11") _,
            options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the callers pass pointers to what outlives the call; the kernel's ABI is followed.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") first as isize => result, in("x1") second,
            in("x2") third, in("x3") fourth, in("x4") fifth, options(nostack));
    }
    #[cfg(target_arch = "riscv64")]
    // SAFETY: the callers pass pointers to what outlives the call; the kernel's ABI is followed.
    unsafe {
        asm!("ecall", in("a7") number, inlateout("a0") first as isize => result, in("a1") second,
            in("a2") third, in("a3") fourth, in("a4") fifth, options(nostack));
    }
    result
}

const AT_FDCWD: usize = -100isize as usize;
const AT_EMPTY_PATH: usize = 0x1000;
const O_CLOEXEC: usize = 0o2_000_000;
const O_PATH: usize = 0o10_000_000;
const OPEN_TREE_CLONE: usize = 1;
const READ_ONLY: u64 = 1;
const PRIVATE: u64 = 1 << 18;

/// Whether the C string at `text` is one of the commands that make a process in a container.
fn is_command(text: *const u8) -> bool {
    let at = |index: usize| {
        // SAFETY: every byte up to the first that differs is part of the string or its NUL.
        let byte = unsafe { text.add(index) };
        // SAFETY: as above.
        unsafe { *byte }
    };
    let is = |word: [u8; 8], length: usize| {
        let mut index = 0;
        while index < length {
            if at(index) != word[index & 7] {
                return false;
            }
            index += 1;
        }
        at(length) == 0
    };
    is(*b"run\0\0\0\0\0", 3) || is(*b"exec\0\0\0\0", 4) || is(*b"create\0\0", 6)
}

/// `stack` is as the kernel has left it: the argument count, the arguments, a null pointer, the
/// environment.
extern "C" fn early(stack: *const usize) {
    // SAFETY: the kernel put the count there.
    let count = unsafe { *stack };
    // SAFETY: the arguments follow the count.
    let arguments = unsafe { stack.add(1) };
    // SAFETY: the environment follows the arguments and their null pointer.
    let environment = unsafe { arguments.add(count + 1) };
    let mut index = 1;
    let mut found = false;
    while index < count && !found {
        // SAFETY: there are `count` arguments.
        let argument = unsafe { arguments.add(index) };
        // SAFETY: each is the address of a C string.
        let argument = unsafe { *argument };
        found = is_command(argument as *const u8);
        index += 1;
    }
    if !found || system_call(call::GETEUID, 0, 0, 0, 0, 0) != 0 {
        return;
    }
    let path = c"/proc/self/exe".as_ptr() as usize;
    let own = system_call(call::OPENAT, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0, 0);
    if own < 0 {
        return;
    }
    let mut status = std::mem::MaybeUninit::<[u64; 16]>::uninit();
    let known = system_call(call::FSTATFS, own as usize, status.as_mut_ptr() as usize, 0, 0, 0);
    // SAFETY: `struct statfs` has 15 words, the eleventh of which are the flags.
    let flags = unsafe { status.as_ptr().cast::<u64>().add(10) };
    // SAFETY: the kernel has filled it if the call succeeded; otherwise the value is not used.
    let flags = unsafe { flags.read_volatile() };
    system_call(call::CLOSE, own as usize, 0, 0, 0, 0);
    if known == 0 && flags & READ_ONLY == 0 {
        execute_again(path, arguments as usize, environment as usize);
    }
}

/// Returns when that failed.
fn execute_again(path: usize, arguments: usize, environment: usize) {
    let mount = system_call(call::OPEN_TREE, AT_FDCWD, path, OPEN_TREE_CLONE | O_CLOEXEC, 0, 0);
    if mount < 0 {
        return;
    }
    // `struct mount_attr`: set, clear, propagation, user namespace.
    let attributes = [READ_ONLY, 0, PRIVATE, 0];
    let empty = c"".as_ptr() as usize;
    let set = system_call(
        call::MOUNT_SETATTR,
        mount as usize,
        empty,
        AT_EMPTY_PATH,
        attributes.as_ptr() as usize,
        32,
    );
    if set == 0 {
        system_call(call::EXECVEAT, mount as usize, empty, arguments, environment, AT_EMPTY_PATH);
    }
    system_call(call::CLOSE, mount as usize, 0, 0, 0, 0);
}
