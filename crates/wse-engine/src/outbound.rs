//! The outbound queue of one connection: what the kernel has refused.
//!
//! Decides in which order waiting frames leave and what is given up when they do not fit; an idle connection has none.
//! Never touches the socket: the shard shows it the bytes and tells how many went.

use crate::config::OutboundLimits;
use crate::frame::Frame;
use crate::policy::Overflow;
use crate::pressure::Blocked;
use crate::topics::Topic;
use std::collections::VecDeque;
use std::sync::Arc;
use wse_protocol::priority::Priority;

/// Topics that are named one by one in a `gap`; misses of further topics are told without a name.
const NAMED_GAPS: usize = 32;
/// The first byte of a Close.
const CLOSE: u8 = 0x88;

/// Why a message did not reach its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The queue was full.
    Slow,
    /// It waited for longer than it was worth something.
    Expired,
    /// The memory of all queues was full.
    Overload,
    /// It could not be signed.
    Unsigned,
}

impl Reason {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Expired => "expired",
            Self::Overload => "overload",
            Self::Unsigned => "unsigned",
        }
    }
}

/// What a connection did not get: so many messages of a topic, or of none (unicast, everyone).
#[derive(Debug, Clone)]
pub struct Missed {
    /// The topic, if it was one.
    pub topic: Option<Arc<Topic>>,
    /// The lane that it is told in.
    pub lane: Priority,
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: u64,
}

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

/// A message in its lane.
#[derive(Debug, Clone)]
struct Waiting {
    frame: Frame,
    topic: Option<Arc<Topic>>,
    priority: Priority,
    /// Something more important may take its room.
    may_go: bool,
}

impl Waiting {
    fn new(frame: &Frame, topic: Option<&Arc<Topic>>) -> Self {
        let standing = frame.standing();
        Self {
            frame: frame.clone(),
            topic: topic.cloned(),
            priority: standing.priority,
            may_go: !standing.is_own && topic.is_none_or(|topic| !topic.policy().is_firm()),
        }
    }

    fn len(&self) -> usize {
        self.frame.bytes().len()
    }

    fn is_of(&self, topic: &Arc<Topic>) -> bool {
        self.topic.as_ref().is_some_and(|own| own.is_same(topic))
    }
}

/// The lane of a message: its topic's, or where it belongs to none that of its own importance.
fn lane_of(frame: &Frame, topic: Option<&Arc<Topic>>, is_single: bool) -> Priority {
    match topic {
        _ if is_single => Priority::default(),
        Some(topic) => topic.policy().priority,
        None => frame.standing().priority,
    }
}

/// Messages and bytes.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    messages: usize,
    bytes: usize,
}

/// Frames that wait until the socket is writable.
#[derive(Debug, Default)]
pub struct Outbound {
    /// By priority; the last one leaves first.
    lanes: [VecDeque<Waiting>; Priority::COUNT],
    /// Close and the newest pong: they go first, between whole frames.
    control: VecDeque<Frame>,
    /// The frame of which the kernel has taken `written` bytes, and whether it is a control frame.
    current: Option<(Frame, bool)>,
    written: usize,
    /// All messages that wait, the one in progress included.
    waiting: Tally,
    /// Those that something more important may take the room of, by their priority.
    spare: [Tally; Priority::COUNT],
    /// How many have a time after which they are worth nothing.
    timed: usize,
    missed: Vec<Missed>,
    full_since: Option<u64>,
    /// While it is full: what was given up was as important as this, or less.
    refuses: Option<Priority>,
    /// Topics whose publishers wait for this queue.
    blocks: Vec<Blocked>,
    /// When the connection is closed if the queue is still full then, because a topic wants it so.
    patience: Option<u64>,
    /// When a topic was missed that must not be: the connection is closed.
    doomed: Option<u64>,
}

