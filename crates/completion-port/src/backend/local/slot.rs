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
use std::{path::PathBuf, sync::Arc};

/// One operation in flight.
pub(crate) struct Slot {
    pub(crate) kind: OperationKind,
    /// The handle it was submitted for, or none.
    pub(crate) handle: Handle,
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
    pub(super) fn new(handle: Handle, operation: Operation, has_deadline: bool) -> Self {
        let kind = operation.kind();
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
        Self {
            kind,
            handle,
            file,
            body,
            range,
            list,
            send_bytes,
            transferred: 0,
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

    pub(super) fn place(&self) -> Place {
        let &Self {
            kind,
            handle,
            file,
            send_bytes,
            cancelled,
            timed_out,
            has_deadline,
            next,
            before,
            after,
            ..
        } = self;
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
        // The buffer of the part before goes: it was made for that one's length.
        self.body = Body::Transmit { head, buffer: None };
        (self.range.offset, self.range.length, self.file) = (offset, length, file);
        (self.transferred, self.stage) = (0, 0);
        true
    }

    /// What comes home with it.
    pub(super) fn take_payload(&mut self) -> Payload {
        let body = std::mem::replace(&mut self.body, Body::None);
        match self.list.take() {
            Some(list) => Payload::TransmitList(list),
            None => body.into_payload(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::local::handle::State;

    /// What a queue of one worker remembers of a connection that is idle, with its receive stream, on a machine of 64 bits.
    #[test]
    fn an_idle_connection_takes_little_memory() {
        let bytes = size_of::<Slot>() + size_of::<State>();
        assert!(bytes <= 400, "{bytes} bytes: {} and {}", size_of::<Slot>(), size_of::<State>());
    }
}
