//! The outbound queue of one connection: what the kernel has refused.
//!
//! Decides in which order waiting frames leave and what is given up when they do not fit; an idle connection has none.
//! Never touches the socket: the shard shows it the bytes and tells how many went.

mod lanes;
mod missed;

use crate::config::OutboundLimits;
use crate::frame::Frame;
use crate::policy::Overflow;
use crate::pressure::Blocked;
use crate::topics::Topic;
use lanes::{Lanes, Tally, Waiting};
pub use missed::{Missed, Reason};
use missed::{Misses, NAMED_GAPS};
use std::collections::VecDeque;
use std::sync::Arc;
use wse_protocol::priority::Priority;

/// The first byte of a Close.
const CLOSE: u8 = 0x88;

/// A frame, and the topic that it was published to.
pub type Addressed = (Frame, Option<Arc<Topic>>);

/// What a newcomer came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Whether it waits now.
    pub is_queued: bool,
    /// Messages that were given up, the newcomer among them if it was refused.
    pub lost: u64,
    /// Topics whose log has what was given up, and the index from which on: nothing of them waits any more from there.
    pub fallen_back: Vec<(Arc<Topic>, u64)>,
}

impl Outcome {
    fn fall_back(&mut self, topic: Arc<Topic>, index: u64) {
        match self.fallen_back.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &topic)) {
            Some((_, first)) => *first = index.min(*first),
            None => self.fallen_back.push((topic, index)),
        }
    }
}

/// What a newcomer finds.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The queue's bounds.
    pub limits: &'a OutboundLimits,
    /// The time in milliseconds.
    pub now: u64,
    /// All is one lane, because the receiver's keys follow the order.
    pub is_single: bool,
    /// Publishers may be held up for it.
    pub may_block: bool,
}

/// The lane of a message: its topic's, or where it belongs to none that of its own importance.
fn lane_of(frame: &Frame, topic: Option<&Arc<Topic>>, is_single: bool) -> Priority {
    match topic {
        _ if is_single => Priority::default(),
        Some(topic) => topic.policy().priority,
        None => frame.standing().priority,
    }
}

/// What a newcomer has replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outdated {
    Nothing,
    /// The one before with its key, which stood here: a key that changes often is not put off for ever.
    Same(usize),
    /// The oldest of its topic.
    Oldest,
}

impl Outdated {
    fn place(self) -> Option<usize> {
        match self {
            Self::Same(place) => Some(place),
            Self::Nothing | Self::Oldest => None,
        }
    }
}

/// Frames that wait until the socket is writable.
#[derive(Debug, Default)]
pub struct Outbound {
    lanes: Lanes,
    /// The newest pong, and Close with the error before it: they go first, between whole frames.
    control: VecDeque<Frame>,
    /// The frame of which the kernel has taken `written` bytes, and whether it is a control frame.
    current: Option<(Frame, bool)>,
    written: usize,
    missed: Misses,
    full_since: Option<u64>,
    /// While it is full: what was given up was as important as this, or less.
    refuses: Option<Priority>,
    /// Topics whose publishers wait for this queue.
    blocks: Vec<Blocked>,
    /// When the connection is closed if the queue is still full then, because a topic wants it so.
    patience: Option<u64>,
    /// When a topic was missed that must not be: the connection is closed.
    doomed: Option<u64>,
    /// While something else waits for the queue to drain: since when nothing of it has left.
    stuck: Option<u64>,
}

