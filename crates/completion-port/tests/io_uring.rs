//! The io_uring engine at its edges: pressure, cancels, drops. What all backends share is in the conformance suite.
#![cfg(target_os = "linux")]

use completion_port::{
    Backend, Buffer, BufferChain, BufferClass, Completion, Configuration, ErrorKind, FileKind, Handle,
    OpenOptions, Operation, Packet, Payload, Port, Slice, Token, Worker,
};
use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    net::{SocketAddr, TcpListener, TcpStream},
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
    fn listener(&mut self) -> (Handle, SocketAddr) {
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

/// Bytes that show where they stand.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()[0]).collect()
}

#[test]
fn streams_that_find_no_buffer_wait_and_lose_nothing() {
    let mut configuration = small();
    configuration.buffers = vec![BufferClass { capacity: 4_096, count: 4 }];
    configuration.receive_bytes = 100;
    let Some(mut bench) = bench(configuration) else { return };
    let mut streams = HashMap::new();
    let mut peers = Vec::new();
    for number in 0..20u8 {
        let (handle, mut peer) = bench.connection();
        streams.insert(bench.worker.submit(handle, Operation::ReceiveStream).unwrap(), (number, Vec::new()));
        peer.write_all(&[number; 1_000]).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        peers.push(peer);
    }
    // Holds what comes until the pool is empty, then gives all of it back at once; half the time from another thread.
    let mut held = Vec::new();
    let mut ended = 0;
    let until = Instant::now() + PATIENCE;
    while ended < 20 {
        assert!(Instant::now() < until, "{ended} streams ended, {} buffers are held", held.len());
        if held.len() == 4 || (bench.seen.is_empty() && bench.worker.buffers().in_use() == held.len()) {
            let returned = std::mem::take(&mut held);
            match ended % 2 {
                0 => drop(returned),
                _ => std::thread::spawn(move || drop::<Vec<Buffer>>(returned)).join().unwrap(),
            }
        }
        bench.step(Duration::from_millis(100));
        for completion in std::mem::take(&mut bench.seen) {
            let (number, received) = streams.get_mut(&completion.token).unwrap();
            ended += usize::from(completion.last);
            assert_eq!(completion.last, completion.result.unwrap() == 0);
            if let Payload::Buffer(buffer) = completion.payload {
                assert!(buffer.iter().all(|byte| byte == number) && buffer.capacity() == 100);
                received.extend_from_slice(&buffer);
                held.push(buffer);
            }
        }
        // A test that waits for more than it holds would wait for ever.
        if bench.worker.buffers().in_use() < 4 {
            held.clear();
        }
    }
    assert!(streams.values().all(|(_, received)| received.len() == 1_000));
}

#[test]
fn a_full_pool_of_the_program_s_own_delays_a_stream_until_one_returns() {
    let mut configuration = small();
    configuration.buffers = vec![BufferClass { capacity: 4_096, count: 3 }];
    let Some(mut bench) = bench(configuration) else { return };
    let held: Vec<Buffer> = (0..3).map(|_| bench.buffer(10)).collect();
    let (handle, mut peer) = bench.connection();
    let token = bench.worker.submit(handle, Operation::ReceiveStream).unwrap();
    peer.write_all(b"late").unwrap();
    bench.step(Duration::from_millis(20));
    assert!(bench.seen.is_empty());
    let returning = std::thread::spawn(move || drop(held));
    let completion = bench.next(token);
    returning.join().unwrap();
    assert_eq!(&completion.payload.into_buffer().unwrap()[..], b"late");
    // And a stream that waits for a buffer can be cancelled.
    let held: Vec<Buffer> = std::iter::from_fn(|| bench.worker.buffers().acquire(10).ok()).collect();
    peer.write_all(&[1; 20_000]).unwrap();
    while bench.worker.buffers().in_use() > held.len() + bench.seen.len() {
        bench.step(Duration::from_millis(20));
    }
    bench.worker.cancel(token);
    while !bench.next(token).last {}
}

