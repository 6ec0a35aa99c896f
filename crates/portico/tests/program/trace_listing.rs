//! `--trace` beside the debug listing of the seed: a request read into a first buffer of 48 bytes that doubles, and a file of 189,853
//! bytes sent in slices of 768.

use crate::common::{Program, assert_same, bytes, on_every_backend, write};
use portico::settings::BackendChoice;

on_every_backend!(the_listing_is_the_seeds, a_body_is_counted_and_not_shown);

const FILE_BYTES: usize = 189_853;
const SLICE_BYTES: u64 = 768;

/// The request of the seed's listing: 439 bytes.
const REQUEST: &str = "GET /anypage.html HTTP/1.1\r\n\
    Host: 127.0.0.1:8080\r\n\
    User-Agent: Mozilla/5.0 (Windows; U; Windows NT 5.1; en-US; rv:1.8.1.8) Gecko/20071008 Firefox/2.0.0.8 (.NET CLR 3.5.30729)\r\n\
    Accept: text/xml,application/xml,application/xhtml+xml,text/html;q=0.9,text/plain;q=0.8,image/png,*/*;q=0.5\r\n\
    Accept-Language: en-us,en;q=0.5\r\n\
    Accept-Encoding: gzip,deflate\r\n\
    Accept-Charset: ISO-8859-1,utf-8;q=0.7,*;q=0.7\r\n\
    Keep-Alive: 300\r\n\
    Connection: keep-alive\r\n\r\n";

const RULE: &str = "++++++++++++++++++++++++++++++++++";

/// One completion of the listing.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    operation: String,
    bytes: u64,
    lines: Vec<String>,
}

fn entries(listing: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in listing.lines() {
        if let Some((worker, rest)) = line.split_once("------------ ") {
            // The seed prints the thread's number in five places.
            assert!(worker.len() == 5 && worker.trim_start().parse::<u32>().is_ok(), "{line}");
            let (operation, bytes) = rest.split_once(" Bytes= ").unwrap();
            entries.push(Entry {
                operation: operation.into(),
                bytes: bytes.parse().unwrap(),
                lines: Vec::new(),
            });
        } else if let Some(entry) = entries.last_mut() {
            entry.lines.push(line.to_owned());
        }
    }
    entries
}

fn the_listing_is_the_seeds(backend: BackendChoice) {
    assert_eq!(REQUEST.len(), 48 + 48 + 96 + 192 + 55);
    let folder = tempfile::tempdir().unwrap();
    let content = bytes(FILE_BYTES, 1);
    write(folder.path(), "anypage.html", &content);
    let mut program = Program::start(
        folder.path(),
        &[
            "--backend",
            backend.name(),
            "--receive-buffer-bytes=48",
            "--send-slice-bytes=768",
            "--workers=1",
            "--trace",
        ],
    );
    let mut client = program.connect();
    client.send(REQUEST);
    let answer = client.answer();
    assert_same(&answer.body, &content, "the page");
    let mut listing = String::new();
    while !listing.contains("Last slice of the file has been sent") {
        let line = program.line();
        listing.push_str(&line);
        listing.push('\n');
    }
    let mut entries = entries(&listing).into_iter();

    let mut arrived = 0;
    for (received, buffer) in [(48, 48), (48, 96), (96, 192), (192, 384), (55, 768)] {
        let entry = entries.next().unwrap();
        assert_eq!((&*entry.operation, entry.bytes), ("IO_SOCKET_READ", received), "{entry:?}");
        arrived += received as usize;
        // The buffer's length, and the request as far as it is there.
        assert_eq!(entry.lines[0], format!("{RULE}, BuffLen= {buffer}"));
        let shown = entry.lines[1..].join("\n");
        let wanted = REQUEST[..arrived].replace("\r\n", "\n");
        assert_eq!(shown.trim_end(), format!("{}\n{RULE}", wanted).trim_end());
    }

    let head_bytes = answer.head.len() as u64;
    let (mut sum, mut to_write) = (0, None);
    for entry in entries {
        match to_write.take() {
            None => {
                assert_eq!(entry.operation, "IO_FILE_READ", "{entry:?} after {sum} bytes");
                // The head is laid in front of the first slice, which is shorter by it.
                let room = SLICE_BYTES - if sum == 0 { head_bytes } else { 0 };
                let wanted = room.min(FILE_BYTES as u64 - sum);
                assert_eq!(entry.bytes, wanted, "after {sum} bytes");
                sum += entry.bytes;
                assert_eq!(
                    entry.lines[0],
                    format!("bytesToWrite= {wanted}, AcumBytes= {sum} of {FILE_BYTES}")
                );
                to_write = Some(wanted + SLICE_BYTES - room);
            }
            Some(wanted) => {
                assert_eq!((&*entry.operation, entry.bytes), ("IO_SOCKET_WRITE", wanted), "{entry:?}");
                let next = if sum == FILE_BYTES as u64 {
                    "Last slice of the file has been sent"
                } else {
                    "Read more of the file..."
                };
                assert_eq!(entry.lines[0], next);
            }
        }
    }
    assert_eq!((sum, to_write), (FILE_BYTES as u64, None));
    drop(client);
    program.kill();
}

fn a_body_is_counted_and_not_shown(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let upload = folder.path().join("in");
    let mut program = Program::start(
        folder.path(),
        &["--backend", backend.name(), "--workers=1", "--trace", "--upload", upload.to_str().unwrap()],
    );
    let mut client = program.connect();
    client
        .send("PUT /in/new HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send("Z".repeat(100_000));
    assert_eq!(client.answer().status, 201);
    let mut listing = String::new();
    while !listing.contains("AcumBytes= 100000\n") {
        let line = program.line();
        listing.push_str(&line);
        listing.push('\n');
    }
    assert!(listing.contains("PUT /in/new HTTP/1.1\nHost: test\n") && !listing.contains("ZZZ"), "{listing}");
    let sum = |operation: &str| -> u64 {
        entries(&listing).iter().filter(|entry| entry.operation == operation).map(|entry| entry.bytes).sum()
    };
    assert_eq!((sum("IO_SOCKET_READ"), sum("IO_FILE_WRITE")), (100_000 + 82, 100_000));
    program.kill();
}
