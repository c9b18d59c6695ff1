//! Runs [`synckit_fuzz::binary_frame`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| synckit_fuzz::binary_frame(bytes));
