//! Datagrams: where each came from or goes to, and what travels beside its bytes.

use super::{
    abilities::Abilities,
    handle::{Object, State},
    scratch::Scratch,
    slot::{Body, Job, Slot},
    turn::Turn,
    winsock::{Functions, Issued, MAXIMUM_BYTES, judge},
};
use crate::{
    address::Address,
    buffer::Buffer,
    chain::BufferChain,
    completion::Payload,
    counters::SystemCall,
    direction::Direction,
    error::ErrorKind,
    message::{
        Ancillary, Message,
        windows::{CONTROL_BYTES, decode, encode},
    },
    operation::OperationKind,
    tally,
};
use std::{net::SocketAddr, os::windows::io::AsRawSocket};
use windows_sys::Win32::{Foundation::ERROR_MORE_DATA, Networking::WinSock as w};

/// The codes of a datagram that was longer than the room for it: of a call, and of a packet.
pub(super) const fn is_oversize(code: u32) -> bool {
    matches!(code, ERROR_MORE_DATA) || code == w::WSAEMSGSIZE as u32
}

/// Whether a receive has ended with such a datagram. To a send, the code says that it sent nothing.
pub(super) fn cut_one_short(state: &State, kind: OperationKind, code: u32) -> bool {
    is_oversize(code)
        && matches!(state.object, Object::Datagrams(_))
        && Direction::of(kind) == Some(Direction::Receive)
}

/// Whether the operation is one of those that only make sense for datagrams.
pub(super) const fn is_for_datagrams(kind: OperationKind) -> bool {
    matches!(
        kind,
        OperationKind::ReceiveFrom
            | OperationKind::ReceiveMessage
            | OperationKind::SendTo
            | OperationKind::SendMessage
    )
}

impl Turn<'_> {
    /// Why an operation for datagrams cannot be done, if so.
    pub(super) fn refuse_datagram(&self, state: &State, job: &Job) -> Option<ErrorKind> {
        if !matches!(state.object, Object::Datagrams(_)) {
            return Some(ErrorKind::InvalidArgument);
        }
        let Body::Message(message) = &job.body else { return None };
        let Ancillary { local, interface, ecn, segment_bytes, .. } = message.ancillary;
        let Abilities { control, ecn: can_mark, segments, .. } = self.core.abilities;
        let refused = ((local.is_some() || interface.is_some()) && !control)
            || (ecn.is_some() && !can_mark)
            || (segment_bytes.is_some() && !segments);
        refused.then_some(ErrorKind::Unsupported)
    }

    /// Whether a packet comes for a call that failed at once.
    pub(super) fn queued_all_the_same(&self, state: &State, index: u32, code: u32) -> bool {
        is_oversize(code)
            && matches!(state.object, Object::Datagrams(_))
            && Direction::of(self.core.slot(index).job().kind)
                .is_some_and(|direction| self.core.abilities.oversize_queues[direction as usize])
    }

    /// Makes the call of an operation for datagrams.
    ///
    /// # Safety
    ///
    /// As for [`winsock::receive`](super::winsock::receive); `job` is the slot's.
    pub(super) unsafe fn issue_datagram(&self, state: &State, slot: &Slot, job: &mut Job) -> Issued {
        let Object::Datagrams(socket) = &state.object else { return Issued::Failed(0) };
        let scratch = job.scratch.get_or_insert_with(|| self.core.scratches.take());
        // SAFETY, for all: as the caller promises; the scratch block is the slot's.
        match (job.kind, &mut job.body) {
            (OperationKind::ReceiveFrom, Body::Buffer(buffer)) => {
                // SAFETY: see above.
                unsafe { receive_from(slot, scratch, socket, buffer) }
            }
            (OperationKind::ReceiveMessage, Body::Buffer(buffer)) => {
                // SAFETY: see above.
                unsafe { receive_message(&self.core.functions, slot, scratch, socket, buffer) }
            }
            (OperationKind::Send, Body::Chain(chain)) => {
                // SAFETY: see above.
                unsafe { send(slot, scratch, socket, chain, None) }
            }
            (OperationKind::SendTo, Body::SendTo { chain, to }) => {
                // SAFETY: see above.
                unsafe { send(slot, scratch, socket, chain, Some(to)) }
            }
            (OperationKind::SendMessage, Body::Message(message)) => {
                // SAFETY: see above.
                unsafe { send_message(slot, scratch, socket, message) }
            }
            (kind, _) => unreachable!("{kind:?} is for datagrams, and has what it needs"),
        }
    }

    /// What a datagram that was received yields.
    ///
    /// # Safety
    ///
    /// The operation has come home, and succeeded.
    pub(super) unsafe fn datagram(kind: OperationKind, scratch: &Scratch, buffer: Buffer) -> Payload {
        // SAFETY: as the caller promises, the kernel is done with the block.
        let (from, ancillary) = unsafe {
            let block = &*scratch.block();
            if kind == OperationKind::ReceiveFrom {
                let ancillary = Ancillary { truncated: scratch.rest.truncated, ..Ancillary::default() };
                (scratch.name(block.name_bytes), ancillary)
            } else {
                let truncated = scratch.rest.truncated || block.message.dwFlags & w::MSG_TRUNC != 0;
                let control = &block.control.0[..(block.message.Control.len as usize).min(CONTROL_BYTES)];
                (scratch.name(block.message.namelen), decode(control, truncated))
            }
        };
        Payload::Datagram { buffer, from, ancillary }
    }
}

