//! Verifies what leaves first and what gives way where a reader does not keep up: by importance, by the policy of the
//! topic, and for whom the publisher waits.

use crate::application::{numbered, urgent};
use crate::client::Client;
use crate::world::{World, settings, value};
use serde_json::json;
use std::num::NonZeroU64;
use std::sync::Arc;
use uuid::Uuid;
use wse_engine::config::OutboundLimits;
use wse_engine::content::Content;
use wse_engine::policy::{Overflow, Policies, Policy};
use wse_engine::pressure::Lacking;
use wse_engine::publishing::{Published, Publishing};
use wse_engine::{Config, EngineError, Reply};
use wse_protocol::priority::Priority;

/// A queue of ten messages, and what topics want.
fn policies<const N: usize>(rules: [(&str, Policy); N]) -> Config {
    let outbound = OutboundLimits { max_messages: 10, max_bytes: 0, slow_timeout_ms: 10_000 };
    let rules = rules.map(|(topic, policy)| (vec![topic.to_owned()], policy));
    Config { outbound, policies: Arc::new(Policies::new(rules)), ..settings() }
}

fn overflowing(overflow: Overflow) -> Policy {
    Policy { overflow, ..Policy::default() }
}

fn lane(priority: Priority) -> Policy {
    Policy { priority, ..Policy::default() }
}

/// A stalled and a healthy reader of these topics; the kernel holds one filler for each.
fn readers(world: &mut World, topics: &[&str]) -> (Client, Client) {
    let (slow, healthy) = (world.connect(), world.connect());
    for reader in [&slow, &healthy] {
        reader.subscribe(topics);
    }
    world.pass(12_000);
    slow.stop_reading(1);
    (slow, healthy)
}

fn publish(world: &mut World, topic: &str, numbers: std::ops::Range<u64>) {
    for n in numbers {
        assert!(world.publish_number(topic, n, 0));
        world.settle();
    }
}

/// The types of what a client got, as far as they are of these.
fn order(client: &Client, types: &[&str]) -> Vec<String> {
    let envelopes = client.envelopes();
    let types = envelopes.iter().filter_map(|one| one["t"].as_str()).filter(|kind| types.contains(kind));
    types.map(str::to_owned).collect()
}

#[test]
fn a_topic_of_a_higher_lane_leaves_first_and_none_is_out_of_order() {
    let high = ("high", lane(Priority::Critical));
    let mut world = World::new(policies([high, ("low", lane(Priority::Background))]));
    let (slow, healthy) = readers(&mut world, &["high", "low", "plain"]);
    // What has begun to leave stays the first.
    publish(&mut world, "plain", 0..1);
    for n in 0..3 {
        for topic in ["low", "plain", "high"] {
            // Its own importance decides nothing here.
            assert!(world.publish(topic, &urgent(&numbered(topic, n + 1, 0), 10 - 3 * n as u8)));
            world.settle();
        }
    }
    slow.resume();
    world.settle();
    let types = ["high", "low", "plain"];
    let expected = ["plain", "high", "high", "high", "plain", "plain", "plain", "low", "low", "low"];
    assert_eq!(order(&slow, &types), expected);
    assert_eq!(
        order(&healthy, &types)[1..4],
        ["low", "plain", "high"],
        "without a backlog nothing overtakes"
    );
    assert_eq!(slow.numbers("high"), [1, 2, 3]);
}

#[test]
fn what_is_more_important_takes_the_room_of_what_is_less() {
    let mut world = World::new(policies([]));
    let (slow, _) = readers(&mut world, &["news"]);
    for n in 0..20 {
        assert!(world.publish("news", &urgent(&numbered("news", n, 0), 3)));
        world.settle();
    }
    for n in 20..25 {
        assert!(
            world.send(slow.key(), &urgent(&numbered("alert", n, 0), 8)).is_some(),
            "it is not refused at the door"
        );
        world.settle();
    }
    assert_eq!(world.send(slow.key(), &urgent(&numbered("alert", 99, 0), 1)), None);
    let refused = value(&world.shared.metrics.outbound_refused_total);
    slow.resume();
    world.settle();
    assert_eq!(slow.numbers("alert"), [20, 21, 22, 23, 24]);
    let got = slow.numbers("news").len() as u64;
    let gaps = slow.told("gap");
    assert_eq!(
        (gaps.len(), gaps[0]["topic"].as_str(), gaps[0]["reason"].as_str()),
        (1, Some("news"), Some("slow"))
    );
    assert_eq!(got + gaps[0]["count"].as_u64().expect("a number"), 20);
    assert_eq!(refused, 20 - got);
    publish(&mut world, "news", 25..26);
    assert_eq!(slow.numbers("news").last(), Some(&25));
}

