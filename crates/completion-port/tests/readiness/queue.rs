//! Wakes, timers, workers that follow one another, and the end.

use crate::rig::*;
use completion_port::{ErrorKind, Handle, Operation, OperationKind, Packet, Payload, Token};
use std::{
    io::Write,
    time::{Duration, Instant},
};

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
