//! One anonymous mapping from the system: zeroed, page-aligned, used by the system only where touched.

use crate::error::{Error, ErrorKind};
use crate::operation::OperationKind;
use std::ptr::NonNull;

pub(crate) struct Mapping {
    begin: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    /// Maps `bytes`, which may be zero.
    pub(crate) fn new(bytes: usize) -> Result<Self, Error> {
        if bytes == 0 {
            return Ok(Self { begin: NonNull::dangling(), bytes });
        }
        let begin = map(bytes).ok_or(Error::new(ErrorKind::SystemResources, OperationKind::Setup))?;
        Ok(Self { begin, bytes })
    }

    /// The address `offset` bytes in.
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= self.bytes, "an offset lies within the mapping");
        // SAFETY: within the mapping or one past its end.
        unsafe { self.begin.add(offset) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: mapped by `map` with this size, and the pool that owns this drops it after its last block came home.
            unsafe { unmap(self.begin, self.bytes) }
        }
    }
}

#[cfg(unix)]
fn map(bytes: usize) -> Option<NonNull<u8>> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    // SAFETY: a fresh mapping at an address of the system's choice aliases nothing.
    let mapped = unsafe {
        mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    };
    NonNull::new(mapped.ok()?.cast())
}

#[cfg(unix)]
unsafe fn unmap(begin: NonNull<u8>, bytes: usize) {
    // SAFETY: forwarded from the caller: this very mapping, used by nobody. Failure would only leak it.
    let _ = unsafe { rustix::mm::munmap(begin.as_ptr().cast(), bytes) };
}

#[cfg(windows)]
fn map(bytes: usize) -> Option<NonNull<u8>> {
    use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_RESERVE, PAGE_READWRITE, VirtualAlloc};
    // SAFETY: a fresh mapping at an address of the system's choice aliases nothing.
    NonNull::new(
        unsafe { VirtualAlloc(std::ptr::null(), bytes, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE) }.cast(),
    )
}

#[cfg(windows)]
unsafe fn unmap(begin: NonNull<u8>, _bytes: usize) {
    use windows_sys::Win32::System::Memory::{MEM_RELEASE, VirtualFree};
    // SAFETY: forwarded from the caller: this very mapping, used by nobody. Failure would only leak it.
    unsafe { VirtualFree(begin.as_ptr().cast(), 0, MEM_RELEASE) };
}
