//! What holds for any text that may be an envelope.

use serde_json::{Map, Value};
use wse_protocol::scan::{self, MAX_DEPTH, ScanError};

/// Verifies that `input`, if it is text, is an object exactly where serde_json says so, with the same members, and
/// that the type and the payload are those of the object.
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

/// Whether `text` is a JSON object by serde_json, which checks the grammar and keeps nothing.
fn is_object(text: &str) -> bool {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    is_json && text.trim_ascii_start().starts_with('{')
}
