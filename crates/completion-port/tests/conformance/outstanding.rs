//! Several receives and sends at once on one handle: whatever the backend does at once, the program sees one order.

use crate::{
    harness::{Rig, failure, pattern},
    suite::Case,
};
use completion_port::{Configuration, ErrorKind, Operation};
use std::{
    collections::VecDeque,
    io::{Read, Write},
    time::Duration,
};

pub(crate) const CASES: &[Case] = cases![
    several_receives_and_sends_complete_in_the_order_of_submission with eight,
    a_receive_behind_others_can_be_cancelled with eight,
    the_end_comes_to_all_that_wait_for_bytes with eight,
];

fn eight(configuration: &mut Configuration) {
    (configuration.receives_outstanding, configuration.sends_outstanding) = (8, 8);
}

fn several_receives_and_sends_complete_in_the_order_of_submission(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let expected = pattern(200_000);
    let (mut received, mut echoed) = (Vec::new(), vec![0; expected.len()]);
    for (round, part) in expected.chunks(10_007).enumerate() {
        peer.write_all(part).unwrap();
        let mut sends: VecDeque<_> =
            part.chunks(401 + round * 97).map(|piece| rig.send(handle, piece)).collect();
        let mut receives = VecDeque::new();
        let until = received.len() + part.len();
        while received.len() < until || !sends.is_empty() {
            while receives.len() < 12 && received.len() < until {
                receives.push_back(rig.receive(handle, 1 + (receives.len() * 977) % 4_000));
            }
            let completion = rig.next();
            let line = if receives.contains(&completion.token) { &mut receives } else { &mut sends };
            assert_eq!(line.pop_front(), Some(completion.token), "{completion:?} is out of order");
            if let Some(buffer) = completion.payload.into_buffer() {
                received.extend_from_slice(&buffer);
            }
        }
        for token in receives {
            rig.worker.cancel(token);
            assert_eq!(failure(&rig.next_of(token)), ErrorKind::Cancelled);
        }
        let from = until - part.len();
        peer.read_exact(&mut echoed[from..until]).unwrap();
    }
    assert!(received == expected, "what was received is in another order");
    assert!(echoed == expected, "what was sent arrived in another order");
    rig.close(handle);
}

fn a_receive_behind_others_can_be_cancelled(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let first = rig.receive(handle, 3);
    let buffer = rig.port.buffers().acquire(3).unwrap();
    let limit = Duration::from_millis(5);
    let second = rig.worker.submit_with_limit(handle, Operation::Receive { buffer }, limit).unwrap();
    let [third, fourth] = [(); 2].map(|()| rig.receive(handle, 3));
    rig.worker.cancel(third);
    assert_eq!(failure(&rig.next_of(third)), ErrorKind::Cancelled);
    assert_eq!(failure(&rig.next_of(second)), ErrorKind::TimedOut);
    peer.write_all(b"onetwo").unwrap();
    for (token, text) in [(first, b"one"), (fourth, b"two")] {
        let completion = rig.next();
        assert_eq!(completion.token, token);
        assert_eq!(&completion.payload.into_buffer().unwrap()[..], text);
    }
    rig.close(handle);
}

fn the_end_comes_to_all_that_wait_for_bytes(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let tokens = [(); 4].map(|()| rig.receive(handle, 100));
    peer.write_all(b"last").unwrap();
    let first = rig.next();
    assert_eq!((first.token, first.result), (tokens[0], Ok(4)));
    drop(peer);
    for token in &tokens[1..] {
        let completion = rig.next();
        assert_eq!((completion.token, completion.result), (*token, Ok(0)));
    }
    rig.close(handle);
}
