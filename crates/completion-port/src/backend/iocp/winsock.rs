//! Calls to Winsock, each with all that it needs in a slot.

use super::{
    scratch::Scratch,
    slot::{AREA_BYTES, Slot},
};
use crate::{
    buffer::Buffer,
    chain::BufferChain,
    counters::SystemCall,
    error::{Error, ErrorKind},
    message::windows::ask,
    operation::OperationKind,
    tally,
};
use std::{ffi::c_void, mem::size_of, net::SocketAddr, os::windows::io::AsRawSocket};
use windows_sys::{
    Win32::{
        Foundation::{ERROR_IO_PENDING, ERROR_MORE_DATA, HANDLE},
        Networking::WinSock as w,
        System::IO::OVERLAPPED,
    },
    core::GUID,
};

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Issued {
    /// A packet will come.
    Pending,
    /// Done at once, with so many bytes; no packet comes.
    Done(u32),
    /// Failed at once, with a code of the system; no packet comes.
    Failed(u32),
}

/// Room for one address with what AcceptEx adds to it, in bytes.
pub(super) const ADDRESS_BYTES: usize = size_of::<w::SOCKADDR_IN6>() + 16;

/// Room for both addresses of a connection, in bytes.
pub(super) const ADDRESSES_BYTES: usize = 2 * ADDRESS_BYTES;

/// Vectors of one gathered call; what a chain has beyond goes out with the next.
pub(super) const VECTORS: usize = AREA_BYTES / size_of::<w::WSABUF>();

/// Bytes of one call: the counts of Winsock have 32 bits.
pub(super) const MAXIMUM_BYTES: usize = 1 << 30;

/// Bytes of one TransmitFile, which counts them with a sign.
pub(super) const MAXIMUM_TRANSMIT_BYTES: u64 = 0x7fff_fffe;

/// The extension functions of Microsoft's providers.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub(super) accept: AcceptEx,
    connect: ConnectEx,
    pub(super) disconnect: DisconnectEx,
    pub(super) receive_message: Option<WsaRecvMsg>,
    pub(super) transmit_packets: Option<TransmitPackets>,
}

type AcceptEx = unsafe extern "system" fn(
    w::SOCKET,
    w::SOCKET,
    *mut c_void,
    u32,
    u32,
    u32,
    *mut u32,
    *mut OVERLAPPED,
) -> i32;

type ConnectEx = unsafe extern "system" fn(
    w::SOCKET,
    *const w::SOCKADDR,
    i32,
    *const c_void,
    u32,
    *mut u32,
    *mut OVERLAPPED,
) -> i32;

type WsaRecvMsg = unsafe extern "system" fn(
    w::SOCKET,
    *mut w::WSAMSG,
    *mut u32,
    *mut OVERLAPPED,
    w::LPWSAOVERLAPPED_COMPLETION_ROUTINE,
) -> i32;

type TransmitPackets = unsafe extern "system" fn(
    w::SOCKET,
    *const w::TRANSMIT_PACKETS_ELEMENT,
    u32,
    u32,
    *mut OVERLAPPED,
    u32,
) -> i32;

type DisconnectEx = unsafe extern "system" fn(w::SOCKET, *mut OVERLAPPED, u32, u32) -> i32;

fn extension(socket: w::SOCKET, name: GUID) -> Result<usize, Error> {
    let (mut address, mut bytes) = (0usize, 0);
    // SAFETY: all pointers are to values of the sizes given, which live through the call; without an OVERLAPPED it does not return
    // before it is done.
    let failed = unsafe {
        w::WSAIoctl(
            socket,
            w::SIO_GET_EXTENSION_FUNCTION_POINTER,
            (&raw const name).cast(),
            size_of::<GUID>() as u32,
            (&raw mut address).cast(),
            size_of::<usize>() as u32,
            &raw mut bytes,
            std::ptr::null_mut(),
            None,
        )
    };
    if failed != 0 || address == 0 {
        return Err(Error::from_code(last_socket_code() as i32, OperationKind::Setup));
    }
    Ok(address)
}

