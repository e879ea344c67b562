//! Takes a client's byte stream apart into messages.
//!
//! Owns what an unfinished frame or message has brought so far, and nothing while there is none: an
//! idle reader is a null pointer. A message that lies whole in the caller's buffer is handed on as a
//! slice of it.

use std::ops::ControlFlow;

use super::{FrameError, FrameLimits, Header, MAX_CONTROL, Message, OpCode, is_close_code, mask::unmask};

/// What reading goes on with, or why it cannot.
type Flow = Result<ControlFlow<()>, FrameError>;

/// The reading half of one connection.
///
/// Eight bytes; everything else is allocated when a read ends inside a frame or a message, and freed
/// when that is complete.
#[derive(Debug, Default)]
pub struct FrameReader {
    unfinished: Option<Box<Unfinished>>,
}

/// What is kept between two reads.
#[derive(Debug)]
struct Unfinished {
    /// The start of a header that is not whole yet.
    header: [u8; Header::MAX],
    header_len: usize,
    /// The frame whose payload is not whole yet, and how much of it has come.
    frame: Option<(Header, usize)>,
    /// The payload of an unfinished control frame, which may stand between the fragments of a message.
    control: [u8; MAX_CONTROL],
    /// The message whose last frame is not whole yet.
    message: Option<PartialMessage>,
}

/// The message that waits for its last frame.
#[derive(Debug)]
struct PartialMessage {
    is_text: bool,
    is_compressed: bool,
    bytes: Vec<u8>,
    /// How much of a text is known to be UTF-8; at most three bytes fewer than there are.
    valid: usize,
    fragments: u32,
}

impl FrameReader {
    /// A reader at the start of a connection's first frame.
    pub const fn new() -> Self {
        Self { unfinished: None }
    }

    /// Whether the stream stands between two messages, with nothing kept.
    pub const fn is_idle(&self) -> bool {
        self.unfinished.is_none()
    }

    /// Bytes of memory that the unfinished frame or message holds; zero when idle.
    pub fn buffered_bytes(&self) -> usize {
        self.unfinished.as_deref().map_or(0, |unfinished| {
            size_of::<Unfinished>()
                + unfinished.message.as_ref().map_or(0, |message| message.bytes.capacity())
        })
    }

