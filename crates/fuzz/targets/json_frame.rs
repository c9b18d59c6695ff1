//! Runs [`synckit_fuzz::json_frame`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| synckit_fuzz::json_frame(bytes));
