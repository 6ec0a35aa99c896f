//! One port with many workers, a port for each worker, and what lies between: the same server works on all.

use super::{PATIENCE, configuration};
use completion_port::{Handle, Operation, OperationKind, Packet, Payload, Port, Worker};
use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

const CONNECTIONS: usize = 24;
const ROUNDS: usize = 30;

/// What the workers of the server write down.
#[derive(Default)]
struct Server {
    served_by: Mutex<HashSet<usize>>,
    closed: AtomicUsize,
}

impl Server {
    fn begin(worker: &mut Worker, handle: Handle) {
        if handle.queue() == worker.queue() {
            worker.submit(handle, Operation::ReceiveStream).unwrap();
        } else {
            let packet = Packet { value: handle.to_bits(), ..Packet::default() };
            worker.port().post(handle.queue(), packet).unwrap();
        }
    }

    fn serve(&self, worker: &mut Worker) {
        let mut completions = Vec::new();
        loop {
            worker.wait(&mut completions, Some(PATIENCE)).unwrap();
            assert!(!completions.is_empty(), "the server got stuck");
            for completion in completions.drain(..) {
                match (completion.kind, completion.payload) {
                    (OperationKind::AcceptStream, Payload::Accepted(handle)) => Self::begin(worker, handle),
                    (OperationKind::Post, Payload::Packet(packet)) => {
                        Self::begin(worker, Handle::from_bits(packet.value));
                    }
                    (OperationKind::ReceiveStream, Payload::Buffer(buffer)) => {
                        self.served_by.lock().unwrap().insert(worker.number());
                        let chain = buffer.freeze().into();
                        worker.submit(completion.handle, Operation::Send { chain }).unwrap();
                    }
                    (OperationKind::ReceiveStream, _) => {
                        worker.submit(completion.handle, Operation::Close).unwrap();
                    }
                    (OperationKind::Close, _) => {
                        self.closed.fetch_add(1, Ordering::SeqCst);
                    }
                    (OperationKind::Shutdown, _) => return,
                    _ => {}
                }
            }
        }
    }
}

fn client(address: SocketAddr, number: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for round in 0..ROUNDS {
        let sent = vec![(number * ROUNDS + round) as u8; 1 + round * 211];
        stream.write_all(&sent).unwrap();
        let mut echo = vec![0; sent.len()];
        stream.read_exact(&mut echo).unwrap();
        assert!(echo == sent);
    }
}

fn run(queues: usize, workers_per_queue: usize, depth: usize) {
    let mut limits = configuration(workers_per_queue);
    limits.queues = queues;
    (limits.receives_outstanding, limits.sends_outstanding) = (depth, depth);
    let port = Port::new(limits).unwrap();
    let server = Server::default();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut first = port.worker().unwrap();
    let listener = first.associate(listener, 0).unwrap();
    first.submit(listener, Operation::AcceptStream).unwrap();
    std::thread::scope(|scope| {
        for _ in 1..queues * workers_per_queue {
            let (mut port, server) = (Some(port.clone()), &server);
            scope.spawn(move || server.serve(&mut port.take().unwrap().worker().unwrap()));
        }
        let clients = scope.spawn(|| {
            std::thread::scope(|scope| {
                for number in 0..CONNECTIONS {
                    scope.spawn(move || client(address, number));
                }
            });
            port.shutdown(PATIENCE)
        });
        server.serve(&mut first);
        drop(first);
        let report = clients.join().unwrap();
        assert!(report.is_clean(), "{queues} queues of {workers_per_queue} workers: {report}");
    });
    assert_eq!(server.closed.into_inner(), CONNECTIONS);
    let served_by = server.served_by.into_inner().unwrap();
    if queues > 1 {
        assert!(served_by.len() >= queues, "{queues} queues, of which {served_by:?} served connections");
    }
}

#[test]
fn one_port_with_two_workers_a_processor() {
    run(1, 2 * std::thread::available_parallelism().unwrap().get(), 1);
    run(1, 2 * std::thread::available_parallelism().unwrap().get(), 8);
}

#[test]
fn a_port_for_each_worker() {
    run(4, 1, 1);
    run(4, 1, 8);
}

#[test]
fn several_ports_with_several_workers() {
    run(2, 3, 4);
}
