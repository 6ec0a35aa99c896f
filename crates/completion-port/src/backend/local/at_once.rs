//! What is done within the call that asks for it: without an operation, and so without a completion.

use super::{Core, Descriptor, FromCache, sendfile, warmth::WINDOW_BYTES};
use crate::{
    counters::SystemCall, error::Error, file::is_in_memory, identity::Handle, operation::OperationKind, tally,
};
use rustix::{
    io::{Errno, ReadWriteFlags},
    net::RecvFlags,
};
use std::{io::IoSliceMut, ops::Range, os::unix::fs::FileExt};

impl Core {
    /// Reads from a file what is in memory of it: how many bytes, from `offset` on.
    pub(super) fn read_at_once(&mut self, file: Handle, offset: u64, into: &mut [u8]) -> usize {
        let now_ms = self.now_ms();
        let Some(state) = self.handles.get_mut(file.index(), file.generation()) else { return 0 };
        let Descriptor::File(file) = &state.descriptor else { return 0 };
        if state.closing || into.is_empty() {
            return 0;
        }
        if state.warmth.as_ref().is_none_or(|warmth| warmth.can_be_probed) {
            tally::call(SystemCall::Read);
            let pieces = &mut [IoSliceMut::new(into)];
            match rustix::io::preadv2(&**file, pieces, offset, ReadWriteFlags::NOWAIT) {
                Ok(bytes) => return bytes,
                Err(Errno::OPNOTSUPP) => state.warmth.get_or_insert_default().can_be_probed = false,
                Err(_) => return 0,
            }
        }
        // As for sendfile(2): what was seen in memory a moment ago.
        let (length, left) = (into.len() as u64, WINDOW_BYTES - offset % WINDOW_BYTES);
        let warmth = state.warmth.get_or_insert_default();
        if length > left || !warmth.has(file, offset, length, now_ms, &mut self.scratch) {
            return 0;
        }
        tally::call(SystemCall::Read);
        file.read_at(into, offset).unwrap_or(0)
    }

    /// Whether a send may begin on the handle within a call: it is an open socket, and nothing of its direction is under way.
    pub(super) fn may_send_at_once(&self, handle: Handle) -> bool {
        self.state(handle).is_some_and(|state| {
            matches!(state.descriptor, Descriptor::Socket(_))
                && state.fits(OperationKind::TransmitFile).is_ok()
                && state.send.is_empty()
        })
    }

    /// Sends a head, and what is in memory of a range of a file, as far as the socket has room: how many bytes. For a socket of which
    /// [`Core::may_send_at_once`] is true.
    pub(super) fn transmit_at_once(
        &mut self,
        handle: Handle,
        head: &[u8],
        file: Handle,
        range: Range<u64>,
    ) -> u64 {
        // What is behind it is another look at what is in memory: for an operation.
        let window = range.start - range.start % WINDOW_BYTES;
        let end = range.end.min(window.saturating_add(WINDOW_BYTES));
        if range.is_empty() || !self.is_warm(file, range.start, end - range.start) {
            return 0;
        }
        let quiet = self.ignores_signal();
        let (Some(Descriptor::File(from)), Some(Descriptor::Socket(socket))) =
            (self.descriptor(file), self.descriptor(handle))
        else {
            return 0;
        };
        let mut sent = 0;
        if !head.is_empty() {
            // An operation that sends the rest meets the same error.
            sent = sendfile::send_head(socket, [head].into_iter()).unwrap_or(0) as u64;
            if sent < head.len() as u64 {
                return sent;
            }
        }
        let outcome = sendfile::send_range(socket, from, range.start..end, quiet, &mut sent);
        if outcome == FromCache::Absent {
            self.refuse_warmth(file, range.start);
        }
        sent
    }

    /// Whether a receive may begin on the handle within a call: it is an open socket, and nothing of its direction is under way.
    pub(super) fn may_receive_at_once(&self, handle: Handle) -> bool {
        self.state(handle).is_some_and(|state| {
            matches!(state.descriptor, Descriptor::Socket(_))
                && state.fits(OperationKind::Receive).is_ok()
                && state.receive.is_empty()
        })
    }

    /// Receives what is there. For a socket of which [`Core::may_receive_at_once`] is true.
    pub(super) fn receive_at_once(&self, handle: Handle, into: &mut [u8]) -> Result<usize, Error> {
        let Some(Descriptor::Socket(socket)) = self.descriptor(handle) else { return Ok(0) };
        if into.is_empty() {
            return Ok(0);
        }
        tally::call(SystemCall::Receive);
        match rustix::net::recv(socket, into, RecvFlags::DONTWAIT) {
            Ok((bytes, _)) => Ok(bytes),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(Error::from_code(error.raw_os_error(), OperationKind::Receive)),
        }
    }

    /// Writes to a file that lives in memory.
    pub(super) fn write_at_once(&self, file: Handle, offset: u64, bytes: &[u8]) -> usize {
        let Some(state) = self.state(file) else { return 0 };
        let Descriptor::File(file) = &state.descriptor else { return 0 };
        if state.closing || bytes.is_empty() || !is_in_memory(&**file) {
            return 0;
        }
        tally::call(SystemCall::Write);
        rustix::io::pwrite(&**file, bytes, offset).unwrap_or(0)
    }
}
