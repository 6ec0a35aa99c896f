//! Making the calls.

use super::{
    control::wait_for_addresses,
    datagram::is_for_datagrams,
    handle::{Entry, Object, State},
    pipe,
    slot::{Body, Slot, Stage},
    system::last_code,
    turn::Turn,
    winsock::{self, Issued, MAXIMUM_TRANSMIT_BYTES},
};
use crate::{
    chain::BufferChain,
    counters::SystemCall,
    direction::Direction,
    error::{Error, ErrorKind},
    operation::OperationKind,
    pool::{Reply, Task},
    tally,
};
use std::{net::Shutdown, sync::Arc};
use windows_sys::Win32::{
    Foundation::HANDLE,
    Storage::FileSystem::{ReadFile, WriteFile},
};

/// Bytes of one ReadFile or WriteFile, whose counts have 32 bits.
pub(super) const MAXIMUM_FILE_BYTES: usize = 0x7fff_f000;

impl Turn<'_> {
    /// Starts an operation, or its next part.
    pub(super) fn start(&mut self, entry: &Entry, state: &mut State, index: u32) {
        let slot = self.core.slot(index);
        let kind = slot.job().kind;
        if is_for_datagrams(kind) {
            let refused = self.refuse_datagram(state, &slot.job());
            if let Some(reason) = refused {
                return self.complete_with_body(state, index, Err(Error::new(reason, kind)));
            }
        }
        match kind {
            OperationKind::Accept | OperationKind::AcceptStream => self.begin_accepting(state, index),
            OperationKind::ReceiveStream => self.begin_stream(entry, state, index),
            OperationKind::Disconnect => {
                tally::call(SystemCall::Shutdown);
                let ended = state.socket().map_or(Ok(()), |socket| socket.shutdown(Shutdown::Write));
                self.complete(
                    state,
                    index,
                    ended.map(|()| 0).map_err(|error| Error::from_io(&error, kind)),
                    Default::default(),
                );
            }
            OperationKind::Open
            | OperationKind::Link
            | OperationKind::Sync
            | OperationKind::Metadata
            | OperationKind::Call => {
                self.start_on_pool(state, index);
            }
            OperationKind::Append => self.start_on_pool(state, index),
            OperationKind::WatchDirectory => self.begin_watching(entry, state, index),
            OperationKind::Control => match self.control(state, slot) {
                Some(result) => self.complete_with_body(state, index, result),
                None => {
                    // SAFETY: the operation is being started, and the owner's lock is held.
                    let issued = unsafe { wait_for_addresses(slot, state.raw_socket(), state.skips) };
                    self.follow(entry, state, index, issued);
                }
            },
            OperationKind::Connect if slot.job().body.connects_elsewhere() => {
                // Unix-domain sockets of Windows have neither ConnectEx nor AcceptEx.
                self.complete_with_body(state, index, Err(Error::new(ErrorKind::Unsupported, kind)));
            }
            OperationKind::WriteAt if slot.job().file.as_ref().is_some_and(|file| file.extends) => {
                self.start_on_pool(state, index)
            }
            OperationKind::Receive | OperationKind::ReceiveScatter if state.early.is_some() => {
                self.receive_early(state, index)
            }
            _ => {
                let issued = self.issue(state, slot);
                self.follow(entry, state, index, issued);
            }
        }
    }

    /// Goes on after a call was made.
    pub(super) fn follow(&mut self, entry: &Entry, state: &mut State, index: u32, issued: Issued) {
        match issued {
            // Too long a datagram is a warning to the system, for which it queues a packet where the test at start has seen that.
            Issued::Failed(code) if self.queued_all_the_same(state, index, code) => {
                self.core.slot(index).job().stage = Stage::Kernel;
            }
            Issued::Pending => self.core.slot(index).job().stage = Stage::Kernel,
            Issued::Failed(code) => self.event(entry, state, index, Err(code)),
            Issued::Done(bytes) if state.inline < self.shared.configuration.inline_budget => {
                state.inline += 1;
                self.event(entry, state, index, Ok(bytes));
            }
            Issued::Done(bytes) => {
                // The handle had its share: its completion goes to the end of the kernel's queue, behind those of others.
                state.inline = 0;
                let slot = self.core.slot(index);
                // SAFETY: the call is over, and the owner's lock is held. The packet says success.
                unsafe { slot.prepare(0) };
                match self.core.port.post(bytes, slot.owner().to_bits() as usize, slot.overlapped()) {
                    Ok(()) => slot.job().stage = Stage::Kernel,
                    Err(_) => self.event(entry, state, index, Ok(bytes)),
                }
            }
        }
    }

    /// Makes the call of an operation that the kernel does by itself.
    pub(super) fn issue(&self, state: &State, slot: &Slot) -> Issued {
        let mut job = slot.job();
        let job = &mut *job;
        let (socket, skips) = (state.raw_socket(), state.skips);
        // SAFETY, for all calls below: the operation is being started, or its last packet was taken, so that the kernel does not have
        // the slot; `state` is the owner's, locked; the slot's job owns the buffers, chains and the file, and keeps them until the
        // packet has come or the call has failed or succeeded at once.
        match (job.kind, &mut job.body) {
            (kind, _)
                if let Object::Pipe(pipe) = &state.object
                    && Direction::of(kind).is_some() =>
            {
                // SAFETY: see above.
                unsafe { pipe::issue(pipe, slot, job) }
            }
            (OperationKind::TransmitPackets, _) => {
                // SAFETY: see above.
                unsafe { self.issue_list(state, slot, job) }
            }
            (OperationKind::Receive, Body::Buffer(buffer)) => {
                let (pointer, bytes) = buffer.spare_pointer();
                // SAFETY: see above.
                unsafe { winsock::receive(slot, socket, skips, pointer, bytes, false) }
            }
            (OperationKind::ReceiveScatter, Body::Buffers(buffers)) => {
                let scratch = job.scratch.get_or_insert_with(|| self.core.scratches.take());
                // SAFETY: see above.
                unsafe { winsock::receive_scatter(slot, socket, skips, scratch, buffers) }
            }
            (kind, _)
                if is_for_datagrams(kind)
                    || (matches!(kind, OperationKind::Send)
                        && matches!(state.object, Object::Datagrams(_))) =>
            {
                // SAFETY: see above.
                unsafe { self.issue_datagram(state, slot, job) }
            }
            (OperationKind::Send | OperationKind::Connect, Body::Chain(chain)) if chain.is_empty() => {
                Issued::Done(0)
            }
            (OperationKind::Send | OperationKind::Connect, Body::Chain(chain)) => {
                // SAFETY: see above.
                unsafe { winsock::send(slot, socket, skips, chain, job.transferred) }
            }
            (OperationKind::TransmitFile, Body::Chain(head)) => {
                let Some(file) = &job.file else { return Issued::Failed(0) };
                transmit(slot, state, (job.offset, job.length), head, job.transferred, file.raw())
            }
            (OperationKind::Connect, Body::Connect { address, first }) => {
                match (&state.object, address.as_internet()) {
                    // SAFETY: see above.
                    (Object::Socket(socket), Some(address)) => unsafe {
                        winsock::connect(&self.core.functions, slot, socket, skips, address, first)
                    },
                    // In place, for nothing is sent. No packet comes, whatever the socket says of others.
                    (Object::Datagrams(socket), Some(address)) => match socket.connect(&address.into()) {
                        Ok(()) => Issued::Done(0),
                        Err(error) => Issued::Failed(error.raw_os_error().unwrap_or(0) as u32),
                    },
                    _ => Issued::Failed(0),
                }
            }
            (OperationKind::ReadAt, Body::Buffer(buffer)) => {
                let (pointer, bytes) = buffer.spare_pointer();
                let Some(file) = &job.file else { return Issued::Failed(0) };
                let bytes = bytes.min(MAXIMUM_FILE_BYTES) as u32;
                // SAFETY: see above.
                unsafe {
                    slot.prepare(job.offset + job.transferred);
                    let count = &raw mut (*slot.wire()).bytes;
                    tally::call(SystemCall::Read);
                    judge(ReadFile(file.raw(), pointer, bytes, count, slot.overlapped()), file.skips, slot)
                }
            }
            (OperationKind::WriteAt, Body::Chain(chain)) => {
                let Some(file) = &job.file else { return Issued::Failed(0) };
                let Some(piece) = chain.pieces_from(job.transferred).next() else { return Issued::Done(0) };
                let bytes = piece.len().min(MAXIMUM_FILE_BYTES) as u32;
                // SAFETY: see above.
                unsafe {
                    slot.prepare(job.offset + job.transferred);
                    let count = &raw mut (*slot.wire()).bytes;
                    tally::call(SystemCall::Write);
                    judge(
                        WriteFile(file.raw(), piece.as_ptr(), bytes, count, slot.overlapped()),
                        file.skips,
                        slot,
                    )
                }
            }
            _ => unreachable!("{:?} is not the kernel's", job.kind),
        }
    }

    /// Hands an operation that may block to the pool.
    fn start_on_pool(&mut self, state: &mut State, index: u32) {
        let slot = self.core.slot(index);
        let mut job = slot.job();
        job.stage = Stage::Pool;
        let (token, kind) = (job.token(self.core.queue, index), job.kind);
        let file = job.file.as_ref().map(|borrowed| Arc::clone(&borrowed.file));
        let task = match (std::mem::take(&mut job.body), file) {
            (Body::Open { directory, path, options }, _) => Task::Open { directory, path, options },
            (Body::Link { directory, path, replace }, Some(file)) => {
                Task::Link { file, directory, path, replace }
            }
            (Body::Chain(chain), Some(file)) if kind == OperationKind::Append => Task::Append { file, chain },
            (Body::Chain(chain), Some(file)) => Task::WriteAt { file, offset: job.offset, chain },
            (Body::Work(work), _) => Task::Call { work },
            (_, Some(file)) if kind == OperationKind::Metadata => Task::Metadata { file },
            (_, Some(file)) => Task::Sync { file, data_only: job.data_only },
            (_, None) => unreachable!("{kind:?} is not the pool's"),
        };
        drop(job);
        let reply = Arc::clone(&self.shared.queues[self.core.queue as usize]) as Arc<dyn Reply>;
        if let Err(task) = self.shared.pool.submit(token, task, reply) {
            let error = Error::new(ErrorKind::SystemResources, kind);
            self.complete(state, index, Err(error), task.into_payload());
        }
    }
}

