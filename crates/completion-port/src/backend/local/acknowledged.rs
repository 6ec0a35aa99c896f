//! How far a TCP connection's peer has come with what it was sent.

use socket2::Socket;
use std::{io, mem::offset_of, os::fd::AsRawFd as _};

/// Bytes that the peer has acknowledged: `tcpi_bytes_acked` of TCP_INFO (tcp(7)), which Linux has since 4.1.
pub(super) fn bytes(socket: &Socket) -> io::Result<u64> {
    // SAFETY: a structure of integers, for which zeros are a value.
    let mut information: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&information) as libc::socklen_t;
    // SAFETY: both pointers are to locals that outlive the call, and `length` is the size of the first, which bounds what the kernel writes.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut information).cast(),
            &raw mut length,
        )
    };
    let needed = offset_of!(libc::tcp_info, tcpi_bytes_acked) + size_of::<u64>();
    match failed {
        0 if length as usize >= needed => Ok(information.tcpi_bytes_acked),
        0 => Err(io::ErrorKind::Unsupported.into()),
        _ => Err(match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => io::ErrorKind::Unsupported.into(),
            error => error,
        }),
    }
}
