//! A worker at work: what the other files build on.

use super::{
    Core, Desk,
    handle::{Entry, State},
    slot::{Body, Borrowed, NONE, Stage},
};
use crate::{
    completion::{Completion, Payload},
    direction::Direction,
    error::{Error, ErrorKind},
    identity::{Handle, Token},
    operation::OperationKind,
    port::Shared,
};
use std::sync::atomic::Ordering;

/// Everything that a worker has at hand during one call of its driver.
pub(super) struct Turn<'a> {
    pub(super) shared: &'a Shared,
    pub(super) core: &'a Core,
    pub(super) desk: &'a mut Desk,
}

impl<'a> Turn<'a> {
    /// Puts a slot into the lists of its owner.
    pub(super) fn link(&mut self, state: &mut State, index: u32) {
        state.pending += 1;
        let links = &self.core.slot(index).links;
        links.after.store(state.operations, Ordering::Relaxed);
        if state.operations != NONE {
            self.core.slot(state.operations).links.before.store(index, Ordering::Relaxed);
        }
        state.operations = index;
    }

    fn unlink(&mut self, state: &mut State, index: u32) {
        let links = &self.core.slot(index).links;
        let (before, after) = (links.before.load(Ordering::Relaxed), links.after.load(Ordering::Relaxed));
        if before == NONE {
            state.operations = after;
        } else {
            self.core.slot(before).links.after.store(after, Ordering::Relaxed);
        }
        if after != NONE {
            self.core.slot(after).links.before.store(before, Ordering::Relaxed);
        }
    }

    /// An operation has come to its end: its completion enters the gate, its slot is free.
    pub(super) fn complete(
        &mut self,
        state: &mut State,
        index: u32,
        result: Result<u64, Error>,
        payload: Payload,
    ) {
        let slot = self.core.slot(index);
        let handle = slot.owner();
        let mut job = slot.job();
        let (token, kind, ended) = (job.token(self.core.queue, index), job.kind, job.ended);
        let (file, seat) = (job.file.take(), job.deadline_at.take());
        let scratch = job.scratch.take();
        let (started, send_bytes) = (job.started, job.send_bytes);
        job.body = Body::None;
        job.stage = Stage::Free;
        job.generation = job.generation.wrapping_add(1) & 0x00ff_ffff;
        drop(job);
        if let Some(seat) = seat {
            self.core.timers(seat).remove(token);
        }
        self.unlink(state, index);
        if kind == OperationKind::WatchDirectory {
            state.watches -= 1;
        }
        if let Some(direction) = Direction::of(kind) {
            self.leave_line(state, direction, index, started);
        }
        let result = result.map_err(|error| match ended {
            Some(reason) => Error::with_code(reason, error.code().unwrap_or(0), kind),
            None => error,
        });
        let completion = Completion { handle, key: 0, token, kind, result, payload, last: true };
        self.pass(state, completion);
        self.core.slots.give_back(index);
        if let Some(mut scratch) = scratch {
            self.return_files(&mut scratch);
            self.core.scratches.give_back(scratch);
        }
        self.core.operations.fetch_sub(1, Ordering::Relaxed);
        state.pending -= 1;
        self.let_send_again(state, handle, send_bytes);
        if let Some(Borrowed { handle, file, .. }) = file {
            drop(file);
            self.desk.returned.push(handle);
        }
    }

    /// Ends an operation that was asked to end and is nowhere under way.
    pub(super) fn complete_ended(&mut self, state: &mut State, index: u32) {
        let kind = self.core.slot(index).job().kind;
        self.complete_with_body(state, index, Err(Error::new(ErrorKind::Cancelled, kind)));
    }

    /// Its bytes wait no more; if sends were refused for want of room, and there is room again, the program hears of it.
    fn let_send_again(&mut self, state: &mut State, handle: Handle, send_bytes: u64) {
        state.send_bytes -= send_bytes;
        if !state.send_refused || state.send_bytes > self.shared.configuration.send_bytes / 2 {
            return;
        }
        state.send_refused = false;
        if !state.closing {
            let (token, kind) = (Token::NONE, OperationKind::Writable);
            self.core.in_flight.fetch_add(1, Ordering::Relaxed);
            let (result, payload) = (Ok(0), Payload::None);
            self.pass(state, Completion { handle, key: 0, token, kind, result, payload, last: true });
        }
    }

    /// One item of a stream operation.
    pub(super) fn item(&mut self, state: &mut State, index: u32, bytes: u64, payload: Payload) {
        let slot = self.core.slot(index);
        let handle = slot.owner();
        let job = slot.job();
        let (token, kind) = (job.token(self.core.queue, index), job.kind);
        drop(job);
        self.core.in_flight.fetch_add(1, Ordering::Relaxed);
        self.pass(state, Completion { handle, key: 0, token, kind, result: Ok(bytes), payload, last: false });
    }

    /// Through the gate, or beside it where there is no handle.
    pub(super) fn pass(&mut self, state: &mut State, completion: Completion) {
        if completion.handle == Handle::NONE {
            self.desk.ready.push_back(completion);
        } else {
            state.gate.enter(self.desk.seat, completion, &mut self.desk.ready);
        }
    }

    /// A packet for the program, with no operation behind it.
    pub(super) fn tell(&mut self, kind: OperationKind, key: u64, payload: Payload) {
        let (handle, token) = (Handle::NONE, Token::NONE);
        self.core.in_flight.fetch_add(1, Ordering::Relaxed);
        self.desk.ready.push_back(Completion {
            handle,
            key,
            token,
            kind,
            result: Ok(0),
            payload,
            last: true,
        });
    }

    /// Gives back the files whose operations came home. To be called at the end of a turn, without any lock.
    pub(super) fn settle(&mut self) {
        while let Some(file) = self.desk.returned.pop() {
            self.give_back_file(file);
        }
    }

    pub(super) fn give_back_file(&mut self, file: Handle) {
        let Some(entry) = self.core.handles.get(file.index()) else { return };
        let mut state = entry.lock();
        if state.is(file) {
            state.pending -= 1;
            self.finish_close(&mut state);
        }
    }

    /// The entry of a handle, whether it is still the handle's or not: check under the lock.
    pub(super) fn find(&self, handle: Handle) -> Option<&'a Entry> {
        self.core.entry(handle)
    }
}
