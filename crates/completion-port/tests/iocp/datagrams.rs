//! Datagrams, as far as Winsock has ways of its own.

use super::{PATIENCE, configuration, wait};
use completion_port::{
    Address, Ancillary, Backend, BufferChain, Completion, ErrorKind, Handle, Message, Operation,
    OperationKind, Payload, Port, Slice, Token, Worker,
};
use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Mutex,
};

fn bound(worker: &mut Worker, ip: [u8; 4]) -> (Handle, SocketAddr) {
    let socket = UdpSocket::bind((IpAddr::from(ip), 0)).unwrap();
    let address = socket.local_addr().unwrap();
    (worker.associate(socket, 1).unwrap(), address)
}

fn peer() -> (UdpSocket, Address) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap().into();
    (socket, address)
}

fn receive(worker: &mut Worker, handle: Handle, capacity: usize, kind: OperationKind) -> Token {
    let buffer = worker.buffers().acquire(capacity).unwrap();
    let operation = match kind {
        OperationKind::Receive => Operation::Receive { buffer },
        OperationKind::ReceiveFrom => Operation::ReceiveFrom { buffer },
        _ => Operation::ReceiveMessage { buffer },
    };
    worker.submit(handle, operation).unwrap()
}

fn datagram(completion: Completion) -> (Vec<u8>, Address, Ancillary) {
    match completion.payload {
        Payload::Datagram { buffer, from, ancillary } => {
            assert_eq!(completion.result, Ok(buffer.len() as u64));
            (buffer.to_vec(), from, ancillary)
        }
        other => panic!("{other:?} is no datagram: {:?}", completion.result),
    }
}

#[test]
fn what_does_not_fit_is_lost_and_said_to_be() {
    let port = Port::new(configuration(1)).unwrap();
    let mut worker = port.worker().unwrap();
    let (handle, address) = bound(&mut worker, [127, 0, 0, 1]);
    let (peer, from) = peer();
    for kind in [OperationKind::ReceiveFrom, OperationKind::ReceiveMessage] {
        // Before the datagram is there, and after.
        for early in [true, false] {
            let send = || {
                peer.send_to(b"longer than that", address).unwrap();
                peer.send_to(b"fits", address).unwrap();
            };
            if !early {
                send();
                // On the loopback it is there when one more has been there and back.
                let other = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
                peer.send_to(b"x", other.local_addr().unwrap()).unwrap();
                other.recv(&mut [0; 1]).unwrap();
            }
            receive(&mut worker, handle, 6, kind);
            receive(&mut worker, handle, 6, kind);
            if early {
                send();
            }
            let mut came = Vec::new();
            while came.len() < 2 {
                came.extend(wait(&mut worker, PATIENCE).into_iter().map(datagram));
            }
            for ((bytes, sender, ancillary), (expected, truncated)) in
                came.into_iter().zip([(&b"longer"[..], true), (b"fits", false)])
            {
                assert_eq!((&bytes[..], &sender), (expected, &from), "{kind:?}");
                assert_eq!(ancillary.truncated, truncated, "{kind:?}, early: {early}");
            }
        }
    }
    // Nothing comes twice.
    assert_eq!(wait(&mut worker, super::GLANCE).len(), 0);
    receive(&mut worker, handle, 2, OperationKind::Receive);
    peer.send_to(b"plain", address).unwrap();
    assert_eq!(&wait(&mut worker, PATIENCE).remove(0).payload.into_buffer().unwrap()[..], b"pl");
}

#[test]
fn a_receive_stream_brings_datagrams_whole() {
    let port = Port::new(configuration(1)).unwrap();
    let mut worker = port.worker().unwrap();
    let (handle, address) = bound(&mut worker, [127, 0, 0, 1]);
    let stream = worker.submit(handle, Operation::ReceiveStream).unwrap();
    let (peer, _) = peer();
    for expected in [&b"one"[..], b"", b"two"] {
        peer.send_to(expected, address).unwrap();
        let item = wait(&mut worker, PATIENCE).remove(0);
        assert_eq!((item.token, item.last, item.result), (stream, false, Ok(expected.len() as u64)));
        assert_eq!(&item.payload.into_buffer().unwrap()[..], expected);
    }
}

#[test]
fn a_datagram_of_many_slices_goes_out_as_one() {
    let port = Port::new(configuration(1)).unwrap();
    let mut worker = port.worker().unwrap();
    let (handle, _) = bound(&mut worker, [127, 0, 0, 1]);
    let (peer, to) = peer();
    let bytes: Vec<u8> = (0..64).collect();
    let mut chain = BufferChain::new();
    for byte in &bytes {
        let mut buffer = port.buffers().acquire(1).unwrap();
        buffer.extend_from_slice(&[*byte]);
        chain.push(buffer).unwrap();
    }
    worker.submit(handle, Operation::SendTo { chain: chain.clone(), to: to.clone() }).unwrap();
    let message = Message { chain, to: Some(to), ancillary: Ancillary::default() };
    worker.submit(handle, Operation::SendMessage { message: Box::new(message) }).unwrap();
    let mut completions = Vec::new();
    while completions.len() < 2 {
        completions.extend(wait(&mut worker, PATIENCE));
    }
    assert!(completions.iter().all(|completion| completion.result == Ok(64)), "{completions:?}");
    for _ in 0..2 {
        let mut read = [0; 100];
        assert_eq!(peer.recv(&mut read).unwrap(), 64);
        assert_eq!(read[..64], bytes);
    }
    assert!(matches!(completions[1].payload, Payload::Message(_)));
    // One that is too long is an error, and the next goes out.
    let long = BufferChain::from(Slice::from_static(&[0; 100_000]));
    let (_keep, to) = (&peer, Address::from(peer.local_addr().unwrap()));
    worker.submit(handle, Operation::SendTo { chain: long, to: to.clone() }).unwrap();
    worker.submit(handle, Operation::SendTo { chain: Slice::from_static(b"short").into(), to }).unwrap();
    let mut completions = Vec::new();
    while completions.len() < 2 {
        completions.extend(wait(&mut worker, PATIENCE));
    }
    assert!(completions[0].result.is_err());
    assert_eq!(completions[1].result, Ok(5));
    drop(completions);
}

