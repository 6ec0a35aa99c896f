//! Random programs: whatever is submitted, cancelled, closed, held back or left behind, every accepted operation ends exactly
//! once, nothing follows its end or the close of its handle, and every buffer comes home.

use crate::{
    harness::{Rig, configuration},
    peer::Peer,
    suite::Case,
};
use completion_port::{
    BufferChain, BufferClass, Completion, Handle, Operation, OperationKind, Packet, Payload, Slice, Token,
};
use std::{
    collections::{HashMap, HashSet},
    io::{Read, Write},
    time::Duration,
};

pub(crate) const CASES: &[Case] = cases![every_operation_of_a_random_program_ends_once];

const STEPS: u32 = 400;

/// xorshift64*: a seed is enough to see the same program again, as far as the system lets it.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.below(from.len())]) }
    }
}

/// What the program knows, and checks.
#[derive(Default)]
struct Program {
    /// In flight, with the handle that each was submitted for.
    running: HashMap<Token, Handle>,
    over: HashSet<Token>,
    closed: HashSet<Handle>,
    /// Open or not: stale ones are used too.
    handles: Vec<Handle>,
    tokens: Vec<Token>,
    /// Held back for a while.
    kept: Vec<Payload>,
    peers: Vec<Peer>,
}

impl Program {
    fn take(&mut self, completions: Vec<Completion>) {
        for completion in completions {
            if completion.token == Token::NONE {
                continue;
            }
            assert!(!self.over.contains(&completion.token), "after its end: {completion:?}");
            assert!(!self.closed.contains(&completion.handle), "after its close: {completion:?}");
            assert!(self.running.contains_key(&completion.token), "of nothing: {completion:?}");
            if completion.last {
                self.running.remove(&completion.token);
                self.over.insert(completion.token);
            }
            if completion.kind == OperationKind::Close {
                self.closed.insert(completion.handle);
            }
            match completion.payload {
                Payload::Accepted(handle) | Payload::Opened { file: handle, .. } => self.handles.push(handle),
                payload => self.kept.push(payload),
            }
        }
    }

    fn submit(&mut self, rig: &mut Rig, random: &mut Random, handle: Handle, operation: Operation) {
        let submitted = match random.below(8) {
            0 => {
                let limit = Duration::from_micros(random.below(500) as u64);
                rig.worker.submit_with_limit(handle, operation, limit)
            }
            _ => rig.worker.submit(handle, operation),
        };
        if let Ok(token) = submitted {
            assert!(self.running.insert(token, handle).is_none(), "{token:?} was given twice");
            self.tokens.push(token);
        }
    }

