//! Which types of message the application answers itself.
//!
//! Knows names only: what is the engine's alone is decided where messages are read. Bounded by what the
//! application names.

use hashbrown::HashSet;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The types that were taken over from the engine.
#[derive(Debug, Default)]
pub struct Handled {
    /// Whether there are any: most applications have none, and then no lock is taken for a message.
    has_any: AtomicBool,
    types: RwLock<HashSet<Box<str>>>,
}

impl Handled {
    /// Takes a type over, or gives it back: for messages that are read from now on.
    pub fn set(&self, kind: &str, is_handled: bool) {
        let mut types = self.types.write();
        if is_handled {
            types.insert(kind.into());
        } else {
            types.remove(kind);
        }
        self.has_any.store(!types.is_empty(), Relaxed);
    }

    /// Whether messages of this type are the application's to answer.
    pub fn has(&self, kind: &str) -> bool {
        self.has_any.load(Relaxed) && self.types.read().contains(kind)
    }

    /// The types, in the order of their names.
    pub fn types(&self) -> Vec<String> {
        let mut types = self.types.read().iter().map(ToString::to_string).collect::<Vec<_>>();
        types.sort_unstable();
        types
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_handled_until_it_is_given_back() {
        let handled = Handled::default();
        assert!(!handled.has("chat"));
        handled.set("chat", true);
        handled.set("order", true);
        handled.set("chat", true);
        assert_eq!(handled.types(), ["chat", "order"]);
        handled.set("chat", false);
        assert!(!handled.has("chat") && handled.has("order"));
        handled.set("order", false);
        assert!(!handled.has("order"));
    }
}
