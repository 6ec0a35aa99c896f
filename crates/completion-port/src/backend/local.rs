//! The half that io_uring and readiness share: a queue that is one worker's own.
//!
//! [`Core`] keeps the books (slots, handles, order, deadlines, pending counts), without a system call. An [`Engine`] starts
//! operations and reports what became of them. [`Local`] joins the two into a [`Driver`].
//!
//! One walk of an operation: `Driver::submit` checks it and gives it a slot; when it is first in its direction, the engine starts it;
//! events reach the engine in `Engine::wait`, which calls `Core::complete`; that takes the slot out, lets the next
//! operation of the direction start, and queues the completion, which the next `Driver::wait` hands out.

#[cfg(target_os = "linux")]
mod acknowledged;
#[cfg(target_os = "linux")]
mod at_once;
mod core;
mod handle;
#[cfg(target_os = "linux")]
mod in_memory;
mod notices;
mod order;
pub(crate) mod pipe;
mod scratch;
#[cfg(target_os = "linux")]
mod sendfile;
mod slot;
mod socket;
#[cfg(target_os = "linux")]
mod warmth;

pub(crate) use self::core::Core;
pub(crate) use handle::Descriptor;
pub(crate) use notices::Next;
pub(crate) use scratch::Scratch;
#[cfg(target_os = "linux")]
pub(crate) use sendfile::FromCache;
pub(crate) use slot::Body;
pub(crate) use socket::connect_error;

use super::Driver;
use crate::{
    completion::{Completion, Packet, Payload, Rejected},
    counters::SystemCall,
    error::{Error, ErrorKind},
    fault,
    identity::{Handle, Token},
    operation::{Operation, OperationKind},
    pool::{Finished, Pool, Task, Yielded, dispose},
    port::Shared,
    queue::Queue,
    shutdown::Phase,
    source::Source,
    tally,
};
use std::{
    net::SocketAddr,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a leaving worker waits for the kernel to give back what it holds.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// What a system offers to a queue of one worker.
pub(crate) trait Engine {
    /// Starts the operation of `token`, whose slot is in the core. Ends in one of three ways: it is under way and the engine will
    /// call [`Core::complete`] later; it is complete already (the engine has called it); or it must run on the pool.
    fn start(&mut self, core: &mut Core, token: Token) -> Start;

    /// Asks for the end of a started operation that is not on the pool. Its completion follows in any case.
    fn cancel(&mut self, core: &mut Core, token: Token);

    /// Takes what the program wants to associate, or gives it back.
    fn describe(&mut self, source: Source) -> Result<Descriptor, (Error, Source)> {
        Descriptor::try_from(source)
    }

    /// A socket or file was associated, or accepted.
    fn adopt(&mut self, core: &mut Core, handle: Handle) -> Result<(), Error>;

    /// Nothing is in flight on the handle any more, and its descriptor is about to be closed.
    fn release(&mut self, core: &mut Core, handle: Handle);

    /// Hands over to the kernel what was started, and takes what has completed; sleeps up to `timeout` (none: without limit) while
    /// there is nothing. May return early.
    fn wait(&mut self, core: &mut Core, timeout: Option<Duration>) -> Result<(), Error>;

    /// Hands over what may block; gives it back when no thread can be had. What becomes of it goes to `reply`.
    #[allow(clippy::result_large_err, reason = "the task comes back with its buffers, without an allocation")]
    fn submit_task(&mut self, pool: &Pool, token: Token, task: Task, reply: Arc<Queue>) -> Result<(), Task> {
        pool.submit(token, task, reply)
    }

    /// Takes a task back that has not started.
    fn cancel_task(&mut self, pool: &Pool, token: Token) -> Option<Task> {
        pool.cancel(token)
    }

    /// Whether as many tasks wait as the limit says.
    fn has_all_tasks(&self, pool: &Pool) -> bool {
        pool.is_full()
    }

    /// Whether the handle may do something more at once before others get their turn. An engine that says no never does anything within
    /// the call that asks for it.
    fn may_go_on(&mut self, _handle: Handle) -> bool {
        false
    }

    /// Operations did not come home: the engine must leave alone, for ever, what the kernel may still touch.
    fn leak(&mut self);
}

/// What became of [`Engine::start`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Under way, or complete already.
    Started,
    /// The engine has no way but the pool.
    OnPool,
}