impl Functions {
    /// Asks the provider of `socket`.
    pub(super) fn load(socket: &socket2::Socket) -> Result<Self, Error> {
        let socket = socket.as_raw_socket() as w::SOCKET;
        let accept = extension(socket, w::WSAID_ACCEPTEX)?;
        let connect = extension(socket, w::WSAID_CONNECTEX)?;
        let disconnect = extension(socket, w::WSAID_DISCONNECTEX)?;
        // Without these there is another way, or an operation that is unsupported.
        let receive_message = extension(socket, w::WSAID_WSARECVMSG).ok();
        let transmit_packets = extension(socket, w::WSAID_TRANSMITPACKETS).ok();
        // SAFETY: the provider gave the addresses of the functions with these names, whose types Microsoft documents.
        unsafe {
            Ok(Self {
                accept: std::mem::transmute::<usize, AcceptEx>(accept),
                connect: std::mem::transmute::<usize, ConnectEx>(connect),
                disconnect: std::mem::transmute::<usize, DisconnectEx>(disconnect),
                receive_message: receive_message
                    .map(|function| std::mem::transmute::<usize, WsaRecvMsg>(function)),
                transmit_packets: transmit_packets
                    .map(|function| std::mem::transmute::<usize, TransmitPackets>(function)),
            })
        }
    }
}

pub(super) fn last_socket_code() -> u32 {
    // SAFETY: reads the thread's own last error.
    unsafe { w::WSAGetLastError() as u32 }
}

/// Whether the socket carries a stream and its provider uses handles of the file system, so that skipping packets on success works. A
/// datagram that does not fit is neither a success nor a failure: what is skipped for it is not documented.
pub(super) fn can_skip(socket: w::SOCKET) -> bool {
    // SAFETY: plain data, for which zeros are valid.
    let mut information: w::WSAPROTOCOL_INFOW = unsafe { std::mem::zeroed() };
    let mut bytes = size_of::<w::WSAPROTOCOL_INFOW>() as i32;
    // SAFETY: the option's value has this type and size.
    let failed = unsafe {
        w::getsockopt(
            socket,
            w::SOL_SOCKET,
            w::SO_PROTOCOL_INFOW,
            (&raw mut information).cast(),
            &raw mut bytes,
        )
    };
    failed == 0
        && information.dwServiceFlags1 & w::XP1_IFS_HANDLES != 0
        && information.iSocketType == w::SOCK_STREAM
}

/// Whether the socket listens.
pub(super) fn listens(socket: &socket2::Socket) -> Result<bool, u32> {
    let (mut yes, mut bytes) = (0u32, size_of::<u32>() as i32);
    let socket = socket.as_raw_socket() as w::SOCKET;
    // SAFETY: the option's value is a BOOL.
    let failed = unsafe {
        w::getsockopt(socket, w::SOL_SOCKET, w::SO_ACCEPTCONN, (&raw mut yes).cast(), &raw mut bytes)
    };
    if failed == 0 { Ok(yes != 0) } else { Err(last_socket_code()) }
}

/// Whether the socket's bytes are one stream, and not datagrams.
pub(super) fn is_stream(socket: &socket2::Socket) -> Result<bool, u32> {
    let kind = socket.r#type().map_err(|error| error.raw_os_error().unwrap_or(0) as u32)?;
    Ok(kind == socket2::Type::STREAM)
}

/// Makes a socket of datagrams fit for the port.
pub(super) fn prepare_for_datagrams(socket: &socket2::Socket) -> std::io::Result<()> {
    // For the receives of a stream, which take what is there; overlapped calls do not care.
    socket.set_nonblocking(true)?;
    ask(socket);
    if socket.peer_addr().is_err() {
        // A peer that is gone is no reason to fail a receive from anybody. Systems that do not know of it do not do so.
        let (no, mut bytes) = (0u32, 0);
        // SAFETY: the value is a BOOL that lives through the call, which is over when it returns.
        unsafe {
            w::WSAIoctl(
                socket.as_raw_socket() as w::SOCKET,
                w::SIO_UDP_CONNRESET,
                (&raw const no).cast(),
                size_of::<u32>() as u32,
                std::ptr::null_mut(),
                0,
                &raw mut bytes,
                std::ptr::null_mut(),
                None,
            )
        };
    }
    Ok(())
}

/// The outcome of a Winsock call that returns SOCKET_ERROR, and of one that returns a BOOL.
pub(super) fn judge(succeeded: bool, skips: bool, bytes: u32) -> Issued {
    if succeeded {
        return if skips { Issued::Done(bytes) } else { Issued::Pending };
    }
    judge_failure(last_socket_code(), skips)
}

