//! Verifies that this implementation agrees with the vectors that every language reads.

use std::ops::ControlFlow;

use serde_json::{Value, json};
use uuid::Uuid;
use wse_protocol::canonical::{CanonicalError, canonical};
use wse_protocol::codes::Code;
use wse_protocol::compress::{Deflater, Format, InflateError, InflateLimits, Inflater};
use wse_protocol::crypto::{KeyPair, OpenError};
use wse_protocol::envelope::{self, Outcome, Seq, Timestamp};
use wse_protocol::frame::{self, FrameLimits, FrameReader, Message, OpCode};
use wse_protocol::glob;
use wse_protocol::msgpack::{self, MsgpackError};
use wse_protocol::rules::{Grants, Rules, Verdict};
use wse_protocol::sign::{self, Nonces, SignError, SigningKey};
use wse_protocol::ticket::{Kind, Ticket, TicketError, TicketKey};
use wse_protocol::topic;
use wse_protocol::transform::{self, Mapping, Unmapped};

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).expect("vectors are JSON")
}

fn cases<'a>(vectors: &'a Value, section: &str) -> &'a [Value] {
    vectors[section].as_array().expect("the section is a list")
}

fn text<'a>(case: &'a Value, member: &str) -> &'a str {
    case[member].as_str().unwrap_or_else(|| panic!("{member} is text in {case}"))
}

fn texts(case: &Value, member: &str) -> Vec<String> {
    cases(case, member).iter().map(|text| text.as_str().expect("text").to_owned()).collect()
}

#[test]
fn envelopes_are_completed_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/envelope.json"));
    let id = Uuid::parse_str(text(&vectors, "id")).expect("an id");
    let at = Timestamp(vectors["at_ms"].as_u64().expect("a time"));
    for case in cases(&vectors, "envelopes") {
        let name = text(case, "name");
        let mut out = Vec::new();
        let outcome = envelope::complete(text(case, "text"), &id, at, Seq::Publisher, &mut out);
        let out = String::from_utf8(out).expect("UTF-8");
        match outcome {
            Ok(Outcome::Envelope { category, has_seq, .. }) => {
                assert_eq!(out, text(case, "envelope"), "{name}");
                assert_eq!(
                    (category.as_str(), json!(has_seq)),
                    (text(case, "category"), case["has_seq"].clone())
                );
            }
            Ok(Outcome::Verbatim) => {
                assert_eq!((out.as_str(), &case["verbatim"]), (text(case, "text"), &json!(true)), "{name}");
            }
            Err(error) => {
                assert_eq!(error.code().as_str(), text(case, "error"), "{name}");
                let member = case["member"].as_str().unwrap_or_default();
                assert!(error.to_string().contains(member) && out.is_empty(), "{name}");
            }
        }
    }
    for (kind, category) in vectors["categories"].as_object().expect("an object") {
        assert_eq!(envelope::category(kind).as_str(), category, "{kind}");
    }
    for case in cases(&vectors, "timestamps") {
        assert_eq!(Timestamp(case[0].as_u64().expect("a time")).to_string(), case[1]);
    }
}

#[test]
fn domain_events_become_envelopes_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/transform.json"));
    let id = Uuid::parse_str(text(&vectors, "id")).expect("an id");
    let at = Timestamp(vectors["at_ms"].as_u64().expect("a time"));
    let types: Vec<(String, String)> = vectors["mapping"]
        .as_object()
        .expect("an object")
        .iter()
        .map(|(event, kind)| (event.clone(), kind.as_str().expect("text").to_owned()))
        .collect();
    let filter = Mapping::new(types.clone(), Unmapped::Filter);
    let snake_case = Mapping::new(types, Unmapped::SnakeCase);
    for case in cases(&vectors, "events") {
        let name = text(case, "name");
        let mapping = if case["unmapped"] == "snake_case" { &snake_case } else { &filter };
        let seq = case.get("seq").unwrap_or(&vectors["seq"]).as_u64();
        let mut out = b"before".to_vec();
        let outcome = transform::transform(text(case, "event"), seq, mapping, || id, at, &mut out);
        let out = String::from_utf8(out.split_off(6)).expect("UTF-8");
        match outcome {
            Ok(transform::Outcome::Envelope) => assert_eq!(out, text(case, "envelope"), "{name}"),
            Ok(transform::Outcome::Filtered) => assert_eq!(case["filtered"], true, "{name}"),
            Err(error) => assert!(error.to_string().contains(text(case, "error")), "{name}: {error}"),
        }
        assert_eq!(out.is_empty(), outcome != Ok(transform::Outcome::Envelope), "{name}");
    }
}

