//! What the ring only awaits, and the engine then does: in place, because it cannot block, with pipes (a write by the ring would raise
//! SIGPIPE) and notices of the system; once more, with datagrams and files that found no room.

use super::{Ring, Stage};
use crate::{
    backend::local::{Body, Core, Next, Start, pipe},
    completion::Payload,
    counters::SystemCall,
    error::ErrorKind,
    identity::Token,
    operation::OperationKind,
    tally,
};
use ::io_uring::{
    opcode,
    types::{Fd, Timespec},
};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd};

impl Ring {
    pub(super) fn poll(&mut self, core: &mut Core, token: Token, descriptor: Fd, events: i16) {
        core.slot_mut(token).stage |= Stage::POLLS;
        let entry = opcode::PollAdd::new(descriptor, events as u32).build();
        // SAFETY: a poll touches no memory of ours; the descriptor is open while the operation is pending.
        unsafe { self.push(core, token, entry) };
    }

    /// Has the operation try again after a while, which doubles up to a limit: nobody tells when it is worth it.
    pub(super) fn pause(&mut self, core: &mut Core, token: Token) {
        const fn milliseconds(count: u32) -> Timespec {
            Timespec::new().nsec(count * 1_000_000)
        }
        static PAUSES: [Timespec; Stage::PAUSES] = [
            milliseconds(1),
            milliseconds(2),
            milliseconds(4),
            milliseconds(8),
            milliseconds(16),
            milliseconds(32),
            milliseconds(64),
            milliseconds(64),
        ];
        let stage = &mut core.slot_mut(token).stage;
        let pause = &raw const PAUSES[Stage::count_pause(stage)];
        *stage |= Stage::POLLS;
        // SAFETY: the kernel reads a time that is never written nor freed.
        unsafe { self.push(core, token, opcode::Timeout::new(pause).build()) };
    }

    /// The wait is over.
    pub(super) fn polled(&mut self, core: &mut Core, token: Token, result: i32) {
        core.slot_mut(token).stage &= !Stage::POLLS;
        if result < 0 && ![libc::ETIME, libc::EINTR, libc::EAGAIN].contains(&-result) {
            return self.fail(core, token, -result);
        }
        self.again(core, token, |ring, core, token| match core.slot(token).kind {
            OperationKind::Send => ring.send_to_pipe(core, token),
            OperationKind::SendTo | OperationKind::SendMessage => ring.send_datagram(core, token),
            OperationKind::Receive | OperationKind::ReceiveScatter | OperationKind::ReceiveStream => {
                ring.receive_from_pipe(core, token);
            }
            OperationKind::TransmitFile | OperationKind::TransmitPackets => {
                ring.transmit(core, token);
            }
            // What the pool has to do is started anew from the books.
            _ => {
                if ring.notices(core, token) == Start::OnPool {
                    core.start_again(token);
                }
            }
        });
    }

    /// Takes what the pipe has. False if it has to wait for a buffer.
    pub(super) fn receive_from_pipe(&mut self, core: &mut Core, token: Token) -> bool {
        loop {
            let (handle, kind) = (core.slot(token).handle, core.slot(token).kind);
            let within_budget = self.budget.take_once(handle);
            let fresh = if kind == OperationKind::ReceiveStream {
                match core.buffers.acquire(core.configuration.receive_bytes) {
                    Ok(buffer) => Some(buffer),
                    Err(error) if error.kind() == ErrorKind::BuffersExhausted => {
                        self.starved_others.push_back(token);
                        return false;
                    }
                    Err(error) => {
                        self.fail_as(core, token, error.kind());
                        return true;
                    }
                }
            } else {
                None
            };
            let (slot, descriptor) = core.slot_and_descriptor(token);
            let raw = Fd(descriptor.raw());
            let mut fresh = fresh;
            let read = match (slot.cargo().map(|cargo| &mut cargo.body), &mut fresh) {
                _ if !within_budget => Err(Errno::AGAIN),
                (_, Some(buffer)) | (Some(Body::Buffer(buffer)), None) => {
                    tally::call(SystemCall::Read);
                    rustix::io::read(descriptor.as_fd(), buffer.spare_mut())
                }
                (Some(Body::Buffers(buffers)), None) => pipe::read_scattered(descriptor, buffers),
                _ => unreachable!("a receive has buffers"),
            };
            match (read, fresh) {
                (Err(Errno::INTR), _) => continue,
                (Err(Errno::AGAIN), _) => self.poll(core, token, raw, libc::POLLIN),
                (Err(error), _) => self.fail(core, token, error.raw_os_error()),
                (Ok(bytes @ 1..), Some(mut buffer)) => {
                    buffer.advance(bytes);
                    core.item(token, bytes as u64, Payload::Buffer(buffer));
                    continue;
                }
                (Ok(bytes), _) if kind == OperationKind::ReceiveScatter => {
                    core.complete_scattered(token, bytes);
                }
                (Ok(bytes), _) => self.received(core, token, bytes as i32),
            }
            return true;
        }
    }

    /// Writes what is left of the chain, as far as there is room.
    pub(super) fn send_to_pipe(&mut self, core: &mut Core, token: Token) {
        loop {
            let within_budget = self.budget.take_once(core.slot(token).handle);
            let (slot, descriptor) = core.slot_and_descriptor(token);
            let raw = Fd(descriptor.raw());
            let Body::Chain(chain) = &slot.body else { unreachable!("a send has a chain") };
            if slot.transferred == chain.len() {
                let sent = slot.transferred;
                return self.finish(core, token, Ok(sent));
            }
            if !within_budget {
                return self.poll(core, token, raw, libc::POLLOUT);
            }
            match pipe::write(descriptor.as_fd(), chain.pieces_from(slot.transferred)) {
                Ok(bytes) => slot.transferred += bytes as u64,
                Err(Errno::AGAIN) => return self.poll(core, token, raw, libc::POLLOUT),
                Err(error) => return self.fail(core, token, error.raw_os_error()),
            }
        }
    }

    /// Takes notices, and awaits more.
    pub(super) fn notices(&mut self, core: &mut Core, token: Token) -> Start {
        if let Err(error) = core.open_notices(token) {
            core.complete_with_body(token, Err(error));
            return Start::Started;
        }
        match core.take_notices(token) {
            Next::Walk => return Start::OnPool,
            Next::End(result) => self.finish(core, token, result),
            Next::Again | Next::Wait => {
                let descriptor = Fd(core.notices(token).as_fd().as_raw_fd());
                self.poll(core, token, descriptor, libc::POLLIN);
            }
        }
        Start::Started
    }
}
