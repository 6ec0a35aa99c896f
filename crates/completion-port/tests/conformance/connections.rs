//! Connections: taking them, and bytes both ways.

use crate::{
    harness::{GLANCE, PATIENCE, Rig, configuration, failure, file_with, pattern},
    peer::Network,
    suite::Case,
};
use completion_port::{
    BufferChain, ErrorKind, Handle, OpenOptions, Operation, OperationKind, Packet, Payload, Port, Slice,
};
use std::{
    cell::{Cell, RefCell},
    io::{ErrorKind as Io, Read, Write},
    net::{Shutdown, SocketAddr},
    rc::Rc,
};

pub(crate) const CASES: &[Case] = cases![
    a_completion_carries_the_key_that_is_set_when_it_is_handed_out,
    what_was_received_can_be_sent_back,
    a_receive_appends_to_what_is_filled_and_an_orderly_end_is_zero_bytes,
    a_reset_is_an_error_and_not_an_end,
    no_connection_is_lost_between_accept_streams,
    an_accept_stream_takes_every_connection_until_cancelled,
    one_accept_takes_one_connection,
    sends_go_out_in_order_and_a_chain_as_one_piece,
    what_a_peer_has_taken_is_known_while_a_send_is_under_way,
    a_close_resets_where_it_is_told_so,
    a_mebibyte_goes_both_ways_in_odd_pieces_past_a_slow_reader,
    an_outgoing_connection_carries_bytes,
    a_refused_connection_says_so,
    operations_that_do_not_fit_come_back,
    connections_work_over_ipv6_too,
    a_handle_belongs_to_its_queue,
    peers_that_leave_before_they_are_accepted_end_no_stream,
    clients_that_say_nothing_hold_nobody_up with |configuration| configuration.accepts_posted = 2,
    what_fails_at_once_ends_once,
];

fn connect_to(address: SocketAddr) -> Operation {
    Operation::Connect { address: address.into(), first: BufferChain::new() }
}

fn what_a_peer_has_taken_is_known_while_a_send_is_under_way(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    match rig.worker.acknowledged_bytes(handle) {
        Ok(bytes) => assert_eq!(bytes, 0),
        Err(error) => {
            let known = if cfg!(target_os = "linux") { None } else { Some(ErrorKind::Unsupported) };
            assert_eq!(Some(error.kind()), known);
            return rig.close(handle);
        }
    }
    let chain = Rig::huge_chain();
    let length = chain.len();
    let sending = rig.submit(handle, Operation::Send { chain });
    rig.read_some(&mut peer, 1 << 20);
    // What the peer has read, once its system has said so, and perhaps what its system holds.
    let until = std::time::Instant::now() + PATIENCE;
    let taken = loop {
        match rig.worker.acknowledged_bytes(handle).unwrap() {
            taken @ 0..0x10_0000 => assert!(std::time::Instant::now() < until, "{taken} bytes"),
            taken => break taken,
        }
        std::thread::yield_now();
    };
    assert!(taken < length, "{taken} bytes");
    rig.read_some(&mut peer, (length - (1 << 20)) as usize);
    assert_eq!(rig.next_of(sending).result, Ok(length));
    rig.close(handle);
    assert_eq!(rig.worker.acknowledged_bytes(handle).unwrap_err().kind(), ErrorKind::StaleHandle);
}

fn a_close_resets_where_it_is_told_so(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let sent = rig.send(handle, b"hello");
    assert_eq!(rig.next_of(sent).result, Ok(5));
    rig.worker.reset_on_close(handle).unwrap();
    rig.close(handle);
    // What had arrived before may be read or not.
    let mut end = peer.read(&mut [0; 8]);
    if matches!(end, Ok(1..)) {
        end = peer.read(&mut [0; 8]);
    }
    let is_reset = match end {
        // Wine takes the error before the reader can. What tells then is that a connection which ended in order could still send.
        Ok(0) if cfg!(windows) => peer.write(b"x").is_err(),
        end => end.is_err_and(|error| error.kind() == Io::ConnectionReset),
    };
    assert!(is_reset);
    assert_eq!(rig.worker.reset_on_close(handle).unwrap_err().kind(), ErrorKind::StaleHandle);
}

fn what_was_received_can_be_sent_back(rig: &mut Rig) {
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
}

fn a_receive_appends_to_what_is_filled_and_an_orderly_end_is_zero_bytes(rig: &mut Rig) {
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
}

fn a_reset_is_an_error_and_not_an_end(rig: &mut Rig) {
    let (handle, peer) = rig.pair();
    let token = rig.receive(handle, 8);
    peer.reset();
    assert_eq!(failure(&rig.next_of(token)), ErrorKind::Reset);
    rig.close(handle);
}

/// What the system took before a cancel came into effect is reported; the rest waits for the next accept.
fn no_connection_is_lost_between_accept_streams(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let mut stream = rig.submit(listener, Operation::AcceptStream);
    let peers: Vec<_> = (0..60).map(|_| rig.connect(address)).collect();
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
        let own = peer.local_addr();
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
}

