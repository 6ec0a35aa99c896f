//! Shutdown: draining, cancelling, and the last packet.

use crate::{
    harness::{PATIENCE, Rig, configuration, failure},
    suite::{Case, ON_THREADS},
};
use completion_port::{Completion, ErrorKind, Handle, Operation, OperationKind, Packet, Payload, Port};
use std::{
    io::{Read, Write},
    sync::mpsc,
    time::Duration,
};

pub(crate) const CASES: &[Case] = cases![
    what_runs_finishes_and_the_report_is_clean,
    what_is_left_at_the_deadline_is_cancelled,
    cancel_all_needs_no_deadline,
    a_queue_can_have_a_new_worker_after_its_last_one_left,
    what_does_not_come_home_is_left_alone_and_counted; only ON_THREADS,
    a_worker_that_stays_and_buffers_that_are_kept_are_counted,
    every_packet_that_was_accepted_comes_before_the_last_one,
    a_shutdown_waits_for_no_worker_that_left_or_never_came; only ON_THREADS,
];

fn what_runs_finishes_and_the_report_is_clean(rig: &mut Rig) {
    let mut rig = rig.fresh();
    let (listener, _) = rig.listener();
    let stream = rig.submit(listener, Operation::AcceptStream);
    let (handle, mut peer) = rig.pair();
    let token = rig.receive(handle, 10);
    let port = rig.port.clone();
    let shutting_down = std::thread::spawn(move || port.shutdown(PATIENCE));
    // Accept streams end, and the worker is told; in whichever order.
    let (mut told, mut ended) = (false, false);
    while !(told && ended) {
        let completion = rig.next();
        match completion.kind {
            OperationKind::Draining => told = true,
            OperationKind::AcceptStream => {
                assert_eq!((completion.token, failure(&completion)), (stream, ErrorKind::Cancelled));
                ended = completion.last;
            }
            other => panic!("{other:?} came first"),
        }
    }
    assert_eq!(rig.port.worker().expect_err("it shuts down").kind(), ErrorKind::ShuttingDown);
    rig.expect_silence();
    // What runs goes on, with all it needs.
    peer.write_all(b"request").unwrap();
    let received = rig.next_of(token);
    assert_eq!(received.result, Ok(7));
    let chain = received.payload.into_buffer().unwrap().into();
    assert_eq!(rig.run(handle, Operation::Send { chain }).result, Ok(7));
    rig.close(handle);
    rig.close(listener);
    let last = rig.next();
    assert_eq!((last.kind, last.result), (OperationKind::Shutdown, Ok(0)));
    rig.expect_silence();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"request");
    rig.leave();
    let report = shutting_down.join().unwrap();
    assert!(report.is_clean(), "{report}");
}

fn what_is_left_at_the_deadline_is_cancelled(rig: &mut Rig) {
    let mut rig = rig.fresh();
    let (handle, _peer) = rig.pair();
    let receive = rig.receive(handle, 10);
    let timer = rig.submit(handle, Operation::Timer { after: Duration::from_secs(3600) });
    let port = rig.port.clone();
    let shutting_down = std::thread::spawn(move || port.shutdown(Duration::from_millis(20)));
    assert_eq!(rig.next().kind, OperationKind::Draining);
    let mut waiting = vec![receive, timer];
    while !waiting.is_empty() {
        let completion = rig.next();
        let place = waiting.iter().position(|&token| token == completion.token);
        waiting.swap_remove(place.expect("only what was in flight ends"));
        assert_eq!(failure(&completion), ErrorKind::Cancelled);
    }
    let rejected = rig.worker.submit(handle, Operation::ReceiveStream).expect_err("it is over");
    assert_eq!(rejected.error.kind(), ErrorKind::ShuttingDown);
    // The order of the close and the shutdown packet is open: the handle was not in flight.
    assert_eq!(rig.next().kind, OperationKind::Shutdown);
    rig.leave();
    let report = shutting_down.join().unwrap();
    assert!(report.cancelled && report.workers_left == 0, "{report}");
    assert_eq!((report.operations_left, report.buffers_left), (0, 0));
}

fn cancel_all_needs_no_deadline(rig: &mut Rig) {
    let mut rig = rig.fresh();
    let (handle, mut peer) = rig.pair();
    let stream = rig.submit(handle, Operation::ReceiveStream);
    peer.write_all(b"x").unwrap();
    let item = rig.next_of(stream);
    assert!(matches!(item.payload, Payload::Buffer(_)));
    drop(item);
    rig.port.cancel_all();
    let end = rig.next_of(stream);
    assert_eq!((failure(&end), end.last), (ErrorKind::Cancelled, true));
    assert_eq!(rig.next().kind, OperationKind::Draining);
    assert_eq!(rig.next().kind, OperationKind::Shutdown);
    let port = rig.port.clone();
    rig.leave();
    assert_eq!(port.buffers().in_use(), 0);
}

