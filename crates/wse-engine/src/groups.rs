//! Queue groups: of those who share the work of a topic, one gets each publication (PROTOCOL §8).
//!
//! A group knows its members, which of them are free, and what waits while none is. A member's own queue never holds
//! anything of a group: what the kernel does not take at once goes back, so that it leaves by whoever is free first. What
//! a kernel has taken a part of, or what waits in between, is kept until all of it has left.
//! Never stamps, never touches a socket.

use crate::command::Command;
use crate::config::OutboundLimits;
use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::delivery::{Progress, Publication, is_shared_out};
use crate::frame::Frame;
use crate::id::ConnectionKey;
use crate::log::{Event, Overload, Subject};
use crate::metrics::count;
use crate::shared::{Desk, Shared};
use crate::sync::{AtomicUsize, Mutex};
use crate::topics::Topic;
use crate::turn::Pending;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What waits for a group and leaves by one member in one turn: messages, and bytes.
const SLICE: (usize, usize) = (64, 64 << 10);

/// What became of a message for a group.
#[derive(Debug)]
pub enum Placed {
    /// This member gets it.
    With(ConnectionKey, Frame),
    /// No member is free: it waits, and so many older ones were given up for it.
    Waits(u64),
    /// Nobody is in the group.
    Nobody,
}

/// One group of one topic.
#[derive(Debug)]
pub struct Group {
    name: Box<str>,
    /// The topic whose publications it shares out.
    parent: Arc<Topic>,
    /// Members, and those that are announced; changed under the lock of the topic's groups.
    interest: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    members: Vec<Member>,
    /// Who is asked first for the next message.
    next: usize,
    /// While something waits, every member is busy or about to be fed.
    waiting: VecDeque<Frame>,
    bytes: usize,
}

#[derive(Debug)]
struct Member {
    key: ConnectionKey,
    /// The kernel takes what it is sent, as far as is known.
    is_free: bool,
}

impl Group {
    /// Chooses who gets `frame`: the next member that is free, in turn; else it waits, the oldest gives way.
    pub fn place(&self, frame: Frame, limits: &OutboundLimits) -> Placed {
        let mut state = self.state.lock();
        if state.waiting.is_empty()
            && let Some(key) = state.choose()
        {
            return Placed::With(key, frame);
        }
        if self.interest.load(Relaxed) == 0 {
            return Placed::Nobody;
        }
        let mut given_up = 0;
        state.bytes += frame.bytes().len();
        state.waiting.push_back(frame);
        let is_over = |state: &State| {
            limits.max_messages != 0 && state.waiting.len() > limits.max_messages
                || limits.max_bytes != 0 && state.bytes > limits.max_bytes && state.waiting.len() > 1
        };
        while is_over(&state) {
            state.pop();
            given_up += 1;
        }
        Placed::Waits(given_up)
    }

    /// The topic whose publications it shares out.
    pub fn parent(&self) -> &Arc<Topic> {
        &self.parent
    }

    /// Adds a member that was announced. It counts as busy until it first takes something.
    pub fn join(&self, key: ConnectionKey) {
        self.state.lock().members.push(Member { key, is_free: false });
    }

    /// Removes the member in `slot` of `shard`.
    pub fn leave(&self, shard: usize, slot: usize) {
        let mut state = self.state.lock();
        let is_it = |member: &Member| member.key.shard() == shard && member.key.slot() == slot;
        if let Some(index) = state.members.iter().position(is_it) {
            state.members.remove(index);
            state.next -= usize::from(index < state.next);
        }
    }

    /// The member takes nothing for now.
    fn rest(&self, key: ConnectionKey) {
        if let Some(member) = self.state.lock().member(key) {
            member.is_free = false;
        }
    }

    /// The member is free: moves what waits for it to `taken`, up to a slice. Whether more waits.
    fn take(&self, key: ConnectionKey, taken: &mut Vec<Frame>) -> bool {
        let mut state = self.state.lock();
        let Some(member) = state.member(key) else { return false };
        member.is_free = true;
        let mut bytes = 0;
        while taken.len() < SLICE.0 && bytes < SLICE.1 {
            let Some(frame) = state.pop() else { return false };
            bytes += frame.bytes().len();
            taken.push(frame);
        }
        !state.waiting.is_empty()
    }
}

impl State {
    fn choose(&mut self) -> Option<ConnectionKey> {
        let members = self.members.len();
        let indices = (0..members).map(|step| (self.next + step) % members);
        let index = indices.into_iter().find(|index| self.members[*index].is_free)?;
        self.next = (index + 1) % members;
        Some(self.members[index].key)
    }

