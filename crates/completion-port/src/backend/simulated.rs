//! The simulated backend: the books of the other backends over the kernel of a [`World`], with several workers to a queue.
//!
//! The workers of a queue share its books, behind a lock; completions reach them through the gate of their handle, as they do on
//! IOCP. Every submit and completion passes the [`Checks`].

mod checks;
mod desk;
mod engine;
mod files;

use super::{Driver, local::Local};
use crate::{
    completion::{Completion, Rejected},
    configuration::Configuration,
    error::{Error, ErrorKind},
    gate::Gate,
    identity::{Handle, Token},
    operation::{Operation, OperationKind},
    port::Shared,
    queue::Queue,
    simulation::{Due, World},
    source::Source,
};
use checks::Checks;
use desk::Desk;
use engine::Simulator;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What the workers of a port share.
pub(crate) struct Common {
    pub(crate) world: World,
    /// Of each queue, while it has workers.
    books: Box<[Mutex<Option<Shelf>>]>,
}

/// The books of a queue, for all of its workers.
type Shelf = Arc<Mutex<Books>>;

impl Common {
    pub(crate) fn new(configuration: &Configuration) -> Self {
        let world = configuration.simulation.clone().unwrap_or_default();
        Self { world, books: (0..configuration.queues).map(|_| Mutex::new(None)).collect() }
    }
}

/// What the workers of a queue share.
struct Books {
    local: Local<Simulator>,
    /// Of the handles that have completions on their way.
    gates: BTreeMap<Handle, Gate<Completion>>,
    /// By the number of the worker; none where it has left.
    desks: Vec<Option<Desk>>,
    /// Completions of no handle that a worker left behind.
    loose: Vec<Completion>,
    /// Handles whose gate nobody holds, though something is parked there: their holder left.
    abandoned: Vec<Handle>,
    /// The books told of the end: each worker gets a packet when all are at rest.
    draining: bool,
    shutdown: bool,
    arrived: Vec<Completion>,
    checks: Checks,
}

/// The driver of one worker.
pub(crate) struct Simulated {
    world: World,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    number: usize,
    books: Shelf,
    /// Its number among the workers of the queue.
    seat: usize,
}

impl Simulated {
    pub(crate) fn new(shared: &Arc<Shared>, number: usize) -> Result<Self, Error> {
        let super::Common::Simulated(common) = &shared.common else {
            unreachable!("a port on the simulated backend has a world")
        };
        let mut place = common.books[number].lock().unwrap_or_else(PoisonError::into_inner);
        let books = match &*place {
            Some(books) => Arc::clone(books),
            None => {
                let engine = Simulator::new(&common.world, shared, number)?;
                let books = Books {
                    local: Local::new(shared, number, engine),
                    gates: BTreeMap::new(),
                    desks: Vec::new(),
                    loose: Vec::new(),
                    abandoned: Vec::new(),
                    draining: false,
                    shutdown: false,
                    arrived: Vec::new(),
                    checks: Checks::new(&common.world),
                };
                Arc::clone(place.insert(Arc::new(Mutex::new(books))))
            }
        };
        // Before the place is free: the last worker that leaves closes the books.
        let seat = lock(&books).sit_down();
        drop(place);
        Ok(Self {
            world: common.world.clone(),
            shared: Arc::clone(shared),
            queue: Arc::clone(&shared.queues[number]),
            number,
            books,
            seat,
        })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }

    /// When a wait without a sleep would bring or do something.
    pub(crate) fn due(&self) -> Due {
        self.books().due(self.seat, &self.world, self.shared.now())
    }
}

/// A checker that panicked has said what was wrong; what follows it is not checked any more.
fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Books {
    fn due(&mut self, seat: usize, world: &World, now: Duration) -> Due {
        self.local.set_in_hands(self.is_in_hands());
        let waits = !self.loose.is_empty()
            || !self.abandoned.is_empty()
            || self.desk(seat).has_ready()
            || self.has_packet_for(seat)
            || self.local.has_business()
            || self.would_free(seat);
        let deadline = self.local.next_deadline();
        let (engine, core) = self.local.parts();
        let state = world.lock();
        let kernel = state.kernel(engine.kernel());
        if waits
            || kernel.has_news(core.room_for_handles())
            || state.next_event().is_some_and(|at| at <= state.now())
        {
            return Due::Now;
        }
        // The books count from the beginning of the port, the world from its own.
        deadline
            .map_or(Due::Never, |deadline| Due::At(state.now().saturating_add(deadline.saturating_sub(now))))
    }

    /// Looks what there is for a worker. Never sleeps, and lets no time pass.
    fn collect(
        &mut self,
        seat: usize,
        completions: &mut Vec<Completion>,
        limit: usize,
    ) -> Result<usize, Error> {
        let mut arrived = std::mem::take(&mut self.arrived);
        arrived.append(&mut self.loose);
        self.local.set_in_hands(!arrived.is_empty() || self.is_in_hands());
        // What is ready already is handed out first, and bounds what is taken beside it.
        let looked = match self.desk(seat).room(limit) {
            0 => Ok(()),
            room => self.local.wait(&mut arrived, room, Some(Duration::ZERO)),
        };
        for completion in arrived.drain(..) {
            self.route(seat, completion);
        }
        self.arrived = arrived;
        self.pick_up_abandoned(seat);
        self.tell_packets(seat);
        looked?;
        Ok(self.hand_out(seat, completions, limit))
    }
}

