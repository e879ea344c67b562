//! Verifies that a log loses nothing to all else that there is: topics of other lanes, publications that are dropped
//! earlier, unicasts that fill the queue, small budgets, requests that come twice, and a drain at the end.
//!
//! What was published is one list for each topic, and every client walks along it, epochs or not. Random runs, each from
//! a seed.

use crate::client::Client;
use crate::listener::Listener;
use crate::random::for_each_seed;
use crate::world::{World, settings};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use wse_engine::Config;
use wse_engine::config::{OutboundLimits, Recovery};
use wse_engine::content::Content;
use wse_engine::policy::{Policies, Policy};
use wse_engine::publishing::{Published, Publishing};
use wse_protocol::priority::Priority;

const SEEDS: u64 = 200;
const STEPS: usize = 160;
const TRAVELLERS: usize = 5;
/// Topics with a log; the first one is more urgent than the others.
const TOPICS: [&str; 3] = ["alpha", "beta", "gamma"];
/// How travellers ask for each way of speaking.
const KINDS: [&str; 6] = [
    "",
    "protocol_version=1",
    "compression=true",
    "format=msgpack",
    "encryption=true",
    "encryption=true&protocol_version=1",
];

/// Where a publication stands: epoch and offset. Epochs grow.
type Position = (u32, u64);

/// What was published to each topic, in order: where it stands, and its number.
type Truth = BTreeMap<&'static str, Vec<(Position, u64)>>;

/// How many publications there are up to a position.
fn place(published: &[(Position, u64)], at: Position) -> usize {
    published.partition_point(|(position, _)| *position <= at)
}

/// What a client knows of one topic.
#[derive(Default)]
struct Account {
    is_wanted: bool,
    /// The last publication that it has, or that it was told it does not get.
    at: Option<Position>,
    /// How many publications are behind that.
    place: usize,
    /// Its request is answered on this connection.
    is_answered: bool,
    /// What has come of the topic although something before it is missing: the answer will say so.
    beyond: Option<Position>,
    /// It has asked for what it may have already.
    has_asked_again: bool,
}

impl Account {
    fn waits_for_nothing(&self) -> bool {
        self.is_answered && !self.has_asked_again
    }
}

/// A client on its way.
struct Traveller {
    listener: Option<Listener>,
    /// Messages of this connection that were looked at.
    heard: usize,
    accounts: BTreeMap<&'static str, Account>,
    announced: u64,
    /// It wants encryption, and has not said with which key.
    owes_hello: bool,
    /// How its last connection was closed.
    close_code: Option<u16>,
}

impl Traveller {
    fn new() -> Self {
        let accounts = TOPICS.iter().map(|topic| (*topic, Account::default())).collect();
        Self { listener: None, heard: 0, accounts, announced: 0, owes_hello: false, close_code: None }
    }

    fn client(&self) -> Option<&Client> {
        self.listener.as_ref().map(|listener| &listener.client)
    }

    /// Connects, and asks for what it wants from where it was.
    fn come(&mut self, world: &mut World, kind: &str) {
        let listener = Listener::knock(world, kind);
        (self.listener, self.heard) = (Some(listener), 0);
        self.owes_hello = kind.contains("encryption");
        for account in self.accounts.values_mut() {
            (account.is_answered, account.has_asked_again, account.beyond) = (false, false, None);
        }
        let wanted = self.accounts.iter().filter(|(_, account)| account.is_wanted);
        let wanted = wanted.map(|(topic, _)| *topic).collect::<Vec<_>>();
        self.ask(&wanted);
    }

    /// Says with which key it reads, where that is owed.
    fn greet(&mut self) {
        if let Some(listener) = self.listener.as_mut().filter(|_| self.owes_hello) {
            listener.hello();
            self.owes_hello = false;
        }
    }

