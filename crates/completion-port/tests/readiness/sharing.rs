//! What is scarce is shared, and waited for in line: turns, buffers, handles.

use crate::rig::*;
use completion_port::{BufferChain, BufferClass, ErrorKind, Operation, Payload};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
};

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
