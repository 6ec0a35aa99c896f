//! HTTP/1.1 as clients speak it: in order, in pieces, and until one of both has enough.

use crate::common::{Site, assert_same, bytes, on_every_backend};
use portico::settings::BackendChoice;

on_every_backend!(
    pipelined_requests_are_answered_in_order,
    a_long_pipeline_is_answered_in_order,
    a_pipeline_may_come_in_any_pieces,
    a_head_may_come_byte_by_byte,
    a_head_may_come_in_many_segments,
    a_first_buffer_of_few_bytes_serves_all_the_same,
    connections_stay_open_as_the_versions_say,
    a_client_that_ends_its_side_gets_its_whole_answer,
    methods_that_files_do_not_have,
    options_tell_what_there_is,
    a_body_with_get_is_read_past,
    a_long_body_with_get_ends_the_connection,
);

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// Targets with the status and the length of their answer; some in memory, some streamed, some not there.
fn mixed(site: &Site) -> Vec<(&'static str, u16, Option<usize>)> {
    for length in [0, 10, 4_000, 5_000, 60_000, 150_000, 400_000] {
        site.write(&format!("{length}"), bytes(length, length as u64));
    }
    vec![
        ("/10", 200, Some(10)),
        ("/400000", 200, Some(400_000)),
        ("/10", 200, Some(10)),
        ("/absent", 404, None),
        ("/0", 200, Some(0)),
        ("/60000", 200, Some(60_000)),
        ("/60000", 200, Some(60_000)),
        ("/5000", 200, Some(5_000)),
        ("/../x", 400, None),
        ("/150000", 200, Some(150_000)),
        ("/150000", 200, Some(150_000)),
        ("/4000", 200, Some(4_000)),
        ("/absent", 404, None),
        ("/400000", 200, Some(400_000)),
        ("/0", 200, Some(0)),
        ("/10", 200, Some(10)),
    ]
}

#[track_caller]
fn expect(client: &mut crate::common::Client, wanted: &[(&str, u16, Option<usize>)]) {
    for (number, (target, status, length)) in wanted.iter().enumerate() {
        let answer = client.answer();
        assert_eq!(answer.status, *status, "answer {number}, {target}: {}", answer.head);
        if let Some(length) = length {
            assert_same(&answer.body, &bytes(*length, *length as u64), &format!("answer {number}, {target}"));
        }
    }
}

fn pipelined_requests_are_answered_in_order(backend: BackendChoice) {
    let site = Site::start(backend);
    let wanted = mixed(&site);
    let all: String = wanted.iter().map(|(target, ..)| get(target)).collect();
    let mut client = site.connect();
    for _ in 0..3 {
        client.send(&all);
        expect(&mut client, &wanted);
    }
    assert!(!client.has_more());
}

fn a_long_pipeline_is_answered_in_order(backend: BackendChoice) {
    let site = Site::start(backend);
    let wanted = mixed(&site).repeat(20);
    let all: String = wanted.iter().map(|(target, ..)| get(target)).collect();
    let mut client = site.connect();
    let mut sender = client.stream.try_clone().unwrap();
    // More than the sockets hold: one side has to read while the other writes.
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, all.as_bytes()).unwrap());
    expect(&mut client, &wanted);
    sending.join().unwrap();
    assert!(!client.has_more());
    // Small ones, thousands at once, that fill batch after batch.
    let wanted = vec![("/4000", 200, Some(4_000)); 3_000];
    let mut sender = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        std::io::Write::write_all(&mut sender, get("/4000").repeat(3_000).as_bytes()).unwrap();
    });
    expect(&mut client, &wanted);
    sending.join().unwrap();
    assert!(!client.has_more());
}

fn a_pipeline_may_come_in_any_pieces(backend: BackendChoice) {
    let site = Site::start(backend);
    let wanted = mixed(&site);
    let all: String = wanted.iter().map(|(target, ..)| get(target)).collect();
    for piece in [7, 61, 300] {
        let mut client = site.connect();
        for part in all.as_bytes().chunks(piece) {
            client.send(part);
        }
        expect(&mut client, &wanted);
        assert!(!client.has_more());
    }
}

fn a_head_may_come_byte_by_byte(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    let mut client = site.connect();
    for _ in 0..3 {
        for byte in get("/file").as_bytes() {
            client.send([*byte]);
        }
        assert_eq!(client.answer().body, b"content");
    }
}

fn a_head_may_come_in_many_segments(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    let mut client = site.connect();
    // Fifteen thousand bytes, just below the limit of the head.
    let fields: String = (0..60).map(|number| format!("X-{number}: {}\r\n", "v".repeat(240))).collect();
    let head = format!("GET /file HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    assert!((14_000..16_384).contains(&head.len()));
    for piece in [1_000, 4_096, 4_097, 333, 16_000] {
        for part in head.as_bytes().chunks(piece) {
            client.send(part);
        }
        assert_eq!(client.answer().body, b"content", "in pieces of {piece}");
    }
}

fn a_first_buffer_of_few_bytes_serves_all_the_same(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.receive_buffer_bytes = 16;
        settings.send_slice_bytes = 700;
    });
    let wanted = mixed(&site);
    let all: String = wanted.iter().map(|(target, ..)| get(target)).collect();
    let mut client = site.connect();
    client.send(&all);
    expect(&mut client, &wanted);
    for byte in get("/10").as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.answer().body, bytes(10, 10));
    client
        .send(format!("GET /10 HTTP/1.1\r\nHost: test\r\nContent-Length: 5000\r\n\r\n{}", "b".repeat(5_000)));
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.get("/10").status, 200);
    client.finish();
    client.ends();
}

