//! The network of a world: connections with bounded buffers, listening sockets, ends orderly and not.
//!
//! The errors are those of Linux, so that they pass through the same table as the kernel's.

use super::state::{Name, State, What};
use crate::identity::Token;
use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
};

/// What a call on a socket ended with: an errno where it failed.
pub(crate) type Outcome<T> = Result<T, i32>;

/// What waits for a direction of an end: an operation of a queue.
pub(super) type Waiter = (Name, Token);

/// A sum over the bytes of a direction, the same however they are cut: how many there were, and a polynomial of them modulo 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) bytes: u64,
    sum: u64,
}

impl Digest {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        for &byte in bytes {
            self.sum = self.sum.wrapping_mul(0x0000_0100_0000_01b3).wrapping_add(u64::from(byte) + 1);
        }
    }
}

/// One end of a connection, or a socket that is not connected yet.
pub(crate) struct End {
    pub(super) local: SocketAddr,
    pub(super) remote: Option<SocketAddr>,
    peer: Option<Name>,
    incoming: VecDeque<u8>,
    /// The peer has sent all that it will.
    incoming_over: bool,
    outgoing_over: bool,
    reset: bool,
    /// Its owner wants to receive no more: what comes is thrown away.
    deaf: bool,
    /// Its close resets the connection.
    pub(super) abortive: bool,
    pub(super) reader: Option<Waiter>,
    pub(super) writer: Option<Waiter>,
    /// A client that wants to know of every change.
    client: Option<u64>,
    pub(super) sent: Digest,
    pub(super) received: Digest,
    /// What the peer had sent in all when it ended.
    promised: Option<Digest>,
}

/// A listening socket.
pub(crate) struct Listening {
    pub(super) address: SocketAddr,
    backlog: VecDeque<Name>,
    limit: usize,
    pub(super) acceptor: Option<Waiter>,
}

impl End {
    fn new(local: SocketAddr) -> Self {
        Self {
            local,
            remote: None,
            peer: None,
            incoming: VecDeque::new(),
            incoming_over: false,
            outgoing_over: false,
            reset: false,
            deaf: false,
            abortive: false,
            reader: None,
            writer: None,
            client: None,
            sent: Digest::default(),
            received: Digest::default(),
            promised: None,
        }
    }
}

const IN_THE_WORLD: &str =
    "who names an end of a connection owns it, and an end stays until its owner closes it";

impl State {
    fn new_address(&mut self) -> SocketAddr {
        // The dynamic ports, in turn.
        self.next_port =
            if self.next_port < 49_152 { 49_152 } else { self.next_port.wrapping_add(1).max(49_152) };
        (Ipv4Addr::LOCALHOST, self.next_port).into()
    }

    /// A socket that is not connected.
    pub(super) fn socket(&mut self) -> Outcome<Name> {
        let local = self.new_address();
        self.ends.insert(End::new(local)).map_err(|_| libc::ENFILE)
    }

    pub(super) fn end(&self, name: Name) -> &End {
        self.ends.get(name.0, name.1).expect(IN_THE_WORLD)
    }

    pub(super) fn end_mut(&mut self, name: Name) -> &mut End {
        self.ends.get_mut(name.0, name.1).expect(IN_THE_WORLD)
    }

    /// Two ends that are connected with each other.
    pub(super) fn join(&mut self, one: Name, other: Name) {
        self.connections += 1;
        let addresses = (self.end(one).local, self.end(other).local);
        for (end, peer, remote) in [(one, other, addresses.1), (other, one, addresses.0)] {
            let end = self.end_mut(end);
            (end.peer, end.remote) = (Some(peer), Some(remote));
        }
    }

    pub(super) fn listen(&mut self, address: SocketAddr, limit: usize) -> Outcome<(Name, SocketAddr)> {
        let address = match address.port() {
            0 => SocketAddr::new(address.ip(), self.new_address().port()),
            _ => address,
        };
        let listening = Listening { address, backlog: VecDeque::new(), limit, acceptor: None };
        let name = self.listeners.insert(listening).map_err(|_| libc::ENFILE)?;
        self.addresses.entry(address).or_default().push(name);
        Ok((name, address))
    }

