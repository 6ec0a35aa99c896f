//! What a folder's visitor sees: every byte of every file, with its type.

use crate::common::{Site, assert_same, bytes, on_every_backend};
use portico::settings::BackendChoice;
use std::time::Duration;

on_every_backend!(
    every_length_arrives_whole,
    nothing_is_cached_and_every_length_arrives_whole,
    head_answers_as_get_without_the_body,
    types_follow_the_names,
    index_files_answer_for_their_folder,
    a_folder_without_its_slash_is_redirected,
    names_may_be_encoded_and_of_any_script,
    fields_that_the_settings_add,
    many_answers_of_files_in_memory_come_in_order_on_one_connection,
);

const LENGTHS: [usize; 18] = [
    0,
    1,
    100,
    767,
    4_095,
    4_096,
    4_097,
    65_535,
    65_536,
    65_537,
    130_000,
    131_071,
    131_072,
    131_073,
    262_144,
    262_145,
    1 << 20,
    10 << 20,
];

fn fetch_all(site: &Site) {
    for length in LENGTHS {
        site.write(&format!("{length}.bin"), bytes(length, length as u64));
    }
    let mut client = site.connect();
    // The second round is answered from the cache where there is one.
    for _ in 0..2 {
        for length in LENGTHS {
            let answer = client.get(&format!("/{length}.bin"));
            assert_eq!(answer.status, 200, "{}", answer.head);
            assert_eq!(answer.field("Content-Length"), Some(&*length.to_string()));
            assert_same(&answer.body, &bytes(length, length as u64), &format!("{length} bytes"));
        }
    }
}

fn every_length_arrives_whole(backend: BackendChoice) {
    fetch_all(&Site::start(backend));
}

fn nothing_is_cached_and_every_length_arrives_whole(backend: BackendChoice) {
    fetch_all(&Site::with(backend, |settings| {
        settings.file_cache_bytes = 0;
        settings.file_cache_entries = 1;
        settings.file_revalidate = Duration::ZERO;
        settings.send_slice_bytes = 20_000;
    }));
}

fn head_answers_as_get_without_the_body(backend: BackendChoice) {
    let site = Site::start(backend);
    let mut client = site.connect();
    for length in [0, 10, 5_000, 300_000] {
        site.write("file.css", bytes(length, 1));
        site.write(&format!("{length}.css"), bytes(length, 1));
        let head = client.request("HEAD", &format!("/{length}.css"), "");
        let get = client.get(&format!("/{length}.css"));
        assert_eq!(get.body.len(), length);
        let without_date =
            |head: &str| head.lines().filter(|line| !line.starts_with("Date")).collect::<Vec<_>>().join("\n");
        assert_eq!(without_date(&head.head), without_date(&get.head));
    }
    let head = client.request("HEAD", "/absent", "");
    assert_eq!(head.status, 404);
    assert_ne!(head.field("Content-Length"), Some("0"));
    assert_eq!(client.get("/10.css").body.len(), 10, "a body came with an answer to HEAD");
}

fn types_follow_the_names(backend: BackendChoice) {
    let site = Site::start(backend);
    let mut client = site.connect();
    for (name, content_type) in [
        ("a.html", "text/html; charset=utf-8"),
        ("a.HTM", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.png", "image/png"),
        ("a.jpg", "image/jpeg"),
        ("a.svg", "image/svg+xml"),
        ("a.wasm", "application/wasm"),
        ("a.woff2", "font/woff2"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.tar.gz", "application/gzip"),
        ("a.unheard-of", "application/octet-stream"),
        ("noextension", "application/octet-stream"),
    ] {
        site.write(name, "x");
        assert_eq!(client.get(&format!("/{name}")).field("Content-Type"), Some(content_type), "{name}");
    }
}

fn index_files_answer_for_their_folder(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.index = vec!["index.html".into(), "start.txt".into()];
    });
    site.write("index.html", "root");
    site.write("both/index.html", "first");
    site.write("both/start.txt", "second");
    site.write("second/start.txt", "second");
    site.write("none/other.html", "other");
    site.write("odd/index.html/inner.txt", "a folder in the place of an index");
    let mut client = site.connect();
    assert_eq!(client.get("/").body, b"root");
    assert_eq!(client.get("/?a=b").body, b"root");
    assert_eq!(client.get("/both/").body, b"first");
    let second = client.get("/second/");
    assert_eq!(
        (second.body.as_slice(), second.field("Content-Type")),
        (&b"second"[..], Some("text/plain; charset=utf-8"))
    );
    assert_eq!(client.get("/none/").status, 404);
    assert_eq!(client.get("/odd/").status, 404);
    assert_eq!(client.get("/second/start.txt/").status, 404, "a file is no folder");
}

