//! Verifies that an echo server sends each message back as it came, loses none however slowly it is taken, and tells
//! the application nothing.

use crate::client::{BINARY, Client, MORE, PING, PONG, TEXT, close, frame};
use crate::world::{World, settings, value};
use wse_engine::Config;
use wse_engine::config::Mode;

fn echoing() -> Config {
    Config { mode: Mode::Echo, envelope: false, rate: None, ..settings() }
}

fn texts(client: &Client) -> Vec<String> {
    let texts = client.payloads(TEXT).into_iter();
    texts.map(|text| String::from_utf8(text).expect("text is UTF-8")).collect()
}

#[test]
fn each_message_comes_back_with_its_opcode_and_nothing_else_is_said() {
    let mut world = World::new(echoing());
    let client = world.connect();
    assert!(client.heard().frames.is_empty(), "no greeting");
    let said = [
        frame(TEXT, br#"{"t":"ping","p":{"timestamp":1}}"#, true),
        frame(TEXT, b"", true),
        frame(BINARY, b"M:\x80", true),
        frame(TEXT, "a€".as_bytes().split_at(2).0, false),
        frame(PING, b"between", true),
        frame(MORE, "a€".as_bytes().split_at(2).1, true),
        frame(TEXT, br#"{"t":"subscribe","p":{"action":"subscribe","topics":["a"]}}"#, true),
        close(3_333),
    ];
    client.write(&said.concat());
    world.settle();
    let heard = client.heard();
    let order = heard.frames.iter().map(|frame| frame.opcode).collect::<Vec<_>>();
    assert_eq!(order[..6], [TEXT, TEXT, BINARY, PONG, TEXT, TEXT]);
    assert_eq!(client.payloads(BINARY), [b"M:\x80"]);
    assert_eq!(texts(&client)[1..3], ["", "a€"]);
    assert_eq!(client.payloads(PONG), [b"between"]);
    assert_eq!(client.close_code(), Some(3_333));
    assert!(world.take_events().is_empty());
    assert_eq!(value(&world.shared.metrics.inbound_dropped_total), 0, "nobody was to hear of it");
    world.assert_nothing_is_left(&[]);
}

#[test]
fn who_does_not_take_what_comes_back_is_not_read_and_loses_nothing() {
    for send_buffer in [100, 1_000, 70_000] {
        let mut world = World::new(echoing());
        let (slow, healthy) = (world.connect(), world.connect());
        slow.stop_reading(send_buffer);
        let said = (0..3_000).map(|n| format!("{n} {}", "x".repeat(n % 500))).collect::<Vec<_>>();
        for text in &said {
            slow.text(text);
        }
        world.settle();
        let waiting = slow.waiting();
        assert!(waiting > 200_000, "{waiting} bytes are left in the kernel");
        slow.ping(b"waits too");
        world.settle();
        assert!(slow.waiting() > waiting);
        healthy.text("well?");
        world.settle();
        assert_eq!(texts(&healthy), ["well?"]);

        slow.resume();
        world.settle();
        assert_eq!(texts(&slow), said, "behind {send_buffer} bytes");
        assert_eq!(slow.payloads(PONG), [b"waits too"]);
        assert_eq!(world.shared.budget.used(), 0);
    }
}

#[test]
fn who_never_takes_what_comes_back_is_closed_like_one_that_is_silent() {
    let mut world = World::new(echoing());
    let client = world.connect();
    client.stop_reading(100);
    client.text(&"x".repeat(1_000));
    world.pass(61_000);
    client.resume();
    world.pass(2_000);
    assert_eq!(client.close_code(), Some(4_408));
    world.pass(2_000);
    assert!(client.is_gone());
    world.assert_nothing_is_left(&[]);
}

#[test]
fn what_the_memory_has_no_room_for_closes_its_connection_alone() {
    let mut world = World::new(Config { memory_budget_bytes: 10_000, ..echoing() });
    let (large, healthy) = (world.connect(), world.connect());
    large.write(&frame(BINARY, &[7; 20_000], true));
    world.settle();
    assert_eq!(large.close_code(), Some(1_013));
    assert!(large.payloads(BINARY).is_empty());
    healthy.text("well?");
    world.settle();
    assert_eq!(texts(&healthy), ["well?"]);
    assert_eq!(world.shared.budget.used(), 0);
}
