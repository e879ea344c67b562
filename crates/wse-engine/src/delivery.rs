//! What leaves: queued for the turn, written once, and kept when the kernel refuses it.

use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::deflate::Deflate;
use crate::encoding::Codecs;
use crate::frame::{FRAME_WEIGHT, Frame, Lack, Other, Payload};
use crate::log::{Event, Overload};
use crate::metrics::count;
use crate::outbound::{Missed, Outcome, Reason, Terms};
use crate::speech::{FORMS, Speech};
use crate::topics::Topic;
use crate::turn::Pending;
use std::io::ErrorKind;
use std::sync::Arc;
use wse_protocol::compress::Format;
use wse_protocol::envelope::Dialect;
use wse_protocol::priority::Priority;

/// What a backlog writes at once.
const BACKLOG_WRITE: usize = 64 << 10;

/// One publication of a turn, and its number there for each form that was wanted so far.
pub struct Publication {
    /// As it was made.
    pub frame: Frame,
    /// The topic, if it was published to one.
    pub topic: Option<Arc<Topic>>,
    numbers: [Option<u32>; FORMS],
    /// What those get, in each dialect, for whom the memory budget had no room.
    gaps: [Option<u32>; 2],
    /// The same for those with permessage-deflate: how they speak, and the window.
    deflated: Vec<(usize, Format, u32)>,
}

impl Publication {
    /// A publication that nobody has got yet.
    pub fn new(frame: Frame, topic: Option<Arc<Topic>>) -> Self {
        Self { frame, topic, numbers: [None; FORMS], gaps: [None; 2], deflated: Vec::new() }
    }

    fn number(&self, form: usize, format: Option<Format>) -> Option<u32> {
        match format {
            None => self.numbers[form],
            Some(format) => {
                let known = self.deflated.iter().find(|known| (known.0, known.1) == (form, format));
                known.map(|known| known.2)
            }
        }
    }

    fn set_number(&mut self, form: usize, format: Option<Format>, number: u32) {
        match format {
            None => self.numbers[form] = Some(number),
            Some(format) => self.deflated.push((form, format, number)),
        }
    }
}

impl Core {
    /// Queues a publication for a connection, in the way that it speaks. `false`: that cannot be.
    pub fn publish<S: Socket>(&mut self, conn: &mut Connection<S>, publication: &mut Publication) -> bool {
        // Somebody who speaks alike has had it.
        if conn.secrecy.is_none()
            && conn.deflate.is_none()
            && let Some(number) = publication.numbers[conn.speech.form()]
        {
            self.queue(conn, number);
            return true;
        }
        if conn.is_sealed() {
            return self.publish_sealed(conn, publication);
        }
        let form = conn.speech.form();
        let format = conn.deflate.as_ref().and_then(|deflate| deflate.shared());
        let number = match publication.number(form, format) {
            Some(number) => number,
            None => {
                let frame = match self.spoken(&publication.frame, conn.speech) {
                    Ok(frame) => frame,
                    Err(lack) => return self.miss(conn, publication, lack),
                };
                let frame = match format {
                    Some(format) => self.deflated(&frame, format),
                    None => frame,
                };
                let number = self.turn.add(frame, publication.topic.clone(), conn.form());
                publication.set_number(form, format, number);
                number
            }
        };
        self.queue(conn, number);
        true
    }

    /// The frame as `speech` wants it: encoded once for all who speak like that, whatever shard they are on.
    pub(crate) fn spoken(&mut self, frame: &Frame, speech: Speech) -> Result<Frame, Lack> {
        let plain = match speech.dialect() {
            Dialect::V2 => self.signed(frame)?,
            Dialect::V1 => frame.clone(),
        };
        if speech.form() == 0 {
            return Ok(plain);
        }
        // A signature is the last member: the others are where they were.
        let Some(envelope) = frame.envelope().and_then(|it| it.with_text(plain.payload())) else {
            return Ok(plain);
        };
        let other = frame.other(speech.form(), || {
            let json = speech.as_json();
            let is_json = json.form() == speech.form();
            let encoded =
                if is_json { Some(Codecs::json_v1(envelope)) } else { self.codecs.encode(envelope, speech) };
            let (opcode, bytes) = match encoded {
                Some(encoded) => encoded,
                None if json.form() == 0 => return Other::Same,
                None => return self.spoken(frame, json).map_or_else(Other::Refused, Other::Encoded),
            };
            match self.shared.charge(bytes.capacity() + FRAME_WEIGHT) {
                Some(charge) => {
                    let payload = Payload::new(opcode, bytes, None, Some(charge));
                    Other::Encoded(payload.standing(frame.standing()).into_frame(None).0)
                }
                None => Other::Refused(Lack::Room),
            }
        });
        match other {
            Other::Same => Ok(plain),
            Other::Encoded(frame) => Ok(frame.clone()),
            Other::Refused(lack) => Err(*lack),
        }
    }

