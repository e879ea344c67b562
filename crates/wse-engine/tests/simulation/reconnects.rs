//! Verifies that nobody misses, repeats or reorders a publication of a topic with a log, however often it is cut or sent
//! away and however slowly it reads, as far as the log reaches; and that beyond it nothing is missing in silence.
//!
//! Each person keeps a ledger: where it stands in every topic, by what it was told. Random runs, each from a seed, on one
//! server after the other: each is drained for the next, whose logs are others.

use crate::client::HEAD;
use crate::listener::Listener;
use crate::random::for_each_seed;
use crate::world::{World, settings, value};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use wse_engine::answer::Start;
use wse_engine::auth::Auth;
use wse_engine::config::{Compression, OutboundLimits, Recovery};
use wse_engine::recovery::Position;
use wse_engine::tickets::Tickets;
use wse_engine::{Config, ConnectionKey, Reply};
use wse_protocol::codes::close;
use wse_protocol::ticket::TicketKey;

const SEEDS: u64 = 1_000;
const STEPS: usize = 120;
const PEOPLE: usize = 5;
const TOPICS: [&str; 3] = ["alpha", "beta", "gamma"];
const TTL_MS: u64 = 5_000;
/// Publications of one step at most.
const MOST_AT_ONCE: usize = 7;
/// What the servers share.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// How people ask for each way of speaking.
const KINDS: [&str; 5] =
    ["", "protocol_version=1", "compression=true", "format=msgpack", "encryption=true&protocol_version=1"];

/// Epoch and offset; `None`: an epoch that the client has not seen a stamp of.
type Place = (Option<String>, u64);

/// One who comes back.
#[derive(Default)]
struct Person {
    user: String,
    kind: &'static str,
    listener: Option<Listener>,
    /// What it was given when it was sent away.
    ticket: Option<String>,
    /// Messages that are in the ledger.
    heard: usize,
    /// Where it stands, by topic.
    places: BTreeMap<String, Place>,
    /// Topics of which it was promised, when it asked, everything behind its place.
    promised: BTreeSet<String>,
    /// It has not read for a while: what was promised may have gone meanwhile.
    is_slow: bool,
}

/// What was published to a topic.
#[derive(Default)]
struct Story {
    /// By epoch and offset its number, and when.
    told: BTreeMap<(String, u64), (u64, u64)>,
    head: Place,
    /// The number of the last one on this server.
    last: u64,
}

impl Story {
    /// The number of the publication at `place`; of an epoch that the client has not seen it is the newest one.
    fn number(&self, (epoch, offset): &Place) -> Option<u64> {
        let epoch = epoch.as_ref().or(self.head.0.as_ref())?;
        self.told.get(&(epoch.clone(), *offset)).map(|(number, _)| *number)
    }
}

struct Run {
    world: World,
    random: fastrand::Rng,
    people: Vec<Person>,
    stories: BTreeMap<&'static str, Story>,
    published: u64,
    slots: usize,
}

fn config(random: &mut fastrand::Rng) -> Config {
    let mut one_of = |choices: &[usize]| choices[random.usize(..choices.len())];
    let outbound = OutboundLimits {
        max_messages: one_of(&[4, 20, 1_000]),
        max_bytes: one_of(&[0, 2_000]),
        slow_timeout_ms: one_of(&[0, 1_000]) as u64,
    };
    let slots = one_of(&[4, 16, 64]);
    let recovery =
        Recovery { slots, ttl_ms: TTL_MS, max_messages: 1, budget_bytes: 1 << 30, topics: vec!["*".into()] };
    let compression = Some(Compression { threshold_bytes: 150, level: 6 });
    let tickets = Tickets::new(Some(TicketKey::new(SECRET).expect("32 bytes")));
    let shards = one_of(&[1, 2]);
    let (recovery, auth) = (Some(recovery), Auth::Hook);
    Config { shards, outbound, recovery, auth, tickets, rate: None, compression, ..settings() }
}

