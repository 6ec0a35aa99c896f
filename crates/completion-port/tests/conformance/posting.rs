//! Packets from other threads, and work on the pool.

use crate::{
    harness::{Rig, failure},
    suite::{Case, ON_THREADS},
};
use completion_port::{ErrorKind, Handle, Operation, OperationKind, Packet, Payload, Token};
use std::{collections::HashSet, sync::mpsc, time::Duration};

pub(crate) const CASES: &[Case] = cases![
    every_packet_of_many_threads_arrives_once_in_the_order_of_its_thread,
    a_full_queue_gives_the_packet_back,
    many_packets_at_once_arrive_in_order_as_far_as_there_is_room,
    a_packet_wakes_a_sleeping_worker,
    work_on_the_pool_returns_what_it_returns,
    work_that_waits_can_be_cancelled_and_has_a_limit with |configuration| {
        (configuration.pool_threads, configuration.pool_queue) = (1, 1);
    }; only ON_THREADS,
];

const THREADS: u64 = 16;
const PACKETS: u64 = 200;

fn every_packet_of_many_threads_arrives_once_in_the_order_of_its_thread(rig: &mut Rig) {
    let posting: Vec<_> = (0..THREADS)
        .map(|thread| {
            let port = rig.port.clone();
            std::thread::spawn(move || {
                for number in 0..PACKETS {
                    let mut packet = Packet { key: thread, value: number, object: Some(Box::new(number)) };
                    while let Err((error, same)) = port.post(0, packet) {
                        assert_eq!(error.kind(), ErrorKind::QueueFull);
                        packet = same;
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut due = [0; THREADS as usize];
    for _ in 0..THREADS * PACKETS {
        let completion = rig.next();
        assert_eq!((completion.kind, completion.handle), (OperationKind::Post, Handle::NONE));
        assert_eq!((completion.token, completion.last), (Token::NONE, true));
        let Payload::Packet(packet) = completion.payload else { panic!("a packet came without its packet") };
        assert_eq!(packet.key, completion.key);
        assert_eq!(packet.object.unwrap().downcast_ref(), Some(&packet.value));
        assert_eq!(packet.value, std::mem::replace(&mut due[packet.key as usize], packet.value + 1));
    }
    rig.expect_silence();
    posting.into_iter().for_each(|thread| thread.join().unwrap());
}

fn a_full_queue_gives_the_packet_back(rig: &mut Rig) {
    let mut posted = 0;
    let (error, packet) = loop {
        let packet = Packet { key: 1, value: posted, object: None };
        match rig.port.post(0, packet) {
            Ok(()) => posted += 1,
            Err(back) => break back,
        }
    };
    assert_eq!((error.kind(), packet.value), (ErrorKind::QueueFull, posted));
    assert_eq!(posted, rig.port.configuration().posts as u64);
    let arrived: HashSet<u64> = (0..posted)
        .map(|_| match rig.next().payload {
            Payload::Packet(packet) => packet.value,
            other => panic!("{other:?} is no packet"),
        })
        .collect();
    assert_eq!(arrived.len() as u64, posted);
    assert_eq!(rig.port.post(1, Packet::default()).unwrap_err().0.kind(), ErrorKind::InvalidArgument);
    // It has room again, for as many.
    for round in 0..posted {
        rig.port.post(0, Packet { key: 2, value: round, object: None }).unwrap();
    }
    for round in 0..posted {
        let Payload::Packet(packet) = rig.next().payload else { panic!("no packet came") };
        assert_eq!((packet.key, packet.value), (2, round));
    }
    rig.expect_silence();
}

fn many_packets_at_once_arrive_in_order_as_far_as_there_is_room(rig: &mut Rig) {
    let posts = rig.port.configuration().posts as u64;
    let mut packets: Vec<_> = (0..posts + 2).map(|value| Packet { value, ..Packet::default() }).collect();
    let arrive = |rig: &mut Rig, values: std::ops::Range<u64>| {
        for value in values {
            let Payload::Packet(packet) = rig.next().payload else { panic!("no packet came") };
            assert_eq!(packet.value, value);
        }
    };
    let none = rig.port.post_many(1, &mut packets).unwrap_err();
    assert_eq!((none.kind(), packets.len() as u64), (ErrorKind::InvalidArgument, posts + 2));
    let full = rig.port.post_many(0, &mut packets).unwrap_err();
    assert_eq!((full.kind(), packets.len()), (ErrorKind::QueueFull, 2));
    arrive(rig, 0..posts);
    assert_eq!((rig.port.post_many(0, &mut packets), packets.len()), (Ok(()), 0));
    arrive(rig, posts..posts + 2);
    rig.expect_silence();
}

fn a_packet_wakes_a_sleeping_worker(rig: &mut Rig) {
    let port = rig.port.clone();
    let (asleep, ready) = mpsc::channel();
    let poster = std::thread::spawn(move || {
        ready.recv().unwrap();
        port.post(0, Packet { key: 5, ..Packet::default() }).unwrap();
    });
    asleep.send(()).unwrap();
    assert_eq!(rig.next().key, 5);
    poster.join().unwrap();
}

fn work_on_the_pool_returns_what_it_returns(rig: &mut Rig) {
    let done = rig.run(Handle::NONE, Operation::Call { work: Box::new(|| Box::new(String::from("done"))) });
    assert_eq!((done.kind, done.result, done.handle), (OperationKind::Call, Ok(0), Handle::NONE));
    let Payload::Returned(returned) = done.payload else { panic!("nothing was returned") };
    assert_eq!(*returned.downcast::<String>().unwrap(), "done");
    // For a handle it carries the handle's key.
    let (handle, _peer) = rig.pair();
    let panicked = rig.run(handle, Operation::Call { work: Box::new(|| panic!("on purpose")) });
    assert_eq!((failure(&panicked), panicked.handle, panicked.key), (ErrorKind::Other, handle, 7));
    rig.close(handle);
}

fn work_that_waits_can_be_cancelled_and_has_a_limit(rig: &mut Rig) {
    let (release, held) = mpsc::channel::<()>();
    let (begun, running) = mpsc::channel::<()>();
    let blocking = Operation::Call {
        work: Box::new(move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
            Box::new(())
        }),
    };
    let first = rig.submit(Handle::NONE, blocking);
    running.recv_timeout(Duration::from_secs(20)).unwrap();
    let waiting =
        rig.submit(Handle::NONE, Operation::Call { work: Box::new(|| unreachable!("it was cancelled")) });
    let rejected = rig.worker.submit(Handle::NONE, Operation::Call { work: Box::new(|| Box::new(())) });
    assert_eq!(rejected.expect_err("one waits already").error.kind(), ErrorKind::QueueFull);
    rig.worker.cancel(waiting);
    assert_eq!(failure(&rig.next_of(waiting)), ErrorKind::Cancelled);
    // What runs, runs to its end.
    rig.worker.cancel(first);
    rig.expect_silence();
    release.send(()).unwrap();
    assert_eq!(rig.next_of(first).result, Ok(0));
}
