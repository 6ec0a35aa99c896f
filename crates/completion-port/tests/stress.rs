//! Random operations, cancels and closes against small limits: whatever happens, each accepted operation ends once, nothing follows its
//! end, and every buffer comes home. A failure names the seed that brings it back.

use completion_port::{
    Backend, Buffer, BufferChain, BufferClass, Completion, Configuration, ErrorKind, Handle, OpenOptions,
    Operation, OperationKind, Payload, Port, Token, Worker,
};
use std::{
    collections::{HashMap, VecDeque},
    io::Write,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Marsaglia's xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len())])
    }
}

/// What is sent and written.
const SENT: u8 = 0x11;
/// What the file holds at first. Gaps in it are zeros.
const STORED: u8 = 0x22;
/// What the program keeps to itself: if it goes out, or is overwritten, somebody uses memory that is no longer theirs.
const KEPT: u8 = 0xa5;

struct Run {
    worker: Worker,
    chance: Chance,
    backend: Backend,
    running: HashMap<Token, OperationKind>,
    sockets: Vec<Handle>,
    files: Vec<Handle>,
    listener: Handle,
    address: SocketAddr,
    path: PathBuf,
    completed: usize,
    kept: VecDeque<Buffer>,
}

fn port(backend: Backend) -> Option<Port> {
    let mut configuration = Configuration::default();
    configuration.backend = Some(backend);
    configuration.queues = 1;
    configuration.workers_per_queue = 1;
    configuration.handles = 48;
    configuration.operations = 200;
    configuration.batch = 32;
    configuration.buffers =
        vec![BufferClass { capacity: 4_096, count: 24 }, BufferClass { capacity: 65_536, count: 10 }];
    configuration.receive_bytes = 500;
    configuration.receive_buffers = 4;
    configuration.transmit_bytes = 8_000;
    configuration.inline_budget = 2;
    match Port::new(configuration) {
        Ok(port) => Some(port),
        Err(error) if error.kind() == ErrorKind::Unsupported => None,
        Err(error) => panic!("{error}"),
    }
}

impl Run {
    fn new(port: &Port, backend: Backend, seed: u64, path: &Path) -> Self {
        let mut worker = port.worker().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = worker.associate(listener, 0).unwrap();
        let chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (running, sockets, files) = (HashMap::new(), Vec::new(), Vec::new());
        let path = path.to_owned();
        let kept = VecDeque::new();
        Self { worker, chance, backend, running, sockets, files, listener, address, path, completed: 0, kept }
    }

    fn chain(&mut self) -> BufferChain {
        let mut chain = BufferChain::new();
        for _ in 0..self.chance.below(4) {
            let capacity = 1 + self.chance.below(20_000);
            let Ok(mut buffer) = self.worker.buffers().acquire(capacity) else { break };
            buffer.spare_mut().fill(SENT);
            buffer.advance(capacity);
            chain.push(buffer).unwrap();
        }
        chain
    }

    fn submit(&mut self, handle: Handle, operation: Operation) {
        let kind = operation.kind();
        let submitted = match self.chance.below(8) {
            0 => {
                let limit = Duration::from_micros(self.chance.below(3_000) as u64);
                self.worker.submit_with_limit(handle, operation, limit)
            }
            _ => self.worker.submit(handle, operation),
        };
        if let Ok(token) = submitted {
            assert!(self.running.insert(token, kind).is_none(), "{token:?} was given twice");
        }
    }

    fn on_a_socket(&mut self) {
        let Some(socket) = self.chance.pick(&self.sockets) else { return };
        let operation = match self.chance.below(8) {
            0 | 1 => Operation::ReceiveStream,
            2 | 3 => Operation::Send { chain: self.chain() },
            4 => match self.worker.buffers().acquire(2_000) {
                Ok(buffer) => Operation::Receive { buffer },
                Err(_) => return,
            },
            5 => match self.chance.pick(&self.files) {
                Some(file) => {
                    let (offset, length) =
                        (self.chance.below(1_000) as u64, self.chance.below(90_000) as u64);
                    Operation::TransmitFile { head: self.chain(), file, offset, length }
                }
                None => return,
            },
            6 if self.chance.below(4) == 0 => Operation::Disconnect,
            _ => Operation::Timer { after: Duration::from_micros(self.chance.below(2_000) as u64) },
        };
        self.submit(socket, operation);
    }

    fn on_a_file(&mut self) {
        let Some(file) = self.chance.pick(&self.files) else { return };
        let offset = self.chance.below(100_000) as u64;
        let operation = match self.chance.below(5) {
            0 | 1 => match self.worker.buffers().acquire(1 + self.chance.below(40_000)) {
                Ok(buffer) => Operation::ReadAt { file, offset, buffer },
                Err(_) => return,
            },
            2 => Operation::WriteAt { file, offset, chain: self.chain() },
            3 => Operation::Metadata { file },
            _ => Operation::Sync { file, data_only: true },
        };
        let handle = self.chance.pick(&self.sockets).unwrap_or(file);
        self.submit(handle, operation);
    }

