//! Datagrams, with what travels beside their bytes.

use super::{Poll, Turn};
use crate::{
    address::Address,
    backend::local::{Body, Core},
    counters::SystemCall,
    error::Error,
    identity::Token,
    message::Ancillary,
    operation::OperationKind,
    tally,
};
use rustix::io::Errno;

impl Poll {
    pub(super) fn receive_datagram(&mut self, core: &mut Core, token: Token) -> Turn {
        let (handle, kind) = (core.slot(token).handle, core.slot(token).kind);
        let family = match core.family_for_datagrams(token) {
            Ok(family) => family,
            Err(error) => return self.finish(core, token, Err(Error::new(error, kind))),
        };
        let with_control = kind == OperationKind::ReceiveMessage && family.has_control();
        loop {
            if let Err(turn) = self.try_now(core, token) {
                return turn;
            }
            let (slot, descriptor) = core.slot_and_descriptor(token);
            let Body::Buffer(buffer) = &mut slot.body else { unreachable!("a receive has a buffer") };
            let header = self.scratch.room_for_datagram(buffer.spare_pointer(), with_control);
            let received = call(|| {
                tally::call(SystemCall::Receive);
                // SAFETY: the header names the spare room of the buffer and the engine's scratch, which outlive the call.
                unsafe { libc::recvmsg(descriptor.raw(), header, 0) }
            });
            match received {
                Ok(bytes) => {
                    let received = self.scratch.received();
                    self.forget(core, token);
                    core.complete_datagram(token, bytes, received);
                    return Turn::Over;
                }
                Err(Errno::AGAIN) => self.socket(handle).receive.ready = false,
                Err(error) => return self.fail(core, token, &error.into()),
            }
        }
    }

    pub(super) fn send_datagram(&mut self, core: &mut Core, token: Token) -> Turn {
        let (handle, kind) = (core.slot(token).handle, core.slot(token).kind);
        let family = match core.family_for_datagrams(token) {
            Ok(family) => family,
            Err(error) => return self.finish(core, token, Err(Error::new(error, kind))),
        };
        loop {
            if let Err(turn) = self.try_now(core, token) {
                return turn;
            }
            let (slot, descriptor) = core.slot_and_descriptor(token);
            let nothing = Ancillary::default();
            let (chain, to, ancillary) = match &slot.body {
                Body::SendTo { chain, to } => (chain, Some(to), &nothing),
                Body::Message(message) => (&message.chain, message.to.as_ref(), &message.ancillary),
                _ => unreachable!("a datagram has a chain"),
            };
            let header = match self.scratch.datagram(chain.pieces_from(0), to, ancillary, family) {
                Ok(header) => header,
                Err(error) => return self.finish(core, token, Err(Error::new(error, kind))),
            };
            let sent = call(|| {
                tally::call(SystemCall::Send);
                // SAFETY: the header names the bytes of the chain and the engine's scratch, which outlive the call.
                unsafe { libc::sendmsg(descriptor.raw(), header, no_signal()) }
            });
            match sent {
                Ok(bytes) => return self.finish(core, token, Ok(bytes as u64)),
                // The room of the receiver is full, and that nobody tells to who is not connected to it.
                Err(Errno::AGAIN) if matches!(to, Some(Address::Path(_))) => return Turn::Crowded,
                Err(Errno::AGAIN) => self.socket(handle).send.ready = false,
                Err(error) => return self.fail(core, token, &error.into()),
            }
        }
    }
}

fn call(mut call: impl FnMut() -> isize) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(|| {
        usize::try_from(call()).map_err(|_| {
            Errno::from_io_error(&std::io::Error::last_os_error()).expect("a call that failed left its error")
        })
    })
}

/// A peer that is gone is an error and no signal; where no flag says so, the socket does.
const fn no_signal() -> libc::c_int {
    #[cfg(target_vendor = "apple")]
    return 0;
    #[cfg(not(target_vendor = "apple"))]
    return libc::MSG_NOSIGNAL;
}
