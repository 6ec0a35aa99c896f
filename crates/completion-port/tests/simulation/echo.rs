//! A server that sends back what comes, and clients that look at every byte: patient, slow, rude, and any number of workers.

use crate::rig::{Crew, Step, configuration, each_seed};
use completion_port::{
    BufferChain, BufferClass, Completion, ErrorKind, Handle, Operation, OperationKind, Payload, Port,
    Rejected,
    simulation::{Faults, Random, Stream, World},
};
use std::{
    collections::{BTreeMap, VecDeque},
    io::{ErrorKind as Io, Read, Write},
    net::{Shutdown, SocketAddr},
    time::Duration,
};

/// Connections at most of one program.
const CLIENTS: usize = 120;
/// The client number of the server's own alarm: it tries again what was refused.
const ALARM: u64 = u64::MAX;
/// How long that takes, and how long a client rests.
const REST: Duration = Duration::from_micros(500);

/// A connection as the server sees it.
#[derive(Default)]
struct Connection {
    handle: Option<Handle>,
    /// In place of a buffer for each receive.
    streams: bool,
    /// What waits to be submitted, in order.
    outbox: VecDeque<Operation>,
    /// Wants to receive, and could not yet.
    receives: bool,
    closing: bool,
}

struct Server {
    port: Port,
    random: Random,
    connections: BTreeMap<u64, Connection>,
    next_key: u64,
    listeners: Vec<Handle>,
    /// Accept streams that have to be begun.
    accepts: Vec<Handle>,
    alarm: bool,
    draining: bool,
}

impl Server {
    fn start(crew: &mut Crew, port: &Port, random: Random, address: SocketAddr) -> Self {
        let mut server = Self {
            port: port.clone(),
            random,
            connections: BTreeMap::new(),
            next_key: 1,
            listeners: Vec::new(),
            accepts: Vec::new(),
            alarm: false,
            draining: false,
        };
        for queue in 0..port.queues() {
            let listener = crew.world.listen(address);
            let worker = crew.of_queue(queue).expect("each queue has a worker");
            let handle = worker.associate(listener, 0).expect("room for the listeners");
            server.listeners.push(handle);
            server.accept(crew, handle);
        }
        server
    }

    fn complete(&mut self, crew: &mut Crew, place: usize, completion: Completion) {
        let Completion { handle, key, kind, result, payload, last, .. } = completion;
        match kind {
            OperationKind::Draining => self.drain(crew),
            OperationKind::Shutdown => drop(crew.workers.remove(place)),
            OperationKind::AcceptStream => {
                if let Payload::Accepted(accepted) = payload {
                    self.admit(crew, accepted);
                } else if last {
                    self.accept(crew, handle);
                }
            }
            OperationKind::Close => drop(self.connections.remove(&key)),
            _ => {
                self.go_on(key, kind, result, payload, last);
                self.flush(crew, key);
            }
        }
    }

    fn admit(&mut self, crew: &mut Crew, handle: Handle) {
        let key = self.next_key;
        self.next_key += 1;
        let worker = crew.of_queue(handle.queue()).expect("a queue that accepts has a worker");
        worker.set_key(handle, key).expect("it was accepted just now");
        let streams = self.random.below(2) == 0;
        let connection =
            Connection { handle: Some(handle), streams, receives: true, ..Connection::default() };
        self.connections.insert(key, connection);
        self.flush(crew, key);
    }

