//! What no setting reaches: accepts that wait for first bytes, and sockets that are used again.

mod pipes;

use super::{Core, handle::Entry, slot::Slot};
use crate::{
    Backend, BufferClass, Completion, Configuration, Handle, Operation, OperationKind, Payload, Port, Worker,
    backend,
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::windows::io::FromRawSocket,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(50);

fn port_with_first_bytes(bytes: usize) -> Port {
    let configuration = Configuration {
        backend: Some(Backend::Iocp),
        queues: 1,
        workers_per_queue: 1,
        buffers: vec![BufferClass { capacity: 4_096, count: 64 }],
        accepts_posted: 2,
        accept_first_bytes: bytes,
        ..Configuration::default()
    };
    let port = Port::new(configuration).unwrap();
    core(&port).silence_s.store(1, Ordering::Relaxed);
    port
}

fn core(port: &Port) -> &Core {
    let backend::Common::Iocp(common) = &port.shared.common;
    &common.cores[0]
}

fn listen(worker: &mut Worker) -> (Handle, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let handle = worker.associate(listener, 0).unwrap();
    worker.submit(handle, Operation::AcceptStream).unwrap();
    (handle, address)
}

fn wait(worker: &mut Worker, timeout: Duration) -> Option<Completion> {
    let mut completions = Vec::new();
    worker.wait(&mut completions, Some(timeout)).unwrap();
    assert!(completions.len() <= 1, "{completions:?}");
    completions.pop()
}

fn accepted(completion: Option<Completion>) -> Handle {
    match completion.expect("a connection").payload {
        Payload::Accepted(handle) => handle,
        other => panic!("{other:?} is no connection"),
    }
}

fn received(worker: &mut Worker, handle: Handle, capacity: usize) -> Vec<u8> {
    let buffer = worker.buffers().acquire(capacity).unwrap();
    worker.submit(handle, Operation::Receive { buffer }).unwrap();
    wait(worker, PATIENCE).unwrap().payload.into_buffer().unwrap().to_vec()
}

#[test]
fn without_room_for_bytes_a_connection_is_enough() {
    let port = port_with_first_bytes(0);
    let mut worker = port.worker().unwrap();
    let (_, address) = listen(&mut worker);
    let _silent = TcpStream::connect(address).unwrap();
    accepted(wait(&mut worker, PATIENCE));
    drop(worker);
    assert_eq!(port.buffers().in_use(), 0);
}

#[test]
fn first_bytes_come_with_the_connection_and_serve_the_first_receives() {
    let port = port_with_first_bytes(64);
    let mut worker = port.worker().unwrap();
    let (_, address) = listen(&mut worker);
    let mut peer = TcpStream::connect(address).unwrap();
    assert!(wait(&mut worker, GLANCE).is_none(), "it was accepted without a byte");
    peer.write_all(b"hello").unwrap();
    let handle = accepted(wait(&mut worker, PATIENCE));
    assert_eq!(worker.peer_address(handle).unwrap(), peer.local_addr().unwrap());
    assert_eq!(received(&mut worker, handle, 3), b"hel");
    worker.submit(handle, Operation::ReceiveStream).unwrap();
    let item = wait(&mut worker, PATIENCE).unwrap();
    assert_eq!((item.kind, item.result, item.last), (OperationKind::ReceiveStream, Ok(2), false));
    assert_eq!(&item.payload.into_buffer().unwrap()[..], b"lo");
    peer.write_all(b"more").unwrap();
    assert_eq!(&wait(&mut worker, PATIENCE).unwrap().payload.into_buffer().unwrap()[..], b"more");
    drop(worker);
    assert_eq!(port.buffers().in_use(), 0);
}

#[test]
fn who_sends_nothing_does_not_hold_an_accept_for_ever() {
    let port = port_with_first_bytes(64);
    let mut worker = port.worker().unwrap();
    let (_, address) = listen(&mut worker);
    // As many as there are calls posted: nobody else gets in until they are given up.
    let silent: Vec<_> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut late = TcpStream::connect(address).unwrap();
    late.write_all(b"late").unwrap();
    let handle = accepted(wait(&mut worker, PATIENCE));
    assert_eq!(received(&mut worker, handle, 10), b"late");
    for mut peer in silent {
        // Silence is told in whole seconds: one may be given up at a later look than the other.
        peer.set_read_timeout(Some(GLANCE)).unwrap();
        let until = Instant::now() + PATIENCE;
        let read = loop {
            assert!(wait(&mut worker, GLANCE).is_none());
            match peer.read(&mut [0; 1]) {
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut && Instant::now() < until => {}
                read => break read,
            }
        };
        assert!(
            matches!(&read, Ok(0))
                || read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset),
            "{read:?}"
        );
    }
    drop(worker);
    assert_eq!(port.buffers().in_use(), 0);
}

