//! How a connection catches up with the logs of its topics: a cursor for each, pulled as its socket drains (PROTOCOL §9).
//!
//! Nothing is copied into a queue: while a cursor runs, publications of its topic pass the connection by, and the cursor
//! reads them from the log, up to the last one that this shard has carried out. Behind that one the connection joins
//! those who get publications as they come, so nothing comes twice and nothing is missing.

use crate::answer::{Answer, Fate};
use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::delivery::Publication;
use crate::recovery::Position;
use crate::topics::Topic;
use std::collections::VecDeque;
use std::sync::Arc;
use wse_protocol::glob::matches;
use wse_protocol::message::Hole;

/// Publications that one connection pulls in one turn.
const PULL_FRAMES: usize = 64;
/// Bytes of them.
const PULL_BYTES: usize = 64 << 10;

/// What a connection is behind with, and who waits for it to catch up.
#[derive(Debug, Default)]
pub struct Replay {
    cursors: Vec<Cursor>,
    /// Requests for topics that are not answered yet, oldest first.
    pub(crate) answers: VecDeque<Answer>,
    /// It is in the shard's list of those who pull.
    is_listed: bool,
}

#[derive(Debug)]
struct Cursor {
    topic: Arc<Topic>,
    /// The number of the publication that comes next.
    next: u64,
    /// The number behind which the epoch began that the client is in, and that epoch.
    base: u64,
    epoch: u32,
}

impl Replay {
    /// Whether a cursor is on `topic`: it sees to the publications.
    pub fn has(&self, topic: &Arc<Topic>) -> bool {
        self.cursor(topic).is_some()
    }

    /// Whether a cursor brings the publication `index` of `topic`.
    pub fn brings(&self, topic: &Arc<Topic>, index: u64) -> bool {
        self.cursor(topic).is_some_and(|cursor| cursor.next <= index)
    }

    fn cursor(&self, topic: &Arc<Topic>) -> Option<&Cursor> {
        Some(&self.cursors[self.place(topic)?])
    }

    fn place(&self, topic: &Arc<Topic>) -> Option<usize> {
        self.cursors.iter().position(|cursor| Arc::ptr_eq(&cursor.topic, topic))
    }

    /// The first cursor on a topic of that name: the registry may have forgotten the one that it reads.
    fn oldest(&self, topic: &Topic) -> Option<&Cursor> {
        self.cursors.iter().find(|cursor| cursor.topic.is_same(topic))
    }

    fn is_empty(&self) -> bool {
        self.cursors.is_empty() && self.answers.is_empty()
    }
}

/// The first publication of `topic` that waits for the client's key: what is said of the topic leaves before it.
fn first_held<S>(conn: &Connection<S>, topic: &Arc<Topic>) -> Option<u64> {
    conn.secrecy.as_ref()?.first_held(topic)
}

impl Core {
    /// Gives a connection a publication of a topic that it holds, unless a cursor does.
    pub(crate) fn offer<S: Socket>(&mut self, conn: &mut Connection<S>, publication: &mut Publication) {
        if publication.frame.index() != 0
            && let (Some(replay), Some(topic)) = (&conn.replay, &publication.topic)
        {
            if replay.has(topic) {
                return;
            }
            // What is left of a log that was forgotten since comes first.
            if replay.oldest(topic).is_some() {
                return self.read_from(conn, &Arc::clone(topic), publication.frame.index());
            }
        }
        self.publish(conn, publication);
    }

    /// The number of the publication up to which a connection that holds `topic` has got all that it will get.
    pub(crate) fn reached<S>(&self, conn: &Connection<S>, topic: &Arc<Topic>) -> u64 {
        if let Some(first) = first_held(conn, topic) {
            return first - 1;
        }
        let cursor = conn.replay.as_ref().and_then(|replay| replay.cursor(topic));
        cursor.map_or_else(|| topic.seen(self.index), |cursor| cursor.next - 1)
    }

    /// Where that is in the log.
    pub(crate) fn place<S>(&self, conn: &Connection<S>, topic: &Arc<Topic>) -> Option<Position> {
        let cursor = conn.replay.as_ref().and_then(|replay| replay.oldest(topic));
        let log = topic.log()?;
        if let Some(first) = first_held(conn, topic) {
            return Some(log.lock().position(first - 1));
        }
        Some(match cursor {
            Some(Cursor { next, base, epoch, .. }) => {
                Position { epoch: *epoch, offset: (next - 1).saturating_sub(*base) }
            }
            None => log.lock().position(topic.seen(self.index)),
        })
    }

