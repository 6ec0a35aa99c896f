//! Datagrams with what travels beside their bytes.

use crate::{address::Address, chain::BufferChain};
use std::{net::IpAddr, num::NonZero};

#[cfg(unix)]
pub(crate) mod unix;
#[cfg(windows)]
pub(crate) mod windows;

/// What the system tells of a datagram beside its bytes, or is told (the control data of WSARecvMsg and WSASendMsg; cmsg(3)).
///
/// What a system does not know stays `None` on receiving. On sending `None` leaves the system's own choice; what a socket's family does not have is
/// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument), and what the system does not have
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported). On Unix systems other than Linux that is everything but
/// [`truncated`](Self::truncated).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ancillary {
    /// The local address: to which it was sent, or from which it is to go (IP_PKTINFO, IPV6_PKTINFO).
    pub local: Option<IpAddr>,
    /// The index of the interface that it came in by, or is to leave by.
    pub interface: Option<NonZero<u32>>,
    /// The two bits of explicit congestion notification, 0 to 3 (RFC 3168, section 5). Sending them leaves the rest of the traffic class at zero.
    pub ecn: Option<u8>,
    /// Several datagrams in one buffer, each of so many bytes but for the last: received together (UDP_GRO,
    /// UDP_RECV_MAX_COALESCED_SIZE), or to be cut apart by the system (UDP_SEGMENT, UDP_SEND_MSG_SIZE).
    pub segment_bytes: Option<NonZero<u16>>,
    /// On receiving: the datagram was longer than the room for it, and its end is lost (MSG_TRUNC).
    pub truncated: bool,
}

/// A datagram on its way out. Boxed, so that the program can use the same memory again and again.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The bytes.
    pub chain: BufferChain,
    /// Where to; none on a connected socket.
    pub to: Option<Address>,
    /// What goes beside the bytes.
    pub ancillary: Ancillary,
}
