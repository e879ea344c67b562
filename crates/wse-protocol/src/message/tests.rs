//! Unit tests of the server's own messages, read back with serde_json.

use serde_json::{Value, json};

use super::*;

const AT: Timestamp = Timestamp(1_700_000_000_050);
const TIME: &str = "2023-11-14T22:13:20.050Z";
const ID: Uuid = Uuid::from_u128(0x018b_cfe5_6832_7000_8000_0000_0000_0001);
const CONNECTION: Uuid = Uuid::from_u128(7);

/// The payload of `message`, after its envelope was looked at.
fn payload<M: ServerMessage>(message: &M) -> Value {
    let mut out = Vec::new();
    write(message, Dialect::V1, &ID, AT, &mut out);
    let old = String::from_utf8(std::mem::take(&mut out)).expect("UTF-8");
    assert!(old.starts_with(&format!("{{\"c\":\"WSE\",\"t\":\"{}\",", M::TYPE)), "{old}");
    let old: Value = serde_json::from_str(&old).expect("JSON");
    assert_eq!((&old["v"], &old["id"], old.get("_msg_cat")), (&json!(1), &json!(ID.to_string()), None));

    write(message, Dialect::V2, &ID, AT, &mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(text.starts_with(&format!("{{\"t\":\"{}\",", M::TYPE)), "{text}");
    assert_eq!(crate::envelope::category(M::TYPE), crate::envelope::Category::Wse);
    let mut json: Value = serde_json::from_str(&text).expect("JSON");
    let payload = json["p"].take();
    let rest =
        json!({ "t": M::TYPE, "p": null, "id": ID.to_string(), "ts": TIME, "v": 2, "_msg_cat": "WSE" });
    assert_eq!(json, rest);
    payload
}

#[test]
fn the_greeting_names_only_what_works() {
    let expected = json!({
        "message": "connection established",
        "details": {
            "version": 2,
            "features": {
                "compression": true, "encryption": true, "batching": true, "priority_queue": true,
                "circuit_breaker": false, "rust_transport": true, "rust_jwt": true, "recovery": false,
            },
            "connection_id": CONNECTION.to_string(),
            "server_time": TIME,
            "user_id": "a\"b",
        },
    });
    assert_eq!(
        payload(&ServerReady::new(
            Dialect::V2,
            Available { compression: true, recovery: false },
            CONNECTION,
            Some("a\"b"),
            AT
        )),
        expected
    );
    let old = payload(&ServerReady::new(Dialect::V1, Available::default(), CONNECTION, None, AT));
    assert_eq!(old["details"]["version"], 1);
    assert_eq!(old["details"]["features"]["compression"], false);
    assert!(old["details"]["user_id"].is_null());
}

#[test]
fn the_hello_has_integers_for_limits_and_a_positive_interval_or_none() {
    let limits =
        HelloLimits { max_message_size: 1 << 20, rate_limit_capacity: 100_000, rate_limit_refill: 10_000 };
    let features = HelloFeatures { compression: true, ..HelloFeatures::default() };
    let hello = |interval| ServerHello::new("0.1.0", Dialect::V2, features, limits, interval, CONNECTION, AT);
    let expected = json!({
        "server_version": "0.1.0",
        "protocol_version": 2,
        "features": {
            "compression": true, "recovery": false, "cluster": false, "batching": true,
            "priority_queue": true, "msgpack": false, "encryption": false,
        },
        "limits": {
            "max_message_size": 1_048_576, "rate_limit_capacity": 100_000, "rate_limit_refill": 10_000,
        },
        "ping_interval": 25_000,
        "connection_id": CONNECTION.to_string(),
        "server_time": TIME,
    });
    assert_eq!(payload(&hello(Duration::from_secs(25))), expected);
    assert!(payload(&hello(Duration::ZERO)).get("ping_interval").is_none());
    let encrypted = payload(&hello(Duration::ZERO).with_public_key(Some("BA==")));
    assert_eq!(encrypted["encryption_public_key"], "BA==");
}

#[test]
fn a_pong_gives_the_clients_number_back_as_it_was_written() {
    let pong = |ping| payload(&Pong::answer(Dialect::V2, ping, AT));
    assert_eq!(payload(&Ping { server_time: AT }), json!({ "server_time": TIME }));
    let answer = |client: Value, latency: Value| {
        json!({
            "client_timestamp": client, "server_timestamp": AT.0, "latency": latency, "latency_ms": latency,
        })
    };
    assert_eq!(pong(Some(r#"{"timestamp":1700000000000}"#)), answer(json!(1_700_000_000_000_u64), json!(50)));
    assert_eq!(pong(Some(r#"{"timestamp":1700000000049.5}"#))["latency"], json!(1));
    assert_eq!(pong(Some(r#"{"timestamp":1700000009999}"#))["latency"], json!(0), "a clock that is ahead");
    for none in [None, Some("{}"), Some("7"), Some(r#"{"timestamp":"x"}"#), Some(r#"{"timestamp":null}"#)] {
        assert_eq!(pong(none), answer(Value::Null, Value::Null), "{none:?}");
    }
    let long = format!("{{\"timestamp\":1{}}}", "0".repeat(100));
    assert_eq!(pong(Some(&long)), answer(Value::Null, Value::Null));
    let mut out = Vec::new();
    write(&Pong::answer(Dialect::V2, Some(r#"{"timestamp":17e11}"#), AT), Dialect::V2, &ID, AT, &mut out);
    assert!(out.starts_with(br#"{"t":"PONG","p":{"client_timestamp":17e11,"#));
}

#[test]
fn v1_has_no_latency_in_milliseconds() {
    let pong = payload(&Pong::answer(Dialect::V1, Some(r#"{"timestamp":1700000000000}"#), AT));
    assert_eq!((&pong["latency"], pong.get("latency_ms")), (&json!(50), None));
}

#[test]
fn an_error_always_has_an_object_of_details() {
    let plain = payload(&Error::new(Code::AuthFailed, "token refused", AT));
    let expected = json!({
        "code": "AUTH_FAILED", "message": "token refused", "details": {}, "recoverable": false,
        "severity": "fatal", "timestamp": TIME,
    });
    assert_eq!(plain, expected);
    let topics = ["a", "b\u{7f}"];
    let full = Error::new(Code::SubscriptionFailed, "", AT)
        .with_topics(&topics)
        .with_retry_after(Duration::from_millis(1500));
    let full = payload(&full);
    assert_eq!((&full["topics"], &full["details"]), (&json!(topics), &json!({ "topics": topics })));
    assert_eq!((&full["retry_after"], &full["recoverable"]), (&json!(1.5), &json!(true)));
    let again = payload(&Error::new(Code::AuthFailed, "", AT).with_recovery());
    assert_eq!((&again["recoverable"], &again["severity"]), (&json!(true), &json!("error")));
}

#[test]
fn notices_carry_what_a_client_reacts_to() {
    let warning = RateLimitWarning {
        current_rate: 9,
        limit: 10,
        remaining: 1,
        retry_after: Duration::from_millis(100),
    };
    let expected = json!({ "current_rate": 9, "limit": 10, "remaining": 1, "retry_after": 0.1 });
    assert_eq!(payload(&warning), expected);
    let gap = Gap { topic: Some("prices"), count: 3, reason: "slow" };
    assert_eq!(payload(&gap), json!({ "topic": "prices", "count": 3, "reason": "slow" }));
    assert_eq!(payload(&AuthExpiring { expires_at: AT }), json!({ "expires_at": TIME }));
    assert_eq!(payload(&AuthRefreshed { expires_at: AT }), json!({ "expires_at": TIME }));
}

#[test]
fn a_subscription_reply_succeeds_with_any_topic() {
    let reply = |good: &[&str], bad: &[&str]| {
        let reply = payload(&SubscriptionUpdate::new(Action::Subscribe, good, bad));
        assert_eq!((&reply["recovery"], &reply["action"]), (&json!({}), &json!("subscribe")));
        assert_eq!((&reply["success_topics"], &reply["failed_topics"]), (&json!(good), &json!(bad)));
        reply["success"].as_bool()
    };
    assert_eq!(reply(&["a"], &["b"]), Some(true));
    assert_eq!(reply(&[], &["b"]), Some(false));
    let left = payload(&SubscriptionUpdate::new(Action::Unsubscribe, &["a"], &[]));
    assert_eq!(left["action"], "unsubscribe");
}

#[test]
fn an_answer_ends_with_the_cid_of_its_request() {
    let answer = SystemStatusResponse {
        status: Status::Overloaded,
        server_version: "0.1.0",
        uptime_secs: 1.5,
        server_time: AT,
    };
    let expected =
        json!({ "status": "overloaded", "server_version": "0.1.0", "uptime_secs": 1.5, "server_time": TIME });
    assert_eq!(payload(&answer), expected);
    for dialect in [Dialect::V1, Dialect::V2] {
        let mut text = Vec::new();
        write(&answer, dialect, &ID, AT, &mut text);
        let mut expected: Value = serde_json::from_slice(&text).expect("JSON");
        correlate(&mut text, r#""a\"b""#);
        expected["cid"] = json!("a\"b");
        assert_eq!(serde_json::from_slice::<Value>(&text).expect("JSON"), expected);
    }
}

#[test]
fn what_leaves_like_a_publication_begins_with_version_and_category() {
    let data = RawValue::from_string(r#"{"n":1.50}"#.into()).expect("JSON");
    let change = PresenceChange { user_id: "a\"b", data: &data, topic: Some("news") };
    let mut out = Vec::new();
    write_publication(PresenceKind::Join.as_str(), &change, &ID, AT, &mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(text.starts_with(&format!("{{{}", Dialect::V2.members(Category::Wse))), "{text}");
    assert!(text.contains(r#""data":{"n":1.50}"#), "its bytes stay: {text}");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let payload = json!({ "user_id": "a\"b", "data": { "n": 1.5 }, "topic": "news" });
    let expected = json!({
        "v": 2, "_msg_cat": "WSE", "t": "presence_join", "p": payload, "id": ID.to_string(), "ts": TIME,
    });
    assert_eq!(json, expected);
}

#[test]
fn a_page_of_members_names_where_the_next_one_begins() {
    let data = RawValue::from_string("{}".into()).expect("JSON");
    let members = vec![PresenceMember { user_id: "ann", data: &data }];
    let page = PresenceResponse { topic: "news", members, next: Some("ann"), total: 2 };
    let expected =
        json!({ "topic": "news", "members": [{ "user_id": "ann", "data": {} }], "next": "ann", "total": 2 });
    assert_eq!(payload(&page), expected);
}

#[test]
fn positions_stand_by_topic() {
    let known =
        TopicPosition { topic: "a\"b", epoch: Some(0xab), offset: Some(7), recovered: None, count: None };
    let positions =
        [known, TopicPosition { recovered: Some(true), count: Some(2), ..known }, TopicPosition::none("x")];
    let of = |positions: &[TopicPosition<'_>]| {
        payload(&SubscriptionUpdate::new(Action::Subscribe, &[], &[]).with_positions(positions))["recovery"]
            .clone()
    };
    assert_eq!(of(&positions[..1]), json!({"a\"b": {"epoch": "000000ab", "offset": 7}}));
    assert_eq!(
        of(&positions[1..]),
        json!({
            "a\"b": {"epoch": "000000ab", "offset": 7, "recovered": true, "count": 2},
            "x": {"epoch": null, "offset": null, "recovered": false, "count": 0},
        })
    );
}
