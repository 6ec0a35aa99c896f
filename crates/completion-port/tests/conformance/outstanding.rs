//! Several receives and sends at once on one handle: whatever the backend does at once, the program sees one order.

use crate::harness::{Rig, failure, on_each_backend_with, pattern};
use completion_port::{Configuration, ErrorKind, Operation};
use std::{
    io::{Read, Write},
    time::Duration,
};

fn eight(configuration: &mut Configuration) {
    (configuration.receives_outstanding, configuration.sends_outstanding) = (8, 8);
}

#[test]
fn several_receives_and_sends_complete_in_the_order_of_submission() {
    on_each_backend_with(eight, |rig: &mut Rig| {
        let (handle, mut peer) = rig.pair();
        let expected = pattern(300_000);
        let (mut received, mut submitted) = (Vec::new(), 0);
        let mut writer = peer.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for part in expected.chunks(7_001) {
                    writer.write_all(part).unwrap();
                }
            });
            let reader = scope.spawn(|| {
                let mut all = vec![0; expected.len()];
                peer.read_exact(&mut all).unwrap();
                assert!(all == expected, "what was sent arrived in another order");
            });
            let mut receives = std::collections::VecDeque::new();
            let mut sends = std::collections::VecDeque::new();
            while received.len() < expected.len() || submitted < expected.len() || !sends.is_empty() {
                while receives.len() < 12 && received.len() < expected.len() {
                    receives.push_back(rig.receive(handle, 1 + (receives.len() * 977) % 4_000));
                }
                while sends.len() < 12 && submitted < expected.len() {
                    let length = (1 + submitted % 3_001).min(expected.len() - submitted);
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
            reader.join().unwrap();
        });
        assert!(received == expected, "what was received is in another order");
        rig.close(handle);
    });
}

#[test]
fn a_receive_behind_others_can_be_cancelled() {
    on_each_backend_with(eight, |rig| {
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
    });
}

#[test]
fn the_end_comes_to_all_that_wait_for_bytes() {
    on_each_backend_with(eight, |rig| {
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
    });
}
