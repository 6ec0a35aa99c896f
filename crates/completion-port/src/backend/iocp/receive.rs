//! Receive streams: a receive of zero bytes, which holds no buffer, and then what is there into a buffer of the pool.

use super::{
    datagram::is_oversize,
    handle::{Entry, Object, State},
    slot::{Body, NONE, Stage},
    turn::Turn,
    winsock::{self, Issued},
};
use crate::{
    buffer::Buffer,
    completion::Payload,
    direction::Direction,
    error::{Error, ErrorKind},
    operation::OperationKind,
};
use std::ptr::NonNull;
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
        let mut bytes = 0;
        let mut fill = |buffer: &mut Buffer| {
            let Some(early) = &mut state.early else { return };
            let filled = early.len().min(buffer.spare_capacity());
            buffer.extend_from_slice(&early[..filled]);
            early.consume(filled);
            bytes += filled;
            if early.is_empty() {
                state.early = None;
            }
        };
        match &mut self.core.slot(index).job().body {
            Body::Buffer(buffer) => {
                fill(buffer);
                // What has come since belongs to it too. An end or an error is there for the next receive as well.
                if let (None, Object::Socket(socket)) = (&state.early, &state.object)
                    && let Ok(more) = winsock::receive_now(socket, buffer.spare_mut())
                {
                    buffer.advance(more);
                    bytes += more;
                }
            }
            Body::Buffers(buffers) => buffers.iter_mut().for_each(fill),
            _ => {}
        }
        self.complete_with_body(state, index, Ok(bytes as u64));
    }

    /// Waits for bytes: posts the receive of zero bytes.
    pub(super) fn arm(&mut self, entry: &Entry, state: &mut State, index: u32) {
        let slot = self.core.slot(index);
        if matches!(state.object, Object::Pipe(_)) {
            let issued = self.issue(state, slot);
            return self.follow(entry, state, index, issued);
        }
        // Of a datagram, even no byte is lost only when it is left where it is.
        let (nowhere, peek) = (NonNull::dangling().as_ptr(), matches!(state.object, Object::Datagrams(_)));
        // SAFETY: the stream has no call in the kernel; no memory is passed; the owner's lock is held.
        let issued = unsafe { winsock::receive(slot, state.raw_socket(), state.skips, nowhere, 0, peek) };
        match issued {
            Issued::Done(_) => self.follow(entry, state, index, Issued::Done(0)),
            other => self.follow(entry, state, index, other),
        }
    }

    /// Bytes, or the end, are there: takes them.
    pub(super) fn pull(&mut self, entry: &Entry, state: &mut State, index: u32) {
        if matches!(state.object, Object::Pipe(_)) {
            return self.read_for_stream(entry, state, index);
        }
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
        let has_datagrams = matches!(state.object, Object::Datagrams(_));
        let received = match winsock::receive_now(socket, buffer.spare_mut()) {
            // What did not fit is lost.
            Err(code) if has_datagrams && is_oversize(code) => Ok(buffer.spare_capacity()),
            received => received,
        };
        match received {
            Ok(0) if !has_datagrams => {
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
        self.watch_again(entry, state);
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
