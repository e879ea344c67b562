//! What a domain event says, member by member, as it stands in the text.
//!
//! Knows the names and which of two members counts; never what is written.

use std::borrow::Cow;
use std::ops::Range;

use crate::envelope::{Category, Timestamp};
use crate::scan::{self, Member, ScanError};

/// The members of an event that mean something. All are JSON; null counts as absent, and of duplicates the
/// last one counts.
#[derive(Default)]
pub(super) struct Event<'a> {
    event_type: Option<&'a str>,
    /// The same under its short name, `type`.
    kind: Option<&'a str>,
    /// What the type was before its publisher mapped it.
    pub(super) original: Option<&'a str>,
    data: Option<&'a str>,
    payload: Option<&'a str>,
    category: Option<Category>,
    /// The same, in a letter.
    old_category: Option<Category>,
    /// The metadata, in `_metadata` and `metadata` and beside the payload.
    store: Option<&'a str>,
    metadata: Option<&'a str>,
    own: Metadata<'a>,
    /// Where the first two of them stand.
    pub(super) metadata_places: Vec<Range<usize>>,
    /// Whether the members are there that only an envelope has: `v`, `t`, `p`, `id`, `ts`.
    envelope: [bool; 5],
    pub(super) has_seq: bool,
}

impl<'a> Event<'a> {
    /// Reads the object `json`.
    pub(super) fn read(json: &'a str) -> Result<Self, ScanError> {
        let mut event = Self::default();
        scan::members(json, &mut |member| event.note(&member))?;
        Ok(event)
    }

    #[inline]
    fn note(&mut self, member: &Member<'a>) {
        let Some(name) = member.name() else { return };
        if matches!(&*name, "_metadata" | "metadata") {
            self.metadata_places.push(member.start..member.end);
        }
        let value = Some(member.value).filter(|&value| value != "null");
        let wish = || Category::from_letters(&scan::string_value(value?)?);
        match &*name {
            "event_type" => self.event_type = value,
            "type" => self.kind = value,
            "original_event_type" => self.original = value,
            "data" => self.data = value,
            "payload" => self.payload = value,
            "_metadata" => self.store = value,
            "metadata" => self.metadata = value,
            "_msg_cat" => self.category = wish(),
            "c" => self.old_category = wish(),
            "v" => self.envelope[0] = value.is_some(),
            "t" => self.envelope[1] = value.is_some(),
            "p" => self.envelope[2] = value.is_some(),
            "id" => self.envelope[3] = value.is_some(),
            "ts" => self.envelope[4] = value.is_some(),
            "seq" => self.has_seq = true,
            // A ticket has a priority too, and means another one.
            "priority" => {}
            name => self.own.note(name, value),
        }
    }

    /// The category that the publisher wishes.
    pub(super) fn category(&self) -> Option<Category> {
        self.category.or(self.old_category)
    }

    /// The JSON of the type.
    pub(super) fn kind(&self) -> Option<&'a str> {
        self.event_type.or(self.kind)
    }

    /// Whether the event is an envelope already.
    pub(super) fn is_envelope(&self) -> bool {
        self.envelope == [true; 5] && self.event_type.is_none()
    }

    /// The payload, when it stands apart from what is said about the event.
    pub(super) fn payload(&self) -> Option<&'a str> {
        [self.data, self.payload].into_iter().flatten().find(|value| value.starts_with('{'))
    }

    /// What is said about the event. The metadata's word counts, except for the version, which the domain
    /// gives its events itself.
    pub(super) fn metadata(&self) -> Metadata<'a> {
        let [store, metadata] = [self.store, self.metadata].map(Metadata::read);
        let own = &self.own;
        let first = |member: fn(&Metadata<'a>) -> Option<&'a str>| {
            member(&store).or_else(|| member(&metadata)).or_else(|| member(own))
        };
        Metadata {
            event_id: first(|it| it.event_id),
            timestamp: first(|it| it.timestamp),
            correlation_id: first(|it| it.correlation_id),
            trace_id: first(|it| it.trace_id),
            priority: first(|it| it.priority),
            latency_ms: first(|it| it.latency_ms),
            version: own.version.or(store.version).or(metadata.version),
        }
    }
}

/// What is said about an event beside its payload. All are JSON.
#[derive(Default)]
pub(super) struct Metadata<'a> {
    event_id: Option<&'a str>,
    timestamp: Option<&'a str>,
    correlation_id: Option<&'a str>,
    trace_id: Option<&'a str>,
    priority: Option<&'a str>,
    version: Option<&'a str>,
    latency_ms: Option<&'a str>,
}

impl<'a> Metadata<'a> {
    /// What is no object says nothing.
    fn read(json: Option<&'a str>) -> Self {
        let mut metadata = Self::default();
        let read = scan::members(json.unwrap_or("{}"), &mut |member| {
            let value = Some(member.value).filter(|&value| value != "null");
            if let Some(name) = member.name() {
                metadata.note(&name, value);
            }
        });
        if read.is_ok() { metadata } else { Self::default() }
    }

    #[inline]
    fn note(&mut self, name: &str, value: Option<&'a str>) {
        match name {
            "event_id" => self.event_id = value,
            "timestamp" => self.timestamp = value,
            "correlation_id" => self.correlation_id = value,
            "trace_id" => self.trace_id = value,
            "pri" | "priority" => self.priority = value,
            "version" => self.version = value,
            "latency_ms" => self.latency_ms = value,
            _ => {}
        }
    }

    pub(super) fn id(&self) -> Option<Cow<'a, str>> {
        self.event_id.and_then(text)
    }

    pub(super) fn correlation_id(&self) -> Option<Cow<'a, str>> {
        self.correlation_id.and_then(text)
    }

    pub(super) fn trace_id(&self) -> Option<Cow<'a, str>> {
        self.trace_id.and_then(text)
    }

    pub(super) fn priority(&self) -> Option<i64> {
        self.priority?.parse().ok()
    }

    pub(super) fn version(&self) -> Option<i64> {
        self.version?.parse().ok()
    }

    /// How long ago the event happened, in milliseconds; what the event says of it where it has no readable
    /// time. Never negative: two clocks differ.
    pub(super) fn latency_ms(&self, at: Timestamp) -> Option<u64> {
        match self.timestamp.and_then(moment) {
            Some(moment) => Some(at.0.saturating_sub(moment.0)),
            None => self.latency_ms?.parse().ok(),
        }
    }
}

/// The JSON of a name: text that is not empty, or a whole number in quotes.
fn text(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes() {
        [b'"', b'"'] => None,
        [b'"', ..] => Some(Cow::Borrowed(json)),
        [b'-' | b'0'..=b'9', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            Some(Cow::Owned(format!("\"{json}\"")))
        }
        _ => None,
    }
}

/// Below it a number counts seconds, from it on milliseconds: 3 March 1973, or the year 5138.
const FIRST_MILLISECONDS: f64 = 1e11;

/// A moment as RFC 3339 or as a number since 1970.
fn moment(json: &str) -> Option<Timestamp> {
    if let Some(text) = scan::string_value(json) {
        return Timestamp::parse(&text);
    }
    let number: f64 = json.parse().ok().filter(|&number| number >= 0.0)?;
    let ms = if number < FIRST_MILLISECONDS { number * 1000.0 } else { number };
    Some(Timestamp(ms.round() as u64))
}
