//! The envelope around what a publisher says.
//!
//! Keeps the publisher's bytes and adds only what is missing. Never builds a tree, and never decides
//! where a message goes.

mod category;
mod dialect;
mod reserved;

use std::borrow::Cow;
use std::ops::Range;

use uuid::Uuid;

use crate::priority::Priority;
use crate::scan::{self, Member, ScanError};

pub use crate::error::EnvelopeError;
pub use crate::timestamp::Timestamp;
pub use category::{Category, category};
pub use dialect::Dialect;

/// The most that [`complete`] adds to a publisher's text, in bytes.
pub const MAX_OVERHEAD: usize = concat!(
    r#""id":"00000000-0000-0000-0000-000000000000","#,
    r#""ts":"0000-00-00T00:00:00.000Z","v":2,"_msg_cat":"WSE","p":{},"#
)
.len();

/// What a publisher's text became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A whole envelope, which begins with `{`.
    Envelope {
        /// Its category.
        category: Category,
        /// The publisher numbered it, so a `seq` of ours would be a second one.
        has_seq: bool,
        /// What its `pri` says, or else `priority`.
        priority: Priority,
    },
    /// The text is not a JSON object and went out as it came.
    Verbatim,
}

/// Whose word the member `seq` of an envelope is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seq {
    /// The publisher's: it stays.
    Publisher,
    /// The server's, who numbers it by a log: the publisher's is taken out.
    Server,
}

