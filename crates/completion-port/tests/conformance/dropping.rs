//! Dropping: every public type, at every point, on any thread. Buffers come home, descriptors are closed, and nothing is touched that
//! somebody else still has.

use crate::{
    harness::{PATIENCE, Rig, configuration, file_with, pattern},
    peer::Peer,
    suite::Case,
};
use completion_port::{
    BufferChain, BufferClass, Completion, Directory, ErrorKind, Handle, OpenOptions, Operation, Packet,
    Payload, Port, Sequencer, Token,
};
use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

pub(crate) const CASES: &[Case] = cases![
    a_worker_after_each_step,
    what_was_taken_and_what_was_refused,
    buffers_outlive_the_port,
    a_port_before_its_worker,
    a_directory_while_it_is_opened_in,
    packets_and_calls_that_nobody_takes,
    completions_on_other_threads_while_the_worker_leaves,
    a_stream_s_buffers_after_its_handle,
    accepted_and_opened_handles_that_nobody_took,
    items_that_a_sequencer_holds,
];

/// One more thing in flight.
type Step = fn(&mut Rig, &mut Scene);

/// What the steps leave behind.
struct Scene {
    folder: tempfile::TempDir,
    sockets: Vec<Handle>,
    file: Handle,
    tokens: Vec<Token>,
    peers: Vec<Peer>,
    taken: Vec<Completion>,
}

const STEPS: &[Step] = &[
    |rig, scene| {
        let (listener, address) = rig.listener();
        scene.tokens.push(rig.submit(listener, Operation::AcceptStream));
        scene.peers.extend((0..3).map(|_| rig.connect(address)));
    },
    |rig, scene| {
        let socket = scene.sockets[0];
        scene.tokens.push(rig.receive(socket, 100));
        scene.tokens.push(rig.receive(socket, 200));
    },
    |rig, scene| scene.tokens.push(rig.submit(scene.sockets[1], Operation::ReceiveStream)),
    |_, scene| scene.peers[1].write_all(&pattern(20_000)).unwrap(),
    |rig, scene| scene.taken.push(rig.next()),
    |rig, scene| {
        scene.tokens.push(rig.submit(scene.sockets[0], Operation::Send { chain: Rig::huge_chain() }))
    },
    |rig, scene| {
        let (head, file) = (rig.chain(b"head"), scene.file);
        let operation = Operation::TransmitFile { head, file, offset: 0, length: 5_000 };
        scene.tokens.push(rig.submit(scene.sockets[0], operation));
    },
    |rig, scene| {
        let buffer = rig.port.buffers().acquire(1_000).unwrap();
        let operation = Operation::ReadAt { file: scene.file, offset: 10, buffer };
        scene.tokens.push(rig.submit(scene.sockets[1], operation));
    },
    |rig, scene| {
        let path = scene.folder.path().join("new");
        let options = OpenOptions::new().write(true).create(true);
        let operation = Operation::Open { directory: None, path, options };
        scene.tokens.push(rig.submit(Handle::NONE, operation));
    },
    |rig, scene| scene.tokens.push(rig.submit(Handle::NONE, Operation::Timer { after: PATIENCE * 100 })),
    |rig, scene| {
        let work = Box::new(|| Box::new(()) as Box<_>);
        scene.tokens.push(rig.submit(scene.sockets[0], Operation::Call { work }));
    },
    |rig, scene| scene.taken.push(rig.next()),
    |rig, _| rig.port.post(0, Packet::default()).unwrap(),
    |rig, scene| rig.worker.cancel(scene.tokens[1]),
    |rig, scene| {
        rig.submit(scene.sockets[1], Operation::Close);
    },
    |rig, scene| scene.taken.push(rig.next()),
    |rig, scene| rig.worker.close(scene.file),
    |_, scene| drop(scene.peers.swap_remove(0)),
    |rig, _| rig.port.close(Handle::NONE),
    |rig, _| rig.port.cancel_all(),
    |rig, scene| scene.taken.push(rig.next()),
];

fn scene(rig: &mut Rig) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(rig, folder.path(), &pattern(10_000));
    let (sockets, peers) = (0..2).map(|_| rig.pair()).unzip();
    Scene { folder, sockets, file, tokens: Vec::new(), peers, taken: Vec::new() }
}

