//! What a worker lends to the connection whose turn it is.

use crate::{descriptors, file_cache::FileCache, site::Site};
use completion_port::Worker;
use portico_http::date::DateCache;
use std::{sync::Arc, time::SystemTime};

pub(crate) struct Context {
    pub(crate) port: Worker,
    pub(crate) site: Arc<Site>,
    pub(crate) cache: FileCache,
    pub(crate) dates: DateCache,
    /// The wall clock, as of the last wait's end.
    pub(crate) wall: SystemTime,
    /// Where targets are decoded.
    pub(crate) scratch: Box<[u8]>,
    /// The path of the request at hand, below the root.
    pub(crate) key: String,
    /// The server is shutting down: every answer is the last of its connection.
    pub(crate) draining: bool,
}

impl Context {
    pub(crate) fn new(port: Worker, site: Arc<Site>, workers: usize) -> Self {
        let settings = &site.settings;
        let cache = FileCache::new(
            (settings.file_cache_entries / workers).max(1),
            (descriptors::for_cached_files() / workers).max(1),
            settings.file_cache_bytes / workers,
        );
        let scratch = vec![0; site.limits.target_bytes].into();
        let (dates, wall) = (DateCache::new(), SystemTime::now());
        Self { port, cache, dates, wall, scratch, key: String::new(), draining: false, site }
    }
}
