//! Verifies who is said to be in a topic: to its holders before their reply and in one order, to the application, and
//! to who asks; and that nobody stays who is gone.

use crate::client::Client;
use crate::random::for_each_seed;
use crate::world::{World, settings, value};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wse_engine::Config;
use wse_engine::config::Recovery;
use wse_engine::inbound::Kind;
use wse_engine::policy::{Overflow, Policies, Policy};
use wse_engine::presence::{LARGE, PresenceLimits, Tab};
use wse_engine::rate_limit::Rate;
use wse_protocol::rules::Rules;

fn present() -> Config {
    let presence = Some(PresenceLimits::default());
    Config { presence, max_connections: 512, max_handshakes: 512, max_connections_per_user: 0, ..settings() }
}

fn attend(client: &Client, topics: &[&str], presence: &Value) {
    let payload = json!({ "action": "subscribe", "topics": topics, "presence": presence });
    client.text(&json!({ "t": "subscription_update", "p": payload }).to_string());
}

fn leave(client: &Client, topic: &str) {
    let payload = json!({ "action": "unsubscribe", "topics": [topic] });
    client.text(&json!({ "t": "subscription_update", "p": payload }).to_string());
}

/// A connection of `user` that is present in `topic`.
fn connect_to(world: &mut World, user: &str, topic: &str, presence: &Value) -> Client {
    let client = world.connect_as(user);
    attend(&client, &[topic], presence);
    world.settle();
    client
}

/// Types of the messages, behind the greeting.
fn types(client: &Client) -> Vec<String> {
    let types = client.envelopes().into_iter().skip(1);
    types.map(|envelope| envelope["t"].as_str().expect("a type").to_owned()).collect()
}

/// What the application heard of presence: the event, the user, and whether the numbers grow.
fn events(world: &World) -> Vec<(Kind, String)> {
    let mut last = 0;
    let events = world.take_events().into_iter();
    let events = events.filter(|event| matches!(event.kind, Kind::PresenceJoin | Kind::PresenceLeave));
    let read = events.map(|event| {
        let json: Value = serde_json::from_slice(&event.payload).expect("JSON");
        let revision = json["revision"].as_u64().expect("a number");
        assert!(std::mem::replace(&mut last, revision) < revision);
        (event.kind, json["userId"].as_str().expect("a user").to_owned())
    });
    read.collect()
}

/// Whom the registry has in `topic`, with their data.
fn there(world: &World, topic: &str) -> BTreeMap<String, Value> {
    let Some(topic) = world.shared.topics.get(topic) else { return BTreeMap::new() };
    let Some(members) = topic.present() else { return BTreeMap::new() };
    let page = members.lock().page(None, usize::MAX, usize::MAX).members.into_iter();
    page.map(|(user, data, _)| (user.to_string(), serde_json::from_str(data.get()).expect("JSON"))).collect()
}

/// What a holder believes, from everything that it was told of `topic`.
fn view(client: &Client, topic: &str) -> BTreeMap<String, Value> {
    let mut view = BTreeMap::new();
    for envelope in client.envelopes() {
        hear(&mut view, &envelope, topic);
    }
    view
}

fn hear(view: &mut BTreeMap<String, Value>, envelope: &Value, topic: &str) {
    let payload = &envelope["p"];
    let user = |member: &Value| member["user_id"].as_str().expect("a user").to_owned();
    let mut put = |member: &Value| view.insert(user(member), member["data"].clone());
    // Version 1 does not name the topic.
    let is_here = payload["topic"] == topic || envelope["v"] == 1;
    match envelope["t"].as_str() {
        Some("presence_join" | "presence_update") if is_here => drop(put(payload)),
        Some("presence_response") if is_here => {
            payload["members"].as_array().expect("a list").iter().for_each(|member| drop(put(member)));
        }
        Some("presence_leave") if is_here => drop(view.remove(&user(payload))),
        Some("presence_delta") if is_here => {
            for member in
                payload["joined"].as_array().into_iter().chain(payload["updated"].as_array()).flatten()
            {
                put(member);
            }
            for user in payload["left"].as_array().expect("a list") {
                view.remove(user.as_str().expect("a user"));
            }
        }
        Some("batch") => {
            payload["messages"]
                .as_array()
                .expect("a list")
                .iter()
                .for_each(|message| hear(view, message, topic));
        }
        _ => {}
    }
}