#[test]
fn connections_beyond_the_limit_of_handles_wait_for_a_close() {
    let mut configuration = small();
    configuration.handles = 5;
    let Some(mut bench) = bench(configuration) else { return };
    let (listener, address) = bench.listener();
    let accepts = bench.worker.submit(listener, Operation::AcceptStream).unwrap();
    let mut peers: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.write_all(&[number as u8]).unwrap();
    }
    let mut served = [false; 40];
    for round in 0..10 {
        let connections: Vec<Handle> = (0..4).map(|_| accepted(bench.next(accepts))).collect();
        bench.step(Duration::from_millis(1));
        assert!(bench.seen.is_empty(), "round {round}: more connections than handles");
        for connection in connections {
            let buffer = bench.buffer(1);
            let received =
                bench.run(connection, Operation::Receive { buffer }).payload.into_buffer().unwrap();
            assert!(!std::mem::replace(&mut served[received[0] as usize], true));
            bench.worker.close(connection);
        }
    }
    assert!(served.iter().all(|served| *served));
    bench.worker.cancel(accepts);
    assert_eq!(error(&bench.next(accepts)), ErrorKind::Cancelled);
}

#[test]
fn a_burst_on_a_stream_with_room_is_accepted_beyond_the_handles_without_loss() {
    let mut configuration = small();
    configuration.handles = 80;
    let Some(mut bench) = bench(configuration) else { return };
    let (listener, address) = bench.listener();
    // The connections are there before the multishot begins, so that it takes more of them than handles fit.
    let peers: Vec<TcpStream> = (0..120).map(|_| TcpStream::connect(address).unwrap()).collect();
    let accepts = bench.worker.submit(listener, Operation::AcceptStream).unwrap();
    let mut connections = Vec::new();
    for _ in 0..79 {
        connections.push(accepted(bench.next(accepts)));
    }
    for _ in 79..120 {
        bench.worker.close(connections.pop().unwrap());
        connections.insert(0, accepted(bench.next(accepts)));
    }
    drop(peers);
    let close = bench.worker.submit(listener, Operation::Close).unwrap();
    assert_eq!(error(&bench.next(accepts)), ErrorKind::Cancelled);
    assert_eq!(bench.next(close).result.unwrap(), 0);
}

/// A listener whose backlog is full, so that connecting to it takes for ever.
fn full_listener() -> (socket2::Socket, Vec<TcpStream>, SocketAddr) {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        fillers.push(filler);
    }
    (listener, fillers, address)
}

/// A connection that takes little, so that a long send stays in flight.
fn narrow_connection(bench: &mut Bench) -> (Handle, TcpStream) {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.set_recv_buffer_size(4_096).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(1).unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap().as_socket().unwrap()).unwrap();
    socket2::SockRef::from(&ours).set_send_buffer_size(4_096).unwrap();
    let (peer, _) = listener.accept().unwrap();
    (bench.worker.associate(ours, 3).unwrap(), peer.into())
}

/// Everything that can be in flight, on handles of its own. What it returns keeps the operations from ending by themselves.
fn everything_in_flight(bench: &mut Bench) -> (Vec<Token>, Vec<Handle>, Box<dyn std::any::Any>) {
    let full = full_listener();
    let outgoing = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let outgoing = bench.worker.associate(outgoing, 0).unwrap();
    let (listener, _) = bench.listener();
    let (single, _) = bench.listener();
    let (stream, stream_peer) = bench.connection();
    let (receiver, receiver_peer) = bench.connection();
    let (sender, sender_peer) = narrow_connection(bench);
    let (transmitter, transmitter_peer) = narrow_connection(bench);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&pattern(1 << 20)).unwrap();
    let file = bench.worker.associate(file, 0).unwrap();
    let large = Slice::from(bench.filled(&[7; 65_536]));
    let long = |pieces: usize| {
        let mut chain = BufferChain::new();
        (0..pieces).for_each(|_| chain.push(large.clone()).unwrap());
        chain
    };
    let (buffer, other) = (bench.buffer(100), bench.buffer(65_536));
    let operations = [
        (outgoing, Operation::Connect { address: full.2.into(), first: BufferChain::new() }),
        (listener, Operation::AcceptStream),
        (single, Operation::Accept),
        (stream, Operation::ReceiveStream),
        (receiver, Operation::Receive { buffer }),
        (sender, Operation::Send { chain: long(64) }),
        (sender, Operation::Send { chain: long(1) }),
        (transmitter, Operation::TransmitFile { head: long(3), file, offset: 5, length: 1_000_000 }),
        (receiver, Operation::Timer { after: Duration::from_secs(3_600) }),
        (file, Operation::WriteAt { file, offset: 3, chain: long(2) }),
        (file, Operation::ReadAt { file, offset: 0, buffer: other }),
        (file, Operation::Sync { file, data_only: true }),
    ];
    let submit = |(handle, operation)| bench.worker.submit(handle, operation).unwrap();
    let tokens = operations.map(submit).to_vec();
    let handles = vec![outgoing, listener, single, stream, receiver, sender, transmitter, file];
    (tokens, handles, Box::new((full, stream_peer, receiver_peer, sender_peer, transmitter_peer)))
}

