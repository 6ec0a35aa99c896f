//! The end: of a port's work, and of a worker.

use super::{
    Estate,
    slot::{Body, NONE, Stage},
    turn::Turn,
};
use crate::{
    completion::{Completion, Payload},
    direction::Direction,
    error::ErrorKind,
    identity::{Handle, Token},
    operation::OperationKind,
    shutdown::Phase,
    sync::lock,
};
use std::{
    collections::VecDeque,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// How long the last worker of a queue waits for what is in flight.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

impl Turn<'_> {
    /// Does what the phase of the port asks for, and tells the program.
    pub(super) fn follow_phase(&mut self) {
        let phase = self.shared.phase.get();
        if phase == Phase::Running {
            return;
        }
        if !self.core.draining_begun.swap(true, Ordering::SeqCst) {
            self.end_accepts();
        }
        if phase == Phase::Cancelling && !self.core.cancelling_begun.swap(true, Ordering::SeqCst) {
            self.end_all();
        }
        let core = self.core;
        let seat = &core.seats[self.desk.seat as usize];
        if !seat.told_draining.swap(true, Ordering::SeqCst) {
            self.tell(OperationKind::Draining, 0, Payload::None);
        }
        // A worker may have taken the wake that was meant for another, who sleeps without limit. The nap lets that one
        // have the next: while this thread runs, the kernel may hold the other back.
        let untold = |seat: &super::Seat| !seat.told_draining.load(Ordering::SeqCst);
        if core.others(self.desk.seat).any(|other| other.asleep.load(Ordering::SeqCst) && untold(other)) {
            self.shared.queues[core.queue as usize].wake_always();
            std::thread::sleep(Duration::from_millis(1));
        }
        let at_rest = !seat.told_shutdown.load(Ordering::SeqCst)
            && self.desk.ready.is_empty()
            && core.in_flight.load(Ordering::SeqCst) == 0
            && self.shared.queues[core.queue as usize].is_idle()
            && !core.others(self.desk.seat).any(untold);
        if at_rest
            && self.shared.begin_rest(core.queue as usize)
            && !seat.told_shutdown.swap(true, Ordering::SeqCst)
        {
            self.tell(OperationKind::Shutdown, 0, Payload::None);
        }
    }

    /// Ends an operation that slipped in while the phase changed.
    pub(super) fn follow_phase_for(&mut self, token: Token) {
        let accepts = |kind| matches!(kind, OperationKind::Accept | OperationKind::AcceptStream);
        let end = match self.shared.phase.get() {
            Phase::Running => false,
            Phase::Draining => accepts(self.core.slot(token.index()).job().kind),
            Phase::Cancelling => true,
        };
        if end {
            self.cancel(token, ErrorKind::Cancelled);
        }
    }

    fn end_accepts(&mut self) {
        for entry in self.core.handles.iter() {
            let mut state = entry.lock();
            loop {
                let first = state.line(Direction::Receive).first;
                if first == NONE {
                    break;
                }
                let job = self.core.slot(first).job();
                let accepts = matches!(job.kind, OperationKind::Accept | OperationKind::AcceptStream);
                let over = job.ended.is_some();
                drop(job);
                if !accepts || over {
                    break;
                }
                self.end(&mut state, first, ErrorKind::Cancelled);
                if state.line(Direction::Receive).first == first {
                    // Its calls have to come home first; those behind it end when they start.
                    break;
                }
            }
            self.advance(entry, &mut state);
            drop(state);
            self.settle();
        }
    }

    /// Asks for the end of everything that the program has in flight.
    fn end_all(&mut self) {
        // What waits behind others first: the end of those would begin it, and a peer would get the bytes of one answer behind
        // the stump of another.
        for waiting in [true, false] {
            for slot in self.core.slots.iter() {
                let job = slot.job();
                let (token, stage) = (job.token(self.core.queue, slot.index), job.stage);
                let internal = matches!(job.body, Body::Call { .. } | Body::Reuse(_));
                drop(job);
                if stage != Stage::Free && !internal && (stage == Stage::Waiting || !waiting) {
                    self.cancel(token, ErrorKind::Cancelled);
                }
            }
        }
    }

    /// The worker goes. Returns how many operations did not come home.
    pub(super) fn leave(&mut self, discarded: &mut Vec<Completion>) -> usize {
        let core = self.core;
        // One at a time: who leaves later finds what was left to it.
        let _leaving = lock(&core.leaving);
        self.leave_gates();
        core.seats[self.desk.seat as usize].taken.store(false, Ordering::SeqCst);
        let last = core.others(self.desk.seat).next().is_none();
        let left = if last {
            self.bring_home(discarded)
        } else {
            self.bequeath();
            0
        };
        let in_flight = core.in_flight.load(Ordering::Relaxed);
        self.shared.queues[core.queue as usize].set_in_flight(in_flight);
        left
    }

    /// Leaves to the other workers what this one had for itself.
    fn bequeath(&mut self) {
        let core = self.core;
        let mut estate = Estate::default();
        {
            let mut timers = core.timers(self.desk.seat);
            while let Some(deadline) = timers.next() {
                let Some(token) = timers.pop(deadline) else { break };
                estate.timers.push((deadline, token));
            }
        }
        for _ in self.give_away_ready(&mut estate) {
            core.in_flight.fetch_sub(1, Ordering::AcqRel);
        }
        self.leave_estate(estate);
    }

    /// Puts into `estate` what this worker was to hand out next. Returns what is meant for this worker and nobody else.
    pub(super) fn give_away_ready(&mut self, estate: &mut Estate) -> VecDeque<Completion> {
        let mut own = VecDeque::new();
        while let Some(completion) = self.desk.ready.pop_back() {
            match completion.kind {
                OperationKind::Draining | OperationKind::Shutdown => own.push_front(completion),
                _ if completion.handle == Handle::NONE => estate.completions.push_front(completion),
                _ => {
                    let handle = completion.handle;
                    if let Some(entry) = self.find(handle) {
                        entry.lock().gate.give_back(self.desk.seat, completion);
                        estate.handles.push(handle);
                    }
                }
            }
        }
        own
    }

    pub(super) fn leave_estate(&mut self, estate: Estate) {
        if estate.is_empty() {
            return;
        }
        self.core.estate().merge(estate);
        self.core.has_estate.store(true, Ordering::SeqCst);
        self.shared.queues[self.core.queue as usize].wake_always();
    }

    /// Takes over what a leaving worker left.
    pub(super) fn adopt(&mut self) {
        let core = self.core;
        if !core.has_estate.load(Ordering::Relaxed) || !core.has_estate.swap(false, Ordering::SeqCst) {
            return;
        }
        let estate = std::mem::take(&mut *core.estate());
        self.desk.ready.extend(estate.completions);
        for (deadline, token) in estate.timers {
            let Some(slot) = core.slots.get(token.index()) else { continue };
            let Some(entry) = self.find(slot.owner()) else { continue };
            let _state = entry.lock();
            if self.is_current(token) {
                slot.job().deadline_at = Some(self.desk.seat);
                core.timers(self.desk.seat).set(token, deadline);
            }
        }
        for handle in estate.handles {
            if let Some(entry) = self.find(handle) {
                let mut state = entry.lock();
                if state.generation == handle.generation() {
                    state.gate.take_over(self.desk.seat, &mut self.desk.ready);
                }
            }
        }
    }

    /// The last worker: ends everything, closes the handles, and waits until the kernel and the pool have given back what they have.
    fn bring_home(&mut self, discarded: &mut Vec<Completion>) -> usize {
        let until = Instant::now() + DRAIN_LIMIT;
        self.adopt();
        self.end_all();
        loop {
            self.close_all();
            self.end_reuse();
            self.discard(discarded);
            let left = self.core.slots.iter().filter(|slot| slot.job().stage != Stage::Free).count();
            if left == 0 || Instant::now() >= until {
                return left;
            }
            if self.take_packets(self.shared.configuration.batch, Some(Duration::from_millis(20))).is_err() {
                return left;
            }
        }
    }

    fn close_all(&mut self) {
        for entry in self.core.handles.iter() {
            let mut state = entry.lock();
            if !state.closed && !state.closing {
                self.begin_close(&mut state, NONE);
            }
            self.advance(entry, &mut state);
            drop(state);
            self.settle();
        }
    }

    /// Puts aside the completions that nobody will wait for.
    fn discard(&mut self, discarded: &mut Vec<Completion>) {
        while let Some(completion) = self.desk.ready.pop_front() {
            self.core.in_flight.fetch_sub(1, Ordering::AcqRel);
            let handle = completion.handle;
            discarded.push(completion);
            if handle != Handle::NONE {
                self.leave_gate(handle);
            }
        }
    }
}