#[test]
fn who_comes_hears_of_it_before_the_reply_and_everybody_else_hears_it_too() {
    let mut world = World::new(present());
    let other = world.connect_to("news");
    let ann = connect_to(&mut world, "ann", "news", &json!({ "status": "here" }));
    assert_eq!(types(&ann), ["presence_join", "subscription_update"]);
    let expected = json!({ "user_id": "ann", "data": { "status": "here" }, "topic": "news" });
    assert_eq!(other.told("presence_join"), std::slice::from_ref(&expected));
    assert_eq!(ann.told("presence_join"), std::slice::from_ref(&expected));
    leave(&ann, "news");
    world.settle();
    assert_eq!(other.told("presence_leave"), [expected]);
    assert!(ann.told("presence_leave").is_empty(), "it holds the topic no more");
    assert_eq!(
        events(&world),
        [(Kind::PresenceJoin, "ann".to_owned()), (Kind::PresenceLeave, "ann".to_owned())]
    );
}

#[test]
fn a_change_keeps_its_place_among_the_publications() {
    let mut world = World::new(present());
    let other = world.connect_to("news");
    let ann = world.connect_as("ann");
    assert!(world.publish_number("news", 1, 0));
    world.settle();
    attend(&ann, &["news"], &json!({}));
    world.settle();
    assert!(world.publish_number("news", 2, 0));
    world.settle();
    assert_eq!(types(&other), ["subscription_update", "news", "presence_join", "news"]);
    let envelopes = other.envelopes();
    assert!(
        envelopes.iter().skip(1).all(|envelope| envelope.get("o").is_none() && envelope["id"].is_string())
    );
}

#[test]
fn five_tabs_are_one_user() {
    let mut world = World::new(present());
    let other = world.connect_to("news");
    let tabs = (0..5).map(|_| connect_to(&mut world, "ann", "news", &json!({ "n": 1 }))).collect::<Vec<_>>();
    assert_eq!(other.told("presence_join").len(), 1);
    attend(&tabs[3], &["news"], &json!({ "n": 2 }));
    world.settle();
    assert_eq!(other.told("presence_update")[0]["data"], json!({ "n": 2 }), "the last one counts");
    for tab in &tabs[..4] {
        tab.kernel().reset();
        world.settle();
    }
    assert!(other.told("presence_leave").is_empty());
    assert_eq!(there(&world, "news")["ann"], json!({ "n": 2 }));
    tabs[4].kernel().reset();
    world.settle();
    assert_eq!(other.told("presence_leave").len(), 1);
    assert_eq!(events(&world).len(), 2);
}

