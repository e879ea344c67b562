//! The engines of one JavaScript environment, by handle.
//!
//! An environment has one thread, so its engines are that thread's; an environment that ends, a worker for
//! instance, takes its engines with it.

use crate::error::coded;
use napi::bindgen_prelude::{Env, Result};
use std::cell::{Cell, RefCell};
use wse_engine::Engine;
use wse_engine::id::IdKey;
use wse_engine::streams::Streams;

/// An engine, and what JavaScript has of it.
pub struct Instance {
    /// The engine.
    pub engine: Engine,
    /// The bytes of the batch that was drained last.
    pub drained: RefCell<Vec<u8>>,
    /// The sockets that JavaScript carries, from the first one on.
    pub streams: RefCell<Option<Streams>>,
}

enum Slot {
    Running(Box<Instance>),
    /// An event outlives its engine, and names its connection still.
    Closed(IdKey),
}

thread_local! {
    static SLOTS: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
    static HAS_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Keeps `engine`; returns its handle, which no other engine ever gets.
pub fn add(env: &Env, engine: Engine) -> Result<u32> {
    if !HAS_HOOK.replace(true) {
        env.add_env_cleanup_hook((), |()| drop(SLOTS.with(RefCell::take)))?;
    }
    let slot = Slot::Running(Box::new(Instance {
        engine,
        drained: RefCell::default(),
        streams: RefCell::default(),
    }));
    SLOTS.with_borrow_mut(|slots| {
        slots.push(slot);
        Ok(slots.len() as u32 - 1)
    })
}

/// Forgets the engine of `handle`, which ends with its last use; what its connections are called stays known.
pub fn remove(handle: u32) {
    let removed = SLOTS.with_borrow_mut(|slots| match slots.get_mut(handle as usize)? {
        Slot::Closed(_) => None,
        slot @ Slot::Running(_) => {
            let ids = slot.ids();
            Some(std::mem::replace(slot, Slot::Closed(ids)))
        }
    });
    drop(removed);
}

/// Runs `work` on the engine of `handle`.
pub fn with<T>(handle: u32, work: impl FnOnce(&Instance) -> Result<T>) -> Result<T> {
    SLOTS.with_borrow(|slots| match slots.get(handle as usize) {
        Some(Slot::Running(instance)) => work(instance),
        _ => Err(closed()),
    })
}

/// What names the connections of `handle`, whether its engine still runs or not.
pub fn ids(handle: u32) -> Result<IdKey> {
    SLOTS.with_borrow(|slots| slots.get(handle as usize).map(Slot::ids).ok_or_else(closed))
}

impl Slot {
    fn ids(&self) -> IdKey {
        match self {
            Self::Running(instance) => instance.engine.ids(),
            Self::Closed(ids) => *ids,
        }
    }
}

fn closed() -> napi::Error {
    coded("WSE_SERVER_CLOSED", "the server is closed")
}
