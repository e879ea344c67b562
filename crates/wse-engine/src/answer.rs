//! What becomes of a request for topics: carried out here, and answered when nothing is awaited any more (PROTOCOL §8).
//!
//! Who may have which topic has been decided before. The answer leaves behind the last publication that it speaks of,
//! so that a client can take its offsets for its position.

use crate::access::Source;
use crate::command::Command;
use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::cursor::Replay;
use crate::host::{Reply, Stand};
use crate::log::{Event, Fault};
use crate::recovery::Position;
use crate::topics::Topic;
use serde_json::value::RawValue;
use std::sync::Arc;
use wse_protocol::codes::Code;
use wse_protocol::message::{Action, Error, SubscriptionUpdate, TopicPosition};
use wse_protocol::priority::Priority;

/// Requests of one connection that wait; more are refused.
const MOST_WAITING: usize = 64;
/// Bytes of refused topics that an error names.
const NAMED_BYTES: usize = 64 << 10;

/// Who asked, and is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// The client itself.
    Client,
    /// The application, by the number of its request.
    Application(u32),
}

/// Where a connection begins to read a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    Now,
    /// Behind what it has already.
    Behind(Position),
    /// With so many of the last publications.
    Last(usize),
}

/// What became of the wish to begin before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// There was none.
    Live,
    /// A cursor is under way that began at this number.
    Running {
        /// The number.
        from: u64,
    },
    /// All that followed was sent.
    Recovered {
        /// How many.
        count: u64,
    },
    /// The last publications were sent.
    Sent {
        /// How many.
        count: u64,
    },
    /// Something of it is gone.
    Lost,
}

/// A topic that a connection now holds by a request.
#[derive(Debug)]
struct Taken {
    topic: Arc<Topic>,
    /// The last ones were asked for, whichever those are.
    is_last: bool,
    fate: Fate,
}

/// A request for topics that was carried out.
#[derive(Debug)]
pub struct Answer {
    asker: Asker,
    /// The lane that the answer leaves in, behind what it speaks of.
    lane: Priority,
    /// It speaks of topics where something is gone of what was asked for.
    is_lost: bool,
    taken: Vec<Taken>,
    failed: Vec<String>,
    /// It waits until the shard has carried out what was left for it before, by this number; zero: it does not.
    visit: u64,
}

impl Answer {
    /// Whether nothing is awaited any more.
    pub fn is_settled(&self) -> bool {
        self.visit == 0 && !self.taken.iter().any(|taken| matches!(taken.fate, Fate::Running { .. }))
    }

    /// What a running cursor of `topic` came to; whether the client is told of it by this answer.
    pub fn settle(&mut self, topic: &Arc<Topic>, fate: impl Fn(u64) -> Fate) -> bool {
        let mut is_told = false;
        for taken in self.taken.iter_mut().filter(|taken| Arc::ptr_eq(&taken.topic, topic)) {
            if let Fate::Running { from } = taken.fate {
                is_told = self.asker == Asker::Client;
                taken.fate = match fate(from) {
                    Fate::Recovered { count } if taken.is_last => Fate::Sent { count },
                    fate => fate,
                };
            }
        }
        is_told
    }

    /// `topic` was taken away before the answer could leave.
    pub fn give_up(&mut self, topic: &Arc<Topic>) {
        let Some(place) = self.taken.iter().position(|taken| Arc::ptr_eq(&taken.topic, topic)) else {
            return;
        };
        let taken = self.taken.remove(place);
        self.failed.push(taken.topic.name().into());
    }

    /// Whether it waits for the replays of all these topics already.
    fn covers(&self, other: &Self) -> bool {
        let is_awaited = |wanted: &Taken| {
            let same = |taken: &&Taken| Arc::ptr_eq(&taken.topic, &wanted.topic);
            self.taken.iter().find(same).is_some_and(|taken| matches!(taken.fate, Fate::Running { .. }))
        };
        self.asker == other.asker
            && other.visit == 0
            && other.failed.is_empty()
            && other.taken.iter().all(is_awaited)
    }
}

/// The part of a request whose answer leaves in `lane`: a client gets one for each, so that none overtakes what it
/// speaks of, and another for what `is_lost`, which goes on with what comes and must not wait for replays.
fn part(answers: &mut Vec<Answer>, asker: Asker, lane: Priority, is_lost: bool) -> &mut Answer {
    let is_one = matches!(asker, Asker::Application(_));
    let is_it = |answer: &Answer| is_one || answer.lane == lane && answer.is_lost == is_lost;
    let place = answers.iter().position(is_it).unwrap_or_else(|| {
        answers.push(Answer { asker, lane, is_lost, taken: Vec::new(), failed: Vec::new(), visit: 0 });
        answers.len() - 1
    });
    &mut answers[place]
}

