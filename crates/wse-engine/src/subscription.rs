//! What a client asks of topics, and what it is answered (PROTOCOL §8, §12).
//!
//! Reads the request; who may have which topic is the rules' to say, and
//! [`Core::take_up`]'s to carry out.

use crate::answer::{Asker, Start};
use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::recovery::Position;
use crate::topics::MAX_SUBSCRIPTIONS;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use wse_protocol::codes::Code;
use wse_protocol::envelope::Dialect;
use wse_protocol::message::Action;
use wse_protocol::ticket::Kind as TicketKind;

/// What an answer is longer than what it repeats of the request, in bytes.
const ANSWER_BYTES: usize = 512;
/// Bytes of a name that come back to who asked for it.
const SHOWN_BYTES: usize = 1_024;
/// Topics of a request that count as a message.
const TOPICS_OF_A_MESSAGE: usize = 16;
/// What the answer says of a topic's position, in bytes.
const POSITION_BYTES: usize = 96;

/// A client's request for topics (PROTOCOL §8).
#[derive(Deserialize)]
struct SubscriptionRequest<'a> {
    #[serde(default)]
    action: serde_json::Value,
    #[serde(default)]
    topics: serde_json::Value,
    /// What the application granted elsewhere (PROTOCOL §12).
    #[serde(default)]
    tokens: serde_json::Value,
    /// What its user is present with (PROTOCOL §10).
    #[serde(default, borrow)]
    presence: Option<&'a RawValue>,
    /// Whether the positions count.
    #[serde(default)]
    recover: bool,
    /// The last publication that the client has of each topic.
    #[serde(default)]
    recovery: serde_json::Map<String, serde_json::Value>,
    /// How many of the last publications a late joiner wants.
    #[serde(default)]
    history: serde_json::Value,
}

/// A position as clients write it, `{epoch, offset}`; `None`: it is none.
fn position(value: &serde_json::Value) -> Option<Position> {
    let epoch = value["epoch"].as_str().filter(|epoch| epoch.len() == 8)?;
    let is_hex = epoch.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let epoch = u32::from_str_radix(epoch, 16).ok().filter(|_| is_hex)?;
    Some(Position { epoch, offset: value["offset"].as_u64()? })
}

/// Tokens of one request for topics, at most.
const MAX_TOKENS: usize = 64;

impl Core {
    /// Subscribes and unsubscribes as a client asks, and answers once; where the application has to be asked, when it has
    /// answered.
    pub(crate) fn subscription<S: Socket>(&mut self, conn: &mut Connection<S>, payload: Option<&str>) {
        if self.is_within_rate_of_topics(conn, payload) && !self.has_to_wait(conn, payload) {
            self.carry_out(conn, payload, &[]);
        }
    }

