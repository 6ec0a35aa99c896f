//! Time limits, seen by what happens when they are over.

use crate::common::{Ending, Site, assert_same, bytes, on_every_backend};
use portico::settings::{BackendChoice, LogTarget, Settings};
use std::time::Duration;

on_every_backend!(
    a_head_that_does_not_end_is_answered_408,
    a_head_that_trickles_in_is_answered_408,
    an_idle_connection_is_closed,
    a_body_that_stops_is_answered_408,
    an_upload_that_stops_is_logged_with_its_name,
    an_unwanted_body_that_stops_ends_the_connection,
    a_body_below_the_least_rate_is_answered_408,
    a_slow_body_above_the_least_rate_is_taken,
    a_reader_that_stops_is_cut,
    a_reader_below_the_least_rate_is_cut,
    a_slow_reader_above_the_least_rate_gets_all,
    half_a_head_is_answered_when_the_server_stops,
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

/// Sends one byte after the other, or until the server has enough.
fn trickle(mut sender: std::net::TcpStream, bytes: usize) {
    use std::io::Write as _;
    for _ in 0..bytes {
        if sender.write_all(b"x").is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn a_body_below_the_least_rate_is_answered_408(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| {
        long(settings);
        settings.body_timeout = SHORT;
        // Nobody is as quick as that.
        settings.minimum_rate_bytes = 1 << 30;
    });
    let mut client = site.connect();
    client.send("PUT /in/new HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n");
    let sender = client.stream.try_clone().unwrap();
    let trickling = std::thread::spawn(|| trickle(sender, 1_000_000));
    let answer = client.answer();
    assert_eq!((answer.status, answer.closes()), (408, true));
    client.stream.shutdown(std::net::Shutdown::Both).unwrap();
    trickling.join().unwrap();
    assert_eq!(site.get("/in/new").status, 404);
}

fn a_slow_body_above_the_least_rate_is_taken(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| {
        long(settings);
        // A machine that stands still for so long fails this test; one byte a second is enough otherwise.
        settings.body_timeout = Duration::from_secs(2);
        settings.minimum_rate_bytes = 1;
    });
    let mut client = site.connect();
    client.send("PUT /in/new HTTP/1.1\r\nHost: test\r\nContent-Length: 3000\r\n\r\n");
    trickle(client.stream.try_clone().unwrap(), 3_000);
    assert_eq!(client.answer().status, 201);
    assert_eq!(site.get("/in/new").body.len(), 3_000);
}

fn a_reader_below_the_least_rate_is_cut(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        long(settings);
        settings.write_timeout = SHORT;
        settings.minimum_rate_bytes = 1 << 30;
    });
    let content = bytes(100 << 20, 1);
    site.write("long", &content);
    let mut client = site.connect();
    client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();
    // It reads on and on, but not fast.
    let mut piece = [0; 1_024];
    let mut came = 0;
    while let Ok(bytes @ 1..) = std::io::Read::read(&mut client.stream, &mut piece) {
        came += bytes;
        std::thread::sleep(Duration::from_micros(100));
    }
    assert!(came < content.len(), "the whole file came");
}

/// Each slice takes longer than the time limit; it is what arrives that counts.
fn a_slow_reader_above_the_least_rate_gets_all(backend: BackendChoice) {
    // Elsewhere the system does not tell how far a send has come.
    if !cfg!(target_os = "linux") {
        return;
    }
    let site = Site::with(backend, |settings| {
        long(settings);
        settings.write_timeout = Duration::from_millis(500);
        settings.minimum_rate_bytes = 1;
        settings.send_slice_bytes = 16 << 20;
        settings.queued_bytes = 64 << 20;
        settings.buffer_memory_bytes = 256 << 20;
    });
    let content = bytes(40 << 20, 1);
    site.write("long", &content);
    let mut client = site.connect();
    client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();
    let mut came = client.take_received();
    let mut piece = vec![0; 256 << 10];
    while came.len() < content.len() {
        let bytes = std::io::Read::read(&mut client.stream, &mut piece).unwrap();
        assert!(bytes > 0, "the end came after {} bytes", came.len());
        came.extend_from_slice(&piece[..bytes]);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_same(&came, &content, "the long file");
}

/// Its own limit is an hour; a stop does not wait for that.
fn half_a_head_is_answered_when_the_server_stops(backend: BackendChoice) {
    let mut site = Site::with(backend, long);
    let mut client = site.connect();
    client.send("GET /file HTTP/1.1\r\nHo");
    // It has come when what was sent after it is answered.
    assert_eq!(site.get("/absent").status, 404);
    let server = site.take_server();
    let stopping = std::thread::spawn(move || server.stop(Duration::from_secs(60)));
    let answer = client.answer();
    assert_eq!((answer.status, answer.closes()), (408, true));
    drop(client);
    assert!(stopping.join().unwrap().is_clean());
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
