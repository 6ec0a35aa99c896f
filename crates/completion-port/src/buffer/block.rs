//! The blocks behind buffers, and the pool that owns them.

use super::{BufferClass, Wake, free_list::FreeList, mapping::Mapping};
use crate::error::{Error, ErrorKind};
use crate::operation::OperationKind;
use crate::sync::{
    Mutex,
    atomic::{AtomicU32, AtomicUsize, Ordering},
    lock,
};
use std::{
    alloc::Layout,
    ptr::NonNull,
    sync::{Arc, Weak},
};

/// The class number of blocks that came from the heap.
pub(crate) const HEAP_CLASS: u16 = u16::MAX;
const PAGE_BYTES: usize = 4096;
const MAXIMUM_BYTES: usize = 1 << 30;
/// Buffers of one class: their books are touched at start.
const MAXIMUM_COUNT: u32 = 1 << 24;

/// One piece of memory and its count. Blocks of a pool live in the pool's own arrays; a heap block is a box of its own.
pub(crate) struct Block {
    references: AtomicU32,
    capacity: u32,
    index: u32,
    class: u16,
    data: NonNull<u8>,
    /// The pool. Not counted while the block is free; while it is taken, the taker holds one strong count.
    owner: *const Inner,
}

impl Block {
    pub(crate) fn references(&self) -> &AtomicU32 {
        &self.references
    }
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }
    pub(crate) fn data(&self) -> *mut u8 {
        self.data.as_ptr()
    }
    pub(crate) fn data_pointer(&self) -> NonNull<u8> {
        self.data
    }

    /// Brings the block home.
    ///
    /// # Safety
    ///
    /// The caller is the last owner of a taken block, and does not use it after.
    pub(crate) unsafe fn release(block: NonNull<Self>) {
        // SAFETY: the block is taken, so its pool lives.
        let (owner, class, index) =
            unsafe { (block.as_ref().owner, block.as_ref().class, block.as_ref().index) };
        // SAFETY: the taker's strong count keeps the pool alive until the last line.
        let inner = unsafe { &*owner };
        if class == HEAP_CLASS {
            // SAFETY: heap blocks are boxed by `Inner::allocate`, and this is the last owner.
            let block = unsafe { Box::from_raw(block.as_ptr()) };
            inner.heap_bytes.fetch_sub(block.capacity as usize, Ordering::Relaxed);
            // SAFETY: allocated by `Inner::allocate` with the same layout, and not used after.
            unsafe { std::alloc::dealloc(block.data.as_ptr(), heap_layout(block.capacity as usize)) };
        } else {
            let class = &inner.classes[class as usize];
            if class.free.push(index) {
                inner.announce_return(class);
            }
            if crate::fault::is_planted("return-twice") {
                class.free.push(index);
            }
        }
        // SAFETY: gives up the count that `take` or `allocate` took for this block; `inner` is not used after.
        unsafe { Arc::decrement_strong_count(owner) };
    }
}

/// The blocks of one size, and which of them are free.
pub(crate) struct Class {
    capacity: usize,
    blocks: Box<[Block]>,
    free: FreeList,
}

impl Class {
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }
    pub(crate) fn count(&self) -> usize {
        self.blocks.len()
    }
    pub(crate) fn available(&self) -> usize {
        self.free.available() as usize
    }
    pub(crate) fn least_available(&self) -> usize {
        self.free.least_available() as usize
    }
}

/// The pool itself.
pub(crate) struct Inner {
    /// Ascending by capacity.
    classes: Box<[Class]>,
    heap_bytes: AtomicUsize,
    heap_limit: usize,
    sleepers: Mutex<Vec<Weak<dyn Wake>>>,
    /// Dropped last: every block's bytes lie in it.
    _mapping: Mapping,
}

