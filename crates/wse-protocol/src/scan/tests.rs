//! Unit tests of the scanner. `tests/scan.rs` holds it against serde_json.

use super::*;

fn pairs(text: &str) -> Result<Vec<(&str, &str)>, ScanError> {
    let mut found = Vec::new();
    members(text, &mut |member| {
        assert_eq!(text.as_bytes()[member.start], b'"');
        assert!(
            text[member.start + 1..].starts_with(member.key) && text[..member.end].ends_with(member.value)
        );
        found.push((member.key, member.value));
    })?;
    Ok(found)
}

fn is_accepted(value: &str) -> bool {
    pairs(&format!("{{\"a\":{value}}}")).is_ok()
}

#[test]
fn members_come_in_order_with_their_own_bytes() {
    let text = "\r\n\t { \"t\" : \"chat\" , \"p\":{\"t\":[1,{}]},\"p\":[ ] } \n";
    assert_eq!(pairs(text), Ok(vec![("t", "\"chat\""), ("p", "{\"t\":[1,{}]}"), ("p", "[ ]")]));
    assert_eq!(pairs(" {\n} "), Ok(vec![]));
}

#[test]
fn what_is_no_object_is_told_from_a_broken_one() {
    for text in ["", " ", "[]", "1", "\"{}\"", "hello", "\u{feff}{}", "nulL"] {
        assert_eq!(pairs(text), Err(ScanError::NotAnObject), "{text:?}");
    }
    for (text, at) in
        [("{", 1), ("{}x", 2), ("{,}", 1), ("{\"a\"}", 4), ("{\"a\":1,}", 7), ("{\"a\":1 \"b\":2}", 7)]
    {
        assert_eq!(pairs(text), Err(ScanError::Malformed { at }), "{text:?}");
    }
    for text in
        ["{a:1}", "{'a':1}", "{\"a\":1}}", "{\"a\":[1}]", "{\"a\":[1,]}", "{\"a\":{\"b\"}}", "{\"a\":{1:2}}"]
    {
        assert!(matches!(pairs(text), Err(ScanError::Malformed { .. })), "{text:?}");
    }
}

#[test]
fn numbers_follow_the_grammar() {
    for good in ["0", "-0", "10", "1.0", "1e5", "1E+5", "-1.25e-3", "0.0", "0e0", "1e999"] {
        assert!(is_accepted(good), "{good}");
    }
    for bad in
        ["01", "-", "+1", "1.", ".5", "1e", "1e+", "0x1", "1_0", "NaN", "Infinity", "-Infinity", "1 2", "--1"]
    {
        assert!(!is_accepted(bad), "{bad}");
    }
}

#[test]
fn literals_are_whole_words() {
    for good in ["true", "false", "null"] {
        assert!(is_accepted(good));
        assert!(!is_accepted(&good[..good.len() - 1]));
        assert!(!is_accepted(&good.to_uppercase()));
        assert!(!is_accepted(&format!("{good}x")));
    }
}

#[test]
fn strings_hold_escapes_but_no_control_characters() {
    for good in [r#""\"\\\/\b\f\n\r\t\u00e9""#, r#""\uD800""#, "\"\u{7f}\u{80}é\u{10ffff}\"", "\"\""] {
        assert!(is_accepted(good), "{good}");
    }
    for bad in [r#""\x""#, r#""\u12g4""#, r#""\u123""#, r#""\""#, "\"a\u{1f}\"", "\"\n\"", "\"\0\"", "\"open"]
    {
        assert!(!is_accepted(bad), "{bad}");
    }
    // Wherever it stands among the eight bytes of a step, a control character is found.
    for at in 0..24 {
        let mut text = "é".repeat(12);
        text.truncate((at / 2) * 2);
        assert!(!is_accepted(&format!("\"{text}\u{1}{}\"", "x".repeat(24 - at))), "{at}");
    }
}

#[test]
fn nesting_ends_at_its_limit() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(pairs(&nested(127)).is_ok());
    assert_eq!(pairs(&nested(128)), Err(ScanError::TooDeep));
    assert_eq!(pairs(&format!("{{\"a\":{}", "{\"a\":".repeat(1 << 20))), Err(ScanError::TooDeep));
    let mixed = format!("{{\"a\":{}1{}}}", "[{\"b\":".repeat(60), "}]".repeat(60));
    assert!(pairs(&mixed).is_ok());
    assert!(matches!(pairs(&mixed.replace("1}", "1]")), Err(ScanError::Malformed { .. })));
}

#[test]
fn a_name_counts_however_it_is_escaped() {
    assert!(key_is("t", "t") && key_is(r"\u0074", "t") && key_is(r"\u0074p", "tp"));
    assert!(!key_is("T", "t") && !key_is(r"\u0054", "t") && !key_is(r"\ud800", "t") && !key_is("", "t"));
}

#[test]
fn a_string_is_borrowed_unless_it_has_escapes() {
    assert!(matches!(string_value("\"chat\""), Some(Cow::Borrowed("chat"))));
    assert_eq!(string_value(r#""a\u00e9\ud83d\ude00\n""#).as_deref(), Some("aé😀\n"));
    for other in ["1", "null", "\"", "", "\"a\"b\"", r#""\ud800""#, "\"a\" 1", "\"a\n\""] {
        assert_eq!(string_value(other), None, "{other:?}");
    }
}

#[test]
fn the_last_t_says_what_a_message_is() {
    let kind = |text| inbound(text).expect("an object").kind.map(Cow::into_owned);
    assert_eq!(kind(r#"{"t":"a","t":"b"}"#).as_deref(), Some("b"));
    assert_eq!(kind(r#"{"t":"a","\u0074":"b"}"#).as_deref(), Some("b"));
    assert_eq!(kind(r#"{"event_type":"c","type":"b","p":{"t":"x"}}"#).as_deref(), Some("b"));
    assert_eq!(kind(r#"{"event_type":"c"}"#).as_deref(), Some("c"));
    assert_eq!(kind(r#"{"t":1,"type":"b"}"#), None, "a short name that is present hides the long one");
    assert_eq!(kind(r#"{"t":"a","t":null}"#), None);
    assert_eq!(kind("{}"), None);
}

#[test]
fn the_payload_is_p_or_else_payload() {
    let payload = |text| inbound(text).expect("an object").payload;
    assert_eq!(payload(r#"{"payload":1,"p":{"a":2},"t":"x"}"#), Some(r#"{"a":2}"#));
    assert_eq!(payload(r#"{"payload":[1]}"#), Some("[1]"));
    assert_eq!(payload(r#"{"t":"x"}"#), None);
}

#[test]
fn an_old_prefix_stands_before_an_object_only() {
    let read = |text: &str| inbound(text).map(|message| message.json.to_owned());
    for prefix in ["WSE", "S", "U"] {
        assert_eq!(read(&format!("{prefix}{{\"t\":\"x\"}}")).as_deref(), Ok(r#"{"t":"x"}"#));
    }
    for text in ["WSE {}", "SU{}", "W{}", "s{}", "S", "S[]", "SS{}"] {
        assert_eq!(read(text), Err(ScanError::NotAnObject), "{text}");
    }
}
