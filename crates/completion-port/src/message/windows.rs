//! The control data of WSARecvMsg and WSASendMsg: a list of headers with a value behind each.

use super::Ancillary;
use socket2::Socket;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZero,
    os::windows::io::AsRawSocket,
};
use windows_sys::Win32::Networking::WinSock as w;

/// Room for all that is told of one datagram, in bytes.
pub(crate) const CONTROL_BYTES: usize = 256;

/// The length with the header, the level and the type; what follows is aligned like the header (WSACMSGHDR).
const HEADER_BYTES: usize = size_of::<w::CMSGHDR>();
const ALIGNMENT: usize = align_of::<w::CMSGHDR>();

/// What the system is asked to tell of each datagram. One that does not know of something refuses that, and does not tell it.
pub(crate) fn ask(socket: &Socket) {
    let options = [
        (w::IPPROTO_IP, w::IP_PKTINFO),
        (w::IPPROTO_IP, w::IP_RECVECN),
        (w::IPPROTO_IPV6, w::IPV6_PKTINFO),
        (w::IPPROTO_IPV6, w::IPV6_RECVECN),
    ];
    for (level, option) in options {
        let _ = set(socket, level, option, 1);
    }
}

/// Sets an option of 32 bits.
pub(crate) fn set(socket: &Socket, level: i32, option: i32, value: u32) -> std::io::Result<()> {
    let bytes = size_of::<u32>() as i32;
    // SAFETY: the value has the size given, and lives through the call.
    let failed = unsafe {
        w::setsockopt(socket.as_raw_socket() as w::SOCKET, level, option, (&raw const value).cast(), bytes)
    };
    if failed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// What the system told.
pub(crate) fn decode(control: &[u8], truncated: bool) -> Ancillary {
    let mut told = Ancillary { truncated, ..Ancillary::default() };
    let mut rest = control;
    while let Some((header, behind)) = rest.split_at_checked(HEADER_BYTES) {
        let (length, kind) = header.split_at(size_of::<usize>());
        let length = usize::from_ne_bytes(length.try_into().unwrap_or_default());
        let (level, kind) = (number(kind) as i32, number(&kind[4..]) as i32);
        let Some(value) = length.checked_sub(HEADER_BYTES).and_then(|bytes| behind.get(..bytes)) else {
            break;
        };
        take(&mut told, level, kind, value);
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    told
}

fn take(told: &mut Ancillary, level: i32, kind: i32, value: &[u8]) {
    match (level, kind, value.len()) {
        (w::IPPROTO_IP, w::IP_PKTINFO, 8..) => {
            told.local = value.first_chunk::<4>().map(|&address| Ipv4Addr::from(address).into());
            told.interface = NonZero::new(number(&value[4..]));
        }
        (w::IPPROTO_IPV6, w::IPV6_PKTINFO, 20..) => {
            told.local = value.first_chunk::<16>().map(|&address| Ipv6Addr::from(address).into());
            told.interface = NonZero::new(number(&value[16..]));
        }
        (w::IPPROTO_IP, w::IP_ECN | w::IP_TOS, 1..)
        | (w::IPPROTO_IPV6, w::IPV6_ECN | w::IPV6_TCLASS, 1..) => {
            told.ecn = Some(value[0] & 3);
        }
        (w::IPPROTO_UDP, COALESCED, 4..) => {
            told.segment_bytes = u16::try_from(number(value)).ok().and_then(NonZero::new);
        }
        _ => {}
    }
}

const COALESCED: i32 = w::UDP_COALESCED_INFO as i32;

/// The first four bytes as a number.
fn number(value: &[u8]) -> u32 {
    value.first_chunk().map_or(0, |&bytes| u32::from_ne_bytes(bytes))
}

/// Lays out what the system is to be told of a datagram over IPv4 or IPv6. Returns how many bytes.
pub(crate) fn encode(ancillary: &Ancillary, over_ipv4: bool, control: &mut [u8; CONTROL_BYTES]) -> usize {
    let mut filled = 0;
    let mut put = |level: i32, kind: i32, value: &[u8]| {
        let length = HEADER_BYTES + value.len();
        let place = &mut control[filled..][..length.next_multiple_of(ALIGNMENT)];
        place.fill(0);
        place[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
        place[size_of::<usize>()..][..4].copy_from_slice(&level.to_ne_bytes());
        place[size_of::<usize>() + 4..][..4].copy_from_slice(&kind.to_ne_bytes());
        place[HEADER_BYTES..length].copy_from_slice(value);
        filled += length.next_multiple_of(ALIGNMENT);
    };
    let interface = ancillary.interface.map_or(0, NonZero::get).to_ne_bytes();
    match ancillary.local {
        None if ancillary.interface.is_none() => {}
        Some(IpAddr::V4(local)) if over_ipv4 => {
            put(w::IPPROTO_IP, w::IP_PKTINFO, &[&local.octets()[..], &interface].concat());
        }
        None if over_ipv4 => put(w::IPPROTO_IP, w::IP_PKTINFO, &[&[0; 4][..], &interface].concat()),
        local => {
            let local = match local {
                Some(IpAddr::V6(local)) => local,
                Some(IpAddr::V4(local)) => local.to_ipv6_mapped(),
                None => Ipv6Addr::UNSPECIFIED,
            };
            put(w::IPPROTO_IPV6, w::IPV6_PKTINFO, &[&local.octets()[..], &interface].concat());
        }
    }
    if let Some(ecn) = ancillary.ecn {
        let (level, kind) =
            if over_ipv4 { (w::IPPROTO_IP, w::IP_ECN) } else { (w::IPPROTO_IPV6, w::IPV6_ECN) };
        put(level, kind, &u32::from(ecn).to_ne_bytes());
    }
    if let Some(segment) = ancillary.segment_bytes {
        put(w::IPPROTO_UDP, w::UDP_SEND_MSG_SIZE, &u32::from(segment.get()).to_ne_bytes());
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_one_way_is_understood_the_other() {
        for (over_ipv4, local) in
            [(true, IpAddr::from([127, 0, 0, 3])), (false, IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 9]))]
        {
            let ancillary = Ancillary {
                local: Some(local),
                interface: NonZero::new(7),
                ecn: Some(2),
                segment_bytes: None,
                truncated: true,
            };
            let mut control = [0xff; CONTROL_BYTES];
            let bytes = encode(&ancillary, over_ipv4, &mut control);
            assert_eq!(decode(&control[..bytes], true), ancillary);
        }
    }

    #[test]
    fn what_is_not_said_takes_no_room() {
        assert_eq!(encode(&Ancillary::default(), true, &mut [0; CONTROL_BYTES]), 0);
        let everything = Ancillary {
            local: Some(IpAddr::from([9; 16])),
            interface: NonZero::new(1),
            ecn: Some(3),
            segment_bytes: NonZero::new(1_200),
            truncated: false,
        };
        assert!(encode(&everything, false, &mut [0; CONTROL_BYTES]) <= CONTROL_BYTES);
    }

    #[test]
    fn nonsense_is_passed_over() {
        for length in [0usize, 3, 15, 17, 255, usize::MAX] {
            let mut control = [1u8; 40];
            control[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(decode(&control, false), Ancillary::default());
        }
    }
}
