//! Datagrams: one by one, with where they come from and what travels beside them.

use crate::{
    harness::{PATIENCE, Rig, failure, pattern, uninterrupted},
    suite::Case,
};
use completion_port::{
    Address, Ancillary, Buffer, BufferChain, Completion, ControlRequest, ErrorKind, Handle, Message,
    Operation, OperationKind, Payload, Slice, Token,
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    num::NonZero,
    time::Duration,
};

pub(crate) const CASES: &[Case] = cases![
needs OperationKind::ReceiveFrom;

    datagrams_come_with_where_they_come_from,
    a_chain_goes_as_one_datagram,
    an_empty_datagram_is_no_end,
    what_does_not_fit_is_lost_and_said_to_be,
    a_datagram_is_appended_to_what_the_buffer_has,
    datagrams_keep_their_order_and_their_bounds,
    a_datagram_that_is_too_long_fails_and_brings_its_bytes_home,
    a_connected_socket_needs_no_address,
    a_message_tells_what_the_system_knows,
    an_answer_leaves_from_where_the_question_came_to,
    a_message_can_be_cut_apart_by_the_system,
    messages_can_be_joined_by_the_system,
    waiting_for_datagrams_ends_by_cancel_deadline_and_close,
    what_makes_no_sense_is_refused,
];

/// What the system has to know: elsewhere it may say nothing.
const LINUX: bool = cfg!(target_os = "linux");

fn loopbacks() -> impl Iterator<Item = IpAddr> {
    let all = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    // A machine may have no IPv6.
    all.into_iter().filter(|&address| UdpSocket::bind((address, 0)).is_ok())
}

fn plain(address: IpAddr) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A socket of the port.
fn bound(rig: &mut Rig, address: IpAddr) -> (Handle, SocketAddr) {
    let (socket, address) = plain(address);
    (rig.worker.associate(socket, 5).unwrap(), address)
}

fn buffer(rig: &Rig, capacity: usize) -> Buffer {
    rig.port.buffers().acquire(capacity).unwrap()
}

fn receive_from(rig: &mut Rig, handle: Handle, capacity: usize) -> Token {
    let buffer = buffer(rig, capacity);
    rig.submit(handle, Operation::ReceiveFrom { buffer })
}

fn receive_message(rig: &mut Rig, handle: Handle, capacity: usize) -> Token {
    let buffer = buffer(rig, capacity);
    rig.submit(handle, Operation::ReceiveMessage { buffer })
}

fn send_to(rig: &mut Rig, handle: Handle, bytes: &[u8], to: SocketAddr) -> Completion {
    let chain = rig.chain(bytes);
    rig.run(handle, Operation::SendTo { chain, to: to.into() })
}

#[track_caller]
fn datagram(completion: Completion) -> (Vec<u8>, Address, Ancillary) {
    let bytes = completion.result.expect("a datagram") as usize;
    match completion.payload {
        Payload::Datagram { buffer, from, ancillary } => {
            assert!(completion.last && buffer.len() >= bytes);
            (buffer[buffer.len() - bytes..].to_vec(), from, ancillary)
        }
        other => panic!("{other:?} instead of a datagram"),
    }
}

fn datagrams_come_with_where_they_come_from(rig: &mut Rig) {
    for loopback in loopbacks() {
        let (handle, here) = bound(rig, loopback);
        let (peer, there) = plain(loopback);
        let token = receive_from(rig, handle, 100);
        peer.send_to(b"question", here).unwrap();
        let completion = rig.next_of(token);
        assert_eq!((completion.kind, completion.key), (OperationKind::ReceiveFrom, 5));
        let (bytes, from, ancillary) = datagram(completion);
        assert_eq!((&bytes[..], from.as_internet()), (&b"question"[..], Some(there)));
        assert_eq!(ancillary, Ancillary::default());
        let sent = send_to(rig, handle, b"answer", there);
        assert_eq!((sent.kind, sent.result, sent.key), (OperationKind::SendTo, Ok(6), 5));
        assert_eq!(sent.payload.into_chain().unwrap().len(), 6);
        let mut read = [0; 100];
        assert_eq!(uninterrupted(|| peer.recv_from(&mut read)), (6, here));
        assert_eq!(&read[..6], b"answer");
        rig.close(handle);
    }
}

