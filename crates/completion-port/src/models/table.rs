//! The table of slots and handles that the workers of IOCP share: an entry is one holder's at a time, and always the same.

use super::check_with_at_most;
use crate::table::Table;
use loom::{cell::UnsafeCell, thread};
use std::sync::Arc;

struct Entry {
    index: u32,
    uses: UnsafeCell<u32>,
}

impl Entry {
    fn new(index: u32) -> Self {
        Self { index, uses: UnsafeCell::new(0) }
    }
}

fn use_two(table: &Table<Entry>) {
    let taken: Vec<u32> = (0..2)
        .filter_map(|_| table.take(Entry::new))
        .map(|(index, entry)| {
            // SAFETY: loom checks that nobody else is here.
            entry.uses.with_mut(|uses| unsafe { *uses += 1 });
            assert_eq!(entry.index, index);
            assert!(table.get(index).is_some_and(|found| std::ptr::eq(found, entry)));
            index
        })
        .collect();
    taken.into_iter().for_each(|index| table.give_back(index));
}

/// Three entries in two chunks, one of which is made by whoever comes first.
#[test]
fn entries_are_held_once_and_stay_where_they_are() {
    check_with_at_most(2, || {
        let table = Arc::new(Table::new(3).unwrap());
        let other = Arc::clone(&table);
        let other = thread::spawn(move || use_two(&other));
        use_two(&table);
        other.join().unwrap();
        let all: Vec<u32> = std::iter::from_fn(|| table.take(Entry::new)).map(|(index, _)| index).collect();
        assert_eq!(all.len(), 3, "an entry was lost");
    });
}
