//! Where a request ends and the next begins, whatever a client sends: one answer to each, and none to what is no request.

use crate::common::{Client, Site, bytes, on_every_backend};
use portico::settings::{BackendChoice, LogTarget};
use std::time::Duration;

on_every_backend!(
    a_request_is_answered_after_its_body,
    a_malformed_body_is_the_only_thing_answered,
    a_malformed_body_waits_its_turn,
    a_malformed_body_is_logged_with_its_request,
    a_body_that_ends_early_is_not_answered,
    trailers_decide_nothing,
    nothing_is_read_behind_the_last_request,
    a_client_that_did_not_ask_for_the_end_reads_the_last_answer,
    refusals_of_head_have_no_body,
    upgrades_are_ignored,
    empty_lines_between_requests_are_ignored,
    later_minor_versions_are_served_as_1_1,
    the_target_decides_over_the_host_field,
    every_answer_has_a_date_and_the_version_1_1,
);

/// Sends as much as the server takes; it may refuse before the end.
fn exchange(site: &Site, request: &str) -> Client {
    let mut client = site.connect();
    client.try_send(request);
    client
}

/// A server that answers before the body and goes on lets a proxy and itself disagree about where the next request starts.
fn a_request_is_answered_after_its_body(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    site.write("long", bytes(300_000, 1));
    let inner = "GET /file HTTP/1.1\r\nHost: test\r\n\r\n";
    for (method, target, status) in [
        ("GET", "/file", 200),
        ("GET", "/long", 200),
        ("GET", "/absent", 404),
        ("HEAD", "/file", 200),
        ("OPTIONS", "*", 204),
        ("POST", "/file", 405),
        ("BREW", "/file", 501),
    ] {
        let mut client = site.connect();
        let what = format!("{method} {target}");
        let length = inner.len() + 1;
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"));
        // A request within the body is none, and nothing is answered for it.
        client.send(inner);
        client.send("xGET /absent HTTP/1.1\r\nHost: test\r\n\r\n");
        let answer = if method == "HEAD" { client.head() } else { client.answer() };
        assert_eq!(answer.status, status, "{what}");
        assert_eq!(client.answer().status, 404, "the request behind {what}");
        client.finish();
        client.ends();
    }
}

fn a_malformed_body_is_the_only_thing_answered(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    site.write("long", bytes(300_000, 1));
    for (chunks, status) in [
        ("x\r\n", 400),
        ("1\nx\r\n0\r\n\r\n", 400),
        ("1\r\nxy\r\n0\r\n\r\n", 400),
        ("5\r\nabcde0\r\n\r\n", 400),
        ("+1\r\nx\r\n0\r\n\r\n", 400),
        ("1 \r\nx\r\n0\r\n\r\n", 400),
        ("1;\r\nx\r\n0\r\n\r\n", 400),
        ("0\r\nNo colon\r\n\r\n", 400),
        ("0\r\nX: y\r\n folded\r\n\r\n", 400),
        ("ffffffffffffffff\r\n", 413),
    ] {
        for start in ["GET /file", "GET /long", "GET /absent", "POST /file"] {
            let what = format!("{start} {chunks:?}");
            let next = "GET /file HTTP/1.1\r\nHost: test\r\n\r\n";
            let mut client = exchange(
                &site,
                &format!(
                    "{start} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{next}"
                ),
            );
            let answer = client.answer();
            assert_eq!((answer.status, answer.closes()), (status, true), "{what}");
            client.finish();
            client.ends();
        }
    }
}

/// Whatever the answers before it leave of a batch.
fn a_malformed_body_waits_its_turn(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("3900", bytes(3_900, 1));
    site.write("1", "1");
    let last = "GET /1 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n1\r\nyz\r\n";
    for count in 14..=16 {
        for small in 0..18 {
            let fill = "GET /3900 HTTP/1.1\r\nHost: test\r\n\r\n".repeat(count);
            let small_ones = "GET /1 HTTP/1.1\r\nHost: test\r\n\r\n".repeat(small);
            let mut client = exchange(&site, &format!("{fill}{small_ones}{last}"));
            for number in 0..count + small {
                assert_eq!(client.answer().status, 200, "answer {number} of {count} and {small}");
            }
            assert_eq!(client.answer().status, 400, "behind {count} and {small}");
            client.finish();
            client.ends();
        }
    }
}