/// The outcome of a call that returned no success but `code`.
pub(super) fn judge_failure(code: u32, skips: bool) -> Issued {
    match code {
        ERROR_IO_PENDING => Issued::Pending,
        // To the system (STATUS_BUFFER_OVERFLOW) that is a warning and no error: the call was made, and its packet comes. Sockets have
        // another code for it, see `Abilities::oversize_queues`.
        ERROR_MORE_DATA if !skips => Issued::Pending,
        code => Issued::Failed(code),
    }
}

/// WSARecv into `bytes` bytes at `pointer`.
///
/// # Safety
///
/// The kernel does not have `slot`; the slot owns the memory until its packet has come; the owner's lock is held.
pub(super) unsafe fn receive(
    slot: &Slot,
    socket: w::SOCKET,
    skips: bool,
    pointer: *mut u8,
    bytes: usize,
    peek: bool,
) -> Issued {
    // SAFETY: as the caller promises; the vector, the count and the flags lie in the slot too.
    unsafe {
        slot.prepare(0);
        let wire = slot.wire();
        (*wire).flags = if peek { w::MSG_PEEK as u32 } else { 0 };
        let vector = (&raw mut (*wire).area).cast::<w::WSABUF>();
        vector.write(w::WSABUF { len: bytes.min(MAXIMUM_BYTES) as u32, buf: pointer });
        let (count, flags) = (&raw mut (*wire).bytes, &raw mut (*wire).flags);
        tally::call(SystemCall::Receive);
        let failed = w::WSARecv(socket, vector, 1, count, flags, slot.overlapped(), None);
        judge(failed == 0, skips, if failed == 0 && skips { *count } else { 0 })
    }
}

/// Writes vectors for as many of `pieces` as one call takes. Returns how many.
///
/// # Safety
///
/// There is room for `room` vectors, which nobody else uses.
pub(super) unsafe fn fill_vectors<'a>(
    vectors: *mut w::WSABUF,
    room: usize,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> u32 {
    let (mut filled, mut bytes) = (0, 0);
    for piece in pieces.take(room) {
        let length = piece.len().min(MAXIMUM_BYTES - bytes);
        if length == 0 {
            break;
        }
        // SAFETY: as the caller promises.
        unsafe {
            vectors.add(filled).write(w::WSABUF { len: length as u32, buf: piece.as_ptr().cast_mut() });
        }
        filled += 1;
        bytes += length;
    }
    filled as u32
}

/// WSARecv into the spare room of `buffers`, one behind the other.
///
/// # Safety
///
/// As for [`receive`]; the slot owns `scratch` and `buffers`.
pub(super) unsafe fn receive_scatter(
    slot: &Slot,
    socket: w::SOCKET,
    skips: bool,
    scratch: &mut Scratch,
    buffers: &mut [Buffer],
) -> Issued {
    // SAFETY: as the caller promises; there are at most as many buffers as vectors.
    unsafe {
        slot.prepare(0);
        let (wire, vectors) = (slot.wire(), (&raw mut (*scratch.block()).vectors).cast::<w::WSABUF>());
        let (mut filled, mut room) = (0, MAXIMUM_BYTES);
        for (pointer, bytes) in buffers.iter_mut().map(Buffer::spare_pointer) {
            let bytes = bytes.min(room);
            if bytes > 0 {
                vectors.add(filled).write(w::WSABUF { len: bytes as u32, buf: pointer });
                filled += 1;
                room -= bytes;
            }
        }
        let (count, flags) = (&raw mut (*wire).bytes, &raw mut (*wire).flags);
        tally::call(SystemCall::Receive);
        let failed = w::WSARecv(socket, vectors, filled as u32, count, flags, slot.overlapped(), None);
        judge(failed == 0, skips, if failed == 0 && skips { *count } else { 0 })
    }
}

/// WSASend of what `chain` has behind its first `done` bytes.
///
/// # Safety
///
/// As for [`receive`]; the slot owns `chain`.
pub(super) unsafe fn send(
    slot: &Slot,
    socket: w::SOCKET,
    skips: bool,
    chain: &BufferChain,
    done: u64,
) -> Issued {
    // SAFETY: as the caller promises; at most VECTORS vectors fit into the area.
    unsafe {
        slot.prepare(0);
        let wire = slot.wire();
        let vectors = (&raw mut (*wire).area).cast::<w::WSABUF>();
        let filled = fill_vectors(vectors, VECTORS, chain.pieces_from(done));
        let count = &raw mut (*wire).bytes;
        tally::call(SystemCall::Send);
        let failed = w::WSASend(socket, vectors, filled, count, 0, slot.overlapped(), None);
        judge(failed == 0, skips, if failed == 0 && skips { *count } else { 0 })
    }
}

