//! Which connections each user has, and which of them makes room for a new one (PROTOCOL §3).
//!
//! One lock for the registry, held for the length of a lookup. Bounded by the open connections, and by the
//! marks of users who were replaced within the last minute.

use crate::config::ConnectionLimitPolicy;
use crate::id::ConnectionKey;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;

/// How long a client that was replaced may not replace another in turn (PROTOCOL §3).
pub const REPLACED_MS: u64 = 60_000;

/// Marks of replaced clients that a user has at most; the oldest is forgotten.
const MOST_MARKS: usize = 32;

/// What a new connection of a user meets.
#[derive(Debug, PartialEq, Eq)]
pub enum Seat {
    /// It is in.
    Granted,
    /// It is in, and this one has to go.
    Replacing(ConnectionKey),
    /// It is refused with `CONNECTION_LIMIT`.
    Refused,
}

/// A connection that wants a seat.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// The connection.
    pub key: ConnectionKey,
    /// Tells a client that was replaced and is back from one that is new: its address and browser.
    pub fingerprint: u64,
}

#[derive(Debug, Default)]
struct User {
    members: Vec<Member>,
    /// Whose connections were replaced, by fingerprint, and when (milliseconds).
    replaced: Vec<(u64, u64)>,
}

/// The registry of users with open connections.
#[derive(Debug, Default)]
pub struct Users {
    users: Mutex<HashMap<Arc<str>, User>>,
}

impl Users {
    /// Seats `member` as a connection of `user` at `now`, at most `limit` of them (zero: unlimited).
    ///
    /// At the limit the policy decides who gives way. A connection for which `silent` holds goes before the
    /// oldest. Who was replaced within the last minute replaces nobody, so that two tabs do not throw each
    /// other out for ever.
    pub fn join(
        &self,
        user: &Arc<str>,
        member: Member,
        (limit, policy): (usize, ConnectionLimitPolicy),
        now: u64,
        silent: impl Fn(ConnectionKey) -> bool,
    ) -> Seat {
        let mut users = self.users.lock();
        let entry = users.entry_ref(user).or_default();
        if limit == 0 || entry.members.len() < limit {
            entry.members.push(member);
            return Seat::Granted;
        }
        // Shards have moments of their own, so a mark may lie ahead of this one's.
        entry.replaced.retain(|(_, at)| now.saturating_sub(*at) < REPLACED_MS);
        let was_replaced = entry.replaced.iter().any(|(who, _)| *who == member.fingerprint);
        if policy == ConnectionLimitPolicy::Refuse || was_replaced {
            return Seat::Refused;
        }
        let index = entry.members.iter().position(|member| silent(member.key)).unwrap_or(0);
        let victim = entry.members.remove(index);
        if entry.replaced.len() == MOST_MARKS {
            entry.replaced.remove(0);
        }
        entry.replaced.push((victim.fingerprint, now));
        entry.members.push(member);
        Seat::Replacing(victim.key)
    }

    /// Gives the connection's seat back.
    pub fn leave(&self, user: &str, key: ConnectionKey) {
        let mut users = self.users.lock();
        let Some(entry) = users.get_mut(user) else { return };
        entry.members.retain(|member| member.key != key);
        if entry.members.is_empty() {
            users.remove(user);
            if users.capacity() > 1024 && users.len() < users.capacity() / 8 {
                users.shrink_to_fit();
            }
        }
    }

    /// The connections of `user`, oldest first.
    pub fn connections(&self, user: &str) -> Vec<ConnectionKey> {
        let users = self.users.lock();
        users.get(user).map_or_else(Vec::new, |entry| entry.members.iter().map(|member| member.key).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLACE: (usize, ConnectionLimitPolicy) = (2, ConnectionLimitPolicy::Replace);

    fn member(slot: usize, fingerprint: u64) -> Member {
        Member { key: ConnectionKey::new(0, slot, 1), fingerprint }
    }

    #[test]
    fn the_silent_one_goes_first_and_else_the_oldest() {
        let (users, ann) = (Users::default(), Arc::from("ann"));
        for slot in 0..2 {
            assert_eq!(users.join(&ann, member(slot, slot as u64), REPLACE, 0, |_| false), Seat::Granted);
        }
        let silent = |key: ConnectionKey| key.slot() == 1;
        assert_eq!(users.join(&ann, member(2, 2), REPLACE, 0, silent), Seat::Replacing(member(1, 0).key));
        assert_eq!(users.join(&ann, member(3, 3), REPLACE, 0, |_| false), Seat::Replacing(member(0, 0).key));
        assert_eq!(users.connections("ann"), [member(2, 0).key, member(3, 0).key]);
    }

    #[test]
    fn who_was_replaced_replaces_nobody_for_a_minute() {
        let (users, ann) = (Users::default(), Arc::from("ann"));
        for slot in 0..3 {
            users.join(&ann, member(slot, slot as u64), REPLACE, 0, |_| false);
        }
        assert_eq!(users.join(&ann, member(3, 0), REPLACE, REPLACED_MS - 1, |_| false), Seat::Refused);
        assert!(matches!(
            users.join(&ann, member(4, 0), REPLACE, REPLACED_MS, |_| false),
            Seat::Replacing(_)
        ));
    }

    #[test]
    fn a_user_without_connections_is_forgotten() {
        let (users, ann) = (Users::default(), Arc::from("ann"));
        users.join(&ann, member(0, 0), REPLACE, 0, |_| false);
        users.leave("ann", member(0, 0).key);
        assert!(users.users.lock().is_empty());
    }
}
