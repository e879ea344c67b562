//! The engines of one JavaScript environment, by handle.
//!
//! An environment has one thread, so its engines are that thread's; an environment that ends, a worker for
//! instance, takes its engines with it.

use crate::error::coded;
use napi::bindgen_prelude::{Env, Result};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wse_engine::Engine;

/// An engine, and what JavaScript has of it.
pub struct Instance {
    /// The engine.
    pub engine: Engine,
    /// The bytes of the batch that was drained last.
    pub drained: RefCell<Vec<u8>>,
}

thread_local! {
    static INSTANCES: RefCell<Vec<Option<Rc<Instance>>>> = const { RefCell::new(Vec::new()) };
    static HAS_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Keeps `engine`; returns its handle.
pub fn add(env: &Env, engine: Engine) -> Result<u32> {
    if !HAS_HOOK.replace(true) {
        env.add_env_cleanup_hook((), |()| INSTANCES.with(|instances| instances.borrow_mut().clear()))?;
    }
    let instance = Some(Rc::new(Instance { engine, drained: RefCell::default() }));
    INSTANCES.with(|instances| {
        let mut instances = instances.borrow_mut();
        let free = instances.iter().position(Option::is_none);
        let handle = free.unwrap_or(instances.len());
        match free {
            Some(free) => instances[free] = instance,
            None => instances.push(instance),
        }
        Ok(handle as u32)
    })
}

/// Forgets the engine of `handle`, which ends with its last use.
pub fn remove(handle: u32) {
    let removed =
        INSTANCES.with(|instances| instances.borrow_mut().get_mut(handle as usize).and_then(Option::take));
    drop(removed);
}

/// Runs `work` on the engine of `handle`.
pub fn with<T>(handle: u32, work: impl FnOnce(&Instance) -> Result<T>) -> Result<T> {
    INSTANCES.with(|instances| match instances.borrow().get(handle as usize) {
        Some(Some(instance)) => work(instance),
        _ => Err(coded("WSE_SERVER_CLOSED", "the server is closed")),
    })
}
