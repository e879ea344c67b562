//! Verifies that silence is asked about in the connection's own language, and that a dead peer's socket ends.

use crate::client::{HEAD, MORE, PING, PONG, TEXT, frame};
use crate::world::{World, settings, value};
use wse_engine::Config;
use wse_engine::heartbeat::Heartbeat;

#[test]
fn a_silent_connection_gets_a_ping_of_the_protocol() {
    let mut world = World::new(settings());
    let client = world.connect();
    world.pass(24_900);
    assert!(client.payloads(PING).is_empty());
    world.pass(200);
    assert_eq!(client.payloads(PING), [b""]);
    assert!(client.told("ping").is_empty());
}

#[test]
fn one_that_said_hello_gets_a_ping_of_ours() {
    let mut world = World::new(settings());
    let client = world.connect();
    client.text(r#"{"t":"client_hello","p":{}}"#);
    world.pass(25_100);
    assert!(client.payloads(PING).is_empty());
    assert_eq!(client.told("ping").len(), 1);
}

#[test]
fn a_peer_that_never_answers_is_closed_and_its_socket_ends() {
    let mut world = World::new(settings());
    let client = world.connect_to("news");
    world.pass(59_900);
    assert_eq!(world.open(), 1);
    assert_eq!(client.payloads(PING).len(), 2);
    world.pass(200);
    assert_eq!(client.close_code(), Some(4408));
    assert_eq!(world.open(), 0);
    world.pass(2_100);
    assert!(client.is_gone());
    world.assert_nothing_is_left(&[]);
    assert_eq!(value(&world.shared.metrics.idle_closed_total), 1);
}

#[test]
fn also_one_whose_send_buffer_is_full() {
    let mut world = World::new(settings());
    let client = world.connect_to("news");
    client.stop_reading(10);
    (0..20).for_each(|n| assert!(world.publish_number("news", n, 0)));
    world.pass(62_300);
    assert!(client.is_gone());
    world.assert_nothing_is_left(&[]);
}

#[test]
fn also_one_that_answers_the_close_with_more_silence() {
    let mut world = World::new(settings());
    let client = world.connect();
    client.stop_reading(0);
    world.pass(60_100);
    assert_eq!(world.open(), 0, "the application has heard of the end");
    assert_eq!(world.len(), 1);
    world.pass(2_100);
    world.assert_nothing_is_left(&[]);
}

#[test]
fn any_frame_counts_as_activity() {
    let half = &frame(MORE, b"rest", false);
    let signs: [&[u8]; 5] = [
        &frame(PONG, b"", true),
        &frame(PING, b"", true),
        &frame(TEXT, br#"{"t":"heartbeat"}"#, true),
        &frame(TEXT, b"fragment", false),
        half,
    ];
    let mut world = World::new(settings());
    let client = world.connect();
    for sign in signs {
        world.pass(50_000);
        client.write(sign);
        world.settle();
    }
    world.pass(59_900);
    assert_eq!(world.open(), 1);
    world.pass(200);
    assert_eq!(client.close_code(), Some(4408));
}

#[test]
fn what_the_server_sends_is_no_activity() {
    let mut world = World::new(settings());
    let client = world.connect_to("news");
    for n in 0..60 {
        world.publish_number("news", n, 0);
        world.pass(1_000);
    }
    world.pass(100);
    assert_eq!(client.close_code(), Some(4408));
}

#[test]
fn a_beat_that_is_off_wakes_nobody() {
    let heartbeat = Heartbeat { interval_ms: 0, idle_timeout_ms: 0 };
    let mut world = World::new(Config { heartbeat, ..settings() });
    let client = world.connect();
    world.pass(15_000);
    assert_eq!(world.next_due(), None);
    world.pass(10_000_000);
    assert_eq!(world.open(), 1);
    assert!(client.payloads(PING).is_empty());
}

#[test]
fn a_thousand_beats_leave_no_pages_behind() {
    let mut world = World::new(settings());
    let client = world.connect();
    for _ in 0..1_000 {
        world.pass(25_010);
        client.write(&frame(PONG, b"", true));
    }
    world.settle();
    assert_eq!(client.payloads(PING).len(), 1_000);
    client.kernel().reset();
    world.pass(60_000);
    assert_eq!(world.next_due(), None);
    world.assert_nothing_is_left(&[]);
}

#[test]
fn silence_begins_when_the_connection_opens() {
    let mut world = World::new(settings());
    let client = world.accept();
    world.pass(9_000);
    client.write(HEAD.as_bytes());
    world.pass(24_900);
    assert!(client.payloads(PING).is_empty());
    world.pass(200);
    assert_eq!(client.payloads(PING).len(), 1);
}

#[test]
fn a_connection_that_is_old_is_told_to_come_back_and_each_at_a_time_of_its_own() {
    let mut world = World::new(Config { max_connection_age_ms: 10 * 3_600_000, ..settings() });
    let clients = [(); 40].map(|()| world.connect());
    for client in &clients {
        client.text(r#"{"t":"client_hello","p":{}}"#);
    }
    let mut left = Vec::new();
    for _ in 0..2 * 10 * 60 {
        world.pass(60_000);
        clients.iter().for_each(|client| client.ping(b""));
        left.push(world.open());
    }
    assert_eq!((left[9 * 60 - 1], left[11 * 60]), (40, 0), "a tenth sooner, a tenth later");
    assert!((5..35).contains(&left[10 * 60]), "{} are left after the time that was set", left[10 * 60]);
    assert!(clients.iter().all(|client| client.close_code() == Some(1012)));
    assert_eq!(value(&world.shared.metrics.aged_closed_total), 40);
}
