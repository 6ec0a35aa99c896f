//! Requests that are refused: with the right status, in an answer that can be read, and the end of the connection.

use crate::common::{Site, bytes, on_every_backend};
use portico::settings::BackendChoice;

on_every_backend!(
    bad_requests_are_refused_and_the_connection_ends,
    a_refusal_waits_its_turn,
    a_refusal_can_be_read_by_a_client_that_goes_on_sending,
    what_is_too_large_is_named,
);

fn bad_requests_are_refused_and_the_connection_ends(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    for (request, status) in [
        (&b"GET /file HTTP/1.1\r\n\r\n"[..], 400),
        (b"GET /file HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /file\r\n\r\n", 400),
        (b"GET  /file HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b"GET /file  HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b" GET /file HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b"GET file HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\nHost: test\n\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: test\r\n\n", 400),
        (b"GET /file HTTP/1.1\r\nHost : test\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: test\r\n folded\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: test\r\nNoColon\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: test\r\n: empty\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: test\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET /fi\xc3\xa4le HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: test\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: test\r\nContent-Length: +1\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET /file HTTP/1.1\r\nHost: test\r\nExpect: miracles\r\n\r\n", 417),
        (b"GET /file HTTP/2.0\r\nHost: test\r\n\r\n", 505),
        (b"GET /file HTTP/0.9\r\nHost: test\r\n\r\n", 505),
        (b"GET /file HTTPS/1.1\r\nHost: test\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 400),
        (b"\n\nGET /file HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b"GET /file HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"\x00", 400),
        (b"THISMETHODISLONGERTHANANYBODYWOULDEVERTHINKOF / HTTP/1.1\r\n", 501),
    ] {
        for pieces in [false, true] {
            let what = format!("{} (in pieces: {pieces})", request.escape_ascii());
            let mut client = site.connect();
            if pieces {
                // The refusal may come before the last byte is sent.
                let _ = request.iter().all(|byte| client.try_send([*byte]));
            } else {
                client.send(request);
            }
            let answer = client.answer();
            assert_eq!(answer.status, status, "{what}");
            assert!(answer.closes(), "{what}: {}", answer.head);
            let _ = client.stream.shutdown(std::net::Shutdown::Write);
            if !pieces {
                client.ends();
            }
        }
    }
}

/// Whatever the answers before it leave of a batch, the refusal comes after them.
fn a_refusal_waits_its_turn(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |_| {});
    for length in [1, 3_900] {
        site.write(&format!("{length}"), bytes(length, 1));
    }
    for last in [
        "GET / HTTP/3.0\r\n",
        "PUT /in/name HTTP/1.1\r\nHost: test\r\n\r\n",
        "PUT /in/name HTTP/1.1\r\nHost: test\r\nContent-Length: 9999999999\r\n\r\n",
        "PUT /in/name HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx",
    ] {
        // A batch has some 65,000 bytes, of which these leave more or less room, and none.
        for count in 14..=16 {
            for small in 0..18 {
                let mut client = site.connect();
                let fill = "GET /3900 HTTP/1.1\r\nHost: test\r\n\r\n".repeat(count);
                let small_ones = "GET /1 HTTP/1.1\r\nHost: test\r\n\r\n".repeat(small);
                client.send(format!("{fill}{small_ones}{last}"));
                for number in 0..count + small {
                    assert_eq!(client.answer().status, 200, "answer {number} of {count} before {last:?}");
                }
                let answer = client.answer();
                let wanted: &[u16] = match last {
                    last if last.starts_with("GET") => &[505],
                    last if last.ends_with('x') => &[201, 204],
                    last if last.contains("999") => &[413],
                    _ => &[411],
                };
                assert!(
                    wanted.contains(&answer.status),
                    "{last:?} behind {count} and {small}: {}",
                    answer.head
                );
            }
        }
    }
}

fn a_refusal_can_be_read_by_a_client_that_goes_on_sending(backend: BackendChoice) {
    let site = Site::start(backend);
    let mut client = site.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2000000\r\n\r\n");
    let mut sender = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        // What the server does not want it need not take; it must not reset the connection before its answer was read.
        let _ = std::io::Write::write_all(&mut sender, &vec![b'x'; 2_000_000]);
    });
    let answer = client.answer();
    assert_eq!((answer.status, answer.closes()), (405, true));
    sending.join().unwrap();
    client.finish();
    client.ends();
}

fn what_is_too_large_is_named(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    let fields = |count: usize, length: usize| {
        let fields: String =
            (0..count).map(|number| format!("X-{number}: {}\r\n", "v".repeat(length))).collect();
        format!("GET /file HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
    };
    for (request, status) in [
        (fields(99, 10), 200),
        (fields(100, 10), 431),
        (fields(1, 16_300), 200),
        (fields(1, 16_400), 431),
        (fields(80, 400), 431),
        (fields(1, 2_000_000), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(20_000)), 414),
        (format!("GET /file?{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(1_000_000)), 414),
        (format!("GET /file?{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(8_000)), 200),
    ] {
        let mut client = site.connect();
        let whole = client.try_send(&request);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{}", &request[..request.len().min(60)]);
        if status == 200 {
            assert!(whole);
            assert_eq!(client.get("/file").status, 200);
        }
    }
}
