//! Unit tests of the envelope. `spec/vectors/envelope.json` has the cases that every language reads.

use super::*;
use crate::codes::Code;

const AT: Timestamp = Timestamp(1_700_000_000_050);
const ID: &str = "018bcfe5-6832-7000-8000-000000000001";

fn completed(text: &str) -> Result<(String, Outcome), EnvelopeError> {
    let mut out = b"....".to_vec();
    let outcome = complete(text, &Uuid::parse_str(ID).expect("an id"), AT, Seq::Publisher, &mut out)?;
    let text = String::from_utf8(out.split_off(4)).expect("UTF-8");
    assert_eq!(out, b"....", "what stood before stays");
    Ok((text, outcome))
}

fn envelope(text: &str) -> String {
    let (completed, outcome) = completed(text).expect("nothing is reserved");
    let json: serde_json::Value = serde_json::from_str(&completed).expect("an envelope is JSON");
    let Outcome::Envelope { category, .. } = outcome else { panic!("an envelope was expected") };
    assert_eq!((json["v"].as_u64(), json["_msg_cat"].as_str()), (Some(2), Some(category.as_str())));
    assert!(completed.len() <= text.len() + MAX_OVERHEAD);
    completed
}

#[test]
fn what_is_missing_is_spliced_in_front_of_the_publishers_bytes() {
    let head = format!(r#"{{"v":2,"_msg_cat":"U","id":"{ID}","ts":"2023-11-14T22:13:20.050Z","#);
    assert_eq!(
        envelope(r#" {"t" : "x", "p":{"n":1.50} } "#),
        format!(r#"{head}"t" : "x", "p":{{"n":1.50}} }}"#)
    );
    assert_eq!(envelope("{}"), format!(r#"{head}"p":{{}}}}"#));
    assert_eq!(envelope("{ }"), format!(r#"{head}"p":{{}}}}"#));
    assert_eq!(envelope("{}").len(), 2 + MAX_OVERHEAD - "WSE".len() + "U".len() - 1);
}

#[test]
fn a_whole_envelope_keeps_its_bytes_behind_version_and_category() {
    let priority = Priority::Normal;
    let outcome = Outcome::Envelope { category: Category::Snapshot, has_seq: true, priority };
    let whole = r#"{"v":2,"_msg_cat":"S","t":"x","p":{},"id":"a","ts":"b","seq":7}"#;
    assert_eq!(completed(whole), Ok((whole.into(), outcome)));
    let other_order = r#"{"t":"x","p":{},"id":"a","ts":"b","seq":7,"v":2,"_msg_cat":"S"}"#;
    assert_eq!(completed(other_order), Ok((whole.into(), outcome)));
}

#[test]
fn the_priority_is_a_number_under_its_short_name_or_else_its_long_one() {
    for (members, expected) in [
        (r#""p":{}"#, Priority::Normal),
        (r#""pri":10"#, Priority::Critical),
        (r#""priority":1"#, Priority::Background),
        (r#""pri":3,"priority":10"#, Priority::Low),
        (r#""pri":"10","priority":10"#, Priority::Normal),
        (r#""pri":10,"\u0070ri":8"#, Priority::High),
    ] {
        let outcome = completed(&format!(r#"{{{members}}}"#)).expect("nothing is reserved").1;
        let Outcome::Envelope { priority, .. } = outcome else { panic!("an envelope was expected") };
        assert_eq!(priority, expected, "{members}");
    }
}

#[test]
fn what_the_server_says_replaces_what_the_publisher_said() {
    let rest = r#""id":1,"ts":1,"p":{}"#;
    for (text, kept) in [
        (format!(r#"{{"v":1,{rest}}}"#), format!(r#"{{"v":2,"_msg_cat":"U",{rest}}}"#)),
        (format!(r#"{{{rest} , "v" : 1 }}"#), format!(r#"{{"v":2,"_msg_cat":"U",{rest} }}"#)),
        (format!(r#"{{{rest},"v":2,"c":"S"}}"#), format!(r#"{{"v":2,"_msg_cat":"S",{rest}}}"#)),
        (format!(r#"{{"c":"S",{rest},"_msg_cat":"U"}}"#), format!(r#"{{"v":2,"_msg_cat":"U",{rest}}}"#)),
        (format!(r#"{{"_msg_cat":"X",{rest},"v":2.0}}"#), format!(r#"{{"v":2,"_msg_cat":"U",{rest}}}"#)),
        (format!(r#"{{"\u0063":"S",{rest},"\u0076":3}}"#), format!(r#"{{"v":2,"_msg_cat":"S",{rest}}}"#)),
        (format!(r#"S{{"_msg_cat":"U",{rest}}}"#), format!(r#"{{"v":2,"_msg_cat":"S",{rest}}}"#)),
        (
            format!(r#"WSE{{"t":"x_snapshot",{rest}}}"#),
            format!(r#"{{"v":2,"_msg_cat":"WSE","t":"x_snapshot",{rest}}}"#),
        ),
    ] {
        assert_eq!(envelope(&text), kept, "{text}");
    }
    let all_cut = r#" { "id":1,"ts":1,"_msg_cat":null, "c":1 ,"v":1 } "#;
    assert_eq!(envelope(all_cut), r#"{"v":2,"_msg_cat":"U","p":{}, "id":1,"ts":1}"#);
    assert_eq!(envelope(r#"S{"v":1}"#), envelope("S{}"));
}

#[test]
fn duplicates_cannot_say_two_things() {
    let text = r#"{"id":1,"ts":1,"p":{},"v":2,"v":1,"_msg_cat":"S","_msg_cat":"U","_msg_cat":"S"}"#;
    assert_eq!(envelope(text), r#"{"v":2,"_msg_cat":"S","id":1,"ts":1,"p":{}}"#);
}

#[test]
fn a_stamp_cannot_be_forged_at_the_top_level() {
    for name in ["tp", "e", "o", "topic", "epoch", "offset"] {
        let refused = Err(EnvelopeError::ReservedMember(name));
        assert_eq!(completed(&format!(r#"{{"t":"x","{name}":1}}"#)), refused);
        assert_eq!(completed(&format!(r#"{{"{name}":null,"{name}":1,"t":"x"}}"#)), refused);
        assert_eq!(
            completed(&format!(r#"U{{"t":"x","\u00{:x}{}":1}}"#, name.as_bytes()[0], &name[1..])),
            refused
        );
        assert!(completed(&format!(r#"{{"p":{{"{name}":1}}}}"#)).is_ok());
    }
    let deep = format!(r#"{{"o":1,"p":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(completed(&deep), Err(EnvelopeError::TooDeep));
}

#[test]
fn a_stamp_cannot_be_forged_inside_a_batch() {
    for name in ["tp", "e", "o", "topic", "epoch", "offset"] {
        let refused = Err(EnvelopeError::ReservedMember(name));
        for kind in [r#""t":"batch""#, r#""type":"b\u0061tch""#] {
            let text = format!(r#"{{{kind},"p":{{"messages":[{{"t":"x"}},{{"t":"x","{name}":1}}]}}}}"#);
            assert_eq!(completed(&text), refused, "{text}");
        }
        let inside = format!(r#"{{"t":"batch","p":{{"messages":[{{"t":"x","p":{{"{name}":1}}}}]}}}}"#);
        assert!(completed(&inside).is_ok());
        assert!(completed(&inside.replace("batch", "other")).is_ok());
    }
    for harmless in ["7", r#"{"messages":{"o":1}}"#, r#"{"messages":["o",[1]]}"#, "{}"] {
        assert!(completed(&format!(r#"{{"t":"batch","p":{harmless}}}"#)).is_ok(), "{harmless}");
    }
}

#[test]
fn the_servers_own_orders_cannot_be_forged() {
    for kind in ["server_hello", "subscription_update", "key_rotation_response"] {
        let refused = Err(EnvelopeError::ReservedType(kind));
        assert_eq!(completed(&format!(r#"{{"t":"{kind}","p":{{}}}}"#)), refused);
        assert_eq!(completed(&format!(r#"WSE{{"type":"{kind}"}}"#)), refused);
        let batch = format!(r#"{{"t":"batch","p":{{"messages":[{{"t":"{kind}"}}]}}}}"#);
        assert_eq!(completed(&batch), refused);
    }
    assert!(completed(r#"{"t":"error","p":{"code":"MINE"}}"#).is_ok());
}

#[test]
fn nothing_is_forged_by_what_readers_read_differently() {
    let stamped = r#"{"messages":[{"t":"x","o":1}]}"#;
    for text in [
        // The last of two counts, the first that is not empty, or what another message wraps.
        r#"{"t":"batch","p":{"messages":[],"messages":[{"o":1}]}}"#.to_owned(),
        r#"{"t":"batch","p":{"messages":[{"o":1}],"messages":[]}}"#.to_owned(),
        format!(r#"{{"t":"batch","payload":{stamped},"p":{{}}}}"#),
        format!(r#"{{"t":"","type":"batch","p":null,"payload":{stamped}}}"#),
        r#"{"t":"priority_message","p":{"message":{"t":"server_hello"}}}"#.to_owned(),
        r#"{"t":"batch","p":{"messages":[{"t":"priority_message"}]}}"#.to_owned(),
        // Not everybody's JSON.
        r#"{"t":"x","o":1,"p":{"n":NaN}}"#.to_owned(),
        r#"{"n":[-Infinity,Infinity],"t":"server_hello"}"#.to_owned(),
        r#"U{"t":"batch","p":{"n":NaN,"messages":[{"n":NaN},{"o":1,"n":-Infinity}]}}"#.to_owned(),
    ] {
        let refused = completed(&text).expect_err(&text);
        assert_eq!(refused.code(), Code::ReservedMember, "{text}");
    }
    let deep = format!(r#"{{"n":NaN,"p":{}{},"o":1}}"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(completed(&deep), Err(EnvelopeError::TooDeep));
    for harmless in [r#"{"t":"x","p":{"n":NaN}}"#, r#"{"o":1,"n":Nan}"#, r#"{"o":1,"n":-NaN}"#] {
        assert_eq!(completed(harmless), Ok((harmless.into(), Outcome::Verbatim)), "{harmless}");
    }
}

#[test]
fn a_type_or_an_id_that_cannot_be_one_is_taken_out() {
    let envelope = envelope(r#"{"t":["x"],"id":{"a":1},"ts":1,"p":{},"type":"y"}"#);
    let expected = format!(r#"{{"v":2,"_msg_cat":"U","id":"{ID}","ts":1,"p":{{}},"type":"y"}}"#);
    assert_eq!(envelope, expected);
}

#[test]
fn what_is_no_object_goes_out_as_it_came() {
    for text in ["", "hello", "[1]", "WSE {}", "{", "{\"a\":1", "S[]", "{}{}", "  7 "] {
        assert_eq!(completed(text), Ok((text.into(), Outcome::Verbatim)), "{text:?}");
    }
}

#[test]
fn an_error_leaves_the_buffer_as_it_was() {
    let mut out = b"....".to_vec();
    assert!(complete(r#"{"o":1}"#, &Uuid::nil(), AT, Seq::Publisher, &mut out).is_err());
    assert_eq!(out, b"....");
}

#[test]
fn one_allocation_of_the_announced_size_is_enough() {
    let text = r#"{"t":"ping"}"#;
    let mut out = Vec::with_capacity(text.len() + MAX_OVERHEAD);
    let capacity = out.capacity();
    assert!(complete(text, &Uuid::nil(), AT, Seq::Publisher, &mut out).is_ok());
    assert_eq!(out.capacity(), capacity);
}

#[test]
fn the_number_of_a_log_takes_the_place_of_the_publishers() {
    let mut out = Vec::new();
    let text = r#"{"t":"x","seq":9,"p":{"seq":1},"seq":10}"#;
    let outcome = complete(text, &Uuid::nil(), AT, Seq::Server, &mut out);
    assert!(matches!(outcome, Ok(Outcome::Envelope { has_seq: false, .. })));
    let text = String::from_utf8(out).expect("text");
    assert!(text.ends_with(r#""t":"x","p":{"seq":1}}"#), "{text}");
}
