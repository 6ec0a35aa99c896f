//! Places in files that 32 bits do not reach. The files are sparse.

use crate::{
    harness::{Rig, failure, pattern},
    suite::Case,
};
use completion_port::{BufferChain, ErrorKind, Handle, OpenOptions, Operation, Payload, Slice};
use std::io::{Read, Seek, SeekFrom, Write};

pub(crate) const CASES: &[Case] = cases![
    reads_and_writes_across_four_gibibytes,
    an_append_behind_four_gibibytes,
    a_transmission_across_four_gibibytes,
    a_length_beyond_four_gibibytes_is_not_cut,
];

const FOUR_GIBIBYTES: u64 = 1 << 32;

/// A file of so many bytes, all zeros but what `at` says, opened for reading, writing or appending.
fn sparse(
    rig: &mut Rig,
    folder: &tempfile::TempDir,
    length: u64,
    at: &[(u64, &[u8])],
    options: OpenOptions,
) -> Handle {
    let path = folder.path().join("sparse");
    let mut file = std::fs::File::create(&path).unwrap();
    file.set_len(length).unwrap();
    for (offset, bytes) in at {
        file.seek(SeekFrom::Start(*offset)).unwrap();
        file.write_all(bytes).unwrap();
    }
    drop(file);
    let opened = rig.run(Handle::NONE, Operation::Open { directory: None, path, options });
    let Payload::Opened { file, metadata } = opened.payload else { panic!("{:?}", opened.result) };
    assert_eq!(metadata.length, length);
    file
}

fn stored(folder: &tempfile::TempDir, offset: u64, length: usize) -> Vec<u8> {
    let mut file = std::fs::File::open(folder.path().join("sparse")).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes).unwrap();
    bytes
}

fn reads_and_writes_across_four_gibibytes(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions::new().read(true).write(true);
    let file = sparse(rig, &folder, FOUR_GIBIBYTES + 20_000, &[], options);
    let all = pattern(12_000);
    for offset in [FOUR_GIBIBYTES - 5_000, FOUR_GIBIBYTES, FOUR_GIBIBYTES + 1, FOUR_GIBIBYTES + 15_000] {
        let chain = rig.chain(&all);
        assert_eq!(rig.run(file, Operation::WriteAt { file, offset, chain }).result, Ok(12_000));
        assert!(stored(&folder, offset, 12_000) == all);
        let buffer = rig.port.buffers().acquire(20_000).unwrap();
        let capacity = buffer.capacity() as u64;
        let read = rig.run(file, Operation::ReadAt { file, offset, buffer });
        let length = (FOUR_GIBIBYTES + 20_000).max(offset + 12_000);
        assert_eq!(read.result, Ok(capacity.min(length - offset)), "at {offset}");
        assert!(read.payload.into_buffer().unwrap()[..12_000] == all, "at {offset}");
    }
    // Nothing went to the place that 32 bits would have led to.
    assert!(stored(&folder, 0, 30_000).iter().all(|byte| *byte == 0));
    let buffer = rig.port.buffers().acquire(100).unwrap();
    let beyond = rig.run(file, Operation::ReadAt { file, offset: FOUR_GIBIBYTES * 5, buffer });
    assert_eq!(beyond.result, Ok(0));
    let asked = rig.run(file, Operation::Metadata { file });
    let Payload::Metadata(metadata) = asked.payload else { panic!("no metadata") };
    assert_eq!(metadata.length, FOUR_GIBIBYTES + 27_000);
    rig.close(file);
}

fn an_append_behind_four_gibibytes(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = sparse(rig, &folder, FOUR_GIBIBYTES + 7, &[], OpenOptions::new().append(true));
    let chain = rig.chain(b"the end");
    assert_eq!(rig.run(file, Operation::Append { file, chain }).result, Ok(7));
    rig.close(file);
    assert_eq!(stored(&folder, FOUR_GIBIBYTES, 14), b"\0\0\0\0\0\0\0the end");
}

fn a_transmission_across_four_gibibytes(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let all = pattern(500_000);
    let begin = FOUR_GIBIBYTES - 200_000;
    let options = OpenOptions::new().read(true);
    let file = sparse(rig, &folder, FOUR_GIBIBYTES + 400_000, &[(begin, &all)], options);
    let (socket, peer) = rig.pair();
    let reading = rig.read_beside(peer);
    let head = BufferChain::from(Slice::from_static(b"head"));
    let operation = Operation::TransmitFile { head, file, offset: begin + 1, length: 499_999 };
    assert_eq!(rig.run(socket, operation).result, Ok(500_003));
    let operation =
        Operation::TransmitFile { head: BufferChain::new(), file, offset: FOUR_GIBIBYTES + 1, length: 1_000 };
    assert_eq!(rig.run(socket, operation).result, Ok(1_000));
    rig.close(socket);
    let expected = [b"head", &all[1..], &all[200_001..201_001]].concat();
    assert!(rig.read_to_end(&reading) == expected);
    rig.close(file);
}

fn a_length_beyond_four_gibibytes_is_not_cut(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = sparse(rig, &folder, FOUR_GIBIBYTES + 100, &[], OpenOptions::new().read(true));
    let (socket, mut peer) = rig.pair();
    let (head, length) = (BufferChain::new(), FOUR_GIBIBYTES + 10);
    let transmit = rig.submit(socket, Operation::TransmitFile { head, file, offset: 0, length });
    let mut read = 0;
    let mut piece = vec![0; 1 << 16];
    peer.set_nonblocking(true);
    while read < 1 << 20 {
        read += peer.read(&mut piece).unwrap_or(0);
        let mut arrived = Vec::new();
        rig.worker.wait(&mut arrived, Some(std::time::Duration::from_millis(1))).unwrap();
        assert!(arrived.is_empty(), "it ended after {read} bytes: {arrived:?}");
    }
    rig.worker.cancel(transmit);
    assert_eq!(failure(&rig.next_of(transmit)), ErrorKind::Cancelled);
    rig.close(socket);
    rig.close(file);
}
