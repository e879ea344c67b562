//! Verifies that a slow application slows its readers down and loses nothing, and that no application freezes
//! nothing.

use crate::application::Event;
use crate::client::{BINARY, Client, HEAD, TEXT, frame};
use crate::world::{World, settings, value};
use wse_engine::Config;
use wse_engine::config::InboundLimits;
use wse_engine::heartbeat::Heartbeat;
use wse_engine::inbound::Kind;
use wse_protocol::compress::{Deflater, Format};
use wse_protocol::frame::FrameLimits;

fn with_room(max_bytes: usize, max_bytes_per_connection: usize) -> World {
    let inbound = InboundLimits { max_bytes, max_bytes_per_connection };
    World::new(Config { inbound, rate: None, ..settings() })
}

/// Sends `messages` numbered texts of about a hundred bytes.
fn flood(client: &Client, messages: std::ops::Range<usize>) {
    for n in messages {
        client.write(&frame(TEXT, format!("{n:0100}").as_bytes(), true));
    }
}

fn numbers<'a>(events: &'a [Event], client: &'a Client) -> impl Iterator<Item = usize> + 'a {
    let own = events.iter().filter(|event| event.key == client.key() && event.kind == Kind::Raw);
    own.map(|event| {
        std::str::from_utf8(&event.payload).ok().and_then(|text| text.parse().ok()).expect("a number")
    })
}

fn kinds(events: &[Event], client: &Client) -> Vec<Kind> {
    events.iter().filter(|event| event.key == client.key()).map(|event| event.kind).collect()
}

#[test]
fn without_an_application_messages_are_dropped_and_counted_and_nothing_stalls() {
    let mut world = with_room(0, 2_000);
    let client = world.connect();
    flood(&client, 0..100);
    client.ping(b"alive");
    world.settle();
    assert_eq!(client.waiting(), 0);
    assert_eq!(client.payloads(crate::client::PONG), [b"alive"]);
    client.close(1000);
    world.settle();
    let events = world.take_events();
    let kept = numbers(&events, &client).count();
    assert_eq!(kept as u64 + value(&world.shared.metrics.inbound_dropped_total), 100);
    assert!(kept < 30);
    let kinds = kinds(&events, &client);
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), (Kind::Connect, Kind::Disconnect), "these are never lost");
}

#[test]
fn over_its_share_a_connection_waits_alone_and_loses_nothing() {
    let mut world = with_room(0, 10_000);
    world.shared.set_consumer(true);
    let (flooder, other) = (world.connect(), world.connect());
    flood(&flooder, 0..5_000);
    world.settle();
    assert!(flooder.waiting() > 400_000, "it is not read");
    flood(&other, 0..10);
    other.ping(b"alive");
    world.settle();
    assert_eq!(other.payloads(crate::client::PONG), [b"alive"]);
    let mut events = Vec::new();
    while let Some(batch) = world.take_batch() {
        events.extend(batch);
        world.settle();
    }
    assert_eq!(flooder.waiting(), 0);
    assert!(numbers(&events, &flooder).eq(0..5_000), "all of it, in order");
    assert!(numbers(&events, &other).eq(0..10));
    assert_eq!(value(&world.shared.metrics.inbound_dropped_total), 0);
}

#[test]
fn what_waits_stays_within_the_bounds_whoever_sends() {
    let mut world = with_room(100_000, 50_000);
    world.shared.set_consumer(true);
    let clients = (0..10).map(|_| world.connect()).collect::<Vec<_>>();
    for _ in 0..20 {
        clients.iter().for_each(|client| flood(client, 0..500));
        world.settle();
    }
    // What one read had begun is finished: a buffer of 64 KiB for each connection at most.
    let waiting = world.shared.desks[0].inbound.bytes();
    assert!(waiting <= 100_000 + 10 * (64 << 10), "{waiting} bytes wait");
    assert!(clients.iter().all(|client| client.waiting() > 0));
    let mut got = 0;
    while let Some(batch) = world.take_batch() {
        got += batch.iter().filter(|event| event.kind == Kind::Raw).count();
        world.settle();
    }
    assert_eq!(got, 10 * 20 * 500);
}

