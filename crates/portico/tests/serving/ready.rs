//! Answers that are made once for all who ask within a second.

use crate::common::{Answer, Site, bytes, on_every_backend};
use portico::settings::BackendChoice;
use std::{
    collections::BTreeSet,
    io::Write,
    time::{Duration, SystemTime},
};

on_every_backend!(
    every_answer_has_the_date_of_its_second,
    what_a_slow_client_is_sent_stays_as_it_was,
    an_answer_that_is_ready_gives_way_to_a_changed_file,
    clients_who_want_something_else_do_not_get_what_is_ready,
);

/// The head without its date, the date, and the body.
fn parts(answer: &Answer) -> (String, SystemTime, Vec<u8>) {
    let date = answer.field("Date").expect("every answer has a date");
    let head = answer.head.replace(&format!("Date: {date}"), "");
    (head, portico_http::date::parse(date.as_bytes()).unwrap(), answer.body.clone())
}

fn every_answer_has_the_date_of_its_second(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("small", bytes(1_000, 1));
    site.write("middle", bytes(12_000, 2));
    let mut client = site.connect();
    let etag = client.get("/small").field("ETag").unwrap().to_owned();
    let unchanged = format!("If-None-Match: {etag}\r\n");
    let requests =
        [("/small", ""), ("/middle", ""), ("/small", &*unchanged), ("/absent", ""), ("/.hidden", "")];
    let first: Vec<_> = requests.iter().map(|(path, fields)| client.request("GET", path, fields)).collect();
    assert_eq!(first.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200, 304, 404, 404]);
    let first: Vec<_> = first.iter().map(parts).collect();
    let mut dates = BTreeSet::new();
    while dates.len() < 3 {
        for ((path, fields), (head, _, body)) in requests.iter().zip(&first) {
            let second = Duration::from_secs(1);
            let earliest = SystemTime::now() - second;
            let answer = client.request("GET", path, fields);
            let (now_head, date, now_body) = parts(&answer);
            assert_eq!(&now_head, head, "{path} {fields}");
            assert!(&now_body == body, "another body of {path}");
            assert!((earliest..=SystemTime::now()).contains(&date), "{:?}", answer.field("Date"));
            dates.insert(date);
        }
    }
}

fn what_a_slow_client_is_sent_stays_as_it_was(backend: BackendChoice) {
    let site = Site::start(backend);
    let content = bytes(12_000, 3);
    site.write("file", &content);
    // More than its system takes at once, so that answers wait in the server.
    let mut slow = site.connect();
    const REQUESTS: usize = 2_000;
    let mut quick = site.connect();
    let mut dates = BTreeSet::new();
    let mut sent = 0;
    while dates.len() < 3 || sent < REQUESTS {
        if sent < REQUESTS {
            slow.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
            sent += 1;
        }
        let answer = quick.get("/file");
        assert_eq!(answer.body, content);
        dates.insert(answer.field("Date").unwrap().to_owned());
    }
    let mut last = SystemTime::UNIX_EPOCH;
    for number in 0..REQUESTS {
        let (_, date, body) = parts(&slow.answer());
        assert!(body == content, "answer {number} is another");
        assert!(date >= last, "answer {number} is older than the one before it");
        last = date;
    }
}

fn an_answer_that_is_ready_gives_way_to_a_changed_file(backend: BackendChoice) {
    let site = Site::with(backend, |settings| settings.file_revalidate = Duration::ZERO);
    let mut client = site.connect();
    for round in 0..20 {
        let content = bytes(1_000 + round, round as u64);
        let mut file = std::fs::File::create(site.path("file")).unwrap();
        file.write_all(&content).unwrap();
        drop(file);
        for _ in 0..3 {
            assert_eq!(client.get("/file").body, content, "round {round}");
        }
    }
}

fn clients_who_want_something_else_do_not_get_what_is_ready(backend: BackendChoice) {
    let site = Site::start(backend);
    let content = bytes(1_000, 4);
    site.write("file", &content);
    let mut client = site.connect();
    for _ in 0..5 {
        assert_eq!(client.get("/file").body, content);
        let absent = client.get("/absent");
        assert_eq!((absent.status, absent.body.is_empty()), (404, false));
    }
    let head = client.request("HEAD", "/file", "");
    assert_eq!((head.field("Content-Length"), head.body.len()), (Some("1000"), 0));
    assert!(client.request("HEAD", "/absent", "").body.is_empty());
    let part = client.request("GET", "/file", "Range: bytes=10-19\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &content[10..20]));
    // Both answers of a pipeline, and what HTTP/1.0 and the last answer of a connection say about that connection.
    client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\nGET /absent HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!((client.answer().body, client.answer().status), (content.clone(), 404));
    let mut old = site.connect();
    old.send("GET /file HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(old.answer().field("Connection"), Some("keep-alive"));
    assert_eq!(client.request("GET", "/file", "Connection: close\r\n").field("Connection"), Some("close"));
    client.ends();
}
