//! Verifies that a client's binary message is read whatever carries it, and that what breaks a limit or cannot be
//! read harms nobody else.

use crate::client::{BINARY, MORE, frame};
use crate::listener::Listener;
use crate::world::{World, settings, value};
use serde_json::json;
use wse_engine::Config;
use wse_engine::inbound::Kind;
use wse_protocol::compress::{Deflater, Format};
use wse_protocol::frame::FrameLimits;
use wse_protocol::msgpack;

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new(Format::Zlib, 6).deflate(text, &mut out);
    out
}

fn packed(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    msgpack::encode(text, &mut out).expect("an object");
    out
}

fn prefixed(prefix: &str, body: &[u8]) -> Vec<u8> {
    [prefix.as_bytes(), body].concat()
}

/// What the application hears of `messages`, sent as binary by a connection with this query.
fn heard(world: &mut World, query: &str, messages: &[Vec<u8>]) -> (Listener, Vec<(Kind, Vec<u8>)>) {
    let listener = Listener::connect(world, query);
    world.take_events();
    messages.iter().for_each(|message| listener.client.binary(message));
    world.settle();
    let events = world.take_events().into_iter().filter(|event| event.key == listener.client.key());
    let events = events.map(|event| (event.kind, event.payload)).collect();
    (listener, events)
}

#[test]
fn a_message_says_the_same_whatever_carries_it() {
    let mut world = World::new(settings());
    let text = r#"{"t":"order","p":{"n":1,"a":[true,null]}}"#;
    for (query, message) in [
        ("", prefixed("C:", &zlib(text.as_bytes()))),
        ("", zlib(text.as_bytes())),
        ("", prefixed("M:", &packed(text))),
        ("format=msgpack", packed(text)),
        ("format=msgpack", text.as_bytes().to_vec()),
        ("", text.as_bytes().to_vec()),
        ("", prefixed("U", text.as_bytes())),
        ("", prefixed("WSE", text.as_bytes())),
        ("", prefixed("C:", &zlib(&prefixed("S", text.as_bytes())))),
        ("protocol_version=1", prefixed("C:", &zlib(text.as_bytes()))),
    ] {
        let (_, events) = heard(&mut world, query, std::slice::from_ref(&message));
        assert_eq!(events, [(Kind::Message, text.as_bytes().to_vec())], "{query} {message:?}");
    }
    let mut listener = Listener::connect(&mut world, "encryption=true");
    listener.listen();
    world.take_events();
    listener.client.binary(&listener.seal(text));
    world.settle();
    let events = world.take_events().into_iter().map(|event| (event.kind, event.payload));
    assert!(events.eq([(Kind::Message, text.as_bytes().to_vec())]));
    assert_eq!(value(&world.shared.metrics.protocol_errors_total), 0);
}

#[test]
fn the_engines_own_messages_are_understood_in_every_form_and_in_pieces() {
    let mut world = World::new(settings());
    let ping = r#"{"t":"ping","p":{"timestamp":5}}"#;
    let (client, events) = heard(
        &mut world,
        "format=msgpack",
        &[prefixed("C:", &zlib(ping.as_bytes())), packed(ping), ping.as_bytes().to_vec()],
    );
    let stream = prefixed("C:", &zlib(ping.as_bytes()));
    for (at, piece) in stream.chunks(5).enumerate() {
        let opcode = if at == 0 { BINARY } else { MORE };
        client.client.write(&frame(opcode, piece, (at + 1) * 5 >= stream.len()));
    }
    world.settle();
    assert_eq!(events, []);
    let answers = client.client.told("PONG").into_iter().map(|pong| pong["client_timestamp"].as_u64());
    assert!(answers.eq([Some(5); 4]), "in text, whatever carried the ping");
}

