//! What a thread has done since it last told: a counter here costs an addition to memory of the thread's own, and no plumbing.
//!
//! Whoever makes a system call, copies bytes or waits for a lock says so here, wherever that is. A worker moves its thread's counts
//! into its block when a wait ends ([`Block`](crate::counters::Block)), a thread of the pool when a task does.

use crate::counters::SystemCall;
use std::{
    cell::Cell,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

/// Behind the system calls, which have their own numbers.
pub(crate) const CONTENDED_LOCKS: usize = SystemCall::ALL.len();
pub(crate) const COPIED_BYTES: usize = CONTENDED_LOCKS + 1;
pub(crate) const PLACES: usize = COPIED_BYTES + 1;

struct Tally {
    counts: [Cell<u64>; PLACES],
    /// A bit for each count that is not zero.
    touched: Cell<u32>,
}

const _: () = assert!(PLACES <= u32::BITS as usize, "there is a bit for each");

thread_local! {
    static TALLY: Tally =
        const { Tally { counts: [const { Cell::new(0) }; PLACES], touched: Cell::new(0) } };
}

#[inline]
fn add(place: usize, count: u64) {
    TALLY.with(|tally| {
        let cell = &tally.counts[place];
        cell.set(cell.get() + count);
        tally.touched.set(tally.touched.get() | 1 << place);
    });
}

/// A system call is about to be made.
#[inline]
pub(crate) fn call(call: SystemCall) {
    add(call as usize, 1);
}

/// Bytes are copied from memory to memory.
#[inline]
pub(crate) fn copied(bytes: usize) {
    add(COPIED_BYTES, bytes as u64);
}

/// Locks, and counts it where another thread has the lock. A panic of that one does not matter: nothing is left half done under a lock.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => wait_for(mutex),
    }
}

#[cold]
fn wait_for<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    add(CONTENDED_LOCKS, 1);
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells what is there, and forgets it.
pub(crate) fn take(mut tell: impl FnMut(usize, u64)) {
    TALLY.with(|tally| {
        let mut touched = tally.touched.take();
        while touched != 0 {
            let place = touched.trailing_zeros() as usize;
            touched &= touched - 1;
            tell(place, tally.counts[place].take());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken() -> Vec<(usize, u64)> {
        let mut all = Vec::new();
        take(|place, count| all.push((place, count)));
        all
    }

    #[test]
    fn each_thread_tells_its_own_once() {
        taken();
        call(SystemCall::Send);
        call(SystemCall::Send);
        copied(1_000);
        std::thread::spawn(|| assert_eq!(taken(), [])).join().unwrap();
        assert_eq!(taken(), [(SystemCall::Send as usize, 2), (COPIED_BYTES, 1_000)]);
        assert_eq!(taken(), []);
    }

    #[test]
    fn only_a_lock_that_is_held_is_contended() {
        taken();
        let mutex = Mutex::new(0);
        *lock(&mutex) += 1;
        assert_eq!(taken(), []);
        let held = lock(&mutex);
        std::thread::scope(|scope| {
            let (say, said) = std::sync::mpsc::channel();
            let mutex = &mutex;
            let waiting = scope.spawn(move || {
                // Nobody sees it wait but by its count: the lock is tried first, and only then waited for.
                assert!(mutex.try_lock().is_err());
                say.send(()).unwrap();
                drop(wait_for(mutex));
                taken()
            });
            said.recv().unwrap();
            drop(held);
            assert_eq!(waiting.join().unwrap(), [(CONTENDED_LOCKS, 1)]);
        });
    }
}
