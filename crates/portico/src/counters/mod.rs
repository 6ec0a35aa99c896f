//! What a server counts: requests, completions, system calls, copies, and how long requests take.
//!
//! Each worker counts in memory of its own, without a lock; [`Server::counters`](crate::Server::counters) adds up. The setting `admin_listen`
//! shows the same over HTTP, as text in Prometheus' format and as JSON. docs/counters.md says what each counter is good for.

mod latency;
mod report;

use crate::log;
use completion_port::Port;
pub(crate) use latency::{Latencies, Samples};
pub use latency::{Latency, Phase};
use portico_http::status::Status;
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// With the feature `count-allocations`, the allocator of every program that has this library.
#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// The classes of status, by their first digit.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What a server has counted since it started.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Counters {
    /// How long it runs.
    pub uptime: Duration,
    /// Requests that were answered, by the first digit of the status, from 1 on. Those for the counters are not in it.
    pub requests: [u64; 5],
    /// Connections that were accepted and got a place. Those for the counters are not in it.
    pub connections_accepted: u64,
    /// How many of them are open.
    pub connections_open: u64,
    /// Bytes of bodies that were copied into the buffer of an answer; part of `port.bytes_copied`.
    pub body_bytes_copied: u64,
    /// Requests whose path the file cache knew, and those for which the disk was asked.
    pub file_cache_hits: u64,
    /// See `file_cache_hits`.
    pub file_cache_misses: u64,
    /// Locks that were held by another thread at the first try: those of the port, of the table of connections, and of the access log's
    /// batches (which are then passed by, and not waited for).
    pub contended_locks: u64,
    /// Records of the access log.
    pub log: log::Counts,
    /// What the process has allocated; none without the feature `count-allocations`.
    pub allocations: Option<Allocations>,
    /// How long requests take, by phase; empty where `admin_listen` is not set.
    pub latency: Vec<Latency>,
    /// What the completion port counts, admin connections included.
    pub port: completion_port::Counters,
}

/// What the process has allocated since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allocations {
    /// Allocations, and reallocations.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Counters {
    /// As text in Prometheus' exposition format, version 0.0.4.
    pub fn to_prometheus(&self) -> String {
        report::prometheus(self)
    }

    /// As one JSON object.
    pub fn to_json(&self) -> String {
        report::json(self)
    }

    /// All requests that were answered.
    pub fn all_requests(&self) -> u64 {
        self.requests.iter().sum()
    }
}

fn allocations() -> Option<Allocations> {
    #[cfg(feature = "count-allocations")]
    return Some({
        let stats = ALLOCATOR.stats();
        Allocations {
            count: (stats.allocations + stats.reallocations) as u64,
            bytes: stats.bytes_allocated as u64,
        }
    });
    #[cfg(not(feature = "count-allocations"))]
    None
}

/// What one worker counts beside its port. Apart from other workers' in the processor's cache, and written by its worker alone.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Block {
    requests: [AtomicU64; 5],
    accepted: AtomicU64,
    closed: AtomicU64,
    body_bytes_copied: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Adds without a locked instruction, which who writes alone does not need.
#[inline]
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

impl Block {
    /// The head of an answer was written.
    pub(crate) fn count_answer(&self, status: Status) {
        if let Some(count) = self.requests.get(usize::from(status.code() / 100).wrapping_sub(1)) {
            add(count, 1);
        }
    }

    pub(crate) fn count_accepted(&self) {
        add(&self.accepted, 1);
    }

    pub(crate) fn count_closed(&self) {
        add(&self.closed, 1);
    }

    /// A body was copied behind its head.
    pub(crate) fn count_body_copied(&self, bytes: usize) {
        add(&self.body_bytes_copied, bytes as u64);
    }

    /// The file cache knew the path of a request.
    pub(crate) fn count_hit(&self) {
        add(&self.hits, 1);
    }

    /// The disk is asked about the path of a request.
    pub(crate) fn count_miss(&self) {
        add(&self.misses, 1);
    }
}

