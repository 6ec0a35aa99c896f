//! Sockets of the Unix domain: streams and datagrams whose addresses are paths.

use crate::{
    harness::{PATIENCE, Rig, failure, pattern, uninterrupted},
    suite::Case,
};
use completion_port::{
    Address, Ancillary, BufferChain, ErrorKind, Handle, Message, OpenOptions, Operation, OperationKind,
    Payload, Slice,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::{Domain, Socket, Type};
use std::{
    io::{IoSlice, Read, Write},
    mem::MaybeUninit,
    num::NonZero,
    os::{
        fd::AsFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

pub(crate) const CASES: &[Case] = cases![
needs OperationKind::ReceiveFrom;

    a_listener_takes_connections_by_its_path,
    the_port_connects_by_a_path_with_first_bytes,
    connecting_to_nobody_fails,
    a_listener_that_has_no_room_refuses,
    a_file_goes_to_such_a_socket,
    datagrams_come_from_paths_and_from_nowhere,
    a_receiver_without_room_holds_the_datagram_up,
    what_such_datagrams_do_not_have_is_refused,
    descriptors_that_a_peer_sends_do_not_stay_open,
];

/// A folder with room for sockets, and a path in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    (folder, path)
}

fn unconnected(rig: &mut Rig) -> Handle {
    rig.worker.associate(Socket::new(Domain::UNIX, Type::STREAM, None).unwrap(), 3).unwrap()
}

fn connect(path: &Path) -> Operation {
    Operation::Connect { address: path.into(), first: BufferChain::new() }
}

#[track_caller]
fn accepted(payload: Payload) -> Handle {
    match payload {
        Payload::Accepted(handle) => handle,
        other => panic!("{other:?} instead of a connection"),
    }
}

fn a_listener_takes_connections_by_its_path(rig: &mut Rig) {
    let (_folder, path) = place();
    let listener = rig.worker.associate(UnixListener::bind(&path).unwrap(), 1).unwrap();
    let stream = rig.submit(listener, Operation::AcceptStream);
    for round in 0..3 {
        let mut peer = UnixStream::connect(&path).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let item = rig.next_of(stream);
        assert_eq!((item.key, item.result, item.last), (1, Ok(0), false));
        let handle = accepted(item.payload);
        rig.worker.set_key(handle, 10 + round).unwrap();
        let receiving = rig.submit(handle, Operation::ReceiveStream);
        peer.write_all(b"hello").unwrap();
        let item = rig.next_of(receiving);
        assert_eq!((item.key, item.result), (10 + round, Ok(5)));
        assert_eq!(&item.payload.into_buffer().unwrap()[..], b"hello");
        let sending = rig.send(handle, b"welcome");
        assert_eq!(rig.next_of(sending).result, Ok(7));
        let mut read = [0; 7];
        peer.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"welcome");
        // Neither end has an address of the internet.
        for address in [rig.worker.peer_address(handle), rig.worker.local_address(handle)] {
            assert_eq!(address.unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        drop(peer);
        let end = rig.next_of(receiving);
        assert_eq!((end.result, end.last), (Ok(0), true));
        rig.close(handle);
    }
    rig.worker.cancel(stream);
    assert_eq!(failure(&rig.next_of(stream)), ErrorKind::Cancelled);
    rig.close(listener);
}

fn the_port_connects_by_a_path_with_first_bytes(rig: &mut Rig) {
    let (_folder, path) = place();
    let listener = UnixListener::bind(&path).unwrap();
    let handle = unconnected(rig);
    let first = rig.chain(b"first bytes");
    let address = Address::from(path.as_path());
    let token = rig.submit(handle, Operation::Connect { address, first });
    let connected = rig.next_of(token);
    assert_eq!((connected.kind, connected.key, connected.result), (OperationKind::Connect, 3, Ok(11)));
    assert_eq!(connected.payload.into_chain().unwrap().len(), 11);
    let (mut peer, _) = listener.accept().unwrap();
    assert_eq!(rig.run(handle, Operation::Disconnect).result, Ok(0));
    let mut read = Vec::new();
    peer.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"first bytes");
    rig.close(handle);
}

fn connecting_to_nobody_fails(rig: &mut Rig) {
    let (_folder, path) = place();
    let handle = unconnected(rig);
    assert_eq!(failure(&rig.run(handle, connect(&path))), ErrorKind::NotFound);
    // The name outlives the listener.
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(failure(&rig.run(handle, connect(&path))), ErrorKind::Refused);
    let long = PathBuf::from("long/".repeat(40));
    assert_eq!(failure(&rig.run(handle, connect(&long))), ErrorKind::InvalidArgument);
    rig.close(handle);
}

fn a_listener_that_has_no_room_refuses(rig: &mut Rig) {
    let (_folder, path) = place();
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let handles: Vec<_> = (0..4).map(|_| unconnected(rig)).collect();
    let mut refused = 0;
    for &handle in &handles {
        let connected = rig.run(handle, connect(&path));
        if connected.result.is_err() {
            assert_eq!(failure(&connected), ErrorKind::Refused);
            refused += 1;
        }
    }
    assert!(refused > 0 && refused < 4, "{refused} of 4 were refused");
    handles.into_iter().for_each(|handle| rig.close(handle));
}

fn a_file_goes_to_such_a_socket(rig: &mut Rig) {
    let (folder, _) = place();
    let path = folder.path().join("file");
    std::fs::write(&path, pattern(100_000)).unwrap();
    let options = OpenOptions::new().read(true);
    let opened = rig.run(Handle::NONE, Operation::Open { directory: None, path, options });
    let Payload::Opened { file, .. } = opened.payload else { panic!("no file") };
    let (socket, mut peer) = UnixStream::pair().unwrap();
    let socket = rig.worker.associate(socket, 3).unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        all
    });
    let head = BufferChain::from(Slice::from_static(b"head"));
    let operation = Operation::TransmitFile { head, file, offset: 0, length: 100_000 };
    assert_eq!(rig.run(socket, operation).result, Ok(100_004));
    rig.close(socket);
    assert!(reader.join().unwrap() == [b"head", &pattern(100_000)[..]].concat());
    rig.close(file);
}

