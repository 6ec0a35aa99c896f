//! Transfers in parts: what the system takes or gives in pieces, the port finishes or says.

use crate::{
    harness::{Rig, failure, file_with, pattern},
    suite::Case,
};
use completion_port::{BufferChain, ErrorKind, Operation, Slice};
use std::{
    cell::{Cell, RefCell},
    io::{Read, Write},
    rc::Rc,
};

pub(crate) const CASES: &[Case] = cases![
    a_send_to_a_peer_that_reads_by_the_byte_is_finished,
    a_gathered_send_goes_on_within_its_slices,
    a_transmission_to_a_peer_that_reads_little_is_finished,
    what_a_cancelled_send_has_sent_is_its_beginning,
    a_receive_gives_what_is_there,
    a_stream_cuts_what_comes_to_its_size with |configuration| configuration.receive_bytes = 7,
    a_read_ends_where_the_file_does,
    a_reset_in_the_middle_of_a_send_is_an_error,
];

/// Has a peer read pieces of a few sizes in turn beside the case. Returns what was read so far.
fn read_in_pieces(
    rig: &mut Rig,
    mut peer: crate::peer::Peer,
    sizes: &'static [usize],
    expected: usize,
) -> Rc<RefCell<Vec<u8>>> {
    let read = Rc::new(RefCell::new(Vec::with_capacity(expected)));
    let bytes = Rc::clone(&read);
    peer.set_nonblocking(true);
    let mut turn = 0;
    rig.beside(move || {
        let mut bytes = bytes.borrow_mut();
        // A bounded number of pieces in each turn, so that the other side meets a full buffer often.
        for _ in 0..64 {
            let mut piece = vec![0; sizes[turn % sizes.len()]];
            turn += 1;
            match peer.read(&mut piece) {
                Ok(0) => panic!("the end came after {} bytes", bytes.len()),
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "after {} bytes", bytes.len());
                    break;
                }
            }
        }
        bytes.len() >= expected
    });
    read
}

fn a_send_to_a_peer_that_reads_by_the_byte_is_finished(rig: &mut Rig) {
    let (handle, peer) = rig.narrow_pair();
    let all = pattern(3 << 20);
    let read = read_in_pieces(rig, peer, &[1, 4_093, 17, 65_536], all.len());
    let chain = rig.chain(&all);
    let sent = rig.run(handle, Operation::Send { chain });
    assert_eq!(sent.result, Ok(3 << 20));
    assert_eq!(sent.payload.into_chain().unwrap().len(), 3 << 20);
    rig.settle();
    assert!(*read.borrow() == all);
    rig.close(handle);
}

fn a_gathered_send_goes_on_within_its_slices(rig: &mut Rig) {
    let (handle, peer) = rig.narrow_pair();
    // 64 slices of uneven length, each cut out of the same memory, so that a wrong place shows.
    let mut whole = rig.port.buffers().allocate(200_000).unwrap();
    whole.extend_from_slice(&pattern(200_000));
    let whole: Slice = whole.freeze();
    let (mut chain, mut expected) = (BufferChain::new(), Vec::new());
    for place in 0..BufferChain::MAXIMUM_SLICES {
        let begin = place * 37;
        let slice = whole.slice(begin..begin + 1 + place * 1_999);
        expected.extend_from_slice(&slice);
        chain.push(slice).unwrap();
    }
    let read = read_in_pieces(rig, peer, &[997, 10, 30_000], expected.len());
    assert_eq!(rig.run(handle, Operation::Send { chain }).result, Ok(expected.len() as u64));
    rig.settle();
    assert!(*read.borrow() == expected);
    rig.close(handle);
}

fn a_transmission_to_a_peer_that_reads_little_is_finished(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let all = pattern(2_000_000);
    let file = file_with(rig, folder.path(), &all);
    let (handle, peer) = rig.narrow_pair();
    let read = read_in_pieces(rig, peer, &[313, 20_011, 1], all.len() + 4);
    let head = BufferChain::from(Slice::from_static(b"head"));
    let sent = rig.run(handle, Operation::TransmitFile { head, file, offset: 0, length: 2_000_000 });
    assert_eq!(sent.result, Ok(2_000_004));
    rig.settle();
    assert!(*read.borrow() == [b"head", &all[..]].concat());
    rig.close(handle);
    rig.close(file);
}

