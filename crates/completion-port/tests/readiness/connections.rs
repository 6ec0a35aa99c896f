//! Sockets: bytes, ends, and what they wait for.

use crate::rig::*;
use completion_port::{BufferChain, ErrorKind, Handle, Operation, OperationKind, Token};
use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr},
    time::Duration,
};

#[test]
fn many_connections_are_echoed_and_end_in_order() {
    const CLIENTS: usize = 120;
    let mut rig = Rig::new(small());
    let (listener, address) = rig.listener();
    let clients = std::thread::spawn(move || {
        let mut streams: Vec<_> = (0..CLIENTS).map(|_| client(address)).collect();
        for round in 1..=20usize {
            let message = pattern(round * 479);
            for stream in &mut streams {
                stream.write_all(&message).unwrap();
            }
            for stream in &mut streams {
                let mut echo = vec![0; message.len()];
                stream.read_exact(&mut echo).unwrap();
                assert!(echo == message);
            }
        }
        for stream in &mut streams {
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
    });
    let accepts = rig.submit(listener, Operation::AcceptStream);
    let mut closed = 0;
    while closed < CLIENTS {
        for completion in rig.wait() {
            let handle = completion.handle;
            match completion.kind {
                OperationKind::AcceptStream => {
                    rig.submit(accepted(completion), Operation::ReceiveStream);
                }
                OperationKind::ReceiveStream if completion.last => {
                    assert_eq!(completion.result, Ok(0));
                    rig.submit(handle, Operation::Disconnect);
                    rig.submit(handle, Operation::Close);
                }
                OperationKind::ReceiveStream => {
                    let chain = BufferChain::from(completion.payload.into_buffer().unwrap());
                    rig.submit(handle, Operation::Send { chain });
                }
                OperationKind::Close => closed += 1,
                _ => assert!(completion.result.is_ok(), "{completion:?}"),
            }
        }
    }
    rig.worker.cancel(accepts);
    clients.join().unwrap();
    rig.end();
}

#[test]
fn an_end_right_behind_the_bytes_is_not_missed() {
    let mut rig = Rig::new(small());
    for round in 0..200 {
        let (handle, mut peer) = rig.pair();
        let stream = (round % 2 == 0).then(|| rig.submit(handle, Operation::ReceiveStream));
        peer.write_all(b"last words").unwrap();
        drop(peer);
        let stream = stream.unwrap_or_else(|| rig.submit(handle, Operation::ReceiveStream));
        let words = rig.next_of(stream);
        assert_eq!((words.result, words.last), (Ok(10), false));
        let end = rig.next_of(stream);
        assert_eq!((end.result, end.last), (Ok(0), true));
        rig.close(handle);
    }
    rig.end();
}

#[test]
fn single_receives_see_every_byte_and_then_the_end() {
    let mut rig = Rig::new(small());
    let (handle, mut peer) = rig.pair();
    let all = pattern(300_000);
    let sent = all.clone();
    let writer = std::thread::spawn(move || {
        for part in sent.chunks(1_013) {
            peer.write_all(part).unwrap();
        }
    });
    let mut received = Vec::new();
    for room in (1..).map(|step: usize| step * 389 % 4_096 + 1) {
        let buffer = rig.port.buffers().acquire(room).unwrap();
        let completion = rig.run(handle, Operation::Receive { buffer });
        let buffer = completion.payload.into_buffer().unwrap();
        assert_eq!(completion.result, Ok(buffer.len() as u64));
        if buffer.is_empty() {
            break;
        }
        received.extend_from_slice(&buffer);
    }
    assert!(received == all);
    writer.join().unwrap();
    rig.end();
}

#[test]
fn urgent_bytes_do_not_hold_up_what_comes_behind_them() {
    let mut rig = Rig::new(small());
    let (handle, peer) = rig.pair();
    let stream = rig.submit(handle, Operation::ReceiveStream);
    let peer = socket2::Socket::from(peer);
    peer.send(b"before").unwrap();
    peer.send_out_of_band(b"!").unwrap();
    peer.send(b"behind").unwrap();
    let mut received = Vec::new();
    while received.len() < 12 {
        received.extend_from_slice(&rig.next_of(stream).payload.into_buffer().unwrap());
    }
    assert_eq!(received, b"beforebehind");
    rig.end();
}

#[test]
fn both_directions_wait_for_a_peer_that_is_slow() {
    let mut rig = Rig::new(small());
    let (ours, theirs) = connected();
    let ours = socket2::Socket::from(ours);
    ours.set_send_buffer_size(4_096).unwrap();
    ours.set_recv_buffer_size(1 << 17).unwrap();
    let handle = rig.worker.associate(ours, 0).unwrap();
    let all = pattern(1 << 20);
    let (mut reader, mut writer) = (theirs.try_clone().unwrap(), theirs);
    let (expected, sent) = (all.clone(), all.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut chain = BufferChain::new();
    for part in all.chunks(1 << 15) {
        chain.push(bytes(part)).unwrap();
    }
    let send = rig.submit(handle, Operation::Send { chain });
    rig.expect_silence();
    let stream = rig.submit(handle, Operation::ReceiveStream);
    let mut received = Vec::new();
    loop {
        let completion = rig.next_of(stream);
        assert!(completion.result.is_ok());
        if completion.last {
            break;
        }
        received.extend_from_slice(&completion.payload.into_buffer().unwrap());
    }
    assert!(received == all);
    // All of the peer's bytes are here, and still it has read nothing.
    let reading = std::thread::spawn(move || {
        let mut read = vec![0; 1 << 20];
        for part in read.chunks_mut(777) {
            reader.read_exact(part).unwrap();
        }
        assert!(read == expected);
    });
    assert_eq!(rig.next_of(send).result, Ok(1 << 20));
    reading.join().unwrap();
    writing.join().unwrap();
    rig.end();
}

#[test]
fn operations_end_when_cancelled_in_whatever_they_wait_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large"), pattern(1 << 20)).unwrap();
    let mut rig = Rig::new(small());
    let file = File::open(folder.path().join("large")).unwrap();
    let file = rig.worker.associate(file, 0).unwrap();

    let (listener, _) = rig.listener();
    let (ours, _peer) = connected();
    let ours = socket2::Socket::from(ours);
    ours.set_send_buffer_size(4_096).unwrap();
    let blocked = rig.worker.associate(ours, 0).unwrap();
    let filling = rig.submit(blocked, Operation::Send { chain: fill() });

    // A listening queue that is full answers no further connection.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut connecting = Vec::new();
    for _ in 0..4 {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let handle = rig.worker.associate(socket, 0).unwrap();
        connecting.push(
            rig.submit(handle, Operation::Connect { address: address.into(), first: BufferChain::new() }),
        );
    }
    rig.worker.wait(&mut rig.arrived, Some(Duration::from_millis(30))).unwrap();
    connecting.retain(|token| rig.arrived.iter().all(|done| done.token != *token));
    rig.arrived.clear();
    assert!(!connecting.is_empty(), "some connections are still under way");

    let mut waiting = vec![
        rig.submit(listener, Operation::AcceptStream),
        rig.submit(listener, Operation::Accept),
        filling,
        rig.submit(
            blocked,
            Operation::TransmitFile {
                head: BufferChain::from(bytes(b"head")),
                file,
                offset: 0,
                length: 1 << 20,
            },
        ),
        rig.submit(blocked, Operation::Disconnect),
        rig.submit(blocked, Operation::ReceiveStream),
        rig.submit(Handle::NONE, Operation::Timer { after: Duration::from_secs(3_600) }),
    ];
    waiting.append(&mut connecting);
    rig.expect_silence();
    // Backwards, so that those that wait in line are cancelled before those that they wait for.
    for token in waiting.into_iter().rev() {
        rig.worker.cancel(token);
        let completion = rig.next_of(token);
        assert_eq!((failure(&completion), completion.last), (ErrorKind::Cancelled, true), "{completion:?}");
    }
    rig.expect_silence();
    rig.end();
}

#[test]
fn a_close_with_everything_in_flight_comes_last() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), pattern(10_000)).unwrap();
    let mut rig = Rig::new(small());
    let file = rig.worker.associate(File::open(folder.path().join("file")).unwrap(), 0).unwrap();
    let (handle, mut peer) = rig.pair();
    peer.write_all(b"some bytes that come in between").unwrap();
    let mut waiting = vec![
        rig.submit(handle, Operation::ReceiveStream),
        rig.submit(handle, Operation::ReceiveStream),
        rig.submit(handle, Operation::Send { chain: fill() }),
        rig.submit(
            handle,
            Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: 10_000 },
        ),
        rig.submit(handle, Operation::Timer { after: Duration::from_secs(3_600) }),
    ];
    for _ in 0..3 {
        let buffer = rig.port.buffers().acquire(4_096).unwrap();
        waiting.push(rig.submit(handle, Operation::ReadAt { file, offset: 5, buffer }));
    }
    let work = || Box::new(()) as Box<dyn std::any::Any + Send>;
    waiting.push(rig.submit(handle, Operation::Call { work: Box::new(work) }));
    let close = rig.submit(handle, Operation::Close);
    while !waiting.is_empty() {
        for completion in rig.wait() {
            assert_ne!(completion.token, Token::NONE);
            if completion.token == close {
                assert!(waiting.is_empty(), "closed before {waiting:?}");
                rig.arrived.push(completion);
            } else if completion.last {
                let place = waiting.iter().position(|token| *token == completion.token);
                waiting.remove(place.expect("each operation ends once"));
            }
        }
    }
    assert_eq!(rig.next_of(close).result, Ok(0));
    rig.expect_silence();
    assert_eq!(
        rig.worker.submit(handle, Operation::Disconnect).unwrap_err().error.kind(),
        ErrorKind::StaleHandle
    );
    rig.end();
}

#[test]
fn datagrams_and_local_sockets_lose_nothing_to_short_receives() {
    let mut rig = Rig::new(small());
    let ours = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let theirs = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    let datagrams = rig.worker.associate(ours, 0).unwrap();
    let (ours, mut local) = std::os::unix::net::UnixStream::pair().unwrap();
    let stream = rig.worker.associate(socket2::Socket::from(std::os::fd::OwnedFd::from(ours)), 0).unwrap();
    let datagrams = rig.submit(datagrams, Operation::ReceiveStream);
    let stream = rig.submit(stream, Operation::ReceiveStream);
    for length in [1, 2, 3, 4] {
        theirs.send(&pattern(length)).unwrap();
    }
    for length in [1, 2, 3, 4] {
        assert_eq!(rig.next_of(datagrams).result, Ok(length));
    }
    local.write_all(b"hello").unwrap();
    assert_eq!(rig.next_of(stream).result, Ok(5));
    drop(local);
    assert_eq!(rig.next_of(stream).result, Ok(0));
    rig.end();
}