fn a_malformed_body_is_logged_with_its_request(backend: BackendChoice) {
    let mut site = Site::with(backend, |settings| {
        settings.access_log = Some(LogTarget::File(settings.root.join("log")));
    });
    let chunks = "Transfer-Encoding: chunked\r\n\r\nx\r\n";
    let mut client =
        exchange(&site, &format!("GET /a?b HTTP/1.1\r\nHost: test\r\nUser-Agent: bad\r\n{chunks}"));
    assert_eq!(client.answer().status, 400);
    drop(client);
    assert!(site.stop(Duration::from_secs(60)).is_clean());
    let log = std::fs::read_to_string(site.path("log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("\"GET /a?b HTTP/1.1\" 400 ") && log.contains("\"bad\""), "{log}");
}

fn a_body_that_ends_early_is_not_answered(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    for body in [
        "Content-Length: 5\r\n\r\n",
        "Content-Length: 5\r\n\r\nabcd",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n",
    ] {
        let mut client = site.connect();
        client.send(format!("GET /file HTTP/1.1\r\nHost: test\r\n{body}"));
        client.finish();
        client.ends();
    }
}

fn trailers_decide_nothing(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |_| {});
    site.write("file", "content");
    let mut client = site.connect();
    let trailers = "Content-Length: 99\r\nTransfer-Encoding: gzip\r\nConnection: close\r\nHost: a/b\r\n\
        Expect: miracles\r\nIf-Match: \"x\"\r\nContent-Range: bytes 0-0/1\r\n";
    for (start, status) in [("GET /file", 200), ("PUT /in/name", 201), ("GET /absent", 404)] {
        client.send(format!(
            "{start} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{trailers}\r\n"
        ));
        let answer = client.answer();
        assert_eq!((answer.status, answer.closes()), (status, false), "{start}");
    }
    assert_eq!(site.get("/in/name").body, b"x");
}

fn nothing_is_read_behind_the_last_request(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |_| {});
    site.write("file", "content");
    for start in [
        "GET /file HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
        "GET /file HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, x, close\r\nContent-Length: 3\r\n\r\nabc",
        "GET /file HTTP/1.0\r\n\r\n",
        "PUT /in/name HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
        "PUT /in/name HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /file HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\n",
    ] {
        let mut client = exchange(
            &site,
            &format!("{start}PUT /in/behind HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx"),
        );
        assert!(client.answer().closes(), "{start}");
        client.finish();
        client.ends();
        assert_eq!(site.get("/in/behind").status, 404, "{start}");
    }
}

/// Closing while requests are on their way would reset the connection, and the answer with it.
fn a_client_that_did_not_ask_for_the_end_reads_the_last_answer(backend: BackendChoice) {
    let site = Site::with(backend, |settings| settings.keep_alive = false);
    site.write("file", "content");
    for _ in 0..50 {
        let mut client = site.connect();
        client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
        for _ in 0..20 {
            assert!(client.try_send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n"));
        }
        let answer = client.answer();
        assert_eq!((answer.status, answer.body.as_slice(), answer.closes()), (200, &b"content"[..], true));
        client.finish();
        client.ends();
    }
}

fn refusals_of_head_have_no_body(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    let long = "a".repeat(20_000);
    for (rest, status) in [
        ("/file HTTP/1.1\r\n\r\n", 400),
        ("/file HTTP/1.1\r\nHost : test\r\n\r\n", 400),
        ("/file HTTP/3.0\r\n", 505),
        (&format!("/{long} HTTP/1.1\r\n"), 414),
        (&format!("/file HTTP/1.1\r\nHost: test\r\nX: {long}\r\n\r\n"), 431),
        ("/file HTTP/1.1\r\nHost: test\r\nExpect: miracles\r\n\r\n", 417),
        ("/file HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        ("/%zz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", 400),
    ] {
        for lines in ["", "\r\n"] {
            let what = &rest[..rest.len().min(40)];
            let mut client = exchange(&site, &format!("{lines}HEAD {rest}"));
            let answer = client.head();
            assert_eq!((answer.status, answer.closes()), (status, true), "{what}");
            assert_ne!(answer.field("Content-Length"), Some("0"), "that of the answer to GET, for {what}");
            client.finish();
            client.ends();
        }
    }
}

fn upgrades_are_ignored(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    let mut client = site.connect();
    for fields in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: keep-alive, upgrade\r\nUpgrade: TLS/1.0, HTTP/2.0\r\n",
        "Upgrade: websocket\r\n",
        "Connection: TE\r\nTE: trailers, gzip;q=0.5\r\nTrailer: X\r\n",
    ] {
        let answer = client.request("GET", "/file", fields);
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"content"[..]), "{fields}");
        assert_eq!((answer.field("Upgrade"), answer.field("Connection")), (None, None), "{fields}");
    }
    let mut old = site.connect();
    old.send("GET /file HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(old.answer().status, 200);
    old.ends();
}

