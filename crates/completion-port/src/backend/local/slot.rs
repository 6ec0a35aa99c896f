//! The slot of an operation in flight: it owns everything that the kernel may touch.

use super::notices::Notices;
use crate::{
    address::Address,
    buffer::Buffer,
    chain::BufferChain,
    completion::Payload,
    control::ControlRequest,
    file::{Directory, OpenOptions},
    identity::{Handle, Token},
    message::Message,
    operation::{Operation, OperationKind, Work},
    transmit::{Part, TransmitList},
};
use std::{
    ops::{Deref, DerefMut},
    path::PathBuf,
    sync::Arc,
};

/// One operation in flight. What it works with is read as if it were here.
pub(crate) struct Slot {
    pub(crate) kind: OperationKind,
    /// The handle it was submitted for, or none.
    pub(crate) handle: Handle,
    /// None where the kind says all: a receive stream is in flight for every idle connection.
    cargo: Option<Box<Cargo>>,
    /// The engine has it; until then it waits in its line.
    pub(crate) started: bool,
    pub(crate) on_pool: bool,
    /// The program, a close or the shutdown asked for its end.
    pub(crate) cancelled: bool,
    /// Its deadline passed.
    pub(crate) timed_out: bool,
    /// For the engine's own use: what stage a multi-step operation is in.
    pub(crate) stage: u32,
    pub(super) has_deadline: bool,
    /// The next in its line.
    pub(super) next: Token,
    /// Neighbours among all operations of the handle.
    pub(super) before: Token,
    pub(super) after: Token,
}

/// What an operation works with.
pub(crate) struct Cargo {
    /// The file it names beside its handle, or none.
    pub(crate) file: Handle,
    pub(crate) body: Body,
    pub(crate) range: Range,
    /// What a transmit-packets sends; `body` and `range` are the part that is being sent.
    pub(super) list: Option<Box<TransmitList>>,
    /// Counted in the handle as waiting to be sent.
    pub(super) send_bytes: u64,
    /// Bytes so far, of an operation that takes several steps.
    pub(crate) transferred: u64,
}

impl Deref for Slot {
    type Target = Cargo;

    fn deref(&self) -> &Cargo {
        self.cargo.as_deref().expect(HAS_CARGO)
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut Cargo {
        self.cargo.as_deref_mut().expect(HAS_CARGO)
    }
}

const HAS_CARGO: &str = "only kinds of operations that work with something are asked for it";

/// Empty cargoes, kept for the next operations: an operation takes no memory of the heap that was not taken before.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "it is the boxes that are kept")]
pub(super) struct Cargoes(Vec<Box<Cargo>>);

impl Cargoes {
    /// As many as are in flight on a busy queue. What a crowd needed beyond that is freed.
    const MOST: usize = 1_024;

    #[inline(always)]
    fn fill(&mut self, cargo: Cargo) -> Box<Cargo> {
        match self.0.pop() {
            Some(mut place) => {
                *place = cargo;
                place
            }
            None => Box::new(cargo),
        }
    }

    /// Drops what an operation still has.
    pub(super) fn empty(&mut self, slot: &mut Slot) {
        if let Some(mut cargo) = slot.cargo.take()
            && self.0.len() < Self::MOST
        {
            (cargo.body, cargo.list) = (Body::None, None);
            self.0.push(cargo);
        }
    }
}

/// Where an operation stands in the books: what is left to be looked at when it ends.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) kind: OperationKind,
    pub(super) handle: Handle,
    pub(super) file: Handle,
    pub(super) send_bytes: u64,
    pub(super) cancelled: bool,
    pub(super) timed_out: bool,
    pub(super) has_deadline: bool,
    pub(super) next: Token,
    pub(super) before: Token,
    pub(super) after: Token,
}