/// A server, and how many publications its logs keep.
fn server(random: &mut fastrand::Rng) -> (World, usize) {
    let config = config(random);
    let slots = config.recovery.as_ref().map_or(0, |recovery| recovery.slots);
    (World::seeded(config, random.u64(..1 << 60)), slots)
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let (world, slots) = server(&mut random);
        let person =
            |n| Person { user: format!("user {n}"), kind: KINDS[n % KINDS.len()], ..Person::default() };
        let people = (0..PEOPLE).map(person).collect();
        let stories = TOPICS.iter().map(|topic| (*topic, Story::default())).collect();
        Self { world, random, people, stories, published: 0, slots }
    }

    fn step(&mut self) {
        let who = self.random.usize(..self.people.len());
        match self.random.u8(..100) {
            0..45 => self.publish(),
            45..55 => self.come(who),
            55..61 => self.cut(who),
            61..70 => self.read(who),
            70..73 => self.leave(who),
            73..76 => self.take(who),
            76..78 => self.lose(),
            78..86 => self.world.turn_and_sleep(self.random.usize(..2)),
            86..93 => self.world.settle(),
            93..98 => self.world.pass(self.random.u64(..300)),
            98 => self.world.pass(self.random.u64(..2 * TTL_MS)),
            _ => self.drain(),
        }
    }

    fn publish(&mut self) {
        let topic = TOPICS[self.random.usize(..TOPICS.len())];
        for _ in 0..self.random.usize(1..=MOST_AT_ONCE) {
            self.published += 1;
            let padding = self.random.usize(..200);
            assert!(self.world.publish_number(topic, self.published, padding));
            let found = self.world.shared.topics.get(topic).expect("what is published to is kept");
            let ring = found.log().expect("every topic has a log").lock();
            let position = ring.position(ring.head());
            let epoch = format!("{:08x}", position.epoch);
            let story = self.stories.get_mut(topic).expect("it has one");
            let is_new_epoch = story.head.0.as_ref() != Some(&epoch);
            assert_eq!(
                position.offset,
                if is_new_epoch { 1 } else { story.head.1 + 1 },
                "no offset is skipped"
            );
            let at = self.world.now().millis;
            story.told.insert((epoch.clone(), position.offset), (self.published, at));
            (story.head, story.last) = ((Some(epoch), position.offset), self.published);
        }
    }

    /// Connects, if it is away, and asks for its topics from where it stands.
    fn come(&mut self, who: usize) {
        self.listen(who);
        let is_over =
            |listener: &mut Listener| listener.client.is_gone() || listener.client.close_code().is_some();
        self.people[who].listener.take_if(is_over);
        if self.people[who].listener.is_some() {
            return self.ask(who);
        }
        let listener = self.connect(who);
        let person = &mut self.people[who];
        person.listener = Some(listener);
        (person.heard, person.is_slow) = (0, false);
        if self.random.u8(..3) == 0 { self.bring_back(who) } else { self.ask(who) }
    }

    /// A new connection. Who was sent away comes with its ticket, and nobody is asked who it is.
    fn connect(&mut self, who: usize) -> Listener {
        let Person { user, kind, ticket, .. } = &mut self.people[who];
        let client = match ticket.take() {
            Some(ticket) => {
                let client = self.world.accept();
                let fields = format!("Host: a\r\nSec-WebSocket-Protocol: wse.v2, wse.ticket.{ticket}\r\n");
                let head = HEAD.replace("Host: a\r\n", &fields).replace("/wse", &format!("/wse?{kind}"));
                client.write(head.as_bytes());
                client
            }
            None => self.world.knock_with(user, "", kind),
        };
        self.world.settle();
        assert_eq!(client.status(), 101);
        assert!(self.world.shared.users.connections(user).contains(&client.key()), "it is who it was");
        Listener::new(client).introduced(&mut self.world, kind)
    }

    /// Topics that it wants now, and the place in each that it has one in. What it is promised is written down: everything
    /// behind that place, if `more` publications at most come before somebody looks.
    fn wish(&mut self, who: usize, more: usize) -> Vec<(&'static str, Option<(String, u64)>)> {
        let wanted = TOPICS.iter().filter(|_| self.random.u8(..4) > 0).copied().collect::<Vec<_>>();
        self.listen(who);
        let now = self.world.now().millis;
        let epochs = TOPICS.map(|topic| self.epoch(topic));
        let epoch_of = |topic| TOPICS.iter().position(|it| *it == topic).and_then(|at| epochs[at].as_ref());
        let person = &mut self.people[who];
        let mut wishes = Vec::new();
        for topic in wanted {
            let place = person.places.get(topic).cloned();
            let place = place.and_then(|(epoch, offset)| Some((epoch?, offset)));
            let is_there = place.as_ref().is_some_and(|(epoch, offset)| {
                let story = &self.stories[topic];
                let missed = story.told.range((epoch.clone(), offset + 1)..=(epoch.clone(), u64::MAX));
                let is_fresh = missed.clone().all(|(_, (_, at))| at + TTL_MS > now);
                epoch_of(topic) == Some(epoch) && is_fresh && missed.count() + more <= self.slots
            });
            person.promised.remove(topic);
            if is_there {
                person.promised.insert(topic.into());
            }
            wishes.push((topic, place));
        }
        wishes
    }

    /// Asks for topics, those that it has a place in from there.
    fn ask(&mut self, who: usize) {
        let wishes = self.wish(who, 0);
        if wishes.is_empty() {
            return;
        }
        let wanted = wishes.iter().map(|(topic, _)| *topic).collect::<Vec<_>>();
        let positions = wishes.into_iter().filter_map(|(topic, place)| {
            let (epoch, offset) = place?;
            Some((topic.to_owned(), json!({"epoch": epoch, "offset": offset})))
        });
        let positions = positions.collect::<serde_json::Map<_, _>>();
        let request =
            json!({"action": "subscribe", "topics": wanted, "recover": true, "recovery": positions});
        let text = json!({"t": "subscription_update", "p": request}).to_string();
        if let Some(listener) = &self.people[who].listener {
            listener.client.text(&text);
            // The promise holds at this moment.
            self.world.settle();
        }
    }

    /// The application has a connection that has just come begin where it left off, and is told what became of that.
    fn bring_back(&mut self, who: usize) {
        let is_busy = self.random.bool();
        let wishes = self.wish(who, if is_busy { MOST_AT_ONCE } else { 0 });
        let starts = wishes.iter().map(|(topic, place)| {
            let position = place.as_ref().map(|(epoch, offset)| {
                let epoch = u32::from_str_radix(epoch, 16).expect("hex digits");
                Position { epoch, offset: *offset }
            });
            (*topic, position.map_or(Start::Now, Start::Behind))
        });
        let starts = starts.collect::<Vec<_>>();
        let Some(listener) = &self.people[who].listener else { return };
        let wanted = self.world.subscribe_from(listener.client.key(), &starts);
        if is_busy {
            self.publish();
        }
        self.world.settle();
        let stands = self.world.replies().into_iter().find_map(|reply| match reply {
            Reply::Subscribed { request, stands, .. } if request == wanted => Some(stands),
            _ => None,
        });
        let mut stood = Vec::new();
        for stand in stands.expect("it is answered") {
            let Position { epoch, offset } = stand.position.expect("every topic has a log");
            let told = (Some(format!("{epoch:08x}")), offset);
            let person = &mut self.people[who];
            if let (Some(true), Some(count)) = (stand.recovered, stand.count) {
                let (epoch, before) = &person.places[&stand.topic];
                // What came while other topics were read was not sent again.
                let is_whole = *epoch == told.0 && before + count <= told.1;
                assert!(is_whole, "{}: {count} from {before} to {told:?}", stand.topic);
            } else {
                let is_lost = stand.recovered.is_some();
                assert!(!is_lost || !person.promised.contains(&stand.topic), "{} was in reach", stand.topic);
                // It begins with what comes, of which there may be some already.
                person.places.remove(&stand.topic);
            }
            stood.push((stand.topic, told));
        }
        self.listen(who);
        for (topic, told) in stood {
            let place = self.people[who].places.entry(topic).or_insert_with(|| told.clone());
            assert!(place.0 == told.0 && place.1 >= told.1, "{told:?} was said in {place:?}");
        }
    }

    /// The server sends everyone away and goes. Who reads has all of it at its Close, and comes back to another one.
    fn drain(&mut self) {
        let mut owed = Vec::new();
        for (who, person) in self.people.iter().enumerate() {
            let Some(listener) = &person.listener else { continue };
            let key = listener.client.key();
            if !self.world.is_open(key) || !listener.client.kernel().is_reading {
                continue;
            }
            // Of a log that was lost since nothing is owed.
            let is_there = |topic: &&&str| self.epoch(topic) == self.stories[**topic].head.0;
            let held = TOPICS.iter().filter(|topic| self.holds(key, topic)).filter(is_there);
            owed.push((who, held.map(|topic| (*topic, self.stories[topic].last)).collect::<Vec<_>>()));
        }
        let (waves, deadline_ms) = (self.random.u32(1..4), self.random.u64(100..2_000));
        self.world.drain(waves, deadline_ms);
        for _ in 0..waves {
            self.publish();
            self.world.pass(deadline_ms / u64::from(waves));
        }
        self.world.pass(deadline_ms);
        assert_eq!(self.world.open(), 0);
        let drained = self.world.replies().into_iter().filter(|reply| *reply == Reply::Drained).count();
        assert_eq!(drained, self.world.shared.config.shards);
        for (who, topics) in owed {
            self.listen(who);
            let person = &self.people[who];
            let listener = person.listener.as_ref().expect("it was there");
            assert_eq!(listener.client.close_code(), Some(close::DRAINED));
            for (topic, last) in topics {
                let Some(place) = person.places.get(topic) else { continue };
                let number = self.stories[topic].number(place);
                assert!(number >= Some(last), "{who} left {topic} at {place:?}, {number:?} of {last}");
            }
        }
        for person in &mut self.people {
            let Some(listener) = person.listener.take() else { continue };
            let farewell = listener.client.told("server_draining").pop();
            let ticket = farewell.and_then(|farewell| Some(farewell["ticket"].as_str()?.to_owned()));
            person.ticket = ticket.or(person.ticket.take());
        }
        let now = self.world.now().millis;
        (self.world, self.slots) = server(&mut self.random);
        self.world.pass(now - self.world.now().millis);
        for story in self.stories.values_mut() {
            (story.head, story.last) = (Place::default(), 0);
        }
    }

    fn cut(&mut self, who: usize) {
        self.listen(who);
        let person = &mut self.people[who];
        let Some(listener) = person.listener.take() else { return };
        // What is under way may still arrive, or never.
        match self.random.u8(..3) {
            0 => listener.client.kernel().reset(),
            1 => listener.client.kernel().end(),
            _ => listener.client.close(1000),
        }
        if self.random.bool() {
            self.world.settle();
        }
    }

    fn read(&mut self, who: usize) {
        let (choice, size) = (self.random.u8(..4), self.random.usize(1..2_000));
        let person = &mut self.people[who];
        let Some(listener) = &person.listener else { return };
        match choice {
            0 => listener.client.resume(),
            1 => listener.client.kernel().drain(size),
            _ => {
                person.is_slow = true;
                listener.client.stop_reading(size);
            }
        }
    }

    /// Gives a topic up: where it stands there is of no more use.
    fn leave(&mut self, who: usize) {
        let topic = TOPICS[self.random.usize(..TOPICS.len())];
        if let Some(listener) = &self.people[who].listener {
            listener.client.resume();
            // The application may have just wanted it to hold the topic.
            self.world.settle();
            let request = json!({"action": "unsubscribe", "topics": [topic]});
            listener.client.text(&json!({"t": "subscription_update", "p": request}).to_string());
            self.world.settle();
            self.listen(who);
            self.people[who].places.remove(topic);
            self.people[who].promised.remove(topic);
        }
    }

    /// The application has a connection hold a topic from now on.
    fn take(&mut self, who: usize) {
        let topic = TOPICS[self.random.usize(..TOPICS.len())];
        let Some(listener) = &self.people[who].listener else { return };
        let key = listener.client.key();
        let is_held = self.people[who].places.contains_key(topic);
        if self.world.is_open(key) && !is_held {
            self.world.subscribe(key, topic);
        }
    }

    /// The log that was used longest ago is lost.
    fn lose(&mut self) {
        let topics = &self.world.shared.topics;
        topics.logs().expect("there are logs").lose_oldest(topics);
    }

    /// The epoch of a topic's log, when anything is known of it.
    fn epoch(&self, topic: &str) -> Option<String> {
        let topic = self.world.shared.topics.get(topic)?;
        let ring = topic.log()?.lock();
        Some(format!("{:08x}", ring.position(ring.head()).epoch))
    }

    fn holds(&self, key: ConnectionKey, topic: &str) -> bool {
        let mut is_held = false;
        let topic = self.world.shared.topics.get(topic);
        topic.inspect(|topic| topic.for_each(key.shard(), |slot| is_held |= slot as usize == key.slot()));
        is_held
    }

    /// Enters what has arrived into the ledger.
    fn listen(&mut self, who: usize) {
        let person = &mut self.people[who];
        let Some(listener) = &mut person.listener else { return };
        listener.listen();
        let news = listener.messages.iter().skip(person.heard).map(|message| message.json());
        let news = news.collect::<Vec<_>>();
        person.heard = listener.messages.len();
        for message in news {
            if message["tp"].is_string() {
                person.enter(&message, &self.stories);
            } else if message["t"] == "subscription_update" && message["p"]["action"] == "subscribe" {
                person.settle(&message["p"]["recovery"]);
            } else if message["t"] == "gap" {
                person.skip(&message["p"]);
            }
        }
    }

    /// Everybody comes, reads all, and stands at the head of every topic that it holds.
    fn finish(&mut self) {
        for who in 0..self.people.len() {
            // Those who were slow are closed, or become quick, and then have another life.
            self.cut(who);
            self.world.settle();
            self.come(who);
        }
        self.world.settle();
        self.publish();
        self.world.settle();
        for who in 0..self.people.len() {
            self.listen(who);
            let person = &self.people[who];
            let listener = person.listener.as_ref().expect("it has come");
            assert!(!listener.client.is_gone() && listener.client.heard().rest.is_empty());
            for topic in TOPICS.iter().filter(|topic| self.holds(listener.client.key(), topic)) {
                let story = &self.stories[topic];
                let Some(place) = person.places.get(*topic).filter(|_| story.head.0.is_some()) else {
                    continue;
                };
                // A log that was lost since then has no publication yet.
                let is_at_head = place.1 == story.head.1 && (place.0.is_none() || place.0 == story.head.0);
                let is_before_next = place.1 == 0 && place.0 == self.epoch(topic);
                assert!(is_at_head || is_before_next, "{who} in {topic}: {place:?}, not {:?}", story.head);
            }
        }
        assert_eq!(value(&self.world.shared.metrics.panics_total), 0);
    }
}

