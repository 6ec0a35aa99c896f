//! What a worker lends to the connection whose turn it is.

use crate::{
    alarms::Alarms,
    counters::{Block, Samples},
    descriptors,
    file_cache::FileCache,
    protection::Remembered,
    ready::Ready,
    site::Site,
};
use completion_port::Worker;
use portico_http::date::DateCache;
use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

pub(crate) struct Context {
    pub(crate) port: Worker,
    /// Behind a count of the worker's own: whoever holds it for the time of a request does not touch the count that all workers share.
    #[allow(clippy::redundant_allocation, reason = "the second count is what it is for")]
    pub(crate) site: Rc<Arc<Site>>,
    pub(crate) cache: FileCache,
    pub(crate) dates: DateCache,
    pub(crate) ready: Ready,
    /// Passwords that were right.
    pub(crate) remembered: Remembered,
    /// What this worker counts.
    pub(crate) counts: Arc<Block>,
    /// How long requests took, where somebody may ask.
    pub(crate) samples: Option<Samples>,
    /// The wall clock, as of the last wait's end.
    pub(crate) wall: SystemTime,
    /// Where targets are decoded.
    pub(crate) scratch: Box<[u8]>,
    /// The head of an answer that goes out at once.
    pub(crate) head: Vec<u8>,
    /// The path of the request at hand, below the root.
    pub(crate) key: String,
    /// Those of the worker's queue.
    pub(crate) alarms: Arc<Alarms>,
    /// Warnings that any client can cause by asking.
    pub(crate) warnings: Warnings,
    /// The server is shutting down: every answer is the last of its connection.
    pub(crate) draining: bool,
}

/// Lets one warning a second through, so that a shortage does not fill the program log.
#[derive(Default)]
pub(crate) struct Warnings {
    next: Duration,
    held_back: u64,
}

impl Warnings {
    /// Whether to warn now: how many warnings were held back since the last.
    pub(crate) fn may_warn(&mut self, now: Duration) -> Option<u64> {
        if now < self.next {
            self.held_back += 1;
            return None;
        }
        self.next = now + Duration::from_secs(1);
        Some(std::mem::take(&mut self.held_back))
    }
}

impl Context {
    pub(crate) fn new(port: Worker, site: Arc<Site>, workers: usize, alarms: Arc<Alarms>) -> Self {
        let settings = &site.settings;
        let entries = (settings.file_cache_entries / workers).max(1);
        let cache = FileCache::new(
            entries,
            // A file may have its neighbours open too; the port has a handle for each entry.
            (descriptors::for_cached_files() / workers).clamp(1, entries),
            settings.file_cache_bytes / workers,
        );
        let scratch = vec![0; site.limits.target_bytes].into();
        let worker = port.number();
        let (dates, wall) = (DateCache::new(), SystemTime::now());
        Self {
            port,
            cache,
            dates,
            ready: Ready::new(),
            remembered: Remembered::new(),
            counts: site.counters.block(worker),
            samples: site.counters.samples(worker),
            wall,
            scratch,
            head: Vec::new(),
            key: String::new(),
            alarms,
            warnings: Warnings::default(),
            draining: false,
            site: Rc::new(site),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_a_second_and_the_others_are_counted() {
        let mut warnings = Warnings::default();
        let answers =
            [0, 10, 999, 1_000, 1_500, 3_000].map(|ms| warnings.may_warn(Duration::from_millis(ms)));
        assert_eq!(answers, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
