//! A process that runs out of descriptors goes on accepting once it has some again. Alone in its file: the limit is the whole
//! process's.

#![cfg(unix)]

use completion_port::{Backend, Configuration, ErrorKind, Handle, Operation, Payload, Port, Worker};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

/// Lets the process have no descriptor more than it has now.
fn allow_no_more() -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    // The next one would get the lowest number that is free.
    let next = File::open("/dev/null").unwrap().as_raw_fd();
    setrlimit(Resource::Nofile, Rlimit { current: Some(next as u64), ..before }).unwrap();
    before
}

/// Waits for the next connection.
fn accepted(worker: &mut Worker) -> Handle {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let mut arrived = Vec::new();
        assert!(Instant::now() < until, "no connection came");
        worker.wait(&mut arrived, Some(Duration::from_secs(20))).unwrap();
        for completion in arrived {
            match completion.payload {
                Payload::Accepted(handle) => return handle,
                _ => assert!(completion.result.is_ok(), "{completion:?}"),
            }
        }
    }
}

fn expect_none(worker: &mut Worker) {
    let mut arrived = Vec::new();
    worker.wait(&mut arrived, Some(Duration::from_millis(150))).unwrap();
    assert!(arrived.is_empty(), "{arrived:?}");
}

#[test]
fn an_accept_stream_outlives_a_lack_of_descriptors() {
    let mut configuration = Configuration::default();
    configuration.backend = Some(Backend::Readiness);
    configuration.queues = 1;
    let port = Port::new(configuration).unwrap();
    let mut worker = port.worker().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = worker.associate(listener, 0).unwrap();
    // The system has made the connections before anybody accepts them.
    let clients: Vec<_> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    let spare = File::open("/dev/null").unwrap();

    let accepts = worker.submit(listener, Operation::AcceptStream).unwrap();
    let first = accepted(&mut worker);
    // The others are in the same turn, and may have come with it.
    let mut others = Vec::new();
    worker.wait(&mut others, Some(Duration::from_millis(50))).unwrap();
    let more: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();

    let before = allow_no_more();
    expect_none(&mut worker);
    // A close of the port's own makes room for one.
    worker.close(first);
    let second = accepted(&mut worker);
    expect_none(&mut worker);
    // One that the port does not hear of, too.
    drop(spare);
    accepted(&mut worker);
    expect_none(&mut worker);
    setrlimit(Resource::Nofile, before).unwrap();
    accepted(&mut worker);

    worker.close(second);
    worker.cancel(accepts);
    let mut arrived = Vec::new();
    while !arrived.iter().any(|completion: &completion_port::Completion| completion.last) {
        assert!(worker.wait(&mut arrived, Some(Duration::from_secs(20))).unwrap() > 0);
    }
    assert_eq!(arrived.last().unwrap().result.unwrap_err().kind(), ErrorKind::Cancelled);
    drop((clients, more));
}
