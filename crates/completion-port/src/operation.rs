//! The operations: a closed enum, each owning what the kernel may touch until its terminal completion.

use crate::{
    address::Address,
    buffer::Buffer,
    chain::BufferChain,
    control::ControlRequest,
    error::ErrorKind,
    file::{Directory, OpenOptions},
    identity::Handle,
    message::Message,
    transmit::TransmitList,
};
use std::{any::Any, fmt, path::PathBuf, sync::Arc, time::Duration};

/// Work for the blocking pool, see [`Operation::Call`].
pub type Work = Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>;

/// What a worker can be asked to do. Submitted with [`Worker::submit`](crate::Worker::submit) for a handle: the handle that
/// socket operations act on, and whose key and gate the completion goes through. File operations name their file
/// separately, because one open file is often read on behalf of many sockets; a program without sockets names the file twice.
///
/// An operation that reads appends to its buffer: it fills the spare room behind what is filled already.
pub enum Operation {
    /// Take one connection from a listening socket. Payload: [`Payload::Accepted`](crate::Payload::Accepted).
    /// (AcceptEx; accept(2).)
    ///
    /// Where no handle or descriptor is free for it, as it begins or when a connection comes, it ends with
    /// [`ErrorKind::HandlesExhausted`](crate::ErrorKind::HandlesExhausted), [`DescriptorsExhausted`](crate::ErrorKind::DescriptorsExhausted) or
    /// [`SystemResources`](crate::ErrorKind::SystemResources). The connection is not lost: it waits, in the system's backlog or
    /// in the port, for the next accept on the listener.
    Accept,
    /// Take every connection that comes until cancelled. One completion a connection; the last carries an error and no
    /// connection. When descriptors or handles run out, the stream waits until one is closed. What came when there was no handle, or after
    /// the cancel, waits for the next accept, as with [`Accept`](Self::Accept).
    AcceptStream,
    /// Connect an unconnected socket, and send `first` once it is connected. The result counts what was sent of it; the chain comes back.
    /// A listener of the Unix domain that has no room is [`ErrorKind::Refused`](crate::ErrorKind::Refused): nobody would tell when there is some.
    /// (ConnectEx; connect(2).)
    Connect {
        /// Where to.
        address: Address,
        /// The first bytes; empty to send none.
        first: BufferChain,
    },
    /// End the sending direction of a connection after what was sent: the peer reads an orderly end. (DisconnectEx, shutdown(2).)
    Disconnect,
    /// Receive once, as much as there is, into the spare room of `buffer`. Zero bytes is the peer's orderly end. (WSARecv; recv(2).)
    Receive {
        /// Where the bytes go. Must have spare room.
        buffer: Buffer,
    },
    /// As [`Receive`](Self::Receive), into several buffers in order: a later one gets bytes when those before it are full. Payload:
    /// [`Payload::Buffers`](crate::Payload::Buffers). (WSARecv with several WSABUF; readv(2).)
    ReceiveScatter {
        /// Where the bytes go, 1 to 64 buffers. Must have spare room, all together.
        buffers: Vec<Buffer>,
    },
    /// Receive one datagram, and where it came from. Payload: [`Payload::Datagram`](crate::Payload::Datagram); what did not fit is lost, and
    /// said to be. A datagram can be empty: 0 bytes are no end. On a socket without datagrams it fails with
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) on Unix, as do the other operations on datagrams. (WSARecvFrom; recvfrom(2).)
    ReceiveFrom {
        /// Where the bytes go. Must have spare room.
        buffer: Buffer,
    },
    /// As [`ReceiveFrom`](Self::ReceiveFrom), with what the system knows beside the bytes:
    /// [`Ancillary`](crate::Ancillary). The first on a handle asks the system to tell; of datagrams that came before that it may know less.
    /// (WSARecvMsg; recvmsg(2).)
    ReceiveMessage {
        /// Where the bytes go. Must have spare room.
        buffer: Buffer,
    },
    /// Receive until the end, an error or a cancel; each completion brings a buffer from the port's pool, with the capacity
    /// [`Configuration::receive_bytes`](crate::Configuration::receive_bytes). No buffer is held while nothing arrives. When
    /// the pool is empty the stream waits until a buffer returns. For streams of bytes: of datagrams it would not tell where they came from, and end
    /// with an empty one. (Zero-byte WSARecv; multishot receive.)
    ReceiveStream,
    /// Send the whole chain, gathered. Short sends are finished inside the port. Several sends on one handle go out in the
    /// order of submission. To a pipe that nobody reads any more it is [`ErrorKind::Reset`](crate::ErrorKind::Reset), and raises no signal.
    /// (WSASend; sendmsg(2).)
    Send {
        /// What to send.
        chain: BufferChain,
    },
    /// Send one datagram, whole or not at all: one that is too long for the network is an error. An empty chain is an empty datagram.
    /// (WSASendTo; sendto(2).)
    SendTo {
        /// What to send.
        chain: BufferChain,
        /// Where to.
        to: Address,
    },
    /// Send one datagram with what goes beside its bytes, or several that the system cuts apart. Payload:
    /// [`Payload::Message`](crate::Payload::Message). (WSASendMsg; sendmsg(2).)
    SendMessage {
        /// The datagram.
        message: Box<Message>,
    },
    /// Send `head` and then a range of a file. Ends with an error if the file is shorter than promised. (TransmitFile; sendfile(2).)
    TransmitFile {
        /// Sent first, in one piece with the file's first bytes where the system can.
        head: BufferChain,
        /// The file.
        file: Handle,
        /// Where in the file to begin, in bytes.
        offset: u64,
        /// How many bytes of the file.
        length: u64,
    },
    /// Send bytes from memory and ranges of files, one behind the other, as one stream of bytes. Every file must be open when this is
    /// submitted, and stay open until its turn is over. Ends with an error where a file is shorter than promised. Payload:
    /// [`Payload::TransmitList`](crate::Payload::TransmitList). A file that is closed before its turn is
    /// [`ErrorKind::StaleHandle`](crate::ErrorKind::StaleHandle), where the system does not have the whole list at once; what stands before it has been sent then.
    /// (TransmitPackets.)
    TransmitPackets {
        /// What to send.
        list: Box<TransmitList>,
    },
    /// Tell the system something about a socket, or ask it. It has no direction: it does not wait for what is under way on the handle. What
    /// the socket or the system does not have is [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported). (WSAIoctl; setsockopt(2).)
    Control {
        /// What.
        request: ControlRequest,
    },
    /// Read at a position, filling the spare room of `buffer` unless the file ends before. (ReadFile; pread(2).)
    ReadAt {
        /// The file.
        file: Handle,
        /// Where, in bytes from the beginning.
        offset: u64,
        /// Where the bytes go. Must have spare room.
        buffer: Buffer,
    },
    /// Write the whole chain at a position. Partial writes are finished inside the port. (WriteFile; pwrite(2).)
    WriteAt {
        /// The file.
        file: Handle,
        /// Where, in bytes from the beginning.
        offset: u64,
        /// What to write.
        chain: BufferChain,
    },
    /// Write the whole chain at the end of the file, wherever that is. The file must have been opened with
    /// [`OpenOptions::append`](crate::OpenOptions::append). (WriteFile at 0xffffffff:ffffffff; O_APPEND.)
    Append {
        /// The file.
        file: Handle,
        /// What to write.
        chain: BufferChain,
    },
    /// Have what was written reach the storage. (FlushFileBuffers; fsync(2), fdatasync(2).)
    Sync {
        /// The file.
        file: Handle,
        /// Content and length only, not the times.
        data_only: bool,
    },
    /// Open a file or folder, and associate it. Payload: [`Payload::Opened`](crate::Payload::Opened), with its metadata.
    Open {
        /// The folder that a relative `path` starts from and must not leave; none opens `path` as it is.
        directory: Option<Arc<Directory>>,
        /// What to open.
        path: PathBuf,
        /// How.
        options: OpenOptions,
    },
    /// Give a file that was opened without a name ([`OpenOptions::unnamed`](crate::OpenOptions::unnamed)) one, durably: the folder is synced too.
    /// (linkat(2), renameat(2).)
    Link {
        /// The file.
        file: Handle,
        /// The folder that `path` starts from.
        directory: Arc<Directory>,
        /// The name.
        path: PathBuf,
        /// Take the place of a file that has the name already; otherwise that is
        /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists). The file then passes, for a moment, through a name beside the wanted one that
        /// begins with `.completion-port-` and ends with `.link`: a process that is killed in that moment leaves it behind.
        replace: bool,
    },
    /// Length, kind and times of an open file. Payload: [`Payload::Metadata`](crate::Payload::Metadata).
    Metadata {
        /// The file.
        file: Handle,
    },
    /// Tell of what changes in a folder until cancelled: one completion for each change, with
    /// [`Payload::Change`](crate::Payload::Change). Begins with what changes after this was submitted. A change may be told twice, and a program has to expect
    /// [`ChangeKind::Missed`](crate::ChangeKind::Missed) at any time. A folder that is itself removed ends the watch with
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), where the system tells of that. (ReadDirectoryChangesW; inotify(7).)
    ///
    /// On Linux each watch takes a descriptor and one of the user's instances (fs.inotify.max_user_instances), and each folder one of the user's watches
    /// (fs.inotify.max_user_watches; [`ErrorKind::SystemResources`](crate::ErrorKind::SystemResources) when they are used up). Writes through a mapping are not told.
    /// With `recursive`, links are not followed, folders that may not be read are not watched, and what is found in a folder that
    /// appears is told as having appeared too. Below a folder with more than 64 folders or 1,024 names in all the rest is entered on the pool, and
    /// one `Missed` tells when everything is watched.
    WatchDirectory {
        /// The folder.
        directory: Arc<Directory>,
        /// The folders below it too.
        recursive: bool,
    },
    /// Complete after a time. (No system timer of its own: the wait of the worker is shortened.)
    Timer {
        /// How long from now.
        after: Duration,
    },
    /// Run something that may block on the port's bounded pool. Payload: [`Payload::Returned`](crate::Payload::Returned).
    /// A cancel before it starts drops the work unrun; once it runs, it runs to its end. A panic in it is caught and reported as
    /// [`ErrorKind::Other`](crate::ErrorKind::Other).
    Call {
        /// What to run.
        work: Work,
    },
    /// Close the handle: cancels what was submitted for it, and completes after the last of that has come home. Nothing is
    /// delivered for the handle after this completion. Never refused for want of room.
    ///
    /// Operations that were submitted for *other* handles and name this one as their file are not cancelled: they run to their end,
    /// none is begun any more ([`ErrorKind::StaleHandle`](crate::ErrorKind::StaleHandle)), and the file is closed, and this completes, after
    /// the last of them. Who wants those to end cancels them.
    Close,
}