fn what_a_cancelled_send_has_sent_is_its_beginning(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    // Longer than any buffer between the two.
    let mut whole = rig.port.buffers().allocate(32 << 20).unwrap();
    whole.extend_from_slice(&pattern(32 << 20));
    let whole: Slice = whole.freeze();
    let first = rig.submit(handle, Operation::Send { chain: whole.clone().into() });
    let behind = rig.send(handle, b"behind");
    let mut read = rig.read_some(&mut peer, 100_000);
    rig.worker.cancel(behind);
    assert_eq!(failure(&rig.next_of(behind)), ErrorKind::Cancelled);
    rig.worker.cancel(first);
    let cancelled = rig.next_of(first);
    assert_eq!(failure(&cancelled), ErrorKind::Cancelled);
    assert_eq!(cancelled.payload.into_chain().unwrap().len(), 32 << 20);
    rig.close(handle);
    let reading = rig.read_beside(peer);
    rig.settle();
    read.extend(reading.so_far());
    assert!(read.len() < 32 << 20 && read[..] == whole[..read.len()], "{} bytes", read.len());
}

fn a_receive_gives_what_is_there(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    for length in [1, 2, 999, 4_096] {
        let token = rig.receive(handle, 4_096);
        peer.write_all(&pattern(length)).unwrap();
        let mut got = Vec::new();
        let received = rig.next_of(token);
        assert!(matches!(received.result, Ok(bytes) if bytes > 0), "{received:?}");
        got.extend_from_slice(&received.payload.into_buffer().unwrap());
        // The network may cut what was written in one piece; the rest is for the next.
        while got.len() < length {
            let token = rig.receive(handle, 4_096);
            got.extend_from_slice(&rig.next_of(token).payload.into_buffer().unwrap());
        }
        assert!(got == pattern(length));
    }
    rig.close(handle);
}

fn a_stream_cuts_what_comes_to_its_size(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let stream = rig.submit(handle, Operation::ReceiveStream);
    let (all, done) = (pattern(1_000), Rc::new(Cell::new(0)));
    let written = Rc::clone(&done);
    let bytes = all.clone();
    rig.beside(move || {
        let begin = written.get();
        let end = (begin + 61).min(bytes.len());
        peer.write_all(&bytes[begin..end]).unwrap();
        written.set(end);
        end == bytes.len() && peer.shutdown(std::net::Shutdown::Write).is_ok()
    });
    let mut received = Vec::new();
    loop {
        let completion = rig.next_of(stream);
        if completion.last {
            assert_eq!(completion.result, Ok(0));
            break;
        }
        let buffer = completion.payload.into_buffer().unwrap();
        assert_eq!(completion.result, Ok(buffer.len() as u64));
        received.extend_from_slice(&buffer);
    }
    assert_eq!((received, done.get()), (all, 1_000));
    rig.close(handle);
}

fn a_read_ends_where_the_file_does(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let all = pattern(10_000);
    let file = file_with(rig, folder.path(), &all);
    for (offset, bytes) in [(0, 4_096), (5_904, 4_096), (5_905, 4_095), (9_999, 1), (10_000, 0), (10_001, 0)]
    {
        let buffer = rig.port.buffers().acquire(4_096).unwrap();
        let read = rig.run(file, Operation::ReadAt { file, offset: offset as u64, buffer });
        assert_eq!(read.result, Ok(bytes as u64), "at {offset}");
        let buffer = read.payload.into_buffer().unwrap();
        assert!(buffer[..] == all[offset.min(10_000)..][..bytes]);
    }
    rig.close(file);
}

fn a_reset_in_the_middle_of_a_send_is_an_error(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let token = rig.submit(handle, Operation::Send { chain: Rig::huge_chain() });
    rig.read_some(&mut peer, 100_000);
    peer.reset();
    let ended = rig.next_of(token);
    assert_eq!(failure(&ended), ErrorKind::Reset);
    assert_eq!(ended.payload.into_chain().unwrap().len(), 64 << 20);
    rig.close(handle);
}
