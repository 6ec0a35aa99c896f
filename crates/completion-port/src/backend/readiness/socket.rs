//! What the engine remembers of a socket.

use super::Readiness;
use crate::{
    direction::Direction,
    identity::{Handle, Token},
    operation::OperationKind,
};

/// A socket, by index of its handle.
pub(super) struct Socket {
    pub(super) handle: Handle,
    pub(super) receive: Side,
    pub(super) send: Side,
    /// Calls in `round` so far.
    spent: u32,
    round: u32,
    /// A TCP connection under a poller that tells of its end.
    pub(super) stream: bool,
    /// The port accepted it, so that nobody else holds its descriptor.
    pub(super) accepted: bool,
    /// See [`Socket::took`].
    pub(super) ended: bool,
}

/// One direction of a socket.
pub(super) struct Side {
    /// The operation under way, or none.
    pub(super) token: Token,
    /// A call is worth trying.
    pub(super) ready: bool,
    /// The operation stands in one of the engine's lists, or is on the pool: an event must not give it a turn.
    pub(super) listed: bool,
}

impl Side {
    const fn new(ready: bool) -> Self {
        Self { token: Token::NONE, ready, listed: false }
    }

    /// Whether an operation waits for the poller.
    pub(super) fn waits(&self) -> bool {
        self.token != Token::NONE && !self.ready
    }
}

impl Socket {
    pub(super) const fn new(handle: Handle, readable: bool, stream: bool) -> Self {
        // A new socket has room to send, nearly always: the first call is worth it in any case.
        Self {
            handle,
            receive: Side::new(readable),
            send: Side::new(true),
            spent: 0,
            round: 0,
            stream,
            accepted: false,
            ended: false,
        }
    }

    pub(super) fn side(&mut self, kind: OperationKind) -> &mut Side {
        match Direction::of(kind) {
            Some(Direction::Send) => &mut self.send,
            _ => &mut self.receive,
        }
    }

    /// Counts a call; false if there were as many as the budget in this round.
    pub(super) fn spend(&mut self, round: u32, budget: u32) -> bool {
        if self.round != round {
            self.round = round;
            self.spent = 0;
        }
        self.spent += 1;
        self.spent <= budget
    }

    /// A receive took fewer bytes than it had room for (`short`).
    ///
    /// On a TCP connection that empties the queue, so the call that would only say so can be saved (epoll(7), "Questions and
    /// answers", 9): whatever arrives later is a new edge. What may be there already, without a new edge, is the peer's end or an
    /// error, or bytes behind urgent ones; then the event that came with them said so, and the socket is read until it would block.
    pub(super) fn took(&mut self, short: bool) {
        if short && self.stream && !self.ended {
            self.receive.ready = false;
        }
    }

    /// A send gave away fewer bytes than it had (`short`): there is no room left, and the kernel has noted that somebody waits
    /// for some.
    pub(super) fn gave(&mut self, short: bool) {
        if short && self.stream {
            self.send.ready = false;
        }
    }

    /// Takes in what the poller told. Returns the operations that have to be tried.
    pub(super) fn note(&mut self, event: Readiness) -> [Option<Token>; 2] {
        self.ended |= event.ended;
        [(event.readable, &mut self.receive), (event.writable, &mut self.send)].map(|(news, side)| {
            if !news {
                return None;
            }
            side.ready = true;
            if side.token == Token::NONE || side.listed {
                return None;
            }
            side.listed = true;
            Some(side.token)
        })
    }
}

/// Whether operations of this kind wait for a socket.
pub(super) fn has_side(kind: OperationKind) -> bool {
    Direction::of(kind).is_some()
}

/// Whether it is a TCP socket, listening or not. Only asked where a poller tells of the end.
#[cfg(target_os = "linux")]
pub(super) fn is_tcp(socket: &socket2::Socket) -> bool {
    socket.protocol().is_ok_and(|protocol| protocol == Some(socket2::Protocol::TCP))
}

/// Only asked where a poller tells of the end.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_tcp(_: &socket2::Socket) -> bool {
    false
}

/// A send to a peer that is gone must fail, and not raise SIGPIPE: where no flag of the call says so, the socket does.
#[cfg(target_vendor = "apple")]
pub(super) fn prepare(socket: &socket2::Socket) {
    let _ = socket.set_nosigpipe(true);
}

/// A flag of each call keeps SIGPIPE away.
#[cfg(not(target_vendor = "apple"))]
pub(super) fn prepare(_: &socket2::Socket) {}
