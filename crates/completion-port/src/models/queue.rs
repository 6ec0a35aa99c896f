//! What other threads leave in a queue's inbox reaches its worker, however that falls asleep.

use super::{Bell, check, check_needs_its_fences};
use crate::{
    buffer::Wake,
    completion::{Packet, Payload},
    identity::{Handle, Token},
    pool::{Finished, Reply, Yielded},
    queue::Queue,
    shutdown::{Phase, PhaseCell},
};
use loom::thread;
use std::sync::Arc;

struct Rig {
    queue: Queue,
    bell: Arc<Bell>,
    phase: PhaseCell,
}

impl Rig {
    fn new(bell: Arc<Bell>) -> Arc<Self> {
        let rig = Self::without_waker(bell);
        rig.introduce();
        rig
    }

    fn without_waker(bell: Arc<Bell>) -> Arc<Self> {
        Arc::new(Self { queue: Queue::new(8), bell, phase: PhaseCell::default() })
    }

    fn introduce(&self) {
        self.queue.set_waker(Arc::clone(&self.bell) as Arc<dyn Wake>);
    }

    fn post(&self, value: u64) {
        self.queue.post(Packet { value, ..Packet::default() }).unwrap();
    }

    fn finish(&self) {
        self.queue.finish(Finished {
            token: Token::NONE,
            result: Ok(0),
            yielded: Yielded::Payload(Payload::None),
        });
    }

    /// As `Port::shutdown` moves the phase on.
    fn begin(&self, phase: Phase) {
        if self.phase.advance(phase) {
            self.queue.wake_always();
        }
    }

    /// Takes out what is in the inbox; how much.
    fn take(&self, limit: usize) -> usize {
        let (mut packets, mut finished, mut closes) = (Vec::new(), Vec::new(), Vec::new());
        self.queue.take_mail(&mut finished, &mut closes);
        self.queue.take_packets(limit, &mut packets);
        packets.len() + finished.len() + closes.len()
    }

    /// As the worker of a queue of its own: look, say that it is about to sleep, look again, sleep.
    fn work_until(&self, done: impl Fn(usize) -> bool) {
        let mut taken = 0;
        loop {
            taken += self.take(usize::MAX);
            if done(taken) {
                return;
            }
            if self.queue.prepare_to_sleep() {
                self.bell.sleep();
            }
            self.queue.awake();
        }
    }

    /// As a worker of IOCP: a wake is a packet of the port, and only with one the inbox is read.
    fn serve(&self, limit: usize) -> usize {
        self.bell.sleep();
        self.queue.prepare_to_sleep();
        let taken = self.take(limit);
        if taken >= limit && !self.queue.is_idle() {
            self.queue.wake_always();
        }
        taken
    }
}

fn spawn(rig: &Arc<Rig>, act: impl FnOnce(&Rig) + 'static) -> thread::JoinHandle<()> {
    let rig = Arc::clone(rig);
    thread::spawn(move || act(&rig))
}

#[test]
fn a_packet_wakes_the_worker() {
    check(|| {
        let rig = Rig::new(Bell::new());
        let other = spawn(&rig, |rig| rig.post(1));
        rig.work_until(|taken| taken == 1);
        other.join().unwrap();
    });
}

#[test]
fn many_packets_at_once_wake_the_worker() {
    check(|| {
        let rig = Rig::new(Bell::new());
        let other = spawn(&rig, |rig| rig.queue.post_many(&mut vec![Packet::default(), Packet::default()]));
        rig.work_until(|taken| taken == 2);
        other.join().unwrap();
    });
}

fn finish_wakes() {
    let rig = Rig::new(Bell::new());
    let other = spawn(&rig, Rig::finish);
    rig.work_until(|taken| taken == 1);
    other.join().unwrap();
}

#[test]
fn a_finished_task_wakes_the_worker() {
    check(finish_wakes);
}

/// Those in `wake` and `prepare_to_sleep`; packets have a lock for it.
#[test]
fn a_finished_task_wakes_the_worker_because_of_two_fences() {
    check_needs_its_fences(finish_wakes);
}

#[test]
fn two_packets_of_two_threads() {
    check(|| {
        let rig = Rig::new(Bell::new());
        let others = [spawn(&rig, |rig| rig.post(1)), spawn(&rig, |rig| rig.post(2))];
        rig.work_until(|taken| taken == 2);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn a_close_and_a_finished_task() {
    check(|| {
        let rig = Rig::new(Bell::new());
        let handle = Handle::new(0, 0, 0);
        rig.queue.opened(handle);
        let others = [spawn(&rig, move |rig| rig.queue.close(handle)), spawn(&rig, Rig::finish)];
        rig.work_until(|taken| taken == 2);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

/// The system has nothing left to wake with: the next one who leaves something tries again.
#[test]
fn a_wake_that_fails_is_tried_again() {
    check(|| {
        let rig = Rig::new(Bell::failing(1));
        // Without a wake for the first there is none that fails before the second, and so on.
        let other = spawn(&rig, |rig| {
            rig.post(1);
            rig.finish();
            rig.post(2);
        });
        rig.work_until(|taken| taken >= 2);
        other.join().unwrap();
    });
}

/// Workers that share a queue: the flag says that no wake is on its way, and there are fewer wakes than packets.
#[test]
fn workers_that_share_a_queue_leave_nothing_behind() {
    check(|| {
        let rig = Rig::new(Bell::new());
        rig.queue.prepare_to_sleep();
        let other = spawn(&rig, |rig| {
            rig.post(1);
            rig.post(2);
        });
        let mut taken = 0;
        while taken < 2 {
            taken += rig.serve(1);
        }
        other.join().unwrap();
    });
}

/// The port moves on while a worker falls asleep, or is only coming.
#[test]
fn a_worker_that_comes_or_sleeps_hears_of_the_end() {
    check(|| {
        let rig = Rig::without_waker(Bell::new());
        let other = spawn(&rig, |rig| {
            rig.begin(Phase::Draining);
            rig.begin(Phase::Cancelling);
        });
        rig.introduce();
        rig.work_until(|_| rig.phase.get() == Phase::Cancelling);
        other.join().unwrap();
    });
}
