//! Verifies that a signature holds for one envelope, one key, one time and once; that the canonical form is
//! the same however JSON was written; and that tickets are good for what and for as long as they say.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use wse_protocol::canonical::canonical;
use wse_protocol::codes::Code;
use wse_protocol::envelope::Timestamp;
use wse_protocol::sign::{self, Nonces, SignError, SigningKey, TOLERANCE};
use wse_protocol::ticket::{KeyError, Kind, MAX_LEN, Ticket, TicketError, TicketKey};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const SECRET: &[u8; 32] = b"a secret of 32 bytes for testing";

fn later(ms: u64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

fn tolerance() -> u64 {
    u64::try_from(TOLERANCE.as_millis()).expect("a minute")
}

fn key() -> SigningKey {
    SigningKey::new("k", SECRET).expect("a key")
}

/// An envelope signed at `at`, with a nonce that is this number.
fn signed(nonce: u128, at: Timestamp) -> String {
    key().sign(r#"{"t":"x","p":{}}"#, at, &nonce.to_be_bytes()).expect("a signature")
}

#[test]
fn a_signature_holds_once_for_as_long_as_its_time_is_believed() {
    let mut nonces = Nonces::new(8);
    let early = signed(1, later(tolerance()));
    let mut judge = |text: &str, now| sign::verify(&[key()], text, now, &mut nonces).map(|_| ());
    assert_eq!(judge(&early, NOW), Ok(()));
    for ms in [0, tolerance(), 2 * tolerance()] {
        assert_eq!(judge(&early, later(ms)), Err(SignError::Replayed));
    }
    let off_by_ms = tolerance() + 1;
    assert_eq!(judge(&early, later(2 * tolerance() + 1)), Err(SignError::Stale { off_by_ms }));
}

#[test]
fn a_nonce_counts_for_every_envelope_and_key() {
    let mut nonces = Nonces::new(8);
    let other = SigningKey::new("other", &[7; 32]).expect("a key");
    let again = other.sign(r#"{"t":"y"}"#, NOW, &1_u128.to_be_bytes()).expect("a signature");
    let keys = [key(), other];
    assert!(sign::verify(&keys, &signed(1, NOW), NOW, &mut nonces).is_ok());
    assert_eq!(sign::verify(&keys, &again, NOW, &mut nonces).map(|_| ()), Err(SignError::Replayed));
}

#[test]
fn a_full_window_refuses_until_the_oldest_nonce_is_worth_nothing() {
    let mut nonces = Nonces::new(2);
    let mut judge = |nonce, now| {
        let judged = sign::verify(&[key()], &signed(nonce, now), now, &mut nonces).map(|_| ());
        (judged, nonces.len())
    };
    assert_eq!(judge(1, NOW), (Ok(()), 1));
    assert_eq!(judge(2, later(10)), (Ok(()), 2));
    assert_eq!(judge(3, later(10)), (Err(SignError::WindowFull), 2));
    assert_eq!(judge(2, later(20)), (Err(SignError::Replayed), 2));
    assert_eq!(judge(3, later(2 * tolerance())), (Err(SignError::WindowFull), 2));
    assert_eq!(judge(3, later(2 * tolerance() + 1)), (Ok(()), 2));
    // What was forgotten takes no room any more.
    assert_eq!(judge(1, later(2 * tolerance() + 11)), (Ok(()), 2));
    assert_eq!(SignError::WindowFull.code(), Code::Overloaded);
}

#[test]
fn what_is_signed_is_not_signed_again_and_what_has_no_canonical_form_not_at_all() {
    let sign = |envelope: &str| key().sign(envelope, NOW, &[0; 16]);
    assert_eq!(sign(&signed(1, NOW)), Err(SignError::Signed));
    assert_eq!(sign(r#"{"sig":"of an existing client"}"#), Err(SignError::Signed));
    let longer = " ".repeat(sign::MAX_LEN) + r#"{"t":"x"}"#;
    assert_eq!(sign(&longer), Err(SignError::TooLong { len: longer.len() }));
    for envelope in ["", "[]", "text", r#"{"a":1,"a":1}"#, r#"{"a":9007199254740993}"#] {
        assert!(matches!(sign(envelope), Err(SignError::Canonical(_))), "{envelope}");
    }
}

#[test]
fn short_secrets_and_nameless_keys_are_refused_and_secrets_stay_out_of_logs() {
    let too_short = Err(KeyError::SecretTooShort { len: 31 });
    assert_eq!(SigningKey::new("k", &SECRET[1..]).map(|_| ()), too_short);
    assert_eq!(TicketKey::new(&SECRET[1..]).map(|_| ()), too_short);
    assert_eq!(SigningKey::new("", SECRET).map(|_| ()), Err(KeyError::KeyId { len: 0 }));
    assert_eq!(SigningKey::new("k".repeat(65), SECRET).map(|_| ()), Err(KeyError::KeyId { len: 65 }));
    let tickets = TicketKey::new(SECRET).expect("a key");
    assert_eq!(format!("{:?} {tickets:?}", key()), r#"SigningKey { kid: "k", .. } TicketKey { .. }"#);
}

fn ticket(kind: Kind, user_expires_at: Option<Timestamp>) -> Ticket {
    Ticket::new(kind, Some("anna".to_owned()), Uuid::nil(), NOW, user_expires_at)
}

#[test]
fn a_ticket_lives_as_long_as_its_type_says_and_never_longer_than_the_login() {
    const HOUR: u64 = 3_600_000;
    for (kind, lifetime) in [(Kind::Session, 24 * HOUR), (Kind::Topic, HOUR), (Kind::Resume, HOUR)] {
        assert_eq!(ticket(kind, None).expires_at, later(lifetime));
        assert_eq!(ticket(kind, Some(later(lifetime + 1))).expires_at, later(lifetime));
        assert_eq!(ticket(kind, Some(later(1))).expires_at, later(1));
    }
    let key = TicketKey::new(SECRET).expect("a key");
    let text = key.issue(&ticket(Kind::Topic, Some(later(10)))).expect("a ticket");
    let judge = |ms| key.verify(&text, Kind::Topic, later(ms)).map(|_| ());
    assert_eq!(judge(9), Ok(()));
    assert_eq!(judge(10), Err(TicketError::Expired { ago_ms: 0 }));
    assert_eq!(judge(15), Err(TicketError::Expired { ago_ms: 5 }));
    assert_eq!(TicketError::Expired { ago_ms: 5 }.code(), Code::AuthExpired);
}

#[test]
fn a_ticket_is_good_for_its_type_and_secret_alone() {
    let key = TicketKey::new(SECRET).expect("a key");
    let other = TicketKey::new(&[7; 32]).expect("a key");
    let kinds = [Kind::Session, Kind::Topic, Kind::Resume];
    for kind in kinds {
        let text = key.issue(&ticket(kind, None)).expect("a ticket");
        assert_eq!(other.verify(&text, kind, NOW).map(|_| ()), Err(TicketError::Forged));
        for asked in kinds {
            let expected = if asked == kind { Ok(()) } else { Err(TicketError::WrongKind) };
            assert_eq!(key.verify(&text, asked, NOW).map(|_| ()), expected);
        }
    }
}

#[test]
fn a_ticket_over_8192_bytes_is_neither_made_nor_read() {
    let key = TicketKey::new(SECRET).expect("a key");
    let mut ticket = ticket(Kind::Resume, None);
    ticket.topics = vec!["x".repeat(255); 24];
    assert!(key.issue(&ticket).is_err());
    ticket.topics.pop();
    assert!(key.issue(&ticket).is_ok_and(|text| text.len() <= MAX_LEN));
    let text = "x".repeat(MAX_LEN + 1);
    let refused = key.verify(&text, Kind::Resume, NOW).map(|_| ());
    assert_eq!(refused, Err(TicketError::TooLong { len: MAX_LEN + 1 }));
}

/// JSON with names, texts and numbers of all kinds.
fn value() -> impl Strategy<Value = Value> {
    let text = || prop_oneof!["[a-c]{0,3}", "\\PC{0,8}", "[\\x00-\\x20\"\\\\]{0,4}"];
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..5)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// The same JSON as another library could write it: members in reverse, spaces, more escapes and digits.
fn rewritten(value: &Value, out: &mut String) {
    let escaped = |text: &str| {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        format!("\"{units}\"")
    };
    match value {
        Value::String(text) => out.push_str(&escaped(text)),
        Value::Number(number) if number.is_f64() => {
            out.push_str(&format!("{:E}", number.as_f64().expect("a double")));
        }
        Value::Array(items) => {
            out.push_str("[ ");
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "\t, " } else { "" });
                rewritten(item, out);
            }
            out.push_str("\n]");
        }
        Value::Object(members) => {
            out.push('{');
            for (at, (name, value)) in members.iter().rev().enumerate() {
                out.push_str(if at > 0 { " ,\r" } else { "" });
                out.push_str(&escaped(name));
                out.push_str(" : ");
                rewritten(value, out);
            }
            out.push_str(" }");
        }
        simple => out.push_str(&simple.to_string()),
    }
}

proptest! {
    #[test]
    fn the_canonical_form_is_one_for_all_ways_to_write_a_value_and_its_own(value in value()) {
        let form = canonical(&value.to_string()).expect("a form");
        let mut other = String::new();
        rewritten(&value, &mut other);
        let of_other = canonical(&other);
        prop_assert_eq!(of_other.as_deref(), Ok(form.as_str()), "{}", other);
        let of_itself = canonical(&form);
        prop_assert_eq!(of_itself.as_deref(), Ok(form.as_str()));
    }

    #[test]
    fn a_double_is_written_so_that_it_reads_as_itself(number: f64) {
        prop_assume!(number.is_finite());
        let form = canonical(&format!("{number:e}")).expect("a form");
        prop_assert_eq!(form.parse::<f64>().expect("a number"), number);
    }

    #[test]
    fn any_text_has_a_form_that_is_json_or_is_refused(text in "[\\[\\]{}\",:\\\\0-9eE+.\\- a-fu]{0,40}") {
        if let Ok(form) = canonical(&text) {
            prop_assert!(serde_json::from_str::<Value>(&form).is_ok(), "{}", form);
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn what_was_signed_holds_and_with_anything_changed_it_does_not(
        payload in value(),
        nonce: [u8; 16],
        at: prop::sample::Index,
        character: char,
    ) {
        let envelope = json!({ "t": "x", "p": payload }).to_string();
        let signed = key().sign(&envelope, NOW, &nonce).expect("a signature");
        let open = envelope.strip_suffix('}').expect("an object");
        prop_assert!(signed.starts_with(open));
        prop_assert!(sign::verify(&[key()], &signed, NOW, &mut Nonces::new(1)).is_ok());

        let mut characters: Vec<char> = signed.chars().collect();
        let at = at.index(characters.len());
        characters[at] = character;
        let changed: String = characters.into_iter().collect();
        if sign::verify(&[key()], &changed, NOW, &mut Nonces::new(1)).is_ok() {
            // It was written in another way, and says the same.
            prop_assert_eq!(canonical(&changed), canonical(&signed));
        }
    }

    #[test]
    fn any_ticket_with_a_character_changed_is_refused(at: prop::sample::Index, character: char) {
        let key = TicketKey::new(SECRET).expect("a key");
        let text = key.issue(&ticket(Kind::Session, None)).expect("a ticket");
        let mut characters: Vec<char> = text.chars().collect();
        let at = at.index(characters.len());
        prop_assume!(characters[at] != character);
        characters[at] = character;
        let changed: String = characters.into_iter().collect();
        prop_assert!(key.verify(&changed, Kind::Session, NOW).is_err());
    }

    #[test]
    fn texts_that_are_no_signature_and_no_ticket_are_refused(text in "\\PC{0,100}") {
        prop_assert!(sign::verify(&[key()], &text, NOW, &mut Nonces::new(1)).is_err());
        let key = TicketKey::new(SECRET).expect("a key");
        prop_assert!(key.verify(&text, Kind::Session, NOW).is_err());
    }
}
