//! What a program should not do, and what the port does about it all the same: extreme limits, panics where objects of the
//! program are dropped, floods.

use crate::{
    harness::{PATIENCE, Rig, configuration, failure, file_with, pattern},
    peer::Network,
    suite::Case,
};
use completion_port::{
    Backend, BufferChain, BufferClass, Completion, Configuration, ErrorKind, Handle, Operation,
    OperationKind, Packet, Payload, Port, Slice,
};
use std::{
    io::{ErrorKind as Io, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    sync::mpsc,
    time::Duration,
};

pub(crate) const CASES: &[Case] = cases![
    durations_beyond_all_time_are_no_limit,
    a_shutdown_without_deadline_waits_for_the_workers,
    extreme_limits_are_errors_or_work,
    packets_get_their_turn_beside_operations_that_complete_at_once with |configuration| {
        configuration.batch = 4;
    },
    sockets_get_their_turn_beside_operations_that_complete_at_once with |configuration| {
        configuration.batch = 4;
    },
    a_panic_in_what_a_leaving_worker_drops_keeps_its_seat_for_nobody,
    what_a_leaving_worker_drops_may_call_the_port with |configuration| {
        if configuration.backend == Some(Backend::Iocp) {
            configuration.workers_per_queue = 2;
        }
    },
    a_panic_in_a_call_s_panic_is_no_more_than_a_panic with |configuration| configuration.pool_threads = 1,
    a_call_that_panics_as_it_is_dropped_is_cancelled_like_any_other with |configuration| {
        configuration.pool_threads = 1;
    },
    a_flood_of_packets_does_not_hold_up_the_end,
    a_report_counts_nothing_that_a_worker_gives_back_as_it_leaves,
    a_transmit_without_any_buffers_ends with |configuration| configuration.buffers.clear(),
    what_stands_behind_a_cut_off_answer_is_not_sent,
    lengths_that_no_number_holds_are_refused,
];

/// An object of the program whose drop panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("on purpose");
        }
    }
}

fn packet(object: Bomb) -> Packet {
    Packet { key: 0, value: 0, object: Some(Box::new(object)) }
}

fn durations_beyond_all_time_are_no_limit(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let buffer = rig.port.buffers().acquire(8).unwrap();
    let operation = Operation::Receive { buffer };
    let receive = rig.worker.submit_with_limit(handle, operation, Duration::MAX).unwrap();
    let timer = rig.submit(Handle::NONE, Operation::Timer { after: Duration::MAX });
    peer.write_all(b"x").unwrap();
    let mut arrived = Vec::new();
    rig.worker.wait(&mut arrived, Some(Duration::MAX)).unwrap();
    assert_eq!((arrived.len(), arrived[0].token, arrived[0].result), (1, receive, Ok(1)));
    rig.worker.cancel(timer);
    assert_eq!(failure(&rig.next_of(timer)), ErrorKind::Cancelled);
}

fn a_shutdown_without_deadline_waits_for_the_workers(rig: &mut Rig) {
    let backend = rig.port.backend();
    let Ok(port) = Port::new(configuration(backend)) else { panic!("{backend:?} is available") };
    let serving = port.clone();
    let (ready, started) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut worker = serving.worker().unwrap();
        ready.send(()).unwrap();
        let mut completions: Vec<Completion> = Vec::new();
        while completions.iter().all(|completion| completion.kind != OperationKind::Shutdown) {
            worker.wait(&mut completions, None).unwrap();
        }
    });
    started.recv().unwrap();
    let report = port.shutdown(Duration::MAX);
    assert!(report.is_clean(), "on {}: {report}", backend.name());
    thread.join().unwrap();
}

type Adjust = fn(&mut Configuration, usize);

fn extreme_limits_are_errors_or_work(rig: &mut Rig) {
    let limits: [(&str, Adjust); 15] = [
        ("queues", |configuration, limit| configuration.queues = limit),
        ("workers_per_queue", |configuration, limit| configuration.workers_per_queue = limit),
        ("operations", |configuration, limit| configuration.operations = limit),
        ("handles", |configuration, limit| configuration.handles = limit),
        ("posts", |configuration, limit| configuration.posts = limit),
        ("batch", |configuration, limit| configuration.batch = limit),
        ("buffer capacity", |configuration, limit| configuration.buffers[0].capacity = limit),
        ("buffer count", |configuration, limit| configuration.buffers[0].count = limit),
        ("buffer count of one byte", |configuration, limit| {
            configuration.buffers[0] = BufferClass { capacity: 1, count: limit.min(u32::MAX as usize - 1) };
        }),
        ("heap_bytes", |configuration, limit| configuration.heap_bytes = limit),
        ("receive_bytes", |configuration, limit| configuration.receive_bytes = limit),
        ("receive_buffers", |configuration, limit| configuration.receive_buffers = limit),
        ("transmit_bytes", |configuration, limit| configuration.transmit_bytes = limit),
        ("pool_threads", |configuration, limit| configuration.pool_threads = limit),
        ("pool_queue", |configuration, limit| configuration.pool_queue = limit),
    ];
    let backend = rig.port.backend();
    for (name, adjust) in limits {
        for limit in [0, 1, usize::MAX] {
            let mut configuration = configuration(backend);
            adjust(&mut configuration, limit);
            let tried = catch_unwind(|| match Port::new(configuration) {
                Ok(port) => drop(port.worker().unwrap_or_else(|error| panic!("{error}"))),
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::SystemResources),
                    "{error}"
                ),
            });
            assert!(tried.is_ok(), "{name} = {limit} on {}", backend.name());
        }
    }
}