fn a_folder_without_its_slash_is_redirected(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("folder/index.html", "x");
    site.write("two words/index.html", "x");
    let mut client = site.connect();
    for (target, location) in [
        ("/folder", "/folder/"),
        ("/folder?a=b&c=%20", "/folder/?a=b&c=%20"),
        ("/folder?", "/folder/?"),
        ("/two%20words?q", "/two%20words/?q"),
        ("http://test/folder?x", "/folder/?x"),
    ] {
        let answer = client.get(target);
        assert_eq!((answer.status, answer.field("Location")), (301, Some(location)), "{target}");
    }
    assert_eq!(client.get("/two%20words/").body, b"x");
    // What follows two slashes would be a host to the client.
    for target in ["//host/../../folder", "//../folder", "http://test//host/../../folder", "//folder"] {
        assert_eq!(client.get(target).status, 404, "{target}");
    }
}

fn names_may_be_encoded_and_of_any_script(backend: BackendChoice) {
    let site = Site::start(backend);
    let mut client = site.connect();
    for (name, target) in [
        ("two words.txt", "/two%20words.txt"),
        ("grüße.txt", "/gr%C3%BC%C3%9Fe.txt"),
        ("日本語/ファイル.txt", "/%E6%97%A5%E6%9C%AC%E8%AA%9E/%E3%83%95%E3%82%A1%E3%82%A4%E3%83%AB.txt"),
        ("100%.txt", "/100%25.txt"),
        ("a+b&c=d.txt", "/a+b&c=d.txt"),
        ("plain.txt", "/%70%6C%61%69%6e%2Etxt"),
        ("semi;colon.txt", "/semi;colon.txt"),
        ("#hash.txt", "/%23hash.txt"),
    ] {
        site.write(name, name);
        let answer = client.get(target);
        assert_eq!((answer.status, answer.body.as_slice()), (200, name.as_bytes()), "{target}");
    }
    #[cfg(unix)]
    {
        site.write("what?.txt", "mark");
        assert_eq!(client.get("/what%3F.txt").body, b"mark");
        assert_eq!(client.get("/what?.txt").status, 404);
    }
}

fn fields_that_the_settings_add(backend: BackendChoice) {
    let site = Site::with(backend, |settings| settings.cache_control = Some("max-age=3600".into()));
    site.write("a.txt", "x");
    let answer = site.get("/a.txt");
    assert_eq!(answer.field("Cache-Control"), Some("max-age=3600"));
    assert!(answer.field("Server").unwrap().starts_with("Portico/"));
    assert!(answer.field("Date").unwrap().ends_with(" GMT"));
    assert_eq!(answer.field("Accept-Ranges"), Some("bytes"));
    assert!(answer.field("ETag").is_some() && answer.field("Last-Modified").is_some());
    assert_eq!(site.get("/absent").field("Cache-Control"), None);
    drop(site);
    let site = Site::with(backend, |settings| settings.server_name = false);
    site.write("a.txt", "x");
    assert_eq!(site.get("/a.txt").field("Server"), None);
    assert_eq!(site.get("/absent").field("Server"), None);
}

/// More than a pipeline holds, of all sizes and ways, from a client that reads only when it has asked for all.
fn many_answers_of_files_in_memory_come_in_order_on_one_connection(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.pipeline_depth = 4;
    });
    let (small, large) = (bytes(100, 1), bytes(200_000, 2));
    site.write("small", &small);
    site.write("large", &large);
    // In memory, and known to be.
    for name in ["/small", "/large", "/large"] {
        site.get(name);
    }
    let mut client = site.connect();
    let mut wanted = Vec::new();
    for number in 0..40 {
        let (fields, from) = match number % 5 {
            0 => ("GET /small HTTP/1.1\r\nHost: test\r\n".to_owned(), &small[..]),
            1 | 2 => ("GET /large HTTP/1.1\r\nHost: test\r\n".to_owned(), &large[..]),
            _ => {
                let (first, last) = (number * 1_000, number * 1_000 + 4_095);
                let range = format!("Range: bytes={first}-{last}\r\n");
                (format!("GET /large HTTP/1.1\r\nHost: test\r\n{range}"), &large[first..=last])
            }
        };
        client.send(format!("{fields}\r\n"));
        wanted.push(from);
    }
    for (number, wanted) in wanted.iter().enumerate() {
        let answer = client.answer();
        assert_eq!(answer.status, if number % 5 > 2 { 206 } else { 200 });
        assert_same(&answer.body, wanted, &format!("answer {number}"));
    }
    assert!(!client.has_more());
    drop(client);
    let counters = site.server().counters();
    assert_eq!(counters.requests[1], 43);
}
