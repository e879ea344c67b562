//! Verifies what the server answers itself: as the vectors say, small, bounded, and of nobody but who asks.

use crate::client::{Client, HEAD};
use crate::world::{PEER, World, identity, settings, value};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use wse_engine::Config;
use wse_engine::auth::{Decision, Identity};
use wse_engine::inbound::Kind;
use wse_engine::rate_limit::Rate;
use wse_engine::requests::TYPES;

fn exchanges() -> Vec<Value> {
    let vectors: Value = serde_json::from_str(include_str!("../../../../spec/vectors/request.json"))
        .expect("vectors are JSON");
    vectors["exchanges"].as_array().expect("a list").clone()
}

/// An open connection of ann with these claims, in a dialect.
fn connect(world: &mut World, dialect: u64, claims: &Value) -> Client {
    let head = HEAD.replace("/wse ", &format!("/wse?protocol_version={dialect} "));
    let ann = Identity { claims: claims.to_string(), ..identity("ann") };
    let client = world.take_in(PEER, &head, Decision::Granted(ann));
    world.settle();
    client
}

fn ask(world: &mut World, client: &Client, request: &Value) {
    client.text(&request.to_string());
    world.settle();
}

/// The one answer to a request of this type.
fn answer(world: &mut World, client: &Client, kind: &str, answered: &str) -> Value {
    let before = client.told(answered).len();
    ask(world, client, &json!({ "t": kind, "p": {} }));
    let answers = client.told(answered);
    assert_eq!(answers.len(), before + 1, "{kind}");
    answers.into_iter().next_back().expect("an answer")
}

/// The payloads of the events of one kind that wait.
fn events(world: &World, kind: Kind) -> Vec<Value> {
    let events = world.take_events().into_iter().filter(|event| event.kind == kind);
    events.map(|event| serde_json::from_slice(&event.payload).expect("JSON")).collect()
}

/// What `said` is expected to be, with the placeholders that fit it filled in.
fn filled(expected: &Value, said: &Value, dialect: u64, id: &str) -> Value {
    let fits = |placeholder: &str| match placeholder {
        "<connection>" => said == id,
        "<dialect>" => said == dialect,
        "<version>" => said == env!("CARGO_PKG_VERSION"),
        "<time>" => said.as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')),
        "<number>" => said.is_number(),
        "<object>" => said.is_object(),
        _ => false,
    };
    match expected {
        Value::String(placeholder) if fits(placeholder) => said.clone(),
        Value::Object(members) => {
            let filled = |(name, value): (&String, &Value)| {
                (name.clone(), self::filled(value, &said[name], dialect, id))
            };
            members.iter().map(filled).collect()
        }
        Value::Array(items) => {
            let filled = |(place, item)| self::filled(item, &said[place], dialect, id);
            items.iter().enumerate().map(filled).collect()
        }
        other => other.clone(),
    }
}

#[test]
fn requests_are_answered_as_the_vectors_say_in_either_dialect() {
    for (exchange, dialect) in exchanges().iter().flat_map(|exchange| [(exchange, 1), (exchange, 2)]) {
        let name = &exchange["name"];
        let mut world = World::new(settings());
        let client = connect(&mut world, dialect, exchange.get("claims").unwrap_or(&json!({})));
        let id = client.told("server_ready")[0]["details"]["connection_id"].clone();
        let id = id.as_str().expect("an id");
        ask(&mut world, &client, &exchange["request"]);
        let mut answers = client.envelopes().split_off(1);
        let expected = exchange["answers"].as_array().expect("a list");
        assert_eq!(answers.len(), expected.len(), "{name}: {answers:?}");
        for (answer, expected) in answers.iter_mut().zip(expected) {
            let envelope = answer.as_object_mut().expect("an object");
            assert!(envelope.remove("id").is_some_and(|id| id.is_string()));
            assert!(envelope.remove("ts").is_some_and(|ts| ts.is_string()));
            assert_eq!(envelope.remove("v"), Some(json!(dialect)));
            assert_eq!(envelope.remove(if dialect == 1 { "c" } else { "_msg_cat" }), Some(json!("WSE")));
            assert_eq!(*answer, filled(expected, answer, dialect, id), "{name}");
        }
        assert_eq!(json!(events(&world, Kind::Message)), exchange["events"], "{name}");
        assert!(client.close_code().is_none(), "{name}");
    }
}

