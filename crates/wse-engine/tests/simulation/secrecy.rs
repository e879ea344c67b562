//! Verifies that nothing of the application's leaves an encrypted connection in the clear, that nothing is lost on the
//! way to a key, and that no key is used for more than it is good for.

use crate::application::numbered;
use crate::client::{BINARY, Client, TEXT};
use crate::listener::{Carrier, Listener};
use crate::world::{World, settings, value};
use serde_json::{Value, json};
use std::collections::HashSet;
use wse_engine::Config;
use wse_engine::config::{OutboundLimits, Recovery};
use wse_engine::inbound::Kind;

use Carrier::{Sealed, Text};

/// A word that the application publishes, to be looked for where it must not be.
const SECRET: &str = "swordfish";

fn secret(n: u64) -> String {
    format!(r#"{{"t":"news","p":{{"n":{n},"word":"{SECRET}"}}}}"#)
}

/// Verifies that no byte of what arrived at `client` tells the secret.
fn assert_in_the_dark(client: &Client) {
    let is_secret = |bytes: &[u8]| bytes == SECRET.as_bytes();
    assert!(!client.bytes().windows(SECRET.len()).any(is_secret), "the secret left in the clear");
}

/// A connection that has asked for encryption by its query, holds `news`, and has not said hello.
fn waiting(world: &mut World, query: &str) -> Listener {
    let listener = Listener::knock(world, &format!("encryption=true&topics=news{query}"));
    assert!(world.has_topic("news"));
    listener
}

fn hello_of(listener: &Listener) -> Vec<Value> {
    listener.client.told("server_hello")
}

#[test]
fn publications_wait_for_the_key_and_leave_behind_the_hello_in_order() {
    for query in ["", "&protocol_version=1", "&format=msgpack", "&compression=true"] {
        let mut world = World::new(settings());
        let mut listener = waiting(&mut world, query);
        for n in 0..5 {
            assert!(world.publish("news", &secret(n)));
            world.settle();
        }
        assert_eq!(world.send(listener.client.key(), &secret(5)), Some(1));
        world.pass(9_900);
        assert_eq!(listener.client.payloads(BINARY), [[0; 0]; 0]);
        assert_in_the_dark(&listener.client);
        listener.hello();
        assert!(world.publish("news", &secret(6)));
        world.settle();
        assert_eq!(listener.numbers("news"), (0..7).collect::<Vec<_>>(), "{query}");
        assert_eq!(listener.carriers(), [Sealed; 7], "JSON inside, whatever else was asked for");
        assert_eq!(listener.told()[5].json()["seq"], 1);
        let version = if query.contains("version") { 1 } else { 2 };
        assert!(listener.told().iter().all(|message| message.json()["v"] == version));
        let hello = listener.messages.iter().position(|message| message.json()["t"] == "server_hello");
        let first = listener.messages.iter().position(|message| message.carrier == Sealed);
        assert!(hello < first, "nothing precedes the hello");
        assert_in_the_dark(&listener.client);
        world.pass(20_000);
        assert_eq!(listener.client.close_code(), None);
        assert_eq!(world.shared.budget.used(), 0);
    }
}

#[test]
fn a_client_that_asked_and_brings_no_key_is_closed() {
    let mut world = World::new(settings());
    let (listener, other) = (waiting(&mut world, ""), world.connect_to("news"));
    assert!(world.publish("news", &secret(0)));
    world.pass(9_900);
    assert_eq!(listener.client.close_code(), None);
    assert!(world.shared.budget.used() > 0, "what waits is held against the budget");
    world.pass(200);
    assert_eq!(listener.client.close_code(), Some(1002));
    assert_in_the_dark(&listener.client);
    world.pass(3_000);
    assert_eq!((world.shared.budget.used(), other.numbers("news")), (0, vec![0]));
}

#[test]
fn who_leaves_while_it_waits_leaves_nothing_behind() {
    for is_reset in [false, true] {
        let mut world = World::new(settings());
        let listener = waiting(&mut world, "");
        (0..100).for_each(|n| assert!(world.publish("news", &secret(n))));
        world.settle();
        if is_reset {
            listener.client.kernel().reset();
        } else {
            listener.client.close(1000);
        }
        world.pass(15_000);
        assert_in_the_dark(&listener.client);
        world.assert_nothing_is_left(&[]);
    }
}

#[test]
fn what_waits_for_a_key_has_the_bounds_of_a_queue_and_its_holes_are_told() {
    let outbound = OutboundLimits { max_messages: 10, max_bytes: 0, slow_timeout_ms: 10_000 };
    let mut world = World::new(Config { outbound, ..settings() });
    let mut listener = waiting(&mut world, "");
    (0..50).for_each(|n| assert!(world.publish("news", &secret(n))));
    world.pass(1_000);
    assert_eq!(value(&world.shared.metrics.outbound_refused_total), 40);
    assert_eq!(world.shared.desks[0].seats.missed(listener.client.key()), 40);
    listener.hello();
    assert!(world.publish("news", &secret(50)));
    world.settle();
    assert_eq!(listener.numbers("news"), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 50]);
    let gaps = listener.client.told("gap");
    assert_eq!(gaps.len(), 1);
    assert_eq!((&gaps[0]["topic"], &gaps[0]["count"]), (&json!("news"), &json!(40)));
    let gap = listener.messages.iter().position(|message| message.json()["t"] == "gap");
    let sealed = |n: usize| listener.messages.iter().enumerate().filter(|one| one.1.carrier == Sealed).nth(n);
    assert!(sealed(9).map(|one| one.0) < gap && gap < sealed(10).map(|one| one.0), "in its place");
    assert_eq!(world.shared.budget.used(), 0);
}

