//! The reply to a request for topics, and where its client stands in those that have a log (PROTOCOL §8, §9).
//!
//! Says what was asked for, what succeeded and what did not. Never decides who may hold what.

use serde::{Serialize, Serializer};

use super::ServerMessage;

server_messages! {
    SubscriptionUpdate<'a> = "subscription_update",
}

/// What a subscription request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// To get what is published to the topics.
    Subscribe,
    /// To get it no longer.
    Unsubscribe,
}

/// The one reply to a subscription request.
#[derive(Debug, Clone, Serialize)]
pub struct SubscriptionUpdate<'a> {
    action: Action,
    success: bool,
    success_topics: &'a [&'a str],
    failed_topics: &'a [&'a str],
    #[serde(serialize_with = "by_topic")]
    recovery: &'a [TopicPosition<'a>],
}

/// Where a client stands in a topic with a log (PROTOCOL §9).
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TopicPosition<'a> {
    /// The topic.
    #[serde(skip)]
    pub topic: &'a str,
    /// The epoch, which is written as eight hex digits; `None`: there is no position.
    #[serde(serialize_with = "as_epoch")]
    pub epoch: Option<u32>,
    /// The offset of the last publication that the client has got, or will not get.
    pub offset: Option<u64>,
    /// Whether it has everything that followed the position that it named; `None`: it named none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// How many publications were sent again; `None`: none were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl<'a> TopicPosition<'a> {
    /// No position: `topic` has no log, may not be held, or was asked for in a way that nobody understands.
    pub const fn none(topic: &'a str) -> Self {
        Self { topic, epoch: None, offset: None, recovered: Some(false), count: Some(0) }
    }
}

/// Clients count on an object, so it is there also when it is empty.
fn by_topic<S: Serializer>(positions: &[TopicPosition<'_>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(positions.iter().map(|position| (position.topic, position)))
}

fn as_epoch<S: Serializer>(epoch: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    match epoch {
        Some(epoch) => serializer.collect_str(&format_args!("{epoch:08x}")),
        None => serializer.serialize_none(),
    }
}

impl<'a> SubscriptionUpdate<'a> {
    /// A success when any topic succeeded.
    pub const fn new(action: Action, success_topics: &'a [&'a str], failed_topics: &'a [&'a str]) -> Self {
        let success = !success_topics.is_empty();
        Self { action, success, success_topics, failed_topics, recovery: &[] }
    }

    /// The same with where the client stands in topics that have a log.
    #[must_use]
    pub const fn with_positions(self, recovery: &'a [TopicPosition<'a>]) -> Self {
        Self { recovery, ..self }
    }
}
