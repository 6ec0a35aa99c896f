//! The books of a queue: which operations are in flight, in which order, and what waits for whom. No system call is made here.

use super::{
    handle::{Descriptor, State},
    slot::{Body, Cargoes, Slot},
};
#[cfg(target_os = "linux")]
use super::{notices::Notices, warmth};
use crate::{
    buffer::{Buffer, Buffers},
    completion::{Completion, Payload, Rejected},
    configuration::Configuration,
    direction::Direction,
    error::{Error, ErrorKind},
    fault,
    identity::{Handle, Token},
    operation::{Operation, OperationKind},
    pool::Task,
    port::Shared,
    queue::Queue,
    slab::Slab,
    timers::Timers,
};
use std::{collections::VecDeque, fs::File, net::SocketAddr, sync::Arc, time::Duration};

/// What the books say is to be done next, outside of them.
pub(super) enum Step {
    Start(Token),
    Adopt(Handle),
    Release(Handle),
}

/// The books.
pub(crate) struct Core {
    queue: u8,
    /// Hears which handles are open.
    inbox: Arc<Queue>,
    slots: Slab<Slot>,
    cargoes: Cargoes,
    pub(super) handles: Slab<State>,
    timers: Timers,
    ready: VecDeque<Completion>,
    /// Since what is ready was queued.
    keys_changed: bool,
    steps: VecDeque<Step>,
    now: Duration,
    /// Handles that closed since an engine last asked; what waits for a free descriptor may try again.
    closed: u64,
    pub(crate) buffers: Buffers,
    pub(crate) configuration: Configuration,
    #[cfg(target_os = "linux")]
    pub(super) scratch: warmth::Scratch,
    /// Whether the program ignores SIGPIPE, where that was asked in this turn.
    #[cfg(target_os = "linux")]
    pub(super) ignores_signal: Option<bool>,
}

const IN_THE_BOOKS: &str = "a token that the core handed out stays in its books until it completes";

impl Core {
    pub(super) fn new(shared: &Arc<Shared>, queue: usize) -> Self {
        let configuration = shared.configuration.clone();
        // Names that an earlier worker of the queue gave out must not name what this one has.
        let lives = shared.queues[queue].count_life();
        Self {
            queue: queue as u8,
            inbox: Arc::clone(&shared.queues[queue]),
            // A close always fits: there is at most one for each handle.
            slots: Slab::succeeding(lives, configuration.operations.saturating_add(configuration.handles)),
            cargoes: Cargoes::default(),
            handles: Slab::succeeding(lives, configuration.handles),
            timers: Timers::default(),
            ready: VecDeque::with_capacity(configuration.batch),
            keys_changed: false,
            steps: VecDeque::new(),
            now: shared.now(),
            closed: 0,
            buffers: shared.buffers.clone(),
            configuration,
            #[cfg(target_os = "linux")]
            scratch: warmth::Scratch::default(),
            #[cfg(target_os = "linux")]
            ignores_signal: None,
        }
    }

    pub(super) fn state(&self, handle: Handle) -> Option<&State> {
        self.handles.get(handle.index(), handle.generation())
    }

    pub(super) fn state_mut(&mut self, handle: Handle) -> Option<&mut State> {
        self.handles.get_mut(handle.index(), handle.generation())
    }

    /// The slot of an operation, if it is still in flight.
    pub(crate) fn find_mut(&mut self, token: Token) -> Option<&mut Slot> {
        self.slots.get_mut(token.index(), token.generation())
    }