#[test]
fn a_socket_that_both_sides_ended_takes_the_next_connection() {
    let port = port_with_first_bytes(0);
    // As if the test at start had seen it work: on Wine such a socket cannot send, but all else works.
    core(&port).reuse.works.store(true, Ordering::Relaxed);
    // Wine's DisconnectEx says that a packet will come, and then takes the success at once for a reason to queue none.
    core(&port).may_skip.store(false, Ordering::Relaxed);
    let mut worker = port.worker().unwrap();
    let (_, address) = listen(&mut worker);
    let mut used = Vec::new();
    for round in 0..8u8 {
        let mut peer = TcpStream::connect(address).unwrap();
        let handle = accepted(wait(&mut worker, PATIENCE));
        used.push(core(&port).entry(handle).unwrap().lock().raw_socket());
        assert_eq!(worker.peer_address(handle).unwrap(), peer.local_addr().unwrap());
        peer.write_all(&[round]).unwrap();
        assert_eq!(received(&mut worker, handle, 3), [round]);
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(received(&mut worker, handle, 3), []);
        worker.submit(handle, Operation::Close).unwrap();
        assert_eq!(wait(&mut worker, PATIENCE).unwrap().kind, OperationKind::Close);
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        let mut looks = 0;
        while core(&port).reuse.waiting() == 0 {
            looks += 1;
            assert!(looks < 100, "the socket of connection {round} did not come back");
            assert!(wait(&mut worker, GLANCE).is_none());
        }
    }
    used.sort_unstable();
    used.dedup();
    assert!(used.len() <= 4, "8 connections took {} sockets", used.len());
    drop(worker);
    assert_eq!(port.buffers().in_use(), 0);
}

#[test]
fn an_idle_connection_costs_little() {
    // A handle, and the slots of a receive stream and a deadline of the program.
    let bytes = size_of::<Entry>() + 2 * size_of::<Slot>();
    assert!(bytes <= 1_500, "{bytes} bytes: {} and 2 x {}", size_of::<Entry>(), size_of::<Slot>());
}

#[test]
fn a_used_socket_that_does_not_fit_ends_no_accept_stream() {
    let port = port_with_first_bytes(0);
    let backend::Common::Iocp(common) = &port.shared.common;
    for number in 1..4 {
        // SAFETY: no handle has such a number: nothing is closed that somebody owns. Windows refuses sockets that are bound elsewhere,
        // Wine does not.
        let socket = unsafe { socket2::Socket::from_raw_socket(0x7fff_0000 + 4 * number) };
        common.cores[0].reuse.put(socket2::Domain::IPV4, socket);
    }
    let mut worker = port.worker().unwrap();
    let (_, address) = listen(&mut worker);
    let _peer = TcpStream::connect(address).unwrap();
    accepted(wait(&mut worker, PATIENCE));
}

/// The system queues a packet for the receive that was cut short: taken for another's, it would end one that the kernel still has.
#[test]
fn a_datagram_that_does_not_fit_ends_one_receive_and_no_other() {
    for may_skip in [true, false] {
        let port = port_with_first_bytes(0);
        core(&port).may_skip.store(may_skip, Ordering::Relaxed);
        let mut worker = port.worker().unwrap();
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let peer = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        peer.connect(socket.local_addr().unwrap()).unwrap();
        peer.send(&[7; 100]).unwrap();
        let handle = worker.associate(socket, 0).unwrap();
        let buffer = worker.buffers().acquire(10).unwrap();
        let first = worker.submit(handle, Operation::Receive { buffer }).unwrap();
        let buffer = worker.buffers().acquire(10).unwrap();
        let second = worker.submit(handle, Operation::Receive { buffer }).unwrap();
        let completion = wait(&mut worker, PATIENCE).unwrap();
        assert_eq!(completion.token, first);
        let none = wait(&mut worker, GLANCE);
        assert!(none.is_none(), "{may_skip}: nothing came for {second:?}: {none:?}");
        peer.send(b"fits").unwrap();
        let completion = wait(&mut worker, PATIENCE).unwrap();
        assert_eq!((completion.token, completion.result), (second, Ok(4)));
    }
}

/// As when somebody keeps a duplicate of a handle and makes calls of their own with it.
#[test]
fn packets_with_an_overlapped_of_others_are_left_alone() {
    let port = port_with_first_bytes(0);
    let mut worker = port.worker().unwrap();
    let timer = Operation::Timer { after: Duration::from_millis(1) };
    let token = worker.submit(Handle::NONE, timer).unwrap();
    let slot = std::ptr::from_ref(core(&port).slots.get(token.index()).unwrap()).addr();
    for foreign in [8, slot + 8, slot + (1 << 40)] {
        core(&port).port.post(1, 0, std::ptr::without_provenance(foreign)).unwrap();
    }
    assert_eq!(wait(&mut worker, PATIENCE).unwrap().token, token);
    assert!(wait(&mut worker, GLANCE).is_none());
}
