//! Verifies that logs keep their bounds, whoever fills them, and that connections catch up with them in order.

use crate::application::numbered;
use crate::listener::Listener;
use crate::world::{World, settings, value};
use serde_json::{Value, json};
use uuid::Uuid;
use wse_engine::answer::Start;
use wse_engine::config::{OutboundLimits, Recovery};
use wse_engine::content::Content;
use wse_engine::logs::Logs;
use wse_engine::publishing::{Published, Publishing};
use wse_engine::recovery::Position;
use wse_engine::{Config, Reply};
use wse_protocol::codes::close;
use wse_protocol::rules::Rules;

fn logged(recovery: Recovery) -> Config {
    Config { recovery: Some(recovery), rate: None, ..settings() }
}

fn logs(world: &World) -> &Logs {
    world.shared.topics.logs().expect("there are logs")
}

fn ask(listener: &Listener, payload: &Value) {
    listener.client.text(&json!({"t": "subscription_update", "p": payload}).to_string());
}

fn epoch(world: &World, topic: &str) -> String {
    let topic = world.shared.topics.get(topic).expect("it is known");
    let ring = topic.log().expect("it has a log").lock();
    format!("{:08x}", ring.position(ring.head()).epoch)
}

#[test]
fn what_waits_for_a_key_and_what_did_not_fit_behind_it_come_in_order() {
    let outbound = OutboundLimits { max_messages: 10, ..OutboundLimits::default() };
    let mut world = World::new(Config { outbound, ..logged(Recovery::default()) });
    let mut listener = Listener::knock(&mut world, "encryption=true&topics=news");
    for n in 1..=30 {
        assert!(world.publish_number("news", n, 0));
        world.settle();
    }
    listener.hello();
    world.settle();
    assert_eq!(listener.numbers("news"), (1..=30).collect::<Vec<_>>());
}

#[test]
fn an_answer_stands_behind_what_waits_for_the_key() {
    for is_recovery in [false, true] {
        let mut world = World::new(logged(Recovery::default()));
        let mut listener = Listener::knock(&mut world, "encryption=true&topics=news");
        for n in 1..=3 {
            assert!(world.publish_number("news", n, 0));
        }
        world.settle();
        let place = json!({"news": {"epoch": epoch(&world, "news"), "offset": 0}});
        let recovery = if is_recovery { place } else { json!({}) };
        ask(
            &listener,
            &json!({"action": "subscribe", "topics": ["news"], "recover": true, "recovery": recovery}),
        );
        world.settle();
        listener.hello();
        world.settle();
        listener.listen();
        let seen = listener.messages.iter().map(|message| message.json()).filter_map(|json| {
            let offset = if json["t"] == "subscription_update" {
                json["p"]["recovery"]["news"]["offset"].clone()
            } else {
                json["o"].clone()
            };
            offset.as_u64()
        });
        assert_eq!(seen.collect::<Vec<_>>(), [1, 2, 3, 3]);
    }
}

#[test]
fn what_has_had_its_time_goes_however_often_a_topic_is_published_to() {
    let mut world = World::new(logged(Recovery { ttl_ms: 10_000, ..Recovery::default() }));
    for _ in 0..3 {
        for n in 0..1_000 {
            assert!(world.publish_number(&format!("t{n}"), n, 1_000));
        }
        world.settle();
        assert!(world.shared.budget.used() > 1_000_000);
        world.pass(60_000);
        assert_eq!(logs(&world).len(), 1_000, "where each topic stands is still known");
        assert!(world.shared.budget.used() < 1_000_000, "nothing is left of any publication");
    }
}

#[test]
fn what_logs_weigh_beside_their_publications_is_a_part_of_the_memory() {
    let mut world = World::new(logged(Recovery { ttl_ms: 10_000, ..Recovery::default() }));
    let is_held = |world: &World| assert_eq!(world.shared.budget.used(), logs(world).bytes());
    for n in 0..1_000 {
        let (name, key) = (format!("t{}", n % 10), n.to_string());
        let publishing = Publishing { key: Some(&key), ..Publishing::default() };
        let published = world.publish_as(&name, Content::Text(&numbered(&name, n, 0)), publishing);
        assert!(matches!(published, Published::Queued(Some(_))));
        world.settle();
        is_held(&world);
    }
    for rest in [60_000, 300_000] {
        world.pass(rest);
        is_held(&world);
        assert!(logs(&world).bytes() > 0, "where each topic stands is still known");
    }
    while logs(&world).lose_oldest(&world.shared.topics) {}
    assert_eq!((logs(&world).bytes(), world.shared.budget.used()), (0, 0));
}

