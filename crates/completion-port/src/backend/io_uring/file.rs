//! Files: at once from the page cache where that pays, by the ring otherwise.

use super::{MAXIMUM_TRANSFER, Ring, Stage, descriptor, stream::only_piece};
use crate::{
    backend::local::{Body, Core, Descriptor, Start},
    completion::Payload,
    counters::SystemCall,
    error::Error,
    file,
    identity::Token,
    operation::OperationKind,
    tally,
};
use ::io_uring::{
    opcode, squeue,
    types::{Fd, FsyncFlags},
};
use rustix::io::{Errno, ReadWriteFlags};
use std::{fs::File, io::IoSliceMut, os::fd::AsRawFd, sync::Arc};

pub(super) const HAS_A_FILE: &str =
    "the books check that a file operation names an open file, and keep it open";

/// What a read that may not wait did.
pub(super) enum Cached {
    Read(usize),
    /// It would have to wait, or the file system cannot tell.
    Absent,
    Failed(i32),
}

/// Reads what is in the page cache.
pub(super) fn read_cached(file: &File, offset: u64, into: &mut [u8]) -> Cached {
    tally::call(SystemCall::Read);
    match rustix::io::preadv2(file, &mut [IoSliceMut::new(into)], offset, ReadWriteFlags::NOWAIT) {
        Ok(bytes) => Cached::Read(bytes),
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR | Errno::NOSYS) => Cached::Absent,
        Err(error) => Cached::Failed(error.raw_os_error()),
    }
}

/// Lets an entry that was refused without waiting wait on a thread of the kernel.
pub(super) fn may_block(entry: squeue::Entry, stage: u32) -> squeue::Entry {
    if stage & Stage::MAY_BLOCK == 0 { entry } else { entry.flags(squeue::Flags::ASYNC) }
}

impl Ring {
    pub(super) fn read(&mut self, core: &mut Core, token: Token) {
        let slot = core.slot(token);
        if slot.stage & Stage::MAY_BLOCK == 0 && self.budget.take(slot.handle) {
            loop {
                let (slot, file) = core.slot_and_file(token).expect(HAS_A_FILE);
                let (cargo, _) = slot.parts();
                let Body::Buffer(buffer) = &mut cargo.body else { unreachable!("a read has a buffer") };
                match read_cached(file, cargo.range.offset + cargo.transferred, buffer.spare_mut()) {
                    Cached::Read(bytes) => {
                        buffer.advance(bytes);
                        cargo.transferred += bytes as u64;
                        if bytes == 0 || buffer.spare_capacity() == 0 {
                            let read = cargo.transferred;
                            return self.finish(core, token, Ok(read));
                        }
                    }
                    Cached::Absent => break,
                    Cached::Failed(code) => return self.fail(core, token, code),
                }
            }
        }
        let (slot, file) = core.slot_and_file(token).expect(HAS_A_FILE);
        let (offset, stage) = (slot.range.offset + slot.transferred, slot.stage);
        let Body::Buffer(buffer) = &mut slot.body else { unreachable!("a read has a buffer") };
        let (pointer, room) = buffer.spare_pointer();
        let entry = opcode::Read::new(Fd(file.as_raw_fd()), pointer, room.min(MAXIMUM_TRANSFER) as u32)
            .offset(offset)
            .build();
        // SAFETY: the spare room of the buffer in the slot, which nobody looks at before the completion.
        unsafe { self.push(core, token, may_block(entry, stage)) };
    }

