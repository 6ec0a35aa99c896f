//! A lock-free stack of block numbers: last in, first out, so that the memory that is warm in the cache is used first.

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::{collections::TryReserveError, sync::atomic::AtomicU32 as Figure};

/// Marks the end of the list.
const NONE: u32 = u32::MAX;
/// In the head: who waits for a block is to be woken by the next that returns.
const AWAITED: u64 = 1 << 63;

/// The free blocks of one size class. The head carries a count beside the number, so that a head that was taken and put back
/// between another thread's look and its exchange is noticed (the ABA problem). It also says whether a block is awaited: so one
/// exchange returns a block and learns whom that concerns.
pub(crate) struct FreeList {
    head: AtomicU64,
    next: Box<[AtomicU32]>,
    available: AtomicU32,
    /// The least that were free at one time. A figure for people, which orders nothing: models need not know of it.
    least: Figure,
}

impl FreeList {
    /// A list in which all of `count` blocks are free, unless there is no memory for it.
    pub(crate) fn new(count: u32) -> Result<Self, TryReserveError> {
        let mut next = Vec::new();
        next.try_reserve_exact(count as usize)?;
        next.extend((1..count).map(AtomicU32::new));
        next.extend((count > 0).then_some(AtomicU32::new(NONE)));
        let first = if count == 0 { NONE } else { 0 };
        Ok(Self {
            head: AtomicU64::new(u64::from(first)),
            next: next.into_boxed_slice(),
            available: AtomicU32::new(count),
            least: count.into(),
        })
    }

    pub(crate) fn pop(&self) -> Option<u32> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let index = head as u32;
            if index == NONE {
                return None;
            }
            let next = self.next[index as usize].load(Ordering::Relaxed);
            let replacement = bump(head) | (head & AWAITED) | u64::from(next);
            match self.head.compare_exchange_weak(head, replacement, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    // Counted too high for a moment by who returns one meanwhile: the figure errs on the side of fewer taken.
                    let left = self.available.fetch_sub(1, Ordering::Relaxed) - 1;
                    if left < self.least.load(Ordering::Relaxed) {
                        self.least.fetch_min(left, Ordering::Relaxed);
                    }
                    return Some(index);
                }
                Err(seen) => head = seen,
            }
        }
    }

    /// Puts a block back. True if one was awaited: that is forgotten with it.
    pub(crate) fn push(&self, index: u32) -> bool {
        // Counted first: the count may be above the truth for a moment, never below zero.
        self.available.fetch_add(1, Ordering::Relaxed);
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            self.next[index as usize].store(head as u32, Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                bump(head) | u64::from(index),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return head & AWAITED != 0,
                Err(seen) => head = seen,
            }
        }
    }

    /// Asks the next [`FreeList::push`] to tell. What was pushed before is there for whoever looks from here on.
    pub(crate) fn await_push(&self) {
        self.head.fetch_or(AWAITED, Ordering::Acquire);
    }

    /// How many are free, for back-pressure and statistics: exact at rest.
    pub(crate) fn available(&self) -> u32 {
        self.available.load(Ordering::Relaxed)
    }

    /// How many were free when they were fewest.
    pub(crate) fn least_available(&self) -> u32 {
        self.least.load(Ordering::Relaxed)
    }
}

fn bump(head: u64) -> u64 {
    ((head >> 32).wrapping_add(1) << 32) & !AWAITED
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn gives_every_number_once_last_returned_first() {
        let list = FreeList::new(3).unwrap();
        let taken = [list.pop(), list.pop(), list.pop(), list.pop()];
        assert_eq!(taken, [Some(0), Some(1), Some(2), None]);
        list.push(1);
        list.push(2);
        assert_eq!((list.available(), list.least_available()), (2, 0));
        assert_eq!([list.pop(), list.pop(), list.pop()], [Some(2), Some(1), None]);
        assert_eq!(FreeList::new(0).unwrap().pop(), None);
    }

    #[test]
    fn one_push_hears_that_it_was_awaited() {
        let list = FreeList::new(2).unwrap();
        // The count beside it may overflow into it and must not.
        list.head.store(u64::MAX >> 1 & !u64::from(u32::MAX), Ordering::Relaxed);
        assert_eq!(list.pop(), Some(0));
        assert!(!list.push(0));
        list.await_push();
        assert_eq!(list.pop(), Some(0), "it stays awaited");
        assert_eq!([list.push(0), list.push(1)], [true, false]);
    }

    #[test]
    fn no_number_is_held_twice_by_racing_threads() {
        let list = FreeList::new(8).unwrap();
        let held: Vec<AtomicBool> = (0..8).map(|_| AtomicBool::new(false)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..20_000u32 {
                        let taken: Vec<u32> = (0..=round % 3).filter_map(|_| list.pop()).collect();
                        for &index in &taken {
                            assert!(
                                !held[index as usize].swap(true, Ordering::SeqCst),
                                "{index} was given twice"
                            );
                        }
                        for &index in &taken {
                            held[index as usize].store(false, Ordering::SeqCst);
                            list.push(index);
                        }
                    }
                });
            }
        });
        assert_eq!(list.available(), 8);
    }
}
