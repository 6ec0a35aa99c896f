//! At the limits: what does not fit comes back whole, what waits goes on later.

use crate::{
    harness::{Rig, failure},
    suite::Case,
};
use completion_port::{BufferClass, ErrorKind, Handle, Operation, OperationKind, Payload};
use std::{io::Write, time::Duration};

pub(crate) const CASES: &[Case] = cases![
    an_operation_beyond_the_limit_comes_back_whole with |configuration| configuration.operations = 4,
    a_handle_beyond_the_limit_gives_its_source_back with |configuration| configuration.handles = 2,
    an_accept_stream_without_room_waits_until_something_is_closed with |configuration| configuration.handles = 3,
    a_receive_stream_without_buffers_waits_until_one_returns with |configuration| {
            configuration.buffers = vec![BufferClass { capacity: 4_096, count: 4 }];
            configuration.receive_buffers = 2;
        },
    a_receive_stream_that_waits_for_a_buffer_can_be_cancelled with |configuration| {
            configuration.buffers = vec![BufferClass { capacity: 4_096, count: 2 }];
            configuration.receive_buffers = 1;
        },
    sends_are_refused_above_the_mark_and_a_writable_completion_follows with |configuration| {
        configuration.send_bytes = 1 << 20;
    },
];

fn an_operation_beyond_the_limit_comes_back_whole(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let timer = || Operation::Timer { after: Duration::from_secs(3600) };
    let tokens: Vec<_> = (0..4).map(|_| rig.submit(Handle::NONE, timer())).collect();
    let chain = rig.chain(b"hello");
    let rejected = rig.worker.submit(handle, Operation::Send { chain }).expect_err("there is no room");
    assert_eq!(rejected.error.kind(), ErrorKind::OperationsExhausted);
    let Operation::Send { chain } = rejected.operation else { panic!("another operation came back") };
    assert_eq!(chain.len(), 5);
    rig.worker.cancel(tokens[2]);
    assert_eq!(failure(&rig.next_of(tokens[2])), ErrorKind::Cancelled);
    assert_eq!(rig.run(handle, Operation::Send { chain }).result, Ok(5));
    let mut read = [0; 5];
    std::io::Read::read_exact(&mut peer, &mut read).unwrap();
}

fn a_handle_beyond_the_limit_gives_its_source_back(rig: &mut Rig) {
    let (first, second) = (rig.listener().0, rig.listener().0);
    let (listener, _) = rig.network.listener();
    let (error, source) = rig.worker.associate(listener, 0).expect_err("there is no room");
    assert_eq!(error.kind(), ErrorKind::HandlesExhausted);
    rig.close(first);
    let third = rig.worker.associate(source, 0).expect("there is room again");
    // The place was used before: the old name does not reach the new handle.
    assert_eq!(rig.worker.set_key(first, 9).unwrap_err().kind(), ErrorKind::StaleHandle);
    rig.worker.close(first);
    assert!(rig.worker.local_address(third).is_ok());
    rig.close(second);
    rig.close(third);
}

fn an_accept_stream_without_room_waits_until_something_is_closed(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let stream = rig.submit(listener, Operation::AcceptStream);
    let _peers: Vec<_> = (0..4).map(|_| rig.connect(address)).collect();
    let mut accepted = Vec::new();
    for round in 0..4 {
        let completion = rig.next_of(stream);
        assert_eq!((completion.result, completion.last), (Ok(0), false));
        let Payload::Accepted(handle) = completion.payload else { panic!("nothing was accepted") };
        accepted.push(handle);
        if round >= 1 {
            rig.expect_silence();
            let handle = accepted.remove(0);
            rig.worker.close(handle);
        }
    }
    rig.worker.cancel(stream);
    assert_eq!(failure(&rig.next_of(stream)), ErrorKind::Cancelled);
    rig.close(listener);
}

fn a_receive_stream_without_buffers_waits_until_one_returns(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let stream = rig.submit(handle, Operation::ReceiveStream);
    let mut held = Vec::new();
    let mut sent = 0u8;
    // As long as buffers come, each brings what was sent since the last.
    let mut arrived = Vec::new();
    loop {
        peer.write_all(&[sent]).unwrap();
        sent += 1;
        rig.worker.wait(&mut arrived, Some(Duration::from_millis(100))).unwrap();
        match arrived.pop() {
            Some(completion) => {
                assert!(!completion.last, "{completion:?}");
                held.push(completion.payload.into_buffer().unwrap());
            }
            None => break,
        }
    }
    assert!((1..=4).contains(&held.len()), "{} buffers of 4 were given", held.len());
    let mut received: Vec<u8> = Vec::new();
    for buffer in held.drain(..) {
        received.extend_from_slice(&buffer);
        drop(buffer);
    }
    while received.len() < sent as usize {
        let item = rig.next_of(stream);
        received.extend_from_slice(&item.payload.into_buffer().unwrap());
    }
    assert_eq!(received, (0..sent).collect::<Vec<_>>());
    rig.worker.cancel(stream);
    assert_eq!(failure(&rig.next_of(stream)), ErrorKind::Cancelled);
    rig.close(handle);
}

fn a_receive_stream_that_waits_for_a_buffer_can_be_cancelled(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let mut held = Vec::new();
    while let Ok(buffer) = rig.port.buffers().acquire(4_096) {
        held.push(buffer);
    }
    let stream = rig.submit(handle, Operation::ReceiveStream);
    peer.write_all(b"x").unwrap();
    let mut arrived = Vec::new();
    rig.worker.wait(&mut arrived, Some(Duration::from_millis(50))).unwrap();
    rig.worker.cancel(stream);
    let end = rig.next_of(stream);
    assert_eq!((failure(&end), end.last), (ErrorKind::Cancelled, true));
    rig.close(handle);
}

/// Bytes that wait for a peer that does not read are bounded; when it reads, the program hears of it.
fn sends_are_refused_above_the_mark_and_a_writable_completion_follows(rig: &mut Rig) {
    let (handle, peer) = rig.pair();
    // Alone, a send may be of any length.
    let huge = rig.submit(handle, Operation::Send { chain: Rig::huge_chain() });
    let chain = rig.chain(b"later");
    let rejected = rig.worker.submit(handle, Operation::Send { chain }).unwrap_err();
    assert_eq!(rejected.error.kind(), ErrorKind::SendQueueFull);
    let Operation::Send { chain } = rejected.operation else { panic!("it comes back whole") };
    let reading = rig.read_beside(peer);
    assert_eq!(rig.next_of(huge).result, Ok(64 << 20));
    let writable = rig.next();
    assert_eq!((writable.kind, writable.handle, writable.key), (OperationKind::Writable, handle, 7));
    assert_eq!(rig.run(handle, Operation::Send { chain }).result, Ok(5));
    rig.close(handle);
    assert_eq!(rig.read_to_end(&reading).len(), (64 << 20) + 5);
}
