//! Buffers: page-aligned memory that is mapped once, cut into size classes, and returns itself to its pool from any thread.
//!
//! The seed's descriptors: a [`Buffer`] is a pointer, a filled length and a capacity with one owner; a [`Slice`] is a
//! reference-counted view of a part that is filled; a [`BufferChain`](crate::BufferChain) is a list of slices for gather.
//! Memory is zeroed when it is mapped and never holds uninitialised bytes, so that all of it may be looked at safely. What a
//! returned buffer held is still there when it is acquired again, behind its filled length.

mod block;
pub(crate) mod free_list;
mod mapping;

use crate::error::{Error, ErrorKind};
use crate::operation::OperationKind;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::{counters::BufferCounts, tally};
pub(crate) use block::Block;
use block::{HEAP_CLASS, Inner};
use std::{
    fmt,
    ops::{Bound, Deref, DerefMut, RangeBounds},
    ptr::NonNull,
    sync::Arc,
};

/// Something that a returning buffer can wake: a worker with receive streams that wait for one.
pub(crate) trait Wake: Send + Sync {
    /// Makes the sleeper look again. Must not block. False if the system could not.
    fn wake(&self) -> bool;
}

/// One size class of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferClass {
    /// Bytes in each buffer. Rounded up to a divisor of 4,096 or a multiple of it.
    pub capacity: usize,
    /// How many buffers, at most 2^24. Their memory is reserved at start, and used by the system only once touched.
    pub count: usize,
}

/// A pool of buffers. Cheap to clone; all clones share one pool, which lives until its last buffer has come home.
#[derive(Clone)]
pub struct Buffers {
    inner: Arc<Inner>,
}

impl fmt::Debug for Buffers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = formatter.debug_list();
        for class in self.inner.classes() {
            list.entry(&(class.capacity(), class.available(), class.count()));
        }
        list.finish()
    }
}

impl Buffers {
    /// Maps the memory for `classes`, and allows up to `heap_bytes` for [`Buffers::allocate`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for a class of no bytes, of more than 1 GiB a buffer or of more than 2^24 buffers, and
    /// [`ErrorKind::SystemResources`] if the system cannot map the memory.
    pub fn new(classes: &[BufferClass], heap_bytes: usize) -> Result<Self, Error> {
        Ok(Self { inner: Inner::new(classes, heap_bytes)? })
    }

    /// Takes a buffer with room for `capacity` bytes from the smallest class that fits and has one free. The buffer's capacity is
    /// exactly what was asked for. Allocates nothing, and never waits.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BuffersExhausted`] if every class that fits is empty; [`ErrorKind::InvalidArgument`] if none is large enough.
    pub fn acquire(&self, capacity: usize) -> Result<Buffer, Error> {
        let mut fits = false;
        for class in self.inner.classes() {
            if class.capacity() >= capacity {
                fits = true;
                if let Some(block) = self.inner.take(class) {
                    return Ok(Buffer { block, length: 0, capacity: capacity as u32 });
                }
            }
        }
        let kind = if fits { ErrorKind::BuffersExhausted } else { ErrorKind::InvalidArgument };
        Err(Error::new(kind, OperationKind::Acquire))
    }

    /// Allocates a buffer of its own from the heap, for bytes that live long, such as a cached file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BuffersExhausted`] if that would pass the limit of heap bytes or the heap has none left;
    /// [`ErrorKind::InvalidArgument`] for zero bytes or more than 1 GiB.
    pub fn allocate(&self, capacity: usize) -> Result<Buffer, Error> {
        let block = self.inner.allocate(capacity)?;
        Ok(Buffer { block, length: 0, capacity: capacity as u32 })
    }

    /// How many buffers are taken from the classes at this moment. Zero at rest: the conservation law that tests check.
    pub fn in_use(&self) -> usize {
        self.inner.classes().iter().map(|class| class.count() - class.available()).sum()
    }

    /// What is taken of each class, the smallest first.
    pub fn counts(&self) -> Vec<BufferCounts> {
        let counts = self.inner.classes().iter().map(|class| {
            let (count, available) = (class.count(), class.available());
            BufferCounts {
                capacity: class.capacity(),
                count,
                in_use: count.saturating_sub(available),
                high_mark: count - class.least_available(),
            }
        });
        counts.collect()
    }

    /// The capacity of the largest class, in bytes.
    pub fn largest(&self) -> usize {
        self.inner.classes().last().map_or(0, |class| class.capacity())
    }

    /// Whether [`Buffers::acquire`] of `capacity` would find a buffer now.
    pub fn available(&self, capacity: usize) -> bool {
        self.inner.classes().iter().any(|class| class.capacity() >= capacity && class.available() > 0)
    }

