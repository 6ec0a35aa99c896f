//! File operations that can be done at once; all others go to the pool.

use super::{Poll, Turn};
use crate::{
    backend::local::{Body, Core},
    buffer::Buffer,
    completion::Payload,
    file,
    identity::Token,
};
use rustix::io::Errno;
use std::fs::File;

impl Poll {
    pub(super) fn read_at(&mut self, core: &mut Core, token: Token) -> Turn {
        let handle = core.slot(token).handle;
        if !self.spend(handle) {
            return Turn::OnPool;
        }
        let Body::Buffer(mut buffer) = std::mem::replace(&mut core.slot_mut(token).body, Body::None) else {
            unreachable!("a read has a buffer")
        };
        let Some((slot, file)) = core.slot_and_file(token) else { return Turn::OnPool };
        let before = buffer.len();
        let mut offset = slot.range.offset;
        let read = read_cached(file, &mut offset, &mut buffer);
        let bytes = (buffer.len() - before) as u64;
        if read.is_err() {
            // The pool begins again, and meets the same error if it is one.
            buffer.truncate(before);
        }
        slot.body = Body::Buffer(buffer);
        match read {
            Ok(()) => self.finish(core, token, Ok(bytes)),
            Err(_) => Turn::OnPool,
        }
    }

    /// fstat(2) of an open file: from memory, but for network file systems that want to ask their server.
    pub(super) fn metadata(&mut self, core: &mut Core, token: Token) -> Turn {
        let Some((_, file)) = core.slot_and_file(token) else { return Turn::OnPool };
        match file::metadata(file) {
            Ok(metadata) => {
                core.complete(token, Ok(0), Payload::Metadata(metadata));
                Turn::Over
            }
            Err(error) => self.fail(core, token, &error),
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn open(&mut self, core: &mut Core, token: Token) -> Turn {
        use crate::backend::local::Descriptor;
        use std::sync::Arc;
        let handle = core.slot(token).handle;
        let Body::Open { directory, path, options } = &core.slot(token).body else {
            unreachable!("an open has a path")
        };
        let changes = options.create || options.create_new || options.truncate;
        if changes || !self.spend(handle) {
            return Turn::OnPool;
        }
        match file::open_cached(directory.as_deref(), path, *options) {
            Ok((file, metadata)) => match core.add(Descriptor::File(Arc::new(file)), 0) {
                Ok(file) => core.complete(token, Ok(0), Payload::Opened { file, metadata }),
                Err((error, _)) => core.complete_with_body(token, Err(error)),
            },
            Err(error) if is_final(&error) => return self.fail(core, token, &error),
            Err(_) => return Turn::OnPool,
        }
        Turn::Over
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::unused_self, reason = "on Linux it does more")]
    pub(super) fn open(&mut self, _: &mut Core, _: Token) -> Turn {
        Turn::OnPool
    }
}

/// Whether what memory says of a path is the last word. Anything else may be for want of a kernel that can look there.
#[cfg(target_os = "linux")]
fn is_final(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENOENT
                | libc::ENOTDIR
                | libc::EACCES
                | libc::ELOOP
                | libc::EXDEV
                | libc::EMFILE
                | libc::ENFILE
        )
    )
}

/// Fills the spare room of `buffer` from what is in memory (RWF_NOWAIT of preadv2(2)), up to the end of the file. An error if
/// something is not there, or the file system cannot tell; what was read before stays in the buffer.
#[cfg(target_os = "linux")]
pub(super) fn read_cached(file: &File, offset: &mut u64, buffer: &mut Buffer) -> Result<(), Errno> {
    use crate::{counters::SystemCall, tally};
    use rustix::io::{ReadWriteFlags, preadv2, retry_on_intr};
    use std::io::IoSliceMut;
    while buffer.spare_capacity() > 0 {
        let spare = buffer.spare_mut();
        let bytes = retry_on_intr(|| {
            tally::call(SystemCall::Read);
            preadv2(file, &mut [IoSliceMut::new(spare)], *offset, ReadWriteFlags::NOWAIT)
        })?;
        if bytes == 0 {
            break;
        }
        buffer.advance(bytes);
        *offset += bytes as u64;
    }
    Ok(())
}

/// Nothing says what is in memory: the pool reads.
#[cfg(not(target_os = "linux"))]
pub(super) fn read_cached(_: &File, _: &mut u64, _: &mut Buffer) -> Result<(), Errno> {
    Err(Errno::AGAIN)
}
