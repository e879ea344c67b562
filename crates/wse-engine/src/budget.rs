//! The memory budget that all queues of an engine share.
//!
//! Counts bytes, never allocates them: whoever holds bytes holds a [`Charge`], and dropping it pays back.

use crate::sync::AtomicUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// Bytes held against a limit. A limit of zero is no limit.
///
/// Sequentially consistent with the flags of [`crate::pressure::Pressure`]: who announces that it waits and then finds no
/// room is told by whoever makes some.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    /// An empty budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit })
    }

    /// Bytes held now.
    pub fn used(&self) -> usize {
        self.used.load(SeqCst)
    }

    /// The limit in bytes; zero: none.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Holds `bytes`, or `None` when they would not fit: the newcomer gives way.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        // What does not fit is never added: who looks meanwhile whether there is room must not be misled.
        let fits = |used| Some(used + bytes).filter(|sum| self.limit == 0 || *sum <= self.limit);
        self.used.fetch_update(SeqCst, SeqCst, fits).ok()?;
        Some(Charge { budget: Arc::clone(self), bytes })
    }
}

/// Bytes held against a [`Budget`] until this is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// Nothing yet, of what will have its room whether there is some or not: others give way.
    pub fn nothing(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// What it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds `bytes` more.
    pub fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.budget.used.fetch_add(bytes, SeqCst);
    }

    /// Gives `bytes` of it back.
    pub fn shrink(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.budget.used.fetch_sub(bytes, SeqCst);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_does_not_fit_and_takes_back_what_is_dropped() {
        let budget = Budget::new(100);
        let held = budget.charge(60).expect("60 of 100 fit");
        assert!(budget.charge(41).is_none());
        assert_eq!(budget.used(), 60);
        drop(held);
        assert_eq!(budget.used(), 0);
        assert!(budget.charge(100).is_some());
    }
}