fn a_chain_goes_as_one_datagram(rig: &mut Rig) {
    let (handle, here) = bound(rig, Ipv4Addr::LOCALHOST.into());
    let (peer, there) = plain(Ipv4Addr::LOCALHOST.into());
    let mut chain = BufferChain::new();
    while chain.push(Slice::from_static(b"piece ")).is_ok() {}
    let bytes = chain.len();
    let sent = rig.run(handle, Operation::SendTo { chain, to: there.into() });
    assert_eq!(sent.result, Ok(bytes));
    let mut read = vec![0; 1_000];
    assert_eq!(uninterrupted(|| peer.recv_from(&mut read)), (bytes as usize, here));
    assert_eq!(&read[..bytes as usize], b"piece ".repeat(BufferChain::MAXIMUM_SLICES));
    rig.close(handle);
}

fn an_empty_datagram_is_no_end(rig: &mut Rig) {
    let (handle, here) = bound(rig, Ipv4Addr::LOCALHOST.into());
    let (peer, there) = plain(Ipv4Addr::LOCALHOST.into());
    peer.send_to(b"", here).unwrap();
    peer.send_to(b"", here).unwrap();
    let token = receive_from(rig, handle, 10);
    let (bytes, from, _) = datagram(rig.next_of(token));
    assert_eq!((bytes.len(), from.as_internet()), (0, Some(there)));
    let token = receive_message(rig, handle, 10);
    let (bytes, from, _) = datagram(rig.next_of(token));
    assert_eq!((bytes.len(), from.as_internet()), (0, Some(there)));
    assert_eq!(send_to(rig, handle, b"", there).result, Ok(0));
    assert_eq!(uninterrupted(|| peer.recv_from(&mut [0; 10])), (0, here));
    let message = Box::new(Message { to: Some(there.into()), ..Message::default() });
    assert_eq!(rig.run(handle, Operation::SendMessage { message }).result, Ok(0));
    assert_eq!(uninterrupted(|| peer.recv_from(&mut [0; 10])), (0, here));
    rig.close(handle);
}

fn what_does_not_fit_is_lost_and_said_to_be(rig: &mut Rig) {
    let (handle, here) = bound(rig, Ipv4Addr::LOCALHOST.into());
    let (peer, there) = plain(Ipv4Addr::LOCALHOST.into());
    for with_control in [false, true] {
        peer.send_to(b"longer than that", here).unwrap();
        peer.send_to(b"next", here).unwrap();
        let receive = if with_control { receive_message } else { receive_from };
        let token = receive(rig, handle, 6);
        let (bytes, from, ancillary) = datagram(rig.next_of(token));
        assert_eq!((&bytes[..], from.as_internet()), (&b"longer"[..], Some(there)));
        assert!(ancillary.truncated);
        let token = receive(rig, handle, 6);
        let (bytes, _, ancillary) = datagram(rig.next_of(token));
        assert_eq!(&bytes[..], b"next");
        assert!(!ancillary.truncated);
    }
    rig.close(handle);
}

fn a_datagram_is_appended_to_what_the_buffer_has(rig: &mut Rig) {
    let (handle, here) = bound(rig, Ipv4Addr::LOCALHOST.into());
    let (peer, _) = plain(Ipv4Addr::LOCALHOST.into());
    let mut buffer = buffer(rig, 10);
    buffer.extend_from_slice(b"head:");
    peer.send_to(b"tail", here).unwrap();
    let completion = rig.run(handle, Operation::ReceiveFrom { buffer });
    assert_eq!(completion.result, Ok(4));
    assert_eq!(&completion.payload.into_buffer().unwrap()[..], b"head:tail");
    rig.close(handle);
}

