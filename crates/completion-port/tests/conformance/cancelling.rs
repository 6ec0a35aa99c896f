//! Ends before the end: cancel, close, deadlines, timers.

use crate::{
    harness::{Rig, failure},
    suite::Case,
};
use completion_port::{ErrorKind, Handle, Operation, OperationKind};
use std::{io::Write, time::Duration};

pub(crate) const CASES: &[Case] = cases![
    cancelling_a_receive_brings_its_buffer_home,
    the_connection_lives_on_after_a_cancelled_receive,
    a_cancelled_receive_stream_ends_once,
    closed_comes_last_and_nothing_after,
    closing_from_any_thread_ends_what_is_in_flight,
    timers_complete_soonest_first_and_not_before_their_time,
    a_limit_ends_an_operation_as_timed_out,
    a_send_that_the_peer_does_not_read_can_be_cancelled,
    an_accept_can_be_cancelled,
    a_stale_token_cancels_nothing,
    dropping_the_worker_brings_everything_home,
];

fn cancelling_a_receive_brings_its_buffer_home(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let (first, second) = (rig.receive(handle, 10), rig.receive(handle, 20));
    // The second has not started: nothing stands between it and its end.
    rig.worker.cancel(second);
    let cancelled = rig.next();
    assert_eq!((cancelled.token, failure(&cancelled)), (second, ErrorKind::Cancelled));
    assert_eq!(cancelled.payload.into_buffer().unwrap().capacity(), 20);
    rig.worker.cancel(first);
    let cancelled = rig.next();
    assert_eq!((cancelled.token, failure(&cancelled)), (first, ErrorKind::Cancelled));
    assert_eq!(cancelled.payload.into_buffer().unwrap().capacity(), 10);
    // Cancelling what is done already does nothing.
    rig.worker.cancel(first);
    rig.expect_silence();
    rig.close(handle);
}

fn the_connection_lives_on_after_a_cancelled_receive(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let token = rig.receive(handle, 10);
    rig.worker.cancel(token);
    assert_eq!(failure(&rig.next_of(token)), ErrorKind::Cancelled);
    peer.write_all(b"later").unwrap();
    let token = rig.receive(handle, 10);
    assert_eq!(&rig.next_of(token).payload.into_buffer().unwrap()[..], b"later");
    rig.close(handle);
}

fn a_cancelled_receive_stream_ends_once(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let stream = rig.submit(handle, Operation::ReceiveStream);
    peer.write_all(b"one").unwrap();
    let item = rig.next_of(stream);
    assert_eq!((item.result, item.last), (Ok(3), false));
    rig.worker.cancel(stream);
    let end = rig.next_of(stream);
    assert_eq!((failure(&end), end.last), (ErrorKind::Cancelled, true));
    rig.expect_silence();
    rig.close(handle);
}

fn closed_comes_last_and_nothing_after(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let receive = rig.receive(handle, 10);
    let queued = rig.receive(handle, 10);
    let send = rig.submit(handle, Operation::Send { chain: Rig::huge_chain() });
    let timer = rig.submit(handle, Operation::Timer { after: Duration::from_secs(3600) });
    let close = rig.submit(handle, Operation::Close);
    let mut waiting = vec![receive, queued, send, timer];
    while !waiting.is_empty() {
        let completion = rig.next();
        assert_eq!(completion.handle, handle);
        let place = waiting.iter().position(|&token| token == completion.token);
        waiting.swap_remove(place.expect("each operation completes once, and before the close"));
        assert_eq!(failure(&completion), ErrorKind::Cancelled);
    }
    let closed = rig.next();
    assert_eq!((closed.token, closed.kind, closed.result), (close, OperationKind::Close, Ok(0)));
    rig.expect_silence();
}

fn closing_from_any_thread_ends_what_is_in_flight(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let token = rig.receive(handle, 10);
    let port = rig.port.clone();
    std::thread::spawn(move || port.close(handle)).join().unwrap();
    assert_eq!(failure(&rig.next_of(token)), ErrorKind::Cancelled);
    rig.expect_silence();
    let rejected = rig.worker.submit(handle, Operation::Disconnect).expect_err("the handle is closed");
    assert_eq!(rejected.error.kind(), ErrorKind::StaleHandle);
}

