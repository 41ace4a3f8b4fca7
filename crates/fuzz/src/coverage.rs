//! The search that follows coverage: libFuzzer, as a library.
//!
//! Only in builds with `--cfg hostel_fuzz`, whose code counts what it reaches. What libFuzzer is told
//! stands in `FUZZ_ARGS`, a line for each argument; without it a target runs as in any other test.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int};
use std::path::Path;
use std::sync::OnceLock;

// Brings libFuzzer itself into the program.
use libfuzzer_sys as _;

static EXAMINE: OnceLock<fn(&[u8])> = OnceLock::new();

// SAFETY: declared as libFuzzer declares it in FuzzerInterface.h.
unsafe extern "C" {
    fn LLVMFuzzerRunDriver(
        argc: *mut c_int,
        argv: *mut *mut *mut c_char,
        callback: extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

/// Whether this run is a search.
pub fn wanted() -> bool {
    std::env::var_os("FUZZ_ARGS").is_some()
}

/// Searches until libFuzzer has enough, which ends the process.
pub fn run(dir: &Path, examine: fn(&[u8])) {
    EXAMINE
        .set(examine)
        .expect("one target is searched in one process");
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        said(panic);
        // libFuzzer keeps the input when it sees the signal.
        std::process::abort();
    }));
    let told = std::env::var("FUZZ_ARGS").expect("it was looked at before");
    let arguments = std::iter::once("fuzz").chain(told.lines().filter(|line| !line.is_empty()));
    let arguments: Vec<String> = arguments
        .map(|text| text.replace("{corpus}", &dir.display().to_string()))
        .collect();
    let arguments = arguments
        .into_iter()
        .map(|text| CString::new(text).expect("a line has no NUL"));
    let mut pointers: Vec<*mut c_char> = arguments.map(CString::into_raw).collect();
    let mut count = c_int::try_from(pointers.len()).expect("a few arguments");
    pointers.push(std::ptr::null_mut());
    let mut values = pointers.as_mut_ptr();
    // SAFETY: `count` strings and a null pointer behind them, as a C program's `main` has them. They are
    // leaked, and so are alive as long as libFuzzer looks at them.
    let code = unsafe { LLVMFuzzerRunDriver(&raw mut count, &raw mut values, one) };
    std::process::exit(code);
}

extern "C" fn one(data: *const u8, size: usize) -> c_int {
    let examine = EXAMINE.get().expect("set before the search began");
    if size == 0 {
        examine(&[]);
    } else {
        // SAFETY: libFuzzer gives `size` bytes that stay until this returns.
        examine(unsafe { std::slice::from_raw_parts(data, size) });
    }
    0
}