/// One vector for the spare room of `buffer`.
///
/// # Safety
///
/// As for [`Scratch::gather`].
unsafe fn room(scratch: &mut Scratch, buffer: &mut Buffer) -> *mut w::WSABUF {
    let (pointer, bytes) = buffer.spare_pointer();
    // SAFETY: as the caller promises, nobody else uses the vectors.
    unsafe {
        let vectors = (&raw mut (*scratch.block()).vectors).cast::<w::WSABUF>();
        vectors.write(w::WSABUF { len: bytes.min(MAXIMUM_BYTES) as u32, buf: pointer });
        vectors
    }
}

/// WSARecvFrom.
unsafe fn receive_from(
    slot: &Slot,
    scratch: &mut Scratch,
    socket: &socket2::Socket,
    buffer: &mut Buffer,
) -> Issued {
    // SAFETY: as for `issue_datagram`; all that the kernel writes lies in the slot, its scratch block and its buffer.
    unsafe {
        slot.prepare(0);
        let vector = room(scratch, buffer);
        let (wire, block) = (slot.wire(), scratch.block());
        (*block).name_bytes = size_of::<w::SOCKADDR_STORAGE>() as i32;
        tally::call(SystemCall::Receive);
        let failed = w::WSARecvFrom(
            socket.as_raw_socket() as w::SOCKET,
            vector,
            1,
            &raw mut (*wire).bytes,
            &raw mut (*wire).flags,
            (&raw mut (*block).name).cast(),
            &raw mut (*block).name_bytes,
            slot.overlapped(),
            None,
        );
        judge(failed == 0, false, 0)
    }
}

/// WSARecvMsg.
unsafe fn receive_message(
    functions: &Functions,
    slot: &Slot,
    scratch: &mut Scratch,
    socket: &socket2::Socket,
    buffer: &mut Buffer,
) -> Issued {
    let Some(receive_message) = functions.receive_message else {
        return Issued::Failed(w::WSAEOPNOTSUPP as u32);
    };
    // SAFETY: as for `issue_datagram`; all that the kernel writes lies in the slot, its scratch block and its buffer.
    unsafe {
        slot.prepare(0);
        let vector = room(scratch, buffer);
        let block = scratch.block();
        (*block).message = w::WSAMSG {
            name: (&raw mut (*block).name).cast(),
            namelen: size_of::<w::SOCKADDR_STORAGE>() as i32,
            lpBuffers: vector,
            dwBufferCount: 1,
            Control: w::WSABUF { len: CONTROL_BYTES as u32, buf: (&raw mut (*block).control).cast() },
            dwFlags: 0,
        };
        tally::call(SystemCall::Receive);
        let failed = receive_message(
            socket.as_raw_socket() as w::SOCKET,
            &raw mut (*block).message,
            &raw mut (*slot.wire()).bytes,
            slot.overlapped(),
            None,
        );
        judge(failed == 0, false, 0)
    }
}

