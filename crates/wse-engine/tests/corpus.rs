//! Verifies what the fuzz targets verify, on the inputs that are kept and on others near them.

mod checks {
    pub mod head;
    pub mod token;
}
#[path = "../../../fuzz/corpus.rs"]
mod corpus;

use checks::{head, token};
use proptest::prelude::*;

#[test]
fn kept_inputs_pass() {
    for (name, input) in corpus::kept("head") {
        println!("head/{name}");
        head::check(&input);
    }
    for (name, input) in corpus::kept("token") {
        println!("token/{name}");
        token::check(&input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn heads_near_them_pass(input in corpus::near("head")) {
        head::check(&input);
    }

    #[test]
    fn tokens_near_them_pass(input in corpus::near("token")) {
        token::check(&input);
    }
}