    /// Whether the connection's rate has room for as many topics: each of them is looked for among all that are held, so
    /// [`TOPICS_OF_A_MESSAGE`] count as a message. All that may be saved up is enough for any request.
    fn is_within_rate_of_topics<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        payload: Option<&str>,
    ) -> bool {
        #[derive(Deserialize)]
        struct Length {
            topics: Vec<IgnoredAny>,
        }
        // As short as this none has many.
        let payload = payload.filter(|json| json.len() > TOPICS_OF_A_MESSAGE * r#""a","#.len());
        let length = payload.and_then(|json| serde_json::from_str::<Length>(json).ok());
        let more = length.map_or(0, |length| length.topics.len().saturating_sub(1) / TOPICS_OF_A_MESSAGE);
        let most = self.shared.config.rate.map_or(0, |rate| rate.burst.saturating_sub(1) as usize);
        (0..more.min(most)).all(|_| self.is_within_rate(conn))
    }

    /// Carries a request for topics out. `answered` are the topics that the application was asked about and has granted,
    /// sorted.
    pub(crate) fn carry_out<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        payload: Option<&str>,
        answered: &[String],
    ) {
        let request = payload.and_then(|json| serde_json::from_str::<SubscriptionRequest<'_>>(json).ok());
        let Some(request) = request else {
            return self.say_error(
                conn,
                Code::InvalidSubscription,
                "p is not an object with action and topics",
            );
        };
        let action = match request.action.as_str() {
            Some("subscribe") => Action::Subscribe,
            Some("unsubscribe") => Action::Unsubscribe,
            _ => return self.say_error(conn, Code::InvalidAction, "action is subscribe or unsubscribe"),
        };
        let most = self.shared.config.frame.max_message_bytes;
        let topics = request.topics.as_array().map(Vec::as_slice).unwrap_or_default();
        // With logs a topic is named twice.
        let length = payload.map_or(0, str::len);
        let positions =
            if self.shared.config.recovery.is_some() { length + topics.len() * POSITION_BYTES } else { 0 };
        if most != 0 && length + positions + ANSWER_BYTES > most {
            return self.say_error(conn, Code::InvalidSubscription, "no answer could name so much");
        }
        if topics.is_empty() || topics.len() > MAX_SUBSCRIPTIONS {
            return self.say_error(conn, Code::InvalidSubscription, "topics is a list of 1 to 1024 topics");
        }
        if action == Action::Unsubscribe {
            return self.unsubscribe_all(conn, topics);
        }
        let Ok(presence) = self.presence_of(conn, request.presence) else {
            return self.say_error(conn, Code::InvalidSubscription, "presence is an object");
        };
        // It is kept and told for each topic.
        let told = presence.as_ref().map_or(0, |data| data.get().len() * topics.len());
        if !self.is_within_rate_for(conn, told) {
            return;
        }
        let is_v2 = conn.speech.dialect() == Dialect::V2;
        let granted = if is_v2 { self.granted(conn, &request.tokens) } else { Some(Vec::new()) };
        let Some(granted) = granted else {
            let message = "tokens is a list of at most 64 tokens";
            return self.say_error(conn, Code::InvalidSubscription, message);
        };
        if !conn.is_open() {
            return;
        }
        let last = match &request.history {
            serde_json::Value::Null => None,
            _ if !is_v2 => None,
            history => match history.as_u64().and_then(|last| usize::try_from(last).ok()) {
                Some(last) => Some(last),
                None => return self.say_error(conn, Code::InvalidSubscription, "history is a whole number"),
            },
        };
        let (mut wanted, mut failed) = (Vec::new(), Vec::new());
        for topic in topics {
            let name = topic.as_str().unwrap_or_default();
            let start = if request.recover { request.recovery.get(name).map(position) } else { None };
            let start = match start {
                Some(None) => None,
                Some(Some(position)) => Some(Start::Behind(position)),
                None => Some(last.map_or(Start::Now, Start::Last)),
            };
            let by = if start.is_some() && self.may_look(conn, name) {
                self.source(conn, name, answered, &granted)
            } else {
                None
            };
            match start.zip(by) {
                Some((start, by)) => wanted.push((self.shared.topics.want(name, self.index), start, by)),
                // No answer is much larger than its request.
                None => failed.push(shown(name).to_owned()),
            }
        }
        self.take_up(conn, Asker::Client, wanted, failed, presence.as_ref());
    }

    /// Ends subscriptions as a client asks.
    fn unsubscribe_all<S: Socket>(&mut self, conn: &mut Connection<S>, topics: &[serde_json::Value]) {
        let names = topics.iter().map(|topic| topic.as_str().unwrap_or_default());
        let (left, unknown) = self.leave(conn, names);
        let unknown = unknown.into_iter().map(shown).collect::<Vec<_>>();
        self.tell_left(conn, &left, &unknown);
    }

    /// The topics of those `tokens` that are good for this connection; `None`: it is no list of tokens, or too long.
    ///
    /// A token of a user is good on each of the user's connections, one of nobody only where it was given.
    ///
    /// Each token counts as a message against the connection's rate: to look at one is as much work.
    fn granted<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        tokens: &serde_json::Value,
    ) -> Option<Vec<String>> {
        let tokens = match tokens {
            serde_json::Value::Null => return Some(Vec::new()),
            serde_json::Value::Array(tokens) if tokens.len() <= MAX_TOKENS => tokens,
            _ => return None,
        };
        let mut tokens = tokens.iter().map(|token| token.as_str()).collect::<Option<Vec<_>>>()?;
        tokens.sort_unstable();
        tokens.dedup();
        let id = self.shared.ids.id(conn.high, conn.key).0;
        let mut granted = Vec::new();
        for token in tokens {
            if !self.is_within_rate(conn) {
                break;
            }
            let user = conn.user().map(|user| &**user);
            let verdict = self.shared.config.tickets.verify(token, TicketKind::Topic, self.timestamp());
            let ticket = verdict.ok().filter(|ticket| {
                ticket.user_id.as_deref() == user && (user.is_some() || ticket.connection_id == id)
            });
            granted.extend(ticket.into_iter().flat_map(|ticket| ticket.topics));
        }
        granted.sort_unstable();
        Some(granted)
    }
}

/// What is said of a name: all of it, unless it is far longer than a topic can be.
fn shown(name: &str) -> &str {
    let most = name.len().min(SHOWN_BYTES);
    (0..4).find_map(|back| name.get(..most.saturating_sub(back))).unwrap_or_default()
}
