//! The places of a port's workers: who may come, and who waits until all have gone.

use crate::{
    error::ErrorKind,
    shutdown::{Phase, PhaseCell},
    sync::{Condvar, Mutex, MutexGuard, lock},
};
use std::{sync::PoisonError, time::Instant};

/// The seats of all workers of a port.
pub(crate) struct Seats {
    books: Mutex<Books>,
    left: Condvar,
}

struct Books {
    taken: Vec<bool>,
    /// Operations that leaving workers could not bring home.
    leaked: usize,
}

impl Seats {
    pub(crate) fn new(count: usize) -> Self {
        Self { books: Mutex::new(Books { taken: vec![false; count], leaked: 0 }), left: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }

    /// Takes a free seat, unless there is none or the port has begun to shut down.
    pub(crate) fn take(&self, phase: &PhaseCell) -> Result<usize, ErrorKind> {
        let mut books = self.lock();
        // With the lock held: a shutdown that has begun either sees the seat taken, or is seen here.
        if phase.get() != Phase::Running {
            return Err(ErrorKind::ShuttingDown);
        }
        let number = books.taken.iter().position(|taken| !taken).ok_or(ErrorKind::InvalidArgument)?;
        books.taken[number] = true;
        Ok(number)
    }

    /// Gives a seat back, with `leaked` operations that its worker could not bring home.
    pub(crate) fn leave(&self, number: usize, leaked: usize) {
        let mut books = self.lock();
        books.taken[number] = false;
        books.leaked += leaked;
        drop(books);
        self.left.notify_all();
    }

    /// Waits until nobody is seated, up to a time if there is one. Whether that came to be.
    pub(crate) fn wait(&self, until: Option<Instant>) -> bool {
        let mut books = self.lock();
        while books.taken.contains(&true) {
            let Some(until) = until else {
                books = self.left.wait(books).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            books = self.left.wait_timeout(books, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Whether a seat is taken that belongs to `queue`, of so many queues.
    pub(crate) fn serve(&self, queue: usize, queues: usize) -> bool {
        self.lock().taken.iter().skip(queue).step_by(queues).any(|taken| *taken)
    }

    /// How many seats are taken, and how many operations were left behind by those who were here.
    pub(crate) fn count(&self) -> (usize, usize) {
        let books = self.lock();
        (books.taken.iter().filter(|taken| **taken).count(), books.leaked)
    }
}