    /// Whether of the buffers that [`Buffers::acquire`] of `capacity` could find fewer than an eighth are free: time to ask for
    /// some back, before whoever waits for one waits for ever.
    pub fn are_low(&self, capacity: usize) -> bool {
        let fitting = self.inner.classes().iter().filter(|class| class.capacity() >= capacity);
        let (free, all) =
            fitting.fold((0, 0), |(free, all), class| (free + class.available(), all + class.count()));
        free < all.div_ceil(8)
    }

    /// Registers a worker to be woken by a returning buffer after [`Buffers::await_return`], for as long as something else holds the
    /// waker.
    pub(crate) fn register(&self, waker: Arc<dyn Wake>) {
        self.inner.register(&waker);
    }

    /// Asks for a wake when the next buffer returns. Look at [`Buffers::available`] once more afterwards, before sleeping.
    pub(crate) fn await_return(&self) {
        self.inner.await_return();
    }
}

/// Memory with one owner: filled bytes in front, spare room behind. Returns to its pool when dropped, from any thread.
///
/// It dereferences to the filled bytes.
///
/// ```
/// use completion_port::{BufferClass, Buffers};
///
/// let buffers = Buffers::new(&[BufferClass { capacity: 4096, count: 8 }], 0)?;
/// let mut buffer = buffers.acquire(100)?;
/// buffer.extend_from_slice(b"GET / HTTP/1.1\r\n");
/// assert_eq!((buffer.len(), buffer.capacity()), (16, 100));
/// let slice = buffer.freeze();
/// assert_eq!(&slice.slice(0..3)[..], b"GET");
/// drop(slice);
/// assert_eq!(buffers.in_use(), 0);
/// # Ok::<(), completion_port::Error>(())
/// ```
pub struct Buffer {
    block: NonNull<Block>,
    length: u32,
    capacity: u32,
}

// SAFETY: a Buffer is the only owner of its block's bytes, and the block's own fields are atomic or never change; it may
// move to, and be looked at from, any thread.
unsafe impl Send for Buffer {}
// SAFETY: as above; through `&Buffer` the bytes are only read.
unsafe impl Sync for Buffer {}

impl Buffer {
    fn block(&self) -> &Block {
        // SAFETY: a block lives as long as its pool, and this buffer holds a count on the pool (kept by `block.rs`).
        unsafe { self.block.as_ref() }
    }

    /// How many bytes it can hold in all.
    pub const fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// How many bytes of room are left behind the filled ones.
    pub const fn spare_capacity(&self) -> usize {
        (self.capacity - self.length) as usize
    }

    /// Forgets the filled bytes.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Shortens the filled part to `length` bytes, if it is longer.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(u32::try_from(length).unwrap_or(u32::MAX));
    }

    /// The spare room, for filling by hand; follow with [`Buffer::advance`]. It holds zeros or bytes of earlier use.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        // SAFETY: `length <= capacity <= block.capacity`, all of it initialised since mapping, and `&mut self` is the only access.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.block().data().add(self.length as usize),
                self.spare_capacity(),
            )
        }
    }

    /// Counts `bytes` of the spare room as filled.
    ///
    /// # Panics
    ///
    /// If there is less room than that.
    pub fn advance(&mut self, bytes: usize) {
        assert!(
            bytes <= self.spare_capacity(),
            "advance by {bytes} in a buffer with {} bytes spare",
            self.spare_capacity()
        );
        self.length += bytes as u32;
    }

    /// Appends `bytes`.
    ///
    /// # Panics
    ///
    /// If there is less room than that.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let room = self.spare_capacity();
        let Some(spare) = self.spare_mut().get_mut(..bytes.len()) else {
            panic!("{} bytes do not fit into a buffer with {room} bytes spare", bytes.len())
        };
        tally::copied(bytes.len());
        spare.copy_from_slice(bytes);
        self.length += bytes.len() as u32;
    }

    /// Drops `bytes` from the front of the filled part by moving the rest forward.
    ///
    /// # Panics
    ///
    /// If fewer bytes are filled.
    pub fn consume(&mut self, bytes: usize) {
        let length = self.len();
        tally::copied(length.saturating_sub(bytes));
        self.copy_within(bytes..length, 0);
        self.length -= bytes as u32;
    }

    /// Gives up the right to change the filled bytes, and with that may be shared and cut.
    pub fn freeze(self) -> Slice {
        let this = std::mem::ManuallyDrop::new(self);
        Slice { block: Some(this.block), pointer: this.block().data_pointer(), length: this.length }
    }

    /// Where the kernel may write, and how much. The bytes stay put however the `Buffer` value moves.
    pub(crate) fn spare_pointer(&mut self) -> (*mut u8, usize) {
        let spare = self.spare_mut();
        (spare.as_mut_ptr(), spare.len())
    }

    /// Hands the block to the kernel's list of provided buffers; [`Buffer::from_raw`] takes it back.
    #[allow(dead_code, reason = "only io_uring provides buffers to the kernel")]
    pub(crate) fn into_raw(self) -> (NonNull<Block>, u32) {
        let this = std::mem::ManuallyDrop::new(self);
        (this.block, this.capacity)
    }

    /// # Safety
    ///
    /// The pair must come from [`Buffer::into_raw`], be used once, and the kernel must be done with the block.
    #[allow(dead_code, reason = "only io_uring provides buffers to the kernel")]
    pub(crate) unsafe fn from_raw((block, capacity): (NonNull<Block>, u32)) -> Self {
        Self { block, length: 0, capacity }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the first `length` bytes are within the block and initialised; `&self` keeps writers away.
        unsafe { std::slice::from_raw_parts(self.block().data(), self.length as usize) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.block().data(), self.length as usize) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: this buffer is the block's only owner and is not used after.
        unsafe { Block::release(self.block) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Buffer({} of {} bytes)", self.length, self.capacity)
    }
}