fn an_accept_stream_takes_every_connection_until_cancelled(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let stream = rig.submit(listener, Operation::AcceptStream);
    let mut peers: Vec<_> = (0..40).map(|_| rig.connect(address)).collect();
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
        let own = peer.local_addr();
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
}

fn one_accept_takes_one_connection(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let (first, second) = (rig.submit(listener, Operation::Accept), rig.submit(listener, Operation::Accept));
    let peers = [rig.connect(address), rig.connect(address), rig.connect(address)];
    for token in [first, second] {
        let completion = rig.next();
        assert_eq!((completion.token, completion.result, completion.last), (token, Ok(0), true));
        assert!(matches!(completion.payload, Payload::Accepted(_)));
    }
    rig.expect_silence();
    drop(peers);
    rig.close(listener);
}

fn sends_go_out_in_order_and_a_chain_as_one_piece(rig: &mut Rig) {
    let (handle, peer) = rig.pair();
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
    let reading = rig.read_beside(peer);
    for (token, length) in tokens {
        let sent = rig.next();
        assert_eq!((sent.token, sent.result), (token, Ok(length)));
    }
    rig.close(handle);
    assert!(rig.read_to_end(&reading) == all);
}

fn a_mebibyte_goes_both_ways_in_odd_pieces_past_a_slow_reader(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let all = pattern(1 << 20);
    let (mut written, mut read, mut step) = (0, Vec::new(), 0usize);
    let begun = Rc::new(Cell::new(false));
    let (begin, peer_read) = (Rc::clone(&begun), Rc::new(RefCell::new(Vec::new())));
    let (outcome, expected) = (Rc::clone(&peer_read), all.clone());
    peer.set_nonblocking(true);
    rig.beside(move || {
        // Odd pieces, as many as the network takes.
        while written < all.len() {
            step += 1;
            let end = (written + step * 977 % 6_007 + 1).min(all.len());
            match peer.write(&all[written..end]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == Io::WouldBlock => break,
                Err(error) => panic!("{error} after {written} bytes"),
            }
            if written == all.len() {
                peer.shutdown(Shutdown::Write).unwrap();
            }
        }
        let mut piece = [0; 9_001];
        while begin.get() && read.len() < all.len() {
            step += 1;
            match peer.read(&mut piece[..step * 613 % 9_001 + 1]) {
                Ok(0) => panic!("the end came after {} bytes", read.len()),
                Ok(count) => read.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == Io::WouldBlock => break,
                Err(error) => panic!("{error} after {} bytes", read.len()),
            }
        }
        let done = written == all.len() && read.len() == all.len();
        if done {
            outcome.replace(std::mem::take(&mut read));
        }
        done
    });
    let sending = rig.send(handle, &expected);
    let stream = rig.submit(handle, Operation::ReceiveStream);
    let mut received = Vec::new();
    loop {
        let completion = rig.next_of(stream);
        let bytes = completion.result.unwrap();
        if completion.last {
            assert_eq!(bytes, 0);
            break;
        }
        let buffer = completion.payload.into_buffer().unwrap();
        assert_eq!(bytes, buffer.len() as u64);
        received.extend_from_slice(&buffer);
        // Only now does the peer begin to read: what was sent until here had to wait for it.
        begun.set(received.len() > 1 << 19);
    }
    assert!(received == expected);
    assert_eq!(rig.next_of(sending).result, Ok(1 << 20));
    rig.settle();
    assert!(*peer_read.borrow() == expected);
    rig.close(handle);
}

fn an_outgoing_connection_carries_bytes(rig: &mut Rig) {
    let listener = rig.peer_listener();
    let address = listener.local_addr();
    let handle = rig.unconnected(address);
    let connecting = rig.submit(handle, connect_to(address));
    // In the same direction: it goes out once the connection is there.
    let sending = rig.submit(handle, Operation::Send { chain: Slice::from_static(b"first").into() });
    let completion = rig.next();
    assert_eq!((completion.token, completion.result, completion.key), (connecting, Ok(0), 3));
    assert_eq!(rig.next_of(sending).result, Ok(5));
    assert_eq!(rig.worker.peer_address(handle), Ok(address));
    let mut peer = listener.accept();
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
}

fn a_refused_connection_says_so(rig: &mut Rig) {
    let (address, _guard) = rig.network.refusing();
    let handle = rig.unconnected(address);
    assert_eq!(failure(&rig.run(handle, connect_to(address))), ErrorKind::Refused);
    rig.close(handle);
}

fn operations_that_do_not_fit_come_back(rig: &mut Rig) {
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
}

