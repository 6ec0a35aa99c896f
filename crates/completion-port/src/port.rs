//! The port: what all threads share.

use crate::{
    backend,
    buffer::Buffers,
    completion::Packet,
    configuration::{Backend, Configuration},
    counters::{Block, Counters},
    error::{Error, ErrorKind},
    identity::Handle,
    operation::OperationKind,
    pool::Pool,
    queue::Queue,
    rest::Rest,
    seats::Seats,
    shutdown::{Phase, PhaseCell, ShutdownReport},
    worker::Worker,
};
use std::{
    fmt,
    sync::Arc,
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
    /// Of each worker, by its number.
    pub(crate) blocks: Box<[Block]>,
    pub(crate) phase: PhaseCell,
    pub(crate) started: Instant,
    clock: backend::Clock,
    seats: Seats,
    rest: Rest,
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
        let rest = Rest::new(configuration.queues);
        let seats = Seats::new(configuration.queues * configuration.workers_per_queue);
        let pool = Pool::new(configuration.pool_threads, configuration.pool_queue);
        let workers = configuration.queues * configuration.workers_per_queue;
        let blocks = (0..workers).map(|_| Block::default()).collect();
        let clock = backend::Clock::new(&common);
        let shared = Shared {
            configuration,
            choice,
            common,
            queues,
            buffers,
            pool,
            blocks,
            phase: PhaseCell::default(),
            started: Instant::now(),
            clock,
            seats,
            rest,
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
    /// [`ErrorKind::ShuttingDown`] once the work is over or what is in flight is being cancelled (a flood of packets would put off the end), or
    /// [`ErrorKind::InvalidArgument`] if there is no such queue.
    pub fn post(&self, queue: usize, packet: Packet) -> Result<(), (Error, Packet)> {
        let posted = match self.inbox_of(queue) {
            Ok(target) => target.post(packet),
            Err(kind) => Err((kind, packet)),
        };
        posted.map_err(|(kind, packet)| (Error::new(kind, OperationKind::Post), packet))
    }

    /// As [`Port::post`] for each of `packets`, in their order and for less: one lock, and one wake at most, for all of them.
    /// They are taken out of the list, from the front, as far as there is room.
    ///
    /// # Errors
    ///
    /// As [`Port::post`]; what was not posted is still in the list.
    pub fn post_many(&self, queue: usize, packets: &mut Vec<Packet>) -> Result<(), Error> {
        let posted = self.inbox_of(queue).and_then(|target| target.post_many(packets));
        posted.map_err(|kind| Error::new(kind, OperationKind::Post))
    }

    /// The queue, unless it takes no packets now.
    fn inbox_of(&self, queue: usize) -> Result<&Queue, ErrorKind> {
        let target = self.shared.queues.get(queue).ok_or(ErrorKind::InvalidArgument)?;
        if self.shared.phase.get() == Phase::Cancelling || self.shared.rest.is_over() {
            return Err(ErrorKind::ShuttingDown);
        }
        if self.shared.clock.refuses_post() {
            return Err(ErrorKind::QueueFull);
        }
        Ok(target)
    }

    /// Closes a handle from any thread: as [`Operation::Close`](crate::Operation::Close), but without a completion. A stale handle is
    /// ignored, and so is one that was asked for already: what waits for the worker is bounded by the handles that are open.
    pub fn close(&self, handle: Handle) {
        if let Some(queue) = self.shared.queues.get(handle.queue()) {
            queue.close(handle);
        }
    }

    /// What was counted since the port was made, added up over its workers. Costs a few microseconds and an allocation, and nothing
    /// to the workers: they count on meanwhile, so that the figures are no exact moment's.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::of(&self.shared.blocks);
        self.shared.pool.count(&mut counters);
        counters.buffers = self.shared.buffers.counts();
        counters
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
    /// [`Draining`](OperationKind::Draining) packet, so that the program finishes what runs and closes its handles. When
    /// nothing is in flight any more on any queue, and no packet waits, each worker gets one [`Shutdown`](OperationKind::Shutdown)
    /// packet: until then every queue can be posted to. What is still in
    /// flight at the deadline is cancelled. Waits until all workers are dropped, for `deadline` and a second after it.
    ///
    /// Call it from a thread that is no worker.
    pub fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let shared = &self.shared;
        shared.begin(Phase::Draining);
        // A deadline beyond all time is none.
        let until = Instant::now().checked_add(deadline);
        if !shared.seats.wait(until) {
            shared.begin(Phase::Cancelling);
            shared.seats.wait(until.and_then(|until| until.checked_add(CANCELLING_TIME)));
        }
        let cancelled = shared.phase.get() == Phase::Cancelling;
        let (workers_left, leaked) = shared.seats.count();
        let operations_left = leaked
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

    fn begin(&self, phase: Phase) {
        if self.phase.advance(phase) {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        for queue in &self.queues {
            for _ in 0..self.configuration.workers_per_queue {
                queue.wake_always();
            }
        }
    }

    /// The port shuts down, and `queue` has nothing to do. True if its workers may leave: the work of all queues is over, or what was left
    /// is being cancelled, and nobody has posted to it meanwhile. From then on nobody can.
    pub(crate) fn begin_rest(&self, queue: usize) -> bool {
        let was_over = self.rest.is_over();
        let over = self.rest.begin(queue, |queue, rests| self.is_done(queue, rests));
        if over && !was_over {
            self.wake_all();
        }
        (over || self.phase.get() == Phase::Cancelling) && self.queues[queue].end_posts()
    }

    /// Whether the work of all queues is over.
    #[cfg(all(unix, feature = "simulation"))]
    pub(crate) fn is_work_over(&self) -> bool {
        self.rest.is_over()
    }

    /// `queue` may find something to do, see [`Rest::end`].
    pub(crate) fn end_rest(&self, queue: usize) {
        self.rest.end(queue);
    }

    fn is_done(&self, queue: usize, rests: bool) -> bool {
        !self.seats.serve(queue, self.queues.len()) || rests && self.queues[queue].is_idle()
    }
}

impl Seat {
    fn take(shared: &Arc<Shared>) -> Result<Self, Error> {
        let number =
            shared.seats.take(&shared.phase).map_err(|kind| Error::new(kind, OperationKind::Setup))?;
        Ok(Self { shared: Arc::clone(shared), number, leaked: 0 })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.seats.leave(self.number, self.leaked);
        // The others may have waited for this one.
        if shared.phase.get() != Phase::Running
            && !shared.rest.is_over()
            && shared.rest.look_again(|queue, rests| shared.is_done(queue, rests))
        {
            shared.wake_all();
        }
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Port({}, {} queues)", self.backend().name(), self.queues())
    }
}
