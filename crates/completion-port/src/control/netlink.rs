//! Changes of the machine's addresses, as Linux tells of them (rtnetlink(7)).

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Enough for the messages that come together; what does not fit is cut, and its beginning says enough.
const MESSAGE_BYTES: usize = 4_096;
const HEADER_BYTES: usize = size_of::<libc::nlmsghdr>();

/// A socket that hears of changes from when it was opened on.
pub(crate) struct AddressNotices(OwnedFd);

impl AddressNotices {
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // No protocol is the route protocol.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        let groups = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups as u32))?;
        Ok(Self(socket))
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Whether there was a change. Never waits.
    pub(crate) fn changed(&self) -> io::Result<bool> {
        let mut message = [0; MESSAGE_BYTES];
        loop {
            match rustix::net::recvfrom(&self.0, &mut message[..], RecvFlags::empty()) {
                Ok((bytes, _, from)) => {
                    // Any process may send to the socket; the kernel's own number is 0.
                    let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
                    if from.is_some_and(|from| from.pid() == 0) && tells_of_change(&message[..bytes]) {
                        return Ok(true);
                    }
                }
                // More came than the socket could hold.
                Err(Errno::NOBUFS) => return Ok(true),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether one of the messages is of an address that came or went.
fn tells_of_change(mut messages: &[u8]) -> bool {
    while let Some(header) = messages.first_chunk::<HEADER_BYTES>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        if matches!(kind, libc::RTM_NEWADDR | libc::RTM_DELADDR) {
            return true;
        }
        // The next begins at a multiple of four.
        match messages.get(length.max(HEADER_BYTES).next_multiple_of(4)..) {
            Some(rest) => messages = rest,
            None => break,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, Configuration, ControlRequest, Operation, Port};
    use std::{os::fd::AsRawFd, time::Duration};

    fn message(kind: u16, length: u32) -> Vec<u8> {
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10]].concat();
        bytes.resize(length.next_multiple_of(4).max(16) as usize, 0);
        bytes
    }

    #[test]
    fn only_addresses_are_changes() {
        let link = message(libc::RTM_NEWLINK, 33);
        assert!(!tells_of_change(&link));
        assert!(!tells_of_change(&[]));
        assert!(!tells_of_change(&message(libc::RTM_NEWLINK, 0)));
        assert!(tells_of_change(&message(libc::RTM_DELADDR, 20)));
        assert!(tells_of_change(&[link, message(libc::RTM_NEWADDR, 20)].concat()));
    }

    /// Has the calling thread live in a network of its own, if it is allowed to.
    fn leave_the_network() -> bool {
        // SAFETY: it touches no memory, and concerns this thread only.
        unsafe { libc::unshare(libc::CLONE_NEWNET) == 0 }
    }

    /// Switches the loopback of the network on, and the kernel gives it its addresses.
    fn switch_the_loopback_on() {
        let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        // SAFETY: zeros are a request, of a flag and a name that ends with zero.
        let switched = unsafe {
            let mut request: libc::ifreq = std::mem::zeroed();
            (request.ifr_name[0], request.ifr_name[1]) = (b'l' as _, b'o' as _);
            request.ifr_ifru.ifru_flags = libc::IFF_UP as _;
            libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request)
        };
        assert_eq!(switched, 0, "{}", io::Error::last_os_error());
    }

    #[test]
    fn a_change_completes_the_operation_once() {
        for backend in [Backend::IoUring, Backend::Readiness] {
            std::thread::spawn(move || {
                let mut configuration = Configuration::default();
                (configuration.backend, configuration.queues) = (Some(backend), 1);
                // Not everybody may have a network, nor every kernel this backend.
                let (true, Ok(port)) = (leave_the_network(), Port::new(configuration)) else { return };
                let mut worker = port.worker().unwrap();
                let handle = worker.associate(std::net::UdpSocket::bind(("0.0.0.0", 0)).unwrap(), 0).unwrap();
                let request = ControlRequest::AddressChange;
                let token = worker.submit(handle, Operation::Control { request }).unwrap();
                let mut completions = Vec::new();
                worker.wait(&mut completions, Some(Duration::ZERO)).unwrap();
                assert!(completions.is_empty(), "{completions:?}");
                switch_the_loopback_on();
                while completions.is_empty() {
                    worker.wait(&mut completions, None).unwrap();
                }
                assert_eq!(
                    (completions.len(), completions[0].token, completions[0].result),
                    (1, token, Ok(0))
                );
            })
            .join()
            .unwrap();
        }
    }
}
