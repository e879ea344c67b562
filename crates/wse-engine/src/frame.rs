//! An encoded frame, shared by all connections that it is for.
//!
//! Encoded once, by whoever publishes; connections hold references and the budget counts the bytes once.

use crate::budget::Charge;
use crate::deflate::WINDOWS;
use crate::encoding::Envelope;
use crate::speech::FORMS;
use std::io::Write as _;
use std::num::NonZeroU64;
use std::sync::{Arc, OnceLock};
use wse_protocol::envelope::Category;
use wse_protocol::frame::{MAX_HEADER, OpCode, encode, encode_header, mark_compressed};
use wse_protocol::priority::Priority;
use wse_protocol::scan;

/// What a frame weighs beside its bytes: its record, and the command that carries it.
pub const FRAME_WEIGHT: usize = size_of::<Encoded>() + size_of::<crate::command::Command>();

/// Shared bytes of one RFC 6455 frame, header included. Cloning copies a pointer.
#[derive(Debug, Clone)]
pub struct Frame(Arc<Encoded>);

#[derive(Debug)]
struct Encoded {
    bytes: Vec<u8>,
    /// Where the frame begins, and its payload.
    start: usize,
    body: usize,
    /// Its category and the place of that, when it is an envelope of v2.
    envelope: Option<(Category, usize)>,
    standing: Standing,
    others: OnceLock<Box<[OnceLock<Other>; FORMS]>>,
    deflated: OnceLock<Box<[OnceLock<Option<Frame>>; WINDOWS]>>,
    _charge: Option<Charge>,
}

/// What decides how a frame waits while the kernel takes nothing; all forms of a publication have the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// What is less important is given up first. Where it belongs to no topic this is its lane, too.
    pub priority: Priority,
    /// It is the engine's own word, which is never given up.
    pub is_own: bool,
    /// It tells of a topic's members, and is none of its publications: what the topic's policy gives up, or ends a
    /// connection for, is not this.
    pub is_news: bool,
    /// While it waits, the next one of its topic with this key takes its place.
    pub key: Option<NonZeroU64>,
    /// When it is worth nothing any more, in milliseconds of the engine's clock.
    pub expires: Option<NonZeroU64>,
    /// See [`Frame::index`].
    pub index: u64,
}

impl Standing {
    /// The engine's own word in the lane of `priority`.
    pub fn own(priority: Priority) -> Self {
        Self { priority, is_own: true, ..Self::default() }
    }
}

/// The same publication for those who speak in another way.
#[derive(Debug)]
pub enum Other {
    /// It is the same for them.
    Same,
    /// It is this.
    Encoded(Frame),
    /// They miss it.
    Refused(Lack),
}

/// What a publication lacks, so that some miss it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Room in the memory budget.
    Room,
    /// A signature: it cannot be signed.
    Signature,
}

/// What is known of a payload that is an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvelopeInfo {
    /// Its category.
    pub category: Category,
    /// It has a `seq`: it takes none of ours.
    pub has_seq: bool,
}

/// Room before a payload for what is written in front of it: a unicast's number, and the header.
pub const ROOM: usize = MAX_HEADER + 28;

/// The place of a publication in the log of its topic (PROTOCOL §9).
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// How the envelope begins: its brace, topic and epoch, and the name of the offset.
    pub opening: &'a str,
    /// The offset in the epoch.
    pub offset: u64,
    /// The number of the publication among all of the topic, see [`Frame::index`].
    pub index: u64,
}

impl Stamp<'_> {
    /// The most bytes that a stamp with an opening of `opening` bytes takes in place of a brace.
    pub const fn room(opening: usize) -> usize {
        opening + 2 * 20 + ",\"seq\":,".len()
    }
}

