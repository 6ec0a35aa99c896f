//! The kernel of a world: what a port's queue has in flight on sockets.
//!
//! It works as a completion kernel does: an operation with its buffers belongs to it from submit to the last [`Done`], whether a worker
//! waits or not. An operation has a turn when it was submitted and when something changed on its socket; what it cannot do
//! then it tries again in a later turn.

use super::{
    network::{Digest, Outcome},
    state::{Name, State, What},
};
use crate::{
    buffer::{Buffer, Buffers},
    chain::BufferChain,
    completion::Payload,
    error::{Error, ErrorKind},
    identity::Token,
    operation::OperationKind,
};
use std::{
    collections::VecDeque, fs::File, net::SocketAddr, os::unix::fs::FileExt, sync::Arc, thread::ThreadId,
    time::Duration,
};

/// How long an accept rests that found no descriptor, and a stream that found no buffer because of the faults.
const PAUSE: Duration = Duration::from_millis(1);

/// Bytes of a file that a transmit-file sends in one turn at most.
const TRANSMIT_BYTES: usize = 16_384;

/// What an operation acts on: an end of a connection, or a listener.
pub(crate) type Target = Name;

/// An operation on a socket, with what it owns.
pub(crate) enum Request {
    Accept { stream: bool },
    Connect(SocketAddr),
    Disconnect,
    Receive(Buffer),
    ReceiveStream,
    Send { chain: BufferChain, sent: u64 },
    Transmit { head: BufferChain, file: Arc<File>, offset: u64, length: u64, sent: u64 },
}

struct Operation {
    token: Token,
    target: Target,
    request: Request,
    /// A turn is on its way.
    scheduled: bool,
}

/// What became of an operation, or an item of a stream.
pub(crate) struct Done {
    pub(crate) token: Token,
    pub(crate) result: Result<u64, Error>,
    pub(crate) payload: Payload,
    /// A connection that was accepted.
    pub(crate) accepted: Option<Name>,
    /// The sum of all bytes of the direction so far.
    pub(crate) digest: Option<Digest>,
    pub(crate) last: bool,
}

/// What the kernel knows of a queue.
pub(crate) struct Kernel {
    /// By the index of the token.
    operations: Vec<Option<Operation>>,
    pub(super) done: VecDeque<Done>,
    pub(super) due_tasks: Vec<Token>,
    buffers: Buffers,
    receive_bytes: usize,
    /// Streams that wait for a buffer.
    starved: Vec<Token>,
    /// Accepts that wait for room among the handles.
    crowded: Vec<Token>,
    /// How many handles fit, beside the connections that `done` brings.
    room: usize,
    /// Connections in `done`.
    coming: usize,
    /// The threads of its workers, once for each.
    pub(crate) threads: Vec<ThreadId>,
}

/// Where an operation stands after its turn.
enum Turn {
    Over(Result<u64, Error>),
    /// It can go on.
    Again,
    /// After a rest.
    After(Duration),
    /// It waits on its socket.
    Parked,
    Starved,
    Crowded,
}

impl Request {
    fn kind(&self) -> OperationKind {
        match self {
            Self::Accept { stream: false } => OperationKind::Accept,
            Self::Accept { stream: true } => OperationKind::AcceptStream,
            Self::Connect(_) => OperationKind::Connect,
            Self::Disconnect => OperationKind::Disconnect,
            Self::Receive(_) => OperationKind::Receive,
            Self::ReceiveStream => OperationKind::ReceiveStream,
            Self::Send { .. } => OperationKind::Send,
            Self::Transmit { .. } => OperationKind::TransmitFile,
        }
    }

    fn into_payload(self) -> Payload {
        match self {
            Self::Receive(buffer) => Payload::Buffer(buffer),
            Self::Send { chain, .. } | Self::Transmit { head: chain, .. } => Payload::Chain(chain),
            _ => Payload::None,
        }
    }
}

