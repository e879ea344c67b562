//! One shard, seen from other threads: who sits there, what waits for it, and what waits for the application.
//!
//! Wakes the shard when there is something for it, and only if it sleeps. Never looks at a connection.

use crate::command::Command;
use crate::inbound::Inbound;
use crate::seats::Seats;
use crate::sync::{AtomicBool, AtomicUsize, Mutex};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;

/// Commands that wait for a shard.
#[derive(Default)]
pub struct Mailbox {
    commands: Mutex<Vec<Command>>,
    is_asleep: AtomicBool,
    /// Woken since it last looked: a wake-up that finds the shard awake is not lost.
    is_called: AtomicBool,
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Commands after which a shard is woken although its publisher has not finished its turn.
const IMPATIENT: usize = 512;

impl Mailbox {
    /// Leaves a command. The shard finds it at its next turn, or after [`Mailbox::wake`].
    pub fn push(&self, command: Command) {
        let mut commands = self.commands.lock();
        commands.push(command);
        let is_long = commands.len().is_multiple_of(IMPATIENT);
        drop(commands);
        if is_long {
            self.wake();
        }
    }

    /// Whether there is a shard that reads what is left here.
    pub fn has_reader(&self) -> bool {
        self.waker.get().is_some()
    }

    /// Takes all commands, in exchange for the empty `room`.
    pub fn take(&self, room: Vec<Command>) -> Vec<Command> {
        debug_assert!(room.is_empty(), "nothing is left behind");
        std::mem::replace(&mut *self.commands.lock(), room)
    }

    /// Whether commands wait.
    pub fn has_mail(&self) -> bool {
        !self.commands.lock().is_empty()
    }

    /// Commands that wait.
    pub fn len(&self) -> usize {
        self.commands.lock().len()
    }

    /// Whether no command waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says how the shard is woken; once, before the shard sleeps for the first time.
    pub fn set_waker(&self, waker: Box<dyn Fn() + Send + Sync>) {
        let is_first = self.waker.set(waker).is_ok();
        debug_assert!(is_first, "a mailbox has one shard");
    }

    /// The shard is about to sleep. `true`: there is mail, or somebody called, and nobody will wake it for that.
    pub fn fall_asleep(&self) -> bool {
        self.is_asleep.store(true, SeqCst);
        // Looked for after the announcement: what comes behind this wakes.
        self.is_called.swap(false, SeqCst) || self.has_mail()
    }

    /// The shard is awake: its next turn sees everything that happened before, calls included.
    pub fn stay_awake(&self) {
        self.is_asleep.store(false, SeqCst);
        // Not a store: a call that is overwritten must not be forgotten without what it was about.
        self.is_called.swap(false, SeqCst);
    }

    /// Wakes the shard if it sleeps.
    pub fn wake(&self) {
        self.is_called.store(true, SeqCst);
        if self.is_asleep.swap(false, SeqCst)
            && let Some(waker) = self.waker.get()
        {
            waker();
        }
    }
}

/// How long the longest outbound queue of a shard is.
#[derive(Debug, Default)]
pub struct Longest {
    /// Messages.
    pub messages: AtomicUsize,
    /// Bytes.
    pub bytes: AtomicUsize,
}

/// One shard, seen from other threads.
pub struct Desk {
    /// Who sits where.
    pub seats: Seats,
    /// What waits for the application.
    pub inbound: Inbound,
    /// What waits for the shard.
    pub mailbox: Mailbox,
    /// The longest outbound queue.
    pub longest: Longest,
    /// Bytes of messages whose end has not come; written by the shard alone.
    pub partial: AtomicUsize,
}

impl Desk {
    /// The desk of a shard with `slots` places.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            seats: Seats::new(slots),
            inbound: Inbound::default(),
            mailbox: Mailbox::default(),
            longest: Longest::default(),
            partial: AtomicUsize::new(0),
        }
    }
}
