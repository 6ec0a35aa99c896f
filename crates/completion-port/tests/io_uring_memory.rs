//! What a ring keeps for the kernel: memory of an operation's own until it is done, and nothing once the ring has gone.
#![cfg(target_os = "linux")]

use completion_port::{
    Backend, BufferChain, Completion, Configuration, ErrorKind, Operation, OperationKind, Port, Worker,
};
use std::{
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);
const CONNECTIONS: usize = 16;

/// One test counts rings, which the others make.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// None where io_uring is forbidden: then there is nothing to test.
fn worker() -> Option<Worker> {
    let mut configuration = Configuration::default();
    configuration.backend = Some(Backend::IoUring);
    configuration.queues = 1;
    match Port::new(configuration) {
        Ok(port) => Some(port.worker().unwrap()),
        Err(error) if error.kind() == ErrorKind::Unsupported => None,
        Err(error) => panic!("{error}"),
    }
}

fn wait_for(worker: &mut Worker, count: usize, kind: OperationKind) -> Vec<Completion> {
    let mut completions = Vec::new();
    while completions.len() < count {
        let found = worker.wait(&mut completions, Some(PATIENCE)).unwrap();
        assert!(found > 0, "{} of {count} came in {PATIENCE:?}", completions.len());
    }
    for completion in &completions {
        assert_eq!((completion.kind, completion.result.is_ok()), (kind, true), "{completion:?}");
    }
    completions
}

/// All in one batch: what the first of them points to is read by the kernel after the last was submitted.
#[test]
fn gathered_sends_of_one_batch_each_have_their_own_vectors() {
    let _alone = alone();
    let Some(mut worker) = worker() else { return };
    let mut peers = Vec::new();
    for number in 0..CONNECTIONS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peers.push(listener.accept().unwrap().0);
        let handle = worker.associate(stream, number as u64).unwrap();
        let mut chain = BufferChain::new();
        for part in 0..10 {
            let mut buffer = worker.buffers().acquire(100).unwrap();
            buffer.extend_from_slice(&[(number * 10 + part) as u8; 100]);
            chain.push(buffer).unwrap();
        }
        worker.submit(handle, Operation::Send { chain }).unwrap();
    }
    drop(wait_for(&mut worker, CONNECTIONS, OperationKind::Send));
    for (number, mut peer) in peers.into_iter().enumerate() {
        let mut bytes = [0; 1_000];
        peer.read_exact(&mut bytes).unwrap();
        for (part, bytes) in bytes.chunks(100).enumerate() {
            assert_eq!(bytes, [(number * 10 + part) as u8; 100], "part {part} of send {number}");
        }
    }
}

#[test]
fn connects_of_one_batch_each_have_their_own_address() {
    let _alone = alone();
    let Some(mut worker) = worker() else { return };
    let listeners: Vec<_> = (0..CONNECTIONS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    for (number, address) in addresses.iter().enumerate() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let handle = worker.associate(socket, number as u64).unwrap();
        let connect = Operation::Connect { address: (*address).into(), first: BufferChain::new() };
        worker.submit(handle, connect).unwrap();
    }
    for completion in wait_for(&mut worker, CONNECTIONS, OperationKind::Connect) {
        let peer = worker.peer_address(completion.handle).unwrap();
        assert_eq!(peer, addresses[completion.key as usize]);
    }
}

fn rings() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().contains("[io_uring]")).count()
}

#[test]
fn a_worker_that_leaves_takes_its_ring_along() {
    let _alone = alone();
    let before = rings();
    for _ in 0..4 {
        let Some(worker) = worker() else { return };
        assert_eq!(rings(), before + 1);
        drop(worker);
        assert_eq!(rings(), before);
    }
}
