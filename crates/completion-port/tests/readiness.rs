//! What only the readiness backend can get wrong: edges that are missed, turns that are not shared, lists that are left.
//! What every backend has to do is in the conformance suite.

#![cfg(unix)]

use completion_port::{
    Backend, BufferChain, BufferClass, Buffers, Completion, Configuration, ErrorKind, Handle, OpenOptions,
    Operation, OperationKind, Packet, Payload, Port, Slice, Token, Worker,
};
use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// Only a broken engine waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

fn small() -> Configuration {
    let mut configuration = Configuration::default();
    configuration.backend = Some(Backend::Readiness);
    configuration.queues = 1;
    configuration.operations = 1_024;
    configuration.handles = 512;
    configuration.batch = 64;
    configuration.buffers =
        vec![BufferClass { capacity: 4_096, count: 256 }, BufferClass { capacity: 65_536, count: 32 }];
    configuration
}

struct Rig {
    port: Port,
    worker: Worker,
    arrived: Vec<Completion>,
    waits: usize,
}

impl Rig {
    fn new(configuration: Configuration) -> Self {
        let port = Port::new(configuration).expect("readiness works on every Unix");
        let worker = port.worker().expect("the only worker");
        Self { port, worker, arrived: Vec::new(), waits: 0 }
    }

    fn wait(&mut self) -> Vec<Completion> {
        let until = Instant::now() + PATIENCE;
        while self.arrived.is_empty() {
            assert!(Instant::now() < until, "nothing came");
            self.waits += 1;
            self.worker.wait(&mut self.arrived, Some(PATIENCE)).expect("the queue works");
        }
        std::mem::take(&mut self.arrived)
    }

