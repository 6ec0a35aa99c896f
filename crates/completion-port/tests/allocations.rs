//! No allocation in submit, wait and complete once a port runs: an allocator counts those of the worker, of a thread that posts, and
//! of the pool's thread, over a mix of everything that goes on for ever.
//!
//! In release a million operations: `cargo test --release -p completion-port --test allocations`. In debug builds fewer.
//!
//! Not in the mix is what takes or gives memory by its nature: an open brings a path of the program's and makes a shared file, a call
//! is a box, and so is a packet's object.

#[path = "allocations/count.rs"]
mod count;
#[path = "allocations/poster.rs"]
mod poster;

use completion_port::{
    Backend, BufferChain, BufferClass, Completion, Configuration, ErrorKind, Handle, OpenOptions, Operation,
    OperationKind, Payload, Port, Slice, Token, Worker,
};
use count::{Count, WATCHED};
use poster::Poster;
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Completions that are counted for each backend.
const OPERATIONS: u64 = match (cfg!(debug_assertions), cfg!(windows)) {
    (false, false) => 1_000_000,
    (true, false) => 100_000,
    (false, true) => 100_000,
    (true, true) => 20_000,
};
const PATIENCE: Duration = Duration::from_secs(20);

/// What has to be among them.
const EVERYTHING: [OperationKind; 13] = {
    use OperationKind as Kind;
    [
        Kind::AcceptStream,
        Kind::Close,
        Kind::Connect,
        Kind::Metadata,
        Kind::Post,
        Kind::ReadAt,
        Kind::Receive,
        Kind::ReceiveStream,
        Kind::Send,
        Kind::Sync,
        Kind::Timer,
        Kind::TransmitFile,
        Kind::WriteAt,
    ]
};

/// What goes to and fro, and in how many pieces it is sent.
const BALL_BYTES: usize = 96;
const PIECES: usize = 2;
/// Under way on a handle that is closed.
const RECEIVES: usize = 12;
/// More than anything that the pool may have to do at a time.
const WRITES: usize = 64;
/// More than there will be operations at a time, of any kind.
const DEADLINES: usize = 512;
const FILE_BYTES: usize = 65_536;

/// Keys of handles.
const LISTENER: u64 = 1;
const FILE: u64 = 2;
const CALLER: u64 = 3;
const CALLED: u64 = 4;
const DRAIN: u64 = 5;
const HOSE: u64 = 6;
const SERVER: u64 = 1_000;
const CLIENT: u64 = 2_000;

struct Pair {
    client: Handle,
    stream: Token,
    /// Of the ball that is under way.
    missing: usize,
    rounds: u64,
    /// Throws no more, once the ball is home.
    retired: bool,
}

struct Run {
    port: Port,
    worker: Worker,
    poster: Poster,
    address: SocketAddr,
    file: Handle,
    hose: Handle,
    pairs: Vec<Pair>,
    /// Timers that are cancelled before they come.
    far: Vec<Token>,
    caller: Handle,
    called: Handle,
    closed: usize,
    done: u64,
    /// How many of each kind were counted.
    kinds: Vec<(OperationKind, u64)>,
    /// More of everything is under way than will be later, so that what grows has grown.
    warming_up: bool,
    idle: usize,
}

fn configuration(backend: Backend) -> Configuration {
    let mut configuration = Configuration::default();
    configuration.backend = Some(backend);
    configuration.queues = 1;
    configuration.workers_per_queue = 1;
    configuration.operations = 1_024;
    configuration.handles = 256;
    configuration.buffers =
        vec![BufferClass { capacity: 4_096, count: 256 }, BufferClass { capacity: 16_384, count: 64 }];
    configuration.receive_buffers = 32;
    configuration.accepts_posted = 4;
    // One, so that a single call marks it.
    configuration.pool_threads = 1;
    configuration
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    let server = listener.accept().unwrap().0;
    server.set_nodelay(true).unwrap();
    (client, server)
}

fn submit(worker: &mut Worker, handle: Handle, operation: Operation) -> Token {
    worker.submit(handle, operation).unwrap_or_else(|rejected| panic!("{rejected}"))
}

