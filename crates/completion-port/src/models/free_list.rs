//! The free list: no number is held twice, none is lost, and who gets one sees what its last holder did.

use super::{check, check_with_at_most};
use crate::buffer::free_list::FreeList;
use loom::{cell::UnsafeCell, thread};
use std::sync::Arc;

struct Rig {
    list: FreeList,
    /// What a block's number stands for: loom objects to two who touch the same at once, or without order between them.
    blocks: Vec<UnsafeCell<u32>>,
}

impl Rig {
    fn new(count: u32) -> Arc<Self> {
        let blocks = (0..count).map(|_| UnsafeCell::new(0)).collect();
        Arc::new(Self { list: FreeList::new(count).unwrap(), blocks })
    }

    fn take(&self) -> Option<u32> {
        let index = self.list.pop()?;
        self.touch(index);
        Some(index)
    }

    fn touch(&self, index: u32) {
        // SAFETY: loom checks that nobody else is here.
        self.blocks[index as usize].with_mut(|uses| unsafe { *uses += 1 });
    }

    fn give_back(&self, index: u32) {
        self.touch(index);
        self.list.push(index);
    }

    fn expect_all_free(&self) {
        assert_eq!(self.list.available() as usize, self.blocks.len());
        let mut taken: Vec<u32> = std::iter::from_fn(|| self.take()).collect();
        taken.sort_unstable();
        assert_eq!(taken, (0..self.blocks.len() as u32).collect::<Vec<_>>());
    }
}

/// The second thread takes two and returns them in the order that puts the first one's head back: the ABA problem.
#[test]
fn a_head_that_comes_back_is_not_taken_for_the_old_one() {
    check(|| {
        let rig = Rig::new(3);
        let other = Arc::clone(&rig);
        let other = thread::spawn(move || {
            let (first, second) = (other.take(), other.take());
            first.into_iter().for_each(|index| other.give_back(index));
            second.into_iter().for_each(|index| other.give_back(index));
        });
        if let Some(index) = rig.take() {
            let second = rig.take();
            rig.give_back(index);
            second.into_iter().for_each(|index| rig.give_back(index));
        }
        other.join().unwrap();
        rig.expect_all_free();
    });
}

#[test]
fn three_threads_share_two_blocks() {
    check_with_at_most(2, || {
        let rig = Rig::new(2);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let rig = Arc::clone(&rig);
                thread::spawn(move || rig.take().into_iter().for_each(|index| rig.give_back(index)))
            })
            .collect();
        rig.take().into_iter().for_each(|index| rig.give_back(index));
        others.into_iter().for_each(|other| other.join().unwrap());
        rig.expect_all_free();
    });
}

#[test]
fn the_count_never_falls_below_what_is_there() {
    check(|| {
        let rig = Rig::new(1);
        let other = Arc::clone(&rig);
        let other = thread::spawn(move || other.take().into_iter().for_each(|index| other.give_back(index)));
        let taken = rig.take();
        let seen = rig.list.available();
        // Below zero it would be enormous.
        assert!(seen <= 1, "{seen} blocks are free of one");
        taken.into_iter().for_each(|index| rig.give_back(index));
        other.join().unwrap();
        rig.expect_all_free();
    });
}