/// Each token ends once, cancelled or done.
fn expect_ends(bench: &mut Bench, mut tokens: Vec<Token>) {
    while let Some(token) = tokens.pop() {
        let completion = bench.next(token);
        if !completion.last {
            tokens.push(token);
            continue;
        }
        match completion.result {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled, "{completion:?}"),
        }
    }
}

#[test]
fn everything_can_be_cancelled_before_and_after_it_reached_the_kernel() {
    for steps in [0, 1, 3] {
        let Some(mut bench) = bench(small()) else { return };
        let (tokens, _, _peers) = everything_in_flight(&mut bench);
        (0..steps).for_each(|_| bench.step(Duration::ZERO));
        tokens.iter().for_each(|token| bench.worker.cancel(*token));
        expect_ends(&mut bench, tokens);
        let port = bench.worker.port();
        drop(bench);
        assert_eq!(port.buffers().in_use(), 0);
    }
}

#[test]
fn closing_ends_everything_in_flight_first() {
    for steps in [0, 2] {
        let Some(mut bench) = bench(small()) else { return };
        let (tokens, handles, _peers) = everything_in_flight(&mut bench);
        (0..steps).for_each(|_| bench.step(Duration::ZERO));
        let mut closes: Vec<Token> = Vec::new();
        for handle in handles {
            closes.push(bench.worker.submit(handle, Operation::Close).unwrap());
        }
        expect_ends(&mut bench, tokens);
        for close in closes {
            assert_eq!(bench.next(close).result.unwrap(), 0);
        }
        assert!(bench.seen.is_empty(), "{:?}", bench.seen);
    }
}

#[test]
fn a_worker_that_leaves_brings_everything_home() {
    for steps in [0, 2] {
        let Some(mut bench) = bench(small()) else { return };
        let (_, _, _peers) = everything_in_flight(&mut bench);
        (0..steps).for_each(|_| bench.step(Duration::ZERO));
        let port = bench.worker.port();
        drop(bench);
        assert_eq!(port.buffers().in_use(), 0);
        let report = port.shutdown(Duration::ZERO);
        assert_eq!((report.operations_left, report.workers_left), (0, 0));
    }
}

#[test]
fn more_entries_than_the_submission_queue_holds_all_arrive() {
    let Some(mut bench) = bench(small()) else { return };
    let (handle, mut peer) = bench.connection();
    let file = tempfile::tempfile().unwrap();
    let file = bench.worker.associate(file, 0).unwrap();
    let writes: Vec<Token> = (0..3_000u64)
        .map(|place| {
            let chain = BufferChain::from(Slice::from_static(b"12345678"));
            bench.worker.submit(handle, Operation::WriteAt { file, offset: place * 8, chain }).unwrap()
        })
        .collect();
    let buffer = bench.buffer(10);
    let receive = bench.worker.submit(handle, Operation::Receive { buffer }).unwrap();
    peer.write_all(b"x").unwrap();
    for token in writes {
        assert_eq!(bench.next(token).result.unwrap(), 8);
    }
    assert_eq!(bench.next(receive).result.unwrap(), 1);
    let Payload::Metadata(metadata) = bench.run(file, Operation::Metadata { file }).payload else { panic!() };
    assert_eq!((metadata.length, metadata.kind), (24_000, FileKind::File));
}

