//! The option `topicPolicies`, as the facade sends it.

use serde::Deserialize;
use std::num::NonZeroU64;
use wse_engine::policy::{Overflow, Policies, Policy};
use wse_protocol::priority::Priority;

/// One policy, and the topics that it is for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicPolicy {
    topics: Vec<String>,
    priority: f64,
    overflow: Overflowing,
    deadline_ms: u64,
    recovery: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Overflowing {
    Drop,
    Block(u64),
    Disconnect,
    Ring(usize),
    Latest(Option<Box<str>>),
}

impl TopicPolicy {
    fn split(self) -> (Vec<String>, Policy) {
        let overflow = match self.overflow {
            Overflowing::Drop => Overflow::Drop,
            Overflowing::Block(ms) => Overflow::Block(ms),
            Overflowing::Disconnect => Overflow::Disconnect,
            Overflowing::Ring(most) => Overflow::Ring(most),
            Overflowing::Latest(path) => Overflow::Latest(path),
        };
        let deadline_ms = NonZeroU64::new(self.deadline_ms);
        let priority = Priority::nearest(self.priority);
        (self.topics, Policy { priority, overflow, deadline_ms, recovery: self.recovery })
    }
}

/// What the engine is told.
pub fn read(policies: Vec<TopicPolicy>) -> Policies {
    Policies::new(policies.into_iter().map(TopicPolicy::split))
}
