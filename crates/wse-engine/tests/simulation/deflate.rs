//! Verifies that permessage-deflate changes what is on the wire and nothing else: neither what arrives, nor its order,
//! nor what a slow reader or a slow application costs the others.

use crate::client::{BINARY, CLOSE, Client, HEAD, PING, TEXT, deflated, frame};
use crate::world::{World, settings, value};
use wse_engine::Config;
use wse_engine::config::{Compression, Deflate, InboundLimits, Mode, OutboundLimits};
use wse_engine::inbound::Kind;
use wse_protocol::compress::Terms;

pub fn deflating(keeps_window: bool) -> Config {
    let terms =
        Terms { server_keeps_window: keeps_window, client_keeps_window: keeps_window, ..Terms::default() };
    let compression = Compression { threshold_bytes: 200, level: 6 };
    Config { deflate: Some(Deflate { terms, compression }), rate: None, ..settings() }
}

/// An open connection of a client that makes this offer.
pub fn connect(world: &mut World, offer: &str) -> Client {
    let client = world.accept();
    let offer = format!("Host: a\r\nSec-WebSocket-Extensions: {offer}\r\n");
    client.write(HEAD.replace("Host: a\r\n", &offer).as_bytes());
    world.settle();
    assert_eq!(client.status(), 101);
    client
}

fn connect_to(world: &mut World, topic: &str, offer: &str) -> Client {
    let client = connect(world, offer);
    client.subscribe(&[topic]);
    world.settle();
    client
}

pub const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// The raw texts and bytes that the application was told, in order.
fn told(world: &World) -> Vec<Vec<u8>> {
    let messages = world.take_events().into_iter();
    messages
        .filter(|event| matches!(event.kind, Kind::Raw | Kind::Binary))
        .map(|event| event.payload)
        .collect()
}

#[test]
fn a_publication_is_compressed_once_for_each_window_and_plain_for_the_others() {
    let mut world = World::new(deflating(false));
    let plain = world.connect_to("news");
    let small = "permessage-deflate; server_max_window_bits=9";
    let clients = [OFFER, OFFER, small, small].map(|offer| connect_to(&mut world, "news", offer));
    for n in 0..20 {
        let padding = if n % 2 == 0 { 1_000 } else { 0 };
        assert!(world.publish_number("news", n, padding));
    }
    world.settle();
    let all = (0..20).collect::<Vec<_>>();
    assert_eq!((plain.numbers("news"), plain.heard().compressed), (all.clone(), 0));
    for client in &clients {
        assert_eq!((client.numbers("news"), client.heard().compressed), (all.clone(), 10));
        assert!(client.bytes().len() < plain.bytes().len() / 2);
    }
    assert_eq!(clients[0].payloads(TEXT)[2..], clients[1].payloads(TEXT)[2..], "they got the same");
    assert_eq!(world.shared.budget.used(), 0);
}

#[test]
fn messages_are_read_the_same_however_their_bytes_are_split() {
    let long = "one letter and another ".repeat(50);
    let stream = [
        deflated(TEXT, b""),
        deflated(TEXT, "é€😀".repeat(40).as_bytes()),
        frame(TEXT, b"plain", true),
        deflated(BINARY, &[0xff; 3_000]),
        frame(PING, b"?", true),
        deflated(TEXT, long.as_bytes()),
    ]
    .concat();
    for size in [1, 2, 3, 7, 64, 1_000] {
        let mut world = World::new(deflating(false));
        world.set_consumer(true);
        let client = connect(&mut world, OFFER);
        for piece in stream.chunks(size) {
            client.write(piece);
            world.settle();
        }
        let expected = [
            b"".to_vec(),
            "é€😀".repeat(40).into(),
            b"plain".to_vec(),
            vec![0xff; 3_000],
            long.clone().into(),
        ];
        assert_eq!(told(&world), expected, "{size} bytes at a time");
        assert_eq!(client.payloads(crate::client::PONG), [b"?"]);
    }
}

#[test]
fn however_much_comes_out_of_a_little_others_have_their_turn() {
    let mut world = World::new(Config {
        inbound: InboundLimits { max_bytes: 0, max_bytes_per_connection: 0 },
        ..deflating(false)
    });
    world.set_consumer(true);
    let (greedy, healthy) = (connect(&mut world, OFFER), connect(&mut world, OFFER));
    let text = |n: usize| format!("{n} {}", " ".repeat(50_000)).into_bytes();
    let flood = (0..60).flat_map(|n| deflated(TEXT, &text(n))).collect::<Vec<_>>();
    assert!(flood.len() < 20_000, "{} bytes are one read", flood.len());
    greedy.write(&flood);
    healthy.write(&deflated(TEXT, b"well?"));
    world.turn();
    world.fall_asleep();
    let first = told(&world);
    assert!(first.contains(&b"well?".to_vec()) && first.len() < 20, "{} messages in one turn", first.len());
    world.settle();
    let rest = told(&world);
    let all = first.into_iter().chain(rest).filter(|message| *message != b"well?").collect::<Vec<_>>();
    assert!(all == (0..60).map(text).collect::<Vec<_>>(), "{} messages", all.len());
}