    /// Leaves what a connection is behind with in `topic`, and goes on with what comes: it starts anew.
    pub(crate) fn jump<S>(&mut self, conn: &mut Connection<S>, topic: &Arc<Topic>) {
        let Some(replay) = &mut conn.replay else { return };
        if replay.oldest(topic).is_none() {
            return;
        }
        replay.cursors.retain(|cursor| !cursor.topic.is_same(topic));
        for answer in &mut replay.answers {
            answer.settle(topic, |_| Fate::Lost);
        }
        if let Some(held) = conn.held_mut(topic) {
            held.begin(topic.seen(self.index) + 1);
        }
        self.answer_settled(conn);
    }

    /// Makes a connection read `topic` from the publication `next` on, or from there again.
    pub(crate) fn read_from<S>(&mut self, conn: &mut Connection<S>, topic: &Arc<Topic>, next: u64) {
        let Some(log) = topic.log() else { return };
        let replay = conn.replay.get_or_insert_default();
        match replay.place(topic) {
            Some(place) => {
                let cursor = &mut replay.cursors[place];
                if next < cursor.next {
                    cursor.next = next;
                    (cursor.base, cursor.epoch) = log.lock().epoch_of(next);
                }
            }
            None => {
                let (base, epoch) = log.lock().epoch_of(next);
                let cursor = Cursor { topic: Arc::clone(topic), next, base, epoch };
                // Of those of one name the oldest epoch is read first.
                let is_newer = |other: &Cursor| {
                    other.topic.is_same(topic) && (epoch.wrapping_sub(other.epoch) as i32) < 0
                };
                let place = replay.cursors.iter().position(is_newer).unwrap_or(replay.cursors.len());
                replay.cursors.insert(place, cursor);
            }
        }
        self.wait_behind(conn);
        self.pull_soon(conn);
    }

    /// What a connection is behind with waits for its queue to drain, and that not for ever.
    pub(crate) fn wait_behind<S>(&mut self, conn: &mut Connection<S>) {
        if conn.replay.is_some()
            && let Some(backlog) = &mut conn.backlog
            && backlog.wait_behind(self.now.millis)
        {
            self.schedule(conn);
        }
    }

    /// A connection that is behind pulls in its next turn, unless it is still taking what it was given.
    pub(crate) fn pull_soon<S>(&mut self, conn: &mut Connection<S>) {
        if conn.backlog.is_none()
            && let Some(replay) = conn.replay.as_mut().filter(|replay| !replay.cursors.is_empty())
            && !std::mem::replace(&mut replay.is_listed, true)
        {
            self.pulling.push(conn.key);
        }
    }

    /// Reads on where a connection is behind, as far as one turn goes.
    pub(crate) fn pull<S: Socket>(&mut self, conn: &mut Connection<S>) {
        let Some(replay) = &mut conn.replay else { return };
        replay.is_listed = false;
        let (mut frames, mut bytes) = (PULL_FRAMES, PULL_BYTES);
        while frames > 0 && bytes > 0 && conn.is_open() && conn.backlog.is_none() {
            let is_waiting = conn.awaits_key();
            let Some(replay) = conn.replay.as_deref().filter(|_| !is_waiting) else { return };
            // One that is ahead of the shard waits for what the shard has still to carry out.
            let is_ready = |cursor: &Cursor| cursor.next <= cursor.topic.seen(self.index) + 1;
            let ready = replay.cursors.iter().enumerate().filter(|(_, cursor)| is_ready(cursor));
            // What is more important leaves first; of its equals the oldest wish.
            let first = ready.rev().max_by_key(|(_, cursor)| cursor.topic.policy().priority);
            let Some((place, _)) = first else { break };
            let (topic, next) = (Arc::clone(&replay.cursors[place].topic), replay.cursors[place].next);
            let seen = topic.seen(self.index);
            if next > seen {
                self.catch_up(conn, place);
                continue;
            }
            let Some(log) = topic.log() else { return };
            let read = log.lock().read(next, seen, frames, bytes);
            let Some(read) = read else {
                self.skip(conn, place);
                continue;
            };
            for frame in read {
                if conn.backlog.is_some() {
                    break;
                }
                frames -= 1;
                bytes = bytes.saturating_sub(frame.bytes().len());
                if let Some(replay) = &mut conn.replay {
                    replay.cursors[place].next += 1;
                }
                self.publish(conn, &mut Publication::new(frame, Some(Arc::clone(&topic))));
            }
        }
        if conn.replay.as_ref().is_some_and(|replay| replay.is_empty()) {
            conn.replay = None;
        }
        self.pull_soon(conn);
    }

