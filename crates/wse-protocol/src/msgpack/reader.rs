//! MessagePack of a client into JSON text.
//!
//! Bounded in every direction: depth and output by limits, and a length that promises more than the
//! message has left is refused before anything is done about it.

use std::fmt::Display;
use std::io::{self, Write};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use rmp::Marker;
use serde::Serialize;

use super::{MAX_DEPTH, MsgpackError, is_map};

/// Appends the MessagePack map `message`, without its prefix, to `out` as the text of a JSON object.
///
/// Members keep their order, duplicates included. What JSON has no word for becomes what JavaScript's
/// and most other JSON writers make of it: infinities and NaN are `null`, bytes are padded base64. Other
/// names than strings are refused, and so are extension types. At most `max_bytes` are appended, zero
/// means no limit; after an error `out` is as it was.
pub fn decode(message: &[u8], max_bytes: usize, out: &mut Vec<u8>) -> Result<(), MsgpackError> {
    if !is_map(message) {
        return Err(MsgpackError::NotAMap);
    }
    let start = out.len();
    let limit = if max_bytes == 0 { usize::MAX } else { start.saturating_add(max_bytes) };
    let mut reader = Reader { rest: message, depth: 0, json: Bounded { bytes: out, limit } };
    let end = reader.message();
    if end.is_err() {
        out.truncate(start);
    }
    end
}

/// Each method reads one thing and writes its JSON.
struct Reader<'a, 'o> {
    rest: &'a [u8],
    depth: u32,
    json: Bounded<'o>,
}

