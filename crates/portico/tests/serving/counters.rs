//! The counters: that they move as they should, and that only the admin address shows them.

use crate::common::{Answer, Client, Site, bytes, on_every_backend, report};
use completion_port::OperationKind;
use portico::{
    counters::Phase,
    settings::{BackendChoice, ListenAddress, Settings},
};
use std::time::Duration;

on_every_backend!(
    what_requests_do_is_counted,
    answers_are_counted_by_their_status,
    connections_are_counted_while_they_are_open,
    the_admin_address_shows_both_forms,
    other_paths_and_methods_are_refused,
    files_and_counters_do_not_mix,
    a_request_that_is_none_ends_its_connection_and_is_not_counted,
    without_the_setting_nothing_is_shown_or_timed,
    records_of_the_access_log_are_counted,
    every_phase_is_timed,
    several_workers_add_up,
);

fn with_admin(backend: BackendChoice, change: impl FnOnce(&mut Settings)) -> Site {
    Site::with(backend, |settings| {
        settings.admin_listen = Some("127.0.0.1:0".parse().unwrap());
        // A file that is known stays known for the length of a test.
        settings.file_revalidate = Duration::from_secs(3_600);
        change(settings);
    })
}

fn admin(site: &Site) -> Client {
    match site.server().admin_address() {
        Some(ListenAddress::Internet(address)) => Client::connect(*address),
        other => panic!("{other:?}"),
    }
}

/// A reading, taken by the only worker in a round that has told what came before.
struct Reading(String);

impl Reading {
    fn take(client: &mut Client) -> Self {
        let answer = client.get("/counters.json");
        assert_eq!(answer.status, 200);
        Self(String::from_utf8(answer.body).unwrap())
    }

    /// The number behind these names, each inside the one before it.
    #[track_caller]
    fn number(&self, names: &[&str]) -> u64 {
        let mut rest = &self.0[..];
        for name in names {
            let name = format!("\"{name}\":");
            let place = rest.find(&name).unwrap_or_else(|| panic!("no {names:?} in {}", self.0));
            rest = &rest[place + name.len()..];
        }
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap();
        rest[..end].parse().unwrap_or_else(|_| panic!("no number at {names:?} in {}", self.0))
    }
}

fn what_requests_do_is_counted(backend: BackendChoice) {
    const REQUESTS: u64 = 100;
    let site = with_admin(backend, |_| {});
    let content = bytes(1_024, 1);
    site.write("file", &content);
    let (mut client, mut admin) = (site.connect(), admin(&site));
    assert_eq!(client.get("/file").body, content);
    let before = Reading::take(&mut admin);
    let mut head = String::new();
    for _ in 0..REQUESTS {
        head = client.get("/file").head;
    }
    let after = Reading::take(&mut admin);
    let moved = |names: &[&str]| after.number(names) - before.number(names);
    assert_eq!(moved(&["requests", "2xx"]), REQUESTS);
    assert_eq!(moved(&["requests", "4xx"]), 0);
    assert_eq!(moved(&["file_cache_lookups", "hit"]), REQUESTS);
    assert_eq!(moved(&["file_cache_lookups", "miss"]), 0);
    // Both of these connections; a stream has an item for each request.
    let kinds = [["completions", "receive stream"], ["completions", "send"]];
    for kind in kinds {
        assert_eq!(moved(&kind), REQUESTS + 1, "{kind:?}");
    }
    assert_eq!(moved(&["completions_per_wait", "sum"]), 2 * (REQUESTS + 1));
    // The answer is made ready with one copy of head (as the cache has it, up to the date) and body, which those who ask within
    // its second share. Beside it, the first reading was copied into its buffer.
    let ready_made = head.find("Date: ").unwrap() as u64;
    let copies = moved(&["body_bytes_copied"]) / 1_024;
    assert!((1..REQUESTS).contains(&copies), "{copies} copies");
    assert_eq!(moved(&["bytes_copied"]), copies * (ready_made + 1_024) + before.0.len() as u64);
    assert_eq!(moved(&["contended_locks"]), 0);
    // Those that the ring has for what comes are taken too.
    assert!((1..=320).contains(&after.number(&["buffers_high_mark", "4096"])), "{}", after.0);
    let calls = match backend {
        BackendChoice::IoUring => moved(&["system_calls", "io_uring_enter"]),
        _ => moved(&["system_calls", "send"]),
    };
    assert!(calls > REQUESTS, "{calls} calls for one request after the other");
}

fn answers_are_counted_by_their_status(backend: BackendChoice) {
    let site = with_admin(backend, |settings| {
        settings.listing = true;
        settings.file_cache_file_bytes = 4_096;
        settings.health_path = portico::settings::SitePath::new("/health").ok();
    });
    site.write("small", bytes(100, 1));
    site.write("large", bytes(300_000, 2));
    site.write("folder/page", "p");
    let mut client = site.connect();
    let tag = client.get("/small").field("ETag").unwrap().to_owned();
    client.get("/large");
    client.request("HEAD", "/large", "");
    client.request("GET", "/large", "Range: bytes=0-1\r\n");
    client.request("GET", "/large", "Range: bytes=0-1,200000-200009\r\n");
    client.request("GET", "/small", "Range: bytes=0-1,20-29\r\n");
    client.request("GET", "/small", &format!("If-None-Match: {tag}\r\n"));
    client.get("/folder");
    client.get("/folder/");
    client.get("/health");
    client.get("/nothing");
    client.request("PUT", "/small", "Content-Length: 0\r\n");
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    assert_eq!(site.server().counters().requests, [0, 8, 2, 3, 0]);
}

