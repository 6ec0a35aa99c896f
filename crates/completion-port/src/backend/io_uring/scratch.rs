//! Scratch memory by number: it stays put while the kernel may look at it, and is recycled.

use crate::backend::local::Scratch;

/// All scratch memory of a ring. Bounded by the operations in flight.
#[derive(Default)]
pub(super) struct Scratches {
    #[allow(clippy::vec_box, reason = "the kernel has their addresses")]
    all: Vec<Box<Scratch>>,
    free: Vec<u32>,
}

impl Scratches {
    /// The number of a free one.
    pub(super) fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.all.push(Scratch::new());
            self.all.len() as u32 - 1
        })
    }

    pub(super) fn give_back(&mut self, number: u32) {
        self.free.push(number);
    }

    pub(super) fn get(&mut self, number: u32) -> &mut Scratch {
        &mut self.all[number as usize]
    }
}
