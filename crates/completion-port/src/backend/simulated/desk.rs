//! A worker's place at its queue, and how completions get there: through the gate of their handle.

use super::{Books, Gate};
use crate::{
    completion::{Completion, Payload},
    identity::{Handle, Token},
    operation::OperationKind,
};
use std::{collections::VecDeque, thread::ThreadId};

/// What a worker has for itself.
pub(super) struct Desk {
    ready: VecDeque<Completion>,
    /// The handles of what the last wait handed out: one for each completion.
    held: Vec<Handle>,
    told_draining: bool,
    told_shutdown: bool,
    asleep: bool,
    thread: ThreadId,
}

impl Desk {
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many more completions a wait would hand out.
    pub(super) fn room(&self, limit: usize) -> usize {
        limit.saturating_sub(self.ready.len())
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.asleep
    }

    pub(super) fn set_asleep(&mut self, asleep: bool) {
        self.asleep = asleep;
    }
}

impl Books {
    pub(super) fn desk(&mut self, seat: usize) -> &mut Desk {
        self.desks[seat].as_mut().expect("a worker has its desk until it leaves")
    }

    /// Gives a new worker a desk.
    pub(super) fn sit_down(&mut self) -> usize {
        let seat = self.desks.iter().position(Option::is_none).unwrap_or(self.desks.len());
        if seat == self.desks.len() {
            self.desks.push(None);
        }
        let thread = std::thread::current().id();
        self.desks[seat] = Some(Desk {
            ready: VecDeque::new(),
            held: Vec::new(),
            told_draining: false,
            told_shutdown: false,
            asleep: false,
            thread,
        });
        let (engine, _) = self.local.parts();
        engine.world.lock().kernel_mut(engine.kernel()).threads.push(thread);
        seat
    }

    /// Sends what the books completed through the gate of its handle.
    pub(super) fn route(&mut self, seat: usize, completion: Completion) {
        match (completion.kind, completion.handle) {
            (OperationKind::Draining, _) => self.draining = true,
            (OperationKind::Shutdown, _) => self.shutdown = true,
            (_, Handle::NONE) => self.desk(seat).ready.push_back(completion),
            (_, handle) => {
                let desk = self.desks[seat].as_mut().expect("a worker has its desk until it leaves");
                self.gates.entry(handle).or_default().enter(seat as u32, completion, &mut desk.ready);
            }
        }
    }

    /// Takes over the gates that a worker left behind.
    pub(super) fn pick_up_abandoned(&mut self, seat: usize) {
        for handle in std::mem::take(&mut self.abandoned) {
            let desk = self.desks[seat].as_mut().expect("a worker has its desk until it leaves");
            if let Some(gate) = self.gates.get_mut(&handle) {
                gate.take_over(seat as u32, &mut desk.ready);
            }
        }
    }

    /// Something is on its way to a worker, or in the hands of one.
    pub(super) fn is_in_hands(&self) -> bool {
        let idle = |desk: &Desk| desk.ready.is_empty() && desk.held.is_empty();
        !(self.loose.is_empty()
            && self.gates.values().all(Gate::is_free)
            && self.desks.iter().flatten().all(idle))
    }

    /// Nothing is in flight, on its way to a worker, or in the hands of one.
    fn is_at_rest(&self) -> bool {
        self.local.is_at_rest() && !self.is_in_hands()
    }

    /// Which packets the port's end has for a worker now.
    fn packets_for(&self, seat: usize) -> [Option<OperationKind>; 2] {
        let Some(desk) = &self.desks[seat] else { return [None; 2] };
        let draining = self.draining && !desk.told_draining;
        let told = self.desks.iter().flatten().all(|desk| desk.told_draining);
        let shutdown = self.shutdown && !desk.told_shutdown && told && self.is_at_rest();
        [draining.then_some(OperationKind::Draining), shutdown.then_some(OperationKind::Shutdown)]
    }

