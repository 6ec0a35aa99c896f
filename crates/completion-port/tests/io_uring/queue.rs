//! The queue itself: wakes, waits, and more entries than the ring has room for.

use crate::bench::{Bench, PATIENCE, bench, small};
use completion_port::{BufferChain, FileKind, Operation, Packet, Payload, Slice, Token};
use std::{collections::VecDeque, io::Write, time::Duration};

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