    /// A listener at the address, or at its port on all addresses; one of several by the seed.
    fn listener_at(&mut self, address: SocketAddr) -> Option<Name> {
        let anywhere: [SocketAddr; 2] = [
            (Ipv4Addr::UNSPECIFIED, address.port()).into(),
            (std::net::Ipv6Addr::UNSPECIFIED, address.port()).into(),
        ];
        let found = [address, anywhere[0], anywhere[1]].iter().find_map(|place| self.addresses.get(place))?;
        self.random.pick(found)
    }

    /// Connects a socket. Refused where nobody listens, or too many wait already to be accepted.
    pub(super) fn connect(&mut self, name: Name, address: SocketAddr) -> Outcome<()> {
        if self.end(name).peer.is_some() || self.end(name).remote.is_some() {
            return Err(libc::EISCONN);
        }
        let listener = self.listener_at(address).ok_or(libc::ECONNREFUSED)?;
        if self.random.chance(self.faults.refused_connects) {
            return Err(libc::ECONNREFUSED);
        }
        let full = |listening: &Listening| listening.backlog.len() >= listening.limit;
        if self.listeners.get(listener.0, listener.1).is_none_or(full) {
            return Err(libc::ECONNREFUSED);
        }
        let accepted = self.ends.insert(End::new(address)).map_err(|_| libc::ENFILE)?;
        self.join(name, accepted);
        if let Some(listening) = self.listeners.get_mut(listener.0, listener.1) {
            listening.backlog.push_back(accepted);
            let acceptor = listening.acceptor.take();
            self.wake(acceptor);
        }
        Ok(())
    }

    /// A connection that was not accepted yet.
    pub(super) fn accept(&mut self, listener: Name) -> Outcome<Name> {
        let listening = self.listeners.get_mut(listener.0, listener.1).ok_or(libc::EBADF)?;
        listening.backlog.pop_front().ok_or(libc::EAGAIN)
    }

    /// A connection that was accepted, and cannot be kept, is the next to be accepted again.
    pub(crate) fn unaccept(&mut self, listener: Name, accepted: Name) {
        let Some(listening) = self.listeners.get_mut(listener.0, listener.1) else {
            return self.close(accepted);
        };
        listening.backlog.push_front(accepted);
        let acceptor = listening.acceptor.take();
        self.wake(acceptor);
    }

    /// Closes a listener; whoever waits there to be accepted is reset.
    pub(super) fn close_listener(&mut self, name: Name) {
        let Some(listening) = self.listeners.remove(name.0, name.1) else { return };
        if let Some(same) = self.addresses.get_mut(&listening.address) {
            same.retain(|other| *other != name);
            if same.is_empty() {
                self.addresses.remove(&listening.address);
            }
        }
        for waiting in listening.backlog {
            self.reset(waiting);
            self.close(waiting);
        }
    }

    /// Has what waits for a direction tried again.
    pub(super) fn wake(&mut self, waiter: Option<Waiter>) {
        if let Some((kernel, token)) = waiter {
            let delay = self.delay();
            self.schedule_turn(kernel, token, delay);
        }
    }

    /// Something changed on an end: whoever waits on it looks again.
    fn news(&mut self, name: Name, readable: bool, writable: bool) {
        let Some(end) = self.ends.get_mut(name.0, name.1) else { return };
        let reader = if readable { end.reader.take() } else { None };
        let writer = if writable { end.writer.take() } else { None };
        let client = end.client;
        self.wake(reader);
        self.wake(writer);
        if let Some(client) = client {
            let delay = self.delay();
            self.schedule(delay, What::Client(client));
        }
    }

    /// Has a client told of every change on an end, from what there is now on.
    pub(super) fn tell(&mut self, name: Name, client: Option<u64>) {
        self.end_mut(name).client = client;
        if client.is_some() {
            self.news(name, false, false);
        }
    }

    /// The network breaks the connection, if the seed says so.
    fn disturb(&mut self, name: Name) {
        if self.random.chance(self.faults.resets) && self.end(name).peer.is_some() {
            self.reset(name);
        }
    }

