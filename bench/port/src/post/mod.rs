//! Packets between threads, over the port and over channels: one shape for all of them.

mod channels;
mod ours;

use crate::{Failure, processor};
pub use channels::{Crossbeam, CrossbeamBlocking, Flume, Tokio};
pub use completion_port::Packet;
pub use ours::{Gathered, IoUring, Readiness};
use std::{
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

/// How many packets may wait, everywhere.
pub const CAPACITY: usize = 4_096;
/// How many a receiver takes at once at most, where it can take several.
pub const BATCH: usize = 256;

/// A way for packets to a thread.
pub trait Way {
    /// What the senders have.
    type Sender: Sender;
    /// What the one receiver has; made on its thread.
    type Receiver: Receiver;

    /// A new way.
    fn open() -> Result<(Self::Sender, impl FnOnce() -> Self::Receiver + Send), Failure>;
}

/// The sending end.
pub trait Sender: Clone + Send + 'static {
    /// Sends a packet, or gives it back where there is no room.
    fn send(&mut self, packet: Packet) -> Result<(), Packet>;

    /// Sends what was kept back to be sent together. False where there was no room for all.
    fn flush(&mut self) -> bool {
        true
    }
}

/// The receiving end.
pub trait Receiver {
    /// Waits for packets and hands over those that are there.
    fn receive(&mut self, take: impl FnMut(Packet));
}

/// What a stretch came to, for each packet.
#[derive(Clone, Copy)]
pub struct Cost {
    /// Time, in nanoseconds.
    pub elapsed_ns: f64,
    /// Processor time, in nanoseconds: of the receiver where packets are sent as fast as they go, of both where they are handed over.
    pub used_ns: f64,
}

fn cost_of(packets: u64, elapsed: Duration, used: Duration) -> Cost {
    let packets = packets as f64;
    Cost { elapsed_ns: elapsed.as_nanos() as f64 / packets, used_ns: used.as_nanos() as f64 / packets }
}

/// Sends `packets` from several threads on one processor to one on another, as fast as they go.
pub fn flood<W: Way>(senders: u64, packets: u64, processors: (usize, usize)) -> Result<Cost, Failure> {
    let (sender, receiver) = W::open()?;
    let begin = Arc::new(Barrier::new(senders as usize + 1));
    let each = packets / senders;
    let threads: Vec<_> = (0..senders)
        .map(|key| {
            let (mut sender, begin) = (sender.clone(), Arc::clone(&begin));
            thread::spawn(move || {
                let pinned = processor::pin(processors.1);
                begin.wait();
                for value in 0..each {
                    let mut packet = Packet { key, value, object: None };
                    while let Err(same) = sender.send(packet) {
                        packet = same;
                        thread::yield_now();
                    }
                }
                while !sender.flush() {
                    thread::yield_now();
                }
                pinned
            })
        })
        .collect();
    processor::pin(processors.0)?;
    let mut receiver = receiver();
    begin.wait();
    let (used, begun) = (processor::used_by_this_thread(), Instant::now());
    let (mut left, mut sum) = (each * senders, 0);
    while left > 0 {
        receiver.receive(|packet| {
            left -= 1;
            sum += packet.value;
        });
    }
    let cost = cost_of(each * senders, begun.elapsed(), processor::used_by_this_thread() - used);
    for thread in threads {
        thread.join().map_err(|_| "a sender panicked")??;
    }
    if sum != senders * (each * each.saturating_sub(1) / 2) {
        return Err("packets were lost, or came twice".into());
    }
    Ok(cost)
}

/// Hands one packet to and fro between two threads, each of which sleeps until it comes.
pub fn hand_over<W: Way>(packets: u64, processors: (usize, usize)) -> Result<Cost, Failure> {
    let (mut to_other, at_other) = W::open()?;
    let (mut to_here, at_here) = W::open()?;
    let other = thread::scope(|scope| {
        let other = scope.spawn(move || {
            let pinned = processor::pin(processors.1);
            let mut receiver = at_other();
            let mut left = packets / 2;
            while left > 0 {
                receiver.receive(|packet| {
                    assert!(to_here.send(packet).is_ok() && to_here.flush(), "one packet fits");
                    left -= 1;
                });
            }
            pinned
        });
        processor::pin(processors.0)?;
        let mut receiver = at_here();
        let mut send =
            |value| to_other.send(Packet { value, ..Packet::default() }).is_ok() && to_other.flush();
        let (used, begun) = (processor::used_here(), Instant::now());
        for value in 0..packets / 2 {
            if !send(value) {
                return Err("one packet does not fit".into());
            }
            let mut back = 0;
            while back == 0 {
                receiver.receive(|packet| {
                    assert_eq!(packet.value, value);
                    back += 1;
                });
            }
        }
        let cost = cost_of(packets / 2 * 2, begun.elapsed(), processor::used_here() - used);
        other.join().map_err(|_| "the other thread panicked")??;
        Ok::<_, Failure>(cost)
    })?;
    Ok(other)
}
