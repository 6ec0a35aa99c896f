//! Lists of bytes in memory and ranges of files, sent as one.

use crate::{
    harness::{GLANCE, Rig, failure, pattern},
    suite::Case,
};
use completion_port::{
    Completion, ErrorKind, Handle, OpenOptions, Operation, OperationKind, Payload, Slice, TransmitElement,
    TransmitList,
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = cases![
needs OperationKind::TransmitPackets;

    elements_arrive_in_order,
    a_list_can_be_of_one_kind_or_empty,
    a_list_is_full_at_sixty_four,
    the_same_list_can_be_sent_again,
    a_file_that_is_too_short_ends_it,
    a_file_must_be_open_when_it_is_submitted,
    a_file_that_is_closed_before_its_turn_ends_it,
    a_list_that_the_peer_does_not_read_can_be_cancelled,
    others_wait_until_the_whole_list_is_sent,
];

const FILE_BYTES: usize = 300_000;

/// A file of [`pattern`], open.
fn file(rig: &mut Rig, folder: &tempfile::TempDir, name: &str, bytes: usize) -> Handle {
    let path = folder.path().join(name);
    std::fs::write(&path, pattern(bytes)).unwrap();
    let options = OpenOptions::new().read(true);
    match rig.run(Handle::NONE, Operation::Open { directory: None, path, options }).payload {
        Payload::Opened { file, .. } => file,
        other => panic!("{other:?} instead of a file"),
    }
}

fn list(elements: impl IntoIterator<Item = TransmitElement>) -> Box<TransmitList> {
    let mut list = Box::<TransmitList>::default();
    elements.into_iter().for_each(|element| list.push(element).unwrap());
    list
}

fn memory(bytes: &'static [u8]) -> TransmitElement {
    TransmitElement::Memory(Slice::from_static(bytes))
}

fn range(file: Handle, offset: u64, length: u64) -> TransmitElement {
    TransmitElement::File { file, offset, length }
}

#[track_caller]
fn list_of(completion: Completion) -> Box<TransmitList> {
    match completion.payload {
        Payload::TransmitList(list) => list,
        other => panic!("{other:?} instead of a list"),
    }
}

fn elements_arrive_in_order(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (file(rig, &folder, "one", FILE_BYTES), file(rig, &folder, "other", 1_000));
    let (socket, peer) = rig.pair();
    let reader = rig.read_beside(peer);
    let list = list([
        memory(b"head "),
        memory(b"and more:"),
        range(one, 1_000, 200_000),
        range(other, 0, 1_000),
        memory(b"between"),
        range(one, 0, 1),
        memory(b"the end"),
    ]);
    let bytes = list.len();
    let sent = rig.run(socket, Operation::TransmitPackets { list });
    assert_eq!((sent.kind, sent.key, sent.result), (OperationKind::TransmitPackets, 7, Ok(bytes)));
    assert_eq!(list_of(sent).elements().len(), 7);
    rig.close(socket);
    let content = pattern(FILE_BYTES);
    let expected = [
        b"head and more:",
        &content[1_000..201_000],
        &content[..1_000],
        b"between",
        &content[..1],
        b"the end",
    ];
    assert!(rig.read_to_end(&reader) == expected.concat());
    rig.close(one);
    rig.close(other);
}

fn a_list_can_be_of_one_kind_or_empty(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file(rig, &folder, "file", FILE_BYTES);
    let (socket, peer) = rig.pair();
    let reader = rig.read_beside(peer);
    let everything = FILE_BYTES as u64;
    for (list, bytes) in [
        (list([]), 0),
        (list([memory(b"memory "), memory(b"only")]), 11),
        (list([range(file, 0, everything)]), everything),
        (list([range(file, 5, 5), range(file, 0, 5)]), 10),
    ] {
        assert_eq!(rig.run(socket, Operation::TransmitPackets { list }).result, Ok(bytes));
    }
    rig.close(socket);
    let content = pattern(FILE_BYTES);
    let expected = [b"memory only", &content[..], &content[5..10], &content[..5]].concat();
    assert!(rig.read_to_end(&reader) == expected);
    rig.close(file);
}

fn a_list_is_full_at_sixty_four(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file(rig, &folder, "file", FILE_BYTES);
    let (socket, peer) = rig.pair();
    let reader = rig.read_beside(peer);
    let mut list = Box::<TransmitList>::default();
    let mut expected = Vec::new();
    let content = pattern(FILE_BYTES);
    for number in 0..TransmitList::MAXIMUM_ELEMENTS {
        if number % 2 == 0 {
            list.push(range(file, number as u64 * 100, 3_000)).unwrap();
            expected.extend_from_slice(&content[number * 100..][..3_000]);
        } else {
            list.push(memory(b", ")).unwrap();
            expected.extend_from_slice(b", ");
        }
    }
    assert!(list.push(memory(b"too much")).is_err());
    let bytes = expected.len() as u64;
    assert_eq!(rig.run(socket, Operation::TransmitPackets { list }).result, Ok(bytes));
    rig.close(socket);
    assert!(rig.read_to_end(&reader) == expected);
    rig.close(file);
}

fn the_same_list_can_be_sent_again(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file(rig, &folder, "file", 100);
    let (socket, peer) = rig.pair();
    let reader = rig.read_beside(peer);
    let mut list = list([memory(b"<"), range(file, 0, 100), memory(b">")]);
    for _ in 0..3 {
        let sent = rig.run(socket, Operation::TransmitPackets { list });
        assert_eq!(sent.result, Ok(102));
        list = list_of(sent);
    }
    rig.close(socket);
    let once = [b"<", &pattern(100)[..], b">"].concat();
    assert_eq!(rig.read_to_end(&reader), once.repeat(3));
    rig.close(file);
}

fn a_file_that_is_too_short_ends_it(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let (long, short) = (file(rig, &folder, "long", 1_000), file(rig, &folder, "short", 10));
    let (socket, peer) = rig.pair();
    let reader = rig.read_beside(peer);
    let list = list([range(long, 0, 1_000), range(short, 0, 11), memory(b"never")]);
    let sent = rig.run(socket, Operation::TransmitPackets { list });
    assert_eq!(failure(&sent), ErrorKind::Other);
    assert_eq!(list_of(sent).elements().len(), 3);
    rig.close(socket);
    let read = rig.read_to_end(&reader);
    let promised = [&pattern(1_000)[..], &pattern(10)].concat();
    assert!(promised.starts_with(&read), "{} bytes, of which some are not of the list", read.len());
    rig.close(long);
    rig.close(short);
}

fn a_file_must_be_open_when_it_is_submitted(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let (open, closed) = (file(rig, &folder, "open", 10), file(rig, &folder, "closed", 10));
    let (socket, _peer) = rig.pair();
    rig.close(closed);
    let second = list([range(open, 0, 10), range(closed, 0, 10)]);
    let socket_as_file = list([range(socket, 0, 10)]);
    for (list, why) in [(second, ErrorKind::StaleHandle), (socket_as_file, ErrorKind::InvalidArgument)] {
        let rejected =
            rig.worker.submit(socket, Operation::TransmitPackets { list }).expect_err("it cannot be sent");
        assert_eq!(rejected.error.kind(), why);
        let Operation::TransmitPackets { list } = rejected.operation else { panic!("another operation") };
        assert!(!list.is_empty());
    }
    rig.close(socket);
    rig.close(open);
}

/// So much that no socket takes it at once, and the peer decides when the turn of what is behind comes.
fn much() -> Vec<TransmitElement> {
    Rig::huge_chain().into_slices().take(32).map(TransmitElement::Memory).collect()
}

fn a_file_that_is_closed_before_its_turn_ends_it(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (file(rig, &folder, "one", 10), file(rig, &folder, "other", 10));
    let (socket, peer) = rig.pair();
    let list = list(much().into_iter().chain([range(one, 0, 10), range(other, 0, 10)]));
    let token = rig.submit(socket, Operation::TransmitPackets { list });
    rig.expect_silence();
    rig.worker.close(other);
    let reader = rig.read_beside(peer);
    let end = rig.next_of(token);
    // A system that has the whole list at once keeps the files open until it is sent.
    if end.result.is_err() {
        assert_eq!(failure(&end), ErrorKind::StaleHandle);
    }
    list_of(end);
    rig.close(socket);
    rig.read_to_end(&reader);
    rig.close(one);
}

fn a_list_that_the_peer_does_not_read_can_be_cancelled(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file(rig, &folder, "file", 10);
    let (socket, _peer) = rig.pair();
    let elements = [range(file, 0, 10)].into_iter().chain(much()).chain([range(file, 0, 10)]);
    let (first, second) = (list(elements), list([range(file, 0, 10)]));
    let first = rig.submit(socket, Operation::TransmitPackets { list: first });
    let second = rig.submit(socket, Operation::TransmitPackets { list: second });
    rig.expect_silence();
    for (token, count) in [(second, 1), (first, 34)] {
        rig.worker.cancel(token);
        let end = rig.next_of(token);
        assert_eq!(failure(&end), ErrorKind::Cancelled);
        assert_eq!(list_of(end).elements().len(), count);
    }
    rig.close(socket);
    let (socket, _peer) = rig.pair();
    let operation = Operation::TransmitPackets { list: list(much()) };
    let limited = rig.worker.submit_with_limit(socket, operation, GLANCE / 2).unwrap();
    assert_eq!(failure(&rig.next_of(limited)), ErrorKind::TimedOut);
    rig.close(socket);
    let (socket, _peer) = rig.pair();
    let pending = rig.submit(socket, Operation::TransmitPackets { list: list(much()) });
    let close = rig.submit(socket, Operation::Close);
    assert_eq!(failure(&rig.next_of(pending)), ErrorKind::Cancelled);
    assert_eq!(rig.next_of(close).result, Ok(0));
    rig.close(file);
}

fn others_wait_until_the_whole_list_is_sent(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file(rig, &folder, "file", FILE_BYTES);
    let (socket, peer) = rig.pair();
    let list = list([range(file, 0, 10), memory(b"|"), range(file, 0, FILE_BYTES as u64), memory(b"|")]);
    let first = rig.submit(socket, Operation::TransmitPackets { list });
    let second = rig.send(socket, b"behind");
    let reader = rig.read_beside(peer);
    let limit = Duration::from_secs(3600);
    let chain = rig.chain(b" it");
    let third = rig.worker.submit_with_limit(socket, Operation::Send { chain }, limit).unwrap();
    for token in [first, second, third] {
        let sent = rig.next();
        assert_eq!(sent.token, token);
        sent.result.unwrap();
    }
    rig.close(socket);
    let content = pattern(FILE_BYTES);
    assert!(rig.read_to_end(&reader) == [&content[..10], b"|", &content, b"|behind it"].concat());
    rig.close(file);
}