    /// Takes bytes that came: 0 after the peer's orderly end, ECONNRESET after a reset, EAGAIN while there are none.
    pub(super) fn receive(&mut self, name: Name, into: &mut [u8]) -> Outcome<usize> {
        self.disturb(name);
        let end = self.end_mut(name);
        if end.remote.is_none() {
            return Err(libc::ENOTCONN);
        }
        if end.deaf {
            return Ok(0);
        }
        let there = end.incoming.len().min(into.len());
        if there == 0 {
            return match end {
                End { reset: true, .. } => Err(libc::ECONNRESET),
                End { incoming_over: true, promised, received, .. } => {
                    assert!(
                        promised.is_none_or(|promised| promised == *received) || into.is_empty(),
                        "what was written is not what was read: {promised:?}, {received:?}"
                    );
                    Ok(0)
                }
                _ if into.is_empty() => Ok(0),
                _ => Err(libc::EAGAIN),
            };
        }
        let bytes = self.shorten(there);
        let end = self.end_mut(name);
        let into = &mut into[..bytes];
        let (front, back) = end.incoming.as_slices();
        let first = front.len().min(bytes);
        into[..first].copy_from_slice(&front[..first]);
        into[first..].copy_from_slice(&back[..bytes - first]);
        end.incoming.drain(..bytes);
        end.received.add(into);
        if let Some(peer) = end.peer {
            self.news(peer, false, true);
        }
        Ok(bytes)
    }

    /// Sends what there is room for: EAGAIN while there is none, EPIPE or ECONNRESET where it can never be sent.
    pub(super) fn send<'a>(&mut self, name: Name, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome<usize> {
        self.disturb(name);
        let end = self.end(name);
        let Some(peer) = end.peer else {
            return Err(match end {
                End { reset: true, .. } => libc::ECONNRESET,
                End { remote: None, .. } => libc::ENOTCONN,
                _ => libc::EPIPE,
            });
        };
        if end.outgoing_over {
            return Err(libc::EPIPE);
        }
        let room = self.faults.socket_buffer_bytes.max(1).saturating_sub(self.end(peer).incoming.len());
        if room == 0 {
            return Err(libc::EAGAIN);
        }
        let room = self.shorten(room);
        let mut sent = self.end(name).sent;
        let End { incoming, deaf, .. } = self.end_mut(peer);
        let before = sent.bytes;
        for piece in pieces {
            let piece = &piece[..piece.len().min(room - (sent.bytes - before) as usize)];
            if piece.is_empty() {
                break;
            }
            if !*deaf {
                incoming.extend(piece);
            }
            sent.add(piece);
        }
        self.end_mut(name).sent = sent;
        self.news(peer, true, false);
        Ok((sent.bytes - before) as usize)
    }

    /// Throws away what came and will come.
    pub(super) fn stop_receiving(&mut self, name: Name) -> Outcome<()> {
        let end = self.end_mut(name);
        end.deaf = true;
        end.incoming.clear();
        if end.remote.is_some() { Ok(()) } else { Err(libc::ENOTCONN) }
    }

    /// Ends the sending direction in order.
    pub(super) fn shutdown(&mut self, name: Name) -> Outcome<()> {
        let end = self.end_mut(name);
        let Some(peer) = end.peer else {
            return if end.remote.is_some() { Ok(()) } else { Err(libc::ENOTCONN) };
        };
        end.outgoing_over = true;
        let sent = end.sent;
        let other = self.end_mut(peer);
        other.incoming_over = true;
        other.promised = Some(sent);
        self.news(peer, true, false);
        Ok(())
    }

    /// Breaks the connection: both sides get an error, and the peer perhaps what was on its way before.
    pub(super) fn reset(&mut self, name: Name) {
        let end = self.end_mut(name);
        let Some(peer) = end.peer.take() else { return };
        end.reset = true;
        let lost = self.random.chance(0.5);
        self.news(name, true, true);
        let other = self.end_mut(peer);
        (other.peer, other.reset) = (None, true);
        if lost {
            other.incoming.clear();
        }
        self.news(peer, true, true);
    }

    /// The owner of an end is gone. In order, unless bytes that came were never read, or it wants it so: then the peer is reset, as by
    /// Linux.
    pub(super) fn close(&mut self, name: Name) {
        let Some(end) = self.ends.get(name.0, name.1) else { return };
        if end.incoming.is_empty() && !end.abortive {
            let _ = self.shutdown(name);
            if let Some(peer) = self.end_mut(name).peer.take() {
                // What it sends from now on nobody reads.
                self.end_mut(peer).peer = None;
                self.news(peer, false, true);
            }
        } else {
            self.reset(name);
        }
        self.ends.remove(name.0, name.1);
    }
}
