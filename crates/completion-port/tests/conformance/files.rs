//! Files: opening, reading, writing, metadata.

use crate::{
    harness::{Rig, failure, pattern},
    suite::Case,
};
use completion_port::{
    Backend, BufferChain, Completion, Directory, ErrorKind, FileKind, Handle, Metadata, OpenOptions,
    Operation, Payload, SystemCall,
};
use std::{path::Path, sync::Arc};

pub(crate) const CASES: &[Case] = cases![
    what_is_written_can_be_read,
    reads_for_a_socket_carry_the_key_of_the_socket,
    what_lives_in_memory_is_done_in_place,
    appends_go_to_the_end_wherever_it_is,
    opening_says_what_is_wrong,
];

fn opened(completion: Completion) -> (Handle, Metadata) {
    match completion.payload {
        Payload::Opened { file, metadata } => (file, metadata),
        other => panic!("{other:?} after {:?}", completion.result),
    }
}

fn open_in(
    rig: &mut Rig,
    directory: &Arc<Directory>,
    path: impl AsRef<Path>,
    options: OpenOptions,
) -> Completion {
    let path = path.as_ref().to_owned();
    rig.run(Handle::NONE, Operation::Open { directory: Some(Arc::clone(directory)), path, options })
}

fn what_lives_in_memory_is_done_in_place(rig: &mut Rig) {
    let in_place = matches!(rig.port.backend(), Backend::IoUring | Backend::Readiness);
    if !cfg!(target_os = "linux") || !in_place || !Path::new("/dev/shm").is_dir() {
        return;
    }
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = Directory::open(folder.path()).unwrap();
    let Some(directory) = root.directory_in_memory(Path::new(""), OpenOptions::new()) else { return };
    let directory = Arc::new(directory);
    let all = pattern(70_000);
    for (replace, bytes) in [(false, &all[..]), (true, &all[..1_000])] {
        let options = OpenOptions::new().read(true).write(true).unnamed(true);
        let (file, _) = opened(open_in(rig, &directory, ".", options));
        let chain = rig.chain(bytes);
        let written = rig.run(file, Operation::WriteAt { file, offset: 0, chain });
        assert_eq!(written.result, Ok(bytes.len() as u64));
        assert_eq!(rig.run(file, Operation::Sync { file, data_only: false }).result, Ok(0));
        let link = |replace| {
            let directory = Arc::clone(&directory);
            Operation::Link { file, directory, path: "name".into(), replace }
        };
        if replace {
            assert_eq!(failure(&rig.run(file, link(false))), ErrorKind::AlreadyExists);
        }
        assert_eq!(rig.run(file, link(replace)).result, Ok(0));
        assert_eq!(std::fs::read(folder.path().join("name")).unwrap(), bytes);
        rig.close(file);
    }
    let counters = rig.port.counters();
    assert_eq!(counters.pool_threads, 0, "a thread of the pool was started");
    assert_eq!(counters.called(SystemCall::Write), 2, "not written in place");
}

fn what_is_written_can_be_read(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let options = OpenOptions::new().read(true).write(true).create(true);
    let (file, metadata) =
        opened(rig.run(Handle::NONE, Operation::Open { directory: None, path: path.clone(), options }));
    assert_eq!((metadata.length, metadata.kind), (0, FileKind::File));
    rig.worker.set_key(file, 11).unwrap();
    let all = pattern(100_000);
    let chain = rig.chain(&all);
    let written = rig.run(file, Operation::WriteAt { file, offset: 5, chain });
    assert_eq!((written.key, written.result), (11, Ok(100_000)));
    assert_eq!(written.payload.into_chain().unwrap().len(), 100_000);
    for data_only in [true, false] {
        assert_eq!(rig.run(file, Operation::Sync { file, data_only }).result, Ok(0));
    }
    let asked = rig.run(file, Operation::Metadata { file });
    let Payload::Metadata(now) = asked.payload else { panic!("no metadata came") };
    assert_eq!((now.length, now.identity), (100_005, metadata.identity));
    // Within the file, in several pieces, some of them not at their buffer's beginning.
    let whole = rig.chain(b"..patched..").slices()[0].clone();
    let chain: BufferChain = {
        let mut chain = BufferChain::new();
        for range in [2..3, 3..7, 7..9] {
            chain.push(whole.slice(range)).unwrap();
        }
        chain
    };
    assert_eq!(rig.run(file, Operation::WriteAt { file, offset: 5, chain }).result, Ok(7));
    let all = [b"patched", &all[7..]].concat();
    // Appends to what is in the buffer, and fills it.
    let mut buffer = rig.port.buffers().acquire(1_000).unwrap();
    buffer.extend_from_slice(b"head");
    let read = rig.run(file, Operation::ReadAt { file, offset: 50_005, buffer });
    assert_eq!(read.result, Ok(996));
    let buffer = read.payload.into_buffer().unwrap();
    assert_eq!(&buffer[..4], b"head");
    assert!(buffer[4..] == all[50_000..50_996]);
    // At the end there is less, and behind it nothing.
    for (offset, bytes) in [(100_000, 5), (100_005, 0), (200_000, 0)] {
        let buffer = rig.port.buffers().acquire(1_000).unwrap();
        let read = rig.run(file, Operation::ReadAt { file, offset, buffer });
        assert_eq!(read.result, Ok(bytes), "at {offset}");
        assert_eq!(read.payload.into_buffer().unwrap().len() as u64, bytes);
    }
    rig.close(file);
    assert!(std::fs::read(&path).unwrap()[5..] == all);
}

