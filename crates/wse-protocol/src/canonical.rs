//! The canonical form of JSON (RFC 8785): the text that two sides sign, whatever they were sent.
//!
//! Reads and writes text. What readers could take for different things has no form, and is refused.
//! Never knows what is signed, nor with which key.

use std::borrow::Cow;

use crate::scan::{self, Grammar, MAX_DEPTH, ScanError};

pub use crate::error::CanonicalError;

/// The canonical form of the JSON `text`: no spaces, names in the order of UTF-16, numbers and strings as
/// ECMAScript writes them.
///
/// Refused are duplicate names, half surrogate pairs, numbers beyond a double, integers that would lose
/// digits in one, and more than [`scan::MAX_DEPTH`] levels. The memory that it needs meanwhile can be 50
/// times `text`, so callers bound the length.
pub fn canonical(text: &str) -> Result<String, CanonicalError> {
    let mut out = String::with_capacity(text.len());
    Json::read(text)?.write(&mut out);
    Ok(out)
}

/// A value whose objects have their members in canonical order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'a> {
    /// `true`, `false` or `null`.
    Literal(&'a str),
    Number(f64),
    String(Cow<'a, str>),
    Array(Vec<Self>),
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Json<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Self, CanonicalError> {
        let mut reader = Reader { text, grammar: Grammar::new(text) };
        reader.grammar.skip_whitespace();
        let value = reader.value(0)?;
        reader.grammar.end().ok_or_else(|| reader.grammar.error())?;
        Ok(value)
    }

    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Literal(word) => out.push_str(word),
            Self::Number(number) => out.push_str(ryu_js::Buffer::new().format_finite(*number)),
            Self::String(string) => write_string(string, out),
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_string(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// The JSON library escapes what ECMAScript escapes, in the same way. Most strings have nothing to escape.
fn write_string(string: &str, out: &mut String) {
    if string.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(string);
        out.push('"');
        return;
    }
    out.push_str(&serde_json::to_string(string).expect("text is always JSON"));
}

struct Reader<'a> {
    text: &'a str,
    grammar: Grammar<'a>,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: u32) -> Result<Json<'a>, CanonicalError> {
        let start = self.grammar.at();
        match self.grammar.next() {
            b'{' | b'[' if depth == MAX_DEPTH => Err(ScanError::TooDeep.into()),
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b'"' => self.string().map(Json::String),
            _ => {
                self.grammar.value().ok_or_else(|| self.grammar.error())?;
                let word = &self.text[start..self.grammar.at()];
                if word.starts_with(|first: char| first.is_ascii_alphabetic()) {
                    Ok(Json::Literal(word))
                } else {
                    number(word).map(Json::Number).ok_or(CanonicalError::Number { at: start })
                }
            }
        }
    }

    fn array(&mut self, depth: u32) -> Result<Json<'a>, CanonicalError> {
        let mut items = Vec::new();
        self.open();
        while self.has_more(b']', items.is_empty())? {
            items.push(self.value(depth)?);
        }
        Ok(Json::Array(items))
    }

    fn object(&mut self, depth: u32) -> Result<Json<'a>, CanonicalError> {
        let mut members = Vec::new();
        self.open();
        while self.has_more(b'}', members.is_empty())? {
            let name = self.string()?;
            self.grammar.colon().ok_or_else(|| self.grammar.error())?;
            members.push((name, self.value(depth)?));
        }
        members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(CanonicalError::DuplicateName { at: self.grammar.at() });
        }
        Ok(Json::Object(members))
    }

    /// Moves into an object or array.
    fn open(&mut self) {
        self.grammar.step();
        self.grammar.skip_whitespace();
    }

    /// Moves to the next item of an object or array, or behind its end.
    fn has_more(&mut self, close: u8, is_first: bool) -> Result<bool, CanonicalError> {
        self.grammar.skip_whitespace();
        let next = self.grammar.next();
        if next == close {
            self.grammar.step();
            return Ok(false);
        }
        if !is_first {
            if next != b',' {
                return Err(self.grammar.error().into());
            }
            self.open();
        }
        Ok(true)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, CanonicalError> {
        let start = self.grammar.at();
        self.grammar.string().ok_or_else(|| self.grammar.error())?;
        let raw = &self.text[start + 1..self.grammar.at() - 1];
        scan::decode(raw).ok_or(CanonicalError::NotUnicode { at: start })
    }
}

/// The double of a JSON number; `None` when it has none, or when an integer would change its digits.
///
/// A fraction is the nearest double to every reader, but one reader keeps all digits of an integer where
/// another rounds it: they would act on different numbers under one signature.
fn number(text: &str) -> Option<f64> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    let is_integer = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    let keeps_digits = !is_integer || number == 0.0 || ryu_js::Buffer::new().format_finite(number) == text;
    keeps_digits.then_some(number)
}
