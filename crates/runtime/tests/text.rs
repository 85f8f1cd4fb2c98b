//! The shipped program's functions for bytes (src/bare/text.rs) against plain loops. They stand here
//! under other names, so that nothing else calls them.
#![cfg(target_arch = "x86_64")]

use std::ffi::c_int;

mod calls {
    /// As in src/bare/calls.rs, but for the name.
    macro_rules! function {
        ($name:literal: $($instruction:expr),*;) => {
            std::arch::global_asm!(
                concat!(".pushsection .text.under_test_", $name, ", \"ax\", @progbits"),
                concat!(".globl under_test_", $name),
                concat!("under_test_", $name, ":"),
                $($instruction,)*
                ".popsection",
            );
        };
    }
    pub(super) use function;
}

#[path = "../src/bare/text.rs"]
mod text;

unsafe extern "C" {
    fn under_test_memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8;
    fn under_test_memset(to: *mut u8, byte: c_int, length: usize) -> *mut u8;
    fn under_test_memcmp(one: *const u8, other: *const u8, length: usize) -> c_int;
    fn under_test_strlen(text: *const u8) -> usize;
}

const LENGTH: usize = 160;

fn pattern() -> Vec<u8> {
    (0..LENGTH).map(|index| (index * 7 + 3) as u8).collect()
}

#[test]
fn bytes_move_over_each_other_in_both_directions() {
    for from in (0..40).step_by(3) {
        for to in (0..40).step_by(4) {
            for length in 0..LENGTH - 40 {
                let mut bytes = pattern();
                let mut expected = pattern();
                let moved: Vec<u8> = expected[from..from + length].to_vec();
                expected[to..to + length].copy_from_slice(&moved);
                let start = bytes.as_mut_ptr();
                let (there, here) = (start.wrapping_add(to), start.wrapping_add(from));
                // SAFETY: both places lie within `bytes`.
                let result = unsafe { under_test_memmove(there, here, length) };
                assert_eq!(bytes, expected, "{length} from {from} to {to}");
                assert_eq!(result.addr(), start.addr() + to);
            }
        }
    }
}

#[test]
fn bytes_are_filled_and_no_others() {
    for length in 0..LENGTH - 20 {
        let mut bytes = pattern();
        let mut expected = pattern();
        expected[10..10 + length].fill(0xa5);
        let place = bytes[10..].as_mut_ptr();
        // SAFETY: the place lies within `bytes`.
        let result = unsafe { under_test_memset(place, 0x1a5, length) };
        assert_eq!(bytes, expected, "{length}");
        assert_eq!(result, place);
    }
}

#[test]
fn bytes_compare_as_slices_do() {
    for length in 0..40 {
        let bytes = pattern();
        for differs in 0..length.max(1) {
            for other_byte in [0_u8, 0x7f, 0x80, 0xff] {
                let mut other = pattern();
                other[differs] = other_byte;
                // SAFETY: both are longer.
                let result = unsafe { under_test_memcmp(bytes.as_ptr(), other.as_ptr(), length) };
                let expected = bytes[..length].cmp(&other[..length]) as c_int;
                assert_eq!(result.signum(), expected, "{length}, {differs}, {other_byte}");
            }
        }
    }
}

#[test]
fn a_text_ends_before_its_first_zero() {
    for length in 0..40 {
        let mut bytes = vec![1_u8; length];
        bytes.extend([0, 2, 0]);
        // SAFETY: there is a zero in it.
        assert_eq!(unsafe { under_test_strlen(bytes.as_ptr()) }, length);
    }
}
