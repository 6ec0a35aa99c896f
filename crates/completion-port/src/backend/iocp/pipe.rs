//! Named pipes: ReadFile and WriteFile, one at a time in each direction.

use super::{
    handle::{Entry, Object, State},
    slot::{Body, Job, Slot, Stage},
    start::{MAXIMUM_FILE_BYTES, judge},
    system::last_error,
    turn::Turn,
    winsock::Issued,
};
use crate::{
    buffer::Buffer,
    completion::Payload,
    counters::SystemCall,
    direction::Direction,
    error::{Error, ErrorKind},
    operation::OperationKind,
    tally,
};
use std::{
    os::windows::io::{AsRawHandle, OwnedHandle},
    ptr::{NonNull, null, null_mut},
};
use windows_sys::Win32::{
    Foundation::{ERROR_BROKEN_PIPE, ERROR_PIPE_NOT_CONNECTED, HANDLE},
    Storage::FileSystem::{ReadFile, WriteFile},
    System::Pipes::{
        GetNamedPipeHandleStateW, PIPE_READMODE_BYTE, PIPE_READMODE_MESSAGE, SetNamedPipeHandleState,
    },
};

/// Makes an end of a pipe bring bytes, and not messages of which the rest would be an error.
pub(super) fn prepare(pipe: &OwnedHandle) -> Result<(), Error> {
    let raw = pipe.as_raw_handle();
    let (mut mode, nothing) = (0, null_mut());
    // SAFETY: the handle is open, the mode lives through the call, and the rest is not asked for.
    let known =
        unsafe { GetNamedPipeHandleStateW(raw, &raw mut mode, nothing, nothing, nothing, null_mut(), 0) };
    if known == 0 {
        return Err(last_error(OperationKind::Associate));
    }
    if mode & PIPE_READMODE_MESSAGE == 0 {
        return Ok(());
    }
    let wanted = mode & !PIPE_READMODE_MESSAGE | PIPE_READMODE_BYTE;
    // SAFETY: as above.
    let done = unsafe { SetNamedPipeHandleState(raw, &raw const wanted, null(), null()) };
    if done == 0 { Err(last_error(OperationKind::Associate)) } else { Ok(()) }
}

/// Whether the operation reads from a pipe, and not from a file on behalf of one.
pub(super) fn is_read(state: &State, kind: OperationKind) -> bool {
    matches!(state.object, Object::Pipe(_)) && Direction::of(kind) == Some(Direction::Receive)
}

/// Whether a read has ended because the other end is closed, which on a pipe is the orderly end.
pub(super) fn is_end(state: &State, kind: OperationKind, code: u32) -> bool {
    is_read(state, kind) && matches!(code, ERROR_BROKEN_PIPE | ERROR_PIPE_NOT_CONNECTED)
}

/// Makes the call of an operation on a pipe.
///
/// # Safety
///
/// As for [`winsock::receive`](super::winsock::receive); `job` is the slot's.
pub(super) unsafe fn issue(pipe: &OwnedHandle, slot: &Slot, job: &mut Job) -> Issued {
    let raw = pipe.as_raw_handle();
    match &mut job.body {
        Body::Buffer(buffer) => {
            // SAFETY: as the caller promises.
            unsafe { read(raw, slot, buffer.spare_pointer()) }
        }
        Body::Buffers(buffers) => {
            // What does not fit into the first with room is left for the next read.
            let room = buffers.iter_mut().map(Buffer::spare_pointer).find(|(_, bytes)| *bytes > 0);
            // SAFETY: as the caller promises.
            unsafe { read(raw, slot, room.unwrap_or((NonNull::dangling().as_ptr(), 0))) }
        }
        // A stream waits for bytes without a buffer.
        Body::None => {
            // SAFETY: as the caller promises; no memory is passed.
            unsafe { read(raw, slot, (NonNull::dangling().as_ptr(), 0)) }
        }
        Body::Chain(chain) => {
            let Some(piece) = chain.pieces_from(job.transferred).next() else { return Issued::Done(0) };
            let bytes = piece.len().min(MAXIMUM_FILE_BYTES) as u32;
            // SAFETY: as the caller promises; the slot owns the chain.
            unsafe {
                slot.prepare(0);
                let count = &raw mut (*slot.wire()).bytes;
                tally::call(SystemCall::Write);
                judge(WriteFile(raw, piece.as_ptr(), bytes, count, slot.overlapped()), false, slot)
            }
        }
        _ => unreachable!("{:?} is not for pipes", job.kind),
    }
}

/// ReadFile.
unsafe fn read(raw: HANDLE, slot: &Slot, (pointer, bytes): (*mut u8, usize)) -> Issued {
    let bytes = bytes.min(MAXIMUM_FILE_BYTES) as u32;
    // SAFETY: as for `issue`; the slot owns the memory.
    unsafe {
        slot.prepare(0);
        let count = &raw mut (*slot.wire()).bytes;
        tally::call(SystemCall::Read);
        judge(ReadFile(raw, pointer, bytes, count, slot.overlapped()), false, slot)
    }
}

impl Turn<'_> {
    /// Bytes, or the end, are there for a stream: reads what is there.
    pub(super) fn read_for_stream(&mut self, entry: &Entry, state: &mut State, index: u32) {
        let slot = self.core.slot(index);
        match self.shared.buffers.acquire(self.shared.configuration.receive_bytes) {
            Ok(buffer) => {
                slot.job().body = Body::Buffer(buffer);
                let issued = self.issue(state, slot);
                self.follow(entry, state, index, issued);
            }
            Err(error) if error.kind() == ErrorKind::BuffersExhausted => {
                slot.job().stage = Stage::Starving;
                self.core.starving.add(slot.owner());
            }
            Err(error) => self.complete(state, index, Err(error), Payload::None),
        }
    }

    /// A read of a stream has ended with `bytes` bytes, or at the end of the pipe.
    pub(super) fn stream_was_read(
        &mut self,
        entry: &Entry,
        state: &mut State,
        index: u32,
        (bytes, end): (u32, bool),
    ) {
        let mut job = self.core.slot(index).job();
        let (buffer, ended) = (std::mem::take(&mut job.body), job.ended.is_some());
        job.stage = Stage::Resting;
        drop(job);
        match buffer {
            Body::Buffer(mut buffer) if bytes > 0 => {
                buffer.advance(bytes as usize);
                self.item(state, index, u64::from(bytes), Payload::Buffer(buffer));
                if ended {
                    self.complete_ended(state, index);
                }
            }
            _ if end => self.complete(state, index, Ok(0), Payload::None),
            _ if ended => self.complete_ended(state, index),
            // A message of no bytes is passed over.
            Body::Buffer(_) => self.arm(entry, state, index),
            _ => self.read_for_stream(entry, state, index),
        }
    }
}