#[test]
fn topics_are_judged_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/topic.json"));
    assert!(texts(&vectors, "valid").iter().all(|topic| topic::validate(topic).is_ok()));
    assert!(texts(&vectors, "invalid").iter().all(|topic| topic::validate(topic).is_err()));
    for case in cases(&vectors, "globs") {
        assert_eq!(glob::matches(text(case, "glob"), text(case, "topic")), case["matches"], "{case}");
    }
    for case in cases(&vectors, "own") {
        assert_eq!(topic::own_topic(text(case, "user"), text(case, "topic")), case["own"], "{case}");
    }
    for case in cases(&vectors, "covers") {
        assert_eq!(glob::covers(text(case, "rule"), text(case, "glob")), case["covers"], "{case}");
    }
    for case in cases(&vectors, "intersects") {
        assert_eq!(glob::intersects(text(case, "one"), text(case, "other")), case["intersects"], "{case}");
        assert_eq!(glob::intersects(text(case, "other"), text(case, "one")), case["intersects"], "{case}");
    }
}

#[test]
fn who_may_have_which_topic_is_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/topic.json"));
    let said = |verdict| match verdict {
        Verdict::Granted => "granted",
        Verdict::Refused => "refused",
        Verdict::Open => "open",
    };
    for case in cases(&vectors, "rules") {
        let rules = Rules { allow: texts(case, "allow"), deny: texts(case, "deny") };
        let topic = text(case, "topic");
        assert_eq!(said(rules.judge(case["user"].as_str(), None, topic)), case["client"], "{case}");
        assert_eq!(rules.application_may(None, topic), case["application"], "{case}");
    }
    let rules = Rules { allow: vec!["market".into()], deny: vec!["denied".into()] };
    for case in cases(&vectors, "claims") {
        let (grants, topic) = (Grants::read(&case["claims"].to_string()), text(case, "topic"));
        assert_eq!(said(rules.judge(Some("7"), grants.as_ref(), topic)), case["client"], "{case}");
        assert_eq!(rules.application_may(grants.as_ref(), topic), case["application"], "{case}");
    }
    for claims in [r#"{"sub":"7"}"#, r#"{"note":"wse_topics"}"#, "{}"] {
        assert_eq!(Grants::read(claims), None, "{claims}");
    }
    for claims in [r#"{"wse_topics":{"allow":["*"]}"#, r#"{"\u0077se_topics":null}"#] {
        let verdict = rules.judge(Some("7"), Grants::read(claims).as_ref(), "market");
        assert_eq!(verdict, Verdict::Refused, "{claims}");
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A limit of a case, or what holds where the case names none.
fn limit(case: &Value, member: &str, default: usize) -> usize {
    case[member].as_u64().map_or(default, |limit| usize::try_from(limit).expect("a size"))
}

#[test]
fn zlib_streams_are_read_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/compress.json"));
    // One for all: a stream that was refused leaves nothing behind.
    let mut inflater = Inflater::new(Format::Zlib);
    for case in cases(&vectors, "zlib") {
        let defaults = InflateLimits::default();
        let limits = InflateLimits {
            max_bytes: limit(case, "max_bytes", defaults.max_bytes),
            max_ratio: limit(case, "max_ratio", defaults.max_ratio),
        };
        let mut out = b"before".to_vec();
        let end = inflater.inflate(&bytes(text(case, "stream")), &limits, &mut out);
        assert_inflated(case, &case["text"], end, &out);
    }
}