fn datagrams_keep_their_order_and_their_bounds(rig: &mut Rig) {
    let (receiver, here) = bound(rig, Ipv4Addr::LOCALHOST.into());
    let (sender, _) = bound(rig, Ipv4Addr::LOCALHOST.into());
    let receives: Vec<_> = (0..40).map(|_| receive_from(rig, receiver, 64)).collect();
    for number in 0..40u8 {
        let chain = rig.chain(&vec![number; 1 + usize::from(number)]);
        rig.submit(sender, Operation::SendTo { chain, to: here.into() });
    }
    for (number, token) in receives.into_iter().enumerate() {
        let (bytes, ..) = datagram(rig.next_of(token));
        assert_eq!(bytes, vec![number as u8; number + 1]);
    }
    for _ in 0..40 {
        assert_eq!(rig.next().kind, OperationKind::SendTo);
    }
    rig.close(receiver);
    rig.close(sender);
}

fn a_datagram_that_is_too_long_fails_and_brings_its_bytes_home(rig: &mut Rig) {
    let (handle, _) = bound(rig, Ipv4Addr::LOCALHOST.into());
    let (_peer, there) = plain(Ipv4Addr::LOCALHOST.into());
    let sent = send_to(rig, handle, &pattern(70_000), there);
    failure(&sent);
    assert_eq!(sent.payload.into_chain().unwrap().len(), 70_000);
    // The socket is none the worse.
    assert_eq!(send_to(rig, handle, b"short", there).result, Ok(5));
    rig.close(handle);
}

fn a_connected_socket_needs_no_address(rig: &mut Rig) {
    let (peer, there) = plain(Ipv4Addr::LOCALHOST.into());
    let (socket, here) = plain(Ipv4Addr::LOCALHOST.into());
    let handle = rig.worker.associate(socket, 5).unwrap();
    let connected = rig.run(handle, Operation::Connect { address: there.into(), first: BufferChain::new() });
    assert_eq!(connected.result, Ok(0));
    let mut message = Box::new(Message::default());
    message.chain.push(Slice::from_static(b"to whom it concerns")).unwrap();
    let sent = rig.run(handle, Operation::SendMessage { message });
    assert_eq!(sent.result, Ok(19));
    assert!(matches!(sent.payload, Payload::Message(message) if message.chain.len() == 19));
    let chain = rig.chain(b"plainly");
    assert_eq!(rig.run(handle, Operation::Send { chain }).result, Ok(7));
    let mut read = [0; 100];
    assert_eq!(uninterrupted(|| peer.recv_from(&mut read)), (19, here));
    assert_eq!(uninterrupted(|| peer.recv_from(&mut read)), (7, here));
    peer.send_to(b"back", here).unwrap();
    let token = rig.receive(handle, 100);
    assert_eq!(rig.next_of(token).result, Ok(4));
    rig.close(handle);
}

fn a_message_tells_what_the_system_knows(rig: &mut Rig) {
    for loopback in loopbacks() {
        let (receiver, here) = bound(rig, loopback);
        let (sender, there) = bound(rig, loopback);
        let token = receive_message(rig, receiver, 100);
        let ancillary = Ancillary { ecn: LINUX.then_some(2), ..Ancillary::default() };
        let chain = rig.chain(b"marked");
        let message = Box::new(Message { chain, to: Some(here.into()), ancillary });
        assert_eq!(rig.run(sender, Operation::SendMessage { message }).result, Ok(6));
        let (bytes, from, ancillary) = datagram(rig.next_of(token));
        assert_eq!((&bytes[..], from.as_internet()), (&b"marked"[..], Some(there)));
        assert!(ancillary.local.is_none_or(|local| local == loopback), "{ancillary:?}");
        assert!(!ancillary.truncated && ancillary.segment_bytes.is_none());
        if LINUX {
            assert_eq!((ancillary.local, ancillary.ecn), (Some(loopback), Some(2)));
            assert!(ancillary.interface.is_some());
        }
        rig.close(receiver);
        rig.close(sender);
    }
}