/// A payload that waits for its header, and for its number when it is a numbered unicast or a place in a log.
#[derive(Debug)]
pub struct Payload {
    /// Free bytes, then the payload.
    bytes: Vec<u8>,
    /// How many bytes are free, [`ROOM`] or more.
    room: usize,
    opcode: OpCode,
    envelope: Option<EnvelopeInfo>,
    charge: Option<Charge>,
    /// How its frame will wait.
    pub standing: Standing,
}

impl Payload {
    /// A payload behind [`ROOM`] free bytes, with what is known of it when it is an envelope of v2.
    pub fn new(
        opcode: OpCode,
        bytes: Vec<u8>,
        envelope: Option<EnvelopeInfo>,
        charge: Option<Charge>,
    ) -> Self {
        Self::behind(ROOM, opcode, bytes, envelope, charge)
    }

    /// The same behind `room` free bytes, at least [`ROOM`].
    pub fn behind(
        room: usize,
        opcode: OpCode,
        bytes: Vec<u8>,
        envelope: Option<EnvelopeInfo>,
        charge: Option<Charge>,
    ) -> Self {
        let is_object = || envelope.is_none() || bytes[room] == b'{';
        debug_assert!(room >= ROOM && bytes.len() >= room && is_object(), "the room is kept free");
        Self { bytes, room, opcode, envelope, charge, standing: Standing::default() }
    }

    /// A payload that is a copy of `message`, which is no envelope to take a number.
    pub fn of(opcode: OpCode, message: &[u8], charge: Option<Charge>) -> Self {
        let mut bytes = Self::room(message.len());
        bytes.extend_from_slice(message);
        Self::new(opcode, bytes, None, charge)
    }

    /// Room for a payload of about `length` bytes.
    pub fn room(length: usize) -> Vec<u8> {
        Self::larger_room(ROOM, length)
    }

    /// The same with `room` free bytes.
    pub fn larger_room(room: usize, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(room + length);
        bytes.resize(room, 0);
        bytes
    }

    /// Bytes of memory that it takes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Its bytes are held against the memory budget.
    #[must_use]
    pub fn charged(self, charge: Charge) -> Self {
        Self { charge: Some(charge), ..self }
    }

    /// The same, to wait in this way.
    #[must_use]
    pub fn standing(self, standing: Standing) -> Self {
        Self { standing, ..self }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.room..]
    }

    /// Its text, when it is one.
    pub fn text(&self) -> Option<&str> {
        str::from_utf8(self.bytes()).ok()
    }

    /// Whether it is an envelope.
    pub fn is_envelope(&self) -> bool {
        self.envelope.is_some()
    }

    /// Whether it takes a number.
    pub fn takes_number(&self) -> bool {
        self.envelope.is_some_and(|envelope| !envelope.has_seq)
    }

    /// The frame, and the bytes of its payload; `seq` becomes the first member of an envelope (PROTOCOL §6),
    /// without a copy of the rest.
    pub fn into_frame(self, seq: Option<u64>) -> (Frame, usize) {
        match seq.filter(|_| self.takes_number()) {
            Some(seq) => self.opened(format_args!("{{\"seq\":{seq},")),
            None => self.framed(0, 1),
        }
    }

    /// The frame of an envelope that begins with its place in a log, without a copy of the rest.
    pub fn into_stamped(mut self, stamp: Stamp<'_>) -> Frame {
        let Stamp { opening, offset, index } = stamp;
        self.standing.index = index;
        self.opened(format_args!("{opening}{offset},\"seq\":{offset},")).0
    }

    /// The frame with `opening` in place of the brace.
    fn opened(mut self, opening: std::fmt::Arguments<'_>) -> (Frame, usize) {
        // Written where it is surely free, and moved to the brace: its length is not known before.
        let mut free = &mut self.bytes[MAX_HEADER..=self.room];
        let most = free.len();
        free.write_fmt(opening).expect("the room is as large as the longest opening");
        let length = most - free.len();
        let body = self.room + 1 - length;
        self.bytes.copy_within(MAX_HEADER..MAX_HEADER + length, body);
        self.framed(length - 1, length)
    }

    /// The frame of a payload that begins `before` its room ends, with the version at `at`.
    fn framed(mut self, before: usize, at: usize) -> (Frame, usize) {
        let body = self.room - before;
        let mut header = [0; MAX_HEADER];
        let payload = self.bytes.len() - body;
        let length = encode_header(self.opcode, payload, &mut header);
        let start = body - length;
        self.bytes[start..body].copy_from_slice(&header[..length]);
        let envelope = self.envelope.map(|envelope| (envelope.category, at));
        (Frame::from(self.bytes, (start, body), (envelope, self.standing), self.charge), payload)
    }
}

