//! What a client asked for and only the application can grant: its requests wait, in their order, for the answer of the
//! `authorize` hook (PROTOCOL §8).
//!
//! The host asks the hook, and answers in time, also when the hook does not. Bounded: 16 requests of a connection with
//! 1024 topics for the hook, and their bytes count against the memory budget; what comes beyond is refused. Each topic for
//! the hook counts as a message against the connection's rate: to ask is as much work.

use crate::access::{Access, Held, Source};
use crate::budget::Charge;
use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::host::Reply;
use crate::topics::MAX_SUBSCRIPTIONS;
use serde::Deserialize;
use wse_protocol::codes::Code;
use wse_protocol::rules::Verdict;

/// Requests of one connection that may wait.
const MOST_WAITING: usize = 16;

/// What a request for topics asks for; one in another form is refused when it is carried out.
#[derive(Deserialize)]
struct Wish {
    action: String,
    topics: Vec<String>,
}

/// A request that waits: for its own answer, or behind one that does.
#[derive(Debug)]
pub struct Question {
    number: u32,
    purpose: Purpose,
    /// What the hook was asked about; nothing: it waits behind another one.
    topics: Vec<String>,
    /// What the hook has granted, sorted; `None`: it has not answered.
    granted: Option<Vec<String>>,
    _charge: Charge,
}

/// What the answer is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A request of the client: the payload of its message.
    Request(Option<Box<str>>),
    /// The topics of the upgrade's query: refused in silence.
    Query,
    /// Topics that the hook has granted to other claims.
    Review,
}

impl Access {
    /// Whether one more request may wait, with so many topics for the hook.
    fn has_room_for(&self, topics: usize) -> bool {
        let asked = self.questions.iter().filter(|question| !matches!(question.purpose, Purpose::Review));
        let asked = asked.map(|question| question.topics.len()).sum::<usize>();
        self.questions.len() < MOST_WAITING && asked + topics <= MAX_SUBSCRIPTIONS
    }
}

impl Core {
    /// Has a request for topics wait, where only the hook can say about some of them, or others wait before it; `false`:
    /// it need not wait.
    pub(crate) fn has_to_wait<S: Socket>(&mut self, conn: &mut Connection<S>, payload: Option<&str>) -> bool {
        if !self.shared.config.authorize {
            return false;
        }
        let wish = payload.and_then(|json| serde_json::from_str::<Wish>(json).ok());
        let topics = wish.filter(|wish| wish.action == "subscribe").map_or_else(Vec::new, |wish| wish.topics);
        // Longer ones are refused as a whole.
        let open = if topics.len() > MAX_SUBSCRIPTIONS { Vec::new() } else { self.open_topics(conn, topics) };
        let is_behind = conn.access.as_ref().is_some_and(|access| !access.questions.is_empty());
        let has_to_wait = is_behind || !open.is_empty();
        if has_to_wait && conn.is_open() {
            self.wait(conn, Purpose::Request(payload.map(Into::into)), open);
        }
        has_to_wait
    }

    /// Those of `names` that only the hook can grant, as many as the rate has room for.
    fn open_topics<S: Socket>(&mut self, conn: &mut Connection<S>, mut names: Vec<String>) -> Vec<String> {
        names.sort_unstable();
        names.dedup();
        names.retain(|name| {
            self.may_look(conn, name)
                && self.judge(conn, name) == Verdict::Open
                && !self.is_granted_by_ticket(conn, name)
                && self.is_within_rate(conn)
        });
        names
    }

    /// Subscribes a connection to topics that its request's query names, of which the first count, as many as in any other
    /// request; what is refused stays silent.
    pub(crate) fn take_query<S: Socket>(&mut self, conn: &mut Connection<S>, names: &[String]) {
        let names = &names[..names.len().min(MAX_SUBSCRIPTIONS)];
        for name in names {
            self.subscribe(conn, name, &[]);
        }
        if self.shared.config.authorize {
            let open = self.open_topics(conn, names.to_vec());
            if !open.is_empty() && conn.is_open() {
                self.wait(conn, Purpose::Query, open);
            }
        }
    }

    /// Has a request wait, and asks the hook about `open`, if that is anything.
    pub(crate) fn wait<S>(&mut self, conn: &mut Connection<S>, purpose: Purpose, open: Vec<String>) {
        let bytes = match &purpose {
            Purpose::Request(payload) => payload.as_ref().map_or(0, |payload| payload.len()),
            Purpose::Query | Purpose::Review => 0,
        };
        let bytes = bytes + size_of::<Question>() + open.iter().map(|topic| topic.len() + 24).sum::<usize>();
        let access = conn.access.get_or_insert_default();
        // A review is the server's own, and comes with a token, of which there are few in a second.
        let is_review = matches!(purpose, Purpose::Review);
        let has_room = is_review || access.has_room_for(open.len());
        let charge = self.shared.budget.charge(bytes).filter(|_| has_room);
        let Some(charge) = charge else { return self.turn_down(conn, purpose, open) };
        let question = Question { number: 0, purpose, topics: open, granted: None, _charge: charge };
        access.questions.push_back(question);
        let last = access.questions.len() - 1;
        self.put_to_hook(conn, last);
    }

