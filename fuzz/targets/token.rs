#![no_main]

#[path = "../../crates/wse-engine/tests/checks/token.rs"]
mod token;

libfuzzer_sys::fuzz_target!(|input: &[u8]| token::check(input));