    /// The frame as JSON of v2: signed once for all, where its type asks for that, by whoever needs it first.
    fn signed(&self, frame: &Frame) -> Result<Frame, Lack> {
        let Some(signing) = &self.shared.config.signing else { return Ok(frame.clone()) };
        let Some(envelope) = frame.envelope() else { return Ok(frame.clone()) };
        let signed = frame.other(0, || match signing.sign(envelope.text, self.timestamp()) {
            Ok(None) => Other::Same,
            Ok(Some(text)) => match self.shared.charge(text.len() + FRAME_WEIGHT) {
                Some(charge) => Other::Encoded(frame.with_text(text.as_bytes(), Some(charge))),
                None => Other::Refused(Lack::Room),
            },
            Err(error) => {
                self.shared.note_unsigned(error);
                Other::Refused(Lack::Signature)
            }
        });
        match signed {
            Other::Same => Ok(frame.clone()),
            Other::Encoded(signed) => Ok(signed.clone()),
            Other::Refused(lack) => Err(*lack),
        }
    }

    /// A connection does not get a publication that lacks something, and is told so: by one message for all who miss
    /// it, which leaves whatever the memory budget says. Always `false`.
    pub(crate) fn miss<S>(
        &mut self,
        conn: &mut Connection<S>,
        publication: &mut Publication,
        lack: Lack,
    ) -> bool {
        self.shared.desks[self.index].seats.miss(conn.key, 1);
        if lack == Lack::Room {
            count(&self.shared.metrics.budget_refused_total, 1);
            self.note(conn, Event::Overload(Overload::Memory));
        }
        let reason = match lack {
            Lack::Room => Reason::Overload,
            Lack::Signature => Reason::Unsigned,
        };
        let (topic, priority) = (publication.topic.as_ref(), publication.frame.standing().priority);
        let index = publication.frame.index();
        if let Some(topic) = topic.filter(|_| index != 0)
            && let Some(held) = conn.held_mut(topic)
        {
            // It may ask for it again.
            held.begin(index + 1);
        }
        let lane = topic.map_or(priority, |topic| topic.policy().priority);
        let missed = || {
            let offsets = publication.frame.offset().map(|offset| (offset, offset));
            Missed { topic: topic.cloned(), lane, reason, count: 1, offsets }
        };
        if let Some(backlog) = &mut conn.backlog {
            backlog.miss(missed());
            return false;
        }
        let dialect = conn.speech.dialect();
        let number = match publication.gaps[dialect as usize] {
            Some(number) => number,
            None => {
                let frame = self.gap(dialect, &missed());
                let number = self.turn.add(frame, None, dialect as usize);
                *publication.gaps[dialect as usize].insert(number)
            }
        };
        self.queue(conn, number);
        false
    }

    /// Queues a message of this turn for a connection, behind what waits.
    pub fn queue<S>(&mut self, conn: &mut Connection<S>, number: u32) {
        if conn.backlog.is_none() {
            if conn.pending.is_none() {
                self.dirty.push(conn.key.slot() as u32);
            }
            return self.turn.queue(&mut conn.pending, number);
        }
        self.tell_holes(conn, number);
        let is_single = conn.is_sealed();
        let Some(backlog) = &mut conn.backlog else { return };
        let (frame, topic) = self.turn.frame(number);
        let limits = &self.shared.config.outbound;
        let terms = Terms { limits, now: self.now.millis, is_single, may_block: true };
        let (was_full, closes_at) = (backlog.full_since().is_some(), backlog.closes_at(limits));
        let outcome = backlog.push(frame, topic, &terms);
        let (is_full, refuses) = (backlog.full_since().is_some(), backlog.refuses());
        if backlog.closes_at(limits) != closes_at {
            self.schedule(conn);
        }
        if is_full {
            self.shared.desks[self.index].seats.set_refuses(conn.key, refuses);
        }
        match (was_full, is_full) {
            (false, true) => self.note(conn, Event::Overload(Overload::Outbound)),
            (true, false) => self.welcome(conn),
            _ => {}
        }
        self.give_up(conn, outcome);
    }

