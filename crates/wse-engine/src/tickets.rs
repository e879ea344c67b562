//! Tokens that the server gives out and believes when they come back, and those that were taken back (PROTOCOL §12).
//!
//! Owns the key and the list of revocations. Never decides who gets a token, and knows nothing of logins: none of
//! these is one.

use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::Mutex;
use ring::rand::{self, SystemRandom};
use std::collections::VecDeque;
use std::hash::BuildHasher;
use wse_protocol::envelope::Timestamp;
use wse_protocol::ticket::{Kind, Ticket, TicketError, TicketKey};

/// Users whose revocations are remembered one by one, about 4 MiB; of whatever age, because a connection may be older
/// than any token. Beyond, the oldest becomes one of all users: it never gives back what was taken.
const MOST_REVOCATIONS: usize = 1 << 16;

/// The tokens of an engine.
#[derive(Debug)]
pub struct Tickets {
    key: TicketKey,
    revocations: Mutex<Revocations>,
}

#[derive(Debug, Default)]
struct Revocations {
    /// By a hash of the user, when the user's tokens were taken back last. Two users of the same hash, one in
    /// 2⁶⁴, lose theirs together.
    users: HashMap<u64, Timestamp>,
    /// In the order in which they were taken back.
    order: VecDeque<(Timestamp, u64)>,
    /// The latest moment that a token says it was issued at.
    newest: Option<Timestamp>,
    /// What was issued up to here is revoked, and who logged in up to here gets no ticket, whoever it is.
    floor: Option<Timestamp>,
    hasher: DefaultHashBuilder,
}

impl Tickets {
    /// Tokens under a key that the instances share; `None`: a random one, so that they are worth something here alone.
    pub fn new(key: Option<TicketKey>) -> Self {
        let key = key.unwrap_or_else(|| {
            let random = rand::generate::<[u8; 32]>(&SystemRandom::new());
            let secret = random.expect("the system has random bytes: it has started").expose();
            TicketKey::new(&secret).expect("32 bytes are enough")
        });
        Self { key, revocations: Mutex::default() }
    }

    /// The token of `ticket`, which must be of this moment. With `login`, when the user's login was checked last: none,
    /// if the user's tokens were taken back since.
    pub fn issue(&self, mut ticket: Ticket, login: Option<Timestamp>) -> Result<String, TicketError> {
        if let Some(user) = &ticket.user_id {
            let mut revocations = self.revocations.lock();
            if let Some(revoked) = revocations.of(user) {
                if login.is_some_and(|login| login <= revoked) {
                    return Err(TicketError::Revoked);
                }
                // What is made in the millisecond of a revocation, but behind it, is good.
                ticket.issued_at = ticket.issued_at.max(Timestamp(revoked.0 + 1));
            }
            revocations.newest = revocations.newest.max(Some(ticket.issued_at));
        }
        self.key.issue(&ticket)
    }

    /// What a token of this `kind` says, if it is good at `now`.
    pub fn verify(&self, token: &str, kind: Kind, now: Timestamp) -> Result<Ticket, TicketError> {
        let ticket = self.key.verify(token, kind, now)?;
        let revoked = ticket.user_id.as_ref().and_then(|user| self.revocations.lock().of(user));
        match revoked {
            Some(revoked) if ticket.issued_at <= revoked => Err(TicketError::Revoked),
            _ => Ok(ticket),
        }
    }

    /// Takes all tokens of `user` back that there are so far.
    pub fn revoke(&self, user: &str, now: Timestamp) {
        let mut revocations = self.revocations.lock();
        // Not before what was made last, whatever the clock says.
        let now = revocations.newest.map_or(now, |newest| newest.max(now));
        let user = revocations.hasher.hash_one(user);
        let Revocations { users, order, floor, .. } = &mut *revocations;
        if users.insert(user, now) != Some(now) {
            order.push_back((now, user));
        }
        // What a later one of the same user stands for is no loss.
        let is_last = |users: &HashMap<_, _>, (at, user): &(Timestamp, u64)| users.get(user) == Some(at);
        while users.len() > MOST_REVOCATIONS
            && let Some(oldest) = order.pop_front()
        {
            if is_last(users, &oldest) {
                users.remove(&oldest.1);
                *floor = (*floor).max(Some(oldest.0));
            }
        }
        if order.len() > 2 * MOST_REVOCATIONS {
            order.retain(|revocation| is_last(users, revocation));
        }
    }
}

