//! The top-level members of a JSON object, without building a tree.
//!
//! One pass validates the whole text against RFC 8259 and reports where each member stands; the bytes
//! are never copied. Knows grammar, and which members of ours say what a message is; never their rules.

mod grammar;

use std::borrow::Cow;

pub use crate::error::ScanError;
pub(crate) use grammar::Grammar;

/// How many objects and arrays may stand inside each other, the outermost counted.
pub const MAX_DEPTH: u32 = 128;

/// One top-level member of an object, as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// What stands between the quotes of the name, escapes and all.
    pub key: &'a str,
    /// The value's JSON.
    pub value: &'a str,
    /// Where the opening quote of the name stands in the text.
    pub start: usize,
    /// The first byte after the value.
    pub end: usize,
    has_escapes: bool,
}

impl<'a> Member<'a> {
    /// The member's name; `None` when its escapes name no Unicode text (half a surrogate pair).
    #[inline]
    pub fn name(&self) -> Option<Cow<'a, str>> {
        if self.has_escapes { decode(self.key) } else { Some(Cow::Borrowed(self.key)) }
    }
}

/// Calls `visit` for each top-level member of the object `text`, in order, duplicates included.
///
/// The members seen before an error were real, but a caller must forget them: `text` is no object.
#[inline]
pub fn members<'a>(text: &'a str, visit: &mut impl FnMut(Member<'a>)) -> Result<(), ScanError> {
    members_by(Grammar::new(text), text, visit)
}

/// As [`members`], of what some readers take for JSON (see [`Grammar::loose`]).
pub(crate) fn loose_members<'a>(text: &'a str, visit: &mut impl FnMut(Member<'a>)) -> Result<(), ScanError> {
    members_by(Grammar::loose(text), text, visit)
}

/// Calls `visit` for each item of the array `text`, loosely read. Nothing is visited behind a fault.
pub(crate) fn loose_items<'a>(text: &'a str, visit: &mut impl FnMut(&'a str)) {
    let mut grammar = Grammar::loose(text);
    if grammar.next() != b'[' {
        return;
    }
    while matches!(grammar.next(), b'[' | b',') {
        grammar.step();
        grammar.skip_whitespace();
        let start = grammar.at();
        if grammar.value().is_none() {
            return;
        }
        visit(&text[start..grammar.at()]);
        grammar.skip_whitespace();
    }
}

#[inline]
fn members_by<'a>(
    mut grammar: Grammar<'a>,
    text: &'a str,
    visit: &mut impl FnMut(Member<'a>),
) -> Result<(), ScanError> {
    grammar.skip_whitespace();
    if grammar.next() != b'{' {
        return Err(ScanError::NotAnObject);
    }
    read_members(text, &mut grammar, visit).ok_or_else(|| grammar.error())
}

#[inline]
fn read_members<'a>(
    text: &'a str,
    grammar: &mut Grammar<'a>,
    visit: &mut impl FnMut(Member<'a>),
) -> Option<()> {
    grammar.step();
    grammar.skip_whitespace();
    if grammar.next() == b'}' {
        grammar.step();
        return grammar.end();
    }
    loop {
        let start = grammar.at();
        let has_escapes = grammar.string()?;
        let key = &text[start + 1..grammar.at() - 1];
        grammar.colon()?;
        let value = grammar.at();
        grammar.value()?;
        let end = grammar.at();
        visit(Member { key, value: &text[value..end], start, end, has_escapes });

        grammar.skip_whitespace();
        match grammar.next() {
            b',' => {
                grammar.step();
                grammar.skip_whitespace();
            }
            b'}' => {
                grammar.step();
                return grammar.end();
            }
            _ => return None,
        }
    }
}

/// Whether `raw`, a name as it stands between its quotes, names `name`.
pub fn key_is(raw: &str, name: &str) -> bool {
    raw == name || (raw.contains('\\') && decode(raw).is_some_and(|key| key == name))
}

