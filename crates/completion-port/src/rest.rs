//! When the work of a port that shuts down is over: when no queue has anything left to do.
//!
//! It is not enough that one queue has nothing in flight: its worker must not leave while another queue's may still post to it.

use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
    lock,
};

/// Which queues rest: nothing is in flight there, nothing waits to be handed out, and their workers wait.
pub(crate) struct Rest {
    resting: Mutex<Vec<bool>>,
    over: AtomicBool,
}

impl Rest {
    pub(crate) fn new(queues: usize) -> Self {
        Self { resting: Mutex::new(vec![false; queues]), over: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<bool>> {
        lock(&self.resting)
    }

    /// `queue` has nothing to do now. True if the work is over: if the same was said of all, and `is_done` agrees. It is asked with the
    /// number of each queue, and whether that rests. Once the work is over it stays so.
    pub(crate) fn begin(&self, queue: usize, is_done: impl FnMut(usize, bool) -> bool) -> bool {
        let mut resting = self.lock();
        resting[queue] = true;
        self.judge(&resting, is_done)
    }

    /// As [`Rest::begin`], when something else has changed that `is_done` looks at.
    pub(crate) fn look_again(&self, is_done: impl FnMut(usize, bool) -> bool) -> bool {
        self.judge(&self.lock(), is_done)
    }

    fn judge(&self, resting: &[bool], mut is_done: impl FnMut(usize, bool) -> bool) -> bool {
        let over = self.is_over() || resting.iter().enumerate().all(|(queue, rests)| is_done(queue, *rests));
        if over {
            self.over.store(true, Ordering::Release);
        }
        over
    }

    /// `queue` may find something to do. Called before anything is taken out of its inbox: who finds all inboxes empty then knows that nobody
    /// holds what was in them.
    pub(crate) fn end(&self, queue: usize) {
        self.lock()[queue] = false;
    }

    /// Whether the work is over.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}