#[test]
fn the_last_publication_of_a_topic_is_kept_however_few_slots_it_has() {
    for slots in [0, 1] {
        let mut world = World::new(logged(Recovery { slots, ..Recovery::default() }));
        (1..=3).for_each(|n| assert!(world.publish_number("news", n, 0)));
        let listener = Listener::connect(&mut world, "");
        ask(&listener, &json!({"action": "subscribe", "topics": ["news"], "history": 9}));
        world.settle();
        assert_eq!(listener.client.numbers("news"), [3]);
    }
}

#[test]
fn nothing_is_kept_of_a_topic_whose_publications_have_no_place_in_a_log() {
    let world = World::new(logged(Recovery::default()));
    for n in 0..1_000 {
        let publish = |text, key| {
            let publishing = Publishing { key, ..Publishing::default() };
            let name = format!("t{n}");
            world.shared.publish(&name, Content::Text(text), publishing, world.now(), || Uuid::from_u128(1))
        };
        assert!(publish(r#"{"t":"x","o":1}"#, None).is_err());
        assert!(publish("text", Some("a key")).is_err(), "text has no position that a key could name");
        assert!(publish("text", None).is_ok());
    }
    assert_eq!((world.shared.topics.len(), logs(&world).bytes()), (0, 0));
}

#[test]
fn who_only_subscribes_takes_nothing_from_the_logs_of_others() {
    let mut world = World::new(logged(Recovery { budget_bytes: 64 << 10, ..Recovery::default() }));
    assert!(world.publish_number("news", 1, 0));
    let before = epoch(&world, "news");
    let clients = (0..2).map(|_| world.connect()).collect::<Vec<_>>();
    for (c, client) in clients.iter().enumerate() {
        let names = (0..1_024).map(|n| format!("nobody:{c}:{n}")).collect::<Vec<_>>();
        client.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>());
        world.settle();
    }
    assert!(world.publish_number("news", 2, 0));
    assert_eq!(epoch(&world, "news"), before);
}

#[test]
fn what_has_no_room_without_logs_either_costs_none_of_them() {
    let world = World::new(Config { memory_budget_bytes: 500_000, ..logged(Recovery::default()) });
    for n in 0..10 {
        assert!(world.publish_number(&format!("t{n}"), n, 0));
    }
    let _others = world.shared.budget.charge(300_000).expect("there is room for it");
    let published =
        world.publish_as("other", Content::Text(&numbered("x", 1, 300_000)), Publishing::default());
    assert!(matches!(published, Published::Refused(_)));
    assert_eq!(logs(&world).len(), 10);
}

#[test]
fn logs_give_way_to_queues_the_one_used_longest_ago_first_and_clients_are_told() {
    let recovery = Recovery { topics: vec!["log:*".into()], ..Recovery::default() };
    let outbound = OutboundLimits { max_messages: 4, max_bytes: 0, slow_timeout_ms: 0 };
    let memory_budget_bytes = 400_000;
    let mut world = World::new(Config { memory_budget_bytes, outbound, ..logged(recovery) });
    let behind = Listener::connect_to(&mut world, "", "log:0");
    let slow = Listener::connect_to(&mut world, "", "plain");
    behind.client.stop_reading(1_000);
    slow.client.stop_reading(1_000);
    for topic in 0..10 {
        for n in 1..=10 {
            assert!(world.publish_number(&format!("log:{topic}"), n, 2_000));
            world.settle();
        }
    }
    let first = json!({"epoch": epoch(&world, "log:0"), "offset": 1});
    let last = json!({"epoch": epoch(&world, "log:9"), "offset": 1});
    assert_eq!(logs(&world).len(), 10);
    // What waits for the slow one needs memory that logs have.
    for n in 1..=4 {
        assert!(world.publish_number("plain", n, 60_000), "there is room for it");
        world.settle();
        assert!(world.shared.budget.used() <= memory_budget_bytes);
    }
    let left = logs(&world).len();
    assert!((1..10).contains(&left), "{left} logs are left");
    behind.client.resume();
    world.settle();
    let numbers = behind.client.numbers("log:0");
    let [gap] = &behind.client.told("gap")[..] else { panic!("it is told once") };
    let from = numbers.len() as u64 + 1;
    assert_eq!(numbers, (1..from).collect::<Vec<_>>());
    assert_eq!(gap, &json!({"topic": "log:0", "from": from, "to": 10, "reason": "slow"}));
    let back = Listener::connect(&mut world, "");
    let recovery = json!({"log:0": first, "log:9": last});
    ask(
        &back,
        &json!({"action": "subscribe", "topics": ["log:0", "log:9"], "recover": true, "recovery": recovery}),
    );
    world.settle();
    let told =
        back.client.told("subscription_update").into_iter().map(|mut update| update["recovery"].take());
    let stood = |topic: &str| told.clone().find_map(|stands| stands.get(topic).cloned()).expect("it is told");
    assert_eq!((&stood("log:0")["recovered"], &stood("log:0")["count"]), (&json!(false), &json!(0)));
    assert_eq!((&stood("log:9")["recovered"], &stood("log:9")["count"]), (&json!(true), &json!(9)));
    slow.client.resume();
    world.settle();
    assert_eq!(slow.client.numbers("plain"), [1, 2, 3, 4], "the queue had it");
}

#[test]
fn what_is_denied_while_it_is_sent_again_is_sent_no_further() {
    let mut world = World::new(logged(Recovery::default()));
    for n in 1..=100 {
        assert!(world.publish_number("news", n, 2_000) && world.publish_number("other", n, 0));
    }
    let listener = Listener::connect(&mut world, "");
    listener.client.stop_reading(20_000);
    let place = |topic: &str| json!({"epoch": epoch(&world, topic), "offset": 0});
    let recovery = json!({"news": place("news"), "other": place("other")});
    ask(
        &listener,
        &json!({"action": "subscribe", "topics": ["news", "other"], "recover": true, "recovery": recovery}),
    );
    world.settle();
    assert!(listener.client.told("subscription_update").is_empty(), "it is under way");
    world.shared.set_rules(Rules { allow: vec!["*".into()], deny: vec!["news".into()] });
    world.settle();
    listener.client.resume();
    world.settle();
    let got = listener.client.numbers("news");
    assert_eq!(got, (1..=got.len() as u64).collect::<Vec<_>>());
    assert!((1..90).contains(&got.len()), "{} were sent", got.len());
    let envelopes = listener.client.envelopes();
    let is_end =
        |one: &Value| one["p"]["action"] == "unsubscribe" && one["p"]["success_topics"] == json!(["news"]);
    let end = envelopes.iter().position(is_end).expect("it is told");
    assert!(envelopes[end..].iter().all(|one| one["tp"] != "news"), "nothing follows");
    let told = listener.client.told("subscription_update");
    let answer = told.iter().find(|update| update["action"] == "subscribe").expect("it is answered");
    assert_eq!((&answer["success_topics"], &answer["failed_topics"]), (&json!(["other"]), &json!(["news"])));
    assert_eq!(answer["recovery"]["other"]["recovered"], json!(true));
    assert_eq!(listener.client.numbers("other"), (1..=100).collect::<Vec<_>>());
}

#[test]
fn who_reads_nothing_ends_although_a_log_brings_what_it_misses() {
    let outbound = OutboundLimits { slow_timeout_ms: 2_000, ..OutboundLimits::default() };
    let mut world = World::new(Config { outbound, ..logged(Recovery::default()) });
    let listener = Listener::connect_to(&mut world, "", "news");
    listener.client.stop_reading(1_000);
    for n in 0..100 {
        assert!(world.publish_number("news", n, 2_000));
        world.settle();
    }
    let history = json!({"action": "subscribe", "topics": ["other"], "history": 1});
    assert!(world.publish_number("other", 1, 2_000));
    ask(&listener, &history);
    world.pass(2_500);
    listener.client.resume();
    world.settle();
    assert_eq!(listener.client.close_code(), Some(close::SLOW));
    assert_eq!(value(&world.shared.metrics.slow_closed_total), 1);
}

#[test]
fn what_is_refused_is_answered_although_the_rest_waits() {
    let mut world = World::new(logged(Recovery::default()));
    assert!(world.publish_number("news", 1, 70_000));
    assert!(world.publish_number("news", 2, 70_000));
    let listener = Listener::connect(&mut world, "");
    listener.client.stop_reading(100_000);
    ask(&listener, &json!({"action": "subscribe", "topics": ["news", "\u{1}"], "history": 2}));
    world.settle();
    listener.client.kernel().drain(90_000);
    let told = listener.client.told("subscription_update");
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["success_topics"], &told[0]["failed_topics"]), (&json!([]), &json!(["\u{1}"])));
    listener.client.resume();
    world.settle();
    let told = listener.client.told("subscription_update");
    assert_eq!(told[1]["recovery"]["news"]["count"], json!(2));
}