/// Completes a publisher's JSON object, and appends what goes on the wire to `out`.
///
/// The envelope begins with [`Dialect::members`] of [`Dialect::V2`], directly behind its brace. Where `id`,
/// `ts` or the payload are missing they are spliced in next; the publisher's own bytes follow as they are.
/// `v`, `c` and `_msg_cat` are the server's to say, and with [`Seq::Server`] `seq`: those of the publisher are taken
/// out, and so is a type or an id that is an object or a list. The category is
/// the publisher's wish if that is one of the three (an old prefix, else `_msg_cat`, else `c`), or follows
/// from the type.
///
/// Whatever is at the start of `out` stays, so that a caller can leave room for a frame header. With
/// [`MAX_OVERHEAD`] and the length of `text` free in `out` nothing is allocated, unless members have to
/// be taken out. On an error `out` is as it was.
pub fn complete(
    text: &str,
    id: &Uuid,
    at: Timestamp,
    seq: Seq,
    out: &mut Vec<u8>,
) -> Result<Outcome, EnvelopeError> {
    let (letters, json) = scan::split_prefix(text);
    let replaces_seq = seq == Seq::Server;
    let mut found = Found { wish: Category::from_letters(letters), replaces_seq, ..Found::default() };
    match scan::members(json, &mut |member| found.note(&member)) {
        Ok(()) => {}
        // Clients that read deeper than we do would take what we have not read for checked.
        Err(ScanError::TooDeep) => return Err(EnvelopeError::TooDeep),
        Err(ScanError::NotAnObject | ScanError::Malformed { .. }) => {
            vouch_for_text(json)?;
            out.extend_from_slice(text.as_bytes());
            return Ok(Outcome::Verbatim);
        }
    }
    found.check()?;
    let category = found.category();

    out.reserve(json.len() + MAX_OVERHEAD);
    out.push(b'{');
    out.extend_from_slice(Dialect::V2.members(category).as_bytes());
    if !found.has_id {
        out.extend_from_slice(b"\"id\":\"");
        out.extend_from_slice(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        out.extend_from_slice(b"\",");
    }
    if !found.has_ts {
        out.extend_from_slice(b"\"ts\":\"");
        out.extend_from_slice(&at.to_ascii());
        out.extend_from_slice(b"\",");
    }
    if found.payloads == [None, None] {
        out.extend_from_slice(b"\"p\":{},");
    }
    push_members(json, &found.cuts, out);
    Ok(Outcome::Envelope { category, has_seq: found.has_seq, priority: found.priority() })
}

/// Looks at what is no JSON: some readers take more for an object than RFC 8259, and to them it is an envelope.
fn vouch_for_text(text: &str) -> Result<(), EnvelopeError> {
    let mut found = Found::default();
    match scan::loose_members(text, &mut |member| found.note(&member)) {
        Ok(()) => found.check(),
        Err(ScanError::TooDeep) => Err(EnvelopeError::TooDeep),
        Err(ScanError::NotAnObject | ScanError::Malformed { .. }) => Ok(()),
    }
}

/// Appends the members of the object `json` without those in `cuts`, and the closing brace.
pub(crate) fn push_members(json: &str, cuts: &[Range<usize>], out: &mut Vec<u8>) {
    let end = json.trim_ascii_end().len() - 1;
    let mut at = json.len() - json.trim_ascii_start().len() + 1;
    for cut in cuts {
        out.extend_from_slice(&json.as_bytes()[at..cut.start]);
        // The comma behind a member goes with it.
        let behind = json[cut.end..].trim_ascii_start();
        at = json.len() - behind.strip_prefix(',').unwrap_or(behind).len();
    }
    out.extend_from_slice(&json.as_bytes()[at..end]);
    // A comma is left over when everything behind it was taken out, or when there was nothing.
    if let Some(kept) = out.trim_ascii_end().strip_suffix(b",") {
        let kept = kept.len();
        out.truncate(kept);
    }
    out.push(b'}');
}

/// What a publisher's object has at its top level. Duplicates count as present.
#[derive(Default)]
struct Found<'a> {
    has_id: bool,
    has_ts: bool,
    has_seq: bool,
    replaces_seq: bool,
    reserved: Option<&'static str>,
    /// JSON of `p` and `payload`.
    payloads: [Option<&'a str>; 2],
    /// The category that a prefix or else the first usable `_msg_cat` asks for.
    wish: Option<Category>,
    /// The same, of `c`.
    old_wish: Option<Category>,
    /// JSON of `t`, `type` and `event_type`.
    kinds: [Option<&'a str>; 3],
    /// JSON of `pri` and `priority`.
    priorities: [Option<&'a str>; 2],
    /// What is taken out, in order.
    cuts: Vec<Range<usize>>,
}

impl<'a> Found<'a> {
    fn note(&mut self, member: &Member<'a>) {
        match member.name().as_deref() {
            // Clients look these up, and some break off on what cannot be.
            Some("t" | "type" | "event_type" | "id") if member.value.starts_with(['{', '[']) => {
                self.cuts.push(member.start..member.end);
            }
            Some("t") => self.kinds[0] = Some(member.value),
            Some("type") => self.kinds[1] = Some(member.value),
            Some("event_type") => self.kinds[2] = Some(member.value),
            Some("p") => self.payloads[0] = Some(member.value),
            Some("payload") => self.payloads[1] = Some(member.value),
            Some("pri") => self.priorities[0] = Some(member.value),
            Some("priority") => self.priorities[1] = Some(member.value),
            Some("id") => self.has_id = true,
            Some("ts") => self.has_ts = true,
            Some("seq") if self.replaces_seq => self.cuts.push(member.start..member.end),
            Some("seq") => self.has_seq = true,
            Some("v") => self.cuts.push(member.start..member.end),
            Some("_msg_cat") => {
                self.wish = self.wish.or_else(|| category_of(member.value));
                self.cuts.push(member.start..member.end);
            }
            Some("c") => {
                self.old_wish = self.old_wish.or_else(|| category_of(member.value));
                self.cuts.push(member.start..member.end);
            }
            Some(name) => self.reserved = self.reserved.or_else(|| reserved::member(name)),
            None => {}
        }
    }

    fn check(&self) -> Result<(), EnvelopeError> {
        self.reserved.map_or(Ok(()), |name| Err(EnvelopeError::ReservedMember(name)))?;
        reserved::check(self.kinds, self.payloads)
    }

    fn priority(&self) -> Priority {
        let [short, long] = self.priorities;
        short.or(long).and_then(Priority::of_json).unwrap_or_default()
    }

    fn category(&self) -> Category {
        self.wish.or(self.old_wish).unwrap_or_else(|| {
            let kind = self.kinds.into_iter().find_map(|kind| kind).and_then(scan::string_value);
            category(&kind.unwrap_or(Cow::Borrowed("")))
        })
    }
}

fn category_of(value: &str) -> Option<Category> {
    Category::from_letters(&scan::string_value(value)?)
}

#[cfg(test)]
mod tests;
