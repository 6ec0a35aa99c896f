//! What the port says that it did.

use crate::{harness::Rig, suite::Case};
use completion_port::{
    Backend, BufferChain, Counters, Handle, Operation, OperationKind, Port, Slice, SystemCall,
};
use std::{
    io::{Read, Write},
    time::Duration,
};

pub(crate) const CASES: &[Case] = cases![
    completions_are_counted_by_kind_and_batches_by_size,
    the_calls_of_an_exchange_are_counted,
    bytes_that_are_copied_are_counted_and_others_are_not,
    buffers_in_use_have_a_high_mark,
    the_pool_counts_its_threads_and_what_they_call,
];

fn counted(rig: &Rig) -> Counters {
    rig.port.counters()
}

fn completions_are_counted_by_kind_and_batches_by_size(rig: &mut Rig) {
    assert_eq!((counted(rig).all_completions(), counted(rig).waits()), (0, 0));
    let after = Duration::from_millis(1);
    let timers = [(); 3].map(|()| rig.submit(Handle::NONE, Operation::Timer { after }));
    timers.into_iter().for_each(|timer| drop(rig.next_of(timer)));
    let (handle, mut peer) = rig.pair();
    peer.write_all(b"x").unwrap();
    drop(rig.run(handle, Operation::Receive { buffer: rig.port.buffers().acquire(8).unwrap() }));
    rig.close(handle);
    let counters = counted(rig);
    for (kind, count) in [
        (OperationKind::Timer, 3),
        (OperationKind::Receive, 1),
        (OperationKind::Close, 1),
        (OperationKind::Send, 0),
    ] {
        assert_eq!(counters.completed(kind), count, "{kind:?}");
    }
    assert!(counters.waits() >= 3, "{counters:?}");
    assert!(counters.batches[1..].iter().sum::<u64>() <= counters.all_completions(), "{counters:?}");
}

fn the_calls_of_an_exchange_are_counted(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let before = counted(rig);
    peer.write_all(b"ping").unwrap();
    drop(rig.run(handle, Operation::Receive { buffer: rig.port.buffers().acquire(8).unwrap() }));
    drop(rig.run(handle, Operation::Send { chain: BufferChain::from(Slice::from_static(b"pong")) }));
    rig.close(handle);
    peer.read_exact(&mut [0; 4]).unwrap();
    let after = counted(rig);
    let called = |call| after.called(call) - before.called(call);
    match rig.port.backend() {
        Backend::Simulated => assert_eq!(after.all_system_calls(), 0, "{after:?}"),
        Backend::IoUring => {
            assert!(called(SystemCall::IoUringEnter) >= 2, "{after:?}");
            assert_eq!((called(SystemCall::Receive), called(SystemCall::Send)), (0, 0));
            assert_eq!(called(SystemCall::Close), 1);
        }
        _ => {
            // A poller that knows no edges has to try first, and a call may be made once more.
            assert!(called(SystemCall::Receive) >= 1, "{after:?}");
            assert_eq!((called(SystemCall::Send), called(SystemCall::Close)), (1, 1));
            let waits = [SystemCall::EpollWait, SystemCall::Poll, SystemCall::GetQueuedCompletionStatus];
            assert!(waits.map(called).iter().sum::<u64>() >= 1, "{after:?}");
        }
    }
}

fn bytes_that_are_copied_are_counted_and_others_are_not(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let before = counted(rig).bytes_copied;
    let mut buffer = rig.port.buffers().acquire(1_000).unwrap();
    buffer.extend_from_slice(&[7; 900]);
    // Moves the rest to the front.
    buffer.consume(100);
    drop(rig.run(handle, Operation::Send { chain: BufferChain::from(buffer.freeze()) }));
    peer.write_all(&[7; 500]).unwrap();
    drop(rig.run(handle, Operation::Receive { buffer: rig.port.buffers().acquire(500).unwrap() }));
    rig.close(handle);
    assert_eq!(counted(rig).bytes_copied - before, 900 + 800);
}

fn buffers_in_use_have_a_high_mark(rig: &mut Rig) {
    let smallest = |port: &Port| port.counters().buffers[0];
    let before = smallest(&rig.port);
    let held = [(); 5].map(|()| rig.port.buffers().acquire(1).unwrap());
    let during = smallest(&rig.port);
    assert_eq!((during.capacity, during.in_use), (4_096, before.in_use + 5));
    drop(held);
    let after = smallest(&rig.port);
    assert_eq!((after.in_use, after.high_mark), (before.in_use, before.high_mark.max(before.in_use + 5)));
    assert!(after.high_mark <= after.count);
}

fn the_pool_counts_its_threads_and_what_they_call(rig: &mut Rig) {
    let threads = counted(rig).pool_threads;
    assert_eq!(threads, 0);
    let token = rig.submit(Handle::NONE, Operation::Call { work: Box::new(|| Box::new(())) });
    drop(rig.next_of(token));
    let counters = counted(rig);
    let simulated = rig.port.backend() == Backend::Simulated;
    assert_eq!((counters.pool_threads, counters.pool_waiting), (usize::from(!simulated), 0));
    assert_eq!(counters.completed(OperationKind::Call), 1);
}