/// Slices of one buffer at a time.
const MAXIMUM_SLICES: u32 = u32::MAX / 2;

/// A part of filled memory that does not change any more: reference-counted, cheap to clone and to cut.
pub struct Slice {
    /// None for bytes that live as long as the program.
    block: Option<NonNull<Block>>,
    pointer: NonNull<u8>,
    length: u32,
}

// SAFETY: the bytes are only read while any Slice exists, and the count is atomic.
unsafe impl Send for Slice {}
// SAFETY: as above.
unsafe impl Sync for Slice {}

impl Slice {
    /// Bytes that live as long as the program.
    ///
    /// # Panics
    ///
    /// If there are 4 GiB of them or more.
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        assert!(bytes.len() <= u32::MAX as usize, "a slice is shorter than 4 GiB");
        // SAFETY: a reference is never null.
        let pointer = unsafe { NonNull::new_unchecked(bytes.as_ptr().cast_mut()) };
        Self { block: None, pointer, length: bytes.len() as u32 }
    }

    /// A part of this slice, sharing its memory.
    ///
    /// # Panics
    ///
    /// If the range is not within the slice.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let mut part = self.clone();
        part.cut(range);
        part
    }

    /// Narrows this slice to a part of itself.
    ///
    /// # Panics
    ///
    /// If the range is not within the slice.
    pub fn cut(&mut self, range: impl RangeBounds<usize>) {
        let begin = match range.start_bound() {
            Bound::Included(&begin) => begin,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len(),
        };
        assert!(
            begin <= end && end <= self.len(),
            "{begin}..{end} is not within a slice of {} bytes",
            self.len()
        );
        // SAFETY: `begin` is within the slice or one past its end.
        self.pointer = unsafe { self.pointer.add(begin) };
        self.length = (end - begin) as u32;
    }

    /// The buffer again, with its filled part cut to this slice's end, if this is the only slice of it and begins where it
    /// began. Otherwise the slice comes back.
    ///
    /// # Errors
    ///
    /// The slice itself, where it is shared, static, or does not begin at the front.
    pub fn try_into_buffer(self) -> Result<Buffer, Self> {
        let Some(block) = self.block else { return Err(self) };
        // SAFETY: the block lives while this slice holds its count.
        let reference = unsafe { block.as_ref() };
        // Acquire pairs with the release of the other slices' drops: their reads come before our writes.
        if reference.references().load(Ordering::Acquire) != 1 || reference.data_pointer() != self.pointer {
            return Err(self);
        }
        let this = std::mem::ManuallyDrop::new(self);
        Ok(Buffer { block, length: this.length, capacity: reference.capacity() })
    }
}

impl Deref for Slice {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `pointer` and `length` lie within filled bytes of the block, or within static bytes; nobody writes to them while
        // a slice exists (a Buffer is made of it again only when it is the last).
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.length as usize) }
    }
}

