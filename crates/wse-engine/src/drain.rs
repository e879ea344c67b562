//! Sending the connections of a shard away in waves (PROTOCOL §14).
//!
//! [`Drain`] is a plain state machine on the shard's clock: how many are told now, and how long each of them stays
//! away. Who is told hears of it at once, and gets its Close when everything has left that waited for it.

use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::handshake::Refusal;
use crate::host::Reply;
use crate::id::ConnectionKey;
use crate::metrics::count;
use crate::shard::Shard;
use hashbrown::HashSet;
use wse_protocol::codes::close;
use wse_protocol::envelope::Dialect;
use wse_protocol::message::ServerDraining;

/// How an engine is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// In how many waves the connections are told; at least one.
    pub waves: u32,
    /// How long all of it may take, in milliseconds.
    pub deadline_ms: u64,
}

/// A drain that is under way.
#[derive(Debug)]
pub struct Drain {
    pace: Pace,
    began: u64,
    /// Waves that have been told.
    told: u32,
    /// Who was told and has not got everything, and how long it stays away. At most all connections.
    leaving: Vec<(ConnectionKey, u64)>,
    is_reported: bool,
}

impl Drain {
    /// A drain that begins `now` (milliseconds).
    pub fn new(pace: Pace, now: u64) -> Self {
        Self { pace, began: now, told: 0, leaving: Vec::new(), is_reported: false }
    }

    /// When there is something to do next, in milliseconds: the waves begin in equal steps, the first at once; a step
    /// behind the last is the end.
    pub fn next(&self) -> u64 {
        self.began + self.pace.deadline_ms * u64::from(self.told) / u64::from(self.pace.waves)
    }

    /// Whether everyone has been told, and the time is over.
    pub fn is_over(&self, now: u64) -> bool {
        self.told == self.pace.waves && now >= self.next()
    }

    /// How many of `left` connections are told `now`: an equal share of what is left for each wave. Where there are
    /// fewer connections than waves, the shards begin with different ones (`shard`). `None`: no wave is due.
    pub fn wave(&mut self, now: u64, left: usize, shard: usize) -> Option<usize> {
        if self.told == self.pace.waves || now < self.next() {
            return None;
        }
        let waves = (self.pace.waves - self.told) as usize;
        self.told += 1;
        Some((left + shard % waves) / waves)
    }

    /// How long the connection `nth` of `all` in a wave stays away, in milliseconds: one step of the waves is dealt
    /// out in equal parts, and each comes back somewhere in its own (`random`: from 0 to 1).
    pub fn delay(&self, nth: usize, all: usize, random: f64) -> u64 {
        let step = self.pace.deadline_ms as f64 / f64::from(self.pace.waves);
        (step * (nth as f64 + random) / all as f64) as u64
    }
}

impl<S: Socket> Shard<S> {
    /// Begins to send everyone away. Who waits to be let in is told to come back at once.
    pub(crate) fn drain(&mut self, pace: Pace) {
        self.drain = Some(Drain::new(pace, self.core.now.millis));
        for slot in self.slab.slots() {
            let Some(conn) = self.slab.get_mut(slot) else { continue };
            if self.core.is_deciding(conn) {
                self.core.refuse(conn, Refusal::Closing);
            }
        }
    }

    /// Tells those whose turn it is, and ends those who are left when the time is over.
    pub(crate) fn tell_wave(&mut self) {
        let Self { slab, core, drain, .. } = self;
        let Some(drain) = drain else { return };
        let now = core.now.millis;
        while now >= drain.next() && !drain.is_over(now) {
            let told = drain.leaving.iter().map(|(key, _)| *key).collect::<HashSet<_>>();
            let mut left = Vec::new();
            for slot in slab.slots() {
                let conn = slab.get_mut(slot).filter(|conn| conn.is_open() && !told.contains(&conn.key));
                left.extend(conn.map(|conn| conn.key));
            }
            let Some(share) = drain.wave(now, left.len(), core.index) else { break };
            left.truncate(share);
            for (nth, key) in left.iter().enumerate() {
                let Some(conn) = slab.get_mut(key.slot()) else { continue };
                let delay = drain.delay(nth, share, core.random.f64());
                core.tell_draining(conn, delay);
                drain.leaving.push((*key, delay));
            }
        }
        if drain.is_over(now) {
            for slot in slab.slots() {
                if let Some(conn) = slab.get_mut(slot).filter(|conn| conn.is_open()) {
                    core.close(conn, close::RESTART, "the server is closing");
                }
            }
        }
    }

