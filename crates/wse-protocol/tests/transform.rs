//! Verifies that an envelope of a domain event says what the event says, whatever the event looks like.

use proptest::prelude::*;
use serde_json::{Map, Value};
use uuid::Uuid;
use wse_protocol::envelope::{self, Seq, Timestamp};
use wse_protocol::transform::{Mapping, Outcome, TransformError, Unmapped, transform};

const AT: Timestamp = Timestamp(1_700_000_000_050);
const ID: Uuid = Uuid::from_u128(7);

fn mapping(unmapped: Unmapped) -> Mapping {
    let types = [("OrderPlaced", "order_update"), ("Loaded", "order_snapshot"), ("same", "same")];
    Mapping::new(types.map(|(event, kind)| (event.into(), kind.into())), unmapped)
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec!["\"OrderPlaced\"", "\"Loaded\"", "\"same\"", "\"OtherEvent\"", "\"Order\\u0050laced\""]),
        4 => prop::sample::select(vec![
            "null", "true", "1", "-1", "1.50", "12345678901234567890", "\"\"", "\"S\"", "\"x y\"", "\"\\ud800\"",
            "\"2023-11-14T22:13:20Z\"", "\"2023-11-14 22:13:20.5+01\"", "1700000000", "[1,{}]", "\"é😀\"",
        ]),
        3 => prop::sample::select(vec![
            "{}", "{ }", "{\"a\":1.50}", "{\"original_event_type\":\"x\"}", "{\"priority\":8,\"event_id\":\"m\"}",
            "{ \"version\" : 2 , \"correlation_id\":null, \"timestamp\":\"2023-11-14T22:13:20Z\" }",
        ]),
    ]
    .prop_map(str::to_owned)
}

fn event() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "event_type",
        "event_type",
        "type",
        "original_event_type",
        "data",
        "payload",
        "metadata",
        "_metadata",
        "event_id",
        "timestamp",
        "correlation_id",
        "trace_id",
        "version",
        "pri",
        "priority",
        "latency_ms",
        "_msg_cat",
        "c",
        "v",
        "t",
        "p",
        "id",
        "ts",
        "seq",
        "tp",
        "e",
        "o",
        "user_id",
        "dat\\u0061",
    ]);
    let space = || prop::sample::select(vec!["", "", " ", "\n"]);
    let member = (space(), name, space(), value(), space())
        .prop_map(|(a, name, b, value, c)| format!("{a}\"{name}\"{b}:{value}{c}"));
    prop::collection::vec(member, 0..9).prop_map(|members| format!("{{{}}}", members.join(",")))
}

/// What an object says, as another parser reads it. `None` where that one is stricter about escapes.
fn tree(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

fn without_nulls(object: &Map<String, Value>) -> Map<String, Value> {
    object
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn an_envelope_says_what_its_event_says(text in event(), is_snake: bool, seq: Option<u32>) {
        let mapping = mapping(if is_snake { Unmapped::SnakeCase } else { Unmapped::Filter });
        let seq = seq.map(u64::from);
        let mut out = b"..".to_vec();
        let outcome = transform(&text, seq, &mapping, || ID, AT, &mut out);
        let out = std::str::from_utf8(&out[2..]).expect("UTF-8").to_owned();
        let Some(event) = tree(&text).map(|event| without_nulls(&event)) else { return Ok(()) };
        let kind = event.get("event_type").or_else(|| event.get("type")).and_then(Value::as_str).unwrap_or("");
        let is_envelope = ["v", "t", "p", "id", "ts"].iter().all(|name| event.contains_key(*name))
            && !event.contains_key("event_type");
        match outcome {
            Err(error) => {
                prop_assert_eq!(error, TransformError::NoType);
                prop_assert!(kind.is_empty() && !is_envelope && out.is_empty());
            }
            Ok(Outcome::Filtered) => {
                prop_assert!(!is_snake && !is_envelope && out.is_empty());
                prop_assert!(!["OrderPlaced", "Loaded", "same"].contains(&kind));
            }
            Ok(Outcome::Envelope) if is_envelope => {
                let mut expected = tree(&text).expect("it was read before");
                if let Some(seq) = seq {
                    expected.entry("seq").or_insert(seq.into());
                }
                prop_assert_eq!(tree(&out).expect("an object"), expected);
            }
            Ok(Outcome::Envelope) => {
                let envelope = tree(&out).expect("an object");
                // It is whole: the server has nothing to add and nothing to take out.
                let mut completed = Vec::new();
                let outcome = envelope::complete(&out, &ID, AT, Seq::Publisher, &mut completed);
                let is_whole = matches!(outcome, Ok(envelope::Outcome::Envelope { .. }));
                prop_assert!(is_whole);
                let completed = tree(std::str::from_utf8(&completed).expect("UTF-8"));
                prop_assert_eq!(completed.as_ref(), Some(&envelope));

                prop_assert_eq!(envelope.get("seq").and_then(Value::as_u64), seq);
                prop_assert_eq!(&envelope["ts"], &Value::from(AT.to_string()));
                prop_assert_eq!(&envelope["v"], &Value::from(2));

                // Every member of the payload is there as it was, and nothing but the original type is new.
                let apart = ["data", "payload"].iter().filter_map(|name| event.get(*name)).find_map(Value::as_object);
                let mut payload = envelope["p"].as_object().expect("an object").clone();
                let expected = match apart {
                    Some(apart) => apart.clone(),
                    None => {
                        let mut event = tree(&text).expect("it was read before");
                        event.retain(|name, _| !["metadata", "_metadata"].contains(&name.as_str()));
                        event
                    }
                };
                if !expected.contains_key("original_event_type") {
                    let original = payload.remove("original_event_type");
                    prop_assert_eq!(original.as_ref(), envelope.get("original_event_type"));
                }
                prop_assert_eq!(payload, expected);
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic_or_leaves_something_behind(text in any::<String>()) {
        let mut out = Vec::new();
        let outcome = transform(&text, None, &mapping(Unmapped::SnakeCase), || ID, AT, &mut out);
        prop_assert!(outcome.is_ok() || out.is_empty());
    }

    #[test]
    fn no_time_and_no_name_makes_it_panic(time in "\\PC{0,40}|[0-9TtZz:. +-]{0,40}", name in "\\PC{0,20}") {
        let event = serde_json::json!({ "event_type": name, "timestamp": time }).to_string();
        let mut out = Vec::new();
        if transform(&event, None, &mapping(Unmapped::SnakeCase), || ID, AT, &mut out).is_ok() {
            let envelope = tree(std::str::from_utf8(&out).expect("UTF-8")).expect("an object");
            let kind = envelope["t"].as_str().expect("text");
            prop_assert!(!kind.starts_with('_') && !kind.ends_with('_') && !kind.contains("__"));
        }
    }

    #[test]
    fn an_envelope_is_no_longer_than_twice_its_event(name in "[A-Z]{1,255}", id in "[a-z]{0,300}") {
        let event = serde_json::json!({ "event_type": name, "event_id": id, "trace_id": id }).to_string();
        let mut out = Vec::new();
        let mapping = mapping(Unmapped::SnakeCase);
        prop_assert_eq!(transform(&event, Some(u64::MAX), &mapping, || ID, AT, &mut out), Ok(Outcome::Envelope));
        prop_assert!(out.len() <= 2 * event.len() + 3 * 255 + 512);
    }
}