#[test]
fn what_the_application_has_not_taken_is_not_inflated() {
    let mut world = World::new(Config {
        inbound: InboundLimits { max_bytes: 0, max_bytes_per_connection: 50_000 },
        ..deflating(false)
    });
    world.set_consumer(true);
    let client = connect(&mut world, OFFER);
    let text = |n: usize| format!("{n} {}", " ".repeat(20_000)).into_bytes();
    let mut flood = (0..100).flat_map(|n| deflated(TEXT, &text(n))).collect::<Vec<_>>();
    flood.extend(frame(CLOSE, &1000_u16.to_be_bytes(), true));
    client.write(&flood);
    world.settle();
    let mut all = Vec::new();
    loop {
        let bytes = world.shared.desks[0].inbound.bytes();
        assert!(bytes < 100_000, "{bytes} bytes wait");
        let taken = told(&world);
        world.settle();
        if taken.is_empty() {
            break;
        }
        all.extend(taken);
    }
    assert!(all == (0..100).map(text).collect::<Vec<_>>(), "{} messages", all.len());
    assert_eq!(client.close_code(), Some(1000));
}

#[test]
fn a_client_that_keeps_its_window_is_followed() {
    let mut world = World::new(Config { mode: Mode::Echo, envelope: false, ..deflating(true) });
    let client = connect(&mut world, "permessage-deflate; client_no_context_takeover");
    let text = "a message that is long enough ".repeat(20);
    for _ in 0..5 {
        client.write(&deflated(TEXT, text.as_bytes()));
    }
    world.settle();
    assert_eq!(client.payloads(TEXT), vec![text.as_bytes(); 5]);
    assert_eq!(client.heard().compressed, 5);
    let lengths = client.bytes().len();
    assert!(lengths < text.len(), "{lengths} bytes for five times {}", text.len());
}

#[test]
fn a_slow_reader_whose_messages_refer_to_earlier_ones_misses_some_and_reads_the_others() {
    for send_buffer in [1, 100, 5_000] {
        let outbound = OutboundLimits { max_messages: 20, max_bytes: 0, slow_timeout_ms: 10_000 };
        let mut world = World::new(Config { outbound, ..deflating(true) });
        let slow = connect_to(&mut world, "news", OFFER);
        slow.stop_reading(send_buffer);
        for n in 0..3_000 {
            assert!(world.publish_number("news", n, 300));
            if n % 3 == 0 {
                slow.ping(b"?");
            }
            world.settle();
        }
        slow.resume();
        world.settle();
        let numbers = slow.numbers("news");
        let gaps = slow.told("gap").iter().filter_map(|gap| gap["count"].as_u64()).sum::<u64>();
        assert_eq!(numbers.len() as u64 + gaps, 3_000, "behind {send_buffer} bytes");
        assert!(gaps > 0 && numbers.is_sorted());
        assert!(slow.heard().compressed >= numbers.len());
        world.publish_number("news", 3_000, 300);
        world.settle();
        assert_eq!(slow.numbers("news").last(), Some(&3_000));
        assert_eq!(world.shared.budget.used(), 0);
    }
}

#[test]
fn what_cannot_be_inflated_ends_its_connection_alone() {
    let bomb = deflated(BINARY, &vec![0; 10 << 20]);
    let mut corrupt = frame(TEXT, &[0xff; 30], true);
    corrupt[0] |= 0x40;
    for (bytes, code) in [(bomb, 1009), (corrupt, 1007), (deflated(TEXT, b"\xff"), 1007)] {
        let mut world = World::new(deflating(false));
        world.set_consumer(true);
        let (offender, healthy) = (connect(&mut world, OFFER), connect(&mut world, OFFER));
        offender.write(&bytes);
        healthy.write(&deflated(TEXT, b"well?"));
        world.settle();
        assert_eq!(offender.close_code(), Some(code));
        assert_eq!(told(&world), [b"well?"]);
        assert_eq!(value(&world.shared.metrics.protocol_errors_total), 1);
        world.pass(3_000);
        assert!(offender.is_gone() && !healthy.is_gone());
        assert_eq!(world.shared.budget.used(), 0);
    }
}
