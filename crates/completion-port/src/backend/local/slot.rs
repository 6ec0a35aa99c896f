//! The slot of an operation in flight: it owns everything that the kernel may touch.

use crate::{
    buffer::Buffer,
    chain::BufferChain,
    completion::Payload,
    file::{Directory, OpenOptions},
    identity::{Handle, Token},
    operation::{Operation, OperationKind, Work},
};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

/// One operation in flight.
pub(crate) struct Slot {
    pub(crate) kind: OperationKind,
    /// The handle it was submitted for, or none.
    pub(crate) handle: Handle,
    /// The file it names beside its handle, or none.
    pub(crate) file: Handle,
    pub(crate) body: Body,
    pub(crate) range: Range,
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

/// What an operation owns.
pub(crate) enum Body {
    None,
    Buffer(Buffer),
    Chain(BufferChain),
    /// `buffer` is for engines that build the operation from reads and sends.
    Transmit {
        head: BufferChain,
        buffer: Option<Buffer>,
    },
    Address(SocketAddr),
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
    /// The buffers, for the completion.
    pub(crate) fn into_payload(self) -> Payload {
        match self {
            Self::Buffer(buffer) => Payload::Buffer(buffer),
            Self::Chain(chain) | Self::Transmit { head: chain, .. } => Payload::Chain(chain),
            Self::None | Self::Address(_) | Self::Open { .. } | Self::Link { .. } | Self::Work(_) => {
                Payload::None
            }
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
    pub(super) fn new(handle: Handle, operation: Operation) -> Self {
        let kind = operation.kind();
        let file = operation.file().unwrap_or(Handle::NONE);
        let mut range = Range::default();
        let body = match operation {
            Operation::Accept
            | Operation::AcceptStream
            | Operation::Disconnect
            | Operation::ReceiveStream
            | Operation::Metadata { .. }
            | Operation::Timer { .. }
            | Operation::Close => Body::None,
            Operation::Connect { address } => Body::Address(address),
            Operation::Receive { buffer } => Body::Buffer(buffer),
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
            transferred: 0,
            started: false,
            on_pool: false,
            cancelled: false,
            timed_out: false,
            stage: 0,
            has_deadline: false,
            next: Token::NONE,
            before: Token::NONE,
            after: Token::NONE,
        }
    }
}