impl State {
    /// Opens a queue.
    pub(crate) fn enter_kernel(&mut self, buffers: Buffers, receive_bytes: usize) -> Outcome<Name> {
        let kernel = Kernel {
            operations: Vec::new(),
            done: VecDeque::new(),
            due_tasks: Vec::new(),
            buffers,
            receive_bytes,
            starved: Vec::new(),
            crowded: Vec::new(),
            room: 0,
            coming: 0,
            threads: Vec::new(),
        };
        self.kernels.insert(kernel).map_err(|_| libc::ENFILE)
    }

    /// Closes a queue. What it still had is dropped by the caller, without the lock.
    pub(crate) fn leave_kernel(&mut self, name: Name) -> Option<Kernel> {
        let mut kernel = self.kernels.remove(name.0, name.1)?;
        for accepted in kernel.done.iter_mut().filter_map(|done| done.accepted.take()) {
            self.close(accepted);
        }
        Some(kernel)
    }

    /// Whether a worker lives on the thread.
    pub(super) fn has_worker_on(&self, thread: ThreadId) -> bool {
        self.kernels.iter().any(|(_, _, kernel)| kernel.threads.contains(&thread))
    }

    pub(crate) fn kernel(&self, name: Name) -> &Kernel {
        self.kernels.get(name.0, name.1).expect("a queue stays until its engine is dropped")
    }

    pub(crate) fn kernel_mut(&mut self, name: Name) -> &mut Kernel {
        self.kernels.get_mut(name.0, name.1).expect("a queue stays until its engine is dropped")
    }

    /// Takes an operation in. Its first turn is at once or soon, as the seed says.
    pub(crate) fn submit(&mut self, kernel: Name, token: Token, target: Target, request: Request) {
        let place = token.index() as usize;
        let operations = &mut self.kernel_mut(kernel).operations;
        if operations.len() <= place {
            operations.resize_with(place + 1, || None);
        }
        operations[place] = Some(Operation { token, target, request, scheduled: false });
        if self.random.chance(self.faults.inline) {
            return self.turn(kernel, token);
        }
        let late = self.lateness();
        self.schedule_turn(kernel, token, late);
    }

    fn operation(&mut self, kernel: Name, token: Token) -> Option<&mut Operation> {
        let kernel = self.kernels.get_mut(kernel.0, kernel.1)?;
        let operation = kernel.operations.get_mut(token.index() as usize)?.as_mut()?;
        (operation.token == token).then_some(operation)
    }

    pub(super) fn schedule_turn(&mut self, kernel: Name, token: Token, after: Duration) {
        let Some(operation) = self.operation(kernel, token) else { return };
        if !std::mem::replace(&mut operation.scheduled, true) {
            self.schedule(after, What::Turn(kernel, token));
        }
    }

    pub(super) fn task_due(&mut self, kernel: Name, token: Token) {
        if let Some(kernel) = self.kernels.get_mut(kernel.0, kernel.1) {
            kernel.due_tasks.push(token);
        }
    }

    /// Asks for the end of an operation. Its last [`Done`] is there already, or follows at once: with what it could still do, where the
    /// operation wins the race.
    pub(crate) fn cancel(&mut self, kernel: Name, token: Token) {
        if self.operation(kernel, token).is_none() {
            return;
        }
        if self.loses_race() {
            self.turn(kernel, token);
        }
        if let Some(operation) = self.take(kernel, token) {
            let error = Error::from_code(libc::ECANCELED, operation.request.kind());
            self.finish(kernel, operation, Err(error));
        }
    }

    fn take(&mut self, kernel: Name, token: Token) -> Option<Operation> {
        self.operation(kernel, token)?;
        self.kernel_mut(kernel).operations[token.index() as usize].take()
    }

    /// Gives an operation its turn.
    pub(super) fn turn(&mut self, kernel: Name, token: Token) {
        let Some(mut operation) = self.take(kernel, token) else { return };
        operation.scheduled = false;
        let turn = self.perform(kernel, &mut operation);
        let late = match turn {
            Turn::Over(result) => return self.finish(kernel, operation, result),
            Turn::Again => Some(self.delay()),
            Turn::After(pause) => Some(pause),
            Turn::Parked => {
                self.park(kernel, &operation);
                None
            }
            Turn::Starved => {
                self.kernel_mut(kernel).starved.push(token);
                None
            }
            Turn::Crowded => {
                self.kernel_mut(kernel).crowded.push(token);
                None
            }
        };
        self.kernel_mut(kernel).operations[token.index() as usize] = Some(operation);
        if let Some(late) = late {
            self.schedule_turn(kernel, token, late);
        }
    }

