//! Atomics, locks and what is made of them: std's own, or loom's where every interleaving is tried (`--cfg loom`, see
//! scripts/test-loom). Whoever shares state between threads takes them from here, so that what is modelled is the code that runs.

#[cfg(not(loom))]
pub(crate) use crossbeam_queue::ArrayQueue;
#[cfg(all(not(loom), any(windows, test)))]
pub(crate) use std::sync::OnceLock;
#[cfg(not(loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(loom)]
pub(crate) use modelled::{ArrayQueue, OnceLock, atomic};

#[cfg(loom)]
pub(crate) mod modelled {
    use super::{Mutex, MutexGuard};
    use atomic::{AtomicUsize, Ordering};
    use std::{cell::Cell, collections::VecDeque, sync::PoisonError};

    pub(crate) mod atomic {
        pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

        /// Loom's, but for plain stores, which are swaps here: loom lets one come between another thread's swap and what that has
        /// read, and would report what no machine does.
        pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

        impl AtomicBool {
            #[track_caller]
            pub(crate) fn new(value: bool) -> Self {
                Self(loom::sync::atomic::AtomicBool::new(value))
            }
            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> bool {
                self.0.load(order)
            }
            #[track_caller]
            pub(crate) fn store(&self, value: bool, order: Ordering) {
                self.0.swap(value, order);
            }
            #[track_caller]
            pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
                self.0.swap(value, order)
            }
        }

        /// As std's, unless a model breaks it on purpose.
        pub(crate) fn fence(order: Ordering) {
            if !super::FENCES_ARE_BROKEN.get() {
                loom::sync::atomic::fence(order);
            }
        }
    }

    thread_local! {
        /// Set by models that show that loom finds what a fence is there for. Loom runs all threads of a model on one.
        pub(crate) static FENCES_ARE_BROKEN: Cell<bool> = const { Cell::new(false) };
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In place of crossbeam's queue, with less order than that has: who asks whether it is empty may hear of an earlier time.
    pub(crate) struct ArrayQueue<T> {
        items: Mutex<VecDeque<T>>,
        length: AtomicUsize,
        capacity: usize,
    }

    impl<T> ArrayQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self { items: Mutex::new(VecDeque::new()), length: AtomicUsize::new(0), capacity }
        }

        pub(crate) fn push(&self, item: T) -> Result<(), T> {
            let mut items = lock(&self.items);
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            self.length.store(items.len(), Ordering::Release);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            if self.is_empty() {
                return None;
            }
            let mut items = lock(&self.items);
            let item = items.pop_front();
            self.length.store(items.len(), Ordering::Release);
            item
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.length.load(Ordering::Acquire) == 0
        }
    }

    /// In place of std's, of which loom has none.
    pub(crate) struct OnceLock<T> {
        lock: Mutex<()>,
        cell: std::sync::OnceLock<T>,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            Self { lock: Mutex::new(()), cell: std::sync::OnceLock::new() }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            let _locked = lock(&self.lock);
            self.cell.get()
        }

        pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            let _locked = lock(&self.lock);
            self.cell.get_or_init(make)
        }
    }
}