#[test]
fn the_idle_clock_stands_still_while_the_application_is_slow() {
    let mut world = with_room(0, 1_000);
    world.shared.set_consumer(true);
    let client = world.connect();
    flood(&client, 0..1_000);
    world.pass(600_000);
    assert_eq!(world.open(), 1, "its silence is ours");
    while world.take_batch().is_some() {
        world.settle();
    }
    world.pass(59_000);
    assert_eq!(world.open(), 1);
    world.pass(2_000);
    assert_eq!(client.close_code(), Some(4408));
}

#[test]
fn a_connection_that_stalls_in_its_second_helping_reads_on() {
    // Four full reads are a helping; the share is used up in the next one, inside the same turn's end.
    let mut world = with_room(0, 300_000);
    world.shared.set_consumer(true);
    let client = world.connect();
    let size = 60_000;
    for n in 0..20 {
        client.write(&frame(BINARY, &vec![n; size], true));
    }
    world.settle();
    assert!(client.waiting() > 0, "it is not read");
    let mut got = Vec::new();
    while let Some(batch) = world.take_batch() {
        got.extend(batch);
        world.settle();
    }
    assert_eq!(client.waiting(), 0, "nobody told the shard that its events were taken");
    let firsts = got.iter().filter(|event| event.kind == Kind::Binary).map(|event| event.payload[0]);
    assert!(firsts.eq(0..20));
}

#[test]
fn events_taken_before_the_shard_falls_asleep_are_noticed() {
    let inbound = InboundLimits { max_bytes: 0, max_bytes_per_connection: 1_000 };
    let heartbeat = Heartbeat { interval_ms: 0, idle_timeout_ms: 0 };
    let mut world = World::new(Config { inbound, heartbeat, rate: None, ..settings() });
    world.shared.set_consumer(true);
    let client = world.connect();
    flood(&client, 0..2_000);
    // The application takes everything between the shard's last look and its sleep.
    world.turn();
    let mut events = world.take_events();
    world.fall_asleep();
    world.settle();
    while let Some(batch) = world.take_batch() {
        events.extend(batch);
        world.settle();
    }
    assert_eq!(client.waiting(), 0);
    assert!(numbers(&events, &client).eq(0..2_000));
}

#[test]
fn an_application_that_leaves_freezes_nobody() {
    let mut world = with_room(0, 1_000);
    world.shared.set_consumer(true);
    let client = world.connect();
    flood(&client, 0..2_000);
    world.settle();
    assert!(client.waiting() > 0);
    world.set_consumer(false);
    world.settle();
    assert_eq!(client.waiting(), 0, "without a consumer messages are dropped and counted");
    let kept = numbers(&world.take_events(), &client).count();
    assert_eq!(kept as u64 + value(&world.shared.metrics.inbound_dropped_total), 2_000);
}

#[test]
fn the_end_of_a_stalled_connection_comes_behind_its_messages() {
    for is_reset in [false, true] {
        let mut world = with_room(0, 1_000);
        world.shared.set_consumer(true);
        let client = world.connect();
        flood(&client, 0..1_500);
        world.settle();
        if is_reset {
            client.kernel().reset();
        } else {
            client.kernel().end();
        }
        world.settle();
        let mut events = Vec::new();
        while let Some(batch) = world.take_batch() {
            events.extend(batch);
            world.settle();
        }
        let got = numbers(&events, &client).collect::<Vec<_>>();
        assert!(got.iter().copied().eq(0..got.len()));
        assert!(is_reset || got.len() == 1_500, "an orderly end loses nothing");
        assert_eq!(kinds(&events, &client).last(), Some(&Kind::Disconnect));
        world.assert_nothing_is_left(&[]);
    }
}

