//! The port: what all threads share.

use crate::{
    backend,
    buffer::Buffers,
    completion::Packet,
    configuration::{Backend, Configuration},
    error::{Error, ErrorKind},
    identity::Handle,
    operation::OperationKind,
    pool::Pool,
    queue::Queue,
    shutdown::{Phase, PhaseCell, ShutdownReport},
    worker::Worker,
};
use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a shutdown waits for workers after it cancelled what they had in flight.
const CANCELLING_TIME: Duration = Duration::from_secs(1);

/// A completion port: queues, buffers and the choice of a backend. Cheap to clone; every clone is the same port.
///
/// In the terms of Win32 it is what CreateIoCompletionPort returns, with its pool of buffers and of threads for what blocks.
#[derive(Clone)]
pub struct Port {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) configuration: Configuration,
    pub(crate) choice: backend::Choice,
    /// What the backend shares between workers.
    #[cfg_attr(
        all(unix, not(feature = "simulation")),
        expect(dead_code, reason = "only IOCP and the simulation share more than queues")
    )]
    pub(crate) common: backend::Common,
    pub(crate) queues: Box<[Arc<Queue>]>,
    pub(crate) buffers: Buffers,
    pub(crate) pool: Pool,
    pub(crate) phase: PhaseCell,
    pub(crate) started: Instant,
    clock: backend::Clock,
    seats: Mutex<Seats>,
    left: Condvar,
}

#[derive(Default)]
struct Seats {
    taken: Vec<bool>,
    /// Operations that a leaving worker could not bring home.
    leaked: usize,
}

/// A worker's place at the port. Who drops it has left: a shutdown no longer waits for it.
pub(crate) struct Seat {
    pub(crate) shared: Arc<Shared>,
    pub(crate) number: usize,
    /// Operations that the worker could not bring home.
    pub(crate) leaked: usize,
}

impl Port {
    /// Makes a port: chooses the backend, maps the buffers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if the backend that was asked for cannot work here ([`Port::backends`] says why);
    /// [`ErrorKind::InvalidArgument`] for a configuration that contradicts itself or exceeds what [`Configuration`] says;
    /// what the system says otherwise.
    pub fn new(configuration: Configuration) -> Result<Self, Error> {
        let invalid = Error::new(ErrorKind::InvalidArgument, OperationKind::Setup);
        if !configuration.is_sound() {
            return Err(invalid);
        }
        let choice = backend::choose(configuration.backend)?;
        let shares_queues = matches!(choice.backend, Backend::Iocp | Backend::Simulated);
        if configuration.workers_per_queue > 1 && !shares_queues {
            return Err(invalid);
        }
        let buffers = Buffers::new(&configuration.buffers, configuration.heap_bytes)?;
        let queues: Box<[Arc<Queue>]> =
            (0..configuration.queues).map(|_| Arc::new(Queue::new(configuration.posts))).collect();
        let common = backend::Common::new(choice.backend, &configuration, &queues, &buffers)?;
        let seats =
            Seats { taken: vec![false; configuration.queues * configuration.workers_per_queue], leaked: 0 };
        let pool = Pool::new(configuration.pool_threads, configuration.pool_queue);
        let clock = backend::Clock::new(&common);
        let shared = Shared {
            configuration,
            choice,
            common,
            queues,
            buffers,
            pool,
            phase: PhaseCell::default(),
            started: Instant::now(),
            clock,
            seats: Mutex::new(seats),
            left: Condvar::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The next worker, for the calling thread; worker `n` serves queue `n % queues`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] if the port has all its workers already, [`ErrorKind::ShuttingDown`] once it shuts down, and
    /// what the system says if it refuses the worker's ring or poller.
    pub fn worker(&self) -> Result<Worker, Error> {
        Worker::new(Seat::take(&self.shared)?)
    }

    /// Sends a packet to the workers of a queue; exactly one of them gets it, as a completion of kind
    /// [`OperationKind::Post`]. From any thread. (PostQueuedCompletionStatus.)
    ///
    /// # Errors
    ///
    /// The packet comes back with [`ErrorKind::QueueFull`] at the limit ([`Configuration::posts`]),
    /// [`ErrorKind::ShuttingDown`] once what is in flight is being cancelled (a flood of packets would put off the end), or
    /// [`ErrorKind::InvalidArgument`] if there is no such queue.
    pub fn post(&self, queue: usize, packet: Packet) -> Result<(), (Error, Packet)> {
        let Some(target) = self.shared.queues.get(queue) else {
            return Err((Error::new(ErrorKind::InvalidArgument, OperationKind::Post), packet));
        };
        if self.shared.phase.get() == Phase::Cancelling {
            return Err((Error::new(ErrorKind::ShuttingDown, OperationKind::Post), packet));
        }
        if self.shared.clock.refuses_post() {
            return Err((Error::new(ErrorKind::QueueFull, OperationKind::Post), packet));
        }
        target.post(packet).map_err(|packet| (Error::new(ErrorKind::QueueFull, OperationKind::Post), packet))
    }

    /// Closes a handle from any thread: as [`Operation::Close`](crate::Operation::Close), but without a completion. A stale handle is
    /// ignored.
    pub fn close(&self, handle: Handle) {
        if let Some(queue) = self.shared.queues.get(handle.queue()) {
            queue.close(handle);
        }
    }

    /// The buffers of the port.
    pub fn buffers(&self) -> &Buffers {
        &self.shared.buffers
    }

    /// The limits and choices that the port was made with.
    pub fn configuration(&self) -> &Configuration {
        &self.shared.configuration
    }

    /// The backend in use.
    pub fn backend(&self) -> Backend {
        self.shared.choice.backend
    }

    /// How many queues the port has.
    pub fn queues(&self) -> usize {
        self.shared.queues.len()
    }

    /// One line for each backend of this build: chosen, or why not, and what of the system's features it uses. Works without a port,
    /// for `--version`.
    pub fn backends(wanted: Option<Backend>) -> Vec<String> {
        backend::describe(wanted)
    }

    /// Shuts the port down as the seed's "Shutdown" describes: accept streams end and every worker gets a
    /// [`Draining`](OperationKind::Draining) packet, so that the program finishes what runs and closes its handles. A queue in which
    /// nothing is in flight any more gets one [`Shutdown`](OperationKind::Shutdown) packet for each worker. What is still in
    /// flight at the deadline is cancelled. Waits until all workers are dropped, for `deadline` and a second after it.
    ///
    /// Call it from a thread that is no worker.
    pub fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let shared = &self.shared;
        shared.begin(Phase::Draining);
        // A deadline beyond all time is none.
        let until = Instant::now().checked_add(deadline);
        if !shared.wait_for_workers(until) {
            shared.begin(Phase::Cancelling);
            shared.wait_for_workers(until.and_then(|until| until.checked_add(CANCELLING_TIME)));
        }
        let cancelled = shared.phase.get() == Phase::Cancelling;
        let seats = shared.lock_seats();
        let workers_left = seats.taken.iter().filter(|taken| **taken).count();
        let operations_left = seats.leaked
            + shared.queues.iter().map(|queue| queue.in_flight()).sum::<usize>()
                * usize::from(workers_left > 0);
        ShutdownReport { cancelled, workers_left, operations_left, buffers_left: shared.buffers.in_use() }
    }

