//! What a client's binary message says, whatever carries it (PROTOCOL §5).
//!
//! Opens it and hands the text on; what is none of the protocol's forms is the application's own bytes. A little of the
//! wire can become much, so this also says when enough has come out for now: the rest of what was read waits, as it
//! came, for the connection's next turn.

use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::inbound::Kind;
use crate::log::{Event, Fault};
use crate::metrics::count;
use wse_protocol::codes::{Code, close};
use wse_protocol::compress::{Format, InflateError, InflateLimits, Inflater};
use wse_protocol::form::{self, Binary, Form};
use wse_protocol::msgpack::{self, MsgpackError};
use wse_protocol::scan::{self, ScanError};

/// Memory that a large message leaves behind for the next one, in bytes.
const SPARE: usize = 64 << 10;

/// Bytes that may come out of a connection's messages before others have their turn: as many as are read at once.
const MOST_INFLATED: usize = 256 << 10;
/// What a message may always contain, however short it came: a line of one repeated letter is no attack.
const HARMLESS_BYTES: usize = 64 << 10;

/// What one compressed message of `len` bytes may contain.
pub(crate) fn inflate_limits(max_bytes: usize, len: usize) -> InflateLimits {
    let InflateLimits { max_ratio, .. } = InflateLimits::default();
    InflateLimits { max_bytes, max_ratio: max_ratio.max(HARMLESS_BYTES / len.max(1)) }
}

/// What opens binary messages, for one thread.
#[derive(Debug, Default)]
pub struct Decoder {
    /// 46 KiB, made for the first message that is compressed.
    inflater: Option<Box<Inflater>>,
    /// The message that is being read, opened.
    text: Vec<u8>,
}

/// Why a message cannot be read.
enum Unreadable {
    /// It only looked like one of ours.
    Foreign,
    /// It is none; the connection goes on.
    Invalid(&'static str),
    /// It breaks a limit; the connection is closed.
    Closed(u16, &'static str),
    /// It was dealt with.
    Done,
}

impl Core {
    /// Reads a binary message.
    pub(crate) fn heard_binary<S: Socket>(&mut self, conn: &mut Connection<S>, payload: &[u8]) {
        let binary = form::of(payload, conn.speech.is_msgpack()).filter(|_| self.shared.config.envelope);
        let Some(binary) = binary else { return self.event(conn, Kind::Binary, payload) };
        let mut text = std::mem::take(&mut self.decoder.text);
        match self.open_binary(conn, &binary, &mut text) {
            Ok(text) => self.heard_text(conn, text),
            Err(Unreadable::Foreign) => self.event(conn, Kind::Binary, payload),
            Err(Unreadable::Invalid(message)) => {
                count(&self.shared.metrics.protocol_errors_total, 1);
                self.say_error(conn, Code::InvalidMessage, message);
            }
            Err(Unreadable::Closed(code, reason)) => self.violated(conn, code, reason),
            Err(Unreadable::Done) => {}
        }
        text.clear();
        text.shrink_to(SPARE);
        self.decoder.text = text;
    }

    /// Whether the rest of what was read has to wait: so much has come out of messages, or the application has enough.
    pub(crate) fn has_enough<S>(&self, conn: &Connection<S>) -> bool {
        conn.is_stalled || self.has_inflated_enough()
    }

    /// Whether so much has come out of messages that others have their turn.
    pub(crate) fn has_inflated_enough(&self) -> bool {
        self.inflated >= MOST_INFLATED
    }

    /// Keeps what was read and has to wait: for the application, or for the next turn. Of a connection that is over
    /// nothing is read any more.
    pub(crate) fn leave_unread<S>(&mut self, conn: &mut Connection<S>, bytes: &[u8]) {
        if !conn.is_open() || bytes.is_empty() {
            return;
        }
        conn.unread = Some(Box::new(bytes.into()));
        if !conn.is_stalled {
            self.again.push(conn.key);
        }
    }

    /// Closes a connection that broke a rule or a limit.
    pub(crate) fn violated<S: Socket>(&mut self, conn: &mut Connection<S>, code: u16, reason: &str) {
        count(&self.shared.metrics.protocol_errors_total, 1);
        let fault = match code {
            close::TOO_LARGE => Code::MessageTooLarge,
            close::PROTOCOL => Code::ProtocolError,
            _ => Code::InvalidMessage,
        };
        self.note(conn, Event::Fault(Fault::Wire(fault)));
        self.close(conn, code, reason);
        self.stop_listening(conn, false);
    }

    /// The JSON text of a message, in `text` unless it stands in the message as it is.
    fn open_binary<'a, S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        binary: &Binary<'a>,
        text: &'a mut Vec<u8>,
    ) -> Result<&'a str, Unreadable> {
        let Binary { form, body, is_named } = *binary;
        let max_bytes = self.shared.config.frame.max_message_bytes;
        let opened = match form {
            Form::Json => Ok(body),
            Form::Encrypted => {
                text.extend_from_slice(body);
                return self.unseal(conn, text).ok_or(Unreadable::Done);
            }
            Form::Compressed => {
                let limits = inflate_limits(max_bytes, body.len());
                let inflater =
                    self.decoder.inflater.get_or_insert_with(|| Box::new(Inflater::new(Format::Zlib)));
                let inflated = inflater.inflate(body, &limits, text);
                // What came to nothing was work too.
                let in_vain = body.len().saturating_mul(limits.max_ratio).min(MOST_INFLATED);
                self.inflated += if inflated.is_ok() { text.len() } else { in_vain };
                match inflated {
                    Ok(()) => Ok(&text[..]),
                    Err(InflateError::TooLarge) => {
                        Err(Unreadable::Closed(close::TOO_LARGE, "a compressed message is too large inside"))
                    }
                    Err(_) => Err(Unreadable::Invalid("what follows C: is no zlib stream")),
                }
            }
            Form::Msgpack => match msgpack::decode(body, max_bytes, text) {
                Ok(()) => {
                    self.inflated += text.len();
                    Ok(&text[..])
                }
                // Nothing but an attack looks like this, whether it has a prefix or not.
                Err(MsgpackError::TooDeep) => {
                    return Err(Unreadable::Closed(close::INVALID_DATA, "MessagePack is nested too deeply"));
                }
                Err(MsgpackError::TooLarge) => {
                    Err(Unreadable::Closed(close::TOO_LARGE, "a MessagePack message is too large as JSON"))
                }
                Err(_) => Err(Unreadable::Invalid("what follows M: is no MessagePack map that JSON can say")),
            },
        };
        if is_named {
            let text = simdutf8::basic::from_utf8(opened?);
            return text.map_err(|_| Unreadable::Invalid("what is inside is not text"));
        }
        let text = opened.ok().and_then(|bytes| simdutf8::basic::from_utf8(bytes).ok());
        let is_message = |text: &&str| matches!(scan::inbound(text), Ok(_) | Err(ScanError::TooDeep));
        text.filter(is_message).ok_or(Unreadable::Foreign)
    }
}
