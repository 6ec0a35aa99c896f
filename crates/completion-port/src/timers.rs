//! Deadlines, soonest first: an indexed heap, so that cancelling costs no more than setting and leaves nothing behind.

use crate::identity::Token;
use std::time::Duration;

/// The place of what has no deadline.
const NOWHERE: u32 = u32::MAX;

/// Deadlines of operations. Bounded by the limit of operations: each has at most one.
#[derive(Default)]
pub(crate) struct Timers {
    heap: Vec<(Duration, Token)>,
    /// Where in the heap an operation's deadline is, by the index of the token: as long as the highest of them needs, however often
    /// deadlines come and go. A hash map takes more memory now and then though it holds no more: removing leaves marks in it.
    places: Vec<u32>,
}

impl Timers {
    /// Sets the deadline of `token`, replacing an earlier one.
    pub(crate) fn set(&mut self, token: Token, deadline: Duration) {
        let index = token.index() as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, NOWHERE);
        }
        if let Some(&(_, earlier)) = self.heap.get(self.places[index] as usize) {
            self.remove(earlier);
        }
        self.heap.push((deadline, token));
        let place = self.heap.len() - 1;
        self.note(place);
        self.rise(place);
    }

    pub(crate) fn remove(&mut self, token: Token) -> bool {
        let index = token.index() as usize;
        let Some(place) = self.places.get(index).map(|&place| place as usize) else { return false };
        if self.heap.get(place).is_none_or(|&(_, found)| found != token) {
            return false;
        }
        self.places[index] = NOWHERE;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.note(place);
            self.rise(place);
            self.sink(place);
        }
        true
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.heap.first().map(|(deadline, _)| *deadline)
    }

    /// Takes a token whose deadline is at or before `now`, soonest first.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<Token> {
        let &(deadline, token) = self.heap.first()?;
        if deadline > now {
            return None;
        }
        self.remove(token);
        Some(token)
    }

    fn note(&mut self, place: usize) {
        self.places[self.heap[place].1.index() as usize] = place as u32;
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.note(a);
        self.note(b);
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

    #[test]
    fn memory_grows_with_the_operations_and_not_with_their_coming_and_going() {
        let mut timers = Timers::default();
        let mut capacities = Vec::new();
        for generation in 0..1_000 {
            for index in 0..48 {
                timers.set(Token::new(0, index, generation), Duration::from_nanos(u64::from(index * 7 % 48)));
            }
            while timers.pop(Duration::MAX).is_some() {}
            capacities.push((timers.heap.capacity(), timers.places.capacity()));
        }
        capacities.dedup();
        assert_eq!(capacities.len(), 1);
    }

    proptest! {
        /// One deadline for an index: a successor's takes the place of a stale one.
        #[test]
        fn agrees_with_a_sorted_map(
            steps in prop::collection::vec((0u8..3, 0u32..30, 0u32..2, 0u64..50), 0..300)
        ) {
            let mut timers = Timers::default();
            let mut model: BTreeMap<u32, (Token, Duration)> = BTreeMap::new();
            for (step, index, generation, time) in steps {
                let (token, time) = (Token::new(0, index, generation), Duration::from_nanos(time));
                match step {
                    0 => { timers.set(token, time); model.insert(index, (token, time)); }
                    1 => {
                        let known = model.get(&index).is_some_and(|(known, _)| *known == token);
                        prop_assert_eq!(timers.remove(token), known);
                        if known { model.remove(&index); }
                    }
                    _ => {
                        let expected = model.values().map(|(token, time)| (*time, *token)).min().filter(|(due, _)| *due <= time);
                        prop_assert_eq!(timers.pop(time), expected.map(|(_, token)| token));
                        if let Some((_, token)) = expected { model.remove(&token.index()); }
                    }
                }
                prop_assert_eq!(timers.next(), model.values().map(|(_, time)| *time).min());
            }
        }
    }
}
