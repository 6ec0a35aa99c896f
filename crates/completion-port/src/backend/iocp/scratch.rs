//! Memory for calls that need more than a slot's own area: names of peers, control data, many vectors. A slot takes a block for
//! such an operation and gives it back at the end; blocks are used again and again.

use super::{slot::Borrowed, winsock::fill_vectors};
use crate::{
    address::Address,
    chain::BufferChain,
    message::windows::CONTROL_BYTES,
    sync::{Mutex, MutexGuard, lock},
    transmit::Part,
};
use socket2::SockAddr;
use std::{mem::MaybeUninit, ptr::NonNull};
use windows_sys::Win32::Networking::WinSock as w;

/// Blocks that wait for their next use at most; what comes back beyond is freed.
const KEPT: usize = 256;

/// What the kernel reads and writes.
pub(super) struct Block {
    pub(super) vectors: [w::WSABUF; BufferChain::MAXIMUM_SLICES],
    pub(super) name: w::SOCKADDR_STORAGE,
    pub(super) name_bytes: i32,
    pub(super) message: w::WSAMSG,
    pub(super) control: Control,
    pub(super) elements: [w::TRANSMIT_PACKETS_ELEMENT; crate::TransmitList::MAXIMUM_ELEMENTS],
}

/// Aligned as the headers within it.
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; CONTROL_BYTES]);

/// Owns a block, and what else such operations need.
pub(super) struct Scratch {
    /// A pointer and not a box: the kernel writes to it while its owner is borrowed and moved.
    block: NonNull<Block>,
    pub(super) rest: Box<Rest>,
}

/// What is not for the kernel. Apart, so that a slot is small.
#[derive(Default)]
pub(super) struct Rest {
    /// The datagram was longer than the room for it.
    pub(super) truncated: bool,
    /// The files of a transmit-packets, and the part that is being sent where one call does not take it all.
    pub(super) files: Vec<Borrowed>,
    pub(super) part: Option<Part>,
}

// SAFETY: the block is owned, and the pointers within it are only meant for the kernel.
unsafe impl Send for Scratch {}

impl Scratch {
    fn new() -> Self {
        // SAFETY: numbers, raw pointers and unions of those, for which zeros are valid.
        let block: Box<Block> = Box::new(unsafe { MaybeUninit::zeroed().assume_init() });
        Self { block: NonNull::from(Box::leak(block)), rest: Box::default() }
    }

    /// For the kernel, and for who knows that the kernel does not have it.
    pub(super) fn block(&self) -> *mut Block {
        self.block.as_ptr()
    }

    /// Writes vectors for `pieces`, and one of no bytes where there are none. Returns how many.
    ///
    /// # Safety
    ///
    /// The kernel does not have the block.
    pub(super) unsafe fn gather<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> u32 {
        // SAFETY: as the caller promises, nobody else uses the vectors, of which there are so many.
        unsafe {
            let vectors = (&raw mut (*self.block()).vectors).cast::<w::WSABUF>();
            let count = fill_vectors(vectors, BufferChain::MAXIMUM_SLICES, pieces);
            if count == 0 {
                vectors.write(w::WSABUF { len: 0, buf: NonNull::dangling().as_ptr() });
            }
            count.max(1)
        }
    }

    /// Writes the name of a peer. Returns how many bytes it has.
    ///
    /// # Safety
    ///
    /// The kernel does not have the block.
    pub(super) unsafe fn write_name(&mut self, name: &SockAddr) -> i32 {
        let bytes = (name.len() as usize).min(size_of::<w::SOCKADDR_STORAGE>());
        // SAFETY: as the caller promises; the name has so many bytes, and there is room for them.
        unsafe {
            let place = (&raw mut (*self.block()).name).cast::<u8>();
            std::ptr::copy_nonoverlapping(name.as_ptr().cast::<u8>(), place, bytes);
        }
        bytes as i32
    }

    /// The name that the kernel wrote.
    ///
    /// # Safety
    ///
    /// The kernel does not have the block.
    pub(super) unsafe fn name(&self, bytes: i32) -> Address {
        // SAFETY: as the caller promises; a storage has room for every name, and its bytes are those that the kernel wrote, or zeros.
        let name = unsafe {
            SockAddr::try_init(|storage, length| {
                storage.cast::<w::SOCKADDR_STORAGE>().write((*self.block()).name);
                *length = bytes.clamp(0, size_of::<w::SOCKADDR_STORAGE>() as i32);
                Ok(())
            })
        };
        name.map_or(Address::Unnamed, |((), name)| Address::from_system(&name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: made by leaking a box, which nobody has taken back; the slot that had it has come home.
        drop(unsafe { Box::from_raw(self.block.as_ptr()) });
    }
}

/// The blocks of a queue that are not in use.
pub(super) struct Scratches {
    free: Mutex<Vec<Scratch>>,
}

impl Default for Scratches {
    fn default() -> Self {
        Self { free: Mutex::new(Vec::with_capacity(KEPT)) }
    }
}

impl Scratches {
    /// Held for no longer than it takes to move a pointer.
    fn lock(&self) -> MutexGuard<'_, Vec<Scratch>> {
        lock(&self.free)
    }

    pub(super) fn take(&self) -> Scratch {
        let kept = self.lock().pop();
        kept.unwrap_or_else(Scratch::new)
    }

    pub(super) fn give_back(&self, mut scratch: Scratch) {
        let rest = &mut *scratch.rest;
        rest.truncated = false;
        rest.part = None;
        rest.files.clear();
        let mut free = self.lock();
        if free.len() < KEPT {
            free.push(scratch);
        }
    }
}
