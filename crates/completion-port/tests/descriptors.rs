//! A process that runs out of descriptors: an accept stream waits and goes on, a single accept says so, and no connection is lost. Alone
//! in its file: the limit is the whole process's.

#![cfg(unix)]

use completion_port::{Backend, Configuration, ErrorKind, Handle, Operation, Payload, Port, Token, Worker};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    collections::VecDeque,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Lets the process have no descriptor more than it has now.
fn allow_no_more() -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    // The next one would get the lowest number that is free.
    let next = File::open("/dev/null").unwrap().as_raw_fd();
    setrlimit(Resource::Nofile, Rlimit { current: Some(next as u64), ..before }).unwrap();
    before
}

struct Rig {
    worker: Worker,
    listener: Handle,
    address: SocketAddr,
    early: VecDeque<completion_port::Completion>,
}

impl Rig {
    fn new(backend: Backend) -> Option<Self> {
        let mut configuration = Configuration::default();
        configuration.backend = Some(backend);
        (configuration.queues, configuration.workers_per_queue) = (1, 1);
        let port = match Port::new(configuration) {
            Ok(port) => port,
            Err(error) if error.kind() == ErrorKind::Unsupported => return None,
            Err(error) => panic!("{error}"),
        };
        let mut worker = port.worker().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = worker.associate(listener, 0).unwrap();
        Some(Self { worker, listener, address, early: VecDeque::new() })
    }

    fn submit(&mut self, operation: Operation) -> Token {
        self.worker.submit(self.listener, operation).unwrap()
    }

    fn next(&mut self) -> completion_port::Completion {
        if self.early.is_empty() {
            let mut arrived = Vec::new();
            self.worker.wait(&mut arrived, Some(PATIENCE)).unwrap();
            self.early.extend(arrived);
        }
        self.early.pop_front().expect("something completes")
    }

    /// The next connection: its handle, and who is at its other end.
    fn accepted(&mut self) -> (Handle, SocketAddr) {
        let completion = self.next();
        let Payload::Accepted(handle) = completion.payload else { panic!("{completion:?}") };
        (handle, self.worker.peer_address(handle).unwrap())
    }

    fn expect_none(&mut self) {
        let mut arrived = Vec::new();
        self.worker.wait(&mut arrived, Some(Duration::from_millis(150))).unwrap();
        assert!(self.early.is_empty() && arrived.is_empty(), "{:?} {arrived:?}", self.early);
    }
}

/// A stream waits for a descriptor to be closed, by the port or by anybody else in the process.
fn a_stream_waits(backend: Backend) {
    let Some(mut rig) = Rig::new(backend) else { return };
    // The system has made the connections before anybody accepts them.
    let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(rig.address).unwrap()).collect();
    let spare = File::open("/dev/null").unwrap();
    let before = allow_no_more();
    let stream = rig.submit(Operation::AcceptStream);
    rig.expect_none();
    // One that the port does not hear of.
    drop(spare);
    let (first, one) = rig.accepted();
    rig.expect_none();
    // And one of the port's own.
    rig.worker.close(first);
    let (_, other) = rig.accepted();
    rig.expect_none();
    setrlimit(Resource::Nofile, before).unwrap();
    let mut peers: Vec<_> = (0..3).map(|_| rig.accepted().1).chain([one, other]).collect();
    let mut expected: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
    peers.sort();
    expected.sort();
    assert_eq!(peers, expected, "on {}", backend.name());
    rig.worker.cancel(stream);
    assert_eq!(rig.next().result.unwrap_err().kind(), ErrorKind::Cancelled);
}

/// A single accept ends with the named error, and the connection waits in the backlog.
fn a_single_accept_says_so(backend: Backend) {
    let Some(mut rig) = Rig::new(backend) else { return };
    let client = TcpStream::connect(rig.address).unwrap();
    let before = allow_no_more();
    for _ in 0..2 {
        let token = rig.submit(Operation::Accept);
        let completion = rig.next();
        let outcome = (completion.token, completion.result.unwrap_err().kind());
        assert_eq!(outcome, (token, ErrorKind::DescriptorsExhausted), "on {}", backend.name());
    }
    setrlimit(Resource::Nofile, before).unwrap();
    rig.submit(Operation::Accept);
    assert_eq!(rig.accepted().1, client.local_addr().unwrap());
}

/// No ring can be had: the backend says why, and the port takes another.
fn no_ring_without_descriptors() {
    let before = allow_no_more();
    let lines = Port::backends(None);
    setrlimit(Resource::Nofile, before).unwrap();
    if cfg!(target_os = "linux") && Port::backends(None)[0].starts_with("io-uring: chosen") {
        assert!(lines[0].contains("not available") && lines[0].contains("ulimit -n"), "{lines:?}");
    }
}

#[test]
fn a_lack_of_descriptors_loses_no_connection() {
    for backend in [Backend::IoUring, Backend::Readiness] {
        a_stream_waits(backend);
        a_single_accept_says_so(backend);
    }
    no_ring_without_descriptors();
}
