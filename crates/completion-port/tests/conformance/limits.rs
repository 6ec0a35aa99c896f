//! At the limits: what does not fit comes back whole, what waits goes on later.

use crate::{
    harness::{Rig, failure, file_with, pattern},
    suite::{Case, Only},
};
use completion_port::{
    Backend, BufferChain, BufferClass, Completion, ErrorKind, Handle, OpenOptions, Operation, OperationKind,
    Payload,
};
use std::{
    collections::{HashMap, VecDeque},
    io::Write,
    net::SocketAddr,
    time::Duration,
};

pub(crate) const CASES: &[Case] = cases![
    an_operation_beyond_the_limit_comes_back_whole with |configuration| configuration.operations = 4,
    a_handle_beyond_the_limit_gives_its_source_back with |configuration| configuration.handles = 2,
    an_accept_stream_without_room_waits_until_something_is_closed with |configuration| {
        configuration.handles = 3;
    },
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
    a_close_is_never_refused_for_want_of_room with |configuration| configuration.operations = 2,
    an_accept_without_a_handle_says_so_and_loses_no_connection with |configuration| configuration.handles = 3,
    a_connection_that_comes_when_the_last_handle_is_gone_is_not_lost with |configuration| {
        configuration.handles = 3;
    },
    an_open_without_a_handle_says_so with |configuration| configuration.handles = 1,
    buffers_that_return_serve_all_streams_that_wait with |configuration| {
        configuration.buffers = vec![BufferClass { capacity: 4_096, count: 4 }];
        configuration.receive_buffers = 2;
    },
    a_pool_of_buffers_that_is_empty_says_so_and_recovers with |configuration| {
        configuration.buffers = vec![BufferClass { capacity: 4_096, count: 2 }];
        configuration.heap_bytes = 10_000;
    },
    a_transmission_without_a_buffer_waits_until_one_returns with |configuration| {
        configuration.buffers = vec![BufferClass { capacity: 4_096, count: 1 }];
        configuration.receive_buffers = 0;
    },
    accepts_without_memory_wait_or_say_so_and_lose_no_connection; only Only {
        backends: &[Backend::Simulated],
        why: "no kernel runs out of memory for sockets when it is asked to",
    },
    a_burst_of_items_loses_none with |configuration| {
        configuration.receive_bytes = 1;
        configuration.receive_buffers = 4_096;
        configuration.buffers = vec![BufferClass { capacity: 16, count: 8_192 }];
    },
    a_burst_of_timers_and_reads_loses_none with |configuration| {
        configuration.operations = 16_384;
        configuration.buffers = vec![BufferClass { capacity: 64, count: 4_096 }];
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

fn a_close_is_never_refused_for_want_of_room(rig: &mut Rig) {
    let pairs: Vec<_> = (0..4).map(|_| rig.pair()).collect();
    let (first, second) = (rig.receive(pairs[0].0, 8), rig.receive(pairs[1].0, 8));
    let rejected = rig.worker.submit(pairs[2].0, Operation::Disconnect).unwrap_err();
    assert_eq!(rejected.error.kind(), ErrorKind::OperationsExhausted);
    let closes: Vec<_> = pairs.iter().map(|(handle, _)| rig.submit(*handle, Operation::Close)).collect();
    for token in [first, second] {
        assert_eq!(failure(&rig.next_of(token)), ErrorKind::Cancelled);
    }
    for token in closes {
        assert_eq!(rig.next_of(token).result, Ok(0));
    }
}

/// The address of the peer that an accept took.
fn taken(rig: &mut Rig, completion: Completion) -> (Handle, SocketAddr) {
    match completion.payload {
        Payload::Accepted(handle) => (handle, rig.worker.peer_address(handle).unwrap()),
        other => panic!("{other:?} after {:?}", completion.result),
    }
}

fn an_accept_without_a_handle_says_so_and_loses_no_connection(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let mut open = vec![rig.pair(), rig.pair()];
    let mut peer = rig.connect(address);
    peer.write_all(b"hello").unwrap();
    for _ in 0..3 {
        assert_eq!(failure(&rig.run(listener, Operation::Accept)), ErrorKind::HandlesExhausted);
    }
    let (handle, _) = open.pop().unwrap();
    rig.close(handle);
    let accepted = rig.run(listener, Operation::Accept);
    let (handle, from) = taken(rig, accepted);
    assert_eq!(from, peer.local_addr());
    let receive = rig.receive(handle, 8);
    assert_eq!(&rig.next_of(receive).payload.into_buffer().unwrap()[..], b"hello");
    rig.close(handle);
    rig.close(listener);
}

fn a_connection_that_comes_when_the_last_handle_is_gone_is_not_lost(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let mut open = vec![rig.pair()];
    // There is room as they begin, and none when the connection comes. First a single one is next, then a stream.
    for next in [Operation::Accept, Operation::AcceptStream] {
        let accept = rig.submit(listener, Operation::Accept);
        rig.expect_silence();
        open.push(rig.pair());
        let mut peer = rig.connect(address);
        peer.write_all(b"hello").unwrap();
        let ended = rig.next_of(accept);
        assert_eq!(
            (failure(&ended), ended.result.unwrap_err().operation()),
            (ErrorKind::HandlesExhausted, OperationKind::Accept)
        );
        let (handle, _) = open.pop().unwrap();
        rig.close(handle);
        let again = rig.submit(listener, next);
        let accepted = rig.next_of(again);
        let (handle, from) = taken(rig, accepted);
        assert_eq!(from, peer.local_addr());
        let receive = rig.receive(handle, 8);
        assert_eq!(&rig.next_of(receive).payload.into_buffer().unwrap()[..], b"hello");
        rig.close(handle);
        rig.worker.cancel(again);
    }
    rig.close(listener);
}

fn an_open_without_a_handle_says_so(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "content").unwrap();
    let open = |create| {
        let options = OpenOptions::new().read(true).write(create).create(create);
        Operation::Open { directory: None, path: folder.path().join("file"), options }
    };
    let (handle, _peer) = rig.pair();
    for create in [false, true] {
        assert_eq!(failure(&rig.run(Handle::NONE, open(create))), ErrorKind::HandlesExhausted);
    }
    rig.close(handle);
    let opened = rig.run(Handle::NONE, open(false));
    let Payload::Opened { file, .. } = opened.payload else { panic!("{:?}", opened.result) };
    rig.close(file);
}

fn buffers_that_return_serve_all_streams_that_wait(rig: &mut Rig) {
    let pairs: Vec<_> = (0..30).map(|_| rig.pair()).collect();
    let mut peers = Vec::new();
    for (number, (handle, mut peer)) in pairs.into_iter().enumerate() {
        rig.worker.set_key(handle, number as u64).unwrap();
        rig.submit(handle, Operation::ReceiveStream);
        peer.write_all(&[number as u8; 3]).unwrap();
        peers.push(peer);
    }
    // Two are always held, so that all have to share the others.
    let mut held = VecDeque::new();
    let mut received = [0; 30];
    while received.iter().any(|count| *count < 3) {
        let item = rig.next();
        let buffer = item.payload.into_buffer().unwrap();
        assert!(buffer.iter().all(|byte| u64::from(*byte) == item.key));
        received[item.key as usize] += buffer.len();
        held.push_back(buffer);
        if held.len() > 2 {
            held.pop_front();
        }
    }
    assert_eq!(received, [3; 30]);
}

fn a_pool_of_buffers_that_is_empty_says_so_and_recovers(rig: &mut Rig) {
    let buffers = rig.port.buffers().clone();
    for _ in 0..3 {
        let held = [buffers.acquire(1).unwrap(), buffers.acquire(4_096).unwrap()];
        for capacity in [1, 4_096] {
            assert_eq!(buffers.acquire(capacity).unwrap_err().kind(), ErrorKind::BuffersExhausted);
        }
        // The other thread's drop is as good as one here.
        std::thread::spawn(move || drop(held)).join().unwrap();
        let heap = buffers.allocate(9_000).unwrap();
        assert_eq!(buffers.allocate(9_000).unwrap_err().kind(), ErrorKind::BuffersExhausted);
        drop(heap);
    }
}

fn a_transmission_without_a_buffer_waits_until_one_returns(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(rig, folder.path(), &pattern(100_000));
    let (handle, peer) = rig.pair();
    let held = rig.port.buffers().acquire(4_096).unwrap();
    let head = BufferChain::new();
    let transmit = rig.submit(handle, Operation::TransmitFile { head, file, offset: 0, length: 100_000 });
    let reading = rig.read_beside(peer);
    // Some backends need no buffer for it. Whoever does must not spin, and not fail.
    let mut arrived = Vec::new();
    rig.worker.wait(&mut arrived, Some(Duration::from_millis(50))).unwrap();
    drop(held);
    let sent = arrived.pop().unwrap_or_else(|| rig.next_of(transmit));
    assert_eq!((sent.token, sent.result), (transmit, Ok(100_000)));
    rig.close(handle);
    assert!(rig.read_to_end(&reading) == pattern(100_000));
    rig.close(file);
}

fn accepts_without_memory_wait_or_say_so_and_lose_no_connection(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let peers = [rig.connect(address), rig.connect(address)];
    rig.network.fail_accepts(true);
    for _ in 0..20 {
        let lack = failure(&rig.run(listener, Operation::Accept));
        assert!(matches!(lack, ErrorKind::DescriptorsExhausted | ErrorKind::SystemResources), "{lack:?}");
    }
    let stream = rig.submit(listener, Operation::AcceptStream);
    rig.expect_silence();
    rig.network.fail_accepts(false);
    for peer in &peers {
        let item = rig.next_of(stream);
        assert_eq!(taken(rig, item).1, peer.local_addr());
    }
    rig.close(listener);
}

/// Thousands of items are ready before the first wait looks: more than a batch, and than a ring of the kernel holds.
fn a_burst_of_items_loses_none(rig: &mut Rig) {
    let all = pattern(40);
    let pairs: Vec<_> = (0..100).map(|_| rig.pair()).collect();
    let mut peers = Vec::new();
    for (number, (handle, peer)) in pairs.into_iter().enumerate() {
        rig.worker.set_key(handle, number as u64).unwrap();
        rig.submit(handle, Operation::ReceiveStream);
        peers.push(peer);
    }
    rig.expect_silence();
    peers.iter_mut().for_each(|peer| peer.write_all(&all).unwrap());
    let mut received = vec![Vec::new(); 100];
    while received.iter().any(|bytes: &Vec<u8>| bytes.len() < all.len()) {
        let item = rig.next();
        assert_eq!((item.result, item.last), (Ok(1), false));
        received[item.key as usize].push(item.payload.into_buffer().unwrap()[0]);
    }
    assert!(received.iter().all(|bytes| *bytes == all));
    rig.expect_silence();
}

fn a_burst_of_timers_and_reads_loses_none(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(rig, folder.path(), &pattern(4_000));
    let mut waiting = HashMap::new();
    for place in 0..4_000 {
        waiting.insert(rig.submit(Handle::NONE, Operation::Timer { after: Duration::ZERO }), None);
        let buffer = rig.port.buffers().acquire(1).unwrap();
        waiting.insert(rig.submit(file, Operation::ReadAt { file, offset: place, buffer }), Some(place));
    }
    let all = pattern(4_000);
    while !waiting.is_empty() {
        let completion = rig.next();
        let place = waiting.remove(&completion.token).expect("each ends once");
        if let Some(place) = place {
            let buffer = completion.payload.into_buffer().unwrap();
            assert_eq!(buffer[..], all[place as usize..][..buffer.len()]);
        }
    }
    rig.expect_silence();
    rig.close(file);
}
