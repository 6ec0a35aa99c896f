//! Random streams of requests, and random places to cut them at. Each follows from its number.

use crate::hostile_targets::{ABOVE, BYTES, REFUSED, SEPARATORS};

/// Numbers from a seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

const FILES: &[&str] = &[
    "/",
    "/index.html",
    "/empty",
    "/one",
    "/page.html",
    "/page.html?q=1",
    "/sub",
    "/sub/",
    "/sub/./index.html",
    "/%6fne",
    "/absent",
    "/absent/",
    "http://test/one",
    "http://test",
    "/a/../one",
    "/in",
    "/portico.toml",
];
const FIELDS: &[&str] = &[
    "",
    "",
    "Accept: */*\r\n",
    "X-Empty:\r\n",
    "X-Blank: \t \r\n",
    "X-Bytes: \u{e9}\u{2026}\r\n",
    "Connection: keep-alive\r\n",
    "Connection: close\r\n",
    "Connection: x, Keep-Alive\r\n",
    "Range: bytes=0-0\r\n",
    "Range: bytes=-5\r\n",
    "Range: bytes=1-2,4-\r\n",
    "Range: bytes=999999-\r\n",
    "Range: lines=1-2\r\n",
    "If-None-Match: *\r\n",
    "If-Match: *\r\n",
    "If-Match: \"x\"\r\n",
    "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    "If-Range: \"x\"\r\n",
    "Upgrade: h2c\r\n",
    "TE: trailers\r\n",
    "Expect: 100-continue\r\n",
    "Expect: else\r\n",
    "Cookie: a=b; c=d\r\n",
    "X: 1\r\nX: 2\r\nx: 3\r\n",
    "Content-Length: 0\r\n",
];
/// What is refused, with what a smuggler hopes for behind it.
const BROKEN: &[&str] = &[
    "GET  / HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: test\r\n\r\n",
    "GET /\r\n\r\n",
    "GET / HTTP/1.1\nHost: test\n\n",
    "GET / HTTP/1.1\r\nHost : test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: test\r\nX: a\r\n b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: test\r\nX: a\0b\r\n\r\n",
    "\r\n\r\n\r\nGET / HTTP/1.1\r\n",
    "PUT /one HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "PUT /one HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "PUT /one HTTP/1.1\r\nHost: test\r\nContent-Length: +3\r\n\r\nabc",
    "PUT /one HTTP/1.1\r\nHost: test\r\nContent-Length: 3, 3\r\n\r\nabc",
    "PUT /one HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "PUT /one HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5;\r\nab",
    "GET / HTTP/1.1\rHost: test\r\n\r\n",
    "PUT /one HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "\x16\x03\x01\x02",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "PUT /one HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    "PUT /one HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n",
];

/// What was once told apart by its pieces; these come first.
const FOUND: &[&str] = &[
    // The refusal of the second body was lost where the answer to the request before it was in the same batch.
    "GET /one HTTP/1.1\r\nHost: test\r\n\r\nHEAD /one HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "HEAD /one HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    // The client sends on behind the last answer.
    "HEAD /one HTTP/1.0\r\nHost: test\r\n\r\nGET /one HTTP/1.0\r\nHost: test\r\n\r\n",
    // The server says that it is the last answer, and the client cannot know.
    "TRACE / HTTP/1.1\r\nHost: test\r\n\r\nGET /one HTTP/1.1\r\nHost: test\r\n\r\n",
];

/// The bytes of a client's connection.
pub(crate) fn stream(number: u64) -> Vec<u8> {
    if let Some(found) = FOUND.get(number as usize) {
        return found.as_bytes().to_vec();
    }
    let mut random = Random(number);
    let mut bytes = Vec::new();
    for place in 0..1 + random.below(6) {
        let start = bytes.len();
        request(&mut bytes, number, place, &mut random);
        // A client that says close has to send no more; some do.
        let says_close = |request: &[u8]| {
            [b"Connection: close\r\n".as_slice(), b" HTTP/1.0\r\n"]
                .iter()
                .any(|word| request.windows(word.len()).any(|window| window == *word))
        };
        if says_close(&bytes[start..]) && !random.one_in(10) {
            break;
        }
    }
    if random.one_in(3) {
        for _ in 0..1 + random.below(3) {
            mutate(&mut bytes, &mut random);
        }
    }
    if random.one_in(20) {
        bytes.truncate(random.below(bytes.len() + 1));
    }
    bytes
}

