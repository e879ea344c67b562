#![no_main]

#[path = "../../crates/wse-protocol/tests/checks/msgpack.rs"]
mod msgpack;

libfuzzer_sys::fuzz_target!(|input: &[u8]| msgpack::check(input));
