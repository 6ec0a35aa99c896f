//! Random operations by several workers, which cancel and close each other's.

use super::{PATIENCE, configuration, connection, wait};
use completion_port::{
    ErrorKind, Handle, OpenOptions, Operation, OperationKind, Payload, Port, Slice, Token, Worker,
};
use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
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
}

/// What racing workers that cancel and close each other's operations have in common.
struct Turmoil {
    running: Mutex<HashMap<Token, OperationKind>>,
    handles: Mutex<Vec<Handle>>,
    file: Handle,
    left: AtomicUsize,
}

impl Turmoil {
    fn submit(&self, worker: &mut Worker, chance: &mut Chance, handle: Handle, operation: Operation) {
        let kind = operation.kind();
        // Held meanwhile: the completion may come to another worker before this one is back.
        let mut running = self.running.lock().unwrap();
        let submitted = match chance.below(6) {
            0 => {
                worker.submit_with_limit(handle, operation, Duration::from_micros(chance.below(2_000) as u64))
            }
            _ => worker.submit(handle, operation),
        };
        match submitted {
            Ok(token) => assert!(running.insert(token, kind).is_none(), "{token:?} was given twice"),
            Err(rejected) => assert_eq!(rejected.error.kind(), ErrorKind::StaleHandle, "{rejected}"),
        }
    }

    fn connect(&self, worker: &mut Worker, chance: &mut Chance) {
        let (first, peer) = connection(worker, 1);
        let second = worker.associate(peer, 2).unwrap();
        for handle in [first, second] {
            self.handles.lock().unwrap().push(handle);
            self.submit(worker, chance, handle, Operation::Timer { after: Duration::ZERO });
        }
    }

    fn act(&self, worker: &mut Worker, chance: &mut Chance, handle: Handle) {
        let buffer = |worker: &mut Worker| worker.buffers().acquire(100);
        let operation = match chance.below(12) {
            0 | 1 => Operation::ReceiveStream,
            2..=5 => Operation::Send { chain: Slice::from_static(&[7; 300]).into() },
            6 => match buffer(worker) {
                Ok(buffer) => Operation::Receive { buffer },
                Err(_) => return,
            },
            7 | 8 => match buffer(worker) {
                Ok(buffer) => Operation::ReadAt { file: self.file, offset: chance.below(900) as u64, buffer },
                Err(_) => return,
            },
            9 => Operation::Call { work: Box::new(|| Box::new(())) },
            10 => Operation::Close,
            _ => Operation::Timer { after: Duration::from_micros(chance.below(500) as u64) },
        };
        self.submit(worker, chance, handle, operation);
    }

    fn run(&self, worker: &mut Worker, seed: u64) {
        let mut chance = Chance(seed);
        let mut completions = Vec::new();
        while self.left.load(Ordering::SeqCst) > 0 {
            if worker.wait(&mut completions, Some(Duration::from_millis(1))).unwrap() == 0 {
                self.connect(worker, &mut chance);
            }
            for completion in completions.drain(..) {
                let known = {
                    let mut running = self.running.lock().unwrap();
                    if completion.last {
                        running.remove(&completion.token)
                    } else {
                        running.get(&completion.token).copied()
                    }
                };
                assert_eq!(known, Some(completion.kind), "{completion:?} was not expected");
                let _ =
                    self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                if completion.kind == OperationKind::Close {
                    self.connect(worker, &mut chance);
                    continue;
                }
                for _ in 0..chance.below(3) {
                    self.act(worker, &mut chance, completion.handle);
                }
            }
            // Whoever's it is.
            let victim = self.running.lock().unwrap().keys().nth(chance.below(8)).copied();
            if let (Some(token), 0) = (victim, chance.below(3)) {
                worker.cancel(token);
            }
            let victim = {
                let mut handles = self.handles.lock().unwrap();
                let enough = handles.len() > 60;
                let place = chance.below(handles.len().max(1));
                (enough || chance.below(40) == 0).then(|| handles.swap_remove(place))
            };
            match (victim, chance.below(2)) {
                (Some(handle), 0) => worker.close(handle),
                (Some(handle), _) => worker.port().close(handle),
                (None, _) => {}
            }
        }
    }
}

#[test]
fn workers_that_cancel_and_close_what_others_run_keep_the_laws() {
    for seed in 1..=6u64 {
        let mut configuration = configuration(4);
        configuration.inline_budget = 2;
        configuration.receives_outstanding = 1 + 3 * (seed as usize % 2);
        configuration.sends_outstanding = 1 + seed as usize % 5;
        let port = Port::new(configuration).unwrap();
        let mut first = port.worker().unwrap();
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, [9; 1_000]).unwrap();
        let options = OpenOptions::new().read(true);
        first
            .submit(Handle::NONE, Operation::Open { directory: None, path: path.to_path_buf(), options })
            .unwrap();
        let Payload::Opened { file, .. } = wait(&mut first, PATIENCE).remove(0).payload else {
            panic!("no file")
        };
        let turmoil = Turmoil {
            running: Mutex::default(),
            handles: Mutex::default(),
            file,
            left: AtomicUsize::new(3_000),
        };
        std::thread::scope(|scope| {
            for number in 1..4 {
                let (port, turmoil) = (port.clone(), &turmoil);
                scope.spawn(move || turmoil.run(&mut port.worker().unwrap(), seed * 1_000 + number));
            }
            turmoil.run(&mut first, seed * 1_000);
        });
        drop(first);
        let report = port.shutdown(Duration::ZERO);
        assert_eq!((report.operations_left, report.buffers_left), (0, 0), "seed {seed}: {report}");
    }
}
