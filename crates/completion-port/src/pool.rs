//! The bounded pool for what blocks. Threads start when work waits and leave when they were idle for a while.

#[cfg(unix)]
use crate::buffer::Buffer;
#[cfg(target_os = "linux")]
use crate::watch::{
    Change,
    inotify::{Bounds, Watcher},
};
use crate::{
    chain::BufferChain,
    completion::Payload,
    counters::{Block, Counters, SystemCall},
    error::{Error, ErrorKind},
    file::{self, Directory, Metadata, OpenOptions},
    identity::Token,
    operation::{OperationKind, Work},
    tally::{self, lock},
};
use std::{
    collections::VecDeque,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

const IDLE_TIME: Duration = Duration::from_secs(10);

/// What the pool can do. It owns everything it needs, the open file included.
pub(crate) enum Task {
    Open {
        directory: Option<Arc<Directory>>,
        path: PathBuf,
        options: OpenOptions,
    },
    #[cfg(unix)]
    ReadAt {
        file: Arc<File>,
        offset: u64,
        buffer: Buffer,
    },
    WriteAt {
        file: Arc<File>,
        offset: u64,
        chain: BufferChain,
    },
    Append {
        file: Arc<File>,
        chain: BufferChain,
    },
    Sync {
        file: Arc<File>,
        data_only: bool,
    },
    Link {
        file: Arc<File>,
        directory: Arc<Directory>,
        path: PathBuf,
        replace: bool,
    },
    Metadata {
        file: Arc<File>,
    },
    Call {
        work: Work,
    },
    #[cfg(target_os = "linux")]
    Walk {
        watcher: Box<Watcher>,
        bounds: Bounds,
    },
}

/// How a task ended.
pub(crate) struct Finished {
    pub(crate) token: Token,
    pub(crate) result: Result<u64, Error>,
    pub(crate) yielded: Yielded,
}

/// What a task yields: what a completion can carry, or a file that the worker has to associate first.
pub(crate) enum Yielded {
    Payload(Payload),
    Opened(File, Metadata),
    /// A watcher with what it found.
    #[cfg(target_os = "linux")]
    Walked(Box<Watcher>, Vec<Change>),
}

/// Where finished tasks go. Implemented by a queue, which wakes its worker.
pub(crate) trait Reply: Send + Sync {
    fn finish(&self, finished: Finished);
}

struct Job {
    token: Token,
    task: Task,
    reply: Arc<dyn Reply>,
}

/// The pool. Dropping it lets running tasks end, and drops waiting ones.
pub(crate) struct Pool {
    state: Arc<State>,
}

struct State {
    inner: Mutex<Inner>,
    /// What the threads count, whenever a task ends.
    block: Block,
    work: Condvar,
    threads: usize,
    queue: usize,
}

#[derive(Default)]
struct Inner {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Pool {
    pub(crate) fn new(threads: usize, queue: usize) -> Self {
        let inner = Mutex::new(Inner { jobs: VecDeque::with_capacity(queue.min(1_024)), ..Inner::default() });
        Self {
            state: Arc::new(State {
                inner,
                block: Block::default(),
                work: Condvar::new(),
                threads: threads.max(1),
                queue: queue.max(1),
            }),
        }
    }

    /// Whether as many tasks wait as the limit says. Work that a program can put off is refused then; reads and writes are
    /// bounded by the limit of operations instead.
    pub(crate) fn is_full(&self) -> bool {
        self.state.lock().jobs.len() >= self.state.queue
    }

    /// Queues `task`; gives it back when no thread can be had.
    #[allow(clippy::result_large_err, reason = "the task comes back with its buffers, without an allocation")]
    pub(crate) fn submit(&self, token: Token, task: Task, reply: Arc<dyn Reply>) -> Result<(), Task> {
        let mut inner = self.state.lock();
        if inner.idle <= inner.jobs.len() && inner.threads < self.state.threads {
            let state = Arc::clone(&self.state);
            match std::thread::Builder::new().name("port-pool".into()).spawn(move || run(&state)) {
                Ok(_) => inner.threads += 1,
                Err(_) if inner.threads == 0 => return Err(task),
                Err(_) => {}
            }
        }
        inner.jobs.push_back(Job { token, task, reply });
        drop(inner);
        self.state.work.notify_one();
        Ok(())
    }

    /// Adds what its threads have counted.
    pub(crate) fn count(&self, counters: &mut Counters) {
        self.state.block.add_to(counters);
        let inner = self.state.lock();
        (counters.pool_threads, counters.pool_waiting) = (inner.threads, inner.jobs.len());
    }

    /// Takes a task back that has not started.
    pub(crate) fn cancel(&self, token: Token) -> Option<Task> {
        let mut inner = self.state.lock();
        let place = inner.jobs.iter().position(|job| job.token == token)?;
        inner.jobs.remove(place).map(|job| job.task)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let waiting = {
            let mut inner = self.state.lock();
            inner.closed = true;
            std::mem::take(&mut inner.jobs)
        };
        self.state.work.notify_all();
        drop(waiting);
    }
}

fn run(state: &State) {
    let mut inner = state.lock();
    loop {
        if let Some(job) = inner.jobs.pop_front() {
            drop(inner);
            let Job { token, task, reply } = job;
            let (result, yielded) = task.run();
            // Before the worker hears of it: whoever sees the completion sees its counts.
            state.block.take_tally_shared();
            reply.finish(Finished { token, result, yielded });
            drop(reply);
            // To wake the worker may have been a call too.
            state.block.take_tally_shared();
            inner = state.lock();
            continue;
        }
        if inner.closed {
            break;
        }
        inner.idle += 1;
        let (guard, waited) =
            state.work.wait_timeout(inner, IDLE_TIME).unwrap_or_else(PoisonError::into_inner);
        inner = guard;
        inner.idle -= 1;
        if waited.timed_out() && inner.jobs.is_empty() {
            break;
        }
    }
    inner.threads -= 1;
}

impl Task {
    /// Runs the task to its end. May block.
    pub(crate) fn run(self) -> (Result<u64, Error>, Yielded) {
        match self {
            Self::Open { directory, path, options } => match file::open(directory.as_deref(), &path, options)
            {
                Ok((file, metadata)) => (Ok(0), Yielded::Opened(file, metadata)),
                Err(error) => {
                    (Err(Error::from_io(&error, OperationKind::Open)), Yielded::Payload(Payload::None))
                }
            },
            #[cfg(unix)]
            Self::ReadAt { file, offset, mut buffer } => {
                let result = read_at(&file, offset, &mut buffer);
                let result = result.map_err(|error| Error::from_io(&error, OperationKind::ReadAt));
                (result, Yielded::Payload(Payload::Buffer(buffer)))
            }
            Self::WriteAt { file, offset, chain } => {
                let result = write_at(&file, offset, &chain);
                let result = result.map_err(|error| Error::from_io(&error, OperationKind::WriteAt));
                (result, Yielded::Payload(Payload::Chain(chain)))
            }
            Self::Append { file, chain } => {
                let result = append(&file, &chain);
                let result = result.map_err(|error| Error::from_io(&error, OperationKind::Append));
                (result, Yielded::Payload(Payload::Chain(chain)))
            }
            Self::Sync { file, data_only } => {
                tally::call(SystemCall::Sync);
                let result = if data_only { file.sync_data() } else { file.sync_all() };
                let result = result.map(|()| 0).map_err(|error| Error::from_io(&error, OperationKind::Sync));
                (result, Yielded::Payload(Payload::None))
            }
            Self::Link { file, directory, path, replace } => {
                let result = file::link(&file, &directory, &path, replace);
                let result = result.map(|()| 0).map_err(|error| Error::from_io(&error, OperationKind::Link));
                (result, Yielded::Payload(Payload::None))
            }
            Self::Metadata { file } => match file::metadata(&file) {
                Ok(metadata) => (Ok(0), Yielded::Payload(Payload::Metadata(metadata))),
                Err(error) => {
                    (Err(Error::from_io(&error, OperationKind::Metadata)), Yielded::Payload(Payload::None))
                }
            },
            #[cfg(target_os = "linux")]
            Self::Walk { mut watcher, bounds } => {
                let mut changes = Vec::new();
                let walked = watcher.walk(bounds, &mut changes);
                let result =
                    walked.map(|()| 0).map_err(|error| Error::from_io(&error, OperationKind::WatchDirectory));
                (result, Yielded::Walked(watcher, changes))
            }
            Self::Call { work } => match catch_unwind(AssertUnwindSafe(work)) {
                Ok(returned) => (Ok(0), Yielded::Payload(Payload::Returned(returned))),
                Err(panic) => {
                    dispose(panic);
                    (Err(Error::new(ErrorKind::Other, OperationKind::Call)), Yielded::Payload(Payload::None))
                }
            },
        }
    }

    /// The buffers of a task that will not run.
    pub(crate) fn into_payload(self) -> Payload {
        match self {
            #[cfg(unix)]
            Self::ReadAt { buffer, .. } => Payload::Buffer(buffer),
            Self::WriteAt { chain, .. } | Self::Append { chain, .. } => Payload::Chain(chain),
            Self::Call { work } => {
                dispose(work);
                Payload::None
            }
            _ => Payload::None,
        }
    }
}

/// Drops what the program gave. A panic of that is caught, as one in the work itself: whoever drops it has an operation to
/// complete.
pub(crate) fn dispose<T>(given: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(given)))
        && !panic.is::<&str>()
        && !panic.is::<String>()
    {
        // Its own drop could panic again, and so on.
        std::mem::forget(panic);
    }
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, buffer: &mut Buffer) -> std::io::Result<u64> {
    use std::os::unix::fs::FileExt;
    let mut done = 0;
    while buffer.spare_capacity() > 0 {
        tally::call(SystemCall::Read);
        match file.read_at(buffer.spare_mut(), offset + done) {
            Ok(0) => break,
            Ok(bytes) => {
                buffer.advance(bytes);
                done += bytes as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(unix)]
fn write_at(file: &File, mut offset: u64, chain: &BufferChain) -> std::io::Result<u64> {
    use std::os::unix::fs::FileExt;
    for slice in chain.slices() {
        tally::call(SystemCall::Write);
        file.write_all_at(slice, offset)?;
        offset += slice.len() as u64;
    }
    Ok(chain.len())
}

#[cfg(windows)]
fn write_at(file: &File, offset: u64, chain: &BufferChain) -> std::io::Result<u64> {
    let mut done = 0;
    while let Some(piece) = chain.pieces_from(done).next() {
        tally::call(SystemCall::Write);
        match file::write_and_wait(file, offset + done, piece)? {
            0 => return Err(std::io::ErrorKind::WriteZero.into()),
            bytes => done += bytes as u64,
        }
    }
    Ok(done)
}

#[cfg(windows)]
fn append(file: &File, chain: &BufferChain) -> std::io::Result<u64> {
    let mut done = 0;
    while let Some(piece) = chain.pieces_from(done).next() {
        tally::call(SystemCall::Write);
        match file::write_and_wait(file, file::END_OF_FILE, piece)? {
            0 => return Err(std::io::ErrorKind::WriteZero.into()),
            bytes => done += bytes as u64,
        }
    }
    Ok(done)
}

#[cfg(unix)]
fn append(mut file: &File, chain: &BufferChain) -> std::io::Result<u64> {
    use std::io::Write;
    for slice in chain.slices() {
        tally::call(SystemCall::Write);
        file.write_all(slice)?;
    }
    Ok(chain.len())
}