    /// Reads `data`, the next bytes of the stream, and hands each complete message to `sink`.
    ///
    /// `data` is unmasked in place; a message of one frame that lies whole in it is not copied. The
    /// sink may break, and a Close always does: `Break` says how many bytes at the end of `data` were left
    /// as they came. The next feed begins with them, except after a Close, which nothing may follow. After
    /// an error the stream has no next frame, so the reader must not be fed again.
    ///
    /// `has_deflate` says that the connection has agreed on permessage-deflate, so that a message may be
    /// compressed. Such a one is handed on as it came, and the limits are those of what came.
    ///
    /// A message over its limit is refused by its header, and text by its first byte that cannot be
    /// UTF-8, before the frame is whole. The buffer of an unfinished message grows with what has
    /// arrived, never with what a header promises.
    pub fn feed(
        &mut self,
        mut data: &mut [u8],
        limits: &FrameLimits,
        has_deflate: bool,
        sink: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<usize>, FrameError> {
        while !data.is_empty() {
            if let Some(unfinished) = self.unfinished.as_deref_mut()
                && let Some((header, received)) = unfinished.frame.take()
            {
                let (piece, rest) = data.split_at_mut(data.len().min(header.len - received));
                data = rest;
                let flow = unfinished.take_piece(header, received, piece, sink)?;
                self.release();
                if flow.is_break() {
                    return Ok(ControlFlow::Break(data.len()));
                }
                continue;
            }

            let Some((header, read)) = self.read_header(data, has_deflate)? else { break };
            data = &mut data[read..];
            self.check_limits(&header, limits)?;
            if data.len() < header.len {
                self.begin_frame(header);
                continue;
            }

            let (payload, rest) = data.split_at_mut(header.len);
            data = rest;
            unmask(payload, header.mask, 0);
            let flow = self.take_frame(header, payload, sink)?;
            self.release();
            if flow.is_break() {
                return Ok(ControlFlow::Break(data.len()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads the next header and says how much of `data` it used; `None` when `data` ends before it does.
    #[inline]
    fn read_header(&mut self, data: &[u8], has_deflate: bool) -> Result<Option<(Header, usize)>, FrameError> {
        let Some(unfinished) = self.unfinished.as_deref_mut() else {
            let header = Header::parse(data, false, has_deflate)?;
            if header.is_none() {
                Unfinished::of(&mut self.unfinished).keep_header(data);
            }
            return Ok(header.map(|header| (header, header.size)));
        };
        let before = unfinished.header_len;
        unfinished.keep_header(data);
        let known = &unfinished.header[..unfinished.header_len];
        let header = Header::parse(known, unfinished.message.is_some(), has_deflate)?;
        if header.is_some() {
            unfinished.header_len = 0;
        }
        Ok(header.map(|header| (header, header.size - before)))
    }

    /// Refuses a data frame that would make its message too large, by its header alone.
    #[inline]
    fn check_limits(&self, header: &Header, limits: &FrameLimits) -> Result<(), FrameError> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let message = self.unfinished.as_ref().and_then(|unfinished| unfinished.message.as_ref());
        let (bytes, fragments) = message.map_or((0, 0), |message| (message.bytes.len(), message.fragments));
        if limits.max_message_bytes != 0 && bytes.saturating_add(header.len) > limits.max_message_bytes {
            return Err(FrameError::MessageTooLarge);
        }
        if limits.max_fragments != 0 && fragments >= limits.max_fragments {
            return Err(FrameError::TooManyFragments);
        }
        Ok(())
    }

    /// Remembers a frame of which only the header, and perhaps a part of the payload, has arrived.
    fn begin_frame(&mut self, header: Header) {
        let unfinished = Unfinished::of(&mut self.unfinished);
        unfinished.frame = Some((header, 0));
        if !header.opcode.is_control() {
            let message = PartialMessage::of(&mut unfinished.message, header);
            message.fragments = message.fragments.saturating_add(1);
        }
    }

    /// Hands on what a frame that lies whole in the caller's buffer completes.
    #[inline]
    fn take_frame(
        &mut self,
        header: Header,
        payload: &[u8],
        sink: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Flow {
        match header.opcode {
            OpCode::Text | OpCode::Binary if header.fin => {
                Ok(sink(message(header.opcode == OpCode::Text, header.is_compressed, payload)?))
            }
            OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                let unfinished = Unfinished::of(&mut self.unfinished);
                let message = PartialMessage::of(&mut unfinished.message, header);
                message.fragments = message.fragments.saturating_add(1);
                message.append(payload, payload.len(), header.fin)?;
                unfinished.finish_message(header, sink)
            }
            OpCode::Close | OpCode::Ping | OpCode::Pong => take_control(header.opcode, payload, sink),
        }
    }

    /// Gives the memory back once nothing is unfinished.
    #[inline]
    fn release(&mut self) {
        self.unfinished
            .take_if(|kept| kept.header_len == 0 && kept.frame.is_none() && kept.message.is_none());
    }
}

impl Unfinished {
    /// What `slot` keeps, made on first use.
    fn of(slot: &mut Option<Box<Self>>) -> &mut Self {
        slot.get_or_insert_with(|| {
            Box::new(Self {
                header: [0; Header::MAX],
                header_len: 0,
                frame: None,
                control: [0; MAX_CONTROL],
                message: None,
            })
        })
    }

    /// Adds as much of `data` to the unfinished header as any header may need.
    fn keep_header(&mut self, data: &[u8]) {
        let len = data.len().min(Header::MAX - self.header_len);
        self.header[self.header_len..self.header_len + len].copy_from_slice(&data[..len]);
        self.header_len += len;
    }

    /// Takes the next piece of the unfinished frame, and hands on what it completes.
    fn take_piece(
        &mut self,
        header: Header,
        received: usize,
        piece: &mut [u8],
        sink: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Flow {
        unmask(piece, header.mask, received);
        let now = received + piece.len();
        if header.opcode.is_control() {
            self.control[received..now].copy_from_slice(piece);
        } else {
            let message = PartialMessage::of(&mut self.message, header);
            message.append(piece, header.len - received, header.fin)?;
        }
        if now < header.len {
            self.frame = Some((header, now));
            return Ok(ControlFlow::Continue(()));
        }
        if header.opcode.is_control() {
            return take_control(header.opcode, &self.control[..now], sink);
        }
        self.finish_message(header, sink)
    }

    /// Hands the message on, and forgets it, if the frame of `header` was its last one.
    fn finish_message(
        &mut self,
        header: Header,
        sink: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Flow {
        match self.message.take_if(|_| header.fin) {
            Some(PartialMessage { is_text, is_compressed, bytes, .. }) => {
                Ok(sink(message(is_text, is_compressed, &bytes)?))
            }
            None => Ok(ControlFlow::Continue(())),
        }
    }
}

impl PartialMessage {
    /// The message of `slot`, begun by the frame of `header` if there is none.
    fn of(slot: &mut Option<Self>, header: Header) -> &mut Self {
        slot.get_or_insert_with(|| Self {
            is_text: header.opcode == OpCode::Text,
            is_compressed: header.is_compressed,
            bytes: Vec::new(),
            valid: 0,
            fragments: 0,
        })
    }

    /// Appends a piece of payload, and refuses text as soon as it cannot become UTF-8.
    ///
    /// `expected` is what the frame still has to bring, this piece included. The buffer doubles when it
    /// must grow, but not beyond what the message's last frame says is its end.
    fn append(&mut self, piece: &[u8], expected: usize, is_last: bool) -> Result<(), FrameError> {
        if self.bytes.capacity() - self.bytes.len() < piece.len() {
            let doubled = piece.len().max(self.bytes.len());
            self.bytes.reserve_exact(if is_last { doubled.min(expected) } else { doubled });
        }
        self.bytes.extend_from_slice(piece);
        if !self.is_text || self.is_compressed {
            return Ok(());
        }
        match simdutf8::compat::from_utf8(&self.bytes[self.valid..]) {
            Ok(_) => self.valid = self.bytes.len(),
            // The last character is cut: the rest of it may be in the next piece.
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(FrameError::InvalidUtf8),
        }
        Ok(())
    }
}

/// A whole message: text is known to be UTF-8 afterwards, unless it is compressed.
#[inline]
fn message(is_text: bool, is_compressed: bool, bytes: &[u8]) -> Result<Message<'_>, FrameError> {
    Ok(match (is_compressed, is_text) {
        (true, is_text) => Message::Compressed { is_text, payload: bytes },
        (false, true) => Message::Text(utf8(bytes)?),
        (false, false) => Message::Binary(bytes),
    })
}

fn utf8(bytes: &[u8]) -> Result<&str, FrameError> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| FrameError::InvalidUtf8)
}

fn take_control(
    opcode: OpCode,
    payload: &[u8],
    sink: &mut impl FnMut(Message<'_>) -> ControlFlow<()>,
) -> Flow {
    match opcode {
        OpCode::Ping => Ok(sink(Message::Ping(payload))),
        OpCode::Pong => Ok(sink(Message::Pong(payload))),
        _ => {
            // Whatever the sink answers, nothing may follow a Close (RFC 6455 section 5.5.1).
            let _ = sink(close_message(payload)?);
            Ok(ControlFlow::Break(()))
        }
    }
}

fn close_message(payload: &[u8]) -> Result<Message<'_>, FrameError> {
    if payload.is_empty() {
        return Ok(Message::Close { code: None, reason: "" });
    }
    let (code, reason) = payload.split_first_chunk().ok_or(FrameError::TruncatedCloseCode)?;
    let code = u16::from_be_bytes(*code);
    if !is_close_code(code) {
        return Err(FrameError::InvalidCloseCode(code));
    }
    Ok(Message::Close { code: Some(code), reason: utf8(reason)? })
}
