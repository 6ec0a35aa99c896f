//! Datagrams, and receives into several buffers: all that needs a message header.

use super::{Ring, descriptor};
use crate::{
    backend::local::{Body, Core},
    identity::Token,
    message::Ancillary,
    operation::OperationKind,
};
use ::io_uring::opcode;

impl Ring {
    pub(super) fn receive_datagram(&mut self, core: &mut Core, token: Token) {
        let family = match core.family_for_datagrams(token) {
            Ok(family) => family,
            Err(error) => return self.fail_as(core, token, error),
        };
        let number = self.scratch(core, token);
        let socket = descriptor(core, core.slot(token).handle);
        let slot = core.slot_mut(token);
        let with_control = slot.kind == OperationKind::ReceiveMessage && family.has_control();
        let Body::Buffer(buffer) = &mut slot.body else { unreachable!("a receive has a buffer") };
        let header = self.scratches.get(number).room_for_datagram(buffer.spare_pointer(), with_control);
        let entry = opcode::RecvMsg::new(socket, header).build();
        // SAFETY: the bytes go to the spare room of the buffer in the slot, all else to the operation's scratch; nobody looks at
        // either before the completion.
        unsafe { self.push(core, token, entry) };
    }

    pub(super) fn datagram_received(&mut self, core: &mut Core, token: Token, result: i32) {
        if result == -libc::EINTR || result == -libc::EAGAIN {
            return self.again(core, token, Self::receive_datagram);
        }
        if result < 0 {
            return self.fail(core, token, -result);
        }
        let number = self.scratch(core, token);
        let received = self.scratches.get(number).received();
        self.give_scratch_back(core, token);
        core.complete_datagram(token, result as usize, received);
    }

    pub(super) fn send_datagram(&mut self, core: &mut Core, token: Token) {
        let family = match core.family_for_datagrams(token) {
            Ok(family) => family,
            Err(error) => return self.fail_as(core, token, error),
        };
        let number = self.scratch(core, token);
        let socket = descriptor(core, core.slot(token).handle);
        let nothing = Ancillary::default();
        let (chain, to, ancillary) = match &core.slot(token).body {
            Body::SendTo { chain, to } => (chain, Some(to), &nothing),
            Body::Message(message) => (&message.chain, message.to.as_ref(), &message.ancillary),
            _ => unreachable!("a datagram has a chain"),
        };
        let header = match self.scratches.get(number).datagram(chain.pieces_from(0), to, ancillary, family) {
            Ok(header) => header,
            Err(error) => return self.fail_as(core, token, error),
        };
        let entry = opcode::SendMsg::new(socket, header).flags(libc::MSG_NOSIGNAL as u32).build();
        // SAFETY: the bytes belong to the chain in the slot, all else to the operation's scratch; both are left alone until the
        // completion.
        unsafe { self.push(core, token, entry) };
    }

    /// It goes as a whole or not at all.
    pub(super) fn datagram_sent(&mut self, core: &mut Core, token: Token, result: i32) {
        match result {
            0.. => self.finish(core, token, Ok(result as u64)),
            code if code == -libc::EINTR => self.again(core, token, Self::send_datagram),
            // The kernel waits for room by itself, but for that of a receiver to which the socket is not connected (unix(7)).
            code if code == -libc::EAGAIN => self.again(core, token, Self::pause),
            code => self.fail(core, token, -code),
        }
    }

    pub(super) fn receive_scattered(&mut self, core: &mut Core, token: Token) {
        let number = self.scratch(core, token);
        let socket = descriptor(core, core.slot(token).handle);
        let Body::Buffers(buffers) = &mut core.slot_mut(token).body else {
            unreachable!("a scattered receive has buffers")
        };
        let rooms = buffers.iter_mut().map(|buffer| buffer.spare_pointer());
        let header = self.scratches.get(number).rooms(rooms);
        let entry = opcode::RecvMsg::new(socket, header).build();
        // SAFETY: the bytes go to the spare room of the buffers in the slot; header and vectors are the operation's scratch; nobody
        // looks at either before the completion.
        unsafe { self.push(core, token, entry) };
    }

    pub(super) fn scattered(&mut self, core: &mut Core, token: Token, result: i32) {
        match result {
            0.. => {
                self.give_scratch_back(core, token);
                core.complete_scattered(token, result as usize);
            }
            code if code == -libc::EINTR || code == -libc::EAGAIN => {
                self.again(core, token, Self::receive_scattered);
            }
            code => self.fail(core, token, -code),
        }
    }
}
