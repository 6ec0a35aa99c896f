//! What is done within the call that asks for it, without an operation.

use crate::{
    harness::{Rig, failure, pattern},
    suite::Case,
    transmitting::{file_of, head},
};
use completion_port::{Backend, ErrorKind, Handle, OpenOptions, Operation, Payload};
use std::{io::Write, path::Path};

pub(crate) const CASES: &[Case] = cases![
    what_goes_out_at_once_and_the_rest_arrive_in_order,
    what_is_read_at_once_is_what_the_file_has,
    nothing_happens_at_once_out_of_order_or_where_it_may_not,
    what_is_received_at_once_and_the_rest_is_what_was_sent,
    a_reset_is_an_error_of_the_receive_at_once,
    a_receive_at_once_never_overtakes_one_that_waits,
    what_is_written_at_once_is_in_the_file,
];

/// Whether anything can be had within a call.
fn does_things_at_once(rig: &Rig) -> bool {
    cfg!(target_os = "linux") && rig.port.backend() != Backend::Simulated
}

fn what_goes_out_at_once_and_the_rest_arrive_in_order(rig: &mut Rig) {
    const LENGTH: u64 = 3_000_000;
    let folder = tempfile::tempdir().unwrap();
    let file = file_of(rig, &folder, LENGTH as usize);
    let (socket, peer) = rig.pair();
    let reader = rig.read_beside(peer);
    let mut expected = Vec::new();
    let mut at_once = 0;
    for (begin, end) in [(0, 1), (0, 100_000), (1_000_000, 1_100_000), (0, LENGTH), (LENGTH - 1, LENGTH)] {
        let text = b"a head";
        let sent = rig.worker.transmit_at_once(socket, text, file, begin..end);
        assert!(sent <= 6 + end - begin);
        at_once += sent;
        let rest = head(&[&text[sent.min(6) as usize..]]);
        let (offset, length) = (begin + sent.saturating_sub(6), end - begin - sent.saturating_sub(6));
        let wanted = rest.len() + length;
        let completed = rig.run(socket, Operation::TransmitFile { head: rest, file, offset, length });
        assert_eq!(completed.result, Ok(wanted));
        expected.extend_from_slice(text);
        expected.extend_from_slice(&pattern(LENGTH as usize)[begin as usize..end as usize]);
    }
    assert_eq!(at_once > 0, does_things_at_once(rig));
    rig.close(socket);
    assert!(rig.read_to_end(&reader) == expected);
    rig.close(file);
}

fn what_is_read_at_once_is_what_the_file_has(rig: &mut Rig) {
    let (socket, _peer) = rig.pair();
    let mut folders = vec![tempfile::tempdir().unwrap()];
    // Files in memory know no reads that may not wait.
    folders.extend(cfg!(target_os = "linux").then(|| tempfile::tempdir_in("/dev/shm").ok()).flatten());
    for folder in &folders {
        let file = file_of(rig, folder, 2_000_000);
        for (offset, bytes) in
            [(0, 1), (4_095, 2), (1_048_570, 12), (1_500_000, 16_384), (1_999_990, 100), (2_000_000, 5)]
        {
            let mut room = vec![0; bytes];
            let read = rig.worker.read_at_once(socket, file, offset, &mut room);
            let there = (2_000_000 - offset as usize).min(bytes);
            assert!(read <= there, "{read} of {bytes} bytes at {offset}");
            assert!(room[..read] == pattern(2_000_000)[offset as usize..offset as usize + read]);
            if bytes == 16_384 {
                assert_eq!(read == bytes, does_things_at_once(rig));
            }
        }
        let path = folder.path().join("file");
        let shortened =
            std::fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(1_000));
        if shortened.is_ok() {
            let read = rig.worker.read_at_once(socket, file, 900, &mut [0; 200]);
            assert!(read <= 100, "{read} bytes of 100");
        }
        rig.close(file);
    }
    rig.close(socket);
}

fn nothing_happens_at_once_out_of_order_or_where_it_may_not(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_of(rig, &folder, 100_000);
    let (socket, _peer) = rig.narrow_pair();
    assert_eq!(rig.worker.transmit_at_once(socket, b"head", file, 5..5), 0, "no byte of the file");
    assert_eq!(rig.worker.transmit_at_once(file, b"head", file, 0..10), 0, "no socket");
    assert_eq!(rig.worker.transmit_at_once(socket, b"head", socket, 0..10), 0, "no file");
    assert_eq!(rig.worker.transmit_at_once(Handle::NONE, b"head", file, 0..10), 0);
    assert_eq!(rig.worker.read_at_once(socket, socket, 0, &mut [0; 10]), 0, "no file");
    assert_eq!(rig.worker.read_at_once(socket, file, 0, &mut []), 0);
    // Behind a send that waits for the peer.
    let send = rig.submit(socket, Operation::Send { chain: Rig::huge_chain() });
    rig.expect_silence();
    assert_eq!(rig.worker.transmit_at_once(socket, b"head", file, 0..10), 0);
    rig.worker.cancel(send);
    assert_eq!(failure(&rig.next_of(send)), ErrorKind::Cancelled);
    rig.close(file);
    assert_eq!(rig.worker.transmit_at_once(socket, b"head", file, 0..10), 0, "closed");
    assert_eq!(rig.worker.read_at_once(socket, file, 0, &mut [0; 10]), 0, "closed");
    rig.close(socket);
    assert_eq!(rig.worker.transmit_at_once(socket, b"head", file, 0..10), 0, "closed");
}

