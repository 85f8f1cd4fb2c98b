//! The shipped program's memory (src/bare/memory.rs), beside this program's own: whatever is asked
//! of it in whatever order, blocks are aligned, do not overlap, and keep what was written to them.
#![cfg(target_arch = "x86_64")]

use std::alloc::{GlobalAlloc, Layout};

#[path = "../src/bare/memory.rs"]
mod memory;

use memory::MEMORY;

/// A sequence that is the same in every run (xorshift).
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    /// Sizes around every boundary: small ones mostly, then what is a mapping of its own.
    fn size(&mut self) -> usize {
        let largest = [16, 64, 1000, 5000, 33_000, 300_000][self.below(6)];
        1 + self.below(largest)
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("an alignment is a power of two")
}

/// A block that is in use, and the byte that it was filled with.
struct Block {
    start: *mut u8,
    layout: Layout,
    byte: u8,
}

impl Block {
    fn new(layout: Layout, byte: u8) -> Self {
        // SAFETY: the size is not zero, and this is the one thread that uses that memory.
        let start = unsafe { MEMORY.alloc(layout) };
        assert!(!start.is_null());
        let block = Self { start, layout, byte };
        block.fill();
        block
    }

    fn fill(&self) {
        assert!(self.start.addr().is_multiple_of(self.layout.align()), "{:?}", self.layout);
        // SAFETY: the block is as long.
        unsafe { self.start.write_bytes(self.byte, self.layout.size()) };
    }

    fn check(&self, length: usize) {
        // SAFETY: the block is at least as long, and was filled.
        let bytes = unsafe { std::slice::from_raw_parts(self.start, length) };
        assert!(bytes.iter().all(|byte| *byte == self.byte), "{:?} was overwritten", self.layout);
    }

    fn resize(&mut self, size: usize) {
        let kept = self.layout.size().min(size);
        // SAFETY: the block has this layout, and the size is not zero.
        self.start = unsafe { MEMORY.realloc(self.start, self.layout, size) };
        assert!(!self.start.is_null());
        self.layout = layout(size, self.layout.align());
        self.check(kept);
        self.fill();
    }

    fn give_back(self) {
        self.check(self.layout.size());
        // SAFETY: it was made with this layout and is not used again.
        unsafe { MEMORY.dealloc(self.start, self.layout) };
    }
}

// One test only: that memory is for one thread.
#[test]
fn blocks_are_aligned_and_keep_their_content() {
    let mut sequence = Sequence(0x9e37_79b9_7f4a_7c15);
    let mut blocks: Vec<Block> = Vec::new();
    for step in 0..20_000_usize {
        let align = [1, 8, 16, 64, 4096][sequence.below(5)];
        match sequence.below(4) {
            0 | 1 if blocks.len() < 200 => {
                blocks.push(Block::new(layout(sequence.size(), align), step as u8));
            }
            2 if !blocks.is_empty() => {
                let size = sequence.size();
                let index = sequence.below(blocks.len());
                blocks[index].resize(size);
            }
            _ if !blocks.is_empty() => {
                let index = sequence.below(blocks.len());
                blocks.swap_remove(index).give_back();
            }
            _ => {}
        }
    }
    blocks.into_iter().for_each(Block::give_back);
    // What cannot be had is told, not pretended.
    for (size, align) in [(1 << 20, 8192), (isize::MAX as usize - 4096, 1)] {
        let layout = layout(size, align);
        // SAFETY: the size is not zero.
        assert!(unsafe { MEMORY.alloc(layout) }.is_null(), "{layout:?}");
    }
    blocks_of_c_functions();
}

fn blocks_of_c_functions() {
    let blocks: Vec<(*mut u8, usize)> =
        [0, 1, 16, 17, 4096, 100_000].map(|size| (memory::malloc(size), size)).to_vec();
    for (index, (block, size)) in blocks.iter().enumerate() {
        assert!(!block.is_null() && block.addr().is_multiple_of(16));
        // SAFETY: the block is as long.
        unsafe { block.write_bytes(index as u8, *size) };
    }
    for (index, (block, size)) in blocks.into_iter().enumerate() {
        // SAFETY: the block is as long, and was filled.
        let bytes = unsafe { std::slice::from_raw_parts(block, size) };
        assert!(bytes.iter().all(|byte| *byte == index as u8));
        memory::free(block);
    }
    assert!(memory::malloc(usize::MAX).is_null());
    memory::free(std::ptr::null_mut());
}
