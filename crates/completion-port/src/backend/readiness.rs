//! Readiness: sockets are tried on the spot, and again when epoll, kqueue or poll says that it is worth it; files that would
//! block go to the pool.
//!
//! Every socket is registered once, edge-triggered and for both directions, where the system can do that: then a request
//! costs a receive, a send and its share of a wait, and no change of registration. Each direction remembers whether a call is
//! worth trying (`ready`): an event sets it, a call that would block clears it.

use super::local::{Core, Descriptor, Engine, Scratch, Start};
use crate::{
    buffer::Wake,
    error::{Error, ErrorKind},
    identity::{Handle, Token},
    operation::OperationKind,
    port::Shared,
};
use std::{collections::VecDeque, io, os::fd::AsFd, sync::Arc, time::Duration};

#[cfg(all(target_os = "linux", not(completion_port_polling)))]
#[path = "readiness/epoll.rs"]
mod poller;
#[cfg(not(all(target_os = "linux", not(completion_port_polling))))]
#[path = "readiness/polling.rs"]
mod poller;

mod datagram;
mod files;
mod notices;
mod receive;
mod send;
mod socket;

use notices::Awaited;
use poller::Poller;
use socket::Socket;

/// How long an accept that ran out of descriptors waits for one to be closed in this process before it looks again: another process
/// may have closed one.
const CROWDED_PAUSE: Duration = Duration::from_millis(100);

/// As long does a datagram wait at first whose receiver had no room, where nobody tells when there is some; then twice as long each
/// time, up to a limit.
const RECEIVER_PAUSE: Duration = Duration::from_millis(1);
const RECEIVER_DOUBLINGS: u32 = 6;

/// What the poller uses here.
pub(crate) fn probe() -> Result<String, String> {
    let poller = Poller::new().map_err(|error| format!("the system refuses a poller: {error}"))?;
    Ok(poller.describe())
}

/// What a poller tells of one socket. Hints: a call that then would block is no mistake.
#[derive(Clone, Copy)]
struct Readiness {
    /// Index of the handle.
    key: u32,
    readable: bool,
    writable: bool,
    /// The peer ended or broke the connection, or sent urgent data: see [`Socket::took`].
    ended: bool,
}

/// Where an operation stands after it was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Complete, or waiting for its socket.
    Over,
    /// It has had its share; again in the next round.
    Later,
    /// It waits for a buffer to return.
    Starved,
    /// It waits for a descriptor, for room among the handles, or for room at a receiver.
    Crowded,
    /// It goes on with something that may block.
    OnPool,
}

/// The engine of one worker.
pub(crate) struct Poll {
    shared: Arc<Shared>,
    poller: Poller,
    /// Kept here for the buffers, which know it weakly.
    _waker: Arc<dyn Wake>,
    events: Vec<Readiness>,
    /// By index of the handle.
    sockets: Vec<Socket>,
    awaited: Awaited,
    /// For one call at a time.
    scratch: Box<Scratch>,
    /// Files, timers and what else has no socket share one budget.
    loose: Socket,
    /// Counts the waits: budgets are for each of them.
    round: u32,
    /// Calls that a handle may make in a round.
    budget: u32,
    /// The last wait asked the poller.
    looked: bool,
    /// To be tried in the next round.
    turns: VecDeque<Token>,
    starved: VecDeque<Token>,
    crowded: VecDeque<Token>,
    /// [`Core::closed`] when one of those was last put aside, and when they look again whatever was closed.
    closed: u64,
    look_again: Duration,
}

impl Poll {
    pub(crate) fn new(shared: &Arc<Shared>, queue: usize) -> Result<Self, Error> {
        let poller = Poller::new().map_err(|error| Error::from_io(&error, OperationKind::Setup))?;
        let waker = poller.waker();
        shared.queues[queue].set_waker(Arc::clone(&waker));
        shared.buffers.register(Arc::clone(&waker));
        Ok(Self {
            shared: Arc::clone(shared),
            events: Vec::with_capacity(poller.events_at_once()),
            poller,
            _waker: waker,
            sockets: Vec::new(),
            awaited: Awaited::default(),
            scratch: Scratch::new(),
            loose: Socket::new(Handle::NONE, false, false),
            round: 0,
            budget: shared.configuration.inline_budget.max(1),
            looked: false,
            turns: VecDeque::new(),
            starved: VecDeque::new(),
            crowded: VecDeque::new(),
            closed: 0,
            look_again: Duration::MAX,
        })
    }