// SAFETY: the raw pointers of blocks are to the mapping and to the pool itself, both of which live as long as the pool; what
// changes is atomic or behind the mutex, and the bytes belong to whoever holds the block.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Inner {
    pub(crate) fn new(wanted: &[BufferClass], heap_limit: usize) -> Result<Arc<Self>, Error> {
        let mut sizes = Vec::with_capacity(wanted.len());
        for class in wanted {
            let refused = || Error::new(ErrorKind::InvalidArgument, OperationKind::Setup);
            if class.capacity == 0 || class.capacity > MAXIMUM_BYTES || wanted.len() >= HEAP_CLASS as usize {
                return Err(refused());
            }
            let capacity = if class.capacity >= PAGE_BYTES {
                class.capacity.next_multiple_of(PAGE_BYTES)
            } else {
                class.capacity.next_power_of_two()
            };
            let count = u32::try_from(class.count)
                .ok()
                .filter(|&count| count <= MAXIMUM_COUNT)
                .ok_or_else(refused)?;
            let bytes =
                capacity.checked_mul(count as usize).ok_or_else(refused)?.next_multiple_of(PAGE_BYTES);
            sizes.push((capacity, count, bytes));
        }
        sizes.sort_unstable();
        let total = sizes.iter().try_fold(0usize, |total, size| total.checked_add(size.2));
        let total = total.ok_or(Error::new(ErrorKind::InvalidArgument, OperationKind::Setup))?;
        let mapping = Mapping::new(total)?;
        // What can fail comes before the pool, which cannot.
        let rooms: Vec<_> = sizes
            .iter()
            .map(|&(_, count, _)| {
                let mut blocks = Vec::new();
                let refused = |_| Error::new(ErrorKind::SystemResources, OperationKind::Setup);
                blocks.try_reserve_exact(count as usize).map_err(refused)?;
                Ok((blocks, FreeList::new(count).map_err(refused)?))
            })
            .collect::<Result<_, Error>>()?;
        Ok(Arc::new_cyclic(|owner| {
            let mut begin = 0;
            let classes = sizes.iter().zip(rooms).enumerate();
            let classes = classes.map(|(class, (&(capacity, count, bytes), (mut blocks, free)))| {
                blocks.extend((0..count).map(|index| Block {
                    references: AtomicU32::new(0),
                    capacity: capacity as u32,
                    index,
                    class: class as u16,
                    data: mapping.at(begin + index as usize * capacity),
                    owner: owner.as_ptr(),
                }));
                begin += bytes;
                Class { capacity, blocks: blocks.into_boxed_slice(), free }
            });
            Self {
                classes: classes.collect(),
                heap_bytes: AtomicUsize::new(0),
                heap_limit,
                sleepers: Mutex::new(Vec::new()),
                _mapping: mapping,
            }
        }))
    }

    pub(crate) fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Takes a free block of `class`, with a count of one, and a strong count on the pool for it.
    pub(crate) fn take(self: &Arc<Self>, class: &Class) -> Option<NonNull<Block>> {
        let block = &class.blocks[class.free.pop()? as usize];
        block.references.store(1, Ordering::Relaxed);
        std::mem::forget(Arc::clone(self));
        Some(NonNull::from(block))
    }

    pub(crate) fn allocate(self: &Arc<Self>, capacity: usize) -> Result<NonNull<Block>, Error> {
        if capacity == 0 || capacity > MAXIMUM_BYTES {
            return Err(Error::new(ErrorKind::InvalidArgument, OperationKind::Acquire));
        }
        let exhausted = Error::new(ErrorKind::BuffersExhausted, OperationKind::Acquire);
        let taken = self.heap_bytes.fetch_add(capacity, Ordering::Relaxed);
        if taken.checked_add(capacity).is_none_or(|bytes| bytes > self.heap_limit) {
            self.heap_bytes.fetch_sub(capacity, Ordering::Relaxed);
            return Err(exhausted);
        }
        // SAFETY: the layout has at least one byte.
        let data = NonNull::new(unsafe { std::alloc::alloc_zeroed(heap_layout(capacity)) });
        let Some(data) = data else {
            self.heap_bytes.fetch_sub(capacity, Ordering::Relaxed);
            return Err(exhausted);
        };
        let block = Box::new(Block {
            references: AtomicU32::new(1),
            capacity: capacity as u32,
            index: 0,
            class: HEAP_CLASS,
            data,
            owner: Arc::into_raw(Arc::clone(self)),
        });
        Ok(NonNull::from(Box::leak(block)))
    }

    pub(crate) fn register(&self, waker: &Arc<dyn Wake>) {
        let mut sleepers = lock(&self.sleepers);
        sleepers.retain(|sleeper| sleeper.strong_count() > 0);
        sleepers.push(Arc::downgrade(waker));
    }

    pub(crate) fn await_return(&self) {
        self.classes.iter().for_each(|class| class.free.await_push());
    }

    /// Wakes all who wait: the first of them gets the buffer, and the others ask again.
    #[cold]
    fn announce_return(&self, class: &Class) {
        for sleeper in lock(&self.sleepers).iter() {
            if let Some(sleeper) = sleeper.upgrade()
                && !sleeper.wake()
            {
                // The next buffer that returns has to try again.
                class.free.await_push();
            }
        }
    }
}

fn heap_layout(capacity: usize) -> Layout {
    let alignment = if capacity >= PAGE_BYTES { PAGE_BYTES } else { 64 };
    Layout::from_size_align(capacity, alignment).expect("a capacity of at most 1 GiB has a layout")
}