    fn go_on(
        &mut self,
        key: u64,
        kind: OperationKind,
        result: Result<u64, completion_port::Error>,
        payload: Payload,
        last: bool,
    ) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        match (kind, result) {
            (OperationKind::Receive | OperationKind::ReceiveStream, Ok(bytes)) => {
                match payload.into_buffer().filter(|_| bytes > 0) {
                    Some(buffer) => {
                        assert_eq!(buffer.len() as u64, bytes);
                        connection.outbox.push_back(Operation::Send { chain: BufferChain::from(buffer) });
                        connection.receives = last;
                    }
                    None => connection.outbox.push_back(Operation::Disconnect),
                }
            }
            (OperationKind::Send, Ok(bytes)) => {
                assert_eq!(payload.into_chain().map(|chain| chain.len()), Some(bytes));
            }
            // The end was sent, or nothing can be any more.
            _ => {
                connection.closing = true;
                connection.outbox.clear();
            }
        }
    }

    /// Tries again what was refused.
    fn try_again(&mut self, crew: &mut Crew) {
        self.alarm = false;
        for listener in std::mem::take(&mut self.accepts) {
            self.accept(crew, listener);
        }
        for key in self.connections.keys().copied().collect::<Vec<_>>() {
            self.flush(crew, key);
        }
    }

    fn set_alarm(&mut self, crew: &Crew) {
        if !std::mem::replace(&mut self.alarm, true) {
            crew.world.wake_after(REST, ALARM);
        }
    }

    fn accept(&mut self, crew: &mut Crew, listener: Handle) {
        let Some(worker) = crew.of_queue(listener.queue()).filter(|_| !self.draining) else { return };
        match worker.submit(listener, Operation::AcceptStream) {
            Ok(_) => {}
            // The packet that says so may still be on its way.
            Err(Rejected { error, .. }) if error.kind() == ErrorKind::ShuttingDown => {}
            Err(Rejected { error, .. }) => {
                assert_eq!(error.kind(), ErrorKind::OperationsExhausted);
                self.accepts.push(listener);
                self.set_alarm(crew);
            }
        }
    }

    /// Submits what a connection has to do.
    fn flush(&mut self, crew: &mut Crew, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let Some(handle) = connection.handle else { return };
        let worker = crew.of_queue(handle.queue()).expect("a queue with connections has a worker");
        if connection.closing {
            connection.handle = None;
            worker.submit(handle, Operation::Close).expect("a close is never refused");
            return;
        }
        let mut refused = false;
        while let Some(operation) = connection.outbox.pop_front() {
            if let Err(Rejected { error, operation }) = worker.submit(handle, operation) {
                assert_eq!(error.kind(), ErrorKind::OperationsExhausted);
                connection.outbox.push_front(operation);
                refused = true;
                break;
            }
        }
        if connection.receives {
            let operation = match (connection.streams, self.port.buffers().acquire(1_000)) {
                (true, _) => Some(Operation::ReceiveStream),
                (false, buffer) => buffer.ok().map(|buffer| Operation::Receive { buffer }),
            };
            let submitted = operation.is_some_and(|operation| worker.submit(handle, operation).is_ok());
            connection.receives = !submitted;
            refused |= !submitted;
        }
        if refused {
            self.set_alarm(crew);
        }
    }

    fn drain(&mut self, crew: &mut Crew) {
        self.draining = true;
        for listener in self.listeners.drain(..) {
            crew.of_queue(listener.queue()).expect("a worker until the end").close(listener);
        }
    }
}

/// What a client is up to.
struct Client {
    stream: Option<Stream>,
    tries: usize,
    seed: u64,
    length: usize,
    sent: usize,
    received: usize,
    /// Breaks off after so many bytes came back.
    breaks_at: Option<usize>,
    slow: bool,
    over: bool,
}

