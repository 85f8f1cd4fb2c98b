//! From the kernel's first instruction to `main`.
//!
//! The program stands at an address that it does not know (it is position independent), so the
//! first thing is to correct the addresses in its own data. Until that is done nothing may be used
//! that lies there: no statics with pointers, no panics, no calls into other crates. Then comes the
//! thread's own storage, then what the standard library wants to be called before `main`.

use std::ffi::{c_char, c_int};

use super::calls::function;
use super::environment;

// The stack pointer is at the count of arguments. `berth_entry` has come here by a jump.
function!("_start":
    "xor ebp, ebp",
    "mov rdi, rsp",
    "lea rsi, [rip + __ehdr_start]",
    "lea rdx, [rip + _DYNAMIC]",
    "and rsp, -16",
    "call bare_begin",
    "ud2";);

// What the compiler makes of our `main`, which cannot be called by that name.
function!("bare_main":
    "jmp main";);

unsafe extern "C" {
    fn bare_main(count: c_int, arguments: *const *const c_char) -> c_int;
    fn syscall(number: i64, ...) -> i64;
    fn _exit(code: c_int) -> !;
    static __init_array_start: [usize; 0];
    static __init_array_end: [usize; 0];
}

/// Room for the thread's own storage, which is a few hundred bytes, and its control block.
const STORAGE: usize = 4096;

/// The storage, aligned to more than any of its parts.
#[repr(C, align(64))]
struct Storage(std::cell::UnsafeCell<[u8; STORAGE]>);

// SAFETY: only the one thread uses it.
unsafe impl Sync for Storage {}

static STORE: Storage = Storage(std::cell::UnsafeCell::new([0; STORAGE]));

/// How much of the storage the control block has: its own address, and what compilers of C expect.
const CONTROL: usize = 64;
/// Where a compiler of C looks for the word that guards a stack.
const GUARD: usize = 0x28;

// Tags of the dynamic section, a type of relocation, types of segments (elf(5)).
const DT_NULL: usize = 0;
const DT_RELA: usize = 7;
const DT_RELASZ: usize = 8;
const DT_RELRSZ: usize = 35;
const DT_RELR: usize = 36;
const R_X86_64_RELATIVE: usize = 8;
const PT_TLS: u32 = 7;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const ARCH_SET_FS: i64 = 0x1002;

/// Reads a word of the program.
///
/// # Safety
/// There must be one at the address.
unsafe fn word(address: usize) -> usize {
    // SAFETY: as the caller promises.
    unsafe { std::ptr::with_exposed_provenance::<usize>(address).read_unaligned() }
}

/// Writes a word of the control block, which is aligned to 64.
fn put(address: usize, value: usize) {
    // SAFETY: the callers name words of that block, which nobody else uses yet.
    unsafe { std::ptr::with_exposed_provenance_mut::<usize>(address).write(value) };
}

/// Adds the program's address to a word of its data.
///
/// # Safety
/// There must be one at the address, not yet corrected.
unsafe fn correct(address: usize, base: usize) {
    let place = std::ptr::with_exposed_provenance_mut::<usize>(address);
    // SAFETY: as the caller promises.
    let value = unsafe { place.read() };
    // SAFETY: as above.
    unsafe { place.write(value.wrapping_add(base)) };
}

/// Stops where nothing can be said yet.
fn stop() -> ! {
    // SAFETY: an illegal instruction ends the process.
    unsafe { std::arch::asm!("ud2", options(noreturn)) }
}

#[unsafe(no_mangle)]
extern "C" fn bare_begin(stack: *const usize, base: usize, dynamic: *const [usize; 2]) -> ! {
    relocate(base, dynamic);
    // A call that the compiler cannot look through keeps what follows from being done before.
    std::hint::black_box(proceed as extern "C" fn(*const usize, usize) -> !)(stack, base)
}

/// Corrects the addresses in the program's data.
fn relocate(base: usize, mut dynamic: *const [usize; 2]) {
    let (mut rela, mut rela_size, mut relr, mut relr_size) = (0, 0, 0, 0);
    loop {
        // SAFETY: the linker's list ends with `DT_NULL`.
        let [tag, value] = unsafe { *dynamic };
        match tag {
            DT_NULL => break,
            DT_RELA => rela = base + value,
            DT_RELASZ => rela_size = value,
            DT_RELR => relr = base + value,
            DT_RELRSZ => relr_size = value,
            _ => {}
        }
        // SAFETY: this was not the last.
        dynamic = unsafe { dynamic.add(1) };
    }
    let end = rela + rela_size;
    while rela < end {
        // SAFETY: the linker's list has three words an entry: place, type, value.
        let [place, kind, value] =
            unsafe { std::ptr::with_exposed_provenance::<[usize; 3]>(rela).read() };
        if kind != R_X86_64_RELATIVE {
            stop();
        }
        let place = std::ptr::with_exposed_provenance_mut::<usize>(base + place);
        // SAFETY: a word of the program's data.
        unsafe { place.write(base.wrapping_add(value)) };
        rela += 24;
    }
    // The packed form: an address, then bits for the 63 words that follow, and the next 63, ….
    let end = relr + relr_size;
    let mut place = 0;
    while relr < end {
        // SAFETY: within the linker's list.
        let entry = unsafe { word(relr) };
        relr += 8;
        if entry & 1 == 0 {
            // SAFETY: a word of the program's data that the linker names once.
            unsafe { correct(base + entry, base) };
            place = base + entry + 8;
            continue;
        }
        let mut bits = entry >> 1;
        let mut current = place;
        while bits != 0 {
            if bits & 1 != 0 {
                // SAFETY: as above.
                unsafe { correct(current, base) };
            }
            bits >>= 1;
            current += 8;
        }
        place += 63 * 8;
    }
}