    fn socket(&mut self, handle: Handle) -> &mut Socket {
        match self.sockets.get_mut(handle.index() as usize) {
            Some(socket) if socket.handle == handle => socket,
            _ => &mut self.loose,
        }
    }

    /// Takes note of a socket. `stream`: a TCP connection, see [`Socket::took`].
    fn enter(&mut self, handle: Handle, stream: bool) {
        let index = handle.index() as usize;
        if self.sockets.len() <= index {
            self.sockets.resize_with(index + 1, || Socket::new(Handle::NONE, false, false));
        }
        // Edges tell the state at registration too. Otherwise only a call can.
        self.sockets[index] =
            Socket::new(handle, !self.poller.has_edges(), stream && self.poller.tells_end());
    }

    /// Whether the handle may make another call in this round.
    fn spend(&mut self, handle: Handle) -> bool {
        let (round, budget) = (self.round, self.budget);
        self.socket(handle).spend(round, budget)
    }

    /// Whether the operation's direction is ready, and its handle may make another call in this round; else what it has to wait for.
    fn try_now(&mut self, core: &mut Core, token: Token) -> Result<(), Turn> {
        let (handle, kind) = (core.slot(token).handle, core.slot(token).kind);
        if !self.socket(handle).side(kind).ready {
            return Err(self.arm(core, token));
        }
        if self.spend(handle) { Ok(()) } else { Err(Turn::Later) }
    }

    /// Asks for news of a direction that is not ready. Where edges are reported they come unasked.
    fn arm(&mut self, core: &mut Core, token: Token) -> Turn {
        if self.poller.has_edges() {
            return Turn::Over;
        }
        let (handle, kind) = (core.slot(token).handle, core.slot(token).kind);
        let socket = self.socket(handle);
        let (readable, writable) = (socket.receive.waits(), socket.send.waits());
        let Some(descriptor) = core.descriptor(handle) else { return Turn::Over };
        if let Err(error) = self.poller.arm(descriptor.as_fd(), handle.index(), readable, writable) {
            self.finish(core, token, Err(Error::from_io(&error, kind)));
        }
        Turn::Over
    }

    /// Forgets the operation, which is about to complete.
    fn forget(&mut self, core: &Core, token: Token) {
        let (handle, kind) = (core.slot(token).handle, core.slot(token).kind);
        if !socket::has_side(kind) {
            return self.stop_awaiting(core, token);
        }
        let side = self.socket(handle).side(kind);
        if side.token == token {
            side.token = Token::NONE;
            side.listed = false;
        }
    }

    /// Completes with what the slot holds.
    fn finish(&mut self, core: &mut Core, token: Token, result: Result<u64, Error>) -> Turn {
        self.forget(core, token);
        core.complete_with_body(token, result);
        Turn::Over
    }

    /// Completes with the system's error.
    fn fail(&mut self, core: &mut Core, token: Token, error: &io::Error) -> Turn {
        let kind = core.slot(token).kind;
        self.finish(core, token, Err(Error::from_io(error, kind)))
    }

    /// Does for an operation what can be done without waiting.
    fn turn(&mut self, core: &mut Core, token: Token) -> Turn {
        use OperationKind as Kind;
        let kind = core.slot(token).kind;
        match kind {
            Kind::Accept | Kind::AcceptStream => self.accept(core, token),
            Kind::Receive => self.receive(core, token),
            Kind::ReceiveStream => self.receive_stream(core, token),
            Kind::Send => self.send(core, token),
            Kind::Connect => self.connect(core, token),
            Kind::Disconnect => self.disconnect(core, token),
            Kind::TransmitFile | Kind::TransmitPackets => self.transmit(core, token),
            Kind::ReceiveScatter => self.receive_scattered(core, token),
            Kind::ReceiveFrom | Kind::ReceiveMessage => self.receive_datagram(core, token),
            Kind::SendTo | Kind::SendMessage => self.send_datagram(core, token),
            Kind::Control if core.control(token) => Turn::Over,
            Kind::Control | Kind::WatchDirectory => self.notices(core, token),
            Kind::ReadAt => self.read_at(core, token),
            Kind::Metadata => self.metadata(core, token),
            Kind::Open => self.open(core, token),
            #[cfg(target_os = "linux")]
            Kind::WriteAt | Kind::Sync | Kind::Link
                if self.spend(core.slot(token).handle) && core.complete_in_memory(token) =>
            {
                Turn::Over
            }
            _ => Turn::OnPool,
        }
    }