#[test]
fn deflated_messages_are_read_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/compress.json"));
    for case in cases(&vectors, "messages") {
        let window_bits = u8::try_from(limit(case, "window_bits", 15)).expect("a few bits");
        let keeps_window = case["keeps_window"] == true;
        let mut inflater = Inflater::new(Format::Raw { window_bits, keeps_window });
        for (at, payload) in texts(case, "payloads").iter().enumerate() {
            let mut out = b"before".to_vec();
            let end = inflater.inflate(&bytes(payload), &InflateLimits::default(), &mut out);
            assert_inflated(case, &case["texts"][at], end, &out);
        }
    }
}

fn assert_inflated(case: &Value, expected: &Value, end: Result<(), InflateError>, out: &[u8]) {
    let name = text(case, "name");
    let out = out.strip_prefix(b"before").expect("what was there stays");
    match end {
        Ok(()) => assert_eq!(Some(String::from_utf8_lossy(out).as_ref()), expected.as_str(), "{name}"),
        Err(error) => {
            assert!(expected.is_null() && out.is_empty(), "{name}: {error}");
            assert_eq!((json!(error.code().as_str()), json!(format!("{error:?}"))), refusal(case), "{name}");
        }
    }
}

fn refusal(case: &Value) -> (Value, Value) {
    (case["error"].clone(), case["fault"].clone())
}

#[test]
fn the_streams_that_others_read_are_the_ones_that_are_written_here() {
    let vectors = vectors(include_str!("../../../spec/vectors/compress.json"));
    for case in cases(&vectors, "written") {
        let format = if case["format"] == "zlib" {
            Format::Zlib
        } else {
            let window_bits = u8::try_from(limit(case, "window_bits", 15)).expect("a few bits");
            Format::Raw { window_bits, keeps_window: case["keeps_window"] == true }
        };
        let mut deflater = Deflater::new(format, 6);
        for (text, stream) in texts(case, "texts").iter().zip(texts(case, "streams")) {
            let mut out = Vec::new();
            deflater.deflate(text.as_bytes(), &mut out);
            assert_eq!(hex(&out), stream, "{}", case["name"]);
        }
    }
}

#[test]
fn json_becomes_msgpack_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/msgpack.json"));
    for case in cases(&vectors, "encode") {
        let mut out = b"M:".to_vec();
        let end = msgpack::encode(text(case, "json"), &mut out);
        assert_eq!((end, hex(&out[2..]).as_str()), (Ok(()), text(case, "msgpack")), "{}", text(case, "name"));
    }
    for case in cases(&vectors, "encode_refused") {
        let mut out = b"M:".to_vec();
        let error = msgpack::encode(text(case, "json"), &mut out).expect_err(text(case, "name"));
        assert!(format!("{error:?}").starts_with(text(case, "fault")), "{error:?} for {case}");
        assert_eq!(out, b"M:");
    }
}

#[test]
fn msgpack_becomes_json_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/msgpack.json"));
    for case in cases(&vectors, "decode") {
        let name = text(case, "name");
        let mut out = b"WSE".to_vec();
        match msgpack::decode(&bytes(text(case, "msgpack")), limit(case, "max_bytes", 0), &mut out) {
            Ok(()) => assert_eq!(
                Some(std::str::from_utf8(&out[3..]).expect("UTF-8")),
                case["json"].as_str(),
                "{name}"
            ),
            Err(error) => {
                assert_eq!(out, b"WSE", "{name}");
                let fault = match error {
                    MsgpackError::Extension { kind } => {
                        assert_eq!(json!(kind), case["kind"], "{name}");
                        "Extension".to_owned()
                    }
                    error => format!("{error:?}"),
                };
                assert_eq!((json!(error.code().as_str()), json!(fault)), refusal(case), "{name}");
            }
        }
    }
}

fn described(message: Message<'_>) -> Value {
    match message {
        Message::Text(text) => json!({ "text": text }),
        Message::Binary(bytes) => json!({ "binary": hex(bytes) }),
        Message::Compressed { is_text: true, payload } => json!({ "compressed text": hex(payload) }),
        Message::Compressed { is_text: false, payload } => json!({ "compressed binary": hex(payload) }),
        Message::Ping(bytes) => json!({ "ping": hex(bytes) }),
        Message::Pong(bytes) => json!({ "pong": hex(bytes) }),
        Message::Close { code, reason } => json!({ "close": code, "reason": reason }),
    }
}