impl Run {
    fn start(backend: Backend, count: &'static Count) -> Option<Self> {
        let port = match Port::new(configuration(backend)) {
            Ok(port) => port,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                return None;
            }
        };
        let mut worker = port.worker().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = worker.associate(listener, LISTENER).unwrap();
        submit(&mut worker, listener, Operation::AcceptStream);
        let (drain, hose) = connected();
        let drain = worker.associate(drain, DRAIN).unwrap();
        let hose = worker.associate(hose, HOSE).unwrap();
        submit(&mut worker, drain, Operation::ReceiveStream);
        let mut run = Self {
            poster: Poster::start(&port, count),
            port,
            worker,
            address,
            file: Handle::NONE,
            hose,
            pairs: Vec::new(),
            far: Vec::new(),
            caller: Handle::NONE,
            called: Handle::NONE,
            closed: 0,
            done: 0,
            kinds: Vec::with_capacity(32),
            warming_up: true,
            idle: 0,
        };
        run.open_file();
        run.mark_pool(count);
        run.set_deadlines_everywhere();
        run.begin();
        Some(run)
    }

    fn wait_for(&mut self, token: Token) -> Completion {
        let mut arrived = Vec::new();
        loop {
            let found = self.worker.wait(&mut arrived, Some(PATIENCE)).unwrap();
            assert!(found > 0, "nothing came for {PATIENCE:?}");
            if let Some(place) = arrived.iter().position(|completion| completion.token == token) {
                return arrived.swap_remove(place);
            }
        }
    }

    fn open_file(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; FILE_BYTES]).unwrap();
        let options = OpenOptions::new().read(true).write(true);
        let open = Operation::Open { directory: None, path, options };
        let token = submit(&mut self.worker, Handle::NONE, open);
        let Completion { payload: Payload::Opened { file, .. }, .. } = self.wait_for(token) else {
            panic!("the file does not open")
        };
        self.worker.set_key(file, FILE).unwrap();
        self.file = file;
    }

    fn mark_pool(&mut self, count: &'static Count) {
        let work = move || -> Box<dyn std::any::Any + Send> {
            WATCHED.set(Some(count));
            Box::new(())
        };
        let token = submit(&mut self.worker, Handle::NONE, Operation::Call { work: Box::new(work) });
        assert_eq!(self.wait_for(token).result, Ok(0));
    }

    /// What is known of deadlines grows with the places of the operations that have one. Which operation gets which place is chance: here
    /// every place has had one.
    fn set_deadlines_everywhere(&mut self) {
        let timer = || Operation::Timer { after: PATIENCE * 1_000 };
        let timers: Vec<_> =
            (0..DEADLINES).map(|_| submit(&mut self.worker, Handle::NONE, timer())).collect();
        for timer in timers {
            self.worker.cancel(timer);
            assert!(self.wait_for(timer).result.is_err());
        }
    }

    /// Sets everything going, twice as much of it as will be counted.
    fn begin(&mut self) {
        for number in 0..16 {
            let (client, server) = connected();
            let client = self.worker.associate(client, CLIENT + number).unwrap();
            let server = self.worker.associate(server, SERVER + number).unwrap();
            let stream = submit(&mut self.worker, server, Operation::ReceiveStream);
            let buffer = self.port.buffers().acquire(BALL_BYTES).unwrap();
            submit(&mut self.worker, client, Operation::Receive { buffer });
            self.pairs.push(Pair { client, stream, missing: 0, rounds: 0, retired: false });
            self.throw(number as usize);
        }
        for number in 0..16 {
            self.time(number);
            let token = submit(&mut self.worker, Handle::NONE, Operation::Timer { after: PATIENCE * 1_000 });
            self.far.push(token);
            self.post(number);
            self.read(number);
        }
        for number in 0..8 {
            let chain = chain_of(self.port.buffers().acquire(BALL_BYTES).unwrap(), BALL_BYTES);
            self.write(number, chain);
        }
        submit(&mut self.worker, Handle::NONE, Operation::Timer { after: Duration::ZERO });
        let head = chain_of(self.port.buffers().acquire(BALL_BYTES).unwrap(), BALL_BYTES);
        self.transmit(head);
        let file = self.file;
        submit(&mut self.worker, file, Operation::Metadata { file });
        self.call();
        self.let_the_pool_finish_at_once();
    }

    /// More tasks than there will ever be at a time end before the worker takes in the first: the pool works one by one, and the worker
    /// does not wait meanwhile.
    fn let_the_pool_finish_at_once(&mut self) {
        for _ in 0..WRITES {
            let chain = chain_of(self.port.buffers().acquire(BALL_BYTES).unwrap(), BALL_BYTES);
            let write = Operation::WriteAt { file: self.file, offset: 0, chain };
            submit(&mut self.worker, self.hose, write);
        }
        let done = Arc::new(AtomicBool::new(false));
        let work = {
            let done = Arc::clone(&done);
            move || -> Box<dyn std::any::Any + Send> {
                done.store(true, Ordering::Release);
                Box::new(())
            }
        };
        submit(&mut self.worker, Handle::NONE, Operation::Call { work: Box::new(work) });
        while !done.load(Ordering::Acquire) {
            thread::yield_now();
        }
    }

    fn throw(&mut self, number: usize) {
        let mut buffer = self.port.buffers().acquire(BALL_BYTES).expect("a free buffer");
        buffer.extend_from_slice(&[number as u8; BALL_BYTES]);
        let pair = &mut self.pairs[number];
        pair.missing = BALL_BYTES;
        pair.rounds += 1;
        let chain = cut(buffer.freeze());
        submit(&mut self.worker, pair.client, Operation::Send { chain });
        if pair.rounds.is_multiple_of(256) {
            self.worker.cancel(pair.stream);
        }
    }

    fn time(&mut self, seed: u64) {
        let after = Duration::from_micros(seed % 7 * 20);
        submit(&mut self.worker, Handle::NONE, Operation::Timer { after });
    }

    fn post(&mut self, seed: u64) {
        if seed.is_multiple_of(2) {
            self.poster.ask();
        } else {
            self.port.post(0, Default::default()).expect("room for what came out");
        }
    }

    fn read(&mut self, seed: u64) {
        let buffer = self.port.buffers().acquire(4_096).expect("a free buffer");
        let offset = seed % 8 * 4_096;
        let read = Operation::ReadAt { file: self.file, offset, buffer };
        submit(&mut self.worker, self.file, read);
    }

    fn write(&mut self, seed: u64, chain: BufferChain) {
        let write = Operation::WriteAt { file: self.file, offset: seed % 512 * 64, chain };
        submit(&mut self.worker, self.file, write);
    }

    fn transmit(&mut self, head: BufferChain) {
        let transmit = Operation::TransmitFile { file: self.file, offset: 0, length: 20_000, head };
        submit(&mut self.worker, self.hose, transmit);
    }

    /// A connection, which is closed on both sides once it is there.
    fn call(&mut self) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        // Ended by a reset, so that no port stays taken for a while.
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        (self.caller, self.called, self.closed) = (Handle::NONE, Handle::NONE, 0);
        let handle = self.worker.associate(socket, CALLER).unwrap();
        submit(
            &mut self.worker,
            handle,
            Operation::Connect { address: self.address.into(), first: BufferChain::new() },
        );
    }

    /// With receives under way, which end first.
    fn hang_up_if_connected(&mut self) {
        if self.caller != Handle::NONE && self.called != Handle::NONE {
            for _ in 0..RECEIVES {
                let buffer = self.port.buffers().acquire(BALL_BYTES).expect("a free buffer");
                submit(&mut self.worker, self.caller, Operation::Receive { buffer });
            }
            for handle in [self.caller, self.called] {
                submit(&mut self.worker, handle, Operation::Close);
            }
        }
    }

    /// Whether one of sixteen that has come to its end does not go on: half of them, once all has warmed up.
    fn retires(&mut self, seed: u64) -> bool {
        let retires = !self.warming_up && self.idle < 8 && seed.is_multiple_of(2);
        self.idle += usize::from(retires);
        retires
    }

    fn take(&mut self, completion: Completion) {
        use OperationKind as Kind;
        self.done += 1;
        let done = self.done;
        let Completion { handle, key, token, kind, result, payload, last } = completion;
        match self.kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.kinds.push((kind, 1)),
        }
        let failed = || panic!("{kind:?} of {key} failed: {result:?}");
        match (kind, payload) {
            (Kind::Timer, _) if result.is_ok() => {
                if !self.retires(done) {
                    self.time(done);
                }
                let far = self.far[done as usize % self.far.len()];
                self.worker.cancel(far);
            }
            (Kind::Timer, _) => {
                let place = self.far.iter().position(|far| *far == token).expect("one of those far away");
                let after = PATIENCE * 1_000;
                self.far[place] = submit(&mut self.worker, Handle::NONE, Operation::Timer { after });
            }
            (Kind::Post, _) => self.post(done),
            (Kind::ReadAt, Payload::Buffer(buffer)) => {
                assert_eq!((result, buffer.len()), (Ok(4_096), 4_096));
                drop(buffer);
                self.read(done);
            }
            (Kind::Call, _) => {}
            (Kind::WriteAt, _) if key == HOSE => {}
            (Kind::WriteAt, Payload::Chain(chain)) => {
                assert_eq!(result, Ok(BALL_BYTES as u64));
                self.write(done, chain);
            }
            (Kind::Metadata, Payload::Metadata(_)) => {
                let file = self.file;
                // A disk is slow.
                let syncs = done.is_multiple_of(64);
                let sync = Operation::Sync { file, data_only: true };
                submit(&mut self.worker, file, if syncs { sync } else { Operation::Metadata { file } });
            }
            (Kind::Sync, _) => {
                let file = self.file;
                submit(&mut self.worker, file, Operation::Metadata { file });
            }
            (Kind::TransmitFile, Payload::Chain(head)) => {
                assert_eq!(result, Ok(20_000 + head.len()));
                self.transmit(head);
            }
            (Kind::ReceiveStream, Payload::Buffer(buffer)) if !last => match key {
                DRAIN => {}
                _ => {
                    let chain = cut(buffer.freeze());
                    submit(&mut self.worker, handle, Operation::Send { chain });
                }
            },
            (Kind::ReceiveStream, _) if key >= SERVER => {
                let stream = submit(&mut self.worker, handle, Operation::ReceiveStream);
                self.pairs[(key - SERVER) as usize].stream = stream;
            }
            (Kind::Send, _) => assert!(result.is_ok(), "{result:?}"),
            // Cancelled, or at the end that the other side's close is.
            (Kind::Receive, _) if key == CALLER => {}
            (Kind::Receive, Payload::Buffer(mut buffer)) => {
                let number = (key - CLIENT) as usize;
                let pair = &mut self.pairs[number];
                pair.missing -= buffer.len();
                let home = pair.missing == 0;
                buffer.clear();
                let limit = PATIENCE * 1_000;
                self.worker
                    .submit_with_limit(handle, Operation::Receive { buffer }, limit)
                    .unwrap_or_else(|rejected| panic!("{rejected}"));
                if home {
                    let pair = &mut self.pairs[number];
                    pair.retired = !self.warming_up && number.is_multiple_of(2);
                    if !pair.retired {
                        self.throw(number);
                    }
                }
            }
            (Kind::Connect, _) => {
                if result.is_err() {
                    failed();
                }
                self.caller = handle;
                self.hang_up_if_connected();
            }
            (Kind::AcceptStream, Payload::Accepted(called)) => {
                self.called = called;
                self.worker.set_key(called, CALLED).unwrap();
                self.hang_up_if_connected();
            }
            (Kind::Close, _) => {
                self.closed += 1;
                if self.closed == 2 {
                    self.call();
                }
            }
            _ => failed(),
        }
    }

    fn until(&mut self, done: u64, completions: &mut Vec<Completion>) {
        let mut last = (Instant::now(), self.done);
        while self.done < done {
            self.worker.wait(completions, Some(PATIENCE)).unwrap();
            for completion in completions.drain(..) {
                self.take(completion);
            }
            if self.done > last.1 {
                last = (Instant::now(), self.done);
            }
            assert!(last.0.elapsed() < PATIENCE, "nothing goes on after {} operations", self.done);
        }
    }
}

