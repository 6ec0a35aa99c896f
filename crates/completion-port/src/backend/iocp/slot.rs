//! The slot of an operation in flight: it owns everything that the kernel may touch.

use super::{reuse::Fresh, scratch::Scratch};
use crate::{
    address::Address,
    buffer::Buffer,
    chain::BufferChain,
    completion::Payload,
    control::ControlRequest,
    error::{Error, ErrorKind},
    file::{Directory, OpenOptions},
    identity::{Handle, Token},
    message::Message,
    operation::{Operation, OperationKind, Work},
    sync::lock,
    transmit::TransmitList,
};
use std::{
    cell::UnsafeCell,
    fs::File,
    os::windows::io::AsRawHandle,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};
use windows_sys::Win32::{Foundation::HANDLE, System::IO::OVERLAPPED};

/// The index of no slot.
pub(super) const NONE: u32 = u32::MAX;

/// Room for what a call needs beside the OVERLAPPED, in bytes.
pub(super) const AREA_BYTES: usize = 256;

/// One operation. It never moves, and lives as long as the queue's core, so that the kernel may write to it at any time.
///
/// The OVERLAPPED comes first: its address is the slot's. Who holds the lock of the owner's [`State`](super::handle::State)
/// may change everything but `overlapped` and `wire`; those belong to the kernel from the call on until its packet is taken (or the
/// call succeeds or fails at once).
#[repr(C)]
pub(super) struct Slot {
    overlapped: UnsafeCell<OVERLAPPED>,
    wire: UnsafeCell<Wire>,
    pub(super) index: u32,
    /// The handle whose lock guards the slot. Changes only while the slot is free.
    owner: AtomicU64,
    pub(super) links: Links,
    job: Mutex<Job>,
}

/// What the kernel reads and writes during a call.
#[repr(C, align(8))]
pub(super) struct Wire {
    /// Vectors, addresses or buffers of a transmit-file: whatever the call wants.
    pub(super) area: [u8; AREA_BYTES],
    pub(super) bytes: u32,
    pub(super) flags: u32,
}

/// Neighbours in the lists of the owner.
pub(super) struct Links {
    /// The next of the same direction.
    pub(super) next: AtomicU32,
    /// Neighbours in the list of all operations of the owner.
    pub(super) before: AtomicU32,
    pub(super) after: AtomicU32,
}

// SAFETY: the cells are used by one side at a time: the kernel between a call and its packet, the holder of the owner's lock
// otherwise. Everything else is atomic or behind a mutex.
unsafe impl Sync for Slot {}
// SAFETY: the pointers within `overlapped` and `wire` are only meant for the kernel, from whatever thread.
unsafe impl Send for Slot {}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The slot is free.
    Free,
    /// Behind others of its direction.
    Waiting,
    /// The kernel has it.
    Kernel,
    /// It has come to its end before one that was submitted earlier, behind which its completion stays.
    Held,
    /// The pool has it, or its answer is in the inbox.
    Pool,
    /// It waits for its time.
    Timer,
    /// A receive stream whose last item has not been dealt with.
    Resting,
    /// A receive stream that waits for a buffer.
    Starving,
    /// An accept with AcceptEx calls of its own.
    Accepting,
    /// A close that waits for the others.
    Closing,
}

/// What an operation is about. The slot's own mutex makes access to it safe by itself; the order of events is kept by the owner's lock.
pub(super) struct Job {
    pub(super) generation: u32,
    pub(super) stage: Stage,
    pub(super) kind: OperationKind,
    pub(super) file: Option<Borrowed>,
    pub(super) body: Body,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) transferred: u64,
    pub(super) data_only: bool,
    /// It was started, and is no longer behind others.
    pub(super) started: bool,
    /// What became of it, while it is held.
    pub(super) outcome: Option<Result<u64, Error>>,
    /// One before it in the stream of bytes failed: so does this, whatever the system says.
    pub(super) ruined: Option<Error>,
    /// Memory beyond the slot's own, where the call needs it.
    pub(super) scratch: Option<Scratch>,
    /// Counted in the handle as waiting to be sent.
    pub(super) send_bytes: u64,
    /// Why it is to end, once somebody asked for that.
    pub(super) ended: Option<ErrorKind>,
    /// The worker whose timers have a deadline for it.
    pub(super) deadline_at: Option<u32>,
}

/// The file that an operation works on beside its owner. Counted there as pending.
pub(super) struct Borrowed {
    pub(super) handle: Handle,
    pub(super) file: Arc<File>,
    /// A success at once queues no packet.
    pub(super) skips: bool,
    /// A write past the end of the file as it was known: such a write blocks, whatever the call says.
    pub(super) extends: bool,
}