impl Frame {
    /// A frame around a copy of `payload`.
    pub fn new(opcode: OpCode, payload: &[u8], charge: Option<Charge>) -> Self {
        Payload::of(opcode, payload, charge).into_frame(None).0
    }

    /// A frame of the engine's own words, in the lane of `priority`.
    pub fn own(text: &[u8], priority: Priority, charge: Option<Charge>) -> Self {
        Payload::of(OpCode::Text, text, charge).standing(Standing::own(priority)).into_frame(None).0
    }

    /// A control frame, of at most 125 bytes of payload.
    pub fn control(opcode: OpCode, payload: &[u8]) -> Self {
        Self::ready(encode(opcode, payload))
    }

    /// Bytes that are ready for the wire as they are: an encoded control frame, or an HTTP answer.
    pub fn ready(bytes: Vec<u8>) -> Self {
        Self::from(bytes, (0, 0), (None, Standing::own(Priority::Critical)), None)
    }

    /// The envelope inside, if it is one; everything else is the same for all.
    pub fn envelope(&self) -> Option<Envelope<'_>> {
        let (category, at) = self.0.envelope?;
        Some(Envelope { text: str::from_utf8(self.payload()).ok()?, category, at })
    }

    /// The message inside, without the header.
    pub fn payload(&self) -> &[u8] {
        &self.0.bytes[self.0.body..]
    }

    /// The publication in another `form`, encoded by whoever needs it first, on whatever thread. Form 0, in which it is
    /// made, is that with its signature.
    pub fn other(&self, form: usize, encode: impl FnOnce() -> Other) -> &Other {
        let others = self.0.others.get_or_init(Box::default);
        others[form].get_or_init(encode)
    }

    /// The message under permessage-deflate, behind [`ROOM`] free bytes.
    pub fn compressed(
        opcode: OpCode,
        mut bytes: Vec<u8>,
        standing: Standing,
        charge: Option<Charge>,
    ) -> Self {
        let mut header = [0; MAX_HEADER];
        let size = encode_header(opcode, bytes.len() - ROOM, &mut header);
        mark_compressed(&mut header);
        let start = ROOM - size;
        bytes[start..ROOM].copy_from_slice(&header[..size]);
        Self::from(bytes, (start, ROOM), (None, standing), charge)
    }

    fn from(
        bytes: Vec<u8>,
        (start, body): (usize, usize),
        (envelope, standing): (Option<(Category, usize)>, Standing),
        charge: Option<Charge>,
    ) -> Self {
        let (others, deflated) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Encoded { bytes, start, body, envelope, standing, others, deflated, _charge: charge }))
    }

    /// The number of a publication that is in a log among all of its topic, from 1; it counts on when a new epoch
    /// begins. Zero: it is in none.
    pub fn index(&self) -> u64 {
        self.0.standing.index
    }

    /// The offset of a publication that is in a log.
    pub fn offset(&self) -> Option<u64> {
        let envelope = self.envelope().filter(|_| self.index() != 0)?;
        let mut offset = None;
        scan::members(envelope.text, &mut |member| {
            if member.key == "o" && offset.is_none() {
                offset = member.value.parse().ok();
            }
        })
        .ok()?;
        offset
    }

    /// How it waits.
    pub fn standing(&self) -> Standing {
        self.0.standing
    }

    /// Bytes of memory that it takes, without its other forms.
    pub fn weight(&self) -> usize {
        self.0.bytes.capacity() + FRAME_WEIGHT
    }

    /// The same message compressed with a window of its own, by whoever needs it first, on whatever thread. `None`:
    /// it is better off as it is.
    pub fn deflated(&self, window: usize, deflate: impl FnOnce() -> Option<Self>) -> Option<&Self> {
        let windows = self.0.deflated.get_or_init(Box::default);
        windows[window].get_or_init(deflate).as_ref()
    }

    /// The same publication as this text.
    pub fn with_text(&self, text: &[u8], charge: Option<Charge>) -> Self {
        Payload::of(OpCode::Text, text, charge).standing(self.standing()).into_frame(None).0
    }

    /// What goes on the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes[self.0.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_becomes_the_first_member() {
        for seq in [1, u64::MAX] {
            let mut bytes = Payload::room(8);
            bytes.extend_from_slice(br#"{"t":"x"}"#);
            let info = EnvelopeInfo { category: Category::Update, has_seq: false };
            let (frame, _) = Payload::new(OpCode::Text, bytes, Some(info), None).into_frame(Some(seq));
            let expected = format!(r#"{{"seq":{seq},"t":"x"}}"#);
            assert_eq!(&frame.bytes()[2..], expected.as_bytes());
            assert_eq!(frame.bytes()[..2], [0x81, expected.len() as u8]);
            assert_eq!(frame.payload(), expected.as_bytes());
            let envelope = frame.envelope().expect("it is one");
            assert_eq!(&envelope.text[envelope.at..], r#""t":"x"}"#);
        }
    }

    #[test]
    fn a_stamp_takes_the_place_of_the_brace() {
        let opening = r#"{"tp":"prices","e":"0000abcd","o":"#;
        for offset in [1, u64::MAX] {
            let room = MAX_HEADER + Stamp::room(opening.len());
            let mut bytes = Payload::larger_room(room, 8);
            bytes.extend_from_slice(br#"{"t":"x"}"#);
            let info = EnvelopeInfo { category: Category::Update, has_seq: false };
            let payload = Payload::behind(room, OpCode::Text, bytes, Some(info), None);
            let frame = payload.into_stamped(Stamp { opening, offset, index: 7 });
            let expected = format!(r#"{opening}{offset},"seq":{offset},"t":"x"}}"#);
            assert_eq!(frame.payload(), expected.as_bytes());
            assert_eq!(frame.bytes()[..2], [0x81, expected.len() as u8]);
            assert_eq!((frame.index(), frame.offset()), (7, Some(offset)));
            let envelope = frame.envelope().expect("it is one");
            assert_eq!(&envelope.text[envelope.at..], r#""t":"x"}"#);
        }
    }

    #[test]
    fn another_form_is_made_once_however_many_threads_want_it() {
        use std::sync::Barrier;
        use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

        for _ in 0..100 {
            let frame = Frame::new(OpCode::Text, b"{}", None);
            let (made, start) = (AtomicUsize::new(0), Barrier::new(4));
            let wanted = || {
                start.wait();
                let other = frame.other(3, || {
                    made.fetch_add(1, Relaxed);
                    // One form may ask for another one on its way.
                    let Other::Encoded(inner) =
                        frame.other(1, || Other::Encoded(Frame::new(OpCode::Text, b"1", None)))
                    else {
                        return Other::Refused(Lack::Room);
                    };
                    Other::Encoded(inner.clone())
                });
                matches!(other, Other::Encoded(form) if form.payload() == b"1")
            };
            std::thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(wanted));
                assert!(threads.into_iter().all(|thread| thread.join().expect("no panic")));
            });
            assert_eq!(made.load(Relaxed), 1);
        }
    }
}