fn chain_of(mut buffer: completion_port::Buffer, bytes: usize) -> BufferChain {
    buffer.extend_from_slice(&[1; BALL_BYTES][..bytes]);
    cut(buffer.freeze())
}

/// As one chain of several pieces.
fn cut(slice: Slice) -> BufferChain {
    let mut chain = BufferChain::new();
    let piece = slice.len().div_ceil(PIECES);
    for number in 0..PIECES {
        let begin = (number * piece).min(slice.len());
        chain.push(slice.slice(begin..(begin + piece).min(slice.len()))).expect("room for both");
    }
    chain
}

fn allocates_nothing(backend: Backend, count: &'static Count) {
    let Some(mut run) = Run::start(backend, count) else { return };
    WATCHED.set(Some(count));
    let mut completions = Vec::with_capacity(run.port.configuration().batch);
    run.until(OPERATIONS / 5, &mut completions);
    run.warming_up = false;
    run.until(OPERATIONS / 4, &mut completions);

    run.kinds.clear();
    count.counts.store(true, Ordering::SeqCst);
    let (begin, started) = (run.done, Instant::now());
    run.until(begin + OPERATIONS, &mut completions);
    // A disk may take longer for one write than all else for everything.
    while !EVERYTHING.iter().all(|kind| run.kinds.iter().any(|(seen, _)| seen == kind)) {
        assert!(started.elapsed() < 3 * PATIENCE, "only {:?} came", run.kinds);
        run.until(run.done + 1, &mut completions);
    }
    count.counts.store(false, Ordering::SeqCst);

    let allocations = count.allocations.load(Ordering::SeqCst);
    let first = count.first.lock().unwrap().take().unwrap_or_default();
    assert_eq!(
        allocations,
        0,
        "allocations in {} operations on {}; the first at\n{first}",
        run.done - begin,
        backend.name()
    );
    WATCHED.set(None);
    let Run { worker, poster, port, .. } = run;
    poster.end();
    drop(worker);
    assert_eq!(port.buffers().in_use(), 0);
}

#[test]
fn iocp_allocates_nothing_in_steady_state() {
    static COUNT: Count = Count::new();
    allocates_nothing(Backend::Iocp, &COUNT);
}

#[test]
fn io_uring_allocates_nothing_in_steady_state() {
    static COUNT: Count = Count::new();
    allocates_nothing(Backend::IoUring, &COUNT);
}

#[test]
fn readiness_allocates_nothing_in_steady_state() {
    static COUNT: Count = Count::new();
    allocates_nothing(Backend::Readiness, &COUNT);
}
