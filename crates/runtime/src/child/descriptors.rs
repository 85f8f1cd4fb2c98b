//! Descriptors of the new process: which are closed before the container's paths are looked up, and
//! which when the program is executed.

use rustix::io::Errno;

use crate::sys;

/// Where the search ends on kernels that can neither close nor mark a range.
const LISTED: u32 = 1024;

/// Closes every descriptor from `first` on but those `kept`; -1 stands for none.
pub(super) fn close_all_but<const N: usize>(first: u32, mut kept: [i32; N]) -> Result<(), Errno> {
    kept.sort_unstable();
    let mut from = first;
    for number in kept {
        let Ok(number) = u32::try_from(number) else { continue };
        if number > from {
            close_range(from, number - 1)?;
        }
        from = from.max(number + 1);
    }
    close_range(from, u32::MAX)
}

/// Kernels before 5.9 close one descriptor at a time.
fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    match sys::close_range(first, last) {
        Err(Errno::NOSYS) => {
            for number in first..=last.min(LISTED) {
                sys::close_number(number as i32);
            }
            Ok(())
        }
        result => result,
    }
}

/// Marks every descriptor from `first` on. Kernels before 5.11 cannot mark a range, but all that
/// this process has opened are marked anyway, and what its maker left open can only be listed.
pub(super) fn close_on_exec(first: u32) -> Result<(), Errno> {
    match sys::close_on_exec_from(first) {
        Err(Errno::NOSYS | Errno::INVAL) => {
            for descriptor in first..LISTED {
                sys::mark_close_on_exec(descriptor as i32);
            }
            Ok(())
        }
        result => result,
    }
}