    pub(super) fn has_packet_for(&self, seat: usize) -> bool {
        self.packets_for(seat).iter().any(Option::is_some)
    }

    pub(super) fn tell_packets(&mut self, seat: usize) {
        for kind in self.packets_for(seat).into_iter().flatten() {
            let desk = self.desk(seat);
            match kind {
                OperationKind::Draining => desk.told_draining = true,
                _ => desk.told_shutdown = true,
            }
            desk.ready.push_back(Completion {
                handle: Handle::NONE,
                key: 0,
                token: Token::NONE,
                kind,
                result: Ok(0),
                payload: Payload::None,
                last: true,
            });
        }
    }

    /// Whether the worker's next wait lets others go on: it holds what they wait for, or the end waits for it.
    pub(super) fn would_free(&self, seat: usize) -> bool {
        let Some(desk) = &self.desks[seat] else { return false };
        let parked = |handle| self.gates.get(handle).is_some_and(Gate::has_parked);
        !desk.held.is_empty() && (self.draining || desk.held.iter().any(parked))
    }

    /// The worker is done with what its last wait handed out.
    pub(super) fn leave_gates(&mut self, seat: usize) {
        let desk = self.desks[seat].as_mut().expect("a worker has its desk until it leaves");
        for handle in desk.held.drain(..) {
            self.checks.released(seat, handle);
            if let Some(gate) = self.gates.get_mut(&handle) {
                gate.leave(seat as u32, &mut desk.ready);
                if gate.is_free() {
                    self.gates.remove(&handle);
                }
            }
        }
    }

    pub(super) fn hand_out(&mut self, seat: usize, completions: &mut Vec<Completion>, limit: usize) -> usize {
        let Self { desks, checks, local, gates, .. } = self;
        let desk = desks[seat].as_mut().expect("a worker has its desk until it leaves");
        let count = desk.ready.len().min(limit);
        for mut completion in desk.ready.drain(..count) {
            // The one that is set now.
            completion.key = local.key(completion.handle).unwrap_or(completion.key);
            checks.delivered(seat, &completion, &mut local.parts().0.digests);
            match completion.kind {
                // Nothing follows it that a gate would have to keep in order.
                OperationKind::Close => drop(gates.remove(&completion.handle)),
                _ if completion.handle == Handle::NONE => {}
                _ => desk.held.push(completion.handle),
            }
            completions.push(completion);
        }
        count
    }

    /// The worker leaves: what it did not hand out goes to the others.
    pub(super) fn stand_up(&mut self, seat: usize) {
        self.leave_gates(seat);
        let Some(mut desk) = self.desks[seat].take() else { return };
        while let Some(completion) = desk.ready.pop_back() {
            match (completion.kind, completion.handle) {
                (OperationKind::Draining | OperationKind::Shutdown, _) => {}
                (_, Handle::NONE) => self.loose.insert(0, completion),
                (_, handle) => {
                    self.gates.entry(handle).or_default().give_back(seat as u32, completion);
                    self.abandoned.push(handle);
                }
            }
        }
        self.abandoned.dedup();
        let (engine, _) = self.local.parts();
        let mut state = engine.world.lock();
        let threads = &mut state.kernel_mut(engine.kernel()).threads;
        if let Some(place) = threads.iter().position(|thread| *thread == desk.thread) {
            threads.swap_remove(place);
        }
    }

    /// The last worker left: brings home what is in flight. How much did not come.
    pub(super) fn discard(&mut self, discarded: &mut Vec<Completion>) -> usize {
        use super::super::Driver;
        let begun = discarded.len();
        discarded.append(&mut self.loose);
        for gate in std::mem::take(&mut self.gates).into_values() {
            discarded.extend(gate.into_parked());
        }
        let left = self.local.drain(discarded);
        for completion in &discarded[begun..] {
            self.checks.delivered(0, completion, &mut self.local.parts().0.digests);
            self.checks.released(0, completion.handle);
        }
        self.checks.ended();
        left
    }
}