/// The text of a JSON string.
///
/// `None` when `raw` is another value, or a string whose escapes name no Unicode text.
pub fn string_value(raw: &str) -> Option<Cow<'_, str>> {
    let mut grammar = Grammar::new(raw);
    grammar.string()?;
    if grammar.at() == raw.len() { text_of(raw) } else { None }
}

/// The text of a valid JSON value, if it is a string.
fn text_of(value: &str) -> Option<Cow<'_, str>> {
    decode(value.strip_prefix('"')?.strip_suffix('"')?)
}

/// Undoes the escapes of what stands between the quotes of a valid JSON string.
#[inline]
pub(crate) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('\\') {
        return Some(Cow::Borrowed(raw));
    }
    serde_json::from_str(&format!("\"{raw}\"")).ok().map(Cow::Owned)
}

/// As [`decode`], with U+FFFD in place of each half of a surrogate pair.
pub(crate) fn decode_lossy(raw: &str) -> Cow<'_, str> {
    decode(raw).unwrap_or_else(|| {
        let mut units = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((plain, escape)) = rest.split_once('\\') {
            units.extend(plain.encode_utf16());
            let (unit, len) = match escape.as_bytes()[0] {
                b'u' => (u16::from_str_radix(&escape[1..5], 16).expect("the grammar saw four digits"), 5),
                b'b' => (8, 1),
                b't' => (9, 1),
                b'n' => (10, 1),
                b'f' => (12, 1),
                b'r' => (13, 1),
                itself => (itself.into(), 1),
            };
            units.push(unit);
            rest = &escape[len..];
        }
        units.extend(rest.encode_utf16());
        Cow::Owned(String::from_utf16_lossy(&units))
    })
}

/// What a message of a client says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound<'a> {
    /// The object: the text without its old prefix (`WSE`, `S` or `U`).
    pub json: &'a str,
    /// The message type, if it is a string.
    pub kind: Option<Cow<'a, str>>,
    /// The JSON of the payload.
    pub payload: Option<&'a str>,
}

/// Reads type and payload of a client's text.
///
/// The type is `t`, or where that is absent `type`, or else `event_type`; the payload `p` or else
/// `payload`. Of duplicates the last one counts, as in every JSON parser that the application may use.
pub fn inbound(text: &str) -> Result<Inbound<'_>, ScanError> {
    let json = split_prefix(text).1;
    let (mut short, mut long, mut event) = (None, None, None);
    let (mut p, mut payload) = (None, None);
    members(json, &mut |member| {
        let Some(name) = member.name() else { return };
        let slot = match name.as_bytes() {
            b"t" => &mut short,
            b"p" => &mut p,
            b"type" => &mut long,
            b"event_type" => &mut event,
            b"payload" => &mut payload,
            _ => return,
        };
        *slot = Some(member.value);
    })?;
    let kind = short.or(long).or(event).and_then(text_of);
    Ok(Inbound { json, kind, payload: p.or(payload) })
}

/// The JSON at `path`, names with dots between them, inside of the payload of an envelope: `p`, or else `payload`.
pub fn payload_value<'a>(text: &'a str, path: &str) -> Option<&'a str> {
    let member = |json: &'a str, names: [&str; 2]| {
        let mut found = [None; 2];
        members(json, &mut |member| {
            let place = member.name().and_then(|name| names.iter().position(|wanted| *wanted == name));
            if let Some(place) = place {
                found[place] = Some(member.value);
            }
        })
        .ok()?;
        found[0].or(found[1])
    };
    path.split('.').try_fold(member(text, ["p", "payload"])?, |json, name| member(json, [name, name]))
}

/// Splits an old prefix from the object behind it: the letters, empty when there are none, and the rest.
pub(crate) fn split_prefix(text: &str) -> (&str, &str) {
    let letters = ["WSE", "S", "U"]
        .into_iter()
        .find(|letters| text.strip_prefix(letters).is_some_and(|rest| rest.starts_with('{')));
    text.split_at(letters.map_or(0, str::len))
}

#[cfg(test)]
mod tests;