    fn next_of(&mut self, token: Token) -> Completion {
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
    fn expect_silence(&mut self) {
        self.worker.wait(&mut self.arrived, Some(Duration::from_millis(30))).expect("the queue works");
        assert!(self.arrived.is_empty(), "{:?} came", self.arrived);
    }

    #[track_caller]
    fn submit(&mut self, handle: Handle, operation: Operation) -> Token {
        self.worker.submit(handle, operation).expect("the operation is accepted")
    }

    #[track_caller]
    fn run(&mut self, handle: Handle, operation: Operation) -> Completion {
        let token = self.submit(handle, operation);
        self.next_of(token)
    }

    #[track_caller]
    fn close(&mut self, handle: Handle) {
        assert_eq!(self.run(handle, Operation::Close).result, Ok(0));
    }

    fn pair(&mut self) -> (Handle, TcpStream) {
        let (ours, theirs) = connected();
        (self.worker.associate(ours, 0).expect("room for a handle"), theirs)
    }

    fn listener(&mut self) -> (Handle, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (self.worker.associate(listener, 0).expect("room for a handle"), address)
    }

    /// Leaves, and checks that everything came home.
    fn end(self) {
        let Self { port, worker, arrived, .. } = self;
        drop((worker, arrived));
        let report = port.shutdown(Duration::ZERO);
        assert!(report.operations_left == 0 && report.buffers_left == 0, "{report}");
    }
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let theirs = client(listener.local_addr().unwrap());
    (listener.accept().unwrap().0, theirs)
}

fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|place| (place.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect()
}

fn bytes(bytes: &[u8]) -> Slice {
    let mut buffer = Buffers::new(&[], bytes.len()).unwrap().allocate(bytes.len()).unwrap();
    buffer.extend_from_slice(bytes);
    buffer.freeze()
}

#[track_caller]
fn failure(completion: &Completion) -> ErrorKind {
    completion.result.expect_err("it failed").kind()
}

fn accepted(completion: Completion) -> Handle {
    match completion.payload {
        Payload::Accepted(handle) => handle,
        other => panic!("no connection, but {other:?}"),
    }
}

#[test]
fn many_connections_are_echoed_and_end_in_order() {
    const CLIENTS: usize = 120;
    let mut rig = Rig::new(small());
    let (listener, address) = rig.listener();
    let clients = std::thread::spawn(move || {
        let mut streams: Vec<_> = (0..CLIENTS).map(|_| client(address)).collect();
        for round in 1..=20usize {
            let message = pattern(round * 479);
            for stream in &mut streams {
                stream.write_all(&message).unwrap();
            }
            for stream in &mut streams {
                let mut echo = vec![0; message.len()];
                stream.read_exact(&mut echo).unwrap();
                assert!(echo == message);
            }
        }
        for stream in &mut streams {
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
    });
    let accepts = rig.submit(listener, Operation::AcceptStream);
    let mut closed = 0;
    while closed < CLIENTS {
        for completion in rig.wait() {
            let handle = completion.handle;
            match completion.kind {
                OperationKind::AcceptStream => {
                    rig.submit(accepted(completion), Operation::ReceiveStream);
                }
                OperationKind::ReceiveStream if completion.last => {
                    assert_eq!(completion.result, Ok(0));
                    rig.submit(handle, Operation::Disconnect);
                    rig.submit(handle, Operation::Close);
                }
                OperationKind::ReceiveStream => {
                    let chain = BufferChain::from(completion.payload.into_buffer().unwrap());
                    rig.submit(handle, Operation::Send { chain });
                }
                OperationKind::Close => closed += 1,
                _ => assert!(completion.result.is_ok(), "{completion:?}"),
            }
        }
    }
    rig.worker.cancel(accepts);
    clients.join().unwrap();
    rig.end();
}

#[test]
fn an_end_right_behind_the_bytes_is_not_missed() {
    let mut rig = Rig::new(small());
    for round in 0..200 {
        let (handle, mut peer) = rig.pair();
        let stream = (round % 2 == 0).then(|| rig.submit(handle, Operation::ReceiveStream));
        peer.write_all(b"last words").unwrap();
        drop(peer);
        let stream = stream.unwrap_or_else(|| rig.submit(handle, Operation::ReceiveStream));
        let words = rig.next_of(stream);
        assert_eq!((words.result, words.last), (Ok(10), false));
        let end = rig.next_of(stream);
        assert_eq!((end.result, end.last), (Ok(0), true));
        rig.close(handle);
    }
    rig.end();
}

#[test]
fn single_receives_see_every_byte_and_then_the_end() {
    let mut rig = Rig::new(small());
    let (handle, mut peer) = rig.pair();
    let all = pattern(300_000);
    let sent = all.clone();
    let writer = std::thread::spawn(move || {
        for part in sent.chunks(1_013) {
            peer.write_all(part).unwrap();
        }
    });
    let mut received = Vec::new();
    for room in (1..).map(|step: usize| step * 389 % 4_096 + 1) {
        let buffer = rig.port.buffers().acquire(room).unwrap();
        let completion = rig.run(handle, Operation::Receive { buffer });
        let buffer = completion.payload.into_buffer().unwrap();
        assert_eq!(completion.result, Ok(buffer.len() as u64));
        if buffer.is_empty() {
            break;
        }
        received.extend_from_slice(&buffer);
    }
    assert!(received == all);
    writer.join().unwrap();
    rig.end();
}

#[test]
fn urgent_bytes_do_not_hold_up_what_comes_behind_them() {
    let mut rig = Rig::new(small());
    let (handle, peer) = rig.pair();
    let stream = rig.submit(handle, Operation::ReceiveStream);
    let peer = socket2::Socket::from(peer);
    peer.send(b"before").unwrap();
    peer.send_out_of_band(b"!").unwrap();
    peer.send(b"behind").unwrap();
    let mut received = Vec::new();
    while received.len() < 12 {
        received.extend_from_slice(&rig.next_of(stream).payload.into_buffer().unwrap());
    }
    assert_eq!(received, b"beforebehind");
    rig.end();
}

#[test]
fn both_directions_wait_for_a_peer_that_is_slow() {
    let mut rig = Rig::new(small());
    let (ours, theirs) = connected();
    let ours = socket2::Socket::from(ours);
    ours.set_send_buffer_size(4_096).unwrap();
    ours.set_recv_buffer_size(1 << 17).unwrap();
    let handle = rig.worker.associate(ours, 0).unwrap();
    let all = pattern(1 << 20);
    let (mut reader, mut writer) = (theirs.try_clone().unwrap(), theirs);
    let (expected, sent) = (all.clone(), all.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut chain = BufferChain::new();
    for part in all.chunks(1 << 15) {
        chain.push(bytes(part)).unwrap();
    }
    let send = rig.submit(handle, Operation::Send { chain });
    rig.expect_silence();
    let stream = rig.submit(handle, Operation::ReceiveStream);
    let mut received = Vec::new();
    loop {
        let completion = rig.next_of(stream);
        assert!(completion.result.is_ok());
        if completion.last {
            break;
        }
        received.extend_from_slice(&completion.payload.into_buffer().unwrap());
    }
    assert!(received == all);
    // All of the peer's bytes are here, and still it has read nothing.
    let reading = std::thread::spawn(move || {
        let mut read = vec![0; 1 << 20];
        for part in read.chunks_mut(777) {
            reader.read_exact(part).unwrap();
        }
        assert!(read == expected);
    });
    assert_eq!(rig.next_of(send).result, Ok(1 << 20));
    reading.join().unwrap();
    writing.join().unwrap();
    rig.end();
}

#[test]
fn streams_without_a_buffer_wait_in_line_until_one_returns() {
    let mut configuration = small();
    configuration.buffers = vec![BufferClass { capacity: 4_096, count: 2 }];
    let mut rig = Rig::new(configuration);
    let mut held: Vec<_> = (0..2).map(|_| Payload::Buffer(rig.port.buffers().acquire(1).unwrap())).collect();
    let mut pairs: Vec<_> = (0..8).map(|_| rig.pair()).collect();
    for (handle, peer) in &mut pairs {
        rig.submit(*handle, Operation::ReceiveStream);
        peer.write_all(b"x").unwrap();
        rig.expect_silence_for_a_turn();
    }
    rig.expect_silence();
    let mut order = Vec::new();
    let mut threads = Vec::new();
    while order.len() < 8 {
        // From another thread, while this one is asleep or about to be.
        let returned = std::mem::take(&mut held);
        threads.push(std::thread::spawn(move || drop(returned)));
        while held.len() < 2 {
            for completion in rig.wait() {
                assert_eq!(completion.result, Ok(1), "{completion:?}");
                order.push(completion.handle);
                held.push(completion.payload);
            }
        }
        rig.expect_silence();
    }
    assert_eq!(order, pairs.iter().map(|(handle, _)| *handle).collect::<Vec<_>>());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(held);
    rig.end();
}

#[test]
fn a_stream_that_was_cancelled_without_a_buffer_leaves_the_next_one_its_turn() {
    let mut configuration = small();
    configuration.buffers =
        vec![BufferClass { capacity: 1_024, count: 4 }, BufferClass { capacity: 4_096, count: 1 }];
    let mut rig = Rig::new(configuration);
    let held = rig.port.buffers().acquire(4_096).unwrap();
    let (handle, mut peer) = rig.pair();
    peer.write_all(b"hello").unwrap();
    for _ in 0..50 {
        let stream = rig.submit(handle, Operation::ReceiveStream);
        rig.expect_silence_for_a_turn();
        rig.worker.cancel(stream);
        let end = rig.next_of(stream);
        assert_eq!((failure(&end), end.last), (ErrorKind::Cancelled, true));
    }
    // This one needs none of the pool.
    let buffer = rig.port.buffers().acquire(1_000).unwrap();
    let completion = rig.run(handle, Operation::Receive { buffer });
    assert_eq!(&completion.payload.into_buffer().unwrap()[..], b"hello");
    peer.write_all(b"again").unwrap();
    let stream = rig.submit(handle, Operation::ReceiveStream);
    rig.expect_silence();
    drop(held);
    assert_eq!(rig.next_of(stream).result, Ok(5));
    rig.end();
}

impl Rig {
    /// One look at the poller, without sleeping.
    fn expect_silence_for_a_turn(&mut self) {
        self.worker.wait(&mut self.arrived, Some(Duration::ZERO)).unwrap();
        assert!(self.arrived.is_empty(), "{:?} came", self.arrived);
    }
}

#[test]
fn an_accept_stream_at_the_limit_of_handles_waits_for_a_close() {
    let mut configuration = small();
    configuration.handles = 4;
    let mut rig = Rig::new(configuration);
    let (listener, address) = rig.listener();
    let clients: Vec<_> = (0..6).map(|_| client(address)).collect();
    let accepts = rig.submit(listener, Operation::AcceptStream);
    let mut handles: Vec<_> = (0..3).map(|_| accepted(rig.next_of(accepts))).collect();
    rig.expect_silence();
    for _ in 0..3 {
        rig.close(handles.remove(0));
        handles.push(accepted(rig.next_of(accepts)));
        rig.expect_silence();
    }
    rig.worker.cancel(accepts);
    assert_eq!(failure(&rig.next_of(accepts)), ErrorKind::Cancelled);
    // A single accept does not wait: it says so.
    let _seventh = client(address);
    let mut refused = rig.run(listener, Operation::Accept);
    assert_eq!(failure(&refused), ErrorKind::HandlesExhausted);
    rig.close(handles.remove(0));
    refused = rig.run(listener, Operation::Accept);
    accepted(refused);
    drop(clients);
    rig.end();
}

#[test]
fn accepting_goes_on_over_many_turns() {
    let mut configuration = small();
    configuration.inline_budget = 3;
    let mut rig = Rig::new(configuration);
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(256).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let listener = rig.worker.associate(listener, 0).unwrap();
    let clients: Vec<_> = (0..100).map(|_| client(address)).collect();
    let accepts = rig.submit(listener, Operation::AcceptStream);
    for _ in 0..100 {
        accepted(rig.next_of(accepts));
    }
    assert!(rig.waits >= 30, "{} waits brought 100 connections, three at most each", rig.waits);
    rig.expect_silence();
    drop(clients);
    rig.end();
}

#[test]
fn a_busy_connection_does_not_starve_quiet_ones() {
    let mut rig = Rig::new(small());
    let (busy, pump) = rig.pair();
    rig.submit(busy, Operation::ReceiveStream);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let pumping = std::thread::spawn(move || {
        let mut pump = pump;
        let block = vec![7; 1 << 16];
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) && pump.write_all(&block).is_ok() {}
    });
    // It has a backlog of many turns before the others begin.
    std::iter::repeat_with(|| rig.wait()).take(20).for_each(drop);
    let mut quiet: Vec<_> = (0..100).map(|_| rig.pair()).collect();
    for (handle, peer) in &mut quiet {
        rig.submit(*handle, Operation::ReceiveStream);
        peer.write_all(b"?").unwrap();
    }
    let before = rig.waits;
    let (mut heard, mut between) = (0, 0);
    while heard < 100 {
        for completion in rig.wait() {
            if completion.handle == busy { between += 1 } else { heard += 1 }
        }
    }
    let waits = rig.waits - before;
    assert!(waits <= 8, "it took {waits} waits to hear 100 connections");
    assert!(between <= waits * 16, "{between} completions of the busy one in {waits} waits");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    rig.close(busy);
    pumping.join().unwrap();
    rig.end();
}

#[test]
fn a_busy_sender_gets_its_budget_and_no_more_in_one_wait() {
    let mut configuration = small();
    configuration.inline_budget = 4;
    let mut rig = Rig::new(configuration);
    let (handle, mut peer) = rig.pair();
    let tokens: Vec<_> = (0..30)
        .map(|_| rig.submit(handle, Operation::Send { chain: BufferChain::from(bytes(b"ab")) }))
        .collect();
    let mut order = Vec::new();
    while order.len() < tokens.len() {
        let arrived = rig.wait();
        assert!(arrived.len() <= 8, "{} sends in one wait", arrived.len());
        order.extend(arrived.into_iter().map(|completion| {
            assert_eq!(completion.result, Ok(2));
            completion.token
        }));
    }
    assert_eq!(order, tokens);
    let mut received = [0; 60];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(received[..], b"ab".repeat(30));
    rig.end();
}

#[test]
fn operations_end_when_cancelled_in_whatever_they_wait_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large"), pattern(1 << 20)).unwrap();
    let mut rig = Rig::new(small());
    let file = File::open(folder.path().join("large")).unwrap();
    let file = rig.worker.associate(file, 0).unwrap();

    let (listener, _) = rig.listener();
    let (ours, _peer) = connected();
    let ours = socket2::Socket::from(ours);
    ours.set_send_buffer_size(4_096).unwrap();
    let blocked = rig.worker.associate(ours, 0).unwrap();
    let filling = rig.submit(blocked, Operation::Send { chain: fill() });

    // A listening queue that is full answers no further connection.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut connecting = Vec::new();
    for _ in 0..4 {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let handle = rig.worker.associate(socket, 0).unwrap();
        connecting.push(rig.submit(handle, Operation::Connect { address }));
    }
    rig.worker.wait(&mut rig.arrived, Some(Duration::from_millis(30))).unwrap();
    connecting.retain(|token| rig.arrived.iter().all(|done| done.token != *token));
    rig.arrived.clear();
    assert!(!connecting.is_empty(), "some connections are still under way");

    let mut waiting = vec![
        rig.submit(listener, Operation::AcceptStream),
        rig.submit(listener, Operation::Accept),
        filling,
        rig.submit(
            blocked,
            Operation::TransmitFile {
                head: BufferChain::from(bytes(b"head")),
                file,
                offset: 0,
                length: 1 << 20,
            },
        ),
        rig.submit(blocked, Operation::Disconnect),
        rig.submit(blocked, Operation::ReceiveStream),
        rig.submit(Handle::NONE, Operation::Timer { after: Duration::from_secs(3_600) }),
    ];
    waiting.append(&mut connecting);
    rig.expect_silence();
    // Backwards, so that those that wait in line are cancelled before those that they wait for.
    for token in waiting.into_iter().rev() {
        rig.worker.cancel(token);
        let completion = rig.next_of(token);
        assert_eq!((failure(&completion), completion.last), (ErrorKind::Cancelled, true), "{completion:?}");
    }
    rig.expect_silence();
    rig.end();
}

/// More than loopback takes without a reader.
fn fill() -> BufferChain {
    let mut chain = BufferChain::new();
    let block = bytes(&vec![1; 1 << 20]);
    while chain.push(block.clone()).is_ok() {}
    chain
}

#[test]
fn a_close_with_everything_in_flight_comes_last() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), pattern(10_000)).unwrap();
    let mut rig = Rig::new(small());
    let file = rig.worker.associate(File::open(folder.path().join("file")).unwrap(), 0).unwrap();
    let (handle, mut peer) = rig.pair();
    peer.write_all(b"some bytes that come in between").unwrap();
    let mut waiting = vec![
        rig.submit(handle, Operation::ReceiveStream),
        rig.submit(handle, Operation::ReceiveStream),
        rig.submit(handle, Operation::Send { chain: fill() }),
        rig.submit(
            handle,
            Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: 10_000 },
        ),
        rig.submit(handle, Operation::Timer { after: Duration::from_secs(3_600) }),
    ];
    for _ in 0..3 {
        let buffer = rig.port.buffers().acquire(4_096).unwrap();
        waiting.push(rig.submit(handle, Operation::ReadAt { file, offset: 5, buffer }));
    }
    let work = || Box::new(()) as Box<dyn std::any::Any + Send>;
    waiting.push(rig.submit(handle, Operation::Call { work: Box::new(work) }));
    let close = rig.submit(handle, Operation::Close);
    while !waiting.is_empty() {
        for completion in rig.wait() {
            assert_ne!(completion.token, Token::NONE);
            if completion.token == close {
                assert!(waiting.is_empty(), "closed before {waiting:?}");
                rig.arrived.push(completion);
            } else if completion.last {
                let place = waiting.iter().position(|token| *token == completion.token);
                waiting.remove(place.expect("each operation ends once"));
            }
        }
    }
    assert_eq!(rig.next_of(close).result, Ok(0));
    rig.expect_silence();
    assert_eq!(
        rig.worker.submit(handle, Operation::Disconnect).unwrap_err().error.kind(),
        ErrorKind::StaleHandle
    );
    rig.end();
}

