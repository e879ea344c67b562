//! Verifies that frames read the same however their bytes are split, and that tungstenite, an
//! implementation that is not ours, reads and writes the same messages.

use std::io::{self, Cursor, Read, Write};
use std::ops::ControlFlow;

use proptest::prelude::*;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message as Theirs};
use wse_protocol::codes::close;
use wse_protocol::frame::{self, FrameError, FrameLimits, FrameReader, Message, OpCode};

const LIMIT: usize = 4096;
const LIMITS: FrameLimits = FrameLimits { max_message_bytes: LIMIT, max_fragments: 0 };

/// How a stream of bytes ended.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// Everything was read so far.
    Waiting,
    Closed,
    Refused,
}

/// A message of either implementation.
#[derive(Debug, Clone, PartialEq)]
enum Read1 {
    Text(String),
    Binary(Vec<u8>),
    Compressed(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Message<'_>> for Read1 {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.into()),
            Message::Binary(bytes) => Self::Binary(bytes.into()),
            Message::Compressed { is_text, payload } => Self::Compressed(is_text, payload.into()),
            Message::Ping(bytes) => Self::Ping(bytes.into()),
            Message::Pong(bytes) => Self::Pong(bytes.into()),
            Message::Close { code, reason } => Self::Close(code, reason.into()),
        }
    }
}

impl From<Theirs> for Read1 {
    fn from(message: Theirs) -> Self {
        match message {
            Theirs::Text(text) => Self::Text(text.as_str().into()),
            Theirs::Binary(bytes) => Self::Binary(bytes.into()),
            Theirs::Ping(bytes) => Self::Ping(bytes.into()),
            Theirs::Pong(bytes) => Self::Pong(bytes.into()),
            Theirs::Close(None) => Self::Close(None, String::new()),
            Theirs::Close(Some(frame)) => Self::Close(Some(frame.code.into()), frame.reason.as_str().into()),
            Theirs::Frame(_) => unreachable!("reading gives messages"),
        }
    }
}

/// Reads `bytes` with our reader, cut before each position of `cuts`.
fn ours(bytes: &[u8], cuts: &[usize]) -> (Vec<Read1>, End, Option<FrameError>) {
    ours_with(bytes, cuts, false)
}

fn ours_with(bytes: &[u8], cuts: &[usize], has_deflate: bool) -> (Vec<Read1>, End, Option<FrameError>) {
    let mut reader = FrameReader::new();
    let mut messages = Vec::new();
    let mut from = 0;
    for &to in cuts.iter().chain([&bytes.len()]) {
        let end = reader.feed(&mut bytes[from..to].to_vec(), &LIMITS, has_deflate, &mut |message| {
            messages.push(message.into());
            ControlFlow::Continue(())
        });
        match end {
            Ok(ControlFlow::Continue(())) => from = to,
            Ok(ControlFlow::Break(_)) => return (messages, End::Closed, None),
            Err(error) => return (messages, End::Refused, Some(error)),
        }
    }
    (messages, End::Waiting, None)
}

/// A connection on which `read` has arrived and nothing more comes yet.
struct Wire {
    read: Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.read.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn socket(read: Vec<u8>, role: Role) -> WebSocket<Wire> {
    let config = WebSocketConfig::default().max_frame_size(Some(LIMIT)).max_message_size(Some(LIMIT));
    let wire = Wire { read: Cursor::new(read), written: Vec::new() };
    WebSocket::from_raw_socket(wire, role, Some(config))
}

/// Reads `bytes` with tungstenite.
fn theirs(bytes: &[u8], role: Role) -> (Vec<Read1>, End) {
    let mut socket = socket(bytes.to_vec(), role);
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => {
                let is_close = message.is_close();
                messages.push(message.into());
                if is_close {
                    return (messages, End::Closed);
                }
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (messages, End::Waiting);
            }
            Err(_) => return (messages, End::Refused),
        }
    }
}

/// One frame as a client might write it, rightly or wrongly.
#[derive(Debug, Clone)]
struct RawFrame {
    first: u8,
    is_masked: bool,
    /// Bytes in which the length is written beyond the shortest form.
    longer: u8,
    mask: [u8; 4],
    payload: Vec<u8>,
}