/// What an operation owns.
pub(crate) enum Body {
    None,
    Buffer(Buffer),
    Buffers(Vec<Buffer>),
    Chain(BufferChain),
    SendTo {
        chain: BufferChain,
        to: Address,
    },
    Message(Box<Message>),
    Connect {
        address: Address,
        first: BufferChain,
    },
    Control(ControlRequest),
    Watch {
        directory: Arc<Directory>,
        recursive: bool,
    },
    /// What a watch, or a control that waits, has become.
    Notices(Notices),
    /// `buffer` is for engines that build the operation from reads and sends.
    Transmit {
        head: BufferChain,
        buffer: Option<Buffer>,
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
}

impl Body {
    /// A connect has succeeded: its first bytes are to be sent like any others.
    pub(crate) fn connected(&mut self) {
        *self = match std::mem::replace(self, Self::None) {
            Self::Connect { first, .. } => Self::Chain(first),
            other => other,
        };
    }

    /// The buffers, for the completion.
    pub(crate) fn into_payload(self) -> Payload {
        match self {
            Self::Buffer(buffer) => Payload::Buffer(buffer),
            Self::Buffers(buffers) => Payload::Buffers(buffers),
            Self::Chain(chain)
            | Self::SendTo { chain, .. }
            | Self::Connect { first: chain, .. }
            | Self::Transmit { head: chain, .. } => Payload::Chain(chain),
            Self::Message(message) => Payload::Message(message),
            Self::None
            | Self::Control(_)
            | Self::Watch { .. }
            | Self::Notices(_)
            | Self::Open { .. }
            | Self::Link { .. }
            | Self::Work(_) => Payload::None,
        }
    }
}

/// Numbers of an operation beside its body.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Range {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) data_only: bool,
}

impl Slot {
    /// Takes an operation apart.
    #[inline(always)]
    pub(super) fn new(
        handle: Handle,
        operation: Operation,
        has_deadline: bool,
        cargoes: &mut Cargoes,
    ) -> Self {
        let kind = operation.kind();
        if Self::needs_no_cargo(kind) {
            return Self::with(kind, handle, has_deadline, None);
        }
        let send_bytes = operation.send_bytes();
        let mut file = operation.file().unwrap_or(Handle::NONE);
        let mut range = Range::default();
        let mut list = None;
        let body = match operation {
            Operation::Accept
            | Operation::AcceptStream
            | Operation::Disconnect
            | Operation::ReceiveStream
            | Operation::Metadata { .. }
            | Operation::Timer { .. }
            | Operation::Close => Body::None,
            Operation::Connect { address, first } => Body::Connect { address, first },
            Operation::Receive { buffer }
            | Operation::ReceiveFrom { buffer }
            | Operation::ReceiveMessage { buffer } => Body::Buffer(buffer),
            Operation::ReceiveScatter { buffers } => Body::Buffers(buffers),
            Operation::SendTo { chain, to } => Body::SendTo { chain, to },
            Operation::SendMessage { message } => Body::Message(message),
            Operation::Control { request } => Body::Control(request),
            Operation::WatchDirectory { directory, recursive } => Body::Watch { directory, recursive },
            Operation::TransmitPackets { list: mut whole } => {
                whole.rewind();
                let part = whole.next_part().unwrap_or_default();
                list = Some(whole);
                (range.offset, range.length, file) = (part.offset, part.length, part.file);
                Body::Transmit { head: part.head, buffer: None }
            }
            Operation::Send { chain } | Operation::Append { chain, .. } => Body::Chain(chain),
            Operation::TransmitFile { head, offset, length, .. } => {
                range = Range { offset, length, data_only: false };
                Body::Transmit { head, buffer: None }
            }
            Operation::ReadAt { offset, buffer, .. } => {
                range.offset = offset;
                Body::Buffer(buffer)
            }
            Operation::WriteAt { offset, chain, .. } => {
                range.offset = offset;
                Body::Chain(chain)
            }
            Operation::Sync { data_only, .. } => {
                range.data_only = data_only;
                Body::None
            }
            Operation::Open { directory, path, options } => Body::Open { directory, path, options },
            Operation::Link { directory, path, replace, .. } => Body::Link { directory, path, replace },
            Operation::Call { work } => Body::Work(work),
        };
        let cargo = cargoes.fill(Cargo { file, body, range, list, send_bytes, transferred: 0 });
        Self::with(kind, handle, has_deadline, Some(cargo))
    }

