//! The laws of the port, checked where a worker meets its driver: at each submit, and at each completion that is handed out. A breach ends
//! the run with the seed.

use crate::{
    chain::BufferChain,
    completion::{Completion, Payload},
    direction::Direction,
    identity::{Handle, Token},
    operation::{Operation, OperationKind},
    simulation::{World, network::Digest},
};
use std::collections::{HashMap, VecDeque};

/// What is known of a queue.
pub(super) struct Checks {
    world: World,
    operations: HashMap<Token, Record>,
    /// Until their close was delivered, or until they were closed without one and nothing is in flight on them.
    handles: HashMap<Handle, State>,
}

/// An operation in flight.
pub(super) struct Record {
    kind: OperationKind,
    handle: Handle,
    /// The memory that went in.
    memory: Memory,
}

/// Which memory, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Memory {
    None,
    /// Address, filled length, capacity.
    Buffer(usize, usize, usize),
    /// The sum over addresses and lengths.
    Chain(u64),
}

#[derive(Default)]
struct State {
    in_flight: usize,
    /// It was closed without a completion.
    closed: bool,
    /// In the order of submission.
    lines: [VecDeque<Token>; 2],
    /// The worker that has completions of it, and how many.
    holder: Option<(usize, usize)>,
    received: Digest,
    sent: Digest,
}

