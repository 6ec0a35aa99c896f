//! Receiving into several buffers.

use crate::{
    harness::{Rig, failure, pattern},
    suite::Case,
};
use completion_port::{Buffer, Completion, ErrorKind, Handle, Operation, OperationKind, Payload, Token};
use std::{io::Write, net::Shutdown};

pub(crate) const CASES: &[Case] = cases![
needs OperationKind::ReceiveScatter;

    buffers_are_filled_in_order,
    as_much_as_there_is_and_then_the_end,
    sixty_four_buffers_fill_up,
    a_cancelled_receive_brings_all_buffers_home,
    arguments_that_make_no_sense_are_refused,
    it_takes_its_turn_among_other_receives,
];

fn buffers(rig: &Rig, capacities: &[usize]) -> Vec<Buffer> {
    capacities.iter().map(|&capacity| rig.port.buffers().acquire(capacity).unwrap()).collect()
}

fn scatter(rig: &mut Rig, handle: Handle, capacities: &[usize]) -> Token {
    let buffers = buffers(rig, capacities);
    rig.submit(handle, Operation::ReceiveScatter { buffers })
}

#[track_caller]
fn parts(completion: Completion) -> Vec<Buffer> {
    match completion.payload {
        Payload::Buffers(buffers) => buffers,
        other => panic!("{other:?} instead of buffers"),
    }
}

fn buffers_are_filled_in_order(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    peer.write_all(b"headbody and more").unwrap();
    let mut buffers = buffers(rig, &[8, 3, 6, 100]);
    // One begins behind what it has, and one has no room at all.
    buffers[0].extend_from_slice(b"old:");
    buffers[1].extend_from_slice(b"sat");
    let completion = rig.run(handle, Operation::ReceiveScatter { buffers });
    assert_eq!(
        (completion.kind, completion.key, completion.result),
        (OperationKind::ReceiveScatter, 7, Ok(17))
    );
    let parts = parts(completion);
    let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
    assert_eq!(parts, [&b"old:head"[..], b"sat", b"body a", b"nd more"]);
    rig.close(handle);
}

fn as_much_as_there_is_and_then_the_end(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let token = scatter(rig, handle, &[4, 4]);
    peer.write_all(b"abc").unwrap();
    let completion = rig.next_of(token);
    assert_eq!(completion.result, Ok(3));
    assert_eq!(parts(completion).iter().map(|part| part.len()).collect::<Vec<_>>(), [3, 0]);
    peer.shutdown(Shutdown::Write).unwrap();
    let token = scatter(rig, handle, &[4, 4]);
    let completion = rig.next_of(token);
    assert_eq!(completion.result, Ok(0));
    assert_eq!(parts(completion).len(), 2);
    rig.close(handle);
}

fn sixty_four_buffers_fill_up(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let bytes = pattern(64 * 100);
    peer.write_all(&bytes).unwrap();
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        // Fewer than 64, so that the pool of the rig is enough.
        let token = scatter(rig, handle, &[100; 64]);
        let completion = rig.next_of(token);
        let count = completion.result.unwrap() as usize;
        let parts = parts(completion);
        let mut left = count;
        for part in &parts {
            assert_eq!(part.len(), left.min(100));
            left -= part.len();
            received.extend_from_slice(part);
        }
    }
    assert_eq!(received, bytes);
    rig.close(handle);
}

fn a_cancelled_receive_brings_all_buffers_home(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let (first, second) = (scatter(rig, handle, &[10, 20]), scatter(rig, handle, &[30]));
    for (token, count) in [(second, 1), (first, 2)] {
        rig.worker.cancel(token);
        let end = rig.next_of(token);
        assert_eq!(failure(&end), ErrorKind::Cancelled);
        assert_eq!(parts(end).len(), count);
    }
    let last = scatter(rig, handle, &[10, 20]);
    peer.write_all(b"later").unwrap();
    assert_eq!(rig.next_of(last).result, Ok(5));
    let pending = scatter(rig, handle, &[10, 20]);
    let close = rig.submit(handle, Operation::Close);
    let end = rig.next();
    assert_eq!((end.token, failure(&end)), (pending, ErrorKind::Cancelled));
    assert_eq!(parts(end).len(), 2);
    assert_eq!(rig.next().token, close);
}

fn arguments_that_make_no_sense_are_refused(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let mut full = buffers(rig, &[1]);
    full[0].extend_from_slice(b"x");
    for buffers in [Vec::new(), full, buffers(rig, &[10; 65])] {
        let count = buffers.len();
        let rejected =
            rig.worker.submit(handle, Operation::ReceiveScatter { buffers }).expect_err("it makes no sense");
        assert_eq!(rejected.error.kind(), ErrorKind::InvalidArgument);
        let Operation::ReceiveScatter { buffers } = rejected.operation else { panic!("another operation") };
        assert_eq!(buffers.len(), count);
    }
    rig.close(handle);
}

fn it_takes_its_turn_among_other_receives(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let first = rig.receive(handle, 3);
    let second = scatter(rig, handle, &[1, 2]);
    let third = rig.receive(handle, 3);
    peer.write_all(b"abcdefghi").unwrap();
    for (token, expected) in [(first, 3), (second, 3), (third, 3)] {
        let completion = rig.next();
        assert_eq!((completion.token, completion.result), (token, Ok(expected)));
        if token == second {
            let parts = parts(completion);
            assert_eq!([&parts[0][..], &parts[1][..]], [&b"d"[..], b"ef"]);
        }
    }
    rig.close(handle);
}
