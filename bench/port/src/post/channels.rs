//! Bounded channels: each with the way of taking many at once that it has.

use super::{BATCH, CAPACITY, Packet, Receiver, Sender, Way};
use crate::Failure;

/// crossbeam-channel, whose senders try again where there is no room, as everybody's here.
pub struct Crossbeam;
/// crossbeam-channel, whose senders sleep where there is no room.
pub struct CrossbeamBlocking;
/// flume.
pub struct Flume;
/// tokio::sync::mpsc, without a runtime.
pub struct Tokio;

/// A sender that sleeps where there is no room.
#[derive(Clone)]
pub struct Patient(crossbeam_channel::Sender<Packet>);

/// tokio's receiver, with its list of packets.
pub struct Many(tokio::sync::mpsc::Receiver<Packet>, Vec<Packet>);

impl Way for Crossbeam {
    type Sender = crossbeam_channel::Sender<Packet>;
    type Receiver = crossbeam_channel::Receiver<Packet>;
    fn open() -> Result<(Self::Sender, impl FnOnce() -> Self::Receiver + Send), Failure> {
        let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
        Ok((sender, || receiver))
    }
}

impl Way for CrossbeamBlocking {
    type Sender = Patient;
    type Receiver = crossbeam_channel::Receiver<Packet>;
    fn open() -> Result<(Self::Sender, impl FnOnce() -> Self::Receiver + Send), Failure> {
        let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
        Ok((Patient(sender), || receiver))
    }
}

impl Way for Flume {
    type Sender = flume::Sender<Packet>;
    type Receiver = flume::Receiver<Packet>;
    fn open() -> Result<(Self::Sender, impl FnOnce() -> Self::Receiver + Send), Failure> {
        let (sender, receiver) = flume::bounded(CAPACITY);
        Ok((sender, || receiver))
    }
}

impl Way for Tokio {
    type Sender = tokio::sync::mpsc::Sender<Packet>;
    type Receiver = Many;
    fn open() -> Result<(Self::Sender, impl FnOnce() -> Self::Receiver + Send), Failure> {
        let (sender, receiver) = tokio::sync::mpsc::channel(CAPACITY);
        Ok((sender, || Many(receiver, Vec::with_capacity(BATCH))))
    }
}

impl Sender for crossbeam_channel::Sender<Packet> {
    fn send(&mut self, packet: Packet) -> Result<(), Packet> {
        self.try_send(packet).map_err(crossbeam_channel::TrySendError::into_inner)
    }
}

impl Sender for Patient {
    fn send(&mut self, packet: Packet) -> Result<(), Packet> {
        self.0.send(packet).map_err(crossbeam_channel::SendError::into_inner)
    }
}

impl Sender for flume::Sender<Packet> {
    fn send(&mut self, packet: Packet) -> Result<(), Packet> {
        self.try_send(packet).map_err(flume::TrySendError::into_inner)
    }
}

impl Sender for tokio::sync::mpsc::Sender<Packet> {
    fn send(&mut self, packet: Packet) -> Result<(), Packet> {
        self.try_send(packet).map_err(tokio::sync::mpsc::error::TrySendError::into_inner)
    }
}

impl Receiver for crossbeam_channel::Receiver<Packet> {
    fn receive(&mut self, mut take: impl FnMut(Packet)) {
        take(self.recv().expect("the senders stay"));
        self.try_iter().take(BATCH - 1).for_each(take);
    }
}

impl Receiver for flume::Receiver<Packet> {
    fn receive(&mut self, mut take: impl FnMut(Packet)) {
        take(self.recv().expect("the senders stay"));
        self.drain().for_each(take);
    }
}

impl Receiver for Many {
    fn receive(&mut self, take: impl FnMut(Packet)) {
        self.0.blocking_recv_many(&mut self.1, BATCH);
        self.1.drain(..).for_each(take);
    }
}
