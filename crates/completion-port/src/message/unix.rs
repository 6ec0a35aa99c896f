//! What travels beside the bytes, as sockets on Unix have it: control messages (cmsg(3)), laid out and taken apart.
//!
//! Linux tells and takes all of [`Ancillary`]; other systems have other calls for it, and here only the names and whether a datagram
//! was cut.

use super::Ancillary;
use crate::error::ErrorKind;
use socket2::Socket;
#[cfg(target_os = "linux")]
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZero,
    ptr,
};

/// More than the four kinds of control data need that are asked for. What a program has asked for besides may not find room; it is
/// left out then.
const SPACE_BYTES: usize = 256;

/// The family of a socket, as far as control data differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
    /// Unix-domain sockets and whatever else.
    Other,
}

impl Family {
    pub(crate) fn of(socket: &Socket) -> Self {
        match socket.local_addr().map(|address| i32::from(address.family())) {
            Ok(libc::AF_INET) => Self::V4,
            Ok(libc::AF_INET6) => Self::V6,
            _ => Self::Other,
        }
    }

    /// Whether room for control data is given to a receive. On other sockets there is nothing that is told from it, and whoever
    /// reaches one of the Unix domain could send descriptors along, which would stay open.
    pub(crate) fn has_control(self) -> bool {
        self != Self::Other
    }
}

/// Room for control messages, aligned as their headers.
#[repr(C, align(8))]
pub(crate) struct Space([u8; SPACE_BYTES]);

impl Space {
    pub(crate) const EMPTY: Self = Self([0; SPACE_BYTES]);

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }

    pub(crate) const fn capacity() -> usize {
        SPACE_BYTES
    }
}

/// Has the system tell what it knows beside the bytes, from now on. What it does not know of stays untold.
#[cfg(target_os = "linux")]
pub(crate) fn ask(socket: &Socket, family: Family) {
    let ask = |level, option| {
        let _ = crate::control::unix::set_option(socket, level, option, 1);
    };
    if family == Family::V6 {
        ask(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO);
        ask(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS);
    }
    if family == Family::V4 {
        ask(libc::IPPROTO_IP, libc::IP_PKTINFO);
    }
    if family != Family::Other {
        // On a socket of both families this is for datagrams of IPv4.
        ask(libc::IPPROTO_IP, libc::IP_RECVTOS);
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn ask(_: &Socket, _: Family) {}

/// Lays out what is to go beside the bytes; how many bytes of `space` that takes.
///
/// # Errors
///
/// What the family of the socket does not have is an argument that does not fit.
#[cfg(target_os = "linux")]
pub(crate) fn encode(ancillary: &Ancillary, family: Family, space: &mut Space) -> Result<usize, ErrorKind> {
    let Ancillary { local, interface, ecn, segment_bytes, truncated: _ } = *ancillary;
    let mut writer = Writer { space, used: 0 };
    if family == Family::Other && (local.is_some() || interface.is_some() || ecn.is_some()) {
        return Err(ErrorKind::InvalidArgument);
    }
    let index = interface.map_or(0, NonZero::get);
    match (family, local) {
        _ if local.is_none() && interface.is_none() => {}
        (Family::V4, local) => {
            let local = match local {
                Some(IpAddr::V4(address)) => address,
                Some(IpAddr::V6(_)) => return Err(ErrorKind::InvalidArgument),
                None => Ipv4Addr::UNSPECIFIED,
            };
            let information = libc::in_pktinfo {
                ipi_ifindex: index as libc::c_int,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            writer.push(libc::IPPROTO_IP, libc::IP_PKTINFO, information);
        }
        (_, local) => {
            let local = match local {
                Some(IpAddr::V6(address)) => address,
                Some(IpAddr::V4(address)) => address.to_ipv6_mapped(),
                None => Ipv6Addr::UNSPECIFIED,
            };
            let address = libc::in6_addr { s6_addr: local.octets() };
            let information = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: index };
            writer.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, information);
        }
    }
    if let Some(ecn) = ecn {
        // On a socket of both families the kernel takes the one that fits the datagram.
        writer.push(libc::IPPROTO_IP, libc::IP_TOS, libc::c_int::from(ecn));
        if family == Family::V6 {
            writer.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, libc::c_int::from(ecn));
        }
    }
    if let Some(bytes) = segment_bytes {
        if family == Family::Other {
            return Err(ErrorKind::InvalidArgument);
        }
        writer.push(libc::SOL_UDP, libc::UDP_SEGMENT, bytes.get());
    }
    Ok(writer.used)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn encode(ancillary: &Ancillary, _: Family, _: &mut Space) -> Result<usize, ErrorKind> {
    let untouched = Ancillary { truncated: ancillary.truncated, ..Ancillary::default() };
    if *ancillary == untouched { Ok(0) } else { Err(ErrorKind::Unsupported) }
}

#[cfg(target_os = "linux")]
struct Writer<'a> {
    space: &'a mut Space,
    used: usize,
}

