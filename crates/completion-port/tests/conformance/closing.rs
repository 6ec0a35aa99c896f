//! Close, with operations of every kind in flight: each ends once, before the close, and nothing follows it.

use crate::{
    harness::{PATIENCE, Rig, failure, file_with, pattern},
    suite::{Case, ON_THREADS},
};
use completion_port::{
    BufferChain, Completion, ErrorKind, Handle, OpenOptions, Operation, OperationKind, Payload, Slice, Token,
};
use std::{io::Read, sync::mpsc};

pub(crate) const CASES: &[Case] = cases![
    a_socket_with_operations_of_every_kind,
    a_listener_with_accepts_in_line,
    a_file_with_operations_of_every_kind,
    a_file_stays_open_for_operations_of_other_handles,
    a_close_waits_for_what_runs_on_the_pool; only ON_THREADS,
    what_comes_after_a_close_is_refused,
    many_closes_of_one_handle_are_one,
];

/// Takes completions until the close, and checks that each of `tokens` ended once and before it.
fn drain(rig: &mut Rig, close: Token, mut tokens: Vec<Token>) -> Vec<Completion> {
    let mut ended = Vec::new();
    loop {
        let completion = rig.next();
        if completion.token == close {
            assert_eq!((completion.kind, completion.result), (OperationKind::Close, Ok(0)));
            assert!(tokens.is_empty(), "these did not end before the close: {tokens:?}");
            rig.expect_silence();
            return ended;
        }
        let place = tokens.iter().position(|&token| token == completion.token);
        let place = place.unwrap_or_else(|| panic!("{completion:?} ended twice, or is nobody's"));
        if completion.last {
            tokens.swap_remove(place);
        }
        ended.push(completion);
    }
}

fn a_socket_with_operations_of_every_kind(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(rig, folder.path(), &pattern(10_000));
    let (handle, mut peer) = rig.pair();
    let options = OpenOptions::new().read(true);
    let buffer = |rig: &Rig| rig.port.buffers().acquire(100).unwrap();
    let nothing = BufferChain::new;
    let operations = [
        Operation::Receive { buffer: buffer(rig) },
        Operation::ReceiveStream,
        Operation::Receive { buffer: buffer(rig) },
        Operation::Send { chain: Rig::huge_chain() },
        Operation::TransmitFile { head: nothing(), file, offset: 0, length: 10_000 },
        Operation::Send { chain: Slice::from_static(b"never").into() },
        Operation::Disconnect,
        Operation::ReadAt { file, offset: 0, buffer: buffer(rig) },
        Operation::Metadata { file },
        Operation::Open { directory: None, path: folder.path().join("content"), options },
        Operation::Timer { after: PATIENCE * 100 },
        Operation::Call { work: Box::new(|| Box::new(())) },
    ];
    let count = operations.len();
    let tokens: Vec<_> = operations.into_iter().map(|operation| rig.submit(handle, operation)).collect();
    let close = rig.submit(handle, Operation::Close);
    let ended = drain(rig, close, tokens);
    assert_eq!(ended.len(), count);
    for completion in ended {
        assert_eq!((completion.handle, completion.key), (handle, 7));
        let waits = !matches!(
            completion.kind,
            OperationKind::ReadAt | OperationKind::Metadata | OperationKind::Open | OperationKind::Call
        );
        if waits || completion.result.is_err() {
            assert_eq!(failure(&completion), ErrorKind::Cancelled, "{completion:?}");
        }
        if let Payload::Opened { file, .. } = completion.payload {
            rig.close(file);
        }
    }
    rig.close(file);
    // The connection is over, in whichever way.
    let mut read = Vec::new();
    let _ = peer.read_to_end(&mut read);
    assert!(!read.ends_with(b"never"));
}

fn a_listener_with_accepts_in_line(rig: &mut Rig) {
    let (listener, address) = rig.listener();
    let tokens = vec![
        rig.submit(listener, Operation::AcceptStream),
        rig.submit(listener, Operation::Accept),
        rig.submit(listener, Operation::AcceptStream),
    ];
    let _peer = rig.connect(address);
    let close = rig.submit(listener, Operation::Close);
    for completion in drain(rig, close, tokens) {
        match completion.payload {
            Payload::Accepted(handle) => rig.close(handle),
            _ => assert_eq!(failure(&completion), ErrorKind::Cancelled),
        }
    }
}