    /// Puts an operation where it waits for its next turn. True if that is the pool.
    fn settle(&mut self, core: &mut Core, token: Token, turn: Turn) -> bool {
        if turn == Turn::Over {
            return false;
        }
        let (handle, kind) = (core.slot(token).handle, core.slot(token).kind);
        if socket::has_side(kind) {
            // Until its next turn events only leave their mark.
            self.socket(handle).side(kind).listed = true;
        } else {
            self.awaited.lists(token);
        }
        let list = match turn {
            Turn::Over | Turn::OnPool => return turn == Turn::OnPool,
            Turn::Later => &mut self.turns,
            Turn::Starved => &mut self.starved,
            Turn::Crowded => {
                self.closed = core.closed();
                let accepts = matches!(kind, OperationKind::Accept | OperationKind::AcceptStream);
                let pause = if accepts {
                    CROWDED_PAUSE
                } else {
                    let doublings = &mut core.slot_mut(token).stage;
                    let pause = RECEIVER_PAUSE * (1 << *doublings);
                    *doublings = RECEIVER_DOUBLINGS.min(*doublings + 1);
                    pause
                };
                self.look_again = self.look_again.min(self.shared.now() + pause);
                &mut self.crowded
            }
        };
        if list.len() == list.capacity() {
            // What was cancelled while it waited is still named here.
            list.retain(|waiting| core.find_mut(*waiting).is_some());
        }
        list.push_back(token);
        false
    }

    /// Gives an operation that stood in a list its turn.
    fn turn_of_listed(&mut self, core: &mut Core, token: Token) -> Turn {
        let Some(slot) = core.find_mut(token) else { return Turn::Over };
        let (handle, kind) = (slot.handle, slot.kind);
        if socket::has_side(kind) {
            self.socket(handle).side(kind).listed = false;
        } else {
            self.awaited.turns(token);
        }
        self.turn(core, token)
    }

    fn settle_in_wait(&mut self, core: &mut Core, token: Token, turn: Turn) {
        if self.settle(core, token, turn) {
            core.start_again(token);
        }
    }

    /// Lets those try again that wait for a buffer, in their order, until one finds none.
    fn feed(&mut self, core: &mut Core, enough: usize) {
        for _ in 0..self.starved.len() {
            if core.ready_count() >= enough {
                return;
            }
            let Some(token) = self.starved.pop_front() else { return };
            let turn = self.turn_of_listed(core, token);
            self.settle_in_wait(core, token, turn);
            if turn == Turn::Starved {
                // It keeps its place.
                self.starved.rotate_right(1);
                return;
            }
        }
    }

    /// Lets those try again that found no room, once a handle was closed or a while has passed.
    fn make_room(&mut self, core: &mut Core) {
        if self.crowded.is_empty() || (core.closed() == self.closed && self.shared.now() < self.look_again) {
            return;
        }
        // Who finds none again sets it anew.
        self.look_again = Duration::MAX;
        for _ in 0..self.crowded.len() {
            let Some(token) = self.crowded.pop_front() else { return };
            let turn = self.turn_of_listed(core, token);
            self.settle_in_wait(core, token, turn);
        }
    }

