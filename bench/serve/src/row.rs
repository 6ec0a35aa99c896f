//! The workloads, and what ours may cost of nginx in each.

use crate::{
    load::{Load, Pace},
    site,
};

/// One workload.
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub kind: Kind,
    /// The most that ours may cost of nginx's processor time for a request.
    pub bar: f64,
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
    Beside {
        idle: usize,
    },
    /// 1 KiB at a share of nginx's highest rate.
    Rate {
        share: f64,
    },
    /// 1 MiB sent to the server.
    Upload,
}

/// Requests in one piece, of the workload with pipelining.
pub const PIPELINED: usize = 16;
const CONNECTIONS: usize = 64;

/// All of them.
pub const ROWS: &[Row] = &[
    row("1k", "1 KiB, keep-alive", file("1k.bin"), 0.70),
    row("10k", "10 KiB, keep-alive", file("10k.bin"), 0.75),
    row("100k", "100 KiB, keep-alive", file("100k.bin"), 0.85),
    row("10m", "10 MiB", Kind::File { name: "10m.bin", connections: 8 }, 1.05),
    row("1g", "1 GiB", Kind::File { name: "1g.bin", connections: 2 }, 1.05),
    row("many", "10,000 distinct files of 1 KiB, at random", Kind::Many, 0.65),
    row("pipelined", "1 KiB, 16 requests in one piece", Kind::Pipelined, 0.25),
    row("404", "a name that is not there", Kind::Missing, 0.85),
    row("304", "a file that the client has", Kind::NotModified, 0.85),
    row("range", "4 KiB out of 10 MiB", Kind::Range, 0.75),
    row("fresh", "1 KiB, a connection for each request", Kind::Fresh, 1.05),
    row("beside", "1 KiB beside 10,000 idle connections", Kind::Beside { idle: 10_000 }, 0.75),
    row("half", "1 KiB at half of nginx's highest rate", Kind::Rate { share: 0.5 }, 1.0),
    row("most", "1 KiB at 80 % of nginx's highest rate", Kind::Rate { share: 0.8 }, 1.0),
    row("upload", "1 MiB sent to the server", Kind::Upload, 0.9),
];

const fn row(name: &'static str, what: &'static str, kind: Kind, bar: f64) -> Row {
    Row { name, what, kind, bar }
}

const fn file(name: &'static str) -> Kind {
    Kind::File { name, connections: CONNECTIONS }
}

impl Kind {
    /// What the client does. `rate` is nginx's highest, where the workload goes by that.
    pub fn load(self, rate: f64) -> Load {
        let get = |target: &str, fields: &str| -> &'static [u8] {
            leak(format!("GET /{target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n"))
        };
        let load = |requests, status| Load {
            requests,
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
            Self::Beside { .. } => load(vec![get("1k.bin", "")], "200"),
            Self::Rate { share } => Load {
                pace: Pace::Open { requests_per_s: share * rate },
                ..load(vec![get("1k.bin", "")], "200")
            },
            Self::Upload => {
                let put = |number: usize| -> &'static [u8] {
                    let head = format!(
                        "PUT /upload/{number} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1048576\r\n\r\n"
                    );
                    leak([head.as_bytes(), &[b'x'; 1 << 20]].concat())
                };
                Load { connections: 8, ..load((0..8).map(put).collect(), "204") }
            }
        }
    }

    /// The length of the body of an answer, for the bare loop, which answers only these.
    pub fn bare_body_bytes(self) -> Option<usize> {
        match self {
            Self::File { name: "1k.bin", .. } | Self::Pipelined | Self::Beside { .. } | Self::Many => {
                Some(1 << 10)
            }
            Self::File { name: "10k.bin", .. } => Some(10 << 10),
            Self::File { name: "100k.bin", .. } => Some(100 << 10),
            _ => None,
        }
    }
}

fn leak(bytes: impl Into<Vec<u8>>) -> &'static [u8] {
    bytes.into().leak()
}
