//! Connections: taking them, and bytes both ways.

use crate::harness::{connect, failure, on_each_backend, pattern};
use completion_port::{BufferChain, ErrorKind, Handle, Operation, OperationKind, Payload, Slice};
use std::io::{Read, Write};

#[test]
fn what_was_received_can_be_sent_back() {
    on_each_backend(|rig| {
        let (handle, mut peer) = rig.pair();
        peer.write_all(b"hello").unwrap();
        let token = rig.receive(handle, 100);
        let received = rig.next();
        assert_eq!((received.handle, received.key, received.token), (handle, 7, token));
        assert_eq!((received.kind, received.result, received.last), (OperationKind::Receive, Ok(5), true));
        let buffer = received.payload.into_buffer().unwrap();
        assert_eq!(&buffer[..], b"hello");
        let sent = rig.run(handle, Operation::Send { chain: buffer.into() });
        assert_eq!((sent.kind, sent.result), (OperationKind::Send, Ok(5)));
        assert_eq!(sent.payload.into_chain().unwrap().len(), 5);
        let mut echo = [0; 5];
        peer.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"hello");
        rig.close(handle);
        assert_eq!(peer.read(&mut echo).unwrap(), 0);
    });
}

#[test]
fn a_receive_appends_to_what_is_filled_and_an_orderly_end_is_zero_bytes() {
    on_each_backend(|rig| {
        let (handle, mut peer) = rig.pair();
        let mut buffer = rig.port.buffers().acquire(8).unwrap();
        buffer.extend_from_slice(b"ab");
        peer.write_all(b"cdefghijkl").unwrap();
        let received = rig.run(handle, Operation::Receive { buffer });
        assert_eq!(received.result, Ok(6));
        assert_eq!(&received.payload.into_buffer().unwrap()[..], b"abcdefgh");
        let token = rig.receive(handle, 8);
        assert_eq!(&rig.next_of(token).payload.into_buffer().unwrap()[..], b"ijkl");
        drop(peer);
        let token = rig.receive(handle, 8);
        assert_eq!(rig.next_of(token).result, Ok(0));
        rig.close(handle);
    });
}

#[test]
fn a_reset_is_an_error_and_not_an_end() {
    on_each_backend(|rig| {
        let (handle, peer) = rig.pair();
        let token = rig.receive(handle, 8);
        socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(peer);
        assert_eq!(failure(&rig.next_of(token)), ErrorKind::Reset);
        rig.close(handle);
    });
}

/// What the system took before a cancel came into effect is reported; the rest waits for the next accept.
#[test]
fn no_connection_is_lost_between_accept_streams() {
    on_each_backend(|rig| {
        let (listener, address) = rig.listener();
        let mut stream = rig.submit(listener, Operation::AcceptStream);
        let peers: Vec<_> = (0..60).map(|_| connect(address)).collect();
        let mut accepted = Vec::new();
        while accepted.len() < peers.len() {
            let completion = rig.next_of(stream);
            if let Payload::Accepted(handle) = completion.payload {
                accepted.push(handle);
                // Again and again, while others are on their way.
                rig.worker.cancel(stream);
            }
            if completion.last {
                stream = rig.submit(listener, Operation::AcceptStream);
            }
        }
        for mut peer in peers {
            let own = peer.local_addr().unwrap();
            let position = accepted.iter().position(|&handle| rig.worker.peer_address(handle) == Ok(own));
            let handle = accepted.swap_remove(position.expect("the peer's connection was accepted"));
            let sent = rig.send(handle, b"x");
            assert_eq!(rig.next_of(sent).result, Ok(1));
            rig.close(handle);
            assert_eq!(peer.read(&mut [0; 8]).unwrap(), 1);
        }
        rig.worker.cancel(stream);
        assert!(rig.next_of(stream).last);
        rig.close(listener);
    });
}

#[test]
fn an_accept_stream_takes_every_connection_until_cancelled() {
    on_each_backend(|rig| {
        let (listener, address) = rig.listener();
        let stream = rig.submit(listener, Operation::AcceptStream);
        let mut peers: Vec<_> = (0..40).map(|_| connect(address)).collect();
        let mut accepted = Vec::new();
        while accepted.len() < peers.len() {
            let completion = rig.next_of(stream);
            assert_eq!((completion.result, completion.last, completion.key), (Ok(0), false, 1));
            let Payload::Accepted(handle) = completion.payload else {
                panic!("{:?} was accepted", completion.payload)
            };
            accepted.push(handle);
        }
        // Each is the connection of another peer, and knows which.
        for peer in &mut peers {
            let own = peer.local_addr().unwrap();
            let position = accepted.iter().position(|&handle| rig.worker.peer_address(handle) == Ok(own));
            let handle = accepted.swap_remove(position.expect("the peer's connection was accepted"));
            assert_eq!(rig.worker.local_address(handle), Ok(address));
            rig.worker.set_key(handle, 99).unwrap();
            peer.write_all(b"x").unwrap();
            let token = rig.receive(handle, 8);
            let received = rig.next_of(token);
            assert_eq!((received.key, received.result), (99, Ok(1)));
            rig.close(handle);
        }
        rig.worker.cancel(stream);
        let end = rig.next_of(stream);
        assert_eq!((failure(&end), end.last), (ErrorKind::Cancelled, true));
        assert!(matches!(end.payload, Payload::None));
        rig.close(listener);
    });
}

