//! Verifies that nobody misses, repeats or reorders a publication of a topic with a log, however often it is cut and
//! however slowly it reads, as far as the log reaches; and that beyond it nothing is missing in silence.
//!
//! Each person keeps a ledger: where it stands in every topic, by what it was told. Random runs, each from a seed.

use crate::listener::Listener;
use crate::random::for_each_seed;
use crate::world::{World, settings, value};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use wse_engine::config::{Compression, OutboundLimits, Recovery};
use wse_engine::{Config, ConnectionKey};

const SEEDS: u64 = 1_000;
const STEPS: usize = 120;
const PEOPLE: usize = 5;
const TOPICS: [&str; 3] = ["alpha", "beta", "gamma"];
const TTL_MS: u64 = 5_000;
/// How people ask for each way of speaking.
const KINDS: [&str; 5] =
    ["", "protocol_version=1", "compression=true", "format=msgpack", "encryption=true&protocol_version=1"];

/// Epoch and offset; `None`: an epoch that the client has not seen a stamp of.
type Place = (Option<String>, u64);

/// One who comes back.
#[derive(Default)]
struct Person {
    kind: &'static str,
    listener: Option<Listener>,
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
    Config { outbound, recovery: Some(recovery), rate: None, compression, ..settings() }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let config = config(&mut random);
        let slots = config.recovery.as_ref().map_or(0, |recovery| recovery.slots);
        let people =
            (0..PEOPLE).map(|n| Person { kind: KINDS[n % KINDS.len()], ..Person::default() }).collect();
        let stories = TOPICS.iter().map(|topic| (*topic, Story::default())).collect();
        Self { world: World::seeded(config, seed), random, people, stories, published: 0, slots }
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
            93..99 => self.world.pass(self.random.u64(..300)),
            _ => self.world.pass(self.random.u64(..2 * TTL_MS)),
        }
    }

    fn publish(&mut self) {
        let topic = TOPICS[self.random.usize(..TOPICS.len())];
        for _ in 0..self.random.usize(1..8) {
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
            story.head = (Some(epoch), position.offset);
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
        let listener = Listener::connect(&mut self.world, self.people[who].kind);
        let person = &mut self.people[who];
        person.listener = Some(listener);
        (person.heard, person.is_slow) = (0, false);
        self.ask(who);
    }

    /// Asks for topics, those that it has a place in from there.
    fn ask(&mut self, who: usize) {
        let wanted = TOPICS.iter().filter(|_| self.random.u8(..4) > 0).copied().collect::<Vec<_>>();
        self.listen(who);
        let now = self.world.now().millis;
        let epochs = TOPICS.map(|topic| self.epoch(topic));
        let epoch_of = |topic| TOPICS.iter().position(|it| *it == topic).and_then(|at| epochs[at].as_ref());
        let person = &mut self.people[who];
        let known = |topic: &&&str| person.places.get(**topic).is_some_and(|(epoch, _)| epoch.is_some());
        let positions = wanted.iter().filter(known).map(|topic| {
            let (epoch, offset) = &person.places[*topic];
            ((*topic).to_owned(), json!({"epoch": epoch, "offset": offset}))
        });
        let positions = positions.collect::<serde_json::Map<_, _>>();
        for topic in &wanted {
            let is_there = person.places.get(*topic).is_some_and(|(epoch, offset)| {
                let Some(epoch) = epoch else { return false };
                let story = &self.stories[topic];
                let missed = story.told.range((epoch.clone(), offset + 1)..=(epoch.clone(), u64::MAX));
                let is_fresh = missed.clone().all(|(_, (_, at))| at + TTL_MS > now);
                epoch_of(*topic) == Some(epoch) && is_fresh && missed.count() <= self.slots
            });
            person.promised.remove(*topic);
            if is_there && positions.contains_key(*topic) {
                person.promised.insert((*topic).into());
            }
        }
        if wanted.is_empty() {
            return;
        }
        let request =
            json!({"action": "subscribe", "topics": wanted, "recover": true, "recovery": positions});
        let text = json!({"t": "subscription_update", "p": request}).to_string();
        if let Some(listener) = &person.listener {
            listener.client.text(&text);
            // The promise holds at this moment.
            self.world.settle();
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
        topic.inspect(|topic| topic.for_each(0, |slot| is_held |= slot as usize == key.slot()));
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
