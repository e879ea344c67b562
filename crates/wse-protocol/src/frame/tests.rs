//! Unit tests of the frame codec, with frames written out by hand.

use std::ops::ControlFlow;

use super::*;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = encode(OpCode::Text, payload);
    let header = bytes.len() - payload.len();
    bytes[0] = first;
    bytes[1] |= MASKED;
    bytes.splice(header..header, KEY);
    mask::unmask(&mut bytes[header + 4..], KEY, 0);
    bytes
}

fn owned(message: Message<'_>) -> String {
    format!("{message:?}")
}

/// What came out, and how it ended.
type Outcome = (Vec<String>, Result<ControlFlow<usize>, FrameError>);

/// Feeds `bytes` in pieces of `size`.
fn read_in(bytes: &[u8], size: usize, limits: &FrameLimits) -> Outcome {
    read_with(bytes, size, limits, false)
}

fn read_with(bytes: &[u8], size: usize, limits: &FrameLimits, has_deflate: bool) -> Outcome {
    let mut reader = FrameReader::new();
    let mut messages = Vec::new();
    for piece in bytes.chunks(size) {
        let end = reader.feed(&mut piece.to_vec(), limits, has_deflate, &mut |message| {
            messages.push(owned(message));
            ControlFlow::Continue(())
        });
        if end != Ok(ControlFlow::Continue(())) {
            return (messages, end);
        }
    }
    (messages, Ok(ControlFlow::Continue(())))
}

fn read(bytes: &[u8]) -> Outcome {
    read_both_ways(bytes, false)
}

fn read_both_ways(bytes: &[u8], has_deflate: bool) -> Outcome {
    let whole = read_with(bytes, bytes.len().max(1), &FrameLimits::default(), has_deflate);
    let single = read_with(bytes, 1, &FrameLimits::default(), has_deflate);
    assert_eq!(whole, single, "one byte at a time reads the same");
    whole
}

fn refusal(bytes: &[u8]) -> FrameError {
    read(bytes).1.expect_err("the frame is refused")
}

#[test]
fn the_masked_hello_of_the_rfc_is_read() {
    let bytes = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(&bytes), (vec!["Text(\"Hello\")".into()], Ok(ControlFlow::Continue(()))));
}

#[test]
fn a_reader_weighs_a_pointer_and_keeps_nothing_between_messages() {
    assert_eq!(size_of::<FrameReader>(), size_of::<usize>());
    let mut reader = FrameReader::new();
    let frame = client(0x81, b"hello");
    let mut drop_all = |_: Message<'_>| ControlFlow::Continue(());
    for cut in 1..frame.len() {
        let (head, tail) = frame.split_at(cut);
        assert!(reader.feed(&mut head.to_vec(), &FrameLimits::default(), false, &mut drop_all).is_ok());
        assert!(!reader.is_idle() && reader.buffered_bytes() > 0);
        assert!(reader.feed(&mut tail.to_vec(), &FrameLimits::default(), false, &mut drop_all).is_ok());
        assert!(reader.is_idle() && reader.buffered_bytes() == 0);
    }
}

#[test]
fn a_control_frame_between_fragments_comes_out_before_the_message() {
    let bytes = [client(0x01, b"fo"), client(0x89, b"?"), client(0x00, b"o"), client(0x80, b"")].concat();
    assert_eq!(read(&bytes).0, ["Ping([63])", "Text(\"foo\")"]);
}

#[test]
fn each_breach_of_the_rfc_has_its_own_error() {
    use FrameError::*;
    let close = |payload: &[u8]| client(0x88, payload);
    for (bytes, error) in [
        (encode(OpCode::Text, b"x"), Unmasked),
        (client(0xc1, b"x"), ReservedBits),
        (client(0xa1, b"x"), ReservedBits),
        (client(0x91, b"x"), ReservedBits),
        (client(0x83, b"x"), ReservedOpcode(3)),
        (client(0x8f, b"x"), ReservedOpcode(15)),
        (client(0x09, b"x"), FragmentedControl),
        (client(0x89, &[0; 126]), ControlTooLong),
        (vec![0x81, 0xfe, 0, 125, 0, 0, 0, 0], LengthNotMinimal),
        (vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0], LengthNotMinimal),
        (vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], LengthOutOfRange),
        (client(0x80, b"x"), UnexpectedContinuation),
        ([client(0x01, b"x"), client(0x81, b"x")].concat(), ExpectedContinuation),
        (client(0x81, b"\xff"), InvalidUtf8),
        (close(b"\x03"), TruncatedCloseCode),
        (close(b"\x03\xe8\xff"), InvalidUtf8),
    ] {
        assert_eq!(refusal(&bytes), error);
        assert!(error.reason().len() <= MAX_CONTROL - 2 && error.to_string() == error.reason());
    }
}

