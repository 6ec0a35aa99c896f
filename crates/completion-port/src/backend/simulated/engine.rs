//! The engine: hands operations on sockets to the world's kernel, and runs at its virtual time what other engines leave to the pool.

use super::files::{Pending, Step};
use crate::{
    backend::local::{Body, Core, Descriptor, Engine, Start},
    buffer::Wake,
    completion::Payload,
    configuration::Backend,
    error::{Error, ErrorKind},
    identity::{Handle, Token},
    operation::OperationKind,
    pool::{Finished, Pool, Reply, Task},
    port::Shared,
    queue::Queue,
    simulation::{
        World,
        kernel::{Done, Request},
        network::Digest,
        state::{Name, What},
    },
    source::Source,
    support::Means,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

pub(crate) struct Simulator {
    pub(super) world: World,
    kernel: Name,
    /// By token.
    tasks: HashMap<Token, Pending>,
    reply: Arc<Queue>,
    most_tasks: usize,
    /// The world's sums of what each completion brings or took away, in the order of the completions of a token: for the checks.
    pub(super) digests: HashMap<Token, VecDeque<Digest>>,
}

impl Simulator {
    pub(super) fn new(world: &World, shared: &Shared, queue: usize) -> Result<Self, Error> {
        let configuration = &shared.configuration;
        let entered = world.lock().enter_kernel(shared.buffers.clone(), configuration.receive_bytes);
        let kernel = entered.map_err(|code| Error::from_code(code, OperationKind::Setup))?;
        let waker: Arc<dyn Wake> = Arc::clone(world.bell()) as Arc<dyn Wake>;
        shared.queues[queue].set_waker(Arc::clone(&waker));
        shared.buffers.register(waker);
        Ok(Self {
            world: world.clone(),
            kernel,
            tasks: HashMap::new(),
            reply: Arc::clone(&shared.queues[queue]),
            most_tasks: configuration.pool_queue.max(1),
            digests: HashMap::new(),
        })
    }

    pub(super) fn kernel(&self) -> Name {
        self.kernel
    }

    /// Takes what the kernel has done, up to what a wait hands out.
    fn take_done(&mut self, core: &mut Core) {
        for _ in core.ready_count()..core.enough() {
            let Some(done) = self.world.lock().kernel_mut(self.kernel).next_done() else { return };
            self.take(core, done);
        }
    }

    fn take(&mut self, core: &mut Core, done: Done) {
        let Done { token, result, mut payload, accepted, digest, last } = done;
        if core.find_mut(token).is_none() {
            self.world.breach(format_args!("the kernel completed {token:?}, which is not in flight"));
        }
        if let Some(digest) = digest {
            self.digests.entry(token).or_default().push_back(digest);
        }
        let mut result = result;
        let slot = core.slot_mut(token);
        // Asked for after the kernel was done with the first half: nobody will ask again.
        let ended = slot.cancelled || slot.timed_out;
        if slot.kind == OperationKind::Connect
            && let Body::Connect { first, .. } = &mut slot.body
        {
            let chain = std::mem::take(first);
            slot.body = Body::None;
            if ended && !chain.is_empty() {
                result = result.and(Err(Error::new(ErrorKind::Cancelled, OperationKind::Connect)));
            }
            let connected = core.descriptor(core.slot(token).handle);
            match connected {
                Some(Descriptor::Simulated(stream)) if result.is_ok() && !chain.is_empty() => {
                    let target = stream.name();
                    let request = Request::Send { chain, sent: 0 };
                    return self.world.lock().submit(self.kernel, token, target, request);
                }
                _ => payload = Payload::Chain(chain),
            }
        }
        if let Some(accepted) = accepted {
            if core.has_room_for_handle() {
                match core.add(Descriptor::Simulated(self.world.own(accepted)), 0) {
                    Ok(handle) => payload = Payload::Accepted(handle),
                    Err(_) => unreachable!("there was room for another handle"),
                }
            } else {
                // The room that the kernel was told of is taken by something else.
                self.unaccept(core, token, accepted);
                if !last {
                    return;
                }
                result = Err(Error::new(ErrorKind::HandlesExhausted, OperationKind::Accept));
            }
        }
        match result {
            Ok(bytes) if !last => core.item(token, bytes, payload),
            result => core.complete(token, result, payload),
        }
    }

    fn unaccept(&self, core: &Core, token: Token, accepted: Name) {
        match core.descriptor(core.slot(token).handle) {
            Some(Descriptor::SimulatedListener(listener, _)) => {
                self.world.lock().unaccept(listener.name(), accepted);
            }
            _ => unreachable!("what accepts is for a listener, which stays until that has ended"),
        }
    }

    /// Does the steps of tasks whose time has come.
    fn run_tasks(&mut self) {
        while let Some(token) = { self.world.lock().kernel_mut(self.kernel).next_task() } {
            let Some(pending) = self.tasks.get_mut(&token) else { continue };
            let fate = super::files::Fate::draw(&mut self.world.lock());
            match pending.step(fate) {
                Step::Again => self.schedule_task(token),
                Step::Last => {
                    let Some(pending) = self.tasks.remove(&token) else { continue };
                    // Code of the program may run here, and use the world.
                    let (result, yielded) = pending.finish();
                    self.reply.finish(Finished { token, result, yielded });
                }
            }
        }
    }

    fn schedule_task(&self, token: Token) {
        let mut state = self.world.lock();
        let delay = state.disk_delay();
        state.schedule(delay, What::Task(self.kernel, token));
    }
}

impl Engine for Simulator {
    fn start(&mut self, core: &mut Core, token: Token) -> Start {
        let (handle, kind) = (core.slot(token).handle, core.slot(token).kind);
        if kind.support(Backend::Simulated).is_some_and(|support| support.means == Means::Unsupported) {
            core.complete_with_body(token, Err(Error::new(ErrorKind::Unsupported, kind)));
            return Start::Started;
        }
        let (target, transmitted) = match core.descriptor(handle) {
            Some(Descriptor::Simulated(stream)) => (stream.name(), core.slot(token).named_file()),
            Some(Descriptor::SimulatedListener(listener, _)) => (listener.name(), Handle::NONE),
            _ => return Start::OnPool,
        };
        let file = match core.descriptor(transmitted) {
            Some(Descriptor::File(file)) => Some(Arc::clone(file)),
            _ => None,
        };
        let mut cargo = core.slot_mut(token).cargo();
        let range = cargo.as_ref().map(|cargo| cargo.range).unwrap_or_default();
        let address = match cargo.as_ref().map(|cargo| &cargo.body) {
            Some(Body::Connect { address, .. }) => address.as_internet(),
            _ => None,
        };
        let takes_body =
            matches!(kind, OperationKind::Receive | OperationKind::Send | OperationKind::TransmitFile);
        let body = match &mut cargo {
            Some(cargo) if takes_body => std::mem::replace(&mut cargo.body, Body::None),
            _ => Body::None,
        };
        let request = match (kind, body, file) {
            (OperationKind::Connect, ..) if let Some(address) = address => Request::Connect(address),
            (OperationKind::Accept, ..) => Request::Accept { stream: false },
            (OperationKind::AcceptStream, ..) => Request::Accept { stream: true },
            (OperationKind::Disconnect, ..) => Request::Disconnect,
            (OperationKind::Receive, Body::Buffer(buffer), _) => Request::Receive(buffer),
            (OperationKind::ReceiveStream, ..) => Request::ReceiveStream,
            (OperationKind::Send, Body::Chain(chain), _) => Request::Send { chain, sent: 0 },
            (OperationKind::TransmitFile, Body::Transmit { head, .. }, Some(file)) => {
                Request::Transmit { head, file, offset: range.offset, length: range.length, sent: 0 }
            }
            (_, Body::None, _) => return Start::OnPool,
            (_, body, _) => {
                core.complete(token, Err(Error::new(ErrorKind::InvalidArgument, kind)), body.into_payload());
                return Start::Started;
            }
        };
        let mut state = self.world.lock();
        state.feed(self.kernel, core.room_for_handles());
        state.submit(self.kernel, token, target, request);
        Start::Started
    }

    fn cancel(&mut self, _: &mut Core, token: Token) {
        self.world.change(|state| state.cancel(self.kernel, token));
    }

    /// A socket of the kernel that listens stands for a listener of the world at its address.
    fn describe(&mut self, source: Source) -> Result<Descriptor, (Error, Source)> {
        let invalid = Error::new(ErrorKind::InvalidArgument, OperationKind::Associate);
        match source {
            Source::File(file) => Ok(Descriptor::File(Arc::new(file))),
            Source::SimulatedStream(stream) if stream.world().is(&self.world) => {
                Ok(Descriptor::Simulated(stream))
            }
            Source::SimulatedListener(listener) if listener.world().is(&self.world) => {
                Ok(Descriptor::SimulatedListener(listener, None))
            }
            Source::Socket(socket) if socket.is_listener().unwrap_or(false) => {
                let address = socket.local_addr().ok().and_then(|address| address.as_socket());
                match address {
                    Some(address) => {
                        Ok(Descriptor::SimulatedListener(self.world.listen(address), Some(socket)))
                    }
                    None => Err((invalid, Source::Socket(socket))),
                }
            }
            source => Err((invalid, source)),
        }
    }

    fn adopt(&mut self, _: &mut Core, _: Handle) -> Result<(), Error> {
        Ok(())
    }

    fn release(&mut self, _: &mut Core, _: Handle) {}

    fn wait(&mut self, core: &mut Core, timeout: Option<Duration>) -> Result<(), Error> {
        let mut state = self.world.lock();
        state.feed(self.kernel, core.room_for_handles());
        state.run_due();
        // A worker that leaves waits for what it has in flight; all others let time pass by themselves.
        let limit = state.now().saturating_add(timeout.unwrap_or_default());
        while !state.kernel(self.kernel).has_news(0) && state.now() < limit {
            state.pass_time(Some(limit));
        }
        let early = state.early_return();
        drop(state);
        if !early {
            self.take_done(core);
            self.run_tasks();
        }
        self.world.bell().ring();
        Ok(())
    }

    fn submit_task(&mut self, _: &Pool, token: Token, task: Task, _: Arc<Queue>) -> Result<(), Task> {
        self.tasks.insert(token, Pending::new(task));
        self.schedule_task(token);
        Ok(())
    }

    fn cancel_task(&mut self, _: &Pool, token: Token) -> Option<Task> {
        if self.world.lock().loses_race() {
            return None;
        }
        self.tasks.remove(&token).map(Pending::into_task)
    }

    fn has_all_tasks(&self, _: &Pool) -> bool {
        self.tasks.len() >= self.most_tasks
    }

    fn leak(&mut self) {
        if !std::thread::panicking() {
            self.world.breach(format_args!("operations did not come home"));
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // Dropped without the lock: its buffers and files may be the last of their kind.
        let left = self.world.lock().leave_kernel(self.kernel);
        if let Some(left) = left
            && left.in_flight() > 0
            && !std::thread::panicking()
        {
            self.world.breach(format_args!("the kernel keeps {} operations of a queue", left.in_flight()));
        }
    }
}
