//! Lines that wait for the logging thread, in several batches so that threads rarely meet at one.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::date::Date;
use super::line::{AccessRecord, MOST_LINE_BYTES};
use crate::settings::AccessLogFormat;

/// A batch has at least this much memory: room for several of the longest lines.
const LEAST_BATCH_BYTES: usize = 4 * MOST_LINE_BYTES;
/// Tries of a thread's own batch before it looks at the others: some microseconds.
const HOME_TRIES: usize = 256;
/// Rounds over all batches before a line is dropped because other threads hold them all. With a batch more than there
/// are workers, one round finds a free one unless a thread was just suspended in its few hundred nanoseconds.
const ROUNDS: usize = 64;

/// All batches.
pub(super) struct Batches {
    batches: Box<[Mutex<Batch>]>,
    format: AccessLogFormat,
    /// The most bytes of lines in one batch.
    most_bytes: usize,
    /// How often a batch was held by another thread.
    held: AtomicU64,
}

/// Apart from its neighbours in the processor's cache: each is used by another thread.
#[repr(align(128))]
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    records: u64,
    date: Date,
    closed: bool,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It is in a batch.
    Laid,
    /// It is, and the batch has just become half full.
    Filling,
    /// There was no room for it.
    Dropped,
}

/// What one batch did with a record.
enum Tried {
    Done(Put),
    Full,
    Held,
}

impl Batches {
    /// Batches for this many threads, which hold `queue_bytes` together with the one that is being written.
    pub(super) fn new(threads: usize, queue_bytes: usize, format: AccessLogFormat) -> Batches {
        let count = (threads + 1).min(queue_bytes / LEAST_BATCH_BYTES - 1).max(2);
        let batches = (0..count).map(|_| Mutex::default()).collect();
        Batches { batches, format, most_bytes: queue_bytes / (count + 1), held: AtomicU64::new(0) }
    }

    /// Never waits. Lines of one thread go to one batch and stay in order, unless that batch is full, or held by a
    /// thread that was suspended.
    pub(super) fn put(&self, record: &AccessRecord<'_>) -> Put {
        let home = home() % self.batches.len();
        for _ in 0..HOME_TRIES {
            match self.try_put(home, record) {
                Tried::Done(put) => return put,
                Tried::Full => break,
                Tried::Held => std::hint::spin_loop(),
            }
        }
        for _ in 0..ROUNDS {
            let mut held = false;
            for at in 1..=self.batches.len() {
                match self.try_put((home + at) % self.batches.len(), record) {
                    Tried::Done(put) => return put,
                    Tried::Full => {}
                    Tried::Held => held = true,
                }
            }
            if !held {
                break;
            }
            std::hint::spin_loop();
        }
        Put::Dropped
    }

    fn try_put(&self, at: usize, record: &AccessRecord<'_>) -> Tried {
        let mut batch = match self.batches[at].try_lock() {
            Ok(batch) => batch,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.held.fetch_add(1, Ordering::Relaxed);
                return Tried::Held;
            }
        };
        batch.put(record, self.format, self.most_bytes).map_or(Tried::Full, Tried::Done)
    }

    /// How often a record found a batch held by another thread.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn are_empty(&self) -> bool {
        self.each().all(|batch| batch.records == 0)
    }

    /// Gives each batch that has lines to `write`, with their number. `spare` takes the place of what is given, so that
    /// the lock is held for a moment only.
    pub(super) fn take(&self, spare: &mut Vec<u8>, mut write: impl FnMut(&[u8], u64)) {
        for batch in &self.batches {
            let records = {
                let mut batch = lock(batch);
                std::mem::swap(&mut batch.lines, spare);
                std::mem::take(&mut batch.records)
            };
            if records > 0 {
                write(spare, records);
            }
            spare.clear();
        }
    }

    /// From now on every record is dropped.
    pub(super) fn close(&self) {
        self.each().for_each(|mut batch| batch.closed = true);
    }

    fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Batch>> {
        self.batches.iter().map(lock)
    }
}