/// Keeps more operations going that complete at once than one wait hands out, until `done` says so.
fn busy_until(rig: &mut Rig, mut done: impl FnMut(&Completion) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(rig, folder.path(), &pattern(64));
    let read = |rig: &mut Rig| {
        // Each for a handle of its own, so that each has a budget of its own.
        let (handle, peer) = rig.pair();
        let buffer = rig.port.buffers().acquire(16).unwrap();
        rig.submit(handle, Operation::ReadAt { file, offset: 0, buffer });
        peer
    };
    let _peers: Vec<_> = (0..24).map(|_| read(rig)).collect();
    for _ in 0..2_000 {
        let mut arrived = Vec::new();
        rig.worker.wait(&mut arrived, Some(PATIENCE)).unwrap();
        for completion in arrived {
            if done(&completion) {
                return;
            }
            if completion.kind == OperationKind::ReadAt {
                let mut buffer = completion.payload.into_buffer().unwrap();
                buffer.clear();
                rig.submit(completion.handle, Operation::ReadAt { file, offset: 0, buffer });
            }
        }
    }
    panic!("the others were starved on {}", rig.port.backend().name());
}

fn packets_get_their_turn_beside_operations_that_complete_at_once(rig: &mut Rig) {
    let port = rig.port.clone();
    let mut posted = 0;
    busy_until(rig, |completion| {
        if posted < 3 {
            posted += 1;
            port.post(0, Packet { key: 0, value: posted, object: None }).unwrap();
        }
        matches!(&completion.payload, Payload::Packet(packet) if packet.value == 3)
    });
}

fn sockets_get_their_turn_beside_operations_that_complete_at_once(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let receive = rig.receive(handle, 8);
    let mut started = false;
    busy_until(rig, |completion| {
        if !std::mem::replace(&mut started, true) {
            peer.write_all(b"x").unwrap();
        }
        completion.token == receive
    });
}

fn a_panic_in_what_a_leaving_worker_drops_keeps_its_seat_for_nobody(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    rig.receive(handle, 8);
    rig.port.post(0, packet(Bomb)).unwrap();
    let port = rig.port.clone();
    let replacement = rig.fresh();
    let left = std::mem::replace(rig, replacement);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(left))).is_err());
    assert_eq!(port.buffers().in_use(), 0, "the receive came home all the same");
    drop(port.worker().expect("the seat is free"));
}

fn what_a_leaving_worker_drops_may_call_the_port(rig: &mut Rig) {
    struct Calls(Port);
    impl Drop for Calls {
        fn drop(&mut self) {
            let _ = self.0.worker().map(drop);
            let _ = self.0.post(0, Packet::default());
        }
    }
    let object = Calls(rig.port.clone());
    rig.port.post(0, Packet { key: 0, value: 0, object: Some(Box::new(object)) }).unwrap();
    let replacement = rig.fresh();
    drop(std::mem::replace(rig, replacement));
}

fn a_panic_in_a_call_s_panic_is_no_more_than_a_panic(rig: &mut Rig) {
    let work = Box::new(|| panic_any(Bomb));
    let panicked = rig.run(Handle::NONE, Operation::Call { work });
    assert_eq!(failure(&panicked), ErrorKind::Other);
    // The pool's only thread is still there.
    let next = rig.run(Handle::NONE, Operation::Call { work: Box::new(|| Box::new(7)) });
    assert_eq!(next.result, Ok(0));
}

fn a_call_that_panics_as_it_is_dropped_is_cancelled_like_any_other(rig: &mut Rig) {
    let (go, wait) = mpsc::channel::<()>();
    let blocking = rig.submit(
        Handle::NONE,
        Operation::Call { work: Box::new(move || Box::new(wait.recv_timeout(PATIENCE).is_ok())) },
    );
    let bomb = Bomb;
    let work = Box::new(move || {
        let _held = &bomb;
        Box::new(()) as Box<_>
    });
    let token = rig.submit(Handle::NONE, Operation::Call { work });
    assert!(catch_unwind(AssertUnwindSafe(|| rig.worker.cancel(token))).is_ok());
    assert_eq!(failure(&rig.next_of(token)), ErrorKind::Cancelled);
    go.send(()).unwrap();
    assert_eq!(rig.next_of(blocking).result, Ok(0));
}