    /// Has the operation's socket wake it.
    fn park(&mut self, kernel: Name, operation: &Operation) {
        let waiter = Some((kernel, operation.token));
        match operation.request {
            Request::Accept { .. } => {
                if let Some(listening) = self.listeners.get_mut(operation.target.0, operation.target.1) {
                    listening.acceptor = waiter;
                }
            }
            Request::Receive(_) | Request::ReceiveStream => self.end_mut(operation.target).reader = waiter,
            _ => self.end_mut(operation.target).writer = waiter,
        }
    }

    fn perform(&mut self, kernel: Name, operation: &mut Operation) -> Turn {
        let (token, target, kind) = (operation.token, operation.target, operation.request.kind());
        let over = |outcome: Outcome<u64>| match outcome {
            Err(libc::EAGAIN) => Turn::Parked,
            outcome => Turn::Over(outcome.map_err(|code| Error::from_code(code, kind))),
        };
        match &mut operation.request {
            Request::Accept { stream } => self.accept_one(kernel, token, target, *stream),
            Request::Connect(address) => over(self.connect(target, *address).map(|()| 0)),
            Request::Disconnect => over(self.shutdown(target).map(|()| 0)),
            Request::Receive(buffer) => {
                let received = self.receive(target, buffer.spare_mut());
                over(received.map(|bytes| {
                    buffer.advance(bytes);
                    bytes as u64
                }))
            }
            Request::ReceiveStream => self.receive_one(kernel, token, target),
            Request::Send { chain, sent } => {
                if *sent < chain.len() {
                    match self.send(target, chain.pieces_from(*sent)) {
                        Ok(bytes) => *sent += bytes as u64,
                        Err(error) => return over(Err(error)),
                    }
                }
                if *sent == chain.len() { over(Ok(*sent)) } else { Turn::Again }
            }
            Request::Transmit { head, file, offset, length, sent } => {
                let all = head.len() + *length;
                if *sent < all {
                    let behind = sent.saturating_sub(head.len());
                    let mut piece = [0; TRANSMIT_BYTES];
                    let most = TRANSMIT_BYTES.min(usize::try_from(*length - behind).unwrap_or(usize::MAX));
                    let read = match file.read_at(&mut piece[..most], *offset + behind) {
                        Ok(read) => read,
                        Err(error) => return Turn::Over(Err(Error::from_io(&error, kind))),
                    };
                    if read == 0 && *sent >= head.len() {
                        // The file is shorter than was promised.
                        return Turn::Over(Err(Error::new(ErrorKind::Other, kind)));
                    }
                    let pieces = head.pieces_from(*sent).chain([&piece[..read]]);
                    match self.send(target, pieces) {
                        Ok(bytes) => *sent += bytes as u64,
                        Err(error) => return over(Err(error)),
                    }
                }
                if *sent == all { over(Ok(*sent)) } else { Turn::Again }
            }
        }
    }

