//! Compressing files on the port's pool: once for all workers, while requests go on being answered with the file as it is.
//!
//! A worker that wants a coded representation looks here first: another may have made it. What is made goes into the file cache of each
//! worker that asks, and counts in its bytes; here only what is under way is held, and a weak memory of the rest.

use crate::{
    context::Context,
    entry::{Entry, File, Kind, OpenFile},
    host::HostNumber,
    variants::Variants,
};
use completion_port::{Buffers, Directory, Handle, Metadata, OpenOptions, Operation, Slice};
use portico_http::{coding::Coding, etag::StoredETag};
use rustc_hash::FxHashMap;
use std::{
    io::{self, Write},
    path::PathBuf,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// What is remembered at most; beyond that all of it is forgotten, and found anew.
const MOST_REMEMBERED: usize = 65_536;
/// A coded representation has to be smaller than its file by one part in so many.
const LEAST_GAIN: usize = 10;
/// From 0 to 11. A megabyte of script takes some 0.2 s; with 9 three times as long for a twentieth less, with 11 forty times for a fifth.
const BROTLI_QUALITY: i32 = 7;
/// From 0 to 9. The last takes twice as long for a hundredth less.
const GZIP_LEVEL: u32 = 6;

/// One version of a file, in one coding.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    host: HostNumber,
    path: Box<str>,
    coding: Coding,
    /// Of the file as it is: a strong one, so that what has the same is the same.
    etag: StoredETag,
}

/// What all workers know of compressed files.
pub(crate) struct Compression {
    inner: Mutex<Inner>,
    most_jobs: usize,
}

#[derive(Default)]
struct Inner {
    /// At most `most_jobs`. Made, but taken up by no worker yet, where it has bytes.
    under_way: Vec<(Key, Option<Slice>)>,
    /// None where it gains nothing.
    made: FxHashMap<Key, Option<Weak<Entry>>>,
}

impl Inner {
    fn remember(&mut self, key: Key, made: Option<Weak<Entry>>) {
        self.under_way.retain(|(other, _)| *other != key);
        if self.made.len() >= MOST_REMEMBERED {
            self.made.clear();
        }
        self.made.insert(key, made);
    }
}

impl Compression {
    /// Half of the threads are left to what requests wait for.
    pub(crate) fn new(pool_threads: usize) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), most_jobs: (pool_threads / 2).max(1) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was made: nothing where it gains nothing. None as long as it is not made.
    fn find(&self, key: &Key, entry_of: impl FnOnce(Slice) -> Arc<Entry>) -> Option<Option<Arc<Entry>>> {
        let mut inner = self.lock();
        if let Some((_, coded)) = inner.under_way.iter().find(|(other, _)| other == key) {
            let entry = entry_of(coded.clone()?);
            inner.remember(key.clone(), Some(Arc::downgrade(&entry)));
            return Some(Some(entry));
        }
        match inner.made.get(key)? {
            None => Some(None),
            // Gone where no worker has it any more.
            Some(entry) => entry.upgrade().map(Some),
        }
    }

    /// The right to make it; none where somebody does, or too much is under way.
    fn begin(self: &Arc<Self>, key: Key) -> Option<Job> {
        let mut inner = self.lock();
        if inner.under_way.iter().any(|(other, _)| *other == key) {
            return None;
        }
        if inner.under_way.len() >= self.most_jobs {
            // What was made for a worker that has forgotten the file since then.
            let left_over = inner.under_way.iter().position(|(_, coded)| coded.is_some())?;
            inner.under_way.swap_remove(left_over);
        }
        inner.under_way.push((key.clone(), None));
        Some(Job { compression: Arc::clone(self), key, finished: false })
    }
}

/// A file that is being compressed.
struct Job {
    compression: Arc<Compression>,
    key: Key,
    finished: bool,
}

impl Job {
    fn run(mut self, source: Source, buffers: &Buffers) -> Made {
        let key = self.key.clone();
        match self.make(source, buffers) {
            Ok(coded) => {
                self.finished = true;
                let mut inner = self.compression.lock();
                if coded.is_none() {
                    inner.remember(key.clone(), None);
                } else if let Some((_, made)) = inner.under_way.iter_mut().find(|(other, _)| *other == key) {
                    *made = coded;
                }
            }
            // This may pass.
            Err(error) => tracing::debug!(path = &*key.path, %error, "a file was not compressed"),
        }
        Made { key }
    }