/// The same program over and over, each time left one step later, and in each order of drops.
fn a_worker_after_each_step(rig: &mut Rig) {
    for steps in 0..=STEPS.len() {
        for order in 0..3 {
            let mut rig = rig.fresh();
            let mut scene = scene(&mut rig);
            for step in &STEPS[..steps] {
                step(&mut rig, &mut scene);
            }
            let port = rig.port.clone();
            let Scene { folder, taken, mut peers, .. } = scene;
            match order {
                0 => {
                    rig.leave();
                    drop(taken);
                }
                1 => {
                    drop(taken);
                    rig.leave();
                }
                _ => {
                    let elsewhere = std::thread::spawn(move || drop(taken));
                    rig.leave();
                    elsewhere.join().unwrap();
                }
            }
            assert_eq!(port.buffers().in_use(), 0, "after {steps} steps, in order {order}");
            let report = port.shutdown(Duration::ZERO);
            assert_eq!(
                (report.operations_left, report.workers_left),
                (0, 0),
                "after {steps} steps: {report}"
            );
            // Whatever the port had is closed: the peers are at an end, orderly or not.
            for peer in &mut peers {
                let _ = peer.read_to_end(&mut Vec::new());
            }
            drop(folder);
        }
    }
}

fn what_was_taken_and_what_was_refused(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    // Operations that were never submitted.
    drop(Operation::Receive { buffer: rig.port.buffers().acquire(10).unwrap() });
    drop(Operation::Send { chain: rig.chain(b"never") });
    // One that was refused.
    let chain = rig.chain(b"refused");
    drop(rig.worker.submit(Handle::NONE, Operation::Send { chain }).unwrap_err());
    assert_eq!(rig.port.buffers().in_use(), 0);
    // And one that was done.
    peer.write_all(b"x").unwrap();
    let receive = rig.receive(handle, 10);
    let completion = rig.next_of(receive);
    assert_eq!(rig.port.buffers().in_use(), 1);
    drop(completion);
    assert_eq!(rig.port.buffers().in_use(), 0);
    rig.close(handle);
}

fn buffers_outlive_the_port(rig: &mut Rig) {
    let mut rig = rig.fresh();
    let (handle, mut peer) = rig.pair();
    peer.write_all(b"kept").unwrap();
    let receive = rig.receive(handle, 10);
    let buffer = rig.next_of(receive).payload.into_buffer().unwrap();
    let buffers = rig.port.buffers().clone();
    let mut other = buffers.acquire(100).unwrap();
    other.extend_from_slice(b"other");
    let slice = buffer.freeze();
    let mut chain = BufferChain::from(slice.slice(1..3));
    chain.push(other).unwrap();
    drop(rig.leave());
    assert_eq!(buffers.in_use(), 2);
    let (first, second) =
        (std::thread::spawn(move || slice.to_vec()), std::thread::spawn(move || chain.len()));
    assert_eq!((first.join().unwrap(), second.join().unwrap()), (b"kept".to_vec(), 7));
    assert_eq!(buffers.in_use(), 0);
    let again = buffers.acquire(10).unwrap();
    drop(buffers);
    drop(again);
}

fn a_port_before_its_worker(rig: &mut Rig) {
    let configuration = configuration(rig.port.backend());
    let network = crate::peer::Network::of(&configuration);
    let port = Port::new(configuration).unwrap();
    let mut worker = port.worker().unwrap();
    drop(port);
    let (source, mut peer) = network.pair();
    let handle = worker.associate(source, 7).unwrap();
    let buffer = worker.buffers().acquire(10).unwrap();
    let token = worker.submit(handle, Operation::Receive { buffer }).unwrap();
    peer.write_all(b"x").unwrap();
    let mut completions = Vec::new();
    worker.wait(&mut completions, Some(PATIENCE)).unwrap();
    assert_eq!((completions[0].token, completions[0].result), (token, Ok(1)));
    worker.submit(handle, Operation::ReceiveStream).unwrap();
    drop(worker);
    drop(completions);
    assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0);
}

