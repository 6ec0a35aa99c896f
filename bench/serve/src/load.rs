//! What a client asks of a server, how often, and what else goes on meanwhile.

/// The requests of one workload.
#[derive(Clone)]
pub struct Load {
    /// What is sent, in turn.
    pub requests: Vec<&'static [u8]>,
    /// The place in `requests` to begin at.
    pub first: usize,
    /// The status that every answer must have.
    pub status: &'static str,
    pub connections: usize,
    pub pace: Pace,
}

/// When the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// When the last of so many has been answered.
    Closed { pipelined: usize },
    /// The same, each on a connection of its own.
    Fresh,
    /// At a fixed rate, whatever the server does: latency counts from the time at which a request was due.
    Open { requests_per_s: f64 },
}

/// What a server has to do or to hold beside a load. Each round measures the load without it and then with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Beside {
    Nothing,
    /// So many connections that have asked once.
    Idle(usize),
    /// Requests for files that are not in memory, from a disk that is slow.
    Cold,
}
