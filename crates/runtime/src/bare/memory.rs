//! Memory for a program that runs for a millisecond: blocks of few sizes from one growing region.
//!
//! A block that is given back waits for the next of its size; large ones are mappings of their own.
//! There is one thread, and what runs between clone and exec allocates nothing.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr::null_mut;

/// What the first blocks are taken from: it costs no system call.
const FIRST_REGION: usize = 32 * 1024;
/// What every further region has.
const REGION: usize = 128 * 1024;
/// Blocks beyond this are mappings.
const LARGE: usize = 32 * 1024;
/// How every block is aligned.
const ALIGNMENT: usize = 16;
/// How many sizes there are: two for each power of two.
const SIZES: usize = 2 * (usize::BITS as usize);

unsafe extern "C" {
    fn mmap(at: *mut c_void, size: usize, access: i32, flags: i32, fd: i32, from: i64) -> *mut u8;
    fn munmap(at: *mut u8, size: usize) -> i32;
    fn mremap(at: *mut u8, size: usize, wanted: usize, flags: i32) -> *mut u8;
}

/// A region's bytes, aligned as every block is.
#[repr(C, align(16))]
struct First(UnsafeCell<[u8; FIRST_REGION]>);

// SAFETY: there is one thread.
unsafe impl Sync for First {}

static FIRST: First = First(UnsafeCell::new([0; FIRST_REGION]));

/// What is known of the blocks.
struct State {
    /// Blocks that were given back, by size; each holds the next one's address.
    waiting: [*mut u8; SIZES],
    /// Where the region goes on.
    next: *mut u8,
    /// How much is left of it.
    left: usize,
}

/// The program's memory.
pub(super) struct Memory(UnsafeCell<State>);

// SAFETY: there is one thread.
unsafe impl Sync for Memory {}

#[cfg_attr(bare, global_allocator)]
pub(super) static MEMORY: Memory = Memory(UnsafeCell::new(State {
    waiting: [null_mut(); SIZES],
    next: FIRST.0.get().cast(),
    left: FIRST_REGION,
}));

/// The size that a block gets: a power of two or three quarters of one, at least 16; and its place
/// among the sizes.
const fn rounded(size: usize) -> (usize, usize) {
    if size <= ALIGNMENT {
        return (ALIGNMENT, 0);
    }
    let Some(power) = size.checked_next_power_of_two() else { return (usize::MAX, 0) };
    let index = 2 * power.trailing_zeros() as usize;
    let less = power / 4 * 3;
    if size <= less && less.is_multiple_of(ALIGNMENT) { (less, index - 1) } else { (power, index) }
}

/// Whole pages.
const fn pages(size: usize) -> Option<usize> {
    match size.checked_add(4095) {
        Some(sum) => Some(sum & !4095),
        None => None,
    }
}

/// A mapping of its own, filled with zeros; null when there is no memory.
fn map(size: usize) -> *mut u8 {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping touches nothing that exists.
    let memory = unsafe { mmap(null_mut(), size, access, flags, -1, 0) };
    if memory.addr() == usize::MAX { null_mut() } else { memory }
}

/// The beginning of a block as the address of another; every block is aligned to 16.
fn link(block: *mut u8) -> *mut *mut u8 {
    block.cast::<c_void>().cast()
}

impl State {
    /// A block of a rounded size.
    fn take(&mut self, size: usize, index: usize) -> *mut u8 {
        if let Some(waiting) = self.waiting.get_mut(index)
            && !waiting.is_null()
        {
            let block = *waiting;
            // SAFETY: a waiting block begins with the address of the next one.
            *waiting = unsafe { link(block).read() };
            return block;
        }
        if self.left < size {
            let region = map(REGION);
            if region.is_null() {
                return region;
            }
            self.next = region;
            self.left = REGION;
        }
        let block = self.next;
        self.next = block.wrapping_add(size);
        self.left -= size;
        block
    }

    /// Takes a block back.
    fn give(&mut self, block: *mut u8, index: usize) {
        if let Some(waiting) = self.waiting.get_mut(index) {
            // SAFETY: the block is at least 16 bytes long, aligned to as many, and no longer used.
            unsafe { link(block).write(*waiting) };
            *waiting = block;
        }
    }

