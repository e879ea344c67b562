//! What a client asks of topics, and what it is answered (PROTOCOL §8, §12).
//!
//! Reads the request and names what became of each topic; who may have which is the rules' to say, and
//! [`Core::subscribe`]'s to carry out.

use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::log::{Event, Fault};
use crate::topics::MAX_SUBSCRIPTIONS;
use serde::Deserialize;
use serde_json::value::RawValue;
use wse_protocol::codes::Code;
use wse_protocol::envelope::Dialect;
use wse_protocol::message::{Action, Error, SubscriptionUpdate};
use wse_protocol::priority::Priority;
use wse_protocol::ticket::Kind as TicketKind;

/// What an answer is longer than what it repeats of the request, in bytes.
const ANSWER_BYTES: usize = 512;
/// Bytes of a name that come back to who asked for it.
const SHOWN_BYTES: usize = 1_024;
/// Bytes of refused topics that an error names.
const NAMED_BYTES: usize = 64 << 10;

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
}

/// Tokens of one request for topics, at most.
const MAX_TOKENS: usize = 64;

impl Core {
    /// Subscribes and unsubscribes as a client asks, and answers once; where the application has to be asked, when it has
    /// answered.
    pub(crate) fn subscription<S: Socket>(&mut self, conn: &mut Connection<S>, payload: Option<&str>) {
        if !self.has_to_wait(conn, payload) {
            self.carry_out(conn, payload, &[]);
        }
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
        if most != 0 && payload.map_or(0, str::len) + ANSWER_BYTES > most {
            return self.say_error(conn, Code::InvalidSubscription, "no answer could name so much");
        }
        let topics = request.topics.as_array().map(Vec::as_slice).unwrap_or_default();
        if topics.is_empty() || topics.len() > MAX_SUBSCRIPTIONS {
            return self.say_error(conn, Code::InvalidSubscription, "topics is a list of 1 to 1024 topics");
        }
        let presence = request.presence.filter(|_| action == Action::Subscribe);
        let Ok(presence) = self.presence_of(conn, presence) else {
            return self.say_error(conn, Code::InvalidSubscription, "presence is an object");
        };
        let granted = match (action, conn.speech.dialect()) {
            (Action::Subscribe, Dialect::V2) => self.granted(conn, &request.tokens),
            _ => Some(Vec::new()),
        };
        let Some(granted) = granted else {
            let message = "tokens is a list of at most 64 tokens";
            return self.say_error(conn, Code::InvalidSubscription, message);
        };
        if !conn.is_open() {
            return;
        }
        let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
        for topic in topics {
            let name = topic.as_str().unwrap_or_default();
            let is_done = match action {
                Action::Subscribe => {
                    let by = if self.may_look(conn, name) {
                        self.source(conn, name, answered, &granted)
                    } else {
                        None
                    };
                    by.is_some_and(|by| {
                        let topic = self.shared.topics.want(name, self.index);
                        self.hold(conn, &topic, by)
                    })
                }
                Action::Unsubscribe => self.unsubscribe(conn, name),
            };
            // No answer is much larger than its request.
            if is_done { succeeded.push(name) } else { failed.push(shown(name)) }
        }
        let update = SubscriptionUpdate::new(action, &succeeded, &failed);
        let has_attended = presence.is_some_and(|presence| {
            let topics = &self.shared.topics;
            let topics = succeeded.iter().filter_map(|name| topics.get(name)).collect::<Vec<_>>();
            self.attend(conn, &topics, &presence)
        });
        if has_attended {
            self.say_behind(conn, &update);
        } else {
            self.say_in(conn, Priority::default(), &update);
        }
        if !failed.is_empty() && action == Action::Subscribe {
            self.tell_refused(conn, &failed, has_attended);
        }
    }

    /// Names topics that the client may not have; `is_behind`: behind what waits in the shard's mailbox.
    pub(crate) fn tell_refused<S>(&mut self, conn: &mut Connection<S>, failed: &[&str], is_behind: bool) {
        let message = "these topics may not be subscribed to, or are no topics";
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
        let error = error.with_topics(&failed[..named]);
        if is_behind {
            self.say_behind(conn, &error);
        } else {
            self.say_in(conn, Priority::default(), &error);
        }
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
