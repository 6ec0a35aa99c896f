//! Taking operations in, and sockets and files.

use super::{
    Core,
    handle::{Entry, Object},
    pipe,
    scratch::Scratch,
    slot::{Borrowed, Job, Slot, Stage},
    system,
    turn::Turn,
    winsock,
};
use crate::{
    completion::Rejected,
    direction::Direction,
    error::{Error, ErrorKind},
    identity::{Handle, Token},
    operation::{Operation, OperationKind},
    source::Source,
    transmit::TransmitList,
};
use std::{
    os::windows::io::{AsRawHandle, AsRawSocket},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use windows_sys::Win32::{Foundation::HANDLE, Networking::WinSock::SOCKET};

/// Gives the operation back whole.
fn reject(reason: ErrorKind, operation: Operation) -> Rejected {
    Rejected { error: Error::new(reason, operation.kind()), operation }
}

impl Turn<'_> {
    #[allow(
        clippy::result_large_err,
        reason = "the operation comes back with its buffers, without an allocation"
    )]
    pub(super) fn submit(
        &mut self,
        handle: Handle,
        operation: Operation,
        deadline: Option<Duration>,
    ) -> Result<Token, Rejected> {
        self.submit_for(handle, operation, deadline, false)
    }

    /// As [`Turn::submit`]. What is to be done in place is taken in, and left to the caller.
    #[allow(
        clippy::result_large_err,
        reason = "the operation comes back with its buffers, without an allocation"
    )]
    pub(super) fn submit_for(
        &mut self,
        handle: Handle,
        operation: Operation,
        deadline: Option<Duration>,
        in_place: bool,
    ) -> Result<Token, Rejected> {
        let token = match self.check(&operation, in_place) {
            Ok(()) => self.accept_operation(handle, operation, deadline, in_place),
            Err(reason) => Err(reject(reason, operation)),
        };
        self.settle();
        let token = token?;
        // The phase may have moved on after the look at it, and the sweep may have missed this operation.
        self.follow_phase_for(token);
        Ok(token)
    }

    fn check(&self, operation: &Operation, in_place: bool) -> Result<(), ErrorKind> {
        use Operation as O;
        if self.shared.phase.get().refuses(operation.kind()) {
            return Err(ErrorKind::ShuttingDown);
        }
        match operation {
            O::Open { .. } | O::Call { .. } if !in_place && self.shared.pool.is_full() => {
                Err(ErrorKind::QueueFull)
            }
            _ => operation.check_arguments(),
        }
    }

    #[allow(
        clippy::result_large_err,
        reason = "the operation comes back with its buffers, without an allocation"
    )]
    fn accept_operation(
        &mut self,
        handle: Handle,
        operation: Operation,
        deadline: Option<Duration>,
        in_place: bool,
    ) -> Result<Token, Rejected> {
        let kind = operation.kind();
        let core = self.core;
        // A handle can always be closed: there are slots for that beyond the limit.
        if core.operations.fetch_add(1, Ordering::Relaxed) >= core.operation_limit
            && kind != OperationKind::Close
        {
            core.operations.fetch_sub(1, Ordering::Relaxed);
            return Err(reject(ErrorKind::OperationsExhausted, operation));
        }
        let Some((index, slot)) = core.slots.take(Slot::new) else {
            core.operations.fetch_sub(1, Ordering::Relaxed);
            return Err(reject(ErrorKind::OperationsExhausted, operation));
        };
        let give_back = || {
            core.slots.give_back(index);
            core.operations.fetch_sub(1, Ordering::Relaxed);
        };
        let end = match &operation {
            Operation::WriteAt { offset, chain, .. } => offset + chain.len(),
            _ => 0,
        };
        let (mut file, mut scratch) = (None, None);
        let borrowed = match (&operation, operation.file()) {
            (Operation::TransmitPackets { list }, _) => {
                self.borrow_files(list, scratch.get_or_insert_with(|| core.scratches.take()))
            }
            (_, Some(name)) => self.borrow_file(name, end).map(|borrowed| file = Some(borrowed)),
            (_, None) => Ok(()),
        };
        let entry = self.find(handle);
        let mut state = entry.map(Entry::lock).filter(|state| handle == Handle::NONE || state.is(handle));
        let send_bytes = operation.send_bytes();
        let fits = match &mut state {
            _ if borrowed.is_err() => borrowed,
            None => Err(ErrorKind::StaleHandle),
            Some(_) if handle == Handle::NONE => Ok(()),
            Some(state) => state
                .fits(kind)
                .and_then(|()| state.take_bytes(send_bytes, self.shared.configuration.send_bytes)),
        };
        let (Ok(()), Some(entry), Some(mut state)) = (fits, core.entry(handle), state) else {
            give_back();
            if let Some(Borrowed { handle, file, .. }) = file {
                drop(file);
                self.desk.returned.push(handle);
            }
            if let Some(mut scratch) = scratch {
                self.return_files(&mut scratch);
                core.scratches.give_back(scratch);
            }
            return Err(reject(fits.err().unwrap_or(ErrorKind::StaleHandle), operation));
        };

        let after = match &operation {
            Operation::Timer { after } => Some(self.shared.now().saturating_add(*after)),
            _ => deadline,
        };
        let (body, offset, length, data_only) = Job::take_apart(operation);
        let generation = slot.fill(handle, kind, body, file);
        let token = Token::new(core.queue, index, generation);
        {
            let mut job = slot.job();
            (job.offset, job.length, job.data_only) = (offset, length, data_only);
            job.send_bytes = send_bytes;
            job.scratch = scratch;
            if let Some(deadline) = after {
                job.deadline_at = Some(self.desk.seat);
                core.timers(self.desk.seat).set(token, deadline);
            }
            match kind {
                OperationKind::Timer => job.stage = Stage::Timer,
                OperationKind::Close => job.stage = Stage::Closing,
                _ => {}
            }
        }
        core.in_flight.fetch_add(1, Ordering::Relaxed);
        self.link(&mut state, index);
        match (kind, Direction::of(kind)) {
            (OperationKind::Close, _) => self.begin_close(&mut state, index),
            (OperationKind::Timer, _) => {}
            (_, _) if in_place => slot.job().stage = Stage::Pool,
            (_, Some(direction)) => self.stand_in_line(&mut state, direction, index),
            (_, None) => self.start(entry, &mut state, index),
        }
        self.advance(entry, &mut state);
        Ok(token)
    }

    /// Borrows all files of a list.
    fn borrow_files(&self, list: &TransmitList, scratch: &mut Scratch) -> Result<(), ErrorKind> {
        list.files().try_for_each(|file| {
            scratch.rest.files.push(self.borrow_file(file, 0)?);
            Ok(())
        })
    }

    /// Lets go of them. They are given back when the turn is settled.
    pub(super) fn return_files(&mut self, scratch: &mut Scratch) {
        for Borrowed { handle, file, .. } in scratch.rest.files.drain(..) {
            drop(file);
            self.desk.returned.push(handle);
        }
    }

    /// Counts an operation on a file, which writes up to `end` or not at all, and shares the file.
    fn borrow_file(&self, handle: Handle, end: u64) -> Result<Borrowed, ErrorKind> {
        let entry = self.core.handles.get(handle.index()).ok_or(ErrorKind::StaleHandle)?;
        let mut state = entry.lock();
        if !state.is(handle) || state.closing {
            return Err(ErrorKind::StaleHandle);
        }
        let Object::File(file) = &state.object else { return Err(ErrorKind::InvalidArgument) };
        let file = Arc::clone(file);
        state.pending += 1;
        let extends = end > state.length;
        state.length = state.length.max(end);
        Ok(Borrowed { handle, file, skips: state.skips, extends })
    }

    pub(super) fn associate(&mut self, source: Source, key: u64) -> Result<Handle, (Error, Source)> {
        let of = OperationKind::Associate;
        let object = match source {
            Source::File(file) => Object::File(Arc::new(file)),
            Source::Socket(socket) => match (winsock::listens(&socket), winsock::is_stream(&socket)) {
                (Ok(true), _) => Object::Listener(socket),
                (Ok(false), Ok(true)) => Object::Socket(socket),
                (Ok(false), Ok(false)) => Object::Datagrams(socket),
                (Err(code), _) | (_, Err(code)) => {
                    return Err((Error::from_code(code as i32, of), Source::Socket(socket)));
                }
            },
            Source::Pipe(pipe) => match pipe::prepare(&pipe) {
                Ok(()) => Object::Pipe(pipe),
                Err(error) => return Err((error, Source::Pipe(pipe))),
            },
        };
        self.add(object, key, false).map_err(|(error, object)| {
            let source = match object {
                Object::Socket(socket) | Object::Listener(socket) | Object::Datagrams(socket) => {
                    Source::Socket(socket)
                }
                Object::File(file) => {
                    Source::File(Arc::into_inner(file).expect("nobody shares the file yet"))
                }
                Object::Pipe(pipe) => Source::Pipe(pipe),
                Object::None => unreachable!("sources are something"),
            };
            (error, source)
        })
    }

    /// Makes a handle for `object`: the only place where something is associated with the system's port, unless it is already.
    pub(super) fn add(
        &mut self,
        object: Object,
        key: u64,
        associated: bool,
    ) -> Result<Handle, (Error, Object)> {
        self.core.add(object, key, associated)
    }
}

