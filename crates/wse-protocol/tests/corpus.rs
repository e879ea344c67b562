//! Verifies what the fuzz targets verify, on the inputs that are kept and on others near them.

mod checks {
    pub mod frames;
    pub mod scan;
}
#[path = "../../../fuzz/corpus.rs"]
mod corpus;

use checks::{frames, scan};
use proptest::prelude::*;

#[test]
fn kept_inputs_pass() {
    for (name, input) in corpus::kept("frames") {
        println!("frames/{name}");
        frames::check(&input);
    }
    for (name, input) in corpus::kept("scan") {
        println!("scan/{name}");
        scan::check(&input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn frames_near_them_pass(input in corpus::near("frames")) {
        frames::check(&input);
    }

    #[test]
    fn texts_near_them_pass(input in corpus::near("scan")) {
        scan::check(&input);
    }
}
