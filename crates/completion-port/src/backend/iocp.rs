//! Windows I/O completion ports: a port for each queue, and any number of workers on it.
//!
//! [`Core`] is what the workers of a queue share: the port, the slots of the operations, the handles. A [`Desk`] is what one
//! worker has for itself. A [`Turn`] is a worker at work, with both at hand; the files beside this one teach it one
//! thing each.
//!
//! One walk of an operation: `submit` gives it a slot and puts it into the lists of its handle; when it is first in its direction,
//! `start` makes the call; the packet, or the immediate result, reaches `event`, which goes on with the next part of the
//! operation or completes it: the completion enters the gate of the handle, and the next operation of the direction
//! starts. `wait` hands out what has passed the gates.
//!
//! Locks: the state of a handle guards the slots of its operations. Nobody holds two of them, but for a handle that was just
//! made and is known to nobody else. Worker-to-worker order follows from that: a completion enters the gate before the next
//! operation of its direction is issued.

mod abilities;
mod accept;
mod blocking;
mod close;
mod control;
mod datagram;
mod event;
mod handle;
mod line;
mod packets;
mod pipe;
mod receive;
mod reuse;
mod scratch;
mod shutdown;
mod slot;
mod start;
mod submit;
mod system;
mod trial;
mod turn;
mod wait;
mod watch;
mod winsock;

#[cfg(test)]
mod tests;

use super::Driver;
use crate::{
    buffer::{Buffers, Wake},
    completion::{Completion, Packet, Rejected},
    configuration::Configuration,
    error::{Error, ErrorKind},
    identity::{Handle, Token},
    operation::{Operation, OperationKind, Work},
    pool::Finished,
    port::Shared,
    queue::Queue,
    source::Source,
    sync::lock,
    table::Table,
    timers::Timers,
};
use abilities::Abilities;
use handle::Entry;
use reuse::Reuse;
use scratch::Scratches;
use slot::Slot;
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    os::windows::io::AsRawSocket,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use system::SystemPort;
use turn::Turn;
use windows_sys::Win32::{
    Networking::WinSock::SOCKET,
    System::{
        IO::OVERLAPPED_ENTRY,
        LibraryLoader::{GetModuleHandleW, GetProcAddress},
    },
};
use winsock::Functions;

/// Slots for AcceptEx calls, and as many for DisconnectEx calls, beyond the limit of operations: what the port posts for itself is
/// not the program's business. Another slot for each handle is for closing it.
const ACCEPT_SLOTS: usize = 4_096;

/// What the ports of all queues are made of.
pub(crate) struct Common {
    cores: Box<[Arc<Core>]>,
    /// Counts accepted connections, to spread them over the queues.
    accepted: AtomicUsize,
}

/// What the workers of one queue share.
struct Core {
    queue: u8,
    /// Hears which handles are open.
    inbox: Arc<Queue>,
    port: Arc<SystemPort>,
    functions: Functions,
    abilities: Abilities,
    scratches: Scratches,
    slots: Table<Slot>,
    handles: Table<Entry>,
    /// Stands in for the handle of operations that have none.
    nobody: Entry,
    seats: Box<[Seat]>,
    /// The limit of operations, and how many slots the program's operations have.
    operation_limit: usize,
    operations: AtomicUsize,
    /// Operations that the program has not dealt with: counted until the wait after their delivery.
    in_flight: AtomicUsize,
    /// What leaving workers left to the others, and whether there is anything.
    estate: Mutex<Estate>,
    has_estate: AtomicBool,
    /// Workers that run what may block.
    blocked: AtomicUsize,
    /// Held by a worker that comes or goes.
    leaving: Mutex<()>,
    /// Handles with a receive stream that waits for a buffer.
    starving: Patients,
    /// Listeners with an accept that lacks a socket, a handle or a slot.
    hungry: Patients,
    reuse: Reuse,
    /// AcceptEx calls that are posted.
    calls: AtomicUsize,
    draining_begun: AtomicBool,
    cancelling_begun: AtomicBool,
    /// Sockets and files are asked to queue no packet where a call succeeds at once.
    may_skip: AtomicBool,
    /// When AcceptEx calls that wait for first bytes are looked after next, in milliseconds of the port's time.
    sweep_ms: AtomicU64,
    /// A connection that such an AcceptEx waits on for so long is given up, in seconds.
    silence_s: AtomicU32,
}

