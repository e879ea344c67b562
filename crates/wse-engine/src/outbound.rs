//! The outbound queue of one connection: what the kernel has refused.
//!
//! Decides in which order waiting frames leave and which newcomer is refused; an idle connection has none.
//! Never touches the socket: the shard shows it the bytes and tells how many went.

use crate::config::OutboundLimits;
use crate::frame::Frame;
use crate::topics::Topic;
use std::collections::VecDeque;
use std::sync::Arc;

/// Topics that are named one by one in a `gap`; misses of further topics are told without a name.
const NAMED_GAPS: usize = 32;

/// What a connection did not get: so many messages of a topic, or of none (unicast, everyone).
#[derive(Debug, Clone)]
pub struct Missed {
    /// The topic, if it was one.
    pub topic: Option<Arc<Topic>>,
    /// How many.
    pub count: u64,
}

/// Frames that wait until the socket is writable.
#[derive(Debug, Default)]
pub struct Outbound {
    frames: VecDeque<Frame>,
    /// Close and the newest pong: they go first, between whole frames.
    control: VecDeque<Frame>,
    /// Bytes of the frame in progress that the kernel has taken.
    written: usize,
    /// Whether the frame in progress is a control frame.
    control_in_progress: bool,
    bytes: usize,
    missed: Vec<Missed>,
    full_since: Option<u64>,
}

impl Outbound {
    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.control.is_empty()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when newcomers are refused, in milliseconds.
    pub fn full_since(&self) -> Option<u64> {
        self.full_since
    }

