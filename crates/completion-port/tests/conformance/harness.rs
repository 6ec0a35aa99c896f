//! The rig that every case runs on.

use crate::peer::{Network, Peer, PeerListener};
#[cfg(unix)]
use completion_port::simulation::{Faults, World};
use completion_port::{
    Backend, BufferChain, BufferClass, Completion, Configuration, ErrorKind, Handle, OpenOptions, Operation,
    OperationKind, Payload, Port, Slice, Token, Worker,
};
use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, Read},
    net::SocketAddr,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

/// How long a case waits for what has to come. Only a broken backend ever waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a case looks for what must not come.
pub(crate) const GLANCE: Duration = Duration::from_millis(50);

/// How long a wait lasts while somebody else is busy beside it.
const BESIDE_PAUSE: Duration = Duration::from_millis(1);

impl Transcript {
    /// What was read until now, however it ended.
    pub(crate) fn so_far(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().bytes)
    }
}

/// A port with one worker, and the completions that came before their turn.
pub(crate) struct Rig {
    pub(crate) port: Port,
    pub(crate) worker: Worker,
    pub(crate) network: Network,
    early: VecDeque<Completion>,
    began: Instant,
    /// What goes on at the other side while the case waits, until it says that it is done.
    beside: Vec<Box<dyn FnMut() -> bool>>,
}

/// What a peer has read so far beside the case, and how that ended.
#[derive(Clone, Default)]
pub(crate) struct Transcript(Rc<RefCell<Record>>);

#[derive(Default)]
struct Record {
    bytes: Vec<u8>,
    end: Option<Result<(), io::ErrorKind>>,
}

/// Small limits, so that a case can reach them.
pub(crate) fn configuration(backend: Backend) -> Configuration {
    let mut configuration = Configuration::default();
    configuration.backend = Some(backend);
    #[cfg(unix)]
    if backend == Backend::Simulated {
        configuration.simulation = Some(World::new(17, Faults::none()));
    }
    configuration.queues = 1;
    configuration.workers_per_queue = 1;
    configuration.operations = 1_024;
    configuration.handles = 256;
    configuration.posts = 64;
    configuration.send_bytes = 1 << 30;
    configuration.batch = 64;
    configuration.buffers =
        vec![BufferClass { capacity: 4_096, count: 64 }, BufferClass { capacity: 65_536, count: 64 }];
    configuration.receive_buffers = 16;
    configuration
}

impl Rig {
    pub(crate) fn new(configuration: Configuration) -> Self {
        let network = Network::of(&configuration);
        let port = Port::new(configuration).expect("a port with the limits of the case");
        Self::on(port, network)
    }

    /// A rig on a port that has no worker.
    pub(crate) fn on(port: Port, network: Network) -> Self {
        let worker = port.worker().expect("the only worker of the port");
        Self { port, worker, network, early: VecDeque::new(), began: Instant::now(), beside: Vec::new() }
    }

    /// A rig of the case's own on the same backend, with the limits that are usual here.
    pub(crate) fn fresh(&self) -> Self {
        Self::new(configuration(self.port.backend()))
    }

    /// Drops the worker, and checks that nothing was left in flight and every buffer came home.
    pub(crate) fn finish(self) -> Port {
        let Self { port, worker, early, .. } = self;
        drop((worker, early));
        let report = port.shutdown(Duration::ZERO);
        assert_eq!(report.operations_left, 0, "on {}: {report}", port.backend().name());
        assert_eq!(port.buffers().in_use(), 0, "buffers are missing on {}", port.backend().name());
        port
    }

    /// Lets the worker go, and keeps the port.
    pub(crate) fn leave(self) -> Port {
        drop(self.worker);
        self.port
    }

    /// The next completion, in the order of delivery.
    pub(crate) fn next(&mut self) -> Completion {
        if let Some(completion) = self.early.pop_front() {
            return completion;
        }
        self.wait_for_more();
        self.early.pop_front().expect("the wait brought one")
    }

    /// The next completion of one operation; others stay for later.
    pub(crate) fn next_of(&mut self, token: Token) -> Completion {
        loop {
            if let Some(place) = self.early.iter().position(|completion| completion.token == token) {
                return self.early.remove(place).expect("it is there");
            }
            self.wait_for_more();
        }
    }

