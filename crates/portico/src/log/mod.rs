//! The access log and its logging thread: the only writer of the log file.
//!
//! Whoever answers a request lays the finished line into a batch in memory and goes on; the logging thread takes whole
//! batches and writes each with one call. [`AccessLog::record`] never waits: there are more batches than workers, each
//! behind its own lock that is tried and never waited for. Where no batch has room, the line is dropped and counted.

mod batches;
mod date;
mod line;
mod sink;
mod thread;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::settings::{LogTarget, Settings};

use batches::Put;
pub(crate) use date::Date;
pub(crate) use line::escape_json;
pub use line::{AccessRecord, Remote};
use sink::Sink;
use thread::Shared;

/// The access log: cheap to clone, and shared by all threads.
///
/// When the last clone is dropped the logging thread writes what it has and ends by itself; [`AccessLog::stop`] waits
/// for that.
#[derive(Clone)]
pub struct AccessLog {
    /// None where no access log was asked for.
    owner: Option<Arc<Owner>>,
}

/// The logging thread, which ends when this does.
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The log could not be opened; the display says which file and why.
#[derive(Debug)]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// What became of the records until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Handed to the file.
    pub written: u64,
    /// Dropped because the queue was full, or the log stopped.
    pub dropped: u64,
    /// Lost because the file could not be written, as on a full disk.
    pub failed: u64,
}

/// How the log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// Everything that was recorded before went to the file, or is counted; false when the time was over first.
    pub finished: bool,
    /// What became of the records.
    pub counts: Counts,
}

impl AccessLog {
    /// A log that records nothing.
    pub fn off() -> AccessLog {
        AccessLog { owner: None }
    }

    /// Opens the file that `settings` name and starts the logging thread; without a name, the log is off.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or the thread cannot be started.
    pub fn start(settings: &Settings) -> Result<AccessLog, LogError> {
        let Some(target) = &settings.access_log else { return Ok(AccessLog::off()) };
        let path = match target {
            LogTarget::StandardOutput => PathBuf::from("standard output"),
            LogTarget::File(path) => path.clone(),
        };
        let failed = |source| LogError { path, source };
        let sink = match Sink::open(target, settings.access_log_rotate_bytes, settings.access_log_keep) {
            Ok(sink) => sink,
            Err(error) => return Err(failed(error)),
        };
        let shared = Arc::new(Shared::new(settings));
        let threads = Arc::clone(&shared);
        let started =
            std::thread::Builder::new().name("portico-log".to_owned()).spawn(move || threads.run(sink));
        let thread = match started {
            Ok(thread) => thread,
            Err(error) => return Err(failed(error)),
        };
        shared.attend(thread.thread().clone());
        Ok(AccessLog { owner: Some(Arc::new(Owner { shared, thread: Mutex::new(Some(thread)) })) })
    }

    /// Whether records go anywhere: where not, the caller need not gather one.
    pub fn is_on(&self) -> bool {
        self.owner.is_some()
    }

    /// Records one request. Never waits, and allocates nothing once the batches have grown to their usual size.
    pub fn record(&self, record: &AccessRecord<'_>) {
        let Some(owner) = &self.owner else { return };
        let shared = &owner.shared;
        match shared.batches.put(record) {
            Put::Laid => shared.wake_if_asleep(),
            Put::Filling => shared.hurry(),
            Put::Dropped => shared.count_dropped(),
        }
    }

    /// Asks for the file to be opened anew, after everything recorded so far was written to the old one: for whoever
    /// renames log files. A file that was renamed or removed is noticed without being asked, too.
    pub fn reopen(&self) {
        if let Some(owner) = &self.owner {
            owner.shared.order(|orders| orders.reopen = true);
        }
    }

    /// Waits until everything recorded so far was written, at most `timeout`; says whether it was.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.owner.as_ref().is_none_or(|owner| owner.shared.flush(timeout))
    }

    /// Records that were dropped because the queue was full, or the log stopped.
    pub fn dropped(&self) -> u64 {
        self.counts().dropped
    }

    /// What became of the records until now.
    pub fn counts(&self) -> Counts {
        self.owner.as_ref().map_or_else(Counts::default, |owner| owner.shared.counts())
    }

    /// How often a record found a batch held by another thread, and went on.
    pub(crate) fn contended(&self) -> u64 {
        self.owner.as_ref().map_or(0, |owner| owner.shared.batches.held())
    }

    /// Takes no more records, writes those that were taken, and waits for that, at most `timeout`. The program log is
    /// told what was lost. A second call gives the same answer.
    pub fn stop(&self, timeout: Duration) -> Stopped {
        let Some(owner) = &self.owner else { return Stopped { finished: true, counts: Counts::default() } };
        owner.shared.order(|orders| orders.stop = true);
        let finished = owner.shared.wait_for_end(timeout);
        if finished {
            let thread = owner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A panic there is a mistake of this module; the panic hook has reported it.
            let _ = thread.map(JoinHandle::join);
        }
        Stopped { finished, counts: owner.shared.counts() }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.order(|orders| orders.stop = true);
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("on", &self.is_on()).field("counts", &self.counts()).finish()
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write the access log {}: {}", self.path.display(), self.source)?;
        match self.source.kind() {
            io::ErrorKind::NotFound => f.write_str("; create its folder first"),
            io::ErrorKind::PermissionDenied => f.write_str("; choose a file that this user may write"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
