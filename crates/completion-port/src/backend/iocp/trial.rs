//! Calls of the tests at start, each with an event of its own instead of a port.

use super::{
    slot::AREA_BYTES,
    winsock::{ADDRESS_BYTES, Functions, last_socket_code},
};
use std::{
    os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle},
    time::Duration,
};
use windows_sys::Win32::{
    Foundation::{ERROR_IO_PENDING, WAIT_OBJECT_0},
    Networking::WinSock as w,
    System::{
        IO::OVERLAPPED,
        Threading::{CreateEventW, WaitForSingleObject},
    },
};

/// One call, and what the kernel writes to.
pub(super) struct Trial {
    overlapped: OVERLAPPED,
    area: [u8; AREA_BYTES],
    bytes: u32,
    event: OwnedHandle,
}

impl Trial {
    pub(super) fn new() -> Option<Box<Self>> {
        // SAFETY: the pointers may be null; a fresh handle has one owner.
        let event = unsafe {
            let event = CreateEventW(std::ptr::null(), 1, 0, std::ptr::null());
            if event.is_null() { None } else { Some(OwnedHandle::from_raw_handle(event)) }
        }?;
        let overlapped = OVERLAPPED { hEvent: event.as_raw_handle(), ..OVERLAPPED::default() };
        Some(Box::new(Self { overlapped, area: [0; AREA_BYTES], bytes: 0, event }))
    }

    pub(super) fn overlapped(&mut self) -> *mut OVERLAPPED {
        &raw mut self.overlapped
    }

    /// Waits for a call that returned `succeeded`. Where it does not end in time its memory is leaked: the kernel still has it.
    pub(super) fn end(mut self: Box<Self>, socket: w::SOCKET, succeeded: i32, limit: Duration) -> Option<()> {
        if succeeded == 0 && last_socket_code() != ERROR_IO_PENDING {
            return None;
        }
        // SAFETY: the event is open.
        let waited = unsafe { WaitForSingleObject(self.event.as_raw_handle(), limit.as_millis() as u32) };
        if waited != WAIT_OBJECT_0 {
            Box::leak(self);
            return None;
        }
        let (mut bytes, mut flags) = (0, 0);
        // SAFETY: the call is over; everything lives through this one.
        let done = unsafe {
            w::WSAGetOverlappedResult(socket, &raw mut self.overlapped, &raw mut bytes, 0, &raw mut flags)
        };
        (done != 0).then_some(())
    }
}

/// AcceptEx that waits up to `limit`.
pub(super) fn accept_and_wait(
    functions: &Functions,
    listener: w::SOCKET,
    socket: w::SOCKET,
    limit: Duration,
) -> Option<()> {
    let mut trial = Trial::new()?;
    let address = ADDRESS_BYTES as u32;
    // SAFETY: all of it lies in the trial, which is leaked if the call does not end.
    let accepted = unsafe {
        let room = (&raw mut trial.area).cast();
        let (bytes, overlapped) = (&raw mut trial.bytes, &raw mut trial.overlapped);
        (functions.accept)(listener, socket, room, 0, address, address, bytes, overlapped)
    };
    trial.end(listener, accepted, limit)
}

/// DisconnectEx that waits up to `limit`.
pub(super) fn disconnect_and_wait(functions: &Functions, socket: w::SOCKET, limit: Duration) -> Option<()> {
    let mut trial = Trial::new()?;
    // SAFETY: the OVERLAPPED lies in the trial, which is leaked if the call does not end.
    let done = unsafe { (functions.disconnect)(socket, &raw mut trial.overlapped, w::TF_REUSE_SOCKET, 0) };
    trial.end(socket, done, limit)
}
