//! Programs without sense: whatever is submitted, cancelled, closed, held back or left behind, with any faults and any number of
//! workers, the checkers of the world find nothing, and everything comes home.

use crate::rig::{Crew, Step, configuration, each_seed};
use completion_port::{
    BufferChain, BufferClass, Completion, Directory, Handle, OpenOptions, Operation, OperationKind, Packet,
    Payload, Port, Slice, Token,
    simulation::{Faults, Random, Stream, World},
};
use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const STEPS: usize = 600;

/// More than any socket holds.
static MUCH: [u8; 1 << 20] = [3; 1 << 20];

struct Program {
    crew: Crew,
    port: Port,
    random: Random,
    folder: Arc<Directory>,
    listening: Vec<SocketAddr>,
    /// Open or not: stale ones are used too.
    handles: Vec<Handle>,
    tokens: Vec<Token>,
    peers: Vec<Stream>,
    /// Held back for a while.
    kept: Vec<Payload>,
}

impl Program {
    fn take(&mut self, place: usize, completion: Completion) {
        if completion.kind == OperationKind::Shutdown {
            self.crew.workers.remove(place);
            return;
        }
        match completion.payload {
            Payload::Accepted(handle) | Payload::Opened { file: handle, .. } => self.handles.push(handle),
            Payload::None => {}
            payload => self.kept.push(payload),
        }
    }

    fn handle(&mut self) -> Handle {
        // The latest are likelier to be open.
        let recent = self.handles.len().saturating_sub(12);
        let from = if self.random.below(3) == 0 { 0 } else { recent };
        self.random.pick(&self.handles[from..]).unwrap_or(Handle::NONE)
    }

    fn submit(&mut self, handle: Handle, operation: Operation) {
        let queue =
            if handle == Handle::NONE { self.random.below(self.port.queues()) } else { handle.queue() };
        let limit = (self.random.below(8) == 0).then(|| self.random.time(Duration::from_millis(2)));
        let workers = &mut self.crew.workers;
        let mut of_queue: Vec<_> = workers.iter_mut().filter(|(worker, _)| worker.queue() == queue).collect();
        if of_queue.is_empty() {
            return;
        }
        let chosen = self.random.below(of_queue.len());
        let worker = &mut of_queue[chosen].0;
        let submitted = match limit {
            Some(limit) => worker.submit_with_limit(handle, operation, limit),
            None => worker.submit(handle, operation),
        };
        self.tokens.extend(submitted);
    }

    fn associate(&mut self, source: impl Into<completion_port::Source>) -> Option<Handle> {
        let place = self.random.below(self.crew.workers.len());
        let (worker, _) = self.crew.workers.get_mut(place)?;
        let handle = worker.associate(source, self.random.number()).ok()?;
        self.handles.push(handle);
        Some(handle)
    }

    fn chain(&mut self) -> BufferChain {
        let mut chain = BufferChain::new();
        for _ in 0..self.random.below(4) {
            let length = 1 + self.random.below(3_000);
            let Ok(mut buffer) = self.port.buffers().acquire(length) else { break };
            let value = self.random.number() as u8;
            buffer.spare_mut().fill(value);
            buffer.advance(length);
            chain.push(buffer.freeze().slice(self.random.below(length)..)).expect("room for four");
        }
        chain
    }

    fn on_a_socket(&mut self) {
        let (handle, file) = (self.handle(), self.handle());
        let operation = match self.random.below(12) {
            0 | 1 => Operation::ReceiveStream,
            2 | 3 => match self.port.buffers().acquire(1 + self.random.below(4_096)) {
                Ok(buffer) => Operation::Receive { buffer },
                Err(_) => return,
            },
            4..=6 => Operation::Send { chain: self.chain() },
            7 => Operation::Send { chain: BufferChain::from(Slice::from_static(&MUCH)) },
            8 => {
                let (offset, length) = (self.random.below(9_000) as u64, self.random.below(20_000) as u64);
                Operation::TransmitFile { head: self.chain(), file, offset, length }
            }
            9 => Operation::Disconnect,
            10 => Operation::Accept,
            _ => Operation::Connect {
                address: self.random.pick(&self.listening).unwrap_or(([1; 4], 1).into()).into(),
                first: if self.random.below(2) == 0 { self.chain() } else { BufferChain::new() },
            },
        };
        self.submit(handle, operation);
    }

    fn on_a_file(&mut self) {
        let (handle, file) = (self.handle(), self.handle());
        let offset = self.random.below(9_000) as u64;
        let operation = match self.random.below(9) {
            0 | 1 => match self.port.buffers().acquire(1 + self.random.below(4_096)) {
                Ok(buffer) => Operation::ReadAt { file, offset, buffer },
                Err(_) => return,
            },
            2 | 3 => Operation::WriteAt { file, offset, chain: self.chain() },
            4 => Operation::Append { file, chain: self.chain() },
            5 => Operation::Sync { file, data_only: true },
            6 => Operation::Metadata { file },
            7 => {
                let path = PathBuf::from(["content", "other", "linked"][self.random.below(3)]);
                let replace = self.random.below(2) == 0;
                Operation::Link { file, directory: Arc::clone(&self.folder), path, replace }
            }
            _ => {
                let options = OpenOptions::new().read(true).write(true).create(true);
                let unnamed = OpenOptions::new().write(true).unnamed(true);
                let (path, options) = match self.random.below(4) {
                    0 => ("other", options),
                    1 => (".", unnamed),
                    2 => ("missing", OpenOptions::new().read(true)),
                    _ => ("content", options.append(self.random.below(2) == 0)),
                };
                let directory = Some(Arc::clone(&self.folder));
                return self.submit(Handle::NONE, Operation::Open { directory, path: path.into(), options });
            }
        };
        self.submit(handle, operation);
    }

