//! The workloads, and the bars of each.

use crate::{
    load::{Beside, Load, Pace},
    site,
};

/// One workload.
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub kind: Kind,
    /// What must hold of ours, beside being ahead of `peer::BEHIND`.
    pub bars: &'static [Bar],
}

/// What must hold of ours. "First" is the server that the others are compared with: nginx.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// Processor time for a request, at most so much of the first's.
    Cost(f64),
    /// At most so much of the bare loop's.
    CostOfLimit(f64),
    /// Requests a second, not below the first's.
    Rate,
    /// Latency, not above the first's, at this quantile.
    Latency(Quantile),
    /// Processor time, at most so much of its own without what it had beside the load.
    OwnCost(f64),
    /// Latency, at most so much of its own without that.
    OwnLatency(Quantile, f64),
    /// Bytes of user memory for each idle connection, at most so many.
    IdleBytes(f64),
    /// The same, below the first's.
    IdleBelowFirst,
    /// Context switches for a request, at most.
    Switches(f64),
    /// System calls for a request, at most.
    Calls(f64),
}

/// One of those that are measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantile {
    P99,
    P999,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A file, again and again.
    File {
        name: &'static str,
        connections: usize,
    },
    /// Another of many files each time.
    Many,
    Pipelined,
    Missing,
    NotModified,
    /// 4 KiB out of 10 MiB.
    Range,
    /// A connection for each request.
    Fresh,
    /// 1 KiB beside so many connections that are idle.
    Idle(usize),
    /// 1 KiB at a share of nginx's highest rate.
    Rate {
        share: f64,
    },
    /// 1 KiB at a fixed rate beside cold files of a slow disk.
    SlowDisk,
    /// 1 MiB sent to the server.
    Upload,
}

/// Requests in one piece, of the workload with pipelining.
pub const PIPELINED: usize = 16;
const CONNECTIONS: usize = 64;
/// Of the hot requests beside cold ones.
const HOT_RATE: f64 = 2_000.0;
const HOT_CONNECTIONS: usize = 32;

/// Bars of the workloads that keep their connections.
const STEADY: [Bar; 2] = [Bar::Switches(0.1), Bar::Calls(1.1)];

/// All of them.
pub const ROWS: &[Row] = &[
    row(
        "1k",
        "1 KiB, keep-alive",
        file("1k.bin"),
        &[Bar::Cost(0.70), Bar::CostOfLimit(1.12), STEADY[0], STEADY[1]],
    ),
    row("10k", "10 KiB, keep-alive", file("10k.bin"), &[Bar::Cost(0.75), STEADY[0], STEADY[1]]),
    row("100k", "100 KiB, keep-alive", file("100k.bin"), &[Bar::Cost(0.85), STEADY[0], STEADY[1]]),
    row("10m", "10 MiB", Kind::File { name: "10m.bin", connections: 8 }, &[Bar::Cost(1.05), Bar::Rate]),
    row("1g", "1 GiB", Kind::File { name: "1g.bin", connections: 2 }, &[Bar::Cost(1.05), Bar::Rate]),
    row(
        "many",
        "10,000 distinct files of 1 KiB, at random",
        Kind::Many,
        &[Bar::Cost(0.65), STEADY[0], STEADY[1]],
    ),
    row(
        "pipelined",
        "1 KiB, 16 requests in one piece",
        Kind::Pipelined,
        &[Bar::Cost(0.25), STEADY[0], STEADY[1]],
    ),
    row("404", "a name that is not there", Kind::Missing, &[Bar::Cost(0.85), STEADY[0], STEADY[1]]),
    row("304", "a file that the client has", Kind::NotModified, &[Bar::Cost(0.85), STEADY[0], STEADY[1]]),
    row("range", "4 KiB out of 10 MiB", Kind::Range, &[Bar::Cost(0.75), STEADY[0], STEADY[1]]),
    row("fresh", "1 KiB, a connection for each request", Kind::Fresh, &[Bar::Cost(1.05)]),
    row(
        "beside",
        "1 KiB beside 10,000 idle connections",
        Kind::Idle(10_000),
        &[
            Bar::Cost(0.75),
            Bar::OwnCost(1.05),
            Bar::IdleBytes(1_024.0),
            Bar::IdleBelowFirst,
            STEADY[0],
            STEADY[1],
        ],
    ),
    row(
        "half",
        "1 KiB at half of nginx's highest rate",
        Kind::Rate { share: 0.5 },
        &[Bar::Latency(Quantile::P99), Bar::Latency(Quantile::P999)],
    ),
    row("most", "1 KiB at 80 % of nginx's highest rate", Kind::Rate { share: 0.8 }, &[]),
    row(
        "slow-disk",
        "1 KiB, 2,000 a second, beside 16 connections that ask for cold files of a slow disk",
        Kind::SlowDisk,
        &[Bar::OwnLatency(Quantile::P99, 1.2)],
    ),
    row("upload", "1 MiB sent to the server", Kind::Upload, &[Bar::Cost(0.9)]),
];

