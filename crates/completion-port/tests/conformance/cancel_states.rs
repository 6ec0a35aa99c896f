//! Cancel, in every state that an operation can be in. Each time: one end, the buffers home, and no byte or connection lost.

use crate::{
    harness::{PATIENCE, Rig, failure, pattern},
    suite::{Case, ON_THREADS},
};
use completion_port::{Completion, ErrorKind, Handle, OpenOptions, Operation, Payload, Token};
use std::{io::Write, sync::mpsc, time::Duration};

pub(crate) const CASES: &[Case] = cases![
    a_receive_that_is_done_and_not_taken_loses_no_bytes with |configuration| configuration.batch = 1,
    a_receive_that_the_kernel_has_done_loses_no_bytes,
    a_timer_that_is_done_and_not_taken_ends_once with |configuration| configuration.batch = 1,
    a_call_that_is_done_and_not_taken_ends_once; only ON_THREADS,
    a_stream_between_items_loses_no_bytes,
    an_accept_stream_between_items_loses_no_connection,
    a_cancel_asked_for_twice_ends_once,
    an_operation_behind_another_ends_alone,
    an_open_on_the_pool_ends_once with |configuration| configuration.pool_threads = 1,
    a_name_of_an_earlier_worker_cancels_nothing,
    a_cancel_beside_a_limit_ends_once,
    a_cancel_in_line_begins_nothing,
];

/// Receives until so many bytes have come.
fn rest_of(rig: &mut Rig, handle: Handle, received: &mut Vec<u8>, expected: usize) {
    while received.len() < expected {
        let token = rig.receive(handle, 64);
        let completion = rig.next_of(token);
        received.extend_from_slice(&completion.payload.into_buffer().unwrap());
    }
}

fn a_receive_that_is_done_and_not_taken_loses_no_bytes(rig: &mut Rig) {
    let pairs: Vec<_> = (0..8).map(|_| rig.pair()).collect();
    let mut running = Vec::new();
    let mut peers = Vec::new();
    for (handle, mut peer) in pairs {
        running.push((handle, rig.receive(handle, 64)));
        peer.write_all(b"bytes").unwrap();
        peers.push(peer);
    }
    // All have their bytes, and one wait hands out one of them.
    let first = rig.next();
    let mut received: Vec<(Handle, Vec<u8>)> = Vec::new();
    for &(_, token) in &running {
        rig.worker.cancel(token);
    }
    let mut first = Some(first);
    for &(handle, token) in &running {
        let taken = first.take_if(|completion| completion.token == token);
        let completion = taken.unwrap_or_else(|| rig.next_of(token));
        received.push((handle, bytes_of(completion)));
    }
    rig.expect_silence();
    for (handle, mut bytes) in received {
        rest_of(rig, handle, &mut bytes, 5);
        assert_eq!(bytes, b"bytes");
        rig.close(handle);
    }
}

/// What a receive brought that was done, or cancelled before it was.
fn bytes_of(completion: Completion) -> Vec<u8> {
    assert!(completion.last);
    let bytes = match completion.result {
        Ok(bytes) => bytes as usize,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            0
        }
    };
    let buffer = completion.payload.into_buffer().unwrap();
    assert_eq!(buffer.len(), bytes);
    buffer.to_vec()
}

/// The bytes come between two waits: the worker learns of them and of the cancel in one.
fn a_receive_that_the_kernel_has_done_loses_no_bytes(rig: &mut Rig) {
    for _ in 0..20 {
        let (handle, mut peer) = rig.pair();
        let token = rig.receive(handle, 64);
        let mut arrived = Vec::new();
        rig.worker.wait(&mut arrived, Some(Duration::from_millis(1))).unwrap();
        assert!(arrived.is_empty());
        peer.write_all(b"bytes").unwrap();
        rig.worker.cancel(token);
        let completion = rig.next_of(token);
        let mut bytes = bytes_of(completion);
        rest_of(rig, handle, &mut bytes, 5);
        assert_eq!(bytes, b"bytes");
        rig.close(handle);
    }
}