fn what_is_received_at_once_and_the_rest_is_what_was_sent(rig: &mut Rig) {
    let (socket, mut peer) = rig.pair();
    assert_eq!(rig.worker.receive_at_once(socket, &mut [0; 10]).unwrap(), 0, "nothing was sent");
    let (mut sent, mut received, mut at_once) = (0, Vec::new(), 0);
    for piece in pattern(100_000).chunks(7_001) {
        peer.write_all(piece).unwrap();
        sent += piece.len();
        while received.len() < sent {
            let mut room = [0; 3_000];
            let bytes = rig.worker.receive_at_once(socket, &mut room).unwrap();
            received.extend_from_slice(&room[..bytes]);
            at_once += bytes;
            if bytes == 0 {
                let waited = rig.receive(socket, 16);
                received.extend_from_slice(&rig.next_of(waited).payload.into_buffer().unwrap());
            }
        }
    }
    assert!(received == pattern(100_000));
    assert_eq!(at_once > 0, does_things_at_once(rig));
    drop(peer);
    let end = rig.receive(socket, 16);
    assert_eq!(rig.next_of(end).result, Ok(0));
    assert_eq!(rig.worker.receive_at_once(socket, &mut [0; 10]).unwrap(), 0, "behind the end");
    rig.close(socket);
}

fn a_reset_is_an_error_of_the_receive_at_once(rig: &mut Rig) {
    let (socket, peer) = rig.pair();
    peer.reset();
    match rig.worker.receive_at_once(socket, &mut [0; 10]) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Reset),
        Ok(bytes) => assert!(bytes == 0 && !does_things_at_once(rig)),
    }
    rig.close(socket);
}

fn a_receive_at_once_never_overtakes_one_that_waits(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_of(rig, &folder, 1_000);
    let (socket, mut peer) = rig.pair();
    let token = rig.receive(socket, 4);
    peer.write_all(b"firstrest").unwrap();
    assert_eq!(rig.worker.receive_at_once(socket, &mut [0; 10]).unwrap(), 0, "behind a receive");
    assert_eq!(&rig.next_of(token).payload.into_buffer().unwrap()[..], b"firs");
    assert_eq!(rig.worker.receive_at_once(socket, &mut []).unwrap(), 0, "no room");
    assert_eq!(rig.worker.receive_at_once(file, &mut [0; 10]).unwrap(), 0, "no socket");
    assert_eq!(rig.worker.receive_at_once(Handle::NONE, &mut [0; 10]).unwrap(), 0);
    let token = rig.receive(socket, 16);
    assert_eq!(&rig.next_of(token).payload.into_buffer().unwrap()[..], b"trest");
    rig.close(socket);
    assert_eq!(rig.worker.receive_at_once(socket, &mut [0; 10]).unwrap(), 0, "closed");
    rig.close(file);
}

fn what_is_written_at_once_is_in_the_file(rig: &mut Rig) {
    let (socket, _peer) = rig.pair();
    let memory = cfg!(target_os = "linux").then(|| tempfile::tempdir_in("/dev/shm").ok()).flatten();
    for (folder, lies_in_memory) in memory.map(|folder| (folder, true)).into_iter().chain([disk()]) {
        let path = folder.path().join("written");
        let file = written_file(rig, &path);
        let mut length = 0;
        for bytes in [1, 4_095, 0, 100_000] {
            let piece = &pattern(200_000)[length..length + bytes];
            let written = rig.worker.write_at_once(socket, file, length as u64, piece);
            let expected = if lies_in_memory && does_things_at_once(rig) { bytes } else { 0 };
            // Where the tests lie nobody knows.
            assert!(written == expected || !lies_in_memory && written == bytes, "{written} of {bytes} bytes");
            let (offset, chain) = ((length + written) as u64, rig.chain(&piece[written..]));
            if written < bytes {
                let rest = rig.run(socket, Operation::WriteAt { file, offset, chain });
                assert_eq!(rest.result, Ok((bytes - written) as u64));
            }
            length += bytes;
        }
        assert!(std::fs::read(&path).unwrap() == pattern(200_000)[..length]);
        assert_eq!(rig.worker.write_at_once(socket, socket, 0, b"bytes"), 0, "no file");
        assert_eq!(rig.worker.write_at_once(Handle::NONE, file, 0, b"bytes"), 0);
        rig.close(file);
        assert_eq!(rig.worker.write_at_once(socket, file, 0, b"bytes"), 0, "closed");
        assert!(std::fs::read(&path).unwrap() == pattern(200_000)[..length]);
    }
    rig.close(socket);
}

/// A folder of which no more is known than that it probably lies on a disk.
fn disk() -> (tempfile::TempDir, bool) {
    (tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(), false)
}

fn written_file(rig: &mut Rig, path: &Path) -> Handle {
    let options = OpenOptions::new().read(true).write(true).create_new(true);
    let opened = rig.run(Handle::NONE, Operation::Open { directory: None, path: path.into(), options });
    match opened.payload {
        Payload::Opened { file, .. } => file,
        other => panic!("{other:?} instead of a file"),
    }
}
