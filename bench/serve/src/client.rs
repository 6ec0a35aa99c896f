//! The client: many connections on one completion port, on one processor.

use crate::{
    Failure,
    load::{Load, Pace},
    response::Responses,
};
use completion_port::{
    Backend, BufferChain, BufferClass, Completion, Configuration, Handle, Operation, OperationKind, Payload,
    Port, Slice, Worker,
};
use hdrhistogram::Histogram;
use measure::processor;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

const RECEIVE_BYTES: usize = 128 << 10;
/// Latencies are counted up to a minute.
const LONGEST_NS: u64 = 60_000_000_000;
/// So many connections are opened at a time.
const AT_ONCE: usize = 256;
/// After that nothing more is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// What one stretch of driving came to.
pub struct Driven {
    pub requests: u64,
    pub bytes: u64,
    pub elapsed: Duration,
    /// The client's own processor time.
    pub used: Duration,
    /// At a fixed rate, requests that were due and could not be sent are counted as if they had been answered at the end.
    pub latency_ns: Histogram<u64>,
}

/// One connection.
struct Peer {
    handle: Handle,
    responses: Responses,
    /// When the requests that are not answered were sent, or due.
    under_way: VecDeque<Instant>,
}

/// Connections to one server.
pub struct Client {
    worker: Worker,
    server: SocketAddr,
    peers: Vec<Peer>,
    /// The number of the next connection's own address: one address has too few ports for many short connections.
    next_address: u32,
    next_request: usize,
    completions: Vec<Completion>,
}

impl Client {
    /// Connects as often as `load` says.
    pub fn connect(server: SocketAddr, load: &Load) -> Result<Self, Failure> {
        let mut configuration = Configuration::default();
        configuration.backend = Some(Backend::IoUring);
        (configuration.queues, configuration.workers_per_queue) = (1, 1);
        configuration.receive_bytes = RECEIVE_BYTES;
        configuration.receive_buffers = 256;
        configuration.send_bytes = 64 << 20;
        configuration.buffers = vec![BufferClass { capacity: RECEIVE_BYTES, count: 1_024 }];
        let worker = Port::new(configuration)?.worker()?;
        let mut this = Self {
            worker,
            server,
            peers: Vec::new(),
            next_address: 0,
            next_request: load.first,
            completions: Vec::new(),
        };
        for number in 0..load.connections {
            let handle = this.open(number)?;
            this.peers.push(Peer { handle, responses: Responses::default(), under_way: VecDeque::new() });
            if this.peers.len().is_multiple_of(AT_ONCE) {
                this.until_connected(AT_ONCE)?;
            }
        }
        Ok(this)
    }

    /// Waits for so many connections: the queue of a listener that overflows costs a second.
    fn until_connected(&mut self, count: usize) -> Result<(), Failure> {
        let (mut connected, until) = (0, Instant::now() + PATIENCE);
        let mut completions = Vec::new();
        while connected < count {
            if Instant::now() > until {
                return Err(format!("{} connections were not taken", count - connected).into());
            }
            self.worker.wait(&mut completions, Some(Duration::from_secs(1)))?;
            for completion in completions.drain(..) {
                match (completion.kind, completion.result) {
                    (OperationKind::Connect, Ok(_)) => connected += 1,
                    (kind, result) => {
                        return Err(
                            format!("{kind:?} of a connection that was to be opened: {result:?}").into()
                        );
                    }
                }
            }
        }
        Ok(())
    }

