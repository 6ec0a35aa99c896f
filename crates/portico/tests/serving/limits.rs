//! Limits: what waits, and is served when there is room.

use crate::common::{Site, assert_same, bytes, on_every_backend};
use portico::settings::BackendChoice;

on_every_backend!(
    clients_beyond_the_limit_wait_for_others_to_leave,
    many_clients_beyond_the_limit_wait_too,
    the_limit_is_reached_again_and_again,
    little_memory_per_connection_serves_all_the_same,
    a_long_head_comes_in_whatever_a_connection_may_hold,
    few_buffers_for_all_serve_many,
    slow_readers_leave_buffers_to_others,
    clients_that_read_nothing_and_send_single_bytes_hold_few_buffers,
    clients_that_read_nothing_and_send_much_do_not_take_the_last_buffers,
);

const GET: &str = "GET /file HTTP/1.1\r\nHost: test\r\n\r\n";

fn clients_beyond_the_limit_wait_for_others_to_leave(backend: BackendChoice) {
    wait_for_others_to_leave(backend, 8);
}

/// So many that the server stops accepting.
fn many_clients_beyond_the_limit_wait_too(backend: BackendChoice) {
    wait_for_others_to_leave(backend, 300);
}

fn wait_for_others_to_leave(backend: BackendChoice, count: usize) {
    let site = Site::with(backend, |settings| settings.connections = 2);
    site.write("file", "content");
    let mut inside: Vec<_> = (0..2).map(|_| site.connect()).collect();
    for client in &mut inside {
        assert_eq!(client.get("/file").status, 200);
    }
    // Their connections are there, and nobody answers them.
    let mut waiting: Vec<_> = (0..count).map(|_| site.connect()).collect();
    for client in &mut waiting {
        client.send(GET);
    }
    // Those inside go on being served.
    for client in &mut inside {
        assert_eq!(client.get("/file").status, 200);
    }
    drop(inside);
    // All that waited are served, in the order of their coming; each leaves for the next.
    for mut client in waiting {
        assert_eq!(client.answer().body, b"content");
    }
    assert_eq!(site.get("/file").status, 200);
}

/// A client that leaves just when the limit was reached must not leave the door shut behind it.
fn the_limit_is_reached_again_and_again(backend: BackendChoice) {
    let site = Site::with(backend, |settings| settings.connections = 1);
    site.write("file", "content");
    for round in 0..300 {
        let mut client = site.connect();
        match round % 3 {
            0 => assert_eq!(client.get("/file").status, 200),
            1 => client.send(GET),
            _ => {}
        }
    }
    // Several at once, that all want in.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    assert_eq!(site.connect().get("/file").body, b"content");
                }
            });
        }
    });
}

fn little_memory_per_connection_serves_all_the_same(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.send_slice_bytes = 1_024;
        settings.receive_buffer_bytes = 512;
        settings.head_bytes = 512;
        settings.queued_bytes = 2_560;
        settings.buffer_memory_bytes = 1 << 20;
    });
    site.write("long", bytes(200_000, 1));
    site.write("small", bytes(3_000, 2));
    let mut client = site.connect();
    let count = 100;
    let mut sender = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let pair = "GET /small HTTP/1.1\r\nHost: test\r\n\r\nGET /long HTTP/1.1\r\nHost: test\r\n\r\n";
        std::io::Write::write_all(&mut sender, pair.repeat(count).as_bytes()).unwrap();
    });
    for _ in 0..count {
        assert_same(&client.answer().body, &bytes(3_000, 2), "small");
        assert_same(&client.answer().body, &bytes(200_000, 1), "long");
    }
    sending.join().unwrap();
}

fn a_long_head_comes_in_whatever_a_connection_may_hold(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.send_slice_bytes = 1_024;
        settings.queued_bytes = 16_384 + 2 * 1_024;
        settings.buffer_memory_bytes = 1 << 20;
    });
    site.write("file", "content");
    let mut client = site.connect();
    for length in [3_000, 8_000, 16_000] {
        let head = format!("GET /file HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", "x".repeat(length));
        for part in head.as_bytes().chunks(1_000) {
            client.send(part);
        }
        assert_eq!(client.answer().body, b"content", "{length}");
    }
}