#[test]
fn what_cannot_be_read_is_told_and_the_connection_goes_on() {
    let mut world = World::new(settings());
    let stream = zlib(br#"{"t":"x"}"#);
    let broken = [
        prefixed("C:", b"no stream"),
        prefixed("C:", b""),
        prefixed("C:", &stream[..stream.len() - 1]),
        prefixed("C:", &[&stream[..], b"more"].concat()),
        prefixed("C:", &zlib(b"\xff\xfe")),
        prefixed("M:", b""),
        prefixed("M:", b"\x93\x01\x02\x03"),
        prefixed("M:", b"\x81\x01\x02"),
        prefixed("M:", b"\x81\xa1t\xc1"),
        prefixed("M:", b"\x81\xa1t\xdb\xff\xff\xff\xff"),
        prefixed("M:", b"\xdf\xff\xff\xff\xff"),
        prefixed("M:", b"\x81\xa1t\xd4\x01\x00"),
    ];
    let (listener, events) = heard(&mut world, "", &broken);
    assert_eq!(events, []);
    assert_eq!(listener.client.errors(), vec!["INVALID_MESSAGE"; broken.len()]);
    assert_eq!(value(&world.shared.metrics.protocol_errors_total), broken.len() as u64);
    listener.client.binary(&prefixed("C:", &stream));
    world.settle();
    assert_eq!(world.take_events().len(), 1);
}

#[test]
fn what_only_looks_like_a_form_is_the_applications_own() {
    let mut world = World::new(settings());
    let bomb = zlib(&vec![b' '; 900_000]);
    let deep = [b"\x81\xa1a".repeat(10), b"\xc0\xc0".to_vec()].concat();
    let own = [
        vec![],
        b"bytes".to_vec(),
        // It begins like a zlib stream, a map, an object; or is one, with something else inside.
        b"\x78\x9c and no stream".to_vec(),
        zlib(b"no object"),
        zlib(b"\xff\xfe"),
        bomb,
        b"\x81 no map".to_vec(),
        deep,
        b"{ no object".to_vec(),
        b"{\"t\":\xff}".to_vec(),
        b"U{".to_vec(),
        b"[1]".to_vec(),
        b"c:".to_vec(),
        b"C".to_vec(),
    ];
    let (listener, events) = heard(&mut world, "format=msgpack", &own);
    assert!(events.into_iter().eq(own.into_iter().map(|bytes| (Kind::Binary, bytes))));
    assert_eq!(listener.client.errors(), [""; 0]);
    // A map is none of ours where JSON is spoken.
    let map = packed(r#"{"t":"x"}"#);
    let (_, events) = heard(&mut world, "", std::slice::from_ref(&map));
    assert_eq!(events, [(Kind::Binary, map)]);
}

#[test]
fn what_breaks_a_limit_ends_its_connection_alone() {
    let frame = FrameLimits { max_message_bytes: 100_000, ..settings().frame };
    let mut world = World::new(Config { frame, ..settings() });
    let neighbour = world.connect_to("news");
    let strings = packed(&format!(r#"{{"t":"{}"}}"#, "\\u0001".repeat(30_000)));
    let nested = |open: &[u8], close: &[u8], times: usize| {
        [b"{\"t\":".to_vec(), open.repeat(times), b"1".to_vec(), close.repeat(times), b"}".to_vec()].concat()
    };
    let maps = |times: usize| [b"\x81\xa1t".repeat(times), b"\x01".to_vec()].concat();
    for (query, message, code) in [
        // Too large inside, and too much of it for its size.
        ("", prefixed("C:", &zlib(&vec![b' '; 100_001])), 1009),
        ("", prefixed("C:", &zlib(&vec![b' '; 99_000])), 1009),
        ("", prefixed("M:", &strings), 1009),
        ("", prefixed("M:", &maps(65)), 1007),
        ("format=msgpack", maps(65), 1007),
        ("", prefixed("C:", &zlib(&nested(b"[", b"]", 128))), 1007),
        ("", nested(b"[", b"]", 128), 1007),
        ("format=msgpack", nested(b"[", b"]", 128), 1007),
    ] {
        let (listener, events) = heard(&mut world, query, std::slice::from_ref(&message));
        assert_eq!(listener.client.close_code(), Some(code), "{query}");
        assert_eq!(events.iter().map(|event| event.0).collect::<Vec<_>>(), [Kind::Disconnect]);
    }
    assert_eq!(value(&world.shared.metrics.protocol_errors_total), 8);
    // On the edge nothing happens.
    let varied = (0..9_000).map(|n| format!("{n},")).collect::<String>();
    let edge = format!("{{\"t\":\"x\",\"p\":[{varied}1]}}");
    let messages = [
        prefixed("C:", &zlib(edge.as_bytes())),
        prefixed("M:", &maps(64)),
        prefixed("C:", &zlib(&nested(b"[", b"]", 127))),
    ];
    let (listener, events) = heard(&mut world, "", &messages);
    assert_eq!((events.len(), listener.client.close_code()), (3, None));
    assert!(world.publish_number("news", 7, 0));
    world.settle();
    assert_eq!(neighbour.numbers("news"), [7]);
}

#[test]
fn a_plain_engine_touches_no_binary_message() {
    let mut world = World::new(Config { envelope: false, ..settings() });
    let text = br#"{"t":"ping"}"#;
    let own = [
        prefixed("C:", &zlib(text)),
        prefixed("C:", b"no stream"),
        prefixed("M:", b""),
        prefixed("E:", &[0; 40]),
        zlib(text),
        packed(r#"{"t":"x"}"#),
        text.to_vec(),
    ];
    let listener = Listener::knock(&mut world, "format=msgpack&encryption=true");
    world.take_events();
    own.iter().for_each(|message| listener.client.binary(message));
    world.settle();
    let events = world.take_events().into_iter().map(|event| (event.kind, event.payload));
    assert!(events.eq(own.into_iter().map(|bytes| (Kind::Binary, bytes))));
    assert_eq!(value(&world.shared.metrics.encrypted_dropped_total), 0);
}

#[test]
fn what_a_request_in_any_form_asks_for_is_done() {
    let mut world = World::new(settings());
    let request =
        json!({"t": "subscription_update", "p": {"action": "subscribe", "topics": ["news"]}}).to_string();
    for (query, message) in [
        ("", prefixed("C:", &zlib(request.as_bytes()))),
        ("format=msgpack", packed(&request)),
        ("compression=true", zlib(request.as_bytes())),
    ] {
        let (mut listener, _) = heard(&mut world, query, &[message]);
        assert!(world.publish_number("news", 1, 0));
        world.settle();
        assert_eq!(listener.numbers("news"), [1], "{query}");
    }
}