    fn ask(&self, topics: &[&str]) {
        let Some(client) = self.client().filter(|_| !topics.is_empty()) else { return };
        let known = topics.iter().filter_map(|topic| Some((*topic, self.accounts[topic].at?)));
        let known =
            known.map(|(topic, (e, o))| (topic.into(), json!({"epoch": format!("{e:08x}"), "offset": o})));
        let recovery = known.collect::<serde_json::Map<_, _>>();
        let p = json!({"action": "subscribe", "topics": topics, "recover": true, "recovery": recovery});
        client.text(&json!({"t": "subscription_update", "p": p}).to_string());
    }

    fn give_up(&mut self, topic: &'static str) {
        let Some(client) = self.client() else { return };
        let p = json!({"action": "unsubscribe", "topics": [topic]});
        client.text(&json!({"t": "subscription_update", "p": p}).to_string());
        self.account(topic).is_wanted = false;
    }

    fn account(&mut self, topic: &str) -> &mut Account {
        self.accounts.get_mut(topic).expect("it has a log")
    }

    /// Takes what has arrived into the account.
    fn hear(&mut self, truth: &Truth) {
        let Some(mut listener) = self.listener.take() else { return };
        listener.listen();
        for message in &listener.messages[self.heard..] {
            let json = message.json();
            match (json["tp"].as_str(), json["t"].as_str()) {
                (Some(topic), _) => self.take(topic, &json, &truth[topic]),
                (None, Some("gap")) if json["p"]["from"].is_u64() => self.skip(&json["p"], truth),
                (None, Some("subscription_update")) if json["p"]["action"] == "subscribe" => {
                    for (topic, stand) in json["p"]["recovery"].as_object().expect("an object") {
                        self.stand(topic, stand, &truth[topic.as_str()]);
                    }
                }
                (None, Some("error")) => panic!("{json}"),
                _ => {}
            }
        }
        self.heard = listener.messages.len();
        self.close_code = listener.client.close_code();
        let is_over = listener.client.is_gone() || self.close_code.is_some();
        self.listener = Some(listener).filter(|_| !is_over);
    }

    fn take(&mut self, topic: &str, json: &Value, published: &[(Position, u64)]) {
        let account = self.account(topic);
        let position = position(&json["e"], &json["o"]);
        let index = place(published, position) - 1;
        assert_eq!(published[index], (position, json["p"]["n"].as_u64().expect("a number")), "{json}");
        if account.has_asked_again && index < account.place {
            return;
        }
        if account.at.is_none() {
            // It has asked for what comes, whatever that is.
            account.place = index;
        } else if !account.is_answered && index > account.place {
            account.beyond = Some(position);
            return;
        }
        assert_eq!(index, account.place, "{json} comes behind {:?}", account.at);
        (account.at, account.place) = (Some(position), index + 1);
    }

    /// It is told of a hole.
    fn skip(&mut self, told: &Value, truth: &Truth) {
        let topic = told["topic"].as_str().expect("a topic");
        let account = self.account(topic);
        let published = &truth[topic];
        // The hole begins with what comes next, which may be the first publication of another epoch.
        let (epoch, offset) = published[account.place].0;
        assert_eq!(told["from"], offset, "{told} behind {:?}", account.at);
        let to = told["to"].as_u64().expect("an offset");
        // It may reach over the end of its epoch.
        account.at = Some((epoch, to));
        account.place += usize::try_from(to + 1 - offset).expect("few");
        assert!(account.place <= published.len(), "{told}");
        self.announced += 1;
    }