/// What a worker shows the others.
#[derive(Default)]
struct Seat {
    taken: AtomicBool,
    asleep: AtomicBool,
    told_draining: AtomicBool,
    told_shutdown: AtomicBool,
    timers: Mutex<Timers>,
    /// It runs what may block, and others look after its timers.
    blocked: AtomicBool,
}

/// What a worker leaves behind.
#[derive(Default)]
struct Estate {
    /// Completions without a handle.
    completions: VecDeque<Completion>,
    timers: Vec<(Duration, Token)>,
    /// Handles with parked completions.
    handles: Vec<Handle>,
}

impl Estate {
    fn is_empty(&self) -> bool {
        self.completions.is_empty() && self.timers.is_empty() && self.handles.is_empty()
    }

    fn merge(&mut self, other: Self) {
        self.completions.extend(other.completions);
        self.timers.extend(other.timers);
        self.handles.extend(other.handles);
    }
}

/// Handles that wait for something which no packet announces.
#[derive(Default)]
struct Patients {
    count: AtomicUsize,
    handles: Mutex<VecDeque<Handle>>,
}

impl Patients {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Handle>> {
        lock(&self.handles)
    }

    fn add(&self, handle: Handle) {
        let mut handles = self.lock();
        handles.push_back(handle);
        self.count.store(handles.len(), Ordering::SeqCst);
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    fn next(&self) -> Option<Handle> {
        let mut handles = self.lock();
        let next = handles.pop_front();
        self.count.store(handles.len(), Ordering::SeqCst);
        next
    }

    /// All that wait, each once.
    fn take(&self) -> VecDeque<Handle> {
        let mut handles = std::mem::take(&mut *self.lock());
        self.count.store(0, Ordering::SeqCst);
        handles.make_contiguous().sort_unstable();
        let mut last = Handle::NONE;
        handles.retain(|&handle| std::mem::replace(&mut last, handle) != handle);
        handles
    }
}

/// What one worker has for itself.
struct Desk {
    seat: u32,
    /// Completions that passed their gates and were not handed out yet.
    ready: VecDeque<Completion>,
    /// The handles of the completions that the last wait handed out, once for each.
    held: Vec<Handle>,
    /// How many of [`Core::in_flight`] the last wait handed out.
    delivered: usize,
    /// Files whose operations came home while the lock of another handle was held.
    returned: Vec<Handle>,
    /// What comes out of the inbox, while it is dealt with.
    mail: (Vec<Packet>, Vec<Finished>, Vec<Handle>),
    entries: Box<[OVERLAPPED_ENTRY]>,
    now: Duration,
}

/// The driver of a worker.
pub(crate) struct Iocp {
    shared: Arc<Shared>,
    core: Arc<Core>,
    desk: Desk,
    /// What did not come home, once the worker has left.
    left: Option<usize>,
}

/// What completion ports offer here.
pub(crate) fn probe() -> Result<String, String> {
    let describe = || -> Result<String, Error> {
        let socket = probe_socket()?;
        let functions = Functions::load(&socket)?;
        let reuse = if reuse::works(&functions) { "socket reuse" } else { "no socket reuse" };
        let skip = if winsock::can_skip(socket.as_raw_socket() as SOCKET) {
            "skip on success"
        } else {
            "no skip on success"
        };
        let wine = if is_wine() { ", on Wine (which has no concurrency limit)" } else { "" };
        let abilities = Abilities::find(&functions).describe();
        Ok(format!("AcceptEx, ConnectEx, TransmitFile, {abilities}, {skip}, {reuse}{wine}"))
    };
    describe().map_err(|error| error.to_string())
}

fn probe_socket() -> Result<socket2::Socket, Error> {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .map_err(|error| Error::from_io(&error, OperationKind::Setup))
}

/// Whether the program runs on Wine, which alone has this function.
fn is_wine() -> bool {
    let module: Vec<u16> = "ntdll.dll".encode_utf16().chain([0]).collect();
    // SAFETY: the names are terminated, and the library is in every process.
    unsafe {
        GetProcAddress(GetModuleHandleW(module.as_ptr()), c"wine_get_version".as_ptr().cast()).is_some()
    }
}

impl Common {
    pub(crate) fn new(
        configuration: &Configuration,
        queues: &[Arc<Queue>],
        buffers: &Buffers,
    ) -> Result<Self, Error> {
        let functions = Functions::load(&probe_socket()?)?;
        let abilities = Abilities::find(&functions);
        let cores = queues.iter().enumerate().map(|(number, queue)| {
            let port = Arc::new(SystemPort::new(configuration.concurrency)?);
            queue.set_waker(Arc::clone(&port) as Arc<dyn Wake>);
            buffers.register(Arc::clone(&port) as Arc<dyn Wake>);
            // From here on the flag says that no wake is queued at the port, whether or not a worker sleeps.
            queue.prepare_to_sleep();
            let core = Core {
                queue: number as u8,
                inbox: Arc::clone(queue),
                port,
                functions,
                abilities,
                scratches: Scratches::default(),
                slots: Table::new(
                    configuration
                        .operations
                        .saturating_add(configuration.handles)
                        .saturating_add(2 * ACCEPT_SLOTS),
                )?,
                handles: Table::new(configuration.handles)?,
                nobody: Entry::new(0),
                seats: (0..configuration.workers_per_queue).map(|_| Seat::default()).collect(),
                operation_limit: configuration.operations,
                operations: AtomicUsize::new(0),
                in_flight: AtomicUsize::new(0),
                estate: Mutex::new(Estate::default()),
                has_estate: AtomicBool::new(false),
                blocked: AtomicUsize::new(0),
                leaving: Mutex::new(()),
                starving: Patients::default(),
                hungry: Patients::default(),
                reuse: Reuse::default(),
                calls: AtomicUsize::new(0),
                draining_begun: AtomicBool::new(false),
                cancelling_begun: AtomicBool::new(false),
                may_skip: AtomicBool::new(true),
                sweep_ms: AtomicU64::new(0),
                silence_s: AtomicU32::new(10),
            };
            core.reuse.works.store(reuse::works(&functions), Ordering::Relaxed);
            Ok(Arc::new(core))
        });
        Ok(Self { cores: cores.collect::<Result<_, Error>>()?, accepted: AtomicUsize::new(0) })
    }
}

impl Core {
    /// The entry of a handle, whether it is still the handle's or not: check with [`handle::State::is`] under the lock.
    fn entry(&self, handle: Handle) -> Option<&Entry> {
        if handle == Handle::NONE { Some(&self.nobody) } else { self.handles.get(handle.index()) }
    }

