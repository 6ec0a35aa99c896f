//! The rig that the cases run on.

use completion_port::{
    Backend, BufferChain, BufferClass, Buffers, Completion, Configuration, ErrorKind, Handle, Operation,
    Payload, Port, Slice, Token, Worker,
};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// Only a broken engine waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn small() -> Configuration {
    let mut configuration = Configuration::default();
    configuration.backend = Some(Backend::Readiness);
    configuration.queues = 1;
    configuration.operations = 1_024;
    configuration.send_bytes = 1 << 30;
    configuration.handles = 512;
    configuration.batch = 64;
    configuration.buffers =
        vec![BufferClass { capacity: 4_096, count: 256 }, BufferClass { capacity: 65_536, count: 32 }];
    configuration
}

pub(crate) struct Rig {
    pub(crate) port: Port,
    pub(crate) worker: Worker,
    pub(crate) arrived: Vec<Completion>,
    pub(crate) waits: usize,
}

impl Rig {
    pub(crate) fn new(configuration: Configuration) -> Self {
        let port = Port::new(configuration).expect("readiness works on every Unix");
        let worker = port.worker().expect("the only worker");
        Self { port, worker, arrived: Vec::new(), waits: 0 }
    }

    pub(crate) fn wait(&mut self) -> Vec<Completion> {
        let until = Instant::now() + PATIENCE;
        while self.arrived.is_empty() {
            assert!(Instant::now() < until, "nothing came");
            self.waits += 1;
            self.worker.wait(&mut self.arrived, Some(PATIENCE)).expect("the queue works");
        }
        std::mem::take(&mut self.arrived)
    }

    pub(crate) fn next_of(&mut self, token: Token) -> Completion {
        loop {
            if let Some(place) = self.arrived.iter().position(|completion| completion.token == token) {
                return self.arrived.remove(place);
            }
            self.waits += 1;
            let before = self.arrived.len();
            self.worker.wait(&mut self.arrived, Some(PATIENCE)).expect("the queue works");
            assert!(self.arrived.len() > before, "nothing came, but {:?}", self.arrived);
        }
    }

    #[track_caller]
    pub(crate) fn expect_silence(&mut self) {
        self.worker.wait(&mut self.arrived, Some(Duration::from_millis(30))).expect("the queue works");
        assert!(self.arrived.is_empty(), "{:?} came", self.arrived);
    }

    #[track_caller]
    pub(crate) fn submit(&mut self, handle: Handle, operation: Operation) -> Token {
        self.worker.submit(handle, operation).expect("the operation is accepted")
    }

    #[track_caller]
    pub(crate) fn run(&mut self, handle: Handle, operation: Operation) -> Completion {
        let token = self.submit(handle, operation);
        self.next_of(token)
    }

    #[track_caller]
    pub(crate) fn close(&mut self, handle: Handle) {
        assert_eq!(self.run(handle, Operation::Close).result, Ok(0));
    }

    pub(crate) fn pair(&mut self) -> (Handle, TcpStream) {
        let (ours, theirs) = connected();
        (self.worker.associate(ours, 0).expect("room for a handle"), theirs)
    }

    pub(crate) fn listener(&mut self) -> (Handle, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (self.worker.associate(listener, 0).expect("room for a handle"), address)
    }

    /// One look at the poller, without sleeping.
    pub(crate) fn expect_silence_for_a_turn(&mut self) {
        self.worker.wait(&mut self.arrived, Some(Duration::ZERO)).unwrap();
        assert!(self.arrived.is_empty(), "{:?} came", self.arrived);
    }

    /// Leaves, and checks that everything came home.
    pub(crate) fn end(self) {
        let Self { port, worker, arrived, .. } = self;
        drop((worker, arrived));
        let report = port.shutdown(Duration::ZERO);
        assert!(report.operations_left == 0 && report.buffers_left == 0, "{report}");
    }
}

pub(crate) fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let theirs = client(listener.local_addr().unwrap());
    (listener.accept().unwrap().0, theirs)
}

pub(crate) fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|place| (place.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect()
}

pub(crate) fn bytes(bytes: &[u8]) -> Slice {
    let mut buffer = Buffers::new(&[], bytes.len()).unwrap().allocate(bytes.len()).unwrap();
    buffer.extend_from_slice(bytes);
    buffer.freeze()
}

#[track_caller]
pub(crate) fn failure(completion: &Completion) -> ErrorKind {
    completion.result.expect_err("it failed").kind()
}

pub(crate) fn accepted(completion: Completion) -> Handle {
    match completion.payload {
        Payload::Accepted(handle) => handle,
        other => panic!("no connection, but {other:?}"),
    }
}

/// More than loopback takes without a reader.
pub(crate) fn fill() -> BufferChain {
    let mut chain = BufferChain::new();
    let block = bytes(&vec![1; 1 << 20]);
    while chain.push(block.clone()).is_ok() {}
    chain
}
