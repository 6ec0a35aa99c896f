//! Pipes: bytes in one direction, between processes mostly; here between the port and the case.

use crate::{
    harness::{Rig, failure, pattern},
    suite::Case,
};
use completion_port::{
    Address, BufferChain, ErrorKind, Handle, Operation, OperationKind, Payload, Slice, Source,
};
use std::{
    io::{PipeReader, PipeWriter, Read, Write},
    os::fd::OwnedFd,
    time::Duration,
};

pub(crate) const CASES: &[Case] = cases![
needs OperationKind::ReceiveScatter;

    bytes_come_and_then_the_end,
    a_stream_of_a_pipe_brings_everything_and_the_end,
    several_buffers_are_filled_in_order,
    more_than_the_pipe_holds_is_sent_whole,
    sends_keep_their_order,
    a_pipe_that_nobody_reads_is_reset,
    waiting_on_a_pipe_ends_by_cancel_deadline_and_close,
    a_stream_without_buffers_waits_for_one with |configuration| configuration.receive_bytes = 65_536,
    without_a_budget_pipes_go_on_all_the_same with |configuration| configuration.inline_budget = 0,
    only_pipes_are_pipes,
];

/// The port's end for reading, and one to write.
fn incoming(rig: &mut Rig) -> (Handle, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (rig.worker.associate(reader, 9).unwrap(), writer)
}

/// The port's end for writing, and one to read.
fn outgoing(rig: &mut Rig) -> (Handle, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    (rig.worker.associate(writer, 9).unwrap(), reader)
}

fn bytes_come_and_then_the_end(rig: &mut Rig) {
    let (pipe, mut writer) = incoming(rig);
    let token = rig.receive(pipe, 100);
    rig.expect_silence();
    writer.write_all(b"later").unwrap();
    let received = rig.next_of(token);
    assert_eq!((received.kind, received.key, received.result), (OperationKind::Receive, 9, Ok(5)));
    assert_eq!(&received.payload.into_buffer().unwrap()[..], b"later");
    writer.write_all(b"at once").unwrap();
    let token = rig.receive(pipe, 3);
    assert_eq!(&rig.next_of(token).payload.into_buffer().unwrap()[..], b"at ");
    let token = rig.receive(pipe, 100);
    assert_eq!(&rig.next_of(token).payload.into_buffer().unwrap()[..], b"once");
    drop(writer);
    let token = rig.receive(pipe, 100);
    assert_eq!(rig.next_of(token).result, Ok(0));
    rig.close(pipe);
}

fn a_stream_of_a_pipe_brings_everything_and_the_end(rig: &mut Rig) {
    let (pipe, mut writer) = incoming(rig);
    let stream = rig.submit(pipe, Operation::ReceiveStream);
    rig.expect_silence();
    assert_eq!(rig.port.buffers().in_use(), 0, "a silent pipe holds a buffer");
    let expected = pattern(500_000);
    let sender = std::thread::spawn({
        let bytes = expected.clone();
        move || writer.write_all(&bytes).unwrap()
    });
    let mut received = Vec::new();
    loop {
        let item = rig.next_of(stream);
        let bytes = item.result.unwrap() as usize;
        if item.last {
            assert_eq!(bytes, 0);
            break;
        }
        let buffer = item.payload.into_buffer().unwrap();
        assert_eq!(buffer.len(), bytes);
        received.extend_from_slice(&buffer);
    }
    sender.join().unwrap();
    assert!(received == expected);
    rig.close(pipe);
}

fn several_buffers_are_filled_in_order(rig: &mut Rig) {
    let (pipe, mut writer) = incoming(rig);
    let buffers = [2, 3, 10].map(|capacity| rig.port.buffers().acquire(capacity).unwrap()).into();
    let token = rig.submit(pipe, Operation::ReceiveScatter { buffers });
    rig.expect_silence();
    writer.write_all(b"abcdefg").unwrap();
    let received = rig.next_of(token);
    assert_eq!(received.result, Ok(7));
    let Payload::Buffers(buffers) = received.payload else { panic!("no buffers came") };
    let parts: Vec<&[u8]> = buffers.iter().map(|buffer| &buffer[..]).collect();
    assert_eq!(parts, [&b"ab"[..], b"cde", b"fg"]);
    rig.close(pipe);
}

fn more_than_the_pipe_holds_is_sent_whole(rig: &mut Rig) {
    let (pipe, mut reader) = outgoing(rig);
    let expected = pattern(1_000_000);
    let chain = rig.chain(&expected);
    let token = rig.submit(pipe, Operation::Send { chain });
    rig.expect_silence();
    let receiver = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    let sent = rig.next_of(token);
    assert_eq!((sent.kind, sent.key, sent.result), (OperationKind::Send, 9, Ok(1_000_000)));
    assert_eq!(sent.payload.into_chain().unwrap().len(), 1_000_000);
    rig.close(pipe);
    assert!(receiver.join().unwrap() == expected);
}

