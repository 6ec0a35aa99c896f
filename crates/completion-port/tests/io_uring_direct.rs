//! Connections in a ring's own table, which take no descriptor of the process.
#![cfg(target_os = "linux")]

use completion_port::{
    Backend, Completion, Configuration, ControlRequest, ErrorKind, Handle, Operation, OperationKind, Payload,
    Port, Token, Worker,
};
use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// Places that the port keeps free.
const SPARE: usize = 64;

struct Rig {
    port: Port,
    worker: Worker,
    listener: Handle,
    address: SocketAddr,
    accepting: Token,
    /// One test counts the descriptors of the process.
    _alone: MutexGuard<'static, ()>,
}

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// None where io_uring is forbidden, which the other tests of the backend tell of.
fn rig(places: usize) -> Option<Rig> {
    let alone = alone();
    let mut configuration = Configuration::default();
    configuration.backend = Some(Backend::IoUring);
    configuration.queues = 1;
    configuration.direct_descriptors = places as u32;
    let port = Port::new(configuration).ok()?;
    let mut worker = port.worker().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = worker.associate(listener, 0).unwrap();
    let accepting = worker.submit(listener, Operation::AcceptStream).unwrap();
    Some(Rig { port, worker, listener, address, accepting, _alone: alone })
}

impl Rig {
    fn next(&mut self, early: &mut VecDeque<Completion>) -> Completion {
        let mut completions = Vec::new();
        while early.is_empty() {
            assert!(self.worker.wait(&mut completions, Some(PATIENCE)).unwrap() > 0, "nothing completes");
            early.extend(completions.drain(..));
        }
        early.pop_front().unwrap()
    }

    fn run(&mut self, handle: Handle, operation: Operation, early: &mut VecDeque<Completion>) -> Completion {
        let token = self.worker.submit(handle, operation).unwrap();
        let mut others = VecDeque::new();
        loop {
            let completion = self.next(early);
            if completion.token == token {
                early.extend(others);
                return completion;
            }
            others.push_back(completion);
        }
    }

    fn accept(&mut self, early: &mut VecDeque<Completion>) -> Handle {
        let completion = self.next(early);
        match completion.payload {
            Payload::Accepted(handle) => handle,
            _ => panic!("{completion:?} is no connection"),
        }
    }

