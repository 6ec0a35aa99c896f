//! What the books do about sockets beyond streams of bytes: datagrams, scattered receives, control.

use super::Core;
use crate::{
    address::Address,
    backend::local::Body,
    completion::Payload,
    control::{self, ControlRequest},
    counters::SystemCall,
    error::{Error, ErrorKind},
    identity::Token,
    message::{
        Ancillary,
        unix::{self, Family},
    },
    operation::OperationKind,
    tally,
};
use socket2::{Socket, Type};
use std::io;

/// What has to be known of a socket before its first datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct DatagramTraits {
    family: Family,
    /// Not a stream of bytes.
    has_datagrams: bool,
    /// The system was asked to tell what is beside the bytes.
    asked: bool,
}

impl DatagramTraits {
    fn of(socket: &Socket) -> Self {
        let has_datagrams = socket.r#type().is_ok_and(|kind| kind != Type::STREAM);
        Self { family: Family::of(socket), has_datagrams, asked: false }
    }
}

/// Why a connect failed.
pub(crate) fn connect_error(code: i32) -> Error {
    match code {
        // No room before a listener of the Unix domain: the same as a refusal on other systems, and nobody tells when there is some.
        libc::EAGAIN => Error::with_code(ErrorKind::Refused, code, OperationKind::Connect),
        _ => Error::from_code(code, OperationKind::Connect),
    }
}

/// Has connections reported when their first bytes are there. Only TCP on Linux knows how.
#[cfg(target_os = "linux")]
pub(super) fn await_first_bytes(listener: &Socket) {
    // In seconds; see `Configuration::accept_first_bytes`.
    const PATIENCE: libc::c_int = 10;
    // A listener of another family has no such thing, and reports at once.
    let _ = control::unix::set_option(listener, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, PATIENCE);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn await_first_bytes(_: &Socket) {}

impl Core {
    /// The family of the operation's socket, which is made ready for datagrams.
    pub(crate) fn family_for_datagrams(&mut self, token: Token) -> Result<Family, ErrorKind> {
        let slot = self.slot(token);
        let (handle, kind) = (slot.handle, slot.kind);
        let state = self.state_mut(handle).expect("a handle stays until its last operation has come home");
        // What has no descriptor of its own was accepted, and is a stream.
        let socket = state.descriptor.socket().ok_or(ErrorKind::InvalidArgument)?;
        let traits = state.datagrams.get_or_insert_with(|| DatagramTraits::of(socket));
        if !traits.has_datagrams {
            return Err(ErrorKind::InvalidArgument);
        }
        if kind == OperationKind::ReceiveMessage && !traits.asked {
            traits.asked = true;
            unix::ask(socket, traits.family);
        }
        Ok(traits.family)
    }

    /// Does what a control asks for, and completes it. False if it has to be waited for.
    pub(crate) fn control(&mut self, token: Token) -> bool {
        let (slot, descriptor) = self.slot_and_descriptor(token);
        let request = match slot.body {
            Body::Control(ControlRequest::AddressChange) | Body::Notices(_) => return false,
            Body::Control(request) => request,
            _ => unreachable!("a control has a request"),
        };
        let applied = match descriptor.socket() {
            Some(socket) => {
                tally::call(SystemCall::Option);
                control::unix::apply(socket, request)
            }
            // A direct descriptor, which no call can name.
            None => Err(io::ErrorKind::Unsupported.into()),
        };
        let result = applied.map(|()| 0).map_err(|error| Error::from_io(&error, OperationKind::Control));
        self.complete_with_body(token, result);
        true
    }

    /// A datagram of `bytes` bytes lies in the operation's buffer.
    pub(crate) fn complete_datagram(
        &mut self,
        token: Token,
        bytes: usize,
        (from, ancillary): (Address, Ancillary),
    ) {
        let Body::Buffer(mut buffer) = std::mem::replace(&mut self.slot_mut(token).body, Body::None) else {
            unreachable!("a receive has a buffer")
        };
        buffer.advance(bytes);
        self.complete(token, Ok(bytes as u64), Payload::Datagram { buffer, from, ancillary });
    }

    /// Bytes of a scattered receive lie in the operation's buffers.
    pub(crate) fn complete_scattered(&mut self, token: Token, bytes: usize) {
        let Body::Buffers(buffers) = &mut self.slot_mut(token).body else {
            unreachable!("a scattered receive has buffers")
        };
        let mut left = bytes;
        for buffer in buffers {
            let filled = left.min(buffer.spare_capacity());
            buffer.advance(filled);
            left -= filled;
        }
        self.complete_with_body(token, Ok(bytes as u64));
    }
}