#[test]
fn an_update_reaches_every_topic_where_the_connection_is_present() {
    let mut world = World::new(present());
    let other = world.connect();
    other.subscribe(&["a", "b", "c"]);
    let ann = world.connect_as("ann");
    attend(&ann, &["a", "b"], &json!({ "n": 1 }));
    ann.subscribe(&["c"]);
    world.settle();
    assert_eq!(world.update_presence(&ann, r#"{"n":2}"#), 2);
    let topics = other.told("presence_update").into_iter().map(|update| update["topic"].clone());
    assert_eq!(topics.collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(world.update_presence(&ann, r#"{"n":2}"#), 2);
    assert_eq!(other.told("presence_update").len(), 2, "nothing is said of what is the same");
    assert_eq!(there(&world, "a")["ann"], json!({ "n": 2 }));
    assert_eq!(world.update_presence(&other, r#"{"n":3}"#), 0);
}

#[test]
fn who_is_nobody_is_nowhere_and_a_server_without_presence_ignores_it() {
    let mut world = World::new(present());
    let nobody = world.connect();
    attend(&nobody, &["news"], &json!({}));
    world.settle();
    assert_eq!(types(&nobody), ["subscription_update"]);
    let ann = world.connect_as("ann");
    attend(&ann, &["news"], &json!(["no object"]));
    attend(&ann, &["news"], &Value::Null);
    world.settle();
    assert_eq!(types(&ann), ["error", "subscription_update"]);
    assert_eq!(ann.errors(), ["INVALID_SUBSCRIPTION"]);
    assert!(there(&world, "news").is_empty());

    let mut world = World::new(settings());
    let ann = connect_to(&mut world, "ann", "news", &json!("whatever"));
    assert_eq!(types(&ann), ["subscription_update"]);
    ann.text(&json!({ "t": "presence_request", "p": { "topic": "news" } }).to_string());
    world.settle();
    let nobody = json!({ "topic": "news", "members": [], "next": null, "total": 0 });
    assert_eq!(ann.told("presence_response"), [nobody]);
    assert_eq!(world.next_due().map(|due| due < 26_000), Some(true), "only the heartbeat is due");
}

#[test]
fn who_holds_a_glob_hears_once_of_every_topic_that_it_matches_and_is_present_in_none() {
    let mut world = World::new(present());
    let ben = world.connect_as("ben");
    for glob in ["room:*", "*:1"] {
        world.subscribe(ben.key(), glob);
    }
    world.settle();
    let ann = connect_to(&mut world, "ann", "room:1", &json!({ "n": 1 }));
    assert_eq!(ben.told("presence_join").len(), 1);
    let here = page(&mut world, &ben, &json!({ "topic": "room:1" }));
    assert_eq!(here["p"]["members"], json!([{ "user_id": "ann", "data": { "n": 1 } }]));
    assert_eq!(page(&mut world, &ben, &json!({ "topic": "hall:2" }))["p"]["code"], "SUBSCRIPTION_FAILED");
    attend(&ben, &["room:1"], &json!({}));
    world.settle();
    assert_eq!(ben.told("presence_join").len(), 2, "once, however it holds the topic");
    ann.kernel().reset();
    world.settle();
    assert_eq!(ben.told("presence_leave").len(), 1);
}

#[test]
fn a_rule_that_takes_the_topic_takes_the_user_from_it() {
    let mut world = World::new(present());
    let other = world.connect_to("news");
    let ann = connect_to(&mut world, "ann", "secret", &json!({}));
    attend(&ann, &["news"], &json!({}));
    let bob = connect_to(&mut world, "bob", "secret", &json!({}));
    world.shared.set_rules(Rules { allow: vec!["news".into()], deny: vec![] });
    world.settle();
    assert!(there(&world, "secret").is_empty());
    assert_eq!(there(&world, "news").keys().collect::<Vec<_>>(), ["ann"]);
    assert!(other.told("presence_leave").is_empty());
    let left = events(&world).into_iter().filter(|(kind, _)| *kind == Kind::PresenceLeave);
    assert_eq!(left.map(|(_, user)| user).collect::<Vec<_>>(), ["ann", "bob"]);
    drop(bob);
}

#[test]
fn beside_a_log_who_comes_back_hears_of_itself_and_of_all_it_missed_before_the_reply() {
    let mut world = World::new(Config { recovery: Some(Recovery::default()), ..present() });
    let other = world.connect_to("news");
    (1..=300).for_each(|n| assert!(world.publish_number("news", n, 0)));
    world.settle();
    let ann = world.connect_as("ann");
    let stamp = &other.envelopes()[10];
    let payload = json!({
        "action": "subscribe", "topics": ["news"], "presence": {}, "recover": true,
        "recovery": { "news": { "epoch": stamp["e"], "offset": 100 } },
    });
    ann.text(&json!({ "t": "subscription_update", "p": payload }).to_string());
    world.settle();
    assert_eq!(ann.numbers("news"), (101..=300).collect::<Vec<_>>());
    let position = &ann.told("subscription_update")[0]["recovery"]["news"];
    assert_eq!((&position["offset"], &position["recovered"]), (&json!(300), &json!(true)));
    assert_eq!(types(&ann).last().map(String::as_str), Some("subscription_update"));
    assert_eq!(ann.told("presence_join").len(), 1);
    assert!(world.publish_number("news", 301, 0));
    world.settle();
    assert_eq!(other.envelopes().last().expect("the last one")["o"], 301, "presence takes no offset");
}

#[test]
fn who_does_not_read_is_told_of_the_gap_and_asks_anew() {
    for recovery in [None, Some(Recovery::default())] {
        let mut config = Config { recovery, ..present() };
        config.outbound.max_messages = 10;
        let mut world = World::new(config);
        let slow = world.connect_to("news");
        let users = (0..40).map(|n| format!("user-{n}"));
        let users = users.map(|user| connect_to(&mut world, &user, "news", &json!({}))).collect::<Vec<_>>();
        slow.stop_reading(30);
        for (n, client) in users[..30].iter().enumerate() {
            client.kernel().reset();
            assert!(world.publish_number("news", n as u64, 0));
            world.settle();
        }
        slow.resume();
        world.settle();
        assert_eq!(slow.told("gap")[0]["topic"], "news");
        assert_ne!(view(&slow, "news"), there(&world, "news"));
        let answer = page(&mut world, &slow, &json!({ "topic": "news" }));
        let mut anew = BTreeMap::new();
        hear(&mut anew, &answer, "news");
        assert_eq!(anew, there(&world, "news"));
    }
}

#[test]
fn what_cannot_be_tracked_is_named_and_the_subscription_stands() {
    let limits = PresenceLimits { max_data_bytes: 16, max_members: 1 };
    let mut world = World::new(Config { presence: Some(limits), ..present() });
    let ann = connect_to(&mut world, "ann", "news", &json!({ "text": "far too much" }));
    assert_eq!(types(&ann), ["error", "subscription_update"]);
    let error = &ann.told("error")[0];
    assert_eq!((&error["code"], &error["topics"]), (&json!("PRESENCE_TOO_LARGE"), &json!(["news"])));
    assert_eq!(error["recoverable"], true);
    assert_eq!(ann.told("subscription_update")[0]["success_topics"], json!(["news"]));
    connect_to(&mut world, "ann", "news", &json!({}));
    let bob = connect_to(&mut world, "bob", "news", &json!({}));
    assert_eq!((bob.errors(), there(&world, "news").len()), (vec!["OVERLOADED".to_owned()], 1));
    assert_eq!(value(&world.shared.metrics.presence_refused_total), 2);
}

#[test]
fn members_are_held_against_the_memory_budget() {
    let mut world = World::new(Config { memory_budget_bytes: 12 << 10, ..present() });
    let data = json!({ "text": "x".repeat(4_000) });
    let ann = connect_to(&mut world, "ann", "a", &data);
    attend(&ann, &["b", "c", "d"], &data);
    world.settle();
    assert_eq!(ann.errors(), ["OVERLOADED"]);
    let bytes = world.shared.presence.bytes.load(Relaxed);
    assert!(bytes > 4_000 && bytes == world.shared.budget.used(), "{bytes}");
    ann.kernel().reset();
    world.pass(1_100);
    world.assert_nothing_is_left(&["ann"]);
    assert_eq!(world.shared.presence.bytes.load(Relaxed), 0);
}

#[test]
fn who_changes_all_the_time_is_told_of_once_a_second() {
    let mut world = World::new(present());
    let other = world.connect_to("news");
    let ann = connect_to(&mut world, "ann", "news", &json!({ "n": 0 }));
    let mut n = 0;
    for second in 1..=4 {
        for _ in 0..100 {
            n += 1;
            attend(&ann, &["news"], &json!({ "n": n }));
            world.settle();
        }
        assert_eq!(other.told("presence_update").len(), second);
        let bob = connect_to(&mut world, &format!("bob-{second}"), "news", &json!({}));
        assert_eq!(other.told("presence_join").len(), 1 + second, "nobody else waits for it");
        drop(bob);
        world.pass(1_000);
        assert_eq!(view(&other, "news"), there(&world, "news"));
    }
    assert_eq!(other.told("presence_update").len(), 5);
    assert_eq!(there(&world, "news")["ann"], json!({ "n": 400 }));
    attend(&ann, &["news"], &json!({ "n": "last" }));
    leave(&ann, "news");
    world.settle();
    assert_eq!(other.told("presence_leave").len(), 1, "who leaves is gone at once");
    world.pass(2_100);
    assert_eq!(other.told("presence_update").len(), 5, "and nothing is said of who is gone");
    attend(&ann, &["news"], &json!({ "n": 1 }));
    attend(&ann, &["news"], &json!({ "n": 2 }));
    world.settle();
    assert_eq!(other.told("presence_update").len(), 6, "the first is told at once again");
}

#[test]
fn who_comes_and_goes_all_the_time_is_told_of_once_a_second_though_nobody_else_keeps_the_topic() {
    let mut world = World::new(present());
    let (other, ben) = (world.connect_to("news:1"), world.connect_as("ben"));
    world.subscribe(ben.key(), "room:*");
    let ann = world.connect_as("ann");
    world.settle();
    for second in 1..=3 {
        for n in 0..50 {
            attend(&ann, &["news:1", "room:1"], &json!({ "n": n }));
            leave(&ann, "news:1");
            leave(&ann, "room:1");
            world.settle();
        }
        for client in [&other, &ben] {
            assert_eq!(client.told("presence_join").len(), second);
            assert_eq!(client.told("presence_leave").len(), second);
        }
        world.pass(1_100);
    }
    for n in 0..2 {
        attend(&ann, &["news:1"], &json!({ "n": n }));
        leave(&ann, "news:1");
    }
    attend(&ann, &["news:1"], &json!({ "n": "stays" }));
    world.settle();
    assert_eq!(other.told("presence_join").len(), 4);
    assert_eq!(ann.told("subscription_update").len(), 3 * 50 * 3 + 5, "no reply waits for it");
    world.pass(1_100);
    assert_eq!(view(&other, "news:1"), there(&world, "news:1"));
    assert_eq!(other.told("presence_join").len(), 5);
    [ann, other, ben].iter().for_each(|client| client.kernel().reset());
    world.pass(1_100);
    world.assert_nothing_is_left(&["ann", "ben"]);
}

#[test]
fn presence_gives_way_to_what_is_published() {
    let ring = Policy { overflow: Overflow::Ring(10), ..Policy::default() };
    for policies in [Policies::default(), Policies::new([(vec!["news".to_owned()], ring)])] {
        let mut config = Config { policies: Arc::new(policies), ..present() };
        config.outbound.max_messages = 10;
        let mut world = World::new(config);
        let slow = world.connect_to("news");
        slow.stop_reading(1);
        let come = |world: &mut World, from: u32| {
            let users = (from..from + 30).map(|n| format!("user-{n}"));
            users.map(|user| connect_to(world, &user, "news", &json!({}))).collect::<Vec<_>>()
        };
        let mut crowd = come(&mut world, 0);
        for n in 1..=9 {
            assert!(world.publish_number("news", n, 0));
            world.settle();
        }
        crowd.extend(come(&mut world, 30));
        slow.resume();
        world.settle();
        assert_eq!(slow.numbers("news"), (1..=9).collect::<Vec<_>>());
        assert_eq!(slow.told("gap")[0]["topic"], "news");
    }
}

#[test]
fn presence_costs_as_many_messages_as_its_data_has_kilobytes_in_all_topics() {
    let mut config = present();
    config.rate = Some(Rate { per_second: 10, burst: 50 });
    let mut world = World::new(config);
    let ann = connect_to(&mut world, "ann", "a", &json!({ "text": "x".repeat(4_090 - 11) }));
    let topics = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    attend(&ann, &topics, &json!({ "text": "y".repeat(4_000) }));
    world.settle();
    assert_eq!(ann.told("subscription_update").len(), 2, "4 and 44");
    attend(&ann, &["a"], &json!({ "text": "z".repeat(4_000) }));
    world.settle();
    assert_eq!(ann.errors(), ["RATE_LIMITED"]);
    assert_eq!(ann.told("subscription_update").len(), 2);
}

#[test]
fn what_the_memory_has_no_room_for_is_a_gap() {
    let mut world = World::new(Config { memory_budget_bytes: 16 << 10, ..present() });
    let (other, old) = (world.connect_to("news"), world.knock_with("old", "", "protocol_version=1"));
    world.settle();
    old.subscribe(&["news"]);
    let ann = connect_to(&mut world, "ann", "news", &json!({ "n": 1 }));
    let room = world.shared.budget.charge((12 << 10) + 512).expect("there is room");
    attend(&ann, &["news"], &json!({ "text": "x".repeat(2_600) }));
    world.settle();
    for client in [&other, &old] {
        assert!(client.told("presence_update").is_empty());
        assert_eq!(client.told("gap")[0]["reason"], "overload");
        assert_eq!(client.told("gap")[0]["topic"], "news");
    }
    drop(room);
    let answer = page(&mut world, &other, &json!({ "topic": "news" }));
    let mut anew = BTreeMap::new();
    hear(&mut anew, &answer, "news");
    assert_eq!(anew, there(&world, "news"));
}

/// As many members as make `topic` large.
fn crowd(world: &mut World, topic: &str) -> Vec<Client> {
    (0..=LARGE).map(|n| connect_to(world, &format!("user-{n:03}"), topic, &json!({ "n": n }))).collect()
}

#[test]
fn a_large_topic_is_told_once_a_second_what_changed() {
    let mut world = World::new(present());
    let (native, old) = (world.connect_to("news"), world.knock_with("old", "", "protocol_version=1"));
    world.settle();
    old.subscribe(&["news"]);
    let crowd = crowd(&mut world, "news");
    world.pass(1_100);
    let (before, before_old) = (native.envelopes().len(), old.envelopes().len());
    let ann = connect_to(&mut world, "ann", "news", &json!({ "n": 1 }));
    assert_eq!(types(&ann), ["subscription_update"], "the reply waits for nothing");
    let bob = connect_to(&mut world, "bob", "news", &json!({}));
    bob.kernel().reset();
    crowd[7].kernel().reset();
    attend(&crowd[8], &["news"], &json!({ "n": "another" }));
    crowd[9].kernel().reset();
    world.settle();
    let back = connect_to(&mut world, "user-009", "news", &json!({ "n": 9 }));
    assert_eq!((native.envelopes().len(), old.envelopes().len()), (before, before_old));
    world.pass(1_100);
    let expected = json!({
        "topic": "news",
        "joined": [{ "user_id": "ann", "data": { "n": 1 } }],
        "left": ["user-007"],
        "updated": [
            { "user_id": "user-008", "data": { "n": "another" } },
            { "user_id": "user-009", "data": { "n": 9 } },
        ],
        "total": LARGE + 1,
    });
    assert_eq!(native.told("presence_delta").last(), Some(&expected));
    let batch = old.told("batch").pop().expect("one batch");
    let messages = batch["messages"].as_array().expect("a list");
    assert_eq!(messages.len(), 4);
    for message in messages {
        assert_eq!((&message["v"], &message["c"]), (&json!(1), &json!("WSE")));
        assert!(message["id"].is_string() && message["p"].get("topic").is_none(), "{message}");
    }
    assert_eq!(messages[1]["p"], json!({ "user_id": "user-007", "data": { "n": 7 } }));
    assert_eq!(view(&native, "news"), there(&world, "news"));
    assert_eq!(view(&old, "news"), there(&world, "news"));
    drop((ann, back, crowd));
}

#[test]
fn a_topic_that_was_large_is_told_in_order() {
    let mut world = World::new(present());
    let other = world.connect_to("news");
    let crowd = crowd(&mut world, "news");
    let last = connect_to(&mut world, "last", "news", &json!({}));
    world.pass(1_100);
    for client in &crowd[..50] {
        client.kernel().reset();
    }
    world.settle();
    // Small by now, but what went before has not been told yet.
    let ann = connect_to(&mut world, "ann", "news", &json!({}));
    assert_eq!(other.told("presence_join").iter().filter(|join| join["user_id"] == "ann").count(), 0);
    world.pass(1_100);
    assert_eq!(view(&other, "news"), there(&world, "news"));
    leave(&ann, "news");
    world.settle();
    assert_eq!(other.told("presence_leave").len(), 1, "at once again");
    drop(last);
}

#[test]
fn what_was_gathered_is_split_where_it_would_be_too_much() {
    let mut world = World::new(present());
    let (native, old) = (world.connect_to("news"), world.knock_with("old", "", "protocol_version=1"));
    world.settle();
    old.subscribe(&["news"]);
    crowd(&mut world, "news");
    world.pass(1_100);
    let data = json!({ "text": "x".repeat(4_000) });
    for n in 0..200 {
        connect_to(&mut world, &format!("late-{n}"), "news", &data);
    }
    world.pass(1_100);
    let lengths = |client: &Client, kind: &str| {
        let told = client.told(kind).into_iter().map(|payload| payload.to_string().len());
        told.collect::<Vec<_>>()
    };
    for lengths in [lengths(&native, "presence_delta"), lengths(&old, "batch")] {
        assert!(lengths.len() > 4 && lengths.iter().all(|length| *length < 300 << 10), "{lengths:?}");
    }
    assert_eq!(view(&native, "news"), there(&world, "news"));
    assert_eq!(view(&old, "news"), there(&world, "news"));
}

/// Asks for a page; the answer.
fn page(world: &mut World, client: &Client, payload: &Value) -> Value {
    client.text(&json!({ "t": "presence_request", "p": payload, "cid": 1 }).to_string());
    world.settle();
    let last = client.envelopes().pop().expect("an answer");
    assert_eq!(last["cid"], 1);
    last
}

#[test]
fn pages_are_for_those_who_hold_the_topic() {
    let mut world = World::new(present());
    let crowd = crowd(&mut world, "news");
    let mut after = Value::Null;
    let mut seen = Vec::new();
    for expected in [40, 40, 21] {
        let answer = page(&mut world, &crowd[0], &json!({ "topic": "news", "limit": 40, "after": after }));
        let members = answer["p"]["members"].as_array().expect("a list").clone();
        assert_eq!((members.len(), &answer["p"]["total"]), (expected, &json!(LARGE + 1)));
        seen.extend(members.into_iter().map(|member| member["user_id"].clone()));
        after = answer["p"]["next"].clone();
    }
    assert_eq!((seen.len(), after), (LARGE + 1, Value::Null));
    let default = page(&mut world, &crowd[0], &json!({ "topic": "news" }));
    assert_eq!(default["p"]["members"].as_array().map(Vec::len), Some(100));
    let stranger = world.connect_as("ann");
    let refused = page(&mut world, &stranger, &json!({ "topic": "news" }));
    assert_eq!(
        (&refused["p"]["code"], &refused["p"]["topics"]),
        (&json!("SUBSCRIPTION_FAILED"), &json!(["news"]))
    );
    for bad in [
        json!({}),
        json!({ "topic": "news", "limit": 1_001 }),
        json!({ "topic": "news", "limit": 0 }),
        json!({ "topic": "news", "after": 1 }),
    ] {
        assert_eq!(page(&mut world, &crowd[0], &bad)["p"]["code"], "INVALID_MESSAGE", "{bad}");
    }
}

#[test]
fn pages_cost_as_many_messages_as_they_have_kilobytes() {
    let mut world = World::new(present());
    let data = json!({ "text": "x".repeat(4_000) });
    let ann = connect_to(&mut world, "ann", "news", &data);
    for n in 0..99 {
        connect_to(&mut world, &format!("user-{n}"), "news", &data);
    }
    let answer = page(&mut world, &ann, &json!({ "topic": "news", "limit": 1_000 }));
    let length = answer.to_string().len();
    assert!((200 << 10..260 << 10).contains(&length), "{length}: no page has more than 256 KiB");
    assert!(answer["p"]["next"].is_string());
    (0..500).for_each(|_| {
        ann.text(&json!({ "t": "presence_request", "p": { "topic": "news", "limit": 1_000 } }).to_string())
    });
    world.settle();
    let pages = ann.told("presence_response").len();
    assert!((300..450).contains(&pages), "{pages} pages of 256 in a burst of 100 000");
    assert!(ann.errors().contains(&"RATE_LIMITED".to_owned()));
}

#[test]
fn what_was_left_behind_is_found_and_told() {
    let mut config = present();
    (config.heartbeat.interval_ms, config.heartbeat.idle_timeout_ms) = (0, 0);
    let mut world = World::new(config);
    let other = world.connect_to("news");
    let ann = connect_to(&mut world, "ann", "news", &json!({}));
    world.take_events();
    let topic = world.shared.topics.get("news").expect("it is held");
    let ghost = Tab { key: other.key(), high: 7 };
    let charge = |bytes| world.shared.budget.charge(bytes);
    let data = std::sync::Arc::from(serde_json::value::RawValue::from_string("{}".into()).expect("JSON"));
    // The connection holds the topic, so it is left alone until it does not.
    let mut members = topic.members().lock();
    world
        .shared
        .presence
        .count(&mut members, |members| drop(members.join((&"ghost".into(), ghost), &data, 0, charge)));
    drop(members);
    world.pass(31_000);
    assert_eq!(value(&world.shared.metrics.presence_swept_total), 0);
    leave(&other, "news");
    world.pass(31_000);
    assert_eq!(value(&world.shared.metrics.presence_swept_total), 1);
    assert_eq!(ann.told("presence_leave")[0]["user_id"], "ghost");
    assert_eq!(events(&world), [(Kind::PresenceLeave, "ghost".to_owned())]);
    assert_eq!(there(&world, "news").keys().collect::<Vec<_>>(), ["ann"]);
}

/// One run of random lives: users with tabs come to topics, say something else, leave, and are cut.
fn live(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::seeded(present(), seed);
    let topics = ["a", "b"];
    let watchers = [world.connect(), world.knock_with("old", "", "protocol_version=1")];
    world.settle();
    // Of version 1 in one topic, because it is not told which.
    watchers[0].subscribe(&topics);
    watchers[1].subscribe(&topics[..1]);
    world.settle();
    let users = if seed.is_multiple_of(4) { 160 } else { 12 };
    let mut tabs: Vec<(Client, String)> = Vec::new();
    for _ in 0..400 {
        let topic = topics[random.usize(..2)];
        let any = (!tabs.is_empty()).then(|| random.usize(..tabs.len()));
        match (random.u8(..10), any) {
            (0..4, _) | (_, None) => {
                let user = format!("user-{}", random.u32(..users));
                let client = world.connect_as(&user);
                attend(&client, &topics[..random.usize(1..3)], &json!({ "n": random.u8(..3) }));
                tabs.push((client, user));
            }
            (4, Some(any)) => attend(&tabs[any].0, &[topic], &json!({ "n": random.u8(..3) })),
            (5, Some(any)) => leave(&tabs[any].0, topic),
            (6, Some(any)) => {
                world.update_presence(&tabs[any].0, &json!({ "n": random.u8(..3) }).to_string());
            }
            (7, Some(any)) if random.bool() => tabs.swap_remove(any).0.kernel().reset(),
            (7, Some(any)) => {
                let (client, _) = tabs.swap_remove(any);
                world.disconnect(client.key(), 4403);
                client.kernel().end();
            }
            (8, _) => world.pass(random.u64(..700)),
            _ => world.settle(),
        }
    }
    world.pass(1_100);
    for topic in topics {
        assert_eq!(view(&watchers[0], topic), there(&world, topic), "{topic}");
        let count = there(&world, topic).len();
        let entries = world
            .shared
            .topics
            .get(topic)
            .map_or(0, |topic| topic.present().map_or(0, |members| members.lock().users()));
        assert_eq!(count, entries);
    }
    assert_eq!(view(&watchers[1], "a"), there(&world, "a"));
    for (user, kinds) in
        world.take_events().into_iter().fold(BTreeMap::<_, Vec<_>>::new(), |mut heard, event| {
            if matches!(event.kind, Kind::PresenceJoin | Kind::PresenceLeave) {
                let json: Value = serde_json::from_slice(&event.payload).expect("JSON");
                heard
                    .entry((json["topic"].to_string(), json["userId"].to_string()))
                    .or_default()
                    .push(event.kind);
            }
            heard
        })
    {
        let expected = [Kind::PresenceJoin, Kind::PresenceLeave].into_iter().cycle();
        assert!(
            kinds.iter().copied().zip(expected).all(|(kind, expected)| kind == expected),
            "{user:?}: {kinds:?}"
        );
    }
    tabs.iter().for_each(|(client, _)| client.kernel().reset());
    watchers.iter().for_each(|client| client.kernel().reset());
    world.pass(31_000);
    assert_eq!(value(&world.shared.metrics.presence_swept_total), 0, "nothing was left behind");
    world.assert_nothing_is_left(&[]);
    assert_eq!(world.shared.presence.users.load(Relaxed), 0);
    assert_eq!(world.shared.presence.topics.load(Relaxed), 0);
}

#[test]
fn whatever_lives_they_lead_everybody_knows_who_is_there() {
    for_each_seed(24, "presence", live);
}
