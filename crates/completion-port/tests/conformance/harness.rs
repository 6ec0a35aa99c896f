//! The rig that every case runs on.

use completion_port::{
    Backend, BufferChain, BufferClass, Completion, Configuration, ErrorKind, Handle, Operation,
    OperationKind, Port, Slice, Token, Worker,
};
use std::{
    collections::VecDeque,
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// How long a case waits for what has to come. Only a broken backend ever waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a case looks for what must not come.
pub(crate) const GLANCE: Duration = Duration::from_millis(50);

/// A port with one worker, and the completions that came before their turn.
pub(crate) struct Rig {
    pub(crate) port: Port,
    pub(crate) worker: Worker,
    early: VecDeque<Completion>,
}

/// Small limits, so that a case can reach them.
pub(crate) fn configuration(backend: Backend) -> Configuration {
    let mut configuration = Configuration::default();
    configuration.backend = Some(backend);
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

/// The backends that work here.
pub(crate) fn available() -> Vec<Backend> {
    let all = [Backend::Iocp, Backend::IoUring, Backend::Readiness];
    let usable = all.into_iter().filter(|&backend| match Port::new(configuration(backend)) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(
                error.kind(),
                ErrorKind::Unsupported,
                "{} cannot make a port: {error}",
                backend.name()
            );
            false
        }
    });
    let usable: Vec<Backend> = usable.collect();
    assert!(!usable.is_empty(), "no backend works here: {:?}", Port::backends(None));
    usable
}

/// Runs a case on every backend, and checks afterwards that nothing was left in flight and every buffer came home.
pub(crate) fn on_each_backend(case: impl Fn(&mut Rig)) {
    on_each_backend_with(|_| {}, case);
}

/// As [`on_each_backend`], with limits of the case's own.
pub(crate) fn on_each_backend_with(adjust: impl Fn(&mut Configuration), case: impl Fn(&mut Rig)) {
    for backend in available() {
        let mut configuration = configuration(backend);
        adjust(&mut configuration);
        let mut rig = Rig::new(configuration);
        case(&mut rig);
        rig.finish();
    }
}

impl Rig {
    pub(crate) fn new(configuration: Configuration) -> Self {
        let port = Port::new(configuration).expect("a port with the limits of the case");
        let worker = port.worker().expect("the only worker of the port");
        Self { port, worker, early: VecDeque::new() }
    }

    /// Drops the worker, and checks that nothing was left in flight and every buffer came home.
    pub(crate) fn finish(self) -> Port {
        let Self { port, worker, early } = self;
        drop((worker, early));
        let report = port.shutdown(Duration::ZERO);
        assert_eq!(report.operations_left, 0, "on {}: {report}", port.backend().name());
        assert_eq!(port.buffers().in_use(), 0, "buffers are missing on {}", port.backend().name());
        port
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
        let mut arrived = Vec::new();
        let until = Instant::now() + PATIENCE;
        while arrived.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing completed for {PATIENCE:?}; waiting: {:?}", self.early);
            self.worker.wait(&mut arrived, Some(left)).expect("the queue works");
        }
        self.early.extend(arrived);
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
    pub(crate) fn pair(&mut self) -> (Handle, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let peer = connect(listener.local_addr().expect("an address"));
        let (stream, _) = listener.accept().expect("the connection");
        let handle = self.worker.associate(stream, 7).expect("room for a handle");
        (handle, peer)
    }

    /// A listening socket of the port.
    pub(crate) fn listener(&mut self) -> (Handle, SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        (self.worker.associate(listener, 1).expect("room for a handle"), address)
    }
}

/// A plain socket whose reads and writes end by themselves if nothing comes.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit for reads");
    stream.set_write_timeout(Some(PATIENCE)).expect("a limit for writes");
    stream
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