fn sends_keep_their_order(rig: &mut Rig) {
    let (pipe, mut reader) = outgoing(rig);
    let mut tokens = vec![rig.send(pipe, b"")];
    let mut expected = Vec::new();
    for number in 0..10 {
        let bytes = vec![number; 9_000];
        tokens.push(rig.send(pipe, &bytes));
        expected.extend(bytes);
    }
    let receiver = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    for token in tokens {
        let sent = rig.next();
        assert_eq!(sent.token, token);
        sent.result.unwrap();
    }
    rig.close(pipe);
    assert!(receiver.join().unwrap() == expected);
}

fn a_pipe_that_nobody_reads_is_reset(rig: &mut Rig) {
    let (pipe, reader) = outgoing(rig);
    let token = rig.submit(pipe, Operation::Send { chain: Rig::huge_chain() });
    rig.expect_silence();
    drop(reader);
    let end = rig.next_of(token);
    assert_eq!(failure(&end), ErrorKind::Reset);
    assert_eq!(end.payload.into_chain().unwrap().len(), 64 << 20);
    let token = rig.send(pipe, b"again");
    assert_eq!(failure(&rig.next_of(token)), ErrorKind::Reset);
    rig.close(pipe);
}

fn waiting_on_a_pipe_ends_by_cancel_deadline_and_close(rig: &mut Rig) {
    let (pipe, mut writer) = incoming(rig);
    let token = rig.receive(pipe, 10);
    rig.worker.cancel(token);
    let end = rig.next_of(token);
    assert_eq!(failure(&end), ErrorKind::Cancelled);
    assert!(end.payload.into_buffer().is_some());
    let limit = Duration::from_millis(5);
    let stream = rig.worker.submit_with_limit(pipe, Operation::ReceiveStream, limit).unwrap();
    assert_eq!(failure(&rig.next_of(stream)), ErrorKind::TimedOut);
    writer.write_all(b"x").unwrap();
    let token = rig.receive(pipe, 10);
    assert_eq!(rig.next_of(token).result, Ok(1));
    let pending = rig.receive(pipe, 10);
    let close = rig.submit(pipe, Operation::Close);
    assert_eq!(failure(&rig.next_of(pending)), ErrorKind::Cancelled);
    assert_eq!(rig.next_of(close).result, Ok(0));
    let (pipe, _reader) = outgoing(rig);
    let token = rig.submit(pipe, Operation::Send { chain: Rig::huge_chain() });
    rig.expect_silence();
    rig.worker.cancel(token);
    assert_eq!(failure(&rig.next_of(token)), ErrorKind::Cancelled);
    rig.close(pipe);
}

fn a_stream_without_buffers_waits_for_one(rig: &mut Rig) {
    let (pipe, mut writer) = incoming(rig);
    let mut taken = Vec::new();
    while let Ok(buffer) = rig.port.buffers().acquire(65_536) {
        taken.push(buffer);
    }
    let stream = rig.submit(pipe, Operation::ReceiveStream);
    writer.write_all(b"patience").unwrap();
    rig.expect_silence();
    drop(taken.pop());
    let item = rig.next_of(stream);
    assert_eq!((item.result, item.last), (Ok(8), false));
    drop(item);
    rig.worker.cancel(stream);
    assert_eq!(failure(&rig.next_of(stream)), ErrorKind::Cancelled);
    rig.close(pipe);
}

fn without_a_budget_pipes_go_on_all_the_same(rig: &mut Rig) {
    let (pipe, mut writer) = incoming(rig);
    writer.write_all(b"some bytes").unwrap();
    let token = rig.receive(pipe, 4);
    assert_eq!(rig.next_of(token).result, Ok(4));
    let stream = rig.submit(pipe, Operation::ReceiveStream);
    assert_eq!(rig.next_of(stream).result, Ok(6));
    drop(writer);
    assert_eq!(rig.next_of(stream).result, Ok(0));
    let (pipe, _reader) = outgoing(rig);
    let token = rig.send(pipe, b"some bytes");
    assert_eq!(rig.next_of(token).result, Ok(10));
}

fn only_pipes_are_pipes(rig: &mut Rig) {
    let file = tempfile::tempfile().unwrap();
    let (error, source) =
        rig.worker.associate(Source::Pipe(OwnedFd::from(file)), 9).expect_err("a file is no pipe");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(matches!(source, Source::Pipe(_)));
    let (pipe, _writer) = incoming(rig);
    let folder = std::env::temp_dir();
    let address = Address::from(folder.as_path());
    for operation in [
        Operation::Disconnect,
        Operation::Accept,
        Operation::Connect { address: address.clone(), first: BufferChain::new() },
        Operation::SendTo { chain: BufferChain::from(Slice::from_static(b"x")), to: address },
    ] {
        let rejected = rig.worker.submit(pipe, operation).expect_err("a pipe is no socket");
        assert_eq!(rejected.error.kind(), ErrorKind::InvalidArgument);
    }
    rig.close(pipe);
}
