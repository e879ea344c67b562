//! What a connection may hold: judged when it takes a topic, and again when the rules or its claims change
//! (PROTOCOL §8).
//!
//! Who may have what is said by [`wse_protocol::rules`]; what only the application can say is asked by `questions`.
//! Nothing is looked at when a publication is delivered: what is held is allowed.

use crate::auth::Identity;
use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::questions::Question;
use crate::topics::Topic;
use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use wse_protocol::glob::{is_glob, matches};
use wse_protocol::message::{Action, SubscriptionUpdate};
use wse_protocol::priority::Priority;
use wse_protocol::rules::{Grants, Verdict};
use wse_protocol::topic::{MAX_LEN, is_safe_id};

/// Where the option `subscribeOnConnect` has the user's id.
const ID: &str = "{id}";

/// Bytes of a glob that are as much work as a message.
const GLOB_BYTES: usize = 32;

/// By whose word a connection holds a topic, from the one that ends soonest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The rules': as long as they grant it.
    Rules,
    /// The `authorize` hook's: as long as it grants it, and nothing denies it.
    Hook,
    /// The application's, also by a token: as long as nothing denies it.
    Application,
}

/// A topic, or a glob, that a connection holds.
#[derive(Debug, Clone)]
pub struct Held {
    topic: Arc<Topic>,
    /// The lower half of [`Held::since`], so that it takes no more room.
    since: u32,
    /// By whose word.
    pub by: Source,
}

impl Held {
    /// `topic`, held by the word of `by`; the first publication is the one behind `reached`.
    pub fn new(topic: Arc<Topic>, by: Source, reached: u64) -> Self {
        Self { topic, since: (reached + 1) as u32, by }
    }

    /// Whether all that is published to the topic `name` comes to who holds it: it is that topic, or a glob.
    pub fn brings(&self, name: &str) -> bool {
        self.group().is_none() && (self.name() == name || matches(self.name(), name))
    }

    /// The number of the publication from which on the connection was sent all, up to `reached`, or will be.
    pub fn since(&self, reached: u64) -> u64 {
        (reached + 1).saturating_sub(((reached + 1) as u32).wrapping_sub(self.since).into())
    }

    /// From the publication `next` on the connection is sent all, whatever it was sent before.
    pub fn begin(&mut self, next: u64) {
        self.since = next as u32;
    }
}

impl Deref for Held {
    type Target = Arc<Topic>;

    fn deref(&self) -> &Arc<Topic> {
        &self.topic
    }
}

/// What is known of a connection's rights beside the rules; most connections need none of it.
#[derive(Debug, Default)]
pub struct Access {
    /// What its claims say of topics.
    pub(crate) grants: Option<Grants>,
    /// The claims, where there is a hook that wants to see them.
    pub(crate) claims: Option<Arc<str>>,
    /// What waits for the hook, in the order of its requests.
    pub(crate) questions: VecDeque<Question>,
    /// The number of the last question.
    pub(crate) asked: u32,
}

impl Core {
    /// Takes over what the claims of a connection say of topics.
    pub(crate) fn take_grants<S>(&self, conn: &mut Connection<S>, identity: &Identity) {
        let grants = Grants::read(&identity.claims);
        let claims = self.shared.config.authorize.then(|| identity.claims.as_str().into());
        if grants.is_some() || claims.is_some() || conn.access.is_some() {
            let access = conn.access.get_or_insert_default();
            (access.grants, access.claims) = (grants, claims);
        }
    }

    /// What the rules say of a topic or glob that the client asks for.
    pub(crate) fn judge<S>(&self, conn: &Connection<S>, name: &str) -> Verdict {
        self.rules.judge(conn.user().map(|user| &**user), conn.grants(), name)
    }

    /// Whether the application may have the connection hold a topic or glob.
    pub(crate) fn may_be_given<S>(&self, conn: &Connection<S>, name: &str) -> bool {
        self.rules.application_may(conn.grants(), name)
    }

    /// By whose word the client may have a topic or glob that it asks for; `None`: it may not. `answered` are those that
    /// the hook has granted, `granted` those of tokens; both sorted.
    pub(crate) fn source<S>(
        &self,
        conn: &Connection<S>,
        name: &str,
        answered: &[String],
        granted: &[String],
    ) -> Option<Source> {
        let is_among = |names: &[String]| names.binary_search_by(|it| it.as_str().cmp(name)).is_ok();
        match self.judge(conn, name) {
            Verdict::Granted => Some(Source::Rules),
            _ if is_among(granted) && !is_glob(name) && self.may_be_given(conn, name) => {
                Some(Source::Application)
            }
            Verdict::Open if is_among(answered) => Some(Source::Hook),
            verdict if self.is_granted_by_ticket(conn, name) && self.may_be_given(conn, name) => {
                // It does not say by whose word the topic was held; where there is a hook, that is asked with new claims.
                let may_be_hooks = verdict == Verdict::Open && self.shared.config.authorize;
                Some(if may_be_hooks { Source::Hook } else { Source::Application })
            }
            Verdict::Open | Verdict::Refused => None,
        }
    }

