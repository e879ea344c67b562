#![no_main]

#[path = "../../crates/wse-protocol/tests/checks/scan.rs"]
mod scan;

libfuzzer_sys::fuzz_target!(|input: &[u8]| scan::check(input));
