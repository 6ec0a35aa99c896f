//! Operations on files: done by the code of the other backends, in steps at virtual times, with faults.

use crate::{
    error::Error,
    operation::OperationKind,
    pool::{Task, Yielded},
    simulation::state::State,
};
use std::{io, os::unix::fs::FileExt};

/// A task on its way.
pub(super) struct Pending {
    task: Task,
    /// Bytes read or written so far.
    transferred: u64,
    failed: Option<io::Error>,
}

/// What the seed has in store for a step.
pub(super) struct Fate {
    error: bool,
    full: bool,
    /// The part of a transfer that comes about, of 1.0; at least a byte.
    part: f64,
}

impl Fate {
    pub(super) fn draw(state: &mut State) -> Self {
        let State { random, faults, .. } = state;
        let part = if random.chance(faults.short_transfers) { random.fraction() } else { 1.0 };
        Self { error: random.chance(faults.disk_errors), full: random.chance(faults.disk_full), part }
    }

    fn shorten(&self, bytes: usize) -> usize {
        ((bytes as f64 * self.part) as usize).max(1)
    }
}

/// What is left of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Again,
    /// [`Pending::finish`] is next.
    Last,
}

impl Pending {
    pub(super) fn new(task: Task) -> Self {
        Self { task, transferred: 0, failed: None }
    }

    /// The task, which does not go on.
    pub(super) fn into_task(self) -> Task {
        self.task
    }

    /// Does one step. Reads and writes transfer a part; all else is done by the last step.
    pub(super) fn step(&mut self, fate: Fate) -> Step {
        match self.transfer(&fate) {
            Ok(step) => step,
            Err(error) => {
                self.failed = Some(error);
                Step::Last
            }
        }
    }

    fn transfer(&mut self, fate: &Fate) -> io::Result<Step> {
        let broken = || io::Error::from_raw_os_error(libc::EIO);
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        match &mut self.task {
            Task::ReadAt { .. } | Task::Sync { .. } if fate.error => Err(broken()),
            Task::WriteAt { .. } | Task::Append { .. } if fate.error => Err(broken()),
            Task::WriteAt { .. } | Task::Append { .. } | Task::Link { .. } if fate.full => Err(full()),
            Task::ReadAt { file, offset, buffer } => {
                let most = fate.shorten(buffer.spare_capacity());
                let read = file.read_at(&mut buffer.spare_mut()[..most], *offset + self.transferred)?;
                buffer.advance(read);
                self.transferred += read as u64;
                let over = read == 0 || buffer.spare_capacity() == 0;
                Ok(if over { Step::Last } else { Step::Again })
            }
            Task::WriteAt { file, offset, chain } => {
                let Some(piece) = chain.pieces_from(self.transferred).next() else { return Ok(Step::Last) };
                let piece = &piece[..fate.shorten(piece.len())];
                self.transferred += file.write_at(piece, *offset + self.transferred)? as u64;
                Ok(if self.transferred == chain.len() { Step::Last } else { Step::Again })
            }
            _ => Ok(Step::Last),
        }
    }

    /// Brings the task to its end.
    pub(super) fn finish(self) -> (Result<u64, Error>, Yielded) {
        let kind = match &self.task {
            Task::ReadAt { .. } => Some(OperationKind::ReadAt),
            Task::WriteAt { .. } => Some(OperationKind::WriteAt),
            Task::Append { .. } => Some(OperationKind::Append),
            Task::Sync { .. } => Some(OperationKind::Sync),
            Task::Link { .. } => Some(OperationKind::Link),
            _ => None,
        };
        match (kind, self.failed) {
            (Some(kind), Some(error)) => {
                (Err(Error::from_io(&error, kind)), Yielded::Payload(self.task.into_payload()))
            }
            (Some(OperationKind::ReadAt | OperationKind::WriteAt), None) => {
                (Ok(self.transferred), Yielded::Payload(self.task.into_payload()))
            }
            _ => self.task.run(),
        }
    }
}
