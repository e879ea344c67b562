//! What leaves in one turn of a shard: each frame once, and for each connection which of them.
//!
//! A connection with something to send holds a chain of runs of frames instead of a queue, so that fan-out
//! allocates nothing for each receiver, and receivers with the same chain share one joined buffer. Each form
//! in which messages leave has frames of its own, so that those of one chain follow each other.

use crate::frame::Frame;
use crate::speech;
use crate::topics::Topic;
use std::sync::Arc;

/// Each form of a publication, and each once more with messages that permessage-deflate has compressed.
pub const FORMS: usize = 2 * speech::FORMS;
/// Beside them what is encrypted: each of its frames is for one connection, so nobody shares what is joined of them.
pub const SEALED: usize = FORMS;

const NONE: u32 = u32::MAX;
/// The bits of a frame's number that count within its form; those above name the form.
const PLACE_BITS: u32 = 27;

/// A connection's part of the turn: the first and the last link of its chain.
#[derive(Debug, Clone, Copy)]
pub struct Pending {
    first: u32,
    last: u32,
}

impl Pending {
    /// Nothing to send.
    pub const NONE: Self = Self { first: NONE, last: NONE };

    /// Whether the connection has nothing to send in this turn.
    pub fn is_none(self) -> bool {
        self.first == NONE
    }
}

/// A run of frames that follow each other, and where the chain goes on.
#[derive(Debug, Clone, Copy)]
struct Link {
    start: u32,
    length: u32,
    next: u32,
}

/// The frames of one form.
#[derive(Debug, Default)]
struct Frames {
    frames: Vec<(Frame, Option<Arc<Topic>>)>,
    joined: Vec<u8>,
    /// The runs whose bytes `joined` holds.
    joined_runs: Vec<(u32, u32)>,
}

/// The frames of a turn and the chains through them. Reused from turn to turn.
#[derive(Debug, Default)]
pub struct Turn {
    forms: [Frames; FORMS + 1],
    links: Vec<Link>,
    runs: Vec<(u32, u32)>,
    length: usize,
}

impl Turn {
    /// Adds a frame of this `form` to the turn; returns its number for [`Turn::queue`].
    pub fn add(&mut self, frame: Frame, topic: Option<Arc<Topic>>, form: usize) -> u32 {
        let frames = &mut self.forms[form].frames;
        let number = (form as u32) << PLACE_BITS | frames.len() as u32;
        frames.push((frame, topic));
        self.length += 1;
        number
    }

    /// How many frames leave in this turn.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing leaves in this turn.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends frame `number` to a connection's chain.
    pub fn queue(&mut self, pending: &mut Pending, number: u32) {
        if let Some(last) = self.links.get_mut(pending.last as usize)
            && last.start + last.length == number
        {
            last.length += 1;
            return;
        }
        let link = self.links.len() as u32;
        self.links.push(Link { start: number, length: 1, next: NONE });
        match self.links.get_mut(pending.last as usize) {
            Some(last) => last.next = link,
            None => pending.first = link,
        }
        pending.last = link;
    }

    /// Forgets the bytes of frame `number`, which nobody's chain holds any more.
    pub fn forget(&mut self, number: u32) {
        let (form, place) = split(number);
        self.forms[form].frames[place] = (Frame::ready(Vec::new()), None);
    }

    /// The frame `number` and its topic.
    pub fn frame(&self, number: u32) -> (&Frame, Option<&Arc<Topic>>) {
        let (form, place) = split(number);
        let (frame, topic) = &self.forms[form].frames[place];
        (frame, topic.as_ref())
    }

    /// The bytes of a chain: joined once for all connections in a row of its form that have the same, and how many
    /// frames.
    pub fn bytes(&mut self, pending: Pending) -> (&[u8], u64) {
        // Most have one frame.
        if pending.first == pending.last
            && let Some(&Link { start, length: 1, .. }) = self.links.get(pending.first as usize)
        {
            return (self.frame(start).0.bytes(), 1);
        }
        let mut runs = std::mem::take(&mut self.runs);
        runs.clear();
        let mut link = pending.first;
        while let Some(&Link { start, length, next }) = self.links.get(link as usize) {
            runs.push((start, length));
            link = next;
        }
        self.runs = runs;
        // A chain through several forms counts as one of the first: who changes forms does so seldom.
        let first = self.runs.first().map_or(0, |(number, _)| split(*number).0);
        if self.runs != self.forms[first].joined_runs {
            let mut joined = std::mem::take(&mut self.forms[first].joined);
            joined.clear();
            for (frame, _) in self.runs.iter().flat_map(|run| self.run(*run)) {
                joined.extend_from_slice(frame.bytes());
            }
            let alike = &mut self.forms[first];
            alike.joined = joined;
            std::mem::swap(&mut self.runs, &mut alike.joined_runs);
        }
        let alike = &self.forms[first];
        (&alike.joined, alike.joined_runs.iter().map(|(_, length)| u64::from(*length)).sum())
    }

    /// The frames of a chain, in order, each with its topic.
    pub fn chain(&self, pending: Pending) -> impl Iterator<Item = (&Frame, Option<&Arc<Topic>>)> {
        let mut link = pending.first;
        let runs = std::iter::from_fn(move || {
            let &Link { start, length, next } = self.links.get(link as usize)?;
            link = next;
            Some((start, length))
        });
        runs.flat_map(|run| self.run(run))
    }

    fn run(&self, (number, length): (u32, u32)) -> impl Iterator<Item = (&Frame, Option<&Arc<Topic>>)> {
        let (form, place) = split(number);
        let frames = &self.forms[form].frames[place..place + length as usize];
        frames.iter().map(|(frame, topic)| (frame, topic.as_ref()))
    }

    /// Forgets the turn; its memory stays for the next one unless it was unusually large.
    pub fn clear(&mut self) {
        for alike in &mut self.forms {
            alike.frames.clear();
            alike.joined_runs.clear();
            alike.joined.clear();
            alike.joined.shrink_to(256 << 10);
        }
        self.length = 0;
        self.links.clear();
        self.links.shrink_to(64 << 10);
    }
}

/// The form of a frame and its place there.
fn split(number: u32) -> (usize, usize) {
    ((number >> PLACE_BITS) as usize, (number & ((1 << PLACE_BITS) - 1)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wse_protocol::frame::OpCode;

    proptest! {
        #[test]
        fn each_connection_gets_its_frames_in_order(
            sends in prop::collection::vec(prop::collection::vec(0usize..6, 0..6), 1..40),
        ) {
            let mut turn = Turn::default();
            let mut pending = [Pending::NONE; 6];
            let mut expected = vec![Vec::new(); 6];
            for (n, receivers) in sends.iter().enumerate() {
                let frame = Frame::new(OpCode::Text, n.to_string().as_bytes(), None);
                let number = turn.add(frame.clone(), None, n % (SEALED + 1));
                for &receiver in receivers.iter().collect::<std::collections::BTreeSet<_>>() {
                    turn.queue(&mut pending[receiver], number);
                    expected[receiver].extend_from_slice(frame.bytes());
                }
            }
            for (pending, expected) in pending.into_iter().zip(expected) {
                if pending.is_none() {
                    prop_assert!(expected.is_empty());
                    continue;
                }
                let chain = turn.chain(pending).flat_map(|(frame, _)| frame.bytes().to_vec());
                let chain = chain.collect::<Vec<_>>();
                prop_assert_eq!(&chain, &expected);
                prop_assert_eq!(turn.bytes(pending).0, &expected[..]);
            }
        }
    }
}