#[test]
fn a_thousand_topics_are_left_at_once_by_who_is_behind_in_all_of_them() {
    let mut world = World::new(logged(Recovery::default()));
    let names = (0..1_000).map(|n| format!("public:{n}")).collect::<Vec<_>>();
    for name in &names {
        assert!(world.publish_number(name, 1, 1_000));
    }
    let listener = Listener::knock(&mut world, "");
    listener.client.stop_reading(1_000);
    ask(&listener, &json!({"action": "subscribe", "topics": names, "history": 1}));
    world.settle();
    ask(&listener, &json!({"action": "unsubscribe", "topics": names}));
    world.settle();
    listener.client.resume();
    world.settle();
    let told = listener.client.told("subscription_update");
    let left = told.iter().find(|update| update["action"] == "unsubscribe").expect("it was answered");
    assert_eq!(left["success_topics"].as_array().map(Vec::len), Some(1_000));
    assert_eq!(world.shared.topics.subscribers("public:0"), 0);
}

/// A queue of ten messages before the log.
fn short_queue() -> Config {
    let outbound = OutboundLimits { max_messages: 10, ..OutboundLimits::default() };
    Config { outbound, ..logged(Recovery::default()) }
}

fn publish(world: &mut World, topic: &str, numbers: impl Iterator<Item = u64>) {
    for n in numbers {
        assert!(world.publish_number(topic, n, 0));
        world.settle();
    }
}

