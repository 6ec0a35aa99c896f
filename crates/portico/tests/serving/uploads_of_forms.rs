//! Forms with files: each is there whole or not at all, whatever the form is like and however it comes.

use crate::common::{Answer, Client, Site, assert_same, bytes, on_every_backend};
use portico::settings::BackendChoice;
use std::{fs, time::Duration};

on_every_backend!(
    several_files_come_in_one_form,
    every_length_comes_whole_however_it_is_cut,
    a_browser_is_led_back_and_a_script_gets_json,
    a_taken_name_keeps_its_file_and_hinders_no_other,
    names_that_are_not_allowed_are_passed_over,
    a_name_that_is_not_taken_is_shown_in_short,
    what_is_no_form_is_refused,
    a_form_that_breaks_off_leaves_its_whole_files,
    the_page_offers_the_form_where_it_can_be_sent,
    a_client_may_wait_for_100_with_a_form,
    many_forms_at_once,
);

fn part(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--bound\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body: Vec<u8> = parts.iter().flat_map(|(name, content)| part(name, content)).collect();
    body.extend_from_slice(b"--bound--\r\n");
    body
}

fn head(fields: &str) -> String {
    format!(
        "POST /in/ HTTP/1.1\r\nHost: test\r\nContent-Type: multipart/form-data; boundary=bound\r\n{fields}\r\n"
    )
}

#[track_caller]
fn post(client: &mut Client, fields: &str, body: &[u8]) -> Answer {
    client.send(head(&format!("Content-Length: {}\r\n{fields}", body.len())));
    client.send(body);
    client.answer()
}

fn several_files_come_in_one_form(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |_| {});
    let mut client = site.connect();
    let (large, tricky) = (bytes(700_000, 1), b"\r\n--bound\r--boun\r\n--boun\r\n-\r\n--".repeat(100));
    let tricky = tricky.replace_boundary();
    let field = b"--bound\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nnot a file\r\n";
    let none = b"--bound\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\"\r\n\r\n\r\n";
    let files = form(&[("a.txt", b"first"), ("gro\u{df}.bin", &large), ("empty", b""), ("tricky", &tricky)]);
    let body = [&field[..], none, &files].concat();
    let answer = post(&mut client, "", &body);
    assert_eq!((answer.status, answer.field("Location")), (303, Some("/in/")));
    assert_eq!(site.names("in"), ["a.txt", "empty", "gro\u{df}.bin", "tricky"]);
    for (name, content) in
        [("a.txt", &b"first"[..]), ("gro\u{df}.bin", &large), ("empty", b""), ("tricky", &tricky)]
    {
        assert_same(&fs::read(site.path(&format!("in/{name}"))).unwrap(), content, name);
    }
    // The connection goes on.
    assert_eq!(client.get("/in/a.txt").body, b"first");
}

trait ReplaceBoundary {
    fn replace_boundary(self) -> Vec<u8>;
}

impl ReplaceBoundary for Vec<u8> {
    /// Without the boundary as a whole.
    fn replace_boundary(mut self) -> Vec<u8> {
        while let Some(at) = self.windows(9).position(|window| window == b"\r\n--bound") {
            self[at + 8] = b'D';
        }
        self
    }
}

fn every_length_comes_whole_however_it_is_cut(backend: BackendChoice) {
    for receive_buffer_bytes in [4_096, 16] {
        let site =
            Site::with_uploads(backend, |settings| settings.receive_buffer_bytes = receive_buffer_bytes);
        let mut client = site.connect();
        let lengths = [0, 1, 4_095, 4_096, 4_097, 262_143, 262_144, 262_145, 1 << 20];
        let contents: Vec<_> = lengths.iter().map(|length| bytes(*length, *length as u64)).collect();
        let names: Vec<_> = lengths.iter().map(ToString::to_string).collect();
        let parts: Vec<_> =
            names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
        let body = form(&parts);
        for chunk in [0, 7_001, 300_000] {
            if chunk == 0 {
                assert_eq!(post(&mut client, "", &body).status, 303);
            } else {
                client.send(head("Transfer-Encoding: chunked\r\n"));
                let mut chunked = Vec::new();
                for piece in body.chunks(chunk) {
                    chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    chunked.extend_from_slice(piece);
                    chunked.extend_from_slice(b"\r\n");
                }
                chunked.extend_from_slice(b"0\r\n\r\n");
                client.send(chunked);
                assert_eq!(client.answer().status, 303, "chunks of {chunk}");
            }
            for (name, content) in &parts {
                let path = site.path(&format!("in/{name}"));
                assert_same(&fs::read(&path).unwrap(), content, name);
                fs::remove_file(path).unwrap();
            }
        }
        // Byte by byte, and in chunks of one.
        let small = form(&[("one", b"1\r\n--boun"), ("two", b"")]);
        client.send(head(&format!("Content-Length: {}\r\n", small.len())));
        small.iter().for_each(|byte| client.send([*byte]));
        assert_eq!(client.answer().status, 303);
        client.send(head("Transfer-Encoding: chunked\r\n"));
        let other = form(&[("three", b"3\r\n--boun\r"), ("four", b"\r\n")]);
        let chunked: Vec<u8> =
            other.iter().flat_map(|byte| [b'1', b'\r', b'\n', *byte, b'\r', b'\n']).collect();
        client.send([&chunked[..], b"0\r\n\r\n"].concat());
        assert_eq!(client.answer().status, 303);
        for (name, content) in
            [("one", &b"1\r\n--boun"[..]), ("two", b""), ("three", b"3\r\n--boun\r"), ("four", b"\r\n")]
        {
            assert_eq!(fs::read(site.path(&format!("in/{name}"))).unwrap(), content, "{name}");
        }
    }
}

