#![no_main]

#[path = "../../crates/wse-protocol/tests/checks/sealed.rs"]
mod sealed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| sealed::check(input));
