//! What a client asks of the server itself, as far as it has to be read (PROTOCOL §7).
//!
//! Finds what is inside a request and keeps the client's bytes. Never answers, and never handles what it finds.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::envelope::push_members;
use crate::scan;
use crate::topic;

pub use crate::error::RequestError;

/// Messages of one batch at most.
pub const MAX_BATCH: usize = 1_000;
/// Topics of one request for snapshots at most; further ones are not looked at.
const MAX_TOPICS: usize = 1_024;
/// The longest text that comes back in an answer, in bytes.
const MAX_TEXT: usize = 64;
/// The longest number that comes back in an answer.
const MAX_NUMBER: usize = 32;

/// Whether a message of this type has others inside. None of them stands in another one.
pub fn is_wrapper(kind: &str) -> bool {
    matches!(kind, "batch" | "batch_message" | "priority_message")
}

/// The JSON of a message's `cid`, or where that is absent of its `correlation_id`, which the answer has too.
///
/// A text of at most 64 bytes, or a number; `None` for everything else.
pub fn correlation(message: &str) -> Option<&str> {
    let [cid, long] = last_of(message, ["cid", "correlation_id"]);
    cid.or(long).filter(|value| is_short_text(value) || is_short_number(value))
}

/// The JSON of a message's `id`, if it is a text of at most 64 bytes.
pub fn id(message: &str) -> Option<&str> {
    let [id] = last_of(message, ["id"]);
    id.filter(|value| is_short_text(value))
}

/// The messages of a batch as they stand in its payload, at most [`MAX_BATCH`]. They need not be objects.
pub fn batch(payload: Option<&str>) -> Result<Vec<&str>, RequestError> {
    let [messages] = last_of(payload.unwrap_or_default(), ["messages"]);
    let messages: Vec<&RawValue> =
        messages.and_then(|list| serde_json::from_str(list).ok()).ok_or(RequestError::NoBatch)?;
    if messages.len() > MAX_BATCH {
        return Err(RequestError::BatchTooLong);
    }
    Ok(messages.into_iter().map(RawValue::get).collect())
}

/// The message inside a `priority_message`: the object `message`, or one of `type` and `content`.
///
/// It gets `pri` from the payload's `priority` and `cid` from the `message` around it where it has none.
pub fn urgent<'a>(message: &'a str, payload: Option<&'a str>) -> Result<Cow<'a, str>, RequestError> {
    let [inner, kind, content, priority] =
        last_of(payload.unwrap_or_default(), ["message", "type", "content", "priority"]);
    let (json, [pri, cid, long]) = match (inner, kind) {
        (Some(object), _) if object.starts_with('{') => {
            (Cow::Borrowed(object), last_of(object, ["pri", "cid", "correlation_id"]))
        }
        (None, Some(kind)) if kind.starts_with('"') => {
            let content = content.unwrap_or("{}");
            (Cow::Owned(format!("{{\"t\":{kind},\"p\":{content}}}")), [None; 3])
        }
        _ => return Err(RequestError::NoMessage),
    };
    let pri = priority.filter(|value| pri.is_none() && is_short_number(value));
    let cid = correlation(message).filter(|_| cid.or(long).is_none());
    let missing = [("pri", pri), ("cid", cid)].map(|(name, value)| value.map(|value| (name, value)));
    if missing == [None; 2] {
        return Ok(json);
    }
    let mut whole = String::with_capacity(json.len() + 2 * MAX_TEXT);
    whole.push('{');
    for (name, value) in missing.into_iter().flatten() {
        whole.extend(["\"", name, "\":", value, ","]);
    }
    let mut whole = whole.into_bytes();
    push_members(&json, &[], &mut whole);
    Ok(Cow::Owned(String::from_utf8(whole).expect("pieces of text are text")))
}

/// The topics that a request for snapshots names; other values than a list of texts name none.
pub fn topics(payload: Option<&str>) -> Vec<String> {
    let [topics] = last_of(payload.unwrap_or_default(), ["topics"]);
    let mut topics: Vec<String> = topics.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default();
    // What is longer than a topic is none, and no answer is much larger than its request.
    topics.retain(|topic| topic.len() <= topic::MAX_LEN);
    topics.truncate(MAX_TOPICS);
    topics
}

/// What a `config_update` asks for, in order: names, and values as JSON.
pub fn settings(payload: Option<&str>) -> Result<Vec<(Cow<'_, str>, &str)>, RequestError> {
    let mut settings = Vec::new();
    let read = scan::members(payload.unwrap_or("{}"), &mut |member| {
        settings.push((member.name().unwrap_or_default(), member.value));
    });
    read.map(|()| settings).map_err(|_| RequestError::NoSettings)
}

/// The values of these members of an object; of duplicates the last one, and none of what is no object.
fn last_of<'a, const N: usize>(json: &'a str, names: [&str; N]) -> [Option<&'a str>; N] {
    let mut found = [None; N];
    let read = scan::members(json, &mut |member| {
        if let Some(place) = names.iter().position(|name| scan::key_is(member.key, name)) {
            found[place] = Some(member.value);
        }
    });
    if read.is_ok() { found } else { [None; N] }
}

