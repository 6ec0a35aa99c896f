//! Work that may block, on a worker's own thread: the kernel wakes another for what the queue has.

use super::{
    Estate,
    slot::{Body, Stage},
    turn::Turn,
};
use crate::{
    completion::Rejected,
    identity::{Handle, Token},
    operation::{Operation, Work},
    pool::{Finished, Task, dispose},
};
use std::sync::atomic::Ordering;

impl Turn<'_> {
    #[allow(
        clippy::result_large_err,
        reason = "the operation comes back with its buffers, without an allocation"
    )]
    pub(super) fn blocking(&mut self, handle: Handle, work: Work) -> Result<Token, Rejected> {
        let core = self.core;
        // Somebody has to be left who serves the queue.
        let workers = core.others(self.desk.seat).count() + 1;
        let in_place = core.blocked.fetch_add(1, Ordering::SeqCst) + 1 < workers;
        let submitted = self.submit_for(handle, Operation::Call { work }, None, in_place);
        if in_place && let Ok(token) = submitted {
            self.run_in_place(token);
        }
        core.blocked.fetch_sub(1, Ordering::SeqCst);
        submitted
    }

    fn run_in_place(&mut self, token: Token) {
        let slot = self.core.slot(token.index());
        let mut job = slot.job();
        if job.generation != token.generation() || job.stage != Stage::Pool {
            return;
        }
        let (body, ended) = (std::mem::take(&mut job.body), job.ended);
        drop(job);
        let Body::Work(work) = body else { return };
        let task = Task::Call { work };
        if ended.is_some() {
            // The port began to cancel everything as it was submitted.
            let entry = self.find(slot.owner());
            if let Some(entry) = entry {
                let mut state = entry.lock();
                self.complete_ended(&mut state, token.index());
                self.advance(entry, &mut state);
            }
            return dispose(task);
        }
        self.entrust_to_others();
        let (result, yielded) = task.run();
        self.core.seats[self.desk.seat as usize].blocked.store(false, Ordering::SeqCst);
        self.finish_task(Finished { token, result, yielded });
    }

    /// Leaves to the other workers what this one would have done at its next wait.
    fn entrust_to_others(&mut self) {
        let seat = self.desk.seat;
        self.core.seats[seat as usize].blocked.store(true, Ordering::SeqCst);
        let mut estate = Estate::default();
        self.desk.ready = self.give_away_ready(&mut estate);
        self.leave_estate(estate);
        if self.core.timers(seat).next().is_some() {
            // Whoever sleeps has not counted on them.
            self.shared.queues[self.core.queue as usize].wake_always();
        }
    }
}