impl Batch {
    /// None where there is no room.
    fn put(&mut self, record: &AccessRecord<'_>, format: AccessLogFormat, most_bytes: usize) -> Option<Put> {
        let before = self.lines.len();
        if self.closed || before + MOST_LINE_BYTES > most_bytes {
            return None;
        }
        let needed = before + MOST_LINE_BYTES;
        if self.lines.capacity() < needed {
            // Doubles, but never beyond the limit as Vec itself would.
            let capacity = needed.max(2 * self.lines.capacity()).min(most_bytes);
            self.lines.reserve_exact(capacity - before);
        }
        record.write(format, &mut self.date, &mut self.lines);
        self.records += 1;
        let half = most_bytes / 2;
        Some(if before < half && self.lines.len() >= half { Put::Filling } else { Put::Laid })
    }
}

/// Only the logging thread waits for a lock.
fn lock(batch: &Mutex<Batch>) -> MutexGuard<'_, Batch> {
    batch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The batch that this thread tries first.
fn home() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HOME: Cell<Option<usize>> = const { Cell::new(None) };
    }
    HOME.with(|home| {
        let number = home.get().unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
        home.set(Some(number));
        number
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn record(target: &[u8]) -> AccessRecord<'_> {
        AccessRecord {
            time: UNIX_EPOCH,
            remote: std::net::IpAddr::from([127, 0, 0, 1]).into(),
            user: b"",
            method: b"GET",
            target,
            version: b"HTTP/1.1",
            status: 200,
            bytes: 1,
            referer: b"",
            user_agent: b"",
            duration: Duration::ZERO,
        }
    }

    fn take(batches: &Batches, spare: &mut Vec<u8>) -> (usize, u64) {
        let (mut lines, mut records) = (0, 0);
        batches.take(spare, |bytes, number| {
            lines += bytes.iter().filter(|byte| **byte == b'\n').count();
            records += number;
        });
        (lines, records)
    }

    #[test]
    fn a_full_queue_drops_and_goes_on_when_there_is_room() {
        const QUEUE_BYTES: usize = 512 << 10;
        let batches = Batches::new(1, QUEUE_BYTES, AccessLogFormat::Combined);
        let target = [b'x'; 1000];
        let (mut spare, mut laid) = (Vec::new(), Vec::new());
        for round in 0..3 {
            assert!(batches.are_empty());
            let (mut count, mut filling) = (0, 0);
            loop {
                match batches.put(&record(&target)) {
                    Put::Laid => {}
                    Put::Filling => filling += 1,
                    Put::Dropped => break,
                }
                count += 1;
            }
            assert_eq!(filling, 2, "each of the two batches says once that it is half full");
            assert_eq!(batches.put(&record(b"/")), Put::Dropped);
            let memory: usize = batches.each().map(|batch| batch.lines.capacity()).sum();
            assert!(memory + spare.capacity() <= QUEUE_BYTES, "{memory} bytes in round {round}");
            assert_eq!(take(&batches, &mut spare), (count, count as u64));
            laid.push(count);
        }
        assert!(laid[0] > 200 && laid.iter().all(|count| *count == laid[0]), "{laid:?}");
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        let batches = Batches::new(1, 512 << 10, AccessLogFormat::Json);
        assert_eq!(batches.put(&record(b"/")), Put::Laid);
        batches.close();
        assert_eq!(batches.put(&record(b"/")), Put::Dropped);
        assert_eq!(take(&batches, &mut Vec::new()), (1, 1));
    }

    #[test]
    fn a_batch_that_another_thread_holds_is_passed_by() {
        let batches = Batches::new(1, 512 << 10, AccessLogFormat::Combined);
        let first = lock(&batches.batches[home() % 2]);
        assert_eq!(batches.put(&record(b"/")), Put::Laid);
        let second = lock(&batches.batches[(home() + 1) % 2]);
        assert_eq!(second.records, 1);
        assert_eq!(batches.put(&record(b"/")), Put::Dropped, "it does not wait where all are held");
        drop((first, second));
        assert_eq!(batches.put(&record(b"/")), Put::Laid);
    }
}