impl Revocations {
    /// When the tokens of `user` were taken back last.
    fn of(&self, user: &str) -> Option<Timestamp> {
        self.users.get(&self.hasher.hash_one(user)).copied().max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn later(ms: u64) -> Timestamp {
        Timestamp(NOW.0 + ms)
    }

    fn ticket(user: &str, now: Timestamp) -> Ticket {
        Ticket::new(Kind::Session, Some(user.into()), Uuid::nil(), now, None)
    }

    #[test]
    fn a_revocation_takes_what_was_made_before_it_and_nothing_after_it() {
        let tickets = Tickets::new(None);
        let before = tickets.issue(ticket("ann", NOW), None).expect("a token");
        let of_bob = tickets.issue(ticket("bob", NOW), None).expect("a token");
        tickets.revoke("ann", NOW);
        let after = tickets.issue(ticket("ann", NOW), None).expect("a token");
        let verify = |token: &str| tickets.verify(token, Kind::Session, later(1)).map(|_| ());
        assert_eq!(verify(&before), Err(TicketError::Revoked));
        assert_eq!((verify(&of_bob), verify(&after)), (Ok(()), Ok(())));
        tickets.revoke("ann", NOW);
        assert_eq!(verify(&after), Err(TicketError::Revoked), "in the same millisecond, too");
    }

    #[test]
    fn a_crowd_of_revocations_is_bounded_and_gives_nothing_back() {
        let tickets = Tickets::new(None);
        let early = tickets.issue(ticket("ann", NOW), None).expect("a token");
        tickets.revoke("ann", NOW);
        for user in 0..MOST_REVOCATIONS as u64 {
            tickets.revoke(&user.to_string(), later(user + 1));
        }
        let most = later(MOST_REVOCATIONS as u64);
        {
            let revocations = tickets.revocations.lock();
            assert_eq!(
                (revocations.order.len(), revocations.users.len()),
                (MOST_REVOCATIONS, MOST_REVOCATIONS)
            );
        }
        assert_eq!(tickets.verify(&early, Kind::Session, most).map(|_| ()), Err(TicketError::Revoked));
        let fresh = tickets.issue(ticket("carol", most), None).expect("a token");
        assert!(tickets.verify(&fresh, Kind::Session, most).is_ok());
    }

    #[test]
    fn a_revocation_counts_for_its_user_alone_however_long_a_connection_lasts() {
        let tickets = Tickets::new(None);
        let year = 365 * Kind::Session.lifetime().as_millis() as u64;
        tickets.revoke("ann", NOW);
        tickets.revoke("bob", later(year));
        let verdict = |user, login| tickets.issue(ticket(user, later(year)), Some(login)).map(drop);
        assert_eq!(verdict("ann", NOW), Err(TicketError::Revoked), "who was connected all the time");
        assert_eq!((verdict("ann", later(1)), verdict("carol", NOW)), (Ok(()), Ok(())));
    }

    #[test]
    fn one_user_takes_one_place_however_often_its_tokens_are_taken_back() {
        let tickets = Tickets::new(None);
        tickets.revoke("ann", NOW);
        for ms in 0..3 * MOST_REVOCATIONS as u64 {
            tickets.revoke("bob", later(ms / 2));
        }
        let revocations = tickets.revocations.lock();
        assert_eq!((revocations.users.len(), revocations.floor), (2, None));
        assert!(revocations.order.len() <= 2 * MOST_REVOCATIONS);
    }

    #[test]
    fn who_logged_in_before_a_revocation_gets_no_ticket_after_it() {
        let tickets = Tickets::new(None);
        let verdict = |user, login| tickets.issue(ticket(user, later(5)), Some(login)).map(drop);
        assert_eq!(verdict("ann", NOW), Ok(()));
        tickets.revoke("ann", later(5));
        assert_eq!((verdict("ann", NOW), verdict("bob", NOW)), (Err(TicketError::Revoked), Ok(())));
        assert_eq!(verdict("ann", later(5)), Err(TicketError::Revoked), "nor in the same millisecond");
        assert_eq!(verdict("ann", later(6)), Ok(()));
        assert!(
            tickets.issue(ticket("ann", later(5)), None).is_ok(),
            "what the application gives is its own wish"
        );
    }

    #[test]
    fn keys_of_different_engines_do_not_know_each_others_tokens() {
        let token = Tickets::new(None).issue(ticket("ann", NOW), None).expect("a token");
        let verdict = Tickets::new(None).verify(&token, Kind::Session, NOW).map(|_| ());
        assert_eq!(verdict, Err(TicketError::Forged));
    }
}
