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

    /// Stands the operation in line behind others of its direction.
    pub(super) fn stand_in_line(&mut self, state: &mut State, direction: Direction, index: u32) {
        let line = state.line(direction);
        let last = std::mem::replace(&mut line.last, index);
        if last == NONE {
            line.first = index;
        } else {
            self.core.slot(last).links.next.store(index, Ordering::Relaxed);
        }
    }

    fn leave_line(&mut self, state: &mut State, direction: Direction, index: u32) {
        let next_of = |index: u32| self.core.slot(index).links.next.load(Ordering::Relaxed);
        let next = next_of(index);
        let line = state.line(direction);
        if line.first == index {
            line.first = next;
            line.started = false;
            if next == NONE {
                state.empty_line(direction);
            }
            return;
        }
        let mut before = line.first;
        while next_of(before) != index {
            before = next_of(before);
        }
        self.core.slot(before).links.next.store(next, Ordering::Relaxed);
        if line.last == index {
            line.last = before;
        }
    }

    /// Starts what came first in its direction.
    pub(super) fn advance(&mut self, entry: &Entry, state: &mut State) {
        for direction in Direction::BOTH {
            loop {
                let line = state.line(direction);
                if line.first == NONE || line.started {
                    break;
                }
                line.started = true;
                let first = line.first;
                self.start(entry, state, first);
            }
        }
        self.finish_close(state);
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
        job.body = Body::None;
        job.stage = Stage::Free;
        job.generation = job.generation.wrapping_add(1) & 0x00ff_ffff;
        drop(job);
        if let Some(seat) = seat {
            self.core.timers(seat).remove(token.to_bits());
        }
        self.unlink(state, index);
        if let Some(direction) = Direction::of(kind) {
            self.leave_line(state, direction, index);
        }
        let result = result.map_err(|error| match ended {
            Some(reason) => Error::with_code(reason, error.code().unwrap_or(0), kind),
            None => error,
        });
        let completion = Completion { handle, key: 0, token, kind, result, payload, last: true };
        self.pass(state, completion);
        self.core.slots.give_back(index);
        self.core.operations.fetch_sub(1, Ordering::Relaxed);
        state.pending -= 1;
        if let Some(Borrowed { handle, file, .. }) = file {
            drop(file);
            self.desk.returned.push(handle);
        }
    }

    /// As [`Turn::complete`], with what the slot owns as the payload.
    pub(super) fn complete_with_body(&mut self, state: &mut State, index: u32, result: Result<u64, Error>) {
        let body = std::mem::take(&mut self.core.slot(index).job().body);
        self.complete(state, index, result, body.into_payload());
    }

    /// Ends an operation that was asked to end and is nowhere under way.
    pub(super) fn complete_ended(&mut self, state: &mut State, index: u32) {
        let kind = self.core.slot(index).job().kind;
        self.complete_with_body(state, index, Err(Error::new(ErrorKind::Cancelled, kind)));
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