    fn slot(&self, index: u32) -> &Slot {
        self.slots.get(index).expect("an index that came out of the table")
    }

    fn timers(&self, seat: u32) -> MutexGuard<'_, Timers> {
        lock(&self.seats[seat as usize].timers)
    }

    /// The seats whose timers the worker of `own` looks after: its own, and those of workers that run what may block.
    fn clocks(&self, own: u32) -> impl Iterator<Item = u32> {
        let others = if self.blocked.load(Ordering::SeqCst) > 0 { &self.seats[..] } else { &[] };
        let blocked = others.iter().enumerate().filter(|(_, seat)| seat.blocked.load(Ordering::SeqCst));
        std::iter::once(own).chain(blocked.map(|(number, _)| number as u32))
    }

    fn estate(&self) -> MutexGuard<'_, Estate> {
        lock(&self.estate)
    }

    /// The seats of workers other than `own`.
    fn others(&self, own: u32) -> impl Iterator<Item = &Seat> {
        let taken = self.seats.iter().enumerate().filter(move |(number, _)| *number != own as usize);
        taken.map(|(_, seat)| seat).filter(|seat| seat.taken.load(Ordering::SeqCst))
    }
}

impl Iocp {
    pub(crate) fn new(shared: &Arc<Shared>, queue: usize) -> Result<Self, Error> {
        let super::Common::Iocp(common) = &shared.common;
        let core = &common.cores[queue];
        let _coming = lock(&core.leaving);
        let free = core.seats.iter().position(|seat| !seat.taken.swap(true, Ordering::SeqCst));
        let seat = free.ok_or(Error::new(ErrorKind::InvalidArgument, OperationKind::Setup))?;
        for told in [&core.seats[seat].told_draining, &core.seats[seat].told_shutdown] {
            told.store(false, Ordering::SeqCst);
        }
        let batch = shared.configuration.batch;
        let desk = Desk {
            seat: seat as u32,
            ready: VecDeque::with_capacity(batch),
            held: Vec::with_capacity(batch),
            delivered: 0,
            returned: Vec::new(),
            mail: Default::default(),
            entries: vec![OVERLAPPED_ENTRY::default(); batch].into_boxed_slice(),
            now: shared.now(),
        };
        Ok(Self { shared: Arc::clone(shared), core: Arc::clone(core), desk, left: None })
    }