/// The kinds of operations and packets, as completions and errors name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationKind {
    /// [`Operation::Accept`].
    Accept,
    /// [`Operation::AcceptStream`].
    AcceptStream,
    /// [`Operation::Connect`].
    Connect,
    /// [`Operation::Disconnect`].
    Disconnect,
    /// [`Operation::Receive`].
    Receive,
    /// [`Operation::ReceiveScatter`].
    ReceiveScatter,
    /// [`Operation::ReceiveFrom`].
    ReceiveFrom,
    /// [`Operation::ReceiveMessage`].
    ReceiveMessage,
    /// [`Operation::ReceiveStream`].
    ReceiveStream,
    /// [`Operation::Send`].
    Send,
    /// [`Operation::SendTo`].
    SendTo,
    /// [`Operation::SendMessage`].
    SendMessage,
    /// [`Operation::TransmitFile`].
    TransmitFile,
    /// [`Operation::TransmitPackets`].
    TransmitPackets,
    /// [`Operation::Control`].
    Control,
    /// [`Operation::ReadAt`].
    ReadAt,
    /// [`Operation::WriteAt`].
    WriteAt,
    /// [`Operation::Append`].
    Append,
    /// [`Operation::Sync`].
    Sync,
    /// [`Operation::Open`].
    Open,
    /// [`Operation::Link`].
    Link,
    /// [`Operation::Metadata`].
    Metadata,
    /// [`Operation::WatchDirectory`].
    WatchDirectory,
    /// [`Operation::Timer`].
    Timer,
    /// [`Operation::Call`].
    Call,
    /// [`Operation::Close`].
    Close,
    /// A packet from [`Port::post`](crate::Port::post).
    Post,
    /// A handle takes sends again, after one was refused with [`ErrorKind::SendQueueFull`](crate::ErrorKind::SendQueueFull).
    Writable,
    /// The port began to shut down: accept streams end, and the program should finish what runs and close its handles.
    Draining,
    /// The shutdown packet, one for each worker, the last that it gets. The seed's IO_THREAD_SHUTDOWN.
    Shutdown,
    /// Creating a port or a worker; only in errors.
    Setup,
    /// Associating a socket or file; only in errors.
    Associate,
    /// Taking a buffer from the pool; only in errors.
    Acquire,
    /// Waiting for completions; only in errors.
    Wait,
}

