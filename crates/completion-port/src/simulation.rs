//! A simulated world: the network and the time of a port that talks to no kernel.
//!
//! A port whose configuration says [`Backend::Simulated`](crate::Backend::Simulated) lives in a [`World`]. Connections are byte queues in
//! memory, time passes only when nothing else is left to do, and what goes wrong, when and in which order, follows from one
//! seed: what was found once is found again. Files are real files, but operations on them take virtual time, and fail as the seed
//! says. The port's own books are those of the other backends; what the laws promise is checked at every submit and
//! completion, and a breach panics with the seed.
//!
//! ```
//! use completion_port::{Backend, Configuration, Operation, Port, simulation::{Faults, World}};
//! use std::{io::Write, time::Duration};
//!
//! let world = World::new(17, Faults::none());
//! let mut configuration = Configuration::default();
//! configuration.backend = Some(Backend::Simulated);
//! configuration.simulation = Some(world.clone());
//! (configuration.queues, configuration.workers_per_queue) = (1, 1);
//! let port = Port::new(configuration)?;
//! let mut worker = port.worker()?;
//! let (ours, mut peer) = world.pair();
//! let handle = worker.associate(ours, 1).map_err(|(error, _)| error)?;
//! let buffer = port.buffers().acquire(100)?;
//! worker.submit(handle, Operation::Receive { buffer })?;
//! peer.write_all(b"hello")?;
//! let mut completions = Vec::new();
//! worker.wait(&mut completions, Some(Duration::from_secs(3_600)))?; // an hour that takes no time
//! assert_eq!(completions.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One thread or several
//!
//! With one thread a run follows from its seed alone. A program with one worker waits as it always does, and talks to its peers
//! between the waits. With several workers, or with clients that must not block, [`World::turn`] says who is next, and each
//! worker that is named waits with a timeout of zero.
//!
//! A [`Stream`] may also be used from other threads than the workers'. Then their order decides too; and a worker that waits with a
//! timeout does not wait for such threads: its time passes at once.

mod bell;
mod faults;
pub(crate) mod kernel;
pub(crate) mod network;
mod random;
pub(crate) mod state;
mod stream;

pub use faults::Faults;
pub use random::Random;
pub use stream::{Listener, Stream};

use crate::worker::Worker;
use bell::Bell;
use network::Outcome;
use state::{Name, State, What};
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// How many connections wait at most to be accepted by one listener.
const BACKLOG: usize = 4_096;

/// How long a call on a thread without a worker waits, in real time, for what other threads do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A world. Cheap to clone; every clone is the same world.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

struct Inner {
    seed: u64,
    replay: Mutex<String>,
    clock: Arc<AtomicU64>,
    state: Mutex<State>,
    bell: Arc<Bell>,
    /// A checker found a breach.
    broken: AtomicBool,
}

/// Who is next, as [`World::turn`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The worker at this place among those that were given: wait with it, with a timeout of zero.
    Worker(usize),
    /// The client of this number: something changed on a connection of its own ([`Stream::notify`]), or the time has come that it asked for
    /// ([`World::wake_after`]).
    Client(u64),
    /// Nobody: nothing will ever happen by itself.
    Over,
}

/// When a worker has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    Now,
    At(Duration),
    Never,
}

impl World {
    /// The world of a seed, with these faults.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let clock = Arc::new(AtomicU64::new(0));
        let state = Mutex::new(State::new(seed, faults, Arc::clone(&clock)));
        let replay = Mutex::new(String::new());
        Self {
            inner: Arc::new(Inner {
                seed,
                replay,
                clock,
                state,
                bell: Arc::default(),
                broken: AtomicBool::new(false),
            }),
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.inner.seed
    }

    /// Sets the command that runs this world again, for the message of a checker that found a breach.
    pub fn set_replay(&self, command: impl Into<String>) {
        *self.inner.replay.lock().unwrap_or_else(PoisonError::into_inner) = command.into();
    }

    /// Changes the faults from here on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// The faults.
    pub fn faults(&self) -> Faults {
        self.lock().faults.clone()
    }

    /// The time since the world began.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.inner.clock.load(Ordering::Acquire))
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> u64 {
        self.lock().connections
    }

