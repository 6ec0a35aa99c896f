//! The open-file cache of one worker: entries by path, bounded in number and in bytes, the long unused ones leaving first.

use crate::{
    entry::{Entry, File, Kind},
    host::HostNumber,
    variants::Variants,
};
use completion_port::Handle;
use portico_http::coding::Coding;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Entries by host and decoded path. Unlocked: each worker has its own.
pub(crate) struct FileCache {
    /// Of each host.
    places: Vec<FxHashMap<Box<str>, u32>>,
    entries: Vec<Cached>,
    /// Where the search for the next to leave goes on: CLOCK, which costs a hit no more than setting a mark.
    hand: usize,
    most_entries: usize,
    /// How many entries may keep their file open: the system's descriptors are for connections too.
    most_open: usize,
    open: usize,
    most_bytes: usize,
    bytes: usize,
}

struct Cached {
    host: HostNumber,
    path: Box<str>,
    entry: Arc<Entry>,
    used: bool,
}

impl FileCache {
    pub(crate) fn new(most_entries: usize, most_open: usize, most_bytes: usize) -> Self {
        Self {
            places: Vec::new(),
            entries: Vec::new(),
            hand: 0,
            most_entries,
            most_open,
            open: 0,
            most_bytes,
            bytes: 0,
        }
    }

    fn place(&self, host: HostNumber, path: &str) -> Option<usize> {
        self.places.get(host.index())?.get(path).map(|place| *place as usize)
    }

    pub(crate) fn get(&mut self, host: HostNumber, path: &str) -> Option<&Arc<Entry>> {
        let place = self.place(host, path)?;
        let cached = &mut self.entries[place];
        cached.used = true;
        Some(&cached.entry)
    }

    /// Whether `bytes` of a file would be kept.
    pub(crate) fn would_keep(&self, bytes: u64) -> bool {
        bytes <= self.most_bytes as u64
    }

    /// Puts an entry in, in place of an earlier one for the path.
    pub(crate) fn insert(&mut self, host: HostNumber, path: &str, entry: Arc<Entry>) {
        let bytes = bytes_of(&entry);
        if let Some(place) = self.place(host, path) {
            let cached = &mut self.entries[place];
            self.bytes -= bytes_of(&cached.entry);
            self.open += open_files(&entry);
            self.open -= open_files(&cached.entry);
            cached.entry = entry;
        } else {
            if self.entries.len() >= self.most_entries {
                self.evict(|_| true);
            }
            self.open += open_files(&entry);
            let path: Box<str> = path.into();
            if self.places.len() <= host.index() {
                self.places.resize_with(host.index() + 1, FxHashMap::default);
            }
            self.places[host.index()].insert(path.clone(), self.entries.len() as u32);
            // What was never asked for again is the first to leave.
            self.entries.push(Cached { host, path, entry, used: false });
        }
        self.bytes += bytes;
        self.shrink();
        while self.open > self.most_open {
            self.evict(|entry| open_files(entry) > 0);
        }
    }

    /// Lets entries go until the bytes are within their bound.
    fn shrink(&mut self) {
        while self.bytes > self.most_bytes && self.entries.len() > 1 {
            self.evict(|_| true);
        }
    }

    /// Keeps what was made of the entry of a path: a coded representation, or none, where that gains nothing or there is no room for it.
    pub(crate) fn complete(
        &mut self,
        host: HostNumber,
        path: &str,
        coding: Coding,
        variant: Option<Arc<Entry>>,
    ) {
        let Some(place) = self.place(host, path) else { return };
        let entry = &self.entries[place].entry;
        if let Some(variants) = entry.file().and_then(File::variants) {
            let before = bytes_of(entry);
            let fits = |variant: &Arc<Entry>| before + bytes_of(variant) <= self.most_bytes;
            variants.complete(coding, variant.filter(fits));
            self.bytes += bytes_of(entry) - before;
            self.shrink();
        }
    }

    /// Forgets a path of a host.
    pub(crate) fn remove(&mut self, host: HostNumber, path: &str) {
        if let Some(place) = self.place(host, path) {
            self.take(place);
        }
    }

    /// Lets the next entry go that was not asked for lately and is `eligible`. There must be one.
    fn evict(&mut self, eligible: impl Fn(&Entry) -> bool) {
        loop {
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let cached = &mut self.entries[self.hand];
            if !eligible(&cached.entry) || std::mem::take(&mut cached.used) {
                self.hand += 1;
            } else {
                return self.take(self.hand);
            }
        }
    }

    fn take(&mut self, place: usize) {
        let gone = self.entries.swap_remove(place);
        self.places[gone.host.index()].remove(&gone.path);
        self.bytes -= bytes_of(&gone.entry);
        self.open -= open_files(&gone.entry);
        if let Some(moved) = self.entries.get(place) {
            *self.places[moved.host.index()].get_mut(&moved.path).expect("every entry has its place") =
                place as u32;
        }
    }
}

/// Of the file and its coded representations.
fn sum(entry: &Entry, of: impl Fn(&File) -> usize) -> usize {
    let Some(file) = entry.file() else { return 0 };
    let variants = file.variants().into_iter().flat_map(Variants::ready).filter_map(|variant| variant.file());
    of(file) + variants.map(&of).sum::<usize>()
}

fn bytes_of(entry: &Entry) -> usize {
    match &entry.kind {
        Kind::Page(page) => page.bytes.len(),
        _ => sum(entry, |file| file.bytes.as_ref().map_or(0, |bytes| bytes.len())),
    }
}