impl Operation {
    /// The kind of the operation.
    pub const fn kind(&self) -> OperationKind {
        match self {
            Self::Accept => OperationKind::Accept,
            Self::AcceptStream => OperationKind::AcceptStream,
            Self::Connect { .. } => OperationKind::Connect,
            Self::Disconnect => OperationKind::Disconnect,
            Self::Receive { .. } => OperationKind::Receive,
            Self::ReceiveScatter { .. } => OperationKind::ReceiveScatter,
            Self::ReceiveFrom { .. } => OperationKind::ReceiveFrom,
            Self::ReceiveMessage { .. } => OperationKind::ReceiveMessage,
            Self::ReceiveStream => OperationKind::ReceiveStream,
            Self::Send { .. } => OperationKind::Send,
            Self::SendTo { .. } => OperationKind::SendTo,
            Self::SendMessage { .. } => OperationKind::SendMessage,
            Self::TransmitFile { .. } => OperationKind::TransmitFile,
            Self::TransmitPackets { .. } => OperationKind::TransmitPackets,
            Self::Control { .. } => OperationKind::Control,
            Self::ReadAt { .. } => OperationKind::ReadAt,
            Self::WriteAt { .. } => OperationKind::WriteAt,
            Self::Append { .. } => OperationKind::Append,
            Self::Sync { .. } => OperationKind::Sync,
            Self::Open { .. } => OperationKind::Open,
            Self::Link { .. } => OperationKind::Link,
            Self::Metadata { .. } => OperationKind::Metadata,
            Self::WatchDirectory { .. } => OperationKind::WatchDirectory,
            Self::Timer { .. } => OperationKind::Timer,
            Self::Call { .. } => OperationKind::Call,
            Self::Close => OperationKind::Close,
        }
    }