const fn row(name: &'static str, what: &'static str, kind: Kind, bars: &'static [Bar]) -> Row {
    Row { name, what, kind, bars }
}

const fn file(name: &'static str) -> Kind {
    Kind::File { name, connections: CONNECTIONS }
}

impl Kind {
    /// What the client does.
    pub fn load(self) -> Load {
        let get = |target: &str, fields: &str| -> &'static [u8] {
            leak(format!("GET /{target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n"))
        };
        let load = |requests, status| Load {
            requests,
            first: 0,
            status,
            connections: CONNECTIONS,
            pace: Pace::Closed { pipelined: 1 },
        };
        match self {
            Self::File { name, connections } => Load { connections, ..load(vec![get(name, "")], "200") },
            Self::Many => {
                // In an order without pattern, the same for all.
                let order = (0..site::MANY).map(|number| number * 7_919 % site::MANY);
                load(order.map(|number| get(&site::many(number), "")).collect(), "200")
            }
            Self::Pipelined => {
                Load { pace: Pace::Closed { pipelined: PIPELINED }, ..load(vec![get("1k.bin", "")], "200") }
            }
            Self::Missing => load(vec![get("missing.bin", "")], "404"),
            Self::NotModified => {
                let since = format!("If-Modified-Since: {}\r\n", site::MODIFIED_TEXT);
                load(vec![get("1k.bin", &since)], "304")
            }
            Self::Range => load(vec![get("10m.bin", "Range: bytes=1048576-1052671\r\n")], "206"),
            Self::Fresh => {
                Load { pace: Pace::Fresh, ..load(vec![get("1k.bin", "Connection: close\r\n")], "200") }
            }
            Self::Idle(_) | Self::Rate { .. } => load(vec![get("1k.bin", "")], "200"),
            Self::SlowDisk => Load {
                connections: HOT_CONNECTIONS,
                pace: Pace::Open { requests_per_s: HOT_RATE },
                ..load(vec![get("1k.bin", "")], "200")
            },
            Self::Upload => {
                let put = |number: usize| -> &'static [u8] {
                    let head = format!(
                        "PUT /upload/{number} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1048576\r\n\r\n"
                    );
                    leak([head.as_bytes(), &[b'x'; 1 << 20]].concat())
                };
                Load { connections: site::UPLOADS, ..load((0..site::UPLOADS).map(put).collect(), "204") }
            }
        }
    }

    /// What the servers have beside that.
    pub fn beside(self) -> Beside {
        match self {
            Self::Idle(count) => Beside::Idle(count),
            Self::SlowDisk => Beside::Cold,
            _ => Beside::Nothing,
        }
    }

    /// Whether the client sets the pace, so that requests/s say nothing of the server.
    pub fn is_paced(self) -> bool {
        matches!(self, Self::Rate { .. } | Self::SlowDisk)
    }

    /// The length of the body of an answer, for the bare loop, which answers only these.
    pub fn bare_body_bytes(self) -> Option<usize> {
        match self {
            Self::File { name: "1k.bin", .. } | Self::Pipelined | Self::Idle(_) | Self::Many => Some(1 << 10),
            Self::File { name: "10k.bin", .. } => Some(10 << 10),
            Self::File { name: "100k.bin", .. } => Some(100 << 10),
            _ => None,
        }
    }
}

fn leak(bytes: impl Into<Vec<u8>>) -> &'static [u8] {
    bytes.into().leak()
}