    fn step(&mut self) {
        let handle = self.handle();
        match self.random.below(24) {
            0 | 1 => {
                let (ours, peer) = self.crew.world.pair();
                self.associate(ours);
                peer.set_nonblocking(true);
                self.peers.push(peer);
            }
            2 if self.listening.len() < 4 => {
                let listener = self.crew.world.listen(([10, 0, 0, 1], 0).into());
                self.listening.extend(listener.local_addr());
                if let Some(handle) = self.associate(listener) {
                    self.submit(handle, Operation::AcceptStream);
                }
            }
            2 => {
                let socket = self.crew.world.socket();
                self.associate(socket);
            }
            3 => {
                if let Some(address) = self.random.pick(&self.listening)
                    && let Ok(peer) = self.crew.world.connect(address)
                {
                    peer.set_nonblocking(true);
                    self.peers.push(peer);
                }
            }
            4 => {
                let after = self.random.time(Duration::from_millis(3));
                self.submit(handle, Operation::Timer { after });
            }
            5 => {
                let work = Box::new(|| Box::new(7) as Box<_>);
                self.submit(handle, Operation::Call { work });
            }
            6 => match self.random.below(4) {
                0 => self.port.close(handle),
                1 => self.crew.workers.iter_mut().for_each(|(worker, _)| worker.close(handle)),
                _ => self.submit(handle, Operation::Close),
            },
            7 => {
                if let Some(token) = self.random.pick(&self.tokens) {
                    self.crew.workers.iter_mut().for_each(|(worker, _)| worker.cancel(token));
                }
            }
            8 => {
                let queue = self.random.below(self.port.queues());
                drop(self.port.post(queue, Packet::default()));
            }
            9 | 10 => {
                if !self.peers.is_empty() {
                    let place = self.random.below(self.peers.len());
                    let peer = &mut self.peers[place];
                    let _ = peer.write(&MUCH[..1 + self.random.below(20_000)]);
                    let _ = peer.read(&mut [0; 30_000]);
                }
            }
            11 => {
                if !self.peers.is_empty() {
                    let peer = self.peers.swap_remove(self.random.below(self.peers.len()));
                    if self.random.below(3) == 0 {
                        peer.reset();
                    }
                }
            }
            12 => self.kept.truncate(self.kept.len() / 2),
            13..=17 => self.on_a_socket(),
            18..=20 => self.on_a_file(),
            _ => {
                for _ in 0..self.random.below(8) {
                    match self.crew.next(&mut self.random) {
                        Step::Completion(place, completion) => self.take(place, completion),
                        Step::Client(_) => {}
                        Step::Over => break,
                    }
                }
            }
        }
    }

    /// Ends everything, in order or not.
    fn end(mut self) {
        self.kept.clear();
        self.listening.clear();
        match self.random.below(4) {
            // The workers are dropped with everything in flight.
            0 => return,
            1 => self.port.cancel_all(),
            _ => self.port.begin_shutdown(),
        }
        if self.random.below(2) == 0 {
            self.peers.clear();
        }
        for handle in std::mem::take(&mut self.handles) {
            if let Some(worker) = self.crew.of_queue(handle.queue()) {
                worker.close(handle);
            }
        }
        loop {
            match self.crew.next(&mut self.random) {
                Step::Completion(place, completion) => self.take(place, completion),
                Step::Client(_) => {}
                Step::Over => break,
            }
            self.kept.clear();
            for handle in std::mem::take(&mut self.handles) {
                if let Some(worker) = self.crew.of_queue(handle.queue()) {
                    worker.close(handle);
                }
            }
        }
        assert_eq!(self.crew.workers.len(), 0, "workers that got no shutdown packet");
    }
}

fn program(seed: u64, replay: &str, folder: &Path) -> u64 {
    let mut random = Random::new(seed);
    let world = World::new(seed, Faults::from_seed(seed));
    world.set_replay(replay);
    std::fs::write(folder.join("content"), [9; 10_000]).expect("a file to work on");
    for name in ["other", "linked"] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    let mut limits = configuration(&world);
    limits.queues = 1 + random.below(2);
    limits.workers_per_queue = 1 + random.below(3);
    limits.operations = [16, 64, 1_024][random.below(3)];
    limits.handles = [8, 64, 512][random.below(3)];
    limits.batch = [1, 4, 64][random.below(3)];
    limits.receive_bytes = 1 + random.below(4_096);
    limits.buffers = vec![BufferClass { capacity: 4_096, count: [2, 16, 128][random.below(3)] }];
    limits.posts = [1, 64][random.below(2)];
    limits.pool_queue = [1, 64][random.below(2)];
    let port = Port::new(limits).expect("a port in the world");
    let crew = Crew::new(&world, &port);
    let folder = Arc::new(Directory::open(folder).expect("the folder"));
    let mut program = Program {
        crew,
        port: port.clone(),
        random,
        folder,
        listening: Vec::new(),
        handles: Vec::new(),
        tokens: Vec::new(),
        peers: Vec::new(),
        kept: Vec::new(),
    };
    for _ in 0..STEPS {
        program.step();
    }
    program.end();
    let report = port.shutdown(Duration::ZERO);
    assert_eq!((report.workers_left, report.operations_left, report.buffers_left), (0, 0, 0), "{report}");
    world.connections()
}

#[test]
fn whatever_is_done_the_laws_hold() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    each_seed("turmoil::whatever_is_done_the_laws_hold", 100, |seed, replay| {
        program(seed, replay, folder.path())
    });
}
