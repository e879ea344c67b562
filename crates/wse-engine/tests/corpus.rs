//! Verifies what the fuzz targets verify, on the inputs that are kept and on others near them.

mod checks {
    pub mod head;
}
#[path = "../../../fuzz/corpus.rs"]
mod corpus;

use checks::head;
use proptest::prelude::*;

#[test]
fn kept_inputs_pass() {
    for (name, input) in corpus::kept("head") {
        println!("head/{name}");
        head::check(&input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn heads_near_them_pass(input in corpus::near("head")) {
        head::check(&input);
    }
}