/// Asks for `news` from behind `offset` of its epoch.
fn ask_behind(world: &World, listener: &Listener, offset: u64) {
    let place = json!({"news": {"epoch": epoch(world, "news"), "offset": offset}});
    ask(listener, &json!({"action": "subscribe", "topics": ["news"], "recover": true, "recovery": place}));
}

/// What became of the last request for `news`.
fn answered(listener: &Listener) -> Value {
    let told = listener.client.told("subscription_update").pop().expect("it was answered");
    told["recovery"]["news"].clone()
}

#[test]
fn who_reads_a_topic_through_a_glob_and_asks_for_it_gets_all_behind_its_position() {
    let mut world = World::new(short_queue());
    publish(&mut world, "news", 1..=30);
    let mut listener = Listener::connect_to(&mut world, "", "ne*");
    listener.client.stop_reading(1);
    publish(&mut world, "news", 31..=100);
    ask_behind(&world, &listener, 20);
    world.settle();
    listener.client.resume();
    world.settle();
    assert!(listener.numbers("news").ends_with(&(21..=100).collect::<Vec<_>>()));
    let answer = answered(&listener);
    assert_eq!((&answer["recovered"], &answer["count"]), (&json!(true), &json!(80)));
}

#[test]
fn what_a_glob_brought_before_the_key_is_no_word_for_what_was_before() {
    for is_history in [false, true] {
        let mut world = World::new(logged(Recovery::default()));
        publish(&mut world, "news", 1..=49);
        let mut listener = Listener::knock(&mut world, "encryption=true&topics=ne*");
        publish(&mut world, "news", 50..=60);
        match is_history {
            true => ask(&listener, &json!({"action": "subscribe", "topics": ["news"], "history": 40})),
            false => ask_behind(&world, &listener, 20),
        }
        world.settle();
        listener.hello();
        world.settle();
        assert_eq!(listener.numbers("news"), (21..=60).collect::<Vec<_>>());
        assert_eq!(answered(&listener)["count"], json!(40));
    }
}