/// What was refused waits for nothing: where the rest does, it is a part of its own.
fn part_refused(answers: &mut Vec<Answer>, asker: Asker) {
    let has_to_wait = |answer: &Answer| asker == Asker::Client && !answer.is_settled();
    let refused = answers.iter_mut().filter(|answer| has_to_wait(answer));
    let failed = refused.flat_map(|answer| std::mem::take(&mut answer.failed)).collect::<Vec<_>>();
    if !failed.is_empty() {
        let lane = Priority::default();
        answers.push(Answer { asker, lane, is_lost: true, taken: Vec::new(), failed, visit: 0 });
    }
}

impl Core {
    /// Makes a connection hold announced topics from where it wants to begin, and answers, now or when it has caught up.
    pub(crate) fn take_up<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        asker: Asker,
        topics: Vec<(Arc<Topic>, Start, Source)>,
        failed: Vec<String>,
        presence: Option<&Arc<RawValue>>,
    ) {
        let mut answers = Vec::<Answer>::new();
        for (topic, start, by) in topics {
            let lane = topic.policy().priority;
            if !self.hold(conn, &topic, by) {
                part(&mut answers, asker, lane, false).failed.push(topic.name().into());
                continue;
            }
            let fate = self.begin(conn, &topic, start);
            let is_lost = fate == Fate::Lost;
            // What the client is still to get the application does not take from it.
            if is_lost && asker == Asker::Client {
                self.jump(conn, &topic);
            }
            let taken = Taken { topic, is_last: matches!(start, Start::Last(_)), fate };
            part(&mut answers, asker, lane, is_lost).taken.push(taken);
        }
        if !failed.is_empty() || answers.is_empty() {
            part(&mut answers, asker, Priority::default(), false).failed.extend(failed);
        }
        part_refused(&mut answers, asker);
        let held = answers.iter().flat_map(|answer| &answer.taken).map(|taken| Arc::clone(&taken.topic));
        if let Some(presence) = presence
            && self.attend(conn, &held.collect::<Vec<_>>(), presence)
        {
            // Who comes hears of it before the answer, in order with all others.
            self.visits += 1;
            answers.iter_mut().for_each(|answer| answer.visit = self.visits);
            let mailbox = &self.shared.desks[self.index].mailbox;
            mailbox.push(Command::Settle(conn.key, self.visits));
            mailbox.wake();
        }
        answers.into_iter().for_each(|answer| self.put_off(conn, answer));
    }

    /// Answers, now or when everything has been sent that the answer speaks of.
    fn put_off<S>(&mut self, conn: &mut Connection<S>, answer: Answer) {
        let waiting = conn.replay.as_ref().map(|replay| &replay.answers);
        let is_waiting = conn.awaits_key();
        if answer.is_settled() && !is_waiting {
            self.give_answer(conn, &answer);
        } else if waiting.is_some_and(|waiting| waiting.iter().any(|earlier| earlier.covers(&answer))) {
            // Clients of v1 ask again for each message out of order: the answer that is under way is theirs.
        } else if waiting.is_some_and(|waiting| waiting.len() >= MOST_WAITING) {
            self.refuse_answer(conn, &answer);
        } else {
            conn.replay.get_or_insert_default().answers.push_back(answer);
        }
    }

    /// What the answers with this number waited for has been carried out.
    pub(crate) fn settle<S>(&mut self, conn: &mut Connection<S>, visit: u64) {
        let Some(replay) = &mut conn.replay else { return };
        replay.answers.iter_mut().filter(|answer| answer.visit == visit).for_each(|answer| answer.visit = 0);
        self.answer_settled(conn);
    }

    /// Where the reading of a held topic begins.
    fn begin<S>(&mut self, conn: &mut Connection<S>, topic: &Arc<Topic>, start: Start) -> Fate {
        let shared = Arc::clone(&self.shared);
        let (Some(log), Some(logs)) = (topic.log(), shared.topics.logs()) else {
            return if matches!(start, Start::Behind(_)) { Fate::Lost } else { Fate::Live };
        };
        let (now, limits) = (self.now.millis, logs.limits());
        let reached = self.reached(conn, topic);
        let is_running = conn.replay.as_ref().is_some_and(|replay| replay.has(topic));
        let Some(held) = conn.held_mut(topic) else {
            return Fate::Lost;
        };
        let mut ring = log.lock();
        let wanted = match start {
            Start::Now => return Fate::Live,
            Start::Behind(position) => ring.locate(position),
            Start::Last(most) => Some(ring.last(most, topic.seen(self.index), now, limits)),
        };
        let Some(next) = wanted else { return Fate::Lost };
        if next >= held.since(reached) {
            // It was sent what followed, or the cursor that runs will bring it.
            if is_running {
                return Fate::Running { from: next };
            }
            if next <= reached + 1 {
                return if matches!(start, Start::Last(_)) {
                    Fate::Sent { count: 0 }
                } else {
                    Fate::Recovered { count: 0 }
                };
            }
        } else if !ring.reaches(next, now, limits) {
            return Fate::Lost;
        }
        held.begin(next);
        drop(ring);
        self.read_from(conn, topic, next);
        Fate::Running { from: next }
    }

    /// Tells who asked what became of it.
    pub(crate) fn give_answer<S>(&mut self, conn: &mut Connection<S>, answer: &Answer) {
        let stands = answer.taken.iter().filter_map(|taken| self.stand(conn, taken)).collect::<Vec<_>>();
        let request = match answer.asker {
            Asker::Client => return self.answer_client(conn, answer, &stands),
            Asker::Application(request) => request,
        };
        self.reply(Reply::Subscribed { request, refused: answer.failed.clone(), stands });
    }

    /// Where a connection stands in a topic that it took; `None`: that has no log, and nobody asked for it.
    fn stand<S>(&self, conn: &Connection<S>, taken: &Taken) -> Option<Stand> {
        let (recovered, count) = match taken.fate {
            Fate::Live => (None, None),
            Fate::Recovered { count } => (Some(true), Some(count)),
            Fate::Sent { count } => (None, Some(count)),
            // Nobody waits to see what a running one comes to.
            Fate::Running { .. } | Fate::Lost => (Some(false), Some(0)),
        };
        let position = self.place(conn, &taken.topic);
        let is_told = position.is_some() || recovered.is_some();
        is_told.then(|| Stand { topic: taken.topic.name().into(), position, recovered, count })
    }

    fn answer_client<S>(&mut self, conn: &mut Connection<S>, answer: &Answer, stands: &[Stand]) {
        let succeeded = answer.taken.iter().map(|taken| taken.topic.name()).collect::<Vec<_>>();
        let failed = answer.failed.iter().map(String::as_str).collect::<Vec<_>>();
        let mut positions = stands.iter().map(Stand::written).collect::<Vec<_>>();
        if self.shared.config.recovery.is_some() {
            positions.extend(failed.iter().map(|topic| TopicPosition::none(topic)));
        }
        let update = SubscriptionUpdate::new(Action::Subscribe, &succeeded, &failed);
        self.say_place(conn, answer.lane, &update.with_positions(&positions));
        if !failed.is_empty() {
            self.tell_refused(conn, &failed);
        }
    }

    /// Too many requests wait already.
    fn refuse_answer<S>(&mut self, conn: &mut Connection<S>, answer: &Answer) {
        match answer.asker {
            Asker::Client => {
                self.say_error(conn, Code::InvalidSubscription, "too many requests wait for their topics");
            }
            Asker::Application(_) => self.give_answer(conn, answer),
        }
    }

    /// Names the topics of a request that were refused.
    pub(crate) fn tell_refused<S>(&mut self, conn: &mut Connection<S>, failed: &[&str]) {
        let message = "these topics may not be subscribed to, are no topics or are too many";
        self.note(conn, Event::Fault(Fault::Wire(Code::SubscriptionFailed)));
        let error = Error::new(Code::SubscriptionFailed, message, self.timestamp());
        // They are named twice.
        let mut room = NAMED_BYTES;
        let named = failed.iter().take_while(|name| {
            let fits = name.len() <= room;
            room = room.saturating_sub(name.len());
            fits
        });
        let named = named.count();
        self.say_in(conn, Priority::default(), &error.with_topics(&failed[..named]));
    }

    /// The connection ends: whoever waits for topics learns that it holds none.
    pub(crate) fn abandon_answers(&mut self, replay: &Replay) {
        for answer in &replay.answers {
            if let Asker::Application(request) = answer.asker {
                let taken = answer.taken.iter().map(|taken| taken.topic.name().to_owned());
                let refused = taken.chain(answer.failed.iter().cloned()).collect();
                self.reply(Reply::Subscribed { request, refused, stands: Vec::new() });
            }
        }
    }
}

impl Stand {
    /// As clients read it.
    pub fn written(&self) -> TopicPosition<'_> {
        TopicPosition {
            topic: &self.topic,
            epoch: self.position.map(|position| position.epoch),
            offset: self.position.map(|position| position.offset),
            recovered: self.recovered,
            count: self.count,
        }
    }
}