impl RawFrame {
    fn bytes(&self) -> Vec<u8> {
        let len = self.payload.len();
        let flag = if self.is_masked { 0x80 } else { 0 };
        let form = self.longer + if len < 126 { 0 } else { 1 };
        let mut bytes = vec![self.first];
        match form {
            0 => bytes.push(flag | len as u8),
            1 => {
                bytes.push(flag | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            _ => {
                bytes.push(flag | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        if self.is_masked {
            bytes.extend(self.mask);
            bytes.extend(self.payload.iter().zip(self.mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }
}

/// Payloads: text, pieces of text that end inside a character, Close codes, and noise.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-z]{0,20}".prop_map(String::into_bytes),
        4 => "\\PC{0,40}".prop_map(String::into_bytes),
        2 => prop::sample::select(vec![&b"\xc3"[..], b"\xa9", b"\xf0\x9f", b"\x98\x80", b"\xed\xa0", b"\xe2\x82", b"\xac"])
            .prop_map(<[u8]>::to_vec),
        2 => (prop_oneof![990_u16..1020, 2990_u16..3010, any::<u16>()], "[a-zé]{0,6}")
            .prop_map(|(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => prop::collection::vec(any::<u8>(), 0..2000),
    ]
}

fn raw_frame() -> impl Strategy<Value = RawFrame> {
    let first = prop_oneof![
        20 => prop::sample::select(vec![0x81_u8, 0x82, 0x01, 0x02, 0x00, 0x00, 0x00, 0x80, 0x80, 0x80, 0x89, 0x8a]),
        2 => prop::sample::select(vec![0xc1_u8, 0xc2, 0x41, 0x42]),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let longer = prop_oneof![60 => Just(0_u8), 1 => 1..=2_u8];
    (first, prop::bool::weighted(0.99), longer, any::<[u8; 4]>(), payload()).prop_map(
        |(first, is_masked, longer, mask, payload)| RawFrame { first, is_masked, longer, mask, payload },
    )
}

/// Frames that are mostly good, perhaps cut short at the end.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(raw_frame(), 0..12), prop::option::weighted(0.3, any::<prop::sample::Index>()))
        .prop_map(|(frames, cut)| {
            let mut bytes: Vec<u8> = frames.iter().flat_map(RawFrame::bytes).collect();
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            bytes
        })
}

/// Messages of a good client, each in one or more frames.
fn client_messages() -> impl Strategy<Value = Vec<Theirs>> {
    let message = prop_oneof![
        4 => "\\PC{0,200}".prop_map(Theirs::text),
        2 => prop::collection::vec(any::<u8>(), 0..1000).prop_map(Theirs::binary),
        1 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(|bytes| Theirs::Ping(bytes.into())),
        1 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(|bytes| Theirs::Pong(bytes.into())),
    ];
    prop::collection::vec(message, 0..8)
}

fn cuts(len: usize, indices: &[prop::sample::Index]) -> Vec<usize> {
    let mut cuts: Vec<_> = indices.iter().map(|index| index.index(len + 1)).collect();
    cuts.sort_unstable();
    cuts
}

fn indices() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_stream_split_anywhere_gives_the_same_messages_and_the_same_end(
        bytes in stream(),
        split in indices(),
        has_deflate: bool,
    ) {
        let whole = ours_with(&bytes, &[], has_deflate);
        prop_assert_eq!(&ours_with(&bytes, &cuts(bytes.len(), &split), has_deflate), &whole);
        let everywhere: Vec<_> = (1..bytes.len()).collect();
        prop_assert_eq!(&ours_with(&bytes, &everywhere, has_deflate), &whole);
    }

    /// With the bit, bytes are read as a binary message without it is; with no agreement they are refused.
    #[test]
    fn a_compressed_message_is_read_like_a_binary_one(
        pieces in prop::collection::vec((payload(), any::<[u8; 4]>(), prop::option::weighted(0.2, payload())), 1..6),
        is_text: bool,
        split in indices(),
    ) {
        let stream = |first: u8| {
            let last = pieces.len() - 1;
            let frames = pieces.iter().enumerate().flat_map(|(index, (payload, mask, ping))| {
                let fin = if index == last { 0x80 } else { 0 };
                let first = fin | if index == 0 { first } else { 0 };
                let frame = RawFrame { first, is_masked: true, longer: 0, mask: *mask, payload: payload.clone() };
                let ping = ping.as_ref().filter(|ping| ping.len() <= frame::MAX_CONTROL);
                let ping = ping.map(|ping| RawFrame { first: 0x89, payload: ping.clone(), ..frame.clone() });
                ping.into_iter().chain([frame])
            });
            frames.flat_map(|frame| frame.bytes()).collect::<Vec<_>>()
        };
        let plain = stream(0x02);
        let mut expected = ours(&plain, &[]);
        for message in &mut expected.0 {
            if let Read1::Binary(bytes) = message {
                *message = Read1::Compressed(is_text, std::mem::take(bytes));
            }
        }
        let bytes = stream(if is_text { 0x41 } else { 0x42 });
        prop_assert_eq!(ours_with(&bytes, &cuts(bytes.len(), &split), true), expected);
        let refused = ours(&bytes, &cuts(bytes.len(), &split));
        prop_assert_eq!(refused.2, Some(FrameError::ReservedBits));
    }

    /// Known differences: here a length must be minimal (that of a control frame is one byte), a Close
    /// code that may not be sent is refused instead of read as 1002, 1014 (registered for gateways) may be
    /// sent, and what cannot become good is refused before its frame is whole.
    #[test]
    fn both_implementations_accept_the_same_streams(bytes in stream(), split in indices()) {
        let (mut messages, end, error) = ours(&bytes, &cuts(bytes.len(), &split));
        if let Some(Read1::Close(code @ Some(1014), reason)) = messages.last_mut() {
            (*code, *reason) = (Some(close::PROTOCOL), "Protocol violation".into());
        }
        let (their_messages, their_end) = theirs(&bytes, Role::Server);
        match (error, their_end) {
            (Some(FrameError::LengthNotMinimal | FrameError::ControlTooLong), _) => {
                prop_assert!(their_messages.starts_with(&messages));
            }
            (Some(FrameError::InvalidCloseCode(_)), End::Closed) => {
                let (last, before) = their_messages.split_last().expect("a Close at least");
                prop_assert_eq!(before, messages);
                prop_assert!(matches!(last, Read1::Close(Some(close::PROTOCOL), _)));
            }
            (Some(_), End::Waiting) => prop_assert_eq!(messages, their_messages),
            _ => {
                prop_assert_eq!(messages, their_messages);
                prop_assert_eq!(end, their_end);
            }
        }
    }

    #[test]
    fn what_their_client_writes_is_read_here(messages in client_messages(), split in indices()) {
        let mut client = socket(Vec::new(), Role::Client);
        for message in &messages {
            client.send(message.clone()).expect("memory takes it");
        }
        let expected: Vec<Read1> = messages.into_iter().map(Read1::from).collect();
        let bytes = &client.get_ref().written;
        prop_assert_eq!(ours(bytes, &cuts(bytes.len(), &split)), (expected, End::Waiting, None));
    }

    #[test]
    fn what_is_written_here_is_read_by_their_client(
        text in "\\PC{0,300}",
        binary in prop::collection::vec(any::<u8>(), 0..LIMIT),
        control in prop::collection::vec(any::<u8>(), 0..=frame::MAX_CONTROL),
        code in prop_oneof![1000_u16..=1003, 1007_u16..=1013, 3000_u16..=4999],
        reason in "\\PC{0,100}",
    ) {
        let bytes = [
            frame::encode(OpCode::Text, text.as_bytes()),
            frame::encode(OpCode::Binary, &binary),
            frame::encode(OpCode::Ping, &control),
            frame::encode(OpCode::Pong, &control),
            frame::encode_close(code, &reason),
        ].concat();
        let (messages, end) = theirs(&bytes, Role::Client);
        prop_assert_eq!(end, End::Closed);
        let Some((Read1::Close(Some(read_code), read_reason), rest)) = messages.split_last() else {
            return Err(TestCaseError::fail("the last message is the Close"));
        };
        prop_assert_eq!(*read_code, code);
        prop_assert!(reason.starts_with(read_reason.as_str()) && reason.len() - read_reason.len() <= reason.len().saturating_sub(120));
        let expected =
            [Read1::Text(text), Read1::Binary(binary), Read1::Ping(control.clone()), Read1::Pong(control)];
        prop_assert_eq!(rest, expected);
    }

    #[test]
    fn noise_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), split in indices()) {
        let whole = ours(&bytes, &[]);
        prop_assert_eq!(ours(&bytes, &cuts(bytes.len(), &split)), whole);
    }
}