#[test]
fn files_beyond_4_gib_are_written_and_read() {
    let Some(mut bench) = bench(small()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let options = OpenOptions::new().read(true).write(true).create(true);
    let opened = bench.run(Handle::NONE, Operation::Open { directory: None, path: path.clone(), options });
    let Payload::Opened { file, metadata } = opened.payload else { panic!("{opened:?}") };
    assert_eq!(metadata.length, 0);
    let offset = (5 << 30) + 3;
    let mut chain = BufferChain::from(bench.filled(b"far "));
    chain.push(bench.filled(b"away")).unwrap();
    assert_eq!(bench.run(file, Operation::WriteAt { file, offset, chain }).result.unwrap(), 8);
    assert_eq!(bench.run(file, Operation::Sync { file, data_only: false }).result.unwrap(), 0);
    for read_ahead in [false, true] {
        if !read_ahead {
            // Cold, so that the read has to go through the ring.
            rustix::fs::fadvise(File::open(&path).unwrap(), 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        let buffer = bench.buffer(100);
        let read = bench.run(file, Operation::ReadAt { file, offset: offset - 2, buffer });
        assert_eq!(read.result.unwrap(), 10);
        assert_eq!(&read.payload.into_buffer().unwrap()[..], b"\0\0far away");
    }
    let buffer = bench.buffer(100);
    let beyond = bench.run(file, Operation::ReadAt { file, offset: 6 << 30, buffer });
    assert_eq!(beyond.result.unwrap(), 0);
    let warm = bench
        .run(Handle::NONE, Operation::Open { directory: None, path, options: OpenOptions::new().read(true) });
    let Payload::Opened { file: again, metadata } = warm.payload else { panic!("{warm:?}") };
    assert_eq!(metadata.length, offset + 8);
    // Not opened for writing.
    let chain = BufferChain::from(bench.filled(b"no"));
    assert!(bench.run(again, Operation::WriteAt { file: again, offset: 0, chain }).result.is_err());
}

#[test]
fn a_large_read_fills_its_buffer_cold_and_warm() {
    let mut configuration = small();
    configuration.heap_bytes = 8 << 20;
    configuration.inline_budget = 2;
    let Some(mut bench) = bench(configuration) else { return };
    let mut plain = tempfile::tempfile().unwrap();
    let content = pattern(4 << 20);
    plain.write_all(&content).unwrap();
    plain.sync_all().unwrap();
    rustix::fs::fadvise(&plain, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let file = bench.worker.associate(plain, 0).unwrap();
    for _ in 0..5 {
        let mut buffer = bench.worker.buffers().allocate(4 << 20).unwrap();
        buffer.extend_from_slice(b"in front");
        let read = bench.run(file, Operation::ReadAt { file, offset: 1, buffer });
        assert_eq!(read.result.unwrap(), (4 << 20) - 8);
        let buffer = read.payload.into_buffer().unwrap();
        assert!(&buffer[..8] == b"in front" && buffer[8..] == content[1..content.len() - 7]);
    }
}

#[test]
fn appends_land_behind_each_other() {
    let Some(mut bench) = bench(small()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let options = OpenOptions::new().append(true).create_new(true);
    let opened = bench.run(Handle::NONE, Operation::Open { directory: None, path: path.clone(), options });
    let Payload::Opened { file, .. } = opened.payload else { panic!("{opened:?}") };
    for line in [&b"one\n"[..], b"two\n"] {
        let mut chain = BufferChain::from(bench.filled(line));
        chain.push(bench.filled(b"-\n")).unwrap();
        assert_eq!(bench.run(file, Operation::Append { file, chain }).result.unwrap(), 6);
    }
    assert_eq!(std::fs::read(path).unwrap(), b"one\n-\ntwo\n-\n");
}

#[test]
fn a_file_goes_out_behind_its_head_in_slices() {
    let mut configuration = small();
    configuration.transmit_bytes = 10_000;
    let Some(mut bench) = bench(configuration) else { return };
    let content = pattern(1 << 20);
    let mut plain = tempfile::tempfile().unwrap();
    plain.write_all(&content).unwrap();
    let file = bench.worker.associate(plain, 0).unwrap();
    for (narrow, head, offset, length) in [
        (false, &b"head"[..], 0, 1 << 20),
        (true, b"head", 77, 500_000),
        (true, b"", 0, 30_000),
        (false, b"only", 9, 0),
    ] {
        let (handle, mut peer) = if narrow { narrow_connection(&mut bench) } else { bench.connection() };
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all)
        });
        let chain = if head.is_empty() { BufferChain::new() } else { BufferChain::from(bench.filled(head)) };
        let operation = Operation::TransmitFile { head: chain, file, offset, length };
        let completion = bench.run(handle, operation);
        assert_eq!(completion.result.unwrap(), head.len() as u64 + length);
        assert_eq!(completion.payload.into_chain().unwrap().len(), head.len() as u64);
        drop(bench.run(handle, Operation::Close));
        let range = &content[offset as usize..][..length as usize];
        assert!(reader.join().unwrap().unwrap() == [head, range].concat());
    }
    let (handle, _peer) = bench.connection();
    let operation =
        Operation::TransmitFile { head: BufferChain::new(), file, offset: (1 << 20) - 5, length: 6 };
    assert!(bench.run(handle, operation).result.is_err(), "the file is shorter than promised");
    bench.worker.close(file);
    bench.worker.close(handle);
    bench.step(Duration::ZERO);
    assert_eq!(bench.worker.buffers().in_use(), 0);
}

/// A file of which the system does not tell whether it is in memory: it has to be read into a buffer.
fn unknown_file() -> File {
    File::open("/proc/version").unwrap()
}

#[test]
fn a_transmit_file_waits_for_a_buffer() {
    let mut configuration = small();
    configuration.buffers = vec![BufferClass { capacity: 4_096, count: 1 }];
    let Some(mut bench) = bench(configuration) else { return };
    let file = bench.worker.associate(unknown_file(), 0).unwrap();
    let (handle, mut peer) = bench.connection();
    let held = bench.buffer(1);
    let operation = || Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: 13 };
    let cancelled = bench.worker.submit(handle, operation()).unwrap();
    bench.step(Duration::from_millis(10));
    assert!(bench.seen.is_empty());
    bench.worker.cancel(cancelled);
    assert_eq!(error(&bench.next(cancelled)), ErrorKind::Cancelled);
    let token = bench.worker.submit(handle, operation()).unwrap();
    bench.step(Duration::from_millis(10));
    drop(held);
    assert_eq!(bench.next(token).result.unwrap(), 13);
    let mut content = [0; 13];
    peer.read_exact(&mut content).unwrap();
    assert_eq!(&content, b"Linux version");
}

#[test]
fn what_arrived_before_a_cancel_is_delivered() {
    let Some(mut bench) = bench(small()) else { return };
    for _ in 0..20 {
        let (handle, mut peer) = bench.connection();
        let token = bench.worker.submit(handle, Operation::ReceiveStream).unwrap();
        bench.step(Duration::ZERO);
        peer.write_all(&[9; 3_000]).unwrap();
        bench.worker.cancel(token);
        let mut received = 0;
        let end = loop {
            let completion = bench.next(token);
            if completion.last {
                break completion;
            }
            received += completion.result.unwrap();
        };
        assert!(matches!(received, 0 | 3_000));
        assert_eq!(error(&end), ErrorKind::Cancelled);
        // What was not delivered is still in the socket.
        let buffer = bench.buffer(4_096);
        if received == 0 {
            assert_eq!(bench.run(handle, Operation::Receive { buffer }).result.unwrap(), 3_000);
        }
        drop(bench.run(handle, Operation::Close));
    }
}

#[test]
fn idle_streams_hold_no_buffer() {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limits.maximum, ..limits };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let descriptors = limits.maximum.map_or(20_000, |limit| limit as usize);
    let count = 10_000.min(descriptors.saturating_sub(2_000));
    let Some(mut bench) = bench(small()) else { return };
    // Nobody accepts these, so that a connection takes one descriptor only.
    let mut listeners = Vec::new();
    let mut last = None;
    for number in 0..count {
        if number % 3_000 == 0 {
            let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
            listener.listen(4_000).unwrap();
            listeners.push(listener);
        }
        let address = listeners.last().unwrap().local_addr().unwrap().as_socket().unwrap();
        let handle = bench.worker.associate(TcpStream::connect(address).unwrap(), number as u64).unwrap();
        last = Some(bench.worker.submit(handle, Operation::ReceiveStream).unwrap());
        if number % 256 == 0 {
            bench.step(Duration::ZERO);
        }
    }
    bench.step(Duration::ZERO);
    assert!(bench.seen.is_empty());
    assert!(bench.worker.buffers().in_use() <= 16, "only those that are ready for all streams together");
    let (mut first, _) = listeners[0].accept().unwrap();
    first.write_all(b"answer me").unwrap();
    bench.step(PATIENCE);
    let completion = bench.seen.pop_front().unwrap();
    assert_eq!((completion.key, completion.result.unwrap()), (0, 9));
    bench.worker.cancel(last.unwrap());
    assert_eq!(error(&bench.next(last.unwrap())), ErrorKind::Cancelled);
}

