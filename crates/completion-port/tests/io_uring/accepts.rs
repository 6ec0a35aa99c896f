//! Accepting more connections than there are handles.

use crate::bench::{accepted, bench, error, small};
use completion_port::{ErrorKind, Handle, Operation};
use std::{io::Write, net::TcpStream, time::Duration};

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
