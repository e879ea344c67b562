//! Verifies that a connection behaves the same however the bytes of its peer are split.

use crate::application::Event;
use crate::client::{BINARY, HEAD, MORE, PING, TEXT, close, frame, hear};
use crate::world::{World, settings};
use std::io::Cursor;
use tungstenite::protocol::{Role, WebSocket};
use wse_engine::inbound::Kind;

/// What came of a script: the server's bytes, the application's events, and whether the socket is gone.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    bytes: Vec<u8>,
    events: Vec<Event>,
    is_gone: bool,
}

/// Plays `script`, cut before each position of `cuts`, with a turn for each piece.
fn play(script: &[u8], cuts: &[usize]) -> Outcome {
    let mut world = World::new(settings());
    let client = world.accept();
    let mut from = 0;
    for &to in cuts.iter().chain([&script.len()]) {
        client.write(&script[from..to]);
        world.settle();
        from = to;
    }
    Outcome { bytes: client.bytes(), events: world.take_events(), is_gone: client.is_gone() }
}

/// A handshake with frames right behind it, of every kind that a client may send.
fn long_script() -> Vec<u8> {
    let mut script = HEAD.as_bytes().to_vec();
    let request = r#"{"t":"subscription_update","p":{"action":"subscribe","topics":["news","\u0007"]}}"#;
    for text in [r#"{"t":"client_hello","p":{}}"#, request, r#"{"p":{"timestamp":7},"t":"ping"}"#] {
        script.extend(frame(TEXT, text.as_bytes(), true));
    }
    let whole = "grüße".as_bytes();
    script.extend(frame(TEXT, &whole[..3], false));
    script.extend(frame(PING, b"between", true));
    script.extend(frame(MORE, b"", false));
    script.extend(frame(MORE, &whole[3..], true));
    script.extend(frame(BINARY, &[0x5a; 130], true));
    script.extend(frame(TEXT, r#"{"t":"order","p":{"id":1}}"#.as_bytes(), true));
    script.extend(frame(TEXT, b"", true));
    script.extend(close(1000));
    script
}

#[test]
fn a_script_does_what_it_says_in_one_piece() {
    let outcome = play(&long_script(), &[]);
    let kinds = outcome.events.iter().map(|event| event.kind).collect::<Vec<_>>();
    use Kind::{Binary, Connect, Disconnect, Message, Raw};
    assert_eq!(kinds, [Connect, Raw, Binary, Message, Raw, Disconnect]);
    assert_eq!(outcome.events[1].payload, "grüße".as_bytes());
    assert_eq!(outcome.events[5].payload, b"1000 ");
    assert!(outcome.is_gone);
    let heard = hear(&outcome.bytes);
    assert!(heard.rest.is_empty());
    assert_eq!(heard.frames.len(), 7, "ready, hello, reply, error, PONG, pong, Close");
}

#[test]
fn every_split_of_a_long_script_gives_the_same() {
    let script = long_script();
    let whole = play(&script, &[]);
    for cut in 1..script.len() {
        assert_eq!(play(&script, &[cut]), whole, "cut before byte {cut}");
    }
    let each = (1..script.len()).collect::<Vec<_>>();
    assert_eq!(play(&script, &each), whole, "byte by byte");
}

#[test]
fn every_pair_of_splits_of_a_short_script_gives_the_same() {
    let mut script = HEAD.as_bytes().to_vec();
    let head = script.len();
    script.extend(frame(TEXT, "a€".as_bytes().split_at(2).0, false));
    script.extend(frame(PING, b"p", true));
    script.extend(frame(MORE, "a€".as_bytes().split_at(2).1, true));
    script.extend(frame(TEXT, b"{\"t\":\"m\"}", true));
    script.extend(close(1001));
    let whole = play(&script, &[]);
    assert_eq!(whole.events.len(), 4);
    for second in head..=script.len() {
        for first in head - 4..second {
            assert_eq!(play(&script, &[first, second]), whole, "cut before {first} and {second}");
        }
    }
}

#[test]
fn a_fault_is_told_the_same_however_it_arrives() {
    let faults: [(&[u8], u16); 5] = [
        (&[0x81, 0x01, b'x'], 1002),
        (&frame(MORE, b"x", true), 1002),
        (&[0xc1, 0x80, 1, 2, 3, 4], 1002),
        (&frame(TEXT, &[b'a', 0xff, b'b'], true), 1007),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 1, 2, 3, 4], 1009),
    ];
    for (fault, code) in faults {
        let script = [HEAD.as_bytes(), &frame(TEXT, b"before", true), fault].concat();
        let whole = play(&script, &[]);
        let last = hear(&whole.bytes).frames.pop().expect("a Close");
        assert_eq!(last.payload[..2], code.to_be_bytes(), "{fault:x?}");
        for cut in HEAD.len()..script.len() {
            assert_eq!(play(&script, &[cut]), whole, "{fault:x?} cut before {cut}");
        }
    }
}

#[test]
fn tungstenite_reads_what_the_server_writes() {
    let outcome = play(&long_script(), &[]);
    let frames = outcome.bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer") + 4;
    // Room for what it writes, behind what it reads: the position is the reader's.
    let stream = Duplex(Cursor::new(outcome.bytes[frames..].to_vec()));
    let mut socket = WebSocket::from_raw_socket(stream, Role::Client, None);
    let mut texts = 0;
    let end = loop {
        match socket.read() {
            Ok(message) if message.is_text() => texts += 1,
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    assert_eq!(texts, 5);
    assert!(matches!(end, tungstenite::Error::ConnectionClosed | tungstenite::Error::Protocol(_)), "{end}");
}

/// Bytes to read, and nothing that remembers what is written.
struct Duplex(Cursor<Vec<u8>>);

impl std::io::Read for Duplex {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        std::io::Read::read(&mut self.0, buffer)
    }
}

impl std::io::Write for Duplex {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