#[test]
fn a_file_that_grows_meanwhile_is_read_to_its_end() {
    let Some(mut bench) = bench(small()) else { return };
    let mut plain = tempfile::tempfile().unwrap();
    plain.write_all(b"begin").unwrap();
    let file = bench.worker.associate(plain.try_clone().unwrap(), 0).unwrap();
    let buffer = bench.buffer(20);
    let read = bench.run(file, Operation::ReadAt { file, offset: 0, buffer }).payload.into_buffer().unwrap();
    assert_eq!(&read[..], b"begin");
    plain.seek(SeekFrom::End(0)).unwrap();
    plain.write_all_at(b" end", 5).unwrap();
    let read =
        bench.run(file, Operation::ReadAt { file, offset: 5, buffer: read }).payload.into_buffer().unwrap();
    assert_eq!(&read[..], b"begin end");
}

#[test]
fn a_file_system_that_cannot_read_without_waiting_is_read_all_the_same() {
    let Some(mut bench) = bench(small()) else { return };
    let operation = Operation::Open {
        directory: None,
        path: "/proc/version".into(),
        options: OpenOptions::new().read(true),
    };
    let Payload::Opened { file, .. } = bench.run(Handle::NONE, operation).payload else { panic!() };
    let buffer = bench.buffer(4_096);
    let read = bench.run(file, Operation::ReadAt { file, offset: 0, buffer });
    assert_eq!(read.payload.into_buffer().unwrap()[..], std::fs::read("/proc/version").unwrap());
    let (handle, mut peer) = bench.connection();
    let operation = Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: 13 };
    assert_eq!(bench.run(handle, operation).result.unwrap(), 13);
    let mut sent = [0; 13];
    peer.read_exact(&mut sent).unwrap();
    assert_eq!(&sent, b"Linux version");
}