#[cfg(target_os = "linux")]
impl Writer<'_> {
    fn push<T: Copy>(&mut self, level: i32, kind: i32, value: T) {
        // SAFETY: both only compute.
        let (space, length) = unsafe {
            (libc::CMSG_SPACE(size_of::<T>() as u32) as usize, libc::CMSG_LEN(size_of::<T>() as u32))
        };
        let rest = &mut self.space.0[self.used..];
        assert!(space <= rest.len(), "there is room for one of each kind");
        let header: *mut libc::cmsghdr = rest.as_mut_ptr().cast();
        // SAFETY: header and value lie within the room, as was checked; what was written before is a multiple of the alignment, which
        // the room has.
        unsafe {
            (*header).cmsg_len = length as _;
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            ptr::copy_nonoverlapping(
                (&raw const value).cast::<u8>(),
                libc::CMSG_DATA(header),
                size_of::<T>(),
            );
        }
        self.used += space;
    }
}

/// What a received message says beside its bytes.
///
/// # Safety
///
/// The control data that the header names, if any, is what the kernel wrote.
pub(crate) unsafe fn decode(header: &libc::msghdr) -> Ancillary {
    let mut ancillary =
        Ancillary { truncated: header.msg_flags & libc::MSG_TRUNC != 0, ..Ancillary::default() };
    // SAFETY: forwarded from the caller.
    unsafe { decode_control(header, &mut ancillary) };
    ancillary
}

#[cfg(target_os = "linux")]
unsafe fn decode_control(header: &libc::msghdr, ancillary: &mut Ancillary) {
    // SAFETY: the header names what the kernel wrote, by promise of the caller; likewise below.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: one of the headers that the kernel wrote.
        let (level, kind) = unsafe { ((*next).cmsg_level, (*next).cmsg_type) };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: this is what the kernel writes for this kind; likewise below.
                if let Some(information) = unsafe { value::<libc::in_pktinfo>(next) } {
                    ancillary.local = Some(Ipv4Addr::from(information.ipi_addr.s_addr.to_ne_bytes()).into());
                    ancillary.interface = NonZero::new(information.ipi_ifindex as u32);
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: as above.
                if let Some(information) = unsafe { value::<libc::in6_pktinfo>(next) } {
                    ancillary.local = Some(Ipv6Addr::from(information.ipi6_addr.s6_addr).into());
                    ancillary.interface = NonZero::new(information.ipi6_ifindex);
                }
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                // SAFETY: as above; one byte, unlike that of IPv6.
                ancillary.ecn = unsafe { value::<u8>(next) }.map(|service| service & 3).or(ancillary.ecn);
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                // SAFETY: as above.
                ancillary.ecn =
                    unsafe { value::<libc::c_int>(next) }.map(|class| class as u8 & 3).or(ancillary.ecn);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: as above.
                let bytes = unsafe { value::<libc::c_int>(next) };
                ancillary.segment_bytes =
                    bytes.and_then(|bytes| u16::try_from(bytes).ok()).and_then(NonZero::new);
            }
            _ => {}
        }
        // SAFETY: as for the first.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
}

#[cfg(not(target_os = "linux"))]
unsafe fn decode_control(_: &libc::msghdr, _: &mut Ancillary) {}

/// What a control message carries. None if the room ended within it, as it may where a program has asked for more than there is room for.
///
/// # Safety
///
/// The message lies in initialised memory as far as its length says, and what a kind such as this carries is a `T`.
#[cfg(target_os = "linux")]
unsafe fn value<T: Copy>(header: *const libc::cmsghdr) -> Option<T> {
    // SAFETY: the length was promised by the caller, and covers a `T` where it is read; it need not be aligned.
    unsafe {
        let whole = libc::CMSG_LEN(size_of::<T>() as u32) as usize;
        ((*header).cmsg_len as usize >= whole).then(|| ptr::read_unaligned(libc::CMSG_DATA(header).cast()))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The kernel cuts the last control message where the room ends (MSG_CTRUNC).
    #[test]
    fn a_control_message_that_was_cut_off_is_not_read_beyond_its_end() {
        let sent =
            Ancillary { local: Some(Ipv4Addr::LOCALHOST.into()), ecn: Some(2), ..Ancillary::default() };
        let mut space = Space::EMPTY;
        encode(&sent, Family::V4, &mut space).unwrap();
        // SAFETY: both only compute.
        let (bare, whole) =
            unsafe { (libc::CMSG_LEN(0), libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32)) };
        // SAFETY: a message header of zeros is valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        for room in bare..=whole {
            header.msg_control = space.as_mut_ptr();
            header.msg_controllen = room as _;
            // SAFETY: the first header lies there, aligned; its length becomes what the kernel would have made it.
            unsafe { (*header.msg_control.cast::<libc::cmsghdr>()).cmsg_len = room as _ };
            // SAFETY: it names what was laid out above.
            let told = unsafe { decode(&header) };
            assert_eq!(told.local.is_some(), room == whole, "in {room} bytes");
        }
    }
}