    /// None where it gains nothing.
    fn make(&self, source: Source, buffers: &Buffers) -> io::Result<Option<Slice>> {
        let Some(bytes) = source.read()? else { return Ok(None) };
        let coded = compress(&bytes, self.key.coding)?;
        if coded.len() > bytes.len() - bytes.len() / LEAST_GAIN {
            return Ok(None);
        }
        let mut buffer = buffers.allocate(coded.len()).map_err(io::Error::other)?;
        buffer.extend_from_slice(&coded);
        Ok(Some(buffer.freeze()))
    }
}

/// Without an end where the port refuses or cancels it, or something is short: it is tried again. An encoder that panics would do that again.
impl Drop for Job {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut inner = self.compression.lock();
        if std::thread::panicking() {
            inner.remember(self.key.clone(), None);
        } else {
            inner.under_way.retain(|(key, _)| *key != self.key);
        }
    }
}

/// What a job hands to the worker that learns of its end.
pub(crate) struct Made {
    key: Key,
}

/// Where the bytes of a file are.
enum Source {
    Memory(Slice),
    Disk { directory: Arc<Directory>, path: PathBuf, options: OpenOptions, metadata: Metadata },
}

impl Source {
    /// The whole file; none where it is not the one that was asked for any more.
    fn read(self) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Memory(bytes) => Ok(Some(bytes.to_vec())),
            Self::Disk { directory, path, options, metadata } => {
                let (file, opened) = directory.open_file(&path, options)?;
                if opened != metadata {
                    return Ok(None);
                }
                let mut bytes = vec![0; metadata.length as usize];
                read_whole(&file, &mut bytes)?;
                let now = file.metadata()?;
                let same = now.len() == metadata.length && now.modified()? == metadata.modified;
                Ok(same.then_some(bytes))
            }
        }
    }
}

