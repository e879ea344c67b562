//! Verifies that no order of events loses, repeats or leaks anything: random runs, each from a seed.
//!
//! `npm run simulate` runs more of them, by `SIMULATION_SEEDS=10000`, and `SIMULATION_SEED=7` one alone; a run that fails
//! says which.

use crate::application::{Event, numbered, urgent};
use crate::client::{BINARY, HEAD, TEXT, deflated, frame};
use crate::ledger::Account;
use crate::world::{World, settings};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use wse_engine::auth::Auth;
use wse_engine::config::{Compression, ConnectionLimitPolicy, Deflate, InboundLimits, OutboundLimits};
use wse_engine::policy::{Overflow, Policies, Policy};
use wse_engine::{Config, ConnectionKey, Reply};
use wse_protocol::compress::Terms;
use wse_protocol::priority::Priority;

const SEEDS: u64 = 1_000;
const STEPS: usize = 400;
const TOPICS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];
/// How clients ask for each way of speaking.
const KINDS: [&str; 9] = [
    "",
    "protocol_version=1",
    "compression=true",
    "compression=payload",
    "compression=true&protocol_version=1",
    "format=msgpack",
    "format=msgpack&protocol_version=1",
    "encryption=true",
    "encryption=true&protocol_version=1",
];
/// Those of them that have no randomness of their own.
const KINDS_OF_A_SEED: usize = 7;
/// What clients offer of permessage-deflate.
const OFFERS: [&str; 4] = [
    "",
    "permessage-deflate",
    "permessage-deflate; client_no_context_takeover; server_max_window_bits=10",
    "permessage-deflate; server_no_context_takeover",
];
const USERS: [&str; 3] = ["ann", "bob", "cy"];

/// One random run.
struct Run {
    world: World,
    random: fastrand::Rng,
    accounts: Vec<Account>,
    events: Vec<Event>,
    /// Connections that the application has to decide about.
    undecided: Vec<ConnectionKey>,
    published: u64,
    /// How many of the kinds there are.
    kinds: usize,
}

fn config(random: &mut fastrand::Rng) -> Config {
    let policies = Arc::new(Policies::new(TOPICS.map(|topic| (vec![topic.into()], policy(random)))));
    let mut one_of = |choices: &[usize]| choices[random.usize(..choices.len())];
    let outbound = OutboundLimits {
        max_messages: one_of(&[0, 8, 50, 1_000]),
        max_bytes: one_of(&[0, 3_000, 1 << 20]),
        slow_timeout_ms: one_of(&[0, 1_000, 10_000]) as u64,
    };
    let inbound = InboundLimits {
        max_bytes: one_of(&[0, 2_000, 64 << 20]),
        max_bytes_per_connection: one_of(&[0, 200, 256 << 10]),
    };
    let deflate = Deflate {
        terms: Terms {
            server_keeps_window: one_of(&[0, 1]) == 1,
            client_keeps_window: one_of(&[0, 1]) == 1,
            ..Terms::default()
        },
        compression: Compression { threshold_bytes: one_of(&[0, 250]), level: 6 },
    };
    Config {
        shards: one_of(&[1, 2]),
        policies,
        deflate: Some(deflate).filter(|_| one_of(&[0, 1, 1]) == 1),
        outbound,
        inbound,
        memory_budget_bytes: one_of(&[0, 30_000, 1 << 20]),
        max_connections: one_of(&[0, 6, 64]),
        max_connections_per_user: one_of(&[0, 1, 3]),
        connection_limit_policy: if one_of(&[0, 1]) == 0 {
            ConnectionLimitPolicy::Replace
        } else {
            ConnectionLimitPolicy::Refuse
        },
        // Those that the host has not decided about are asked about.
        auth: Auth::Hook,
        rate: None,
        compression: Some(Compression { threshold_bytes: one_of(&[0, 250]), level: 6 }),
        ..settings()
    }
}

/// How a topic waits. Not so that what a client misses is left out of its accounts on purpose.
fn policy(random: &mut fastrand::Rng) -> Policy {
    let overflow = match random.u8(..8) {
        0 => Overflow::Ring(random.usize(1..5)),
        1 => Overflow::Block(random.u64(1..2_000)),
        2 => Overflow::Disconnect,
        _ => Overflow::Drop,
    };
    let deadline_ms = NonZeroU64::new(random.u64(..4_000)).filter(|_| random.u8(..4) == 0);
    let priority = Priority::nearest(random.u8(..11).into());
    Policy { priority, overflow, deadline_ms, recovery: None }
}

impl Run {
    fn new(seed: u64, kinds: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::seeded(config(&mut random), seed);
        world.set_consumer(true);
        let (accounts, events, undecided) = (Vec::new(), Vec::new(), Vec::new());
        Self { world, random, accounts, events, undecided, published: 0, kinds }
    }