fn a_browser_is_led_back_and_a_script_gets_json(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| {
        settings.listing = true;
        settings.file_revalidate = Duration::from_secs(3_600);
    });
    let mut client = site.connect();
    assert_eq!(client.get("/in/").status, 200);
    let answer = post(&mut client, "Accept: text/html\r\n", &form(&[("first", b"1")]));
    assert_eq!((answer.status, answer.field("Location")), (303, Some("/in/")));
    // The listing that it leads to has the file, however long the cache trusts what it knows.
    let page = String::from_utf8(client.get("/in/").body).unwrap();
    assert!(page.contains("<bdi>first</bdi>"), "{page}");
    let answer =
        post(&mut client, "Accept: application/json\r\n", &form(&[("se\u{e9}", b"2"), ("third", b"3")]));
    assert_eq!((answer.status, answer.field("Content-Type")), (201, Some("application/json")));
    let text = "{\"files\":[{\"name\":\"se\u{e9}\",\"status\":201},{\"name\":\"third\",\"status\":201}]}\n";
    assert_eq!(String::from_utf8(answer.body).unwrap(), text);
    assert_eq!(client.get("/in/third").body, b"3");
}

fn a_taken_name_keeps_its_file_and_hinders_no_other(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |_| {});
    site.write("in/taken", "before");
    fs::create_dir(site.path("in/folder")).unwrap();
    let mut client = site.connect();
    let body = form(&[("new", b"1"), ("taken", b"2"), ("folder", b"3"), ("last", b"4"), ("new", b"5")]);
    let answer = post(&mut client, "Accept: application/json\r\n", &body);
    assert_eq!((answer.status, answer.closes()), (409, false));
    let text = String::from_utf8(answer.body).unwrap();
    let statuses: Vec<_> = text.split("\"status\":").skip(1).map(|rest| &rest[..3]).collect();
    assert_eq!(statuses, ["201", "409", "409", "201", "409"], "{text}");
    for (name, content) in [("new", "1"), ("taken", "before"), ("last", "4")] {
        assert_eq!(fs::read_to_string(site.path(&format!("in/{name}"))).unwrap(), content);
    }
    assert_eq!(site.names("in"), ["folder", "last", "new", "taken"]);
    let answer = post(&mut client, "", &form(&[("taken", b"2"), ("<b>&amp;", b"")]));
    let page = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 409);
    assert!(
        page.contains("<bdi>taken</bdi>: there is a file of this name") && !page.contains("<b>"),
        "{page}"
    );
}

fn names_that_are_not_allowed_are_passed_over(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| settings.dot_files = true);
    let long = "n".repeat(256);
    let mut refused = vec![
        "..",
        ".",
        ".hidden",
        ".portico-upload-1-1.part",
        "../outside",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "..\\outside",
        "C:\\fake\\file",
        "portico.toml",
        "Portico.TOML",
        "%0D%0Ax",
        "tab\there",
        &long,
    ];
    if cfg!(windows) {
        refused.extend(["nul", "COM1.txt", "name.", "name ", "a:b", "a::$DATA", "NAMEXX~1.TXT", "a?", "a*"]);
    }
    let mut client = site.connect();
    for name in refused {
        let answer = post(&mut client, "", &form(&[(name, b"lost"), ("kept", b"kept")]));
        assert_eq!(answer.status, 400, "{name}");
        assert_eq!(
            (site.names("in"), site.names("")),
            (vec!["kept".to_owned()], vec!["in".to_owned()]),
            "{name}"
        );
        fs::remove_file(site.path("in/kept")).unwrap();
    }
    for (written, name) in [("a..b", "a..b"), ("two words", "two words"), ("per%cent", "per%cent")] {
        assert_eq!(post(&mut client, "", &form(&[(written, b"1")])).status, 303, "{written}");
        assert!(site.path(&format!("in/{name}")).exists());
    }
}

