//! Files, on the spot and on the pool.

use crate::rig::*;
use completion_port::{BufferChain, BufferClass, ErrorKind, Handle, OpenOptions, Operation, Payload};
use std::{
    fs::File,
    io::{Read, Write},
};

#[test]
fn files_are_opened_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page");
    std::fs::write(&path, pattern(10_000)).unwrap();
    let mut rig = Rig::new(small());
    let open = |options| Operation::Open { directory: None, path: path.clone(), options };
    let opened = rig.run(Handle::NONE, open(OpenOptions::new().read(true).write(true)));
    let Payload::Opened { file, metadata } = opened.payload else { panic!("{opened:?}") };
    assert_eq!(metadata.length, 10_000);
    // As many as the budget on the spot, the others on the pool: all alike.
    for offset in 0..60u64 {
        let buffer = rig.port.buffers().acquire(4_096).unwrap();
        rig.submit(file, Operation::ReadAt { file, offset: offset * 200, buffer });
    }
    let mut lengths = Vec::new();
    while lengths.len() < 60 {
        for completion in rig.wait() {
            let buffer = completion.payload.into_buffer().unwrap();
            assert_eq!(completion.result, Ok(buffer.len() as u64));
            let content = pattern(10_000);
            assert!(buffer.is_empty() || content.windows(buffer.len()).any(|window| *window == *buffer));
            lengths.push(buffer.len());
        }
    }
    lengths.sort_unstable();
    let mut expected: Vec<_> =
        (0..60).map(|place| 10_000usize.saturating_sub(place * 200).min(4_096)).collect();
    expected.sort_unstable();
    assert_eq!(lengths, expected);
    let chain = BufferChain::from(bytes(b"written"));
    assert_eq!(rig.run(file, Operation::WriteAt { file, offset: 9_998, chain }).result, Ok(7));
    assert!(rig.run(file, Operation::Sync { file, data_only: true }).result.is_ok());
    let Payload::Metadata(metadata) = rig.run(file, Operation::Metadata { file }).payload else { panic!() };
    assert_eq!(metadata.length, 10_005);
    rig.close(file);
    assert_eq!(&std::fs::read(&path).unwrap()[9_998..], b"written");

    let missing = Operation::Open {
        directory: None,
        path: folder.path().join("missing"),
        options: OpenOptions::new().read(true),
    };
    assert_eq!(failure(&rig.run(Handle::NONE, missing)), ErrorKind::NotFound);
    let created = rig.run(
        Handle::NONE,
        Operation::Open {
            directory: None,
            path: folder.path().join("log"),
            options: OpenOptions::new().append(true).create_new(true),
        },
    );
    let Payload::Opened { file: log, .. } = created.payload else { panic!("{created:?}") };
    for line in ["one\n", "two\n"] {
        let chain = BufferChain::from(bytes(line.as_bytes()));
        assert_eq!(rig.run(log, Operation::Append { file: log, chain }).result, Ok(4));
    }
    assert_eq!(std::fs::read(folder.path().join("log")).unwrap(), b"one\ntwo\n");
    rig.end();
}

#[test]
fn a_file_is_sent_behind_its_head_in_memory_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let content = pattern(3_000_001);
    let mut rig = Rig::new(small());
    for cold in [false, true] {
        let path = folder.path().join(format!("cold-{cold}"));
        std::fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        if cold {
            file.sync_all().unwrap();
            #[cfg(target_os = "linux")]
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        let file = rig.worker.associate(file, 0).unwrap();
        let (handle, mut peer) = rig.pair();
        let mut head = BufferChain::from(bytes(b"first "));
        head.push(bytes(b"second ")).unwrap();
        let range = 1_234..2_999_000;
        let expected = [b"first second ", &content[range.clone()], b"after"].concat();
        let reading = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        let (offset, length) = (range.start as u64, range.len() as u64);
        let transmit = rig.submit(handle, Operation::TransmitFile { head, file, offset, length });
        rig.submit(handle, Operation::Send { chain: BufferChain::from(bytes(b"after")) });
        rig.submit(handle, Operation::Disconnect);
        let completion = rig.next_of(transmit);
        assert_eq!(completion.result, Ok(13 + length));
        assert_eq!(completion.payload.into_chain().unwrap().len(), 13);
        rig.close(file);
        rig.arrived.clear();
        let received = reading.join().unwrap();
        assert!(received == expected, "cold: {cold}");
        rig.close(handle);
    }
    rig.end();
}

#[test]
fn a_file_that_is_too_short_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short");
    std::fs::write(&path, b"0123456789").unwrap();
    let mut rig = Rig::new(small());
    let file = rig.worker.associate(File::open(&path).unwrap(), 0).unwrap();
    let (handle, mut peer) = rig.pair();
    let transmit =
        rig.run(handle, Operation::TransmitFile { head: BufferChain::new(), file, offset: 4, length: 100 });
    assert!(transmit.result.is_err());
    let empty =
        rig.run(handle, Operation::TransmitFile { head: BufferChain::new(), file, offset: 4, length: 0 });
    assert_eq!(empty.result, Ok(0));
    rig.close(handle);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"456789");
    rig.end();
}

#[test]
fn a_transmit_that_waits_for_the_pool_can_be_cancelled_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cold");
    std::fs::write(&path, pattern(1 << 20)).unwrap();
    let mut configuration = small();
    configuration.pool_threads = 1;
    let mut rig = Rig::new(configuration);
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let work = move || Box::new(blocked.recv()) as Box<dyn std::any::Any + Send>;
    let call = rig.submit(Handle::NONE, Operation::Call { work: Box::new(work) });
    let (handle, mut peer) = rig.pair();
    for closed in [false, true] {
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let file = rig.worker.associate(file, 0).unwrap();
        let head = BufferChain::from(bytes(b"head"));
        let transmit = rig.submit(handle, Operation::TransmitFile { head, file, offset: 0, length: 1 << 20 });
        // News of the socket must not start it again.
        peer.write_all(b"news").unwrap();
        rig.expect_silence();
        if closed {
            rig.worker.close(handle);
        } else {
            rig.worker.cancel(transmit);
        }
        let completion = rig.next_of(transmit);
        assert_eq!(failure(&completion), ErrorKind::Cancelled);
        assert_eq!(completion.payload.into_chain().unwrap().len(), 4);
        rig.close(file);
    }
    release.send(()).unwrap();
    assert!(rig.next_of(call).result.is_ok());
    rig.end();
}

#[test]
fn a_transmit_without_a_buffer_waits_until_one_returns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, pattern(100_000)).unwrap();
    let mut configuration = small();
    configuration.buffers = vec![BufferClass { capacity: 65_536, count: 1 }];
    let mut rig = Rig::new(configuration);
    let file = File::open(&path).unwrap();
    // What is in memory needs no buffer.
    file.sync_all().unwrap();
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let file = rig.worker.associate(file, 0).unwrap();
    let (handle, mut peer) = rig.pair();
    let held = rig.port.buffers().acquire(1).unwrap();
    let transmit = rig.submit(
        handle,
        Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: 100_000 },
    );
    rig.expect_silence();
    std::thread::spawn(move || drop(held));
    assert_eq!(rig.next_of(transmit).result, Ok(100_000));
    let mut received = vec![0; 100_000];
    peer.read_exact(&mut received).unwrap();
    assert!(received == pattern(100_000));
    rig.end();
}
