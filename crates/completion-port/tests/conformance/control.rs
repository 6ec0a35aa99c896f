//! What a socket is told beside its bytes.

use crate::{
    harness::{GLANCE, Rig, failure, file_with},
    suite::Case,
};
use completion_port::{ControlRequest, ErrorKind, Handle, KeepAlive, Operation, OperationKind, Payload};
use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    time::Duration,
};

pub(crate) const CASES: &[Case] = cases![
needs OperationKind::Control;

    keep_alive_is_set_and_switched_off,
    a_control_does_not_wait_for_what_is_under_way,
    waiting_for_addresses_ends_by_cancel_deadline_and_close,
    what_a_socket_does_not_have_fails,
    a_connection_is_reported_with_its_first_bytes with |configuration| configuration.accept_first_bytes = 1,
];

fn run(rig: &mut Rig, handle: Handle, request: ControlRequest) -> Result<u64, ErrorKind> {
    let done = rig.run(handle, Operation::Control { request });
    assert_eq!((done.kind, done.handle, done.last), (OperationKind::Control, handle, true));
    assert!(matches!(done.payload, Payload::None));
    done.result.map_err(|error| error.kind())
}

fn keep_alive(after_ms: u64, interval_ms: u64) -> ControlRequest {
    ControlRequest::KeepAlive(Some(KeepAlive {
        after: Duration::from_millis(after_ms),
        interval: Duration::from_millis(interval_ms),
    }))
}

fn keep_alive_is_set_and_switched_off(rig: &mut Rig) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    // A second name of the same socket, to look what became of it.
    #[cfg(unix)]
    let second = socket2::Socket::from(stream.try_clone().unwrap());
    let handle = rig.worker.associate(stream, 7).unwrap();
    assert_eq!(run(rig, handle, keep_alive(90_001, 500)), Ok(0));
    #[cfg(unix)]
    assert!(second.keepalive().unwrap());
    #[cfg(target_os = "linux")]
    {
        assert_eq!(second.tcp_keepalive_time().unwrap(), Duration::from_secs(91));
        assert_eq!(second.tcp_keepalive_interval().unwrap(), Duration::from_secs(1));
    }
    assert_eq!(run(rig, handle, ControlRequest::KeepAlive(None)), Ok(0));
    #[cfg(unix)]
    assert!(!second.keepalive().unwrap());
    peer.write_all(b"alive").unwrap();
    let token = rig.receive(handle, 10);
    assert_eq!(rig.next_of(token).result, Ok(5));
    rig.close(handle);
}

fn a_control_does_not_wait_for_what_is_under_way(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let receive = rig.receive(handle, 10);
    let send = rig.submit(handle, Operation::Send { chain: Rig::huge_chain() });
    assert_eq!(run(rig, handle, keep_alive(60_000, 10_000)), Ok(0));
    for token in [receive, send] {
        rig.worker.cancel(token);
        assert_eq!(failure(&rig.next_of(token)), ErrorKind::Cancelled);
    }
    rig.close(handle);
}

fn waiting_for_addresses_ends_by_cancel_deadline_and_close(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let wait = || Operation::Control { request: ControlRequest::AddressChange };
    let first = rig.submit(handle, wait());
    rig.worker.cancel(first);
    let end = rig.next_of(first);
    match failure(&end) {
        // Not every system tells of addresses.
        ErrorKind::Unsupported if !cfg!(target_os = "linux") => return rig.close(handle),
        other => assert_eq!(other, ErrorKind::Cancelled),
    }
    let limited = rig.worker.submit_with_limit(handle, wait(), GLANCE / 5).unwrap();
    assert_eq!(failure(&rig.next_of(limited)), ErrorKind::TimedOut);
    let (first, second) = (rig.submit(handle, wait()), rig.submit(handle, wait()));
    rig.expect_silence();
    let close = rig.submit(handle, Operation::Close);
    for _ in 0..2 {
        let end = rig.next();
        assert!(end.token == first || end.token == second);
        assert_eq!(failure(&end), ErrorKind::Cancelled);
    }
    assert_eq!(rig.next().token, close);
}

fn what_a_socket_does_not_have_fails(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    run(rig, handle, ControlRequest::CoalesceDatagrams(true)).expect_err("a stream has no datagrams");
    rig.close(handle);
    // A file is no socket at all.
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(rig, folder.path(), b"");
    let operation = Operation::Control { request: ControlRequest::KeepAlive(None) };
    let rejected = rig.worker.submit(file, operation).expect_err("a file is no socket");
    assert_eq!(rejected.error.kind(), ErrorKind::InvalidArgument);
    rig.close(file);
}

fn a_connection_is_reported_with_its_first_bytes(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let stream = rig.submit(listener, Operation::AcceptStream);
    let mut peer = rig.connect(address);
    if cfg!(any(target_os = "linux", windows)) {
        rig.expect_silence();
    }
    peer.write_all(b"here I am").unwrap();
    let item = rig.next_of(stream);
    let Payload::Accepted(handle) = item.payload else { panic!("no connection") };
    let token = rig.receive(handle, 100);
    assert_eq!(&rig.next_of(token).payload.into_buffer().unwrap()[..], b"here I am");
    rig.close(handle);
    rig.worker.cancel(stream);
    assert_eq!(failure(&rig.next_of(stream)), ErrorKind::Cancelled);
    rig.close(listener);
}
