//! Waiting: gates left, packets taken, completions handed out.

use super::{handle::Entry, system::WAKE_KEY, turn::Turn};
use crate::{
    completion::{Completion, Payload},
    error::Error,
    gate::Gate,
    identity::Handle,
    operation::OperationKind,
    queue::Queue,
    shutdown::Phase,
};
use std::{sync::atomic::Ordering, time::Duration};

/// How long a worker sleeps at most while something is wanted that no packet announces: a socket for AcceptEx when the
/// system had none.
const NAP: Duration = Duration::from_millis(100);

/// The same while the port shuts down, when all workers have to agree that nothing is in flight.
const SHUTDOWN_NAP: Duration = Duration::from_millis(20);

impl Turn<'_> {
    pub(super) fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        self.leave_gates();
        let until = timeout.map(|timeout| self.shared.now().saturating_add(timeout));
        loop {
            self.feed();
            self.feed_listeners();
            self.adopt();
            self.follow_phase();
            // What is ready must not keep the kernel's queue from being looked at, or busy handles starve the others.
            let sleep = if self.desk.ready.is_empty() { self.nap(until) } else { Some(Duration::ZERO) };
            if self.desk.ready.len() < limit {
                self.take_packets(limit, sleep)?;
            }
            self.desk.now = self.shared.now();
            self.expire();
            self.shared.queues[self.core.queue as usize]
                .set_in_flight(self.core.in_flight.load(Ordering::Relaxed));
            if self.hand_out(completions, limit) > 0 || until.is_some_and(|until| until <= self.desk.now) {
                return Ok(());
            }
        }
    }

    /// Done with what the last wait handed out: others may have the handles, and streams go on.
    pub(super) fn leave_gates(&mut self) {
        if self.desk.delivered > 0 {
            self.core.in_flight.fetch_sub(std::mem::take(&mut self.desk.delivered), Ordering::AcqRel);
        }
        let mut held = std::mem::take(&mut self.desk.held);
        for handle in held.drain(..) {
            self.leave_gate(handle);
        }
        self.desk.held = held;
    }

    pub(super) fn leave_gate(&mut self, handle: Handle) {
        let Some(entry) = self.core.handles.get(handle.index()) else { return };
        let mut state = entry.lock();
        if state.generation == handle.generation() {
            state.gate.leave(self.desk.seat, &mut self.desk.ready);
            self.resume(entry, &mut state);
            self.advance(entry, &mut state);
            self.release(&mut state);
        }
        drop(state);
        self.settle();
    }

    /// How long to sleep at most. None is without limit.
    fn nap(&self, until: Option<Duration>) -> Option<Duration> {
        let now = self.shared.now();
        let next = self.core.clocks(self.desk.seat).filter_map(|seat| self.core.timers(seat).next()).min();
        let mut sleep = match (until, next) {
            (Some(until), Some(next)) => Some(until.min(next)),
            (until, next) => until.or(next),
        }
        .map(|until| until.saturating_sub(now));
        let mut shorten = |to: Duration| sleep = Some(sleep.map_or(to, |sleep| sleep.min(to)));
        if !self.core.hungry.is_empty() || !self.core.starving.is_empty() || self.sweep_listeners() {
            shorten(NAP);
        }
        if self.shared.phase.get() != Phase::Running {
            shorten(SHUTDOWN_NAP);
        }
        sleep
    }

    pub(super) fn take_packets(&mut self, limit: usize, sleep: Option<Duration>) -> Result<(), Error> {
        let room = limit.saturating_sub(self.desk.ready.len()).clamp(1, self.desk.entries.len());
        let seat = &self.core.seats[self.desk.seat as usize];
        seat.asleep.store(true, Ordering::SeqCst);
        // Pairs with the look at `asleep` in `follow_phase`: either the others see that this worker sleeps and wake it, or it sees
        // the phase here.
        let behind = self.shared.phase.get() != Phase::Running && !seat.told_draining.load(Ordering::SeqCst);
        let sleep = if behind { Some(Duration::ZERO) } else { sleep };
        let taken = self.core.port.take(&mut self.desk.entries[..room], sleep);
        seat.asleep.store(false, Ordering::SeqCst);
        let mut woken = self.core.port.has_missed_a_wake();
        for place in 0..taken? {
            let packet = self.desk.entries[place];
            woken |= packet.lpOverlapped.is_null() && packet.lpCompletionKey == WAKE_KEY;
            self.take_packet(&packet);
        }
        if woken {
            self.read_inbox(limit);
        }
        Ok(())
    }

    /// Takes in what other threads left: packets, finished tasks, handles to close.
    pub(super) fn read_inbox(&mut self, limit: usize) {
        let queue = &self.shared.queues[self.core.queue as usize];
        // The wake was taken from the port: what is left in the inbox from here on needs another.
        queue.prepare_to_sleep();
        if self.shared.phase.get() != Phase::Running {
            self.shared.end_rest(self.core.queue as usize);
        }
        // Whatever is being taken out counts as in flight, or another worker might see the queue at rest meanwhile.
        self.core.in_flight.fetch_add(1, Ordering::SeqCst);
        self.take_inbox(queue, limit);
        self.core.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    fn take_inbox(&mut self, queue: &Queue, limit: usize) {
        // The lists keep their memory for the next time.
        let (mut packets, mut finished, mut closes) = std::mem::take(&mut self.desk.mail);
        queue.take_mail(&mut finished, &mut closes);
        queue.take_packets(limit, &mut packets);
        finished.drain(..).for_each(|task| self.finish_task(task));
        for handle in closes.drain(..) {
            self.close(handle);
        }
        if !queue.is_idle() {
            queue.wake_always();
        }
        for packet in packets.drain(..) {
            self.tell(OperationKind::Post, packet.key, Payload::Packet(packet));
        }
        self.desk.mail = (packets, finished, closes);
    }

    /// A close is handed out: nothing follows it that a gate would have to keep in order.
    fn forget(&mut self, entry: &Entry) {
        let mut state = entry.lock();
        state.gate = Gate::default();
        self.release(&mut state);
    }

    fn hand_out(&mut self, completions: &mut Vec<Completion>, limit: usize) -> usize {
        let count = self.desk.ready.len().min(limit);
        for _ in 0..count {
            let Some(mut completion) = self.desk.ready.pop_front() else { break };
            if completion.handle != Handle::NONE
                && let Some(entry) = self.core.handles.get(completion.handle.index())
            {
                completion.key = entry.key();
                if completion.kind == OperationKind::Close {
                    self.forget(entry);
                } else {
                    self.desk.held.push(completion.handle);
                }
            }
            completions.push(completion);
        }
        self.desk.delivered += count;
        count
    }
}