/// The counters of all workers of a server.
pub(crate) struct Registry {
    started: Instant,
    blocks: Box<[Arc<Block>]>,
    /// Of each worker; empty where nobody will ask.
    latencies: Box<[Arc<Latencies>]>,
    /// Locks that were held by another.
    contended: AtomicU64,
}

impl Registry {
    pub(crate) fn new(workers: usize, with_latencies: bool) -> Self {
        Self {
            started: Instant::now(),
            blocks: (0..workers).map(|_| Arc::default()).collect(),
            latencies: (0..if with_latencies { workers } else { 0 }).map(|_| Arc::default()).collect(),
            contended: AtomicU64::new(0),
        }
    }

    /// What the worker of this number counts in.
    pub(crate) fn block(&self, worker: usize) -> Arc<Block> {
        Arc::clone(&self.blocks[worker])
    }

    /// Where the worker of this number gathers how long things took.
    pub(crate) fn samples(&self, worker: usize) -> Option<Samples> {
        self.latencies.get(worker).map(|latencies| Samples::new(Arc::clone(latencies)))
    }

    /// Locks what workers share, and counts it where another has the lock. A panic of that one does not matter.
    pub(crate) fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        match mutex.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.contended.fetch_add(1, Ordering::Relaxed);
                mutex.lock().unwrap_or_else(PoisonError::into_inner)
            }
        }
    }

    /// Adds up what was counted until now.
    pub(crate) fn counters(&self, port: &Port, log: &log::AccessLog) -> Counters {
        // Before anything here allocates.
        let allocations = allocations();
        let sum = |of: fn(&Block) -> &AtomicU64| -> u64 {
            self.blocks.iter().map(|block| of(block).load(Ordering::Relaxed)).sum()
        };
        let mut requests = [0; CLASSES.len()];
        for block in &self.blocks {
            for (sum, count) in requests.iter_mut().zip(&block.requests) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        // Closed first: what ends between the two looks must not make the difference negative.
        let closed = sum(|block| &block.closed);
        let connections_accepted = sum(|block| &block.accepted);
        let port_counters = port.counters();
        Counters {
            uptime: self.started.elapsed(),
            requests,
            connections_accepted,
            connections_open: connections_accepted.saturating_sub(closed),
            body_bytes_copied: sum(|block| &block.body_bytes_copied),
            file_cache_hits: sum(|block| &block.hits),
            file_cache_misses: sum(|block| &block.misses),
            contended_locks: self.contended.load(Ordering::Relaxed)
                + log.contended()
                + port_counters.contended_locks,
            log: log.counts(),
            allocations,
            latency: latency::sum(&self.latencies),
            port: port_counters,
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Registry({} workers)", self.blocks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_the_first_digit_of_their_status() {
        let registry = Registry::new(2, false);
        for (worker, code) in [(0, 200), (1, 200), (0, 206), (1, 304), (0, 404), (0, 503), (1, 599)] {
            registry
                .block(worker)
                .count_answer(Status::from_code(code).unwrap_or(Status::SERVICE_UNAVAILABLE));
        }
        let sum = |class: usize| -> u64 {
            registry.blocks.iter().map(|block| block.requests[class].load(Ordering::Relaxed)).sum()
        };
        assert_eq!([0, 1, 2, 3, 4].map(sum), [0, 3, 1, 1, 2]);
        assert!(registry.samples(0).is_none());
    }

    #[test]
    fn a_lock_is_contended_only_where_another_thread_has_it() {
        let (registry, mutex) = (Registry::new(1, false), Mutex::new(()));
        drop(registry.lock(&mutex));
        assert_eq!(registry.contended.load(Ordering::Relaxed), 0);
        let held = registry.lock(&mutex);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(registry.lock(&mutex)));
            while registry.contended.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            drop(held);
            waiting.join().unwrap();
        });
        assert_eq!(registry.contended.load(Ordering::Relaxed), 1);
    }
}
