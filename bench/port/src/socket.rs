//! Sockets, the same for everybody.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

/// Not what the system happens to prefer: bbr would pace by timers of its own.
const CONGESTION_CONTROL: &[u8] = b"cubic";

fn new() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // Where the kernel has no cubic, all have the same other one.
    let _ = socket.set_tcp_congestion(CONGESTION_CONTROL);
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// A listener on a port that is free, on all addresses of this machine's own network. What it accepts inherits its options.
pub fn listen() -> io::Result<TcpListener> {
    let socket = new()?;
    socket.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))))?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// A connection from one address to `port` of another.
pub fn connect(from: Ipv4Addr, to: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let socket = new()?;
    // The number is free again at once: a run leaves no ports waiting behind.
    socket.set_linger(Some(std::time::Duration::ZERO))?;
    socket.bind(&SockAddr::from(SocketAddr::from((from, 0))))?;
    socket.connect(&SockAddr::from(SocketAddr::from((to, port))))?;
    Ok(socket.into())
}