fn an_answer_leaves_from_where_the_question_came_to(rig: &mut Rig) {
    // All of this network is the loopback's, on Linux.
    let asked = if LINUX { Ipv4Addr::new(127, 0, 0, 77) } else { Ipv4Addr::LOCALHOST };
    let (handle, here) = bound(rig, Ipv4Addr::UNSPECIFIED.into());
    let (peer, there) = plain(Ipv4Addr::LOCALHOST.into());
    let token = receive_message(rig, handle, 100);
    peer.send_to(b"question", (asked, here.port())).unwrap();
    let (_, from, received) = datagram(rig.next_of(token));
    assert_eq!(from.as_internet(), Some(there));
    let ancillary =
        Ancillary { local: received.local, interface: received.interface, ..Ancillary::default() };
    let message = Box::new(Message { chain: rig.chain(b"answer"), to: Some(from), ancillary });
    let sent = rig.run(handle, Operation::SendMessage { message });
    if !is_supported(&sent) {
        return rig.close(handle);
    }
    assert_eq!(sent.result, Ok(6));
    let (bytes, from) = uninterrupted(|| peer.recv_from(&mut [0; 100]));
    assert_eq!((bytes, from), (6, SocketAddr::from((asked, here.port()))));
    rig.close(handle);
}

/// Whether it is to be had; on Linux it has to be.
fn is_supported(completion: &Completion) -> bool {
    match completion.result {
        Ok(_) => true,
        Err(error) => {
            assert!(!LINUX && error.kind() == ErrorKind::Unsupported, "{error}");
            false
        }
    }
}

fn segmented(rig: &Rig, to: SocketAddr, bytes: usize, segment_bytes: u16) -> Operation {
    let ancillary = Ancillary { segment_bytes: NonZero::new(segment_bytes), ..Ancillary::default() };
    let chain = rig.chain(&pattern(bytes));
    Operation::SendMessage { message: Box::new(Message { chain, to: Some(to.into()), ancillary }) }
}

fn a_message_can_be_cut_apart_by_the_system(rig: &mut Rig) {
    for loopback in loopbacks() {
        let (handle, _) = bound(rig, loopback);
        let (peer, there) = plain(loopback);
        let operation = segmented(rig, there, 450, 100);
        let sent = rig.run(handle, operation);
        if is_supported(&sent) {
            assert_eq!(sent.result, Ok(450));
            let mut read = [0; 1_000];
            for (start, expected) in [(0, 100), (100, 100), (200, 100), (300, 100), (400, 50)] {
                assert_eq!(uninterrupted(|| peer.recv(&mut read)), expected);
                assert_eq!(read[..expected], pattern(450)[start..start + expected]);
            }
        }
        assert!(matches!(sent.payload, Payload::Message(message) if message.chain.len() == 450));
        rig.close(handle);
    }
}

fn messages_can_be_joined_by_the_system(rig: &mut Rig) {
    let (receiver, here) = bound(rig, Ipv4Addr::LOCALHOST.into());
    let (sender, _) = bound(rig, Ipv4Addr::LOCALHOST.into());
    let request = ControlRequest::CoalesceDatagrams(true);
    if !is_supported(&rig.run(receiver, Operation::Control { request })) {
        return rig.close(receiver);
    }
    // The first asks the system to tell, before anything comes.
    let mut token = receive_message(rig, receiver, 4_096);
    let operation = segmented(rig, here, 1_050, 100);
    if is_supported(&rig.run(sender, operation)) {
        let (mut all, mut joined) = (Vec::new(), false);
        while all.len() < 1_050 {
            let (bytes, _, ancillary) = datagram(rig.next_of(token));
            match ancillary.segment_bytes {
                Some(segment) => {
                    assert_eq!(segment.get(), 100);
                    joined |= bytes.len() > 100;
                }
                None => assert!(bytes.len() <= 100),
            }
            all.extend(bytes);
            token = receive_message(rig, receiver, 4_096);
        }
        assert_eq!(all, pattern(1_050));
        assert!(joined || !LINUX);
    }
    // One by one again.
    rig.worker.cancel(token);
    assert_eq!(failure(&rig.next_of(token)), ErrorKind::Cancelled);
    let request = ControlRequest::CoalesceDatagrams(false);
    assert_eq!(rig.run(receiver, Operation::Control { request }).result, Ok(0));
    let operation = segmented(rig, here, 200, 100);
    is_supported(&rig.run(sender, operation));
    for _ in 0..2 {
        let token = receive_message(rig, receiver, 4_096);
        let (bytes, _, ancillary) = datagram(rig.next_of(token));
        assert_eq!((bytes.len(), ancillary.segment_bytes), (100, None));
    }
    rig.close(receiver);
    rig.close(sender);
}

