//! What this system can do, found out once by doing it on the loopback. Versions of Windows differ, and Wine lacks some of it without
//! saying so.

use super::{
    system::SystemPort,
    winsock::{Functions, last_socket_code},
};
use crate::{
    direction::Direction,
    message::{
        Ancillary,
        windows::{CONTROL_BYTES, encode, set},
    },
};
use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::windows::io::AsRawSocket,
    sync::OnceLock,
    time::Duration,
};
use windows_sys::Win32::{
    Foundation::{ERROR_IO_PENDING, HANDLE},
    Networking::WinSock as w,
    System::IO::{OVERLAPPED, OVERLAPPED_ENTRY},
};

/// How long a datagram on the loopback is waited for.
const LIMIT: Duration = Duration::from_millis(200);

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Abilities {
    /// WSASendMsg obeys control data: the local address and the interface.
    pub(super) control: bool,
    /// The same for the bits of congestion notification (Windows 10, version 20H1, and newer).
    pub(super) ecn: bool,
    /// The system cuts a message into datagrams (Windows 10, version 2004, and newer).
    pub(super) segments: bool,
    /// A receive, and a send, that fails at once because the datagram is too long still queues a packet: so do calls that end in what
    /// the system takes for a warning and not for an error, and which this is has been written down nowhere. Where it could not be found out
    /// it is taken for granted: who waits in vain for a packet has lost an operation, who is surprised by one has lost a buffer to the
    /// kernel.
    pub(super) oversize_queues: [bool; 2],
    /// TransmitPackets sends what it is given.
    pub(super) transmit_packets: bool,
}

impl Abilities {
    /// Looks, the first time.
    pub(super) fn find(functions: &Functions) -> Self {
        static FOUND: OnceLock<Abilities> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let control = obeys_control().unwrap_or(false);
            let knows = |level, option, value| {
                let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None);
                control && socket.is_ok_and(|socket| set(&socket, level, option, value).is_ok())
            };
            Self {
                control,
                ecn: knows(w::IPPROTO_IP, w::IP_RECVECN, 1),
                segments: knows(w::IPPROTO_UDP, w::UDP_SEND_MSG_SIZE, 512),
                oversize_queues: Direction::BOTH.map(|direction| oversize_queues(direction).unwrap_or(true)),
                transmit_packets: super::packets::works(functions),
            }
        })
    }

    /// In words, for the list of backends.
    pub(super) fn describe(self) -> String {
        let name = |has, name: &'static str, none: &'static str| if has { name } else { none };
        [
            name(self.transmit_packets, "TransmitPackets", "no TransmitPackets"),
            name(self.control, "WSASendMsg with control data", "no control data with WSASendMsg"),
            name(self.segments, "segmentation of datagrams", "no segmentation of datagrams"),
        ]
        .join(", ")
    }
}

/// Sends from another address than the system would choose.
fn obeys_control() -> Option<bool> {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    receiver.set_read_timeout(Some(LIMIT)).ok()?;
    let sender = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    let wanted = IpAddr::from([127, 0, 0, 2]);
    let mut control = super::scratch::Control([0; CONTROL_BYTES]);
    let ancillary = Ancillary { local: Some(wanted), ..Ancillary::default() };
    let control_bytes = encode(&ancillary, true, &mut control.0);
    let to = socket2::SockAddr::from(receiver.local_addr().ok()?);
    let mut byte = 1u8;
    let mut vector = w::WSABUF { len: 1, buf: &raw mut byte };
    let message = w::WSAMSG {
        name: to.as_ptr().cast_mut().cast(),
        namelen: to.len(),
        lpBuffers: &raw mut vector,
        dwBufferCount: 1,
        Control: w::WSABUF { len: control_bytes as u32, buf: (&raw mut control).cast() },
        dwFlags: 0,
    };
    let (socket, mut sent) = (sender.as_raw_socket() as w::SOCKET, 0);
    // SAFETY: without an OVERLAPPED the call is over when it returns, and everything lives until then.
    let failed =
        unsafe { w::WSASendMsg(socket, &raw const message, 0, &raw mut sent, std::ptr::null_mut(), None) };
    if failed != 0 {
        return Some(false);
    }
    let (_, from) = receiver.recv_from(&mut [0; 1]).ok()?;
    Some(from.ip() == wanted)
}

/// What the kernel reads and writes during the test.
struct Oversize {
    overlapped: OVERLAPPED,
    byte: u8,
    bytes: u32,
    flags: u32,
}

/// More than any datagram has.
static TOO_MANY: [u8; 100_000] = [0; 100_000];

/// Makes a call fail because a datagram is too long for the room, or for the system, and looks whether a packet comes all the same.
fn oversize_queues(direction: Direction) -> Option<bool> {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    receiver.set_read_timeout(Some(LIMIT)).ok()?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    sender.connect(receiver.local_addr().ok()?).ok()?;
    sender.send(&[1, 2]).ok()?;
    // It is there from here on.
    receiver.peek(&mut [0; 2]).ok()?;
    let port = SystemPort::new(0).ok()?;
    let tested = if direction == Direction::Receive { &receiver } else { &sender };
    port.associate(tested.as_raw_socket() as HANDLE, 0).ok()?;
    let socket = tested.as_raw_socket() as w::SOCKET;
    // Leaked where it is not clear that the call is over.
    let test =
        Box::leak(Box::new(Oversize { overlapped: OVERLAPPED::default(), byte: 0, bytes: 0, flags: 0 }));
    let (bytes, overlapped) = (&raw mut test.bytes, &raw mut test.overlapped);
    // SAFETY: all that the kernel reads is static, and what it writes to is leaked until it is known to be done.
    let failed = unsafe {
        match direction {
            Direction::Receive => {
                let vector = w::WSABUF { len: 1, buf: &raw mut test.byte };
                w::WSARecv(socket, &raw const vector, 1, bytes, &raw mut test.flags, overlapped, None)
            }
            Direction::Send => {
                let vector = w::WSABUF { len: TOO_MANY.len() as u32, buf: TOO_MANY.as_ptr().cast_mut() };
                w::WSASend(socket, &raw const vector, 1, bytes, 0, overlapped, None)
            }
        }
    };
    let code = if failed == 0 { 0 } else { last_socket_code() };
    // A packet of a call that is over is queued before the call returns.
    let wait = if code == ERROR_IO_PENDING { LIMIT } else { Duration::ZERO };
    let packets = port.take(&mut [OVERLAPPED_ENTRY::default()], Some(wait)).ok()?;
    if packets > 0 || code == w::WSAEMSGSIZE as u32 {
        // SAFETY: leaked above, and the kernel is done with it.
        drop(unsafe { Box::from_raw(std::ptr::from_mut(test)) });
    }
    (code == w::WSAEMSGSIZE as u32).then_some(packets > 0)
}