impl Borrowed {
    pub(super) fn raw(&self) -> HANDLE {
        self.file.as_raw_handle()
    }
}

/// What an operation owns.
#[derive(Default)]
pub(super) enum Body {
    #[default]
    None,
    Buffer(Buffer),
    Chain(BufferChain),
    Connect {
        address: Address,
        first: BufferChain,
    },
    Buffers(Vec<Buffer>),
    SendTo {
        chain: BufferChain,
        to: Address,
    },
    Message(Box<Message>),
    List(Box<TransmitList>),
    Control(ControlRequest),
    Watch {
        directory: Arc<Directory>,
        recursive: bool,
        /// Once it is under way: the folder as opened for it, and what the system writes to.
        file: Option<File>,
        room: Option<Buffer>,
    },
    Open {
        directory: Option<Arc<Directory>>,
        path: PathBuf,
        options: OpenOptions,
    },
    Link {
        directory: Arc<Directory>,
        path: PathBuf,
        replace: bool,
    },
    Work(Work),
    Accept(Accepting),
    /// One AcceptEx call, of the accept in slot `parent`.
    Call {
        parent: u32,
        fresh: Fresh,
        first_bytes: Option<Buffer>,
    },
    /// A DisconnectEx, for the next connection.
    Reuse(socket2::Socket),
}

/// An accept, or a stream of them.
#[derive(Default)]
pub(super) struct Accepting {
    /// The slots of the AcceptEx calls that are posted.
    pub(super) calls: Vec<u32>,
    /// The connection that ends a single accept.
    pub(super) accepted: Option<Handle>,
    /// Why the accept cannot go on.
    pub(super) failed: Option<Error>,
}

impl Body {
    /// Whether it is a connect to what is no internet address.
    pub(super) const fn connects_elsewhere(&self) -> bool {
        matches!(self, Self::Connect { address: Address::Path(_) | Address::Unnamed, .. })
    }

    pub(super) fn into_payload(self) -> Payload {
        match self {
            Self::Buffer(buffer) => Payload::Buffer(buffer),
            Self::Buffers(buffers) => Payload::Buffers(buffers),
            Self::Chain(chain) | Self::SendTo { chain, .. } | Self::Connect { first: chain, .. } => {
                Payload::Chain(chain)
            }
            Self::Message(message) => Payload::Message(message),
            Self::List(list) => Payload::TransmitList(list),
            _ => Payload::None,
        }
    }
}

impl Slot {
    pub(super) fn new(index: u32) -> Self {
        Self {
            overlapped: UnsafeCell::new(OVERLAPPED::default()),
            wire: UnsafeCell::new(Wire { area: [0; AREA_BYTES], bytes: 0, flags: 0 }),
            index,
            owner: AtomicU64::new(Handle::NONE.to_bits()),
            links: Links {
                next: AtomicU32::new(NONE),
                before: AtomicU32::new(NONE),
                after: AtomicU32::new(NONE),
            },
            job: Mutex::new(Job {
                generation: 0,
                stage: Stage::Free,
                kind: OperationKind::Close,
                file: None,
                body: Body::None,
                offset: 0,
                length: 0,
                transferred: 0,
                data_only: false,
                started: false,
                outcome: None,
                ruined: None,
                scratch: None,
                send_bytes: 0,
                ended: None,
                deadline_at: None,
            }),
        }
    }

    pub(super) fn owner(&self) -> Handle {
        Handle::from_bits(self.owner.load(Ordering::Acquire))
    }

