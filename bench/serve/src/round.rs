//! One round: one server under one load, measured from outside.

use crate::{
    Failure,
    client::Client,
    load::Load,
    peer::Running,
    usage::{self, Usage},
};
use measure::{child::system_calls, processor};
use std::{net::TcpStream, time::Duration};

const WARM_UP: Duration = Duration::from_millis(300);
const COUNTING: Duration = Duration::from_millis(300);

/// What one round measured.
#[derive(Clone, Debug, Default)]
pub struct Round {
    pub requests_per_s: f64,
    /// Of the server, for each request.
    pub processor_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub switches: f64,
    /// The server's own memory (RssAnon) at the end.
    pub memory_bytes: f64,
    /// What it grew by for each idle connection, where there are some.
    pub idle_bytes: Option<f64>,
    /// Of its processor, how much the server used; and the client.
    pub busy: f64,
    pub client_busy: f64,
    pub calls: Option<f64>,
}

/// Puts `load` on the server for `time`, beside `idle` connections that do nothing.
pub fn run(
    server: &Running,
    load: &Load,
    time: Duration,
    idle: usize,
    counts_calls: bool,
) -> Result<Round, Failure> {
    let before = usage::memory(&server.family)?;
    // Each has asked once: a server may do its work at the first request.
    let held: Vec<TcpStream> = (0..idle).map(|number| hold(server, number)).collect::<Result<_, _>>()?;
    let idle_bytes = (idle > 0)
        .then(|| usage::memory(&server.family).map(|now| now.saturating_sub(before) as f64 / idle as f64));
    let mut client = Client::connect(server.address, load)?;
    client.drive(load, WARM_UP)?;
    let Usage { processor: used, context_switches } = usage::of(&server.family)?;
    let driven = client.drive(load, time)?;
    let after = usage::of(&server.family)?;
    let (requests, seconds) = (driven.requests.max(1) as f64, driven.elapsed.as_secs_f64());
    let quantile_us = |quantile| driven.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
    let mut round = Round {
        requests_per_s: requests / seconds,
        processor_us: (after.processor - used).as_secs_f64() * 1e6 / requests,
        p50_us: quantile_us(0.5),
        p99_us: quantile_us(0.99),
        p999_us: quantile_us(0.999),
        switches: (after.context_switches - context_switches) as f64 / requests,
        memory_bytes: usage::memory(&server.family)? as f64,
        idle_bytes: idle_bytes.transpose()?,
        busy: (after.processor - used).as_secs_f64() / seconds,
        client_busy: driven.used.as_secs_f64() / seconds,
        calls: None,
    };
    if counts_calls {
        // Of the process that does the work; others of its family only look after it.
        let worker = server.family.iter().copied().max_by_key(|process| processor::used_by(*process).ok());
        let (counted, calls) = system_calls(worker.unwrap_or_default(), || client.drive(load, COUNTING));
        let counted = counted?.requests.max(1);
        round.calls = calls.map(|calls| calls as f64 / counted as f64);
    }
    drop(held);
    Ok(round)
}

/// A connection that has asked for a small file once, and got it.
fn hold(server: &Running, number: usize) -> Result<TcpStream, Failure> {
    use socket2::{Domain, Socket, Type};
    use std::{
        io::{Read, Write},
        net::{Ipv4Addr, SocketAddrV4},
    };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // connect(2) gets slow where most ports of an address are taken.
    let own = Ipv4Addr::new(127, 2, (number / 200 % 250) as u8, 1 + (number % 200) as u8);
    socket.bind(&SocketAddrV4::new(own, 0).into())?;
    socket.connect(&server.address.into())?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"GET /missing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = [0; 4096];
    if stream.read(&mut answer)? == 0 {
        return Err("the server ended a connection that was to be idle".into());
    }
    Ok(stream)
}
