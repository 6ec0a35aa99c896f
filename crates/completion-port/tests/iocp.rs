//! What only completion ports of Windows have: several workers on one queue, and completions that take no way through it.
#![cfg(windows)]

#[path = "iocp/blocking.rs"]
mod blocking;
#[path = "iocp/connecting.rs"]
mod connecting;
#[path = "iocp/datagrams.rs"]
mod datagrams;
#[path = "iocp/outstanding.rs"]
mod outstanding;
#[path = "iocp/topologies.rs"]
mod topologies;
#[path = "iocp/turmoil.rs"]
mod turmoil;

use completion_port::{
    Backend, BufferClass, Completion, Configuration, ErrorKind, Handle, Operation, OperationKind, Packet,
    Payload, Port, Slice, Token, Worker,
};
use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(50);

fn configuration(workers: usize) -> Configuration {
    let mut configuration = Configuration::default();
    configuration.backend = Some(Backend::Iocp);
    configuration.queues = 1;
    configuration.workers_per_queue = workers;
    configuration.operations = 4_096;
    configuration.handles = 256;
    configuration.buffers = vec![BufferClass { capacity: 4_096, count: 1_024 }];
    configuration
}

fn connection(worker: &mut Worker, key: u64) -> (Handle, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    (worker.associate(listener.accept().unwrap().0, key).unwrap(), peer)
}

fn wait(worker: &mut Worker, timeout: Duration) -> Vec<Completion> {
    let mut completions = Vec::new();
    worker.wait(&mut completions, Some(timeout)).unwrap();
    completions
}

/// Runs `other` with a second worker of the port, on a thread of its own.
fn beside(port: &Port, first: impl FnOnce(), other: impl FnOnce(Worker) + Send + 'static) {
    let port = port.clone();
    let second = std::thread::spawn(move || other(port.worker().unwrap()));
    first();
    second.join().unwrap();
}

#[test]
fn what_another_worker_dequeues_waits_for_the_holder() {
    let port = Port::new(configuration(2)).unwrap();
    let mut first = port.worker().unwrap();
    let (handle, mut peer) = connection(&mut first, 1);
    let (other, mut other_peer) = connection(&mut first, 2);
    let receive = |worker: &mut Worker, handle| {
        let buffer = worker.buffers().acquire(1).unwrap();
        worker.submit(handle, Operation::Receive { buffer }).unwrap()
    };
    receive(&mut first, handle);
    peer.write_all(b"1").unwrap();
    assert_eq!(wait(&mut first, PATIENCE).len(), 1);
    // The first worker holds the gate. Two completions of the same handle, and one of another.
    let second = [receive(&mut first, handle), receive(&mut first, handle)];
    receive(&mut first, other);
    let (write, told_to_write) = mpsc::channel();
    let (looked, seen) = mpsc::channel();
    beside(
        &port,
        move || {
            told_to_write.recv_timeout(PATIENCE).unwrap();
            peer.write_all(b"23").unwrap();
            other_peer.write_all(b"x").unwrap();
            seen.recv_timeout(PATIENCE).unwrap();
            let parked = wait(&mut first, PATIENCE);
            assert_eq!(parked.iter().map(|completion| completion.token).collect::<Vec<_>>(), second);
            let bytes: Vec<u8> = parked
                .into_iter()
                .flat_map(|completion| completion.payload.into_buffer().unwrap().to_vec())
                .collect();
            assert_eq!(bytes, b"23");
        },
        move |mut worker| {
            write.send(()).unwrap();
            let got = wait(&mut worker, PATIENCE);
            assert_eq!(got.iter().map(|completion| completion.key).collect::<Vec<_>>(), [2]);
            assert_eq!(wait(&mut worker, GLANCE).len(), 0);
            looked.send(()).unwrap();
        },
    );
    assert_eq!(port.buffers().in_use(), 0);
}

#[test]
fn a_worker_that_leaves_gives_up_its_gates() {
    let port = Port::new(configuration(2)).unwrap();
    let mut first = port.worker().unwrap();
    let (handle, mut peer) = connection(&mut first, 1);
    let buffer = port.buffers().acquire(8).unwrap();
    first.submit(handle, Operation::Receive { buffer }).unwrap();
    first
        .submit_with_limit(handle, Operation::Timer { after: Duration::from_millis(300) }, PATIENCE)
        .unwrap();
    peer.write_all(b"1").unwrap();
    assert_eq!(wait(&mut first, PATIENCE).len(), 1);
    first.submit(handle, Operation::Send { chain: Slice::from_static(b"2").into() }).unwrap();
    let (looked, seen) = mpsc::channel();
    beside(
        &port,
        move || {
            seen.recv_timeout(PATIENCE).unwrap();
            drop(first);
        },
        move |mut worker| {
            assert_eq!(wait(&mut worker, GLANCE).len(), 0);
            looked.send(()).unwrap();
            let mut kinds = Vec::new();
            while kinds.len() < 2 {
                kinds.extend(wait(&mut worker, PATIENCE).iter().map(|completion| completion.kind));
            }
            assert_eq!(kinds, [OperationKind::Send, OperationKind::Timer]);
        },
    );
    assert_eq!(port.buffers().in_use(), 0);
}