fn ends_once(rig: &mut Rig, tokens: &[Token]) -> Vec<Result<u64, ErrorKind>> {
    let results = tokens.iter().map(|&token| rig.next_of(token).result.map_err(|error| error.kind()));
    let results: Vec<_> = results.collect();
    rig.expect_silence();
    for result in &results {
        assert!(matches!(result, Ok(_) | Err(ErrorKind::Cancelled)), "{result:?}");
    }
    results
}

fn a_timer_that_is_done_and_not_taken_ends_once(rig: &mut Rig) {
    let timers: Vec<_> =
        (0..8).map(|_| rig.submit(Handle::NONE, Operation::Timer { after: Duration::ZERO })).collect();
    let first = rig.next();
    assert_eq!(first.token, timers[0]);
    timers[1..].iter().for_each(|&token| rig.worker.cancel(token));
    ends_once(rig, &timers[1..]);
}

fn a_call_that_is_done_and_not_taken_ends_once(rig: &mut Rig) {
    let (done, ended) = mpsc::channel();
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let done = done.clone();
            let work = Box::new(move || {
                done.send(()).unwrap();
                Box::new(number) as Box<_>
            });
            rig.submit(Handle::NONE, Operation::Call { work })
        })
        .collect();
    for _ in &calls {
        ended.recv_timeout(PATIENCE).unwrap();
    }
    calls.iter().for_each(|&token| rig.worker.cancel(token));
    // They have run: a cancel can undo nothing, and hides no result.
    assert_eq!(ends_once(rig, &calls), [Ok(0); 8]);
}