fn open_files(entry: &Entry) -> usize {
    sum(entry, |file| usize::from(file.handle.handle() != Handle::NONE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{HeadFields, OpenFile};
    use completion_port::{FileKind, Metadata, Slice};
    use portico_http::status::Status;
    use std::time::{Duration, SystemTime};

    const HOST: HostNumber = HostNumber::FIRST;

    fn nothing() -> Arc<Entry> {
        Arc::new(Entry::new(Kind::Nothing(Status::NOT_FOUND), Duration::ZERO))
    }

    fn file(bytes: &'static [u8]) -> Arc<Entry> {
        let length = bytes.len() as u64;
        let metadata =
            Metadata { length, kind: FileKind::File, modified: SystemTime::UNIX_EPOCH, identity: (0, 0) };
        let fields = HeadFields::new(None, None);
        let bytes = Some(Slice::from_static(bytes));
        let file =
            File::new(metadata, "text/plain".into(), bytes, OpenFile::none(), SystemTime::now(), &fields);
        Arc::new(Entry::new(Kind::File(Box::new(file)), Duration::ZERO))
    }

    #[test]
    fn what_is_used_stays_and_the_number_is_bounded() {
        let mut cache = FileCache::new(3, 3, 100);
        for path in ["a", "b", "c"] {
            cache.insert(HOST, path, nothing());
        }
        assert!(cache.get(HOST, "a").is_some());
        cache.insert(HOST, "d", nothing());
        cache.insert(HOST, "e", nothing());
        assert!(cache.get(HOST, "a").is_some(), "the used one left");
        assert_eq!(cache.entries.len(), 3);
        assert!(cache.get(HOST, "e").is_some() && cache.get(HOST, "b").is_none());
    }

    #[test]
    fn bytes_are_bounded_and_counted_exactly() {
        let mut cache = FileCache::new(100, 100, 10);
        cache.insert(HOST, "a", file(b"123456"));
        cache.insert(HOST, "b", file(b"1234"));
        assert_eq!(cache.bytes, 10);
        cache.insert(HOST, "b", file(b"123"));
        assert_eq!(cache.bytes, 9);
        cache.insert(HOST, "c", file(b"12345"));
        assert!(cache.bytes <= 10, "{} bytes", cache.bytes);
        cache.remove(HOST, "c");
        cache.remove(HOST, "b");
        cache.remove(HOST, "a");
        assert_eq!((cache.bytes, cache.places[0].len()), (0, 0));
        assert!(cache.would_keep(10) && !cache.would_keep(11));
    }

    #[test]
    fn coded_representations_count_with_their_file() {
        let fields = HeadFields::new(None, None);
        let varying = || {
            let Kind::File(file) = Arc::into_inner(file(b"123456")).unwrap().kind else { unreachable!() };
            let variants = Variants::to_make(&[Coding::Brotli, Coding::Gzip], "a".as_ref(), "a");
            let file = file.with_variants(variants, &fields);
            Arc::new(Entry::new(Kind::File(Box::new(file)), Duration::ZERO))
        };
        let mut cache = FileCache::new(100, 100, 20);
        cache.insert(HOST, "a", varying());
        cache.complete(HOST, "a", Coding::Gzip, Some(file(b"1234")));
        assert_eq!(cache.bytes, 10);
        // A second one does not replace the first.
        cache.complete(HOST, "a", Coding::Gzip, Some(file(b"123")));
        assert_eq!(cache.bytes, 10);
        cache.complete(HOST, "absent", Coding::Gzip, Some(file(b"1")));
        // Too much for the whole cache.
        cache.complete(HOST, "a", Coding::Brotli, Some(file(b"12345678901")));
        assert_eq!(cache.bytes, 10);
        assert_eq!(cache.get(HOST, "a").unwrap().file().unwrap().variants().unwrap().ready().count(), 1);
        // What is there twice gives way as a whole.
        cache.insert(HOST, "b", varying());
        cache.complete(HOST, "b", Coding::Brotli, Some(file(b"12345")));
        assert!(cache.bytes <= 20, "{} bytes", cache.bytes);
        cache.insert(HOST, "b", file(b"1"));
        cache.remove(HOST, "a");
        assert_eq!(cache.bytes, 1);
    }

    #[test]
    fn open_files_are_bounded_apart() {
        let port = completion_port::Port::new(completion_port::Configuration::default()).unwrap();
        let mut worker = port.worker().unwrap();
        // What is open does not matter; a socket is associated alike on every system.
        let mut open = || {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let associated = worker.associate(completion_port::Source::from(socket), 1);
            let handle = associated.map_err(|(error, _)| error).unwrap();
            let metadata = Metadata {
                length: 1,
                kind: FileKind::File,
                modified: SystemTime::UNIX_EPOCH,
                identity: (0, 0),
            };
            let fields = HeadFields::new(None, None);
            let handle = OpenFile::new(worker.port(), handle);
            let file = File::new(metadata, "text/plain".into(), None, handle, SystemTime::now(), &fields);
            Arc::new(Entry::new(Kind::File(Box::new(file)), Duration::ZERO))
        };
        let mut cache = FileCache::new(100, 2, 100);
        cache.insert(HOST, "small", file(b"1"));
        for path in ["a", "b", "c", "d"] {
            cache.insert(HOST, path, open());
        }
        assert_eq!((cache.open, cache.entries.len()), (2, 3));
        cache.insert(HOST, "small", open());
        assert_eq!(cache.open, 2);
        assert!(cache.entries.len() <= 3);
        for path in ["small", "a", "b", "c", "d"] {
            cache.remove(HOST, path);
        }
        assert_eq!(cache.open, 0);
    }
}