#[test]
fn a_compressed_message_comes_out_as_it_came() {
    let bytes = [
        client(0xc1, b"\xff"),
        client(0x42, b"\xff"),
        client(0x89, b"?"),
        client(0x00, b""),
        client(0x80, b"\xfe"),
        client(0x41, b"\xc0"),
        client(0x80, b"\xc0"),
        client(0x81, b"plain"),
        client(0xc2, b""),
    ];
    let expected = [
        "Compressed { is_text: true, payload: [255] }",
        "Ping([63])",
        "Compressed { is_text: false, payload: [255, 254] }",
        "Compressed { is_text: true, payload: [192, 192] }",
        "Text(\"plain\")",
        "Compressed { is_text: false, payload: [] }",
    ];
    let (messages, end) = read_both_ways(&bytes.concat(), true);
    assert_eq!(messages, expected);
    assert_eq!(end, Ok(ControlFlow::Continue(())));
}

#[test]
fn only_the_first_frame_of_a_message_says_that_it_is_compressed() {
    let first = client(0x41, b"x");
    for frame in [0xc0, 0x40, 0xc8, 0xc9, 0xca, 0xa1, 0x91, 0xd1, 0xe1, 0xf2] {
        let bytes = [first.clone(), client(frame, b"x")].concat();
        for bytes in [&bytes[..], &bytes[first.len()..]] {
            assert_eq!(read_both_ways(bytes, true).1, Err(FrameError::ReservedBits), "{frame:#x}");
        }
    }
    let unexpected = [first.clone(), client(0xc1, b"x")].concat();
    assert_eq!(read_both_ways(&unexpected, true).1, Err(FrameError::ExpectedContinuation));
    // Text that is not compressed is checked, whatever the connection has agreed on.
    assert_eq!(read_both_ways(&client(0x81, b"\xff"), true).1, Err(FrameError::InvalidUtf8));
}

#[test]
fn the_limits_of_a_compressed_message_are_those_of_what_came() {
    let limits = FrameLimits { max_message_bytes: 200, max_fragments: 2 };
    let end = |bytes: &[u8]| read_with(bytes, bytes.len(), &limits, true).1;
    assert_eq!(end(&client(0xc2, &[0; 200])), Ok(ControlFlow::Continue(())));
    assert_eq!(end(&client(0xc2, &[0; 201])[..8]), Err(FrameError::MessageTooLarge));
    let third = [client(0x41, b""), client(0x00, b""), client(0x00, b"")].concat();
    assert_eq!(end(&third), Err(FrameError::TooManyFragments));
}

#[test]
fn only_close_codes_that_an_endpoint_may_send_are_accepted() {
    let accepted = |code: u16| match read(&client(0x88, &code.to_be_bytes())) {
        (messages, Ok(ControlFlow::Break(0))) => messages.len() == 1,
        (_, end) => {
            assert_eq!(end, Err(FrameError::InvalidCloseCode(code)));
            false
        }
    };
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4000, 4999] {
        assert!(accepted(code), "{code}");
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
        assert!(!accepted(code), "{code}");
    }
}

#[test]
fn nothing_is_read_after_a_close() {
    let bytes = [client(0x88, b"\x03\xe8bye"), client(0x81, b"x")].concat();
    let whole = read_in(&bytes, bytes.len(), &FrameLimits::default());
    let message = "Close { code: Some(1000), reason: \"bye\" }";
    assert_eq!(whole, (vec![message.into()], Ok(ControlFlow::Break(7))));
}

