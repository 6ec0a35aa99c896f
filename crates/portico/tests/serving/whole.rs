//! The server as a part of a program: started, stopped, started again, and what it leaves.

use crate::common::{Site, bytes, on_every_backend, settings};
use portico::{Server, StartError, settings::BackendChoice, settings::LogTarget};
use std::{io::Read as _, net::TcpStream, time::Duration};

on_every_backend!(
    a_server_starts_again_where_it_stopped,
    several_servers_live_in_one_process,
    idle_and_unfinished_clients_do_not_hinder_a_stop,
    at_the_deadline_what_runs_is_cancelled,
    what_cannot_start_says_why,
    every_answer_is_in_the_access_log,
);

fn a_server_starts_again_where_it_stopped(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "content").unwrap();
    let mut settings = settings(folder.path(), backend);
    for _ in 0..3 {
        let server = Server::start(settings.clone()).unwrap();
        settings.port = server.address().port();
        let mut client = crate::common::Client::connect(server.address());
        assert_eq!(client.get("/file").body, b"content");
        let end = server.stop(Duration::from_secs(30));
        assert!(end.is_clean(), "{end}");
        client.ends();
    }
}

fn several_servers_live_in_one_process(backend: BackendChoice) {
    let sites: Vec<_> = (0..3)
        .map(|number| {
            let site = Site::with(backend, |settings| {
                settings.workers = 2;
                // On Windows one listener serves both ports of the second.
                settings.ports = 1 + usize::from(number) % 2;
            });
            site.write("file", [b'0' + number]);
            site
        })
        .collect();
    for (number, site) in sites.iter().enumerate() {
        assert_eq!(site.server().workers(), 2);
        for _ in 0..8 {
            assert_eq!(site.get("/file").body, [b'0' + number as u8]);
        }
    }
}

fn idle_and_unfinished_clients_do_not_hinder_a_stop(backend: BackendChoice) {
    let mut site = Site::with(backend, |settings| settings.workers = 2);
    site.write("file", "content");
    site.write("long", bytes(5 << 20, 1));
    let mut idle: Vec<_> = (0..50).map(|_| site.connect()).collect();
    for client in &mut idle[..25] {
        assert_eq!(client.get("/file").status, 200);
    }
    // One was refused and does not leave.
    let mut refused = site.connect();
    refused.send("nonsense\r\n\r\n");
    assert_eq!(refused.answer().status, 400);
    // One reads its answer after the stop has begun; the connection ends behind it though it was to stay open.
    let mut reading = site.connect();
    reading.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    reading.head();
    let reader = std::thread::spawn(move || {
        assert_eq!(reading.try_body(5 << 20).unwrap(), bytes(5 << 20, 1));
        reading.ends();
    });
    let end = site.stop(Duration::from_secs(60));
    assert!(end.is_clean(), "{end}");
    reader.join().unwrap();
    for client in &mut idle {
        client.ends();
    }
    let refused = TcpStream::connect(site.address);
    assert!(refused.is_err(), "somebody still listens");
}

fn at_the_deadline_what_runs_is_cancelled(backend: BackendChoice) {
    let mut site = Site::start(backend);
    let content = bytes(40 << 20, 1);
    site.write("long", &content);
    let mut client = site.connect();
    client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();
    let end = site.stop(Duration::from_millis(10));
    assert!(!end.is_clean() && end.port.cancelled, "{end:?}");
    assert_eq!((end.port.workers_left, end.port.operations_left, end.port.buffers_left), (0, 0, 0), "{end}");
    assert!(client.try_body(content.len()).is_err());
}

fn what_cannot_start_says_why(backend: BackendChoice) {
    let site = Site::start(backend);
    let mut taken = settings(&site.path(""), backend);
    taken.port = site.address.port();
    for workers in [1, 2] {
        taken.workers = workers;
        let error = Server::start(taken.clone()).unwrap_err();
        assert!(matches!(error, StartError::Listen(..)), "{error}");
        assert!(error.to_string().starts_with(&format!("cannot listen on {}: ", site.address)), "{error}");
    }
    let error = Server::start(settings(&site.path("absent"), backend)).unwrap_err();
    assert!(matches!(error, StartError::Folder(_)), "{error}");
    let mut log = settings(&site.path(""), backend);
    log.access_log = Some(LogTarget::File(site.path("absent/log")));
    assert!(matches!(Server::start(log).unwrap_err(), StartError::Log(_)));
}

fn every_answer_is_in_the_access_log(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = LogTarget::File(path.clone());
    let mut site = Site::with_uploads(backend, |settings| settings.access_log = Some(log));
    site.write("small", "content");
    site.write("long", bytes(300_000, 1));
    let mut client = site.connect();
    client.send("GET /small?a=b HTTP/1.1\r\nHost: test\r\nUser-Agent: a \"quoted\" agent\r\nReferer: http://x/\r\n\r\n");
    client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\nHEAD /long HTTP/1.1\r\nHost: test\r\n\r\n");
    client.send("GET /absent HTTP/1.1\r\nHost: test\r\n\r\n");
    client.answer();
    client.answer();
    assert_eq!(client.head().status, 200);
    client.answer();
    assert_eq!(client.request("GET", "/long", "Range: bytes=10-19\r\n").status, 206);
    let several = "Range: bytes=0-1,4-5\r\n";
    let parts = ["/small", "/long"].map(|target| client.request("GET", target, several).body.len());
    assert_eq!(client.upload("PUT", "/in/new", b"body").status, 201);
    assert_eq!(client.upload("PUT", "/in/new", b"body").status, 204);
    assert_eq!(client.upload("POST", "/in/new", b"body").status, 409);
    let mut client = site.connect();
    client.send("GET /absent HTTP/1.0\r\n\r\n");
    client.answer();
    let mut client = site.connect();
    client.send("bad\x01request\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    drop(client);
    let end = site.stop(Duration::from_secs(30));
    assert!(end.is_clean(), "{end}");
    assert_eq!((end.log.counts.dropped, end.log.counts.failed), (0, 0));
    let mut text = String::new();
    std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
    let mut lines = text.lines().map(|line| {
        let (who, rest) = line.split_once(" [").unwrap();
        assert_eq!(who, "127.0.0.1 - -");
        rest.split_once("] ").unwrap().1.to_owned()
    });
    for wanted in [
        "\"GET /small?a=b HTTP/1.1\" 200 7 \"http://x/\" \"a \\x22quoted\\x22 agent\"",
        "\"GET /long HTTP/1.1\" 200 300000 \"-\" \"-\"",
        "\"HEAD /long HTTP/1.1\" 200 - \"-\" \"-\"",
        "\"GET /absent HTTP/1.1\" 404 ",
        "\"GET /long HTTP/1.1\" 206 10 \"-\" \"-\"",
        &format!("\"GET /small HTTP/1.1\" 206 {} ", parts[0]),
        &format!("\"GET /long HTTP/1.1\" 206 {} ", parts[1]),
        "\"PUT /in/new HTTP/1.1\" 201 ",
        "\"PUT /in/new HTTP/1.1\" 204 - ",
        "\"POST /in/new HTTP/1.1\" 409 ",
        "\"GET /absent HTTP/1.0\" 404 ",
        "\"-\" 400 ",
    ] {
        let line = lines.next().unwrap_or_default();
        assert!(line.starts_with(wanted), "{line} instead of {wanted}");
    }
    assert_eq!(lines.next(), None);
    assert_eq!(end.log.counts.written, 12);
}
