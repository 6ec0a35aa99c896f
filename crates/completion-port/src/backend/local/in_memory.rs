//! Files of file systems that live in memory (tmpfs(5)). No disk can hold up what is done to them, so it is done in place: cheaper than
//! a thread, of the pool or of the kernel, which takes every write there for one that may wait (they know no `RWF_NOWAIT`).

use super::{Body, Core, Descriptor};
use crate::{
    chain::BufferChain,
    counters::SystemCall,
    error::Error,
    file::{self, Directory, is_in_memory},
    identity::Token,
    operation::OperationKind,
    tally,
};
use rustix::io::Errno;
use std::{
    fs::File,
    io::{self, IoSlice},
    path::Path,
};

/// What is written in one go at most: other handles wait meanwhile. And how long a file may be that gives way to another, whose pages are
/// freed on the spot.
const MOST_BYTES: u64 = 1 << 20;
const MOST_FREED_BYTES: u64 = 16 << 20;

impl Core {
    /// Does a write, sync or link in place, or opens a file without a name, where that concerns memory only; true if it has completed.
    pub(crate) fn complete_in_memory(&mut self, token: Token) -> bool {
        let slot = self.slot(token);
        let file = match self.descriptor(slot.file) {
            Some(Descriptor::File(file)) => Some(file),
            _ => None,
        };
        let result = match (slot.kind, &slot.body, file) {
            (OperationKind::WriteAt, Body::Chain(chain), Some(file))
                if chain.len() <= MOST_BYTES && is_in_memory(&**file) =>
            {
                write(file, slot.range.offset, chain)
            }
            (OperationKind::Sync, _, Some(file)) if is_in_memory(&**file) => {
                tally::call(SystemCall::Sync);
                file.sync_all().map(|()| 0)
            }
            (OperationKind::Link, Body::Link { directory, path, replace }, Some(file))
                if is_in_memory(&**file) && !(*replace && frees_much(directory, path)) =>
            {
                file::link(file, directory, path, *replace).map(|()| 0)
            }
            _ => return false,
        };
        let result = result.map_err(|error| Error::from_io(&error, slot.kind));
        self.complete_with_body(token, result);
        true
    }
}

/// Whether a path is taken by a file that is long, or of which nothing can be said.
fn frees_much(directory: &Directory, path: &Path) -> bool {
    use rustix::fs::AtFlags;
    tally::call(SystemCall::Metadata);
    match rustix::fs::statat(directory.descriptor(), path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat.st_size as u64 > MOST_FREED_BYTES,
        Err(error) => error != Errno::NOENT,
    }
}

fn write(file: &File, offset: u64, chain: &BufferChain) -> io::Result<u64> {
    let mut done = 0;
    while done < chain.len() {
        let mut vectors = [IoSlice::new(&[]); BufferChain::MAXIMUM_SLICES];
        let mut count = 0;
        for (vector, piece) in vectors.iter_mut().zip(chain.pieces_from(done)) {
            *vector = IoSlice::new(piece);
            count += 1;
        }
        tally::call(SystemCall::Write);
        match rustix::io::pwritev(file, &vectors[..count], offset + done) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => done += bytes as u64,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}
