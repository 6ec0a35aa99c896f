//! What a socket is told or asked beside its bytes.

use super::{
    handle::State,
    slot::{Body, Slot},
    turn::Turn,
    winsock::{Issued, judge, last_socket_code},
};
use crate::{
    control::{ControlRequest, KeepAlive},
    error::{Error, ErrorKind},
    message::windows::set,
    operation::OperationKind,
};
use std::{ffi::c_void, ptr::null_mut, time::Duration};
use windows_sys::Win32::Networking::WinSock as w;

/// The most that joined datagrams may come to, in bytes: the longest payload of UDP.
const COALESCED_BYTES: u32 = 65_535 - 8;

impl Turn<'_> {
    /// Carries a request out in place. None if the kernel does it by itself.
    pub(super) fn control(&self, state: &State, slot: &Slot) -> Option<Result<u64, Error>> {
        let of = OperationKind::Control;
        let Body::Control(request) = slot.job().body else { return Some(Ok(0)) };
        let Some(socket) = state.socket() else {
            return Some(Err(Error::new(ErrorKind::InvalidArgument, of)));
        };
        match request {
            ControlRequest::KeepAlive(wanted) => Some(keep_alive(state.raw_socket(), wanted)),
            ControlRequest::CoalesceDatagrams(yes) => {
                let bytes = if yes { COALESCED_BYTES } else { 0 };
                // Older systems refuse it, each with a code of its own.
                let done = set(socket, w::IPPROTO_UDP, w::UDP_RECV_MAX_COALESCED_SIZE, bytes);
                let refused = |error: std::io::Error| {
                    Error::with_code(ErrorKind::Unsupported, error.raw_os_error().unwrap_or(0), of)
                };
                Some(done.map(|()| 0).map_err(refused))
            }
            ControlRequest::AddressChange => None,
        }
    }
}

/// SIO_KEEPALIVE_VALS.
fn keep_alive(socket: w::SOCKET, wanted: Option<KeepAlive>) -> Result<u64, Error> {
    let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1);
    // Where it is switched off, the times still have to be some.
    let values = match wanted {
        Some(KeepAlive { after, interval }) => w::tcp_keepalive {
            onoff: 1,
            keepalivetime: milliseconds(after),
            keepaliveinterval: milliseconds(interval),
        },
        None => w::tcp_keepalive { onoff: 0, keepalivetime: 7_200_000, keepaliveinterval: 1_000 },
    };
    let (input, mut bytes) = ((&raw const values).cast::<c_void>(), 0);
    // SAFETY: without an OVERLAPPED the call is over when it returns, and the values live until then.
    let failed = unsafe {
        w::WSAIoctl(
            socket,
            w::SIO_KEEPALIVE_VALS,
            input,
            size_of::<w::tcp_keepalive>() as u32,
            null_mut(),
            0,
            &raw mut bytes,
            null_mut(),
            None,
        )
    };
    if failed == 0 { Ok(0) } else { Err(Error::from_code(last_socket_code() as i32, OperationKind::Control)) }
}

/// SIO_ADDRESS_LIST_CHANGE, which ends when an address of the machine changes.
///
/// # Safety
///
/// As for [`winsock::receive`](super::winsock::receive).
pub(super) unsafe fn wait_for_addresses(slot: &Slot, socket: w::SOCKET, skips: bool) -> Issued {
    // SAFETY: as the caller promises; nothing is passed in or out.
    unsafe {
        slot.prepare(0);
        let failed = w::WSAIoctl(
            socket,
            w::SIO_ADDRESS_LIST_CHANGE,
            null_mut(),
            0,
            null_mut(),
            0,
            &raw mut (*slot.wire()).bytes,
            slot.overlapped(),
            None,
        );
        judge(failed == 0, skips, 0)
    }
}
