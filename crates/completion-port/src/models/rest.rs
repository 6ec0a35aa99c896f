//! Two workers that post to each other while the port shuts down: neither leaves while a packet for it is on its way, and both leave.

use super::{Bell, check, check_with_at_most};
use crate::{buffer::Wake, completion::Packet, queue::Queue, rest::Rest};
use loom::thread;
use std::sync::Arc;

struct Rig {
    queues: [Queue; 2],
    rest: Rest,
}

impl Rig {
    fn new() -> Arc<Self> {
        Arc::new(Self { queues: [Queue::new(4), Queue::new(4)], rest: Rest::new(2) })
    }

    /// What a worker does from one wait to the next: takes what is there, and posts each packet on to the other as often as it says.
    /// True if the work is over.
    fn turn(&self, own: usize) -> bool {
        self.rest.end(own);
        let mut packets = Vec::new();
        self.queues[own].take_packets(usize::MAX, &mut packets);
        for packet in packets {
            if packet.value > 0 {
                let next = Packet { value: packet.value - 1, ..Packet::default() };
                assert!(!self.rest.is_over(), "the work is over while a packet is in hand");
                self.queues[1 - own].post(next).unwrap();
            }
        }
        self.rest.begin(own, |queue, rests| rests && self.queues[queue].is_idle())
    }

    /// Until the work is over, or a few turns.
    fn work(&self, own: usize) {
        for _ in 0..3 {
            if self.turn(own) {
                assert!(self.queues.iter().all(Queue::is_idle), "a worker leaves, and a packet stays");
                return;
            }
            thread::yield_now();
        }
    }

    /// As workers do that sleep when there is nothing to do, and wake all when the work is over.
    fn work_and_sleep(&self, own: usize, bells: &[Arc<Bell>]) {
        loop {
            let was_over = self.rest.is_over();
            if self.turn(own) {
                if !was_over {
                    self.queues.iter().for_each(Queue::wake_always);
                }
                return;
            }
            if self.queues[own].prepare_to_sleep() {
                bells[own].sleep();
            }
            self.queues[own].awake();
        }
    }
}

/// Somebody else posts as the work comes to its end.
#[test]
fn what_was_accepted_at_the_end_is_still_there_to_be_taken() {
    check(|| {
        let rig = Rig::new();
        let other = Arc::clone(&rig);
        // As `Port::post`, which looked whether the work is over just before.
        let poster = thread::spawn(move || other.queues[0].post(Packet::default()).is_ok());
        let mut taken = Vec::new();
        loop {
            rig.rest.end(0);
            rig.queues[0].take_packets(usize::MAX, &mut taken);
            rig.rest.begin(1, |_, _| false);
            let over = rig.rest.begin(0, |queue, rests| rests && rig.queues[queue].is_idle());
            if over && rig.queues[0].end_posts() {
                break;
            }
            thread::yield_now();
        }
        assert_eq!(poster.join().unwrap(), taken.len() == 1);
        assert!(rig.queues[0].is_idle());
    });
}

#[test]
fn nobody_leaves_before_the_last_packet_was_taken() {
    check(|| {
        let rig = Rig::new();
        rig.queues[0].post(Packet { value: 2, ..Packet::default() }).unwrap();
        let other = Arc::clone(&rig);
        let other = thread::spawn(move || other.work(1));
        rig.work(0);
        other.join().unwrap();
    });
}

#[test]
fn everybody_leaves_after_the_last_packet_was_taken() {
    check_with_at_most(2, || {
        let rig = Rig::new();
        let bells = [Bell::new(), Bell::new()];
        for (queue, bell) in rig.queues.iter().zip(&bells) {
            queue.set_waker(Arc::clone(bell) as Arc<dyn Wake>);
        }
        rig.queues[0].post(Packet { value: 1, ..Packet::default() }).unwrap();
        let (other, others) = (Arc::clone(&rig), bells.clone());
        let other = thread::spawn(move || other.work_and_sleep(1, &others));
        rig.work_and_sleep(0, &bells);
        other.join().unwrap();
        assert!(rig.queues.iter().all(Queue::is_idle), "a packet stays");
    });
}
