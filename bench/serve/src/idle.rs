//! Connections that do nothing.

use crate::Failure;
use socket2::{Domain, Socket, Type};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    time::Duration,
};

/// No answer within that is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many connections; each has asked once, since a server may do its work at the first request.
pub fn hold(server: SocketAddr, count: usize) -> Result<Vec<TcpStream>, Failure> {
    (0..count)
        .map(|number| {
            hold_one(server, number).map_err(|error| format!("idle connection {number}: {error}").into())
        })
        .collect()
}

fn hold_one(server: SocketAddr, number: usize) -> Result<TcpStream, Failure> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // connect(2) gets slow where most ports of an address are taken.
    let own = Ipv4Addr::new(127, 2, (number / 200 % 250) as u8, 1 + (number % 200) as u8);
    socket.bind(&SocketAddrV4::new(own, 0).into())?;
    socket.connect(&server.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /missing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = [0; 4096];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return Err("the server ended it".into()),
            Ok(_) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("no answer within {} s: {error}", PATIENCE.as_secs()).into()),
        }
    }
}