#[test]
fn after_a_bad_key_the_client_is_told_and_speaks_in_the_clear() {
    let off_the_curve =
        "BAERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERERE=";
    for key in ["", "no key", off_the_curve] {
        let mut world = World::new(settings());
        let mut listener = waiting(&mut world, "");
        assert!(world.publish("news", &secret(0)));
        world.settle();
        listener.hello_with(key);
        assert!(world.publish("news", &secret(1)));
        world.settle();
        assert_eq!(listener.client.errors(), ["KEY_EXCHANGE_FAILED"], "{key}");
        assert_eq!(listener.client.told("error")[0]["recoverable"], true);
        let hello = &hello_of(&listener)[0];
        assert_eq!(
            (&hello["features"]["encryption"], hello.get("encryption_public_key")),
            (&json!(false), None)
        );
        assert_eq!((listener.carriers(), listener.numbers("news")), (vec![Text; 2], vec![0, 1]));
        let order = listener.client.envelopes().into_iter().map(|envelope| envelope["t"].clone());
        assert!(order.eq(["server_ready", "error", "server_hello", "news", "news"]));
        // It may try again.
        listener.hello();
        assert!(world.publish("news", &secret(2)));
        world.settle();
        assert_eq!(listener.carriers(), [Text, Text, Sealed]);
        assert_eq!(hello_of(&listener)[1]["features"]["encryption"], true);
    }
}

