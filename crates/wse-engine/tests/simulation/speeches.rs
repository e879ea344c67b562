//! Verifies that everyone gets the same publications in the same order, however they speak, and that those who speak
//! alike share one encoding.

use crate::application::numbered;
use crate::listener::{Carrier, Listener};
use crate::world::{World, settings, value};
use serde_json::{Value, json};
use wse_engine::Config;
use wse_engine::config::{Compression, OutboundLimits, Recovery};
use wse_engine::content::Content;
use wse_protocol::frame::FrameLimits;

use Carrier::{Bytes, Msgpack, Payload, Sealed, Text, Zlib};

/// How connections ask for each way of speaking, their version, and what carries a small and a large publication.
const KINDS: [(&str, u64, Carrier, Carrier); 11] = [
    ("", 2, Text, Text),
    ("protocol_version=1", 1, Text, Text),
    ("compression=true", 2, Text, Zlib),
    ("compression=true&protocol_version=1", 1, Text, Zlib),
    ("compression=payload", 2, Text, Payload),
    ("compression=payload&protocol_version=1", 1, Text, Zlib),
    ("format=msgpack", 2, Msgpack, Msgpack),
    ("format=msgpack&protocol_version=1&compression=true", 1, Msgpack, Msgpack),
    ("encryption=true", 2, Sealed, Sealed),
    ("encryption=true&protocol_version=1", 1, Sealed, Sealed),
    ("encryption=true&format=msgpack&compression=true", 2, Sealed, Sealed),
];

/// A connection of each kind that holds `news`.
fn crowd(world: &mut World) -> Vec<Listener> {
    KINDS.iter().map(|(query, ..)| Listener::connect_to(world, query, "news")).collect()
}

/// A connection for each of `queries` that holds `news`.
fn of_kinds<const N: usize>(world: &mut World, queries: [&str; N]) -> [Listener; N] {
    queries.map(|query| Listener::connect_to(world, query, "news"))
}

/// What stays of an envelope when its dialect is taken away; verifies that it is that of `version`.
fn content(mut json: Value, version: u64) -> Value {
    let members = json.as_object_mut().expect("an envelope");
    let (own, foreign) = if version == 1 { ("c", "_msg_cat") } else { ("_msg_cat", "c") };
    assert_eq!(members.remove("v"), Some(version.into()));
    assert_eq!(members.remove(own), Some("U".into()));
    assert!(!members.contains_key(foreign), "{foreign} in version {version}");
    json
}