#[test]
fn the_hole_that_a_lost_log_leaves_is_told_before_the_next_epoch() {
    let mut world = World::new(short_queue());
    let mut listener = Listener::connect_to(&mut world, "", "ne*");
    listener.client.stop_reading(1);
    publish(&mut world, "news", 1..=60);
    logs(&world).lose_oldest(&world.shared.topics);
    assert!(!world.has_topic("news"), "nobody holds it by its name");
    publish(&mut world, "news", 61..=63);
    // It may take the topic by its name meanwhile, without a place in it.
    ask(&listener, &json!({"action": "subscribe", "topics": ["news"]}));
    world.settle();
    listener.client.resume();
    world.settle();
    listener.listen();
    let stamps = listener.messages.iter().map(|message| message.json()).filter_map(|json| {
        let gap = &json["p"];
        let offset = if json["t"] == "gap" { (&gap["from"], &gap["to"]) } else { (&json["o"], &json["o"]) };
        offset.0.as_u64().zip(offset.1.as_u64())
    });
    let expected = (1..=10).map(|o| (o, o)).chain([(11, 60), (1, 1), (2, 2), (3, 3)]);
    assert_eq!(stamps.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

/// What the application was told of its requests for one topic: whether it was recovered.
fn subscribed(world: &World) -> Vec<(u32, Option<bool>)> {
    let replies = world.replies().into_iter().filter_map(|reply| match reply {
        Reply::Subscribed { request, stands, .. } => Some((request, stands[0].recovered)),
        _ => None,
    });
    replies.collect()
}

#[test]
fn a_replay_for_the_application_that_is_lost_is_told_to_the_client() {
    let mut world = World::new(short_queue());
    let listener = Listener::connect(&mut world, "");
    publish(&mut world, "news", 1..=100);
    listener.client.stop_reading(1);
    let epoch = u32::from_str_radix(&epoch(&world, "news"), 16).expect("hex");
    let request = world
        .subscribe_from(listener.client.key(), &[("news", Start::Behind(Position { epoch, offset: 0 }))]);
    world.settle();
    logs(&world).lose_oldest(&world.shared.topics);
    listener.client.resume();
    world.settle();
    let got = listener.client.numbers("news").len() as u64;
    let gap = json!({"topic": "news", "from": got + 1, "to": 100, "reason": "slow"});
    assert_eq!(listener.client.told("gap"), [gap]);
    assert_eq!(subscribed(&world), [(request, Some(false))]);
}

#[test]
fn a_stale_position_of_the_application_costs_a_slow_client_nothing() {
    let mut world = World::new(short_queue());
    let mut listener = Listener::connect_to(&mut world, "", "news");
    listener.client.stop_reading(1);
    publish(&mut world, "news", 1..=60);
    let stale = Position { epoch: 1, offset: 5 };
    let request = world.subscribe_from(listener.client.key(), &[("news", Start::Behind(stale))]);
    world.settle();
    listener.client.resume();
    world.settle();
    assert_eq!(listener.numbers("news"), (1..=60).collect::<Vec<_>>());
    assert_eq!(subscribed(&world), [(request, Some(false))]);
}

#[test]
fn the_application_is_told_when_nobody_waits_for_its_replay() {
    let mut world = World::new(short_queue());
    let mut listener = Listener::connect(&mut world, "");
    publish(&mut world, "news", 1..=60);
    let epoch = u32::from_str_radix(&epoch(&world, "news"), 16).expect("hex");
    for _ in 0..66 {
        let start = Start::Behind(Position { epoch, offset: 0 });
        world.subscribe_from(listener.client.key(), &[("news", start)]);
    }
    world.settle();
    let replayed = (1..=64).map(|request| (request, Some(true)));
    let expected = [(65, Some(false)), (66, Some(false))].into_iter().chain(replayed);
    assert_eq!(subscribed(&world), expected.collect::<Vec<_>>(), "no more than 64 wait");
    assert_eq!(listener.numbers("news"), (1..=60).collect::<Vec<_>>());
}
