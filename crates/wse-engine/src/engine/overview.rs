//! What can be seen of an engine: its connections, who is present, what waits, and how much memory that takes.
//!
//! Only looks. Never leaves a command, and never waits for a shard.

use super::Engine;
use crate::id::ConnectionId;
use crate::presence::Page;
use crate::seats::Caller;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wse_protocol::envelope::Dialect;

/// Bytes of members that the host takes at once.
const PAGE_BYTES: usize = 1 << 20;

/// Bytes by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The budget; zero: none.
    pub budget_bytes: usize,
    /// Publications and unicasts that wait, each counted once.
    pub outbound_bytes: usize,
    /// Who is present in topics.
    pub presence_bytes: usize,
    /// What is kept of topics: logs, and publications in them whether they wait or not.
    pub log_bytes: usize,
    /// What waits for the application, and messages whose end has not come.
    pub inbound_bytes: usize,
    /// Commands that no shard has looked at yet.
    pub waiting_commands: usize,
    /// Messages of the longest outbound queue of a connection.
    pub longest_outbound_messages: usize,
    /// Bytes of the longest outbound queue of a connection.
    pub longest_outbound_bytes: usize,
}

/// What is known of an open connection; moments in Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Who it belongs to.
    pub caller: Arc<Caller>,
    /// When it was opened.
    pub connected_at: u64,
    /// When its token ends; `None`: it has none.
    pub expires_at: Option<u64>,
    /// How it speaks.
    pub dialect: Dialect,
    /// Topics that it holds.
    pub subscriptions: u32,
    /// Bytes that the kernel has refused.
    pub waiting_bytes: usize,
    /// Messages that it did not get.
    pub missed: u32,
}

impl Engine {
    /// Whether whoever connects can be told apart: not before there are keys.
    pub fn is_ready(&self) -> bool {
        !self.shared.is_ending() && self.shared.config.auth.is_ready()
    }

    /// Members of a topic behind the user id `after`, in the order of their ids: at most `limit`, and about a
    /// megabyte, but one.
    pub fn presence(&self, topic: &str, after: Option<&str>, limit: usize) -> Page {
        let topic = self.shared.topics.get(topic);
        let members = topic.as_ref().and_then(|topic| topic.present());
        members.map(|members| members.lock().page(after, limit, PAGE_BYTES)).unwrap_or_default()
    }

    /// Users who are present in a topic, and their connections there.
    pub fn presence_stats(&self, topic: &str) -> (usize, usize) {
        let topic = self.shared.topics.get(topic);
        let members = topic.as_ref().and_then(|topic| topic.present()).map(|members| members.lock());
        members.map_or((0, 0), |members| (members.users(), members.connections()))
    }

    /// What is known of an open connection.
    pub fn info(&self, id: ConnectionId) -> Option<Info> {
        let (key, desk) = self.find(id)?;
        let (high, _) = id.0.as_u64_pair();
        let seats = &desk.seats;
        let (dialect, subscriptions, waiting_bytes) = seats.state(key)?;
        Some(Info {
            caller: seats.caller(key)?,
            connected_at: high >> 16,
            expires_at: seats.expires(key),
            dialect,
            subscriptions,
            waiting_bytes,
            missed: seats.missed(key),
        })
    }

    /// The ids of all open connections.
    pub fn connections(&self) -> Vec<ConnectionId> {
        let desks = self.shared.desks.iter().enumerate();
        let keys = desks.flat_map(|(shard, desk)| desk.seats.open_keys(shard));
        keys.map(|(key, high)| self.shared.ids.id(high, key)).collect()
    }

    /// How many connections are open.
    pub fn connection_count(&self) -> usize {
        self.shared.metrics.connections.load(Relaxed)
    }

    /// Subscriptions to `topic`.
    pub fn subscribers(&self, topic: &str) -> usize {
        self.shared.topics.subscribers(topic)
    }

    /// Events that wait for the application.
    pub fn inbound_depth(&self) -> u64 {
        self.shared.inbound_depth()
    }

    /// The health snapshot as JSON.
    pub fn health(&self) -> String {
        self.shared.health(self.clock.now())
    }

    /// Bytes by kind.
    pub fn memory(&self) -> Memory {
        let desks = &self.shared.desks;
        let presence_bytes = self.shared.presence.bytes.load(Relaxed);
        let log_bytes = self.shared.topics.logs().map_or(0, |logs| logs.bytes());
        Memory {
            budget_bytes: self.shared.budget.limit(),
            outbound_bytes: self.shared.budget.used().saturating_sub(presence_bytes + log_bytes),
            log_bytes,
            presence_bytes,
            inbound_bytes: self.shared.partial_bytes()
                + desks.iter().map(|desk| desk.inbound.bytes()).sum::<usize>(),
            waiting_commands: desks.iter().map(|desk| desk.mailbox.len()).sum(),
            longest_outbound_messages: desks
                .iter()
                .map(|d| d.longest.messages.load(Relaxed))
                .max()
                .unwrap_or(0),
            longest_outbound_bytes: desks.iter().map(|d| d.longest.bytes.load(Relaxed)).max().unwrap_or(0),
        }
    }
}
