//! Named pipes, whose ends safe code cannot make.

use super::{GLANCE, PATIENCE, port_with_first_bytes, received, wait};
use crate::{BufferChain, ErrorKind, Handle, Operation, Payload, Slice, Source, Worker};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::windows::io::{FromRawHandle, OwnedHandle},
    sync::atomic::{AtomicU32, Ordering},
};
use windows_sys::Win32::{
    Foundation::INVALID_HANDLE_VALUE,
    Storage::FileSystem::{FILE_FLAG_OVERLAPPED, PIPE_ACCESS_DUPLEX},
    System::Pipes::{CreateNamedPipeW, PIPE_READMODE_MESSAGE, PIPE_TYPE_MESSAGE},
};

/// Both ends of a pipe: one for the port, and a plain one.
fn pair(mode: u32) -> (OwnedHandle, File) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!(r"\\.\pipe\completion-port-{}-{number}", std::process::id());
    let wide: Vec<u16> = name.encode_utf16().chain([0]).collect();
    // SAFETY: the name is terminated and lives through the call; a fresh handle has one owner.
    let end = unsafe {
        let access = PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED;
        let handle = CreateNamedPipeW(wide.as_ptr(), access, mode, 1, 4_096, 4_096, 0, std::ptr::null());
        assert_ne!(handle, INVALID_HANDLE_VALUE, "{}", io::Error::last_os_error());
        OwnedHandle::from_raw_handle(handle)
    };
    let other = File::options().read(true).write(true).open(name).unwrap();
    (end, other)
}

fn associated(worker: &mut Worker, mode: u32) -> (Handle, File) {
    let (end, other) = pair(mode);
    (worker.associate(Source::Pipe(end), 1).unwrap(), other)
}

#[test]
fn bytes_go_both_ways_and_the_end_is_orderly() {
    let port = port_with_first_bytes(0);
    let mut worker = port.worker().unwrap();
    let (pipe, mut other) = associated(&mut worker, 0);
    other.write_all(b"hello").unwrap();
    assert_eq!(received(&mut worker, pipe, 2), b"he");
    assert_eq!(received(&mut worker, pipe, 100), b"llo");
    let buffers = vec![port.buffers().acquire(3).unwrap(), port.buffers().acquire(3).unwrap()];
    worker.submit(pipe, Operation::ReceiveScatter { buffers }).unwrap();
    assert!(wait(&mut worker, GLANCE).is_none());
    other.write_all(b"ab").unwrap();
    match wait(&mut worker, PATIENCE).unwrap().payload {
        Payload::Buffers(buffers) => assert_eq!(&buffers[0][..], b"ab"),
        other => panic!("{other:?}"),
    }
    let mut chain = BufferChain::from(Slice::from_static(b"one "));
    chain.push(Slice::from_static(b"two")).unwrap();
    worker.submit(pipe, Operation::Send { chain }).unwrap();
    let mut read = [0; 7];
    let reader = std::thread::spawn(move || {
        other.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"one two");
        other
    });
    assert_eq!(wait(&mut worker, PATIENCE).unwrap().result, Ok(7));
    drop(reader.join().unwrap());
    assert_eq!(received(&mut worker, pipe, 10), b"");
    worker.submit(pipe, Operation::Send { chain: Slice::from_static(b"x").into() }).unwrap();
    assert_eq!(wait(&mut worker, PATIENCE).unwrap().result.unwrap_err().kind(), ErrorKind::Reset);
    drop(worker);
    assert_eq!(port.buffers().in_use(), 0);
}

#[test]
fn a_receive_stream_brings_what_comes_and_then_the_end() {
    let port = port_with_first_bytes(0);
    let mut worker = port.worker().unwrap();
    let (pipe, mut other) = associated(&mut worker, 0);
    let stream = worker.submit(pipe, Operation::ReceiveStream).unwrap();
    for text in [&b"one"[..], b"two", b"three"] {
        other.write_all(text).unwrap();
        let item = wait(&mut worker, PATIENCE).unwrap();
        assert_eq!((item.token, item.last), (stream, false));
        assert_eq!(&item.payload.into_buffer().unwrap()[..], text);
    }
    drop(other);
    let end = wait(&mut worker, PATIENCE).unwrap();
    assert_eq!((end.result, end.last), (Ok(0), true));
    let (pipe, _other) = associated(&mut worker, 0);
    let stream = worker.submit(pipe, Operation::ReceiveStream).unwrap();
    assert!(wait(&mut worker, GLANCE).is_none());
    worker.cancel(stream);
    let end = wait(&mut worker, PATIENCE).unwrap();
    assert_eq!(end.result.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(matches!(end.payload, Payload::None));
    drop(worker);
    assert_eq!(port.buffers().in_use(), 0);
}

#[test]
fn messages_are_read_as_bytes() {
    let port = port_with_first_bytes(0);
    let mut worker = port.worker().unwrap();
    let (pipe, mut other) = associated(&mut worker, PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE);
    other.write_all(b"a message").unwrap();
    assert_eq!(received(&mut worker, pipe, 2), b"a ");
    assert_eq!(received(&mut worker, pipe, 100), b"message");
}

#[test]
fn what_is_no_pipe_comes_back() {
    let port = port_with_first_bytes(0);
    let mut worker = port.worker().unwrap();
    let file = tempfile::tempfile().unwrap();
    let (_, source) = worker.associate(Source::Pipe(file.into()), 1).unwrap_err();
    assert!(matches!(source, Source::Pipe(_)));
    // One that was opened without overlapped I/O cannot be used.
    let (_, other) = pair(0);
    worker.associate(Source::Pipe(other.into()), 1).unwrap_err();
}