    /// The slot of an operation that is in flight.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub(crate) fn slot(&self, token: Token) -> &Slot {
        self.slots.get(token.index(), token.generation()).expect(IN_THE_BOOKS)
    }

    /// As [`Core::slot`].
    pub(crate) fn slot_mut(&mut self, token: Token) -> &mut Slot {
        self.find_mut(token).expect(IN_THE_BOOKS)
    }

    /// The descriptor of an open (or closing) handle.
    pub(crate) fn descriptor(&self, handle: Handle) -> Option<&Descriptor> {
        self.state(handle).map(|state| &state.descriptor)
    }

    /// The slot of an operation in flight and the descriptor of its handle, side by side.
    ///
    /// # Panics
    ///
    /// If it is not in flight, or was submitted for no handle.
    pub(crate) fn slot_and_descriptor(&mut self, token: Token) -> (&mut Slot, &Descriptor) {
        let slot = self.slots.get_mut(token.index(), token.generation()).expect(IN_THE_BOOKS);
        let state = self.handles.get(slot.handle.index(), slot.handle.generation());
        (slot, &state.expect("a handle stays until its last operation has come home").descriptor)
    }

    /// As [`Core::slot_and_descriptor`], with the file that the operation names. None if that is no open file.
    pub(crate) fn slot_and_file(&mut self, token: Token) -> Option<(&mut Slot, &File)> {
        let slot = self.slots.get_mut(token.index(), token.generation()).expect(IN_THE_BOOKS);
        match self.handles.get(slot.file.index(), slot.file.generation()).map(|state| &state.descriptor) {
            Some(Descriptor::File(file)) => Some((slot, file)),
            _ => None,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn queue(&self) -> usize {
        self.queue as usize
    }

    pub(super) fn set_now(&mut self, now: Duration) {
        self.now = now;
        #[cfg(target_os = "linux")]
        {
            self.ignores_signal = None;
        }
    }

    /// How many handles were closed so far.
    pub(crate) fn closed(&self) -> u64 {
        self.closed
    }

    // Handles.

    /// Enters a descriptor. The engine hears of it in the next step.
    pub(crate) fn add(&mut self, descriptor: Descriptor, key: u64) -> Result<Handle, (Error, Descriptor)> {
        match self.handles.insert(State::new(descriptor, key)) {
            Ok((index, generation)) => {
                let handle = Handle::new(self.queue, index, generation);
                self.inbox.opened(handle);
                self.steps.push_back(Step::Adopt(handle));
                Ok(handle)
            }
            Err(state) => {
                Err((Error::new(ErrorKind::HandlesExhausted, OperationKind::Associate), state.descriptor))
            }
        }
    }

    /// Whether another handle would fit.
    pub(crate) fn has_room_for_handle(&self) -> bool {
        !self.handles.is_full()
    }

    /// How many more handles would fit.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only io_uring and the simulation ask"))]
    pub(crate) fn room_for_handles(&self) -> usize {
        self.handles.room()
    }

    /// The caller tells the engine itself.
    pub(super) fn forget_adoption(&mut self, handle: Handle) {
        self.steps.retain(|step| !matches!(step, Step::Adopt(adopted) if *adopted == handle));
    }

    /// The engine cannot work with a handle that was adopted on the way: it stays, but every operation on it fails.
    pub(super) fn refuse_adopted(&mut self, handle: Handle, _error: Error) {
        if let Some(state) = self.state_mut(handle) {
            state.closing = true;
        }
        self.finish_close(handle);
    }

    pub(super) fn remove_handle(&mut self, handle: Handle) -> Option<Descriptor> {
        let state = self.handles.remove(handle.index(), handle.generation())?;
        // One that was never handed out closes without a beginning.
        self.inbox.closing(handle);
        self.closed += 1;
        if state.close != Token::NONE {
            let slot = self.slots.remove(state.close.index(), state.close.generation()).expect(IN_THE_BOOKS);
            if slot.has_deadline {
                self.timers.remove(state.close);
            }
            self.deliver(Completion {
                handle,
                key: state.key,
                token: state.close,
                kind: slot.kind,
                result: Ok(0),
                payload: Payload::None,
                last: true,
            });
        }
        Some(state.descriptor)
    }

    pub(super) fn is_open(&self, handle: Handle) -> bool {
        self.state(handle).is_some_and(|state| !state.closing)
    }

    pub(super) fn open_handles(&self) -> Vec<Handle> {
        let open = self.handles.iter().filter(|(_, _, state)| !state.closing);
        open.map(|(index, generation, _)| Handle::new(self.queue, index, generation)).collect()
    }

    pub(super) fn set_key(&mut self, handle: Handle, key: u64) -> Result<(), Error> {
        let stale = Error::new(ErrorKind::StaleHandle, OperationKind::Associate);
        self.state_mut(handle).ok_or(stale)?.key = key;
        self.keys_changed = !self.ready.is_empty();
        Ok(())
    }

    pub(super) fn address(&self, handle: Handle, of_peer: bool) -> Result<SocketAddr, Error> {
        let of = OperationKind::Associate;
        let state = self.state(handle).ok_or(Error::new(ErrorKind::StaleHandle, of))?;
        state.descriptor.address(of_peer).map_err(|error| Error::from_io(&error, of))
    }

    pub(super) fn acknowledged_bytes(&self, handle: Handle) -> Result<u64, Error> {
        let of = OperationKind::Send;
        let state = self.state(handle).ok_or(Error::new(ErrorKind::StaleHandle, of))?;
        state.descriptor.acknowledged_bytes().map_err(|error| Error::from_io(&error, of))
    }

    pub(super) fn reset_on_close(&self, handle: Handle) -> Result<(), Error> {
        let of = OperationKind::Close;
        let state = self.state(handle).ok_or(Error::new(ErrorKind::StaleHandle, of))?;
        state.descriptor.reset_on_close().map_err(|error| Error::from_io(&error, of))
    }

    #[cfg(feature = "simulation")]
    pub(super) fn key(&self, handle: Handle) -> Option<u64> {
        self.state(handle).map(|state| state.key)
    }

    /// Marks the handle as closing. Appends what has to be cancelled to `operations`.
    pub(super) fn begin_close(&mut self, handle: Handle, token: Token, operations: &mut Vec<Token>) {
        self.inbox.closing(handle);
        let state = self.state_mut(handle).expect("only open handles are closed");
        state.closing = true;
        state.close = token;
        let mut next = state.operations;
        while next != Token::NONE {
            if next != token {
                operations.push(next);
            }
            next = self.slot(next).after;
        }
    }

    /// Lets the handle go if it is closing and nothing is pending on it.
    pub(super) fn finish_close(&mut self, handle: Handle) {
        if let Some(state) = self.state_mut(handle)
            && state.closing
            && (state.pending == 0 || fault::is_planted("free-on-close") && state.pending < u32::MAX)
        {
            // Marked so that it is released once.
            state.pending = u32::MAX;
            self.steps.push_back(Step::Release(handle));
        }
    }

    // Operations.

    /// Takes an operation in, or gives it back.
    #[allow(
        clippy::result_large_err,
        reason = "the operation comes back with its buffers, without an allocation"
    )]
    pub(super) fn accept(
        &mut self,
        handle: Handle,
        operation: Operation,
        deadline: Option<Duration>,
    ) -> Result<Token, Rejected> {
        let kind = operation.kind();
        if let Err(kind_of_error) = self.check(handle, &operation) {
            if kind_of_error == ErrorKind::SendQueueFull
                && let Some(state) = self.state_mut(handle)
            {
                state.send_refused = true;
            }
            return Err(Rejected { error: Error::new(kind_of_error, kind), operation });
        }
        let deadline = match &operation {
            Operation::Timer { after } => Some(self.now.saturating_add(*after)),
            _ => deadline,
        };
        let Self { slots, cargoes, .. } = self;
        let made = slots.insert_with(|| Slot::new(handle, operation, deadline.is_some(), cargoes));
        let Some((index, generation, slot)) = made else {
            unreachable!("there was room, and the queue is this worker's own")
        };
        let (file, send_bytes) = (slot.named_file(), slot.waiting_bytes());
        let token = Token::new(self.queue, index, generation);
        if let Some(deadline) = deadline {
            self.timers.set(token, deadline);
        }
        if kind == OperationKind::Close {
            return Ok(token);
        }
        if file != Handle::NONE
            && let Some(state) = self.state_mut(file)
        {
            state.pending += 1;
        }
        let Self { handles, slots, .. } = self;
        let mut is_first = true;
        if let Some(state) = handles.get_mut(handle.index(), handle.generation()) {
            state.send_bytes += send_bytes;
            state.enter(token, slots);
            if let Some(direction) = Direction::of(kind) {
                is_first = state.stand_in_line(direction, token, slots);
            }
        }
        match kind {
            OperationKind::Timer => self.slot_mut(token).started = true,
            _ if is_first => self.begin(token),
            _ => {}
        }
        Ok(token)
    }

    fn check(&self, handle: Handle, operation: &Operation) -> Result<(), ErrorKind> {
        let kind = operation.kind();
        if kind != OperationKind::Close && self.slots.len() >= self.configuration.operations {
            return Err(ErrorKind::OperationsExhausted);
        }
        if handle != Handle::NONE {
            let state = self.state(handle).ok_or(ErrorKind::StaleHandle)?;
            state.fits(kind)?;
            let (waiting, limit) = (state.send_bytes, self.configuration.send_bytes);
            if waiting > 0 && operation.send_bytes() > limit.saturating_sub(waiting) {
                return Err(ErrorKind::SendQueueFull);
            }
        }
        for file in operation.files() {
            let state = self.state(file).ok_or(ErrorKind::StaleHandle)?;
            if state.closing {
                return Err(ErrorKind::StaleHandle);
            }
            if !matches!(state.descriptor, Descriptor::File(_)) {
                return Err(ErrorKind::InvalidArgument);
            }
        }
        operation.check_arguments()
    }

    fn begin(&mut self, token: Token) {
        self.slot_mut(token).started = true;
        self.steps.push_back(Step::Start(token));
    }

    /// Has [`Engine::start`](super::Engine::start) called once more: for an engine that finds out between that it needs the pool.
    pub(crate) fn start_again(&mut self, token: Token) {
        self.steps.push_back(Step::Start(token));
    }

    /// Something is to be done outside of the books before the next sleep.
    pub(crate) fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    pub(super) fn next_step(&mut self) -> Option<Step> {
        loop {
            let step = self.steps.pop_front()?;
            // It may have ended since, by a cancel.
            if let Step::Start(token) = step
                && self.find_mut(token).is_none()
            {
                continue;
            }
            return Some(step);
        }
    }

    /// Makes the task of an operation that runs on the pool. None, with the operation completed, if its file is gone.
    pub(super) fn task(&mut self, token: Token) -> Option<Task> {
        let file = match self.descriptor(self.slot(token).named_file()) {
            Some(Descriptor::File(file)) => Some(Arc::clone(file)),
            _ => None,
        };
        let slot = self.slot_mut(token);
        slot.on_pool = true;
        let (range, kind, position) = (slot.range, slot.kind, slot.file_position());
        match (std::mem::replace(&mut slot.body, Body::None), file) {
            (Body::Open { directory, path, options }, _) => Some(Task::Open { directory, path, options }),
            (Body::Work(work), _) => Some(Task::Call { work }),
            (Body::Link { directory, path, replace }, Some(file)) => {
                Some(Task::Link { file, directory, path, replace })
            }
            (Body::Buffer(buffer), Some(file)) => Some(Task::ReadAt { file, offset: range.offset, buffer }),
            (Body::Chain(chain), Some(file)) if kind == OperationKind::Append => {
                Some(Task::Append { file, chain })
            }
            (Body::Chain(chain), Some(file)) => Some(Task::WriteAt { file, offset: range.offset, chain }),
            #[cfg(target_os = "linux")]
            (Body::Notices(Notices::Folder(watcher)), _) => {
                Some(Task::Walk { watcher, bounds: self.walk_bounds() })
            }
            (Body::None, Some(file)) if kind == OperationKind::Metadata => Some(Task::Metadata { file }),
            (Body::None, Some(file)) => Some(Task::Sync { file, data_only: range.data_only }),
            (Body::Transmit { head, buffer }, Some(file)) => {
                // The next piece of the file; the head stays. See `Core::resume`.
                slot.body = Body::Transmit { head, buffer: None };
                let buffer = buffer.expect("an engine that sends the pool to read has taken a buffer for it");
                Some(Task::ReadAt { file, offset: position, buffer })
            }
            (body, None) => {
                self.complete(token, Err(Error::new(ErrorKind::StaleHandle, kind)), body.into_payload());
                None
            }
            (_, Some(_)) => unreachable!("sockets have no business on the pool"),
        }
    }

    /// The pool is done with one step of an operation. True if the operation goes on: the engine has to start it again.
    pub(super) fn resume(&mut self, token: Token, result: Result<u64, Error>, buffer: Buffer) -> bool {
        let slot = self.slot_mut(token);
        slot.on_pool = false;
        let (kind, ended) = (slot.kind, slot.cancelled || slot.timed_out);
        if let Body::Transmit { buffer: place, .. } = &mut slot.body {
            *place = Some(buffer);
        }
        let error = match result {
            // The file is shorter than was promised.
            Ok(0) => Error::new(ErrorKind::Other, kind),
            Ok(_) if ended => Error::new(ErrorKind::Cancelled, kind),
            Ok(_) => return true,
            Err(error) => Error::with_code(error.kind(), error.code().unwrap_or(0), kind),
        };
        self.complete_with_body(token, Err(error));
        false
    }

    /// Ends an operation: the one terminal completion. What is not in the books any more is ignored.
    pub(crate) fn complete(&mut self, token: Token, result: Result<u64, Error>, payload: Payload) {
        let Some(slot) = self.slots.get_mut(token.index(), token.generation()) else { return };
        let place = slot.place();
        self.cargoes.empty(slot);
        let slot = place;
        self.slots.discard(token.index(), token.generation());
        if slot.has_deadline {
            self.timers.remove(token);
        }
        let (handle, kind) = (slot.handle, slot.kind);
        let renamed = |error: Error, name| Error::with_code(name, error.code().unwrap_or(0), kind);
        let result = result.map_err(|error| match (slot.cancelled, slot.timed_out) {
            (true, _) => renamed(error, ErrorKind::Cancelled),
            (false, true) => renamed(error, ErrorKind::TimedOut),
            (false, false) => error,
        });
        let Self { handles, slots, configuration, .. } = self;
        let (mut key, mut next, mut is_writable) = (0, None, false);
        if let Some(state) = handles.get_mut(handle.index(), handle.generation()) {
            key = state.key;
            state.leave(&slot, slots);
            next = Direction::of(kind).and_then(|from| state.leave_line(from, token, &slot, slots));
            is_writable = state.let_send_again(slot.send_bytes, configuration.send_bytes);
        }
        if let Some(next) = next {
            self.begin(next);
        }
        self.deliver(Completion { handle, key, token, kind, result, payload, last: true });
        if fault::is_planted("complete-twice") {
            self.deliver(Completion { handle, key, token, kind, result, payload: Payload::None, last: true });
        }
        if is_writable {
            self.deliver(Completion {
                handle,
                key,
                token: Token::NONE,
                kind: OperationKind::Writable,
                result: Ok(0),
                payload: Payload::None,
                last: true,
            });
        }
        self.forget_pending(handle);
        if slot.file != Handle::NONE {
            self.forget_pending(slot.file);
        }
    }

    fn forget_pending(&mut self, handle: Handle) {
        if let Some(state) = self.state_mut(handle) {
            state.pending -= 1;
            if state.closing {
                self.finish_close(handle);
            }
        }
    }

    /// Ends an operation with what its slot holds as the payload.
    pub(crate) fn complete_with_body(&mut self, token: Token, result: Result<u64, Error>) {
        if result.is_ok() && self.slot(token).kind == OperationKind::TransmitPackets {
            return self.go_on_transmitting(token);
        }
        let payload = self.slot_mut(token).take_payload();
        self.complete(token, result, payload);
    }

    /// A part of a transmit-packets has been sent. Turns to the next one, or ends it.
    fn go_on_transmitting(&mut self, token: Token) {
        let slot = self.slot_mut(token);
        let (kind, ended, done) = (slot.kind, slot.cancelled || slot.timed_out, slot.file);
        let went_on = !ended && slot.turn_to_next_part();
        let file = slot.file;
        let result = if went_on {
            self.forget_pending(done);
            match self.state_mut(file) {
                _ if file == Handle::NONE => return self.start_again(token),
                Some(state) if !state.closing => {
                    state.pending += 1;
                    return self.start_again(token);
                }
                _ => {
                    // Closed since. It is not counted as pending there.
                    self.slot_mut(token).file = Handle::NONE;
                    Err(Error::new(ErrorKind::StaleHandle, kind))
                }
            }
        } else if ended {
            Err(Error::new(ErrorKind::Cancelled, kind))
        } else {
            Ok(self.slot(token).list.as_ref().map_or(0, |list| list.sent))
        };
        let payload = self.slot_mut(token).take_payload();
        self.complete(token, result, payload);
    }

    /// Ends an operation that the engine does not have, as its flags say.
    pub(super) fn complete_unstarted(&mut self, token: Token) {
        let kind = self.slot(token).kind;
        self.complete_with_body(token, Err(Error::new(ErrorKind::Cancelled, kind)));
    }

    /// One item of a stream operation, which goes on.
    pub(crate) fn item(&mut self, token: Token, bytes: u64, payload: Payload) {
        let slot = self.slot(token);
        let (handle, kind) = (slot.handle, slot.kind);
        let key = self.state(handle).map_or(0, |state| state.key);
        self.deliver(Completion { handle, key, token, kind, result: Ok(bytes), payload, last: false });
    }

    pub(super) fn deliver(&mut self, completion: Completion) {
        self.ready.push_back(completion);
    }

    /// Completions that wait to be handed out.
    pub(crate) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// With how many completions ready whoever finds more of them should stop for this wait: a batch, but always some beyond
    /// what is ready now. Operations that complete as they are submitted can keep a batch ready for ever, and must not keep
    /// everything else from its turn.
    pub(crate) fn enough(&self) -> usize {
        let batch = self.configuration.batch;
        batch.max(self.ready.len() + batch.div_ceil(8))
    }

    pub(super) fn hand_out(&mut self, into: &mut Vec<Completion>, limit: usize) -> usize {
        let count = self.ready.len().min(limit);
        if fault::is_planted("reorder") && count > 1 {
            self.ready.swap(0, 1);
        }
        let Self { ready, handles, .. } = self;
        if std::mem::take(&mut self.keys_changed) {
            for completion in ready.iter_mut() {
                // The one that is set now.
                if let Some(state) = handles.get(completion.handle.index(), completion.handle.generation()) {
                    completion.key = state.key;
                }
            }
        }
        if into.is_empty() && count == ready.len() && count <= into.capacity() {
            // All of them, without a copy: the lists change places, and both keep their memory.
            let emptied = std::mem::take(into);
            *into = std::mem::replace(ready, emptied.into()).into();
        } else {
            into.extend(ready.drain(..count));
        }
        count
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    pub(super) fn expired(&mut self) -> Option<Token> {
        self.timers.pop(self.now)
    }

    /// Everything in flight, in the order in which it has to be cancelled: what waits behind others first, or the end of those would
    /// begin it, and a peer would get the bytes of one answer behind the stump of another.
    pub(super) fn tokens(&self) -> Vec<Token> {
        let named = |started| {
            let slots = self.slots.iter().filter(move |(_, _, slot)| slot.started == started);
            slots.map(|(index, generation, _)| Token::new(self.queue, index, generation))
        };
        named(false).chain(named(true)).collect()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// Nothing is in flight, and nothing waits to be handed out.
    pub(super) fn is_at_rest(&self) -> bool {
        self.slots.len() == 0 && self.ready.is_empty()
    }

    /// Leaves for ever what the kernel may still touch.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::replace(&mut self.slots, Slab::new(1)));
        std::mem::forget(std::mem::replace(&mut self.handles, Slab::new(1)));
    }
}
