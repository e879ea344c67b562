#![no_main]

#[path = "../../crates/wse-engine/tests/checks/head.rs"]
mod head;

libfuzzer_sys::fuzz_target!(|input: &[u8]| head::check(input));