    fn step(&mut self) {
        let choice = self.random.usize(..100);
        match choice {
            0..4 => self.connect(),
            4..6 => self.knock(),
            6..8 => self.decide(),
            8..16 => self.subscribe(),
            16..19 => self.unsubscribe(),
            19..39 => self.publish(),
            39..45 => self.unicast(),
            45..58 => self.say(),
            58..66 => self.read(),
            66..68 => self.end(),
            68..76 => self.events.extend(self.world.take_batch().into_iter().flatten()),
            76..88 => self.turn(),
            88..94 => self.world.settle(),
            94..99 => self.world.pass(self.random.u64(..50)),
            _ => self.world.pass(self.random.u64(..6_000)),
        }
    }

    /// A turn during which the application may be at work, up to the moment before the shard sleeps.
    fn turn(&mut self) {
        self.world.turn();
        if self.random.bool() {
            self.events.extend(self.world.take_batch().into_iter().flatten());
        }
        self.world.fall_asleep();
    }

    fn pick(&mut self) -> Option<&mut Account> {
        let open =
            self.accounts.iter_mut().filter(|account| !account.listener.client.is_gone()).collect::<Vec<_>>();
        let index = self.random.usize(..open.len().max(1));
        open.into_iter().nth(index)
    }

    fn account(&mut self, key: ConnectionKey) -> &mut Account {
        self.accounts.iter_mut().find(|account| account.key == key).expect("it has an account")
    }

