//! Verifies that envelopes cross between JSON and MessagePack as another implementation reads and writes
//! them, and that no bytes do harm.

use proptest::prelude::*;
use serde_json::{Map, Number, Value};
use wse_protocol::msgpack::{self, MsgpackError};
use wse_protocol::scan;

fn encoded(json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    msgpack::encode(json, &mut out).expect("a JSON object");
    out
}

fn decoded(message: &[u8]) -> Result<String, MsgpackError> {
    let mut out = Vec::new();
    msgpack::decode(message, 0, &mut out)?;
    Ok(String::from_utf8(out).expect("JSON is UTF-8"))
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z_]{0,12}",
        4 => any::<String>(),
        1 => "[a-z\"\\\\\n\0é😀]{28,36}",
        1 => (250..260_usize).prop_map(|len| "x".repeat(len)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-40_000..70_000_i32).prop_map(Value::from),
        any::<f64>().prop_map(|number| Number::from_f64(number).map_or(Value::Null, Value::Number)),
        string().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 18, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..18).prop_map(Value::from),
            prop::collection::vec((string(), inner), 0..18)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::vec((string(), value()), 0..6)
        .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
}

proptest! {
    #[test]
    fn an_envelope_is_what_another_implementation_reads(object in object(), is_pretty in any::<bool>()) {
        let json = if is_pretty { format!("{object:#}") } else { object.to_string() };
        let message = encoded(&json);
        prop_assert_eq!(rmp_serde::from_slice::<Value>(&message).expect("a map"), object);
        prop_assert!(message.len() <= json.len() * 9 / 4);
    }

    #[test]
    fn an_envelope_takes_as_few_bytes_as_it_can(object in object()) {
        prop_assert_eq!(encoded(&object.to_string()), rmp_serde::to_vec(&object).expect("a map"));
    }

    #[test]
    fn what_another_implementation_writes_is_read(object in object()) {
        let message = rmp_serde::to_vec(&object).expect("a map");
        prop_assert_eq!(decoded(&message), Ok(object.to_string()));
    }

    #[test]
    fn the_limit_holds_to_the_byte(object in object(), max_bytes in 1..400_usize) {
        let message = rmp_serde::to_vec(&object).expect("a map");
        let json = object.to_string();
        let mut out = Vec::new();
        let end = msgpack::decode(&message, max_bytes, &mut out);
        if json.len() > max_bytes {
            prop_assert_eq!(end, Err(MsgpackError::TooLarge));
            prop_assert!(out.is_empty());
        } else {
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(out.as_slice(), json.as_bytes());
        }
        prop_assert!(out.capacity() <= max_bytes);
    }

    #[test]
    fn no_part_of_a_message_is_taken_for_a_whole_one(object in object(), cut in any::<prop::sample::Index>()) {
        let message = rmp_serde::to_vec(&object).expect("a map");
        let part = &message[..cut.index(message.len())];
        let expected = if part.is_empty() { MsgpackError::NotAMap } else { MsgpackError::Truncated };
        prop_assert_eq!(decoded(part), Err(expected));
    }

    #[test]
    fn changed_bytes_give_json_or_an_error(
        object in object(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut message = rmp_serde::to_vec(&object).expect("a map");
        for (at, byte) in edits {
            let at = at.index(message.len());
            message[at] = byte;
        }
        gives_json_or_an_error(&message)?;
    }

    #[test]
    fn noise_gives_json_or_an_error(first in 0x80..0x90_u8, noise in prop::collection::vec(any::<u8>(), 0..200)) {
        gives_json_or_an_error(&[&[first], noise.as_slice()].concat())?;
        gives_json_or_an_error(&noise)?;
    }

    #[test]
    fn text_is_refused_where_the_scanner_refuses_it(text in any::<String>(), json in "[{}\\[\\]:,\"a1.e\\\\u -]{0,30}") {
        for text in [text, json.clone(), format!("{{\"a\":{json}}}")] {
            let mut out = Vec::new();
            let end = msgpack::encode(&text, &mut out);
            prop_assert_eq!(end, scan::members(&text, &mut |_| ()));
            prop_assert!(end.is_ok() || out.is_empty());
        }
    }

    #[test]
    fn strings_with_any_escapes_stay_whole(raw in r#"(\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}|\\u[dD][89a-f][0-9]{2}|[a-zé😀 ]){0,12}"#) {
        let message = encoded(&format!("{{\"{raw}\":\"{raw}\"}}"));
        let read = rmp_serde::from_slice::<Map<String, Value>>(&message).expect("a map of text");
        let (name, value) = read.into_iter().next().expect("a member");
        prop_assert_eq!(&Value::from(name.as_str()), &value);
        // serde_json reads no half of a surrogate pair.
        if let Ok(text) = serde_json::from_str::<String>(&format!("\"{raw}\"")) {
            prop_assert_eq!(name, text);
        } else {
            prop_assert!(name.contains(char::REPLACEMENT_CHARACTER));
        }
    }
}

fn gives_json_or_an_error(message: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(json) = decoded(message) {
        prop_assert_eq!(scan::members(&json, &mut |_| ()), Ok(()));
    }
    Ok(())
}

#[test]
fn what_a_length_promises_costs_nothing() {
    for header in [&[0xdf][..], &[0x81, 0xa0, 0xdd], &[0x81, 0xa0, 0xdb], &[0x81, 0xa0, 0xc6], &[0x81, 0xdb]]
    {
        let mut message = [header, &[0xff; 4]].concat();
        message.resize(64, 0xc0);
        let mut out = Vec::new();
        assert_eq!(msgpack::decode(&message, 0, &mut out), Err(MsgpackError::Truncated));
        assert!(out.capacity() <= 64, "{header:?}");
    }
}

#[test]
fn what_is_long_has_a_long_header() {
    for len in [65_535, 65_536] {
        let items = vec![Value::from(7); len];
        let members: Map<_, _> = (0..len).map(|at| (at.to_string(), Value::Null)).collect();
        let object = serde_json::json!({ "items": items, "members": members, "text": "x".repeat(len) });
        let message = encoded(&object.to_string());
        assert_eq!(message, rmp_serde::to_vec(&object).expect("a map"));
        assert_eq!(decoded(&message), Ok(object.to_string()));
    }
}
