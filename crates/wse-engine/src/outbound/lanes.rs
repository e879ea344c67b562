//! The five lanes of an outbound queue: who stands where, and how much that is.
//!
//! Knows what leaves next and what is least important. Never decides that something is given up.

use crate::frame::Frame;
use crate::policy::Overflow;
use crate::topics::Topic;
use std::collections::VecDeque;
use std::ops::{Add, Sub};
use std::sync::Arc;
use wse_protocol::priority::Priority;

/// A message in its lane.
#[derive(Debug)]
pub(super) struct Waiting {
    pub frame: Frame,
    pub topic: Option<Arc<Topic>>,
    pub priority: Priority,
    /// Something more important may take its room.
    may_go: bool,
}

impl Waiting {
    pub fn new(frame: &Frame, topic: Option<&Arc<Topic>>) -> Self {
        let standing = frame.standing();
        Self {
            frame: frame.clone(),
            topic: topic.cloned(),
            priority: standing.priority,
            may_go: !standing.is_own
                && (standing.is_news || topic.is_none_or(|topic| !topic.policy().is_firm())),
        }
    }

    /// What the policy of its topic wants, if it is a publication.
    pub fn overflow(&self) -> Option<&Overflow> {
        let topic = self.topic.as_ref().filter(|_| !self.frame.standing().is_news);
        topic.map(|topic| &topic.policy().overflow)
    }

    /// Whether it is a publication of `topic`.
    pub fn is_publication_of(&self, topic: &Topic) -> bool {
        !self.frame.standing().is_news && self.is_of(topic)
    }

    pub fn len(&self) -> usize {
        self.frame.bytes().len()
    }

    pub fn is_of(&self, topic: &Topic) -> bool {
        self.topic.as_ref().is_some_and(|own| own.is_same(topic))
    }

    fn tally(&self) -> Tally {
        Tally { messages: 1, bytes: self.len() }
    }
}

/// Messages and bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub messages: usize,
    pub bytes: usize,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { messages: self.messages + other.messages, bytes: self.bytes + other.bytes }
    }
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { messages: self.messages - other.messages, bytes: self.bytes - other.bytes }
    }
}

/// Messages in five lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// By priority; the last one leaves first.
    queues: [VecDeque<Waiting>; Priority::COUNT],
    all: Tally,
    /// Those that something more important may take the room of, by their priority.
    spare: [Tally; Priority::COUNT],
    timed: usize,
}

impl Lanes {
    /// How much there is.
    pub fn all(&self) -> Tally {
        self.all
    }

    /// How much something of this importance may take the room of.
    pub fn spare_below(&self, priority: Priority) -> Tally {
        self.spare[..priority as usize].iter().fold(Tally::default(), |sum, tally| sum + *tally)
    }

    /// How many have a time after which they are worth nothing.
    pub fn timed(&self) -> usize {
        self.timed
    }

    /// One lane, from what leaves first.
    pub fn lane(&self, lane: Priority) -> &VecDeque<Waiting> {
        &self.queues[lane as usize]
    }

    /// All frames, from what leaves first.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.queues.iter().rev().flatten().map(|waiting| &waiting.frame)
    }

    /// Puts `waiting` at the end of a lane, or before what stands at `place`.
    pub fn insert(&mut self, waiting: Waiting, lane: Priority, place: Option<usize>) {
        let tally = waiting.tally();
        if waiting.frame.standing().is_own {
            self.keep(lane);
        }
        self.all = self.all + tally;
        if waiting.may_go {
            let spare = &mut self.spare[waiting.priority as usize];
            *spare = *spare + tally;
        }
        self.timed += usize::from(waiting.frame.standing().expires.is_some());
        let queue = &mut self.queues[lane as usize];
        queue.insert(place.unwrap_or(queue.len()), waiting);
    }

    /// What is said in a lane may speak of what is before it, by its place in a log: that may not come later now.
    fn keep(&mut self, lane: Priority) {
        let queue = self.queues[lane as usize].iter_mut().rev();
        let unsaid = queue.take_while(|waiting| !waiting.frame.standing().is_own);
        for waiting in unsaid.filter(|waiting| waiting.may_go && waiting.frame.index() != 0) {
            waiting.may_go = false;
            let spare = &mut self.spare[waiting.priority as usize];
            *spare = *spare - waiting.tally();
        }
    }

    /// Takes out what stands at `place`, which must be there.
    pub fn remove(&mut self, lane: Priority, place: usize) -> Waiting {
        let waiting = self.queues[lane as usize].remove(place).expect("the place was found there");
        let tally = waiting.tally();
        self.all = self.all - tally;
        if waiting.may_go {
            let spare = &mut self.spare[waiting.priority as usize];
            *spare = *spare - tally;
        }
        self.timed -= usize::from(waiting.frame.standing().expires.is_some());
        waiting
    }

    /// Takes out the first of the highest lane.
    pub fn pop(&mut self) -> Option<Waiting> {
        let lane = Priority::ALL.into_iter().rev().find(|lane| !self.lane(*lane).is_empty())?;
        Some(self.remove(lane, 0))
    }

    /// Takes out what is less important than `priority`: of the least important the oldest of the lowest lane. Returned
    /// too are the lane and the place where it stood.
    pub fn pop_below(&mut self, priority: Priority) -> Option<(Waiting, (Priority, usize))> {
        let least = self.spare[..priority as usize].iter().position(|tally| tally.messages > 0)?;
        let is_least = |waiting: &Waiting| waiting.may_go && waiting.priority as usize == least;
        let place = |lane: Priority| Some((lane, self.lane(lane).iter().position(is_least)?));
        let (lane, place) = Priority::ALL.into_iter().find_map(place)?;
        Some((self.remove(lane, place), (lane, place)))
    }
}
