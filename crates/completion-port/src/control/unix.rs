//! Requests that setsockopt(2) answers on the spot.

use super::{ControlRequest, KeepAlive};
use socket2::{Socket, TcpKeepalive};
use std::{io, time::Duration};

/// Tells the socket. Not for [`ControlRequest::AddressChange`], which is waited for.
pub(crate) fn apply(socket: &Socket, request: ControlRequest) -> io::Result<()> {
    let applied = match request {
        ControlRequest::KeepAlive(Some(KeepAlive { after, interval })) => {
            let keep_alive =
                TcpKeepalive::new().with_time(whole_seconds(after)).with_interval(whole_seconds(interval));
            socket.set_tcp_keepalive(&keep_alive)
        }
        ControlRequest::KeepAlive(None) => socket.set_keepalive(false),
        ControlRequest::CoalesceDatagrams(coalesce) => set_coalescing(socket, coalesce),
        ControlRequest::AddressChange => Err(io::ErrorKind::Unsupported.into()),
    };
    applied.map_err(|error| match error.raw_os_error() {
        // A socket of another kind, or a kernel that is too old.
        Some(libc::ENOPROTOOPT) => io::Error::from_raw_os_error(libc::EOPNOTSUPP),
        _ => error,
    })
}

/// The system counts in seconds, at least one.
fn whole_seconds(time: Duration) -> Duration {
    let up = u64::from(time.subsec_nanos() > 0);
    Duration::from_secs(time.as_secs().saturating_add(up).max(1))
}

#[cfg(target_os = "linux")]
fn set_coalescing(socket: &Socket, coalesce: bool) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, coalesce.into())
}

#[cfg(not(target_os = "linux"))]
fn set_coalescing(_: &Socket, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Sets an option that is a number.
#[cfg(target_os = "linux")]
pub(crate) fn set_option(socket: &Socket, level: i32, option: i32, value: libc::c_int) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the value outlives the call, and its length is what is said.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_second_are_rounded_up() {
        for (given_ms, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(given_ms)), Duration::from_secs(seconds));
        }
    }
}
