//! Coming back without a login (PROTOCOL §12): resume tickets, and what a connection has by one.
//!
//! Decides what a ticket says and what it gives. Never who gets in without one; and the key and the revocations are
//! those of `tickets.rs`.

use crate::auth::{Auth, Identity};
use crate::connection::Connection;
use crate::core::Core;
use crate::handshake::Upgrade;
use crate::jwt;
use crate::metrics::count;
use crate::shared::Shared;
use serde_json::value::RawValue;
use std::sync::Arc;
use wse_protocol::envelope::{Dialect, Timestamp};
use wse_protocol::rules::Verdict;
use wse_protocol::ticket::{Kind, Ticket, TicketError};

/// What a connection needs to come back, and what it came back with.
#[derive(Debug)]
pub struct Pass {
    /// The user's claims, a JSON object.
    claims: Arc<str>,
    /// When the login was checked that it all goes back to, or the ticket made: a revocation since then ends it.
    login: Timestamp,
    /// The end of the ticket that opened the connection: no other ends later until a login was checked.
    until: Option<Timestamp>,
    /// Topics that this ticket grants, sorted.
    granted: Vec<String>,
}

impl Pass {
    /// That of a login which was begun at this moment.
    pub fn of_login(login: Timestamp) -> Self {
        Self { claims: "{}".into(), login, until: None, granted: Vec::new() }
    }
}

impl Shared {
    /// What the ticket of this request says, if that is good `now`, and no token says that somebody else connects.
    pub(crate) fn ticket_of(&self, upgrade: &Upgrade, now: Timestamp) -> Option<Ticket> {
        let ticket = upgrade.ticket.as_deref().filter(|_| self.config.resume)?;
        let ticket = self.config.tickets.verify(ticket, Kind::Resume, now).ok()?;
        if upgrade.token.as_ref().is_some_and(|token| jwt::subject(token) != ticket.user_id) {
            return None;
        }
        // Where somebody says who connects, nobody comes back as nobody; and the other way round.
        let has_users = !matches!(self.config.auth, Auth::Anonymous);
        (ticket.user_id.is_some() == has_users).then_some(ticket)
    }
}

impl Core {
    /// Who comes back with this ticket, and what it gives.
    pub(crate) fn returning(&self, ticket: Ticket) -> (Identity, Pass) {
        count(&self.shared.metrics.resumed_total, 1);
        let login = ticket.issued_at.min(self.timestamp());
        let claims = ticket.claims.map_or_else(|| "{}".into(), |claims| claims.get().to_owned());
        let mut granted = ticket.topics;
        granted.sort_unstable();
        let pass = Pass { until: Some(ticket.expires_at), granted, ..Pass::of_login(login) };
        (Identity::decided(ticket.user_id, claims), pass)
    }

    /// Keeps what a ticket will say of a connection whose login was just checked, or that has come back.
    pub(crate) fn take_pass<S>(&self, conn: &mut Connection<S>, claims: &str, pass: Pass) {
        let config = &self.shared.config;
        if config.resume && config.envelope && (conn.user().is_some() || pass.until.is_some()) {
            let kept = conn.access.as_ref().and_then(|access| access.claims.clone());
            let claims = kept.unwrap_or_else(|| claims.into());
            conn.pass = Some(Box::new(Pass { claims, ..pass }));
        }
    }

    /// Takes from a connection what the ticket by which it came back grants of `topics`; `None`: all.
    pub(crate) fn forget_granted<S>(&self, conn: &mut Connection<S>, topics: Option<&[String]>) {
        if let Some(pass) = &mut conn.pass {
            pass.granted.retain(|name| topics.is_some_and(|topics| !topics.contains(name)));
        }
    }

    /// Whether the ticket by which the connection came back grants it this topic.
    pub(crate) fn is_granted_by_ticket<S>(&self, conn: &Connection<S>, name: &str) -> bool {
        conn.pass.as_ref().is_some_and(|pass| {
            pass.until.is_some_and(|until| self.timestamp() < until)
                && pass.granted.binary_search_by(|topic| topic.as_str().cmp(name)).is_ok()
        })
    }

    /// A ticket to come back with, which grants what is held when the connection is `leaving`. `None`: it speaks
    /// another dialect, has nothing that would be worth a ticket, or more than a ticket can say; or its user's tokens were
    /// taken back since its login was checked.
    pub(crate) fn resume_ticket<S>(&self, conn: &Connection<S>, leaving: bool) -> Option<String> {
        let config = &self.shared.config;
        if !config.resume || !config.envelope || conn.speech.dialect() != Dialect::V2 {
            return None;
        }
        let user = conn.user().map(|user| user.to_string());
        let mut topics = Vec::new();
        if leaving {
            // What everyone may have needs no ticket; a share of a topic is no word for all of it.
            let held = conn.topics.iter().filter(|topic| topic.group().is_none()).map(|topic| topic.name());
            let is_special = |name: &&str| self.judge(conn, name) != Verdict::Granted;
            topics.extend(held.filter(is_special).map(str::to_owned));
        }
        if user.is_none() && topics.is_empty() {
            return None;
        }
        let pass = conn.pass.as_ref();
        let ends = conn.expiry.at().map(Timestamp).into_iter().chain(pass.and_then(|pass| pass.until)).min();
        let now = self.timestamp();
        if ends.is_some_and(|ends| ends <= now) {
            return None;
        }
        let id = self.shared.ids.id(conn.high, conn.key).0;
        let claims = pass.and_then(|pass| RawValue::from_string(pass.claims.as_ref().into()).ok());
        loop {
            let mut ticket = Ticket::new(Kind::Resume, user.clone(), id, now, ends);
            (ticket.topics, ticket.claims) = (topics.clone(), claims.clone());
            match config.tickets.issue(ticket, pass.map(|pass| pass.login)) {
                // The rest is asked for again, as everything would be without a ticket.
                Err(TicketError::TooLong { .. }) if !topics.is_empty() => topics.truncate(topics.len() / 2),
                issued => return issued.ok(),
            }
        }
    }
}