fn connections_work_over_ipv6_too(rig: &mut Rig) {
    // Not every machine has it.
    let Some((listener, address)) = rig.network.listener_v6() else { return };
    let listener = rig.worker.associate(listener, 1).unwrap();
    let accepting = rig.submit(listener, Operation::Accept);
    let client = rig.unconnected(address);
    assert_eq!(rig.run(client, connect_to(address)).result, Ok(0));
    let Payload::Accepted(server) = rig.next_of(accepting).payload else { panic!("nothing was accepted") };
    assert_eq!(rig.worker.peer_address(server), rig.worker.local_address(client));
    let sent = rig.send(server, b"hello");
    assert_eq!(rig.next_of(sent).result, Ok(5));
    let token = rig.receive(client, 10);
    assert_eq!(&rig.next_of(token).payload.into_buffer().unwrap()[..], b"hello");
    for handle in [server, client, listener] {
        rig.close(handle);
    }
}

fn a_handle_belongs_to_its_queue(rig: &mut Rig) {
    let mut configuration = configuration(rig.port.backend());
    configuration.queues = 2;
    let network = Network::of(&configuration);
    let port = Port::new(configuration).unwrap();
    let (mut first, mut second) = (port.worker().unwrap(), port.worker().unwrap());
    assert_eq!((first.queue(), second.queue()), (0, 1));
    assert!(port.worker().is_err(), "all seats are taken");
    let handle = first.associate(network.listener().0, 1).unwrap();
    let rejected = second.submit(handle, Operation::Accept).expect_err("it is another queue's");
    assert_eq!(rejected.error.kind(), ErrorKind::WrongQueue);
    assert_eq!(second.set_key(handle, 2).unwrap_err().kind(), ErrorKind::WrongQueue);
    port.post(1, Packet { key: 8, ..Default::default() }).unwrap();
    let mut completions = Vec::new();
    first.wait(&mut completions, Some(GLANCE)).unwrap();
    assert!(completions.is_empty());
    second.wait(&mut completions, Some(PATIENCE)).unwrap();
    assert_eq!((completions.len(), completions[0].key), (1, 8));
}

fn peers_that_leave_before_they_are_accepted_end_no_stream(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let stream = rig.submit(listener, Operation::AcceptStream);
    rig.expect_silence();
    for _ in 0..3 {
        (0..10).for_each(|_| rig.connect(address).reset());
        (0..10).for_each(|_| drop(rig.connect(address)));
        let mut peer = rig.connect(address);
        peer.write_all(b"here").unwrap();
        loop {
            let item = rig.next_of(stream);
            assert!(!item.last, "{item:?}");
            let Payload::Accepted(handle) = item.payload else { panic!("{item:?}") };
            let found = rig.worker.peer_address(handle) == Ok(peer.local_addr());
            if found {
                let receive = rig.receive(handle, 8);
                assert_eq!(rig.next_of(receive).result, Ok(4));
            }
            rig.close(handle);
            if found {
                break;
            }
        }
    }
    rig.close(listener);
}

fn clients_that_say_nothing_hold_nobody_up(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let stream = rig.submit(listener, Operation::AcceptStream);
    let _silent: Vec<_> = (0..20).map(|_| rig.connect(address)).collect();
    let peer = rig.connect(address);
    loop {
        let Payload::Accepted(handle) = rig.next_of(stream).payload else { panic!("the stream ended") };
        rig.submit(handle, Operation::ReceiveStream);
        if rig.worker.peer_address(handle) == Ok(peer.local_addr()) {
            let sent = rig.send(handle, b"welcome");
            assert_eq!(rig.next_of(sent).result, Ok(7));
            return;
        }
    }
}

fn what_fails_at_once_ends_once(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let readable = file_with(rig, folder.path(), b"content");
    let options = OpenOptions::new().write(true).create(true);
    let path = folder.path().join("writable");
    let opened = rig.run(Handle::NONE, Operation::Open { directory: None, path, options });
    let Payload::Opened { file: writable, .. } = opened.payload else { panic!("{:?}", opened.result) };
    let socket = rig.unconnected(rig.network.refusing().0);
    let buffer = |rig: &Rig| rig.port.buffers().acquire(8).unwrap();
    let operations = [
        (socket, Operation::Receive { buffer: buffer(rig) }),
        (socket, Operation::ReceiveStream),
        (socket, Operation::Send { chain: rig.chain(b"nobody") }),
        (writable, Operation::ReadAt { file: writable, offset: 0, buffer: buffer(rig) }),
        (readable, Operation::WriteAt { file: readable, offset: 0, chain: rig.chain(b"never") }),
    ];
    for (handle, operation) in operations {
        let kind = operation.kind();
        let ended = rig.run(handle, operation);
        assert!(ended.result.is_err() && ended.last, "{ended:?}");
        assert_eq!(ended.result.unwrap_err().operation(), kind);
        rig.expect_silence();
    }
    for handle in [socket, readable, writable] {
        rig.close(handle);
    }
    assert_eq!(std::fs::read(folder.path().join("content")).unwrap(), b"content");
}

fn a_completion_carries_the_key_that_is_set_when_it_is_handed_out(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    // On some backends it has completed by now, and waits to be handed out.
    let sent = rig.send(handle, b"x");
    rig.worker.set_key(handle, 55).unwrap();
    let completion = rig.next_of(sent);
    assert_eq!((completion.result, completion.key), (Ok(1), 55));
    rig.close(handle);
}