    fn topic(&mut self) -> &'static str {
        TOPICS[self.random.usize(..TOPICS.len())]
    }

    fn user(&mut self) -> &'static str {
        USERS[self.random.usize(..USERS.len())]
    }

    /// A connection that the application will be asked about, its request in two pieces.
    fn knock(&mut self) {
        let client = self.world.accept();
        let (first, second) = HEAD.as_bytes().split_at(self.random.usize(..HEAD.len()));
        client.write(first);
        self.turn();
        client.write(second);
        self.accounts.push(Account::new(client));
    }

    fn decide(&mut self) {
        let asked = self.world.replies().into_iter().filter_map(|reply| match reply {
            Reply::Authenticate { key, .. } => Some(key),
            _ => None,
        });
        self.undecided.extend(asked);
        for key in self.undecided.split_off(self.undecided.len() / 2) {
            let user = self.user();
            self.world.decide(key, Some(user).filter(|_| self.random.u8(..4) > 0));
        }
    }

    fn connect(&mut self) {
        let user = self.user();
        let mut fields = format!("User-Agent: {}\r\n", self.random.u8(..5));
        let offer = OFFERS[self.random.usize(..OFFERS.len())];
        if !offer.is_empty() {
            fields += &format!("Sec-WebSocket-Extensions: {offer}\r\n");
        }
        let kind = KINDS[self.random.usize(..self.kinds)];
        let mut account = Account::new(self.world.knock_with(user, &fields, kind));
        account.owes_hello = kind.contains("encryption");
        self.accounts.push(account);
        self.world.settle();
    }

    fn subscribe(&mut self) {
        let topic = self.topic();
        let picked = self.pick().map(|account| account.key);
        let Some(key) = picked.filter(|key| self.world.is_open(*key)) else { return };
        self.world.subscribe(key, topic);
        let topics = &mut self.account(key).topics;
        if !topics.iter().any(|held| held == topic) {
            topics.push(topic.into());
        }
    }

    fn unsubscribe(&mut self) {
        let topic = self.topic();
        let Some(account) = self.pick() else { return };
        // What waits for a key is dropped with its topic, or not if that is taken again: no account says which.
        if account.owes_hello || account.listener.is_exchanging() {
            return;
        }
        let key = account.key;
        account.topics.retain(|held| held != topic);
        self.world.unsubscribe(key, Some(vec![topic.into()]));
    }

    fn publish(&mut self) {
        let topic = self.topic();
        for _ in 0..self.random.usize(1..12) {
            self.published += 1;
            let padding = self.random.usize(..200);
            let text = urgent(&numbered(topic, self.published, padding), self.random.u8(1..11));
            if self.world.publish(topic, &text) {
                let owed = self.accounts.iter_mut().filter(|one| one.topics.iter().any(|held| held == topic));
                owed.for_each(|account| account.owe(topic, self.published));
            }
        }
    }

    fn unicast(&mut self) {
        self.published += 1;
        let n = self.published;
        let priority = self.random.u8(1..11);
        let Some(account) = self.pick() else { return };
        let key = account.key;
        let lane = format!("{:?}", Priority::nearest(priority.into()));
        if self.world.send(key, &urgent(&numbered(&lane, n, 10), priority)).is_some() {
            self.account(key).owe(&lane, n);
        }
    }

    fn say(&mut self) {
        let mut bytes = Vec::new();
        let is_split = self.random.bool();
        let messages = self.random.u64(1..6);
        let (is_sealed, is_compressed) = (self.random.bool(), self.random.bool());
        let Some(account) = self.pick() else { return };
        let listener = &mut account.listener;
        listener.listen();
        if std::mem::take(&mut account.owes_hello) {
            listener.hello();
        } else if listener.key.is_some() && !listener.is_exchanging() {
            listener.rotate();
        }
        let is_compressed =
            is_compressed && account.listener.client.heard().head.contains("permessage-deflate");
        let write = |opcode, payload: &[u8]| {
            if is_compressed { deflated(opcode, payload) } else { frame(opcode, payload, true) }
        };
        for _ in 0..messages {
            let text = account.sent.to_string();
            bytes.extend(match account.listener.key {
                Some(_) if is_sealed => write(BINARY, &account.listener.seal(&text)),
                _ => write(TEXT, text.as_bytes()),
            });
            bytes.extend(frame(crate::client::PING, text.as_bytes(), true));
            account.sent += 1;
        }
        let key = account.key;
        let cut = if is_split { self.random.usize(..bytes.len()) } else { 0 };
        for piece in [&bytes[..cut], &bytes[cut..]] {
            self.account(key).listener.client.write(piece);
            if is_split {
                self.turn();
            }
        }
    }

    fn read(&mut self) {
        let (choice, size) = (self.random.u8(..4), self.random.usize(1..3_000));
        let Some(account) = self.pick() else { return };
        match choice {
            0 => account.listener.client.resume(),
            1 => account.listener.client.kernel().drain(size),
            _ => account.listener.client.stop_reading(size),
        }
    }

    fn end(&mut self) {
        let choice = self.random.u8(..4);
        let Some(account) = self.pick() else { return };
        match choice {
            0 => account.listener.client.kernel().reset(),
            1 => account.listener.client.kernel().end(),
            2 => account.listener.client.close(1000),
            _ => {
                let key = account.key;
                self.world.disconnect(key, 4403);
            }
        }
    }

    /// Lets everyone read and the application catch up; then every account has to balance.
    fn settle_accounts(&mut self) {
        for account in &mut self.accounts {
            account.listener.client.resume();
            if std::mem::take(&mut account.owes_hello) {
                account.listener.hello();
            }
        }
        self.world.settle();
        while let Some(batch) = self.world.take_batch() {
            self.events.extend(batch);
            self.world.settle();
        }
        for account in &mut self.accounts {
            let is_open = self.world.is_open(account.key);
            let said = account.verify_events(&self.events, !is_open);
            if is_open {
                account.verify_complete();
                assert_eq!(said, account.sent, "what it said has arrived");
                assert_eq!(account.listener.client.waiting(), 0);
            } else {
                account.verify_order();
            }
        }
        assert_eq!(self.world.shared.budget.used(), 0, "nobody is slow, so nothing waits");
    }

    /// Sends everyone away while something is published; who reads loses nothing of what came before.
    fn drain(&mut self) {
        let is_open = |account: &Account| self.world.is_open(account.key);
        let open = self.accounts.iter().map(is_open).collect::<Vec<_>>();
        for _ in 0..3 {
            self.publish();
        }
        let (waves, deadline_ms) = (self.random.u32(1..12), self.random.u64(100..4_000));
        self.world.drain(waves, deadline_ms);
        self.world.pass(deadline_ms);
        assert_eq!(self.world.open(), 0);
        assert!(self.world.replies().contains(&Reply::Drained));
        for (account, _) in self.accounts.iter_mut().zip(open).filter(|(_, is_open)| *is_open) {
            account.verify_complete();
            assert_eq!(account.listener.client.close_code(), Some(4300));
        }
    }

    /// Closes the engine; whoever does not answer is dropped.
    fn finish(&mut self) {
        if self.random.bool() {
            self.drain();
        }
        self.world.close();
        self.world.settle();
        for account in &self.accounts {
            account.listener.client.close(1012);
        }
        self.world.pass(2_100);
        assert!(self.world.is_done());
        self.events.extend(self.world.take_events());
        for account in &self.accounts {
            assert!(account.listener.client.is_gone());
            account.verify_events(&self.events, true);
        }
        self.world.assert_nothing_is_left(&USERS);
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed, KINDS.len());
    for _ in 0..STEPS {
        run.step();
    }
    run.settle_accounts();
    run.finish();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Does a run for each of `seeds` seeds; one that fails says how it is done again. `area` is the tests' module. Who wants
/// another number of seeds is told in twenty steps how many are done.
pub fn for_each_seed(seeds: u64, area: &str, run: impl Fn(u64)) {
    let wanted = number("SIMULATION_SEEDS");
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..wanted.unwrap_or(seeds),
    };
    for seed in seeds {
        if let Some(wanted) = wanted.filter(|wanted| seed > 0 && seed % wanted.div_ceil(20) == 0) {
            eprintln!("{area}: {seed} of {wanted} seeds");
        }
        if let Err(failure) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("replay: SIMULATION_SEED={seed} cargo test -p wse-engine --test simulation {area}");
            resume_unwind(failure);
        }
    }
}

#[test]
fn no_order_of_events_loses_repeats_or_leaks_anything() {
    for_each_seed(SEEDS, "random", run);
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let play = || {
        let mut run = Run::new(7, KINDS_OF_A_SEED);
        (0..STEPS).for_each(|_| run.step());
        let said = run.accounts.iter().map(|account| account.listener.client.bytes()).collect::<Vec<_>>();
        (said, run.events)
    };
    assert_eq!(play(), play());
}
