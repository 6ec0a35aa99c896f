//! Accepting: AcceptEx calls that are kept posted.

use super::{
    ACCEPT_SLOTS,
    handle::{Object, State},
    reuse::Fresh,
    slot::{Accepting, Body, NONE, Slot, Stage},
    turn::Turn,
    wait::NAP,
    winsock::{self, ADDRESSES_BYTES, Issued},
};
use crate::{
    backend,
    buffer::Buffer,
    completion::Payload,
    counters::SystemCall,
    direction::Direction,
    error::{Error, ErrorKind},
    identity::Handle,
    operation::OperationKind,
    shutdown::Phase,
    tally,
};
use std::sync::atomic::Ordering;
use windows_sys::Win32::System::IO::CancelIoEx;

/// How often in a row an AcceptEx may fail at once because the peer has left, before others get their turn.
const LOST_PEERS: u32 = 64;

impl Turn<'_> {
    pub(super) fn begin_accepting(&mut self, state: &mut State, index: u32) {
        let mut job = self.core.slot(index).job();
        job.stage = Stage::Accepting;
        if self.shared.phase.get() != Phase::Running {
            // It was behind another when the port began to shut down.
            job.ended = Some(ErrorKind::Cancelled);
        }
        drop(job);
        self.admit_held(state, index);
        self.top_up(state, index);
    }

    /// Posts AcceptEx calls until as many as wanted are there, or the accept ends.
    fn top_up(&mut self, state: &mut State, index: u32) {
        let slot = self.core.slot(index);
        let kind = slot.job().kind;
        let single = kind == OperationKind::Accept;
        let wanted = if single { 1 } else { self.shared.configuration.accepts_posted.max(1) };
        let mut lost = 0;
        loop {
            let mut job = slot.job();
            let over = job.ended.is_some();
            let Body::Accept(accepting) = &mut job.body else { return };
            if over || accepting.failed.is_some() || accepting.accepted.is_some() {
                break;
            }
            if accepting.calls.len() >= wanted || (!single && !state.held.is_empty()) {
                return;
            }
            if single && !self.has_room_for_accepted() {
                // Posted, the call would take a connection out of the backlog that has nowhere to go.
                accepting.failed = Some(Error::new(ErrorKind::HandlesExhausted, kind));
                break;
            }
            drop(job);
            match self.post_call(state, index) {
                Ok(call) => {
                    if let Body::Accept(accepting) = &mut slot.job().body {
                        accepting.calls.push(call);
                    }
                }
                // A peer that left before it was taken is no reason to stop.
                Err(error) if error.kind() == ErrorKind::Reset && lost < LOST_PEERS => lost += 1,
                Err(error) if is_shortage(error.kind()) && (!single || error.kind() == ErrorKind::Reset) => {
                    self.core.hungry.add(self.owner_of(index));
                    return;
                }
                Err(error) => {
                    if let Body::Accept(accepting) = &mut slot.job().body {
                        accepting.failed =
                            Some(Error::with_code(error.kind(), error.code().unwrap_or(0), kind));
                    }
                    self.end_calls(state, index);
                }
            }
        }
        self.finish_accepting(state, index);
    }

    /// Posts one AcceptEx. Returns its slot.
    fn post_call(&mut self, state: &State, parent: u32) -> Result<u32, Error> {
        let of = OperationKind::AcceptStream;
        let Object::Listener(listener) = &state.object else {
            return Err(Error::new(ErrorKind::StaleHandle, of));
        };
        let exhausted = Error::new(ErrorKind::OperationsExhausted, of);
        if self.core.calls.load(Ordering::Relaxed) >= ACCEPT_SLOTS {
            return Err(exhausted);
        }
        let fresh = self.core.reuse.socket_for(listener)?;
        let reused = fresh.associated;
        let wanted = self.shared.configuration.accept_first_bytes;
        let mut first_bytes = match wanted {
            0 => None,
            _ => Some(self.shared.buffers.acquire(wanted + ADDRESSES_BYTES)?),
        };
        let slots = &self.core.slots;
        let (index, slot) = slots.take(Slot::new).ok_or(exhausted)?;
        self.core.calls.fetch_add(1, Ordering::Relaxed);
        let room = first_bytes.as_mut().map(|buffer| (buffer.spare_pointer().0, wanted));
        let accepted = fresh.raw();
        slot.fill(
            self.owner_of(parent),
            OperationKind::Accept,
            Body::Call { parent, fresh, first_bytes },
            None,
        );
        slot.job().stage = Stage::Kernel;
        // SAFETY: the slot is fresh and owns the socket and the buffer; `state` is the listener's, locked.
        let issued =
            unsafe { winsock::accept(&self.core.functions, slot, state.raw_socket(), accepted, room) };
        match issued {
            Issued::Pending | Issued::Done(_) => Ok(index),
            Issued::Failed(code) => {
                self.free_call(index);
                // A socket that has served another listener may not fit this one. It is gone now: the next is another.
                let refused = Error::from_code(code as i32, of);
                Err(if reused { Error::with_code(ErrorKind::Reset, code as i32, of) } else { refused })
            }
        }
    }

    fn free_call(&mut self, index: u32) -> Option<(u32, Fresh, Option<Buffer>)> {
        let mut job = self.core.slot(index).job();
        let body = std::mem::take(&mut job.body);
        job.stage = Stage::Free;
        job.generation = job.generation.wrapping_add(1) & 0x00ff_ffff;
        drop(job);
        self.core.slots.give_back(index);
        self.core.calls.fetch_sub(1, Ordering::Relaxed);
        match body {
            Body::Call { parent, fresh, first_bytes } => Some((parent, fresh, first_bytes)),
            _ => None,
        }
    }

    /// An AcceptEx has ended.
    pub(super) fn call_ended(&mut self, state: &mut State, index: u32, result: Result<u32, u32>) {
        let Some((parent, fresh, mut first_bytes)) = self.free_call(index) else { return };
        let slot = self.core.slot(parent);
        let mut job = slot.job();
        // A cancel is a request: what was accepted before it took effect is still reported. But no Accept takes two.
        let (ended, kind) = (job.ended.is_some(), job.kind);
        let stream = kind == OperationKind::AcceptStream;
        let Body::Accept(accepting) = &mut job.body else { return };
        accepting.calls.retain(|&call| call != index);
        let over = (ended && !stream) || accepting.failed.is_some() || accepting.accepted.is_some();
        drop(job);
        let listener = state.raw_socket();
        let updated = result
            .and_then(|bytes| winsock::update_accept_context(fresh.raw(), listener).map(|()| bytes as usize));
        match updated {
            Ok(bytes) if !over => {
                if let Some(buffer) = &mut first_bytes {
                    buffer.advance(bytes);
                }
                self.admit(state, parent, fresh, first_bytes.filter(|buffer| !buffer.is_empty()));
            }
            // The accept is over: the connection waits for the next.
            Ok(bytes) => {
                if let Some(buffer) = &mut first_bytes {
                    buffer.advance(bytes);
                }
                state.held.push_back((fresh, first_bytes.filter(|buffer| !buffer.is_empty())));
            }
            // The peer has left.
            Err(code) => {
                drop((fresh, first_bytes));
                let error = Error::from_code(code as i32, kind);
                if !over && !ended && !matches!(error.kind(), ErrorKind::Reset | ErrorKind::Cancelled) {
                    if !stream {
                        if let Body::Accept(accepting) = &mut self.core.slot(parent).job().body {
                            accepting.failed = Some(error);
                        }
                        return self.finish_accepting(state, parent);
                    }
                    // Something is wrong with the listener or the system: no faster than the naps of the worker.
                    self.core.hungry.add(self.owner_of(parent));
                    return;
                }
            }
        }
        self.top_up(state, parent);
    }

    /// Makes a handle for a connection and reports it; without room, the connection waits.
    fn admit(&mut self, state: &mut State, parent: u32, fresh: Fresh, early: Option<Buffer>) -> bool {
        let slot = self.core.slot(parent);
        let Fresh { socket, associated } = fresh;
        let handle = match self.add_accepted(socket, associated) {
            Ok(handle) => handle,
            Err((error, Object::Socket(socket))) if error.kind() == ErrorKind::HandlesExhausted => {
                state.held.push_back((Fresh { socket, associated }, early));
                let mut job = slot.job();
                let kind = job.kind;
                match &mut job.body {
                    Body::Accept(accepting) if kind == OperationKind::Accept => {
                        accepting.failed = Some(Error::new(error.kind(), kind))
                    }
                    _ => self.core.hungry.add(self.owner_of(parent)),
                }
                return false;
            }
            // The system refuses this one socket: nothing that the program could do about it.
            Err(_) => return true,
        };
        let backend::Common::Iocp(common) = &self.shared.common;
        if let Some(entry) = common.cores[handle.queue()].entry(handle) {
            let mut state = entry.lock();
            (state.accepted, state.early) = (true, early);
        }
        let mut job = slot.job();
        if job.kind == OperationKind::Accept {
            if let Body::Accept(accepting) = &mut job.body {
                accepting.accepted = Some(handle);
            }
            return true;
        }
        drop(job);
        self.item(state, parent, 0, Payload::Accepted(handle));
        true
    }

    /// A listener belongs to one queue, but what it accepts is spread over all of them. Where another queue has no handle left,
    /// the listener's own takes the connection.
    fn add_accepted(&mut self, socket: socket2::Socket, associated: bool) -> Result<Handle, (Error, Object)> {
        let backend::Common::Iocp(common) = &self.shared.common;
        let number = common.accepted.fetch_add(1, Ordering::Relaxed) % common.cores.len();
        let core = &common.cores[number];
        if associated || core.queue == self.core.queue {
            return self.add(Object::Socket(socket), 0, associated);
        }
        match core.add(Object::Socket(socket), 0, false) {
            Err((error, object)) if error.kind() == ErrorKind::HandlesExhausted => self.add(object, 0, false),
            added => added,
        }
    }

    /// The accept was asked to end.
    pub(super) fn end_accepting(&mut self, state: &mut State, index: u32) {
        self.end_calls(state, index);
        self.finish_accepting(state, index);
    }

    fn end_calls(&mut self, state: &State, index: u32) {
        let mut job = self.core.slot(index).job();
        let Body::Accept(accepting) = &mut job.body else { return };
        for &call in &accepting.calls {
            tally::call(SystemCall::Cancel);
            // SAFETY: the listener is open until its operations have come home; the OVERLAPPED only names the call.
            unsafe { CancelIoEx(state.raw(), self.core.slot(call).overlapped()) };
        }
    }

    /// Completes an accept that is over, once its calls have come home.
    fn finish_accepting(&mut self, state: &mut State, index: u32) {
        let mut job = self.core.slot(index).job();
        let kind = job.kind;
        let Body::Accept(Accepting { calls, accepted, failed, .. }) = &mut job.body else { return };
        if !calls.is_empty() {
            return;
        }
        let (accepted, failed) = (accepted.take(), failed.take());
        drop(job);
        let (result, payload) = match (accepted, failed) {
            (Some(handle), _) => (Ok(0), Payload::Accepted(handle)),
            (None, Some(error)) => (Err(error), Payload::None),
            (None, None) => (Err(Error::new(ErrorKind::Cancelled, kind)), Payload::None),
        };
        self.complete(state, index, result, payload);
    }

    /// Something may have been closed: accepts that lack a socket or a handle try again.
    pub(super) fn feed_listeners(&mut self) {
        if self.core.hungry.is_empty() {
            return;
        }
        for handle in self.core.hungry.take() {
            let Some(entry) = self.find(handle) else { continue };
            let mut state = entry.lock();
            let first = state.line(Direction::Receive).first;
            if state.is(handle) && first != NONE && self.core.slot(first).job().stage == Stage::Accepting {
                self.admit_held(&mut state, first);
                self.top_up(&mut state, first);
                self.advance(entry, &mut state);
            }
            drop(state);
            self.settle();
        }
    }

    fn admit_held(&mut self, state: &mut State, index: u32) {
        loop {
            let mut job = self.core.slot(index).job();
            let ended = job.ended.is_some();
            let Body::Accept(accepting) = &mut job.body else { return };
            if ended || accepting.accepted.is_some() || accepting.failed.is_some() {
                return;
            }
            drop(job);
            let Some((fresh, early)) = state.held.pop_front() else { return };
            if !self.admit(state, index, fresh, early) {
                return;
            }
        }
    }

    /// Whether one more connection would get a handle, of whichever queue.
    fn has_room_for_accepted(&self) -> bool {
        let backend::Common::Iocp(common) = &self.shared.common;
        common.cores.iter().any(|core| core.handles.has_room())
    }

    /// Looks after AcceptEx calls that wait for first bytes. True if there may be any, so that it has to be done again.
    pub(super) fn sweep_listeners(&self) -> bool {
        if self.shared.configuration.accept_first_bytes == 0 {
            return false;
        }
        let (now_ms, due_ms) =
            (self.shared.now().as_millis() as u64, self.core.sweep_ms.load(Ordering::Relaxed));
        let next_ms = now_ms + NAP.as_millis() as u64;
        let swap = (Ordering::Relaxed, Ordering::Relaxed);
        // One worker at a time, and not at every wait: all handles are looked at.
        if now_ms < due_ms || self.core.sweep_ms.compare_exchange(due_ms, next_ms, swap.0, swap.1).is_err() {
            return true;
        }
        for entry in self.core.handles.iter() {
            let mut state = entry.lock();
            let first = state.line(Direction::Receive).first;
            if matches!(state.object, Object::Listener(_)) && first != NONE {
                self.sweep_silent(&state, first);
            }
        }
        true
    }

    /// Gives up connections that have sent nothing to an AcceptEx that waits for first bytes: they would hold it for ever.
    fn sweep_silent(&self, state: &State, index: u32) {
        let limit = self.core.silence_s.load(Ordering::Relaxed);
        let job = self.core.slot(index).job();
        let Body::Accept(accepting) = &job.body else { return };
        for &call in &accepting.calls {
            let slot = self.core.slot(call);
            let job = slot.job();
            if let Body::Call { fresh, .. } = &job.body
                && winsock::connected_for_s(fresh.raw()).is_some_and(|seconds| seconds >= limit)
            {
                tally::call(SystemCall::Cancel);
                // SAFETY: as in `end_calls`.
                unsafe { CancelIoEx(state.raw(), slot.overlapped()) };
            }
        }
    }
}

/// Whether the error goes away once something is closed or comes home.
const fn is_shortage(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::DescriptorsExhausted
            | ErrorKind::SystemResources
            | ErrorKind::HandlesExhausted
            | ErrorKind::OperationsExhausted
            | ErrorKind::BuffersExhausted
            | ErrorKind::Reset
    )
}
