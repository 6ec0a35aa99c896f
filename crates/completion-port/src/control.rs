//! What a socket can be told or asked beside its bytes.

use std::time::Duration;

#[cfg(target_os = "linux")]
pub(crate) mod netlink;
#[cfg(unix)]
pub(crate) mod unix;

/// A request to the system about a socket (the seed's WSAIoctl).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ControlRequest {
    /// Probe a connection on which nothing was heard for `after`, then every `interval`, and reset it when no probe is answered; none switches
    /// probing off. Whole seconds on Unix, rounded up. (SIO_KEEPALIVE_VALS; TCP_KEEPIDLE and TCP_KEEPINTVL of tcp(7).)
    KeepAlive(Option<KeepAlive>),
    /// Let [`Operation::ReceiveMessage`](crate::Operation::ReceiveMessage) join datagrams of one sender that came together
    /// ([`Ancillary::segment_bytes`](crate::Ancillary::segment_bytes)). Only where all datagrams are received in this way: other receives may be given joined
    /// ones too, without a word. (UDP_GRO; UDP_RECV_MAX_COALESCED_SIZE.)
    CoalesceDatagrams(bool),
    /// Complete when the addresses of the machine's interfaces change, once; ask again for the next change. Any socket will do. (SIO_ADDRESS_LIST_CHANGE;
    /// RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR of rtnetlink(7).)
    AddressChange,
}

/// When a silent connection is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeepAlive {
    /// Silence before the first probe.
    pub after: Duration,
    /// From one probe to the next.
    pub interval: Duration,
}
