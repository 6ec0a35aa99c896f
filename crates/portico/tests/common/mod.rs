//! What the tests at the socket share: a server in this process or the program, a folder to serve, and clients that speak plain bytes.
#![allow(dead_code, unused_imports, reason = "each test program uses its part")]

mod client;
mod program;

pub(crate) use client::{Answer, Client, Ending};
pub(crate) use program::Program;

use portico::{
    End, Server, StartError,
    settings::{BackendChoice, Settings},
};
use std::{fs, net::SocketAddr, path::Path, path::PathBuf, sync::Mutex, sync::Once, time::Duration};
use tempfile::TempDir;

/// Makes one test of each function `fn name(backend: BackendChoice)` for every backend that this system may have.
macro_rules! on_every_backend {
    ($($(#[$attribute:meta])* $name:ident),+ $(,)?) => {
        #[cfg(target_os = "linux")]
        mod io_uring {
            $($(#[$attribute])* #[test] fn $name() {
                $crate::common::on(portico::settings::BackendChoice::IoUring, super::$name);
            })+
        }
        #[cfg(unix)]
        mod readiness {
            $($(#[$attribute])* #[test] fn $name() {
                $crate::common::on(portico::settings::BackendChoice::Readiness, super::$name);
            })+
        }
        #[cfg(windows)]
        mod iocp {
            $($(#[$attribute])* #[test] fn $name() {
                $crate::common::on(portico::settings::BackendChoice::Iocp, super::$name);
            })+
        }
    };
}
pub(crate) use on_every_backend;

/// Runs a test on a backend. Where a container forbids io_uring there is nothing to test; the others must be there.
pub(crate) fn on(backend: BackendChoice, test: fn(BackendChoice)) {
    if backend == BackendChoice::IoUring {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), backend);
        match Server::start(settings) {
            Ok(server) => assert!(server.stop(Duration::from_secs(10)).is_clean()),
            Err(StartError::Port(_)) => return,
            Err(error) => panic!("{error}"),
        }
    }
    test(backend);
}

/// Settings for a test: any free port, one worker, so that what one connection changed is what another sees.
pub(crate) fn settings(root: &Path, backend: BackendChoice) -> Settings {
    let mut settings = Settings::new(root);
    settings.port = 0;
    settings.backend = backend;
    settings.workers = 1;
    settings.buffer_memory_bytes = 32 << 20;
    settings
}

/// A folder that is served by a server in this process.
pub(crate) struct Site {
    server: Option<Server>,
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

impl Site {
    /// Serves an empty folder.
    pub(crate) fn start(backend: BackendChoice) -> Self {
        Self::with(backend, |_| {})
    }

    /// Serves an empty folder with other settings.
    pub(crate) fn with(backend: BackendChoice, change: impl FnOnce(&mut Settings)) -> Self {
        note_panics_of_workers();
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path(), backend);
        change(&mut settings);
        settings.check().unwrap();
        let server = Server::start(settings).unwrap();
        Self { address: server.address(), server: Some(server), folder }
    }

    /// Serves an empty folder whose subfolder `in` takes uploads.
    pub(crate) fn with_uploads(backend: BackendChoice, change: impl FnOnce(&mut Settings)) -> Self {
        Self::with(backend, |settings| {
            let inbox = settings.root.join("in");
            fs::create_dir(&inbox).unwrap();
            settings.upload = Some(inbox);
            change(settings);
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file below the root; folders on the way are made.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        write(self.folder.path(), name, content)
    }

    /// Names in a folder below the root, sorted.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        names(&self.path(folder))
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.connect().get(target)
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Takes the server, to be stopped while clients still use this.
    pub(crate) fn take_server(&mut self) -> Server {
        self.server.take().unwrap()
    }

    /// Stops the server.
    pub(crate) fn stop(&mut self, deadline: Duration) -> End {
        self.server.take().unwrap().stop(deadline)
    }
}

/// Every test ends with a clean stop: nothing was cut short, every operation and every buffer came back.
impl Drop for Site {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let end = server.stop(Duration::from_secs(30));
            if !std::thread::panicking() {
                assert!(end.is_clean(), "the server ended like this: {end}");
                let panics = PANICS.lock().unwrap();
                assert!(panics.is_empty(), "in this or another test: {panics:?}");
            }
        }
    }
}

/// What workers panicked about. A server outlives that; a test must not.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note_panics_of_workers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name().is_some_and(|name| name.starts_with("portico-")) {
                PANICS.lock().unwrap().push(panic.to_string());
            }
            before(panic);
        }));
    });
}

/// Writes a file below `root`; folders on the way are made.
pub(crate) fn write(root: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

/// Names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Bytes without a pattern that a wrong offset would survive.
pub(crate) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Compares without printing megabytes.
#[track_caller]
pub(crate) fn assert_same(got: &[u8], wanted: &[u8], what: &str) {
    if got == wanted {
        return;
    }
    assert_eq!(got.len(), wanted.len(), "{what}: length");
    if let Some(place) = got.iter().zip(wanted).position(|(got, wanted)| got != wanted) {
        panic!("{what}: first differs at byte {place} of {}", wanted.len());
    }
}

/// Says a figure that was measured; shown with `--nocapture`.
#[allow(clippy::print_stderr, reason = "figures are for whoever runs the test by hand")]
pub(crate) fn report(figure: &str) {
    eprintln!("{figure}");
}
