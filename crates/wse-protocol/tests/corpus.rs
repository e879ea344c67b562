//! Verifies what the fuzz targets verify, on the inputs that are kept and on others near them.

mod checks {
    pub mod frames;
    pub mod inflate;
    pub mod msgpack;
    pub mod scan;
    pub mod sealed;
}
#[path = "../../../fuzz/corpus.rs"]
mod corpus;

use checks::{frames, inflate, msgpack, scan, sealed};
use proptest::prelude::*;

fn for_each(target: &str, check: fn(&[u8])) {
    for (name, input) in corpus::kept(target) {
        println!("{target}/{name}");
        check(&input);
    }
}

#[test]
fn kept_inputs_pass() {
    for_each("frames", frames::check);
    for_each("inflate", inflate::check);
    for_each("msgpack", msgpack::check);
    for_each("scan", scan::check);
    for_each("sealed", sealed::check);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn frames_near_them_pass(input in corpus::near("frames")) {
        frames::check(&input);
    }

    #[test]
    fn compressed_messages_near_them_pass(input in corpus::near("inflate")) {
        inflate::check(&input);
    }

    #[test]
    fn messagepack_near_it_passes(input in corpus::near("msgpack")) {
        msgpack::check(&input);
    }

    #[test]
    fn texts_near_them_pass(input in corpus::near("scan")) {
        scan::check(&input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn encrypted_messages_near_them_pass(input in corpus::near("sealed")) {
        sealed::check(&input);
    }
}
