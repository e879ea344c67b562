//! What holds for any bytes that a client may send as frames.

use std::ops::ControlFlow;
use wse_protocol::frame::{FrameError, FrameLimits, FrameReader, Message};

const SMALL: FrameLimits = FrameLimits { max_message_bytes: 300, max_fragments: 4 };
/// What an unfinished message may hold beside its payload.
const RECORD: usize = 512;

/// The messages of a stream, and how it ended.
type Outcome = (Vec<String>, Result<ControlFlow<()>, FrameError>);

/// The first byte says in which pieces the rest arrives, and with its highest bit that the limits are small.
///
/// Verifies that the pieces give the same messages and the same end as the whole, that no message is larger than
/// its limit, and that what is kept of an unfinished one is bounded by what has arrived; and that permessage-deflate
/// changes nothing but what becomes of compressed messages.
pub fn check(input: &[u8]) {
    let Some((&first, stream)) = input.split_first() else { return };
    let limits = if first & 0x80 == 0 { FrameLimits::default() } else { SMALL };
    let piece = usize::from(first & 0x7f) + 1;
    let [without, with] = [false, true].map(|has_deflate| {
        let whole = read(stream, stream.len(), &limits, has_deflate);
        assert_eq!(read(stream, piece, &limits, has_deflate), whole, "in pieces of {piece}");
        whole
    });
    if without.1 == Err(FrameError::ReservedBits) {
        assert!(with.0.starts_with(&without.0));
    } else {
        assert_eq!(with, without);
    }
}

fn read(stream: &[u8], piece: usize, limits: &FrameLimits, has_deflate: bool) -> Outcome {
    let mut reader = FrameReader::new();
    let mut messages = Vec::new();
    let mut arrived = 0;
    for piece in stream.chunks(piece.max(1)) {
        let end = reader.feed(&mut piece.to_vec(), limits, has_deflate, &mut |message| {
            assert!(size(&message) <= limits.max_message_bytes.max(125));
            messages.push(format!("{message:?}"));
            ControlFlow::Continue(())
        });
        let end = end.map(|flow| flow.map_break(drop));
        if end != Ok(ControlFlow::Continue(())) {
            return (messages, end);
        }
        arrived += piece.len();
        let most = 2 * arrived.min(limits.max_message_bytes) + RECORD;
        assert!(reader.buffered_bytes() <= most, "{} bytes are kept of {arrived}", reader.buffered_bytes());
    }
    (messages, Ok(ControlFlow::Continue(())))
}

fn size(message: &Message<'_>) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Compressed { payload, .. } => payload.len(),
        Message::Close { reason, .. } => reason.len(),
    }
}
