//! The gate, under the lock of its handle as IOCP has it: one worker at a time, everything once, in the order of entry.

use super::check;
use crate::{
    gate::Gate,
    sync::{Mutex, MutexGuard},
};
use loom::{cell::UnsafeCell, thread};
use std::{collections::VecDeque, sync::Arc};

struct Rig {
    state: Mutex<State>,
    /// What the program keeps for the handle, without a lock of its own: loom objects to two who are here at once.
    program: UnsafeCell<Vec<u32>>,
}

struct State {
    gate: Gate<u32>,
    entered: u32,
}

impl Rig {
    fn new() -> Arc<Self> {
        let state = State { gate: Gate::default(), entered: 0 };
        Arc::new(Self { state: Mutex::new(state), program: UnsafeCell::new(Vec::new()) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A completion comes up; numbers are in the order in which they do.
    fn enter(&self, worker: u32, ready: &mut VecDeque<u32>) {
        let mut state = self.lock();
        let number = state.entered;
        state.entered += 1;
        state.gate.enter(worker, number, ready);
    }

    /// Hands out what is ready in batches of `batch`, and leaves the gate once for each item at the next wait, until nothing is left.
    fn hand_out(&self, worker: u32, ready: &mut VecDeque<u32>, batch: usize) {
        while !ready.is_empty() {
            let delivered = ready.len().min(batch);
            for number in ready.drain(..delivered) {
                // SAFETY: loom checks that nobody else is here.
                self.program.with_mut(|program| unsafe { (*program).push(number) });
            }
            for _ in 0..delivered {
                self.lock().gate.leave(worker, ready);
            }
        }
    }

    fn expect_all_in_order(&self) {
        let state = self.lock();
        assert!(state.gate.is_free(), "somebody holds the gate, or something is parked");
        // SAFETY: loom checks that nobody writes.
        let came = self.program.with(|program| unsafe { (*program).clone() });
        assert_eq!(came, (0..state.entered).collect::<Vec<_>>());
    }
}

fn race(workers: u32, items: u32, batch: usize) {
    check(move || {
        let rig = Rig::new();
        let work = move |rig: &Rig, worker| {
            let mut ready = VecDeque::new();
            (0..items).for_each(|_| rig.enter(worker, &mut ready));
            rig.hand_out(worker, &mut ready, batch);
        };
        let others: Vec<_> = (1..workers)
            .map(|worker| {
                let rig = Arc::clone(&rig);
                thread::spawn(move || work(&rig, worker))
            })
            .collect();
        work(&rig, 0);
        others.into_iter().for_each(|other| other.join().unwrap());
        rig.expect_all_in_order();
    });
}

#[test]
fn two_workers_with_two_completions_each() {
    race(2, 2, 1);
}

#[test]
fn two_workers_hand_out_in_batches() {
    race(2, 2, 2);
}

#[test]
fn three_workers_with_a_completion_each() {
    race(3, 1, 1);
}

/// One worker goes away with what it was given: it is handed on, and comes first.
#[test]
fn a_worker_that_goes_leaves_what_it_has() {
    check(|| {
        let rig = Rig::new();
        let other = Arc::clone(&rig);
        let other = thread::spawn(move || {
            let mut ready = VecDeque::new();
            other.enter(1, &mut ready);
            other.enter(1, &mut ready);
            while let Some(number) = ready.pop_back() {
                other.lock().gate.give_back(1, number);
            }
        });
        let mut ready = VecDeque::new();
        rig.enter(0, &mut ready);
        rig.hand_out(0, &mut ready, 1);
        other.join().unwrap();
        // As whoever reads the estate of the one that left.
        rig.lock().gate.take_over(0, &mut ready);
        rig.hand_out(0, &mut ready, 1);
        rig.expect_all_in_order();
    });
}