    /// A new connection for the place `number`; its first bytes are sent once it is there.
    fn open(&mut self, number: usize) -> Result<Handle, Failure> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_congestion(b"cubic")?;
        self.next_address = (self.next_address + 1) % 200;
        let own = Ipv4Addr::new(127, 1, 1, 1 + self.next_address as u8);
        socket.bind(&SocketAddrV4::new(own, 0).into())?;
        let handle = self.worker.associate(socket, number as u64).map_err(|(error, _)| error)?;
        let connect = Operation::Connect { address: self.server.into(), first: BufferChain::new() };
        self.submit(handle, connect)?;
        self.submit(handle, Operation::ReceiveStream)?;
        Ok(handle)
    }

    fn submit(&mut self, handle: Handle, operation: Operation) -> Result<(), Failure> {
        self.worker.submit(handle, operation).map_err(|rejected| rejected.error)?;
        Ok(())
    }

    /// Sends the next `count` requests on a connection, in one piece.
    fn ask(&mut self, number: usize, count: usize, due: Instant, load: &Load) -> Result<(), Failure> {
        let mut chain = BufferChain::new();
        for _ in 0..count {
            let request = load.requests[self.next_request % load.requests.len()];
            self.next_request += 1;
            chain.push(Slice::from_static(request)).map_err(|_| "more requests than a chain holds")?;
            self.peers[number].under_way.push_back(due);
        }
        self.submit(self.peers[number].handle, Operation::Send { chain })
    }

    /// Keeps the server busy as `load` says for `time`, and then takes the answers that are still due.
    pub fn drive(&mut self, load: &Load, time: Duration) -> Result<Driven, Failure> {
        let (begun, used) = (Instant::now(), processor::used_here());
        let mut driven = Driven {
            requests: 0,
            bytes: 0,
            elapsed: Duration::ZERO,
            used: Duration::ZERO,
            latency_ns: Histogram::new_with_bounds(1, LONGEST_NS, 3)?,
        };
        let mut idle: Vec<usize> = (0..self.peers.len()).collect();
        let mut under_way = 0;
        let mut sent: u64 = 0;
        loop {
            let now = Instant::now();
            let over = now - begun >= time;
            if over && under_way == 0 {
                if let Pace::Open { requests_per_s } = load.pace {
                    let due = |number: u64| begun + Duration::from_secs_f64(number as f64 / requests_per_s);
                    for due in (sent..).map(due).take_while(|due| *due < begun + time) {
                        driven.latency_ns.saturating_record((now - due).as_nanos() as u64);
                    }
                }
                break;
            }
            if now - begun > time + PATIENCE {
                return Err(format!("{under_way} answers did not come").into());
            }
            let mut sleep = Some(Duration::from_secs(1));
            match load.pace {
                _ if over => {}
                Pace::Closed { pipelined } => {
                    while let Some(number) = idle.pop() {
                        self.ask(number, pipelined, now, load)?;
                        under_way += pipelined;
                    }
                }
                Pace::Fresh => {
                    while let Some(number) = idle.pop() {
                        self.ask(number, 1, now, load)?;
                        under_way += 1;
                    }
                }
                Pace::Open { requests_per_s } => loop {
                    let due = begun + Duration::from_secs_f64(sent as f64 / requests_per_s);
                    if due > now {
                        sleep = Some(due - now);
                        break;
                    }
                    let Some(number) = idle.pop() else { break };
                    self.ask(number, 1, due, load)?;
                    (under_way, sent) = (under_way + 1, sent + 1);
                },
            }
            let mut completions = std::mem::take(&mut self.completions);
            self.worker.wait(&mut completions, sleep)?;
            for completion in completions.drain(..) {
                let number = completion.key as usize;
                let answered = self.complete(number, completion, load, &mut driven)?;
                under_way -= answered;
                if answered > 0 && self.peers[number].under_way.is_empty() {
                    if load.pace == Pace::Fresh {
                        self.worker.close(self.peers[number].handle);
                        self.peers[number].responses = Responses::default();
                        self.peers[number].handle = self.open(number)?;
                    }
                    idle.push(number);
                }
            }
            self.completions = completions;
        }
        driven.elapsed = begun.elapsed();
        driven.used = processor::used_here() - used;
        Ok(driven)
    }

    /// Takes in a completion of a connection: how many answers it completed.
    fn complete(
        &mut self,
        number: usize,
        completion: Completion,
        load: &Load,
        driven: &mut Driven,
    ) -> Result<usize, Failure> {
        // Of the connection that had the place before.
        if completion.handle != self.peers[number].handle {
            return Ok(0);
        }
        match (completion.kind, completion.result, completion.payload) {
            (OperationKind::ReceiveStream, Ok(1..), Payload::Buffer(buffer)) => {
                let peer = &mut self.peers[number];
                driven.bytes += buffer.len() as u64;
                let answered = peer.responses.take(&buffer, load.status)? as usize;
                let now = Instant::now();
                for _ in 0..answered {
                    let due = peer.under_way.pop_front().ok_or("an answer that nobody asked for")?;
                    let latency = (now - due).as_nanos() as u64;
                    driven.latency_ns.saturating_record(latency.clamp(1, LONGEST_NS));
                }
                driven.requests += answered as u64;
                Ok(answered)
            }
            (OperationKind::ReceiveStream, result, _) => {
                Err(format!("the server ended a connection under way: {result:?}").into())
            }
            (kind, Err(error), _) => Err(format!("{kind:?}: {error}").into()),
            _ => Ok(0),
        }
    }
}