#[test]
fn one_accept_takes_one_connection() {
    on_each_backend(|rig| {
        let (listener, address) = rig.listener();
        let (first, second) =
            (rig.submit(listener, Operation::Accept), rig.submit(listener, Operation::Accept));
        let peers = [connect(address), connect(address), connect(address)];
        for token in [first, second] {
            let completion = rig.next();
            assert_eq!((completion.token, completion.result, completion.last), (token, Ok(0), true));
            assert!(matches!(completion.payload, Payload::Accepted(_)));
        }
        rig.expect_silence();
        drop(peers);
        rig.close(listener);
    });
}

#[test]
fn sends_go_out_in_order_and_a_chain_as_one_piece() {
    on_each_backend(|rig| {
        let (handle, mut peer) = rig.pair();
        let all = pattern(200_000);
        let mut tokens = Vec::new();
        for part in all.chunks(20_000) {
            let mut chain = BufferChain::new();
            for piece in part.chunks(900) {
                let mut buffer = rig.port.buffers().allocate(piece.len()).unwrap();
                buffer.extend_from_slice(piece);
                chain.push(buffer).unwrap();
            }
            tokens.push((rig.submit(handle, Operation::Send { chain }), part.len() as u64));
        }
        let mut read = vec![0; all.len()];
        let reader = std::thread::spawn(move || {
            peer.read_exact(&mut read).unwrap();
            (read, peer)
        });
        for (token, length) in tokens {
            let sent = rig.next();
            assert_eq!((sent.token, sent.result), (token, Ok(length)));
        }
        assert!(reader.join().unwrap().0 == all);
        rig.close(handle);
    });
}