    /// Puts the question at this place to the hook, under a new number: an answer to an earlier one counts no more.
    fn put_to_hook<S>(&mut self, conn: &mut Connection<S>, place: usize) {
        let (key, user) = (conn.key, conn.user().cloned());
        let id = self.shared.ids.id(conn.high, key);
        let Some(access) = &mut conn.access else { return };
        access.asked = access.asked.wrapping_add(1);
        let number = access.asked;
        let question = &mut access.questions[place];
        question.number = number;
        question.granted = question.topics.is_empty().then(Vec::new);
        if !question.topics.is_empty() {
            let topics = question.topics.clone();
            let claims = access.claims.clone().unwrap_or_else(|| "{}".into());
            self.reply(Reply::Authorize { key, id, number, user, claims, topics });
        }
    }

    /// There is no room for a request to wait.
    fn turn_down<S>(&mut self, conn: &mut Connection<S>, purpose: Purpose, topics: Vec<String>) {
        match purpose {
            Purpose::Request(_) => {
                self.say_error(conn, Code::RateLimited, "too many requests for topics wait")
            }
            Purpose::Query => {}
            Purpose::Review => self.take_away(conn, topics),
        }
    }

    /// The hook's answer to a question: the topics that it grants.
    pub(crate) fn authorized<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        number: u32,
        mut granted: Vec<String>,
    ) {
        let Some(access) = &mut conn.access else { return };
        let asked = access.questions.iter_mut().find(|question| question.number == number);
        let Some(question) = asked else { return };
        granted.sort_unstable();
        question.granted = Some(granted);
        self.go_on(conn);
    }

    /// Carries out what waits, up to the first request whose answer has not come.
    fn go_on<S: Socket>(&mut self, conn: &mut Connection<S>) {
        while conn.is_open() {
            let Some(access) = &mut conn.access else { return };
            let Some(granted) = access.questions.front_mut().and_then(|first| first.granted.take()) else {
                return;
            };
            let Some(Question { purpose, mut topics, .. }) = access.questions.pop_front() else { return };
            match purpose {
                Purpose::Request(payload) => self.carry_out(conn, payload.as_deref(), &granted),
                Purpose::Query => {
                    for name in &granted {
                        self.subscribe(conn, name, &granted);
                    }
                }
                Purpose::Review => {
                    topics.retain(|topic| granted.binary_search(topic).is_err());
                    // What somebody else has granted meanwhile is not the hook's to take.
                    topics.retain(|name| {
                        conn.topics.iter().any(|held| held.by == Source::Hook && held.name() == name)
                    });
                    self.take_away(conn, topics);
                }
            }
        }
    }

    /// Asks the hook again about what waits and names one of these topics (`None`: about all that waits): the application
    /// has taken them away, and an answer from before could give them back.
    pub(crate) fn ask_anew<S>(&mut self, conn: &mut Connection<S>, topics: Option<&[String]>) {
        let Some(access) = &conn.access else { return };
        let is_meant = |name: &String| topics.is_none_or(|topics| topics.contains(name));
        let is_meant = |place: &usize| access.questions[*place].topics.iter().any(is_meant);
        let places = (0..access.questions.len()).filter(is_meant).collect::<Vec<_>>();
        places.into_iter().for_each(|place| self.put_to_hook(conn, place));
    }

    /// Asks the hook again about what it has granted to a connection, whose claims have changed.
    pub(crate) fn ask_again<S: Socket>(&mut self, conn: &mut Connection<S>) {
        if !self.shared.config.authorize {
            return;
        }
        if let Some(user) = conn.user().cloned() {
            self.reply(Reply::ClaimsChanged { user });
        }
        let is_granted = |held: &Held| self.judge(conn, held.name()) == Verdict::Granted;
        let granted = conn.topics.iter().map(is_granted).collect::<Vec<_>>();
        for (held, is_granted) in conn.topics.iter_mut().zip(granted) {
            // What the rules grant now is theirs to take.
            if held.by == Source::Hook && is_granted {
                held.by = Source::Rules;
            }
        }
        let granted = conn.topics.iter().filter(|held| held.by == Source::Hook);
        let granted = granted.map(|held| held.name().to_owned()).collect::<Vec<_>>();
        // What waits was asked of the claims before.
        let mut waiting =
            conn.access.as_mut().map(|access| std::mem::take(&mut access.questions)).unwrap_or_default();
        waiting.retain(|question| !matches!(question.purpose, Purpose::Review));
        for question in &mut waiting {
            question.topics.retain(|name| self.judge(conn, name) == Verdict::Open);
        }
        let places = waiting.len();
        conn.access.get_or_insert_default().questions = waiting;
        (0..places).for_each(|place| self.put_to_hook(conn, place));
        if !granted.is_empty() {
            self.wait(conn, Purpose::Review, granted);
        }
        self.go_on(conn);
    }
}