fn request(bytes: &mut Vec<u8>, number: u64, place: usize, random: &mut Random) {
    if random.one_in(15) {
        bytes.extend_from_slice(b"\r\n");
    }
    if random.one_in(14) {
        return bytes.extend_from_slice(random.pick(BROKEN).as_bytes());
    }
    let method = random.pick(&[
        "GET", "GET", "GET", "GET", "HEAD", "PUT", "PUT", "POST", "OPTIONS", "TRACE", "DELETE", "PATCH",
        "BREW",
    ]);
    let uploads = matches!(method, "PUT" | "POST");
    // Names that no slip of a byte turns into those of another stream.
    let upload = format!("/in/{:016x}-{}", Random(!number).next(), place % 2);
    let target = match random.below(12) {
        0 => random.pick(ABOVE),
        1 => random.pick(SEPARATORS),
        2 => random.pick(BYTES),
        3 => random.pick(REFUSED),
        4 if method == "OPTIONS" => "*",
        5 if random.one_in(4) => "/large",
        _ if uploads => &upload,
        _ => random.pick(FILES),
    };
    let version = if random.one_in(8) { "1.0" } else { "1.1" };
    let host = if random.one_in(12) { "Host: test:80\r\n" } else { "Host: test\r\n" };
    bytes.extend_from_slice(format!("{method} {target} HTTP/{version}\r\n{host}").as_bytes());
    for _ in 0..random.below(3) {
        bytes.extend_from_slice(random.pick(FIELDS).as_bytes());
    }
    if random.one_in(40) {
        bytes.extend_from_slice(format!("X-Long: {}\r\n", "x".repeat(random.below(20_000))).as_bytes());
    }
    match random.below(if uploads { 3 } else { 12 }) {
        0 => {
            let length = body_length(random);
            bytes.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
            bytes.extend((0..length).map(|place| b'A' + (place % 26) as u8));
        }
        1 => {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            chunks(bytes, random);
        }
        _ => bytes.extend_from_slice(b"\r\n"),
    }
}

fn body_length(random: &mut Random) -> usize {
    let most = [1, 20, 500, 9_000][random.below(4)];
    random.below(most)
}

fn chunks(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..random.below(5) {
        let length = 1 + body_length(random);
        let extension = random.pick(&["", "", ";a", ";a=b", ";a=\"b;\\\"\"", " ;a"]);
        bytes.extend_from_slice(format!("{length:x}{extension}\r\n").as_bytes());
        bytes.extend((0..length).map(|place| b'a' + (place % 26) as u8));
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n");
    if random.one_in(3) {
        bytes.extend_from_slice(
            random.pick(&["T: u\r\n", "A: b\r\nC: d\r\n", "Content-Length: 5\r\n", "bad\r\n"]).as_bytes(),
        );
    }
    bytes.extend_from_slice(b"\r\n");
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let place = random.below(bytes.len());
    let byte = b"\r\n :,;/.%\0x09\x7f\xff"[random.below(14)];
    match random.below(4) {
        0 => bytes[place] = byte,
        1 => bytes.insert(place, byte),
        2 => drop(bytes.remove(place)),
        _ => {
            let end = (place + random.below(30)).min(bytes.len());
            let copy = bytes[place..end].to_vec();
            bytes.splice(place..place, copy);
        }
    }
}

/// Where to cut a stream: the ends of all pieces but the last. Half of the places are beside a line's end.
pub(crate) fn cuts(number: u64, bytes: &[u8]) -> Vec<usize> {
    let mut random = Random(number.wrapping_mul(3) ^ 0x5eed);
    if bytes.len() < 2 {
        return Vec::new();
    }
    if bytes.len() < 1_500 && random.one_in(10) {
        return (1..bytes.len()).collect();
    }
    let ends: Vec<usize> =
        (1..bytes.len()).filter(|&place| matches!(bytes[place - 1], b'\r' | b'\n')).collect();
    let mut cuts: Vec<usize> = (0..1 + random.below(20))
        .map(|_| {
            if random.one_in(2) && !ends.is_empty() {
                ends[random.below(ends.len())]
            } else {
                1 + random.below(bytes.len() - 1)
            }
        })
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// The pieces between the cuts.
pub(crate) fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let starts = std::iter::once(&0).chain(cuts);
    let ends = cuts.iter().copied().chain([bytes.len()]);
    starts.zip(ends).map(|(&start, end)| &bytes[start..end]).filter(|piece| !piece.is_empty()).collect()
}
