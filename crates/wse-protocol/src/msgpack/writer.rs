//! JSON text into MessagePack.
//!
//! Reads the text with the scanner's grammar, so that whatever went out as JSON goes out as MessagePack
//! too. Decides which of MessagePack's kinds a JSON value becomes: the ones that a reader's own JSON
//! parser would have made of it.

use std::borrow::Cow;

use rmp::{Marker, encode};

use crate::scan::{self, Grammar, MAX_DEPTH, ScanError};

/// Appends the JSON object `json` to `out` as a map, without a prefix.
///
/// Members keep their order, duplicates included, and every value takes the fewest bytes. A number
/// without fraction and exponent is an integer if it fits 64 bits; every other one is a double, rounded
/// where JavaScript's `JSON.parse` rounds it, infinite where that is infinite. Half a surrogate pair
/// becomes U+FFFD, because a reader would refuse the whole message for it. What comes out has at most
/// 9/4 of the text's length. After an error `out` is as it was.
pub fn encode(json: &str, out: &mut Vec<u8>) -> Result<(), ScanError> {
    let start = out.len();
    let mut writer = Writer { text: json, grammar: Grammar::new(json), depth: 0, is_too_deep: false, out };
    writer.grammar.skip_whitespace();
    if writer.grammar.next() != b'{' {
        return Err(ScanError::NotAnObject);
    }
    if writer.value().and_then(|()| writer.grammar.end()).is_some() {
        return Ok(());
    }
    let error = if writer.is_too_deep { ScanError::TooDeep } else { writer.grammar.error() };
    out.truncate(start);
    Err(error)
}

/// Each method writes what it reads, or returns `None` where the grammar was broken.
struct Writer<'a, 'o> {
    text: &'a str,
    grammar: Grammar<'a>,
    depth: u32,
    is_too_deep: bool,
    out: &'o mut Vec<u8>,
}

impl Writer<'_, '_> {
    fn value(&mut self) -> Option<()> {
        match self.grammar.next() {
            b'"' => self.string(),
            b'{' => self.container(b'}'),
            b'[' => self.container(b']'),
            b'n' => self.literal(b"null", &[0xc0]),
            b'f' => self.literal(b"false", &[0xc2]),
            b't' => self.literal(b"true", &[0xc3]),
            _ => self.number(),
        }
    }

    /// An object or an array, up to the byte `close`.
    fn container(&mut self, close: u8) -> Option<()> {
        if self.depth == MAX_DEPTH {
            self.is_too_deep = true;
            return None;
        }
        self.depth += 1;
        let is_object = close == b'}';
        // How long the header is depends on how many follow; it is one byte for up to fifteen.
        let header = self.out.len();
        self.out.push(0);
        let mut len: u32 = 0;
        self.grammar.step();
        self.grammar.skip_whitespace();
        while self.grammar.next() != close {
            if len > 0 {
                if self.grammar.next() != b',' {
                    return None;
                }
                self.grammar.step();
                self.grammar.skip_whitespace();
            }
            if is_object {
                self.string()?;
                self.grammar.colon()?;
            }
            self.value()?;
            self.grammar.skip_whitespace();
            len = len.checked_add(1)?;
        }
        self.grammar.step();
        self.depth -= 1;

        if let Ok(len @ ..=15) = u8::try_from(len) {
            let marker = if is_object { Marker::FixMap(len) } else { Marker::FixArray(len) };
            self.out[header] = marker.to_u8();
            return Some(());
        }
        let mut bytes = Vec::with_capacity(5);
        let written = if is_object {
            encode::write_map_len(&mut bytes, len)
        } else {
            encode::write_array_len(&mut bytes, len)
        };
        written.expect(INFALLIBLE);
        self.out.splice(header..=header, bytes);
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        let start = self.grammar.at() + 1;
        let has_escapes = self.grammar.string()?;
        let raw = &self.text[start..self.grammar.at() - 1];
        let text = if has_escapes { scan::decode_lossy(raw) } else { Cow::Borrowed(raw) };
        encode::write_str_len(self.out, u32::try_from(text.len()).ok()?).expect(INFALLIBLE);
        self.out.extend_from_slice(text.as_bytes());
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.grammar.at();
        self.grammar.number()?;
        let digits = &self.text[start..self.grammar.at()];
        if let Ok(number) = digits.parse::<u64>() {
            encode::write_uint(self.out, number).expect(INFALLIBLE);
        } else if let Ok(number) = digits.parse::<i64>() {
            encode::write_sint(self.out, number).expect(INFALLIBLE);
        } else {
            let number = digits.parse().expect("JSON's numbers are Rust's too");
            encode::write_f64(self.out, number).expect(INFALLIBLE);
        }
        Some(())
    }

    fn literal(&mut self, word: &[u8], bytes: &[u8]) -> Option<()> {
        self.grammar.literal(word)?;
        self.out.extend_from_slice(bytes);
        Some(())
    }
}

/// Why writing cannot fail.
const INFALLIBLE: &str = "a vector takes whatever is written";