    fn accept_one(&mut self, kernel: Name, token: Token, listener: Name, stream: bool) -> Turn {
        let kind = if stream { OperationKind::AcceptStream } else { OperationKind::Accept };
        if self.kernel(kernel).room == 0 {
            return match stream {
                true => Turn::Crowded,
                false => Turn::Over(Err(Error::new(ErrorKind::HandlesExhausted, kind))),
            };
        }
        if self.random.chance(self.faults.accept_failures) {
            let code = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM][self.random.below(4)];
            return if stream { Turn::After(PAUSE) } else { Turn::Over(Err(Error::from_code(code, kind))) };
        }
        match self.accept(listener) {
            Ok(accepted) => {
                let kernel = self.kernel_mut(kernel);
                kernel.room -= 1;
                kernel.coming += 1;
                kernel.done.push_back(Done {
                    token,
                    result: Ok(0),
                    payload: Payload::None,
                    accepted: Some(accepted),
                    digest: None,
                    last: !stream,
                });
                // That was the only completion of a single accept; see `finish`.
                if stream { Turn::Again } else { Turn::Over(Ok(0)) }
            }
            Err(libc::EAGAIN) => Turn::Parked,
            Err(code) => Turn::Over(Err(Error::from_code(code, kind))),
        }
    }

    fn receive_one(&mut self, kernel: Name, token: Token, target: Target) -> Turn {
        let kind = OperationKind::ReceiveStream;
        if self.random.chance(self.faults.starvation) {
            return Turn::After(PAUSE);
        }
        let Kernel { buffers, receive_bytes, .. } = self.kernel(kernel);
        let mut buffer = match buffers.acquire(*receive_bytes) {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == ErrorKind::BuffersExhausted => return Turn::Starved,
            Err(error) => return Turn::Over(Err(Error::new(error.kind(), kind))),
        };
        match self.receive(target, buffer.spare_mut()) {
            Ok(0) => Turn::Over(Ok(0)),
            Ok(bytes) => {
                buffer.advance(bytes);
                let done = Done {
                    token,
                    result: Ok(bytes as u64),
                    payload: Payload::Buffer(buffer),
                    accepted: None,
                    digest: Some(self.end(target).received),
                    last: false,
                };
                self.kernel_mut(kernel).done.push_back(done);
                Turn::Again
            }
            Err(libc::EAGAIN) => Turn::Parked,
            Err(code) => Turn::Over(Err(Error::from_code(code, kind))),
        }
    }

    /// Ends an operation that is out of the table.
    fn finish(&mut self, kernel: Name, operation: Operation, result: Result<u64, Error>) {
        let Operation { token, target, request, .. } = operation;
        let digest = match &request {
            // Its completion is there already, with the connection.
            Request::Accept { stream: false } if result.is_ok() => return,
            Request::Receive(_) => Some(self.end(target).received),
            Request::Send { .. } | Request::Transmit { .. } => Some(self.end(target).sent),
            _ => None,
        };
        let payload = request.into_payload();
        self.kernel_mut(kernel).done.push_back(Done {
            token,
            result,
            payload,
            accepted: None,
            digest,
            last: true,
        });
    }

    /// Says how many handles fit in the books, and lets those go on who wait for room or a buffer.
    pub(crate) fn feed(&mut self, name: Name, room: usize) {
        let kernel = self.kernel_mut(name);
        kernel.room = room.saturating_sub(kernel.coming);
        let mut fed = Vec::new();
        if kernel.room > 0 {
            fed.append(&mut kernel.crowded);
        }
        if kernel.can_feed() {
            fed.append(&mut kernel.starved);
        }
        for token in fed {
            self.schedule_turn(name, token, Duration::ZERO);
        }
    }
}

impl Kernel {
    fn can_feed(&self) -> bool {
        !self.starved.is_empty() && self.buffers.available(self.receive_bytes)
    }

    /// Asks for a wake by the next buffer that returns, if something waits for one.
    pub(crate) fn await_buffer(&self) {
        if !self.starved.is_empty() {
            self.buffers.await_return();
        }
    }

    /// Something is there for the engine, or can go on once [`State::feed`] was called with `room`.
    pub(crate) fn has_news(&self, room: usize) -> bool {
        let makes_room = !self.crowded.is_empty() && room > self.coming;
        !self.done.is_empty() || !self.due_tasks.is_empty() || makes_room || self.can_feed()
    }

    pub(crate) fn next_done(&mut self) -> Option<Done> {
        let done = self.done.pop_front()?;
        self.coming -= usize::from(done.accepted.is_some());
        Some(done)
    }

    pub(crate) fn next_task(&mut self) -> Option<Token> {
        self.due_tasks.pop()
    }

    /// Operations that have not ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.operations.iter().flatten().count()
    }
}
