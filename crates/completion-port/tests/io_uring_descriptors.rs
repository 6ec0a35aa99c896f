//! What happens when the process runs out of descriptors. Alone in its process, whose limit it lowers.
#![cfg(target_os = "linux")]

use completion_port::{Backend, Configuration, ErrorKind, Operation, Payload, Port};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fs::File,
    net::{TcpListener, TcpStream},
    time::Duration,
};

#[test]
fn an_accept_stream_without_descriptors_waits_for_a_close() {
    let mut configuration = Configuration::default();
    configuration.backend = Some(Backend::IoUring);
    configuration.queues = 1;
    let port = match Port::new(configuration) {
        Ok(port) => port,
        Err(error) if error.kind() == ErrorKind::Unsupported => return,
        Err(error) => panic!("{error}"),
    };
    let mut worker = port.worker().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = worker.associate(listener, 0).unwrap();
    let accepts = worker.submit(listener, Operation::AcceptStream).unwrap();
    let peers: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Three more descriptors can be had, and no fourth.
    let limits = getrlimit(Resource::Nofile);
    let mut fillers: Vec<File> = (0..3).map(|_| File::open("/dev/null").unwrap()).collect();
    let highest = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(highest.max(16)), ..limits }).unwrap();
    while let Ok(file) = File::open("/dev/null") {
        fillers.push(file);
    }
    let lines = Port::backends(Some(Backend::IoUring));
    assert!(lines.iter().any(|line| line.contains("ulimit -n")), "{lines:?}");
    fillers.truncate(fillers.len() - 3);
    let mut connections = Vec::new();
    let mut completions = Vec::new();
    for _ in 0..4 {
        worker.wait(&mut completions, Some(Duration::from_millis(20))).unwrap();
    }
    assert_eq!(completions.len(), 3, "{completions:?}");
    let mut seen = 0;
    loop {
        for completion in completions.drain(..) {
            assert!(!completion.last, "{completion:?}");
            let Payload::Accepted(connection) = completion.payload else { panic!("not a connection") };
            connections.push(connection);
            seen += 1;
        }
        worker.close(connections.pop().expect("a close let another connection in"));
        if seen == peers.len() {
            break;
        }
        worker.wait(&mut completions, Some(Duration::from_secs(20))).unwrap();
    }
    // A single accept says what is missing instead.
    worker.cancel(accepts);
    while !completions.iter().any(|completion| completion.last) {
        worker.wait(&mut completions, None).unwrap();
    }
    completions.clear();
    let more = peers[0].try_clone();
    while let Ok(file) = File::open("/dev/null") {
        fillers.push(file);
    }
    drop(more);
    fillers.pop();
    let waiting = TcpStream::connect(address);
    while let Ok(file) = File::open("/dev/null") {
        fillers.push(file);
    }
    let token = worker.submit(listener, Operation::Accept).unwrap();
    worker.wait(&mut completions, Some(Duration::from_secs(20))).unwrap();
    assert_eq!(completions[0].token, token);
    assert_eq!(completions[0].result.unwrap_err().kind(), ErrorKind::DescriptorsExhausted);
    setrlimit(Resource::Nofile, limits).unwrap();
    drop(waiting);
}
