//! Files to sockets.

use crate::{
    harness::{Rig, failure, pattern},
    suite::Case,
};
use completion_port::{Backend, BufferChain, ErrorKind, Handle, OpenOptions, Operation, Payload, Slice};
use std::{
    io::{Read, Write},
    net::Shutdown,
    path::Path,
};

pub(crate) const CASES: &[Case] = cases![
    head_and_range_arrive_in_order,
    a_file_arrives_whole_whatever_of_it_is_in_memory,
    a_file_that_is_too_short_is_an_error,
    a_transmission_that_the_peer_does_not_read_can_be_cancelled,
    what_goes_out_at_once_and_the_rest_arrive_in_order,
    what_is_read_at_once_is_what_the_file_has,
    nothing_happens_at_once_out_of_order_or_where_it_may_not,
];

/// Whether anything can be had within a call.
fn does_things_at_once(rig: &Rig) -> bool {
    cfg!(target_os = "linux") && rig.port.backend() != Backend::Simulated
}

/// A file with `bytes` bytes, open.
fn file_of(rig: &mut Rig, folder: &tempfile::TempDir, bytes: usize) -> Handle {
    let path = folder.path().join("file");
    std::fs::write(&path, pattern(bytes)).unwrap();
    let options = OpenOptions::new().read(true);
    match rig.run(Handle::NONE, Operation::Open { directory: None, path, options }).payload {
        Payload::Opened { file, .. } => file,
        other => panic!("{other:?} instead of a file"),
    }
}

fn head(parts: &[&'static [u8]]) -> BufferChain {
    let mut head = BufferChain::new();
    parts.iter().for_each(|part| head.push(Slice::from_static(part)).unwrap());
    head
}

fn head_and_range_arrive_in_order(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_of(rig, &folder, 3_000_000);
    let (socket, peer) = rig.pair();
    let reader = rig.read_beside(peer);
    let mut expected = Vec::new();
    let mut waiting = Vec::new();
    for (parts, offset, length) in [
        (&[&b"HTTP/1.1 200 OK\r\n\r\n"[..]][..], 0, 3_000_000),
        (&[b"several ", b"pieces"], 1_234_567, 1_000),
        (&[], 2_999_999, 1),
        (&[b"only a head"], 77, 0),
        (&[], 0, 0),
    ] {
        let head = head(parts);
        let bytes = head.len() + length;
        expected.extend(parts.concat());
        expected.extend_from_slice(&pattern(3_000_000)[offset as usize..(offset + length) as usize]);
        waiting.push((rig.submit(socket, Operation::TransmitFile { head, file, offset, length }), bytes));
    }
    for (token, bytes) in waiting {
        let sent = rig.next();
        assert_eq!((sent.token, sent.key, sent.result), (token, 7, Ok(bytes)));
        assert!(matches!(sent.payload, Payload::Chain(_)));
    }
    rig.close(socket);
    assert!(rig.read_to_end(&reader) == expected);
    rig.close(file);
}

/// What was sent or read before is in memory, and may go another way than the rest; so may what left the memory meanwhile.
fn a_file_arrives_whole_whatever_of_it_is_in_memory(rig: &mut Rig) {
    const LENGTH: u64 = 4_000_000;
    let folder = tempfile::tempdir().unwrap();
    let file = file_of(rig, &folder, LENGTH as usize);
    let (socket, peer) = rig.pair();
    let reader = rig.read_beside(peer);
    let mut expected = Vec::new();
    let mut send = |rig: &mut Rig, offset: u64, length: u64| {
        let head = head(&[b"head"]);
        let sent = rig.run(socket, Operation::TransmitFile { head, file, offset, length });
        assert_eq!(sent.result, Ok(4 + length));
        expected.extend_from_slice(b"head");
        expected.extend_from_slice(&pattern(LENGTH as usize)[offset as usize..(offset + length) as usize]);
    };
    for (offset, length) in [(0, 700_000), (0, LENGTH), (300_000, 10), (0, LENGTH), (1_000_001, 2_000_000)] {
        send(rig, offset, length);
    }
    forget(&folder.path().join("file"), 1_500_000);
    for (offset, length) in [(0, LENGTH), (1_400_000, 200_000), (0, LENGTH)] {
        send(rig, offset, length);
    }
    rig.close(socket);
    assert!(rig.read_to_end(&reader) == expected);
    rig.close(file);
}

/// Has the system drop from memory what it holds of a file from an offset on, where that can be asked for.
fn forget(path: &Path, offset: u64) {
    #[cfg(target_os = "linux")]
    {
        let file = std::fs::File::open(path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, offset, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (path, offset);
}

fn a_file_that_is_too_short_is_an_error(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_of(rig, &folder, 100_000);
    for (offset, length) in [(0, 100_001), (99_000, 50_000), (200_000, 1)] {
        let (socket, peer) = rig.pair();
        let reader = rig.read_beside(peer);
        let head = head(&[b"head"]);
        let sent = rig.run(socket, Operation::TransmitFile { head, file, offset, length });
        assert_eq!(failure(&sent), ErrorKind::Other, "{length} bytes at {offset}");
        assert!(matches!(sent.payload, Payload::Chain(_)));
        rig.close(socket);
        let read = rig.read_to_end(&reader);
        assert!(read.len() as u64 <= 4 + 100_000u64.saturating_sub(offset));
    }
    rig.close(file);
}

fn a_transmission_that_the_peer_does_not_read_can_be_cancelled(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_of(rig, &folder, 1_000);
    let path = folder.path().join("file");
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(64 << 20).unwrap();
    let (socket, mut peer) = rig.pair();
    let operation = Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: 64 << 20 };
    let token = rig.submit(socket, operation);
    rig.expect_silence();
    rig.worker.cancel(token);
    assert_eq!(failure(&rig.next_of(token)), ErrorKind::Cancelled);
    rig.close(socket);
    // The peer sees an end, of whichever kind.
    let _ = peer.write_all(b"x");
    let _ = peer.shutdown(Shutdown::Write);
    let _ = peer.read_to_end(&mut Vec::new());
    rig.close(file);
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