/// TransmitFile of `bytes` bytes at `offset`, behind `head` where that is one piece.
///
/// # Safety
///
/// As for [`receive`]; the slot owns `head` and the file.
pub(super) unsafe fn transmit(
    slot: &Slot,
    socket: w::SOCKET,
    skips: bool,
    file: HANDLE,
    (offset, bytes): (u64, u32),
    head: Option<&[u8]>,
) -> Issued {
    // SAFETY: as the caller promises; the description of the head lies in the slot.
    unsafe {
        slot.prepare(offset);
        let buffers = (&raw mut (*slot.wire()).area).cast::<w::TRANSMIT_FILE_BUFFERS>();
        let head_pointer = match head {
            Some(head) => {
                buffers.write(w::TRANSMIT_FILE_BUFFERS {
                    Head: head.as_ptr().cast_mut().cast(),
                    HeadLength: head.len() as u32,
                    Tail: std::ptr::null_mut(),
                    TailLength: 0,
                });
                buffers.cast_const()
            }
            None => std::ptr::null(),
        };
        tally::call(SystemCall::SendFile);
        let succeeded = w::TransmitFile(socket, file, bytes, 0, slot.overlapped(), head_pointer, 0) != 0;
        let sent = if succeeded && skips { slot.outcome().1 as u32 } else { 0 };
        judge(succeeded, skips, sent)
    }
}

/// ConnectEx, with the first bytes where they are one piece. The socket is bound first where it was not.
///
/// # Safety
///
/// As for [`receive`]; the slot owns `first`.
pub(super) unsafe fn connect(
    functions: &Functions,
    slot: &Slot,
    socket: &socket2::Socket,
    skips: bool,
    address: SocketAddr,
    first: &BufferChain,
) -> Issued {
    if socket.local_addr().is_err() {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        if let Err(error) = socket.bind(&any.into()) {
            return Issued::Failed(error.raw_os_error().unwrap_or(0) as u32);
        }
    }
    let address = socket2::SockAddr::from(address);
    // SAFETY: as the caller promises; the address is copied to the slot.
    unsafe {
        slot.prepare(0);
        let wire = slot.wire();
        let room = (&raw mut (*wire).area).cast::<u8>();
        let length = (address.len() as usize).min(AREA_BYTES);
        std::ptr::copy_nonoverlapping(address.as_ptr().cast::<u8>(), room, length);
        let socket = socket.as_raw_socket() as w::SOCKET;
        let (pointer, bytes) = match first.slices() {
            [only] if only.len() <= MAXIMUM_BYTES => (only.as_ptr().cast(), only.len() as u32),
            _ => (std::ptr::null(), 0),
        };
        let (count, overlapped) = (&raw mut (*wire).bytes, slot.overlapped());
        tally::call(SystemCall::Connect);
        let connected =
            (functions.connect)(socket, room.cast(), length as i32, pointer, bytes, count, overlapped);
        judge(connected != 0, skips, if connected != 0 && skips { *count } else { 0 })
    }
}

/// AcceptEx into `socket`; with a buffer for first bytes, it waits for those.
///
/// # Safety
///
/// As for [`receive`]; the slot owns `socket` and the buffer, which has room for [`ADDRESSES_BYTES`] more.
pub(super) unsafe fn accept(
    functions: &Functions,
    slot: &Slot,
    listener: w::SOCKET,
    socket: w::SOCKET,
    first_bytes: Option<(*mut u8, usize)>,
) -> Issued {
    // SAFETY: as the caller promises; the addresses lie in the slot, or in the buffer behind the first bytes.
    unsafe {
        slot.prepare(0);
        let wire = slot.wire();
        let (room, bytes) = first_bytes.unwrap_or(((&raw mut (*wire).area).cast::<u8>(), 0));
        tally::call(SystemCall::Accept);
        let accepted = (functions.accept)(
            listener,
            socket,
            room.cast(),
            bytes as u32,
            ADDRESS_BYTES as u32,
            ADDRESS_BYTES as u32,
            &raw mut (*wire).bytes,
            slot.overlapped(),
        );
        judge(accepted != 0, false, 0)
    }
}