fn a_queue_can_have_a_new_worker_after_its_last_one_left(rig: &mut Rig) {
    let rig = rig.fresh();
    let port = rig.port.clone();
    rig.leave();
    port.post(0, Packet { key: 3, ..Packet::default() }).unwrap();
    let mut worker = port.worker().unwrap();
    let mut completions = Vec::new();
    worker.wait(&mut completions, Some(PATIENCE)).unwrap();
    assert_eq!((completions.len(), completions[0].kind, completions[0].key), (1, OperationKind::Post, 3));
    let token = worker.submit(Handle::NONE, Operation::Timer { after: Duration::from_millis(1) }).unwrap();
    completions.clear();
    worker.wait(&mut completions, Some(PATIENCE)).unwrap();
    assert_eq!((completions.len(), completions[0].token), (1, token));
}

fn what_does_not_come_home_is_left_alone_and_counted(rig: &mut Rig) {
    let mut rig = rig.fresh();
    let (release, held) = mpsc::channel::<()>();
    let (begun, running) = mpsc::channel::<()>();
    let (ended, seen) = mpsc::channel::<()>();
    let work = Box::new(move || -> Box<dyn std::any::Any + Send> {
        begun.send(()).unwrap();
        let _ = held.recv();
        ended.send(()).unwrap();
        Box::new(())
    });
    rig.submit(Handle::NONE, Operation::Call { work });
    running.recv_timeout(PATIENCE).unwrap();
    let port = rig.port.clone();
    // Waits for some seconds, and no longer.
    rig.leave();
    assert_eq!(port.shutdown(Duration::ZERO).operations_left, 1);
    drop(release);
    seen.recv_timeout(PATIENCE).unwrap();
}

fn a_worker_that_stays_and_buffers_that_are_kept_are_counted(rig: &mut Rig) {
    let mut rig = rig.fresh();
    let kept = [rig.port.buffers().acquire(10).unwrap(), rig.port.buffers().acquire(10).unwrap()];
    let (handle, _peer) = rig.pair();
    // Nobody waits: it cannot come home while the worker neither waits nor leaves.
    rig.submit(handle, Operation::ReceiveStream);
    let mut arrived = Vec::new();
    rig.worker.wait(&mut arrived, Some(Duration::ZERO)).unwrap();
    let report = rig.port.shutdown(Duration::ZERO);
    assert!(report.cancelled && !report.is_clean());
    assert_eq!((report.workers_left, report.operations_left), (1, 1), "{report}");
    // The two, and what the backend keeps ready for the stream.
    assert!(report.buffers_left >= 2, "{report}");
    let text = report.to_string();
    assert!(text.contains("1 workers") && text.contains("1 operations"), "{text}");
    // Late is not never: once all has come home, the report is as it should be.
    let port = rig.leave();
    drop(kept);
    let report = port.shutdown(Duration::ZERO);
    assert_eq!((report.workers_left, report.operations_left, report.buffers_left), (0, 0, 0), "{report}");
}

/// Threads post all through the end: what was not refused, a worker gets.
fn every_packet_that_was_accepted_comes_before_the_last_one(rig: &mut Rig) {
    for round in 0..200 {
        let mut rig = rig.fresh();
        let posting: Vec<_> = (0..2)
            .map(|_| {
                let port = rig.port.clone();
                std::thread::spawn(move || {
                    let mut accepted = 0;
                    loop {
                        match port.post(0, Packet::default()) {
                            Ok(()) => accepted += 1,
                            Err((error, _)) if error.kind() == ErrorKind::QueueFull => {
                                std::thread::yield_now()
                            }
                            Err(_) => return accepted,
                        }
                    }
                })
            })
            .collect();
        match round % 2 {
            0 => rig.port.begin_shutdown(),
            _ => rig.port.cancel_all(),
        }
        let mut received = 0;
        loop {
            match rig.next().kind {
                OperationKind::Post => received += 1,
                OperationKind::Shutdown => break,
                _ => {}
            }
        }
        rig.leave();
        let accepted: usize = posting.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(received, accepted, "in round {round}");
    }
}

/// Of four queues one is served; one was, one never is, and the worker of one never waits.
fn a_shutdown_waits_for_no_worker_that_left_or_never_came(rig: &mut Rig) {
    for one_never_waits in [false, true] {
        let mut configuration = configuration(rig.port.backend());
        configuration.queues = 4;
        let port = Port::new(configuration).unwrap();
        let (ready, started) = mpsc::channel();
        let serving = port.clone();
        let serve = std::thread::spawn(move || {
            let mut worker = serving.worker().unwrap();
            ready.send(()).unwrap();
            let mut completions: Vec<Completion> = Vec::new();
            while completions.iter().all(|completion| completion.kind != OperationKind::Shutdown) {
                worker.wait(&mut completions, None).unwrap();
            }
        });
        started.recv().unwrap();
        let (left, idle) = (port.worker().unwrap(), port.worker().unwrap());
        // To queues that nobody serves, too.
        (1..4).for_each(|queue| port.post(queue, Packet::default()).unwrap());
        drop(left);
        let idle = one_never_waits.then_some(idle);
        let report = port.shutdown(if one_never_waits { Duration::from_millis(20) } else { PATIENCE });
        assert_eq!((report.cancelled, report.workers_left), (one_never_waits, usize::from(one_never_waits)));
        serve.join().unwrap();
        drop(idle);
        assert_eq!(port.shutdown(Duration::ZERO).workers_left, 0);
    }
}
