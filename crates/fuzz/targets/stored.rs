//! Runs [`synckit_fuzz::stored`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| synckit_fuzz::stored(bytes));
