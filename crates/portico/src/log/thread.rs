//! The logging thread: sleeps while there is nothing to write, and gathers lines for a moment before it writes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::Counts;
use super::batches::Batches;
use super::sink::Sink;
use crate::settings::Settings;

/// How long lines are gathered before they are written. One wake-up of the thread costs more than a hundred lines.
const GATHER: Duration = Duration::from_millis(100);
/// Dropped records are reported no more often than this.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// What the handles and the logging thread share.
pub(super) struct Shared {
    pub(super) batches: Batches,
    thread: OnceLock<Thread>,
    /// The thread sleeps until it is woken; who finds it so and clears it wakes it.
    sleeping: AtomicBool,
    /// The thread should not gather any longer.
    urgent: AtomicBool,
    orders: Mutex<Orders>,
    done: Condvar,
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// What the thread is asked to do, and how far it is.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) reopen: bool,
    pub(super) stop: bool,
    flushes_asked: u64,
    flushes_done: u64,
    ended: bool,
}

impl Shared {
    pub(super) fn new(settings: &Settings) -> Shared {
        Shared {
            batches: Batches::new(
                settings.worker_count(),
                settings.access_log_queue_bytes,
                settings.access_log_format,
            ),
            thread: OnceLock::new(),
            sleeping: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            orders: Mutex::default(),
            done: Condvar::new(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Says which thread to wake.
    pub(super) fn attend(&self, thread: Thread) {
        // Whoever is first says the same.
        let _ = self.thread.set(thread);
    }

    /// A line was laid into a batch before this call. The batch's lock orders it with [`Shared::sleep`]: either the
    /// thread saw the line, or its `sleeping` is seen here.
    pub(super) fn wake_if_asleep(&self) {
        if self.sleeping.load(Ordering::Acquire) && self.sleeping.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// The thread should write now.
    pub(super) fn hurry(&self) {
        self.urgent.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            written: self.written.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    pub(super) fn order(&self, order: impl FnOnce(&mut Orders)) {
        order(&mut self.orders());
        self.hurry();
    }

    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let mut asked = 0;
        self.order(|orders| {
            orders.flushes_asked += 1;
            asked = orders.flushes_asked;
        });
        self.wait(timeout, |orders| orders.flushes_done >= asked || orders.ended)
    }

    pub(super) fn wait_for_end(&self, timeout: Duration) -> bool {
        self.wait(timeout, |orders| orders.ended)
    }

    fn wait(&self, timeout: Duration, done: impl Fn(&Orders) -> bool) -> bool {
        let waited = self.done.wait_timeout_while(self.orders(), timeout, |orders| !done(orders));
        done(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the logging thread.
    pub(super) fn run(&self, mut sink: Sink) {
        self.attend(thread::current());
        let mut spare = Vec::new();
        let mut report = DropReport::default();
        loop {
            self.sleep(report.due());
            let (reopen, stop, flushes) = {
                let mut orders = self.orders();
                (std::mem::take(&mut orders.reopen), orders.stop, orders.flushes_asked)
            };
            if stop {
                self.batches.close();
            }
            if !reopen {
                sink.reopen_if_gone();
            }
            self.batches.take(&mut spare, |lines, records| {
                let failed = sink.write(lines);
                self.failed.fetch_add(failed, Ordering::Relaxed);
                self.written.fetch_add(records - failed.min(records), Ordering::Relaxed);
            });
            if reopen {
                sink.reopen();
            }
            report.tell(self.dropped.load(Ordering::Relaxed), stop);
            let mut orders = self.orders();
            orders.flushes_done = flushes;
            orders.ended = stop;
            drop(orders);
            self.done.notify_all();
            if stop {
                return;
            }
        }
    }

    /// Sleeps until there are lines or orders, or `until`; then gathers lines for a moment, unless it is urgent.
    fn sleep(&self, until: Option<Instant>) {
        loop {
            self.sleeping.store(true, Ordering::Release);
            if self.urgent.load(Ordering::Acquire) || !self.batches.are_empty() {
                break;
            }
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(rest) => thread::park_timeout(rest),
                None => thread::park(),
            }
        }
        self.sleeping.store(false, Ordering::Release);
        let until = Instant::now() + GATHER;
        while !self.urgent.swap(false, Ordering::AcqRel) {
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => break,
                rest => thread::park_timeout(rest),
            }
        }
    }
}

/// Tells the program log how many records were dropped, not too often.
#[derive(Default)]
struct DropReport {
    told: u64,
    seen: u64,
    last: Option<Instant>,
}

impl DropReport {
    fn tell(&mut self, dropped: u64, last_chance: bool) {
        self.seen = dropped;
        let waits = self.last.is_some_and(|last| last.elapsed() < REPORT_EVERY);
        if dropped == self.told || (waits && !last_chance) {
            return;
        }
        tracing::warn!(
            records = dropped - self.told,
            total = dropped,
            "access-log records were dropped: the log cannot be written as fast as requests come \
             (access_log_queue_bytes gives it more room)"
        );
        self.told = dropped;
        self.last = Some(Instant::now());
    }

    /// When something that was not told yet may be told.
    fn due(&self) -> Option<Instant> {
        self.last.filter(|_| self.seen != self.told).map(|last| last + REPORT_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dropped_record_is_told_but_not_each_at_once() {
        let mut report = DropReport::default();
        report.tell(0, false);
        assert_eq!((report.told, report.due()), (0, None));
        report.tell(5, false);
        assert_eq!((report.told, report.due()), (5, None), "the first are told at once");
        report.tell(7, false);
        assert_eq!(report.told, 5);
        assert!(report.due().is_some_and(|due| due > Instant::now()), "the next are told later");
        report.tell(7, true);
        assert_eq!((report.told, report.due()), (7, None), "and at the end at the latest");
    }
}