/// The next part of a transmit-file: the head by itself where it is in several pieces, else head and file in one call.
pub(super) fn transmit(
    slot: &Slot,
    state: &State,
    (offset, length): (u64, u64),
    head: &BufferChain,
    done: u64,
    file: HANDLE,
) -> Issued {
    let (socket, skips) = (state.raw_socket(), state.skips);
    let in_one_piece =
        head.slices().len() == 1 && done == 0 && head.len() <= MAXIMUM_TRANSMIT_BYTES && length > 0;
    if done < head.len() && !in_one_piece {
        // SAFETY: as in `Turn::issue`, whose slot and chain these are.
        return unsafe { winsock::send(slot, socket, skips, head, done) };
    }
    let file_done = done.saturating_sub(head.len());
    if file_done == length {
        return Issued::Done(0);
    }
    let head = if in_one_piece { head.slices().first().map(|slice| &slice[..]) } else { None };
    let room = MAXIMUM_TRANSMIT_BYTES - head.map_or(0, |head| head.len() as u64);
    let bytes = (length - file_done).min(room.max(1)) as u32;
    // SAFETY: as in `Turn::issue`, whose slot, head and file these are.
    unsafe { winsock::transmit(slot, socket, skips, file, (offset + file_done, bytes), head) }
}

/// The outcome of ReadFile or WriteFile.
///
/// # Safety
///
/// The call was made for `slot`, and the owner's lock is held.
pub(super) unsafe fn judge(succeeded: i32, skips: bool, slot: &Slot) -> Issued {
    if succeeded != 0 {
        if !skips {
            return Issued::Pending;
        }
        // SAFETY: a success at once is over: the kernel does not use the slot any more.
        return Issued::Done(unsafe { slot.outcome() }.1 as u32);
    }
    winsock::judge_failure(last_code(), skips)
}