    /// It is told where it stands.
    fn stand(&mut self, topic: &str, stand: &Value, published: &[(Position, u64)]) {
        let at = position(&stand["epoch"], &stand["offset"]);
        let account = self.account(topic);
        if stand["recovered"] == true {
            // Where its epoch has ended since, the beginning of the next one is the same place.
            let is_there = account.at.is_some() && account.at <= Some(at) && account.beyond.is_none();
            assert!(
                is_there && place(published, at) == account.place,
                "{topic}: {stand} at {:?}",
                account.at
            );
            (account.at, account.is_answered) = (Some(at), true);
            return;
        }
        let place = place(published, at);
        assert!(account.at.is_none() || place >= account.place, "{topic}: {stand} behind {:?}", account.at);
        let is_lost = stand["recovered"] == false;
        let is_all = !account.is_answered || is_lost || place == account.place;
        assert!(is_all, "{topic}: {stand}, and no word of the rest");
        let is_told = account.beyond.take().is_none_or(|beyond| is_lost && beyond <= at);
        assert!(is_told, "{topic}: {stand}, and more has come");
        *account = Account { at: Some(at), place, is_answered: true, ..std::mem::take(account) };
        self.announced += u64::from(is_lost);
    }
}

fn position(epoch: &Value, offset: &Value) -> Position {
    let epoch = u32::from_str_radix(epoch.as_str().expect("an epoch"), 16).expect("hex");
    (epoch, offset.as_u64().expect("an offset"))
}