    /// Makes the region's last block longer where it stands, or tells that it cannot.
    fn extend(&mut self, block: *mut u8, size: usize, wanted: usize) -> bool {
        let more = wanted - size;
        let possible = block.wrapping_add(size) == self.next && self.left >= more;
        if possible {
            self.next = self.next.wrapping_add(more);
            self.left -= more;
        }
        possible
    }
}

impl Memory {
    #[expect(clippy::mut_from_ref, reason = "there is one thread, and no two calls at a time")]
    fn state(&self) -> &mut State {
        // SAFETY: there is one thread, and nothing that holds this calls anything that allocates.
        unsafe { &mut *self.0.get() }
    }
}

/// Whether a block is a mapping of its own.
const fn is_large(layout: Layout) -> bool {
    layout.size() > LARGE || layout.align() > ALIGNMENT
}

// SAFETY: blocks are distinct, as long and as aligned as they are asked to be, and stay until they
// are given back.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            let (size, index) = rounded(layout.size());
            return self.state().take(size, index);
        }
        match pages(layout.size()) {
            Some(size) if layout.align() <= 4096 => map(size),
            _ => null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_large(layout) {
            return self.state().give(block, rounded(layout.size()).1);
        }
        if let Some(size) = pages(layout.size()) {
            // SAFETY: a large block is a mapping of this size that nobody uses any longer.
            unsafe { munmap(block, size) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, wanted: usize) -> *mut u8 {
        // SAFETY: the caller's size does not overflow when it is rounded up to the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(wanted, layout.align()) };
        match (is_large(layout), is_large(new)) {
            (true, true) => {
                let (Some(before), Some(after)) = (pages(layout.size()), pages(wanted)) else {
                    return null_mut();
                };
                // SAFETY: the mapping is the caller's.
                let moved = unsafe { mremap(block, before, after, libc::MREMAP_MAYMOVE) };
                return if moved.addr() == usize::MAX { null_mut() } else { moved };
            }
            (false, false) => {
                let (before, after) = (rounded(layout.size()).0, rounded(wanted).0);
                if before == after || after > before && self.state().extend(block, before, after) {
                    return block;
                }
            }
            _ => {}
        }
        // SAFETY: the caller's layout but for its size, which is not zero.
        let replacement = unsafe { self.alloc(new) };
        if !replacement.is_null() {
            let common = layout.size().min(wanted);
            // SAFETY: both blocks are at least as long, and they are distinct.
            unsafe { replacement.copy_from_nonoverlapping(block, common) };
            // SAFETY: the block is the caller's, who gets another one for it.
            unsafe { self.dealloc(block, layout) };
        }
        replacement
    }
}

/// What stands before a block for C: its length, and room to keep it aligned.
const HEADER: usize = ALIGNMENT;

/// The layout of a block for C with its header.
fn with_header(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(HEADER)?, ALIGNMENT).ok()
}

/// malloc(3), for what the standard library takes from C functions and gives back by `free`.
#[cfg_attr(bare, unsafe(no_mangle))]
pub(super) extern "C" fn malloc(size: usize) -> *mut u8 {
    let Some(layout) = with_header(size) else { return null_mut() };
    // SAFETY: the size is not zero.
    let block = unsafe { MEMORY.alloc(layout) };
    if block.is_null() {
        return block;
    }
    // SAFETY: the block has room for its header.
    unsafe { link(block).write(std::ptr::without_provenance_mut(size)) };
    block.wrapping_add(HEADER)
}

/// free(3).
#[cfg_attr(bare, unsafe(no_mangle))]
pub(super) extern "C" fn free(pointer: *mut u8) {
    if pointer.is_null() {
        return;
    }
    let block = pointer.wrapping_sub(HEADER);
    // SAFETY: what `malloc` gives stands after its header.
    let size = unsafe { link(block).read() }.addr();
    if let Some(layout) = with_header(size) {
        // SAFETY: the layout is the one that it was made with.
        unsafe { MEMORY.dealloc(block, layout) };
    }
}