impl<'a> Reader<'a, '_> {
    fn message(&mut self) -> Result<(), MsgpackError> {
        self.value()?;
        if self.rest.is_empty() { Ok(()) } else { Err(MsgpackError::TrailingData) }
    }

    fn value(&mut self) -> Result<(), MsgpackError> {
        match self.marker()? {
            Marker::Null => self.raw(b"null"),
            Marker::False => self.raw(b"false"),
            Marker::True => self.raw(b"true"),
            Marker::FixPos(number) => self.write(number),
            Marker::FixNeg(number) => self.write(number),
            Marker::U8 => self.number(u8::from_be_bytes),
            Marker::U16 => self.number(u16::from_be_bytes),
            Marker::U32 => self.number(u32::from_be_bytes),
            Marker::U64 => self.number(u64::from_be_bytes),
            Marker::I8 => self.number(i8::from_be_bytes),
            Marker::I16 => self.number(i16::from_be_bytes),
            Marker::I32 => self.number(i32::from_be_bytes),
            Marker::I64 => self.number(i64::from_be_bytes),
            // Widened first: its own shortest digits are those of another double.
            Marker::F32 => self.number(|bytes| f64::from(f32::from_be_bytes(bytes))),
            Marker::F64 => self.number(f64::from_be_bytes),
            Marker::Bin8 => self.binary::<1>(),
            Marker::Bin16 => self.binary::<2>(),
            Marker::Bin32 => self.binary::<4>(),
            Marker::FixArray(len) => self.array(len.into()),
            Marker::Array16 => {
                let len = self.len::<2>()?;
                self.array(len)
            }
            Marker::Array32 => {
                let len = self.len::<4>()?;
                self.array(len)
            }
            Marker::FixMap(len) => self.map(len.into()),
            Marker::Map16 => {
                let len = self.len::<2>()?;
                self.map(len)
            }
            Marker::Map32 => {
                let len = self.len::<4>()?;
                self.map(len)
            }
            Marker::FixExt1 | Marker::FixExt2 | Marker::FixExt4 | Marker::FixExt8 | Marker::FixExt16 => {
                self.extension()
            }
            Marker::Ext8 => self.len::<1>().and_then(|_| self.extension()),
            Marker::Ext16 => self.len::<2>().and_then(|_| self.extension()),
            Marker::Ext32 => self.len::<4>().and_then(|_| self.extension()),
            Marker::Reserved => Err(MsgpackError::Reserved),
            marker @ (Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32) => {
                self.string(marker)
            }
        }
    }

    fn map(&mut self, len: usize) -> Result<(), MsgpackError> {
        // Each member has two bytes at least.
        self.enter(len, self.rest.len() / 2)?;
        for at in 0..len {
            self.raw(if at == 0 { b"{" } else { b"," })?;
            let marker = self.marker()?;
            self.string(marker)?;
            self.raw(b":")?;
            self.value()?;
        }
        self.depth -= 1;
        self.raw(if len == 0 { b"{}" } else { b"}" })
    }

    fn array(&mut self, len: usize) -> Result<(), MsgpackError> {
        self.enter(len, self.rest.len())?;
        for at in 0..len {
            self.raw(if at == 0 { b"[" } else { b"," })?;
            self.value()?;
        }
        self.depth -= 1;
        self.raw(if len == 0 { b"[]" } else { b"]" })
    }

    /// Begins a map or array of `len` where what is left of the message can hold `max`.
    fn enter(&mut self, len: usize, max: usize) -> Result<(), MsgpackError> {
        if len > max {
            return Err(MsgpackError::Truncated);
        }
        if self.depth == MAX_DEPTH {
            return Err(MsgpackError::TooDeep);
        }
        self.depth += 1;
        Ok(())
    }

    /// A string, or a name.
    fn string(&mut self, marker: Marker) -> Result<(), MsgpackError> {
        let len = match marker {
            Marker::FixStr(len) => len.into(),
            Marker::Str8 => self.len::<1>()?,
            Marker::Str16 => self.len::<2>()?,
            Marker::Str32 => self.len::<4>()?,
            _ => return Err(MsgpackError::NameNotText),
        };
        let text = simdutf8::basic::from_utf8(self.take(len)?).map_err(|_| MsgpackError::InvalidUtf8)?;
        self.write(text)
    }

    fn binary<const N: usize>(&mut self) -> Result<(), MsgpackError> {
        let len = self.len::<N>()?;
        let bytes = self.take(len)?;
        self.display(format_args!("\"{}\"", Base64Display::new(bytes, &STANDARD)))
    }

    fn extension(&mut self) -> Result<(), MsgpackError> {
        let [kind] = self.chunk()?;
        Err(MsgpackError::Extension { kind: kind as i8 })
    }

    fn number<const N: usize, T: Serialize>(&mut self, read: fn([u8; N]) -> T) -> Result<(), MsgpackError> {
        let bytes = self.chunk()?;
        self.write(read(bytes))
    }

    fn len<const N: usize>(&mut self) -> Result<usize, MsgpackError> {
        let bytes: [u8; N] = self.chunk()?;
        Ok(bytes.into_iter().fold(0, |len, byte| len << 8 | usize::from(byte)))
    }

    fn marker(&mut self) -> Result<Marker, MsgpackError> {
        let [byte] = self.chunk()?;
        Ok(Marker::from_u8(byte))
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], MsgpackError> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(MsgpackError::Truncated)?;
        self.rest = rest;
        Ok(*chunk)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], MsgpackError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(MsgpackError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Writes a number or a string; numbers that are none become `null`.
    fn write(&mut self, value: impl Serialize) -> Result<(), MsgpackError> {
        serde_json::to_writer(&mut self.json, &value).map_err(|_| MsgpackError::TooLarge)
    }

    fn raw(&mut self, json: &[u8]) -> Result<(), MsgpackError> {
        self.json.write_all(json).map_err(|_| MsgpackError::TooLarge)
    }

    fn display(&mut self, json: impl Display) -> Result<(), MsgpackError> {
        write!(self.json, "{json}").map_err(|_| MsgpackError::TooLarge)
    }
}

/// A vector that takes no more than its limit; the only way in which writing fails.
struct Bounded<'a> {
    bytes: &'a mut Vec<u8>,
    limit: usize,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = self.bytes.len() + bytes.len();
        if len > self.bytes.capacity() {
            // Twice the room each time, but none over the limit.
            let capacity = len.max(self.bytes.capacity().saturating_mul(2)).min(self.limit);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
