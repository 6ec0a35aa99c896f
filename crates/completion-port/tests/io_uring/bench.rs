//! A worker of a ring, and what the tests do with it again and again.

use completion_port::{
    Backend, Buffer, BufferClass, Completion, Configuration, ErrorKind, Handle, Operation, Payload, Port,
    Token, Worker,
};
use std::{
    collections::VecDeque,
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// Longer than anything here takes; reached only when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn small() -> Configuration {
    let mut configuration = Configuration::default();
    configuration.backend = Some(Backend::IoUring);
    configuration.queues = 1;
    configuration.buffers =
        vec![BufferClass { capacity: 4_096, count: 64 }, BufferClass { capacity: 65_536, count: 16 }];
    configuration.receive_buffers = 16;
    configuration
}

/// A worker, and the completions that a test has not looked at yet.
pub(crate) struct Bench {
    pub(crate) worker: Worker,
    pub(crate) seen: VecDeque<Completion>,
}

/// None where io_uring is forbidden: then there is nothing to test.
pub(crate) fn bench(configuration: Configuration) -> Option<Bench> {
    match Port::new(configuration) {
        Ok(port) => Some(Bench { worker: port.worker().unwrap(), seen: VecDeque::new() }),
        Err(error) if error.kind() == ErrorKind::Unsupported => None,
        Err(error) => panic!("{error}"),
    }
}

impl Bench {
    pub(crate) fn step(&mut self, timeout: Duration) {
        let mut completions = Vec::new();
        self.worker.wait(&mut completions, Some(timeout)).unwrap();
        self.seen.extend(completions);
    }

    /// The next completion of `token`.
    pub(crate) fn next(&mut self, token: Token) -> Completion {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = self.seen.iter().position(|completion| completion.token == token) {
                return self.seen.remove(place).unwrap();
            }
            assert!(Instant::now() < until, "no completion of {token:?} came; others: {:?}", self.seen);
            self.step(Duration::from_millis(200));
        }
    }

    pub(crate) fn run(&mut self, handle: Handle, operation: Operation) -> Completion {
        let token = self.worker.submit(handle, operation).unwrap();
        self.next(token)
    }

    /// A listening socket, and where it listens.
    pub(crate) fn listener(&mut self) -> (Handle, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (self.worker.associate(listener, 1).unwrap(), address)
    }

    /// A connection: our handle, and the peer's plain stream.
    pub(crate) fn connection(&mut self) -> (Handle, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        (self.worker.associate(ours, 2).unwrap(), peer)
    }

    pub(crate) fn buffer(&self, capacity: usize) -> Buffer {
        self.worker.buffers().acquire(capacity).unwrap()
    }

    pub(crate) fn filled(&self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.buffer(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer
    }
}

/// A connection that takes little, so that a long send stays in flight.
pub(crate) fn narrow_connection(bench: &mut Bench) -> (Handle, TcpStream) {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.set_recv_buffer_size(4_096).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(1).unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap().as_socket().unwrap()).unwrap();
    socket2::SockRef::from(&ours).set_send_buffer_size(4_096).unwrap();
    let (peer, _) = listener.accept().unwrap();
    (bench.worker.associate(ours, 3).unwrap(), peer.into())
}

pub(crate) fn accepted(completion: Completion) -> Handle {
    match completion.payload {
        Payload::Accepted(handle) => handle,
        _ => panic!("not a connection: {completion:?}"),
    }
}

pub(crate) fn error(completion: &Completion) -> ErrorKind {
    completion.result.expect_err("it should have failed").kind()
}

/// Bytes that show where they stand.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()[0]).collect()
}

/// A file of which the system does not tell whether it is in memory: it has to be read into a buffer.
pub(crate) fn unknown_file() -> File {
    File::open("/proc/version").unwrap()
}
