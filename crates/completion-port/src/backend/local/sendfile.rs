//! sendfile(2): a file to a socket without a copy by this process, and without a wait for a disk.
//!
//! sendfile(2) waits for pages that are missing or still being read, and no flag forbids it. So only such bytes go this way as a read
//! that may not wait, or one that is done, has found in memory before ([`Core::warmed`]), and cachestat(2) finds there still. (That alone would not
//! do: it counts pages that are being read.) What is left to chance is that a page leaves the memory and another program is
//! reading it again just then.

use super::{Body, Core, Descriptor, pipe};
use crate::{chain::BufferChain, counters::SystemCall, identity::Token, tally};
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags},
};
use smallvec::SmallVec;
use std::{
    fs::File,
    io::IoSlice,
    os::fd::{AsFd, AsRawFd},
};

/// What one call sends at most: others wait for so much.
const MOST_AT_ONCE: u64 = 1 << 20;

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FromCache {
    /// Some went out: `transferred` says how far it is.
    Sent,
    /// The socket has no room.
    Full,
    /// What comes next of the file is not known to be in memory, or cannot go this way: it has to be read.
    Absent,
    Failed(Errno),
}

impl Core {
    /// `bytes` of the operation's file from `offset` were read, and so have been in memory.
    pub(crate) fn warmed(&self, token: Token, offset: u64, bytes: usize) {
        if let Some(state) = self.state(self.slot(token).file)
            && offset <= state.warm_bytes.get()
        {
            state.warm_bytes.set(state.warm_bytes.get().max(offset + bytes as u64));
        }
    }

    /// Sends what is left of the head, and the file's next bytes, as far as that means no waiting. For an operation with bytes of its file
    /// left, none of which is at hand.
    pub(crate) fn send_from_cache(&mut self, token: Token) -> FromCache {
        let mut moved = 0;
        let outcome = self.try_from_cache(token, &mut moved);
        self.slot_mut(token).transferred += moved;
        outcome
    }

    fn try_from_cache(&self, token: Token, moved: &mut u64) -> FromCache {
        let slot = self.slot(token);
        let Body::Transmit { head, .. } = &slot.body else { unreachable!("a transmit has a head") };
        let (Some(state), Some(Descriptor::Socket(socket))) =
            (self.state(slot.file), self.descriptor(slot.handle))
        else {
            return FromCache::Absent;
        };
        let Descriptor::File(file) = &state.descriptor else { return FromCache::Absent };
        let file: &File = file;
        let offset = slot.file_position();
        let wanted = (slot.range.length - (offset - slot.range.offset)).min(MOST_AT_ONCE);
        if offset.saturating_add(wanted) > state.warm_bytes.get() {
            return FromCache::Absent;
        }
        if !is_cached(file, offset, wanted) {
            state.warm_bytes.set(offset);
            return FromCache::Absent;
        }
        let left_of_head = head.len().saturating_sub(slot.transferred);
        if left_of_head > 0 {
            match send_head(socket, head, slot.transferred) {
                Ok(bytes) => *moved = bytes as u64,
                Err(Errno::AGAIN) => return FromCache::Full,
                Err(error) => return FromCache::Failed(error),
            }
            if *moved < left_of_head {
                return FromCache::Sent;
            }
        }
        let mut position = offset;
        loop {
            let left = (offset + wanted - position) as usize;
            let call = || {
                tally::call(SystemCall::SendFile);
                rustix::fs::sendfile(socket, file, Some(&mut position), left)
            };
            match pipe::without_signal(call) {
                Ok(bytes @ 1..) => {
                    *moved += bytes as u64;
                    // Fewer than asked for: only the next call tells that the socket is full, and has the system say when it is not.
                    if bytes == left {
                        return FromCache::Sent;
                    }
                }
                // The file is shorter than it was: the read that follows finds that out.
                Ok(0) => return FromCache::Absent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return FromCache::Full,
                // Not from this file system, or not to this socket.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    state.warm_bytes.set(0);
                    return FromCache::Absent;
                }
                Err(error) => return FromCache::Failed(error),
            }
        }
    }
}

/// Sends what is left of a head that a file follows at once: the system need not send a packet that is not full.
fn send_head(socket: impl AsFd, head: &BufferChain, begin: u64) -> Result<usize, Errno> {
    let pieces: SmallVec<[IoSlice<'_>; BufferChain::MAXIMUM_SLICES]> =
        head.pieces_from(begin).map(IoSlice::new).collect();
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| {
        tally::call(SystemCall::Send);
        match &pieces[..] {
            [only] => rustix::net::send(&socket, only, flags),
            several => rustix::net::sendmsg(&socket, several, &mut SendAncillaryBuffer::default(), flags),
        }
    })
}

/// Whether the page cache has all of a range, by cachestat(2) (Linux 6.5). Where the system does not tell, which includes files that the process may neither
/// own nor write, it is taken not to be there.
fn is_cached(file: &File, offset: u64, length: u64) -> bool {
    /// The same on all architectures.
    const CACHESTAT: libc::c_long = 451;
    #[repr(C)]
    struct Range {
        offset: u64,
        length: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Found {
        cached: u64,
        dirty: u64,
        written_back: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    let (range, mut found) = (Range { offset, length }, Found::default());
    tally::call(SystemCall::CacheState);
    // SAFETY: the kernel reads a range and writes what it found, both of the layout of cachestat(2) and alive for the call.
    let code = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut found, 0) };
    let page = rustix::param::page_size() as u64;
    let pages = (offset + length - 1) / page - offset / page + 1;
    code == 0 && found.cached >= pages
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_written_just_now_is_in_memory_and_what_was_dropped_is_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 300_000]).unwrap();
        assert!(is_cached(&file, 0, 300_000) && is_cached(&file, 4_095, 2) && is_cached(&file, 299_999, 1));
        assert!(!is_cached(&file, 0, 400_000), "there is nothing behind the end");
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert!(!is_cached(&file, 0, 300_000));
    }
}
