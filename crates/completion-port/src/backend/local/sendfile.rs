//! sendfile(2): a file to a socket without a copy by this process, and without a wait for a disk (see [`super::warmth`]).

use super::{Body, Core, Descriptor, pipe, warmth::WINDOW_BYTES};
use crate::{
    chain::BufferChain,
    counters::SystemCall,
    identity::{Handle, Token},
    tally,
};
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags},
};
use smallvec::SmallVec;
use std::{io::IoSlice, ops::Range, os::fd::AsFd};

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
    /// Sends what is left of the head, and the file's next bytes, as far as that means no waiting. For an operation with bytes of its file
    /// left, none of which is at hand.
    pub(crate) fn send_from_cache(&mut self, token: Token) -> FromCache {
        let slot = self.slot(token);
        let (handle, file, offset) = (slot.handle, slot.file, slot.file_position());
        let left = slot.range.length - (offset - slot.range.offset);
        // Others wait for so much.
        let wanted = left.min(WINDOW_BYTES - offset % WINDOW_BYTES);
        if !matches!(self.descriptor(handle), Some(Descriptor::Socket(_))) {
            return FromCache::Absent;
        }
        if !self.is_warm(file, offset, wanted) {
            return FromCache::Absent;
        }
        let mut moved = 0;
        let quiet = self.ignores_signal();
        let outcome = self.try_from_cache(token, offset..offset + wanted, quiet, &mut moved);
        self.slot_mut(token).transferred += moved;
        if outcome == FromCache::Absent {
            self.refuse_warmth(file, offset);
        }
        outcome
    }

    /// Whether a program that is sent a signal by a broken connection ignores it. One question for all sends of a turn, not one for
    /// each.
    pub(super) fn ignores_signal(&mut self) -> bool {
        *self.ignores_signal.get_or_insert_with(pipe::is_ignored)
    }

    /// By the clock that warmth counts by.
    pub(super) fn now_ms(&self) -> u32 {
        self.now().as_millis() as u32
    }

    /// Whether a part of a file, within one window, is known to be in memory.
    pub(super) fn is_warm(&mut self, file: Handle, offset: u64, length: u64) -> bool {
        let now_ms = self.now_ms();
        let Some(state) = self.handles.get_mut(file.index(), file.generation()) else { return false };
        let Descriptor::File(file) = &state.descriptor else { return false };
        state.warmth.get_or_insert_default().has(file, offset, length, now_ms, &mut self.scratch)
    }

    /// What seemed to be in memory could not go this way.
    pub(super) fn refuse_warmth(&mut self, file: Handle, offset: u64) {
        let now_ms = self.now_ms();
        if let Some(warmth) = self.state_mut(file).and_then(|state| state.warmth.as_mut()) {
            warmth.refuse(offset, now_ms);
        }
    }

    fn try_from_cache(&self, token: Token, range: Range<u64>, quiet: bool, moved: &mut u64) -> FromCache {
        let slot = self.slot(token);
        let Body::Transmit { head, .. } = &slot.body else { unreachable!("a transmit has a head") };
        let (Some(Descriptor::File(file)), Some(Descriptor::Socket(socket))) =
            (self.descriptor(slot.file), self.descriptor(slot.handle))
        else {
            return FromCache::Absent;
        };
        let left_of_head = head.len().saturating_sub(slot.transferred);
        if left_of_head > 0 {
            match send_head(socket, head.pieces_from(slot.transferred)) {
                Ok(bytes) => *moved = bytes as u64,
                Err(Errno::AGAIN) => return FromCache::Full,
                Err(error) => return FromCache::Failed(error),
            }
            if *moved < left_of_head {
                return FromCache::Sent;
            }
        }
        send_range(socket, file, range, quiet, moved)
    }
}

/// Sends what is left of a head that a file follows at once: the system need not send a packet that is not full.
pub(super) fn send_head<'a>(socket: impl AsFd, head: impl Iterator<Item = &'a [u8]>) -> Result<usize, Errno> {
    let pieces: SmallVec<[IoSlice<'_>; BufferChain::MAXIMUM_SLICES]> = head.map(IoSlice::new).collect();
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| {
        tally::call(SystemCall::Send);
        match &pieces[..] {
            [only] => rustix::net::send(&socket, only, flags),
            several => rustix::net::sendmsg(&socket, several, &mut SendAncillaryBuffer::default(), flags),
        }
    })
}

/// Sends a range of a file, all of which is in memory, as far as the socket has room. `moved` counts the bytes.
pub(super) fn send_range(
    socket: impl AsFd,
    file: impl AsFd,
    range: Range<u64>,
    quiet: bool,
    moved: &mut u64,
) -> FromCache {
    let mut position = range.start;
    loop {
        let left = (range.end - position) as usize;
        let mut call = || {
            tally::call(SystemCall::SendFile);
            rustix::fs::sendfile(&socket, &file, Some(&mut position), left)
        };
        match if quiet { call() } else { pipe::with_signal_blocked(call) } {
            Ok(bytes @ 1..) => {
                *moved += bytes as u64;
                // Fewer than asked for: only the next call tells that the socket is full, and has the system say when it is not.
                if bytes == left {
                    return FromCache::Sent;
                }
            }
            // The file is shorter than it was: the read that follows finds that out. Or it cannot go this way.
            Ok(0) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return FromCache::Absent,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return FromCache::Full,
            Err(error) => return FromCache::Failed(error),
        }
    }
}
