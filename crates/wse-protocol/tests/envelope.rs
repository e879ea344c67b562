//! Verifies that a completed envelope is the publisher's object with the server's members, and nothing else.

use std::fmt;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use uuid::Uuid;
use wse_protocol::envelope::{self, EnvelopeError, MAX_OVERHEAD, Outcome, Seq, Timestamp};

const RESERVED: [&str; 6] = ["tp", "e", "o", "topic", "epoch", "offset"];

/// A member with the names and the kinds of values that matter here.
fn member() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        12 => prop::sample::select(vec![
            "t", "type", "p", "payload", "id", "ts", "v", "c", "_msg_cat", "seq", "pri", "\\u0076", "\\u0063",
        ]),
        1 => prop::sample::select(RESERVED.to_vec()),
        1 => Just("\\u0065"),
    ];
    let value = prop::sample::select(vec![
        "2",
        "1",
        "2.0",
        "\"U\"",
        "\"S\"",
        "\"WSE\"",
        "\"x\"",
        "\"x_snapshot\"",
        "{}",
        "{\"tp\":[1,{\"v\":3}]}",
        "null",
        "[]",
    ]);
    let space = || prop::sample::select(vec!["", "", " ", "\n"]);
    (space(), name, space(), value, space())
        .prop_map(|(a, name, b, value, c)| format!("{a}\"{name}\"{b}:{value}{c}"))
}

fn object() -> impl Strategy<Value = String> {
    let prefix = prop::sample::select(vec!["", "", "", " ", "WSE", "S", "U"]);
    (prefix, prop::collection::vec(member(), 0..7), prop::sample::select(vec!["", " "]))
        .prop_map(|(prefix, members, end)| format!("{prefix}{{{}}}{end}", members.join(",")))
}

fn tree(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?} is no object: {error}"))
}

/// The members of an object, duplicates included.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let next = || map.next_entry().transpose();
                std::iter::from_fn(next).collect::<Result<_, _>>().map(Members)
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The object without a type or an id that is a list or an object.
fn usable(text: &str) -> Map<String, Value> {
    let Members(members) =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?} is no object: {error}"));
    let is_usable = |name: &str, value: &Value| {
        !["t", "type", "id"].contains(&name) || !(value.is_object() || value.is_array())
    };
    members.into_iter().filter(|(name, value)| is_usable(name, value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn an_envelope_is_the_publishers_object_with_the_servers_members(text in object()) {
        let id = Uuid::from_u128(7);
        let at = Timestamp(1);
        let publisher = usable(text.trim_start_matches(['W', 'S', 'E', 'U']));
        let mut out = b"....".to_vec();
        let outcome = envelope::complete(&text, &id, at, Seq::Publisher, &mut out);
        prop_assert!(out.starts_with(b"...."));
        let envelope = std::str::from_utf8(&out[4..]).expect("UTF-8");
        let category = match outcome {
            Err(EnvelopeError::ReservedMember(name)) => {
                prop_assert!(publisher.contains_key(name) && envelope.is_empty());
                return Ok(());
            }
            Ok(Outcome::Envelope { category, has_seq, .. }) => {
                prop_assert_eq!(has_seq, publisher.contains_key("seq"));
                category
            }
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        let braces = (envelope.starts_with('{'), envelope.ends_with('}'));
        prop_assert_eq!(braces, (true, true));
        prop_assert!(envelope.len() <= text.len() + MAX_OVERHEAD);
        prop_assert!(RESERVED.iter().all(|name| !publisher.contains_key(*name)));

        let mut expected = publisher;
        let has_payload = expected.contains_key("payload");
        expected.remove("c");

        expected.entry("id").or_insert_with(|| id.to_string().into());
        expected.entry("ts").or_insert_with(|| at.to_string().into());
        if !has_payload {
            expected.entry("p").or_insert_with(|| Map::new().into());
        }
        expected.insert("v".into(), 2.into());
        expected.insert("_msg_cat".into(), category.as_str().into());
        prop_assert_eq!(tree(envelope), expected);
    }

    #[test]
    fn any_other_text_goes_out_as_it_came(text in any::<String>()) {
        let mut out = Vec::new();
        let outcome = envelope::complete(&text, &Uuid::nil(), Timestamp(0), Seq::Publisher, &mut out);
        let is_prefixed = text.starts_with(['W', 'S', 'U']);
        if !is_prefixed && serde_json::from_str::<Map<String, Value>>(&text).is_err() {
            prop_assert_eq!((outcome, out), (Ok(Outcome::Verbatim), text.into_bytes()));
        }
    }
}