/// The driver made of a core and an engine.
pub(crate) struct Local<E: Engine> {
    engine: E,
    core: Core,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    packets: Vec<Packet>,
    finished: Vec<Finished>,
    closes: Vec<Handle>,
    /// Operations of a handle that is being closed.
    ending: Vec<Token>,
    seen: Phase,
    draining_told: bool,
    shutdown_told: bool,
    /// The port shuts down, and this queue has said that it has nothing to do.
    resting: bool,
    /// Workers have completions in their hands that the books know nothing of: the queue must not rest.
    #[cfg(feature = "simulation")]
    in_hands: bool,
    /// The last that was handed out was a packet.
    packet_was_last: bool,
    drained: bool,
}

impl<E: Engine> Local<E> {
    pub(crate) fn new(shared: &Arc<Shared>, queue: usize, engine: E) -> Self {
        Self {
            engine,
            core: Core::new(shared, queue),
            shared: Arc::clone(shared),
            queue: Arc::clone(&shared.queues[queue]),
            packets: Vec::with_capacity(shared.configuration.batch),
            finished: Vec::new(),
            closes: Vec::new(),
            ending: Vec::new(),
            seen: Phase::Running,
            draining_told: false,
            shutdown_told: false,
            resting: false,
            #[cfg(feature = "simulation")]
            in_hands: false,
            packet_was_last: false,
            drained: false,
        }
    }

    /// Starts what came first in its direction, until nothing more can start.
    fn run(&mut self) {
        while let Some(step) = self.core.next_step() {
            match step {
                core::Step::Start(token) => self.start(token),
                core::Step::Release(handle) => {
                    self.engine.release(&mut self.core, handle);
                    let descriptor = self.core.remove_handle(handle);
                    if descriptor.is_some_and(|descriptor| descriptor.is_of_process()) {
                        tally::call(SystemCall::Close);
                    }
                }
                core::Step::Adopt(handle) => {
                    if let Err(error) = self.engine.adopt(&mut self.core, handle) {
                        self.core.refuse_adopted(handle, error);
                    }
                }
            }
        }
    }

    fn start(&mut self, token: Token) {
        if self.engine.start(&mut self.core, token) == Start::OnPool
            && let Some(task) = self.core.task(token)
        {
            let reply: Arc<Queue> = Arc::clone(&self.queue);
            if let Err(task) = self.engine.submit_task(&self.shared.pool, token, task, reply) {
                self.take_back(token, task, ErrorKind::SystemResources);
            }
        }
    }

    /// Ends an operation whose task the pool did not run.
    fn take_back(&mut self, token: Token, task: Task, why: ErrorKind) {
        let kind = self.core.slot(token).kind;
        let error = Error::new(why, kind);
        #[cfg(target_os = "linux")]
        if let Task::Walk { watcher, .. } = task {
            self.core.take_watcher_back(token, watcher, Vec::new(), Err(error));
            return;
        }
        match task.into_payload() {
            // Its payload is the head, which is still in the slot.
            _ if self.core.slot(token).transmits() => self.core.complete_with_body(token, Err(error)),
            payload => self.core.complete(token, Err(error), payload),
        }
    }

    fn cancel_as(&mut self, token: Token, timed_out: bool) {
        let Some(slot) = self.core.find_mut(token) else { return };
        // A close ends by itself, when everything else on its handle has.
        if slot.cancelled || slot.timed_out || slot.kind == OperationKind::Close {
            return;
        }
        slot.cancelled = !timed_out;
        slot.timed_out = timed_out;
        let (started, on_pool, kind) = (slot.started, slot.on_pool, slot.kind);
        if !started || kind == OperationKind::Timer {
            self.core.complete_unstarted(token);
        } else if on_pool {
            if let Some(task) = self.engine.cancel_task(&self.shared.pool, token) {
                self.take_back(token, task, ErrorKind::Cancelled);
            }
        } else if !fault::is_planted("drop-cancel") {
            self.engine.cancel(&mut self.core, token);
        }
        self.run();
    }