#[test]
fn a_queue_can_have_a_new_worker() {
    let Some(bench) = bench(small()) else { return };
    let port = bench.worker.port();
    drop(bench);
    let mut bench = Bench { worker: port.worker().unwrap(), seen: VecDeque::new() };
    let (handle, mut peer) = bench.connection();
    let token = bench.worker.submit(handle, Operation::ReceiveStream).unwrap();
    let poster = std::thread::spawn(move || port.post(0, Packet::default()).unwrap());
    assert!(matches!(bench.next(Token::NONE).payload, Payload::Packet(_)));
    poster.join().unwrap();
    peer.write_all(b"x").unwrap();
    assert_eq!(bench.next(token).result.unwrap(), 1);
}

#[test]
fn a_shutdown_cancels_one_operation_and_the_next_in_line_too() {
    let mut configuration = small();
    configuration.buffers = vec![BufferClass { capacity: 4_096, count: 1 }];
    let Some(mut bench) = bench(configuration) else { return };
    let file = bench.worker.associate(unknown_file(), 0).unwrap();
    let (handle, _peer) = bench.connection();
    let _held = bench.buffer(1);
    let operation = Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: 13 };
    let transmit = bench.worker.submit(handle, operation).unwrap();
    let disconnect = bench.worker.submit(handle, Operation::Disconnect).unwrap();
    bench.worker.port().cancel_all();
    assert_eq!(error(&bench.next(transmit)), ErrorKind::Cancelled);
    // Not an orderly end of an answer that was cut off.
    assert_eq!(error(&bench.next(disconnect)), ErrorKind::Cancelled);
}

