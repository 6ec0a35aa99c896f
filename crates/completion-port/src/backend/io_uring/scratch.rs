//! Memory for what the kernel reads beside the bytes themselves: message headers, vectors, addresses. It stays put and is recycled.

use crate::chain::BufferChain;
use socket2::SockAddr;
use std::ptr;

const VECTORS: usize = BufferChain::MAXIMUM_SLICES + 1;

/// What one operation in flight may need.
pub(super) struct Scratch {
    message: libc::msghdr,
    vectors: [libc::iovec; VECTORS],
    address: Option<SockAddr>,
}

impl Scratch {
    fn new() -> Box<Self> {
        // SAFETY: a message header of zeros is valid: null pointers and no lengths.
        let message = unsafe { std::mem::zeroed() };
        let nothing = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Box::new(Self { message, vectors: [nothing; VECTORS], address: None })
    }

    /// Lays out `pieces`; the vectors, and how many.
    pub(super) fn gather<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> (*const libc::iovec, u32) {
        let mut count = 0;
        for (vector, piece) in self.vectors.iter_mut().zip(pieces) {
            *vector = libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
            count += 1;
        }
        (self.vectors.as_ptr(), count)
    }

    /// As [`Scratch::gather`], as a message.
    pub(super) fn message<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> *const libc::msghdr {
        let (_, count) = self.gather(pieces);
        self.message.msg_iov = self.vectors.as_mut_ptr();
        self.message.msg_iovlen = count as _;
        &raw const self.message
    }

    pub(super) fn address(&mut self, address: SockAddr) -> (*const libc::sockaddr, libc::socklen_t) {
        let address = self.address.insert(address);
        (address.as_ptr().cast(), address.len())
    }
}

/// All scratch memory of a ring, by number. Bounded by the operations in flight.
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