    fn close_with(&mut self, handle: Handle, token: Token) {
        // The list keeps its memory for the next time.
        let mut operations = std::mem::take(&mut self.ending);
        self.core.begin_close(handle, token, &mut operations);
        operations.drain(..).for_each(|operation| self.cancel_as(operation, false));
        self.ending = operations;
        self.core.finish_close(handle);
        self.run();
    }

    /// Takes in what other threads left for the books: finished tasks, handles to close.
    fn read_inbox(&mut self) {
        self.end_rest();
        self.queue.take_mail(&mut self.finished, &mut self.closes);
        // The lists keep their memory for the next time.
        let mut finished = std::mem::take(&mut self.finished);
        finished.drain(..).for_each(|finished| self.finish_task(finished));
        self.finished = finished;
        let mut closes = std::mem::take(&mut self.closes);
        closes.drain(..).for_each(|handle| self.close(handle));
        self.closes = closes;
        self.run();
    }

    fn finish_task(&mut self, finished: Finished) {
        let Finished { token, result, yielded } = finished;
        // Only what the pool has may end here: an answer to an earlier worker could bear the name of what the kernel has.
        let Some(slot) = self.core.find_mut(token).filter(|slot| slot.on_pool) else {
            return dispose(yielded);
        };
        let one_step = slot.transmits();
        let (result, payload) = match yielded {
            Yielded::Payload(Payload::Buffer(buffer)) if one_step => {
                if self.core.resume(token, result, buffer) {
                    self.start(token);
                }
                return;
            }
            Yielded::Payload(payload) => (result, payload),
            #[cfg(target_os = "linux")]
            Yielded::Walked(watcher, changes) => {
                if self.core.take_watcher_back(token, watcher, changes, result) {
                    self.start(token);
                }
                return;
            }
            Yielded::Opened(file, metadata) => match self.core.add(Descriptor::File(Arc::new(file)), 0) {
                Ok(file) => (result, Payload::Opened { file, metadata }),
                Err((error, _)) => (Err(error), Payload::None),
            },
        };
        self.core.complete(token, result, payload);
    }

    fn expire(&mut self) {
        self.core.set_now(self.shared.now());
        while let Some(token) = self.core.expired() {
            match self.core.slot(token).kind {
                OperationKind::Timer => self.core.complete(token, Ok(0), Payload::None),
                _ => self.cancel_as(token, true),
            }
        }
        self.run();
    }

    /// Nothing is in flight, nothing waits to be handed out, and nothing is in the inbox.
    fn may_rest(&self) -> bool {
        #[cfg(feature = "simulation")]
        if self.in_hands {
            return false;
        }
        self.core.is_at_rest() && self.queue.is_idle()
    }

    fn follow_phase(&mut self) {
        let phase = self.shared.phase.get();
        if phase == Phase::Running {
            return;
        }
        if self.draining_told && !self.shutdown_told && self.may_rest() {
            self.resting = true;
            if self.shared.begin_rest(self.core.queue()) {
                self.shutdown_told = true;
                self.core.deliver(packet_of(OperationKind::Shutdown));
            }
        }
        if self.seen == phase {
            return;
        }
        if !self.draining_told {
            self.draining_told = true;
            self.core.deliver(packet_of(OperationKind::Draining));
        }
        for token in self.core.tokens() {
            // One that ends may let another begin, and end too.
            let Some(slot) = self.core.find_mut(token) else { continue };
            let accepts = matches!(slot.kind, OperationKind::Accept | OperationKind::AcceptStream);
            if phase == Phase::Cancelling || accepts {
                self.cancel_as(token, false);
            }
        }
        self.seen = phase;
    }

    /// Hands out up to `limit` completions. Packets come straight from the inbox, into what room the others leave, but always some: a
    /// busy handle must not keep them waiting for ever. Before the others, so that none comes behind the shutdown packet; where there
    /// is room for one only, by turns with the others.
    fn hand_out(&mut self, completions: &mut Vec<Completion>, limit: usize) -> usize {
        // A queue that rests takes nothing: what it takes may lead to a post to another.
        if self.resting && self.queue.is_idle() {
            return self.core.hand_out(completions, limit);
        }
        self.end_rest();
        let ready = self.core.ready_count();
        let others_turn =
            limit == 1 && ready > 0 && std::mem::take(&mut self.packet_was_last) && !self.shutdown_told;
        if !others_turn {
            let room = limit.saturating_sub(ready).max(limit.div_ceil(8));
            self.queue.take_packets(room, &mut self.packets);
        }
        let packets = self.packets.len();
        self.packet_was_last = packets > 0;
        completions.extend(self.packets.drain(..).map(|packet| Completion {
            handle: Handle::NONE,
            key: packet.key,
            token: Token::NONE,
            kind: OperationKind::Post,
            result: Ok(0),
            payload: Payload::Packet(packet),
            last: true,
        }));
        packets + self.core.hand_out(completions, limit - packets)
    }

