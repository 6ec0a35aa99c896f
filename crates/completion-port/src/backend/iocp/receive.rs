//! Receive streams: a receive of zero bytes, which holds no buffer, and then what is there into a buffer of the pool.

use super::{
    handle::{Entry, State},
    slot::{Body, NONE, Stage},
    turn::Turn,
    winsock::{self, Issued},
};
use crate::{
    completion::Payload,
    direction::Direction,
    error::{Error, ErrorKind},
    operation::OperationKind,
};
use windows_sys::Win32::Networking::WinSock::WSAEWOULDBLOCK;

/// How often a receive of zero bytes may end at once without bytes being there, before the stream waits its turn.
const FALSE_ALARMS: u32 = 3;

impl Turn<'_> {
    pub(super) fn begin_stream(&mut self, entry: &Entry, state: &mut State, index: u32) {
        if let Some(buffer) = state.early.take() {
            let bytes = buffer.len() as u64;
            self.core.slot(index).job().stage = Stage::Resting;
            self.item(state, index, bytes, Payload::Buffer(buffer));
            return;
        }
        self.arm(entry, state, index);
    }

    /// Bytes that came with the connection serve a receive first.
    pub(super) fn receive_early(&mut self, state: &mut State, index: u32) {
        let slot = self.core.slot(index);
        let mut bytes = 0;
        if let (Body::Buffer(buffer), Some(early)) = (&mut slot.job().body, &mut state.early) {
            bytes = early.len().min(buffer.spare_capacity());
            buffer.extend_from_slice(&early[..bytes]);
            early.consume(bytes);
            if early.is_empty() {
                state.early = None;
            }
        }
        self.complete_with_body(state, index, Ok(bytes as u64));
    }

    /// Waits for bytes: posts the receive of zero bytes.
    fn arm(&mut self, entry: &Entry, state: &mut State, index: u32) {
        let slot = self.core.slot(index);
        // SAFETY: the stream has no call in the kernel; no memory is passed; the owner's lock is held.
        let issued = unsafe {
            winsock::receive(slot, state.raw_socket(), state.skips, std::ptr::NonNull::dangling().as_ptr(), 0)
        };
        match issued {
            Issued::Done(_) => self.follow(entry, state, index, Issued::Done(0)),
            other => self.follow(entry, state, index, other),
        }
    }

    /// Bytes, or the end, are there: takes them.
    pub(super) fn pull(&mut self, entry: &Entry, state: &mut State, index: u32) {
        let of = OperationKind::ReceiveStream;
        let slot = self.core.slot(index);
        let mut buffer = match self.shared.buffers.acquire(self.shared.configuration.receive_bytes) {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == ErrorKind::BuffersExhausted => {
                slot.job().stage = Stage::Starving;
                self.core.starving.add(slot.owner());
                return;
            }
            Err(error) => {
                self.complete(state, index, Err(error), Payload::None);
                return;
            }
        };
        let Some(socket) = state.socket() else { return };
        match winsock::receive_now(socket, buffer.spare_mut()) {
            Ok(0) => {
                drop(buffer);
                state.peer_ended = true;
                self.complete(state, index, Ok(0), Payload::None);
            }
            Ok(bytes) => {
                buffer.advance(bytes);
                state.more = buffer.spare_capacity() == 0;
                let mut job = slot.job();
                job.stage = Stage::Resting;
                job.transferred = 0;
                drop(job);
                self.item(state, index, bytes as u64, Payload::Buffer(buffer));
            }
            Err(code) if code == WSAEWOULDBLOCK as u32 => {
                drop(buffer);
                state.more = false;
                let mut job = slot.job();
                job.transferred += 1;
                let alarms = job.transferred;
                drop(job);
                if alarms >= u64::from(FALSE_ALARMS) {
                    // Through the kernel's queue, so that others get their turn.
                    state.inline = self.shared.configuration.inline_budget;
                }
                self.arm(entry, state, index);
            }
            Err(code) => {
                drop(buffer);
                self.complete(state, index, Err(Error::from_code(code as i32, of)), Payload::None);
            }
        }
    }

    /// The last item of a stream was dealt with: it may go on. Until then nothing more is received: the program's own pace is the
    /// back-pressure on the peer.
    pub(super) fn resume(&mut self, entry: &Entry, state: &mut State) {
        let first = state.line(Direction::Receive).first;
        if first == NONE || self.core.slot(first).job().stage != Stage::Resting {
            return;
        }
        if state.more {
            self.pull(entry, state, first);
        } else {
            self.arm(entry, state, first);
        }
    }

    /// Buffers may have come back: as many streams go on as there are, those that waited longest first.
    pub(super) fn feed(&mut self) {
        let (buffers, bytes) = (&self.shared.buffers, self.shared.configuration.receive_bytes);
        while !self.core.starving.is_empty() {
            if !buffers.available(bytes) {
                buffers.await_return();
                // One may have come back just before.
                if !buffers.available(bytes) {
                    return;
                }
            }
            let Some(handle) = self.core.starving.next() else { return };
            let Some(entry) = self.find(handle) else { continue };
            let mut state = entry.lock();
            let first = state.line(Direction::Receive).first;
            if state.is(handle) && first != NONE && self.core.slot(first).job().stage == Stage::Starving {
                self.pull(entry, &mut state, first);
                self.advance(entry, &mut state);
            }
            drop(state);
            self.settle();
        }
    }
}