impl Core {
    /// Gives an object a handle of this queue, and associates it with the queue's port unless it is already.
    pub(super) fn add(&self, object: Object, key: u64, associated: bool) -> Result<Handle, (Error, Object)> {
        let of = OperationKind::Associate;
        let Some((index, entry)) = self.handles.take(Entry::new) else {
            return Err((Error::new(ErrorKind::HandlesExhausted, of), object));
        };
        let mut state = entry.lock();
        let handle = Handle::new(self.queue, index, state.generation);
        match self.prepare(&object, handle, associated) {
            Ok(skips) => {
                state.open(object, skips);
                self.inbox.opened(handle);
                entry.set_key(key);
                Ok(handle)
            }
            Err(error) => {
                drop(state);
                self.handles.give_back(index);
                Err((error, object))
            }
        }
    }

    fn prepare(&self, object: &Object, handle: Handle, associated: bool) -> Result<bool, Error> {
        let (raw, skips): (HANDLE, bool) = match object {
            Object::File(file) => (file.as_raw_handle(), system::is_on_disk(file.as_raw_handle())),
            Object::Pipe(pipe) => (pipe.as_raw_handle(), false),
            // AcceptEx always takes its way through the queue: nothing is gained by accepting in a row.
            Object::Listener(socket) => (socket.as_raw_socket() as HANDLE, false),
            Object::Socket(socket) => {
                let error = |error| Error::from_io(&error, OperationKind::Associate);
                // For the receives of a stream, which take what is there; overlapped calls do not care.
                socket.set_nonblocking(true).map_err(error)?;
                let raw = socket.as_raw_socket();
                (raw as HANDLE, winsock::can_skip(raw as SOCKET))
            }
            // Windows is not to be trusted with datagrams and skipped packets: whether one comes cannot be told from what a call returns.
            Object::Datagrams(socket) => {
                winsock::prepare_for_datagrams(socket)
                    .map_err(|error| Error::from_io(&error, OperationKind::Associate))?;
                (socket.as_raw_socket() as HANDLE, false)
            }
            Object::None => unreachable!("only what is open is associated"),
        };
        if !associated {
            self.port.associate(raw, handle.to_bits() as usize)?;
        }
        Ok(skips && self.may_skip.load(Ordering::Relaxed) && system::skip_packets_on_success(raw))
    }
}

impl Turn<'_> {
    /// The operation of a token, if it has not come home.
    pub(super) fn is_current(&self, token: Token) -> bool {
        let slot = self.core.slots.get(token.index());
        slot.is_some_and(|slot| {
            let job = slot.job();
            job.generation == token.generation() && job.stage != Stage::Free
        })
    }
}