    /// Takes over what the kernel left of a write: `frames`, of whose first `written` bytes are gone.
    pub fn resume<'a>(&mut self, frames: impl Iterator<Item = &'a Frame>, written: usize) {
        debug_assert!(self.is_empty(), "a queue is only made for what was left");
        self.frames.extend(frames.cloned());
        self.written = written;
        self.bytes = self.frames.iter().map(|frame| frame.bytes().len()).sum();
    }

    /// Queues `frame`, or refuses it when either bound is reached: arriving late is no reason to win.
    ///
    /// Once full, the queue takes newcomers again when half of it has left, so that what was missed is told in
    /// its place: behind what came before it, and before what comes after.
    ///
    /// Returns whether it was queued. What was refused is remembered for [`Outbound::take_missed`].
    pub fn push(
        &mut self,
        frame: &Frame,
        topic: Option<&Arc<Topic>>,
        limits: &OutboundLimits,
        now: u64,
    ) -> bool {
        let over_messages = limits.max_messages != 0 && self.frames.len() >= limits.max_messages;
        let over_bytes = limits.max_bytes != 0 && self.bytes + frame.bytes().len() > limits.max_bytes;
        if over_messages || over_bytes || self.full_since.is_some() {
            self.full_since.get_or_insert(now);
            self.miss(topic);
            return false;
        }
        self.bytes += frame.bytes().len();
        self.frames.push_back(frame.clone());
        true
    }

    /// Queues what the engine itself has to say: a reply, or what tells of misses.
    ///
    /// It is no publication, so it passes the bounds and is never missed; up to twice the bounds. `false`: a client
    /// that asks and does not read has its replies refused.
    pub fn tell(&mut self, frame: &Frame, limits: &OutboundLimits) -> bool {
        let over_messages =
            limits.max_messages != 0 && self.frames.len() >= 2 * limits.max_messages + NAMED_GAPS;
        let over_bytes = limits.max_bytes != 0 && self.bytes + frame.bytes().len() > 2 * limits.max_bytes;
        if over_messages || over_bytes {
            return false;
        }
        self.bytes += frame.bytes().len();
        self.frames.push_back(frame.clone());
        true
    }

    /// Everything that waits, in order, and what was refused: for another queue.
    pub fn into_parts(self) -> (VecDeque<Frame>, Vec<Missed>) {
        (self.frames, self.missed)
    }

    /// Notes messages that were refused before they came here.
    pub fn miss_unseen(&mut self, count: u64) {
        if count > 0 {
            self.miss(None);
            if let Some(missed) = self.missed.iter_mut().find(|missed| missed.topic.is_none()) {
                missed.count += count - 1;
            }
        }
    }

    /// Queues a control frame; a newer pong takes the place of one that has not left (RFC 6455 §5.5.3).
    pub fn push_control(&mut self, frame: &Frame) {
        let is_pong = |frame: &Frame| frame.bytes().first() == Some(&0x8a);
        let untouched = usize::from(self.control_in_progress);
        let older = self.control.iter_mut().skip(untouched).find(|waiting| is_pong(waiting));
        if let Some(older) = older.filter(|_| is_pong(frame)) {
            *older = frame.clone();
            return;
        }
        self.control.push_back(frame.clone());
    }

    /// Gives up everything but the frame in progress and control frames: the connection is closing.
    pub fn abandon(&mut self) {
        let keep = usize::from(self.written > 0 && !self.control_in_progress);
        self.frames.truncate(keep);
        self.bytes = self.frames.iter().map(|frame| frame.bytes().len()).sum();
        self.missed.clear();
        self.full_since = None;
    }

    /// The bytes that should leave next, at most about `most`: joined in `joined`, or one large frame as it is.
    pub fn next<'a>(&'a mut self, joined: &'a mut Vec<u8>, most: usize) -> &'a [u8] {
        if self.written == 0 {
            self.control_in_progress = !self.control.is_empty();
        }
        let queue = if self.control_in_progress { &self.control } else { &self.frames };
        let Some(first) = queue.front() else { return &[] };
        let rest = &first.bytes()[self.written..];
        if rest.len() >= most || queue.len() == 1 || self.control_in_progress {
            return rest;
        }
        joined.clear();
        joined.extend_from_slice(rest);
        // Control frames that wait behind a frame in progress must not wait for more than that one.
        if self.control.is_empty() {
            for frame in queue.iter().skip(1) {
                if joined.len() + frame.bytes().len() > most {
                    break;
                }
                joined.extend_from_slice(frame.bytes());
            }
        }
        joined
    }

    /// `taken` bytes of what `next` showed are with the kernel; returns how many frames that completed.
    pub fn advance(&mut self, mut taken: usize, limits: &OutboundLimits) -> u64 {
        let mut completed = 0;
        while taken > 0 {
            let queue = if self.control_in_progress { &mut self.control } else { &mut self.frames };
            let Some(first) = queue.front() else { break };
            let rest = first.bytes().len() - self.written;
            if taken < rest {
                self.written += taken;
                return completed;
            }
            taken -= rest;
            completed += 1;
            self.written = 0;
            if let Some(frame) = queue.pop_front().filter(|_| !self.control_in_progress) {
                self.bytes -= frame.bytes().len();
            }
            if taken == 0 {
                self.control_in_progress = false;
            }
        }
        let has_room = |waiting: usize, most: usize| most == 0 || waiting <= most / 2;
        if has_room(self.frames.len(), limits.max_messages) && has_room(self.bytes, limits.max_bytes) {
            self.full_since = None;
        }
        completed
    }

    /// What was refused, once there is room again to say so in order with what comes next.
    pub fn take_missed(&mut self) -> Vec<Missed> {
        if self.full_since.is_some() { Vec::new() } else { std::mem::take(&mut self.missed) }
    }

    /// Notes a message that did not come here.
    pub fn miss(&mut self, topic: Option<&Arc<Topic>>) {
        let same = |missed: &&mut Missed| match (&missed.topic, topic) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        if let Some(missed) = self.missed.iter_mut().find(same) {
            missed.count += 1;
        } else if self.missed.len() < NAMED_GAPS || topic.is_none() {
            self.missed.push(Missed { topic: topic.cloned(), count: 1 });
        } else {
            self.miss(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wse_protocol::frame::OpCode;

    const LIMITS: OutboundLimits = OutboundLimits { max_messages: 4, max_bytes: 0, slow_timeout_ms: 10_000 };

    fn text(payload: &str) -> Frame {
        Frame::new(OpCode::Text, payload.as_bytes(), None)
    }

    fn pong(payload: &str) -> Frame {
        Frame::new(OpCode::Pong, payload.as_bytes(), None)
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

    #[test]
    fn control_frames_go_first_between_whole_frames() {
        for step in 1..40 {
            let mut queue = Outbound::default();
            queue.resume([text("first"), text("second")].iter(), 3);
            queue.push_control(&pong("p"));
            queue.push_control(&pong("q"));
            let mut expected = text("first").bytes()[3..].to_vec();
            expected.extend_from_slice(pong("q").bytes());
            expected.extend_from_slice(text("second").bytes());
            assert_eq!(drain(&mut queue, step), expected, "in steps of {step}");
            assert!(queue.is_empty());
            assert_eq!(queue.bytes(), 0);
        }
    }

    #[test]
    fn refuses_the_newcomer_and_tells_once_there_is_room() {
        let mut queue = Outbound::default();
        for n in 0..4 {
            assert!(queue.push(&text(&n.to_string()), None, &LIMITS, 0));
        }
        assert!(!queue.push(&text("late"), None, &LIMITS, 5));
        assert!(!queue.push(&text("later"), None, &LIMITS, 6));
        assert_eq!(queue.full_since(), Some(5));
        assert!(queue.take_missed().is_empty());
        queue.advance(3 + 3, &LIMITS);
        assert_eq!(queue.full_since(), None);
        assert_eq!(queue.take_missed()[0].count, 2);
    }

    #[test]
    fn a_closing_connection_keeps_only_the_frame_in_progress() {
        let mut queue = Outbound::default();
        queue.resume([text("first"), text("second")].iter(), 2);
        queue.abandon();
        queue.push_control(&pong("bye"));
        let mut expected = text("first").bytes()[2..].to_vec();
        expected.extend_from_slice(pong("bye").bytes());
        assert_eq!(drain(&mut queue, 1_000), expected);
    }
}
