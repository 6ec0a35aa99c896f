//! Chains of slices for gathered sends and writes.

use crate::buffer::{Buffer, Slice};
use smallvec::SmallVec;
use std::fmt;

/// A list of slices that go out as one piece. Two, such as a head and a body, need no memory of their own; the limit is [`BufferChain::MAXIMUM_SLICES`].
///
/// ```
/// use completion_port::{BufferChain, Slice};
///
/// let mut chain = BufferChain::from(Slice::from_static(b"HTTP/1.1 200 OK\r\n\r\n"));
/// chain.push(Slice::from_static(b"hello")).unwrap();
/// assert_eq!((chain.len(), chain.slices().len()), (24, 2));
/// ```
#[derive(Default, Clone)]
pub struct BufferChain {
    slices: SmallVec<[Slice; 2]>,
    bytes: u64,
}

impl BufferChain {
    /// How many slices a chain can hold. Below every system's limit of vectors in one call.
    pub const MAXIMUM_SLICES: usize = 64;

    /// An empty chain.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `slice`; an empty one is dropped.
    ///
    /// # Errors
    ///
    /// The slice comes back if the chain is full.
    pub fn push(&mut self, slice: impl Into<Slice>) -> Result<(), Slice> {
        let slice = slice.into();
        if slice.is_empty() {
            return Ok(());
        }
        if self.slices.len() == Self::MAXIMUM_SLICES {
            return Err(slice);
        }
        self.bytes += slice.len() as u64;
        self.slices.push(slice);
        Ok(())
    }

    /// Bytes in all slices together.
    pub const fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether there are no bytes.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether no further slice fits.
    pub fn is_full(&self) -> bool {
        self.slices.len() == Self::MAXIMUM_SLICES
    }

    /// The slices, in order.
    pub fn slices(&self) -> &[Slice] {
        &self.slices
    }

    /// Takes the slices out, in order, to reuse their buffers.
    pub fn into_slices(self) -> impl Iterator<Item = Slice> {
        self.slices.into_iter()
    }

    /// What is left behind the first `skip` bytes, piece by piece: the rest of a short send or write.
    pub(crate) fn pieces_from(&self, mut skip: u64) -> impl Iterator<Item = &[u8]> {
        self.slices.iter().filter_map(move |slice| {
            let bytes: &[u8] = slice;
            let skipped = skip.min(bytes.len() as u64);
            skip -= skipped;
            Some(&bytes[skipped as usize..]).filter(|rest| !rest.is_empty())
        })
    }
}

impl<T: Into<Slice>> From<T> for BufferChain {
    fn from(only: T) -> Self {
        let mut chain = Self::new();
        // One slice always fits.
        let _ = chain.push(only);
        chain
    }
}

impl FromIterator<Buffer> for BufferChain {
    /// # Panics
    ///
    /// If there are more than [`BufferChain::MAXIMUM_SLICES`] buffers.
    fn from_iter<I: IntoIterator<Item = Buffer>>(buffers: I) -> Self {
        let mut chain = Self::new();
        for buffer in buffers {
            assert!(chain.push(buffer).is_ok(), "a chain holds {} slices", Self::MAXIMUM_SLICES);
        }
        chain
    }
}

impl fmt::Debug for BufferChain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BufferChain({} bytes in {} slices)", self.bytes, self.slices.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_exactly_what_is_left() {
        let mut chain = BufferChain::new();
        for part in [&b"abc"[..], b"", b"defg", b"h"] {
            chain.push(Slice::from_static(part)).unwrap();
        }
        assert_eq!(chain.slices().len(), 3);
        for skip in 0..=8 {
            assert_eq!(chain.pieces_from(skip).collect::<Vec<_>>().concat(), b"abcdefgh"[skip as usize..]);
        }
        assert_eq!(chain.pieces_from(3).next(), Some(&b"defg"[..]));
    }

    #[test]
    fn a_full_chain_gives_the_slice_back() {
        let mut chain = BufferChain::new();
        for _ in 0..BufferChain::MAXIMUM_SLICES {
            chain.push(Slice::from_static(b"x")).unwrap();
        }
        assert!(chain.is_full());
        assert_eq!(chain.push(Slice::from_static(b"yz")).unwrap_err().len(), 2);
        assert_eq!(chain.len(), 64);
    }
}
