//! What a world is: time that passes when nothing else is left, sockets in memory, faults from a seed.

use crate::rig::{configuration, turn, wait, workers};
use completion_port::{
    Backend, BufferChain, Configuration, ErrorKind, Handle, Operation, OperationKind, Payload, Port, Slice,
    simulation::{Faults, Turn, World},
};
use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::{Duration, Instant},
};

fn port(world: &World) -> Port {
    Port::new(configuration(world)).expect("a port in the world")
}

#[test]
fn it_is_there_only_when_asked_for() {
    assert_ne!(Port::new(Configuration::default()).unwrap().backend(), Backend::Simulated);
    assert!(!Port::backends(None).concat().contains("simulated"));
    assert!(Port::backends(Some(Backend::Simulated)).concat().contains("simulated: chosen"));
    let mut configuration = Configuration::default();
    configuration.backend = Some(Backend::Simulated);
    let worker = Port::new(configuration).unwrap().worker().unwrap();
    assert_eq!(worker.port().backend().name(), "simulated");
}

#[test]
fn hours_pass_in_no_time() {
    let world = World::default();
    let port = port(&world);
    let mut worker = port.worker().unwrap();
    let began = Instant::now();
    let day = Duration::from_secs(86_400);
    worker.submit(Handle::NONE, Operation::Timer { after: day }).unwrap();
    let mut completions = Vec::new();
    worker.wait(&mut completions, Some(Duration::ZERO)).unwrap();
    assert_eq!((completions.len(), world.now()), (0, Duration::ZERO), "a wait of no time lets none pass");
    worker.wait(&mut completions, Some(day / 2)).unwrap();
    assert_eq!((completions.len(), world.now(), worker.now()), (0, day / 2, day / 2));
    worker.wait(&mut completions, None).unwrap();
    assert_eq!((completions[0].kind, world.now()), (OperationKind::Timer, day));
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_packet_of_another_thread_ends_a_wait_without_limit() {
    let world = World::default();
    let port = port(&world);
    let mut worker = port.worker().unwrap();
    let poster = std::thread::spawn({
        let port = port.clone();
        move || port.post(0, completion_port::Packet { value: 5, ..Default::default() }).unwrap()
    });
    let mut completions = Vec::new();
    worker.wait(&mut completions, None).unwrap();
    assert!(matches!(&completions[0].payload, Payload::Packet(packet) if packet.value == 5));
    poster.join().unwrap();
}

#[test]
fn a_listening_socket_of_the_kernel_stands_for_one_of_the_world() {
    let world = World::default();
    let port = port(&world);
    let mut worker = port.worker().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(world.connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let listener = worker.associate(listener, 1).unwrap();
    assert_eq!(worker.local_address(listener), Ok(address));
    worker.submit(listener, Operation::AcceptStream).unwrap();
    let mut peer = world.connect(address).unwrap();
    let accepted = wait(&mut worker);
    let Payload::Accepted(handle) = accepted[0].payload else { panic!("{accepted:?}") };
    assert_eq!(worker.peer_address(handle), Ok(peer.local_addr().unwrap()));
    assert_eq!(worker.local_address(handle), Ok(peer.peer_addr().unwrap()));
    // Answered while the peer waits for it: the kernel needs no worker.
    let chain = BufferChain::from(Slice::from_static(b"hello"));
    worker.submit(handle, Operation::Send { chain }).unwrap();
    worker.submit(handle, Operation::Disconnect).unwrap();
    assert!(wait(&mut worker)[0].result.is_ok());
    let mut all = Vec::new();
    wait(&mut worker);
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"hello");
    worker.submit(listener, Operation::Close).unwrap();
    while wait(&mut worker).iter().all(|completion| completion.kind != OperationKind::Close) {}
    assert_eq!(world.connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn other_sockets_come_back() {
    let world = World::default();
    let port = port(&world);
    let mut worker = port.worker().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (error, _) = worker.associate(stream, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let (foreign, _) = World::default().pair();
    let (error, _) = worker.associate(foreign, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "a socket of another world");
    let mut real = Configuration::default();
    real.backend = Some(Backend::Readiness);
    let (ours, _) = world.pair();
    let (error, _) = Port::new(real).unwrap().worker().unwrap().associate(ours, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn an_end_is_told_from_a_reset() {
    let world = World::default();
    let port = port(&world);
    let mut worker = port.worker().unwrap();
    for reset in [false, true] {
        let (ours, peer) = world.pair();
        let handle = worker.associate(ours, 1).unwrap();
        let buffer = port.buffers().acquire(10).unwrap();
        worker.submit(handle, Operation::Receive { buffer }).unwrap();
        if reset {
            peer.reset()
        } else {
            drop(peer)
        }
        let result = wait(&mut worker)[0].result.map_err(|error| error.kind());
        assert_eq!(result, if reset { Err(ErrorKind::Reset) } else { Ok(0) });
    }
    // Unread bytes make a reset of a close, as on Linux.
    let (ours, mut peer) = world.pair();
    peer.write_all(b"never read").unwrap();
    drop(ours);
    assert_eq!(peer.read(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_stream_blocks_until_it_need_not_and_fails_where_it_would_for_ever() {
    let world = World::default();
    let (mut one, mut other) = world.pair();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            one.write_all(&[7; 1_000_000]).unwrap();
            one.shutdown(Shutdown::Write).unwrap();
        });
        let mut all = Vec::new();
        other.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 1_000_000);
    });
    let port = port(&world);
    let _worker = port.worker().unwrap();
    assert_eq!(one.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    other.set_nonblocking(true);
    one.set_nonblocking(true);
    assert_eq!(one.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_kernel_goes_on_while_the_worker_is_busy() {
    let world = World::default();
    let port = port(&world);
    let mut worker = port.worker().unwrap();
    let (ours, mut peer) = world.pair();
    let handle = worker.associate(ours, 1).unwrap();
    let chain = BufferChain::from(Slice::from_static(&[5; 1_000_000]));
    let token = worker.submit(handle, Operation::Send { chain }).unwrap();
    let mut all = vec![0; 1_000_000];
    peer.read_exact(&mut all).unwrap();
    // Too late.
    worker.cancel(token);
    assert_eq!(wait(&mut worker)[0].result, Ok(1_000_000));
}

#[test]
fn a_cancel_may_lose_its_race() {
    let mut faults = Faults::none();
    faults.cancel_races = 1.0;
    let world = World::new(1, faults);
    let port = port(&world);
    let mut worker = port.worker().unwrap();
    let (ours, mut peer) = world.pair();
    let handle = worker.associate(ours, 1).unwrap();
    let buffer = port.buffers().acquire(10).unwrap();
    let token = worker.submit(handle, Operation::Receive { buffer }).unwrap();
    peer.write_all(b"data").unwrap();
    worker.cancel(token);
    let completion = wait(&mut worker).remove(0);
    assert_eq!((completion.result, &completion.payload.into_buffer().unwrap()[..]), (Ok(4), &b"data"[..]));
}

#[test]
fn clients_and_workers_have_turns() {
    let world = World::default();
    let port = port(&world);
    let mut workers = workers(&port);
    let (ours, mut peer) = world.pair();
    let handle = workers[0].associate(ours, 1).unwrap();
    workers[0].submit(handle, Operation::ReceiveStream).unwrap();
    assert_eq!(turn(&world, &workers), None, "an idle connection is no news");
    world.wake_after(Duration::from_secs(5), 77);
    assert_eq!((turn(&world, &workers), world.now()), (Some(Turn::Client(77)), Duration::from_secs(5)));
    peer.write_all(b"x").unwrap();
    assert_eq!(turn(&world, &workers), Some(Turn::Worker(0)));
    assert_eq!(turn(&world, &workers), Some(Turn::Worker(0)), "it is still its turn");
    wait(&mut workers[0]);
    peer.notify(Some(5));
    assert_eq!(turn(&world, &workers), Some(Turn::Client(5)));
    assert_eq!(turn(&world, &workers), None);
}
