//! Time limits, seen by what happens when they are over.

use crate::common::{Ending, Site, bytes, on_every_backend};
use portico::settings::{BackendChoice, LogTarget, Settings};
use std::time::Duration;

on_every_backend!(
    a_head_that_does_not_end_is_answered_408,
    a_head_that_trickles_in_is_answered_408,
    an_idle_connection_is_closed,
    a_body_that_stops_is_answered_408,
    an_upload_that_stops_is_logged_with_its_name,
    an_unwanted_body_that_stops_ends_the_connection,
    a_reader_that_stops_is_cut,
    a_client_that_never_ends_its_side_is_left,
);

const SHORT: Duration = Duration::from_millis(50);
/// For limits that must not be what ends a test.
const LONG: Duration = Duration::from_secs(3_600);

fn long(settings: &mut Settings) {
    settings.header_timeout = LONG;
    settings.body_timeout = LONG;
    settings.idle_timeout = LONG;
    settings.write_timeout = LONG;
}

fn a_head_that_does_not_end_is_answered_408(backend: BackendChoice) {
    for receive_buffer_bytes in [4_096, 16] {
        let site = Site::with(backend, |settings| {
            long(settings);
            settings.header_timeout = SHORT;
            settings.receive_buffer_bytes = receive_buffer_bytes;
        });
        site.write("file", "content");
        for part in ["G", "GET /file HTTP/1.1\r\nHost: test\r\n", "\r\nGET /file"] {
            let mut client = site.connect();
            client.send(part);
            let answer = client.answer();
            assert_eq!((answer.status, answer.closes()), (408, true), "{part:?}");
            client.finish();
            client.ends();
        }
        // Also of the second request, behind one that was answered, in the same segment or later.
        let mut client = site.connect();
        client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\nGET /fi");
        assert_eq!(client.answer().status, 200);
        assert_eq!(client.answer().status, 408);
        let mut client = site.connect();
        assert_eq!(client.get("/file").status, 200);
        client.send("GET /fi");
        assert_eq!(client.answer().status, 408);
    }
}

fn a_head_that_trickles_in_is_answered_408(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        long(settings);
        settings.header_timeout = SHORT;
    });
    let mut client = site.connect();
    let mut sender = client.stream.try_clone().unwrap();
    let trickling = std::thread::spawn(move || {
        use std::io::Write as _;
        sender.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n").unwrap();
        // Always something new, never an end, until the server has enough.
        while sender.write_all(b"X: y\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    // 431 if this machine is so slow that the limit of bytes came first.
    let status = client.answer().status;
    assert!([408, 431].contains(&status), "{status}");
    client.stream.shutdown(std::net::Shutdown::Both).unwrap();
    trickling.join().unwrap();
}

fn an_idle_connection_is_closed(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        long(settings);
        settings.idle_timeout = SHORT;
    });
    site.write("file", "content");
    let mut new = site.connect();
    new.ends();
    let mut used = site.connect();
    assert_eq!(used.get("/file").status, 200);
    used.ends();
}

fn a_body_that_stops_is_answered_408(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| {
        long(settings);
        settings.body_timeout = SHORT;
    });
    for body in [
        "Content-Length: 10\r\n\r\nhalf",
        "Content-Length: 10\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    ] {
        let mut client = site.connect();
        client.send(format!("PUT /in/new HTTP/1.1\r\nHost: test\r\n{body}"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.closes()), (408, true), "{body:?}");
        client.finish();
        client.ends();
    }
    assert_eq!(site.get("/in/new").status, 404);
}

fn an_upload_that_stops_is_logged_with_its_name(backend: BackendChoice) {
    let mut site = Site::with_uploads(backend, |settings| {
        long(settings);
        settings.body_timeout = SHORT;
        settings.access_log = Some(LogTarget::File(settings.root.join("log")));
    });
    let mut client = site.connect();
    client.send("PUT /in/new HTTP/1.1\r\nHost: test\r\nUser-Agent: slow\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.answer().status, 408);
    drop(client);
    assert!(site.stop(Duration::from_secs(60)).is_clean());
    let log = std::fs::read_to_string(site.path("log")).unwrap();
    assert!(log.contains("\"PUT /in/new HTTP/1.1\" 408 ") && log.contains("\"slow\""), "{log}");
}

fn an_unwanted_body_that_stops_ends_the_connection(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        long(settings);
        settings.body_timeout = SHORT;
    });
    site.write("file", "content");
    let mut client = site.connect();
    client.send("GET /file HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.answer().status, 408, "the only answer");
    client.finish();
    client.ends();
}

fn a_reader_that_stops_is_cut(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        long(settings);
        settings.write_timeout = SHORT;
    });
    let content = bytes(40 << 20, 1);
    site.write("long", &content);
    let mut client = site.connect();
    client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();
    // Nothing is read until the server has let go of the connection. Sending shows that: first accepted, then answered by a reset.
    while client.try_send("x") {
        std::thread::sleep(Duration::from_millis(1));
    }
    if let Ok(body) = client.try_body(content.len()) {
        panic!("{} bytes came through a connection that was cut", body.len());
    }
}

/// After a refusal the server waits for the client's end, but not for ever.
fn a_client_that_never_ends_its_side_is_left(backend: BackendChoice) {
    let site = Site::with(backend, long);
    let mut client = site.connect();
    client.send("nonsense\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    client.ends();
    while client.try_send("x") {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!([Ending::End, Ending::Reset].contains(&client.ending()));
}