fn connections_stay_open_as_the_versions_say(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("small", "x");
    site.write("long", bytes(300_000, 1));
    for target in ["/small", "/long", "/absent"] {
        for (version, connection, closes, said) in [
            ("1.1", "", false, None),
            ("1.1", "Connection: keep-alive\r\n", false, None),
            ("1.1", "Connection: close\r\n", true, Some("close")),
            ("1.1", "Connection: x, CLOSE\r\n", true, Some("close")),
            ("1.0", "", true, Some("close")),
            ("1.0", "Connection: keep-alive\r\n", false, Some("keep-alive")),
            ("1.0", "Connection: Keep-Alive\r\n", false, Some("keep-alive")),
        ] {
            let what = format!("{target} {version} {connection}");
            let mut client = site.connect();
            client.send(format!("GET {target} HTTP/{version}\r\nHost: test\r\n{connection}\r\n"));
            let answer = client.answer();
            assert_eq!(answer.field("Connection"), said, "{what}");
            if closes {
                client.ends();
            } else {
                assert_eq!(client.get("/small").status, 200, "{what}");
            }
        }
    }
    drop(site);
    let site = Site::with(backend, |settings| settings.keep_alive = false);
    site.write("small", "x");
    let mut client = site.connect();
    assert!(client.get("/small").closes());
    client.ends();
}

fn a_client_that_ends_its_side_gets_its_whole_answer(backend: BackendChoice) {
    let site = Site::start(backend);
    let wanted = mixed(&site);
    for (target, status, length) in &wanted {
        let mut client = site.connect();
        client.send(get(target));
        client.finish();
        let answer = client.answer();
        assert_eq!(answer.status, *status);
        if let Some(length) = length {
            assert_same(&answer.body, &bytes(*length, *length as u64), target);
        }
        client.ends();
    }
    let mut client = site.connect();
    client.send(wanted.iter().map(|(target, ..)| get(target)).collect::<String>());
    client.finish();
    expect(&mut client, &wanted);
    client.ends();
    // Half a request gets nothing.
    for half in ["", "\r\n", "GET /10 HTTP/1.1\r\nHost: te"] {
        let mut client = site.connect();
        client.send(half);
        client.finish();
        client.ends();
    }
}

fn methods_that_files_do_not_have(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    let mut client = site.connect();
    for target in ["/file", "/absent", "/"] {
        for method in ["POST", "PUT"] {
            let answer = client.upload(method, target, b"body");
            assert_eq!((answer.status, answer.field("Allow")), (405, Some("GET, HEAD, OPTIONS")), "{method}");
        }
        for method in ["DELETE", "PATCH", "TRACE"] {
            let answer = client.request(method, target, "");
            assert_eq!((answer.status, answer.field("Allow")), (405, Some("GET, HEAD, OPTIONS")), "{method}");
        }
        for method in ["BREW", "get", "PROPFIND", "M-SEARCH"] {
            let answer = client.request(method, target, "");
            assert_eq!((answer.status, answer.field("Allow")), (501, None), "{method}");
        }
    }
    assert_eq!(client.get("/file").body, b"content");
    assert_eq!(site.names(""), ["file"]);
    let mut client = site.connect();
    let answer = client.request("CONNECT", "example.com:443", "");
    assert_eq!(answer.status, 405);
    client.ends();
}

fn options_tell_what_there_is(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |_| {});
    site.write("file", "content");
    let mut client = site.connect();
    for (target, allow) in [
        ("/file", "GET, HEAD, OPTIONS"),
        ("/in/new", "GET, HEAD, OPTIONS, POST, PUT"),
        ("*", "GET, HEAD, OPTIONS, POST, PUT"),
    ] {
        let answer = client.request("OPTIONS", target, "");
        assert_eq!((answer.status, answer.field("Allow")), (204, Some(allow)), "{target}");
        assert_eq!(answer.field("Content-Length"), None, "204 has none (RFC 9110 section 8.6)");
    }
    assert_eq!(client.get("/file").body, b"content");
}

fn a_body_with_get_is_read_past(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    site.write("long", bytes(200_000, 1));
    for target in ["/file", "/long", "/absent"] {
        let mut client = site.connect();
        for body in [0, 1, 5_000, 65_536] {
            let wanted = client.get(target).status;
            let fields = format!("Content-Length: {body}\r\n");
            client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n{}", "G".repeat(body)));
            assert_eq!(client.answer().status, wanted, "{target}, {body}");
        }
        let chunks = "5\r\nGET /\r\n1;a=b\r\nx\r\n0\r\nTrailer: x\r\n\r\n";
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        ));
        client.send(get("/file"));
        client.answer();
        assert_eq!(client.answer().body, b"content", "behind a chunked body");
        // The body comes in pieces, and another request right behind it.
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\nabc"));
        client.send(format!("def{}", get("/file")));
        client.answer();
        assert_eq!(client.answer().body, b"content", "behind a late body");
    }
}

fn a_long_body_with_get_ends_the_connection(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    for (fields, body) in [
        ("Content-Length: 65537\r\n", "x".repeat(65_537)),
        ("Content-Length: 99999999\r\n", "x".repeat(500_000)),
        ("Expect: 100-continue\r\nContent-Length: 10\r\n", String::new()),
    ] {
        let mut client = site.connect();
        client.send(format!("GET /file HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        client.try_send(body);
        let answer = client.answer();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"content"[..]), "{fields}");
        client.finish();
        client.ends();
    }
}
