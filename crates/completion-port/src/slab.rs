//! A table of entries that never move, named by index and generation.

/// Entries are allocated in chunks of this many, so that the table grows with use and no entry changes its address.
const CHUNK: usize = 256;
const NONE: u32 = u32::MAX;
const GENERATION_MASK: u32 = 0x00ff_ffff;

enum Entry<T> {
    Free { next: u32 },
    Taken(T),
}

struct Place<T> {
    generation: u32,
    entry: Entry<T>,
}

/// The table. Up to a limit that is set when it is made.
pub(crate) struct Slab<T> {
    chunks: Vec<Box<[Place<T>; CHUNK]>>,
    free: u32,
    length: usize,
    limit: usize,
    /// The generation of a place that was never used.
    first: u32,
}

impl<T> Slab<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self::succeeding(0, limit)
    }

    /// A table in place of `tables` earlier ones, whose names are unlikely to name anything here.
    pub(crate) fn succeeding(tables: u32, limit: usize) -> Self {
        let limit = limit.min(NONE as usize);
        let chunks = Vec::with_capacity(limit.div_ceil(CHUNK));
        // The golden ratio of the range keeps the beginnings of any number of tables far apart.
        let first = tables.wrapping_mul(0x009e_3779) & GENERATION_MASK;
        Self { chunks, free: NONE, length: 0, limit, first }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_full(&self) -> bool {
        self.length == self.limit
    }

    /// How many more entries fit.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only io_uring asks"))]
    pub(crate) fn room(&self) -> usize {
        self.limit - self.length
    }

    /// Puts `value` in; gives it back at the limit. Returns index and generation.
    pub(crate) fn insert(&mut self, value: T) -> Result<(u32, u32), T> {
        if self.is_full() {
            return Err(value);
        }
        let (index, generation, _) = self.insert_with(|| value).expect("it is not full");
        Ok((index, generation))
    }

    /// Makes an entry where it will stand. Nothing at the limit.
    #[inline(always)]
    pub(crate) fn insert_with(&mut self, make: impl FnOnce() -> T) -> Option<(u32, u32, &mut T)> {
        if self.is_full() {
            return None;
        }
        if self.free == NONE {
            self.grow();
        }
        let index = self.free;
        let Place { generation, entry } = &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK];
        let Entry::Free { next } = *entry else {
            unreachable!("what the list of free entries names is free")
        };
        *entry = Entry::Taken(make());
        (self.free, self.length) = (next, self.length + 1);
        match entry {
            Entry::Taken(value) => Some((index, *generation, value)),
            Entry::Free { .. } => None,
        }
    }

    fn grow(&mut self) {
        let first = self.chunks.len() * CHUNK;
        let chunk = (first..first + CHUNK).map(|index| {
            let next = if index + 1 < first + CHUNK { index as u32 + 1 } else { NONE };
            Place { generation: self.first, entry: Entry::Free { next } }
        });
        let chunk: Box<[_]> = chunk.collect();
        self.chunks.push(chunk.try_into().unwrap_or_else(|_| unreachable!("a chunk has that many places")));
        self.free = first as u32;
    }

    fn place(&self, index: u32) -> Option<&Place<T>> {
        Some(&self.chunks.get(index as usize / CHUNK)?[index as usize % CHUNK])
    }

    pub(crate) fn get(&self, index: u32, generation: u32) -> Option<&T> {
        match self.place(index)? {
            Place { generation: now, entry: Entry::Taken(value) } if *now == generation => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        match &mut self.chunks.get_mut(index as usize / CHUNK)?[index as usize % CHUNK] {
            Place { generation: now, entry: Entry::Taken(value) } if *now == generation => Some(value),
            _ => None,
        }
    }

    /// Takes the entry out. Its name is stale from here on.
    pub(crate) fn remove(&mut self, index: u32, generation: u32) -> Option<T> {
        self.get(index, generation)?;
        let free = self.free;
        let place = &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK];
        place.generation = place.generation.wrapping_add(1) & GENERATION_MASK;
        let entry = std::mem::replace(&mut place.entry, Entry::Free { next: free });
        self.free = index;
        self.length -= 1;
        match entry {
            Entry::Taken(value) => Some(value),
            Entry::Free { .. } => None,
        }
    }

    /// Drops the entry where it stands: as [`Slab::remove`], without moving it. Nothing where the name is stale.
    pub(crate) fn discard(&mut self, index: u32, generation: u32) {
        if self.get(index, generation).is_none() {
            return;
        }
        let place = &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK];
        place.generation = place.generation.wrapping_add(1) & GENERATION_MASK;
        place.entry = Entry::Free { next: self.free };
        self.free = index;
        self.length -= 1;
    }

    /// All entries with their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, &T)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).enumerate().filter_map(
            |(index, place)| match &place.entry {
                Entry::Taken(value) => Some((index as u32, place.generation, value)),
                Entry::Free { .. } => None,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_stale_name_never_reaches_the_successor() {
        let mut slab = Slab::new(1);
        let (index, old) = slab.insert("first").unwrap();
        assert_eq!(slab.insert("too many"), Err("too many"));
        assert_eq!(slab.remove(index, old), Some("first"));
        let (again, new) = slab.insert("second").unwrap();
        assert_eq!(again, index);
        assert_ne!(new, old);
        assert_eq!(slab.get(index, old), None);
        assert_eq!(slab.get_mut(index, old), None);
        assert_eq!(slab.remove(index, old), None);
        assert_eq!(slab.get(index, new), Some(&"second"));
        assert_eq!(slab.get(99_999, 0), None);
    }

    #[test]
    fn entries_keep_their_address_while_the_table_grows() {
        let mut slab = Slab::new(10_000);
        let (index, generation) = slab.insert([0u8; 64]).unwrap();
        let address = slab.get(index, generation).unwrap().as_ptr();
        for _ in 0..9_999 {
            slab.insert([1; 64]).unwrap();
        }
        assert_eq!(slab.get(index, generation).unwrap().as_ptr(), address);
        assert!(slab.is_full());
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((any::<bool>(), 0usize..40), 0..400)) {
            let mut slab = Slab::new(30);
            let mut model: HashMap<(u32, u32), usize> = HashMap::new();
            let mut names = Vec::new();
            for (insert, number) in steps {
                if insert {
                    match slab.insert(number) {
                        Ok(name) => { prop_assert!(model.insert(name, number).is_none()); names.push(name); }
                        Err(_) => prop_assert_eq!(model.len(), 30),
                    }
                } else if let Some(&name) = names.get(number) {
                    prop_assert_eq!(slab.remove(name.0, name.1), model.remove(&name));
                }
                prop_assert_eq!(slab.len(), model.len());
                for &name in &names {
                    prop_assert_eq!(slab.get(name.0, name.1), model.get(&name));
                }
            }
            prop_assert_eq!(slab.iter().count(), model.len());
        }
    }
}