    fn turn(&mut self) -> Turn<'_> {
        Turn { shared: &self.shared, core: &self.core, desk: &mut self.desk }
    }

    fn address(
        &self,
        handle: Handle,
        ask: impl Fn(&socket2::Socket) -> io::Result<socket2::SockAddr>,
    ) -> Result<SocketAddr, Error> {
        let of = OperationKind::Associate;
        let address = self.ask(handle, of, ask)?;
        address.as_socket().ok_or(Error::new(ErrorKind::InvalidArgument, of))
    }

    /// Asks the system about a socket.
    fn ask<T>(
        &self,
        handle: Handle,
        of: OperationKind,
        ask: impl Fn(&socket2::Socket) -> io::Result<T>,
    ) -> Result<T, Error> {
        let entry = self.core.handles.get(handle.index()).ok_or(Error::new(ErrorKind::StaleHandle, of))?;
        let state = entry.lock();
        if !state.is(handle) {
            return Err(Error::new(ErrorKind::StaleHandle, of));
        }
        let socket = state.socket().ok_or(Error::new(ErrorKind::InvalidArgument, of))?;
        ask(socket).map_err(|error| Error::from_io(&error, of))
    }
}

impl Driver for Iocp {
    fn associate(&mut self, source: Source, key: u64) -> Result<Handle, (Error, Source)> {
        self.turn().associate(source, key)
    }

    fn set_key(&mut self, handle: Handle, key: u64) -> Result<(), Error> {
        let stale = Error::new(ErrorKind::StaleHandle, OperationKind::Associate);
        let entry = self.core.handles.get(handle.index()).ok_or(stale)?;
        let state = entry.lock();
        if !state.is(handle) {
            return Err(stale);
        }
        entry.set_key(key);
        Ok(())
    }

    fn submit(
        &mut self,
        handle: Handle,
        operation: Operation,
        deadline: Option<Duration>,
    ) -> Result<Token, Rejected> {
        self.turn().submit(handle, operation, deadline)
    }

    fn blocking(&mut self, handle: Handle, work: Work) -> Result<Token, Rejected> {
        self.turn().blocking(handle, work)
    }

    fn cancel(&mut self, token: Token) {
        self.turn().cancel(token, ErrorKind::Cancelled);
    }

    fn close(&mut self, handle: Handle) {
        self.turn().close(handle);
    }

    fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        self.turn().wait(completions, limit, timeout)
    }

    fn peer_address(&self, handle: Handle) -> Result<SocketAddr, Error> {
        self.address(handle, socket2::Socket::peer_addr)
    }

    fn local_address(&self, handle: Handle) -> Result<SocketAddr, Error> {
        self.address(handle, socket2::Socket::local_addr)
    }

    fn acknowledged_bytes(&self, _: Handle) -> Result<u64, Error> {
        Err(Error::new(ErrorKind::Unsupported, OperationKind::Send))
    }

    fn reset_on_close(&self, handle: Handle) -> Result<(), Error> {
        self.ask(handle, OperationKind::Close, |socket| socket.set_linger(Some(Duration::ZERO)))
    }

    fn now(&self) -> Duration {
        self.desk.now
    }

    fn drain(&mut self, discarded: &mut Vec<Completion>) -> usize {
        let left = self.turn().leave(discarded);
        self.left = Some(left);
        left
    }
}

impl Drop for Iocp {
    fn drop(&mut self) {
        if self.left != Some(0) {
            // The kernel, or a thread of the pool, may still write to the slots and buffers: they stay for ever.
            std::mem::forget(Arc::clone(&self.core));
        }
    }
}