#[test]
fn posts_from_many_threads_wake_a_sleeping_worker_and_none_is_lost() {
    let mut rig = Rig::new(small());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let port = rig.port.clone();
            std::thread::spawn(move || {
                for value in 0..2_000 {
                    let mut packet = Packet { key: thread, value, object: None };
                    while let Err((error, back)) = port.post(0, packet) {
                        assert_eq!(error.kind(), ErrorKind::QueueFull);
                        packet = back;
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut next = [0; 4];
    while next.iter().sum::<u64>() < 8_000 {
        let mut arrived = Vec::new();
        rig.worker.wait(&mut arrived, None).unwrap();
        for completion in arrived {
            let Payload::Packet(packet) = completion.payload else { panic!("a packet was posted") };
            assert_eq!(packet.value, next[packet.key as usize], "each thread's packets come in order");
            next[packet.key as usize] += 1;
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    rig.end();
}

#[test]
fn a_queues_second_worker_is_woken_too() {
    let rig = Rig::new(small());
    let Rig { port, worker, .. } = rig;
    drop(worker);
    let mut worker = port.worker().unwrap();
    let poster = port.clone();
    let (sender, asleep) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        for value in 0..200 {
            asleep.recv().unwrap();
            poster.post(0, Packet { key: 0, value, object: None }).unwrap();
        }
    });
    let mut arrived = Vec::new();
    for _ in 0..200 {
        sender.send(()).unwrap();
        worker.wait(&mut arrived, None).unwrap();
    }
    assert_eq!(arrived.len(), 200);
    thread.join().unwrap();
}

#[test]
fn names_of_a_worker_that_left_name_nothing_of_the_next_one() {
    let mut rig = Rig::new(small());
    let (old_handle, _peer) = rig.pair();
    let old_token = rig.submit(old_handle, Operation::ReceiveStream);
    let Rig { port, worker, .. } = rig;
    drop(worker);
    let worker = port.worker().unwrap();
    let mut rig = Rig { port, worker, arrived: Vec::new(), waits: 0 };
    let (handle, mut peer) = rig.pair();
    let stream = rig.submit(handle, Operation::ReceiveStream);
    rig.worker.cancel(old_token);
    rig.port.close(old_handle);
    let rejected = rig.worker.submit(old_handle, Operation::Disconnect).unwrap_err();
    assert_eq!(rejected.error.kind(), ErrorKind::StaleHandle);
    peer.write_all(b"alive").unwrap();
    assert_eq!(rig.next_of(stream).result, Ok(5));
    rig.end();
}

#[test]
fn timers_of_less_than_a_millisecond_neither_spin_nor_sleep_for_ever() {
    let mut rig = Rig::new(small());
    for microseconds in [0, 1, 100, 999, 1_001] {
        let after = Duration::from_micros(microseconds);
        let begun = Instant::now();
        let timer = rig.submit(Handle::NONE, Operation::Timer { after });
        let mut arrived = Vec::new();
        assert_eq!(rig.worker.wait(&mut arrived, None).unwrap(), 1);
        assert!(begun.elapsed() >= after);
        assert_eq!((arrived[0].token, arrived[0].result), (timer, Ok(0)));
        assert_eq!(rig.worker.wait(&mut arrived, Some(after)).unwrap(), 0);
    }
    rig.end();
}

#[test]
fn a_shutdown_drains_and_then_cancels() {
    let mut rig = Rig::new(small());
    let (listener, _) = rig.listener();
    let accepts = rig.submit(listener, Operation::AcceptStream);
    let (handle, _peer) = rig.pair();
    let stream = rig.submit(handle, Operation::ReceiveStream);
    let port = rig.port.clone();
    let ending = std::thread::spawn(move || port.shutdown(Duration::from_millis(50)));
    let mut kinds = Vec::new();
    while kinds.last() != Some(&OperationKind::Shutdown) {
        for completion in rig.wait() {
            if completion.token != Token::NONE {
                assert_eq!(failure(&completion), ErrorKind::Cancelled);
                assert!(completion.token == accepts || completion.token == stream);
            }
            kinds.push(completion.kind);
        }
    }
    use OperationKind as Kind;
    let mut early = kinds[..2].to_vec();
    early.sort_by_key(|kind| kind.name());
    assert_eq!(early, [Kind::AcceptStream, Kind::Draining]);
    assert_eq!(kinds[2..], [Kind::ReceiveStream, Kind::Shutdown]);
    drop(rig.worker);
    let report = ending.join().unwrap();
    assert!(report.cancelled && report.workers_left == 0 && report.operations_left == 0, "{report}");
}

#[test]
fn files_are_opened_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page");
    std::fs::write(&path, pattern(10_000)).unwrap();
    let mut rig = Rig::new(small());
    let open = |options| Operation::Open { directory: None, path: path.clone(), options };
    let opened = rig.run(Handle::NONE, open(OpenOptions::new().read(true).write(true)));
    let Payload::Opened { file, metadata } = opened.payload else { panic!("{opened:?}") };
    assert_eq!(metadata.length, 10_000);
    // As many as the budget on the spot, the others on the pool: all alike.
    for offset in 0..60u64 {
        let buffer = rig.port.buffers().acquire(4_096).unwrap();
        rig.submit(file, Operation::ReadAt { file, offset: offset * 200, buffer });
    }
    let mut lengths = Vec::new();
    while lengths.len() < 60 {
        for completion in rig.wait() {
            let buffer = completion.payload.into_buffer().unwrap();
            assert_eq!(completion.result, Ok(buffer.len() as u64));
            let content = pattern(10_000);
            assert!(buffer.is_empty() || content.windows(buffer.len()).any(|window| *window == *buffer));
            lengths.push(buffer.len());
        }
    }
    lengths.sort_unstable();
    let mut expected: Vec<_> =
        (0..60).map(|place| 10_000usize.saturating_sub(place * 200).min(4_096)).collect();
    expected.sort_unstable();
    assert_eq!(lengths, expected);
    let chain = BufferChain::from(bytes(b"written"));
    assert_eq!(rig.run(file, Operation::WriteAt { file, offset: 9_998, chain }).result, Ok(7));
    assert!(rig.run(file, Operation::Sync { file, data_only: true }).result.is_ok());
    let Payload::Metadata(metadata) = rig.run(file, Operation::Metadata { file }).payload else { panic!() };
    assert_eq!(metadata.length, 10_005);
    rig.close(file);
    assert_eq!(&std::fs::read(&path).unwrap()[9_998..], b"written");

    let missing = Operation::Open {
        directory: None,
        path: folder.path().join("missing"),
        options: OpenOptions::new().read(true),
    };
    assert_eq!(failure(&rig.run(Handle::NONE, missing)), ErrorKind::NotFound);
    let created = rig.run(
        Handle::NONE,
        Operation::Open {
            directory: None,
            path: folder.path().join("log"),
            options: OpenOptions::new().append(true).create_new(true),
        },
    );
    let Payload::Opened { file: log, .. } = created.payload else { panic!("{created:?}") };
    for line in ["one\n", "two\n"] {
        let chain = BufferChain::from(bytes(line.as_bytes()));
        assert_eq!(rig.run(log, Operation::Append { file: log, chain }).result, Ok(4));
    }
    assert_eq!(std::fs::read(folder.path().join("log")).unwrap(), b"one\ntwo\n");
    rig.end();
}

#[test]
fn a_file_is_sent_behind_its_head_in_memory_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let content = pattern(3_000_001);
    let mut rig = Rig::new(small());
    for cold in [false, true] {
        let path = folder.path().join(format!("cold-{cold}"));
        std::fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        if cold {
            file.sync_all().unwrap();
            #[cfg(target_os = "linux")]
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        let file = rig.worker.associate(file, 0).unwrap();
        let (handle, mut peer) = rig.pair();
        let mut head = BufferChain::from(bytes(b"first "));
        head.push(bytes(b"second ")).unwrap();
        let range = 1_234..2_999_000;
        let expected = [b"first second ", &content[range.clone()], b"after"].concat();
        let reading = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        let (offset, length) = (range.start as u64, range.len() as u64);
        let transmit = rig.submit(handle, Operation::TransmitFile { head, file, offset, length });
        rig.submit(handle, Operation::Send { chain: BufferChain::from(bytes(b"after")) });
        rig.submit(handle, Operation::Disconnect);
        let completion = rig.next_of(transmit);
        assert_eq!(completion.result, Ok(13 + length));
        assert_eq!(completion.payload.into_chain().unwrap().len(), 13);
        rig.close(file);
        rig.arrived.clear();
        let received = reading.join().unwrap();
        assert!(received == expected, "cold: {cold}");
        rig.close(handle);
    }
    rig.end();
}

#[test]
fn a_file_that_is_too_short_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short");
    std::fs::write(&path, b"0123456789").unwrap();
    let mut rig = Rig::new(small());
    let file = rig.worker.associate(File::open(&path).unwrap(), 0).unwrap();
    let (handle, mut peer) = rig.pair();
    let transmit =
        rig.run(handle, Operation::TransmitFile { head: BufferChain::new(), file, offset: 4, length: 100 });
    assert!(transmit.result.is_err());
    let empty =
        rig.run(handle, Operation::TransmitFile { head: BufferChain::new(), file, offset: 4, length: 0 });
    assert_eq!(empty.result, Ok(0));
    rig.close(handle);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"456789");
    rig.end();
}

#[test]
fn a_transmit_that_waits_for_the_pool_can_be_cancelled_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cold");
    std::fs::write(&path, pattern(1 << 20)).unwrap();
    let mut configuration = small();
    configuration.pool_threads = 1;
    let mut rig = Rig::new(configuration);
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let work = move || Box::new(blocked.recv()) as Box<dyn std::any::Any + Send>;
    let call = rig.submit(Handle::NONE, Operation::Call { work: Box::new(work) });
    let (handle, mut peer) = rig.pair();
    for closed in [false, true] {
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let file = rig.worker.associate(file, 0).unwrap();
        let head = BufferChain::from(bytes(b"head"));
        let transmit = rig.submit(handle, Operation::TransmitFile { head, file, offset: 0, length: 1 << 20 });
        // News of the socket must not start it again.
        peer.write_all(b"news").unwrap();
        rig.expect_silence();
        if closed {
            rig.worker.close(handle);
        } else {
            rig.worker.cancel(transmit);
        }
        let completion = rig.next_of(transmit);
        assert_eq!(failure(&completion), ErrorKind::Cancelled);
        assert_eq!(completion.payload.into_chain().unwrap().len(), 4);
        rig.close(file);
    }
    release.send(()).unwrap();
    assert!(rig.next_of(call).result.is_ok());
    rig.end();
}

