//! Files: reading, writing, and sending them.

use crate::bench::{bench, error, narrow_connection, pattern, small, unknown_file};
use completion_port::{BufferChain, BufferClass, ErrorKind, Handle, OpenOptions, Operation, Payload};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    time::Duration,
};

#[test]
fn files_beyond_4_gib_are_written_and_read() {
    let Some(mut bench) = bench(small()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let options = OpenOptions::new().read(true).write(true).create(true);
    let opened = bench.run(Handle::NONE, Operation::Open { directory: None, path: path.clone(), options });
    let Payload::Opened { file, metadata } = opened.payload else { panic!("{opened:?}") };
    assert_eq!(metadata.length, 0);
    let offset = (5 << 30) + 3;
    let mut chain = BufferChain::from(bench.filled(b"far "));
    chain.push(bench.filled(b"away")).unwrap();
    assert_eq!(bench.run(file, Operation::WriteAt { file, offset, chain }).result.unwrap(), 8);
    assert_eq!(bench.run(file, Operation::Sync { file, data_only: false }).result.unwrap(), 0);
    for read_ahead in [false, true] {
        if !read_ahead {
            // Cold, so that the read has to go through the ring.
            rustix::fs::fadvise(File::open(&path).unwrap(), 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        let buffer = bench.buffer(100);
        let read = bench.run(file, Operation::ReadAt { file, offset: offset - 2, buffer });
        assert_eq!(read.result.unwrap(), 10);
        assert_eq!(&read.payload.into_buffer().unwrap()[..], b"\0\0far away");
    }
    let buffer = bench.buffer(100);
    let beyond = bench.run(file, Operation::ReadAt { file, offset: 6 << 30, buffer });
    assert_eq!(beyond.result.unwrap(), 0);
    let warm = bench
        .run(Handle::NONE, Operation::Open { directory: None, path, options: OpenOptions::new().read(true) });
    let Payload::Opened { file: again, metadata } = warm.payload else { panic!("{warm:?}") };
    assert_eq!(metadata.length, offset + 8);
    // Not opened for writing.
    let chain = BufferChain::from(bench.filled(b"no"));
    assert!(bench.run(again, Operation::WriteAt { file: again, offset: 0, chain }).result.is_err());
}

#[test]
fn a_large_read_fills_its_buffer_cold_and_warm() {
    let mut configuration = small();
    configuration.heap_bytes = 8 << 20;
    configuration.inline_budget = 2;
    let Some(mut bench) = bench(configuration) else { return };
    let mut plain = tempfile::tempfile().unwrap();
    let content = pattern(4 << 20);
    plain.write_all(&content).unwrap();
    plain.sync_all().unwrap();
    rustix::fs::fadvise(&plain, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let file = bench.worker.associate(plain, 0).unwrap();
    for _ in 0..5 {
        let mut buffer = bench.worker.buffers().allocate(4 << 20).unwrap();
        buffer.extend_from_slice(b"in front");
        let read = bench.run(file, Operation::ReadAt { file, offset: 1, buffer });
        assert_eq!(read.result.unwrap(), (4 << 20) - 8);
        let buffer = read.payload.into_buffer().unwrap();
        assert!(&buffer[..8] == b"in front" && buffer[8..] == content[1..content.len() - 7]);
    }
}

#[test]
fn appends_land_behind_each_other() {
    let Some(mut bench) = bench(small()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let options = OpenOptions::new().append(true).create_new(true);
    let opened = bench.run(Handle::NONE, Operation::Open { directory: None, path: path.clone(), options });
    let Payload::Opened { file, .. } = opened.payload else { panic!("{opened:?}") };
    for line in [&b"one\n"[..], b"two\n"] {
        let mut chain = BufferChain::from(bench.filled(line));
        chain.push(bench.filled(b"-\n")).unwrap();
        assert_eq!(bench.run(file, Operation::Append { file, chain }).result.unwrap(), 6);
    }
    assert_eq!(std::fs::read(path).unwrap(), b"one\n-\ntwo\n-\n");
}

#[test]
fn a_file_that_grows_meanwhile_is_read_to_its_end() {
    let Some(mut bench) = bench(small()) else { return };
    let mut plain = tempfile::tempfile().unwrap();
    plain.write_all(b"begin").unwrap();
    let file = bench.worker.associate(plain.try_clone().unwrap(), 0).unwrap();
    let buffer = bench.buffer(20);
    let read = bench.run(file, Operation::ReadAt { file, offset: 0, buffer }).payload.into_buffer().unwrap();
    assert_eq!(&read[..], b"begin");
    plain.seek(SeekFrom::End(0)).unwrap();
    plain.write_all_at(b" end", 5).unwrap();
    let read =
        bench.run(file, Operation::ReadAt { file, offset: 5, buffer: read }).payload.into_buffer().unwrap();
    assert_eq!(&read[..], b"begin end");
}

#[test]
fn a_file_system_that_cannot_read_without_waiting_is_read_all_the_same() {
    let Some(mut bench) = bench(small()) else { return };
    let operation = Operation::Open {
        directory: None,
        path: "/proc/version".into(),
        options: OpenOptions::new().read(true),
    };
    let Payload::Opened { file, .. } = bench.run(Handle::NONE, operation).payload else { panic!() };
    let buffer = bench.buffer(4_096);
    let read = bench.run(file, Operation::ReadAt { file, offset: 0, buffer });
    assert_eq!(read.payload.into_buffer().unwrap()[..], std::fs::read("/proc/version").unwrap());
    let (handle, mut peer) = bench.connection();
    let operation = Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: 13 };
    assert_eq!(bench.run(handle, operation).result.unwrap(), 13);
    let mut sent = [0; 13];
    peer.read_exact(&mut sent).unwrap();
    assert_eq!(&sent, b"Linux version");
}

#[test]
fn a_file_goes_out_behind_its_head_in_slices() {
    let mut configuration = small();
    configuration.transmit_bytes = 10_000;
    let Some(mut bench) = bench(configuration) else { return };
    let content = pattern(1 << 20);
    let mut plain = tempfile::tempfile().unwrap();
    plain.write_all(&content).unwrap();
    let file = bench.worker.associate(plain, 0).unwrap();
    for (narrow, head, offset, length) in [
        (false, &b"head"[..], 0, 1 << 20),
        (true, b"head", 77, 500_000),
        (true, b"", 0, 30_000),
        (false, b"only", 9, 0),
    ] {
        let (handle, mut peer) = if narrow { narrow_connection(&mut bench) } else { bench.connection() };
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all)
        });
        let chain = if head.is_empty() { BufferChain::new() } else { BufferChain::from(bench.filled(head)) };
        let operation = Operation::TransmitFile { head: chain, file, offset, length };
        let completion = bench.run(handle, operation);
        assert_eq!(completion.result.unwrap(), head.len() as u64 + length);
        assert_eq!(completion.payload.into_chain().unwrap().len(), head.len() as u64);
        drop(bench.run(handle, Operation::Close));
        let range = &content[offset as usize..][..length as usize];
        assert!(reader.join().unwrap().unwrap() == [head, range].concat());
    }
    let (handle, _peer) = bench.connection();
    let operation =
        Operation::TransmitFile { head: BufferChain::new(), file, offset: (1 << 20) - 5, length: 6 };
    assert!(bench.run(handle, operation).result.is_err(), "the file is shorter than promised");
    bench.worker.close(file);
    bench.worker.close(handle);
    bench.step(Duration::ZERO);
    assert_eq!(bench.worker.buffers().in_use(), 0);
}

#[test]
fn a_transmit_file_waits_for_a_buffer() {
    let mut configuration = small();
    configuration.buffers = vec![BufferClass { capacity: 4_096, count: 1 }];
    let Some(mut bench) = bench(configuration) else { return };
    let file = bench.worker.associate(unknown_file(), 0).unwrap();
    let (handle, mut peer) = bench.connection();
    let held = bench.buffer(1);
    let operation = || Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: 13 };
    let cancelled = bench.worker.submit(handle, operation()).unwrap();
    bench.step(Duration::from_millis(10));
    assert!(bench.seen.is_empty());
    bench.worker.cancel(cancelled);
    assert_eq!(error(&bench.next(cancelled)), ErrorKind::Cancelled);
    let token = bench.worker.submit(handle, operation()).unwrap();
    bench.step(Duration::from_millis(10));
    drop(held);
    assert_eq!(bench.next(token).result.unwrap(), 13);
    let mut content = [0; 13];
    peer.read_exact(&mut content).unwrap();
    assert_eq!(&content, b"Linux version");
}

#[test]
fn lengths_that_no_number_holds_are_refused() {
    let Some(mut bench) = bench(small()) else { return };
    let (handle, _peer) = bench.connection();
    let file = bench.worker.associate(tempfile::tempfile().unwrap(), 0).unwrap();
    let head = BufferChain::from(bench.filled(b"head"));
    let operation = Operation::TransmitFile { head, file, offset: 0, length: u64::MAX };
    assert_eq!(bench.worker.submit(handle, operation).unwrap_err().error.kind(), ErrorKind::InvalidArgument);
    let operation = Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: u64::MAX };
    assert!(bench.run(handle, operation).result.is_err(), "the file is shorter");
}