/// What all workers of the race write down.
#[derive(Default)]
struct Journal {
    /// The worker that holds a handle's completions now, plus one.
    holders: Mutex<HashMap<u64, usize>>,
    /// Sends in the order of submission, and of completion.
    submitted: Mutex<HashMap<u64, Vec<Token>>>,
    completed: Mutex<HashMap<u64, Vec<Token>>>,
    open: AtomicUsize,
}

fn race(worker: &mut Worker, journal: &Journal) {
    let number = worker.number() + 1;
    let mut completions = Vec::new();
    let mut held: Vec<u64> = Vec::new();
    loop {
        // Before the wait, for that is what gives the gates up.
        for key in held.drain(..) {
            journal.holders.lock().unwrap().remove(&key);
        }
        worker.wait(&mut completions, Some(PATIENCE)).unwrap();
        assert!(!completions.is_empty(), "the race got stuck");
        for completion in completions.drain(..) {
            let Completion { handle, key, kind, .. } = completion;
            if handle != Handle::NONE {
                let holder = *journal.holders.lock().unwrap().entry(key).or_insert(number);
                assert_eq!(holder, number, "two workers have completions of handle {key}");
                held.push(key);
            }
            match (kind, completion.payload) {
                (OperationKind::ReceiveStream, Payload::Buffer(buffer)) => {
                    // Each byte goes back with a send of its own: many are in flight on one handle.
                    let slice = buffer.freeze();
                    for place in 0..slice.len() {
                        let chain = slice.slice(place..=place).into();
                        let token = worker.submit(handle, Operation::Send { chain }).unwrap();
                        journal.submitted.lock().unwrap().entry(key).or_default().push(token);
                    }
                }
                (OperationKind::ReceiveStream, _) => {
                    assert_eq!(completion.result, Ok(0));
                    worker.submit(handle, Operation::Close).unwrap();
                }
                (OperationKind::Send, _) => {
                    // A close overtakes what is still to be sent: only the order matters then.
                    journal.completed.lock().unwrap().entry(key).or_default().push(completion.token);
                }
                (OperationKind::Close, _) => {
                    journal.holders.lock().unwrap().remove(&key);
                    held.retain(|&other| other != key);
                    if journal.open.fetch_sub(1, Ordering::SeqCst) == 1 {
                        worker.port().post(0, Packet { value: 3, ..Packet::default() }).unwrap();
                    }
                }
                (OperationKind::Post, Payload::Packet(packet)) => {
                    // One after the other: a worker that found several would keep them.
                    if packet.value > 0 {
                        worker.port().post(0, Packet { value: packet.value - 1, ..packet }).unwrap();
                    }
                    return;
                }
                (kind, payload) => panic!("{kind:?} with {payload:?}"),
            }
        }
    }
}

#[test]
fn racing_workers_share_handles_one_at_a_time_and_in_order() {
    const CONNECTIONS: u64 = 12;
    const ROUNDS: usize = 40;
    let port = Port::new(configuration(4)).unwrap();
    let journal = Journal { open: AtomicUsize::new(CONNECTIONS as usize), ..Journal::default() };
    let mut first = port.worker().unwrap();
    let mut peers = Vec::new();
    for key in 0..CONNECTIONS {
        let (handle, peer) = connection(&mut first, key);
        first.submit(handle, Operation::ReceiveStream).unwrap();
        peers.push(peer);
    }
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (port, journal) = (port.clone(), &journal);
            scope.spawn(move || race(&mut port.worker().unwrap(), journal));
        }
        for mut peer in peers.drain(..) {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let sent: Vec<u8> = (0..17).map(|place| (round * 17 + place) as u8).collect();
                    peer.write_all(&sent).unwrap();
                    let mut echo = [0; 17];
                    peer.read_exact(&mut echo).unwrap();
                    assert_eq!(echo[..], sent);
                }
            });
        }
        race(&mut first, &journal);
    });
    let (submitted, completed) =
        (journal.submitted.into_inner().unwrap(), journal.completed.into_inner().unwrap());
    assert_eq!(submitted.len(), CONNECTIONS as usize);
    for (key, tokens) in submitted {
        assert_eq!(tokens.len(), ROUNDS * 17);
        assert_eq!(completed[&key], tokens, "sends of handle {key} completed out of order");
    }
    drop(first);
    assert_eq!(port.buffers().in_use(), 0);
}

