//! The io_uring engine at its edges: pressure, cancels, drops. What all backends share is in the conformance suite.
#![cfg(target_os = "linux")]

use completion_port::{
    Backend, Buffer, BufferChain, BufferClass, Completion, Configuration, ErrorKind, Handle, OpenOptions,
    Operation, OperationKind, Packet, Payload, Port, Slice, Token, Worker,
};
use std::{
    collections::VecDeque,
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

/// Longer than anything here takes; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

fn small() -> Configuration {
    let mut configuration = Configuration::default();
    configuration.backend = Some(Backend::IoUring);
    configuration.queues = 1;
    configuration.buffers =
        vec![BufferClass { capacity: 4_096, count: 64 }, BufferClass { capacity: 65_536, count: 16 }];
    configuration.receive_buffers = 16;
    configuration
}

/// A worker, and the completions that a test has not looked at yet.
struct Bench {
    worker: Worker,
    seen: VecDeque<Completion>,
}

/// None where io_uring is forbidden: then there is nothing to test.
fn bench(configuration: Configuration) -> Option<Bench> {
    match Port::new(configuration) {
        Ok(port) => Some(Bench { worker: port.worker().unwrap(), seen: VecDeque::new() }),
        Err(error) if error.kind() == ErrorKind::Unsupported => None,
        Err(error) => panic!("{error}"),
    }
}

impl Bench {
    fn step(&mut self, timeout: Duration) {
        let mut completions = Vec::new();
        self.worker.wait(&mut completions, Some(timeout)).unwrap();
        self.seen.extend(completions);
    }

    /// The next completion of `token`.
    fn next(&mut self, token: Token) -> Completion {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = self.seen.iter().position(|completion| completion.token == token) {
                return self.seen.remove(place).unwrap();
            }
            assert!(Instant::now() < until, "no completion of {token:?} came; others: {:?}", self.seen);
            self.step(Duration::from_millis(200));
        }
    }

    fn run(&mut self, handle: Handle, operation: Operation) -> Completion {
        let token = self.worker.submit(handle, operation).unwrap();
        self.next(token)
    }

    /// A listening socket, and where it listens.
    fn listener(&mut self) -> (Handle, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (self.worker.associate(listener, 1).unwrap(), address)
    }

    /// A connection: our handle, and the peer's plain stream.
    fn connection(&mut self) -> (Handle, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        (self.worker.associate(ours, 2).unwrap(), peer)
    }

    fn buffer(&self, capacity: usize) -> Buffer {
        self.worker.buffers().acquire(capacity).unwrap()
    }

    fn filled(&self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.buffer(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer
    }
}

fn accepted(completion: Completion) -> Handle {
    match completion.payload {
        Payload::Accepted(handle) => handle,
        _ => panic!("not a connection: {completion:?}"),
    }
}

fn error(completion: &Completion) -> ErrorKind {
    completion.result.expect_err("it should have failed").kind()
}

#[test]
fn accepts_receives_sends_and_closes() {
    let Some(mut bench) = bench(small()) else { return };
    let (listener, address) = bench.listener();
    let accepts = bench.worker.submit(listener, Operation::AcceptStream).unwrap();
    for round in 0..3u8 {
        let mut peer = TcpStream::connect(address).unwrap();
        let connection = accepted(bench.next(accepts));
        bench.worker.set_key(connection, 70).unwrap();
        let receives = bench.worker.submit(connection, Operation::ReceiveStream).unwrap();
        peer.write_all(&[round; 10]).unwrap();
        let completion = bench.next(receives);
        assert_eq!((completion.key, completion.result.unwrap(), completion.last), (70, 10, false));
        let mut chain = BufferChain::from(completion.payload.into_buffer().unwrap());
        chain.push(Slice::from_static(b"and more")).unwrap();
        let sent = bench.run(connection, Operation::Send { chain });
        assert_eq!(sent.result.unwrap(), 18);
        drop(sent);
        assert_eq!(bench.run(connection, Operation::Disconnect).result.unwrap(), 0);
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [&[round; 10][..], b"and more"].concat());
        drop(peer);
        let end = bench.next(receives);
        assert_eq!((end.result.unwrap(), end.last), (0, true));
        assert_eq!(bench.run(connection, Operation::Close).result.unwrap(), 0);
    }
    bench.worker.cancel(accepts);
    let end = bench.next(accepts);
    assert_eq!((error(&end), end.last), (ErrorKind::Cancelled, true));
}

#[test]
fn other_threads_wake_a_sleeping_worker() {
    let Some(mut bench) = bench(small()) else { return };
    let port = bench.worker.port();
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let port = port.clone();
            std::thread::spawn(move || {
                for value in 0..100 {
                    port.post(0, Packet { key: thread, value, object: None }).unwrap();
                    std::thread::yield_now();
                }
            })
        })
        .collect();
    let mut values = [0u64; 4];
    while values != [100; 4] {
        let mut completions = Vec::new();
        assert!(bench.worker.wait(&mut completions, Some(PATIENCE)).unwrap() > 0, "the worker was not woken");
        for completion in completions {
            let Payload::Packet(packet) = completion.payload else { panic!() };
            assert_eq!(packet.value, values[packet.key as usize]);
            values[packet.key as usize] += 1;
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