impl Outbound {
    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.waiting.messages
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.messages == 0 && self.control.is_empty() && self.current.is_none()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.waiting.bytes
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
        let slow = self.full_since.filter(|_| limits.slow_timeout_ms != 0);
        let slow = slow.map(|since| since + limits.slow_timeout_ms);
        slow.into_iter().chain(self.patience).chain(self.doomed).min()
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
                self.waiting = Tally { messages: 1, bytes: frame.bytes().len() };
                self.current = Some((frame.clone(), false));
            } else if frame.bytes().first() == Some(&CLOSE) {
                // The last word, whatever was said before it.
                self.insert(Waiting::new(frame, None), Priority::Background, None);
            } else {
                let lane = lane_of(frame, topic, is_single);
                let waiting = Waiting::new(frame, topic);
                let place = self.outdate(&waiting, lane);
                lost += u64::from(place == Outdated::Oldest);
                self.insert(waiting, lane, place.place());
            }
        }
        lost
    }

    /// Queues `frame`, or gives something up when either bound is reached: what is less important than the newcomer
    /// (the least important first, of its lane the oldest), else the newcomer: arriving late is no reason to win.
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
        let place = self.outdate(&waiting, lane);
        outcome.lost += u64::from(place == Outdated::Oldest);
        let length = waiting.len();
        // Where it took the place of another one nobody else has less room than before.
        if place != Outdated::Nothing && self.fits(length, terms.limits, 1) {
            self.insert(waiting, lane, place.place());
            return outcome;
        }
        if self.timed > 0 {
            outcome.lost += self.expire(terms.now, terms.limits);
        }
        let is_welcome = self.refuses.is_none_or(|most| waiting.priority > most);
        if is_welcome && self.fits(length, terms.limits, 1)
            || self.make_room(&waiting, lane, terms, &mut outcome)
        {
            // What it would follow may have made room for it and comes from the log now: so does it.
            outcome.is_queued = !outcome.fallen_back.iter().any(|(topic, _)| waiting.is_of(topic));
            if outcome.is_queued {
                self.insert(waiting, lane, None);
            }
            return outcome;
        }
        self.full_since.get_or_insert(terms.now);
        self.refuses = self.refuses.max(Some(waiting.priority));
        let overflow = topic.map(|topic| (topic, &topic.policy().overflow));
        if let Some((topic, Overflow::Block(ms))) = overflow
            && terms.may_block
            && self.fits(length, terms.limits, 2)
        {
            let end = terms.now + ms;
            self.patience = Some(self.patience.map_or(end, |at| at.min(end)));
            if !self.blocks.iter().any(|blocked| blocked.is_of(topic)) {
                self.blocks.push(Blocked::new(topic));
            }
            self.insert(waiting, lane, None);
            return outcome;
        }
        outcome.is_queued = false;
        self.give_up(waiting, lane, terms, &mut outcome);
        outcome
    }

    /// Queues what the engine itself has to say: a reply, or what tells of misses.
    ///
    /// It is no publication, so it passes the bounds and is never missed; up to twice the bounds. `false`: a client
    /// that asks and does not read has its replies refused.
    pub fn tell(&mut self, frame: &Frame, terms: &Terms<'_>) -> bool {
        let limits = terms.limits;
        let over_messages =
            limits.max_messages != 0 && self.waiting.messages >= 2 * limits.max_messages + NAMED_GAPS;
        let over_bytes =
            limits.max_bytes != 0 && self.waiting.bytes + frame.bytes().len() > 2 * limits.max_bytes;
        if over_messages || over_bytes {
            return false;
        }
        self.insert(Waiting::new(frame, None), lane_of(frame, None, terms.is_single), None);
        true
    }

    /// Everything that waits, with its topic, in order, and what was missed: for another queue.
    pub fn into_parts(mut self) -> (Vec<Addressed>, Vec<Missed>) {
        let lanes = self.lanes.iter_mut().rev();
        let frames = lanes.flat_map(|lane| lane.drain(..)).map(|waiting| (waiting.frame, waiting.topic));
        (frames.collect(), std::mem::take(&mut self.missed))
    }

    /// Whether one more of `length` bytes is within so many `times` the bounds.
    fn fits(&self, length: usize, limits: &OutboundLimits, times: usize) -> bool {
        let Tally { messages, bytes } = self.waiting;
        (limits.max_messages == 0 || messages < times * limits.max_messages)
            && (limits.max_bytes == 0 || bytes + length <= times * limits.max_bytes)
    }

    /// Takes out what `newcomer` replaces by the policy of its topic.
    fn outdate(&mut self, newcomer: &Waiting, lane: Priority) -> Outdated {
        let Some(topic) = &newcomer.topic else { return Outdated::Nothing };
        let queue = &self.lanes[lane as usize];
        match topic.policy().overflow {
            Overflow::Latest(_) => {
                let key = newcomer.frame.standing().key;
                let is_older =
                    |waiting: &Waiting| waiting.is_of(topic) && waiting.frame.standing().key == key;
                let place = key.and_then(|_| queue.iter().position(is_older));
                place.map_or(Outdated::Nothing, |place| {
                    self.remove(lane as usize, place);
                    Outdated::Same(place)
                })
            }
            Overflow::Ring(most) if queue.len() >= most => {
                if queue.iter().filter(|waiting| waiting.is_of(topic)).count() < most {
                    return Outdated::Nothing;
                }
                self.lose_oldest(topic, lane);
                Outdated::Oldest
            }
            _ => Outdated::Nothing,
        }
    }

    fn lose_oldest(&mut self, topic: &Arc<Topic>, lane: Priority) -> bool {
        let place = self.lanes[lane as usize].iter().position(|waiting| waiting.is_of(topic));
        if let Some(place) = place {
            self.remove(lane as usize, place);
            self.miss(Some(topic), lane, Reason::Slow, 1);
        }
        place.is_some()
    }

    /// Gives up what is less important than `newcomer`, or is older and of its ring, if that makes room for it.
    fn make_room(
        &mut self,
        newcomer: &Waiting,
        lane: Priority,
        terms: &Terms<'_>,
        outcome: &mut Outcome,
    ) -> bool {
        let (length, limits) = (newcomer.len(), terms.limits);
        if newcomer.may_go
            && let Some(topic) = &newcomer.topic
            && let Overflow::Ring(_) = topic.policy().overflow
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
        if self.refuses >= Some(newcomer.priority) {
            return false;
        }
        let lower = ..newcomer.priority as usize;
        let spare = self.spare[lower].iter().fold(Tally::default(), |sum, tally| Tally {
            messages: sum.messages + tally.messages,
            bytes: sum.bytes + tally.bytes,
        });
        let left = Tally {
            messages: self.waiting.messages - spare.messages,
            bytes: self.waiting.bytes - spare.bytes,
        };
        let is_enough = spare.messages > 0
            && (limits.max_messages == 0 || left.messages < limits.max_messages)
            && (limits.max_bytes == 0 || left.bytes + length <= limits.max_bytes);
        if !is_enough {
            return false;
        }
        self.full_since.get_or_insert(terms.now);
        while !self.fits(length, limits, 1) {
            let Some(least) = self.spare[lower].iter().position(|tally| tally.messages > 0) else { break };
            let is_least = |waiting: &Waiting| waiting.may_go && waiting.priority as usize == least;
            let mut lanes = self.lanes.iter().enumerate();
            let found = lanes.find_map(|(lane, queue)| Some((lane, queue.iter().position(is_least)?)));
            let Some((lane, place)) = found else { break };
            let evicted = self.remove(lane, place);
            self.refuses = self.refuses.max(Some(evicted.priority));
            self.give_up(evicted, Priority::ALL[lane], terms, outcome);
        }
        true
    }

    /// A message does not reach its client, unless a log has it.
    fn give_up(&mut self, waiting: Waiting, lane: Priority, terms: &Terms<'_>, outcome: &mut Outcome) {
        let index = waiting.frame.index();
        match waiting.topic {
            Some(topic) if index != 0 => {
                // What comes behind it in the log comes from there too, or it would overtake.
                let queue = &mut self.lanes[lane as usize];
                let places = (0..queue.len()).rev().filter(|place| queue[*place].is_of(&topic));
                let later = places.filter(|place| queue[*place].frame.index() > index).collect::<Vec<_>>();
                for place in later {
                    self.remove(lane as usize, place);
                }
                outcome.fallen_back.push((topic, index));
            }
            topic => {
                let overflow = topic.as_ref().map(|topic| &topic.policy().overflow);
                if matches!(overflow, Some(Overflow::Disconnect | Overflow::Block(_))) {
                    self.doomed.get_or_insert(terms.now);
                }
                self.miss(topic.as_ref(), lane, Reason::Slow, 1);
                outcome.lost += 1;
            }
        }
    }

    /// Gives up what is worth nothing any more; how many messages that were.
    pub fn expire(&mut self, now: u64, limits: &OutboundLimits) -> u64 {
        let mut lost = 0;
        for lane in 0..Priority::COUNT {
            let mut place = 0;
            while self.timed > 0 && place < self.lanes[lane].len() {
                let expires = self.lanes[lane][place].frame.standing().expires;
                if expires.is_none_or(|at| now < at.get()) {
                    place += 1;
                    continue;
                }
                let expired = self.remove(lane, place);
                self.miss(expired.topic.as_ref(), Priority::ALL[lane], Reason::Expired, 1);
                lost += 1;
            }
        }
        self.relax(limits);
        lost
    }

    fn insert(&mut self, waiting: Waiting, lane: Priority, place: Option<usize>) {
        if waiting.frame.standing().is_own {
            self.keep(lane);
        }
        self.account(&waiting, usize::wrapping_add);
        let queue = &mut self.lanes[lane as usize];
        match place {
            Some(place) => queue.insert(place, waiting),
            None => queue.push_back(waiting),
        }
    }

    fn remove(&mut self, lane: usize, place: usize) -> Waiting {
        let waiting = self.lanes[lane].remove(place).expect("the place was found there");
        self.account(&waiting, usize::wrapping_sub);
        waiting
    }

    /// What is said in a lane may speak of what is before it, by its place in a log: that may not come later now.
    fn keep(&mut self, lane: Priority) {
        let queue = self.lanes[lane as usize].iter_mut().rev();
        let unsaid = queue.take_while(|waiting| !waiting.frame.standing().is_own);
        for waiting in unsaid.filter(|waiting| waiting.may_go && waiting.frame.index() != 0) {
            waiting.may_go = false;
            let spare = &mut self.spare[waiting.priority as usize];
            spare.messages -= 1;
            spare.bytes -= waiting.len();
        }
    }

    fn account(&mut self, waiting: &Waiting, change: fn(usize, usize) -> usize) {
        let spare = waiting.may_go.then_some(&mut self.spare[waiting.priority as usize]);
        for tally in spare.into_iter().chain([&mut self.waiting]) {
            tally.messages = change(tally.messages, 1);
            tally.bytes = change(tally.bytes, waiting.len());
        }
        self.timed = change(self.timed, usize::from(waiting.frame.standing().expires.is_some()));
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
        let written = self.written;
        *self = Self { control, current, written, ..Self::default() };
        if let Some((frame, false)) = &self.current {
            self.waiting = Tally { messages: 1, bytes: frame.bytes().len() };
        }
    }

    /// The bytes that should leave next, at most about `most`: joined in `joined`, or one large frame as it is.
    pub fn next<'a>(&'a mut self, joined: &'a mut Vec<u8>, most: usize) -> &'a [u8] {
        let mut messages = self.lanes.iter().rev().flatten().map(|waiting| &waiting.frame);
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
    pub fn advance(&mut self, mut taken: usize, limits: &OutboundLimits) -> u64 {
        let mut completed = 0;
        while taken > 0 {
            let Some((frame, is_control)) = self.current.take().or_else(|| self.take_next()) else { break };
            let length = frame.bytes().len();
            let rest = length - self.written;
            if taken < rest {
                self.written += taken;
                self.current = Some((frame, is_control));
                break;
            }
            taken -= rest;
            completed += 1;
            self.written = 0;
            if !is_control {
                self.waiting.messages -= 1;
                self.waiting.bytes -= length;
            }
        }
        self.relax(limits);
        completed
    }

    /// The next whole frame; a message still counts as one that waits.
    fn take_next(&mut self) -> Option<(Frame, bool)> {
        if let Some(control) = self.control.pop_front() {
            return Some((control, true));
        }
        let lane = self.lanes.iter().rposition(|lane| !lane.is_empty())?;
        let waiting = self.remove(lane, 0);
        self.waiting.messages += 1;
        self.waiting.bytes += waiting.len();
        Some((waiting.frame, false))
    }

    /// Takes newcomers again once half of the queue has left.
    fn relax(&mut self, limits: &OutboundLimits) {
        let has_room = |waiting: usize, most: usize| most == 0 || waiting <= most / 2;
        if has_room(self.waiting.messages, limits.max_messages)
            && has_room(self.waiting.bytes, limits.max_bytes)
        {
            self.full_since = None;
            self.refuses = None;
            self.patience = None;
            self.blocks.clear();
        }
    }

    /// What was missed, once there is room again to say so in order with what comes next.
    pub fn take_missed(&mut self) -> Vec<Missed> {
        if self.full_since.is_some() { Vec::new() } else { std::mem::take(&mut self.missed) }
    }

    /// Notes so many messages that do not reach the client, in the lane that they had.
    pub fn miss(&mut self, topic: Option<&Arc<Topic>>, lane: Priority, reason: Reason, count: u64) {
        let is_same = |missed: &&mut Missed| {
            let is_same_topic = match (&missed.topic, topic) {
                (Some(a), Some(b)) => a.is_same(b),
                (None, None) => true,
                _ => false,
            };
            is_same_topic && (missed.lane, missed.reason) == (lane, reason)
        };
        if let Some(missed) = self.missed.iter_mut().find(is_same) {
            missed.count += count;
        } else if self.missed.len() < NAMED_GAPS || topic.is_none() {
            self.missed.push(Missed { topic: topic.cloned(), lane, reason, count });
        } else {
            self.miss(None, lane, reason, count);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Payload, Standing};
    use crate::policy::{Policies, Policy};
    use crate::topics::Topics;
    use proptest::prelude::*;
    use std::num::NonZeroU64;
    use wse_protocol::frame::OpCode;

    const LIMITS: OutboundLimits = OutboundLimits { max_messages: 4, max_bytes: 0, slow_timeout_ms: 10_000 };

    fn text(payload: &str) -> Frame {
        Frame::new(OpCode::Text, payload.as_bytes(), None)
    }

    fn standing(payload: &str, standing: Standing) -> Frame {
        let mut bytes = Payload::room(payload.len());
        bytes.extend_from_slice(payload.as_bytes());
        Payload::new(OpCode::Text, bytes, None, None).standing(standing).into_frame(None).0
    }

    fn urgent(payload: &str, priority: Priority) -> Frame {
        standing(payload, Standing { priority, ..Standing::default() })
    }

    fn pong(payload: &str) -> Frame {
        Frame::new(OpCode::Pong, payload.as_bytes(), None)
    }

    fn terms(limits: &OutboundLimits, now: u64) -> Terms<'_> {
        Terms { limits, now, is_single: false, may_block: true }
    }

    /// A topic whose publications wait as `policy` says.
    fn topic(policy: Policy) -> Arc<Topic> {
        let policies = Arc::new(Policies::new([(vec!["*".into()], policy)]));
        Topics::new(1, None, policies, Arc::default()).want("a", 0)
    }

    fn overflowing(overflow: Overflow) -> Arc<Topic> {
        topic(Policy { overflow, ..Policy::default() })
    }

    /// A queue without anything in progress.
    fn with(frames: &[Frame]) -> Outbound {
        let mut queue = Outbound::default();
        queue.resume(frames.iter().map(|frame| (frame, None)), 0, false);
        queue
    }

    /// What waits, in the order in which it would leave.
    fn waiting(queue: &Outbound) -> Vec<String> {
        let lanes = queue.lanes.iter().rev().flatten();
        lanes.map(|waiting| String::from_utf8_lossy(waiting.frame.payload()).into_owned()).collect()
    }

    fn drain(queue: &mut Outbound, step: usize) -> Vec<u8> {
        let (mut all, mut joined) = (Vec::new(), Vec::new());
        loop {
            let taken = {
                let next = queue.next(&mut joined, 64);
                let taken = next.len().min(step);
                all.extend_from_slice(&next[..taken]);
                taken
            };
            if taken == 0 {
                return all;
            }
            queue.advance(taken, &LIMITS);
        }
    }

    fn bytes(frames: &[Frame]) -> Vec<u8> {
        frames.iter().flat_map(|frame| frame.bytes().to_vec()).collect()
    }

    #[test]
    fn control_frames_go_first_between_whole_frames() {
        for step in 1..40 {
            let mut queue = Outbound::default();
            let frames = [text("first"), text("second")];
            queue.resume(frames.iter().map(|frame| (frame, None)), 3, false);
            queue.push_control(&pong("p"));
            queue.push_control(&pong("q"));
            let expected = bytes(&[text("first"), pong("q"), text("second")]);
            assert_eq!(drain(&mut queue, step), expected[3..], "in steps of {step}");
            assert!(queue.is_empty());
            assert_eq!(queue.bytes(), 0);
        }
    }

    #[test]
    fn a_higher_lane_leaves_first_between_whole_frames() {
        for step in 1..40 {
            let low = [text("started"), urgent("last", Priority::Low), text("third")];
            let mut queue = Outbound::default();
            queue.resume(low.iter().map(|frame| (frame, None)), 2, false);
            let high = urgent("second", Priority::High);
            assert!(queue.push(&high, None, &terms(&LIMITS, 0)).is_queued);
            let [started, last, third] = low;
            assert_eq!(drain(&mut queue, step), bytes(&[started, high, third, last])[2..]);
        }
    }

    #[test]
    fn a_close_is_the_last_word_whatever_was_said_before_it() {
        let close = Frame::control(OpCode::Close, b"");
        let low = urgent("low", Priority::Background);
        let mut queue = with(&[low.clone(), text("n"), close.clone()]);
        assert_eq!(drain(&mut queue, 100), bytes(&[text("n"), low, close]));
    }

    #[test]
    fn refuses_the_newcomer_among_its_equals_and_tells_once_there_is_room() {
        let mut queue = Outbound::default();
        for n in 0..4 {
            assert!(queue.push(&text(&n.to_string()), None, &terms(&LIMITS, 0)).is_queued);
        }
        for (now, late) in [(5, "late"), (6, "later")] {
            let outcome = queue.push(&text(late), None, &terms(&LIMITS, now));
            assert_eq!((outcome.is_queued, outcome.lost), (false, 1));
        }
        assert_eq!((queue.full_since(), queue.refuses()), (Some(5), Some(Priority::Normal)));
        assert_eq!(queue.closes_at(&LIMITS), Some(10_005));
        assert!(queue.take_missed().is_empty());
        queue.advance(3 + 3, &LIMITS);
        assert_eq!((queue.full_since(), queue.refuses()), (None, None));
        assert_eq!(queue.take_missed()[0].count, 2);
    }

    #[test]
    fn the_least_important_gives_way_and_of_it_the_oldest() {
        use Priority::{Background, Critical, High, Low, Normal};
        let newcomers = [("a", Low), ("b", Background), ("c", Background), ("d", Normal)];
        let mut queue = Outbound::default();
        let mut come = |name: &str, priority| {
            let outcome = queue.push(&urgent(name, priority), None, &terms(&LIMITS, 1));
            (outcome.is_queued, outcome.lost, waiting(&queue).concat())
        };
        for (name, priority) in newcomers {
            come(name, priority);
        }
        for (name, priority, expected) in [
            ("e", Low, (true, 1, "daec")),
            ("f", Background, (false, 1, "daec")),
            ("g", High, (true, 1, "gdae")),
            ("h", High, (true, 1, "ghde")),
            ("i", Low, (false, 1, "ghde")),
            ("j", Critical, (true, 1, "jghd")),
            ("k", High, (true, 1, "jghk")),
            // Only the two highest are left: nothing but a critical one gets in, in place of the other.
            ("l", High, (false, 1, "jghk")),
            ("m", Critical, (true, 1, "jmhk")),
            ("n", Critical, (true, 1, "jmnk")),
            ("o", Critical, (true, 1, "jmno")),
            ("p", Critical, (false, 1, "jmno")),
        ] {
            assert_eq!(come(name, priority), (expected.0, expected.1, expected.2.to_owned()), "{name}");
        }
        assert_eq!(queue.full_since(), Some(1));
        let told = queue.missed.iter().map(|missed| missed.count).sum::<u64>();
        assert_eq!(told, 12);
    }

    #[test]
    fn nothing_is_given_up_for_what_would_not_fit_anyway() {
        let limits = OutboundLimits { max_messages: 0, max_bytes: 30, slow_timeout_ms: 0 };
        let mut queue = with(&[urgent("low", Priority::Low), text("0123456789")]);
        let outcome = queue.push(&urgent(&"x".repeat(40), Priority::Critical), None, &terms(&limits, 1));
        assert_eq!((outcome.is_queued, outcome.lost, waiting(&queue).len()), (false, 1, 2));
    }

    #[test]
    fn the_engines_own_words_are_never_given_up() {
        let own = Frame::own(b"reply", Priority::Background, None);
        let mut queue = with(&[own.clone(), own.clone(), own.clone(), own]);
        let outcome = queue.push(&urgent("x", Priority::Critical), None, &terms(&LIMITS, 1));
        assert!(!outcome.is_queued);
        assert!(queue.tell(&Frame::own(b"gap", Priority::Normal, None), &terms(&LIMITS, 1)));
        assert_eq!(waiting(&queue), ["gap", "reply", "reply", "reply", "reply"]);
    }

    #[test]
    fn a_ring_keeps_the_newest_of_its_topic() {
        let ring = overflowing(Overflow::Ring(2));
        let mut queue = with(&[text("x")]);
        for n in ["1", "2", "3", "4"] {
            assert!(queue.push(&text(n), Some(&ring), &terms(&LIMITS, 1)).is_queued);
        }
        assert_eq!(waiting(&queue), ["x", "3", "4"]);
        assert_eq!((queue.full_since(), queue.take_missed()[0].count), (None, 2));
        // Also where the queue has no room for other reasons.
        queue.push(&text("y"), None, &terms(&LIMITS, 1));
        queue.push(&text("z"), None, &terms(&LIMITS, 1));
        assert!(queue.push(&text("5"), Some(&ring), &terms(&LIMITS, 1)).is_queued);
        assert_eq!(waiting(&queue), ["x", "4", "y", "5"]);
    }

    #[test]
    fn of_each_key_the_newest_waits_in_the_place_of_the_one_before() {
        let latest = overflowing(Overflow::Latest(None));
        let keyed =
            |name: &str, key| standing(name, Standing { key: NonZeroU64::new(key), ..Standing::default() });
        let mut queue = with(&[text("x")]);
        for (name, key) in [("a1", 1), ("b1", 2), ("a2", 1), ("none", 0), ("a3", 1), ("b2", 2)] {
            assert_eq!(queue.push(&keyed(name, key), Some(&latest), &terms(&LIMITS, 1)).lost, 0);
        }
        assert_eq!(waiting(&queue), ["x", "a3", "b2", "none"]);
        assert!(queue.take_missed().is_empty(), "what a newer one replaces is no gap");
        assert!(!queue.push(&text("late"), None, &terms(&LIMITS, 1)).is_queued);
        assert!(
            queue.push(&keyed("a4", 1), Some(&latest), &terms(&LIMITS, 1)).is_queued,
            "also while it is full"
        );
        assert!(!queue.push(&keyed("c1", 3), Some(&latest), &terms(&LIMITS, 1)).is_queued);
    }

    #[test]
    fn a_blocking_topic_is_never_given_up_and_holds_its_publisher_up() {
        let block = overflowing(Overflow::Block(1_000));
        let mut queue = Outbound::default();
        for n in 0..8 {
            assert!(
                queue.push(&text(&n.to_string()), Some(&block), &terms(&LIMITS, n)).is_queued,
                "up to twice"
            );
            assert_eq!(block.brake().is_on(), n >= 4);
        }
        assert_eq!(queue.closes_at(&LIMITS), Some(1_004));
        let urgent = urgent("x", Priority::Critical);
        assert!(!queue.push(&urgent, None, &terms(&LIMITS, 8)).is_queued, "not even for that");
        queue.advance(6 * 3, &LIMITS);
        assert_eq!((block.brake().is_on(), queue.closes_at(&LIMITS)), (false, None));
        for n in 0..7 {
            queue.push(&text(&n.to_string()), Some(&block), &terms(&LIMITS, 9));
        }
        assert_eq!(queue.closes_at(&LIMITS), Some(9), "what cannot be kept is no gap, it is the end");
        drop(queue);
        assert!(!block.brake().is_on());
    }

    #[test]
    fn a_topic_that_disconnects_ends_the_connection_at_its_first_loss() {
        let disconnect = overflowing(Overflow::Disconnect);
        let mut queue = Outbound::default();
        for n in 0..4 {
            assert!(queue.push(&text(&n.to_string()), Some(&disconnect), &terms(&LIMITS, 1)).is_queued);
        }
        assert_eq!(queue.closes_at(&LIMITS), None);
        queue.push(&urgent("x", Priority::High), None, &terms(&LIMITS, 7));
        queue.advance(4 * 3, &LIMITS);
        assert_eq!(queue.closes_at(&LIMITS), Some(7), "it was given up for something else");
    }

    #[test]
    fn what_is_worth_nothing_any_more_makes_room_and_is_told() {
        let timed =
            |name: &str, at| standing(name, Standing { expires: NonZeroU64::new(at), ..Standing::default() });
        let mut queue = with(&[timed("a", 10), text("b"), timed("c", 20), timed("d", 10)]);
        assert!(queue.push(&text("e"), None, &terms(&LIMITS, 10)).is_queued);
        assert_eq!(waiting(&queue), ["b", "c", "e"]);
        assert_eq!(queue.expire(19, &LIMITS), 0);
        assert_eq!(queue.expire(20, &LIMITS), 1);
        let missed = queue.take_missed();
        assert_eq!((missed[0].reason, missed[0].count), (Reason::Expired, 3));
    }

    #[test]
    fn a_topic_with_a_log_falls_back_to_it_from_the_first_that_is_given_up() {
        let (logged, other) = (topic(Policy::default()), topic(Policy::default()));
        let of_log =
            |index| standing("log", Standing { index, priority: Priority::Low, ..Standing::default() });
        let mut queue = Outbound::default();
        queue.push(&of_log(5), Some(&logged), &terms(&LIMITS, 1));
        queue.push(&of_log(3), Some(&other), &terms(&LIMITS, 1));
        queue.push(&text("x"), None, &terms(&LIMITS, 1));
        queue.push(&of_log(6), Some(&logged), &terms(&LIMITS, 1));
        let outcome = queue.push(&text("y"), None, &terms(&LIMITS, 1));
        assert_eq!((outcome.lost, outcome.fallen_back.len(), outcome.fallen_back[0].1), (0, 1, 5));
        assert!(Arc::ptr_eq(&outcome.fallen_back[0].0, &logged));
        assert_eq!(waiting(&queue), ["log", "x", "y"], "what follows in the log would overtake");
        assert_eq!(queue.push(&of_log(4), Some(&other), &terms(&LIMITS, 1)).fallen_back[0].1, 4);
        assert_eq!(waiting(&queue), ["log", "x", "y"], "what came before it stays");
    }

    #[test]
    fn what_has_made_room_for_another_one_of_its_log_is_not_overtaken_by_it() {
        let logged = topic(Policy::default());
        let of_log = |index, priority| standing("log", Standing { index, priority, ..Standing::default() });
        let mut queue = Outbound::default();
        for n in 0..3 {
            queue.push(&text(&n.to_string()), None, &terms(&LIMITS, 1));
        }
        queue.push(&of_log(3, Priority::Low), Some(&logged), &terms(&LIMITS, 1));
        let outcome = queue.push(&of_log(4, Priority::High), Some(&logged), &terms(&LIMITS, 1));
        assert_eq!((outcome.is_queued, outcome.lost, outcome.fallen_back[0].1), (false, 0, 3));
        assert_eq!(waiting(&queue), ["0", "1", "2"]);
    }

    #[test]
    fn what_the_engine_has_spoken_of_leaves_before_its_word() {
        let logged = topic(Policy::default());
        let of_log =
            |index| standing("log", Standing { index, priority: Priority::Low, ..Standing::default() });
        let mut queue = Outbound::default();
        queue.push(&of_log(5), Some(&logged), &terms(&LIMITS, 1));
        queue.tell(&Frame::own(b"answer", Priority::Normal, None), &terms(&LIMITS, 1));
        queue.push(&of_log(6), Some(&logged), &terms(&LIMITS, 1));
        for _ in 0..2 {
            queue.push(&text("x"), None, &terms(&LIMITS, 1));
        }
        assert_eq!(waiting(&queue), ["log", "answer", "x", "x"], "only what came behind it may go");
        assert!(!queue.push(&text("y"), None, &terms(&LIMITS, 1)).is_queued);
    }

    #[test]
    fn a_closing_connection_keeps_only_the_frame_in_progress() {
        let mut queue = Outbound::default();
        let frames = [text("first"), text("second")];
        queue.resume(frames.iter().map(|frame| (frame, None)), 2, false);
        queue.abandon();
        queue.push_control(&pong("bye"));
        assert_eq!(drain(&mut queue, 1_000), bytes(&[text("first"), pong("bye")])[2..]);
    }

    proptest! {
        #[test]
        fn bounds_hold_and_everything_leaves_in_order_or_is_told(
            steps in prop::collection::vec((0usize..7, 0usize..5, 1usize..40, any::<bool>()), 1..200),
            (max_messages, max_bytes) in (0usize..12, 0usize..300),
            is_single: bool,
        ) {
            let limits = OutboundLimits { max_messages, max_bytes, slow_timeout_ms: 0 };
            let terms = Terms { limits: &limits, now: 1, is_single, may_block: true };
            let topics = Priority::ALL.map(|priority| topic(Policy { priority, ..Policy::default() }));
            let mut queue = Outbound::default();
            let (mut left, mut joined, mut lost, mut told) = (Vec::new(), Vec::new(), 0, 0);
            let mut left_bytes = Vec::new();
            for (n, (action, importance, size, is_unicast)) in steps.iter().copied().enumerate() {
                if action == 0 {
                    let next = queue.next(&mut joined, 64);
                    let taken = next.len().min(size);
                    left_bytes.extend_from_slice(&next[..taken]);
                    queue.advance(taken, &limits);
                    told += queue.take_missed().iter().map(|missed| missed.count).sum::<u64>();
                    continue;
                }
                let topic = &topics[(importance + action) % 5];
                let priority = Priority::ALL[importance];
                let payload = format!("{n:04}{}", "x".repeat(size));
                let highest = queue.spare[3].messages + queue.spare[4].messages;
                let outcome = queue.push(&urgent(&payload, priority), (!is_unicast).then_some(topic), &terms);
                lost += outcome.lost;
                prop_assert!(max_messages == 0 || queue.len() <= max_messages);
                prop_assert!(max_bytes == 0 || queue.bytes() <= max_bytes);
                if importance < 3 {
                    prop_assert_eq!(highest, queue.spare[3].messages + queue.spare[4].messages);
                }
            }
            let limits = OutboundLimits { max_messages: 0, max_bytes: 0, slow_timeout_ms: 0 };
            while let next @ [_, ..] = queue.next(&mut joined, 64) {
                let taken = next.len();
                left_bytes.extend_from_slice(next);
                queue.advance(taken, &limits);
            }
            queue.expire(1, &limits);
            told += queue.take_missed().iter().map(|missed| missed.count).sum::<u64>();
            prop_assert_eq!(lost, told);
            prop_assert!(queue.is_empty() && queue.bytes() == 0 && queue.timed == 0);
            // A header of two bytes each, then the number of the step.
            let mut rest = &left_bytes[..];
            while let [_, length, ..] = rest {
                left.push(std::str::from_utf8(&rest[2..6]).expect("digits").parse::<usize>().expect("digits"));
                rest = &rest[2 + usize::from(*length)..];
            }
            let pushed = steps.iter().filter(|step| step.0 != 0).count() as u64;
            prop_assert_eq!(left.len() as u64 + lost, pushed);
            // Within a lane nothing overtakes.
            for lane in 0..5 {
                let of_lane = left.iter().filter(|n| {
                    let (action, importance, _, is_unicast) = steps[**n];
                    is_single || lane == if is_unicast { importance } else { (importance + action) % 5 }
                });
                prop_assert!(of_lane.is_sorted());
            }
        }
    }
}
