//! Verifies that the scanner accepts exactly the JSON that serde_json accepts, and finds the same
//! members in it.

mod checks {
    pub mod scan;
}

use std::borrow::Cow;

use checks::scan::check;
use proptest::prelude::*;
use serde_json::Value;
use wse_protocol::scan;

/// JSON values, written with the whitespace and the escapes that other writers use.
fn json() -> impl Strategy<Value = String> {
    let space = || prop::sample::select(vec!["", "", "", " ", "\n\t", "\r  "]);
    let string = || {
        prop_oneof![
            "[a-z]{0,12}".prop_map(|text| format!("\"{text}\"")),
            "\\PC{0,20}".prop_map(|text| Value::from(text).to_string()),
            r#"(\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}|[a-zé😀 ]){0,12}"#.prop_map(|text| format!("\"{text}\"")),
        ]
    };
    let number = "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,3})?";
    let leaf = prop_oneof![
        prop::sample::select(vec!["true", "false", "null", "{}", "[]"]).prop_map(str::to_owned),
        number,
        string(),
    ];
    let list = move |item: BoxedStrategy<String>, open: &'static str, close: &'static str| {
        (prop::collection::vec((space(), item, space()), 0..5)).prop_map(move |items| {
            let items: Vec<_> = items.into_iter().map(|(a, item, b)| format!("{a}{item}{b}")).collect();
            format!("{open}{}{close}", items.join(","))
        })
    };
    let name = move || {
        prop_oneof![
            prop::sample::select(vec!["\"t\"", "\"p\"", "\"\\u0074\""]).prop_map(str::to_owned),
            string()
        ]
    };
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let member = (name(), space(), space(), inner.clone())
            .prop_map(|(name, a, b, value)| format!("{name}{a}:{b}{value}"));
        prop_oneof![list(inner.boxed(), "[", "]"), list(member.boxed(), "{", "}")]
    })
}

/// The same with something replaced, put in or left out.
fn mutated() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "", "\"", "\\", "{", "}", "[", "]", ",", ":", " ", "\u{1}", "\u{7f}", "0", "-", ".", "e", "NaN",
        "nul", "é", "\\u12", "\\ud800", "\u{feff}", "\u{c}", "+1", "//", "'",
    ]);
    (json(), prop::collection::vec((any::<prop::sample::Index>(), 0..3_usize, piece), 1..4)).prop_map(
        |(text, edits)| {
            let mut characters: Vec<char> = text.chars().collect();
            for (at, cut, piece) in edits {
                let at = at.index(characters.len() + 1);
                let end = (at + cut).min(characters.len());
                characters.splice(at..end, piece.chars());
            }
            characters.into_iter().collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn objects_have_the_members_that_serde_json_finds(value in json()) {
        check(value.as_bytes());
        check(format!("{{\"p\":{value},\"t\":\"x\",\"p\": {value} }}").as_bytes());
    }

    #[test]
    fn broken_json_is_refused_where_serde_json_refuses_it(text in mutated(), inner in mutated()) {
        check(text.as_bytes());
        check(format!("{{\"a\":{inner}}}").as_bytes());
    }

    #[test]
    fn strings_have_the_text_that_serde_json_reads(raw in "\"(\\\\[\"\\\\/bfnrtux]|\\\\u[0-9a-fA-F]{4}|\\PC){0,10}\"?") {
        // Whitespace around a value is no part of it.
        let expected = serde_json::from_str::<String>(&raw).ok().filter(|_| raw.ends_with('"'));
        prop_assert_eq!(scan::string_value(&raw).map(Cow::into_owned), expected);
    }

    #[test]
    fn noise_does_not_panic(text in any::<String>()) {
        check(text.as_bytes());
        let _ = scan::string_value(&text);
        let _ = scan::key_is(&text, &text);
        let _ = scan::inbound(&text);
    }
}
