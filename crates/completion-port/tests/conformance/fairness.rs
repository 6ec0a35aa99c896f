//! One busy handle does not starve quiet ones. What is bounded is counted in completions of the busy one, not in time.

use crate::{
    harness::{Rig, file_with, pattern},
    suite::Case,
};
use completion_port::{BufferClass, Handle, Operation, OperationKind, Packet, Payload, Slice, Token};
use std::{collections::HashSet, io::Write, time::Duration};

/// Quiet handles, each of which has one byte to receive.
const QUIET: usize = 100;

/// As many completions of the busy handle may come before the last of the quiet ones: some full batches.
const BOUND: usize = 1_000;

pub(crate) const CASES: &[Case] = cases![
    a_socket_that_never_stops_sending with |configuration| {
        configuration.buffers = vec![BufferClass { capacity: 4_096, count: 2_048 }];
        configuration.receive_bytes = 512;
    },
    a_socket_that_is_always_writable,
    reads_that_are_done_at_once with |configuration| {
        configuration.buffers = vec![BufferClass { capacity: 4_096, count: 2_048 }];
    },
    packets_without_end,
    packets_without_end_that_are_taken_one_by_one with |configuration| configuration.batch = 1,
    timers_without_end,
    a_listener_with_a_crowd_before_it,
];

/// The quiet handles; their bytes are there when this returns.
fn quiet(rig: &mut Rig) -> Vec<(Token, crate::peer::Peer)> {
    let waiting: Vec<_> = (0..QUIET)
        .map(|_| {
            let (handle, peer) = rig.pair();
            (rig.receive(handle, 8), peer)
        })
        .collect();
    waiting
        .into_iter()
        .map(|(token, mut peer)| {
            peer.write_all(b"x").unwrap();
            (token, peer)
        })
        .collect()
}

/// Keeps the busy one busy until it has completed a while, then counts how often it completes before each quiet one has.
fn starves_nobody(rig: &mut Rig, mut busy: impl FnMut(&mut Rig, completion_port::Completion)) {
    let mut ran = 0;
    while ran < 100 {
        let completion = rig.next();
        busy(rig, completion);
        ran += 1;
    }
    let quiet = quiet(rig);
    let mut waiting: HashSet<Token> = quiet.iter().map(|(token, _)| *token).collect();
    let mut count = 0;
    while !waiting.is_empty() {
        let completion = rig.next();
        if waiting.remove(&completion.token) {
            assert_eq!(completion.result, Ok(1));
        } else {
            count += 1;
            assert!(count <= BOUND, "{} quiet handles still wait after {count} completions", waiting.len());
            busy(rig, completion);
        }
    }
}

fn a_socket_that_never_stops_sending(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    peer.set_nonblocking(true);
    while peer.write(&[7; 100_000]).is_ok() {}
    rig.submit(handle, Operation::ReceiveStream);
    starves_nobody(rig, |_, completion| {
        assert_eq!(completion.kind, OperationKind::ReceiveStream);
        assert!(!completion.last, "{completion:?}");
        let _ = peer.write(&[7; 100_000]);
    });
}

fn a_socket_that_is_always_writable(rig: &mut Rig) {
    let (handle, peer) = rig.pair();
    let _reading = rig.read_beside(peer);
    let send =
        |rig: &mut Rig| rig.submit(handle, Operation::Send { chain: Slice::from_static(&[7; 100]).into() });
    for _ in 0..64 {
        send(rig);
    }
    starves_nobody(rig, |rig, completion| {
        assert_eq!(completion.result, Ok(100));
        send(rig);
    });
}

fn reads_that_are_done_at_once(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(rig, folder.path(), &pattern(64));
    let read = |rig: &mut Rig| {
        let buffer = rig.port.buffers().acquire(16).unwrap();
        rig.submit(file, Operation::ReadAt { file, offset: 0, buffer });
    };
    for _ in 0..32 {
        read(rig);
    }
    starves_nobody(rig, |rig, completion| {
        assert_eq!(completion.kind, OperationKind::ReadAt);
        drop(completion);
        read(rig);
    });
}

fn packets_without_end(rig: &mut Rig) {
    let post = |rig: &mut Rig| rig.port.post(0, Packet::default()).unwrap();
    for _ in 0..32 {
        post(rig);
    }
    starves_nobody(rig, |rig, completion| {
        assert!(matches!(completion.payload, Payload::Packet(_)));
        post(rig);
    });
}

fn packets_without_end_that_are_taken_one_by_one(rig: &mut Rig) {
    packets_without_end(rig);
}

fn timers_without_end(rig: &mut Rig) {
    let set = |rig: &mut Rig| rig.submit(Handle::NONE, Operation::Timer { after: Duration::ZERO });
    for _ in 0..64 {
        set(rig);
    }
    starves_nobody(rig, |rig, completion| {
        assert_eq!(completion.kind, OperationKind::Timer);
        set(rig);
    });
}

fn a_listener_with_a_crowd_before_it(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let crowd = |rig: &Rig| (0..4).map(|_| rig.connect(address)).collect::<Vec<_>>();
    let mut peers: Vec<_> = (0..8).flat_map(|_| crowd(rig)).collect();
    rig.submit(listener, Operation::AcceptStream);
    let mut accepted = 0;
    starves_nobody(rig, |rig, completion| {
        let Payload::Accepted(handle) = completion.payload else { panic!("{completion:?}") };
        rig.worker.close(handle);
        accepted += 1;
        // As many come as were taken.
        if accepted % 4 == 0 {
            peers.drain(..4);
            peers.extend(crowd(rig));
        }
    });
}