    fn step(&mut self, rig: &mut Rig, random: &mut Random, folder: &std::path::Path) {
        let handle = random.of(&self.handles).unwrap_or(Handle::NONE);
        let file = random.of(&self.handles).unwrap_or(Handle::NONE);
        let buffers = rig.port.buffers().clone();
        let offset = random.below(9_000) as u64;
        match random.below(26) {
            0 | 1 => {
                let (handle, peer) = rig.pair();
                self.handles.push(handle);
                self.peers.push(peer);
            }
            2 => {
                let (listener, address) = rig.listener();
                self.handles.push(listener);
                self.submit(rig, random, listener, Operation::AcceptStream);
                self.peers.extend((0..3).filter_map(|_| rig.network.try_connect(address).ok()));
            }
            3 => self.submit(rig, random, handle, Operation::Accept),
            4 | 5 => self.submit(rig, random, handle, Operation::ReceiveStream),
            6 | 7 => {
                if let Ok(buffer) = buffers.acquire(1 + random.below(4_096)) {
                    self.submit(rig, random, handle, Operation::Receive { buffer });
                }
            }
            8 => {
                let chain = Rig::huge_chain();
                self.submit(rig, random, handle, Operation::Send { chain });
            }
            9 | 10 => {
                let mut chain = BufferChain::from(Slice::from_static(b"some bytes"));
                if let Ok(mut buffer) = buffers.acquire(100) {
                    buffer.extend_from_slice(&[7; 100]);
                    chain.push(buffer.freeze().slice(3..90)).unwrap();
                }
                self.submit(rig, random, handle, Operation::Send { chain });
            }
            11 | 12 => {
                let head = BufferChain::from(Slice::from_static(b"head"));
                let length = random.below(20_000) as u64;
                self.submit(rig, random, handle, Operation::TransmitFile { head, file, offset, length });
            }
            13 => {
                if let Ok(buffer) = buffers.acquire(1_000) {
                    self.submit(rig, random, handle, Operation::ReadAt { file, offset, buffer });
                }
            }
            14 => {
                let options = completion_port::OpenOptions::new().read(true).write(true).create(true);
                let path = folder.join(["content", "other"][random.below(2)]);
                let directory = None;
                self.submit(rig, random, Handle::NONE, Operation::Open { directory, path, options });
            }
            15 => {
                let chain = BufferChain::from(Slice::from_static(&[9; 5_000]));
                self.submit(rig, random, handle, Operation::WriteAt { file, offset, chain });
            }
            16 => self.submit(rig, random, handle, Operation::Sync { file, data_only: true }),
            17 => {
                let after = Duration::from_micros(random.below(2_000) as u64);
                self.submit(rig, random, handle, Operation::Timer { after });
            }
            18 => {
                let work = Box::new(|| Box::new(5) as Box<_>);
                self.submit(rig, random, handle, Operation::Call { work });
            }
            19 => self.submit(rig, random, handle, Operation::Disconnect),
            20 => self.submit(rig, random, handle, Operation::Close),
            21 => match random.below(3) {
                0 => rig.worker.close(handle),
                1 => rig.port.close(handle),
                _ => drop(rig.port.post(0, Packet::default())),
            },
            22 => {
                for _ in 0..3 {
                    if let Some(token) = random.of(&self.tokens) {
                        rig.worker.cancel(token);
                    }
                }
            }
            23 => {
                if !self.peers.is_empty() {
                    drop(self.peers.swap_remove(random.below(self.peers.len())));
                }
            }
            24 => {
                if !self.peers.is_empty() {
                    let place = random.below(self.peers.len());
                    let peer = &mut self.peers[place];
                    peer.set_nonblocking(true);
                    let _ = peer.write(&[1; 20_000][..1 + random.below(20_000)]);
                    let _ = peer.read(&mut vec![0; 100_000]);
                }
            }
            _ => {
                self.kept.truncate(self.kept.len() / 2);
                let mut completions = Vec::new();
                rig.worker.wait(&mut completions, Some(Duration::ZERO)).unwrap();
                self.take(completions);
            }
        }
    }

    /// Closes everything, and waits until all has come home.
    fn end(&mut self, rig: &mut Rig) {
        self.kept.clear();
        loop {
            for handle in std::mem::take(&mut self.handles) {
                rig.worker.close(handle);
            }
            for &token in self.running.keys() {
                rig.worker.cancel(token);
            }
            if self.running.is_empty() {
                return;
            }
            let mut completions = Vec::new();
            rig.worker.wait(&mut completions, Some(crate::harness::PATIENCE)).unwrap();
            assert!(!completions.is_empty(), "these never end: {:?}", self.running);
            self.take(completions);
            self.kept.clear();
        }
    }
}

fn every_operation_of_a_random_program_ends_once(rig: &mut Rig) {
    let seeds =
        std::env::var("COMPLETION_PORT_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(12);
    let backend = rig.port.backend();
    for seed in 1..=seeds {
        let mut random = Random(seed << 20 | 1);
        let mut limits = configuration(backend);
        limits.operations = [16, 64, 1_024][random.below(3)];
        limits.handles = 256;
        limits.batch = [1, 4, 64][random.below(3)];
        limits.inline_budget = [0, 1, 16][random.below(3)];
        limits.receive_bytes = 1_024;
        limits.receives_outstanding = [1, 4][random.below(2)];
        limits.sends_outstanding = [1, 4][random.below(2)];
        limits.receive_buffers = [1, 4, 16][random.below(3)];
        limits.accepts_posted = 3;
        limits.buffers = vec![BufferClass { capacity: 4_096, count: [2, 8, 64][random.below(3)] }];
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("content"), [3; 10_000]).unwrap();
        let mut rig = Rig::new(limits);
        let mut program = Program::default();
        for _ in 0..STEPS {
            program.step(&mut rig, &mut random, folder.path());
        }
        // Half of the programs leave everything behind.
        if seed % 2 == 0 {
            program.end(&mut rig);
        }
        drop(program);
        rig.finish();
    }
}