    /// A queue that was full has room again: nothing is refused at the door, and what was is to be told.
    fn welcome<S>(&self, conn: &mut Connection<S>) {
        let seats = &self.shared.desks[self.index].seats;
        seats.set_refuses(conn.key, None);
        let refused = seats.take_refused(conn.key);
        if let Some(backlog) = conn.backlog.as_mut().filter(|_| refused > 0) {
            let (lane, reason) = (Priority::default(), Reason::Slow);
            backlog.miss(Missed { topic: None, lane, reason, count: refused, offsets: None });
        }
    }

    /// What a connection has missed of a log is told before a later publication of it, the message of this number.
    fn tell_holes<S>(&mut self, conn: &mut Connection<S>, number: u32) {
        while let Some(backlog) = &mut conn.backlog
            && let (frame, Some(topic)) = self.turn.frame(number)
            && frame.index() != 0
            && let Some(hole) = backlog.take_hole(topic)
        {
            self.tell_gap(conn, hole);
        }
    }

    /// Something does not wait for a connection any more: what is in a log is read from there, the rest is lost.
    pub(crate) fn give_up<S>(&mut self, conn: &mut Connection<S>, outcome: Outcome) {
        self.lose(conn, outcome.lost);
        for (topic, index) in outcome.fallen_back {
            self.read_from(conn, &topic, index);
        }
    }

    /// Counts messages that a connection does not get.
    pub(crate) fn lose<S>(&self, conn: &Connection<S>, messages: u64) {
        if messages > 0 {
            count(&self.shared.metrics.outbound_refused_total, messages);
            self.shared.desks[self.index].seats.miss(conn.key, messages);
        }
    }

    /// Queues what the engine itself has to say, see [`crate::outbound::Outbound::tell`]; whether there was room.
    pub fn tell<S>(&mut self, conn: &mut Connection<S>, frame: Frame) -> bool {
        let is_single = conn.is_sealed();
        let Some(backlog) = &mut conn.backlog else {
            self.send_now(conn, frame);
            return true;
        };
        let limits = &self.shared.config.outbound;
        let terms = Terms { limits, now: self.now.millis, is_single, may_block: false };
        let is_queued = backlog.tell(&frame, &terms);
        count(&self.shared.metrics.outbound_refused_total, u64::from(!is_queued));
        is_queued
    }

    /// Queues one frame for one connection.
    pub fn send_now<S>(&mut self, conn: &mut Connection<S>, frame: Frame) {
        let number = self.turn.add(frame, None, conn.form());
        self.queue(conn, number);
    }

    /// Queues a control frame, before whatever waits.
    pub fn send_control<S>(&mut self, conn: &mut Connection<S>, frame: Frame) {
        if !conn.push_control(&frame) {
            self.send_now(conn, frame);
        }
    }

    /// Makes sure that the connection is looked at when the turn ends.
    pub(crate) fn touch<S>(&mut self, conn: &Connection<S>) {
        if conn.pending.is_none() {
            self.dirty.push(conn.key.slot() as u32);
        }
    }

    pub(crate) fn flush<S: Socket>(&mut self, conn: &mut Connection<S>) {
        let pending = std::mem::replace(&mut conn.pending, Pending::NONE);
        if !pending.is_none() {
            let is_member = conn.is_member;
            if is_member {
                self.complete(conn);
            }
            let (bytes, frames) = self.turn.bytes(pending);
            let (length, mut progress) =
                (bytes.len(), Progress { is_single: is_member, ..Progress::default() });
            if !conn.is_ended
                && write_all(&mut conn.socket, conn.deflate.as_deref_mut(), bytes, &mut progress).is_err()
            {
                self.end(conn);
            }
            count(&self.shared.metrics.bytes_sent_total, progress.written as u64);
            if is_member && progress.left < length {
                self.take_back(conn, pending, &progress);
            }
            if progress.written == length {
                count(&self.shared.metrics.messages_sent_total, frames);
            } else {
                self.park(conn, pending, progress.written);
            }
        }
        self.finish(conn);
    }