fn a_file_with_operations_of_every_kind(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), pattern(10_000)).unwrap();
    let options = OpenOptions::new().read(true).write(true);
    let path = folder.path().join("file");
    let opened = rig.run(Handle::NONE, Operation::Open { directory: None, path, options });
    let Payload::Opened { file, .. } = opened.payload else { panic!("{:?}", opened.result) };
    let mut tokens = Vec::new();
    for offset in 0..20 {
        let (buffer, chain) = (rig.port.buffers().acquire(100).unwrap(), rig.chain(&[offset as u8; 10]));
        tokens.push(rig.submit(file, Operation::ReadAt { file, offset: offset * 100, buffer }));
        tokens.push(rig.submit(file, Operation::WriteAt { file, offset: offset * 100, chain }));
        tokens.push(rig.submit(file, Operation::Sync { file, data_only: true }));
        tokens.push(rig.submit(file, Operation::Metadata { file }));
    }
    let close = rig.submit(file, Operation::Close);
    for completion in drain(rig, close, tokens) {
        if completion.result.is_err() {
            assert_eq!(failure(&completion), ErrorKind::Cancelled, "{completion:?}");
        }
    }
}

fn a_file_stays_open_for_operations_of_other_handles(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(rig, folder.path(), &pattern(10_000));
    std::fs::OpenOptions::new()
        .write(true)
        .open(folder.path().join("content"))
        .and_then(|file| file.set_len(64 << 20))
        .unwrap();
    let (socket, peer) = rig.pair();
    // It cannot end before the peer reads.
    let operation = Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: 64 << 20 };
    let transmit = rig.submit(socket, operation);
    let buffer = rig.port.buffers().acquire(4_096).unwrap();
    let read = rig.submit(socket, Operation::ReadAt { file, offset: 5_000, buffer });
    let close = rig.submit(file, Operation::Close);
    let read = rig.next_of(read);
    assert_eq!(read.result, Ok(4_096));
    assert!(read.payload.into_buffer().unwrap()[..] == pattern(10_000)[5_000..9_096]);
    rig.expect_silence();
    let buffer = rig.port.buffers().acquire(8).unwrap();
    let refused = rig.worker.submit(socket, Operation::ReadAt { file, offset: 0, buffer }).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::StaleHandle);
    let reading = rig.read_beside(peer);
    assert_eq!(rig.next_of(transmit).result, Ok(64 << 20));
    assert_eq!(rig.next_of(close).result, Ok(0));
    rig.close(socket);
    let bytes = rig.read_to_end(&reading);
    assert!(bytes.len() == 64 << 20 && bytes[..10_000] == pattern(10_000));
}

fn a_close_waits_for_what_runs_on_the_pool(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let (release, held) = mpsc::channel::<()>();
    let (begun, running) = mpsc::channel::<()>();
    let work = Box::new(move || {
        begun.send(()).unwrap();
        Box::new(held.recv_timeout(PATIENCE).is_ok()) as Box<_>
    });
    let call = rig.submit(handle, Operation::Call { work });
    running.recv_timeout(PATIENCE).unwrap();
    let close = rig.submit(handle, Operation::Close);
    rig.expect_silence();
    release.send(()).unwrap();
    let ended = drain(rig, close, vec![call]);
    assert_eq!(ended[0].result, Ok(0));
}

fn what_comes_after_a_close_is_refused(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let receive = rig.receive(handle, 8);
    let close = rig.submit(handle, Operation::Close);
    for operation in [Operation::ReceiveStream, Operation::Disconnect, Operation::Close] {
        let kind = operation.kind();
        let rejected = rig.worker.submit(handle, operation).unwrap_err();
        assert_eq!((rejected.error.kind(), rejected.operation.kind()), (ErrorKind::StaleHandle, kind));
    }
    drain(rig, close, vec![receive]);
    let rejected = rig.worker.submit(handle, Operation::Close).unwrap_err();
    assert_eq!(rejected.error.kind(), ErrorKind::StaleHandle);
}

fn many_closes_of_one_handle_are_one(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let receive = rig.receive(handle, 8);
    let port = rig.port.clone();
    std::thread::spawn(move || (0..10_000).for_each(|_| port.close(handle))).join().unwrap();
    rig.worker.close(handle);
    assert_eq!(failure(&rig.next_of(receive)), ErrorKind::Cancelled);
    rig.expect_silence();
    assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0);
    // What has the place next is not touched by closes that were late.
    let (next, _peer) = rig.pair();
    rig.port.close(handle);
    rig.expect_silence();
    assert!(rig.worker.local_address(next).is_ok());
    rig.close(next);
}
