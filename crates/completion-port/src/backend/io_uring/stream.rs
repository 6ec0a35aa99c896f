//! Connections: connect, receive, send, end.

use super::{Event, MAXIMUM_TRANSFER, Ring, Stage, descriptor, provided::GROUP};
use crate::{
    backend::local::{Body, Core, Descriptor, connect_error},
    chain::BufferChain,
    completion::Payload,
    counters::SystemCall,
    error::ErrorKind,
    identity::Token,
    tally,
};
use ::io_uring::{opcode, squeue, types::Fd};

/// The kernel finishes short sends itself where it can, and a peer that has gone is an error and no signal.
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

impl Ring {
    pub(super) fn receive_stream(&mut self, core: &mut Core, token: Token) {
        if !self.provides {
            self.provides = true;
            self.refill(core);
        }
        if core.configuration.receive_bytes > core.buffers.largest() {
            return self.fail_as(core, token, ErrorKind::InvalidArgument);
        }
        // The kernel would refuse it at once, before it looks whether anything is there to be received.
        if self.provided.count() == 0 {
            return self.starved_streams.push_back(token);
        }
        let socket = descriptor(core, core.slot(token).handle);
        let entry = opcode::RecvMulti::new(socket, GROUP).build();
        // SAFETY: the kernel writes only into provided buffers, which are its own until a completion names them.
        unsafe { self.push(core, token, entry) };
    }

    pub(super) fn stream_received(&mut self, core: &mut Core, token: Token, event: Event) {
        if event.result > 0
            && let Some(mut buffer) = event.buffer
        {
            buffer.advance(event.result as usize);
            core.item(token, event.result as u64, Payload::Buffer(buffer));
        }
        if event.more {
            return;
        }
        let slot = core.slot(token);
        match event.result {
            0 => self.finish(core, token, Ok(0)),
            _ if slot.cancelled || slot.timed_out => self.fail(core, token, libc::ECANCELED),
            code if code == -libc::ENOBUFS => self.starved_streams.push_back(token),
            // Ended early, for want of room for completions.
            1.. => self.receive_stream(core, token),
            code if code == -libc::EINTR || code == -libc::EAGAIN => self.receive_stream(core, token),
            code => self.fail(core, token, -code),
        }
    }

    pub(super) fn receive(&mut self, core: &mut Core, token: Token) {
        let socket = descriptor(core, core.slot(token).handle);
        let Body::Buffer(buffer) = &mut core.slot_mut(token).body else {
            unreachable!("a receive has a buffer")
        };
        let (pointer, room) = buffer.spare_pointer();
        let entry = opcode::Recv::new(socket, pointer, room.min(MAXIMUM_TRANSFER) as u32).build();
        // SAFETY: the spare room of the buffer in the slot, which nobody looks at before the completion.
        unsafe { self.push(core, token, entry) };
    }

    pub(super) fn received(&mut self, core: &mut Core, token: Token, result: i32) {
        if result == -libc::EINTR || result == -libc::EAGAIN {
            return self.again(core, token, Self::receive);
        }
        if result < 0 {
            return self.fail(core, token, -result);
        }
        // The end of a stream from a pipe comes here too, which has none.
        if let Some(Body::Buffer(buffer)) = core.slot_mut(token).cargo().map(|cargo| &mut cargo.body) {
            buffer.advance(result as usize);
        }
        self.finish(core, token, Ok(result as u64));
    }

    /// Goes on with an operation, unless its end was asked for.
    pub(super) fn again(
        &mut self,
        core: &mut Core,
        token: Token,
        step: impl FnOnce(&mut Self, &mut Core, Token),
    ) {
        let slot = core.slot(token);
        if slot.cancelled || slot.timed_out {
            self.fail(core, token, libc::ECANCELED);
        } else {
            step(self, core, token);
        }
    }

    /// Sends what is left of the chain.
    pub(super) fn send(&mut self, core: &mut Core, token: Token) {
        let slot = core.slot(token);
        let Body::Chain(chain) = &slot.body else { unreachable!("a send has a chain") };
        let (sent, length, socket) = (slot.transferred, chain.len(), descriptor(core, slot.handle));
        if sent == length {
            return self.finish(core, token, Ok(sent));
        }
        let entry = if let Some(only) = only_piece(chain, sent) {
            send_entry(socket, only)
        } else {
            let number = self.scratch(core, token);
            let Body::Chain(chain) = &core.slot(token).body else { unreachable!("a send has a chain") };
            send_message_entry(socket, self.scratches.get(number).message(chain.pieces_from(sent)))
        };
        // SAFETY: the bytes belong to the chain in the slot, header and vectors to the operation's scratch; both are left alone
        // until the completion.
        unsafe { self.push(core, token, entry) };
    }