#[test]
fn a_hello_alone_can_ask_for_encryption_and_keys_are_exchanged_once() {
    let mut world = World::new(settings());
    let mut listener = Listener::connect_to(&mut world, "", "news");
    assert!(world.publish("news", &secret(0)));
    world.settle();
    listener.hello();
    world.settle();
    listener.listen();
    let first = listener.key.as_ref().map(|_| hello_of(&listener)[0]["encryption_public_key"].clone());
    for _ in 0..3 {
        let other = listener.public_key();
        listener.hello_with(&other);
        listener.client.text(r#"{"t":"client_hello","p":{}}"#);
    }
    world.settle();
    let hellos = hello_of(&listener);
    assert_eq!(hellos.len(), 7);
    assert!(hellos.iter().all(|hello| Some(&hello["encryption_public_key"]) == first.as_ref()));
    assert!(hellos.iter().all(|hello| hello["features"]["encryption"] == true));
    assert!(listener.client.errors().is_empty());
    // The key is still that of the first exchange.
    assert!(world.publish("news", &secret(1)));
    world.settle();
    let mut sealed = listener.client.payloads(BINARY)[0].clone();
    let text = listener.key.as_ref().map(|key| key.open(&mut sealed).expect("it opens").to_owned());
    assert!(text.is_some_and(|text| text.contains(SECRET)));
}

#[test]
fn the_servers_own_messages_stay_text_and_so_does_the_answer_to_what_was_sealed() {
    let mut world = World::new(settings());
    let mut listener = Listener::connect(&mut world, "encryption=true");
    let request = json!({"t": "subscription_update", "p": {"action": "subscribe", "topics": ["news"]}});
    listener.client.binary(&listener.seal(&request.to_string()));
    listener.client.binary(&listener.seal(r#"{"t":"ping","p":{"timestamp":7}}"#));
    listener.client.binary(&listener.seal(r#"{"t":"order","p":{"n":1}}"#));
    listener.client.text(r#"{"t":"order","p":{"n":2}}"#);
    world.settle();
    assert_eq!(listener.client.told("subscription_update")[0]["success_topics"], json!(["news"]));
    assert_eq!(listener.client.told("PONG")[0]["client_timestamp"], 7);
    let texts = listener.client.payloads(TEXT);
    assert!(texts.iter().any(|text| text.starts_with(br#"{"t":"PONG","#)));
    assert_eq!(listener.client.payloads(BINARY), [[0; 0]; 0]);
    let events = world.take_events().into_iter().filter(|event| event.kind == Kind::Message);
    let texts = events.map(|event| String::from_utf8(event.payload).expect("text")).collect::<Vec<_>>();
    assert_eq!(
        texts,
        [r#"{"t":"order","p":{"n":1}}"#, r#"{"t":"order","p":{"n":2}}"#],
        "plain text is heard too"
    );
    listener.listen();
    world.pass(25_100);
    assert_eq!(listener.client.told("ping").len(), 1, "heartbeats as well");
}

#[test]
fn what_is_sealed_before_there_is_a_key_is_dropped_and_counted() {
    let mut world = World::new(settings());
    let before = Listener::connect(&mut world, "encryption=true");
    let mut again = waiting(&mut world, "");
    let plain = world.connect();
    world.take_events();
    let old = before.seal(r#"{"t":"order","p":{}}"#);
    for _ in 0..10 {
        again.client.binary(&old);
        plain.binary(&old);
    }
    world.settle();
    assert_eq!(value(&world.shared.metrics.encrypted_dropped_total), 20);
    assert_eq!((world.take_events(), again.client.errors(), plain.errors()), (vec![], vec![], vec![]));
    again.hello();
    world.settle();
    again.listen();
    again.client.binary(&again.seal(r#"{"t":"order","p":{}}"#));
    world.settle();
    assert_eq!(world.take_events().len(), 1, "the connection is as good as any");
}

#[test]
fn three_messages_that_cannot_be_opened_end_the_connection() {
    let mut world = World::new(settings());
    let (listener, other) =
        (Listener::connect(&mut world, "encryption=true"), Listener::connect(&mut world, "encryption=true"));
    world.take_events();
    let foreign = other.seal(r#"{"t":"order","p":{}}"#);
    let good = listener.seal(r#"{"t":"order","p":{}}"#);
    let mut changed = listener.seal(r#"{"t":"order","p":{}}"#);
    changed[20] ^= 1;
    listener.client.binary(&foreign);
    listener.client.binary(&good);
    listener.client.binary(b"E:short");
    world.settle();
    assert_eq!(listener.client.errors(), ["DECRYPTION_FAILED"; 2]);
    assert_eq!((listener.client.close_code(), world.take_events().len()), (None, 1));
    listener.client.binary(&changed);
    listener.client.binary(&good);
    world.settle();
    assert_eq!(listener.client.errors(), ["DECRYPTION_FAILED"; 3]);
    assert_eq!(listener.client.close_code(), Some(1002));
    let kinds = world.take_events().into_iter().map(|event| event.kind);
    assert!(kinds.eq([Kind::Disconnect]), "nothing is read behind it");
    assert_eq!(other.client.close_code(), None);
}

#[test]
fn keys_change_while_messages_of_both_sides_are_under_way() {
    let mut world = World::new(settings());
    let mut listener = Listener::connect_to(&mut world, "encryption=true", "news");
    world.take_events();
    world.pass(1_000);
    let order = |n: u64| format!(r#"{{"t":"order","p":{{"n":{n}}}}}"#);
    // Sealed under the old key on both sides, before the server has heard of the change and after.
    assert!(world.publish("news", &secret(0)));
    world.settle();
    listener.client.binary(&listener.seal(&order(0)));
    listener.rotate();
    listener.client.binary(&listener.seal(&order(1)));
    assert!(world.publish("news", &secret(1)));
    world.settle();
    listener.client.binary(&listener.seal(&order(2)));
    world.settle();
    // It learns of the new key, and uses it.
    let old = listener.seal(&order(9));
    assert_eq!(listener.numbers("news"), [0, 1]);
    listener.client.binary(&listener.seal(&order(3)));
    assert!(world.publish("news", &secret(2)));
    world.settle();
    assert_eq!(listener.numbers("news"), [0, 1, 2]);
    let answer = &listener.client.told("key_rotation_response")[0];
    assert_eq!(answer["success"], true);
    assert_ne!(answer["encryption_public_key"], hello_of(&listener)[0]["encryption_public_key"]);
    let events = world.take_events().into_iter().filter(|event| event.kind == Kind::Message);
    let numbers =
        events.map(|event| serde_json::from_slice::<Value>(&event.payload).expect("JSON")["p"]["n"].as_u64());
    assert!(numbers.eq((0..4).map(Some)));
    // From there on the old key is worth nothing.
    listener.client.binary(&old);
    world.settle();
    assert_eq!(listener.client.errors(), ["DECRYPTION_FAILED"]);
}

#[test]
fn keys_change_once_a_second_and_only_for_a_good_one() {
    let mut world = World::new(settings());
    let mut listener = Listener::connect_to(&mut world, "encryption=true", "news");
    listener.rotate();
    world.settle();
    assert_eq!(listener.client.errors(), ["RATE_LIMITED"], "the hello was an exchange");
    world.pass(1_000);
    listener.client.text(r#"{"t":"key_rotation_request","p":{"encryption_public_key":"no key"}}"#);
    world.settle();
    assert_eq!(listener.client.errors()[1..], ["KEY_EXCHANGE_FAILED"]);
    assert!(world.publish("news", &secret(0)));
    world.pass(1_000);
    assert_eq!(listener.numbers("news"), [0], "under the key that it had");
    for n in 1..5 {
        listener.rotate();
        world.settle();
        assert!(world.publish("news", &secret(n)));
        world.pass(1_000);
        assert_eq!(listener.numbers("news").last(), Some(&n));
    }
    let plain = world.connect();
    plain.text(r#"{"t":"key_rotation_request","p":{"encryption_public_key":""}}"#);
    world.settle();
    assert_eq!(plain.errors(), ["KEY_EXCHANGE_FAILED"], "there is nothing to change");
}

#[test]
fn an_encryption_request_exchanges_keys_beside_the_hello() {
    let mut world = World::new(settings());
    let mut listener = waiting(&mut world, "");
    assert!(world.publish("news", &secret(0)));
    listener.client.text(r#"{"t":"encryption_request"}"#);
    listener.client.text(r#"{"t":"encryption_request","p":{"encryption_public_key":"no key"}}"#);
    world.settle();
    let answers = listener.client.told("encryption_response");
    assert!(answers.iter().all(|answer| answer["enabled"] == false && answer["algorithm"] == "AES-256-GCM"));
    assert_eq!((answers.len(), listener.client.errors()), (2, vec!["KEY_EXCHANGE_FAILED".to_owned()]));
    assert_in_the_dark(&listener.client);
    world.pass(1_000);
    let key = listener.public_key();
    let request = json!({"t": "encryption_request", "p": {"encryption_public_key": key}});
    listener.client.text(&request.to_string());
    world.settle();
    assert_eq!(listener.numbers("news"), [0]);
    assert_eq!(listener.carriers(), [Sealed]);
    let answer = &listener.client.told("encryption_response")[2];
    assert_eq!((&answer["enabled"], &answer["key_exchange"]), (&json!(true), &json!("ECDH-P256")));
    world.pass(20_000);
    assert_eq!(listener.client.close_code(), None);
}

#[test]
fn no_nonce_comes_twice_and_each_connection_has_its_own_key() {
    let mut world = World::new(settings());
    let mut listeners =
        (0..3).map(|_| Listener::connect_to(&mut world, "encryption=true", "news")).collect::<Vec<_>>();
    for round in 0..3 {
        for n in 0..300 {
            assert!(world.publish_number("news", round * 300 + n, 0));
        }
        world.settle();
        listeners.iter_mut().for_each(Listener::listen);
        world.pass(1_000);
        listeners.iter_mut().for_each(Listener::rotate);
        world.settle();
    }
    let mut nonces = HashSet::new();
    for listener in &mut listeners {
        assert_eq!(listener.numbers("news"), (0..900).collect::<Vec<_>>());
        nonces.extend(listener.nonces.iter().copied());
    }
    assert_eq!(nonces.len(), 3 * 900);
    let mut frame = listeners[0].client.payloads(BINARY)[0].clone();
    assert!(listeners[1].key.as_ref().expect("a key").open(&mut frame).is_err());
}

#[test]
fn a_bad_key_does_not_stand_in_the_way_of_a_good_one() {
    let mut world = World::new(settings());
    let mut listener = waiting(&mut world, "");
    assert!(world.publish("news", &secret(0)));
    listener.client.text(r#"{"t":"encryption_request","p":{"encryption_public_key":"no key"}}"#);
    listener.hello();
    world.settle();
    assert_eq!(listener.client.errors(), ["KEY_EXCHANGE_FAILED"]);
    assert_eq!((listener.numbers("news"), listener.carriers()), (vec![0], vec![Sealed]));
}

#[test]
fn whoever_tries_too_often_stays_in_the_dark() {
    let mut world = World::new(settings());
    let mut listener = waiting(&mut world, "");
    assert!(world.publish("news", &secret(0)));
    for _ in 0..4 {
        listener.client.text(r#"{"t":"encryption_request","p":{"encryption_public_key":"no key"}}"#);
    }
    listener.hello();
    world.settle();
    assert_eq!(listener.client.errors().last().map(String::as_str), Some("RATE_LIMITED"));
    assert_eq!(listener.client.told("server_hello").len(), 0);
    assert_in_the_dark(&listener.client);
    world.pass(1_000);
    listener.hello();
    world.settle();
    assert_eq!((listener.numbers("news"), listener.carriers()), (vec![0], vec![Sealed]));
}

#[test]
fn a_sealed_publication_to_many_never_stands_in_memory_as_a_whole() {
    let mut world = World::new(Config { memory_budget_bytes: 4 << 20, ..settings() });
    let mut listeners =
        (0..50).map(|_| Listener::connect_to(&mut world, "encryption=true", "news")).collect::<Vec<_>>();
    for n in 0..3 {
        // All copies together are more than twice the budget.
        assert!(world.publish_number("news", n, 200 << 10));
    }
    world.settle();
    for listener in &mut listeners {
        assert_eq!(listener.numbers("news"), [0, 1, 2]);
        assert_eq!(listener.client.told("gap").len(), 0);
    }
    assert_eq!(world.shared.budget.used(), 0);
}

#[test]
fn an_encrypted_reader_that_is_slow_loses_no_secret_either() {
    let outbound = OutboundLimits { max_messages: 10, max_bytes: 0, slow_timeout_ms: 10_000 };
    let mut world = World::new(Config { outbound, ..settings() });
    let mut listener = waiting(&mut world, "");
    listener.client.stop_reading(1);
    (0..30).for_each(|n| assert!(world.publish("news", &secret(n))));
    listener.hello();
    world.settle();
    (30..60).for_each(|n| assert!(world.publish("news", &secret(n))));
    world.settle();
    listener.client.resume();
    world.settle();
    assert!(world.publish("news", &numbered("news", 60, 0)));
    world.settle();
    assert_in_the_dark(&listener.client);
    let got = listener.numbers("news");
    assert_eq!((got[0], got.last()), (0, Some(&60)));
    assert!(got.is_sorted_by(|a, b| a < b));
    assert_eq!(got.len() as u64 + listener.missed(), 61);
    assert_eq!(world.shared.budget.used(), 0);
}

#[test]
fn who_cannot_be_told_the_key_is_sent_away_instead_of_getting_what_it_cannot_read() {
    let mut world = World::new(Config { memory_budget_bytes: 3_000, ..settings() });
    let slow = world.connect_to("slow");
    let mut listener = waiting(&mut world, "");
    slow.stop_reading(1);
    while world.publish_number("slow", 0, 0) {
        world.settle();
    }
    listener.client.stop_reading(1);
    for _ in 0..50 {
        listener.client.text(r#"{"t":"ping"}"#);
    }
    world.settle();
    listener.hello();
    world.settle();
    listener.client.resume();
    world.settle();
    assert_eq!(listener.client.close_code(), Some(1013));
    assert_eq!(listener.numbers("news"), [0; 0]);
    slow.resume();
    world.settle();
    let mut again = Listener::connect_to(&mut world, "encryption=true", "news");
    assert!(world.publish("news", &secret(1)));
    world.settle();
    assert_eq!(again.numbers("news"), [1]);
}

#[test]
fn who_leaves_a_topic_while_it_waits_gets_nothing_of_it_behind() {
    let mut world = World::new(settings());
    let mut listener = waiting(&mut world, "");
    listener.client.subscribe(&["other"]);
    world.settle();
    assert!(world.publish_number("news", 0, 0) && world.publish_number("other", 0, 0));
    assert!(world.publish_all(&numbered("all", 0, 0)));
    world.settle();
    let leave = json!({"t": "subscription_update", "p": {"action": "unsubscribe", "topics": ["news"]}});
    listener.client.text(&leave.to_string());
    listener.hello();
    world.settle();
    let told = listener.told().into_iter().map(|message| message.json()["t"].clone());
    assert!(told.eq(["other", "all"]));
}

#[test]
fn what_a_glob_brings_waits_for_the_key_too() {
    for recovery in [None, Some(Recovery::default())] {
        let mut world = World::new(Config { recovery, ..settings() });
        let mut listener = Listener::knock(&mut world, "encryption=true&topics=ne*,news");
        assert!(world.publish_number("news", 0, 0) && world.publish_number("nest", 0, 0));
        world.settle();
        let leave = |topic| {
            let request = json!({"action": "unsubscribe", "topics": [topic]});
            json!({"t": "subscription_update", "p": request}).to_string()
        };
        // It is covered by the glob.
        listener.client.text(&leave("news"));
        assert!(world.publish_number("news", 1, 0));
        world.settle();
        listener.hello();
        world.settle();
        assert_eq!((listener.numbers("news"), listener.numbers("nest")), (vec![0, 1], vec![0]));
        assert_eq!(listener.missed(), 0);
    }
}

#[test]
fn who_leaves_a_glob_while_it_waits_and_comes_back_has_no_hole() {
    let mut world = World::new(Config { recovery: Some(Recovery::default()), ..settings() });
    let mut listener = Listener::knock(&mut world, "encryption=true&topics=ne*");
    let ask = |world: &mut World, action, n| {
        let request = json!({"action": action, "topics": ["ne*"]});
        listener.client.text(&json!({"t": "subscription_update", "p": request}).to_string());
        world.settle();
        assert!(world.publish_number("news", n, 0));
        world.settle();
    };
    assert!(world.publish_number("news", 0, 0));
    world.settle();
    ask(&mut world, "unsubscribe", 1);
    ask(&mut world, "subscribe", 2);
    listener.hello();
    world.settle();
    assert_eq!(listener.numbers("news"), [2], "it begins anew");
}
