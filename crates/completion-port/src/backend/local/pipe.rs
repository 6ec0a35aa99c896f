//! Pipes: read and written in place, since they never block here, and awaited like sockets.
//!
//! A write to a pipe that nobody reads raises SIGPIPE in the writing thread (pipe(7)), and no option of the pipe prevents that. A Rust
//! program ignores the signal from its start, but a library cannot rely on that: other programs link it, and some restore the
//! signal. So a write either carries a flag that keeps the signal away (RWF_NOSIGNAL, Linux 6.18), or it is made with the signal
//! blocked in this thread alone, and what it left pending is taken off.

use crate::{buffer::Buffer, chain::BufferChain, counters::SystemCall, tally};
use rustix::io::Errno;
use smallvec::SmallVec;
use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd},
};

/// Whether it is a pipe, of whichever end.
pub(crate) fn is_pipe(end: impl AsFd) -> bool {
    use rustix::fs::FileType;
    rustix::fs::fstat(end).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

/// Reads what is there into the spare room of several buffers, which are not advanced; from a socket too.
pub(crate) fn read_scattered(end: impl AsFd, buffers: &mut [Buffer]) -> Result<usize, Errno> {
    let rooms = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer.spare_mut()));
    let mut rooms: SmallVec<[IoSliceMut<'_>; BufferChain::MAXIMUM_SLICES]> = rooms.collect();
    rustix::io::retry_on_intr(|| {
        tally::call(SystemCall::Read);
        rustix::io::readv(&end, &mut rooms)
    })
}

/// Writes what there is room for, of up to a chain; never waits, and raises no signal.
pub(crate) fn write<'a>(end: BorrowedFd<'_>, pieces: impl Iterator<Item = &'a [u8]>) -> Result<usize, Errno> {
    let mut vectors = [IoSlice::new(&[]); BufferChain::MAXIMUM_SLICES];
    let mut count = 0;
    for (vector, piece) in vectors.iter_mut().zip(pieces) {
        *vector = IoSlice::new(piece);
        count += 1;
    }
    rustix::io::retry_on_intr(|| {
        tally::call(SystemCall::Write);
        write_quietly(end, &vectors[..count])
    })
}

#[cfg(target_os = "linux")]
fn write_quietly(end: BorrowedFd<'_>, vectors: &[IoSlice<'_>]) -> Result<usize, Errno> {
    use rustix::io::ReadWriteFlags;
    use std::sync::atomic::{AtomicBool, Ordering};
    /// RWF_NOSIGNAL, which rustix does not name yet.
    const NO_SIGNAL: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x100);
    static KNOWN: AtomicBool = AtomicBool::new(true);
    // Relaxed: who reads the old value finds out for itself.
    if KNOWN.load(Ordering::Relaxed) {
        match rustix::io::pwritev2(end, vectors, u64::MAX, NO_SIGNAL) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => KNOWN.store(false, Ordering::Relaxed),
            written => return written,
        }
    }
    without_signal(|| rustix::io::writev(end, vectors))
}

#[cfg(not(target_os = "linux"))]
fn write_quietly(end: BorrowedFd<'_>, vectors: &[IoSlice<'_>]) -> Result<usize, Errno> {
    without_signal(|| rustix::io::writev(end, vectors))
}

/// Runs a write that may raise SIGPIPE, and keeps that from the program. Cheap where the program ignores it.
fn without_signal(write: impl FnOnce() -> Result<usize, Errno>) -> Result<usize, Errno> {
    if is_ignored() { write() } else { with_signal_blocked(write) }
}

/// Whether the program ignores SIGPIPE: one question is cheaper than to block it.
pub(super) fn is_ignored() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    tally::call(SystemCall::Signal);
    // SAFETY: nothing is changed, and the call writes the action before it is read.
    unsafe {
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Runs a write during which SIGPIPE is blocked in this thread, which it is sent to, and takes off the one that the write raised.
pub(super) fn with_signal_blocked(write: impl FnOnce() -> Result<usize, Errno>) -> Result<usize, Errno> {
    let mut signal = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    tally::call(SystemCall::Signal);
    // SAFETY: the set is written by the first call before it is read; the masks are this thread's own.
    unsafe {
        libc::sigemptyset(signal.as_mut_ptr());
        libc::sigaddset(signal.as_mut_ptr(), libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, signal.as_ptr(), before.as_mut_ptr());
    }
    // One that somebody else sent is not ours to take.
    let waited = is_pending();
    let written = write();
    if written == Err(Errno::PIPE) && !waited && is_pending() {
        let mut number = 0;
        // SAFETY: the set was written above; the signal is pending and blocked, so that this returns at once.
        unsafe { libc::sigwait(signal.as_ptr(), &raw mut number) };
    }
    tally::call(SystemCall::Signal);
    // SAFETY: the mask of before was written above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    written
}

fn is_pending() -> bool {
    let mut pending = MaybeUninit::uninit();
    tally::call(SystemCall::Signal);
    // SAFETY: written by the first call before the second reads it.
    unsafe {
        libc::sigemptyset(pending.as_mut_ptr());
        libc::sigpending(pending.as_mut_ptr());
        libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the signal's default, which would end the process, for one thread's writes to a pipe that nobody reads.
    #[test]
    fn a_pipe_without_a_reader_is_an_error_and_no_signal() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        // SAFETY: the default of a signal; other tests of this process do not care for it, since sends ask for no signal.
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let quiet = write(writer.as_fd(), [&b"x"[..]].into_iter());
        let blocked = with_signal_blocked(|| rustix::io::write(&writer, b"x"));
        let left = is_pending();
        // SAFETY: what it was.
        unsafe { libc::signal(libc::SIGPIPE, before) };
        assert_eq!((quiet, blocked, left), (Err(Errno::PIPE), Err(Errno::PIPE), false));
    }
}