    fn wait_for_more(&mut self) {
        let until = Instant::now() + PATIENCE;
        let before = self.early.len();
        while self.early.len() == before {
            assert!(Instant::now() < until, "nothing completed for {PATIENCE:?}; waiting: {:?}", self.early);
            self.beside.retain_mut(|job| !job());
            self.turn(BESIDE_PAUSE);
        }
    }

    /// One wait.
    fn turn(&mut self, timeout: Duration) {
        let mut arrived = Vec::new();
        self.worker.wait(&mut arrived, Some(timeout)).expect("the queue works");
        if arrived.is_empty() && self.network.now().is_some() {
            // Virtual time has passed; other threads need real time.
            std::thread::sleep(Duration::from_micros(20));
        }
        self.early.extend(arrived);
    }

    /// Has something go on beside the case whenever that waits for a completion, until it returns true. One thread for all, so that a
    /// network in memory sees the same order each time.
    pub(crate) fn beside(&mut self, job: impl FnMut() -> bool + 'static) {
        self.beside.push(Box::new(job));
    }

    /// Has a peer read all that comes, until the end or an error.
    pub(crate) fn read_beside(&mut self, mut peer: Peer) -> Transcript {
        let transcript = Transcript::default();
        let written = transcript.clone();
        peer.set_nonblocking(true);
        let mut piece = vec![0; 1 << 18];
        self.beside(move || {
            let record = &mut *written.0.borrow_mut();
            while record.end.is_none() {
                match peer.read(&mut piece).map_err(|error| error.kind()) {
                    Ok(0) => record.end = Some(Ok(())),
                    Ok(count) => record.bytes.extend_from_slice(&piece[..count]),
                    Err(io::ErrorKind::Interrupted) => {}
                    Err(io::ErrorKind::WouldBlock) => return false,
                    Err(error) => record.end = Some(Err(error)),
                }
            }
            true
        });
        transcript
    }

    /// The time, by the clock that timers and limits go by.
    pub(crate) fn clock(&self) -> Duration {
        self.network.now().unwrap_or_else(|| self.began.elapsed())
    }