/// A program header (elf(5)).
#[repr(C)]
#[derive(Clone, Copy)]
struct Segment {
    kind: u32,
    flags: u32,
    offset: usize,
    address: usize,
    physical: usize,
    in_file: usize,
    in_memory: usize,
    alignment: usize,
}

extern "C" fn proceed(stack: *const usize, base: usize) -> ! {
    // SAFETY: the kernel has put the count of arguments there.
    let count = unsafe { *stack };
    // SAFETY: the arguments follow it.
    let arguments = unsafe { stack.add(1) }.cast::<*const c_char>();
    // SAFETY: after them and a null pointer comes the environment.
    let list = unsafe { arguments.add(count + 1) };
    let mut end = list;
    // SAFETY: it ends with a null pointer.
    while !unsafe { *end }.is_null() {
        // SAFETY: this was not the last.
        end = unsafe { end.add(1) };
    }
    // SAFETY: the kernel's facts follow that pointer.
    let facts = unsafe { end.add(1) }.cast::<[u64; 2]>();
    environment::remember(list, facts);
    segments(base);
    initialise(count, arguments, list);
    // SAFETY: everything that it needs is there.
    let code = unsafe { bare_main(count as c_int, arguments) };
    // SAFETY: takes a number.
    unsafe { _exit(code) }
}

/// Does what the program's segments ask for: storage for the thread, and pages to be protected.
fn segments(base: usize) {
    // SAFETY: the ELF header says where its program headers are (`e_phoff`).
    let offset = unsafe { word(base + 32) };
    // SAFETY: and in two bytes how many (`e_phnum`).
    let count = unsafe { word(base + 56) } & 0xffff;
    let table = std::ptr::with_exposed_provenance::<Segment>(base + offset);
    let mut storage = Segment {
        kind: PT_TLS,
        flags: 0,
        offset: 0,
        address: 0,
        physical: 0,
        in_file: 0,
        in_memory: 0,
        alignment: 1,
    };
    for index in 0..count {
        // SAFETY: there are `count` of them.
        let segment = unsafe { table.wrapping_add(index).read() };
        match segment.kind {
            PT_TLS => storage = segment,
            PT_GNU_RELRO => protect(base, &segment),
            _ => {}
        }
    }
    make_storage(base, &storage);
}

/// Takes the right to write from what only the relocation had to write to.
fn protect(base: usize, segment: &Segment) {
    let start = (base + segment.address) & !4095;
    let end = (base + segment.address + segment.in_memory) & !4095;
    // SAFETY: whole pages of the program that the linker has set apart for this.
    let result =
        unsafe { syscall(libc::SYS_mprotect, start, end.saturating_sub(start), libc::PROT_READ) };
    if result != 0 {
        stop();
    }
}

/// The thread's own storage: before the address in the FS register, where the control block is.
fn make_storage(base: usize, segment: &Segment) {
    let alignment = segment.alignment.max(1);
    let padding = segment.address.wrapping_add(segment.in_memory).wrapping_neg() & (alignment - 1);
    let size = segment.in_memory + padding;
    let Some(place) = (STORAGE - CONTROL).checked_sub(size) else { stop() };
    if alignment > 64 {
        stop();
    }
    let store = STORE.0.get().cast::<u8>();
    let initial = std::ptr::with_exposed_provenance::<u8>(base + segment.address);
    let beginning = store.wrapping_add(place);
    // SAFETY: both are as long, as was checked and as the linker says.
    unsafe { beginning.copy_from_nonoverlapping(initial, segment.in_file) };
    let control = store.wrapping_add(STORAGE - CONTROL).expose_provenance();
    put(control, control);
    let random = environment::fact(libc::AT_RANDOM) as usize;
    if random != 0 {
        // SAFETY: the kernel gives the address of sixteen random bytes.
        put(control + GUARD, unsafe { word(random) } & !0xff);
    }
    // SAFETY: nothing has used the register before.
    if unsafe { syscall(libc::SYS_arch_prctl, ARCH_SET_FS, control) } != 0 {
        stop();
    }
}

/// Calls what is to be called before `main`; the standard library finds its arguments like this.
fn initialise(count: usize, arguments: *const *const c_char, environment: *const *const c_char) {
    type Function = extern "C" fn(c_int, *const *const c_char, *const *const c_char);
    // SAFETY: the linker's symbol; only its address is used.
    let mut place = (&raw const __init_array_start).cast::<Function>();
    // SAFETY: as above.
    let end = (&raw const __init_array_end).cast::<Function>();
    while place < end {
        // SAFETY: between the two there are addresses of such functions.
        let function = unsafe { place.read() };
        function(count as c_int, arguments, environment);
        // SAFETY: at most the end.
        place = unsafe { place.add(1) };
    }
}