impl Driver for Simulated {
    fn associate(&mut self, source: Source, key: u64) -> Result<Handle, (Error, Source)> {
        let mut books = self.books();
        let handle = books.local.associate(source, key)?;
        books.checks.opened(handle);
        Ok(handle)
    }

    fn set_key(&mut self, handle: Handle, key: u64) -> Result<(), Error> {
        self.books().local.set_key(handle, key)
    }

    fn submit(
        &mut self,
        handle: Handle,
        operation: Operation,
        deadline: Option<Duration>,
    ) -> Result<Token, Rejected> {
        let kind = operation.kind();
        let mut books = self.books();
        // Never the only one: who is told that all slots are taken may wait for a completion.
        let others = books.local.in_flight() > 0;
        if kind != OperationKind::Close && others && self.world.lock().refuses_submit() {
            return Err(Rejected { error: Error::new(ErrorKind::OperationsExhausted, kind), operation });
        }
        let record = Checks::record(handle, &operation);
        let token = books.local.submit(handle, operation, deadline)?;
        books.checks.accepted(token, record);
        drop(books);
        self.world.bell().ring();
        Ok(token)
    }

    fn cancel(&mut self, token: Token) {
        self.books().local.cancel(token);
    }

    fn close(&mut self, handle: Handle) {
        let mut books = self.books();
        books.local.close(handle);
        books.checks.closed(handle);
    }

    fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        self.books().leave_gates(self.seat);
        let until = timeout.map(|timeout| self.shared.now().saturating_add(timeout));
        loop {
            let listening = self.world.bell().listen();
            let mut books = self.books();
            if books.collect(self.seat, completions, limit)? > 0 {
                return Ok(());
            }
            let now = self.shared.now();
            let due = books.due(self.seat, &self.world, now);
            if due == Due::Now {
                continue;
            }
            if until.is_some_and(|until| until <= now) {
                return Ok(());
            }
            let mut state = self.world.lock();
            let until = until.map(|until| state.now().saturating_add(until - now));
            let limit = match (due, until) {
                (Due::At(at), Some(until)) => Some(at.min(until)),
                (Due::At(only), None) => Some(only),
                (_, until) => until,
            };
            if state.pass_time(limit) {
                drop((state, books));
                self.world.bell().ring();
                continue;
            }
            // Only another thread can bring something: by a post, a close, a shutdown, a buffer, a socket.
            state.kernel(books.local.parts().0.kernel()).await_buffer();
            drop(state);
            let sleeps = books.desks.iter().flatten().any(Desk::is_asleep);
            books.desk(self.seat).set_asleep(true);
            let idle = self.queue.prepare_to_sleep();
            drop(books);
            if idle || sleeps {
                listening.sleep(None);
            }
            let mut books = self.books();
            books.desk(self.seat).set_asleep(false);
            if !books.desks.iter().flatten().any(Desk::is_asleep) {
                self.queue.awake();
            }
        }
    }

    fn peer_address(&self, handle: Handle) -> Result<SocketAddr, Error> {
        self.books().local.peer_address(handle)
    }

    fn local_address(&self, handle: Handle) -> Result<SocketAddr, Error> {
        self.books().local.local_address(handle)
    }

    fn acknowledged_bytes(&self, handle: Handle) -> Result<u64, Error> {
        self.books().local.acknowledged_bytes(handle)
    }

    fn reset_on_close(&self, handle: Handle) -> Result<(), Error> {
        self.books().local.reset_on_close(handle)
    }

    fn now(&self) -> Duration {
        self.books().local.now()
    }

    fn drain(&mut self, discarded: &mut Vec<Completion>) -> usize {
        let super::Common::Simulated(common) = &self.shared.common else { return 0 };
        // Held throughout: a worker that comes meanwhile must find the books, or none.
        let mut place = common.books[self.number].lock().unwrap_or_else(PoisonError::into_inner);
        let mut books = self.books();
        books.stand_up(self.seat);
        if books.desks.iter().any(Option::is_some) {
            drop(books);
            self.world.bell().ring();
            return 0;
        }
        place.take();
        books.discard(discarded)
    }
}
