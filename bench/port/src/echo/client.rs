//! The client: connections with one message under way each, on the fastest loop that there is here.

use super::ring::{Event, Ring};
use crate::{Failure, processor, socket};
use std::{
    net::{Ipv4Addr, TcpStream},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

/// What goes there and back.
static MESSAGE: [u8; 64] = [b'x'; 64];

/// Open connections to one server.
pub struct Client {
    ring: Ring,
    /// Bytes of its message that each has yet to get back.
    due: Vec<u32>,
    _connections: Vec<TcpStream>,
}

/// What one stretch of driving came to.
pub struct Driven {
    /// Messages that went there and back.
    pub round_trips: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// The client's own processor time.
    pub used: Duration,
}

impl Client {
    /// Connects `count` times to `port`.
    pub fn connect(port: u16, count: usize) -> Result<Self, Failure> {
        let connect = |_| socket::connect(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, port);
        let connections: Vec<_> = (0..count).map(connect).collect::<Result<_, _>>()?;
        let descriptors: Vec<_> = connections.iter().map(AsRawFd::as_raw_fd).collect();
        let mut ring = Ring::new(Some(&descriptors))?;
        for connection in 0..count as u32 {
            ring.receive(connection)?;
        }
        Ok(Self { ring, due: vec![0; count], _connections: connections })
    }

    /// Keeps a message under way on each connection for `time`, and then gets all of them back.
    pub fn drive(&mut self, time: Duration) -> Result<Driven, Failure> {
        let (used, begun) = (processor::used_here(), Instant::now());
        let mut round_trips = 0;
        let mut under_way = self.due.len();
        for connection in 0..under_way {
            self.send(connection as u32)?;
        }
        let mut over = false;
        while under_way > 0 {
            self.ring.wait()?;
            over = over || begun.elapsed() >= time;
            while let Some(event) = self.ring.event() {
                match event {
                    Event::Received { connection, bytes, buffer, more } => {
                        self.ring.provide(buffer);
                        if !more {
                            self.ring.receive(connection)?;
                        }
                        let due = &mut self.due[connection as usize];
                        *due = due.checked_sub(bytes).ok_or("more came back than was sent")?;
                        if *due > 0 {
                            continue;
                        }
                        round_trips += 1;
                        if over {
                            under_way -= 1;
                        } else {
                            self.send(connection)?;
                        }
                    }
                    Event::ReceiveEnded { result, .. } => {
                        return Err(format!("a connection ended under way ({result})").into());
                    }
                    Event::SendFailed => return Err("a send failed".into()),
                    Event::Accepted(_) | Event::Other => {}
                }
            }
        }
        Ok(Driven { round_trips, elapsed: begun.elapsed(), used: processor::used_here() - used })
    }

    fn send(&mut self, connection: u32) -> Result<(), Failure> {
        self.due[connection as usize] = MESSAGE.len() as u32;
        self.ring.send_static(connection, &MESSAGE)
    }
}