    /// The queue may find something to do.
    fn end_rest(&mut self) {
        if std::mem::take(&mut self.resting) {
            self.shared.end_rest(self.core.queue());
        }
    }

    /// Whether a wait without a sleep would do or bring something, but for what the engine has.
    #[cfg(feature = "simulation")]
    pub(crate) fn has_business(&self) -> bool {
        let phase = self.shared.phase.get();
        let waits_for_others = self.resting && !self.shared.is_work_over() && phase != Phase::Cancelling;
        let told = phase == Phase::Running
            || (self.seen == phase && (self.shutdown_told || !self.may_rest() || waits_for_others));
        let due = self.core.next_deadline().is_some_and(|deadline| deadline <= self.shared.now());
        !told || due || self.core.ready_count() > 0 || self.core.has_steps() || !self.queue.is_idle()
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.core.next_deadline()
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn set_in_hands(&mut self, in_hands: bool) {
        self.in_hands = in_hands;
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.core.is_at_rest()
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn in_flight(&self) -> usize {
        self.core.in_flight()
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn key(&self, handle: Handle) -> Option<u64> {
        self.core.key(handle)
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn parts(&mut self) -> (&mut E, &mut Core) {
        (&mut self.engine, &mut self.core)
    }

    fn prepare(&mut self) {
        self.read_inbox();
        self.expire();
        self.follow_phase();
        self.run();
    }
}

fn packet_of(kind: OperationKind) -> Completion {
    Completion {
        handle: Handle::NONE,
        key: 0,
        token: Token::NONE,
        kind,
        result: Ok(0),
        payload: Payload::None,
        last: true,
    }
}

impl<E: Engine> Driver for Local<E> {
    fn associate(&mut self, source: Source, key: u64) -> Result<Handle, (Error, Source)> {
        let descriptor = self.engine.describe(source)?;
        if let Descriptor::Listener(listener) = &descriptor
            && self.shared.configuration.accept_first_bytes > 0
        {
            socket::await_first_bytes(listener);
        }
        let handle = self
            .core
            .add(descriptor, key)
            .map_err(|(error, descriptor)| (error, descriptor.into_source()))?;
        self.core.forget_adoption(handle);
        if let Err(error) = self.engine.adopt(&mut self.core, handle) {
            let descriptor = self.core.remove_handle(handle).expect("the handle was added just now");
            return Err((error, descriptor.into_source()));
        }
        Ok(handle)
    }

    fn set_key(&mut self, handle: Handle, key: u64) -> Result<(), Error> {
        self.core.set_key(handle, key)
    }

    fn submit(
        &mut self,
        handle: Handle,
        operation: Operation,
        deadline: Option<Duration>,
    ) -> Result<Token, Rejected> {
        let kind = operation.kind();
        if self.shared.phase.get().refuses(kind) {
            return Err(Rejected { error: Error::new(ErrorKind::ShuttingDown, kind), operation });
        }
        if matches!(kind, OperationKind::Open | OperationKind::Call)
            && self.engine.has_all_tasks(&self.shared.pool)
        {
            return Err(Rejected { error: Error::new(ErrorKind::QueueFull, kind), operation });
        }
        if kind == OperationKind::Timer {
            self.core.set_now(self.shared.now());
        }
        let token = self.core.accept(handle, operation, deadline)?;
        if kind == OperationKind::Close {
            self.close_with(handle, token);
        } else {
            self.run();
        }
        Ok(token)
    }

    #[cfg(target_os = "linux")]
    fn read_at_once(&mut self, handle: Handle, file: Handle, offset: u64, into: &mut [u8]) -> usize {
        let refused = self.shared.phase.get().refuses(OperationKind::ReadAt);
        if refused || !self.engine.may_go_on(handle) {
            return 0;
        }
        self.core.read_at_once(file, offset, into)
    }

    #[cfg(target_os = "linux")]
    fn transmit_at_once(&mut self, handle: Handle, head: &[u8], file: Handle, range: Range<u64>) -> u64 {
        let refused = self.shared.phase.get().refuses(OperationKind::TransmitFile);
        if refused || !self.core.may_send_at_once(handle) || !self.engine.may_go_on(handle) {
            return 0;
        }
        self.core.transmit_at_once(handle, head, file, range)
    }

    #[cfg(target_os = "linux")]
    fn receive_at_once(&mut self, handle: Handle, into: &mut [u8]) -> Result<usize, Error> {
        let refused = self.shared.phase.get().refuses(OperationKind::Receive);
        if refused || !self.core.may_receive_at_once(handle) || !self.engine.may_go_on(handle) {
            return Ok(0);
        }
        self.core.receive_at_once(handle, into)
    }

    #[cfg(target_os = "linux")]
    fn write_at_once(&mut self, handle: Handle, file: Handle, offset: u64, bytes: &[u8]) -> usize {
        let refused = self.shared.phase.get().refuses(OperationKind::WriteAt);
        if refused || !self.engine.may_go_on(handle) {
            return 0;
        }
        self.core.write_at_once(file, offset, bytes)
    }

    fn cancel(&mut self, token: Token) {
        self.cancel_as(token, false);
    }

    fn close(&mut self, handle: Handle) {
        if self.core.is_open(handle) {
            self.close_with(handle, Token::NONE);
        }
    }

    fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let until = timeout.map(|timeout| self.shared.now().saturating_add(timeout));
        loop {
            self.prepare();
            // What is ready already must not keep the kernel's side from being looked at, or one busy handle starves the rest.
            let sleep = if self.core.ready_count() > 0 || !self.queue.prepare_to_sleep() {
                Some(Duration::ZERO)
            } else {
                let next = self.core.next_deadline();
                let until = match (until, next) {
                    (Some(until), Some(next)) => Some(until.min(next)),
                    (until, next) => until.or(next),
                };
                until.map(|until| until.saturating_sub(self.shared.now()))
            };
            let waited = self.engine.wait(&mut self.core, sleep);
            self.queue.awake();
            waited?;
            self.core.set_now(self.shared.now());
            self.run();
            self.queue.set_in_flight(self.core.in_flight());
            if self.hand_out(completions, limit) > 0 {
                return Ok(());
            }
            if until.is_some_and(|until| until <= self.core.now()) {
                return Ok(());
            }
        }
    }

    fn peer_address(&self, handle: Handle) -> Result<SocketAddr, Error> {
        self.core.address(handle, true)
    }

    fn local_address(&self, handle: Handle) -> Result<SocketAddr, Error> {
        self.core.address(handle, false)
    }

    fn acknowledged_bytes(&self, handle: Handle) -> Result<u64, Error> {
        self.core.acknowledged_bytes(handle)
    }

    fn reset_on_close(&self, handle: Handle) -> Result<(), Error> {
        self.core.reset_on_close(handle)
    }

    fn now(&self) -> Duration {
        self.core.now()
    }

    fn drain(&mut self, discarded: &mut Vec<Completion>) -> usize {
        let until = Instant::now() + DRAIN_LIMIT;
        loop {
            for token in self.core.tokens() {
                self.cancel_as(token, false);
            }
            self.read_inbox();
            self.hand_out(discarded, usize::MAX);
            if self.core.in_flight() == 0 {
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero()
                || self.engine.wait(&mut self.core, Some(left.min(Duration::from_millis(20)))).is_err()
            {
                break;
            }
            self.run();
        }
        for handle in self.core.open_handles() {
            self.close_with(handle, Token::NONE);
        }
        self.core.hand_out(discarded, usize::MAX);
        self.queue.set_in_flight(0);
        self.drained = true;
        self.core.in_flight()
    }
}

impl<E: Engine> Drop for Local<E> {
    fn drop(&mut self) {
        // A drain ends early only where it panics itself.
        if !self.drained {
            self.drain(&mut Vec::new());
        }
        if self.core.in_flight() > 0 {
            self.core.leak();
            self.engine.leak();
        }
    }
}