    /// The cursor has reached the publications that come: the connection gets those as they come.
    fn catch_up<S>(&mut self, conn: &mut Connection<S>, place: usize) {
        let Some(replay) = &mut conn.replay else { return };
        let cursor = replay.cursors.remove(place);
        for answer in &mut replay.answers {
            answer.settle(&cursor.topic, |from| Fate::Recovered { count: cursor.next.saturating_sub(from) });
        }
        self.answer_settled(conn);
    }

    /// What the cursor would read next is gone. A client that asked for it learns that from the answer; every other one is
    /// told of the hole. Then the connection goes on with what comes.
    fn skip<S>(&mut self, conn: &mut Connection<S>, place: usize) {
        let Some(replay) = &mut conn.replay else { return };
        let mut is_told = false;
        for answer in &mut replay.answers {
            is_told |= answer.settle(&replay.cursors[place].topic, |_| Fate::Lost);
        }
        let cursor = &mut replay.cursors[place];
        let topic = Arc::clone(&cursor.topic);
        let seen = topic.seen(self.index);
        let (base, epoch) =
            topic.log().map_or((cursor.base, cursor.epoch), |log| log.lock().epoch_of(u64::MAX));
        // When the log was lost the rest of its epoch is missing, and the next epoch may be there.
        let last = if base == cursor.base { seen } else { seen.min(base) };
        let (from, to) = (cursor.next.saturating_sub(cursor.base), last.saturating_sub(cursor.base));
        if last == seen {
            replay.cursors.remove(place);
        } else {
            (cursor.next, cursor.base, cursor.epoch) = (base + 1, base, epoch);
        }
        if let Some(held) = conn.held_mut(&topic) {
            held.begin(last + 1);
        }
        if !is_told && from <= to {
            self.lose(conn, to + 1 - from);
            self.say_place(
                conn,
                topic.policy().priority,
                &Hole { topic: topic.name(), from, to, reason: "slow" },
            );
        }
        self.answer_settled(conn);
    }

    /// The connection holds `topic`, or this glob, no longer: nothing of it is read, and who waits for that is told.
    pub(crate) fn stop_reading<S>(&mut self, conn: &mut Connection<S>, topic: &Arc<Topic>) {
        // Only those that it may have been held for are looked at: whoever leaves a thousand topics does so one by one.
        let left = topic.name();
        let is_left = |topic: &Topic| {
            let name = topic.name();
            (name == left || matches(left, name)) && !conn.topics.iter().any(|held| held.brings(name))
        };
        if let Some(secrecy) = &mut conn.secrecy {
            secrecy.forget(is_left);
        }
        let Some(replay) = &mut conn.replay else { return };
        replay.cursors.retain(|cursor| !is_left(&cursor.topic));
        replay.answers.iter_mut().for_each(|answer| answer.give_up(topic));
        self.answer_settled(conn);
    }

    /// Answers requests for topics that wait for nothing any more.
    pub(crate) fn answer_settled<S>(&mut self, conn: &mut Connection<S>) {
        // What was published before waits for the client's key, and an answer stands behind it.
        let is_waiting = conn.awaits_key();
        while let Some(replay) = conn.replay.as_mut().filter(|_| !is_waiting) {
            let Some(place) = replay.answers.iter().position(Answer::is_settled) else { break };
            if let Some(answer) = replay.answers.remove(place) {
                self.give_answer(conn, &answer);
            }
        }
        if conn.replay.as_ref().is_some_and(|replay| replay.is_empty() && !replay.is_listed) {
            conn.replay = None;
        }
    }
}