#[test]
fn a_wait_may_be_as_long_as_a_duration_can_be() {
    let Some(mut bench) = bench(small()) else { return };
    let port = bench.worker.port();
    let poster = std::thread::spawn(move || {
        std::thread::yield_now();
        port.post(0, Packet::default()).unwrap();
    });
    bench.step(Duration::MAX);
    assert_eq!(bench.seen.len(), 1);
    poster.join().unwrap();
}

#[test]
fn a_panic_of_the_program_s_own_frees_nothing_that_the_kernel_has() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("the program's own");
            }
        }
    }
    let Some(mut bench) = bench(small()) else { return };
    let port = bench.worker.port();
    let (handle, _peer) = bench.connection();
    let buffer = bench.buffer(100);
    bench.worker.submit(handle, Operation::Receive { buffer }).unwrap();
    bench.step(Duration::ZERO);
    port.post(0, Packet { key: 0, value: 0, object: Some(Box::new(Panics)) }).unwrap();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(bench))).is_err());
    assert_eq!(port.buffers().in_use(), 0, "the receive came home all the same");
}

#[test]
fn lengths_that_no_number_holds_are_refused() {
    let Some(mut bench) = bench(small()) else { return };
    let (handle, _peer) = bench.connection();
    let file = bench.worker.associate(tempfile::tempfile().unwrap(), 0).unwrap();
    let head = BufferChain::from(bench.filled(b"head"));
    let operation = Operation::TransmitFile { head, file, offset: 0, length: u64::MAX };
    assert_eq!(bench.worker.submit(handle, operation).unwrap_err().error.kind(), ErrorKind::InvalidArgument);
    let operation = Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: u64::MAX };
    assert!(bench.run(handle, operation).result.is_err(), "the file is shorter");
}

#[test]
fn a_burst_beyond_the_completion_queue_loses_nothing_and_keeps_the_order() {
    let mut configuration = small();
    configuration.buffers = vec![BufferClass { capacity: 16, count: 60_000 }];
    configuration.receive_bytes = 16;
    configuration.receive_buffers = 25_000;
    configuration.batch = 1;
    let Some(mut bench) = bench(configuration) else { return };
    let content = pattern(16_000);
    let mut streams = HashMap::new();
    for _ in 0..24 {
        let (handle, mut peer) = bench.connection();
        streams.insert(bench.worker.submit(handle, Operation::ReceiveStream).unwrap(), Vec::new());
        peer.write_all(&content).unwrap();
    }
    let mut ended = 0;
    while ended < streams.len() {
        bench.step(PATIENCE);
        let completion = bench.seen.pop_front().expect("something is on its way");
        let received = streams.get_mut(&completion.token).unwrap();
        ended += usize::from(completion.last);
        assert_eq!(completion.last, completion.result.unwrap() == 0);
        received.extend_from_slice(
            &completion.payload.into_buffer().map_or(Vec::new(), |buffer| buffer.to_vec()),
        );
    }
    assert!(streams.values().all(|received| *received == content));
}
