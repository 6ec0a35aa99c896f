//! Sending and receiving, and streams that are short of buffers.

use crate::bench::{PATIENCE, accepted, bench, error, pattern, small};
use completion_port::{Buffer, BufferChain, BufferClass, ErrorKind, Operation, Payload, Slice};
use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

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