    pub(super) fn sent(&mut self, core: &mut Core, token: Token, result: i32) {
        self.advance(core, token, result, Self::send);
    }

    /// Counts what a send or write transferred, and goes on with what is left of its chain.
    pub(super) fn advance(
        &mut self,
        core: &mut Core,
        token: Token,
        result: i32,
        step: impl FnOnce(&mut Self, &mut Core, Token),
    ) {
        let (cargo, stage) = core.slot_mut(token).parts();
        let Body::Chain(chain) = &cargo.body else { unreachable!("a send or write has a chain") };
        match result {
            0 => self.fail_as(core, token, ErrorKind::Other),
            1.. => {
                cargo.transferred += result as u64;
                let (done, length) = (cargo.transferred, chain.len());
                if done == length {
                    self.finish(core, token, Ok(done));
                } else {
                    self.again(core, token, step);
                }
            }
            code if code == -libc::EINTR => self.again(core, token, step),
            // A file system that cannot say whether it would wait.
            code if code == -libc::EAGAIN && *stage & Stage::MAY_BLOCK == 0 => {
                *stage |= Stage::MAY_BLOCK;
                self.again(core, token, step);
            }
            code => self.fail(core, token, -code),
        }
    }

    pub(super) fn connect(&mut self, core: &mut Core, token: Token) {
        let number = self.scratch(core, token);
        let slot = core.slot(token);
        let Body::Connect { address, .. } = &slot.body else { unreachable!("a connect has an address") };
        let socket = descriptor(core, slot.handle);
        let (pointer, length) = match self.scratches.get(number).name(address) {
            Ok(name) => name,
            Err(error) => return self.fail_as(core, token, error),
        };
        let entry = opcode::Connect::new(socket, pointer, length).build();
        // SAFETY: the address lies in the operation's scratch, which is left alone until the completion.
        unsafe { self.push(core, token, entry) };
    }

    pub(super) fn connected(&mut self, core: &mut Core, token: Token, result: i32) {
        let body = &mut core.slot_mut(token).body;
        match body {
            Body::Connect { .. } if result == 0 => {
                body.connected();
                self.give_scratch_back(core, token);
                self.again(core, token, Self::send);
            }
            Body::Connect { .. } => {
                let error = connect_error(-result);
                self.finish(core, token, Err(error));
            }
            _ => self.sent(core, token, result),
        }
    }

    /// In place: the kernel would hand a shutdown to a thread, as it does where only the ring can do it.
    pub(super) fn disconnect(&mut self, core: &mut Core, token: Token) {
        let handle = core.slot(token).handle;
        let Some(socket) = core.descriptor(handle).and_then(Descriptor::socket) else {
            let entry = opcode::Shutdown::new(descriptor(core, handle), libc::SHUT_WR).build();
            // SAFETY: a shutdown points to nothing.
            return unsafe { self.push(core, token, entry) };
        };
        tally::call(SystemCall::Shutdown);
        match socket.shutdown(std::net::Shutdown::Write) {
            Ok(()) => self.finish(core, token, Ok(0)),
            Err(error) => self.fail(core, token, error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

/// The rest of the chain behind `done`, if it is in one piece.
pub(super) fn only_piece(chain: &BufferChain, done: u64) -> Option<&[u8]> {
    let mut pieces = chain.pieces_from(done);
    let first = pieces.next();
    first.filter(|_| pieces.next().is_none())
}

/// The send of one piece.
pub(super) fn send_entry(socket: Fd, piece: &[u8]) -> squeue::Entry {
    opcode::Send::new(socket, piece.as_ptr(), piece.len().min(MAXIMUM_TRANSFER) as u32)
        .flags(SEND_FLAGS)
        .build()
}

/// The gathered send of a message.
pub(super) fn send_message_entry(socket: Fd, message: *const libc::msghdr) -> squeue::Entry {
    opcode::SendMsg::new(socket, message).flags(SEND_FLAGS as u32).build()
}