/// Where the system obeys control data the message comes from that address; where a test at start found that it does not,
/// nothing is sent.
#[test]
fn control_data_is_obeyed_or_refused() {
    let port = Port::new(configuration(1)).unwrap();
    let mut worker = port.worker().unwrap();
    let (handle, _) = bound(&mut worker, [0, 0, 0, 0]);
    let (peer, to) = peer();
    let ancillary = Ancillary { local: Some(IpAddr::from([127, 0, 0, 2])), ..Ancillary::default() };
    let message = Message { chain: Slice::from_static(b"x").into(), to: Some(to), ancillary };
    worker.submit(handle, Operation::SendMessage { message: Box::new(message) }).unwrap();
    let result = wait(&mut worker, PATIENCE).remove(0).result;
    let features = Port::backends(Some(Backend::Iocp)).remove(0);
    if features.contains("no control data with WSASendMsg") {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported);
    } else {
        assert_eq!(result, Ok(1));
        assert_eq!(peer.recv_from(&mut [0; 1]).unwrap().1.ip(), IpAddr::from([127, 0, 0, 2]));
    }
}

#[test]
fn a_peer_that_is_gone_fails_no_receive() {
    let port = Port::new(configuration(1)).unwrap();
    let mut worker = port.worker().unwrap();
    let (handle, address) = bound(&mut worker, [127, 0, 0, 1]);
    let token = receive(&mut worker, handle, 10, OperationKind::ReceiveFrom);
    let (gone, to) = peer();
    drop(gone);
    worker.submit(handle, Operation::SendTo { chain: Slice::from_static(b"x").into(), to }).unwrap();
    assert_eq!(wait(&mut worker, PATIENCE).remove(0).result, Ok(1));
    let (other, _) = peer();
    other.send_to(b"y", address).unwrap();
    let completion = wait(&mut worker, PATIENCE).remove(0);
    assert_eq!(completion.token, token);
    assert_eq!(datagram(completion).0, b"y");
}

#[test]
fn messages_tell_the_local_address() {
    let port = Port::new(configuration(1)).unwrap();
    let mut worker = port.worker().unwrap();
    let (handle, address) = bound(&mut worker, [0, 0, 0, 0]);
    receive(&mut worker, handle, 10, OperationKind::ReceiveMessage);
    let (peer, from) = peer();
    peer.send_to(b"hello", SocketAddr::from(([127, 0, 0, 1], address.port()))).unwrap();
    let (bytes, sender, ancillary) = datagram(wait(&mut worker, PATIENCE).remove(0));
    assert_eq!((&bytes[..], sender), (&b"hello"[..], from));
    assert_eq!(ancillary.local, Some(IpAddr::from([127, 0, 0, 1])));
    assert!(ancillary.interface.is_some() && !ancillary.truncated);
}

/// Several receives are posted, and several workers take their packets: the datagrams come in order all the same.
#[test]
fn datagrams_keep_their_order_with_workers_racing() {
    const COUNT: u32 = 2_000;
    let mut limits = configuration(4);
    limits.receives_outstanding = 16;
    let port = Port::new(limits).unwrap();
    let mut first = port.worker().unwrap();
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20).unwrap();
    let address = socket.local_addr().unwrap();
    let handle = first.associate(socket, 1).unwrap();
    for _ in 0..24 {
        receive(&mut first, handle, 4, OperationKind::ReceiveFrom);
    }
    let came = Mutex::new(Vec::new());
    let run = |worker: &mut Worker| {
        while came.lock().unwrap().last() != Some(&COUNT) {
            for completion in wait(worker, super::GLANCE) {
                let (bytes, ..) = datagram(completion);
                came.lock().unwrap().push(u32::from_be_bytes(bytes.try_into().unwrap()));
                receive(worker, handle, 4, OperationKind::ReceiveFrom);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| run(&mut port.worker().unwrap()));
        }
        let (came, (sender, _)) = (&came, peer());
        scope.spawn(move || {
            for number in 1..=COUNT {
                sender.send_to(&number.to_be_bytes(), address).unwrap();
                // No faster than they are taken: what does not fit into the socket is lost.
                while came.lock().unwrap().last().copied().unwrap_or(0) + 100 < number {
                    std::thread::yield_now();
                }
            }
        });
        run(&mut first);
    });
    assert_eq!(came.into_inner().unwrap(), (1..=COUNT).collect::<Vec<_>>());
}