    fn member(&mut self, key: ConnectionKey) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.key == key)
    }

    fn pop(&mut self) -> Option<Frame> {
        let frame = self.waiting.pop_front()?;
        self.bytes -= frame.bytes().len();
        Some(frame)
    }
}

/// The groups of one topic.
#[derive(Debug, Default)]
pub struct Groups(Mutex<Arc<[Arc<Topic>]>>);

impl Groups {
    /// The groups, as they are now.
    pub fn list(&self) -> Arc<[Arc<Topic>]> {
        Arc::clone(&self.0.lock())
    }

    /// Announces a member of the group `name` of `parent`, whose announcement goes with it. To be followed by
    /// [`Groups::release`], when the connection has left or has never joined.
    pub fn want(&self, name: &str, parent: &Arc<Topic>) -> Arc<Topic> {
        let mut groups = self.0.lock();
        let is_it = |topic: &&Arc<Topic>| topic.group().is_some_and(|group| &*group.name == name);
        let known = groups.iter().find(is_it).cloned();
        let topic = known.unwrap_or_else(|| {
            let group = Group {
                name: name.into(),
                parent: Arc::clone(parent),
                interest: AtomicUsize::new(0),
                state: Mutex::default(),
            };
            let topic = Arc::new(Topic::of_group(group));
            *groups = groups.iter().chain([&topic]).cloned().collect();
            topic
        });
        if let Some(group) = topic.group() {
            group.interest.fetch_add(1, Relaxed);
        }
        topic
    }

    /// Takes an announcement back. With the last one the group ends: returns how many messages nobody will get.
    pub fn release(&self, group: &Group) -> usize {
        let mut groups = self.0.lock();
        if group.interest.fetch_sub(1, Relaxed) > 1 {
            return 0;
        }
        let is_other = |topic: &&Arc<Topic>| !topic.group().is_some_and(|it| std::ptr::eq(it, group));
        *groups = groups.iter().filter(is_other).cloned().collect();
        drop(groups);
        std::mem::take(&mut *group.state.lock()).waiting.len()
    }
}

/// A message that a member was given, as it was published.
pub(crate) struct Given {
    slot: usize,
    topic: Arc<Topic>,
    frame: Frame,
    /// The connection's queue has the rest of it.
    is_part: bool,
}

impl Shared {
    /// Takes an announced subscription back, see [`crate::topics::Topics::release`].
    pub fn release(&self, topic: &Arc<Topic>, shard: usize) {
        count(&self.metrics.groups_dropped_total, self.topics.release(topic, shard) as u64);
    }

    /// Ends a held subscription.
    pub fn leave(&self, topic: &Arc<Topic>, shard: usize, slot: usize) {
        count(&self.metrics.groups_dropped_total, self.topics.leave(topic, shard, slot) as u64);
    }

    /// Gives a publication of `topic` to one member of each of its groups. Shards learn of it when they are woken.
    pub fn publish_to_groups(&self, topic: &Topic, frame: &Frame) {
        let Some(groups) = topic.groups() else { return };
        for group in groups.list().iter() {
            self.place(group, frame.clone());
        }
    }

    /// Leaves `frame` for the member whose turn it is, of the group that `topic` stands for; the desk of its shard.
    fn place(&self, topic: &Arc<Topic>, frame: Frame) -> Option<&Desk> {
        let given_up = match topic.group()?.place(frame, &self.config.outbound) {
            Placed::With(key, frame) => {
                let desk = self.desk(key)?;
                desk.mailbox.push(Command::Deliver { key, topic: Arc::clone(topic), frame });
                return Some(desk);
            }
            Placed::Waits(given_up) => given_up,
            Placed::Nobody => 1,
        };
        if given_up > 0 {
            count(&self.metrics.groups_dropped_total, given_up);
            self.note(Event::Overload(Overload::Groups), Subject::default);
        }
        None
    }
}

impl Core {
    /// Delivers what a group has chosen a connection for; where that is gone, has left, or is busy, to another one.
    pub(crate) fn deliver<S: Socket>(
        &mut self,
        conn: Option<&mut Connection<S>>,
        topic: &Arc<Topic>,
        frame: Frame,
    ) {
        match conn.filter(|conn| conn.holds(topic)) {
            Some(conn) => self.give(conn, topic, frame),
            None => self.pass_on(topic, frame),
        }
    }

