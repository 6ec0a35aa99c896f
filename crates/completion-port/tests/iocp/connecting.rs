//! Connecting with first bytes: in the call where they are one piece, else behind it.

use super::{PATIENCE, configuration, wait};
use completion_port::{Address, BufferChain, ErrorKind, Operation, Port, Slice};
use socket2::{Domain, Socket, Type};
use std::{
    io::Read,
    net::{TcpListener, UdpSocket},
    path::Path,
};

fn chain(pieces: usize) -> BufferChain {
    let mut chain = BufferChain::new();
    for _ in 0..pieces {
        chain.push(Slice::from_static(b"piece ")).unwrap();
    }
    chain
}

#[test]
fn first_bytes_arrive_however_many_pieces_they_are() {
    let port = Port::new(configuration(1)).unwrap();
    let mut worker = port.worker().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    for pieces in [0, 1, 3, 40] {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let handle = worker.associate(socket, 1).unwrap();
        let connect = Operation::Connect { address: address.clone(), first: chain(pieces) };
        worker.submit(handle, connect).unwrap();
        let bytes = 6 * pieces;
        let connected = wait(&mut worker, PATIENCE).remove(0);
        assert_eq!(connected.result, Ok(bytes as u64));
        assert_eq!(connected.payload.into_chain().unwrap().slices().len(), pieces);
        let mut peer = listener.accept().unwrap().0;
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        worker.submit(handle, Operation::Send { chain: Slice::from_static(b"more").into() }).unwrap();
        assert_eq!(wait(&mut worker, PATIENCE).remove(0).result, Ok(4));
        worker.close(handle);
        let mut read = String::new();
        peer.read_to_string(&mut read).unwrap();
        assert_eq!(read, "piece ".repeat(pieces) + "more");
    }
}

#[test]
fn a_refused_connection_brings_its_first_bytes_home() {
    let port = Port::new(configuration(1)).unwrap();
    let mut worker = port.worker().unwrap();
    let address = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let handle = worker.associate(Socket::new(Domain::IPV4, Type::STREAM, None).unwrap(), 1).unwrap();
    worker.submit(handle, Operation::Connect { address: address.into(), first: chain(1) }).unwrap();
    let refused = wait(&mut worker, PATIENCE).remove(0);
    assert_eq!(refused.result.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(refused.payload.into_chain().unwrap().len(), 6);
    let path = Address::from(Path::new("socket"));
    worker.submit(handle, Operation::Connect { address: path, first: chain(1) }).unwrap();
    assert_eq!(wait(&mut worker, PATIENCE).remove(0).result.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_socket_of_datagrams_is_connected_in_place() {
    let port = Port::new(configuration(1)).unwrap();
    let mut worker = port.worker().unwrap();
    let peer = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let handle = worker.associate(UdpSocket::bind(("127.0.0.1", 0)).unwrap(), 1).unwrap();
    let address = peer.local_addr().unwrap().into();
    worker.submit(handle, Operation::Connect { address, first: chain(3) }).unwrap();
    assert_eq!(wait(&mut worker, PATIENCE).remove(0).result, Ok(18));
    worker.submit(handle, Operation::Send { chain: chain(1) }).unwrap();
    for expected in [18, 6] {
        assert_eq!(peer.recv(&mut [0; 100]).unwrap(), expected);
    }
}