    pub(super) fn job(&self) -> MutexGuard<'_, Job> {
        lock(&self.job)
    }

    /// Fills a slot that was just taken. Returns the generation.
    pub(super) fn fill(
        &self,
        owner: Handle,
        kind: OperationKind,
        operation: Body,
        file: Option<Borrowed>,
    ) -> u32 {
        self.owner.store(owner.to_bits(), Ordering::Release);
        for link in [&self.links.next, &self.links.before, &self.links.after] {
            link.store(NONE, Ordering::Relaxed);
        }
        let mut job = self.job();
        let generation = job.generation;
        *job = Job {
            generation,
            stage: Stage::Waiting,
            kind,
            file,
            body: operation,
            offset: 0,
            length: 0,
            transferred: 0,
            data_only: false,
            started: false,
            outcome: None,
            ruined: None,
            scratch: None,
            send_bytes: 0,
            ended: None,
            deadline_at: None,
        };
        generation
    }

    /// The address that names the operation to the kernel: the slot's own.
    pub(super) fn overlapped(&self) -> *mut OVERLAPPED {
        std::ptr::from_ref(self).cast::<OVERLAPPED>().cast_mut()
    }

    pub(super) fn wire(&self) -> *mut Wire {
        self.wire.get()
    }

    /// Clears the OVERLAPPED for a call at `offset`.
    ///
    /// # Safety
    ///
    /// The kernel does not have the slot, and the caller holds the owner's lock.
    pub(super) unsafe fn prepare(&self, offset: u64) {
        let mut overlapped = OVERLAPPED::default();
        overlapped.Anonymous.Anonymous.Offset = offset as u32;
        overlapped.Anonymous.Anonymous.OffsetHigh = (offset >> 32) as u32;
        // SAFETY: as the caller promises, nobody else uses the cells.
        unsafe {
            *self.overlapped.get() = overlapped;
            (*self.wire.get()).bytes = 0;
            (*self.wire.get()).flags = 0;
        }
    }

    /// The NTSTATUS and the bytes that the kernel left in the OVERLAPPED.
    ///
    /// # Safety
    ///
    /// The kernel is done with the slot, and the caller holds the owner's lock.
    pub(super) unsafe fn outcome(&self) -> (i32, usize) {
        // SAFETY: as the caller promises, nobody else uses the cell.
        let overlapped = unsafe { &*self.overlapped.get() };
        (overlapped.Internal as i32, overlapped.InternalHigh)
    }
}

impl Job {
    /// The room for bytes that it has, all together.
    pub(super) fn room(&self) -> u64 {
        match &self.body {
            Body::Buffer(buffer) => buffer.spare_capacity() as u64,
            Body::Buffers(buffers) => buffers.iter().map(|buffer| buffer.spare_capacity() as u64).sum(),
            _ => 0,
        }
    }

    /// A datagram was longer than that.
    pub(super) fn truncated(&mut self) {
        if let Some(scratch) = &mut self.scratch {
            scratch.rest.truncated = true;
        }
    }

    pub(super) fn token(&self, queue: u8, index: u32) -> Token {
        Token::new(queue, index, self.generation)
    }

    /// Takes an operation apart: its kind decides what the numbers mean.
    pub(super) fn take_apart(operation: Operation) -> (Body, u64, u64, bool) {
        match operation {
            Operation::Accept | Operation::AcceptStream => (Body::Accept(Accepting::default()), 0, 0, false),
            Operation::Disconnect
            | Operation::ReceiveStream
            | Operation::Metadata { .. }
            | Operation::Timer { .. }
            | Operation::Close => (Body::None, 0, 0, false),
            Operation::Connect { address, first } => (Body::Connect { address, first }, 0, 0, false),
            Operation::Receive { buffer }
            | Operation::ReceiveFrom { buffer }
            | Operation::ReceiveMessage { buffer } => (Body::Buffer(buffer), 0, 0, false),
            Operation::ReceiveScatter { buffers } => (Body::Buffers(buffers), 0, 0, false),
            Operation::SendTo { chain, to } => (Body::SendTo { chain, to }, 0, 0, false),
            Operation::SendMessage { message } => (Body::Message(message), 0, 0, false),
            Operation::TransmitPackets { mut list } => {
                list.rewind();
                (Body::List(list), 0, 0, false)
            }
            Operation::Control { request } => (Body::Control(request), 0, 0, false),
            Operation::WatchDirectory { directory, recursive } => {
                (Body::Watch { directory, recursive, file: None, room: None }, 0, 0, false)
            }
            Operation::Send { chain } | Operation::Append { chain, .. } => (Body::Chain(chain), 0, 0, false),
            Operation::TransmitFile { head, offset, length, .. } => {
                (Body::Chain(head), offset, length, false)
            }
            Operation::ReadAt { offset, buffer, .. } => (Body::Buffer(buffer), offset, 0, false),
            Operation::WriteAt { offset, chain, .. } => (Body::Chain(chain), offset, 0, false),
            Operation::Sync { data_only, .. } => (Body::None, 0, 0, data_only),
            Operation::Open { directory, path, options } => {
                (Body::Open { directory, path, options }, 0, 0, false)
            }
            Operation::Link { directory, path, replace, .. } => {
                (Body::Link { directory, path, replace }, 0, 0, false)
            }
            Operation::Call { work } => (Body::Work(work), 0, 0, false),
        }
    }
}