fn a_stream_between_items_loses_no_bytes(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let all = pattern(200_000);
    let mut received = Vec::new();
    let mut written = 0;
    peer.set_nonblocking(true);
    let sent = all.clone();
    rig.beside(move || {
        // In small pieces, so that there are many items.
        for _ in 0..20 {
            match peer.write(&sent[written..(written + 1_000).min(sent.len())]) {
                Ok(count) => written += count,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
        written == sent.len() && peer.shutdown(std::net::Shutdown::Write).is_ok()
    });
    let mut ended = false;
    while !ended {
        let stream = rig.submit(handle, Operation::ReceiveStream);
        let mut asked = false;
        loop {
            let completion = rig.next_of(stream);
            if completion.last {
                ended = completion.result == Ok(0);
                assert!(ended || failure(&completion) == ErrorKind::Cancelled, "{completion:?}");
                break;
            }
            received.extend_from_slice(&completion.payload.into_buffer().unwrap());
            if !std::mem::replace(&mut asked, true) {
                rig.worker.cancel(stream);
            }
        }
    }
    assert!(received == all, "{} bytes of {} came, or not in their order", received.len(), all.len());
    rig.close(handle);
}

fn an_accept_stream_between_items_loses_no_connection(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let peers: Vec<_> = (0..20).map(|_| rig.connect(address)).collect();
    let mut accepted = Vec::new();
    while accepted.len() < peers.len() {
        let stream = rig.submit(listener, Operation::AcceptStream);
        let mut last = false;
        while !last {
            let completion = rig.next_of(stream);
            last = completion.last;
            match completion.payload {
                Payload::Accepted(handle) => {
                    accepted.push(rig.worker.peer_address(handle).unwrap());
                    rig.worker.cancel(stream);
                    rig.worker.close(handle);
                }
                _ => assert_eq!(failure(&completion), ErrorKind::Cancelled),
            }
        }
    }
    let mut expected: Vec<_> = peers.iter().map(|peer| peer.local_addr()).collect();
    accepted.sort();
    expected.sort();
    assert_eq!(accepted, expected);
    rig.close(listener);
}

fn a_cancel_asked_for_twice_ends_once(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let (listener, _) = rig.listener();
    let tokens = [
        rig.receive(handle, 8),
        rig.submit(handle, Operation::Send { chain: Rig::huge_chain() }),
        rig.submit(listener, Operation::AcceptStream),
        rig.submit(listener, Operation::Accept),
        rig.submit(Handle::NONE, Operation::Timer { after: PATIENCE * 100 }),
    ];
    for token in tokens.into_iter().chain(tokens) {
        rig.worker.cancel(token);
        rig.worker.cancel(token);
    }
    assert_eq!(ends_once(rig, &tokens), [Err(ErrorKind::Cancelled); 5]);
    tokens.into_iter().for_each(|token| rig.worker.cancel(token));
    rig.expect_silence();
}

fn an_operation_behind_another_ends_alone(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let tokens: Vec<_> = (0..5).map(|_| rig.receive(handle, 1)).collect();
    for middle in [2, 4, 1] {
        rig.worker.cancel(tokens[middle]);
        let end = rig.next();
        assert_eq!((end.token, failure(&end)), (tokens[middle], ErrorKind::Cancelled));
    }
    peer.write_all(b"ab").unwrap();
    for (token, byte) in [(tokens[0], b'a'), (tokens[3], b'b')] {
        let received = rig.next();
        assert_eq!((received.token, received.result), (token, Ok(1)));
        assert_eq!(received.payload.into_buffer().unwrap()[0], byte);
    }
    rig.close(handle);
}

fn an_open_on_the_pool_ends_once(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let (release, held) = mpsc::channel::<()>();
    let work = Box::new(move || Box::new(held.recv_timeout(PATIENCE).is_ok()) as Box<_>);
    let blocking = rig.submit(Handle::NONE, Operation::Call { work });
    // Created, so that no backend can do it in place; it waits behind the call.
    let options = OpenOptions::new().write(true).create(true);
    let path = folder.path().join("new");
    let open = rig.submit(Handle::NONE, Operation::Open { directory: None, path: path.clone(), options });
    rig.worker.cancel(open);
    release.send(()).unwrap();
    let completion = rig.next_of(open);
    match completion.payload {
        Payload::Opened { file, .. } => rig.close(file),
        _ => {
            assert_eq!(failure(&completion), ErrorKind::Cancelled);
            assert!(!path.exists(), "what was cancelled while it waited was done all the same");
        }
    }
    assert_eq!(rig.next_of(blocking).result, Ok(0));
    rig.expect_silence();
}

fn a_name_of_an_earlier_worker_cancels_nothing(rig: &mut Rig) {
    let mut left = rig.fresh();
    let old: Vec<_> =
        (0..3).map(|_| left.submit(Handle::NONE, Operation::Timer { after: PATIENCE * 100 })).collect();
    let (stale, _peer) = left.pair();
    let (network, port) = (left.network.clone(), left.leave());
    let mut next = Rig::on(port, network);
    let (handle, mut peer) = next.pair();
    let receive = next.receive(handle, 8);
    let timer = next.submit(Handle::NONE, Operation::Timer { after: PATIENCE * 100 });
    old.into_iter().for_each(|token| next.worker.cancel(token));
    next.worker.close(stale);
    next.port.close(stale);
    next.expect_silence();
    peer.write_all(b"x").unwrap();
    assert_eq!(next.next_of(receive).result, Ok(1));
    next.worker.cancel(timer);
    assert_eq!(failure(&next.next_of(timer)), ErrorKind::Cancelled);
    next.finish();
}

fn a_cancel_beside_a_limit_ends_once(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    for limit in [Duration::ZERO, Duration::from_micros(300), Duration::from_millis(1)] {
        let buffer = rig.port.buffers().acquire(8).unwrap();
        let token = rig.worker.submit_with_limit(handle, Operation::Receive { buffer }, limit).unwrap();
        rig.worker.cancel(token);
        let end = rig.next_of(token);
        assert!(matches!(failure(&end), ErrorKind::Cancelled | ErrorKind::TimedOut));
        rig.expect_silence();
    }
    rig.close(handle);
}

fn a_cancel_in_line_begins_nothing(rig: &mut Rig) {
    let (handle, peer) = rig.pair();
    let first = rig.submit(handle, Operation::Send { chain: Rig::huge_chain() });
    let second = rig.send(handle, b"second");
    let third = rig.send(handle, b"third");
    rig.worker.cancel(second);
    assert_eq!(failure(&rig.next_of(second)), ErrorKind::Cancelled);
    let reading = rig.read_beside(peer);
    assert_eq!(rig.next_of(first).result, Ok(64 << 20));
    assert_eq!(rig.next_of(third).result, Ok(5));
    rig.close(handle);
    let bytes = rig.read_to_end(&reading);
    assert_eq!((bytes.len(), &bytes[64 << 20..]), ((64 << 20) + 5, &b"third"[..]));
}
