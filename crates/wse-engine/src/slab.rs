//! Where a shard keeps its connections: pages that are given back when their last occupant leaves.
//!
//! Low slots are used first, so that a server that was once full shrinks again.

const PAGE: usize = 64;

struct Page<T> {
    taken: u64,
    places: [Option<T>; PAGE],
}

/// A slab of `T` with stable slots. Bounded by the capacity that it is made with.
pub struct Slab<T> {
    pages: Vec<Option<Box<Page<T>>>>,
    /// No page before this one has a free place.
    first_free: usize,
    capacity: usize,
    len: usize,
}

impl<T> Slab<T> {
    /// An empty slab; `capacity` is rounded up to whole pages.
    pub fn new(capacity: usize) -> Self {
        Self { pages: Vec::new(), first_free: 0, capacity: capacity.next_multiple_of(PAGE), len: 0 }
    }

    /// How many places are taken.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no place is taken.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slot that `insert` will use; `None` when the slab is full.
    pub fn vacant(&mut self) -> Option<usize> {
        while let Some(page) = self.pages.get(self.first_free) {
            match page {
                Some(page) if page.taken == u64::MAX => self.first_free += 1,
                Some(page) => return Some(self.first_free * PAGE + page.taken.trailing_ones() as usize),
                None => return Some(self.first_free * PAGE),
            }
        }
        let slot = self.first_free * PAGE;
        (slot < self.capacity).then_some(slot)
    }

    /// Puts `value` into the vacant `slot`.
    pub fn insert(&mut self, slot: usize, value: T) -> &mut T {
        let (page, place) = (slot / PAGE, slot % PAGE);
        if page == self.pages.len() {
            self.pages.push(None);
        }
        let page = self.pages[page]
            .get_or_insert_with(|| Box::new(Page { taken: 0, places: std::array::from_fn(|_| None) }));
        debug_assert_eq!(page.taken & 1 << place, 0, "the slot is vacant");
        page.taken |= 1 << place;
        self.len += 1;
        page.places[place].insert(value)
    }

    /// What sits at `slot`.
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.pages.get_mut(slot / PAGE)?.as_mut()?.places[slot % PAGE].as_mut()
    }

    /// Takes out what sits at `slot`; frees its page when it was the last one.
    pub fn remove(&mut self, slot: usize) -> Option<T> {
        let (index, place) = (slot / PAGE, slot % PAGE);
        let entry = self.pages.get_mut(index)?;
        let page = entry.as_mut()?;
        let value = page.places[place].take()?;
        page.taken &= !(1 << place);
        if page.taken == 0 {
            *entry = None;
        }
        self.first_free = self.first_free.min(index);
        self.len -= 1;
        Some(value)
    }

    /// All taken slots.
    pub fn slots(&self) -> Vec<usize> {
        let taken = |page: &Option<Box<Page<T>>>| page.as_ref().map_or(0, |page| page.taken);
        let bits = |taken: u64| (0..PAGE).filter(move |place| taken & 1 << place != 0);
        self.pages
            .iter()
            .enumerate()
            .flat_map(|(i, page)| bits(taken(page)).map(move |p| i * PAGE + p))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_low_slots_first_and_gives_empty_pages_back() {
        let mut slab = Slab::new(130);
        for n in 0..192 {
            let slot = slab.vacant().expect("room for 192, whole pages");
            assert_eq!(slot, n);
            slab.insert(slot, n);
        }
        assert_eq!(slab.vacant(), None);
        for slot in 64..128 {
            assert_eq!(slab.remove(slot), Some(slot));
        }
        assert!(slab.pages[1].is_none());
        assert_eq!(slab.remove(5), Some(5));
        assert_eq!(slab.vacant(), Some(5));
        assert_eq!(slab.len(), 127);
        assert_eq!(slab.slots().len(), 127);
    }
}