    pub(super) fn was_read(&mut self, core: &mut Core, token: Token, result: i32) {
        let (cargo, stage) = core.slot_mut(token).parts();
        let Body::Buffer(buffer) = &mut cargo.body else { unreachable!("a read has a buffer") };
        match result {
            0.. => {
                buffer.advance(result as usize);
                cargo.transferred += result as u64;
                let read = cargo.transferred;
                if result == 0 || buffer.spare_capacity() == 0 {
                    self.finish(core, token, Ok(read));
                } else {
                    self.again(core, token, Self::read);
                }
            }
            code if code == -libc::EINTR => self.again(core, token, Self::read),
            code if code == -libc::EAGAIN && *stage & Stage::MAY_BLOCK == 0 => {
                *stage |= Stage::MAY_BLOCK;
                self.again(core, token, Self::read);
            }
            code => self.fail(core, token, -code),
        }
    }

    /// Writes what is left of the chain.
    pub(super) fn write(&mut self, core: &mut Core, token: Token) {
        let slot = core.slot(token);
        let Body::Chain(chain) = &slot.body else { unreachable!("a write has a chain") };
        let (written, length, stage) = (slot.transferred, chain.len(), slot.stage);
        // The end of the file, wherever that is: the descriptor was opened for appending.
        let offset = if slot.kind == OperationKind::Append { u64::MAX } else { slot.range.offset + written };
        let file = descriptor(core, slot.file);
        if written == length {
            return self.finish(core, token, Ok(written));
        }
        let entry = if let Some(only) = only_piece(chain, written) {
            let length = only.len().min(MAXIMUM_TRANSFER) as u32;
            opcode::Write::new(file, only.as_ptr(), length).offset(offset).build()
        } else {
            let number = self.scratch(core, token);
            let Body::Chain(chain) = &core.slot(token).body else { unreachable!("a write has a chain") };
            let (vectors, count) = self.scratches.get(number).gather(chain.pieces_from(written));
            opcode::Writev::new(file, vectors, count).offset(offset).build()
        };
        // SAFETY: the bytes belong to the chain in the slot, the vectors to the operation's scratch; both are left alone until the
        // completion.
        unsafe { self.push(core, token, may_block(entry, stage)) };
    }

    pub(super) fn written(&mut self, core: &mut Core, token: Token, result: i32) {
        self.advance(core, token, result, Self::write);
    }

    pub(super) fn sync(&mut self, core: &mut Core, token: Token) {
        let slot = core.slot(token);
        let flags = if slot.range.data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
        let entry = opcode::Fsync::new(descriptor(core, slot.file)).flags(flags).build();
        // SAFETY: it points to nothing.
        unsafe { self.push(core, token, entry) };
    }

    /// In place: the kernel would hand a statx to a thread, for six times the cost.
    pub(super) fn metadata(&mut self, core: &mut Core, token: Token) {
        let (_, file) = core.slot_and_file(token).expect(HAS_A_FILE);
        let answer = file::metadata(file);
        match answer {
            Ok(metadata) => core.complete(token, Ok(0), Payload::Metadata(metadata)),
            Err(error) => {
                core.complete(token, Err(Error::from_io(&error, OperationKind::Metadata)), Payload::None)
            }
        }
    }

    /// At once where the kernel has the path in memory, on the pool where it would have to wait.
    pub(super) fn open(&mut self, core: &mut Core, token: Token) -> Start {
        let slot = core.slot(token);
        let Body::Open { directory, path, options } = &slot.body else { unreachable!("an open has a path") };
        if options.create || options.create_new || options.truncate || !self.budget.take(slot.handle) {
            return Start::OnPool;
        }
        match file::open_cached(directory.as_deref(), path, *options) {
            Ok((file, metadata)) => self.opened(core, token, file, metadata),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINVAL | libc::ENOSYS | libc::EINTR) | None => {
                    return Start::OnPool;
                }
                Some(code) => self.fail(core, token, code),
            },
        }
        Start::Started
    }

    fn opened(&mut self, core: &mut Core, token: Token, file: File, metadata: file::Metadata) {
        match core.add(Descriptor::File(Arc::new(file)), 0) {
            Ok(file) => core.complete(token, Ok(0), Payload::Opened { file, metadata }),
            Err((error, _)) => core.complete(token, Err(error), Payload::None),
        }
    }
}
