//! What a client gets does not depend on the pieces in which its bytes arrive: random streams of requests, good and bad,
//! each sent whole and cut at random points, in a simulated world and at the socket of every backend.
//!
//! `PORTICO_STREAMS` says how many streams, or which: `100000`, or `17..18`. At the sockets it is a twentieth of them.

#[path = "../common/mod.rs"]
mod common;
#[path = "../serving/hostile_targets.rs"]
#[allow(dead_code, reason = "a stream takes some of them")]
mod hostile_targets;

#[cfg(unix)]
mod simulated;
mod sockets;
mod streams;

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::Path,
    time::{Duration, SystemTime},
};

/// The streams to try.
fn chosen(count: u64) -> Range<u64> {
    let Ok(wanted) = std::env::var("PORTICO_STREAMS") else { return 0..count };
    let range = match wanted.split_once("..") {
        Some((from, to)) => from.parse().ok().zip(to.parse().ok()),
        None => wanted.parse().ok().map(|count| (0, count)),
    };
    let (from, to) = range.expect("PORTICO_STREAMS is a count, or a range such as 17..18");
    from..to
}

/// What there is to ask for.
fn fill(root: &Path) {
    for (name, bytes) in [
        ("index.html", 700),
        ("empty", 0),
        ("one", 1),
        ("page.html", 5_000),
        ("large", 80_001),
        ("sub/index.html", 300),
    ] {
        let content: Vec<u8> = (0..bytes).map(|place: usize| b'a' + (place * 7 % 26) as u8).collect();
        common::write(root, name, content);
        // The validators of what was just written change once, when it is older than a clock can be wrong.
        let file = fs::File::options().write(true).open(root.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    }
    fs::create_dir_all(root.join("in")).unwrap();
}

/// What uploads left behind; they are removed. (A name that begins with a dot is that of an upload that broke off, where the system
/// has no files without a name; the server is about to remove it.)
fn take_uploads(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let inbox = root.join("in");
    let names = common::names(&inbox).into_iter().filter(|name| !name.starts_with('.'));
    let uploads = names.map(|name| {
        let path = inbox.join(&name);
        let content = fs::read(&path).unwrap();
        fs::remove_file(path).unwrap();
        (name, content)
    });
    uploads.collect()
}

/// Answers without what is the time of the test: the date, and the validators of what was just uploaded.
fn masked(answers: &[u8]) -> String {
    let mut uploaded = false;
    let lines = answers.split_inclusive(|byte| *byte == b'\n').map(|line| {
        if line.starts_with(b"HTTP/1.1 ") {
            uploaded = line.starts_with(b"HTTP/1.1 20") && !line.starts_with(b"HTTP/1.1 200");
        }
        let names: &[&[u8]] =
            if uploaded { &[b"Date: ", b"ETag: ", b"Last-Modified: "] } else { &[b"Date: "] };
        match names.iter().find(|name| line.starts_with(name)) {
            Some(name) => String::from_utf8_lossy(name) + "...\n",
            None => String::from_utf8_lossy(line),
        }
    });
    lines.collect()
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Orderly,
    Reset,
}

/// What became of a stream: its answers, and how its connection ended.
type Outcome = (Vec<u8>, Ending);

fn says_close(answers: &[u8]) -> bool {
    answers.windows(21).any(|window| window == b"\r\nConnection: close\r\n")
}

/// Answers without a 100 (Continue) that nothing followed. The body that it asked for broke off, and whether the server
/// learned of that before its file was open or after is a matter of time; RFC 9110 section 10.1.1 leaves it free to say either.
fn asked_for(answers: &[u8]) -> &[u8] {
    answers.strip_suffix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(answers)
}

/// Compares the answers to a stream sent whole with those to its pieces. True if one of the two lost the end of its answers to a reset.
#[track_caller]
fn assert_same_answers(number: u64, whole: &Outcome, cut: &Outcome, cuts: &[usize]) -> bool {
    let (mut expected, mut got) = (asked_for(&whole.0), asked_for(&cut.0));
    // It said that it would send no more, or was told not to, and went on: what the server's system answers to
    // that may overtake the last answer (RFC 9112 section 9.6). What it did get is the same.
    let lost = match (whole.1, cut.1) {
        (Ending::Orderly, Ending::Reset) => says_close(expected),
        (Ending::Reset, Ending::Orderly) => says_close(got),
        _ => false,
    };
    if lost {
        let both = expected.len().min(got.len());
        (expected, got) = (&expected[..both], &got[..both]);
    }
    assert_same(number, expected, got, cuts);
    lost
}

#[track_caller]
fn assert_same(number: u64, whole: &[u8], cut: &[u8], cuts: &[usize]) {
    let (whole, cut) = (masked(whole), masked(cut));
    if whole == cut {
        return;
    }
    let place = whole.bytes().zip(cut.bytes()).take_while(|(one, other)| one == other).count();
    let around = |text: &str| {
        let from = place.saturating_sub(200);
        text.as_bytes()[from..text.len().min(place + 200)].escape_ascii().to_string()
    };
    panic!(
        "stream {number} (PORTICO_STREAMS={number}..{}) cut at {} places, {:?} ...:\n{}\ndiffers at byte {place}, whole:\n{}\nand cut:\n{}",
        number + 1,
        cuts.len(),
        &cuts[..cuts.len().min(20)],
        streams::stream(number).escape_ascii(),
        around(&whole),
        around(&cut),
    );
}
