//! Runs [`synckit_fuzz::text`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| synckit_fuzz::text(bytes));
