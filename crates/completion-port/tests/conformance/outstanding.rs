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
    let (handle, mut peer) = rig.narrow_pair();
    let expected = pattern(200_000);
    let total = expected.len();
    // The peer sends back what it gets.
    let (mut echoed, mut waiting, mut piece) = (0, Vec::new(), [0; 5_003]);
    peer.set_nonblocking(true);
    rig.beside(move || {
        if let Ok(count) = peer.read(&mut piece) {
            waiting.extend_from_slice(&piece[..count]);
        }
        if let Ok(count) = peer.write(&waiting) {
            waiting.drain(..count);
            echoed += count;
        }
        echoed == total
    });
    let (mut receives, mut sends) = (VecDeque::new(), VecDeque::new());
    let (mut received, mut submitted) = (Vec::new(), 0);
    while received.len() < total || !sends.is_empty() {
        while receives.len() < 12 && received.len() < total {
            receives.push_back(rig.receive(handle, 1 + (received.len() + receives.len() * 977) % 4_000));
        }
        while sends.len() < 12 && submitted < total {
            let length = (1 + submitted % 3_001).min(total - submitted);
            sends.push_back(rig.send(handle, &expected[submitted..][..length]));
            submitted += length;
        }
        let completion = rig.next();
        let line = if receives.contains(&completion.token) { &mut receives } else { &mut sends };
        assert_eq!(line.pop_front(), Some(completion.token), "{completion:?} is out of order");
        if let Some(buffer) = completion.payload.into_buffer() {
            received.extend_from_slice(&buffer);
        }
    }
    assert!(received == expected, "the bytes are in another order");
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
    let mut received = 0;
    // A system that breaks up what comes may need several.
    let mut next = 0;
    while received < 4 {
        let completion = rig.next();
        assert_eq!(completion.token, tokens[next]);
        received += completion.result.unwrap();
        next += 1;
    }
    drop(peer);
    for token in &tokens[next..] {
        let completion = rig.next();
        assert_eq!((completion.token, completion.result), (*token, Ok(0)));
    }
    rig.close(handle);
}
