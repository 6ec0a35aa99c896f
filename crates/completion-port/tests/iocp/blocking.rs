//! Work that blocks a worker of several: the others serve the queue meanwhile.

use super::{PATIENCE, configuration, connection, wait};
use completion_port::{Completion, ErrorKind, Handle, Operation, OperationKind, Payload, Port, Work, Worker};
use std::{
    io::Write,
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, ThreadId},
    time::Duration,
};

/// Work that says that it runs, and waits for a word; returns the thread that it ran on.
fn waiting_work() -> (Work, Receiver<()>, Sender<()>) {
    let (begun, running) = mpsc::channel();
    let (release, held) = mpsc::channel();
    let work = Box::new(move || {
        begun.send(()).unwrap();
        held.recv_timeout(PATIENCE).unwrap();
        Box::new(thread::current().id()) as Box<_>
    });
    (work, running, release)
}

fn thread_of(completion: Completion) -> ThreadId {
    assert_eq!((completion.kind, completion.result), (OperationKind::Call, Ok(0)));
    let Payload::Returned(returned) = completion.payload else { panic!("nothing was returned") };
    *returned.downcast().unwrap()
}

/// Runs `other` with a second worker of the port, which is there before `first` begins.
fn beside(port: &Port, first: impl FnOnce(), other: impl FnOnce(Worker) + Send + 'static) {
    let (seated, there) = mpsc::channel();
    let port = port.clone();
    let second = thread::spawn(move || {
        let worker = port.worker().unwrap();
        seated.send(()).unwrap();
        other(worker);
    });
    there.recv_timeout(PATIENCE).unwrap();
    first();
    second.join().unwrap();
}

fn receive(worker: &mut Worker, handle: Handle) {
    let buffer = worker.buffers().acquire(10).unwrap();
    worker.submit(handle, Operation::Receive { buffer }).unwrap();
}

#[test]
fn a_connection_is_served_while_a_worker_blocks_on_its_own_thread() {
    let port = Port::new(configuration(2)).unwrap();
    let mut first = port.worker().unwrap();
    let (own, _peer) = connection(&mut first, 1);
    let (other, mut other_peer) = connection(&mut first, 2);
    receive(&mut first, other);
    let (work, running, release) = waiting_work();
    beside(
        &port,
        move || {
            first.blocking(own, work).unwrap();
            let done = wait(&mut first, PATIENCE).remove(0);
            assert_eq!((done.handle, done.key), (own, 1));
            assert_eq!(thread_of(done), thread::current().id());
        },
        move |mut worker| {
            running.recv_timeout(PATIENCE).unwrap();
            other_peer.write_all(b"hello").unwrap();
            let served = wait(&mut worker, PATIENCE).remove(0);
            assert_eq!((served.key, served.result), (2, Ok(5)));
            release.send(()).unwrap();
        },
    );
}

#[test]
fn what_a_blocked_worker_has_not_handed_out_goes_to_another() {
    let mut limits = configuration(2);
    limits.batch = 1;
    let port = Port::new(limits).unwrap();
    let mut first = port.worker().unwrap();
    let others = [2, 3, 4].map(|key| connection(&mut first, key));
    // Done in the submit: they lie ready at the desk of this worker, and its batch is of one.
    for (handle, _) in &others {
        let chain = completion_port::Slice::from_static(b"x").into();
        first.submit(*handle, Operation::Send { chain }).unwrap();
    }
    // Its timer too would end by its hand.
    first.submit(Handle::NONE, Operation::Timer { after: Duration::from_millis(20) }).unwrap();
    let (work, running, release) = waiting_work();
    beside(
        &port,
        move || {
            let own = wait(&mut first, PATIENCE).remove(0);
            assert_eq!(own.key, 2);
            first.blocking(Handle::NONE, work).unwrap();
            let done = wait(&mut first, PATIENCE).remove(0);
            assert_eq!(thread_of(done), thread::current().id());
        },
        move |mut worker| {
            running.recv_timeout(PATIENCE).unwrap();
            let mut came = Vec::new();
            while came.len() < 3 {
                came.extend(
                    wait(&mut worker, PATIENCE).iter().map(|completion| (completion.kind, completion.key)),
                );
            }
            came.sort_unstable_by_key(|(_, key)| *key);
            assert_eq!(came, [(OperationKind::Timer, 0), (OperationKind::Send, 3), (OperationKind::Send, 4)]);
            release.send(()).unwrap();
        },
    );
}

#[test]
fn the_last_worker_that_does_not_block_leaves_the_work_to_the_pool() {
    let port = Port::new(configuration(2)).unwrap();
    let mut first = port.worker().unwrap();
    let (other, mut other_peer) = connection(&mut first, 2);
    receive(&mut first, other);
    let (work, running, release) = waiting_work();
    let (more_work, more_running, more_release) = waiting_work();
    beside(
        &port,
        move || {
            first.blocking(Handle::NONE, work).unwrap();
            drop(first);
        },
        move |mut worker| {
            running.recv_timeout(PATIENCE).unwrap();
            worker.blocking(other, more_work).unwrap();
            more_running.recv_timeout(PATIENCE).unwrap();
            other_peer.write_all(b"hello").unwrap();
            assert_eq!(wait(&mut worker, PATIENCE).remove(0).result, Ok(5));
            more_release.send(()).unwrap();
            assert_ne!(thread_of(wait(&mut worker, PATIENCE).remove(0)), thread::current().id());
            release.send(()).unwrap();
            let left = wait(&mut worker, PATIENCE).remove(0);
            assert_ne!(thread_of(left), thread::current().id());
        },
    );
}

#[test]
fn a_panic_in_place_is_reported_and_no_more() {
    let port = Port::new(configuration(2)).unwrap();
    let mut first = port.worker().unwrap();
    let (own, _peer) = connection(&mut first, 1);
    beside(
        &port,
        move || {
            first.blocking(own, Box::new(|| panic!("on purpose"))).unwrap();
            let done = wait(&mut first, PATIENCE).remove(0);
            assert_eq!(done.result.unwrap_err().kind(), ErrorKind::Other);
            // A stale handle, and a port that cancels everything, take none.
            first.close(own);
            let rejected = first.blocking(own, Box::new(|| unreachable!())).unwrap_err();
            assert_eq!(rejected.error.kind(), ErrorKind::StaleHandle);
            first.port().cancel_all();
            let rejected = first.blocking(Handle::NONE, Box::new(|| unreachable!())).unwrap_err();
            assert_eq!(rejected.error.kind(), ErrorKind::ShuttingDown);
        },
        drop,
    );
}

/// What runs cannot be cancelled, and what it is for is closed when it is done.
#[test]
fn a_close_waits_for_the_work() {
    let port = Port::new(configuration(2)).unwrap();
    let mut first = port.worker().unwrap();
    let (own, _peer) = connection(&mut first, 1);
    let (work, running, release) = waiting_work();
    beside(
        &port,
        move || {
            first.blocking(own, work).unwrap();
            let mut kinds = Vec::new();
            while kinds.last() != Some(&OperationKind::Close) {
                kinds.extend(wait(&mut first, PATIENCE).iter().map(|completion| completion.kind));
            }
            assert_eq!(kinds, [OperationKind::Call, OperationKind::Close]);
        },
        move |mut worker| {
            running.recv_timeout(PATIENCE).unwrap();
            worker.submit(own, Operation::Close).unwrap();
            assert_eq!(wait(&mut worker, super::GLANCE).len(), 0);
            drop(worker);
            release.send(()).unwrap();
        },
    );
}
