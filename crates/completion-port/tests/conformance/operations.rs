//! Each operation that there is, once: it works, or is unsupported where the table says so.

use crate::{
    harness::{Rig, configuration},
    suite::Case,
};
use completion_port::{
    Address, Ancillary, BufferChain, Completion, ControlRequest, Directory, ErrorKind, Handle, Means,
    Message, OpenOptions, Operation, OperationKind, Packet, Payload, Slice, TransmitElement, TransmitList,
};
use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

pub(crate) const CASES: &[Case] = cases![each_operation_works_or_is_unsupported_as_the_table_says];

/// An open file that can be read and written; `append` writes at its end only.
fn file(rig: &mut Rig, folder: &Path, options: OpenOptions) -> Result<Handle, ErrorKind> {
    let path = if options == OpenOptions::new().unnamed(true).write(true) {
        folder.to_owned()
    } else {
        folder.join("file")
    };
    let opened = rig.run(Handle::NONE, Operation::Open { directory: None, path, options });
    match (opened.result, opened.payload) {
        (Ok(_), Payload::Opened { file, .. }) => Ok(file),
        (result, _) => Err(result.expect_err("an open that succeeds brings a file").kind()),
    }
}

/// A socket for datagrams, or where the network has none, one on which they are unsupported all the more.
fn datagram_socket(rig: &mut Rig) -> (Handle, SocketAddr) {
    let (source, address) =
        rig.network.datagrams().unwrap_or_else(|| (rig.network.pair().0, (Ipv4Addr::LOCALHOST, 9).into()));
    (rig.worker.associate(source, 0).unwrap(), address)
}