#[test]
fn frames_are_read_as_the_vectors_say_in_pieces_of_any_size() {
    let vectors = vectors(include_str!("../../../spec/vectors/frame.json"));
    let plain = cases(&vectors, "read").iter().map(|case| (case, false));
    let deflate = cases(&vectors, "read_with_deflate").iter().map(|case| (case, true));
    for (case, has_deflate) in plain.chain(deflate) {
        let name = text(case, "name");
        let stream = bytes(text(case, "bytes"));
        for size in 1..=stream.len() {
            let mut reader = FrameReader::new();
            let mut messages = Vec::new();
            let mut refused = None;
            for piece in stream.chunks(size) {
                let end =
                    reader.feed(&mut piece.to_vec(), &FrameLimits::default(), has_deflate, &mut |message| {
                        messages.push(described(message));
                        ControlFlow::Continue(())
                    });
                match end {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(_)) => break,
                    Err(error) => {
                        refused = Some(error.close_code());
                        break;
                    }
                }
            }
            assert_eq!(json!(messages), case["messages"], "{name}, {size} bytes at a time");
            assert_eq!(json!(refused), case["refused"], "{name}, {size} bytes at a time");
        }
    }
}

#[test]
fn frames_are_written_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/frame.json"));
    for case in cases(&vectors, "write") {
        let opcode = [OpCode::Text, OpCode::Binary, OpCode::Ping, OpCode::Pong]
            .into_iter()
            .find(|opcode| case["opcode"] == opcode.bits())
            .expect("an opcode that is written");
        let frame = frame::encode(opcode, &bytes(text(case, "payload")));
        assert_eq!(hex(&frame), text(case, "bytes"), "{}", text(case, "name"));
    }
    for case in cases(&vectors, "write_close") {
        let code = case["code"].as_u64().and_then(|code| u16::try_from(code).ok()).expect("a code");
        assert_eq!(hex(&frame::encode_close(code, text(case, "reason"))), text(case, "bytes"));
    }
}

/// The half of a key exchange that this scalar makes.
#[expect(deprecated, reason = "the library takes a scalar from its randomness and nowhere else")]
fn key_pair(scalar: &str) -> KeyPair {
    KeyPair::generate(&ring::test::rand::FixedSliceRandom { bytes: &bytes(scalar) }).expect("a pair")
}

#[test]
fn keys_are_agreed_and_messages_encrypted_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/encryption.json"));
    for exchange in cases(&vectors, "exchanges") {
        let name = text(exchange, "name");
        let pair = key_pair(text(exchange, "scalar"));
        assert_eq!(pair.public_key(), text(exchange, "public"), "{name}");
        let key = pair.agree(text(exchange, "peer")).expect(name);
        for case in cases(exchange, "frames") {
            let nonce = bytes(text(case, "nonce")).try_into().expect("12 bytes");
            let mut frame = Vec::new();
            key.seal(&nonce, text(case, "text").as_bytes(), &mut frame);
            assert_eq!(hex(&frame), text(case, "frame"), "{name}");
            assert_eq!(key.open(&mut frame), Ok(text(case, "text")), "{name}");
        }
    }
}

#[test]
fn bad_keys_and_bad_frames_are_refused_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/encryption.json"));
    let exchange = &cases(&vectors, "exchanges")[0];
    for case in cases(&vectors, "refused_keys") {
        let name = text(case, "name");
        let refused = key_pair(text(exchange, "scalar")).agree(text(case, "public"));
        assert_eq!(refused.expect_err(name).code(), Code::KeyExchangeFailed);
    }
    let key = key_pair(text(exchange, "scalar")).agree(text(exchange, "peer")).expect("a key");
    for case in cases(&vectors, "refused_frames") {
        let error = match text(case, "why") {
            "form" => OpenError::Form,
            "tag" => OpenError::Tag,
            "text" => OpenError::NotText,
            other => panic!("{other} is no reason"),
        };
        assert_eq!(key.open(&mut bytes(text(case, "frame"))), Err(error), "{}", text(case, "name"));
    }
}