fn timers_complete_soonest_first_and_not_before_their_time(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let began = rig.clock();
    let late = rig.submit(Handle::NONE, Operation::Timer { after: Duration::from_millis(60) });
    let soon = rig.submit(handle, Operation::Timer { after: Duration::from_micros(20_300) });
    let never = rig.submit(Handle::NONE, Operation::Timer { after: Duration::from_secs(3600) });
    let first = rig.next();
    assert!(rig.clock() - began >= Duration::from_micros(20_300));
    assert_eq!((first.token, first.handle, first.key, first.result), (soon, handle, 7, Ok(0)));
    let second = rig.next();
    assert!(rig.clock() - began >= Duration::from_millis(60));
    assert_eq!((second.token, second.handle, second.result), (late, Handle::NONE, Ok(0)));
    rig.worker.cancel(never);
    assert_eq!(failure(&rig.next_of(never)), ErrorKind::Cancelled);
    rig.close(handle);
}

fn a_limit_ends_an_operation_as_timed_out(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let limit = Duration::from_millis(20);
    let buffer = rig.port.buffers().acquire(10).unwrap();
    let token = rig.worker.submit_with_limit(handle, Operation::Receive { buffer }, limit).unwrap();
    let completion = rig.next_of(token);
    assert_eq!(failure(&completion), ErrorKind::TimedOut);
    assert!(completion.payload.into_buffer().is_some());
    let token = rig.worker.submit_with_limit(handle, Operation::ReceiveStream, limit).unwrap();
    let end = rig.next_of(token);
    assert_eq!((failure(&end), end.last), (ErrorKind::TimedOut, true));
    // A limit that is not reached changes nothing.
    peer.write_all(b"x").unwrap();
    let buffer = rig.port.buffers().acquire(10).unwrap();
    let limit = Duration::from_secs(3600);
    let token = rig.worker.submit_with_limit(handle, Operation::Receive { buffer }, limit).unwrap();
    assert_eq!(rig.next_of(token).result, Ok(1));
    rig.close(handle);
}

fn a_send_that_the_peer_does_not_read_can_be_cancelled(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let first = rig.submit(handle, Operation::Send { chain: Rig::huge_chain() });
    let second = rig.send(handle, b"behind");
    rig.expect_silence();
    rig.worker.cancel(second);
    let end = rig.next();
    assert_eq!((end.token, failure(&end)), (second, ErrorKind::Cancelled));
    rig.worker.cancel(first);
    let end = rig.next();
    assert_eq!((end.token, failure(&end)), (first, ErrorKind::Cancelled));
    assert_eq!(end.payload.into_chain().unwrap().len(), 64 << 20);
    rig.close(handle);
}

fn an_accept_can_be_cancelled(rig: &mut Rig) {
    let (listener, _) = rig.listener();
    let (first, second) =
        (rig.submit(listener, Operation::Accept), rig.submit(listener, Operation::AcceptStream));
    for token in [first, second] {
        rig.worker.cancel(token);
        let end = rig.next();
        assert_eq!((end.token, failure(&end), end.last), (token, ErrorKind::Cancelled, true));
    }
    rig.submit(listener, Operation::AcceptStream);
    rig.worker.close(listener);
    assert_eq!(failure(&rig.next()), ErrorKind::Cancelled);
    rig.expect_silence();
}

fn a_stale_token_cancels_nothing(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    peer.write_all(b"a").unwrap();
    let old = rig.receive(handle, 8);
    assert_eq!(rig.next_of(old).result, Ok(1));
    let new = rig.receive(handle, 8);
    rig.worker.cancel(old);
    rig.expect_silence();
    peer.write_all(b"b").unwrap();
    assert_eq!(rig.next_of(new).result, Ok(1));
    rig.close(handle);
}

fn dropping_the_worker_brings_everything_home(rig: &mut Rig) {
    let mut rig = rig.fresh();
    let (handle, mut peer) = rig.pair();
    rig.receive(handle, 100);
    rig.submit(handle, Operation::Send { chain: Rig::huge_chain() });
    let (other, mut writer) = rig.pair();
    rig.submit(other, Operation::ReceiveStream);
    writer.write_all(b"unread").unwrap();
    let (listener, _) = rig.listener();
    rig.submit(listener, Operation::AcceptStream);
    rig.submit(Handle::NONE, Operation::Timer { after: Duration::from_secs(3600) });
    rig.submit(Handle::NONE, Operation::Call { work: Box::new(|| Box::new(0)) });
    rig.finish();
    // The connections are closed too.
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut peer, &mut rest);
}
