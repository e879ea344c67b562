//! What becomes of a topic's publications where a reader does not keep up with them.
//!
//! Looked up once, when a topic is made. Never queues anything and never counts: that is the outbound queue's.

use crate::frame::Payload;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::sync::Arc;
use wse_protocol::priority::Priority;
use wse_protocol::{glob, scan};

/// What gives way when a connection's queue has no room for a publication.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Overflow {
    /// What is least important, the newcomer among its equals.
    #[default]
    Drop,
    /// The publisher: it waits until there is room, for so many milliseconds at most; then the connection is closed.
    Block(u64),
    /// The connection: it is closed.
    Disconnect,
    /// The oldest of the topic, of which no more than this many wait.
    Ring(usize),
    /// The one before with the same value at this path into the payload; of the whole topic without a path.
    Latest(Option<Box<str>>),
}

/// How the publications of a topic wait.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Their lane.
    pub priority: Priority,
    /// What gives way.
    pub overflow: Overflow,
    /// How long one may wait, in milliseconds; `None`: for ever.
    pub deadline_ms: Option<NonZeroU64>,
    /// Whether the topic has a log; `None`: as other topics.
    pub recovery: Option<bool>,
}

impl Policy {
    /// Whether the topic may have a log: what may be left out of a stream on purpose has no place in it
    /// (PROTOCOL §9).
    pub fn allows_log(&self) -> bool {
        !matches!(self.overflow, Overflow::Ring(_) | Overflow::Latest(_)) && self.deadline_ms.is_none()
    }

    /// Whether nothing of the topic is given up for something more important.
    pub fn is_firm(&self) -> bool {
        matches!(self.overflow, Overflow::Block(_))
    }
}

/// The policies of topics, by their names.
#[derive(Debug, Default)]
pub struct Policies {
    rules: Vec<(Vec<String>, Arc<Policy>)>,
    other: Arc<Policy>,
    /// Keys are hashed with a secret: clients may have a say in their values.
    hasher: RandomState,
}

impl Policies {
    /// Policies for the topics that these globs match; of several the first one counts.
    pub fn new(rules: impl IntoIterator<Item = (Vec<String>, Policy)>) -> Self {
        let rules = rules.into_iter().map(|(globs, policy)| (globs, Arc::new(policy))).collect();
        Self { rules, ..Self::default() }
    }

    /// The policy of the topic `name`.
    pub fn of(&self, name: &str) -> Arc<Policy> {
        let is_meant = |(globs, _): &&(Vec<String>, _)| globs.iter().any(|rule| glob::matches(rule, name));
        Arc::clone(self.rules.iter().find(is_meant).map_or(&self.other, |(_, policy)| policy))
    }

    /// The first policy that excludes a log, of topics that are `kept` by their names, as globs; none that an earlier
    /// policy has already. `None`: there is none.
    pub fn contradicting(&self, kept: &[String]) -> Option<usize> {
        let is_before = |place: usize, kept: &str| {
            self.rules[..place].iter().flat_map(|(globs, _)| globs).any(|before| glob::covers(before, kept))
        };
        self.rules.iter().enumerate().position(|(place, (globs, policy))| {
            let meets = |kept: &&String| globs.iter().any(|rule| glob::intersects(rule, kept));
            !policy.allows_log() && kept.iter().filter(meets).any(|kept| !is_before(place, kept))
        })
    }

    /// The payload of a publication as it will wait; `deadline_ms` is its own, in place of the policy's.
    pub fn stand(
        &self,
        policy: &Policy,
        mut payload: Payload,
        deadline_ms: Option<NonZeroU64>,
        now: u64,
    ) -> Payload {
        payload.standing.key = self.key(policy, payload.bytes());
        let deadline = deadline_ms.or(policy.deadline_ms);
        payload.standing.expires = deadline.and_then(|ms| ms.checked_add(now));
        payload
    }

    /// What tells a publication from others of its topic; `None`: none takes the place of another.
    fn key(&self, policy: &Policy, message: &[u8]) -> Option<NonZeroU64> {
        let Overflow::Latest(path) = &policy.overflow else { return None };
        let Some(path) = path else { return NonZeroU64::new(1) };
        let value = scan::payload_value(std::str::from_utf8(message).ok()?, path)?;
        NonZeroU64::new(self.hasher.hash_one(value) | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_policy_that_matches_counts() {
        let policy = |overflow| Policy { overflow, ..Policy::default() };
        let policies = Policies::new([
            (vec!["prices:slow".into(), "x".into()], policy(Overflow::Disconnect)),
            (vec!["prices:*".into()], policy(Overflow::Latest(Some("symbol".into())))),
        ]);
        assert_eq!(policies.of("prices:slow").overflow, Overflow::Disconnect);
        assert_eq!(*policies.of("news"), Policy::default());
        let latest = policies.of("prices:fx");
        assert!(!latest.allows_log() && policies.of("x").allows_log());
        let key = |text: &str| policies.key(&latest, text.as_bytes());
        assert_eq!(key(r#"{"p":{"symbol":"A","n":1}}"#), key(r#"{"p":{"n":2, "symbol" : "A"}}"#));
        assert_ne!(key(r#"{"p":{"symbol":"A"}}"#), key(r#"{"p":{"symbol":"B"}}"#));
        assert_eq!((key(r#"{"p":{}}"#), key("text")), (None, None));
        assert_eq!(policies.key(&policies.of("news"), br#"{"p":{}}"#), None);
        let contradicting = |kept: &str| policies.contradicting(&[kept.to_owned()]);
        assert_eq!([contradicting("prices:f?"), contradicting("*:fx")], [Some(1); 2]);
        assert_eq!([contradicting("news*"), contradicting("prices:slow"), contradicting("x")], [None; 3]);
    }
}