fn reads_for_a_socket_carry_the_key_of_the_socket(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), pattern(10_000)).unwrap();
    let directory = Arc::new(Directory::open(folder.path()).unwrap());
    let (socket, _peer) = rig.pair();
    let (file, _) = opened(open_in(rig, &directory, "file", OpenOptions::new().read(true)));
    let mut waiting = Vec::new();
    for offset in (0..10_000).step_by(1_000) {
        let buffer = rig.port.buffers().acquire(1_000).unwrap();
        waiting.push((rig.submit(socket, Operation::ReadAt { file, offset, buffer }), offset as usize));
    }
    // The file lives until its last operation has come home, whoever asked for that.
    rig.worker.close(file);
    for (token, offset) in waiting {
        let read = rig.next_of(token);
        assert_eq!((read.handle, read.key), (socket, 7));
        match read.result {
            Ok(bytes) => {
                assert_eq!(bytes, 1_000);
                assert!(read.payload.into_buffer().unwrap()[..] == pattern(10_000)[offset..offset + 1_000]);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled),
        }
    }
    let buffer = rig.port.buffers().acquire(10).unwrap();
    let rejected = rig.worker.submit(socket, Operation::ReadAt { file, offset: 0, buffer });
    assert_eq!(rejected.expect_err("the file is closed").error.kind(), ErrorKind::StaleHandle);
    rig.close(socket);
}

fn appends_go_to_the_end_wherever_it_is(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("log"), "first ").unwrap();
    let directory = Arc::new(Directory::open(folder.path()).unwrap());
    let (file, _) = opened(open_in(rig, &directory, "log", OpenOptions::new().append(true)));
    for part in ["second ", "third"] {
        let chain = rig.chain(part.as_bytes());
        assert_eq!(rig.run(file, Operation::Append { file, chain }).result, Ok(part.len() as u64));
    }
    assert_eq!(rig.run(file, Operation::Sync { file, data_only: false }).result, Ok(0));
    rig.close(file);
    assert_eq!(std::fs::read_to_string(folder.path().join("log")).unwrap(), "first second third");
}

fn opening_says_what_is_wrong(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    std::fs::create_dir_all(site.join("sub")).unwrap();
    std::fs::write(folder.path().join("secret"), "s").unwrap();
    std::fs::write(site.join("page"), "page").unwrap();
    let directory = Arc::new(Directory::open(&site).unwrap());
    let read = OpenOptions::new().read(true);
    let write = OpenOptions::new().write(true);
    for (path, options, expected) in [
        ("../secret", read, ErrorKind::OutsideDirectory),
        ("sub/../../secret", read, ErrorKind::OutsideDirectory),
        ("missing", read, ErrorKind::NotFound),
        ("sub/missing", read, ErrorKind::NotFound),
        ("page", write.create_new(true), ErrorKind::AlreadyExists),
        ("sub", write, ErrorKind::WrongFileKind),
    ] {
        let completion = open_in(rig, &directory, path, options);
        assert_eq!(failure(&completion), expected, "{path}");
        assert!(matches!(completion.payload, Payload::None));
    }
    let (file, metadata) = opened(open_in(rig, &directory, "page", read.refuse_links(true)));
    assert_eq!((metadata.length, metadata.kind), (4, FileKind::File));
    let (sub, metadata) = opened(open_in(rig, &directory, "sub", read));
    assert_eq!(metadata.kind, FileKind::Directory);
    let (truncated, metadata) = opened(open_in(rig, &directory, "page", write.truncate(true)));
    assert_eq!(metadata.length, 0);
    let (new, _) = opened(open_in(rig, &directory, "sub/new", write.create_new(true)));
    assert!(site.join("sub/new").exists());
    for handle in [file, sub, truncated, new] {
        rig.close(handle);
    }
}