fn is_short_text(value: &str) -> bool {
    scan::string_value(value).is_some_and(|text| text.len() <= MAX_TEXT)
}

fn is_short_number(value: &str) -> bool {
    value.len() <= MAX_NUMBER && value.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_short_text_or_number_of_its_request() {
        for (message, expected) in [
            (r#"{"t":"x","cid":"a\"b"}"#, Some(r#""a\"b""#)),
            (r#"{"correlation_id":-1.50e3}"#, Some("-1.50e3")),
            (r#"{"correlation_id":"long","cid":"short"}"#, Some("\"short\"")),
            (r#"{"cid":"a","cid":7}"#, Some("7")),
            (r#"{"cid":null,"correlation_id":"hidden"}"#, None),
            (r#"{"cid":{}}"#, None),
            (r#"{"cid":"\ud800"}"#, None),
            (r#"{"p":{"cid":1}}"#, None),
        ] {
            assert_eq!(correlation(message), expected, "{message}");
        }
        let of = |text: &str| format!("{{\"cid\":{text}}}");
        for (long, is_kept) in [
            (of(&format!("\"{}\"", "é".repeat(32))), true),
            (of(&format!("\"{}e\"", "é".repeat(32))), false),
            (of(&"1".repeat(32)), true),
            (of(&"1".repeat(33)), false),
        ] {
            assert_eq!(correlation(&long).is_some(), is_kept, "{long}");
        }
        assert_eq!((id(r#"{"id":"a"}"#), id(r#"{"id":1}"#)), (Some("\"a\""), None));
    }

    #[test]
    fn a_batch_is_a_list_of_a_thousand_messages_at_most() {
        let payload = r#"{"count":9,"messages":[ {"t":"a", "p":{ }} ,7,"x" ]}"#;
        assert_eq!(batch(Some(payload)), Ok(vec![r#"{"t":"a", "p":{ }}"#, "7", "\"x\""]));
        assert_eq!(batch(Some(r#"{"messages":[]}"#)), Ok(vec![]));
        for none in [None, Some("{}"), Some("[]"), Some(r#"{"messages":{}}"#), Some(r#"{"messages":null}"#)] {
            assert_eq!(batch(none), Err(RequestError::NoBatch), "{none:?}");
        }
        let of = |count| format!(r#"{{"messages":[{}]}}"#, vec!["0"; count].join(","));
        assert_eq!(batch(Some(&of(1_000))).map(|all| all.len()), Ok(1_000));
        assert_eq!(batch(Some(&of(1_001))), Err(RequestError::BatchTooLong));
    }

    #[test]
    fn a_priority_message_is_the_one_inside() {
        for (message, payload, expected) in [
            ("{}", r#"{"message":{"t":"a" , "p":{}}}"#, r#"{"t":"a" , "p":{}}"#),
            ("{}", r#"{"type":"a","content":{"b":1}}"#, r#"{"t":"a","p":{"b":1}}"#),
            ("{}", r#"{"type":"a","priority":8}"#, r#"{"pri":8,"t":"a","p":{}}"#),
            ("{}", r#"{"type":"a","priority":"high"}"#, r#"{"t":"a","p":{}}"#),
            (r#"{"cid":"c"}"#, r#"{"message":{},"priority":1}"#, r#"{"pri":1,"cid":"c"}"#),
            (
                r#"{"cid":"c"}"#,
                r#"{"message":{"t":"a","cid":1,"pri":2},"priority":1}"#,
                r#"{"t":"a","cid":1,"pri":2}"#,
            ),
            (r#"{"correlation_id":"c"}"#, r#"{"message":{"t":"a"},"type":7}"#, r#"{"cid":"c","t":"a"}"#),
        ] {
            assert_eq!(urgent(message, Some(payload)).as_deref(), Ok(expected), "{payload}");
        }
        for none in ["{}", "[]", r#"{"type":7}"#, r#"{"message":[]}"#, r#"{"message":"x","type":"a"}"#] {
            assert_eq!(urgent("{}", Some(none)), Err(RequestError::NoMessage), "{none}");
        }
        assert_eq!(urgent("{}", None), Err(RequestError::NoMessage));
    }

    #[test]
    fn settings_are_the_members_of_an_object() {
        let asked = settings(Some(r#"{"a":[1],"\u0062":true,"a":2}"#)).expect("an object");
        assert_eq!(asked, [("a".into(), "[1]"), ("b".into(), "true"), ("a".into(), "2")]);
        assert_eq!(settings(None), Ok(vec![]));
        assert_eq!(settings(Some("[1]")), Err(RequestError::NoSettings));
    }

    #[test]
    fn topics_are_a_list_of_texts() {
        assert_eq!(topics(Some(r#"{"topics":["a","\u00e9"]}"#)), ["a", "é"]);
        for none in [None, Some("{}"), Some("7"), Some(r#"{"topics":"a"}"#), Some(r#"{"topics":["a",1]}"#)] {
            assert!(topics(none).is_empty(), "{none:?}");
        }
    }
}