fn a_directory_while_it_is_opened_in(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "content").unwrap();
    let mut waiting = Vec::new();
    for options in [OpenOptions::new().read(true), OpenOptions::new().write(true).create(true)] {
        for _ in 0..10 {
            let directory = Some(Arc::new(Directory::open(folder.path()).unwrap()));
            let path = "file".into();
            waiting.push(rig.submit(Handle::NONE, Operation::Open { directory, path, options }));
        }
    }
    for token in waiting {
        match rig.next_of(token).payload {
            Payload::Opened { file, .. } => rig.close(file),
            other => panic!("{other:?}"),
        }
    }
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn packets_and_calls_that_nobody_takes(rig: &mut Rig) {
    let mut limits = configuration(rig.port.backend());
    limits.pool_threads = 1;
    let mut rig = Rig::new(limits);
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = || Counted(Arc::clone(&dropped));
    for _ in 0..10 {
        rig.port.post(0, Packet { object: Some(Box::new(counted())), ..Packet::default() }).unwrap();
    }
    let (release, held) = mpsc::channel::<()>();
    let blocking = Box::new(move || Box::new(held.recv_timeout(PATIENCE).is_ok()) as Box<_>);
    rig.submit(Handle::NONE, Operation::Call { work: blocking });
    for _ in 0..10 {
        let captured = counted();
        let work = Box::new(move || Box::new(captured) as Box<_>);
        rig.submit(Handle::NONE, Operation::Call { work });
    }
    release.send(()).unwrap();
    let port = rig.leave();
    // Calls that waited were not run, or their result was dropped; packets may wait for another worker.
    let in_calls = dropped.load(Ordering::SeqCst);
    assert!(in_calls >= 10, "only {in_calls} were dropped");
    drop(port);
    assert_eq!(dropped.load(Ordering::SeqCst), 20);
}

fn completions_on_other_threads_while_the_worker_leaves(rig: &mut Rig) {
    for _ in 0..20 {
        let mut rig = rig.fresh();
        let (give, take) = mpsc::channel::<Completion>();
        let dropping = std::thread::spawn(move || take.into_iter().map(drop).count());
        let (handle, mut peer) = rig.pair();
        rig.submit(handle, Operation::ReceiveStream);
        for _ in 0..8 {
            peer.write_all(&[1; 3_000]).unwrap();
            give.send(rig.next()).unwrap();
        }
        let port = rig.leave();
        drop(give);
        assert_eq!(dropping.join().unwrap(), 8);
        assert_eq!(port.buffers().in_use(), 0);
    }
}

fn a_stream_s_buffers_after_its_handle(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    let stream = rig.submit(handle, Operation::ReceiveStream);
    peer.write_all(b"kept").unwrap();
    let kept = rig.next_of(stream).payload.into_buffer().unwrap();
    let close = rig.submit(handle, Operation::Close);
    assert!(rig.next_of(stream).last);
    assert_eq!(rig.next_of(close).result, Ok(0));
    // Others get other memory.
    let (other, mut writer) = rig.pair();
    let receive = rig.receive(other, 4_096);
    writer.write_all(b"else").unwrap();
    assert_eq!(&rig.next_of(receive).payload.into_buffer().unwrap()[..], b"else");
    assert_eq!(&kept[..], b"kept");
    rig.close(other);
}

fn accepted_and_opened_handles_that_nobody_took(rig: &mut Rig) {
    let mut rig = rig.fresh();
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(&mut rig, folder.path(), b"content");
    let (listener, address) = rig.listener();
    let stream = rig.submit(listener, Operation::AcceptStream);
    let mut peers: Vec<_> = (0..4).map(|_| rig.connect(address)).collect();
    drop(rig.next_of(stream));
    assert!(rig.worker.set_key(file, 5).is_ok());
    // The handles are still open, though nobody knows their names; they are closed with the worker.
    rig.finish();
    for peer in &mut peers {
        assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0);
    }
}

fn items_that_a_sequencer_holds(rig: &mut Rig) {
    let mut sequencer = Sequencer::new(8);
    for number in [3u8, 1, 2] {
        let mut buffer = rig.port.buffers().acquire(10).unwrap();
        buffer.extend_from_slice(&[number]);
        sequencer.put(u64::from(number), buffer).unwrap();
    }
    assert_eq!(rig.port.buffers().in_use(), 3);
    drop(sequencer);
    assert_eq!(rig.port.buffers().in_use(), 0);
    // A pool that is empty says so, and has its buffers again afterwards.
    let mut limits = configuration(rig.port.backend());
    limits.buffers = vec![BufferClass { capacity: 4_096, count: 2 }];
    let rig = Rig::new(limits);
    for _ in 0..3 {
        let held: Vec<_> = (0..2).map(|_| rig.port.buffers().acquire(1).unwrap()).collect();
        assert_eq!(rig.port.buffers().acquire(1).unwrap_err().kind(), ErrorKind::BuffersExhausted);
        drop(held);
    }
    rig.finish();
}