fn a_flood_of_packets_does_not_hold_up_the_end(rig: &mut Rig) {
    let port = rig.port.clone();
    let (stop, stopped) = mpsc::channel::<()>();
    let flood = std::thread::spawn(move || {
        loop {
            match port.post(0, Packet::default()) {
                Ok(()) => {}
                Err((error, _)) if error.kind() == ErrorKind::QueueFull => std::thread::yield_now(),
                Err((error, _)) => return Some(error.kind()),
            }
            if stopped.try_recv() == Err(mpsc::TryRecvError::Disconnected) {
                return None;
            }
        }
    });
    rig.port.cancel_all();
    let mut ended = false;
    for _ in 0..20_000 {
        let mut arrived = Vec::new();
        rig.worker.wait(&mut arrived, Some(PATIENCE)).unwrap();
        ended = arrived.iter().any(|completion| completion.kind == OperationKind::Shutdown);
        if ended {
            break;
        }
    }
    drop(stop);
    let refused = flood.join().unwrap();
    assert!(ended, "no shutdown packet came on {}", rig.port.backend().name());
    assert!(matches!(refused, None | Some(ErrorKind::ShuttingDown)), "{refused:?}");
}

fn a_report_counts_nothing_that_a_worker_gives_back_as_it_leaves(rig: &mut Rig) {
    let backend = rig.port.backend();
    for _ in 0..50 {
        let configuration = configuration(backend);
        let network = Network::of(&configuration);
        let port = Port::new(configuration).unwrap();
        let serving = port.clone();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut worker = serving.worker().unwrap();
            let (source, peer) = network.pair();
            let handle = worker.associate(source, 0).unwrap();
            worker.submit(handle, Operation::ReceiveStream).unwrap();
            ready.send(peer).unwrap();
            let mut completions: Vec<Completion> = Vec::new();
            while completions.iter().all(|completion| completion.kind != OperationKind::Shutdown) {
                worker.wait(&mut completions, None).unwrap();
                if completions.iter().any(|completion| completion.kind == OperationKind::Draining) {
                    worker.close(handle);
                }
            }
            drop(completions);
        });
        let _peer = started.recv().unwrap();
        let report = port.shutdown(PATIENCE);
        assert!(report.is_clean(), "on {}: {report}", backend.name());
        thread.join().unwrap();
    }
}

fn a_transmit_without_any_buffers_ends(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(rig, folder.path(), &pattern(10_000));
    let (handle, _peer) = rig.pair();
    let operation = Operation::TransmitFile { head: BufferChain::new(), file, offset: 0, length: 10_000 };
    match rig.run(handle, operation).result {
        Ok(bytes) => assert_eq!(bytes, 10_000),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidArgument),
    }
}

fn what_stands_behind_a_cut_off_answer_is_not_sent(rig: &mut Rig) {
    for lower_first in [true, false] {
        let mut limits = configuration(rig.port.backend());
        // One buffer for slices of files, and the program has it: the transmit stops behind its head.
        limits.buffers = vec![BufferClass { capacity: 4_096, count: 1 }];
        let mut rig = Rig::new(limits);
        let folder = tempfile::tempdir().unwrap();
        let file = file_with(&mut rig, folder.path(), &pattern(4_096));
        let (handle, mut peer) = rig.pair();
        let held = rig.port.buffers().acquire(4_096).unwrap();
        // What is asked to end first depends on the places of the operations: both orders.
        let spare: Vec<_> =
            (0..2).map(|_| rig.submit(Handle::NONE, Operation::Timer { after: PATIENCE * 2 })).collect();
        for place in [usize::from(lower_first), usize::from(!lower_first)] {
            rig.worker.cancel(spare[place]);
            let _ = rig.next_of(spare[place]);
        }
        let (head, length) = (BufferChain::new(), u64::MAX / 2);
        let transmit = rig.submit(handle, Operation::TransmitFile { head, file, offset: 0, length });
        let chain = Slice::from_static(b"the next answer").into();
        let send = rig.submit(handle, Operation::Send { chain });
        rig.port.cancel_all();
        for token in [transmit, send] {
            assert!(rig.next_of(token).result.is_err());
        }
        drop(held);
        peer.set_nonblocking(true);
        let mut received = Vec::new();
        let error = peer.read_to_end(&mut received).unwrap_err();
        assert!(matches!(error.kind(), Io::WouldBlock | Io::ConnectionReset), "{error}");
        assert!(!received.ends_with(b"answer"));
        rig.finish();
    }
}

fn lengths_that_no_number_holds_are_refused(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(rig, folder.path(), b"content");
    let (handle, _peer) = rig.pair();
    let buffer = || rig.port.buffers().acquire(16).unwrap();
    let (head, length) = (BufferChain::from(Slice::from_static(b"head")), u64::MAX);
    let chain = head.clone();
    for operation in [
        Operation::TransmitFile { head: head.clone(), file, offset: 0, length },
        Operation::TransmitFile { head, file, offset: 1, length },
        Operation::ReadAt { file, offset: u64::MAX - 15, buffer: buffer() },
        Operation::WriteAt { file, offset: u64::MAX - 3, chain },
    ] {
        let rejected = rig.worker.submit(handle, operation).unwrap_err();
        assert_eq!(rejected.error.kind(), ErrorKind::InvalidArgument);
    }
}