fn connections_are_counted_while_they_are_open(backend: BackendChoice) {
    let site = with_admin(backend, |_| {});
    let mut admin = admin(&site);
    let mut clients: Vec<_> = (0..5).map(|_| site.connect()).collect();
    clients.iter_mut().for_each(|client| drop(client.get("/")));
    let reading = Reading::take(&mut admin);
    assert_eq!((reading.number(&["connections_accepted"]), reading.number(&["connections_open"])), (5, 5));
    for client in &mut clients[..2] {
        client.request("GET", "/", "Connection: close\r\n");
        client.ends();
    }
    // The peer may see the end before the close has completed; each reading is a round further.
    let open = loop {
        let reading = Reading::take(&mut admin);
        assert_eq!(reading.number(&["connections_accepted"]), 5);
        match reading.number(&["connections_open"]) {
            4.. => {}
            open => break open,
        }
    };
    assert_eq!(open, 3);
}

fn the_admin_address_shows_both_forms(backend: BackendChoice) {
    let site = with_admin(backend, |_| {});
    site.get("/nothing");
    let mut client = admin(&site);
    let index = client.get("/");
    assert_eq!((index.status, index.field("Content-Type")), (200, Some("text/plain; charset=utf-8")));
    let index = String::from_utf8(index.body).unwrap();
    assert!(index.contains("/metrics") && index.contains("/counters.json"), "{index}");
    let fresh = |answer: &Answer, content_type: &str| {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("Content-Type"), Some(content_type));
        assert_eq!(answer.field("Cache-Control"), Some("no-store"));
    };
    let text = client.get("/metrics");
    fresh(&text, "text/plain; version=0.0.4; charset=utf-8");
    check_exposition(&String::from_utf8(text.body).unwrap());
    let json = client.get("/counters.json?pretty");
    fresh(&json, "application/json");
    let json = Reading(String::from_utf8(json.body).unwrap());
    assert!(json.0.starts_with('{') && json.0.ends_with("}\n"), "{}", json.0);
    assert_eq!(json.number(&["requests", "4xx"]), 1);
    // Without a body, and then the next on the same connection, and two at once.
    let head = client.request("HEAD", "/metrics", "");
    fresh(&head, "text/plain; version=0.0.4; charset=utf-8");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!([client.answer().status, client.answer().status], [200, 200]);
    let last = client.request("GET", "/", "Connection: close\r\n");
    assert!(last.closes());
    client.ends();
    assert_eq!(site.server().counters().all_requests(), 1, "those for the counters are not counted");
}

/// Each line is a comment or a sample, and what belongs together stands together, as the format asks for.
fn check_exposition(text: &str) {
    let mut family = String::new();
    let mut samples = 0;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{line}");
            assert!(
                name.starts_with("portico_") && (kind != "counter" || name.ends_with("_total")),
                "{line}"
            );
            name.clone_into(&mut family);
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(&family), "{line} stands under {family}");
            value.parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
            samples += 1;
        }
    }
    for wanted in [
        "portico_requests_total{class=\"4xx\"} 1\n",
        "portico_connections_open ",
        "portico_completions_total{operation=\"receive stream\"} ",
        "portico_completions_per_wait_bucket{le=\"+Inf\"} ",
        "portico_system_calls_total{call=\"",
        "portico_buffers_high_mark{capacity=\"4096\"} ",
        "portico_log_records_total{fate=\"dropped\"} 0\n",
        "portico_latency_microseconds{phase=\"request\",quantile=\"0.99\"} ",
        "portico_latency_microseconds_count{phase=\"request\"} 1\n",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
    }
    assert_eq!(text.contains("portico_context_switches_total"), cfg!(unix));
    assert_eq!(text.contains("portico_allocations_total"), cfg!(feature = "count-allocations"));
    report(&format!("{samples} samples"));
}

fn other_paths_and_methods_are_refused(backend: BackendChoice) {
    let site = with_admin(backend, |_| {});
    let mut client = admin(&site);
    for path in ["/metrics/", "/counters", "/index.html", "//metrics", "/metrics.txt"] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let answer = client.request(method, "/metrics", "Content-Length: 0\r\n");
        assert_eq!((answer.status, answer.field("Allow")), (405, Some("GET, HEAD")), "{method}");
    }
    // With a body that nobody wants.
    assert_eq!(client.upload("POST", "/metrics", b"GET /x HTTP/1.1\r\n\r\n").status, 405);
    assert_eq!(client.upload("GET", "/metrics", b"body").status, 200);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(site.server().counters().all_requests(), 0);
}