    /// Connects to an address of this world.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ConnectionRefused`] where nobody listens, or too many wait already to be accepted.
    pub fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        let stream = self.socket();
        stream.connect(address)?;
        Ok(stream)
    }

    /// A socket that is not connected, for [`Operation::Connect`](crate::Operation::Connect).
    ///
    /// # Panics
    ///
    /// If the world has a million of them.
    pub fn socket(&self) -> Stream {
        let name = self.change(State::socket).expect("a world has room for a million sockets");
        Stream::new(self, name)
    }

    /// Two sockets that are connected with each other.
    ///
    /// # Panics
    ///
    /// As [`World::socket`].
    pub fn pair(&self) -> (Stream, Stream) {
        let (one, other) = (self.socket(), self.socket());
        self.change(|state| state.join(one.name(), other.name()));
        (one, other)
    }

    /// Listens on an address of this world; port 0 takes one that is free. Several may listen on one address: the seed spreads
    /// connections over them.
    ///
    /// # Panics
    ///
    /// If the world has a million listeners.
    pub fn listen(&self, address: SocketAddr) -> Listener {
        let (name, address) = self
            .change(|state| state.listen(address, BACKLOG))
            .expect("a world has room for a million listeners");
        Listener::new(self, name, address)
    }

    /// Has [`World::turn`] name `client` after a time.
    pub fn wake_after(&self, after: Duration, client: u64) {
        self.change(|state| state.schedule(after, What::Client(client)));
    }

    /// Says who is next among `workers` of this world and its clients, by the seed. Lets time pass where nobody has anything to do
    /// now.
    ///
    /// # Panics
    ///
    /// If a law of the port was broken before: some programs catch the panic that said so.
    pub fn turn<'a>(&self, workers: impl IntoIterator<Item = &'a Worker, IntoIter: Clone>) -> Turn {
        let workers = workers.into_iter();
        assert!(!self.inner.broken.load(Ordering::Relaxed), "a law was broken before, in {self:?}");
        loop {
            self.lock().run_due();
            let (mut runnable, mut next) = (0, None::<Duration>);
            for worker in workers.clone() {
                match worker.due() {
                    Due::Now => runnable += 1,
                    Due::At(at) => next = Some(next.map_or(at, |next| next.min(at))),
                    Due::Never => {}
                }
            }
            let mut state = self.lock();
            let all = runnable + state.clients.len();
            if all > 0 {
                let chosen = state.random.below(all);
                if chosen >= runnable {
                    return Turn::Client(state.clients.swap_remove(chosen - runnable));
                }
                drop(state);
                let due = workers.enumerate().filter(|(_, worker)| worker.due() == Due::Now);
                return due.map(|(place, _)| Turn::Worker(place)).nth(chosen).unwrap_or(Turn::Over);
            }
            if !state.pass_time(next) {
                return Turn::Over;
            }
        }
    }

    /// A socket that nobody owns yet.
    pub(crate) fn own(&self, name: Name) -> Stream {
        Stream::new(self, name)
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the world from outside of its queues, and tells those who sleep.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.inner.bell.ring();
        changed
    }

    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.inner.bell
    }

    /// A call that may have to block.
    fn call<T>(&self, nonblocking: bool, mut attempt: impl FnMut(&mut State) -> Outcome<T>) -> io::Result<T> {
        loop {
            let listening = self.inner.bell.listen();
            let mut state = self.lock();
            match attempt(&mut state) {
                Err(libc::EAGAIN) if !nonblocking => {}
                outcome => {
                    drop(state);
                    self.inner.bell.ring();
                    return outcome.map_err(io::Error::from_raw_os_error);
                }
            }
            if state.pass_time(None) {
                drop(state);
                self.inner.bell.ring();
                continue;
            }
            let stuck = state.has_worker_on(std::thread::current().id());
            drop(state);
            if stuck || !listening.sleep(Some(PATIENCE)) {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("nothing will ever happen here ({self:?})"),
                ));
            }
        }
    }

    /// Ends the run: a law is broken.
    pub(crate) fn breach(&self, what: fmt::Arguments<'_>) -> ! {
        self.inner.broken.store(true, Ordering::Relaxed);
        let replay = self.inner.replay.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let replay = if replay.is_empty() { String::new() } else { format!("\nto see it again: {replay}") };
        panic!("{what}\nin {self:?}{replay}")
    }
}

impl Default for World {
    /// The world of seed 0, without faults.
    fn default() -> Self {
        Self::new(0, Faults::none())
    }
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "World(seed {}, at {:?})", self.seed(), self.now())
    }
}