#[test]
fn replies_reach_a_client_whatever_is_published_to_it() {
    let mut world = World::new(policies([]));
    let (slow, _) = readers(&mut world, &["news"]);
    publish(&mut world, "news", 0..5);
    slow.subscribe(&["other"]);
    slow.text(r#"{"t":"ping","p":{"timestamp":1}}"#);
    world.settle();
    for n in 5..40 {
        assert!(world.publish("news", &urgent(&numbered("news", n, 0), 10)));
        world.settle();
    }
    slow.resume();
    world.settle();
    assert_eq!((slow.told("subscription_update").len(), slow.told("PONG").len()), (2, 1));
}

#[test]
fn a_reader_that_blocks_is_waited_for_and_then_closed_and_nobody_else_misses_anything() {
    let mut world = World::new(policies([("orders", overflowing(Overflow::Block(1_000)))]));
    let (slow, healthy) = readers(&mut world, &["orders"]);
    let is_held_up =
        |world: &World| world.shared.topics.get("orders").is_some_and(|topic| topic.brake().is_on());
    let mut n = 0;
    while !is_held_up(&world) {
        publish(&mut world, "orders", n..n + 1);
        n += 1;
    }
    assert_eq!(n, 11, "ten wait, of which one has begun to leave");
    world.pass(900);
    assert_eq!((world.open(), is_held_up(&world)), (2, true));
    world.pass(200);
    assert_eq!((world.open(), is_held_up(&world)), (1, false), "one reader never stops all");
    slow.resume();
    world.settle();
    assert_eq!(slow.close_code(), Some(4503));
    publish(&mut world, "orders", n..n + 5);
    assert_eq!(healthy.numbers("orders"), (0..n + 5).collect::<Vec<_>>());
}

#[test]
fn a_burst_waits_before_a_reader_has_more_than_it_may_and_nothing_of_it_is_lost() {
    let config = policies([("orders", overflowing(Overflow::Block(1_000)))]);
    let outbound = OutboundLimits { max_messages: 8, ..config.outbound };
    let mut world = World::new(Config { outbound, ..config });
    let (slow, healthy) = readers(&mut world, &["orders"]);
    let mut n = 0;
    for _ in 0..5 {
        // No shard has a turn meanwhile.
        n += (n..n + 20).take_while(|n| world.publish_number("orders", *n, 0)).count() as u64;
        world.settle();
    }
    assert_eq!((n, world.open()), (16, 2), "twice what may wait");
    world.pass(900);
    let publishing = Publishing { waits: true, ..Publishing::default() };
    let published = world.publish_as("orders", Content::Text("{}"), publishing);
    assert_eq!((published, world.open()), (Published::Refused(Lacking::Reader), 2));
    slow.resume();
    world.settle();
    assert_eq!(world.replies(), [Reply::Room]);
    publish(&mut world, "orders", n..n + 5);
    for reader in [slow, healthy] {
        assert_eq!(reader.numbers("orders"), (0..n + 5).collect::<Vec<_>>());
    }
}

#[test]
fn a_burst_waits_for_the_shards_and_is_told_when_they_have_carried_it_out() {
    let mut world = World::new(policies([("orders:*", overflowing(Overflow::Block(1_000)))]));
    let (_, healthy) = (world.connect(), world.connect());
    healthy.subscribe(&["orders:1", "orders:2"]);
    world.pass(12_000);
    let waits = Publishing { waits: true, ..Publishing::default() };
    let publish = |world: &World, n: usize| {
        world.publish_as(["orders:1", "orders:2"][n % 2], Content::Text(r#"{"t":"order","p":{}}"#), waits)
    };
    for n in 0..10 {
        assert_eq!(publish(&world, n), Published::Queued(None));
    }
    assert_eq!(publish(&world, 10), Published::Refused(Lacking::Reader), "of all such topics together");
    assert!(world.publish_number("news", 1, 0), "others do not wait");
    world.settle();
    assert_eq!(world.replies(), [Reply::Room]);
    assert_eq!(publish(&world, 10), Published::Queued(None));
    world.settle();
    assert_eq!(healthy.told("order").len(), 11);
}

#[test]
fn a_reader_that_catches_up_lets_its_publishers_go_on_and_has_missed_nothing() {
    let mut world = World::new(policies([("orders", overflowing(Overflow::Block(1_000)))]));
    let (slow, _) = readers(&mut world, &["orders"]);
    publish(&mut world, "orders", 0..11);
    let refused = |world: &World, waits| {
        let publishing = Publishing { waits, ..Publishing::default() };
        let published = world.publish_as("orders", Content::Text("{}"), publishing);
        assert_eq!(published, Published::Refused(Lacking::Reader));
    };
    refused(&world, false);
    world.settle();
    assert_eq!(world.replies(), [], "nobody waits");
    refused(&world, true);
    slow.resume();
    world.settle();
    assert_eq!(world.replies(), [Reply::Room]);
    publish(&mut world, "orders", 11..15);
    assert_eq!(slow.numbers("orders"), (0..15).collect::<Vec<_>>());
    world.pass(2_000);
    assert_eq!(world.open(), 2);
}

#[test]
fn a_reader_that_holds_a_glob_is_waited_for_whoever_comes_and_goes() {
    let mut world = World::new(policies([("orders:*", overflowing(Overflow::Block(1_000)))]));
    let (slow, _) = readers(&mut world, &["orders:*"]);
    publish(&mut world, "orders:7", 0..11);
    let refused = |world: &World| {
        let published = world.publish_as("orders:7", Content::Text("{}"), Publishing::default());
        assert_eq!(published, Published::Refused(Lacking::Reader));
    };
    refused(&world);
    let other = world.connect();
    for name in ["news:*", "orders:7", "orders:?"] {
        other.subscribe(&[name]);
        world.settle();
        refused(&world);
        world.unsubscribe(other.key(), None);
        world.settle();
        refused(&world);
    }
    slow.resume();
    world.settle();
    publish(&mut world, "orders:7", 11..15);
    assert_eq!(slow.numbers("orders:7"), (0..15).collect::<Vec<_>>());
}

#[test]
fn who_waits_for_memory_is_told_when_there_is_some_again() {
    let mut config = policies([]);
    config.outbound.max_messages = 0;
    let mut world = World::new(Config { memory_budget_bytes: 40_000, ..config });
    let (slow, _) = readers(&mut world, &["news"]);
    let publishing = Publishing { waits: true, ..Publishing::default() };
    let text = numbered("news", 1, 3_000);
    let publish = |world: &mut World| {
        let published = world.publish_as("news", Content::Text(&text), publishing);
        world.settle();
        published
    };
    while publish(&mut world) == Published::Queued(None) {}
    assert_eq!(publish(&mut world), Published::Refused(Lacking::Memory));
    assert_eq!(world.replies(), []);
    slow.resume();
    world.settle();
    assert_eq!(world.replies(), [Reply::Room]);
    assert_eq!(publish(&mut world), Published::Queued(None));
}

#[test]
fn what_is_larger_than_all_memory_is_an_error_and_nobody_waits_for_it() {
    let world = World::new(Config { memory_budget_bytes: 40_000, ..settings() });
    let publish = |padding: usize| {
        let text = numbered("news", 1, padding);
        world.shared.publish("news", Content::Text(&text), Publishing::default(), world.now(), Uuid::nil)
    };
    assert_eq!(publish(39_000).expect("it fits"), Published::Queued(None));
    let error = publish(40_000).expect_err("it never would, and nobody has to listen for that");
    assert!(matches!(error, EngineError::TooLarge { limit: 40_000, .. }), "{error}");
}

#[test]
fn a_reader_that_would_miss_something_of_a_topic_that_disconnects_is_closed_at_once() {
    let mut world = World::new(policies([("orders", overflowing(Overflow::Disconnect))]));
    let (slow, healthy) = readers(&mut world, &["orders"]);
    publish(&mut world, "orders", 0..20);
    world.pass(8);
    assert_eq!((world.open(), value(&world.shared.metrics.slow_closed_total)), (1, 1));
    slow.resume();
    world.settle();
    assert_eq!((slow.close_code(), slow.told("gap").len()), (Some(4503), 0));
    assert_eq!(healthy.numbers("orders").len(), 20);
}

#[test]
fn the_newest_of_a_ring_and_of_each_key_wait() {
    let latest = overflowing(Overflow::Latest(Some("key".into())));
    let mut world = World::new(policies([("ring", overflowing(Overflow::Ring(2))), ("latest", latest)]));
    let (slow, _) = readers(&mut world, &["ring", "latest", "plain"]);
    publish(&mut world, "plain", 0..2);
    for n in 0..20 {
        publish(&mut world, "ring", n..n + 1);
        let text = format!(r#"{{"t":"latest","p":{{"key":"{}","n":{n}}}}}"#, n % 2);
        assert!(world.publish("latest", &text));
        world.settle();
    }
    slow.resume();
    world.settle();
    assert_eq!((slow.numbers("ring"), slow.numbers("latest")), (vec![18, 19], vec![18, 19]));
    let gaps = slow.told("gap");
    assert_eq!(
        (gaps.len(), gaps[0]["topic"].as_str(), gaps[0]["count"].as_u64()),
        (1, Some("ring"), Some(18))
    );
}

#[test]
fn a_miss_that_cannot_be_told_yet_is_told_later() {
    let mut world = World::new(policies([("ring", overflowing(Overflow::Ring(2)))]));
    let (slow, _) = readers(&mut world, &["ring", "plain"]);
    // What one turn brings may be more than the queue could be told anything behind.
    for n in 0..60 {
        assert!(world.publish_number("plain", n, 0) && world.publish_number("ring", n, 0));
    }
    world.settle();
    world.let_read(&slow, 1);
    assert!(slow.told("gap").is_empty());
    slow.resume();
    world.settle();
    assert_eq!((slow.numbers("plain").len(), slow.numbers("ring")), (60, vec![58, 59]));
    let missed = slow.told("gap").iter().filter_map(|gap| gap["count"].as_u64()).sum::<u64>();
    assert_eq!(missed, 58);
}

#[test]
fn what_has_waited_for_too_long_is_dropped_and_told_and_what_has_begun_to_leave_is_not() {
    let timed = Policy { deadline_ms: NonZeroU64::new(500), ..Policy::default() };
    let mut world = World::new(policies([("ticks", timed)]));
    let (slow, healthy) = readers(&mut world, &["ticks", "plain"]);
    publish(&mut world, "ticks", 0..4);
    publish(&mut world, "plain", 0..1);
    world.pass(600);
    publish(&mut world, "ticks", 4..5);
    slow.resume();
    world.settle();
    assert_eq!((slow.numbers("ticks"), slow.numbers("plain")), (vec![0, 4], vec![0]));
    let gap = &slow.told("gap")[0];
    assert_eq!((gap["count"].as_u64(), gap["reason"].as_str()), (Some(3), Some("expired")));
    assert_eq!(healthy.numbers("ticks").len(), 5);
    assert_eq!(world.shared.budget.used(), 0);
}

#[test]
fn of_a_sealed_connection_the_order_is_that_of_one_lane() {
    let mut world = World::new(policies([("high", lane(Priority::Critical)), ("low", lane(Priority::Low))]));
    let mut listener = crate::listener::Listener::new(world.knock_with("ann", "", "encryption=true"));
    world.settle();
    listener.listen();
    listener.hello();
    world.settle();
    for topic in ["high", "low"] {
        world.subscribe(listener.client.key(), topic);
    }
    world.settle();
    listener.listen();
    listener.client.stop_reading(1);
    publish(&mut world, "low", 0..3);
    listener.rotate();
    world.settle();
    publish(&mut world, "high", 3..6);
    listener.client.resume();
    world.settle();
    let told = listener.told().into_iter().map(|message| message.json()["p"]["n"].as_u64());
    assert_eq!(
        told.flatten().collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5],
        "what comes after the key is sealed with it"
    );
}

#[test]
fn a_queue_that_has_room_again_because_something_was_over_refuses_nothing_at_the_door() {
    let timed = Policy { deadline_ms: NonZeroU64::new(500), ..Policy::default() };
    let mut world = World::new(policies([("ticks", timed)]));
    let (slow, _) = readers(&mut world, &["ticks", "plain"]);
    publish(&mut world, "ticks", 0..10);
    let seats = Arc::clone(&world.shared);
    let is_refused = || seats.desks[0].seats.refuses(slow.key(), Priority::Normal);
    publish(&mut world, "plain", 0..1);
    assert!(is_refused());
    seats.desks[0].seats.refuse(slow.key());
    world.pass(600);
    publish(&mut world, "plain", 1..2);
    assert!(!is_refused());
    slow.resume();
    world.settle();
    assert_eq!((slow.numbers("ticks"), slow.numbers("plain")), (vec![0], vec![1]));
    let at_the_door = slow.told("gap").into_iter().find(|gap| gap["topic"].is_null());
    assert_eq!(at_the_door.map(|gap| gap["count"].clone()), Some(1.into()));
}

#[test]
fn the_answer_to_who_leaves_a_topic_stands_behind_its_publications_in_their_lane() {
    let mut world = World::new(policies([("low", lane(Priority::Low)), ("high", lane(Priority::High))]));
    let (slow, _) = readers(&mut world, &["low", "high", "plain"]);
    publish(&mut world, "plain", 0..1);
    publish(&mut world, "low", 0..2);
    publish(&mut world, "high", 0..2);
    let request = json!({"action": "unsubscribe", "topics": ["low", "none", "high"]});
    slow.text(&json!({"t": "subscription_update", "p": request}).to_string());
    world.settle();
    slow.resume();
    world.settle();
    let expected = [
        "subscription_update",
        "subscription_update",
        "subscription_update",
        "plain",
        "high",
        "high",
        "subscription_update",
        "low",
        "low",
        "subscription_update",
    ];
    assert_eq!(order(&slow, &["low", "high", "plain", "subscription_update"]), expected);
    let told = slow.told("subscription_update");
    let named = told.iter().skip(3).map(|update| (&update["success_topics"], &update["failed_topics"]));
    let (high, low, none) = (json!(["high"]), json!(["low"]), json!(["none"]));
    assert_eq!(named.collect::<Vec<_>>(), [(&high, &json!([])), (&low, &none)]);
}
