//! Limits for each client address, and clients behind a proxy.

use crate::common::{Client, Ending, Site, on_every_backend};
use portico::settings::{BackendChoice, LogTarget, Settings};
use std::{io::Read as _, net::SocketAddr, time::Duration};

on_every_backend!(
    an_address_has_as_many_connections_as_it_may,
    who_asks_too_often_is_told_when_to_come_back,
    an_answer_from_the_disk_counts_once,
    the_header_of_a_trusted_peer_says_whose_connection_it_is,
    a_trusted_peer_has_to_send_its_header,
    nobody_else_may_send_such_a_header,
    the_header_may_come_in_pieces_and_with_requests,
    the_limits_are_those_of_the_client_behind_the_proxy,
    a_header_that_does_not_come_ends_the_connection,
);

const GET: &str = "GET /file HTTP/1.1\r\nHost: test\r\n\r\n";

fn site(backend: BackendChoice, change: impl FnOnce(&mut Settings)) -> Site {
    let site = Site::with(backend, change);
    site.write("file", "content");
    site
}

fn trust(settings: &mut Settings) {
    settings.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
}

/// A connection from another address of this machine.
pub(crate) fn connect_from(from: [u8; 4], to: SocketAddr) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Client::new(socket.into())
}

fn an_address_has_as_many_connections_as_it_may(backend: BackendChoice) {
    let site = site(backend, |settings| settings.client_connections = 2);
    let mut inside: Vec<_> = (0..2).map(|_| site.connect()).collect();
    for client in &mut inside {
        assert_eq!(client.get("/file").status, 200);
    }
    for _ in 0..3 {
        site.connect().ending();
    }
    // Of no concern to others; and those inside go on.
    if cfg!(target_os = "linux") {
        assert_eq!(connect_from([127, 0, 0, 2], site.address).get("/file").status, 200);
    }
    for client in &mut inside {
        assert_eq!(client.get("/file").status, 200);
    }
    // Who leaves makes room, once the server has seen it leave.
    inside.pop();
    loop {
        let mut client = site.connect();
        client.try_send(GET);
        if let Ok(head) = client.try_head() {
            break assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        }
    }
}

fn who_asks_too_often_is_told_when_to_come_back(backend: BackendChoice) {
    let site = site(backend, |settings| {
        settings.client_requests_per_s = 1;
        settings.client_request_burst = 3;
        settings.workers = 2;
    });
    let mut client = site.connect();
    // More than a second's worth at once, so that those of one second more do not matter.
    let count = 60;
    client.send(GET.repeat(count));
    let answers: Vec<_> = (0..count).map(|_| client.answer()).collect();
    assert!(answers[..3].iter().all(|answer| answer.status == 200));
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(refused.len() > count / 2, "{}", refused.len());
    for answer in refused {
        assert!(!answer.closes(), "{}", answer.head);
        assert_eq!(answer.field("Retry-After"), Some("1"));
    }
    // Another connection of the same client has no more; another client has.
    site.connect().send(GET.repeat(10));
    let mut again = site.connect();
    again.send(GET.repeat(10));
    let statuses: Vec<_> = (0..10).map(|_| again.answer().status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    if cfg!(target_os = "linux") {
        assert_eq!(connect_from([127, 0, 0, 2], site.address).get("/file").status, 200);
    }
    let head = loop {
        let answer = again.request("HEAD", "/file", "");
        if answer.status == 429 {
            break answer;
        }
    };
    assert_eq!((head.body.len(), again.has_more()), (0, false));
}

/// A request that has to be read once more, because its file was not in the cache, is one request.
fn an_answer_from_the_disk_counts_once(backend: BackendChoice) {
    let site = site(backend, |settings| {
        settings.client_requests_per_s = 1;
        settings.client_request_burst = 4;
    });
    let mut client = site.connect();
    for number in 0..4 {
        assert_eq!(client.get(&format!("/absent-{number}")).status, 404);
    }
}

fn the_header_of_a_trusted_peer_says_whose_connection_it_is(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = LogTarget::File(path.clone());
    let mut site = site(backend, |settings| {
        settings.access_log = Some(log);
        trust(settings);
    });
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24".to_vec();
    v2.extend_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    v2.extend_from_slice(&[0; 20]);
    for header in [
        b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n".to_vec(),
        v2,
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".to_vec(),
    ] {
        let mut client = site.connect();
        client.send(header);
        assert_eq!(client.get("/file").body, b"content");
        assert_eq!(client.get("/file").body, b"content");
    }
    assert!(site.stop(Duration::from_secs(30)).is_clean());
    let mut text = String::new();
    std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
    let who: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let each = ["192.0.2.1", "2001:db8::7", "127.0.0.1", "127.0.0.1"];
    assert_eq!(who, each.iter().flat_map(|who| [who, who]).copied().collect::<Vec<_>>());
}

fn a_trusted_peer_has_to_send_its_header(backend: BackendChoice) {
    let site = site(backend, trust);
    for wrong in [
        GET,
        "PROXY TCP4 192.0.2.1 198.51.100.7 1\r\nGET / HTTP/1.1\r\n\r\n",
        "PROXY TCP4 192.0.2.1\r\n\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
    ] {
        let mut client = site.connect();
        client.send(wrong);
        // Without an answer; by a reset, where something was not read.
        client.ending();
    }
    let mut longest = site.connect();
    longest.try_send(format!("PROXY TCP4 {}", "1".repeat(200)));
    longest.ending();
}

fn nobody_else_may_send_such_a_header(backend: BackendChoice) {
    let site = site(backend, |settings| settings.proxy_protocol_from = vec!["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(site.get("/file").status, 200);
    let mut client = site.connect();
    client.send(format!("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n{GET}"));
    assert_eq!(client.answer().status, 400);
}

fn the_header_may_come_in_pieces_and_with_requests(backend: BackendChoice) {
    let whole = format!("PROXY TCP6 2001:db8::1 ::1 56324 443\r\n{GET}{GET}");
    for receive_buffer_bytes in [4_096, 64] {
        let site = site(backend, |settings| {
            trust(settings);
            settings.receive_buffer_bytes = receive_buffer_bytes;
        });
        for cut in [1, 5, 20, 37, 38, 39, 50] {
            let mut client = site.connect();
            client.send(&whole[..cut]);
            // Answered behind the first piece, by the only worker.
            let mut other = site.connect();
            other.send(&whole);
            assert_eq!(other.answer().body, b"content");
            client.send(&whole[cut..]);
            for _ in 0..2 {
                assert_eq!(client.answer().body, b"content");
            }
        }
    }
}

fn the_limits_are_those_of_the_client_behind_the_proxy(backend: BackendChoice) {
    let site = site(backend, |settings| {
        trust(settings);
        settings.client_connections = 1;
    });
    let from = |last: u8| {
        let mut client = site.connect();
        client.send(format!("PROXY TCP4 192.0.2.{last} 198.51.100.7 56324 443\r\n"));
        client.try_send(GET);
        client
    };
    let mut inside: Vec<_> = (1..=5).map(from).collect();
    for client in &mut inside {
        assert_eq!(client.answer().status, 200);
    }
    from(3).ending();
}

fn a_header_that_does_not_come_ends_the_connection(backend: BackendChoice) {
    let site = site(backend, |settings| {
        trust(settings);
        settings.header_timeout = Duration::from_millis(50);
    });
    let mut silent = site.connect();
    let mut begun = site.connect();
    begun.send("PROXY TCP4 ");
    for client in [&mut silent, &mut begun] {
        assert!(matches!(client.ending(), Ending::End | Ending::Reset));
    }
}
