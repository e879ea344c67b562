//! What the holders of a topic are told of its members: written once in each dialect, for all of them (PROTOCOL §10).
//!
//! Knows how a change is said, and how many fit into a message. Never decides when one is told.

use crate::connection::Socket;
use crate::core::Core;
use crate::delivery::Publication;
use crate::frame::{EnvelopeInfo, FRAME_WEIGHT, Frame, Lack, Payload, Standing};
use crate::id::message_id;
use crate::presence::Change;
use crate::shard::Shard;
use crate::topics::Hearers;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::{Arc, OnceLock};
use uuid::Uuid;
use wse_protocol::envelope::{Category, Dialect};
use wse_protocol::frame::OpCode;
use wse_protocol::message::{
    Batch, PresenceChange, PresenceDelta, PresenceKind, PresenceMember, write_publication,
};
use wse_protocol::priority::Priority;
use wse_protocol::request::MAX_BATCH;

/// It can be asked for anew, so it gives way to what is published.
const NEWS: Standing =
    Standing { priority: Priority::Low, is_own: false, is_news: true, key: None, expires: None, index: 0 };

/// What the holders of a topic are told, in the words of each dialect: written by whichever shard needs them first.
#[derive(Debug)]
pub struct News {
    /// Who hears of it.
    pub hearers: Hearers,
    changes: Vec<Change>,
    /// Whether they were gathered.
    is_gathered: bool,
    /// Members of the topic behind them.
    total: usize,
    /// `None`: the memory budget has no room for it.
    native: OnceLock<Option<Vec<Frame>>>,
    /// The same for version 1.
    old: OnceLock<Option<Vec<Frame>>>,
}

/// What the connections of a shard hear that speak alike.
enum Spoken {
    Whole(Vec<Publication>),
    /// A gap: there is no room for it.
    Missed(Box<Publication>),
}

impl News {
    /// Of a topic that has `total` members now.
    pub fn new(hearers: Hearers, changes: Vec<Change>, total: usize, is_gathered: bool) -> Self {
        let (native, old) = (OnceLock::new(), OnceLock::new());
        Self { hearers, changes, is_gathered, total, native, old }
    }
}

impl Core {
    /// What those hear who speak `dialect`; `None`: that they miss something.
    fn spoken_news<'a>(&mut self, news: &'a News, dialect: Dialect) -> Option<&'a [Frame]> {
        let frames = match dialect {
            Dialect::V2 => news.native.get_or_init(|| self.write_news(news, Dialect::V2)),
            Dialect::V1 => news.old.get_or_init(|| self.write_news(news, Dialect::V1)),
        };
        frames.as_deref()
    }

    fn write_news(&mut self, news: &News, dialect: Dialect) -> Option<Vec<Frame>> {
        if !news.is_gathered {
            let topic = (dialect == Dialect::V2).then(|| news.hearers.topic.name());
            return news
                .changes
                .iter()
                .map(|change| self.frame_of(change.kind.as_str(), &said(change, topic)))
                .collect();
        }
        let mut frames = Vec::new();
        let mut rest = &news.changes[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |change: &&Change| {
                bytes += change.weight();
                bytes <= self.member_bytes()
            };
            let fitting = rest.iter().take(MAX_BATCH).take_while(fits).count().max(1);
            let (now, later) = rest.split_at(fitting);
            rest = later;
            frames.push(match dialect {
                Dialect::V2 => self.frame_of(PresenceDelta::TYPE, &delta(news, now))?,
                Dialect::V1 => {
                    let messages = now.iter().map(|change| self.old_message(change)).collect();
                    self.frame_of(Batch::TYPE, &Batch { messages })?
                }
            });
        }
        Some(frames)
    }

    fn old_message(&mut self, change: &Change) -> Box<RawValue> {
        let mut text = Vec::with_capacity(change.weight());
        let id = self.message_id();
        write_publication(change.kind.as_str(), &said(change, None), &id, self.timestamp(), &mut text);
        let members = Dialect::V2.members(Category::Wse).len();
        let rest = String::from_utf8_lossy(&text[1 + members..]);
        let text = format!("{{{}{rest}", Dialect::V1.members(Category::Wse));
        RawValue::from_string(text).expect("what was written as JSON is JSON")
    }

    fn frame_of(&mut self, kind: &str, payload: &impl Serialize) -> Option<Frame> {
        let mut bytes = Payload::room(512);
        write_publication(kind, payload, &self.message_id(), self.timestamp(), &mut bytes);
        let charge = self.shared.charge(bytes.capacity() + FRAME_WEIGHT)?;
        let envelope = Some(EnvelopeInfo { category: Category::Wse, has_seq: true });
        Some(Payload::new(OpCode::Text, bytes, envelope, Some(charge)).standing(NEWS).into_frame(None).0)
    }

    fn message_id(&mut self) -> Uuid {
        message_id(self.now.unix_ms, &mut self.random)
    }
}

impl<S: Socket> Shard<S> {
    /// Tells the connections of this shard that hold the topic; the bytes that it puts into the turn.
    pub(crate) fn tell_news(&mut self, news: &News) -> usize {
        let Self { slab, core, .. } = self;
        let mut spoken: [Option<Spoken>; 2] = [None, None];
        let mut bytes = 0;
        let index = core.index;
        let mut marks = std::mem::take(&mut core.marks);
        news.hearers.for_each(index, &mut marks, |slot| {
            let Some(conn) = slab.get_mut(slot as usize) else { return };
            let dialect = conn.speech.dialect();
            let mut publication = |frame: Frame| {
                bytes += frame.bytes().len();
                Publication::new(frame, Some(Arc::clone(&news.hearers.topic)))
            };
            let spoken =
                spoken[dialect as usize].get_or_insert_with(|| match core.spoken_news(news, dialect) {
                    Some(frames) => Spoken::Whole(frames.iter().cloned().map(publication).collect()),
                    None => {
                        let nothing = Payload::of(OpCode::Text, b"", None).standing(NEWS);
                        Spoken::Missed(Box::new(publication(nothing.into_frame(None).0)))
                    }
                });
            match spoken {
                Spoken::Whole(publications) => publications.iter_mut().for_each(|publication| {
                    core.publish(conn, publication);
                }),
                Spoken::Missed(publication) => {
                    core.miss(conn, publication, Lack::Room);
                }
            }
        });
        core.marks = marks;
        bytes
    }
}

fn said<'a>(change: &'a Change, topic: Option<&'a str>) -> PresenceChange<'a> {
    PresenceChange { user_id: &change.user, data: &change.data, topic }
}

fn delta<'a>(news: &'a News, changes: &'a [Change]) -> PresenceDelta<'a> {
    let of = |kind| changes.iter().filter(move |change| change.kind == kind);
    let members = |kind| {
        let members = of(kind).map(|change| PresenceMember { user_id: &change.user, data: &change.data });
        members.collect::<Vec<_>>()
    };
    PresenceDelta {
        topic: news.hearers.topic.name(),
        joined: members(PresenceKind::Join),
        left: of(PresenceKind::Leave).map(|change| &*change.user).collect(),
        updated: members(PresenceKind::Update),
        total: news.total,
    }
}
