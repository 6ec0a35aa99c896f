//! What a client asks of a server, and how often.

/// The requests of one workload.
pub struct Load {
    /// What is sent, in turn.
    pub requests: Vec<&'static [u8]>,
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