impl Person {
    /// A publication: the next one of its topic, or the first of an epoch.
    fn enter(&mut self, message: &Value, stories: &BTreeMap<&'static str, Story>) {
        let topic = message["tp"].as_str().expect("a topic");
        let (epoch, offset) =
            (message["e"].as_str().expect("an epoch"), message["o"].as_u64().expect("an offset"));
        let (n, _) = stories[topic].told[&(epoch.to_owned(), offset)];
        assert_eq!(message["p"]["n"], json!(n), "what stands there was published there");
        assert_eq!(message["seq"], json!(offset));
        if let Some((known, last)) = self.places.get(topic) {
            let is_next = offset == last + 1 && known.as_deref().is_none_or(|known| known == epoch);
            let is_first = offset == 1 && known.as_deref() != Some(epoch);
            assert!(is_next || is_first, "{topic}: {epoch} {offset} follows {known:?} {last}");
        }
        self.places.insert(topic.into(), (Some(epoch.into()), offset));
    }

    /// The answer to a request: where it stands.
    fn settle(&mut self, recovery: &Value) {
        for (topic, place) in recovery.as_object().expect("an object") {
            let epoch = place["epoch"].as_str().map(str::to_owned);
            // It was given up before the answer.
            let Some(offset) = place["offset"].as_u64() else { continue };
            let told = (epoch, offset);
            match place["recovered"].as_bool() {
                Some(false) => {
                    assert!(self.is_slow || !self.promised.contains(topic), "{topic} was in reach");
                    self.places.insert(topic.clone(), told);
                }
                // Without a place asked for, publications may have come before the answer, too.
                is_recovered => {
                    let place = self.places.get(topic).filter(|(epoch, _)| epoch.is_some());
                    // When the log is lost right before the answer, that is the place before the next epoch.
                    let is_before_next = told.1 == 0 && place.is_some_and(|place| place.0 != told.0);
                    let is_it = place.map_or(is_recovered.is_none(), |place| *place == told);
                    assert!(is_it || is_before_next, "{topic}: {told:?} was said in {place:?}");
                    self.places.insert(topic.clone(), told);
                }
            }
        }
    }

    /// What is missing, and was told.
    fn skip(&mut self, gap: &Value) {
        let topic = gap["topic"].as_str().expect("topics with a log are named");
        let (from, to) = (gap["from"].as_u64().expect("an offset"), gap["to"].as_u64().expect("an offset"));
        assert!(from <= to);
        match self.places.get_mut(topic) {
            Some((_, last)) if from == *last + 1 => *last = to,
            // Of an epoch that it has seen nothing of, or of a topic that only the application knows it to hold.
            place => {
                assert!(
                    place.is_none() || from == 1,
                    "{topic}: what is missing from {from} on follows {place:?}"
                );
                self.places.insert(topic.into(), (None, to));
            }
        }
    }
}

#[test]
fn nothing_is_missed_repeated_or_reordered_inside_the_logs_reach_and_no_gap_is_silent() {
    for_each_seed(SEEDS, "reconnects", |seed| {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step();
        }
        run.finish();
    });
}