#[test]
fn a_mebibyte_goes_both_ways_in_odd_pieces_past_a_slow_reader() {
    on_each_backend(|rig| {
        let (handle, peer) = rig.pair();
        let all = pattern(1 << 20);
        let (mut reader, mut writer) = (peer.try_clone().unwrap(), peer);
        let expected = all.clone();
        let written = all.clone();
        let writing = std::thread::spawn(move || {
            let mut rest = &written[..];
            for step in (1..).map(|step: usize| step * 977 % 6_007 + 1) {
                let (now, later) = rest.split_at(step.min(rest.len()));
                writer.write_all(now).unwrap();
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let sending = rig.send(handle, &all);
        let stream = rig.submit(handle, Operation::ReceiveStream);
        let mut received = Vec::new();
        let mut reading = None;
        loop {
            let completion = rig.next_of(stream);
            assert_eq!(completion.result, Ok(completion.result.unwrap()));
            if completion.last {
                assert_eq!(completion.result, Ok(0));
                break;
            }
            let bytes = completion.result.unwrap();
            let buffer = completion.payload.into_buffer().unwrap();
            assert_eq!(bytes, buffer.len() as u64);
            received.extend_from_slice(&buffer);
            // Only now does the peer begin to read: what was sent until here had to wait for it.
            if reading.is_none() && received.len() > 1 << 19 {
                let mut reader = reader.try_clone().unwrap();
                reading = Some(std::thread::spawn(move || {
                    let mut read = vec![0; 1 << 20];
                    let mut filled = 0;
                    for step in (1..).map(|step: usize| step * 613 % 9_001 + 1) {
                        let end = (filled + step).min(read.len());
                        reader.read_exact(&mut read[filled..end]).unwrap();
                        filled = end;
                        if filled == read.len() {
                            return read;
                        }
                    }
                    unreachable!("the steps have no end")
                }));
            }
        }
        assert!(received == expected);
        assert_eq!(rig.next_of(sending).result, Ok(1 << 20));
        assert!(reading.unwrap().join().unwrap() == expected);
        writing.join().unwrap();
        rig.close(handle);
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    });
}

#[test]
fn an_outgoing_connection_carries_bytes() {
    on_each_backend(|rig| {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let handle = rig.worker.associate(socket, 3).unwrap();
        let connecting =
            rig.submit(handle, Operation::Connect { address: address.into(), first: BufferChain::new() });
        // In the same direction: it goes out once the connection is there.
        let sending = rig.submit(handle, Operation::Send { chain: Slice::from_static(b"first").into() });
        let completion = rig.next();
        assert_eq!((completion.token, completion.result, completion.key), (connecting, Ok(0), 3));
        assert_eq!(rig.next_of(sending).result, Ok(5));
        assert_eq!(rig.worker.peer_address(handle), Ok(address));
        let (mut peer, _) = listener.accept().unwrap();
        let ended = rig.run(handle, Operation::Disconnect);
        assert_eq!(ended.result, Ok(0));
        let mut read = Vec::new();
        peer.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"first");
        // The other direction still works.
        peer.write_all(b"second").unwrap();
        let token = rig.receive(handle, 100);
        assert_eq!(&rig.next_of(token).payload.into_buffer().unwrap()[..], b"second");
        rig.close(handle);
    });
}

#[test]
fn a_refused_connection_says_so() {
    on_each_backend(|rig| {
        // Bound but not listening: nobody else can listen there meanwhile.
        let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        bound.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = bound.local_addr().unwrap().as_socket().unwrap();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let handle = rig.worker.associate(socket, 3).unwrap();
        assert_eq!(
            failure(
                &rig.run(handle, Operation::Connect { address: address.into(), first: BufferChain::new() })
            ),
            ErrorKind::Refused
        );
        rig.close(handle);
    });
}

#[test]
fn operations_that_do_not_fit_come_back() {
    on_each_backend(|rig| {
        let (handle, _peer) = rig.pair();
        let (listener, _) = rig.listener();
        let mut full = rig.port.buffers().acquire(2).unwrap();
        full.extend_from_slice(b"ab");
        for (handle, operation, expected) in [
            (handle, Operation::Accept, ErrorKind::InvalidArgument),
            (listener, Operation::ReceiveStream, ErrorKind::InvalidArgument),
            (handle, Operation::Metadata { file: handle }, ErrorKind::InvalidArgument),
            (Handle::NONE, Operation::Disconnect, ErrorKind::StaleHandle),
            (handle, Operation::Receive { buffer: full }, ErrorKind::InvalidArgument),
        ] {
            let kind = operation.kind();
            let rejected = rig.worker.submit(handle, operation).expect_err("it does not fit");
            assert_eq!((rejected.error.kind(), rejected.operation.kind()), (expected, kind));
        }
        rig.close(handle);
        let rejected = rig.worker.submit(handle, Operation::Disconnect).expect_err("the handle is closed");
        assert_eq!(rejected.error.kind(), ErrorKind::StaleHandle);
        rig.expect_silence();
        rig.close(listener);
    });
}

#[test]
fn connections_work_over_ipv6_too() {
    if std::net::TcpListener::bind(("::1", 0)).is_err() {
        // Not every machine has it.
        return;
    }
    on_each_backend(|rig| {
        let listener = std::net::TcpListener::bind(("::1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = rig.worker.associate(listener, 1).unwrap();
        let accepting = rig.submit(listener, Operation::Accept);
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        let client = rig.worker.associate(socket, 2).unwrap();
        assert_eq!(
            rig.run(client, Operation::Connect { address: address.into(), first: BufferChain::new() }).result,
            Ok(0)
        );
        let Payload::Accepted(server) = rig.next_of(accepting).payload else {
            panic!("nothing was accepted")
        };
        assert_eq!(rig.worker.peer_address(server), rig.worker.local_address(client));
        let sent = rig.send(server, b"hello");
        assert_eq!(rig.next_of(sent).result, Ok(5));
        let token = rig.receive(client, 10);
        assert_eq!(&rig.next_of(token).payload.into_buffer().unwrap()[..], b"hello");
        for handle in [server, client, listener] {
            rig.close(handle);
        }
    });
}

#[test]
fn a_handle_belongs_to_its_queue() {
    for backend in crate::harness::available() {
        let mut configuration = crate::harness::configuration(backend);
        configuration.queues = 2;
        let port = completion_port::Port::new(configuration).unwrap();
        let (mut first, mut second) = (port.worker().unwrap(), port.worker().unwrap());
        assert_eq!((first.queue(), second.queue()), (0, 1));
        assert!(port.worker().is_err(), "all seats are taken");
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let handle = first.associate(listener, 1).unwrap();
        let rejected = second.submit(handle, Operation::Accept).expect_err("it is another queue's");
        assert_eq!(rejected.error.kind(), ErrorKind::WrongQueue);
        assert_eq!(second.set_key(handle, 2).unwrap_err().kind(), ErrorKind::WrongQueue);
        port.post(1, completion_port::Packet { key: 8, ..Default::default() }).unwrap();
        let mut completions = Vec::new();
        first.wait(&mut completions, Some(crate::harness::GLANCE)).unwrap();
        assert!(completions.is_empty());
        second.wait(&mut completions, Some(crate::harness::PATIENCE)).unwrap();
        assert_eq!((completions.len(), completions[0].key), (1, 8));
    }
}
