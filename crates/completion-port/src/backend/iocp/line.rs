//! The lines of a handle: what was submitted first starts first and completes first.
//!
//! With a depth above one, several calls of a direction are posted at once, in the order of submission. Their packets can be taken by
//! different workers, and so come to the handle in another order: what comes early is held until those before it are in.

use super::{
    datagram::is_for_datagrams,
    handle::{Entry, Object, State},
    slot::{Body, Job, NONE, Stage},
    turn::Turn,
    winsock::{MAXIMUM_BYTES, VECTORS},
};
use crate::{counters::SystemCall, direction::Direction, error::Error, operation::OperationKind, tally};
use std::sync::atomic::Ordering;
use windows_sys::Win32::System::IO::CancelIoEx;

impl Turn<'_> {
    fn next_of(&self, index: u32) -> u32 {
        self.core.slot(index).links.next.load(Ordering::Relaxed)
    }

    /// Stands the operation in line behind others of its direction.
    pub(super) fn stand_in_line(&mut self, state: &mut State, direction: Direction, index: u32) {
        let line = state.line(direction);
        let last = std::mem::replace(&mut line.last, index);
        if line.waiting == NONE {
            line.waiting = index;
        }
        if last == NONE {
            line.first = index;
        } else {
            self.core.slot(last).links.next.store(index, Ordering::Relaxed);
        }
    }

    pub(super) fn leave_line(&mut self, state: &mut State, direction: Direction, index: u32, started: bool) {
        let next = self.next_of(index);
        let line = state.line(direction);
        line.started -= u32::from(started);
        if line.waiting == index {
            line.waiting = next;
        }
        let mut before = NONE;
        if line.first == index {
            line.first = next;
        } else {
            before = line.first;
            while self.next_of(before) != index {
                before = self.next_of(before);
            }
            self.core.slot(before).links.next.store(next, Ordering::Relaxed);
        }
        if line.last == index {
            line.last = before;
        }
    }

    /// Starts what is in front in its direction: one, or as many as may be under way at once.
    pub(super) fn advance(&mut self, entry: &Entry, state: &mut State) {
        for direction in Direction::BOTH {
            loop {
                let line = *state.line(direction);
                if line.waiting == NONE {
                    break;
                }
                let shares = shares(state, &self.core.slot(line.waiting).job());
                if line.started > 0 && (line.alone || !shares || line.started >= self.depth(direction)) {
                    break;
                }
                let place = state.line(direction);
                place.waiting = self.next_of(line.waiting);
                place.started += 1;
                place.alone = !shares;
                self.core.slot(line.waiting).job().started = true;
                self.start(entry, state, line.waiting);
            }
        }
        self.finish_close(state);
    }

    fn depth(&self, direction: Direction) -> u32 {
        let configuration = &self.shared.configuration;
        let depth = match direction {
            Direction::Receive => configuration.receives_outstanding,
            Direction::Send => configuration.sends_outstanding,
        };
        depth as u32
    }

    /// Ends an operation with what its slot owns as the payload. One that came before another that was submitted earlier is held until that is in.
    pub(super) fn complete_with_body(&mut self, state: &mut State, index: u32, result: Result<u64, Error>) {
        let mut job = self.core.slot(index).job();
        let direction = Direction::of(job.kind);
        let result = job.ruined.map_or(result, Err);
        // Nothing was transferred by what was cancelled: it completes out of its turn, as one that had not been started.
        let cancelled = job.ended.is_some() && result.is_err();
        if let Some(direction) = direction
            && job.started
            && !cancelled
            && state.line(direction).first != index
        {
            job.stage = Stage::Held;
            job.outcome = Some(result);
            return;
        }
        drop(job);
        self.finish(state, index, result);
        while let Some(direction) = direction {
            let first = state.line(direction).first;
            if first == NONE {
                return;
            }
            let Some(held) = self.core.slot(first).job().outcome.take() else { return };
            self.finish(state, first, held);
        }
    }

    fn finish(&mut self, state: &mut State, index: u32, result: Result<u64, Error>) {
        let mut job = self.core.slot(index).job();
        let payload = match (std::mem::take(&mut job.body), &job.scratch) {
            (Body::Buffer(buffer), Some(scratch)) if result.is_ok() && is_for_datagrams(job.kind) => {
                // SAFETY: the operation has come home: the kernel does not have the block any more.
                unsafe { Self::datagram(job.kind, scratch, buffer) }
            }
            (body, _) => body.into_payload(),
        };
        drop(job);
        self.complete(state, index, result, payload);
    }

    /// Whether another that was submitted later is under way.
    pub(super) fn has_followers(&self, state: &mut State, index: u32, kind: OperationKind) -> bool {
        let next = self.next_of(index);
        Direction::of(kind).is_some_and(|direction| next != state.line(direction).waiting)
    }

    /// A send on a connection failed. Those that are under way behind it leave a hole in the stream of bytes: they fail too.
    pub(super) fn ruin_followers(&mut self, state: &mut State, index: u32, error: Error) {
        let waiting = state.line(Direction::Send).waiting;
        let mut next = self.next_of(index);
        while next != waiting {
            let slot = self.core.slot(next);
            next = self.next_of(next);
            let mut job = slot.job();
            job.ruined = Some(error);
            if let Some(outcome) = &mut job.outcome {
                *outcome = Err(error);
            } else if job.stage == Stage::Kernel {
                tally::call(SystemCall::Cancel);
                // SAFETY: the handle is open until its operations have come home; the OVERLAPPED only names the operation.
                unsafe { CancelIoEx(state.raw(), slot.overlapped()) };
            }
        }
    }
}

/// Whether the operation can be under way beside others of its direction: it is one call of the system.
fn shares(state: &State, job: &Job) -> bool {
    if !matches!(state.object, Object::Socket(_) | Object::Datagrams(_)) {
        return false;
    }
    match (job.kind, &job.body) {
        (
            OperationKind::Receive
            | OperationKind::ReceiveScatter
            | OperationKind::ReceiveFrom
            | OperationKind::ReceiveMessage
            | OperationKind::SendTo
            | OperationKind::SendMessage,
            _,
        ) => true,
        (OperationKind::Send, Body::Chain(chain)) => {
            chain.slices().len() <= VECTORS && chain.len() <= MAXIMUM_BYTES as u64
        }
        _ => false,
    }
}