    /// Sends a byte each way.
    fn exchange(&mut self, handle: Handle, peer: &mut TcpStream, early: &mut VecDeque<Completion>) {
        peer.write_all(b"x").unwrap();
        let buffer = self.port.buffers().acquire(16).unwrap();
        let received = self.run(handle, Operation::Receive { buffer }, early);
        assert_eq!(received.result, Ok(1));
        let chain = received.payload.into_buffer().unwrap().into();
        assert_eq!(self.run(handle, Operation::Send { chain }, early).result, Ok(1));
        peer.read_exact(&mut [0]).unwrap();
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_connection_in_the_table_takes_no_descriptor_and_works_like_any_other() {
    let Some(mut rig) = rig(SPARE + 100) else { return };
    let mut early = VecDeque::new();
    let before = open_descriptors();
    let mut connections = Vec::new();
    for _ in 0..50 {
        let peer = TcpStream::connect(rig.address).unwrap();
        connections.push((rig.accept(&mut early), peer));
    }
    // The peers' own; the test runner may have one now and then.
    assert!(open_descriptors() < before + 75, "{before} before, {} now", open_descriptors());
    for (handle, peer) in &mut connections {
        rig.exchange(*handle, peer, &mut early);
        peer.write_all(b"scattered").unwrap();
        let buffers = [4, 16].map(|capacity| rig.port.buffers().acquire(capacity).unwrap()).into();
        let scattered = rig.run(*handle, Operation::ReceiveScatter { buffers }, &mut early);
        assert_eq!(scattered.result, Ok(9));
        // What takes a call that names a descriptor is not to be had.
        assert_eq!(rig.worker.peer_address(*handle).unwrap_err().kind(), ErrorKind::Unsupported);
        let operation = Operation::Control { request: ControlRequest::KeepAlive(None) };
        let told = rig.run(*handle, operation, &mut early);
        assert_eq!(told.result.unwrap_err().kind(), ErrorKind::Unsupported);
        let buffer = rig.port.buffers().acquire(16).unwrap();
        let received = rig.run(*handle, Operation::ReceiveFrom { buffer }, &mut early);
        assert_eq!(received.result.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(rig.run(*handle, Operation::Disconnect, &mut early).result, Ok(0));
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        let closed = rig.run(*handle, Operation::Close, &mut early);
        assert_eq!((closed.kind, closed.result), (OperationKind::Close, Ok(0)));
    }
}

#[test]
fn clients_wait_while_the_table_is_nearly_full_and_none_is_dropped() {
    let Some(mut rig) = rig(SPARE + 10) else { return };
    let mut early = VecDeque::new();
    let mut waiting: VecDeque<_> = (0..60).map(|_| TcpStream::connect(rig.address).unwrap()).collect();
    let mut open = VecDeque::new();
    // In order of arrival: a backlog is a queue.
    while let Some(mut peer) = waiting.pop_front() {
        let handle = rig.accept(&mut early);
        rig.exchange(handle, &mut peer, &mut early);
        open.push_back((handle, peer));
        if open.len() == 10 {
            let accepted = rig.worker.wait(&mut Vec::new(), Some(Duration::from_millis(1))).unwrap();
            assert_eq!(accepted, 0, "the table has ten places that may be used");
            let (handle, mut peer) = open.pop_front().unwrap();
            assert_eq!(rig.run(handle, Operation::Close, &mut early).result, Ok(0));
            // The ring closes it with its next turn.
            let mut more = Vec::new();
            rig.worker.wait(&mut more, Some(Duration::ZERO)).unwrap();
            early.extend(more);
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        }
    }
}

#[test]
fn a_worker_that_leaves_ends_the_connections_of_its_table() {
    let Some(rig) = rig(SPARE + 10) else { return };
    let Rig { port, mut worker, listener, address, accepting, _alone } = rig;
    let mut peer = TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut completions = Vec::new();
    worker.wait(&mut completions, Some(PATIENCE)).unwrap();
    let Payload::Accepted(handle) = completions.remove(0).payload else { panic!("no connection") };
    worker.submit(handle, Operation::ReceiveStream).unwrap();
    worker.cancel(accepting);
    worker.close(listener);
    drop(worker);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    assert_eq!(port.shutdown(Duration::ZERO).operations_left, 0);
}

/// A stream that the kernel goes on with by itself has to be stopped in time.
#[test]
fn a_stream_that_began_with_plenty_of_room_stops_before_the_table_is_full() {
    const PLACES: usize = 8_400;
    let Some(mut rig) = rig(PLACES) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = rig.worker.associate(UnixListener::bind(&path).unwrap(), 0).unwrap();
    let stream = rig.worker.submit(listener, Operation::AcceptStream).unwrap();
    let (mut accepted, mut completions, mut last) = (0, Vec::new(), VecDeque::new());
    for _ in 0..PLACES + 20 {
        last.push_back(UnixStream::connect(&path).unwrap());
        // Those that have left keep their places all the same.
        last.drain(..last.len().saturating_sub(20));
        rig.worker.wait(&mut completions, Some(Duration::ZERO)).unwrap();
        accepted += completions.drain(..).filter(|item| item.token == stream && item.result.is_ok()).count();
    }
    while accepted < PLACES - SPARE {
        assert!(rig.worker.wait(&mut completions, Some(PATIENCE)).unwrap() > 0, "{accepted} were accepted");
        accepted += completions.drain(..).filter(|item| item.token == stream && item.result.is_ok()).count();
    }
    assert_eq!(rig.worker.wait(&mut completions, Some(Duration::from_millis(10))).unwrap(), 0);
    assert_eq!(accepted, PLACES - SPARE);
    for mut peer in last {
        peer.set_nonblocking(true).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it was dropped");
    }
}

/// Handles run out before places do, several listeners share both, and accepts come and go meanwhile.
#[test]
fn listeners_that_share_a_table_lose_no_connection_to_cancels_and_want_of_handles() {
    const LISTENERS: usize = 3;
    const CLIENTS: usize = 300;
    let _alone = alone();
    let mut configuration = Configuration::default();
    configuration.backend = Some(Backend::IoUring);
    (configuration.queues, configuration.handles) = (1, LISTENERS + 4);
    configuration.direct_descriptors = (SPARE + 20) as u32;
    let Ok(port) = Port::new(configuration) else { return };
    let mut worker = port.worker().unwrap();
    let listeners: Vec<_> = (0..LISTENERS)
        .map(|_| {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let address = listener.local_addr().unwrap();
            (worker.associate(listener, 0).unwrap(), address)
        })
        .collect();
    let mut accepting: Vec<Option<Token>> = vec![None; LISTENERS];
    let (mut peers, mut served) = (VecDeque::new(), 0);
    let mut connected = 0;
    while served < CLIENTS {
        while peers.len() < 20 && connected < CLIENTS {
            peers.push_back(TcpStream::connect(listeners[connected % LISTENERS].1).unwrap());
            connected += 1;
        }
        for (number, (listener, _)) in listeners.iter().enumerate() {
            match accepting[number] {
                Some(token) if (served + number).is_multiple_of(5) => worker.cancel(token),
                Some(_) => {}
                None => {
                    let stream = (served + number).is_multiple_of(2);
                    let operation = if stream { Operation::AcceptStream } else { Operation::Accept };
                    accepting[number] = Some(worker.submit(*listener, operation).unwrap());
                }
            }
        }
        let mut completions = Vec::new();
        worker.wait(&mut completions, Some(Duration::from_millis(200))).unwrap();
        for completion in completions {
            if let Payload::Accepted(handle) = completion.payload {
                let chain = completion_port::Slice::from_static(b"x").into();
                worker.submit(handle, Operation::Send { chain }).unwrap();
            }
            if completion.last
                && let Some(place) = accepting.iter().position(|token| *token == Some(completion.token))
            {
                accepting[place] = None;
            }
            if completion.kind == OperationKind::Send {
                assert_eq!(completion.result, Ok(1));
                worker.close(completion.handle);
            }
        }
        peers.retain_mut(|peer| {
            peer.set_nonblocking(true).unwrap();
            match peer.read(&mut [0; 2]) {
                Ok(bytes) => {
                    assert_eq!(bytes, 1, "dropped after {served}");
                    served += 1;
                    false
                }
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "after {served}");
                    true
                }
            }
        });
    }
    drop(worker);
    assert_eq!(port.shutdown(Duration::ZERO).operations_left, 0);
}