/// Has one operation of the kind complete, in a way that succeeds where there is such a thing.
fn example(rig: &mut Rig, folder: &Path, kind: OperationKind) -> Completion {
    use OperationKind as Kind;
    let named = OpenOptions::new().read(true).write(true).create(true);
    let nothing = BufferChain::new;
    match kind {
        Kind::Accept | Kind::AcceptStream => {
            let (listener, address) = rig.listener();
            let _peer = rig.connect(address);
            rig.run(listener, if kind == Kind::Accept { Operation::Accept } else { Operation::AcceptStream })
        }
        Kind::Connect => {
            let listener = rig.peer_listener();
            let address = listener.local_addr();
            let handle = rig.unconnected(address);
            rig.run(handle, Operation::Connect { address: address.into(), first: nothing() })
        }
        Kind::Disconnect => {
            let (handle, _peer) = rig.pair();
            rig.run(handle, Operation::Disconnect)
        }
        Kind::Receive | Kind::ReceiveScatter | Kind::ReceiveStream => {
            let (handle, mut peer) = rig.pair();
            peer.write_all(b"bytes").unwrap();
            let buffer = rig.port.buffers().acquire(10).unwrap();
            let operation = match kind {
                Kind::Receive => Operation::Receive { buffer },
                Kind::ReceiveScatter => Operation::ReceiveScatter { buffers: vec![buffer] },
                _ => Operation::ReceiveStream,
            };
            rig.run(handle, operation)
        }
        Kind::ReceiveFrom | Kind::ReceiveMessage => {
            let (handle, address) = datagram_socket(rig);
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().send_to(b"datagram", address).unwrap();
            let buffer = rig.port.buffers().acquire(10).unwrap();
            let operation = match kind {
                Kind::ReceiveFrom => Operation::ReceiveFrom { buffer },
                _ => Operation::ReceiveMessage { buffer },
            };
            rig.run(handle, operation)
        }
        Kind::SendTo | Kind::SendMessage => {
            let (handle, to) = datagram_socket(rig);
            let (chain, to) = (rig.chain(b"datagram"), Address::from(to));
            let operation = match kind {
                Kind::SendTo => Operation::SendTo { chain, to },
                _ => {
                    let message = Message { chain, to: Some(to), ancillary: Ancillary::default() };
                    Operation::SendMessage { message: Box::new(message) }
                }
            };
            rig.run(handle, operation)
        }
        Kind::TransmitPackets => {
            let (handle, _peer) = rig.pair();
            let file = file(rig, folder, named).unwrap();
            let mut list = Box::<TransmitList>::default();
            list.push(TransmitElement::Memory(Slice::from_static(b"bytes"))).unwrap();
            list.push(TransmitElement::File { file, offset: 0, length: 3 }).unwrap();
            rig.run(handle, Operation::TransmitPackets { list })
        }
        Kind::Control => {
            let (handle, _peer) = rig.pair();
            rig.run(handle, Operation::Control { request: ControlRequest::KeepAlive(None) })
        }
        Kind::WatchDirectory => {
            let directory = Arc::new(Directory::open(folder).unwrap());
            let operation = Operation::WatchDirectory { directory, recursive: false };
            let token = rig.submit(Handle::NONE, operation);
            std::fs::write(folder.join("new"), "").unwrap();
            rig.next_of(token)
        }
        Kind::Writable => {
            let (handle, peer) = rig.pair();
            rig.submit(handle, Operation::Send { chain: Rig::huge_chain() });
            let refused = rig.worker.submit(handle, Operation::Send { chain: Rig::huge_chain() });
            assert_eq!(refused.unwrap_err().error.kind(), ErrorKind::SendQueueFull);
            rig.read_beside(peer);
            loop {
                let completion = rig.next();
                if completion.kind == kind {
                    return completion;
                }
            }
        }
        Kind::Send => {
            let (handle, _peer) = rig.pair();
            let chain = rig.chain(b"bytes");
            rig.run(handle, Operation::Send { chain })
        }
        Kind::TransmitFile => {
            let (handle, _peer) = rig.pair();
            let file = file(rig, folder, named).unwrap();
            rig.run(handle, Operation::TransmitFile { head: nothing(), file, offset: 0, length: 3 })
        }
        Kind::ReadAt => {
            let file = file(rig, folder, named).unwrap();
            let buffer = rig.port.buffers().acquire(10).unwrap();
            rig.run(file, Operation::ReadAt { file, offset: 0, buffer })
        }
        Kind::WriteAt => {
            let file = file(rig, folder, named).unwrap();
            let chain = rig.chain(b"bytes");
            rig.run(file, Operation::WriteAt { file, offset: 0, chain })
        }
        Kind::Append => {
            let file = file(rig, folder, OpenOptions::new().append(true)).unwrap();
            let chain = rig.chain(b"bytes");
            rig.run(file, Operation::Append { file, chain })
        }
        Kind::Sync => {
            let file = file(rig, folder, named).unwrap();
            rig.run(file, Operation::Sync { file, data_only: false })
        }
        Kind::Open => rig.run(
            Handle::NONE,
            Operation::Open { directory: None, path: folder.join("file"), options: named },
        ),
        Kind::Link => {
            // Without a name where there is such a thing: that is what a link is for.
            let unnamed = OpenOptions::new().unnamed(true).write(true);
            let file = file(rig, folder, unnamed).or_else(|_| file(rig, folder, named)).unwrap();
            let directory = Arc::new(Directory::open(folder).unwrap());
            rig.run(file, Operation::Link { file, directory, path: "linked".into(), replace: false })
        }
        Kind::Metadata => {
            let file = file(rig, folder, named).unwrap();
            rig.run(file, Operation::Metadata { file })
        }
        Kind::Timer => rig.run(Handle::NONE, Operation::Timer { after: Duration::ZERO }),
        Kind::Call => rig.run(Handle::NONE, Operation::Call { work: Box::new(|| Box::new(())) }),
        Kind::Close => {
            let (handle, _peer) = rig.pair();
            rig.run(handle, Operation::Close)
        }
        Kind::Post => {
            rig.port.post(0, Packet::default()).unwrap();
            rig.next()
        }
        other => panic!("{other:?} is in the table of operations, and has no example here"),
    }
}

fn each_operation_works_or_is_unsupported_as_the_table_says(rig: &mut Rig) {
    let backend = rig.port.backend();
    for &kind in OperationKind::ALL {
        let Some(support) = kind.support(backend) else { continue };
        // Each on its own, so that what one leaves in flight is nobody's business.
        if kind == OperationKind::Writable && support.means == Means::Unsupported {
            // No operation: nothing to submit that could fail.
            continue;
        }
        let mut limits = configuration(backend);
        limits.send_bytes = 1 << 20;
        let mut rig = Rig::new(limits);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "content").unwrap();
        let completion = example(&mut rig, folder.path(), kind);
        assert_eq!(completion.kind, kind);
        let outcome = completion.result.map_err(|error| error.kind());
        match support.means {
            Means::Unsupported => assert_eq!(outcome, Err(ErrorKind::Unsupported), "{kind:?}: {support:?}"),
            _ => assert!(outcome.is_ok(), "{kind:?} ended with {outcome:?}, but the table says {support:?}"),
        }
        drop(completion);
        rig.finish();
    }
}
