#![no_main]

#[path = "../../crates/wse-protocol/tests/checks/frames.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|input: &[u8]| frames::check(input));