/// Fills `bytes` from the beginning of the file. One that ends before is an error.
fn read_whole(file: &std::fs::File, bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, &mut bytes[done..], done as u64);
        // A file for overlapped use has no position of its own.
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], done as u64);
        match read {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => done += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn compress(bytes: &[u8], coding: Coding) -> io::Result<Vec<u8>> {
    let coded = Vec::with_capacity(bytes.len() / 2);
    match coding {
        Coding::Brotli => {
            // A window that holds the whole file, of 1 KiB to 4 MiB.
            let window = (bytes.len() + 16).next_power_of_two().ilog2().clamp(10, 22) as i32;
            let parameters = brotli::enc::BrotliEncoderParams {
                quality: BROTLI_QUALITY,
                lgwin: window,
                size_hint: bytes.len(),
                ..Default::default()
            };
            let mut coded = coded;
            brotli::BrotliCompress(&mut &*bytes, &mut coded, &parameters)?;
            Ok(coded)
        }
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(coded, flate2::Compression::new(GZIP_LEVEL));
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        // The settings do not let it come here.
        Coding::Zstd => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Puts the coded representation of a file into the cache if there is one. If there is none yet it is
/// set going, where `make` says so.
pub(crate) fn find_or_make(
    host: HostNumber,
    entry: &Arc<Entry>,
    coding: Coding,
    make: bool,
    context: &mut Context,
) {
    let Some(file) = entry.file() else { return };
    let etag = file.stored_etag();
    if etag.as_etag().is_weak() {
        // It has just been written: what is read later may be something else of the same time.
        return;
    }
    let Some(variants) = file.variants() else { return };
    let key = Key { host, path: variants.key().into(), coding, etag };
    if !take_up(&key, context) && make {
        start(key, file, context);
    }
}

/// Takes up what a job made, if this worker knows the file.
pub(crate) fn adopt(made: &Made, context: &mut Context) {
    take_up(&made.key, context);
}

/// Puts what was made into this worker's cache. False as long as it is not made.
fn take_up(key: &Key, context: &mut Context) -> bool {
    let site = Rc::clone(&context.site);
    let Some(entry) = context.cache.get(key.host, &key.path).cloned() else { return false };
    let Some(file) = entry.file() else { return false };
    if file.stored_etag() != key.etag {
        return false;
    }
    let (now, wall) = (context.port.now(), context.wall);
    let found = site.compression.find(key, |bytes| {
        let fields = file.head_fields(site.hosts[key.host].head_fields());
        let metadata = Metadata { length: bytes.len() as u64, ..file.metadata };
        let content_type = file.content_type.clone();
        let coded = File::new(metadata, content_type, Some(bytes), OpenFile::none(), wall, &fields);
        Arc::new(Entry::new(Kind::File(Box::new(coded.coded(key.coding, &fields))), now))
    });
    let Some(variant) = found else { return false };
    context.cache.complete(key.host, &key.path, key.coding, variant);
    true
}

fn start(key: Key, file: &File, context: &mut Context) {
    let host = &context.site.hosts[key.host];
    let Some(path) = file.variants().and_then(Variants::source) else { return };
    let source = match &file.bytes {
        Some(bytes) => Source::Memory(bytes.clone()),
        None => Source::Disk {
            directory: Arc::clone(&host.root),
            path: path.to_owned(),
            options: host.open_options(),
            metadata: file.metadata,
        },
    };
    let Some(job) = context.site.compression.begin(key) else { return };
    let buffers = context.port.buffers().clone();
    let work = Box::new(move || -> Box<dyn std::any::Any + Send> { Box::new(job.run(source, &buffers)) });
    // Refused while the pool is full: the job is dropped, and a later request tries again.
    let _ = context.port.submit(Handle::NONE, Operation::Call { work });
}

#[cfg(test)]
mod tests {
    use super::*;
    use completion_port::BufferClass;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn key(path: &str) -> Key {
        let etag = StoredETag::from_numbers(&[1]);
        Key { host: HostNumber::FIRST, path: path.into(), coding: Coding::Gzip, etag }
    }

    fn buffers() -> Buffers {
        Buffers::new(&[BufferClass { capacity: 4_096, count: 1 }], 10_000).unwrap()
    }

    fn run(job: Job, bytes: &[u8]) {
        let mut buffer = buffers().allocate(bytes.len()).unwrap();
        buffer.extend_from_slice(bytes);
        drop(job.run(Source::Memory(buffer.freeze()), &buffers()));
    }

    fn entry_of(_: Slice) -> Arc<Entry> {
        Arc::new(Entry::new(Kind::Folder, std::time::Duration::ZERO))
    }

    fn is_made(compression: &Compression, path: &str) -> bool {
        compression.find(&key(path), entry_of).is_some()
    }

    #[test]
    fn one_job_makes_a_coding_for_all() {
        let compression = Compression::new(4);
        let job = compression.begin(key("a")).unwrap();
        assert!(compression.begin(key("a")).is_none() && !is_made(&compression, "a"));
        run(job, &[b'a'; 1_000]);
        assert!(compression.begin(key("a")).is_none(), "begun again before anybody took it up");
        let first = compression.find(&key("a"), entry_of).unwrap().unwrap();
        let second = compression.find(&key("a"), entry_of).unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        // No worker has it any more.
        drop((first, second));
        assert!(!is_made(&compression, "a") && compression.begin(key("a")).is_some());
    }

    #[test]
    fn what_does_not_gain_is_remembered_and_what_did_not_run_is_not() {
        let compression = Compression::new(4);
        let mut state = 1_u64;
        let mut roll = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        let noise: Vec<u8> = (0..1_000).map(|_| roll()).collect();
        run(compression.begin(key("noise")).unwrap(), &noise);
        assert!(compression.find(&key("noise"), entry_of).unwrap().is_none());
        drop(compression.begin(key("refused")).unwrap());
        assert!(!is_made(&compression, "refused") && compression.begin(key("refused")).is_some());
        let job = compression.begin(key("panics")).unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _job = job;
            panic!("the encoder did");
        }));
        assert!(panicked.is_err() && compression.find(&key("panics"), entry_of).unwrap().is_none());
    }

    #[test]
    fn jobs_are_bounded_and_what_nobody_took_up_gives_way() {
        let compression = Compression::new(4);
        let (first, second) = (compression.begin(key("a")).unwrap(), compression.begin(key("b")).unwrap());
        assert!(compression.begin(key("c")).is_none());
        run(first, &[b'a'; 1_000]);
        let third = compression.begin(key("c")).unwrap();
        assert!(!is_made(&compression, "a") && compression.begin(key("d")).is_none());
        drop((second, third));
        assert!(compression.lock().under_way.is_empty());
    }

    #[test]
    fn a_changed_file_is_another() {
        let compression = Compression::new(2);
        run(compression.begin(key("a")).unwrap(), &[b'a'; 1_000]);
        let later = Key { etag: StoredETag::from_numbers(&[2]), ..key("a") };
        assert!(compression.find(&later, entry_of).is_none());
        assert!(compression.begin(later).is_some());
    }
}
