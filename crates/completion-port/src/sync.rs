//! Atomics, locks and what is made of them: std's own, or loom's where every interleaving is tried (`--cfg loom`, see
//! scripts/test-loom). Whoever shares state between threads takes them from here, so that what is modelled is the code that runs.

#[cfg(all(not(loom), any(windows, test)))]
pub(crate) use std::sync::OnceLock;
#[cfg(not(loom))]
pub(crate) use {
    crate::tally::lock,
    std::sync::{Condvar, Mutex, MutexGuard, atomic},
};

#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(all(loom, test))]
pub(crate) use modelled::OnceLock;
#[cfg(loom)]
pub(crate) use modelled::atomic;
#[cfg(loom)]
pub(crate) use modelled::lock;

#[cfg(loom)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests have models"))]
pub(crate) mod modelled {
    use super::{Mutex, MutexGuard};
    use std::{cell::Cell, sync::PoisonError};

    pub(crate) mod atomic {
        use loom::sync::atomic as loomed;
        pub(crate) use loom::sync::atomic::Ordering;

        /// As std's, unless a model breaks it on purpose.
        pub(crate) fn fence(order: Ordering) {
            if !super::FENCES_ARE_BROKEN.get() {
                loomed::fence(order);
            }
        }

        /// Loom's, where two things are made up for: one here, one at `store`.
        ///
        /// Loom remembers one access of an atomic, the last, to find out what else could have come first: after a load of its own a
        /// thread's exchange is not tried before another thread's earlier load. So every access also takes a `turn`, which is an
        /// exchange, so that the last one is always the one that counts. It orders nothing: it is relaxed.
        macro_rules! atomic {
            ($name:ident, $type:ty, { $($more:item)* }) => {
                #[derive(Default)]
                pub(crate) struct $name {
                    value: loomed::$name,
                    turn: loomed::AtomicBool,
                }

                #[allow(dead_code, reason = "not every type is asked for everything")]
                impl $name {
                    pub(crate) fn new(value: $type) -> Self {
                        Self { value: loomed::$name::new(value), turn: loomed::AtomicBool::new(false) }
                    }
                    fn turn(&self) -> &loomed::$name {
                        self.turn.swap(false, Ordering::Relaxed);
                        &self.value
                    }
                    pub(crate) fn load(&self, order: Ordering) -> $type {
                        self.turn().load(order)
                    }
                    /// A swap: loom lets a plain store come between another thread's exchange and what that has read.
                    pub(crate) fn store(&self, value: $type, order: Ordering) {
                        self.turn().swap(value, order);
                    }
                    pub(crate) fn swap(&self, value: $type, order: Ordering) -> $type {
                        self.turn().swap(value, order)
                    }
                    $($more)*
                }
            };
            ($($name:ident: $type:ty),*) => {
                $(atomic!($name, $type, {
                    pub(crate) fn fetch_add(&self, value: $type, order: Ordering) -> $type {
                        self.turn().fetch_add(value, order)
                    }
                    pub(crate) fn fetch_sub(&self, value: $type, order: Ordering) -> $type {
                        self.turn().fetch_sub(value, order)
                    }
                    pub(crate) fn fetch_or(&self, value: $type, order: Ordering) -> $type {
                        self.turn().fetch_or(value, order)
                    }
                    pub(crate) fn fetch_max(&self, value: $type, order: Ordering) -> $type {
                        self.turn().fetch_max(value, order)
                    }
                    pub(crate) fn compare_exchange_weak(
                        &self,
                        current: $type,
                        new: $type,
                        success: Ordering,
                        failure: Ordering,
                    ) -> Result<$type, $type> {
                        self.turn().compare_exchange_weak(current, new, success, failure)
                    }
                });)*
            };
        }
        atomic!(AtomicBool, bool, {});
        atomic!(AtomicU8: u8, AtomicU32: u32, AtomicU64: u64, AtomicUsize: usize);
    }

    thread_local! {
        /// Set by models that show that loom finds what a fence is there for. Loom runs all threads of a model on one.
        pub(crate) static FENCES_ARE_BROKEN: Cell<bool> = const { Cell::new(false) };
    }

    /// As [`tally::lock`](crate::tally::lock), which tries first: that would be one more interleaving each time.
    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