    /// Holds some buffers for a while, full of what nobody else may see or touch.
    fn keep(&mut self) {
        if let Ok(mut buffer) = self.worker.buffers().acquire(4_096) {
            let capacity = buffer.capacity();
            buffer.spare_mut().fill(KEPT);
            buffer.advance(capacity);
            self.kept.push_back(buffer);
        }
        if self.kept.len() > 6 {
            let buffer = self.kept.pop_front().unwrap();
            assert!(buffer.iter().all(|byte| *byte == KEPT), "a buffer of the program was written to");
        }
    }

    fn close_one(&mut self) {
        let list = if self.chance.below(4) == 0 { &mut self.files } else { &mut self.sockets };
        if list.is_empty() {
            return;
        }
        let handle = list.swap_remove(self.chance.below(list.len()));
        match self.chance.below(3) {
            0 => self.submit(handle, Operation::Close),
            1 => self.worker.close(handle),
            _ => self.worker.port().close(handle),
        }
    }

    fn step(&mut self) {
        match self.chance.below(20) {
            0 => {
                let socket =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
                if let Ok(handle) = self.worker.associate(socket, 9) {
                    self.sockets.push(handle);
                    self.submit(
                        handle,
                        Operation::Connect { address: self.address.into(), first: BufferChain::new() },
                    );
                }
            }
            1 => {
                let accept =
                    if self.chance.below(3) == 0 { Operation::Accept } else { Operation::AcceptStream };
                self.submit(self.listener, accept);
            }
            2 => {
                let options = OpenOptions::new().read(true).write(self.chance.below(2) == 0);
                let operation = Operation::Open { directory: None, path: self.path.clone(), options };
                self.submit(Handle::NONE, operation);
            }
            3 => self.submit(Handle::NONE, Operation::Call { work: Box::new(|| Box::new(5)) }),
            4 => self.close_one(),
            5 | 6 => {
                let tokens: Vec<Token> = self.running.keys().copied().collect();
                if let Some(token) = self.chance.pick(&tokens) {
                    self.worker.cancel(token);
                }
            }
            7..=9 => self.on_a_file(),
            10..=12 => self.wait(Duration::ZERO),
            13 => self.keep(),
            14 => self.wait(Duration::from_micros(300)),
            _ => self.on_a_socket(),
        }
    }

    fn wait(&mut self, timeout: Duration) {
        let mut completions = Vec::new();
        self.worker.wait(&mut completions, Some(timeout)).unwrap();
        assert!(completions.len() <= 32, "more than the batch");
        completions.into_iter().for_each(|completion| self.completed(completion));
    }

    fn completed(&mut self, completion: Completion) {
        if matches!(completion.kind, OperationKind::Draining | OperationKind::Shutdown) {
            return;
        }
        let kind = self.running.get(&completion.token).copied();
        assert_eq!(kind, Some(completion.kind), "{completion:?} was not expected on {}", self.backend.name());
        if completion.last {
            self.running.remove(&completion.token);
            self.completed += 1;
        } else {
            assert!(matches!(completion.kind, OperationKind::AcceptStream | OperationKind::ReceiveStream));
        }
        match completion.payload {
            Payload::Accepted(handle) => self.sockets.push(handle),
            Payload::Opened { file, .. } => self.files.push(file),
            Payload::Buffer(buffer) => {
                assert!(buffer.iter().all(|byte| [SENT, STORED, 0].contains(byte)), "bytes that nobody sent");
            }
            _ => {}
        }
    }
}

fn run(backend: Backend, seed: u64) {
    let Some(port) = port(backend) else { return };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![STORED; 60_000]).unwrap();
    let mut run = Run::new(&port, backend, seed, file.path());
    for _ in 0..4_000 {
        run.step();
    }
    assert!(run.completed > 500, "only {} operations completed on {}", run.completed, backend.name());
    // A third of the time everything is closed, a third of the time the port cancels it, else the worker leaves with what is in flight.
    let ending = seed % 3;
    match ending {
        0 => run.worker.close(run.listener),
        1 => port.cancel_all(),
        _ => {}
    }
    let until = Instant::now() + Duration::from_secs(20);
    while ending < 2 && !run.running.is_empty() {
        assert!(Instant::now() < until, "these did not end: {:?} (seed {seed})", run.running);
        if ending == 0 {
            let handles: Vec<Handle> = run.sockets.drain(..).chain(run.files.drain(..)).collect();
            handles.into_iter().for_each(|handle| run.worker.close(handle));
        }
        run.wait(Duration::from_millis(50));
    }
    drop(run);
    let report = port.shutdown(Duration::ZERO);
    assert_eq!(
        (report.operations_left, report.buffers_left),
        (0, 0),
        "{} with seed {seed}: {report}",
        backend.name()
    );
}

#[test]
fn io_uring_keeps_the_laws_whatever_is_done() {
    (0..9).for_each(|seed| run(Backend::IoUring, seed));
}

#[test]
fn readiness_keeps_the_laws_whatever_is_done() {
    (0..9).for_each(|seed| run(Backend::Readiness, seed));
}

#[test]
fn iocp_keeps_the_laws_whatever_is_done() {
    (0..9).for_each(|seed| run(Backend::Iocp, seed));
}
