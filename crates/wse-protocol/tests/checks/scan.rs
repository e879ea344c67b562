//! What holds for any text that may be an envelope.

use serde_json::{Map, Value};
use wse_protocol::request::{self, MAX_BATCH};
use wse_protocol::scan::{self, MAX_DEPTH, ScanError};

/// Verifies that `input`, if it is text, is an object exactly where serde_json says so, with the same members, that
/// the type and the payload are those of the object, and that what is inside of it as a request is JSON again.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut found = Vec::new();
    let end = scan::members(text, &mut |member| found.push(member));
    if end == Err(ScanError::TooDeep) {
        let opened = text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
        assert!(opened > MAX_DEPTH as usize, "{text:?} is not that deep");
        return;
    }
    assert_eq!(end.is_ok(), is_object(text), "{text:?} {end:?}");
    if end.is_err() {
        let is_other = !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{');
        assert_eq!(end == Err(ScanError::NotAnObject), is_other, "{text:?}");
        return;
    }
    check_request(text);
    for member in &found {
        assert_eq!(&text[member.start..][..member.key.len() + 2], format!("\"{}\"", member.key));
        assert!(text[..member.end].ends_with(member.value));
    }
    // serde_json reads no half of a surrogate pair and no number beyond a double, so a tree exists only
    // for some texts; where it does, it holds the last of each name's values.
    let Ok(tree) = serde_json::from_str::<Map<String, Value>>(text) else { return };
    let mut last = Map::new();
    for member in &found {
        let name = member.name().expect("serde_json read it").into_owned();
        assert!(scan::key_is(member.key, &name));
        last.insert(name, serde_json::from_str(member.value).expect("serde_json read it"));
    }
    assert_eq!(last, tree);
    let kind = ["t", "type", "event_type"].iter().find_map(|name| tree.get(*name)).and_then(Value::as_str);
    let inbound = scan::inbound(text).expect("it is an object");
    assert_eq!(inbound.kind.as_deref(), kind);
    let payload = inbound.payload.map(|raw| serde_json::from_str::<Value>(raw).expect("a value"));
    assert_eq!(payload.as_ref(), tree.get("p").or(tree.get("payload")));
}

fn check_request(text: &str) {
    let payload = scan::inbound(text).expect("it is an object").payload;
    if let Ok(inner) = request::urgent(text, payload) {
        assert!(is_object(&inner), "{inner:?} of {text:?}");
    }
    let is_json = |text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if let Ok(messages) = request::batch(payload) {
        assert!(messages.len() <= MAX_BATCH && messages.into_iter().all(is_json), "{text:?}");
    }
    for value in [request::correlation(text), request::id(text)].into_iter().flatten() {
        let is_text = serde_json::from_str::<String>(value).is_ok_and(|text| text.len() <= 64);
        // Not every number is one that serde_json keeps.
        let is_number = value.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        assert!(is_text || is_number && is_json(value), "{text:?}");
    }
}

/// Whether `text` is a JSON object by serde_json, which checks the grammar and keeps nothing.
fn is_object(text: &str) -> bool {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    is_json && text.trim_ascii_start().starts_with('{')
}
