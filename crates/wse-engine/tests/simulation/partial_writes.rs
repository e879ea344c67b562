//! Verifies that a peer gets every byte in order however little the kernel takes at a time, and that control
//! frames pass only between whole frames.

use crate::application::numbered;
use crate::client::{Client, PING, PONG, TEXT, frame};
use crate::world::{World, settings};
use wse_engine::Config;
use wse_engine::config::OutboundLimits;

fn roomy() -> Config {
    let outbound = OutboundLimits { max_messages: 0, max_bytes: 0, slow_timeout_ms: 0 };
    Config { outbound, ..settings() }
}

/// Publications of growing size; large enough for each form of a frame's length.
fn publish_some(world: &World) {
    for (n, padding) in [0, 1, 60, 130, 40_000, 70_000, 2].into_iter().enumerate() {
        assert!(world.publish_number("news", n as u64, padding));
    }
}

fn stream(adjust: impl Fn(&Client), publish: impl Fn(&World)) -> Vec<u8> {
    let mut world = World::new(roomy());
    let client = world.connect_to("news");
    adjust(&client);
    publish(&world);
    world.settle();
    let heard = client.heard();
    assert!(heard.rest.is_empty(), "whole frames only");
    assert_eq!(world.shared.budget.used(), 0);
    client.bytes()
}

#[test]
fn the_stream_is_the_same_behind_a_send_buffer_of_any_size() {
    let few = |world: &World| (0..4).for_each(|n| assert!(world.publish_number("news", n, 100)));
    let whole = stream(|_| {}, few);
    for size in 1..300 {
        assert_eq!(stream(|client| client.kernel().send_buffer = size, few), whole, "{size} bytes");
        assert_eq!(stream(|client| client.kernel().most_per_write = size, few), whole, "{size} a write");
    }
    let whole = stream(|_| {}, publish_some);
    for size in [127, 4_096, 65_535, 65_536, 65_537, 100_000] {
        assert_eq!(stream(|client| client.kernel().send_buffer = size, publish_some), whole, "{size} bytes");
    }
}

#[test]
fn a_ping_gets_one_pong_each() {
    let mut world = World::new(roomy());
    let client = world.connect();
    let asked = (0..10u8).map(|n| vec![n; usize::from(n)]).collect::<Vec<_>>();
    for payload in &asked {
        client.ping(payload);
    }
    world.settle();
    assert_eq!(client.payloads(PONG), asked);
}

#[test]
fn a_pong_overtakes_what_waits_but_never_cuts_a_frame() {
    for size in 1..120 {
        let mut world = World::new(roomy());
        let client = world.connect_to("news");
        client.stop_reading(size);
        (0..20).for_each(|n| assert!(world.publish_number("news", n, 50)));
        world.settle();
        for payload in [b"1", b"2", b"3"] {
            client.ping(payload);
            world.settle();
        }
        let before = client.heard().frames.len();
        client.resume();
        world.settle();
        let heard = client.heard();
        assert!(heard.rest.is_empty());
        assert_eq!(client.numbers("news"), (0..20).collect::<Vec<_>>());
        // RFC 6455 §5.5.3: only the newest of the pings that wait needs an answer.
        assert_eq!(client.payloads(PONG), [b"3"], "behind {size} bytes");
        let pong = heard.frames.iter().position(|frame| frame.opcode == PONG).expect("a pong");
        let taken = size.div_ceil(numbered("news", 0, 50).len()) + 1;
        assert!(pong <= before + taken, "the pong came as frame {pong}");
    }
}

#[test]
fn what_waits_and_what_is_new_leave_in_order() {
    let mut world = World::new(roomy());
    let client = world.connect_to("news");
    let other = world.connect_to("news");
    for round in 0..50 {
        client.stop_reading(1 + round as usize * 7 % 97);
        for n in 0..3 {
            world.publish_number("news", round * 4 + n, 20);
        }
        world.settle();
        client.kernel().drain(30);
        world.send(client.key(), &numbered("news", round * 4 + 3, 0)).expect("there is room");
        world.settle();
        client.kernel().drain(45);
    }
    client.resume();
    world.settle();
    assert_eq!(client.numbers("news"), (0..200).collect::<Vec<_>>());
    assert_eq!(other.numbers("news").len(), 150);
    assert_eq!(client.payloads(TEXT).len(), 200 + 2, "server_ready and the reply beside them");
    assert_eq!(world.shared.budget.used(), 0);
}

#[test]
fn an_early_edge_writes_nothing_twice() {
    let mut world = World::new(roomy());
    let client = world.connect_to("news");
    client.stop_reading(10);
    (0..5).for_each(|n| assert!(world.publish_number("news", n, 0)));
    world.settle();
    for _ in 0..5 {
        client.kernel().edges.writable = true;
        world.settle();
        assert_eq!(client.unread(), 10);
    }
    client.resume();
    world.settle();
    assert_eq!(client.numbers("news"), [0, 1, 2, 3, 4]);
}

#[test]
fn a_close_waits_for_the_frame_in_progress_alone() {
    for size in 1..150 {
        let mut world = World::new(roomy());
        let client = world.connect_to("news");
        client.stop_reading(20);
        (0..9).for_each(|n| assert!(world.publish_number("news", n, 10)));
        world.settle();
        client.ping(b"a pong that may be in progress as well");
        world.settle();
        world.let_read(&client, size);
        world.disconnect(client.key(), 4403);
        world.settle();
        client.resume();
        world.settle();
        assert!(client.heard().rest.is_empty(), "after {size} bytes");
        assert_eq!(client.close_code(), Some(4403), "after {size} bytes");
        assert_eq!(world.shared.budget.used(), 0);
    }
}

#[test]
fn a_flood_of_pings_is_answered_one_by_one() {
    let mut world = World::new(roomy());
    let client = world.connect();
    let asked = (0..10_000u32).map(|n| n.to_be_bytes().to_vec()).collect::<Vec<_>>();
    client.write(&asked.iter().flat_map(|payload| frame(PING, payload, true)).collect::<Vec<_>>());
    world.settle();
    assert_eq!(client.payloads(PONG), asked);
}