/// There are fewer buffers than clients: who does not get one is told to come back, or waits; nobody is served half.
fn few_buffers_for_all_serve_many(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.buffer_memory_bytes = 512 << 10;
        settings.file_cache_bytes = 0;
    });
    let content = bytes(600_000, 4);
    site.write("long", &content);
    site.write("file", "content");
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let mut client = site.connect();
                client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
                match client.try_head() {
                    Ok(head) if head.starts_with("HTTP/1.1 200 ") => match client.try_body(content.len()) {
                        Ok(body) => assert_same(&body, &content, "a download"),
                        Err((_, part)) => assert_same(&part, &content[..part.len()], "a part of a download"),
                    },
                    Ok(head) => assert!(head.starts_with("HTTP/1.1 503 "), "{head}"),
                    Err(_) => {}
                }
            });
        }
    });
    // When they are gone, and their buffers are back, everything is as before.
    let answer = loop {
        let answer = site.get("/long");
        if answer.status != 503 {
            break answer;
        }
    };
    assert_same(&answer.body, &content, "afterwards");
}

/// Readers that take nothing hold a slice each, and smaller ones where the large are taken; there is still something for another.
fn slow_readers_leave_buffers_to_others(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.buffer_memory_bytes = 2 << 20;
        settings.write_timeout = std::time::Duration::from_secs(3_600);
    });
    site.write("long", bytes(20 << 20, 1));
    let content = bytes(600_000, 2);
    site.write("other", &content);
    let slow: Vec<_> = (0..14)
        .map(|_| {
            let mut client = site.connect();
            socket2::SockRef::from(&client.stream).set_recv_buffer_size(4_096).unwrap();
            client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
            assert_eq!(client.head().status, 200);
            client
        })
        .collect();
    for _ in 0..50 {
        assert_same(&site.get("/other").body, &content, "beside slow readers");
    }
    drop(slow);
}

/// Each byte comes in a buffer of its own. A client that takes no answer and goes on sending must not keep them all.
fn clients_that_read_nothing_and_send_single_bytes_hold_few_buffers(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.buffer_memory_bytes = 8 << 20;
        settings.queued_bytes = 2 << 20;
        settings.write_timeout = std::time::Duration::from_secs(3_600);
        settings.header_timeout = settings.write_timeout;
    });
    site.write("long", bytes(20 << 20, 1));
    site.write("file", "content");
    let mut idle: Vec<_> = (0..12).map(|_| site.connect()).collect();
    for client in &mut idle {
        client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
        client.head();
    }
    let mut other = site.connect();
    for _ in 0..60 {
        for client in &mut idle {
            client.send("G");
        }
        // Answered by the same worker, behind those bytes.
        assert_eq!(other.get("/file").body, b"content");
    }
}

/// What a client sends behind a request whose answer it does not take comes in all the same, for a while. Where that would take the
/// last buffers such a client is cut, and the others are served.
fn clients_that_read_nothing_and_send_much_do_not_take_the_last_buffers(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.send_slice_bytes = 16_384;
        settings.buffer_memory_bytes = 2 << 20;
        settings.write_timeout = std::time::Duration::from_secs(3_600);
        settings.header_timeout = settings.write_timeout;
    });
    site.write("long", bytes(20 << 20, 1));
    site.write("file", "content");
    for _ in 0..3 {
        let mut idle: Vec<_> = (0..14).map(|_| site.connect()).collect();
        for client in &mut idle {
            socket2::SockRef::from(&client.stream).set_recv_buffer_size(4_096).unwrap();
            client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
            client.head();
        }
        // Until the system has taken of each answer what it takes.
        let mut other = site.connect();
        for _ in 0..3_000 {
            assert_eq!(other.get("/file").body, b"content");
        }
        for client in &mut idle {
            client.stream.set_nonblocking(true).unwrap();
            client.try_send("G".repeat(300_000));
            client.stream.set_nonblocking(false).unwrap();
        }
        assert_eq!(site.get("/file").body, b"content");
    }
}