/// WSASendTo, or WSASend of a datagram whose vectors need the room.
unsafe fn send(
    slot: &Slot,
    scratch: &mut Scratch,
    socket: &socket2::Socket,
    chain: &BufferChain,
    to: Option<&Address>,
) -> Issued {
    let name = match to.map(Address::to_system).transpose() {
        Ok(name) => name,
        Err(_) => return Issued::Failed(w::WSAEINVAL as u32),
    };
    // SAFETY: as for `issue_datagram`; the kernel reads the scratch block and the chain's slices.
    unsafe {
        slot.prepare(0);
        let count = scratch.gather(chain.pieces_from(0));
        let name_bytes = name.as_ref().map_or(0, |name| scratch.write_name(name));
        let (wire, block) = (slot.wire(), scratch.block());
        let vectors = (&raw const (*block).vectors).cast();
        let socket = socket.as_raw_socket() as w::SOCKET;
        let (sent, overlapped) = (&raw mut (*wire).bytes, slot.overlapped());
        tally::call(SystemCall::Send);
        let failed = if name.is_some() {
            let name = (&raw const (*block).name).cast();
            w::WSASendTo(socket, vectors, count, sent, 0, name, name_bytes, overlapped, None)
        } else {
            w::WSASend(socket, vectors, count, sent, 0, overlapped, None)
        };
        judge(failed == 0, false, 0)
    }
}

/// WSASendMsg.
unsafe fn send_message(
    slot: &Slot,
    scratch: &mut Scratch,
    socket: &socket2::Socket,
    message: &Message,
) -> Issued {
    let name = match message.to.as_ref().map(Address::to_system).transpose() {
        Ok(name) => name,
        Err(_) => return Issued::Failed(w::WSAEINVAL as u32),
    };
    let to = match &name {
        Some(name) => name.as_socket(),
        None => socket.peer_addr().ok().and_then(|peer| peer.as_socket()),
    };
    let over_ipv4 = match to {
        Some(SocketAddr::V6(to)) => to.ip().to_ipv4_mapped().is_some(),
        _ => true,
    };
    // SAFETY: as for `issue_datagram`; the kernel reads the scratch block and the chain's slices.
    let failed = unsafe {
        slot.prepare(0);
        let count = scratch.gather(message.chain.pieces_from(0));
        let name_bytes = name.as_ref().map_or(0, |name| scratch.write_name(name));
        let block = scratch.block();
        let control_bytes = encode(&message.ancillary, over_ipv4, &mut (*block).control.0);
        let control: *mut u8 = (&raw mut (*block).control).cast();
        (*block).message = w::WSAMSG {
            name: if name.is_some() { (&raw mut (*block).name).cast() } else { std::ptr::null_mut() },
            namelen: name_bytes,
            lpBuffers: (&raw mut (*block).vectors).cast(),
            dwBufferCount: count,
            Control: w::WSABUF {
                len: control_bytes as u32,
                buf: if control_bytes > 0 { control } else { std::ptr::null_mut() },
            },
            dwFlags: 0,
        };
        tally::call(SystemCall::Send);
        w::WSASendMsg(
            socket.as_raw_socket() as w::SOCKET,
            &raw const (*block).message,
            0,
            &raw mut (*slot.wire()).bytes,
            slot.overlapped(),
            None,
        )
    };
    judge(failed == 0, false, 0)
}