    /// Begins the end as [`Port::shutdown`] does, and returns at once: for a program that has no thread to wait with. It calls
    /// [`Port::cancel_all`] when its own deadline comes, and [`Port::shutdown`] for the report when its workers are dropped.
    pub fn begin_shutdown(&self) {
        self.shared.begin(Phase::Draining);
    }

    /// Moves what is in flight to its end at once, as if the deadline of [`Port::shutdown`] had come. From any thread.
    pub fn cancel_all(&self) {
        self.shared.begin(Phase::Cancelling);
    }
}

impl Shared {
    /// The time since the port was made, read afresh.
    pub(crate) fn now(&self) -> Duration {
        self.clock.elapsed(self.started)
    }

    fn lock_seats(&self) -> std::sync::MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, phase: Phase) {
        if self.phase.advance(phase) {
            for queue in &self.queues {
                for _ in 0..self.configuration.workers_per_queue {
                    queue.wake_always();
                }
            }
        }
    }

    /// Waits until all workers have left, up to a time if there is one. Whether they have.
    fn wait_for_workers(&self, until: Option<Instant>) -> bool {
        let mut seats = self.lock_seats();
        while seats.taken.iter().any(|taken| *taken) {
            let Some(until) = until else {
                seats = self.left.wait(seats).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            seats = self.left.wait_timeout(seats, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Seat {
    fn take(shared: &Arc<Shared>) -> Result<Self, Error> {
        let refused = |kind| Error::new(kind, OperationKind::Setup);
        let mut seats = shared.lock_seats();
        // With the lock held: a shutdown that has begun either sees the seat taken, or is seen here.
        if shared.phase.get() != Phase::Running {
            return Err(refused(ErrorKind::ShuttingDown));
        }
        let free = seats.taken.iter().position(|taken| !taken);
        let number = free.ok_or(refused(ErrorKind::InvalidArgument))?;
        seats.taken[number] = true;
        drop(seats);
        Ok(Self { shared: Arc::clone(shared), number, leaked: 0 })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.shared.lock_seats();
        seats.taken[self.number] = false;
        seats.leaked += self.leaked;
        drop(seats);
        self.shared.left.notify_all();
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Port({}, {} queues)", self.backend().name(), self.queues())
    }
}
