//! How real threads wait for a world: a count of what happened, and a place to sleep until it changes.

use crate::buffer::Wake;
use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Rung when something changed. Its lock is its own, so that a buffer that returns may ring it wherever that happens.
#[derive(Default)]
pub(crate) struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
    sleepers: AtomicUsize,
}

/// Hears every ring from its beginning on.
pub(crate) struct Listening<'a> {
    bell: &'a Bell,
    rings: u64,
}

impl Bell {
    /// Begins to listen. Look whether there is a reason to sleep only then.
    pub(crate) fn listen(&self) -> Listening<'_> {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        Listening { bell: self, rings: *self.rings.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    pub(crate) fn ring(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            *self.rings.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.rung.notify_all();
        }
    }
}

impl Listening<'_> {
    /// Sleeps until the bell is rung, or was since this listens; or for `longest`. Whether it was rung.
    pub(crate) fn sleep(self, longest: Option<Duration>) -> bool {
        let mut now = self.bell.rings.lock().unwrap_or_else(PoisonError::into_inner);
        while *now == self.rings {
            let Some(longest) = longest else {
                now = self.bell.rung.wait(now).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (guard, waited) =
                self.bell.rung.wait_timeout(now, longest).unwrap_or_else(PoisonError::into_inner);
            now = guard;
            if waited.timed_out() {
                break;
            }
        }
        *now != self.rings
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.bell.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Wake for Bell {
    fn wake(&self) -> bool {
        self.ring();
        true
    }
}