fn files_and_counters_do_not_mix(backend: BackendChoice) {
    let site = with_admin(backend, |settings| {
        let page = portico::settings::SitePath::new("/oops.html").unwrap();
        settings.error_pages = [400, 404, 405].map(|status| (status, page.clone())).into();
    });
    site.write("oops.html", "a page of the site");
    site.write("file", "content");
    site.write("metrics", "a file of this name");
    assert_eq!(admin(&site).get("/file").status, 404);
    assert_eq!(site.get("/metrics").body, b"a file of this name");
    for path in ["/counters.json", "/"] {
        let answer = site.get(path);
        assert_eq!((answer.status, &answer.body[..]), (404, &b"a page of the site"[..]), "{path}");
    }
    let built_in = |answer: Answer| assert!(answer.body.starts_with(b"<!doctype"), "{answer:?}");
    built_in(admin(&site).get("/oops.html"));
    built_in(admin(&site).request("POST", "/metrics", ""));
    let mut rude = admin(&site);
    rude.send("no request\r\n\r\n");
    built_in(rude.answer());
    assert!(admin(&site).get("/metrics").body.starts_with(b"# HELP "));
}

fn a_request_that_is_none_ends_its_connection_and_is_not_counted(backend: BackendChoice) {
    let site = with_admin(backend, |settings| settings.head_bytes = 4_096);
    let mut client = admin(&site);
    client.send("GET /metrics\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    client.finish();
    client.ends();
    let mut client = admin(&site);
    client.send(format!("GET /metrics HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(5_000)));
    assert_eq!(client.answer().status, 431);
    let counters = site.server().counters();
    assert_eq!((counters.all_requests(), counters.connections_accepted), (0, 0));
}

fn without_the_setting_nothing_is_shown_or_timed(backend: BackendChoice) {
    let site = Site::start(backend);
    assert!(site.server().admin_address().is_none());
    site.write("file", "content");
    assert_eq!(site.get("/metrics").status, 404);
    let counters = site.server().counters();
    assert_eq!((counters.all_requests(), counters.latency.len()), (1, 0));
}

fn records_of_the_access_log_are_counted(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let site = with_admin(backend, |settings| {
        settings.access_log = Some(portico::settings::LogTarget::File(file.clone()));
    });
    let mut client = site.connect();
    (0..10).for_each(|_| drop(client.get("/nothing")));
    let mut admin = admin(&site);
    while Reading::take(&mut admin).number(&["log_records", "written"]) < 10 {}
    let reading = Reading::take(&mut admin);
    assert_eq!(
        (reading.number(&["log_records", "written"]), reading.number(&["log_records", "dropped"])),
        (10, 0)
    );
    drop(site);
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 10, "none is of the counters");
}

fn every_phase_is_timed(backend: BackendChoice) {
    let site = with_admin(backend, |settings| settings.file_cache_file_bytes = 4_096);
    site.write("small", bytes(1_000, 1));
    site.write("large", bytes(1_000_000, 2));
    let mut client = site.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/small").status, 200);
        assert_eq!(client.get("/large").body.len(), 1_000_000);
    }
    client.send("GET /small HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4));
    (0..4).for_each(|_| drop(client.answer()));
    // The last send has completed when the worker has taken in another request of the same connection.
    client.get("/small");
    let mut admin = admin(&site);
    Reading::take(&mut admin);
    let latency = site.server().counters().latency;
    let of = |phase: Phase| *latency.iter().find(|latency| latency.phase == phase).unwrap();
    assert_eq!(of(Phase::Lookup).count, 11);
    assert!((10..=11).contains(&of(Phase::Request).count), "{latency:?}");
    assert!(of(Phase::Send).count > 3 + 3, "{latency:?}");
    for latency in &latency {
        let in_order = [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us];
        assert!(in_order.is_sorted() && latency.max_us < 60_000_000, "{latency:?}");
    }
    assert!(of(Phase::Request).max_us > 0, "a large file takes longer than one round: {latency:?}");
}

fn several_workers_add_up(backend: BackendChoice) {
    let site = with_admin(backend, |settings| settings.workers = 3);
    site.write("file", "content");
    let mut clients: Vec<_> = (0..12).map(|_| site.connect()).collect();
    for client in &mut clients {
        (0..5).for_each(|_| assert_eq!(client.get("/file").status, 200));
    }
    let counters = site.server().counters();
    assert_eq!((counters.requests[1], counters.connections_accepted), (60, 12));
    assert!(counters.port.completed(OperationKind::ReceiveStream) > 0, "{counters:?}");
    assert_eq!(admin(&site).get("/metrics").status, 200);
}

#[cfg(unix)]
mod at_a_unix_socket {
    use super::*;
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    on_every_backend!(the_counters_may_be_behind_a_file);

    fn the_counters_may_be_behind_a_file(backend: BackendChoice) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let site = with_admin(backend, |settings| {
            settings.admin_listen = Some(format!("unix:{}", path.display()).parse().unwrap());
        });
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("portico_requests_total"), "{answer}");
        drop(site);
        assert!(!path.exists(), "the file of the socket is left");
    }
}