fn empty_lines_between_requests_are_ignored(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    let mut client = site.connect();
    for lines in [1, 2, 5] {
        client.send("\r\n".repeat(lines));
        assert_eq!(client.get("/file").body, b"content", "behind {lines} empty lines");
    }
    // As clients of old send them behind a body.
    client.send("GET /file HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc\r\nGET /absent HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!((client.answer().status, client.answer().status), (200, 404));
}

fn later_minor_versions_are_served_as_1_1(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    let mut client = site.connect();
    for version in ["1.2", "1.9", "1.1"] {
        client.send(format!("GET /file HTTP/{version}\r\nHost: test\r\n\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"content"[..]), "{version}");
        assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n") && !answer.closes(), "{version}");
    }
}

fn the_target_decides_over_the_host_field(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    let mut client = site.connect();
    for (target, status) in [
        ("http://another.example/file", 200),
        ("HTTP://another.example:80/file?query", 200),
        ("http://[::1]/absent", 404),
        // No answer here could speak for what must come over a secured connection.
        ("https://another.example/file", 421),
        ("HTTPS://test/file", 421),
    ] {
        assert_eq!(client.get(target).status, status, "{target}");
    }
}

fn every_answer_has_a_date_and_the_version_1_1(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |_| {});
    site.write("folder/index.html", "index");
    site.write("file", "content");
    for (request, status) in [
        ("GET /file HTTP/1.1\r\nHost: test\r\n\r\n", 200),
        ("GET /file HTTP/1.0\r\n\r\n", 200),
        ("GET /file HTTP/1.1\r\nHost: test\r\nRange: bytes=1-2\r\n\r\n", 206),
        ("GET /folder HTTP/1.1\r\nHost: test\r\n\r\n", 301),
        ("GET /file HTTP/1.1\r\nHost: test\r\nIf-None-Match: *\r\n\r\n", 304),
        ("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n", 204),
        ("PUT /in/new HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx", 201),
        ("PUT /in/new HTTP/1.1\r\nHost: test\r\n\r\n", 411),
        ("GET /file HTTP/1.1\r\n\r\n", 400),
        ("GET /absent HTTP/1.1\r\nHost: test\r\n\r\n", 404),
        ("POST /file HTTP/1.1\r\nHost: test\r\n\r\n", 405),
        ("GET /file HTTP/1.1\r\nHost: test\r\nIf-Match: \"x\"\r\n\r\n", 412),
        ("GET /file HTTP/1.1\r\nHost: test\r\nRange: bytes=100-\r\n\r\n", 416),
        ("GET /file HTTP/1.1\r\nHost: test\r\nExpect: x\r\n\r\n", 417),
    ] {
        let mut client = exchange(&site, request);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{request}");
        assert!(answer.head.starts_with("HTTP/1.1 "), "{request}");
        let date = answer.field("Date").unwrap_or_else(|| panic!("no Date for {request}"));
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
        let framed = [204, 304].contains(&status) || answer.field("Content-Length").is_some();
        assert!(framed && answer.field("Transfer-Encoding").is_none(), "{request}");
    }
}
