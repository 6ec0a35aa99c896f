//! Deadlines, soonest first: an indexed heap, so that cancelling costs no more than setting and leaves nothing behind.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

/// Deadlines by token bits. Bounded by the limit of operations: each has at most one.
#[derive(Default)]
pub(crate) struct Timers {
    heap: Vec<(Duration, u64)>,
    places: HashMap<u64, u32, BuildHasherDefault<Mixer>>,
}

/// Tokens are distinct already; they only have to be spread.
#[derive(Default)]
pub(crate) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }
    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

impl Timers {
    /// Sets the deadline of `token`, replacing an earlier one.
    pub(crate) fn set(&mut self, token: u64, deadline: Duration) {
        self.remove(token);
        self.heap.push((deadline, token));
        let place = self.heap.len() - 1;
        self.places.insert(token, place as u32);
        self.rise(place);
    }

    pub(crate) fn remove(&mut self, token: u64) -> bool {
        let Some(place) = self.places.remove(&token) else { return false };
        let place = place as usize;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.places.insert(self.heap[place].1, place as u32);
            self.rise(place);
            self.sink(place);
        }
        true
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.heap.first().map(|(deadline, _)| *deadline)
    }

    /// Takes a token whose deadline is at or before `now`, soonest first.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<u64> {
        let &(deadline, token) = self.heap.first()?;
        if deadline > now {
            return None;
        }
        self.remove(token);
        Some(token)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.places.insert(self.heap[a].1, a as u32);
        self.places.insert(self.heap[b].1, b as u32);
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 && self.heap[place] < self.heap[(place - 1) / 2] {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let left = 2 * place + 1;
            let Some(mut least) = (left < self.heap.len()).then_some(left) else { return };
            if left + 1 < self.heap.len() && self.heap[left + 1] < self.heap[left] {
                least = left + 1;
            }
            if self.heap[place] <= self.heap[least] {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn agrees_with_a_sorted_map(steps in prop::collection::vec((0u8..3, 0u64..30, 0u64..50), 0..300)) {
            let mut timers = Timers::default();
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            for (step, token, time) in steps {
                match step {
                    0 => { timers.set(token, Duration::from_nanos(time)); model.insert(token, time); }
                    1 => prop_assert_eq!(timers.remove(token), model.remove(&token).is_some()),
                    _ => {
                        let expected = model.iter().map(|(token, time)| (*time, *token)).min().filter(|(due, _)| *due <= time);
                        prop_assert_eq!(timers.pop(Duration::from_nanos(time)), expected.map(|(_, token)| token));
                        if let Some((_, token)) = expected { model.remove(&token); }
                    }
                }
                prop_assert_eq!(timers.next(), model.values().min().map(|time| Duration::from_nanos(*time)));
            }
        }
    }
}
