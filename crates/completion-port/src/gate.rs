//! The gate of a handle: what belongs to one handle goes to one worker at a time.

use std::collections::VecDeque;

/// Lets the completions of one handle through to one worker at a time, in the order in which they entered.
///
/// The first completion that enters makes its worker the holder. What enters afterwards goes to the holder if that
/// very worker brought it, and is parked otherwise. The holder leaves once for each item that it was given, when it is done with it; with
/// the last it takes over what was parked meanwhile, or the gate is free.
pub(crate) struct Gate<T> {
    holder: Option<u32>,
    /// Items that the holder was given and has not left yet.
    inside: usize,
    parked: VecDeque<T>,
}

impl<T> Default for Gate<T> {
    fn default() -> Self {
        Self { holder: None, inside: 0, parked: VecDeque::new() }
    }
}

impl<T> Gate<T> {
    /// `worker` brings `item`: it goes to the worker's `ready` items, or is parked.
    pub(crate) fn enter(&mut self, worker: u32, item: T, ready: &mut VecDeque<T>) {
        if self.parked.is_empty() && self.holder.is_none_or(|holder| holder == worker) {
            self.holder = Some(worker);
            self.inside += 1;
            ready.push_back(item);
            return;
        }
        self.parked.push_back(item);
        self.take_over(worker, ready);
    }

    /// `worker` is done with one item. With the last, what is parked moves to its `ready` items.
    pub(crate) fn leave(&mut self, worker: u32, ready: &mut VecDeque<T>) {
        if self.holder != Some(worker) {
            return;
        }
        self.inside -= 1;
        if self.inside == 0 {
            self.holder = None;
            self.take_over(worker, ready);
        }
    }

    /// `worker` goes away before it handed `item` on: back to the head of the queue. Return the latest item first.
    pub(crate) fn give_back(&mut self, worker: u32, item: T) {
        self.parked.push_front(item);
        if self.holder == Some(worker) {
            self.inside -= 1;
            if self.inside == 0 {
                self.holder = None;
            }
        }
    }

    /// If nobody holds the gate and something is parked, `worker` becomes the holder and gets it.
    pub(crate) fn take_over(&mut self, worker: u32, ready: &mut VecDeque<T>) {
        if self.holder.is_none() && !self.parked.is_empty() {
            self.holder = Some(worker);
            self.inside = self.parked.len();
            ready.append(&mut self.parked);
        }
    }

    /// Nobody holds the gate, and nothing is parked.
    pub(crate) fn is_free(&self) -> bool {
        self.holder.is_none() && self.parked.is_empty()
    }

    /// Something waits for the holder to leave.
    #[cfg(all(unix, feature = "simulation"))]
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// What is parked, when the gate is no more.
    #[cfg(all(unix, feature = "simulation"))]
    pub(crate) fn into_parked(self) -> VecDeque<T> {
        self.parked
    }

    /// Something is parked that nobody will come back for by himself.
    #[cfg(test)]
    fn is_abandoned(&self) -> bool {
        self.holder.is_none() && !self.parked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_others_bring_is_parked_until_the_holder_leaves() {
        let (mut gate, mut first, mut second) = (Gate::default(), VecDeque::new(), VecDeque::new());
        gate.enter(1, 'a', &mut first);
        gate.enter(2, 'b', &mut second);
        // Behind what is parked already, although the holder brought it.
        gate.enter(1, 'c', &mut first);
        assert_eq!((first.make_contiguous(), second.len()), (&mut ['a'][..], 0));
        gate.leave(2, &mut second);
        assert!(second.is_empty(), "who does not hold the gate cannot leave it");
        gate.leave(1, &mut first);
        assert_eq!(first, ['a', 'b', 'c']);
        gate.leave(1, &mut first);
        assert!(!gate.is_free(), "one of the two items is still inside");
        gate.leave(1, &mut first);
        assert!(gate.is_free());
        gate.enter(2, 'd', &mut second);
        assert_eq!(second, ['d']);
    }

    #[test]
    fn what_a_leaving_worker_gives_back_comes_first() {
        let (mut gate, mut first, mut second) = (Gate::default(), VecDeque::new(), VecDeque::new());
        gate.enter(1, 1, &mut first);
        gate.enter(1, 2, &mut first);
        gate.enter(2, 3, &mut second);
        while let Some(item) = first.pop_back() {
            gate.give_back(1, item);
        }
        assert!(gate.is_abandoned());
        gate.enter(2, 4, &mut second);
        assert_eq!(second, [1, 2, 3, 4]);
        assert!(!gate.is_abandoned() && !gate.is_free());
    }

    proptest! {
        /// Whatever the interleaving: one holder at a time, everything comes out once, in the order of entry.
        #[test]
        fn one_at_a_time_and_in_order(steps in prop::collection::vec((0u32..3, any::<bool>()), 0..200)) {
            let mut gate = Gate::default();
            let mut ready: [VecDeque<u32>; 3] = Default::default();
            let mut delivered = [0u32; 3];
            let (mut entered, mut out) = (0, Vec::new());
            for (worker, enters) in steps {
                let at = worker as usize;
                if enters {
                    gate.enter(worker, entered, &mut ready[at]);
                    entered += 1;
                } else {
                    for _ in 0..std::mem::take(&mut delivered[at]) {
                        gate.leave(worker, &mut ready[at]);
                    }
                    delivered[at] = ready[at].len() as u32;
                    out.extend(ready[at].drain(..));
                }
                let holding = (0..3).filter(|&at| delivered[at] > 0 || !ready[at].is_empty()).count();
                prop_assert!(holding <= 1, "{holding} workers have items of one handle");
            }
            for _ in 0..3 {
                for worker in 0..3 {
                    for _ in 0..std::mem::take(&mut delivered[worker]) {
                        gate.leave(worker as u32, &mut ready[worker]);
                    }
                    delivered[worker] = ready[worker].len() as u32;
                    out.extend(ready[worker].drain(..));
                }
            }
            prop_assert!(gate.is_free());
            prop_assert_eq!(out, (0..entered).collect::<Vec<_>>());
        }
    }
}