fn memory_of_chain(chain: &BufferChain) -> Memory {
    let mut sum = 0_u64;
    for slice in chain.slices() {
        for part in [slice.as_ptr() as u64, slice.len() as u64] {
            sum = (sum ^ part).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }
    Memory::Chain(sum)
}

impl Checks {
    pub(super) fn new(world: &World) -> Self {
        Self { world: world.clone(), operations: HashMap::new(), handles: HashMap::new() }
    }

    /// A handle was made.
    pub(super) fn opened(&mut self, handle: Handle) {
        self.handles.insert(handle, State::default());
    }

    /// The program closes a handle without a completion.
    pub(super) fn closed(&mut self, handle: Handle) {
        if let Some(state) = self.handles.get_mut(&handle) {
            state.closed = true;
            self.forget_closed(handle);
        }
    }

    fn forget_closed(&mut self, handle: Handle) {
        if self.handles.get(&handle).is_some_and(|state| state.closed && state.in_flight == 0) {
            self.handles.remove(&handle);
        }
    }

    /// What has to be known of an operation that is about to be submitted.
    pub(super) fn record(handle: Handle, operation: &Operation) -> Record {
        let memory = match operation {
            Operation::Receive { buffer }
            | Operation::ReceiveFrom { buffer }
            | Operation::ReceiveMessage { buffer }
            | Operation::ReadAt { buffer, .. } => {
                Memory::Buffer(buffer.as_ptr() as usize, buffer.len(), buffer.capacity())
            }
            Operation::Connect { first: chain, .. }
            | Operation::Send { chain }
            | Operation::SendTo { chain, .. }
            | Operation::WriteAt { chain, .. }
            | Operation::Append { chain, .. } => memory_of_chain(chain),
            Operation::TransmitFile { head, .. } => memory_of_chain(head),
            _ => Memory::None,
        };
        Record { kind: operation.kind(), handle, memory }
    }

    /// The operation was accepted.
    pub(super) fn accepted(&mut self, token: Token, record: Record) {
        if let Some(state) = self.handles.get_mut(&record.handle) {
            state.in_flight += 1;
            if let Some(direction) = Direction::of(record.kind) {
                state.lines[direction as usize].push_back(token);
            }
        }
        if let Some(earlier) = self.operations.insert(token, record) {
            let kind = earlier.kind;
            self.world
                .breach(format_args!("{token:?} was given to a second operation while a {kind:?} has it"));
        }
    }

    /// A completion is handed out to a worker.
    pub(super) fn delivered(
        &mut self,
        worker: usize,
        completion: &Completion,
        digests: &mut HashMap<Token, VecDeque<Digest>>,
    ) {
        // One breach is enough, and what unwinds must not panic again.
        if std::thread::panicking() {
            return;
        }
        match &completion.payload {
            Payload::Accepted(handle) | Payload::Opened { file: handle, .. } => self.opened(*handle),
            _ => {}
        }
        self.hold(worker, completion);
        if completion.token == Token::NONE {
            return;
        }
        self.check_operation(completion);
        self.check_order(completion);
        let digest = digests.get_mut(&completion.token).and_then(VecDeque::pop_front);
        if let Some(digest) = digest {
            self.check_bytes(completion, digest);
        }
        if completion.last {
            digests.remove(&completion.token);
            self.operations.remove(&completion.token);
            if completion.kind == OperationKind::Close {
                self.handles.remove(&completion.handle);
            } else if let Some(state) = self.handles.get_mut(&completion.handle) {
                state.in_flight -= 1;
                self.forget_closed(completion.handle);
            }
        }
    }

    /// One worker at a time, and nothing after the close.
    fn hold(&mut self, worker: usize, completion: &Completion) {
        let world = &self.world;
        if completion.handle == Handle::NONE {
            return;
        }
        let Some(state) = self.handles.get_mut(&completion.handle) else {
            world.breach(format_args!(
                "a completion of a handle that is closed, or never was: {completion:?}"
            ));
        };
        match &mut state.holder {
            Some((holder, count)) if *holder == worker => *count += 1,
            Some((holder, _)) => {
                world.breach(format_args!("worker {worker} gets what worker {holder} holds: {completion:?}"))
            }
            free => *free = Some((worker, 1)),
        }
    }

    /// A worker is done with a completion of the handle.
    pub(super) fn released(&mut self, worker: usize, handle: Handle) {
        let Some(state) = self.handles.get_mut(&handle) else { return };
        if let Some((holder, count)) = &mut state.holder
            && *holder == worker
        {
            *count -= 1;
            if *count == 0 {
                state.holder = None;
            }
        }
    }

    /// It is in flight, is what was submitted, and brings home what went in.
    fn check_operation(&self, completion: &Completion) {
        let Some(record) = self.operations.get(&completion.token) else {
            self.world.breach(format_args!("a completion of what is not in flight: {completion:?}"));
        };
        if (record.kind, record.handle) != (completion.kind, completion.handle) {
            self.world.breach(format_args!("a completion of a {:?} as another: {completion:?}", record.kind));
        }
        if !completion.last {
            return;
        }
        let same = match (&record.memory, &completion.payload) {
            (Memory::None, Payload::Buffer(_) | Payload::Chain(_)) => false,
            (Memory::None, _) => true,
            (Memory::Buffer(address, filled, capacity), Payload::Buffer(buffer)) => {
                let transferred = completion.result.map_or(0, |bytes| bytes as usize);
                buffer.as_ptr() as usize == *address
                    && buffer.capacity() == *capacity
                    && buffer.len() >= filled + transferred
            }
            (memory, Payload::Chain(chain)) => *memory == memory_of_chain(chain),
            _ => false,
        };
        if !same {
            self.world
                .breach(format_args!("not the memory that went in ({:?}): {completion:?}", record.memory));
        }
    }

    /// What succeeds in a direction has nothing unfinished before it.
    fn check_order(&mut self, completion: &Completion) {
        let world = &self.world;
        let Some(direction) = Direction::of(completion.kind) else { return };
        let Some(state) = self.handles.get_mut(&completion.handle) else { return };
        let line = &mut state.lines[direction as usize];
        if completion.result.is_ok() && line.front() != Some(&completion.token) {
            let front = line.front().copied();
            world.breach(format_args!("before {front:?}, which was submitted earlier: {completion:?}"));
        }
        if completion.last {
            line.retain(|token| *token != completion.token);
        }
    }

    /// The bytes of a direction are those that the world brought or took, in that order.
    fn check_bytes(&mut self, completion: &Completion, digest: Digest) {
        let world = &self.world;
        let record = self.operations.get(&completion.token);
        let before = match record.map(|record| &record.memory) {
            Some(Memory::Buffer(_, filled, _)) => *filled,
            _ => 0,
        };
        let Some(state) = self.handles.get_mut(&completion.handle) else { return };
        let (known, exact) = match (&completion.payload, completion.kind) {
            (Payload::Buffer(buffer), _) => {
                state.received.add(&buffer[before..]);
                (&mut state.received, true)
            }
            (Payload::Chain(chain), OperationKind::Send) if completion.result.is_ok() => {
                chain.slices().iter().for_each(|slice| state.sent.add(slice));
                (&mut state.sent, true)
            }
            // How far a send came that failed, and what the file held, only the world knows.
            (Payload::Chain(_), _) => (&mut state.sent, false),
            _ => return,
        };
        if exact && *known != digest {
            world.breach(format_args!("other bytes than {digest:?}, but {known:?}, after {completion:?}"));
        }
        *known = digest;
    }

    /// The last worker left, and everything was handed out.
    pub(super) fn ended(&self) {
        if let Some((token, record)) = self.operations.iter().next()
            && !std::thread::panicking()
        {
            let (count, kind) = (self.operations.len(), record.kind);
            self.world.breach(format_args!("{count} operations never ended, such as {token:?}, a {kind:?}"));
        }
    }
}
