//! Walking the stack, which nothing here can do: a panic aborts, and the tables for it are left out.
//!
//! The standard library prints a panic's stack by walking it and naming what it finds. Since the
//! walk below is seen to end at once, the linker leaves the naming out too: a reader of debugging
//! information, a sixth of a megabyte.

use std::ffi::{c_int, c_void};

use super::calls::function;

/// `_URC_END_OF_STACK`.
const END_OF_STACK: c_int = 5;

/// Calls nothing for each frame of the stack.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_each: *const c_void, _argument: *mut c_void) -> c_int {
    END_OF_STACK
}

/// Functions that take a context of the unwinder, of which there are none.
macro_rules! without_context {
    ($($name:ident)*) => {
        $(
            #[doc = "Gives nothing: there is no context that it could be asked for."]
            #[unsafe(no_mangle)]
            extern "C" fn $name(_context: *mut c_void) -> usize {
                0
            }
        )*
    };
}

without_context! {
    _Unwind_GetDataRelBase
    _Unwind_GetIP
    _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart
    _Unwind_GetTextRelBase
}

// Nothing is unwound, so nobody can go on with that; its callers count on its not returning.
function!("_Unwind_Resume":
    "jmp abort";);

/// Gives nothing, as the others.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetIPInfo(_context: *mut c_void, _before: *mut c_int) -> usize {
    0
}

/// Sets nothing.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_SetGR(_context: *mut c_void, _register: c_int, _value: usize) {}

/// Sets nothing.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_SetIP(_context: *mut c_void, _value: usize) {}
