//! What a shard has to look at when: one entry for each connection, looked at again when it comes up.
//!
//! An entry only says "look at this slot"; what is due then follows from the connection's own state, so
//! activity never moves an entry and costs nothing here.

use std::collections::BTreeMap;

/// Milliseconds that share one page; a page comes up whole, so nothing is looked at earlier than asked.
const PAGE_MS: u64 = 8;

/// Slots to look at, by time. Bounded by the caller: one live entry a connection, stale ones end on their page.
#[derive(Debug, Default)]
pub struct Calendar {
    pages: BTreeMap<u64, Vec<u32>>,
}

impl Calendar {
    /// Notes `slot` for `at` (milliseconds); returns the page, by which a stale entry is told from the live one.
    pub fn note(&mut self, slot: usize, at: u64) -> u64 {
        let page = at.div_ceil(PAGE_MS);
        self.pages.entry(page).or_default().push(slot as u32);
        page
    }

    /// The page that `at` would be noted on.
    pub fn page(at: u64) -> u64 {
        at.div_ceil(PAGE_MS)
    }

    /// When the next page comes up, in milliseconds.
    pub fn next(&self) -> Option<u64> {
        self.pages.keys().next().map(|page| page * PAGE_MS)
    }

    /// Takes the first page that is due at `now`: its number and its slots.
    pub fn take_due(&mut self, now: u64) -> Option<(u64, Vec<u32>)> {
        let entry = self.pages.first_entry()?;
        (*entry.key() * PAGE_MS <= now).then(|| entry.remove_entry())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_up_in_order_and_never_early() {
        let mut calendar = Calendar::default();
        calendar.note(7, 100);
        calendar.note(3, 20);
        assert_eq!(calendar.next(), Some(24));
        assert_eq!(calendar.take_due(20), None);
        assert_eq!(calendar.take_due(24), Some((3, vec![3])));
        assert_eq!(calendar.take_due(24), None);
        assert_eq!(calendar.take_due(1_000), Some((13, vec![7])));
        assert_eq!(calendar.next(), None);
    }
}