impl Clone for Slice {
    fn clone(&self) -> Self {
        if let Some(block) = self.block {
            // SAFETY: the block lives while this slice holds its count.
            let references: &AtomicU32 = unsafe { block.as_ref() }.references();
            // Relaxed is enough to add to a count that is held. The bound keeps forgotten clones from wrapping it: not even
            // panics that are caught may add to it, and there are never so many threads that those between the two lines could.
            if references.fetch_add(1, Ordering::Relaxed) >= MAXIMUM_SLICES {
                references.fetch_sub(1, Ordering::Relaxed);
                panic!("too many slices of one buffer");
            }
        }
        Self { block: self.block, pointer: self.pointer, length: self.length }
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        let Some(block) = self.block else { return };
        // SAFETY: the block lives while this slice holds its count.
        let references: &AtomicU32 = unsafe { block.as_ref() }.references();
        // Where this is the only slice nobody can add one, and the count need not be changed. Acquire, here and below: every other
        // slice's reads come before the bytes are written again. (As good as a fence, which ThreadSanitizer does not see.)
        if references.load(Ordering::Acquire) == 1 || references.fetch_sub(1, Ordering::Release) == 1 {
            references.load(Ordering::Acquire);
            // SAFETY: the count was one or came to zero, so this was the last owner, and it is not used after.
            unsafe { Block::release(block) }
        }
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Slice({} bytes)", self.length)
    }
}

impl From<Buffer> for Slice {
    fn from(buffer: Buffer) -> Self {
        buffer.freeze()
    }
}

const _: () = assert!(HEAP_CLASS as usize > 64, "class indices of pools stay below the mark for the heap");

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn clones_beyond_the_bound_are_refused_however_often() {
        let buffers = Buffers::new(&[BufferClass { capacity: 64, count: 1 }], 0).unwrap();
        let slice = buffers.acquire(64).unwrap().freeze();
        // SAFETY: the block lives while the slice does.
        let references = unsafe { slice.block.unwrap().as_ref() }.references();
        // As after as many forgotten clones.
        references.store(MAXIMUM_SLICES, Ordering::Relaxed);
        for _ in 0..3 {
            assert!(catch_unwind(AssertUnwindSafe(|| slice.clone())).is_err());
            assert_eq!(references.load(Ordering::Relaxed), MAXIMUM_SLICES);
        }
        references.store(1, Ordering::Relaxed);
        drop(slice);
        assert_eq!(buffers.in_use(), 0);
    }

    #[test]
    fn buffers_are_low_below_an_eighth_of_those_that_fit() {
        let classes = [BufferClass { capacity: 64, count: 100 }, BufferClass { capacity: 256, count: 16 }];
        let buffers = Buffers::new(&classes, 0).unwrap();
        let mut taken = Vec::new();
        for count in 0..=16 {
            assert_eq!((buffers.are_low(65), buffers.are_low(64)), (count > 14, false), "{count}");
            taken.extend(buffers.acquire(65));
        }
    }

    #[test]
    fn a_range_that_no_number_ends_is_not_within_a_slice() {
        let slice = Slice::from_static(b"hello");
        for range in [
            (Bound::Excluded(usize::MAX), Bound::Unbounded),
            (Bound::Unbounded, Bound::Included(usize::MAX)),
            (Bound::Included(3), Bound::Excluded(2)),
        ] {
            assert!(catch_unwind(|| slice.slice(range)).is_err(), "{range:?}");
        }
        assert_eq!(&slice.slice((Bound::Excluded(0), Bound::Included(1)))[..], b"e");
    }

    /// For ThreadSanitizer: without order between the last reads and the return, it reports the writes here.
    #[test]
    fn bytes_are_written_again_after_the_last_thread_has_read_them() {
        let buffers = Buffers::new(&[BufferClass { capacity: 64, count: 1 }], 0).unwrap();
        std::thread::scope(|scope| {
            for round in 0..1_000 {
                let mut buffer = loop {
                    match buffers.acquire(64) {
                        Ok(buffer) => break buffer,
                        Err(_) => std::thread::yield_now(),
                    }
                };
                buffer.extend_from_slice(&[round as u8; 64]);
                let slice = buffer.freeze();
                if round % 50 == 0 {
                    for _ in 0..3 {
                        let slice = slice.clone();
                        scope.spawn(move || assert_eq!(slice[..], [round as u8; 64]));
                    }
                }
            }
        });
        assert_eq!(buffers.in_use(), 0);
    }

    #[test]
    fn only_the_last_slice_of_a_buffer_becomes_one_again() {
        let buffers = Buffers::new(&[BufferClass { capacity: 64, count: 1 }], 0).unwrap();
        let mut buffer = buffers.acquire(64).unwrap();
        buffer.extend_from_slice(b"hello");
        let slice = buffer.freeze();
        let other = slice.clone();
        let slice = slice.try_into_buffer().expect_err("there is another");
        drop(other);
        let tail = slice.slice(1..);
        drop(slice);
        let tail = tail.try_into_buffer().expect_err("it begins behind the front");
        drop(tail);
        let mut again = buffers.acquire(64).unwrap();
        again.extend_from_slice(b"world");
        assert_eq!(&again.freeze().try_into_buffer().unwrap()[..], b"world");
        assert!(Slice::from_static(b"x").try_into_buffer().is_err());
        assert_eq!(buffers.in_use(), 0);
    }
}