#[test]
fn a_transmit_without_a_buffer_waits_until_one_returns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, pattern(100_000)).unwrap();
    let mut configuration = small();
    configuration.buffers = vec![BufferClass { capacity: 65_536, count: 1 }];
    let mut rig = Rig::new(configuration);
    let file = rig.worker.associate(File::open(&path).unwrap(), 0).unwrap();
    let (handle, mut peer) = rig.pair();
    let held = rig.port.buffers().acquire(1).unwrap();
    let transmit = rig.submit(
        handle,
        Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: 100_000 },
    );
    rig.expect_silence();
    std::thread::spawn(move || drop(held));
    assert_eq!(rig.next_of(transmit).result, Ok(100_000));
    let mut received = vec![0; 100_000];
    peer.read_exact(&mut received).unwrap();
    assert!(received == pattern(100_000));
    rig.end();
}

#[test]
fn datagrams_and_local_sockets_lose_nothing_to_short_receives() {
    let mut rig = Rig::new(small());
    let ours = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let theirs = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    let datagrams = rig.worker.associate(ours, 0).unwrap();
    let (ours, mut local) = std::os::unix::net::UnixStream::pair().unwrap();
    let stream = rig.worker.associate(socket2::Socket::from(std::os::fd::OwnedFd::from(ours)), 0).unwrap();
    let datagrams = rig.submit(datagrams, Operation::ReceiveStream);
    let stream = rig.submit(stream, Operation::ReceiveStream);
    for length in [1, 2, 3, 4] {
        theirs.send(&pattern(length)).unwrap();
    }
    for length in [1, 2, 3, 4] {
        assert_eq!(rig.next_of(datagrams).result, Ok(length));
    }
    local.write_all(b"hello").unwrap();
    assert_eq!(rig.next_of(stream).result, Ok(5));
    drop(local);
    assert_eq!(rig.next_of(stream).result, Ok(0));
    rig.end();
}