    /// How long a wait may sleep, given how long the program would.
    fn sleep(&self, core: &mut Core, timeout: Option<Duration>) -> Option<Duration> {
        if !self.turns.is_empty() || core.ready_count() > 0 || core.has_steps() {
            return Some(Duration::ZERO);
        }
        let mut timeout = timeout;
        if !self.crowded.is_empty() {
            let pause = self.look_again.saturating_sub(self.shared.now());
            timeout = Some(timeout.map_or(pause, |timeout| timeout.min(pause)));
        }
        if timeout != Some(Duration::ZERO) && !self.starved.is_empty() {
            core.buffers.await_return();
            if self.starved.front().is_some_and(|token| send::finds_buffer(core, *token)) {
                return Some(Duration::ZERO);
            }
        }
        timeout
    }

    /// Notes what the poller told, and puts those in the list of turns that it concerns.
    fn note_events(&mut self) {
        for event in self.events.drain(..) {
            if let Some(news) = self.awaited.note(&event) {
                self.turns.extend(news);
                continue;
            }
            let Some(socket) = self.sockets.get_mut(event.key as usize) else { continue };
            for token in socket.note(event).into_iter().flatten() {
                self.turns.push_back(token);
            }
        }
    }
}

impl Engine for Poll {
    fn start(&mut self, core: &mut Core, token: Token) -> Start {
        let (handle, kind) = (core.slot(token).handle, core.slot(token).kind);
        if socket::has_side(kind) {
            let side = self.socket(handle).side(kind);
            // The pool, where it comes from or where another one ended, has left its mark.
            (side.token, side.listed) = (token, false);
        }
        let turn = self.turn(core, token);
        if self.settle(core, token, turn) { Start::OnPool } else { Start::Started }
    }

    fn cancel(&mut self, core: &mut Core, token: Token) {
        let kind = core.slot(token).kind;
        self.finish(core, token, Err(Error::new(ErrorKind::Cancelled, kind)));
    }

    fn adopt(&mut self, core: &mut Core, handle: Handle) -> Result<(), Error> {
        let Some(descriptor) = core.descriptor(handle) else { return Ok(()) };
        if matches!(descriptor, Descriptor::File(_)) {
            return Ok(());
        }
        let socket = descriptor.socket();
        if self.sockets.get(handle.index() as usize).is_none_or(|known| known.handle != handle) {
            self.enter(handle, socket.is_some_and(socket::is_tcp));
        }
        if let Some(socket) = socket {
            socket::prepare(socket);
        }
        self.poller
            .add(descriptor.as_fd(), handle.index())
            .map_err(|error| Error::from_io(&error, OperationKind::Associate))
    }

    fn release(&mut self, core: &mut Core, handle: Handle) {
        let Some(descriptor) = core.descriptor(handle) else { return };
        if matches!(descriptor, Descriptor::File(_)) {
            return;
        }
        // The close that follows takes the registration with it, unless the program holds a second descriptor.
        if !(self.poller.forgets_closed() && self.socket(handle).accepted) {
            self.poller.delete(descriptor.as_fd());
        }
        *self.socket(handle) = Socket::new(Handle::NONE, false, false);
    }

    fn wait(&mut self, core: &mut Core, timeout: Option<Duration>) -> Result<(), Error> {
        self.round = self.round.wrapping_add(1);
        let enough = core.enough();
        self.feed(core, enough);
        self.make_room(core);
        // A wait that has something to hand out anyway looks at the poller only every second time: mostly what it has are the sends
        // that answer what the look before brought, and the next wait will ask for more.
        self.looked = !(self.looked && core.ready_count() > 0);
        if self.looked {
            let timeout = self.sleep(core, timeout);
            self.poller
                .wait(timeout, &mut self.events)
                .map_err(|error| Error::from_io(&error, OperationKind::Wait))?;
            self.note_events();
        }
        // One turn each, so that nobody has a second one before everybody had the first; and no more than one wait hands out.
        let enough = core.enough();
        for _ in 0..self.turns.len() {
            if core.ready_count() >= enough {
                break;
            }
            let Some(token) = self.turns.pop_front() else { break };
            let turn = self.turn_of_listed(core, token);
            self.settle_in_wait(core, token, turn);
        }
        Ok(())
    }

    fn may_go_on(&mut self, handle: Handle) -> bool {
        self.spend(handle)
    }

    fn leak(&mut self) {
        // Nothing to do: the kernel touches no memory outside of a call.
    }
}
