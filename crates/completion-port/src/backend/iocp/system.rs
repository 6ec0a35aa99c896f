//! The completion port of the system: create, associate, post, take.

use crate::{buffer::Wake, counters::SystemCall, error::Error, operation::OperationKind, tally};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use windows_sys::Win32::{
    Foundation::{CloseHandle, GetLastError, HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT},
    Storage::FileSystem::{FILE_TYPE_DISK, GetFileType, SetFileCompletionNotificationModes},
    System::IO::{
        CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED, OVERLAPPED_ENTRY,
        PostQueuedCompletionStatus,
    },
};

/// The key of packets that carry no operation: they say that the inbox is worth a look.
pub(super) const WAKE_KEY: usize = usize::MAX;

const FILE_SKIP_COMPLETION_PORT_ON_SUCCESS: u8 = 1;
const FILE_SKIP_SET_EVENT_ON_HANDLE: u8 = 2;

/// Owns the HANDLE. Closed when the last owner goes, which is not before everything in flight has come home.
pub(super) struct SystemPort {
    handle: HANDLE,
    /// A wake could not be queued.
    missed: AtomicBool,
}

// SAFETY: a completion port may be used from all threads; the HANDLE is only a name.
unsafe impl Send for SystemPort {}
// SAFETY: as above.
unsafe impl Sync for SystemPort {}

impl SystemPort {
    /// `concurrency` threads run at once; 0 is one a processor.
    pub(super) fn new(concurrency: u32) -> Result<Self, Error> {
        // SAFETY: INVALID_HANDLE_VALUE and no port make a new port.
        let handle =
            unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, std::ptr::null_mut(), 0, concurrency) };
        if handle.is_null() {
            Err(last_error(OperationKind::Setup))
        } else {
            Ok(Self { handle, missed: AtomicBool::new(false) })
        }
    }

    /// Associates a socket or file, once for its life.
    pub(super) fn associate(&self, source: HANDLE, key: usize) -> Result<(), Error> {
        tally::call(SystemCall::Register);
        // SAFETY: the caller owns `source`, and this port is open.
        let port = unsafe { CreateIoCompletionPort(source, self.handle, key, 0) };
        if port.is_null() { Err(last_error(OperationKind::Associate)) } else { Ok(()) }
    }

    /// Queues a packet.
    pub(super) fn post(&self, bytes: u32, key: usize, overlapped: *const OVERLAPPED) -> Result<(), Error> {
        tally::call(SystemCall::Wake);
        // SAFETY: the port is open, and does not look at what `overlapped` points to.
        let posted = unsafe { PostQueuedCompletionStatus(self.handle, bytes, key, overlapped) };
        if posted == 0 { Err(last_error(OperationKind::Post)) } else { Ok(()) }
    }

    /// Takes up to `entries.len()` packets; sleeps up to `timeout` (none: without limit) while there is none. Returns how many.
    pub(super) fn take(
        &self,
        entries: &mut [OVERLAPPED_ENTRY],
        timeout: Option<Duration>,
    ) -> Result<usize, Error> {
        let mut taken = 0;
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        tally::call(SystemCall::GetQueuedCompletionStatus);
        // SAFETY: `entries` has room for `count`, and `taken` lives through the call.
        let done = unsafe {
            GetQueuedCompletionStatusEx(
                self.handle,
                entries.as_mut_ptr(),
                count,
                &raw mut taken,
                milliseconds(timeout),
                0,
            )
        };
        if done != 0 {
            return Ok(taken as usize);
        }
        let error = last_error(OperationKind::Wait);
        if error.code() == Some(WAIT_TIMEOUT as i32) { Ok(0) } else { Err(error) }
    }
}

impl SystemPort {
    /// Whether a wake could not be queued since the last call: then the inbox is worth a look all the same.
    pub(super) fn has_missed_a_wake(&self) -> bool {
        self.missed.load(Ordering::Relaxed) && self.missed.swap(false, Ordering::AcqRel)
    }
}

impl Drop for SystemPort {
    fn drop(&mut self) {
        // SAFETY: the only owner, and nothing that is in flight refers to the port any more (kept by `Core`).
        unsafe { CloseHandle(self.handle) };
    }
}

impl Wake for SystemPort {
    fn wake(&self) -> bool {
        // It fails only where the system has no memory for the packet. The next worker that comes by looks then, and the next change
        // to the inbox tries again.
        let posted = self.post(0, WAKE_KEY, std::ptr::null()).is_ok();
        if !posted {
            self.missed.store(true, Ordering::Release);
        }
        posted
    }
}

/// Rounded up, so that a deadline has passed when the wait is over, and never "without limit" by accident.
fn milliseconds(timeout: Option<Duration>) -> u32 {
    let Some(timeout) = timeout else { return u32::MAX };
    u32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX).min(u32::MAX - 1)
}

/// Whether a file is on a disk: a message of a pipe that does not fit is neither a success nor a failure, as with datagrams.
pub(super) fn is_on_disk(source: HANDLE) -> bool {
    // SAFETY: the caller owns `source`.
    unsafe { GetFileType(source) == FILE_TYPE_DISK }
}

/// Asks that a success at once queues no packet. Irrevocable. False if the system refuses.
pub(super) fn skip_packets_on_success(source: HANDLE) -> bool {
    let modes = FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE;
    // SAFETY: the caller owns `source`.
    unsafe { SetFileCompletionNotificationModes(source, modes) != 0 }
}

pub(super) fn last_code() -> u32 {
    // SAFETY: reads the thread's own last error.
    unsafe { GetLastError() }
}

pub(super) fn last_error(operation: OperationKind) -> Error {
    Error::from_code(last_code() as i32, operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_round_up_and_never_to_infinite() {
        assert_eq!(milliseconds(None), u32::MAX);
        assert_eq!(milliseconds(Some(Duration::ZERO)), 0);
        assert_eq!(milliseconds(Some(Duration::from_nanos(1))), 1);
        assert_eq!(milliseconds(Some(Duration::from_micros(2_001))), 3);
        assert_eq!(milliseconds(Some(Duration::from_millis(u64::from(u32::MAX)))), u32::MAX - 1);
        assert_eq!(milliseconds(Some(Duration::MAX)), u32::MAX - 1);
    }

    #[test]
    fn packets_come_in_order_and_a_batch_is_bounded() {
        let port = SystemPort::new(0).unwrap();
        for number in 0..5 {
            port.post(number, 7, std::ptr::null()).unwrap();
        }
        let mut entries = [OVERLAPPED_ENTRY::default(); 3];
        assert_eq!(port.take(&mut entries, None).unwrap(), 3);
        assert_eq!(
            entries.map(|entry| (entry.lpCompletionKey, entry.dwNumberOfBytesTransferred)),
            [(7, 0), (7, 1), (7, 2)]
        );
        assert_eq!(port.take(&mut entries, Some(Duration::ZERO)).unwrap(), 2);
        assert_eq!(port.take(&mut entries, Some(Duration::from_millis(1))).unwrap(), 0);
    }
}