    /// Says Close to whoever was told and has everything; whether there was anyone.
    pub(crate) fn let_go(&mut self) -> bool {
        let Self { slab, core, drain, .. } = self;
        let Some(drain) = drain else { return false };
        let before = drain.leaving.len();
        drain.leaving.retain(|(key, delay)| {
            let Some(conn) = slab.find_open(*key) else { return false };
            let is_held_up = conn.awaits_key();
            // A log of topics may be this instance's alone, so what a cursor has still to read belongs to it too.
            let has_all = conn.backlog.is_none()
                && conn.replay.is_none()
                && conn.pending.is_none()
                && !conn.has_unsent()
                && !is_held_up;
            if has_all {
                count(&core.shared.metrics.drained_total, 1);
                core.close(conn, close::DRAINED, &format!("retry_after_ms={delay}"));
            }
            !has_all
        });
        drain.leaving.len() < before
    }

    /// Tells the host, once, when nobody is left.
    pub(crate) fn report_drained(&mut self) {
        if let Some(drain) = self.drain.as_mut().filter(|_| self.core.open == 0)
            && !std::mem::replace(&mut drain.is_reported, true)
        {
            self.core.reply(Reply::Drained);
        }
    }

    /// When the drain has something to do next, in milliseconds.
    pub(crate) fn drain_due(&self) -> Option<u64> {
        self.drain.as_ref().filter(|drain| !drain.is_reported).map(Drain::next)
    }
}

impl Core {
    /// Tells a connection of v2 that it will be closed, and when it should come back. Who speaks v1, or no protocol
    /// at all, hears it by the Close.
    fn tell_draining<S: Socket>(&mut self, conn: &mut Connection<S>, retry_after_ms: u64) {
        if conn.speech.dialect() != Dialect::V2 {
            return;
        }
        let ticket = self.resume_ticket(conn, true);
        self.say(conn, &ServerDraining { retry_after_ms, ticket: ticket.as_deref() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(pace: Pace, connections: usize, shard: usize) -> Vec<(u64, usize)> {
        let mut drain = Drain::new(pace, 1_000);
        let mut left = connections;
        std::iter::from_fn(|| {
            let at = drain.next();
            let share = drain.wave(at, left, shard)?;
            left -= share;
            Some((at, share))
        })
        .collect()
    }

    #[test]
    fn equal_shares_in_equal_steps() {
        let pace = Pace { waves: 4, deadline_ms: 2_000 };
        assert_eq!(waves(pace, 100, 0), [(1_000, 25), (1_500, 25), (2_000, 25), (2_500, 25)]);
        for (connections, shard) in
            (0..30).flat_map(|connections| (0..9).map(move |shard| (connections, shard)))
        {
            let told = waves(pace, connections, shard);
            assert_eq!(told.len(), 4);
            assert_eq!(told.iter().map(|(_, share)| share).sum::<usize>(), connections);
            let most = connections.div_ceil(4);
            assert!(told.iter().all(|(_, share)| *share <= most), "{connections} on {shard}: {told:?}");
        }
    }

    #[test]
    fn shards_with_one_connection_each_tell_them_in_different_waves() {
        let pace = Pace { waves: 4, deadline_ms: 2_000 };
        let first = |shard| waves(pace, 1, shard).iter().position(|(_, share)| *share == 1);
        let mut waves = (0..4).map(first).collect::<Vec<_>>();
        waves.sort();
        waves.dedup();
        assert!(waves.len() > 1, "{waves:?}");
    }

    #[test]
    fn a_clock_that_jumps_leaves_nobody_out() {
        let mut drain = Drain::new(Pace { waves: 3, deadline_ms: 300 }, 1_000);
        assert!(!drain.is_over(9_000));
        let told = std::iter::from_fn(|| drain.wave(9_000, 3, 0)).count();
        assert_eq!(told, 3);
        assert!(drain.is_over(9_000) && !drain.is_over(1_299));
    }

    #[test]
    fn delays_of_a_wave_are_distinct_and_fill_one_step() {
        let drain = Drain::new(Pace { waves: 10, deadline_ms: 30_000 }, 1);
        let mut random = fastrand::Rng::with_seed(1);
        let delays = (0..500).map(|nth| drain.delay(nth, 500, random.f64())).collect::<Vec<_>>();
        assert!(delays.is_sorted() && delays.iter().all(|delay| *delay < 3_000));
        let mut distinct = delays.clone();
        distinct.dedup();
        assert!(distinct.len() > 450, "{} distinct", distinct.len());
        for second in 0..3 {
            let within = delays.iter().filter(|delay| **delay / 1_000 == second).count();
            assert!((160..175).contains(&within), "{within} in second {second}");
        }
    }
}