    /// Whether the arguments make sense by themselves, the same on every backend.
    pub(crate) fn check_arguments(&self) -> Result<(), ErrorKind> {
        let fits = match self {
            Self::Receive { buffer } | Self::ReceiveFrom { buffer } | Self::ReceiveMessage { buffer } => {
                buffer.spare_capacity() > 0
            }
            Self::ReceiveScatter { buffers } => {
                buffers.len() <= BufferChain::MAXIMUM_SLICES
                    && buffers.iter().any(|buffer| buffer.spare_capacity() > 0)
            }
            Self::Connect { address, .. } => *address != Address::Unnamed,
            Self::SendTo { to, .. } => *to != Address::Unnamed,
            Self::SendMessage { message } => {
                message.to != Some(Address::Unnamed) && message.ancillary.ecn.is_none_or(|ecn| ecn < 4)
            }
            Self::ReadAt { offset, buffer, .. } => {
                buffer.spare_capacity() > 0 && offset.checked_add(buffer.capacity() as u64).is_some()
            }
            Self::WriteAt { offset, chain, .. } => offset.checked_add(chain.len()).is_some(),
            Self::TransmitFile { head, offset, length, .. } => {
                offset.checked_add(*length).is_some() && head.len().checked_add(*length).is_some()
            }
            _ => true,
        };
        if fits { Ok(()) } else { Err(ErrorKind::InvalidArgument) }
    }

