//! A bare epoll(7) loop, edge-triggered: a wait for many, and a receive and a send for each. What comes short of the room has
//! emptied the socket, so nobody asks twice.

use super::RECEIVE_BYTES;
use crate::Failure;
use rustix::{
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    io::Errno,
    net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send},
};
use std::{net::TcpListener, os::fd::OwnedFd};

const EVENTS: usize = 256;
const LISTENER: u64 = u64::MAX;

pub(super) fn serve(listener: &TcpListener) -> Result<(), Failure> {
    listener.set_nonblocking(true)?;
    let poller = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poller, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: Vec<Option<OwnedFd>> = Vec::new();
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
    let mut buffer = vec![0; RECEIVE_BYTES];
    loop {
        events.clear();
        match epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let data = event.data;
            if data.u64() == LISTENER {
                let Ok(accepted) = accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) else {
                    continue;
                };
                let interest = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
                epoll::add(&poller, &accepted, EventData::new_u64(connections.len() as u64), interest)?;
                connections.push(Some(accepted));
                continue;
            }
            let place = &mut connections[data.u64() as usize];
            let Some(connection) = place else { continue };
            let flags = event.flags;
            if !echo(connection, &mut buffer, flags.intersects(EventFlags::RDHUP | EventFlags::HUP)) {
                *place = None;
            }
        }
    }
}

/// False if the connection has ended. `ending`: its end is there already, behind the bytes.
fn echo(connection: &OwnedFd, buffer: &mut [u8], ending: bool) -> bool {
    loop {
        let received = match recv(connection, &mut *buffer, RecvFlags::empty()) {
            Ok((_, bytes @ 1..)) => bytes,
            Err(Errno::AGAIN) => return true,
            _ => return false,
        };
        // A client here has one message under way, for which there is room.
        if send(connection, &buffer[..received], SendFlags::NOSIGNAL) != Ok(received) {
            return false;
        }
        if received < buffer.len() && !ending {
            return true;
        }
    }
}
