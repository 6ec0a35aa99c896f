//! The limit: a loop that receives and sends, without a look at the request or a file. `bare PORT REQUEST_BYTES BODY_BYTES` answers each
//! REQUEST_BYTES that come with a prepared head and BODY_BYTES.

use ring::{Event, Ring};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, TcpListener},
    os::fd::AsRawFd,
};

#[allow(unsafe_code, reason = "the yardstick is what a program can do that talks to the kernel itself")]
/// It needs `unsafe`, which lives in one crate only.
#[allow(dead_code, reason = "the echo server uses more of it")]
#[path = "../../../../crates/completion-port/benches/bare/ring.rs"]
mod ring;

/// What the loop receives into.
const RECEIVE_BYTES: usize = 4096;
/// Requests that one send answers at most.
const MOST_AT_ONCE: usize = 64;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let words: Vec<usize> = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    let &[port, request_bytes, body_bytes] = &words[..] else {
        return Err("PORT REQUEST_BYTES BODY_BYTES".into());
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {body_bytes}\r\nContent-Type: application/octet-stream\r\nServer: bare\r\n\
         Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nETag: \"0123456789abcdef\"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
         Accept-Ranges: bytes\r\n\r\n"
    );
    let answer = [head.as_bytes(), &vec![b'x'; body_bytes]].concat();
    let answers: &'static [u8] = answer.repeat(if body_bytes > 4096 { 1 } else { MOST_AT_ONCE }).leak();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port as u16))?;
    let mut ring = Ring::new(None)?;
    ring.accept(listener.as_raw_fd())?;
    // Bytes of a request that is not whole.
    let mut begun: HashMap<u32, usize> = HashMap::new();
    loop {
        ring.wait()?;
        while let Some(event) = ring.event() {
            match event {
                Event::Received { connection, bytes, buffer, more } => {
                    ring.provide(buffer);
                    let received = bytes as usize + begun.remove(&connection).unwrap_or(0);
                    let mut due = received / request_bytes;
                    if !received.is_multiple_of(request_bytes) {
                        begun.insert(connection, received % request_bytes);
                    }
                    while due > 0 {
                        let now = due.min(answers.len() / answer.len());
                        ring.send_static(connection, &answers[..now * answer.len()])?;
                        due -= now;
                    }
                    if !more {
                        ring.receive(connection)?;
                    }
                }
                Event::Accepted(Ok(connection)) => ring.receive(connection)?,
                Event::Accepted(Err(code)) => return Err(std::io::Error::from_raw_os_error(code).into()),
                Event::ReceiveEnded { connection, .. } => {
                    begun.remove(&connection);
                    ring.close(connection)?;
                }
                Event::SendFailed | Event::Other => {}
            }
        }
    }
}
