#![no_main]

#[path = "../../crates/wse-protocol/tests/checks/inflate.rs"]
mod inflate;

libfuzzer_sys::fuzz_target!(|input: &[u8]| inflate::check(input));