    /// Waits until nothing goes on beside the case any more.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        let until = Instant::now() + PATIENCE;
        while !self.beside.is_empty() {
            assert!(Instant::now() < until, "the peers did not come to their end in {PATIENCE:?}");
            self.beside.retain_mut(|job| !job());
            self.turn(BESIDE_PAUSE);
        }
    }

    /// Has a peer read at least so many bytes while the port works.
    pub(crate) fn read_some(&mut self, peer: &mut Peer, length: usize) -> Vec<u8> {
        let until = Instant::now() + PATIENCE;
        let mut bytes = vec![0; length];
        let mut filled = 0;
        peer.set_nonblocking(true);
        while filled < length {
            assert!(Instant::now() < until, "{filled} bytes of {length} came in {PATIENCE:?}");
            match peer.read(&mut bytes[filled..]) {
                Ok(0) => panic!("the end came after {filled} bytes"),
                Ok(count) => filled += count,
                Err(_) => self.turn(BESIDE_PAUSE),
            }
        }
        bytes
    }

    /// All that a peer has read, once it is at its end.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self, transcript: &Transcript) -> Vec<u8> {
        let until = Instant::now() + PATIENCE;
        while transcript.0.borrow().end.is_none() {
            assert!(Instant::now() < until, "the peer's end did not come for {PATIENCE:?}");
            self.beside.retain_mut(|job| !job());
            self.turn(BESIDE_PAUSE);
        }
        let record = std::mem::take(&mut *transcript.0.borrow_mut());
        assert_eq!(record.end, Some(Ok(())), "after {} bytes", record.bytes.len());
        record.bytes
    }

    /// Nothing completes.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self) {
        assert!(self.early.is_empty(), "{:?} came already", self.early);
        let mut arrived = Vec::new();
        self.worker.wait(&mut arrived, Some(GLANCE)).expect("the queue works");
        assert!(arrived.is_empty(), "{arrived:?} came");
    }

    #[track_caller]
    pub(crate) fn submit(&mut self, handle: Handle, operation: Operation) -> Token {
        match self.worker.submit(handle, operation) {
            Ok(token) => token,
            Err(rejected) => panic!("{:?} was rejected: {rejected}", rejected.operation),
        }
    }

    /// Submits, and waits for the completion.
    #[track_caller]
    pub(crate) fn run(&mut self, handle: Handle, operation: Operation) -> Completion {
        let token = self.submit(handle, operation);
        self.next_of(token)
    }

    /// Closes a handle and waits for that.
    pub(crate) fn close(&mut self, handle: Handle) {
        let completion = self.run(handle, Operation::Close);
        assert_eq!((completion.kind, completion.result), (OperationKind::Close, Ok(0)));
    }

    /// A chain of buffers of the port with `bytes` in them.
    pub(crate) fn chain(&self, bytes: &[u8]) -> BufferChain {
        let mut chain = BufferChain::new();
        for part in bytes.chunks(65_536) {
            let mut buffer = self.port.buffers().acquire(part.len()).expect("a free buffer");
            buffer.extend_from_slice(part);
            chain.push(buffer).expect("room in the chain");
        }
        chain
    }

    /// A chain that no socket takes at once: 64 MiB.
    pub(crate) fn huge_chain() -> BufferChain {
        static MEBIBYTE: [u8; 1 << 20] = [0; 1 << 20];
        let mut chain = BufferChain::new();
        while chain.push(Slice::from_static(&MEBIBYTE)).is_ok() {}
        chain
    }

    /// Sends `bytes` from the port's side.
    pub(crate) fn send(&mut self, handle: Handle, bytes: &[u8]) -> Token {
        let chain = self.chain(bytes);
        self.submit(handle, Operation::Send { chain })
    }

    /// Receives into a buffer of `capacity` bytes.
    pub(crate) fn receive(&mut self, handle: Handle, capacity: usize) -> Token {
        let buffer = self.port.buffers().acquire(capacity).expect("a free buffer");
        self.submit(handle, Operation::Receive { buffer })
    }

    /// A connection: the port's end, and a plain socket.
    pub(crate) fn pair(&mut self) -> (Handle, Peer) {
        let (source, peer) = self.network.pair();
        (self.worker.associate(source, 7).expect("room for a handle"), peer)
    }

    /// As [`Rig::pair`]; the port's end takes little at once from what is sent.
    pub(crate) fn narrow_pair(&mut self) -> (Handle, Peer) {
        let (source, peer) = self.network.narrow_pair();
        (self.worker.associate(source, 7).expect("room for a handle"), peer)
    }

    /// A listening socket of the port.
    pub(crate) fn listener(&mut self) -> (Handle, SocketAddr) {
        let (source, address) = self.network.listener();
        (self.worker.associate(source, 1).expect("room for a handle"), address)
    }

    /// A plain socket, connected.
    pub(crate) fn connect(&self, address: SocketAddr) -> Peer {
        self.network.connect(address)
    }

    /// A socket of the port that is not connected.
    pub(crate) fn unconnected(&mut self, address: SocketAddr) -> Handle {
        let source = self.network.socket_for(address);
        self.worker.associate(source, 3).expect("room for a handle")
    }

    pub(crate) fn peer_listener(&self) -> PeerListener {
        self.network.peer_listener()
    }
}

/// Writes a file named `content` into a folder, and opens it for reading.
pub(crate) fn file_with(rig: &mut Rig, folder: &Path, bytes: &[u8]) -> Handle {
    let path = folder.join("content");
    std::fs::write(&path, bytes).unwrap();
    let options = OpenOptions::new().read(true);
    match rig.run(Handle::NONE, Operation::Open { directory: None, path, options }).payload {
        Payload::Opened { file, .. } => file,
        other => panic!("{other:?} instead of a file"),
    }
}

/// The outcome of a plain call, which a signal may interrupt: the end of a ring that a thread had is one to it.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> T {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome.expect("it comes within the time that a peer waits"),
        }
    }
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|place| (place.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect()
}

/// The kind of error that a completion ended with.
#[track_caller]
pub(crate) fn failure(completion: &Completion) -> ErrorKind {
    match completion.result {
        Err(error) => error.kind(),
        Ok(bytes) => panic!("{completion:?} succeeded with {bytes} bytes"),
    }
}
