//! What the kernel, the pool and the clock report, and what follows from it.

use super::{
    datagram::cut_one_short,
    handle::{Entry, Object, State},
    pipe,
    slot::{Body, Stage},
    turn::Turn,
    winsock,
};
use crate::{
    completion::Payload,
    counters::SystemCall,
    error::{Error, ErrorKind},
    identity::{Handle, Token},
    operation::OperationKind,
    pool::{Finished, Yielded},
    tally,
};
use std::{os::windows::io::AsRawHandle, sync::Arc};
use windows_sys::Win32::{
    Foundation::{ERROR_HANDLE_EOF, RtlNtStatusToDosError},
    System::IO::{CancelIoEx, OVERLAPPED_ENTRY},
};

impl Turn<'_> {
    /// Takes in one packet of the port. Those without an operation are none of its business.
    pub(super) fn take_packet(&mut self, packet: &OVERLAPPED_ENTRY) {
        // Wakes have none, and who has a duplicate of a socket or file can have a call on it end here with an OVERLAPPED of their own
        // (`File::lock` of std does), which may be gone by now: it is compared, and never looked into.
        let Some(slot) = self.core.slots.at(packet.lpOverlapped.addr()) else { return };
        let Some(entry) = self.find(slot.owner()) else { return };
        let mut state = entry.lock();
        state.inline = 0;
        // SAFETY: the packet says that the kernel is done with the slot; the owner's lock is held.
        let (status, _) = unsafe { slot.outcome() };
        let result = if status >= 0 {
            Ok(packet.dwNumberOfBytesTransferred)
        } else {
            // SAFETY: a table lookup.
            Err(unsafe { RtlNtStatusToDosError(status) })
        };
        self.event(entry, &mut state, slot.index, result);
        self.advance(entry, &mut state);
        drop(state);
        self.settle();
    }

    /// A call has ended: with so many bytes, or a code of the system.
    pub(super) fn event(&mut self, entry: &Entry, state: &mut State, index: u32, result: Result<u32, u32>) {
        let slot = self.core.slot(index);
        let mut guard = slot.job();
        let job = &mut *guard;
        let (kind, ended) = (job.kind, job.ended.is_some());
        let error = |code: u32| Error::from_code(code as i32, kind);
        match &job.body {
            Body::Call { .. } => {
                drop(guard);
                return self.call_ended(state, index, result);
            }
            Body::Reuse(_) => {
                drop(guard);
                return self.disconnected(index, result.is_ok());
            }
            _ => {}
        }
        if kind == OperationKind::WatchDirectory {
            drop(guard);
            return self.folder_changed(entry, state, index, result);
        }
        if kind == OperationKind::ReceiveStream && matches!(state.object, Object::Pipe(_)) {
            let read = match result {
                Ok(bytes) => Some((bytes, false)),
                Err(code) if pipe::is_end(state, kind, code) => Some((0, true)),
                Err(_) => None,
            };
            if let Some(read) = read {
                drop(guard);
                return self.stream_was_read(entry, state, index, read);
            }
            job.body = Body::None;
        }
        let bytes = match result {
            Err(code) if pipe::is_end(state, kind, code) => 0,
            // A message of no bytes is passed over: it is not the end.
            Ok(0) if pipe::is_read(state, kind) && !ended => {
                drop(guard);
                return self.start(entry, state, index);
            }
            Ok(bytes) => u64::from(bytes),
            Err(ERROR_HANDLE_EOF) if kind == OperationKind::ReadAt => 0,
            Err(code) if cut_one_short(state, kind, code) => {
                // All the room is filled; the rest is lost.
                job.truncated();
                job.room()
            }
            Err(code) => {
                drop(guard);
                self.fail(state, index, error(code));
                return;
            }
        };
        job.transferred += bytes;
        let transferred = job.transferred;
        let outcome = match (kind, &mut job.body) {
            (
                OperationKind::Receive | OperationKind::ReceiveFrom | OperationKind::ReceiveMessage,
                Body::Buffer(buffer),
            ) => {
                buffer.advance(bytes as usize);
                state.peer_ended = bytes == 0;
                Some(Ok(bytes))
            }
            (OperationKind::ReceiveScatter, Body::Buffers(buffers)) => {
                let mut left = bytes as usize;
                for buffer in buffers {
                    let filled = left.min(buffer.spare_capacity());
                    buffer.advance(filled);
                    left -= filled;
                }
                state.peer_ended = bytes == 0;
                Some(Ok(bytes))
            }
            (OperationKind::SendTo | OperationKind::SendMessage, _) => Some(Ok(bytes)),
            (OperationKind::ReadAt, Body::Buffer(buffer)) => {
                buffer.advance(bytes as usize);
                // A read that comes back short has met the end of the file.
                let whole = buffer.spare_capacity() == 0 || bytes < 0x7fff_f000;
                whole.then_some(Ok(transferred))
            }
            (OperationKind::Send | OperationKind::WriteAt | OperationKind::Connect, Body::Chain(chain)) => {
                let whole = transferred >= chain.len();
                let stuck = bytes == 0 && !whole;
                if stuck {
                    Some(Err(Error::new(ErrorKind::Other, kind)))
                } else {
                    whole.then_some(Ok(transferred))
                }
            }
            (OperationKind::TransmitFile, Body::Chain(head)) => {
                let whole = transferred >= head.len() + job.length;
                // The file is shorter than promised.
                let stuck = bytes == 0 && !whole;
                let error = Error::with_code(ErrorKind::Other, ERROR_HANDLE_EOF as i32, kind);
                if stuck { Some(Err(error)) } else { whole.then_some(Ok(transferred)) }
            }
            (OperationKind::TransmitPackets, _) => Self::list_was_sent(job, bytes),
            (OperationKind::Control, _) => Some(Ok(0)),
            (OperationKind::Connect, Body::Connect { first, .. }) => {
                let updated = match state.object {
                    Object::Socket(_) => winsock::update_connect_context(state.raw_socket()),
                    _ => Ok(()),
                };
                let whole = transferred >= first.len();
                if updated.is_ok() && !whole {
                    // The rest goes out like any other bytes.
                    job.body = Body::Chain(std::mem::take(first));
                }
                match updated {
                    Err(code) => Some(Err(error(code))),
                    Ok(()) => whole.then_some(Ok(transferred)),
                }
            }
            (OperationKind::ReceiveStream, _) => {
                drop(guard);
                if ended {
                    self.complete_ended(state, index);
                } else {
                    self.pull(entry, state, index);
                }
                return;
            }
            (kind, _) => unreachable!("{kind:?} makes no calls"),
        };
        drop(guard);
        match outcome {
            Some(Err(error)) => self.fail(state, index, error),
            Some(result) => self.complete_with_body(state, index, result),
            None if ended => self.complete_ended(state, index),
            // What is missing can no longer be sent in its place.
            None if self.has_followers(state, index, kind) => {
                self.fail(state, index, Error::new(ErrorKind::Other, kind));
            }
            None => self.start(entry, state, index),
        }
    }

    /// An operation has failed, and with it what it leaves no place for.
    fn fail(&mut self, state: &mut State, index: u32, error: Error) {
        let job = self.core.slot(index).job();
        let (kind, asked_to) = (job.kind, job.ended.is_some());
        drop(job);
        if kind == OperationKind::Send && !asked_to && matches!(state.object, Object::Socket(_)) {
            self.ruin_followers(state, index, error);
        }
        self.complete_with_body(state, index, Err(error));
    }

    /// A task of the pool has ended.
    pub(super) fn finish_task(&mut self, finished: Finished) {
        let Finished { token, result, yielded } = finished;
        let Some(slot) = self.core.slots.get(token.index()) else { return };
        let opened = match yielded {
            Yielded::Payload(payload) => (result, payload),
            Yielded::Opened(file, metadata) => match self.add(Object::File(Arc::new(file)), 0, false) {
                Ok(file) => {
                    if let Some(entry) = self.find(file) {
                        entry.lock().length = metadata.length;
                    }
                    (result, Payload::Opened { file, metadata })
                }
                Err((error, _)) => (Err(error), Payload::None),
            },
        };
        if let Some(entry) = self.find(slot.owner()) {
            let mut state = entry.lock();
            if self.is_current(token) && slot.job().stage == Stage::Pool {
                self.complete(&mut state, token.index(), opened.0, opened.1);
                self.advance(entry, &mut state);
            }
        }
        self.settle();
    }

    /// Asks for the end of an operation.
    pub(super) fn cancel(&mut self, token: Token, reason: ErrorKind) {
        let Some(slot) = self.core.slots.get(token.index()) else { return };
        let Some(entry) = self.find(slot.owner()) else { return };
        {
            let mut state = entry.lock();
            // Under this lock the slot cannot change hands any more, if it is still the token's.
            if self.is_current(token)
                && std::ptr::eq(self.find(slot.owner()).unwrap_or(&self.core.nobody), entry)
            {
                self.end(&mut state, token.index(), reason);
                self.advance(entry, &mut state);
            }
        }
        self.settle();
    }

    /// As [`Turn::cancel`], with the owner's lock held. The owner's lines do not advance.
    pub(super) fn end(&mut self, state: &mut State, index: u32, reason: ErrorKind) {
        let slot = self.core.slot(index);
        let mut job = slot.job();
        if job.ended.is_some() {
            return;
        }
        let (stage, token) = (job.stage, job.token(self.core.queue, index));
        if matches!(stage, Stage::Closing | Stage::Free | Stage::Held) {
            return;
        }
        job.ended = Some(reason);
        match stage {
            Stage::Free | Stage::Closing | Stage::Held => {}
            Stage::Waiting | Stage::Timer | Stage::Resting | Stage::Starving => {
                drop(job);
                self.complete_ended(state, index);
            }
            Stage::Kernel => {
                let raw = match (&job.file, &job.body) {
                    (Some(file), _) if names_the_file(job.kind) => file.raw(),
                    (_, Body::Watch { file: Some(file), .. }) => file.as_raw_handle(),
                    _ => state.raw(),
                };
                tally::call(SystemCall::Cancel);
                // Not found means that it is done already; its packet is in the queue.
                // SAFETY: the handle is open, for it is the slot's or its owner's; the OVERLAPPED only names the operation.
                unsafe { CancelIoEx(raw, slot.overlapped()) };
            }
            Stage::Pool => {
                let kind = job.kind;
                drop(job);
                if let Some(task) = self.shared.pool.cancel(token) {
                    let error = Error::new(ErrorKind::Cancelled, kind);
                    self.complete(state, index, Err(error), task.into_payload());
                }
            }
            Stage::Accepting => {
                drop(job);
                self.end_accepting(state, index);
            }
        }
    }

    /// The program's deadlines and timers that have passed.
    pub(super) fn expire(&mut self) {
        let now = self.desk.now;
        loop {
            let due = self.core.clocks(self.desk.seat).find_map(|seat| self.core.timers(seat).pop(now));
            let Some(token) = due else { return };
            let Some(slot) = self.core.slots.get(token.index()) else { continue };
            if slot.job().kind != OperationKind::Timer {
                self.cancel(token, ErrorKind::TimedOut);
                continue;
            }
            if let Some(entry) = self.find(slot.owner()) {
                let mut state = entry.lock();
                if self.is_current(token) {
                    self.complete(&mut state, token.index(), Ok(0), Payload::None);
                    self.advance(entry, &mut state);
                }
            }
            self.settle();
        }
    }

    /// The handle of an operation that is in the books.
    pub(super) fn owner_of(&self, index: u32) -> Handle {
        self.core.slot(index).owner()
    }
}

/// Whether the call of such an operation names the file, and not the socket that it was submitted for.
const fn names_the_file(kind: OperationKind) -> bool {
    matches!(kind, OperationKind::ReadAt | OperationKind::WriteAt)
}