    const fn needs_no_cargo(kind: OperationKind) -> bool {
        use OperationKind as Kind;
        matches!(
            kind,
            Kind::Accept
                | Kind::AcceptStream
                | Kind::ReceiveStream
                | Kind::Disconnect
                | Kind::Timer
                | Kind::Close
        )
    }

    #[inline(always)]
    fn with(kind: OperationKind, handle: Handle, has_deadline: bool, cargo: Option<Box<Cargo>>) -> Self {
        Self {
            kind,
            handle,
            cargo,
            started: false,
            on_pool: false,
            cancelled: false,
            timed_out: false,
            stage: 0,
            has_deadline,
            next: Token::NONE,
            before: Token::NONE,
            after: Token::NONE,
        }
    }

    /// What it works with, where its kind does not say all.
    pub(crate) fn cargo(&mut self) -> Option<&mut Cargo> {
        self.cargo.as_deref_mut()
    }

    /// What it works with, and its stage, side by side.
    pub(crate) fn parts(&mut self) -> (&mut Cargo, &mut u32) {
        (self.cargo.as_deref_mut().expect(HAS_CARGO), &mut self.stage)
    }

    /// The file it names beside its handle, or none.
    pub(crate) fn named_file(&self) -> Handle {
        self.cargo.as_ref().map_or(Handle::NONE, |cargo| cargo.file)
    }

    /// Its bytes that are counted in the handle as waiting to be sent.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.cargo.as_ref().map_or(0, |cargo| cargo.send_bytes)
    }

    pub(super) fn place(&self) -> Place {
        let &Self { kind, handle, cancelled, timed_out, has_deadline, next, before, after, .. } = self;
        let (file, send_bytes) = (self.named_file(), self.waiting_bytes());
        Place { kind, handle, file, send_bytes, cancelled, timed_out, has_deadline, next, before, after }
    }

    /// Whether it is built of reads from a file and sends.
    pub(crate) fn transmits(&self) -> bool {
        matches!(self.kind, OperationKind::TransmitFile | OperationKind::TransmitPackets)
    }

    /// Where in its file it is; of a transmit, behind what was sent.
    pub(crate) fn file_position(&self) -> u64 {
        let sent = match &self.body {
            Body::Transmit { head, .. } => self.transferred.saturating_sub(head.len()),
            _ => 0,
        };
        self.range.offset + sent
    }

    /// Turns to the next part of a transmit-packets. False if that was the last one.
    pub(super) fn turn_to_next_part(&mut self) -> bool {
        let Some(Part { head, file, offset, length }) =
            self.list.as_deref_mut().and_then(TransmitList::next_part)
        else {
            return false;
        };
        self.stage = 0;
        let this = &mut **self;
        // The buffer of the part before goes: it was made for that one's length.
        this.body = Body::Transmit { head, buffer: None };
        (this.range.offset, this.range.length, this.file) = (offset, length, file);
        this.transferred = 0;
        true
    }

    /// What comes home with it.
    pub(super) fn take_payload(&mut self) -> Payload {
        let Some(cargo) = &mut self.cargo else { return Payload::None };
        let body = std::mem::replace(&mut cargo.body, Body::None);
        match cargo.list.take() {
            Some(list) => Payload::TransmitList(list),
            None => body.into_payload(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::local::handle::State;

    /// What a queue of one worker remembers of a connection that is idle, with its receive stream, on a machine of 64 bits. (The simulation's
    /// sockets are larger: without them it is 160 bytes.)
    #[test]
    fn an_idle_connection_takes_little_memory() {
        let bytes = size_of::<Slot>() + size_of::<State>();
        assert!(bytes <= 200, "{bytes} bytes: {} and {}", size_of::<Slot>(), size_of::<State>());
    }
}