/// A form may have a thousand of them, each almost as long as the head of its part may be: they are not all remembered whole.
fn a_name_that_is_not_taken_is_shown_in_short(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |_| {});
    let long = "\u{e9}".repeat(1_900);
    let parts: Vec<_> = (0..1_000).map(|_| (&*long, &b""[..])).collect();
    let answer = post(&mut site.connect(), "Accept: application/json\r\n", &form(&parts));
    assert_eq!(answer.status, 400);
    let body = String::from_utf8(answer.body).unwrap();
    let shown = format!("{{\"name\":\"{}...\",\"status\":400}}", "\u{e9}".repeat(127));
    assert_eq!(body.matches(&shown).count(), 1_000, "{}", &body[..body.len().min(600)]);
    assert!(site.names("in").is_empty());
}

fn what_is_no_form_is_refused(backend: BackendChoice) {
    let mut site = Site::with_uploads(backend, |_| {});
    let good = form(&[("a", b"1")]);
    for (content_type, body, status) in [
        ("text/plain", &good[..], 415),
        ("application/x-www-form-urlencoded", b"a=b", 415),
        ("multipart/mixed; boundary=bound", &good, 415),
        ("multipart/form-data", &good, 400),
        ("multipart/form-data; boundary=other", &good, 400),
        ("multipart/form-data; boundary=bound", b"", 400),
        ("multipart/form-data; boundary=bound", b"--bound--", 400),
        ("multipart/form-data; boundary=bound", b"preamble", 400),
        ("multipart/form-data; boundary=bound", b"--bound\r\n\r\nx\r\n--bound--", 400),
    ] {
        let mut client = site.connect();
        client.send(format!(
            "POST /in/ HTTP/1.1\r\nHost: test\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        client.send(body);
        assert_eq!(client.answer().status, status, "{content_type} {:?}", body.escape_ascii().to_string());
        assert!(site.names("in").is_empty());
    }
    let mut client = site.connect();
    client.send("POST /in/ HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.answer().status, 411);
    // Elsewhere there is nothing to send a form to.
    let mut client = site.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status, 405);
    drop(client);
    assert!(site.stop(Duration::from_secs(60)).is_clean());
}

fn a_form_that_breaks_off_leaves_its_whole_files(backend: BackendChoice) {
    let mut site = Site::with_uploads(backend, |_| {});
    let content = bytes(300_000, 1);
    // By its framing: what is there is no whole form.
    let mut client = site.connect();
    let body = [part("whole", b"1"), part("broken", &content)].concat();
    let answer = post(&mut client, "", &body[..body.len() - 2]);
    assert_eq!((answer.status, answer.closes()), (400, true));
    drop(client);
    // And because the client leaves.
    let mut client = site.connect();
    client.send(head("Content-Length: 10000000\r\n"));
    client.send([part("other", b"1"), part("lost", &content)].concat());
    client.finish();
    client.ends();
    assert!(site.stop(Duration::from_secs(60)).is_clean());
    assert_eq!(site.names("in"), ["other", "whole"]);
}

fn the_page_offers_the_form_where_it_can_be_sent(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| settings.listing = true);
    let mut client = site.connect();
    fs::create_dir(site.path("in/deeper")).unwrap();
    for (target, offered) in [("/", false), ("/in/", true), ("/in/deeper/", false)] {
        let answer = client.get(target);
        let policy = answer.field("Content-Security-Policy").unwrap();
        assert_eq!(policy.contains("script-src 'sha256-"), offered, "{target}");
        assert_eq!(policy.contains("form-action 'self'"), offered, "{target}");
        let page = String::from_utf8(answer.body).unwrap();
        assert_eq!(page.contains("enctype=\"multipart/form-data\""), offered, "{target}");
        assert_eq!(page.contains("<script>"), offered, "{target}");
    }
    let options = client.request("OPTIONS", "/in/", "");
    assert_eq!(options.field("Allow"), Some("GET, HEAD, OPTIONS, POST"));
}

fn a_client_may_wait_for_100_with_a_form(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |_| {});
    let mut client = site.connect();
    let body = form(&[("a", b"1")]);
    client.send(head(&format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len())));
    assert_eq!(client.head().status, 100);
    assert!(!client.has_more());
    client.send(body);
    assert_eq!(client.answer().status, 303);
}

fn many_forms_at_once(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| settings.workers = 2);
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let site = &site;
            scope.spawn(move || {
                let mut client = site.connect();
                for round in 0..4 {
                    let contents: Vec<_> =
                        (0..3).map(|number| bytes(worker * 9_001 + number * 40_009, 1)).collect();
                    let names: Vec<_> = (0..3).map(|number| format!("{worker}-{round}-{number}")).collect();
                    let parts: Vec<_> =
                        names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
                    assert_eq!(post(&mut client, "", &form(&parts)).status, 303);
                    for (name, content) in parts {
                        assert_same(&fs::read(site.path(&format!("in/{name}"))).unwrap(), content, name);
                    }
                }
            });
        }
    });
    assert_eq!(site.names("in").len(), 96);
}