impl Outbound {
    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.waiting().messages
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.all() == Tally::default() && self.control.is_empty() && self.current.is_none()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.waiting().bytes
    }

    /// All messages, the one in progress included as a whole.
    fn waiting(&self) -> Tally {
        let begun = match &self.current {
            Some((frame, false)) => Tally { messages: 1, bytes: frame.bytes().len() },
            _ => Tally::default(),
        };
        self.lanes.all() + begun
    }

    /// Since when newcomers are refused, in milliseconds.
    pub fn full_since(&self) -> Option<u64> {
        self.full_since
    }

    /// What the queue refuses: newcomers of this importance, and of less.
    pub fn refuses(&self) -> Option<Priority> {
        self.refuses
    }

    /// When the connection is closed if nothing changes until then, in milliseconds.
    pub fn closes_at(&self, limits: &OutboundLimits) -> Option<u64> {
        let slow =
            self.full_since.into_iter().chain(self.stuck).min().filter(|_| limits.slow_timeout_ms != 0);
        slow.map(|since| since + limits.slow_timeout_ms)
            .into_iter()
            .chain(self.patience)
            .chain(self.doomed)
            .min()
    }

    /// Takes over what the kernel left of a write: `frames`, of whose first `written` bytes are gone. Policies of topics
    /// hold from here on, bounds do not. Returns how many messages were given up.
    pub fn resume<'a>(
        &mut self,
        frames: impl Iterator<Item = (&'a Frame, Option<&'a Arc<Topic>>)>,
        written: usize,
        is_single: bool,
    ) -> u64 {
        debug_assert!(self.is_empty(), "a queue is only made for what was left");
        self.written = written;
        let mut lost = 0;
        for (frame, topic) in frames {
            if written > 0 && self.current.is_none() {
                self.current = Some((frame.clone(), false));
            } else if frame.bytes().first() == Some(&CLOSE) {
                // The last word, whatever was said before it.
                self.lanes.insert(Waiting::new(frame, None), Priority::Background, None);
            } else {
                let lane = lane_of(frame, topic, is_single);
                let waiting = Waiting::new(frame, topic);
                let outdated = self.outdate(&waiting, lane);
                lost += u64::from(outdated == Outdated::Oldest);
                self.lanes.insert(waiting, lane, outdated.place());
            }
        }
        lost
    }

    /// Queues `frame`, or gives something up when either bound is reached: what is less important than the newcomer
    /// (the least important first, of the lowest lane the oldest), else the newcomer: arriving late is no reason to win.
    ///
    /// Once full, the queue takes newcomers that are as important as what was given up, or less, again when half of it
    /// has left, so that what was missed is told in its place: behind what came before it, and before what comes next.
    /// The policy of a topic may want it otherwise, see [`Overflow`].
    ///
    /// What was lost is remembered for [`Outbound::take_missed`].
    pub fn push(&mut self, frame: &Frame, topic: Option<&Arc<Topic>>, terms: &Terms<'_>) -> Outcome {
        let lane = lane_of(frame, topic, terms.is_single);
        let waiting = Waiting::new(frame, topic);
        let mut outcome = Outcome { is_queued: true, ..Outcome::default() };
        let outdated = self.outdate(&waiting, lane);
        outcome.lost += u64::from(outdated == Outdated::Oldest);
        let length = waiting.len();
        // Where it took the place of another one nobody else has less room than before.
        if outdated != Outdated::Nothing && self.fits(length, terms.limits, 1) {
            self.lanes.insert(waiting, lane, outdated.place());
            return outcome;
        }
        outcome.lost += self.expire(terms.now, terms.limits);
        let is_welcome = self.refuses.is_none_or(|most| waiting.priority > most);
        if is_welcome && self.fits(length, terms.limits, 1)
            || self.make_room(&waiting, lane, terms, &mut outcome)
        {
            // What it would follow may have made room for it and comes from the log now: so does it, if it is there.
            match topic.filter(|topic| outcome.fallen_back.iter().any(|(it, _)| it.is_same(topic))) {
                Some(topic) if frame.index() != 0 => {
                    outcome.is_queued = false;
                    outcome.fall_back(Arc::clone(topic), frame.index());
                }
                _ => self.lanes.insert(waiting, lane, None),
            }
            return outcome;
        }
        self.full_since.get_or_insert(terms.now);
        self.refuses = self.refuses.max(Some(waiting.priority));
        if let Some(topic) = topic
            && let Some(Overflow::Block(ms)) = waiting.overflow()
            && terms.may_block
            && self.fits(length, terms.limits, 2)
        {
            let end = terms.now + ms;
            self.patience = Some(self.patience.map_or(end, |at| at.min(end)));
            if !self.blocks.iter().any(|blocked| blocked.is_of(topic)) {
                self.blocks.push(Blocked::new(topic));
            }
            self.lanes.insert(waiting, lane, None);
            return outcome;
        }
        outcome.is_queued = false;
        self.give_up(waiting, (lane, self.lanes.lane(lane).len()), terms, &mut outcome);
        outcome
    }

    /// Queues what the engine itself has to say: a reply, or what tells of misses.
    ///
    /// It is no publication, so it passes the bounds and is never missed; up to twice the bounds. `false`: a client
    /// that asks and does not read has its replies refused.
    pub fn tell(&mut self, frame: &Frame, terms: &Terms<'_>) -> bool {
        let (Tally { messages, bytes }, limits) = (self.waiting(), terms.limits);
        let over_messages = limits.max_messages != 0 && messages >= 2 * limits.max_messages + NAMED_GAPS;
        let over_bytes = limits.max_bytes != 0 && bytes + frame.bytes().len() > 2 * limits.max_bytes;
        if over_messages || over_bytes {
            return false;
        }
        self.lanes.insert(Waiting::new(frame, None), lane_of(frame, None, terms.is_single), None);
        true
    }

    /// Something waits until the queue has drained, from `now` on; whether nothing did before. Then a queue of which
    /// nothing leaves counts as a full one.
    pub fn wait_behind(&mut self, now: u64) -> bool {
        let is_first = self.stuck.is_none();
        self.stuck.get_or_insert(now);
        is_first
    }

    /// Why its connection is closed at `now`, for the Close.
    pub fn complaint(&self, now: u64) -> &'static str {
        if self.is_doomed() {
            "too slow: there was no room for what must not be missed"
        } else if self.patience.is_some_and(|at| now >= at) {
            "too slow: publishers waited for too long"
        } else {
            "too slow: the outbound queue stayed full"
        }
    }

    /// Whether its connection is about to be closed.
    pub fn is_doomed(&self) -> bool {
        self.doomed.is_some()
    }

    /// Its client was not told what it must know: the connection is closed.
    pub fn doom(&mut self, now: u64) {
        self.doomed.get_or_insert(now);
    }

    /// The first publication of `topic` that waits, by its place in the log.
    pub fn first_of(&self, topic: &Arc<Topic>) -> Option<u64> {
        let mut waiting = Priority::ALL.into_iter().flat_map(|lane| self.lanes.lane(lane));
        let first = waiting.find(|waiting| waiting.frame.index() != 0 && waiting.is_of(topic));
        first.map(|waiting| waiting.frame.index())
    }

    /// Takes out what waits of the logs of topics that are left.
    pub fn forget(&mut self, is_left: impl Fn(&Topic) -> bool) {
        for lane in Priority::ALL {
            let is_it = |waiting: &Waiting| {
                waiting.frame.index() != 0 && waiting.topic.as_ref().is_some_and(|topic| is_left(topic))
            };
            while let Some(place) = self.lanes.lane(lane).iter().position(is_it) {
                self.lanes.remove(lane, place);
            }
        }
    }

    /// Everything that waits, with its topic, in order, and what was missed: for another queue.
    pub fn into_parts(mut self) -> (Vec<Addressed>, Vec<Missed>) {
        let frames = std::iter::from_fn(|| self.lanes.pop()).map(|waiting| (waiting.frame, waiting.topic));
        (frames.collect(), self.missed.take())
    }

    /// Whether one more of `length` bytes is within so many `times` the bounds.
    fn fits(&self, length: usize, limits: &OutboundLimits, times: usize) -> bool {
        fit(self.waiting(), length, limits, times)
    }

    /// Takes out what `newcomer` replaces by the policy of its topic.
    fn outdate(&mut self, newcomer: &Waiting, lane: Priority) -> Outdated {
        let Some((topic, overflow)) = newcomer.topic.as_ref().zip(newcomer.overflow()) else {
            return Outdated::Nothing;
        };
        let mut queue = self.lanes.lane(lane).iter();
        match *overflow {
            Overflow::Latest(_) => {
                let key = newcomer.frame.standing().key;
                let is_older =
                    |waiting: &Waiting| waiting.is_of(topic) && waiting.frame.standing().key == key;
                let Some(place) = key.and_then(|_| queue.position(is_older)) else {
                    return Outdated::Nothing;
                };
                self.lanes.remove(lane, place);
                Outdated::Same(place)
            }
            Overflow::Ring(most) if queue.len() >= most => {
                if queue.filter(|waiting| waiting.is_publication_of(topic)).count() < most {
                    return Outdated::Nothing;
                }
                self.lose_oldest(topic, lane);
                Outdated::Oldest
            }
            _ => Outdated::Nothing,
        }
    }

    fn lose_oldest(&mut self, topic: &Arc<Topic>, lane: Priority) -> bool {
        let place = self.lanes.lane(lane).iter().position(|waiting| waiting.is_publication_of(topic));
        if let Some(place) = place {
            self.lanes.remove(lane, place);
            self.miss_one(Some(topic), lane, Reason::Slow);
        }
        place.is_some()
    }

    /// Gives up what is less important than `newcomer`, else what is older and of its ring, if that makes room for it.
    fn make_room(
        &mut self,
        newcomer: &Waiting,
        lane: Priority,
        terms: &Terms<'_>,
        outcome: &mut Outcome,
    ) -> bool {
        let (length, limits) = (newcomer.len(), terms.limits);
        let spare = self.lanes.spare_below(newcomer.priority);
        let is_enough = spare.messages > 0 && fit(self.waiting() - spare, length, limits, 1);
        if is_enough && self.refuses < Some(newcomer.priority) {
            self.full_since.get_or_insert(terms.now);
            while !self.fits(length, limits, 1) {
                let Some((evicted, place)) = self.lanes.pop_below(newcomer.priority) else { break };
                self.refuses = self.refuses.max(Some(evicted.priority));
                self.give_up(evicted, place, terms, outcome);
            }
            return true;
        }
        if let Some(topic) = &newcomer.topic
            && let Some(Overflow::Ring(_)) = newcomer.overflow()
            && (limits.max_bytes == 0 || length <= limits.max_bytes)
        {
            // Of a ring the newest is worth most.
            while self.lose_oldest(topic, lane) {
                outcome.lost += 1;
                if self.fits(length, limits, 1) {
                    return true;
                }
            }
        }
        false
    }

    /// A message does not reach its client, unless a log has it. `place`: where it stood in its lane.
    fn give_up(
        &mut self,
        waiting: Waiting,
        (lane, mut place): (Priority, usize),
        terms: &Terms<'_>,
        outcome: &mut Outcome,
    ) {
        let index = waiting.frame.index();
        let is_vital = matches!(waiting.overflow(), Some(Overflow::Disconnect | Overflow::Block(_)));
        match waiting.topic {
            Some(topic) if index != 0 => {
                // What comes behind it, in its log or in the next one of that name, comes from there too, or it would
                // overtake.
                outcome.fall_back(Arc::clone(&topic), index);
                self.missed.forget_holes(&topic);
                let is_later = |waiting: &Waiting| waiting.is_of(&topic) && waiting.frame.index() != 0;
                while let Some(further) = self.lanes.lane(lane).iter().skip(place).position(is_later) {
                    place += further;
                    let later = self.lanes.remove(lane, place);
                    if let Some(topic) = later.topic.filter(|later| !Arc::ptr_eq(later, &topic)) {
                        outcome.fall_back(topic, later.frame.index());
                    }
                }
            }
            topic => {
                if is_vital {
                    self.doom(terms.now);
                }
                self.miss_one(topic.as_ref(), lane, Reason::Slow);
                outcome.lost += 1;
            }
        }
    }

    /// Gives up what is worth nothing any more; how many messages that were.
    pub fn expire(&mut self, now: u64, limits: &OutboundLimits) -> u64 {
        let is_over = |waiting: &Waiting| waiting.frame.standing().expires.is_some_and(|at| now >= at.get());
        if self.lanes.timed() == 0 {
            return 0;
        }
        let mut lost = 0;
        for lane in Priority::ALL {
            let mut place = 0;
            while place < self.lanes.lane(lane).len() {
                if !is_over(&self.lanes.lane(lane)[place]) {
                    place += 1;
                    continue;
                }
                let expired = self.lanes.remove(lane, place);
                self.miss_one(expired.topic.as_ref(), lane, Reason::Expired);
                lost += 1;
            }
        }
        self.relax(limits);
        lost
    }

    /// Queues a control frame; a newer pong takes the place of one that has not left (RFC 6455 §5.5.3).
    pub fn push_control(&mut self, frame: &Frame) {
        let is_pong = |frame: &Frame| frame.bytes().first() == Some(&0x8a);
        let older = self.control.iter_mut().find(|waiting| is_pong(waiting));
        if let Some(older) = older.filter(|_| is_pong(frame)) {
            *older = frame.clone();
            return;
        }
        self.control.push_back(frame.clone());
    }

    /// Gives up everything but the frame in progress and control frames: the connection is closing.
    pub fn abandon(&mut self) {
        let (control, current) = (std::mem::take(&mut self.control), self.current.take());
        *self = Self { control, current, written: self.written, ..Self::default() };
    }

    /// The bytes that should leave next, at most about `most`: joined in `joined`, or one large frame as it is.
    pub fn next<'a>(&'a mut self, joined: &'a mut Vec<u8>, most: usize) -> &'a [u8] {
        let mut messages = self.lanes.frames();
        let first = match (&self.current, self.control.front()) {
            (Some((frame, _)), _) => Some(frame),
            (None, Some(control)) => return control.bytes(),
            (None, None) => messages.next(),
        };
        let Some(first) = first else { return &[] };
        let rest = &first.bytes()[self.written..];
        // Control frames that wait behind a frame in progress must not wait for more than that one.
        let mut others = messages.take_while(|_| self.control.is_empty()).peekable();
        if rest.len() >= most || others.peek().is_none() {
            return rest;
        }
        joined.clear();
        joined.extend_from_slice(rest);
        for frame in others {
            if joined.len() + frame.bytes().len() > most {
                break;
            }
            joined.extend_from_slice(frame.bytes());
        }
        joined
    }

    /// `taken` bytes of what `next` showed are with the kernel; returns how many frames that completed.
    pub fn advance(&mut self, mut taken: usize, limits: &OutboundLimits, now: u64) -> u64 {
        let mut completed = 0;
        if taken > 0 {
            self.stuck = self.stuck.map(|_| now);
        }
        while taken > 0 {
            let Some((frame, is_control)) = self.current.take().or_else(|| self.take_next()) else { break };
            let rest = frame.bytes().len() - self.written;
            if taken < rest {
                self.written += taken;
                self.current = Some((frame, is_control));
                break;
            }
            taken -= rest;
            completed += 1;
            self.written = 0;
        }
        self.relax(limits);
        completed
    }

    /// The next whole frame, and whether it is a control frame.
    fn take_next(&mut self) -> Option<(Frame, bool)> {
        let control = self.control.pop_front().map(|frame| (frame, true));
        control.or_else(|| self.lanes.pop().map(|waiting| (waiting.frame, false)))
    }

    /// Takes newcomers again once half of the queue has left.
    fn relax(&mut self, limits: &OutboundLimits) {
        let has_room = |waiting: usize, most: usize| most == 0 || waiting <= most / 2;
        let Tally { messages, bytes } = self.waiting();
        if has_room(messages, limits.max_messages) && has_room(bytes, limits.max_bytes) {
            self.full_since = None;
            self.refuses = None;
            self.patience = None;
            self.blocks.clear();
        }
    }

    /// What was missed, once there is room again to say so in order with what comes next.
    pub fn take_missed(&mut self) -> Vec<Missed> {
        if self.full_since.is_some() { Vec::new() } else { self.missed.take() }
    }

    /// What was missed of the log of `topic`, to be said before anything more of it is queued.
    pub fn take_hole(&mut self, topic: &Topic) -> Option<Missed> {
        self.missed.take_hole(topic)
    }

    /// Notes messages that do not reach the client.
    pub fn miss(&mut self, missed: Missed) {
        self.missed.note(missed);
    }

    fn miss_one(&mut self, topic: Option<&Arc<Topic>>, lane: Priority, reason: Reason) {
        self.miss(Missed { topic: topic.cloned(), lane, reason, count: 1, offsets: None });
    }
}

/// Whether one more message of `length` bytes beside `waiting` is within so many `times` the bounds.
fn fit(waiting: Tally, length: usize, limits: &OutboundLimits, times: usize) -> bool {
    (limits.max_messages == 0 || waiting.messages < times * limits.max_messages)
        && (limits.max_bytes == 0 || waiting.bytes + length <= times * limits.max_bytes)
}

#[cfg(test)]
mod tests;
