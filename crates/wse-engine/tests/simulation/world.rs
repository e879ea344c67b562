//! The twin of `driver.rs` over a scripted kernel: turns, a hand-held clock, clients. One shard, or several that take
//! their turns one after the other.
//!
//! Sleeps as the driver sleeps: a shard that nobody woke and that has nothing due takes no turn, so a lost
//! wake-up is seen. Never decides anything about a connection; that is the shard's.

use crate::client::{Client, HEAD};
use crate::kernel::{Edges, Kernel, Wire};
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use wse_engine::auth::{Decision, Identity};
use wse_engine::id::IdKey;
use wse_engine::shard::{Now, Shard};
use wse_engine::shared::Shared;
use wse_engine::{Config, ConnectionKey, Host};
use wse_protocol::rules::Rules;

/// Turns after which a shard that is still busy is said never to rest.
const MOST_TURNS: usize = 100_000;
/// Where clients come from unless a test says otherwise.
pub const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct Wakes(Arc<AtomicUsize>);

impl Host for Wakes {
    fn wake(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A shard, as the thread of a driver has it.
struct Driven {
    shard: Shard<Wire>,
    is_woken: Arc<AtomicBool>,
    is_busy: bool,
    has_more: bool,
}

/// Shards, their sockets, their clock and their application.
pub struct World {
    pub shared: Arc<Shared>,
    /// How often the host was woken.
    pub wakes: Arc<AtomicUsize>,
    /// The number of the application's last request for topics.
    pub requests: u32,
    now: Now,
    lines: Vec<(ConnectionKey, Rc<RefCell<Kernel>>)>,
    shards: Vec<Driven>,
    /// Sockets that were dealt out to the shards.
    dealt: usize,
}

/// Settings of most tests: one shard, few places, every topic free to take.
pub fn settings() -> Config {
    let topics = Rules { allow: vec!["*".into()], deny: Vec::new() };
    Config { shards: 1, max_connections: 64, max_handshakes: 64, topics, ..Config::default() }
}

impl World {
    pub fn new(config: Config) -> Self {
        Self::seeded(config, 1)
    }

    pub fn seeded(config: Config, seed: u64) -> Self {
        let wakes = Arc::<AtomicUsize>::default();
        let shared = Arc::new(Shared::new(config, Box::new(Wakes(Arc::clone(&wakes))), IdKey::new(seed, 2)));
        let now = Now { millis: 1, unix_ms: 1_700_000_000_000 };
        let shards = (0..shared.config.shards).map(|index| {
            let is_woken = Arc::<AtomicBool>::default();
            let waker = Arc::clone(&is_woken);
            shared.desks[index].mailbox.set_waker(Box::new(move || waker.store(true, Relaxed)));
            let random = fastrand::Rng::with_seed(seed + index as u64);
            let shard = Shard::new(index, Arc::clone(&shared), random, now);
            Driven { shard, is_woken, is_busy: false, has_more: false }
        });
        let shards = shards.collect();
        let mut world = Self { shared, wakes, now, lines: Vec::new(), shards, dealt: 0, requests: 0 };
        world.fall_asleep();
        world
    }

    // ---- the driver ----

    /// One round of each driver's loop up to the moment before it sleeps.
    pub fn turn(&mut self) {
        (0..self.shards.len()).for_each(|index| self.turn_of(index));
    }

    /// The same of one shard.
    fn turn_of(&mut self, index: usize) {
        self.shared.desks[index].mailbox.stay_awake();
        let driven = &mut self.shards[index];
        driven.shard.set_now(self.now);
        for (key, kernel) in self.lines.iter().filter(|(key, _)| key.shard() == index) {
            let edges = std::mem::take(&mut kernel.borrow_mut().edges);
            if edges.any() {
                let Edges { readable, writable, read_closed } = edges;
                driven.shard.ready(*key, readable || read_closed, writable, read_closed);
            }
        }
        driven.has_more = driven.shard.turn();
        self.lines.retain(|(_, kernel)| !kernel.borrow().is_dropped());
    }

    /// The rest of the rounds: each looks for mail once more, as a driver does before it sleeps.
    pub fn fall_asleep(&mut self) {
        (0..self.shards.len()).for_each(|index| self.fall_asleep_of(index));
    }

    fn fall_asleep_of(&mut self, index: usize) {
        let driven = &mut self.shards[index];
        driven.is_busy = self.shared.desks[index].mailbox.fall_asleep() || driven.has_more;
    }

    /// A whole round of one driver's loop, while the others sleep; `nth` picks it.
    pub fn turn_and_sleep(&mut self, nth: usize) {
        let index = nth % self.shards.len();
        self.turn_of(index);
        self.fall_asleep_of(index);
    }

    fn is_roused(&mut self, index: usize) -> bool {
        let driven = &mut self.shards[index];
        let is_due = driven.shard.next_due().is_some_and(|due| due <= self.now.millis);
        let mut own = self.lines.iter().filter(|(key, _)| key.shard() == index);
        let is_ready = own.any(|(_, kernel)| kernel.borrow().edges.any());
        driven.is_woken.swap(false, Relaxed) || driven.is_busy || is_due || is_ready
    }

    /// Whoever reads by itself takes what has arrived.
    pub fn let_clients_read(&self) {
        for (_, kernel) in &self.lines {
            let mut kernel = kernel.borrow_mut();
            if kernel.is_reading {
                kernel.drain(usize::MAX);
            }
        }
    }

    /// A client that does not read by itself reads `bytes`, one by one.
    pub fn let_read(&mut self, client: &Client, bytes: usize) {
        for _ in 0..bytes {
            client.kernel().drain(1);
            self.settle();
        }
    }

    /// Takes turns until nothing is left to do at this moment.
    pub fn settle(&mut self) {
        for _ in 0..MOST_TURNS {
            self.let_clients_read();
            let roused = (0..self.shards.len()).filter(|index| self.is_roused(*index)).collect::<Vec<_>>();
            if roused.is_empty() {
                return;
            }
            let kernels = self.lines.iter().map(|(_, kernel)| Rc::clone(kernel)).collect::<Vec<_>>();
            roused.into_iter().for_each(|index| self.turn_and_sleep(index));
            // What a socket took before it was dropped still reaches a peer that reads.
            for kernel in kernels {
                let mut kernel = kernel.borrow_mut();
                if kernel.is_reading {
                    kernel.drain(usize::MAX);
                }
            }
        }
        panic!("the shards never come to rest");
    }

    /// Lets `millis` pass, with a turn for everything that comes due.
    pub fn pass(&mut self, millis: u64) {
        let until = self.now.millis + millis;
        self.settle();
        while let Some(due) = self.next_due().filter(|due| *due <= until) {
            self.set_clock(due);
            self.settle();
        }
        self.set_clock(until);
        self.settle();
    }

    /// When something has to be done by itself, in milliseconds.
    pub fn next_due(&self) -> Option<u64> {
        self.shards.iter().filter_map(|driven| driven.shard.next_due()).min()
    }

    /// Whether every shard has ended.
    pub fn is_done(&self) -> bool {
        self.shards.iter().all(|driven| driven.shard.is_done())
    }

    /// Connections, those with an unfinished handshake too.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|driven| driven.shard.len()).sum()
    }

    /// The moment.
    pub fn now(&self) -> Now {
        self.now
    }

    fn set_clock(&mut self, millis: u64) {
        let step = millis.saturating_sub(self.now.millis);
        self.now = Now { millis: self.now.millis + step, unix_ms: self.now.unix_ms + step };
    }

    // ---- clients ----

    /// A client that has connected and said nothing.
    pub fn accept(&mut self) -> Client {
        self.take_in(PEER, "", Decision::Open)
    }

    /// A socket with what the host read and decided, for the shard whose turn it is.
    pub fn take_in(&mut self, peer: IpAddr, head: &str, decision: Decision) -> Client {
        let index = self.dealt % self.shards.len();
        self.dealt += 1;
        let Driven { shard, is_busy, .. } = &mut self.shards[index];
        shard.set_now(self.now);
        let kernel = Rc::new(RefCell::new(Kernel::new()));
        let key = shard.accept(Wire(Rc::clone(&kernel)), peer, head.into(), decision).map(|(key, _)| key);
        if let Some(key) = key {
            kernel.borrow_mut().edges.writable = true;
            self.lines.push((key, Rc::clone(&kernel)));
            // The driver accepts inside a round, so the turn follows.
            *is_busy = true;
        }
        Client::new(key, kernel)
    }

    /// An open connection.
    pub fn connect(&mut self) -> Client {
        let client = self.accept();
        client.write(HEAD.as_bytes());
        self.settle();
        assert_eq!(client.status(), 101);
        client
    }

    /// An open connection of `user`, who the host knows.
    pub fn connect_as(&mut self, user: &str) -> Client {
        let client = self.knock_as(user, "");
        self.settle();
        client
    }

    /// A connection of `user` whose browser calls itself `agent`; not settled.
    pub fn knock_as(&mut self, user: &str, agent: &str) -> Client {
        self.knock_with(user, &format!("User-Agent: {agent}\r\n"), "")
    }

    /// A connection of `user` whose request has these header fields and this query; not settled.
    pub fn knock_with(&mut self, user: &str, fields: &str, query: &str) -> Client {
        let head = HEAD.replace("Host: a\r\n", &format!("Host: a\r\n{fields}"));
        let head = head.replace("/wse", &format!("/wse?{query}"));
        self.take_in(PEER, &head, Decision::Granted(identity(user)))
    }

    /// An open connection that holds `topic`.
    pub fn connect_to(&mut self, topic: &str) -> Client {
        let client = self.connect();
        client.subscribe(&[topic]);
        self.settle();
        client
    }

    // ---- what can be seen from outside ----

    /// Open connections.
    pub fn open(&self) -> usize {
        self.shared.metrics.connections.load(Relaxed)
    }

    /// Whether the application may send to this connection.
    pub fn is_open(&self, key: ConnectionKey) -> bool {
        self.shared.desks[key.shard()].seats.high(key).is_some()
    }

    /// Whether anyone holds `topic`.
    pub fn has_topic(&self, topic: &str) -> bool {
        self.shared.topics.get(topic).is_some()
    }

    /// Verifies that nothing is left of any connection: no socket, seat, place, topic, user, or byte.
    pub fn assert_nothing_is_left(&self, users: &[&str]) {
        let metrics = &self.shared.metrics;
        assert_eq!(self.len(), 0, "connections in the slabs");
        assert!(self.shared.topics.is_empty(), "{} topics are left", self.shared.topics.len());
        assert_eq!(self.open(), 0, "places among the open connections");
        for (index, desk) in self.shared.desks.iter().enumerate() {
            assert_eq!(desk.seats.open_keys(index).count(), 0, "seats");
        }
        assert_eq!(value(&metrics.connections_total), value(&metrics.disconnections_total));
        assert_eq!(self.shared.budget.used(), 0, "bytes of the memory budget");
        assert_eq!(self.shared.partial_bytes(), 0, "bytes of unfinished messages");
        assert_eq!(value(&metrics.panics_total), 0);
        for user in users {
            assert_eq!(self.shared.users.connections(user), [], "connections of {user}");
        }
    }
}

/// The value of a counter.
pub fn value(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

/// Who `user` is.
pub fn identity(user: &str) -> Identity {
    Identity::decided(Some(user.into()), "{}".into())
}