    /// Lets a member that is free have what waits for its groups: a slice, and the next one in another turn.
    pub(crate) fn feed<S: Socket>(&mut self, conn: &mut Connection<S>) {
        if !is_free(conn) {
            return;
        }
        let (mut taken, mut has_more) = (Vec::new(), false);
        let groups = conn.topics.iter().filter(|topic| topic.group().is_some()).cloned().collect::<Vec<_>>();
        for topic in groups {
            has_more |= topic.group().is_some_and(|group| group.take(conn.key, &mut taken));
            for frame in taken.drain(..) {
                self.give(conn, &topic, frame);
            }
        }
        if has_more {
            self.shared.desks[self.index].mailbox.push(Command::Feed(conn.key));
        }
    }

    fn give<S: Socket>(&mut self, conn: &mut Connection<S>, topic: &Arc<Topic>, frame: Frame) {
        if frame.standing().expires.is_some_and(|at| self.now.millis >= at.get()) {
            return count(&self.shared.metrics.groups_dropped_total, 1);
        }
        if !is_free(conn) {
            topic.group().inspect(|group| group.rest(conn.key));
            return self.pass_on(topic, frame);
        }
        let publication = &mut Publication::new(frame.clone(), Some(Arc::clone(topic)));
        // Before it is queued, because that may already find out that the kernel refuses it.
        self.given.push(Given { slot: conn.key.slot(), topic: Arc::clone(topic), frame, is_part: false });
        if !self.publish(conn, publication) {
            // It was told that it has missed something.
            self.given.pop();
        }
    }

    /// A connection is not rid of all that it has to send in this turn: what was shared out and has not begun to leave
    /// goes to others, in its order; what has begun is kept until all of it has left.
    pub(crate) fn take_back<S>(&mut self, conn: &Connection<S>, pending: Pending, progress: &Progress) {
        let slot = conn.key.slot();
        for topic in &conn.topics {
            topic.group().inspect(|group| group.rest(conn.key));
        }
        let mut end = 0;
        let spans = self.turn.chain(pending).filter_map(|(frame, topic)| {
            let begin = end;
            end += frame.bytes().len();
            (is_shared_out(topic) && end > progress.left).then_some((begin, end))
        });
        let spans = spans.collect::<Vec<_>>();
        let places = self.given.iter().enumerate().filter(|(_, given)| given.slot == slot).map(|(at, _)| at);
        let places = places.rev().take(spans.len()).collect::<Vec<_>>();
        let given = places.into_iter().map(|at| self.given.remove(at)).collect::<Vec<_>>();
        for ((begin, end), given) in spans.into_iter().zip(given.into_iter().rev()) {
            if begin < progress.written {
                self.begun.push(Given { is_part: end > progress.written, ..given });
            } else {
                self.pass_on(&given.topic, given.frame);
            }
        }
    }

    /// The rest of what a connection's queue began with has been written.
    pub(crate) fn finish_begun<S: Socket>(&mut self, conn: &mut Connection<S>) {
        let own = self.begun.iter_mut().filter(|begun| begun.slot == conn.key.slot());
        own.for_each(|begun| begun.is_part = false);
        self.complete(conn);
    }

    /// Forgets what a connection was given and has left as a whole.
    pub(crate) fn complete<S: Socket>(&mut self, conn: &mut Connection<S>) {
        if self.begun.is_empty() {
            return;
        }
        // What waits below leaves before anything else does. An error is told again by the next write.
        let _ = conn.flush();
        if !conn.has_unsent() {
            self.begun.retain(|begun| begun.slot != conn.key.slot() || begun.is_part);
        }
    }

    /// The connection has ended: what it was given and has not left as a whole goes to others, in its order.
    pub(crate) fn hand_down<S: Socket>(&mut self, conn: &mut Connection<S>) {
        self.complete(conn);
        while let Some(at) = self.begun.iter().position(|begun| begun.slot == conn.key.slot()) {
            let Given { topic, frame, .. } = self.begun.remove(at);
            self.pass_on(&topic, frame);
        }
    }

    fn pass_on(&self, topic: &Arc<Topic>, frame: Frame) {
        if let Some(desk) = self.shared.place(topic, frame) {
            desk.mailbox.wake();
        }
    }
}

/// Whether the connection can have a message at once.
fn is_free<S: Socket>(conn: &Connection<S>) -> bool {
    let is_sealing = conn.secrecy.as_ref().is_some_and(|secrecy| secrecy.deadline().is_some());
    conn.is_open() && !conn.is_ended && conn.backlog.is_none() && !conn.has_unsent() && !is_sealing
}
