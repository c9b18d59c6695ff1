//! Runs [`synckit_fuzz::connection`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| synckit_fuzz::connection(bytes));
