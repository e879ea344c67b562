//! What a connection has missed and has not been told of.
//!
//! Bounded: topics beyond the first ones are counted together. Never says anything; that is the session's.

use crate::topics::Topic;
use std::sync::Arc;
use wse_protocol::priority::Priority;

/// Topics that are named one by one in a `gap`; misses of further topics are told without a name.
pub(super) const NAMED_GAPS: usize = 32;

/// Why a message did not reach its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The queue was full.
    Slow,
    /// It waited for longer than it was worth something.
    Expired,
    /// The memory of all queues was full.
    Overload,
    /// It could not be signed.
    Unsigned,
}

impl Reason {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Expired => "expired",
            Self::Overload => "overload",
            Self::Unsigned => "unsigned",
        }
    }
}

/// What a connection did not get: so many messages of a topic, or of none (unicast, everyone).
#[derive(Debug, Clone)]
pub struct Missed {
    /// The topic, if it was one.
    pub topic: Option<Arc<Topic>>,
    /// The lane that it is told in.
    pub lane: Priority,
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: u64,
    /// Of a topic with a log: the first and the last offset, none of those between having reached the client.
    pub offsets: Option<(u64, u64)>,
}

impl Missed {
    fn is_hole_of(&self, topic: &Topic) -> bool {
        self.offsets.is_some() && self.topic.as_ref().is_some_and(|own| own.is_same(topic))
    }
}

/// All that is to be told.
#[derive(Debug, Default)]
pub(super) struct Misses(Vec<Missed>);

impl Misses {
    /// Takes all.
    pub fn take(&mut self) -> Vec<Missed> {
        std::mem::take(&mut self.0)
    }

    /// Takes what was noted first of a hole in the log of `topic`.
    pub fn take_hole(&mut self, topic: &Topic) -> Option<Missed> {
        self.0.iter().position(|missed| missed.is_hole_of(topic)).map(|place| self.0.remove(place))
    }

    /// The client gets what it had missed of the log of `topic` after all, or is told of it again.
    pub fn forget_holes(&mut self, topic: &Topic) {
        self.0.retain(|missed| !missed.is_hole_of(topic));
    }

    /// Notes so many messages more.
    pub fn note(&mut self, news: Missed) {
        let is_same = |missed: &&mut Missed| {
            let is_same_topic = match (&missed.topic, &news.topic) {
                (Some(a), Some(b)) => a.is_same(b),
                (None, None) => true,
                _ => false,
            };
            let follows = match (missed.offsets, news.offsets) {
                (Some((_, last)), Some((first, _))) => first == last + 1,
                (None, None) => true,
                _ => false,
            };
            is_same_topic && follows && (missed.lane, missed.reason) == (news.lane, news.reason)
        };
        if let Some(missed) = self.0.iter_mut().find(is_same) {
            missed.count += news.count;
            missed.offsets = missed.offsets.zip(news.offsets).map(|((first, _), (_, last))| (first, last));
        } else if self.0.len() < NAMED_GAPS || news.topic.is_none() {
            self.0.push(news);
        } else {
            self.note(Missed { topic: None, offsets: None, ..news });
        }
    }
}