/// Receives what is there, without waiting: the socket is in the non-blocking mode, and no OVERLAPPED is given.
pub(super) fn receive_now(socket: &socket2::Socket, room: &mut [u8]) -> Result<usize, u32> {
    let mut vector = w::WSABUF { len: room.len().min(MAXIMUM_BYTES) as u32, buf: room.as_mut_ptr() };
    let (mut bytes, mut flags) = (0, 0);
    let socket = socket.as_raw_socket() as w::SOCKET;
    // SAFETY: without an OVERLAPPED the call is over when it returns, and everything lives until then.
    let failed = unsafe {
        tally::call(SystemCall::Receive);
        w::WSARecv(socket, &raw mut vector, 1, &raw mut bytes, &raw mut flags, std::ptr::null_mut(), None)
    };
    if failed == 0 { Ok(bytes as usize) } else { Err(last_socket_code()) }
}

/// Makes an accepted socket a full one. Fails where the peer has left meanwhile.
pub(super) fn update_accept_context(socket: w::SOCKET, listener: w::SOCKET) -> Result<(), u32> {
    let bytes = size_of::<w::SOCKET>() as i32;
    // SAFETY: the option's value is the listening SOCKET, which lives through the call.
    let failed = unsafe {
        tally::call(SystemCall::Option);
        w::setsockopt(socket, w::SOL_SOCKET, w::SO_UPDATE_ACCEPT_CONTEXT, (&raw const listener).cast(), bytes)
    };
    if failed == 0 { Ok(()) } else { Err(last_socket_code()) }
}

/// Makes a socket that ConnectEx connected a full one.
pub(super) fn update_connect_context(socket: w::SOCKET) -> Result<(), u32> {
    tally::call(SystemCall::Option);
    // SAFETY: the option has no value.
    let failed =
        unsafe { w::setsockopt(socket, w::SOL_SOCKET, w::SO_UPDATE_CONNECT_CONTEXT, std::ptr::null(), 0) };
    if failed == 0 { Ok(()) } else { Err(last_socket_code()) }
}

/// For how many seconds the socket of an AcceptEx has been connected; none while it is not.
pub(super) fn connected_for_s(socket: w::SOCKET) -> Option<u32> {
    let (mut seconds, mut bytes) = (u32::MAX, size_of::<u32>() as i32);
    // SAFETY: the option's value has this type and size.
    let failed = unsafe {
        w::getsockopt(socket, w::SOL_SOCKET, w::SO_CONNECT_TIME, (&raw mut seconds).cast(), &raw mut bytes)
    };
    (failed == 0 && seconds != u32::MAX).then_some(seconds)
}

/// The address family of a socket.
pub(super) fn domain_of(socket: &socket2::Socket) -> Result<socket2::Domain, Error> {
    // SAFETY: plain data, for which zeros are valid.
    let mut information: w::WSAPROTOCOL_INFOW = unsafe { std::mem::zeroed() };
    let mut bytes = size_of::<w::WSAPROTOCOL_INFOW>() as i32;
    let raw = socket.as_raw_socket() as w::SOCKET;
    // SAFETY: the option's value has this type and size.
    let failed = unsafe {
        w::getsockopt(raw, w::SOL_SOCKET, w::SO_PROTOCOL_INFOW, (&raw mut information).cast(), &raw mut bytes)
    };
    if failed != 0 {
        return Err(Error::from_code(last_socket_code() as i32, OperationKind::Accept));
    }
    match socket2::Domain::from(information.iAddressFamily) {
        domain @ (socket2::Domain::IPV4 | socket2::Domain::IPV6) => Ok(domain),
        _ => Err(Error::new(ErrorKind::Unsupported, OperationKind::Accept)),
    }
}

/// A new socket for AcceptEx.
pub(super) fn new_socket(domain: socket2::Domain) -> Result<socket2::Socket, Error> {
    tally::call(SystemCall::Socket);
    socket2::Socket::new(domain, socket2::Type::STREAM, None)
        .map_err(|error| Error::from_io(&error, OperationKind::Accept))
}

/// DisconnectEx, so that the socket can be accepted into again.
///
/// # Safety
///
/// As for [`receive`].
pub(super) unsafe fn disconnect(
    functions: &Functions,
    slot: &Slot,
    socket: w::SOCKET,
    skips: bool,
) -> Issued {
    // SAFETY: as the caller promises.
    unsafe {
        slot.prepare(0);
        tally::call(SystemCall::Shutdown);
        let done = (functions.disconnect)(socket, slot.overlapped(), w::TF_REUSE_SOCKET, 0);
        judge(done != 0, skips, 0)
    }
}