fn waiting_for_datagrams_ends_by_cancel_deadline_and_close(rig: &mut Rig) {
    let (handle, here) = bound(rig, Ipv4Addr::LOCALHOST.into());
    let (first, second) = (receive_from(rig, handle, 10), receive_message(rig, handle, 20));
    for (token, capacity) in [(second, 20), (first, 10)] {
        rig.worker.cancel(token);
        let end = rig.next_of(token);
        assert_eq!(failure(&end), ErrorKind::Cancelled);
        assert!(matches!(&end.payload, Payload::Buffer(buffer) if buffer.capacity() == capacity));
    }
    let buffer = buffer(rig, 10);
    let limit = Duration::from_millis(5);
    let operation = Operation::ReceiveMessage { buffer };
    let token = rig.worker.submit_with_limit(handle, operation, limit).unwrap();
    assert_eq!(failure(&rig.next_of(token)), ErrorKind::TimedOut);
    // The socket lives on.
    let (peer, _) = plain(Ipv4Addr::LOCALHOST.into());
    peer.send_to(b"still there", here).unwrap();
    let token = receive_from(rig, handle, 100);
    assert_eq!(rig.next_of(token).result, Ok(11));
    let (first, second) = (receive_message(rig, handle, 10), receive_from(rig, handle, 10));
    let close = rig.submit(handle, Operation::Close);
    for _ in 0..2 {
        let end = rig.next();
        assert!(end.token == first || end.token == second);
        assert_eq!(failure(&end), ErrorKind::Cancelled);
    }
    assert_eq!(rig.next().token, close);
}

fn what_makes_no_sense_is_refused(rig: &mut Rig) {
    let (handle, here) = bound(rig, Ipv4Addr::LOCALHOST.into());
    let mut full = buffer(rig, 4);
    full.extend_from_slice(b"full");
    let odd = Ancillary { ecn: Some(4), ..Ancillary::default() };
    let message = Message { to: Some(here.into()), ancillary: odd, ..Message::default() };
    for operation in [
        Operation::ReceiveFrom { buffer: full },
        Operation::SendTo { chain: rig.chain(b"x"), to: Address::Unnamed },
        Operation::SendMessage { message: Box::new(message) },
    ] {
        let rejected = rig.worker.submit(handle, operation).expect_err("it makes no sense");
        assert_eq!(rejected.error.kind(), ErrorKind::InvalidArgument);
    }
    // Not for this kind of socket.
    let to = Address::from(std::env::temp_dir().join("nobody").as_path());
    let chain = rig.chain(b"x");
    let sent = rig.run(handle, Operation::SendTo { chain, to });
    failure(&sent);
    assert_eq!(sent.payload.into_chain().unwrap().len(), 1);
    rig.close(handle);
    if cfg!(unix) {
        let (stream, _peer) = rig.pair();
        let chain = rig.chain(b"x");
        assert_eq!(
            failure(&rig.run(stream, Operation::SendTo { chain, to: here.into() })),
            ErrorKind::InvalidArgument
        );
        let token = receive_from(rig, stream, 10);
        assert_eq!(failure(&rig.next_of(token)), ErrorKind::InvalidArgument);
        rig.close(stream);
    }
}