/// One random run.
struct Run {
    world: World,
    random: fastrand::Rng,
    travellers: Vec<Traveller>,
    truth: Truth,
    published: u64,
    /// The logs keep everything, so nobody may miss anything.
    is_roomy: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let is_roomy = random.bool();
        let mut one_of = |choices: &[usize]| choices[random.usize(..choices.len())];
        let outbound = OutboundLimits {
            max_messages: one_of(&[0, 4, 50]),
            max_bytes: one_of(&[0, 3_000, 1 << 20]),
            slow_timeout_ms: one_of(&[0, 1_000]) as u64,
        };
        let topics = TOPICS.iter().map(|&topic| topic.into()).collect();
        let recovery = if is_roomy {
            Recovery { slots: 4_096, ttl_ms: 0, max_messages: 0, budget_bytes: 0, topics }
        } else {
            Recovery {
                slots: one_of(&[4, 16, 256]),
                ttl_ms: one_of(&[0, 300, 5_000]) as u64,
                max_messages: one_of(&[1, 20, 500]),
                budget_bytes: one_of(&[0, 8_000, 30_000]),
                topics,
            }
        };
        let urgent = Policy { priority: Priority::High, ..Policy::default() };
        let policies = Arc::new(Policies::new([(vec![TOPICS[0].into()], urgent)]));
        let config = Config {
            outbound,
            recovery: Some(recovery),
            policies,
            memory_budget_bytes: 0,
            rate: None,
            ..settings()
        };
        let world = World::seeded(config, seed);
        let travellers = (0..TRAVELLERS).map(|_| Traveller::new()).collect();
        let truth = TOPICS.iter().map(|topic| (*topic, Vec::new())).collect();
        Self { world, random, travellers, truth, published: 0, is_roomy }
    }

    fn step(&mut self) {
        let topic = TOPICS[self.random.usize(..TOPICS.len())];
        let index = self.random.usize(..TRAVELLERS);
        let traveller = &mut self.travellers[index];
        traveller.hear(&self.truth);
        if self.random.u8(..3) == 0 {
            traveller.greet();
        }
        match (self.random.u8(..100), traveller.client()) {
            (0..10, None) | (10..100, None) if self.random.bool() => {
                let kind = KINDS[self.random.usize(..KINDS.len())];
                traveller.come(&mut self.world, kind);
            }
            (0..5, Some(client)) => {
                client.kernel().reset();
                traveller.listener = None;
            }
            (5..7, Some(client)) => self.world.disconnect(client.key(), 4403),
            (7..15, Some(_)) => {
                let account = traveller.account(topic);
                if !std::mem::replace(&mut account.is_wanted, true) {
                    // What was sent to it before it gave the topic up may not have come yet.
                    (account.is_answered, account.has_asked_again) = (false, true);
                    traveller.ask(&[topic]);
                }
            }
            (15..17, Some(_)) if traveller.accounts[topic].is_answered => {
                traveller.account(topic).has_asked_again = true;
                traveller.ask(&[topic]);
            }
            (17..20, Some(_)) if traveller.accounts[topic].waits_for_nothing() => traveller.give_up(topic),
            (20..28, Some(client)) => client.stop_reading(self.random.usize(1..600)),
            (28..36, Some(client)) => client.resume(),
            (36..40, Some(client)) => {
                let key = client.key();
                self.world.send(key, &format!(r#"{{"t":"noise","p":"{}"}}"#, "x".repeat(300)));
            }
            (40..50, _) => self.world.settle(),
            (50..56, _) => self.world.pass(self.random.u64(..200)),
            (56..58, _) => self.world.pass(self.random.u64(..3_000)),
            _ => self.publish(topic),
        }
        if self.random.bool() {
            self.world.turn();
            self.world.fall_asleep();
        }
    }

    fn publish(&mut self, topic: &'static str) {
        for _ in 0..self.random.usize(1..6) {
            self.published += 1;
            let (n, padding) = (self.published, "x".repeat(self.random.usize(..300)));
            let pri = [1, 3, 5, 8, 10][self.random.usize(..5)];
            let text = format!(r#"{{"t":"news","pri":{pri},"p":{{"n":{n},"x":"{padding}"}}}}"#);
            let published = self.world.publish_as(topic, Content::Text(&text), Publishing::default());
            let Published::Queued(Some(at)) = published else { panic!("{published:?}") };
            self.truth.get_mut(topic).expect("a topic").push(((at.epoch, at.offset), n));
        }
    }

    /// Everybody comes back, reads, and has everything in the end.
    fn finish(&mut self) {
        for _ in 0..40 {
            self.world.pass(20);
            for traveller in &mut self.travellers {
                traveller.hear(&self.truth);
                traveller.greet();
                match traveller.client() {
                    Some(client) => client.resume(),
                    None => traveller.come(&mut self.world, ""),
                }
            }
        }
        for traveller in &self.travellers {
            for (topic, account) in traveller.accounts.iter().filter(|(_, account)| account.is_wanted) {
                assert!(account.is_answered, "{topic} was never answered");
                assert_eq!(account.place, self.truth[topic].len(), "{topic} ends at {:?}", account.at);
            }
            assert!(!self.is_roomy || traveller.announced == 0, "nothing was beyond the logs");
        }
    }

    /// Everybody is sent away while the publications go on; who reads loses nothing of what there was.
    fn drain(&mut self) {
        let before =
            self.truth.iter().map(|(topic, published)| (*topic, published.len())).collect::<BTreeMap<_, _>>();
        for traveller in &self.travellers {
            let client = traveller.client().filter(|_| self.random.bool());
            client.inspect(|client| client.stop_reading(self.random.usize(1..600)));
        }
        for topic in TOPICS {
            self.publish(topic);
        }
        self.world.drain(self.random.u32(1..5), 2_000);
        for _ in 0..10 {
            self.world.pass(self.random.u64(..50));
            let topic = TOPICS[self.random.usize(..TOPICS.len())];
            self.publish(topic);
        }
        self.travellers.iter().filter_map(Traveller::client).for_each(Client::resume);
        self.world.pass(2_000);
        for traveller in &mut self.travellers {
            traveller.hear(&self.truth);
            assert_eq!(traveller.close_code, Some(4300));
            for (topic, account) in traveller.accounts.iter().filter(|(_, account)| account.is_wanted) {
                assert!(account.place >= before[topic], "{topic} ends at {:?}", account.at);
            }
        }
    }
}

#[test]
fn nothing_is_missed_inside_the_reach_of_the_logs_and_the_rest_is_announced() {
    for_each_seed(SEEDS, "journeys", |seed| {
        let mut run = Run::new(seed);
        (0..STEPS).for_each(|_| run.step());
        run.finish();
        run.drain();
    });
}