    /// Bytes that wait in memory for the peer to take them: what [`Configuration::send_bytes`](crate::Configuration::send_bytes) bounds.
    pub(crate) fn send_bytes(&self) -> u64 {
        match self {
            Self::Connect { first: chain, .. } | Self::Send { chain } | Self::SendTo { chain, .. } => {
                chain.len()
            }
            Self::SendMessage { message } => message.chain.len(),
            Self::TransmitFile { head, .. } => head.len(),
            Self::TransmitPackets { list } => list.bytes_in_memory(),
            _ => 0,
        }
    }

    /// All files that the operation names beside its handle.
    pub(crate) fn files(&self) -> impl Iterator<Item = Handle> {
        let list = match self {
            Self::TransmitPackets { list } => Some(list.files()),
            _ => None,
        };
        self.file().into_iter().chain(list.into_iter().flatten())
    }

    /// The one file that the operation names beside its handle.
    pub(crate) const fn file(&self) -> Option<Handle> {
        match self {
            Self::TransmitFile { file, .. }
            | Self::ReadAt { file, .. }
            | Self::WriteAt { file, .. }
            | Self::Append { file, .. }
            | Self::Sync { file, .. }
            | Self::Link { file, .. }
            | Self::Metadata { file } => Some(*file),
            _ => None,
        }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Operation::{:?}", self.kind())
    }
}

impl OperationKind {
    /// All of them, in their order.
    pub const ALL: &'static [Self] = &[
        Self::Accept,
        Self::AcceptStream,
        Self::Connect,
        Self::Disconnect,
        Self::Receive,
        Self::ReceiveScatter,
        Self::ReceiveFrom,
        Self::ReceiveMessage,
        Self::ReceiveStream,
        Self::Send,
        Self::SendTo,
        Self::SendMessage,
        Self::TransmitFile,
        Self::TransmitPackets,
        Self::Control,
        Self::ReadAt,
        Self::WriteAt,
        Self::Append,
        Self::Sync,
        Self::Open,
        Self::Link,
        Self::Metadata,
        Self::WatchDirectory,
        Self::Timer,
        Self::Call,
        Self::Close,
        Self::Post,
        Self::Writable,
        Self::Draining,
        Self::Shutdown,
        Self::Setup,
        Self::Associate,
        Self::Acquire,
        Self::Wait,
    ];

    /// A short name in the field's own words, for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::AcceptStream => "accept stream",
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Receive => "receive",
            Self::ReceiveScatter => "receive scatter",
            Self::ReceiveFrom => "receive from",
            Self::ReceiveMessage => "receive message",
            Self::ReceiveStream => "receive stream",
            Self::Send => "send",
            Self::SendTo => "send to",
            Self::SendMessage => "send message",
            Self::TransmitFile => "transmit file",
            Self::TransmitPackets => "transmit packets",
            Self::Control => "control",
            Self::ReadAt => "read at",
            Self::WriteAt => "write at",
            Self::Append => "append",
            Self::Sync => "sync",
            Self::Open => "open",
            Self::Link => "link",
            Self::Metadata => "metadata",
            Self::WatchDirectory => "watch directory",
            Self::Timer => "timer",
            Self::Call => "call",
            Self::Close => "close",
            Self::Post => "post",
            Self::Writable => "writable",
            Self::Draining => "draining",
            Self::Shutdown => "shutdown",
            Self::Setup => "setup",
            Self::Associate => "associate",
            Self::Acquire => "acquire a buffer",
            Self::Wait => "wait",
        }
    }

    /// The name that the seed's debug listing prints for the completion, where it has one.
    pub const fn seed_name(self) -> Option<&'static str> {
        match self {
            Self::Receive
            | Self::ReceiveScatter
            | Self::ReceiveFrom
            | Self::ReceiveMessage
            | Self::ReceiveStream => Some("IO_SOCKET_READ"),
            Self::Send | Self::SendTo | Self::SendMessage | Self::TransmitFile | Self::TransmitPackets => {
                Some("IO_SOCKET_WRITE")
            }
            Self::ReadAt => Some("IO_FILE_READ"),
            Self::WriteAt | Self::Append => Some("IO_FILE_WRITE"),
            Self::Shutdown => Some("IO_THREAD_SHUTDOWN"),
            _ => None,
        }
    }
}
