//! What comes back: one terminal completion for every accepted operation, with its buffers.

use crate::{
    address::Address,
    buffer::Buffer,
    chain::BufferChain,
    error::Error,
    file::Metadata,
    identity::{Handle, Token},
    message::{Ancillary, Message},
    operation::{Operation, OperationKind},
    transmit::TransmitList,
    watch::Change,
};
use std::{any::Any, fmt};

/// A completed operation, one item of a stream operation, or a packet.
///
/// In the terms of Win32: what GetQueuedCompletionStatus returns (the number of bytes, the CompletionKey, the address of the
/// OVERLAPPED structure with its per-operation data) in one owned value.
#[derive(Debug)]
#[must_use = "a completion carries buffers home and says whether the operation succeeded"]
pub struct Completion {
    /// The handle that the operation was submitted for, or [`Handle::NONE`] for packets.
    pub handle: Handle,
    /// The key that the program gave the handle.
    pub key: u64,
    /// The operation.
    pub token: Token,
    /// Its kind.
    pub kind: OperationKind,
    /// Bytes transferred by this completion, or why it failed. A failed completion may have transferred some bytes before;
    /// its payload still carries the buffers.
    pub result: Result<u64, Error>,
    /// The buffers, and what else the operation yields.
    pub payload: Payload,
    /// Nothing follows for this token. Always true but for items of a stream operation.
    pub last: bool,
}

/// What a completion yields beside the number of bytes.
#[non_exhaustive]
#[derive(Default)]
pub enum Payload {
    /// Nothing.
    #[default]
    None,
    /// The buffer of a receive or read, filled further.
    Buffer(Buffer),
    /// The buffers of a scattered receive, filled further.
    Buffers(Vec<Buffer>),
    /// A datagram. Where none was received, the buffer comes as [`Payload::Buffer`].
    Datagram {
        /// Its bytes, behind what was filled before.
        buffer: Buffer,
        /// Where it came from.
        from: Address,
        /// What the system knows beside the bytes. Of a receive-from only
        /// [`truncated`](Ancillary::truncated).
        ancillary: Ancillary,
    },
    /// The chain of a send, write or connect (of a transmit-file: its head).
    Chain(BufferChain),
    /// The message of a send-message.
    Message(Box<Message>),
    /// The list of a transmit-packets.
    TransmitList(Box<TransmitList>),
    /// What changed in a watched folder.
    Change(Change),
    /// A new connection, associated with key 0; give it its key with [`Worker::set_key`](crate::Worker::set_key).
    ///
    /// On [`Backend::Iocp`](crate::Backend::Iocp) with several queues it may belong to any of them
    /// ([`Handle::queue`]): hand it to a worker of that queue, with [`Port::post`](crate::Port::post) and [`Handle::to_bits`].
    Accepted(Handle),
    /// An open file, associated with key 0.
    Opened {
        /// The file.
        file: Handle,
        /// Its metadata at the time of opening.
        metadata: Metadata,
    },
    /// Metadata of an open file.
    Metadata(Metadata),
    /// What the work of a [`Operation::Call`] returned.
    Returned(Box<dyn Any + Send>),
    /// A posted packet.
    Packet(Packet),
}

impl fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("None"),
            Self::Buffer(buffer) => buffer.fmt(formatter),
            Self::Buffers(buffers) => buffers.fmt(formatter),
            Self::Datagram { buffer, from, ancillary } => formatter
                .debug_struct("Datagram")
                .field("buffer", buffer)
                .field("from", from)
                .field("ancillary", ancillary)
                .finish(),
            Self::Chain(chain) => chain.fmt(formatter),
            Self::Message(message) => message.fmt(formatter),
            Self::TransmitList(list) => list.fmt(formatter),
            Self::Change(change) => change.fmt(formatter),
            Self::Accepted(handle) => formatter.debug_tuple("Accepted").field(handle).finish(),
            Self::Opened { file, metadata } => {
                formatter.debug_struct("Opened").field("file", file).field("metadata", metadata).finish()
            }
            Self::Metadata(metadata) => metadata.fmt(formatter),
            Self::Returned(_) => formatter.write_str("Returned(..)"),
            Self::Packet(packet) => packet.fmt(formatter),
        }
    }
}

impl Payload {
    /// The buffer, if the payload is one, or a datagram.
    pub fn into_buffer(self) -> Option<Buffer> {
        match self {
            Self::Buffer(buffer) | Self::Datagram { buffer, .. } => Some(buffer),
            _ => None,
        }
    }

    /// The chain, if the payload is one.
    pub fn into_chain(self) -> Option<BufferChain> {
        match self {
            Self::Chain(chain) => Some(chain),
            _ => None,
        }
    }
}

/// A user packet: what one thread says to the workers of a queue. (The arguments of PostQueuedCompletionStatus.)
#[derive(Default)]
pub struct Packet {
    /// A key, as for handles.
    pub key: u64,
    /// A number.
    pub value: u64,
    /// Anything else.
    pub object: Option<Box<dyn Any + Send>>,
}

impl fmt::Debug for Packet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Packet")
            .field("key", &self.key)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

/// An operation that was not accepted: given back whole, with the reason. This is the port's back-pressure.
#[derive(Debug)]
pub struct Rejected {
    /// Why.
    pub error: Error,
    /// The operation with its buffers.
    pub operation: Operation,
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(formatter)
    }
}

impl std::error::Error for Rejected {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
