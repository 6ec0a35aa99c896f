//! A table whose entries never move and are handed out without a lock.

use crate::{
    buffer::free_list::FreeList,
    error::{Error, ErrorKind},
    operation::OperationKind,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Entries are allocated so many at a time: the table grows with use.
const CHUNK: usize = if cfg!(loom) { 2 } else { 256 };

/// Up to `limit` entries, shared between threads. An entry lives as long as the table; taking it only says that it is in use.
pub(crate) struct Table<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
    /// Chunks from here on have no entries yet.
    grown: AtomicUsize,
    free: FreeList,
}

impl<T> Table<T> {
    pub(crate) fn new(limit: usize) -> Result<Self, Error> {
        let refused = |_| Error::new(ErrorKind::SystemResources, OperationKind::Setup);
        let limit = u32::try_from(limit).unwrap_or(u32::MAX - 1).min(u32::MAX - 1);
        let chunks = (0..(limit as usize).div_ceil(CHUNK)).map(|_| OnceLock::new()).collect();
        Ok(Self { chunks, grown: AtomicUsize::new(0), free: FreeList::new(limit).map_err(refused)? })
    }

    /// Takes a free entry, made by `make` from its index if it was never used before.
    pub(crate) fn take(&self, make: impl Fn(u32) -> T) -> Option<(u32, &T)> {
        let index = self.free.pop()?;
        let (chunk, place) = (index as usize / CHUNK, index as usize % CHUNK);
        let first = (chunk * CHUNK) as u32;
        let entries = self.chunks[chunk].get_or_init(|| {
            self.grown.fetch_max(chunk + 1, Ordering::Release);
            (first..first + CHUNK as u32).map(make).collect()
        });
        Some((index, &entries[place]))
    }

    /// The entry, in use or not.
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.chunks.get(index as usize / CHUNK)?.get()?.get(index as usize % CHUNK)
    }

    /// The entry that begins at an address, in use or not: none for an address from elsewhere.
    pub(crate) fn at(&self, address: usize) -> Option<&T> {
        let grown = &self.chunks[..self.grown.load(Ordering::Acquire)];
        grown.iter().filter_map(OnceLock::get).find_map(|entries| {
            let offset = address.checked_sub(entries.as_ptr().addr())?;
            entries.get(offset / size_of::<T>()).filter(|_| offset.is_multiple_of(size_of::<T>()))
        })
    }

    /// Whether an entry is free, as far as can be said while others take and give.
    #[cfg_attr(not(windows), expect(dead_code, reason = "only IOCP has such tables"))]
    pub(crate) fn has_room(&self) -> bool {
        self.free.available() > 0
    }

    /// The entry is free again. Each taken entry is given back once.
    pub(crate) fn give_back(&self, index: u32) {
        self.free.push(index);
    }

    /// Every entry that was ever used, and some that were not.
    #[cfg_attr(not(windows), expect(dead_code, reason = "only IOCP has such tables"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().filter_map(OnceLock::get).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_address_and_are_held_once() {
        let table = Table::new(600).unwrap();
        let taken: Vec<_> = std::iter::from_fn(|| table.take(|index| index)).collect();
        assert_eq!(taken.len(), 600);
        for (index, entry) in &taken {
            assert_eq!(**entry, *index);
            assert!(std::ptr::eq(table.get(*index).unwrap(), *entry));
        }
        for (index, entry) in &taken {
            let address = std::ptr::from_ref(*entry).addr();
            assert_eq!(table.at(address), Some(index));
            assert_eq!(table.at(address + 1), None);
        }
        assert_eq!([table.at(0), table.at(usize::MAX)], [None; 2]);
        table.give_back(599);
        assert_eq!(table.take(|_| unreachable!()).map(|(index, _)| index), Some(599));
        assert!(table.get(5_000).is_none());
    }
}