fn byte(seed: u64, place: usize) -> u8 {
    ((seed.wrapping_add(place as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Client {
    /// Sends and wants back up to `most` bytes.
    fn new(random: &mut Random, most: usize) -> Self {
        let most = [1, 50, 50, 500, 500, 5_000, 5_000, 50_000][random.below(8)].min(most);
        let length = random.below(most);
        let breaks_at = (random.below(8) == 0).then(|| random.below(length + 1));
        let (seed, slow) = (random.number(), random.below(8) == 0);
        Self { stream: None, tries: 0, seed, length, sent: 0, received: 0, breaks_at, slow, over: false }
    }

    /// Does what can be done now.
    fn act(&mut self, world: &World, address: SocketAddr, number: u64, random: &mut Random, faultless: bool) {
        if self.over {
            return;
        }
        let Some(stream) = &mut self.stream else {
            self.tries += 1;
            match world.connect(address) {
                Ok(stream) => {
                    stream.set_nonblocking(true);
                    if !self.slow {
                        stream.notify(Some(number));
                    }
                    self.stream = Some(stream);
                    world.wake_after(REST, number);
                }
                Err(error) if error.kind() == Io::ConnectionRefused && self.tries < 100 => {
                    world.wake_after(REST, number);
                }
                Err(error) => panic!("never connected: {error}"),
            }
            return;
        };
        match Self::exchange(stream, self.seed, self.length, &mut self.sent, &mut self.received, random) {
            Ok(false) => {}
            Ok(true) => {
                assert!(self.received == self.length, "{} of {} bytes came back", self.received, self.length);
                self.over = true;
            }
            Err(error) => {
                let reset = matches!(error.kind(), Io::ConnectionReset | Io::BrokenPipe);
                assert!(reset && !faultless, "{error} after {} of {} bytes", self.received, self.length);
                self.over = true;
            }
        }
        if self.breaks_at.is_some_and(|place| self.received >= place) {
            let stream = self.stream.take().expect("it is connected");
            if random.below(2) == 0 {
                stream.reset()
            } else {
                drop(stream)
            }
            self.over = true;
        } else if self.slow && !self.over {
            world.wake_after(random.time(Duration::from_secs(1)), number);
        }
        if self.over {
            self.stream = None;
        }
    }

    /// Sends and receives what goes without waiting. True at the orderly end.
    fn exchange(
        stream: &mut Stream,
        seed: u64,
        length: usize,
        sent: &mut usize,
        received: &mut usize,
        random: &mut Random,
    ) -> std::io::Result<bool> {
        let would_block = |error: std::io::Error| match error.kind() {
            Io::WouldBlock => Ok(None),
            _ => Err(error),
        };
        let mut bytes = [0; 3_000];
        while *sent < length {
            let most = (1 + random.below(bytes.len())).min(length - *sent);
            bytes.iter_mut().zip(*sent..).take(most).for_each(|(place, at)| *place = byte(seed, at));
            let Some(count) = stream.write(&bytes[..most]).map(Some).or_else(would_block)? else { break };
            *sent += count;
            if *sent == length {
                stream.shutdown(Shutdown::Write)?;
            }
        }
        if length == 0 {
            stream.shutdown(Shutdown::Write)?;
        }
        loop {
            match stream.read(&mut bytes).map(Some).or_else(would_block)? {
                None => return Ok(false),
                Some(0) => return Ok(true),
                Some(count) => {
                    for &got in &bytes[..count] {
                        assert_eq!(got, byte(seed, *received), "byte {received} came back changed");
                        *received += 1;
                    }
                }
            }
        }
    }
}

/// How a program went.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    connections: u64,
    steps: u64,
    end: Duration,
}

/// One program: a server, its clients, and the end.
fn program(seed: u64, replay: &str) -> Course {
    let mut random = Random::new(seed);
    let faults = if seed == 0 { Faults::none() } else { Faults::from_seed(seed) };
    let faultless = faults.resets == 0.0;
    let socket_buffer = faults.socket_buffer_bytes;
    let world = World::new(seed, faults);
    world.set_replay(replay);
    let mut limits = configuration(&world);
    limits.queues = 1 + random.below(2);
    limits.workers_per_queue = 1 + random.below(3);
    limits.handles = [4, 32, 1_024][random.below(3)];
    // Fewer, and receives that wait for clients would leave no room for the sends that those wait for.
    limits.operations = 2 * limits.handles + [2, 100][random.below(2)];
    limits.batch = [1, 4, 64][random.below(3)];
    limits.receive_bytes = [10, 1_000, 4_096][random.below(3)];
    // Where little goes at once, little is sent.
    let most = 200 * limits.receive_bytes.min(socket_buffer);
    limits.buffers = vec![BufferClass { capacity: 4_096, count: [4, 32, 512][random.below(3)] }];
    let port = Port::new(limits).expect("a port in the world");
    let mut crew = Crew::new(&world, &port);
    let address = ([10, 0, 0, 1], 80).into();
    let mut server = Server::start(&mut crew, &port, Random::new(random.number()), address);
    let mut clients: Vec<Client> =
        (0..random.below(CLIENTS)).map(|_| Client::new(&mut random, most)).collect();
    for number in 0..clients.len() {
        world.wake_after(random.time(Duration::from_millis(5)), number as u64);
    }
    let mut steps = 0;
    loop {
        steps += 1;
        match crew.next(&mut random) {
            Step::Completion(place, completion) => server.complete(&mut crew, place, completion),
            Step::Client(ALARM) => server.try_again(&mut crew),
            Step::Client(number) => {
                clients[number as usize].act(&world, address, number, &mut random, faultless);
            }
            Step::Over if server.draining => break,
            Step::Over => {
                let waiting = clients.iter().filter(|client| !client.over).count();
                assert_eq!(waiting, 0, "nothing happens any more, and clients wait");
                assert!(server.connections.is_empty(), "{} connections are left", server.connections.len());
                port.begin_shutdown();
            }
        }
    }
    assert_eq!(crew.workers.len(), 0, "workers that got no shutdown packet");
    let report = port.shutdown(Duration::ZERO);
    assert!(report.is_clean(), "{report}");
    Course { connections: world.connections(), steps, end: world.now() }
}

#[test]
fn every_byte_comes_back() {
    each_seed("echo::every_byte_comes_back", 25, |seed, replay| program(seed, replay).connections);
}

#[test]
fn a_seed_is_enough_to_see_a_run_again() {
    for seed in 1..6 {
        assert_eq!(program(seed, ""), program(seed, ""));
    }
    assert_ne!(program(1, ""), program(2, ""));
}