    /// What the kernel refused becomes the connection's backlog, except what another member of a group can have.
    pub(crate) fn park<S>(&mut self, conn: &mut Connection<S>, pending: Pending, mut written: usize) {
        let mut left = self.turn.chain(pending).peekable();
        let mut sent = 0;
        while let Some((frame, _)) = left.next_if(|(frame, _)| frame.bytes().len() <= written) {
            written -= frame.bytes().len();
            sent += 1;
        }
        count(&self.shared.metrics.messages_sent_total, sent);
        let begun = left.next_if(|_| written > 0);
        let is_member = conn.is_member;
        let others = left.filter(|(_, topic)| !(is_member && is_shared_out(*topic)));
        let mut lost = 0;
        let mut kept = begun.into_iter().chain(others).peekable();
        if !conn.is_ended && kept.peek().is_some() {
            let is_single = conn.is_sealed();
            lost = conn.backlog.get_or_insert_default().resume(kept, written, is_single);
            if !std::mem::replace(&mut conn.is_parked, true) {
                self.parked.push(conn.key);
            }
        } else {
            kept.for_each(drop);
        }
        self.lose(conn, lost);
        self.wait_behind(conn);
    }

    /// The socket takes bytes again.
    pub(crate) fn writable<S: Socket>(&mut self, conn: &mut Connection<S>, joined: &mut Vec<u8>) {
        if conn.backlog.is_some() {
            self.drain_backlog(conn, joined);
        } else if conn.has_unsent() {
            match conn.flush() {
                Ok(()) => self.finish(conn),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.end(conn),
            }
        }
        if conn.is_member {
            self.complete(conn);
            self.feed(conn);
        }
    }

    fn drain_backlog<S: Socket>(&mut self, conn: &mut Connection<S>, joined: &mut Vec<u8>) {
        let shared = Arc::clone(&self.shared);
        let limits = &shared.config.outbound;
        if conn.is_open() && conn.backlog.as_ref().is_some_and(|backlog| backlog.is_doomed()) {
            // That the queue drains now does not bring back what was lost.
            self.close_slow(conn);
        }
        let Some(backlog) = &mut conn.backlog else { return };
        let was_full = backlog.full_since().is_some();
        let mut has_completed = false;
        let expired = backlog.expire(self.now.millis, limits);
        loop {
            let next = backlog.next(joined, BACKLOG_WRITE);
            if next.is_empty() {
                break;
            }
            let asked = next.len();
            let deflate = conn.deflate.as_deref_mut();
            let mut progress = Progress::default();
            if write_all(&mut conn.socket, deflate, next, &mut progress).is_err() {
                return self.end(conn);
            }
            let taken = progress.written;
            count(&shared.metrics.bytes_sent_total, taken as u64);
            let completed = backlog.advance(taken, limits, self.now.millis);
            count(&shared.metrics.messages_sent_total, completed);
            has_completed |= completed > 0;
            if taken < asked {
                break;
            }
        }
        if was_full && backlog.full_since().is_none() {
            self.welcome(conn);
        }
        let Some(backlog) = &mut conn.backlog else { return };
        let news = backlog.take_missed();
        if backlog.is_empty() {
            conn.backlog = None;
            self.pull_soon(conn);
            if self.is_echo() {
                self.again.push(conn.key);
            }
        }
        if has_completed && conn.is_member {
            self.finish_begun(conn);
        }
        for missed in news {
            self.tell_gap(conn, missed);
        }
        self.lose(conn, expired);
        self.finish(conn);
    }
}

/// How far a write came.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes that the connection is rid of.
    pub(crate) written: usize,
    /// Those that the kernel has, as far as is known: what was written behind them may wait in TLS, or compressed.
    pub(crate) left: usize,
    /// Messages are compressed one at a time, so that it is known of each.
    pub(crate) is_single: bool,
}

/// Writes until everything is gone or the kernel refuses.
fn write_all<S: Socket>(
    socket: &mut S,
    mut deflate: Option<&mut Deflate>,
    bytes: &[u8],
    progress: &mut Progress,
) -> std::io::Result<()> {
    while progress.written < bytes.len() {
        let rest = &bytes[progress.written..];
        let taken = match &mut deflate {
            Some(deflate) => deflate.write(socket, rest, progress.is_single),
            None => socket.write(rest),
        };
        match taken {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => progress.written += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if !socket.has_unsent() && !deflate.as_ref().is_some_and(|deflate| deflate.has_unsent()) {
            progress.left = progress.written;
        }
    }
    Ok(())
}

/// Whether a message is one that a group's members share out among them.
pub(crate) fn is_shared_out(topic: Option<&Arc<Topic>>) -> bool {
    topic.is_some_and(|topic| topic.group().is_some())
}