#[test]
fn early_frames_behind_a_head_count_as_well() {
    let mut world = with_room(0, 1_000);
    world.shared.set_consumer(true);
    let client = world.accept();
    client.write(HEAD.as_bytes());
    flood(&client, 0..1_500);
    world.settle();
    assert!(client.waiting() > 0);
    let mut events = Vec::new();
    while let Some(batch) = world.take_batch() {
        events.extend(batch);
        world.settle();
    }
    assert!(numbers(&events, &client).eq(0..1_500));
}

#[test]
fn the_application_is_woken_once_for_each_time_that_it_waits() {
    let mut world = with_room(0, 0);
    world.shared.set_consumer(true);
    let client = world.connect();
    let woken = || world.wakes.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(woken(), 0, "nobody waits");
    world.take_events();
    world.shared.wait_for_events();
    (0..10).for_each(|_| client.text("x"));
    world.settle();
    (0..10).for_each(|_| client.text("x"));
    world.settle();
    assert_eq!(world.wakes.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(world.take_events().len(), 20);
}

#[test]
fn a_silence_that_was_ours_is_forgiven_also_when_everything_had_been_read() {
    let mut world = with_room(0, 1_000);
    world.shared.set_consumer(true);
    let client = world.connect();
    flood(&client, 0..30);
    world.pass(24_000);
    assert_eq!(client.waiting(), 0);
    world.take_events();
    world.pass(50_000);
    assert_eq!(world.open(), 1, "its clock began when the application had caught up");
    world.pass(11_000);
    assert_eq!(client.close_code(), Some(4408));
}

#[test]
fn a_flooder_has_its_share_of_a_turn_and_no_more() {
    let mut world = with_room(0, 0);
    world.shared.set_consumer(true);
    let (flooder, other) = (world.connect(), world.connect());
    flood(&flooder, 0..20_000);
    other.ping(b"alive");
    world.turn();
    world.fall_asleep();
    assert!(flooder.waiting() > 0);
    world.let_clients_read();
    assert_eq!(other.payloads(crate::client::PONG), [b"alive"]);
    world.settle();
    assert!(numbers(&world.take_events(), &flooder).eq(0..20_000));
}

#[test]
fn what_was_taken_is_credit_again() {
    let mut world = with_room(0, 10_000);
    world.shared.set_consumer(true);
    let client = world.connect();
    for round in 0..100 {
        flood(&client, round * 20..round * 20 + 20);
        world.settle();
        assert!(numbers(&world.take_events(), &client).count() == 20, "in round {round}");
    }
    client.text("within the share");
    world.settle();
    client.ping(b"alive");
    world.settle();
    assert_eq!(client.payloads(crate::client::PONG), [b"alive"]);
}

#[test]
fn a_type_that_the_application_handles_comes_as_a_request_in_its_place() {
    let mut world = with_room(0, 0);
    let client = world.connect_as("än\"na");
    world.take_events();
    world.shared.handled.set("ask", true);
    let own = "{\"type\":\"ask\",\"p\":{\"n\":1}}";
    let texts = [r#"{"t":"other"}"#, own, r#"{"t":"ping","p":{}}"#, "text", &format!("U{own}")];
    texts.iter().for_each(|text| client.text(text));
    world.settle();
    world.shared.handled.set("ask", false);
    client.text(own);
    world.settle();
    let events = world.take_events();
    let texts = events.iter().map(|event| std::str::from_utf8(&event.payload).expect("text"));
    let request = format!(r#"["än\"na",{own}]"#);
    assert!(texts.eq([r#"{"t":"other"}"#, &request, "text", &request, own]));
    let expected = [Kind::Message, Kind::Request, Kind::Raw, Kind::Request, Kind::Message];
    assert_eq!(kinds(&events, &client), expected);
    assert_eq!(client.told("PONG").len(), 1, "the transport's own types never come");
}

#[test]
fn requests_have_the_credit_of_other_events() {
    let mut world = with_room(0, 2_000);
    world.shared.handled.set("ask", true);
    world.set_consumer(true);
    let client = world.connect();
    (0..500).for_each(|n| client.text(&format!(r#"{{"t":"ask","p":{{"n":{n}}}}}"#)));
    world.settle();
    assert!(client.waiting() > 0, "it is not read");
    let mut requests = 0;
    while let Some(batch) = world.take_batch() {
        requests += batch.iter().filter(|event| event.kind == Kind::Request).count();
        world.settle();
    }
    assert_eq!(requests, 500);
}

#[test]
fn what_comes_out_of_compressed_messages_stays_within_the_bounds_of_what_waits() {
    let mut world = with_room(1 << 20, 256 << 10);
    world.set_consumer(true);
    let text = format!(r#"{{"t":"x","p":"{}"}}"#, "a".repeat(60_000));
    let mut compressed = b"C:".to_vec();
    Deflater::new(Format::Zlib, 6).deflate(text.as_bytes(), &mut compressed);
    let messages = 100;
    let wire = frame(BINARY, &compressed, true).repeat(messages);
    let clients = (0..5).map(|_| world.connect()).collect::<Vec<_>>();
    for client in &clients {
        client.write(&wire);
        world.settle();
        let waiting = world.shared.desks[0].inbound.bytes();
        assert!(waiting <= 2 << 20, "{waiting} bytes wait");
    }
    let mut heard = 0;
    while let Some(events) = world.take_batch() {
        heard += events.iter().filter(|event| event.kind == Kind::Message).count();
        world.settle();
    }
    assert_eq!(heard, messages * clients.len(), "nothing is lost");
    clients[0].ping(b"alive");
    world.settle();
    assert_eq!(clients[0].payloads(crate::client::PONG), [b"alive"]);
}

/// Begins a message of 20 000 bytes and leaves it after `length` of them.
fn begin(client: &Client, length: usize) {
    let whole = frame(BINARY, &[7; 20_000], true);
    client.write(&whole[..whole.len() - 20_000 + length]);
}

#[test]
fn over_the_bound_of_unfinished_messages_whoever_has_most_gives_way() {
    let limits = FrameLimits { max_message_bytes: 20_000, max_fragments: 0 };
    let inbound = InboundLimits { max_bytes: 100_000, max_bytes_per_connection: 0 };
    let mut world = World::new(Config { inbound, frame: limits, rate: None, ..settings() });
    world.shared.set_consumer(true);
    let healthy = world.connect();
    let small = (0..20).map(|_| world.connect()).collect::<Vec<_>>();
    small.iter().for_each(|client| begin(client, 4_000));
    world.settle();
    let partial = |world: &World| world.shared.partial_bytes();
    assert!((80_000..100_000).contains(&partial(&world)));
    let large = [world.connect(), world.connect()];
    begin(&large[0], 19_000);
    begin(&large[1], 9_000);
    healthy.ping(b"alive");
    world.settle();
    assert_eq!(
        large.each_ref().map(Client::close_code),
        [Some(1013), None],
        "the one that has most, and no other"
    );
    assert!(small.iter().all(|client| client.close_code().is_none()));
    assert_eq!(healthy.payloads(crate::client::PONG), [b"alive"]);
    assert!(partial(&world) < 100_000, "what it had is given back at once");
    for client in &small {
        client.write(&frame(BINARY, &[7; 20_000], true)[4_008..]);
    }
    world.settle();
    let mut whole = 0;
    while let Some(events) = world.take_batch() {
        whole += events.iter().filter(|event| event.payload.len() == 20_000).count();
        world.settle();
    }
    assert_eq!(whole, small.len(), "nobody else lost anything");
}

#[test]
fn who_has_hung_up_is_not_kept_for_an_application_that_never_goes_on() {
    let mut world = with_room(0, 0);
    world.set_consumer(true);
    let (gone, silent) = (world.connect(), world.connect());
    for client in [&gone, &silent] {
        world.hold_back(client.key(), true);
    }
    world.settle();
    gone.kernel().end();
    world.pass(120_000);
    assert!(gone.is_gone(), "nothing more is to be expected of it");
    assert!(!silent.is_gone() && silent.close_code().is_none(), "it is we who do not listen");
}