#[test]
fn text_fails_at_its_first_impossible_byte_while_the_frame_is_unfinished() {
    // Overlong, surrogate, beyond the last character, a lone continuation, a byte that no text has.
    for bad in [&b"\xc0"[..], b"\xe0\x80", b"\xed\xa0", b"\xf4\x90", b"\xf0\x80", b"\x80", b"\xf5", b"a\xc3("]
    {
        let mut bytes = client(0x01, &[bad, &[b'x'; 20]].concat());
        bytes.truncate(6 + bad.len());
        assert_eq!(read(&bytes).1, Err(FrameError::InvalidUtf8), "{bad:x?}");
    }
    for unfinished in [&b"\xc3"[..], b"\xe0\xa0", b"\xed\x9f", b"\xf4\x8f\xbf", b"\xf0\x90"] {
        let waits = client(0x01, unfinished);
        assert_eq!(read(&waits).1, Ok(ControlFlow::Continue(())), "{unfinished:x?}");
        let ends = [waits, client(0x80, b"")].concat();
        assert_eq!(refusal(&ends), FrameError::InvalidUtf8, "{unfinished:x?}");
    }
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_header() {
    let limits = FrameLimits { max_message_bytes: 200, max_fragments: 3 };
    let end = |bytes: &[u8]| read_in(bytes, bytes.len(), &limits).1;
    assert_eq!(end(&client(0x82, &[0; 200])), Ok(ControlFlow::Continue(())));
    assert_eq!(end(&client(0x82, &[0; 201])[..8]), Err(FrameError::MessageTooLarge));
    let second = [client(0x02, &[0; 150]), client(0x00, &[0; 51])[..6].to_vec()].concat();
    assert_eq!(end(&second), Err(FrameError::MessageTooLarge));

    let empty = client(0x00, b"");
    let three = [client(0x01, b""), empty.clone(), empty.clone()].concat();
    assert_eq!(end(&three), Ok(ControlFlow::Continue(())));
    assert_eq!(end(&[three, empty].concat()), Err(FrameError::TooManyFragments));
    let none = FrameLimits { max_message_bytes: 0, max_fragments: 0 };
    assert_eq!(read_in(&client(0x82, &[0; 70_000]), 999, &none).0.len(), 1);
}

#[test]
fn a_buffer_grows_with_what_has_arrived() {
    let limits = FrameLimits { max_message_bytes: 0, max_fragments: 0 };
    let mut reader = FrameReader::new();
    let mut drop_all = |_: Message<'_>| ControlFlow::Continue(());
    let mut header = [0x82, 0xff, 0, 0, 0x40, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    assert!(reader.feed(&mut header, &limits, false, &mut drop_all).is_ok());
    assert!(reader.feed(&mut [0; 1000], &limits, false, &mut drop_all).is_ok());
    assert!(reader.buffered_bytes() < 2000, "{}", reader.buffered_bytes());

    let frame = client(0x82, &[7; 1500]);
    let mut reader = FrameReader::new();
    for piece in frame[..1400].chunks(100) {
        assert!(reader.feed(&mut piece.to_vec(), &limits, false, &mut drop_all).is_ok());
    }
    assert!(reader.buffered_bytes() <= 1500 + 400, "a known end bounds the doubling");
}

#[test]
fn a_sink_that_breaks_sees_the_rest_when_it_is_fed_again() {
    let frames = [client(0x81, b"1"), client(0x01, b"2"), client(0x80, b"2"), client(0x81, b"3")];
    let mut bytes = [&frames.concat(), &client(0x81, b"4")[..3]].concat();
    let (mut reader, mut seen) = (FrameReader::new(), Vec::new());
    let mut rest = &mut bytes[..];
    for (left, message) in [(24, "1"), (10, "22"), (3, "3")] {
        let end = reader.feed(rest, &FrameLimits::default(), false, &mut |message| {
            seen.push(owned(message));
            ControlFlow::Break(())
        });
        assert_eq!(end, Ok(ControlFlow::Break(left)));
        assert_eq!(seen.last(), Some(&format!("Text({message:?})")));
        let done = rest.len() - left;
        rest = &mut rest[done..];
    }
    let end = reader.feed(rest, &FrameLimits::default(), false, &mut |_| ControlFlow::Break(()));
    assert_eq!((end, seen.len()), (Ok(ControlFlow::Continue(())), 3));
}

#[test]
fn a_server_frame_has_the_shortest_header_and_no_spare_byte() {
    for (len, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        let frame = encode(OpCode::Binary, &vec![1; len]);
        assert_eq!((frame.len(), frame.capacity()), (header + len, header + len));
        assert_eq!(frame[0], 0x82);
        assert_eq!(frame[1] & MASKED, 0);
    }
}

#[test]
fn a_server_frame_is_split_from_what_follows_it() {
    for len in [0, 125, 126, 65_535, 65_536] {
        let payload = vec![7; len];
        let bytes = [encode(OpCode::Binary, &payload), b"next".to_vec()].concat();
        assert_eq!(split(&bytes), Some((OpCode::Binary, &payload[..], &b"next"[..])));
        let header = bytes.len() - len - 4;
        for short in (0..=header).chain([bytes.len() - 5]).filter(|short| len > 0 || *short < header) {
            assert_eq!(split(&bytes[..short]), None, "{short} bytes of {len}");
        }
    }
    for other in [&b"HTTP/1.1 101"[..], b"\x01\x00", b"\xc1\x00", b"\x83\x00", b"\x81\x80\0\0\0\0"] {
        assert_eq!(split(other), None, "{other:x?}");
    }
}

#[test]
fn a_header_can_say_that_its_payload_is_compressed() {
    let mut header = [0; MAX_HEADER];
    let size = encode_header(OpCode::Text, 7, &mut header);
    mark_compressed(&mut header);
    assert_eq!(header[..size], [0xc1, 7]);
}

#[test]
fn the_reason_of_a_close_is_cut_between_characters() {
    assert_eq!(encode_close(4401, ""), [0x88, 2, 0x11, 0x31]);
    let frame = encode_close(1011, &"é".repeat(100));
    assert_eq!(frame.len(), 2 + 2 + 122);
    assert_eq!(std::str::from_utf8(&frame[4..]), Ok("é".repeat(61).as_str()));
    assert_eq!(encode_close(1011, &"x".repeat(200)).len(), 2 + MAX_CONTROL);
}
