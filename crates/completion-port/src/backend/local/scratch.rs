//! Memory for what the kernel reads and writes beside the bytes themselves: message headers, vectors, addresses, control data.

use crate::{
    address::Address,
    chain::BufferChain,
    error::ErrorKind,
    message::{
        Ancillary,
        unix::{self, Family, Space},
    },
};
use socket2::{SockAddr, SockAddrStorage};
use std::ptr;

const VECTORS: usize = BufferChain::MAXIMUM_SLICES + 1;

/// What one call, or one operation that the kernel has, may need. It stays where it is: parts of it point to others.
pub(crate) struct Scratch {
    header: libc::msghdr,
    vectors: [libc::iovec; VECTORS],
    name: SockAddrStorage,
    control: Space,
}

impl Scratch {
    pub(crate) fn new() -> Box<Self> {
        // SAFETY: a message header of zeros is valid: null pointers and no lengths.
        let header = unsafe { std::mem::zeroed() };
        let nothing = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Box::new(Self {
            header,
            vectors: [nothing; VECTORS],
            name: SockAddrStorage::zeroed(),
            control: Space::EMPTY,
        })
    }

    /// Lays out `pieces`; the vectors, and how many.
    pub(crate) fn gather<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> (*const libc::iovec, u32) {
        self.lay_out(pieces.map(|piece| (piece.as_ptr().cast_mut(), piece.len())))
    }

    fn lay_out(&mut self, parts: impl Iterator<Item = (*mut u8, usize)>) -> (*const libc::iovec, u32) {
        let mut count = 0;
        for (vector, (start, length)) in self.vectors.iter_mut().zip(parts) {
            *vector = libc::iovec { iov_base: start.cast(), iov_len: length };
            count += 1;
        }
        (self.vectors.as_ptr(), count)
    }

    /// A header of `count` vectors, without name and control data.
    fn plain_header(&mut self, count: u32) -> &mut libc::msghdr {
        let header = &mut self.header;
        header.msg_iov = self.vectors.as_mut_ptr();
        header.msg_iovlen = count as _;
        (header.msg_name, header.msg_namelen) = (ptr::null_mut(), 0);
        (header.msg_control, header.msg_controllen) = (ptr::null_mut(), 0);
        header.msg_flags = 0;
        header
    }

    /// A message of `pieces`, for a connected socket.
    pub(crate) fn message<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> *const libc::msghdr {
        let (_, count) = self.gather(pieces);
        &raw const *self.plain_header(count)
    }

    /// A datagram of `pieces` to `to`, with `ancillary` beside it.
    pub(crate) fn datagram<'a>(
        &mut self,
        pieces: impl Iterator<Item = &'a [u8]>,
        to: Option<&Address>,
        ancillary: &Ancillary,
        family: Family,
    ) -> Result<*const libc::msghdr, ErrorKind> {
        let (_, count) = self.gather(pieces);
        self.plain_header(count);
        if let Some(to) = to {
            let (name, length) = self.name(to)?;
            (self.header.msg_name, self.header.msg_namelen) = (name.cast_mut().cast(), length);
        }
        let used = unix::encode(ancillary, family, &mut self.control)?;
        if used > 0 {
            self.header.msg_control = self.control.as_mut_ptr();
            self.header.msg_controllen = used as _;
        }
        Ok(&raw const self.header)
    }

    /// Room for what comes, in `rooms` one after the other.
    pub(crate) fn rooms(&mut self, rooms: impl Iterator<Item = (*mut u8, usize)>) -> *mut libc::msghdr {
        let (_, count) = self.lay_out(rooms);
        &raw mut *self.plain_header(count)
    }

    /// Room for a datagram and its sender; `with_control`, for what is beside it too.
    pub(crate) fn room_for_datagram(
        &mut self,
        room: (*mut u8, usize),
        with_control: bool,
    ) -> *mut libc::msghdr {
        self.rooms(std::iter::once(room));
        self.name = SockAddrStorage::zeroed();
        self.header.msg_namelen = self.name.size_of();
        self.header.msg_name = (&raw mut self.name).cast();
        if with_control {
            self.header.msg_control = self.control.as_mut_ptr();
            self.header.msg_controllen = Space::capacity() as _;
        }
        &raw mut self.header
    }

    /// Where the datagram came from that was received into [`Scratch::room_for_datagram`], and what is beside it.
    pub(crate) fn received(&mut self) -> (Address, Ancillary) {
        let name = std::mem::replace(&mut self.name, SockAddrStorage::zeroed());
        // A peer without a name has none, or the family alone.
        let length = self.header.msg_namelen.min(name.size_of());
        // SAFETY: the kernel wrote the name and its length; without a name it is all zeros.
        let from = Address::from_system(&unsafe { SockAddr::new(name, length) });
        // SAFETY: the kernel wrote the control data, or there is none.
        (from, unsafe { unix::decode(&self.header) })
    }

    /// An address as the kernel wants it.
    pub(crate) fn name(
        &mut self,
        address: &Address,
    ) -> Result<(*const libc::sockaddr, libc::socklen_t), ErrorKind> {
        let address = address.to_system().map_err(|_| ErrorKind::InvalidArgument)?;
        let length = address.len();
        self.name = address.as_storage();
        Ok(((&raw const self.name).cast(), length))
    }
}
