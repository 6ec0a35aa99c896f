//! Cancels, closes, a shutdown and a lost worker, with everything in flight that can be.

use crate::bench::{Bench, bench, error, narrow_connection, pattern, small, unknown_file};
use completion_port::{BufferChain, BufferClass, ErrorKind, Handle, Operation, Packet, Slice, Token};
use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

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
