//! Files to sockets.

use crate::{
    harness::{Rig, failure, pattern},
    suite::Case,
};
use completion_port::{BufferChain, ErrorKind, Handle, OpenOptions, Operation, Payload, Slice};
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
];

/// A file with `bytes` bytes, open.
pub(crate) fn file_of(rig: &mut Rig, folder: &tempfile::TempDir, bytes: usize) -> Handle {
    let path = folder.path().join("file");
    std::fs::write(&path, pattern(bytes)).unwrap();
    let options = OpenOptions::new().read(true);
    match rig.run(Handle::NONE, Operation::Open { directory: None, path, options }).payload {
        Payload::Opened { file, .. } => file,
        other => panic!("{other:?} instead of a file"),
    }
}

pub(crate) fn head(parts: &[&'static [u8]]) -> BufferChain {
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