#[test]
fn each_worker_is_told_of_the_shutdown_once() {
    let port = Port::new(configuration(4)).unwrap();
    let started = std::sync::Barrier::new(5);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let (port, started) = (port.clone(), &started);
                scope.spawn(move || {
                    let mut worker = port.worker().unwrap();
                    started.wait();
                    let mut kinds = Vec::new();
                    while kinds.last() != Some(&OperationKind::Shutdown) {
                        kinds.extend(wait(&mut worker, PATIENCE).iter().map(|completion| completion.kind));
                    }
                    assert_eq!(wait(&mut worker, GLANCE).len(), 0);
                    kinds
                })
            })
            .collect();
        started.wait();
        let report = port.shutdown(PATIENCE);
        assert!(report.is_clean(), "{report}");
        for worker in workers {
            assert_eq!(worker.join().unwrap(), [OperationKind::Draining, OperationKind::Shutdown]);
        }
    });
}

#[test]
fn a_handle_that_completes_at_once_leaves_room_for_others() {
    let mut configuration = configuration(1);
    (configuration.batch, configuration.inline_budget) = (1, 4);
    let port = Port::new(configuration).unwrap();
    let mut worker = port.worker().unwrap();
    let (busy, mut busy_peer) = connection(&mut worker, 1);
    let (patient, mut patient_peer) = connection(&mut worker, 2);
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        busy_peer.read_to_end(&mut all).unwrap();
        all.len()
    });
    let buffer = port.buffers().acquire(8).unwrap();
    worker.submit(patient, Operation::Receive { buffer }).unwrap();
    patient_peer.write_all(b"here").unwrap();
    let mut rounds = 0;
    loop {
        worker.submit(busy, Operation::Send { chain: Slice::from_static(b"again").into() }).unwrap();
        let completion = wait(&mut worker, PATIENCE).pop().unwrap();
        if completion.key == 2 {
            break;
        }
        rounds += 1;
        assert!(rounds < 1_000, "the other handle never had its turn");
    }
    worker.close(busy);
    drop(worker);
    assert!(reading.join().unwrap() >= rounds * 5);
}

#[test]
fn deadlines_of_racing_workers_end_each_operation_once() {
    const ROUNDS: usize = 2_000;
    let port = Port::new(configuration(4)).unwrap();
    let left = AtomicUsize::new(ROUNDS);
    let mut first = port.worker().unwrap();
    let in_flight = Mutex::new(std::collections::HashSet::new());
    let again = |worker: &mut Worker, handle| {
        let buffer = worker.buffers().acquire(64).unwrap();
        let limit = Duration::from_micros(300);
        let mut in_flight = in_flight.lock().unwrap();
        in_flight.insert(worker.submit_with_limit(handle, Operation::Receive { buffer }, limit).unwrap());
    };
    let mut peers = Vec::new();
    for key in 0..8 {
        let (handle, peer) = connection(&mut first, key);
        again(&mut first, handle);
        peers.push(peer);
    }
    let run = |worker: &mut Worker| {
        let mut completions = Vec::new();
        while left.load(Ordering::SeqCst) > 0 {
            worker.wait(&mut completions, Some(GLANCE)).unwrap();
            for completion in completions.drain(..) {
                assert!(in_flight.lock().unwrap().remove(&completion.token), "{completion:?} came twice");
                match completion.result {
                    Ok(bytes) => assert!(bytes > 0),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
                }
                if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                    again(worker, completion.handle);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (port, run) = (port.clone(), &run);
            scope.spawn(move || run(&mut port.worker().unwrap()));
        }
        let (peers, left) = (&mut peers, &left);
        scope.spawn(move || {
            while left.load(Ordering::SeqCst) > 0 {
                for peer in peers.iter_mut() {
                    peer.write_all(b"x").unwrap();
                    std::thread::yield_now();
                }
            }
        });
        run(&mut first);
    });
    drop(first);
    assert_eq!(port.buffers().in_use(), 0);
}

#[test]
fn accepts_that_the_port_posts_leave_room_for_operations() {
    let mut limits = configuration(1);
    (limits.operations, limits.handles, limits.accepts_posted) = (4, 4, 4_096);
    let port = Port::new(limits).unwrap();
    let mut worker = port.worker().unwrap();
    let listeners: Vec<_> = (0..2)
        .map(|_| {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let handle = worker.associate(listener, 0).unwrap();
            worker.submit(handle, Operation::AcceptStream).unwrap();
            handle
        })
        .collect();
    for _ in 0..2 {
        worker.submit(Handle::NONE, Operation::Timer { after: PATIENCE }).unwrap();
    }
    for handle in listeners {
        worker.submit(handle, Operation::Close).unwrap();
    }
}