    /// Whether a name may be looked at now. To compare a glob with the rules is work that grows with its length: each
    /// [`GLOB_BYTES`] count as a message against the connection's rate.
    pub(crate) fn may_look<S: Socket>(&mut self, conn: &mut Connection<S>, name: &str) -> bool {
        let is_compared = is_glob(name) && name.len() <= MAX_LEN;
        !is_compared || (0..name.len().div_ceil(GLOB_BYTES)).all(|_| self.is_within_rate(conn))
    }

    /// Subscribes a connection by its own wish, without a word, where the rules or the hook's answer grant the topic;
    /// `false`: refused.
    pub(crate) fn subscribe<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        name: &str,
        answered: &[String],
    ) -> bool {
        self.source(conn, name, answered, &[]).is_some_and(|by| {
            let topic = self.shared.topics.want(name, self.index);
            self.hold(conn, &topic, by)
        })
    }

    /// Subscribes a connection to what everyone has from the start, without a word.
    pub(crate) fn give_topics<S: Socket>(&mut self, conn: &mut Connection<S>) {
        let shared = Arc::clone(&self.shared);
        for template in &shared.config.subscribe_on_connect {
            let name = match conn.user().filter(|_| template.contains(ID)) {
                Some(user) if is_safe_id(user) => template.replace(ID, user),
                None if !template.contains(ID) => template.clone(),
                _ => continue,
            };
            if self.may_be_given(conn, &name) {
                let topic = shared.topics.want(&name, self.index);
                self.hold(conn, &topic, Source::Application);
            }
        }
    }

    /// Ends the subscriptions that are no longer allowed, and tells the client.
    pub(crate) fn review<S>(&mut self, conn: &mut Connection<S>) {
        let is_lost = |held: &&Held| match held.by {
            Source::Rules => self.judge(conn, held.name()) != Verdict::Granted,
            Source::Hook => self.judge(conn, held.name()) == Verdict::Refused,
            Source::Application => !self.may_be_given(conn, held.name()),
        };
        let lost = conn.topics.iter().filter(is_lost).map(|held| held.name().to_owned()).collect();
        self.take_away(conn, lost);
    }

    /// Looks again at what a connection holds whose claims have changed. What the hook granted stays until it is asked
    /// again.
    pub(crate) fn review_claims<S: Socket>(&mut self, conn: &mut Connection<S>) {
        self.review(conn);
        self.ask_again(conn);
    }

    /// Ends subscriptions, and tells the client which and that it may not have them.
    pub(crate) fn take_away<S>(&mut self, conn: &mut Connection<S>, lost: Vec<String>) {
        let names = lost.iter().map(String::as_str);
        let (left, _) = self.leave(conn, names);
        if !left.is_empty() && conn.is_open() {
            self.tell_left(conn, &left, &[]);
            self.tell_refused(conn, &left.iter().map(|(_, name)| *name).collect::<Vec<_>>());
        }
    }

    /// Ends subscriptions. Returns those by the lanes of their topics, from the lowest, and what was not held.
    pub(crate) fn leave<'a, S>(
        &mut self,
        conn: &mut Connection<S>,
        names: impl Iterator<Item = &'a str>,
    ) -> (Vec<(Priority, &'a str)>, Vec<&'a str>) {
        let (mut left, mut unknown) = (Vec::new(), Vec::new());
        for name in names {
            let held = conn.topics.iter().find(|held| held.name() == name);
            match held.map(|held| held.policy().priority) {
                Some(lane) => {
                    self.unsubscribe(conn, name);
                    left.push((lane, name));
                }
                None => unknown.push(name),
            }
        }
        left.sort_by_key(|(lane, _)| *lane);
        (left, unknown)
    }

    /// Tells the client what it holds no longer: behind what was published there, so once for each lane concerned. What
    /// it does not hold in any case is named with the first of them.
    pub(crate) fn tell_left<S>(
        &mut self,
        conn: &mut Connection<S>,
        left: &[(Priority, &str)],
        mut unknown: &[&str],
    ) {
        let names = left.iter().map(|(_, name)| *name).collect::<Vec<_>>();
        let mut rest = &names[..];
        let lanes = left.chunk_by(|(one, _), (other, _)| one == other).map(|alike| (alike[0].0, alike.len()));
        let nothing = left.is_empty().then_some((Priority::default(), 0));
        for (lane, count) in lanes.chain(nothing) {
            let (names, others) = rest.split_at(count);
            rest = others;
            let unknown = std::mem::take(&mut unknown);
            self.say_in(conn, lane, &SubscriptionUpdate::new(Action::Unsubscribe, names, unknown));
        }
    }

    /// Whether there is room for one more subscription of the connection, to this topic or glob.
    pub(crate) fn has_room<S>(&self, conn: &Connection<S>, topic: &Topic) -> bool {
        let config = &self.shared.config;
        let is_within = |most: usize, count: usize| most == 0 || count < most;
        let globs = || conn.topics.iter().filter(|held| is_glob(held.name())).count();
        is_within(config.max_subscriptions, conn.topics.len())
            && (!is_glob(topic.name()) || is_within(config.max_globs, globs()))
    }
}