#[test]
fn every_type_that_is_answered_has_a_vector() {
    let asked = exchanges();
    let asked =
        asked.iter().filter_map(|exchange| exchange["request"]["t"].as_str()).collect::<BTreeSet<_>>();
    assert!(TYPES.iter().all(|kind| asked.contains(kind)), "{TYPES:?}");
    assert_eq!(TYPES.iter().collect::<BTreeSet<_>>().len(), TYPES.len());
}

#[test]
fn the_numbers_of_a_connection_are_its_own() {
    let mut world = World::new(settings());
    let (client, other) = (world.connect_to("news"), world.connect_to("news"));
    (0..3).for_each(|n| assert_eq!(world.send(client.key(), r#"{"t":"x","p":{}}"#), Some(n + 1)));
    world.settle();
    client.text(r#"{"t":"to the application"}"#);
    let metrics = answer(&mut world, &client, "metrics_request", "metrics_response");
    assert_eq!((&metrics["subscriptions"], &metrics["current_sequence"]), (&json!(1), &json!(3)));
    assert!(metrics["inbound_bytes"].as_u64() > Some(20), "{metrics}");
    assert_eq!(metrics["rate_remaining"], 100_000 - 3, "the subscription, the message and the request");
    assert!(world.take_batch().is_some());
    world.pass(1_000);
    let metrics = answer(&mut world, &client, "metrics_request", "metrics_response");
    assert_eq!((&metrics["inbound_bytes"], &metrics["rate_remaining"]), (&json!(0), &json!(99_999)));
    let stats = answer(&mut world, &other, "sequence_stats_request", "sequence_stats_response");
    assert_eq!(stats["current_sequence"], 0);
}

#[test]
fn a_connection_without_limits_has_zeros_and_no_rate() {
    let mut config = Config { rate: None, ..settings() };
    (config.heartbeat.interval_ms, config.heartbeat.idle_timeout_ms) = (0, 0);
    config.outbound.max_messages = 0;
    let mut world = World::new(config);
    let client = world.connect();
    let metrics = answer(&mut world, &client, "metrics_request", "metrics_response");
    assert_eq!(metrics["rate_remaining"], Value::Null);
    let config = answer(&mut world, &client, "config_request", "config_response");
    for zero in ["heartbeat_interval", "idle_timeout", "max_queue_size"] {
        assert_eq!(config[zero], 0, "{zero}");
    }
    let limits = json!({ "max_message_size": 1 << 20, "rate_limit_capacity": 0, "rate_limit_refill": 0 });
    assert_eq!(config["rate_limits"], limits);
}

#[test]
fn a_slow_reader_can_ask_what_it_misses() {
    let mut config = settings();
    config.outbound.max_messages = 10;
    let mut world = World::new(config);
    let client = world.connect_to("news");
    client.stop_reading(30);
    (0..15).for_each(|n| assert!(world.publish_number("news", n, 0)));
    world.settle();
    (15..18).for_each(|n| assert!(world.publish_number("news", n, 0)));
    world.settle();
    for kind in ["health_check", "connection_state_request", "sequence_stats_request", "metrics_request"] {
        client.text(&json!({ "t": kind }).to_string());
    }
    world.settle();
    client.resume();
    world.settle();
    let got = client.numbers("news").len();
    assert_eq!(client.told("health_check_response")[0]["status"], "degraded");
    assert_eq!(client.told("connection_state_response")[0]["state"], "degraded");
    let (stats, metrics) = (&client.told("sequence_stats_response")[0], &client.told("metrics_response")[0]);
    assert_eq!(stats["missed"], 18 - got);
    assert!(stats["queue_size"].as_u64() >= Some(10), "{stats}");
    assert!(metrics["queue_stats"]["bytes"].as_u64() >= Some(100), "{metrics}");
    let healthy = answer(&mut world, &client, "health_check", "health_check_response");
    assert_eq!((&healthy["status"], &healthy["queue_size"]), (&json!("healthy"), &json!(0)));
    let stats = answer(&mut world, &client, "sequence_stats_request", "sequence_stats_response");
    assert_eq!(stats["missed"], 18 - got, "told or not");
}

#[test]
fn a_server_without_room_says_so() {
    let mut world = World::new(Config { max_connections: 2, ..settings() });
    let first = world.connect();
    let status = |world: &mut World| answer(world, &first, "system_status_request", "system_status_response");
    assert_eq!(status(&mut world)["status"], "healthy");
    let second = world.connect();
    assert_eq!(status(&mut world)["status"], "overloaded");
    second.kernel().reset();
    world.settle();
    assert_eq!(status(&mut world)["status"], "healthy");
    let charge = world.shared.budget.charge((512 << 20) - (1 << 20) + 1).expect("there is room");
    assert_eq!(status(&mut world)["status"], "overloaded");
    drop(charge);
    assert_eq!(status(&mut world)["status"], "healthy");
}

#[test]
fn answers_are_small_whatever_a_connection_holds() {
    let mut world = World::new(settings());
    let client = connect(&mut world, 2, &json!({ "wse_debug": true }));
    let topics = (0..1_024).map(|n| format!("{n:0>255}")).collect::<Vec<_>>();
    client.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>());
    world.settle();
    for (kind, answered) in [
        ("connection_state_request", "connection_state_response"),
        ("metrics_request", "metrics_response"),
        ("debug_request", "debug_response"),
    ] {
        let mut answer = answer(&mut world, &client, kind, answered);
        if let Some(topics) = answer.pointer_mut("/connection/topics") {
            assert_eq!(topics.take().as_array().map(Vec::len), Some(32));
        }
        assert!(answer.to_string().contains(r#""subscriptions":1024"#), "{answer}");
        assert!(answer.to_string().len() < 1_024, "{answer}");
    }
}

#[test]
fn each_message_of_a_batch_counts_against_the_rate() {
    let mut world = World::new(Config { rate: Some(Rate { per_second: 10, burst: 10 }), ..settings() });
    let (client, healthy) = (world.connect(), world.connect());
    let messages = (0..15).map(|n| json!({ "t": "order", "p": n })).collect::<Vec<_>>();
    let batch = json!({ "t": "batch", "p": { "messages": messages } });
    ask(&mut world, &client, &batch);
    let result = &client.told("batch_message_result")[0];
    assert_eq!((&result["successful"], &result["failed"]), (&json!(9), &json!(6)));
    assert_eq!(result["results"][8], json!({ "success": true }));
    assert_eq!(result["results"][9], json!({ "success": false, "code": "RATE_LIMITED" }));
    assert_eq!(client.errors(), ["RATE_LIMITED"], "once a second, not once a message");
    assert_eq!(events(&world, Kind::Message).len(), 9);
    assert_eq!(value(&world.shared.metrics.rate_dropped_total), 6);
    for _ in 0..60 {
        world.pass(100);
        ask(&mut world, &client, &batch);
        healthy.text("alive");
    }
    assert_eq!(client.close_code(), Some(4429), "nothing follows, not even a result");
    assert!(healthy.close_code().is_none() && healthy.errors().is_empty());
}

#[test]
fn a_plain_connection_asks_its_application() {
    let mut world = World::new(Config { envelope: false, ..settings() });
    let client = world.connect();
    for kind in TYPES {
        client.text(&json!({ "t": kind, "p": { "messages": [] } }).to_string());
    }
    world.settle();
    assert_eq!(events(&world, Kind::Message).len(), TYPES.len());
    assert!(client.heard().frames.is_empty());
}