fn datagrams_come_from_paths_and_from_nowhere(rig: &mut Rig) {
    let (folder, path) = place();
    let handle = rig.worker.associate(UnixDatagram::bind(&path).unwrap(), 3).unwrap();
    let peer_path = folder.path().join("peer");
    let peer = UnixDatagram::bind(&peer_path).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let nameless = UnixDatagram::unbound().unwrap();
    for (sender, from) in [(&peer, Address::from(peer_path.as_path())), (&nameless, Address::Unnamed)] {
        for with_control in [false, true] {
            sender.send_to(b"from me", &path).unwrap();
            let buffer = rig.port.buffers().acquire(4).unwrap();
            let operation = match with_control {
                false => Operation::ReceiveFrom { buffer },
                true => Operation::ReceiveMessage { buffer },
            };
            let received = rig.run(handle, operation);
            assert_eq!(received.result, Ok(4));
            let Payload::Datagram { buffer, from: sender, ancillary } = received.payload else {
                panic!("no datagram")
            };
            assert_eq!((&buffer[..], sender), (&b"from"[..], from.clone()));
            assert_eq!(ancillary, Ancillary { truncated: true, ..Ancillary::default() });
        }
    }
    let chain = rig.chain(b"to you");
    let sent = rig.run(handle, Operation::SendTo { chain, to: peer_path.as_path().into() });
    assert_eq!(sent.result, Ok(6));
    let mut read = [0; 10];
    let (bytes, from) = uninterrupted(|| peer.recv_from(&mut read));
    assert_eq!((&read[..bytes], from.as_pathname()), (&b"to you"[..], Some(path.as_path())));
    rig.close(handle);
}

fn a_receiver_without_room_holds_the_datagram_up(rig: &mut Rig) {
    let (_folder, path) = place();
    let peer = UnixDatagram::bind(&path).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    let mut filled = 0;
    while filler.send_to(b"filler", &path).is_ok() {
        filled += 1;
    }
    let handle = rig.worker.associate(UnixDatagram::unbound().unwrap(), 3).unwrap();
    let send = |rig: &mut Rig| {
        let chain = rig.chain(b"patient");
        rig.submit(handle, Operation::SendTo { chain, to: path.as_path().into() })
    };
    let cancelled = send(rig);
    rig.expect_silence();
    rig.worker.cancel(cancelled);
    assert_eq!(failure(&rig.next_of(cancelled)), ErrorKind::Cancelled);
    let waiting = send(rig);
    rig.expect_silence();
    let mut read = [0; 10];
    for _ in 0..filled {
        assert_eq!(uninterrupted(|| peer.recv(&mut read)), 6);
    }
    assert_eq!(rig.next_of(waiting).result, Ok(7));
    assert_eq!(uninterrupted(|| peer.recv(&mut read)), 7);
    rig.close(handle);
}

fn what_such_datagrams_do_not_have_is_refused(rig: &mut Rig) {
    let (_folder, path) = place();
    let _peer = UnixDatagram::bind(&path).unwrap();
    let handle = rig.worker.associate(UnixDatagram::unbound().unwrap(), 3).unwrap();
    for ancillary in [
        Ancillary { ecn: Some(1), ..Ancillary::default() },
        Ancillary { interface: NonZero::new(1), ..Ancillary::default() },
        Ancillary { segment_bytes: NonZero::new(1), ..Ancillary::default() },
    ] {
        let message = Message { chain: rig.chain(b"x"), to: Some(path.as_path().into()), ancillary };
        let sent = rig.run(handle, Operation::SendMessage { message: Box::new(message) });
        assert!(matches!(failure(&sent), ErrorKind::InvalidArgument | ErrorKind::Unsupported));
        assert!(matches!(sent.payload, Payload::Message(message) if message.chain.len() == 1));
    }
    rig.close(handle);
}

/// Whoever can reach a socket can send descriptors to it (SCM_RIGHTS). Nobody here takes them, so none may use up what the process has.
fn descriptors_that_a_peer_sends_do_not_stay_open(rig: &mut Rig) {
    let (_folder, path) = place();
    let handle = rig.worker.associate(UnixDatagram::bind(&path).unwrap(), 3).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect(&path).unwrap();
    for with_control in [true, false] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let descriptors = [writer.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        assert!(rights.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&sender, &[IoSlice::new(b"take this")], &mut rights, SendFlags::empty()).unwrap();
        drop(writer);
        let buffer = rig.port.buffers().acquire(100).unwrap();
        let operation = if with_control {
            Operation::ReceiveMessage { buffer }
        } else {
            Operation::ReceiveFrom { buffer }
        };
        assert_eq!(rig.run(handle, operation).result, Ok(9));
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        assert_eq!(reader.read(&mut [0]).expect("nobody can write any more"), 0);
    }
    rig.close(handle);
}