#[test]
fn json_has_the_canonical_form_that_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/signing.json"));
    for case in cases(&vectors, "canonical") {
        assert_eq!(canonical(text(case, "json")).as_deref(), Ok(text(case, "canonical")), "{}", case["name"]);
    }
    for case in cases(&vectors, "numbers") {
        let bits = case[0].as_str().and_then(|hex| u64::from_str_radix(hex, 16).ok()).expect("hex digits");
        let number = format!("{:e}", f64::from_bits(bits));
        assert_eq!(canonical(&number).as_deref(), Ok(case[1].as_str().expect("a number")));
    }
    for case in cases(&vectors, "not_canonical") {
        let name = text(case, "name");
        let why = match canonical(text(case, "json")).expect_err(name) {
            CanonicalError::Json(_) => "json",
            CanonicalError::DuplicateName { .. } => "name",
            CanonicalError::NotUnicode { .. } => "text",
            CanonicalError::Number { .. } => "number",
            other => panic!("{other} has no word in the vectors"),
        };
        assert_eq!(why, text(case, "why"), "{name}");
    }
}

#[test]
fn envelopes_are_signed_and_signatures_judged_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/signing.json"));
    let secret = bytes(text(&vectors, "secret"));
    let nonce = bytes(text(&vectors, "nonce")).try_into().expect("16 bytes");
    let at = Timestamp(vectors["at_ms"].as_u64().expect("a time"));
    let key = |kid: &str| SigningKey::new(kid, &secret).expect("a key");
    for case in cases(&vectors, "signatures") {
        let name = text(case, "name");
        let key = key(text(case, "kid"));
        let signed = key.sign(text(case, "envelope"), at, &nonce).expect(name);
        assert_eq!(signed, text(case, "signed"), "{name}");
        assert!(sign::verify(&[key], &signed, at, &mut Nonces::new(1)).is_ok(), "{name}");
    }
    let keys = [key("j"), key("k")];
    for case in cases(&vectors, "accepted") {
        let name = text(case, "name");
        let signer = sign::verify(&keys, text(case, "text"), at, &mut Nonces::new(1));
        assert_eq!(signer.expect(name).kid(), "k");
    }
    for case in cases(&vectors, "refused") {
        let name = text(case, "name");
        let mut nonces = Nonces::new(1);
        let why = match sign::verify(&keys, text(case, "text"), at, &mut nonces).expect_err(name) {
            SignError::Canonical(_) => "canonical",
            SignError::Unsigned => "unsigned",
            SignError::Malformed => "malformed",
            SignError::UnknownKey => "unknown",
            SignError::Stale { .. } => "stale",
            SignError::Forged => "forged",
            other => panic!("{other} has no word in the vectors"),
        };
        assert_eq!((why, nonces.len()), (text(case, "why"), 0), "{name}");
    }
}

#[test]
fn tickets_are_made_and_judged_as_the_vectors_say() {
    let vectors = vectors(include_str!("../../../spec/vectors/signing.json"));
    let key = TicketKey::new(&bytes(text(&vectors, "ticket_secret"))).expect("a key");
    let now = Timestamp(vectors["at_ms"].as_u64().expect("a time"));
    for case in cases(&vectors, "tickets") {
        let name = text(case, "name");
        let ticket: Ticket = serde_json::from_str(text(case, "content")).expect(name);
        assert_eq!(key.issue(&ticket).as_deref(), Ok(text(case, "ticket")), "{name}");
        let verified = key.verify(text(case, "ticket"), ticket.kind, now).expect(name);
        assert_eq!(json!(verified), json!(ticket), "{name}");
    }
    for case in cases(&vectors, "refused_tickets") {
        let name = text(case, "name");
        let why = match key.verify(text(case, "ticket"), Kind::Session, now).expect_err(name) {
            TicketError::Malformed => "malformed",
            TicketError::Forged => "forged",
            TicketError::WrongKind => "kind",
            TicketError::Expired { ago_ms: 0 } => "expired",
            other => panic!("{other} has no word in the vectors"),
        };
        assert_eq!(why, text(case, "why"), "{name}");
    }
}
