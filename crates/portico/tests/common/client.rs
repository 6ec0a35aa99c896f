//! A client that speaks plain bytes over a socket, as rude or as slow as a test wants it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// Nothing is waited for longer than this: a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer of the server.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a field; panics if it is there twice.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().skip(1).filter_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        });
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is repeated in\n{}", self.head);
        value
    }

    /// Whether the server says that it closes the connection.
    pub(crate) fn closes(&self) -> bool {
        self.field("Connection") == Some("close")
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In order.
    End,
    /// With a reset.
    Reset,
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Received and not used.
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends where the server may have ended the connection already.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Ends the sending direction; answers still come.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Receives once more. None at the end of the connection.
    fn fill(&mut self) -> Result<usize, Ending> {
        let mut piece = [0; 65_536];
        match self.stream.read(&mut piece) {
            // A signal to the process, such as a debugger's or a stopped machine's.
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Ok(0) => Err(Ending::End),
            Ok(bytes) => {
                self.buffer.extend_from_slice(&piece[..bytes]);
                Ok(bytes)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted) =>
            {
                Err(Ending::Reset)
            }
            Err(error) => panic!("nothing came from the server: {error}"),
        }
    }

    /// The head of the next answer, with the empty line.
    pub(crate) fn try_head(&mut self) -> Result<String, Ending> {
        loop {
            if let Some(place) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..place + 4).collect();
                return Ok(String::from_utf8(head).unwrap());
            }
            self.fill()?;
        }
    }

    #[track_caller]
    pub(crate) fn head(&mut self) -> Answer {
        match self.try_head() {
            Ok(head) => answer(head),
            Err(ending) => {
                panic!("{ending:?} instead of an answer, after {:?}", self.buffer.escape_ascii().to_string())
            }
        }
    }

    /// The next answer, with as much of a body as its Content-Length says.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let length = answer.field("Content-Length").map_or(0, |length| length.parse().unwrap());
        match self.try_body(length) {
            Ok(body) => answer.body = body,
            Err((ending, body)) => {
                panic!("{ending:?} after {} bytes of {length} of\n{}", body.len(), answer.head)
            }
        }
        answer
    }

    /// A body of `length` bytes, or as much of it as came.
    pub(crate) fn try_body(&mut self, length: usize) -> Result<Vec<u8>, (Ending, Vec<u8>)> {
        while self.buffer.len() < length {
            if let Err(ending) = self.fill() {
                return Err((ending, std::mem::take(&mut self.buffer)));
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// GET on this connection, which stays open.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.request("GET", target, "")
    }

    /// A request without a body; `fields` are whole lines.
    #[track_caller]
    pub(crate) fn request(&mut self, method: &str, target: &str, fields: &str) -> Answer {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        if method == "HEAD" { self.head() } else { self.answer() }
    }

    /// PUT or POST with a body of known length.
    #[track_caller]
    pub(crate) fn upload(&mut self, method: &str, target: &str, body: &[u8]) -> Answer {
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        self.send(body);
        self.answer()
    }

    /// Waits until the connection ends; nothing may come before that.
    #[track_caller]
    pub(crate) fn ending(&mut self) -> Ending {
        let ending = loop {
            if let Err(ending) = self.fill() {
                break ending;
            }
        };
        assert!(self.buffer.is_empty(), "more came: {:?}", self.buffer.escape_ascii().to_string());
        ending
    }

    /// Waits for the connection's orderly end.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        assert_eq!(self.ending(), Ending::End);
    }

    /// What came behind the head that was read.
    pub(crate) fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Whether anything is there that was not asked for.
    pub(crate) fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }
}

fn answer(head: String) -> Answer {
    let status =
        head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("not an answer: {head:?}"));
    Answer { status, head, body: Vec::new() }
}