#[test]
fn a_publication_says_the_same_to_everyone_however_they_speak() {
    let mut world = World::new(settings());
    let mut listeners = crowd(&mut world);
    let large =
        format!(r#"{{"t":"x","p":{{"n":1.5,"a":[null,"ä"],"text":"{}"}},"cid":7}}"#, "ab".repeat(2_000));
    assert!(world.publish("news", r#"{"t":"x","p":{"n":2},"id":"own"}"#));
    assert!(world.publish("news", &large));
    world.settle();
    let mut contents = Vec::new();
    for (listener, (query, version, small, large)) in listeners.iter_mut().zip(KINDS) {
        let told = listener.told();
        let carriers = told.iter().map(|message| message.carrier).collect::<Vec<_>>();
        assert_eq!(carriers, [small, large], "{query}");
        contents.push(told.iter().map(|message| content(message.json(), version)).collect::<Vec<_>>());
    }
    assert!(contents.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(contents[0][0]["id"], "own");
    assert_eq!(contents[0][1]["p"]["a"], json!([null, "ä"]));
    assert_eq!(world.shared.budget.used(), 0);
}

#[test]
fn order_is_kept_and_a_turn_leaves_in_one_write_where_kinds_are_mixed() {
    let mut world = World::new(settings());
    let mut listeners = crowd(&mut world);
    let before = listeners.iter().map(|one| one.client.kernel().writes).collect::<Vec<_>>();
    for n in 0..12 {
        // Large and small ones, so that what compresses changes its carrier all the time.
        assert!(world.publish_number("news", n, if n % 2 == 0 { 10 } else { 1_500 }));
        if n % 5 == 0 {
            assert!(world.publish_all(&numbered("all", n, 0)));
        }
    }
    world.turn();
    world.fall_asleep();
    for ((listener, (query, ..)), before) in listeners.iter_mut().zip(KINDS).zip(before) {
        world.let_clients_read();
        assert_eq!(listener.numbers("news"), (0..12).collect::<Vec<_>>(), "{query}");
        assert_eq!(listener.numbers("all"), [0, 5, 10], "{query}");
        assert_eq!(listener.client.kernel().writes - before, 1, "{query}");
    }
    let order = |listener: &mut Listener| {
        let told = listener.told().into_iter().map(|message| message.json());
        told.map(|json| (json["t"].clone(), json["p"]["n"].clone())).collect::<Vec<_>>()
    };
    let orders = listeners.iter_mut().map(order).collect::<Vec<_>>();
    assert!(orders.iter().all(|one| *one == orders[0]), "topics and messages to all are one stream");
}

#[test]
fn what_is_sent_to_one_connection_is_numbered_from_one_in_every_kind() {
    let mut world = World::new(settings());
    for (query, version, small, large) in KINDS {
        let mut listener = Listener::connect(&mut world, query);
        for padding in [0, 3_000, 0] {
            assert!(world.send(listener.client.key(), &numbered("one", 0, padding)).is_some());
        }
        assert!(world.send(listener.client.key(), r#"{"t":"one","p":{},"seq":70}"#).is_some());
        world.settle();
        let told = listener.told();
        let numbers = told.iter().map(|message| content(message.json(), version)["seq"].as_u64());
        assert_eq!(numbers.collect::<Vec<_>>(), [Some(1), Some(2), Some(3), Some(70)], "{query}");
        assert_eq!(listener.carriers(), [small, large, small, small], "{query}");
    }
}

#[test]
fn what_is_no_envelope_passes_as_it_came_in_every_kind() {
    let mut world = World::new(settings());
    let mut listeners = crowd(&mut world);
    let (text, bytes) = ("no envelope ".repeat(200), "nor is this ".repeat(200).into_bytes());
    assert!(world.publish("news", &text));
    assert!(world.publish_content("news", Content::Binary(&bytes)));
    world.settle();
    for (listener, (query, ..)) in listeners.iter_mut().zip(KINDS) {
        let carriers = if query.contains("encryption") { [Sealed, Sealed] } else { [Text, Bytes] };
        let expected = [text.as_bytes(), &bytes].map(<[u8]>::to_vec);
        let told = listener.told().into_iter().map(|message| (message.carrier, message.bytes));
        assert_eq!(
            told.collect::<Vec<_>>(),
            carriers.into_iter().zip(expected).collect::<Vec<_>>(),
            "{query}"
        );
    }
}

#[test]
fn the_threshold_is_the_length_of_the_message_as_its_dialect_says_it() {
    let mut world = World::new(settings());
    let queries = ["", "protocol_version=1", "compression=true", "compression=true&protocol_version=1"];
    let mut listeners = of_kinds(&mut world, queries);
    for padding in 840..960 {
        assert!(world.publish_number("news", 0, padding));
    }
    world.settle();
    let [mut new, mut old, mut new_zlib, mut old_zlib] = listeners.each_mut().map(|one| one.told());
    for (plain, other) in [(&mut new, &mut new_zlib), (&mut old, &mut old_zlib)] {
        let lengths = plain.iter().map(|message| message.bytes.len()).collect::<Vec<_>>();
        assert!(lengths.contains(&1_024) && lengths.contains(&1_025));
        for (length, other) in lengths.iter().zip(other) {
            let expected = if *length > 1_024 { Zlib } else { Text };
            assert_eq!((other.carrier, other.bytes.len()), (expected, *length));
        }
    }
    assert!(new[0].bytes.len() > old[0].bytes.len());
}

#[test]
fn what_would_not_become_shorter_stays_json() {
    // Level 0 stores: what comes out is a little longer.
    let compression = Some(Compression { threshold_bytes: 0, level: 0 });
    let mut world = World::new(Config { compression, ..settings() });
    let mut listeners = crowd(&mut world);
    assert!(world.publish_number("news", 0, 5_000));
    world.settle();
    for (listener, (query, version, small, _)) in listeners.iter_mut().zip(KINDS) {
        assert_eq!(listener.carriers(), [small], "{query}");
        assert_eq!(content(listener.told()[0].json(), version)["p"]["n"], 0, "{query}");
    }
}

#[test]
fn messagepack_that_would_be_over_the_limit_is_json() {
    // A number of three characters takes nine bytes.
    let frame = FrameLimits { max_message_bytes: 4_096, ..settings().frame };
    let mut world = World::new(Config { frame, ..settings() });
    let queries = ["format=msgpack", "format=msgpack&protocol_version=1"];
    let mut listeners = of_kinds(&mut world, queries);
    let numbers = |count: usize| format!(r#"{{"t":"x","p":{{"n":[{}0]}}}}"#, "1e5,".repeat(count));
    assert!(world.publish("news", &numbers(800)));
    assert!(world.publish("news", &numbers(100)));
    world.settle();
    for (listener, version) in listeners.iter_mut().zip([2, 1]) {
        assert_eq!(listener.carriers(), [Text, Msgpack]);
        let told = listener.told().into_iter().map(|message| content(message.json(), version));
        let counts = told.map(|json| json["p"]["n"].as_array().map(Vec::len)).collect::<Vec<_>>();
        assert_eq!(counts, [Some(801), Some(101)]);
    }
}

#[test]
fn a_hello_changes_how_the_next_publication_comes() {
    let mut world = World::new(settings());
    let [mut open, mut settled, mut packed] =
        of_kinds(&mut world, ["", "protocol_version=2", "format=msgpack"]);
    let hello = r#"{"t":"client_hello","p":{"protocol_version":1,"features":{"compression":true}}}"#;
    assert!(world.publish_number("news", 0, 2_000));
    // The shard reads before it looks into its mailbox: the hello of this turn holds for what is published in it.
    world.settle();
    for listener in [&open, &settled, &packed] {
        listener.client.text(hello);
    }
    assert!(world.publish_number("news", 1, 2_000));
    world.settle();
    for (listener, version, carriers) in
        [(&mut open, 1, [Text, Zlib]), (&mut settled, 2, [Text, Zlib]), (&mut packed, 1, [Msgpack, Msgpack])]
    {
        assert_eq!(listener.carriers(), carriers);
        let told = listener.told();
        assert_eq!(content(told[0].json(), 2)["p"]["n"], 0);
        assert_eq!(content(told[1].json(), version)["p"]["n"], 1);
    }
    let hello = |listener: &Listener| listener.client.told("server_hello")[0]["features"].clone();
    assert_eq!(hello(&open)["compression"], true);
    assert_eq!((&hello(&packed)["compression"], &hello(&packed)["msgpack"]), (&json!(false), &json!(true)));
}

#[test]
fn without_compression_nobody_gets_any() {
    let mut world = World::new(Config { compression: None, ..settings() });
    let mut listeners = of_kinds(&mut world, ["compression=true", "compression=payload", "format=msgpack"]);
    let hello = r#"{"t":"client_hello","p":{"features":{"compression":true}}}"#;
    listeners.iter().for_each(|listener| listener.client.text(hello));
    world.settle();
    assert!(world.publish_number("news", 0, 5_000));
    world.settle();
    for (listener, carrier) in listeners.iter_mut().zip([Text, Text, Msgpack]) {
        assert_eq!(listener.carriers(), [carrier]);
        assert_eq!(listener.client.told("server_hello")[0]["features"]["compression"], false);
        assert_eq!(listener.client.told("server_ready")[0]["details"]["features"]["compression"], false);
    }
}

#[test]
fn a_slow_reader_of_any_kind_is_told_what_it_missed() {
    let outbound = OutboundLimits { max_messages: 10, max_bytes: 0, slow_timeout_ms: 10_000 };
    for (query, ..) in KINDS {
        let mut world = World::new(Config { outbound, ..settings() });
        let (mut slow, mut healthy) = (
            Listener::connect_to(&mut world, query, "news"),
            Listener::connect_to(&mut world, query, "news"),
        );
        slow.client.stop_reading(100);
        for n in 0..50 {
            assert!(world.publish_number("news", n, if n % 2 == 0 { 10 } else { 2_000 }));
            world.settle();
        }
        assert_eq!(healthy.numbers("news"), (0..50).collect::<Vec<_>>(), "{query}");
        // Byte by byte, so that every frame is cut everywhere.
        world.let_read(&slow.client, 2_000);
        slow.client.resume();
        world.settle();
        assert!(world.publish_number("news", 50, 0));
        world.settle();
        let got = slow.numbers("news");
        assert_eq!(got.last(), Some(&50), "{query}");
        assert!(got.is_sorted_by(|a, b| a < b), "{query}: in order, and once");
        assert_eq!(got.len() as u64 + slow.missed(), 51, "{query}");
        assert_eq!(slow.client.told("gap")[0]["topic"], "news", "{query}");
        assert_eq!(world.shared.budget.used(), 0, "{query}");
    }
}

#[test]
fn those_who_speak_alike_share_one_copy_of_what_waits() {
    let mut world = World::new(settings());
    let mut held = Vec::new();
    for _ in 0..2 {
        let listener = Listener::connect_to(&mut world, "compression=true&protocol_version=1", "news");
        listener.client.stop_reading(1);
        held.push(listener);
    }
    assert!(world.publish_number("news", 0, 50_000));
    world.settle();
    let for_two = world.shared.budget.used();
    held.pop().expect("there are two").client.kernel().reset();
    world.settle();
    assert_eq!(world.shared.budget.used(), for_two, "what waits is counted once, however many wait for it");
    assert!(for_two < 5_000, "and what nobody waits for is given back: {for_two} bytes");
    held[0].client.resume();
    world.settle();
    assert_eq!((held[0].numbers("news"), world.shared.budget.used()), (vec![0], 0));
}

#[test]
fn a_form_of_a_logged_publication_for_which_there_is_no_room_is_told_by_its_offset() {
    let recovery = Some(Recovery::default());
    let mut world = World::new(Config { memory_budget_bytes: 6_500, recovery, ..settings() });
    let [mut plain, other] = of_kinds(&mut world, ["", "protocol_version=1"]);
    assert!(world.publish_number("news", 0, 4_800));
    world.settle();
    assert_eq!(plain.numbers("news"), [0]);
    let gap = json!({ "topic": "news", "from": 1, "to": 1, "reason": "overload" });
    assert_eq!(other.client.told("gap"), [gap]);
}

#[test]
fn what_a_log_brings_to_a_slow_reader_stands_behind_the_hole_before_it() {
    for pings in [0, 50] {
        let recovery = Some(Recovery::default());
        let outbound = OutboundLimits { max_messages: 5, ..OutboundLimits::default() };
        let config = Config { memory_budget_bytes: 60_000, outbound, recovery, ..settings() };
        let mut world = World::new(config);
        let slow = Listener::connect_to(&mut world, "protocol_version=1", "news");
        slow.client.stop_reading(1);
        assert!(world.publish_number("news", 1, 0));
        world.settle();
        // Twice the bound is full of answers.
        (0..pings).for_each(|_| slow.client.text(r#"{"t":"ping"}"#));
        world.settle();
        assert!(world.publish_number("news", 2, 35_000));
        world.settle();
        assert!(world.publish_number("news", 3, 0));
        world.pass(10);
        slow.client.resume();
        world.settle();
        let told = slow.client.envelopes().into_iter().skip(2);
        let stamps = told.filter_map(|one| one["o"].as_u64().or(one["p"]["to"].as_u64()));
        // The log has made room, and began anew.
        let (expected, code) = if pings == 0 { (&[1, 2, 1][..], None) } else { (&[1][..], Some(4503)) };
        assert_eq!((stamps.collect::<Vec<_>>(), slow.client.close_code()), (expected.to_vec(), code));
    }
}

#[test]
fn a_form_for_which_there_is_no_room_is_missed_told_and_has_room_again_later() {
    for (query, ..) in KINDS.into_iter().skip(1) {
        // Room for the publication as it is made, and for nothing beside it, not even for what tells of the miss.
        let mut world = World::new(Config { memory_budget_bytes: 5_500, ..settings() });
        let [mut plain, mut other, mut like] = of_kinds(&mut world, ["", query, query]);
        let publish = |world: &mut World, n| {
            // It becomes half as long when it is compressed.
            let padding: String = (0..4_950).map(|_| fastrand::digit(16)).collect();
            assert!(world.publish("news", &format!(r#"{{"t":"news","p":{{"n":{n},"x":"{padding}"}}}}"#)));
            world.settle();
        };
        publish(&mut world, 0);
        assert_eq!(plain.numbers("news"), [0], "{query}");
        for listener in [&mut other, &mut like] {
            assert_eq!((listener.numbers("news"), listener.missed()), (vec![], 1), "{query}");
            let gap = &listener.client.told("gap")[0];
            assert_eq!((&gap["topic"], &gap["reason"]), (&json!("news"), &json!("overload")), "{query}");
            assert_eq!(world.shared.desks[0].seats.missed(listener.client.key()), 1, "{query}");
        }
        assert_eq!(value(&world.shared.metrics.budget_refused_total), 2, "{query}");
        assert_eq!(world.shared.budget.used(), 0, "{query}");
        assert!(world.publish_number("news", 1, 0));
        world.settle();
        for listener in [&mut plain, &mut other, &mut like] {
            assert_eq!(listener.numbers("news").last(), Some(&1), "{query}");
        }
        assert_eq!(world.shared.budget.used(), 0, "{query}");
    }
}

#[test]
fn a_plain_engine_leaves_everything_as_it_is() {
    let mut world = World::new(Config { envelope: false, ..settings() });
    // The parameters are the application's own, whatever they say.
    let mut listeners = ["compression=true", "format=msgpack", "encryption=true", "protocol_version=3"]
        .map(|query| Listener::knock(&mut world, query));
    let (text, bytes) = (numbered("x", 0, 5_000), [b'C', b':', 1, 2]);
    for listener in &listeners {
        world.subscribe(listener.client.key(), "news");
    }
    world.settle();
    assert!(world.publish("news", &text) && world.publish_content("news", Content::Binary(&bytes)));
    world.pass(20_000);
    for listener in &mut listeners {
        assert_eq!(listener.client.payloads(crate::client::TEXT), [text.as_bytes()]);
        assert_eq!(listener.client.payloads(crate::client::BINARY), [bytes]);
        assert_eq!(listener.client.close_code(), None, "nobody waits for a key");
    }
}
