//! Uploads: a file is there whole, or not at all.

use crate::common::{Site, assert_same, bytes, on_every_backend};
use portico::settings::BackendChoice;
use std::{fs, time::Duration};

on_every_backend!(
    uploads_are_refused_unless_allowed,
    put_makes_and_replaces,
    post_makes_and_does_not_replace,
    every_length_is_written_whole,
    large_bodies_come_whole_from_disks_and_from_memory,
    chunks_are_joined,
    a_client_may_wait_for_100,
    too_large_is_refused_before_the_body,
    a_client_that_leaves_leaves_nothing,
    what_was_put_is_seen_by_the_next_request,
    many_uploads_at_once,
    two_uploads_of_one_name,
    names_that_are_not_uploaded,
    broken_bodies_are_refused,
    preconditions_of_an_upload_are_kept,
    a_client_may_wait_for_100_behind_many_answers,
);

fn uploads_are_refused_unless_allowed(backend: BackendChoice) {
    let site = Site::start(backend);
    let mut client = site.connect();
    for method in ["PUT", "POST"] {
        assert_eq!(client.upload(method, "/new", b"body").status, 405);
    }
    assert!(site.names("").is_empty());
    drop(site);
    let site = Site::with_uploads(backend, |_| {});
    let mut client = site.connect();
    for target in ["/new", "/", "/in", "/in/", "/in/deeper/new", "/other/new", "/in/new/"] {
        let answer = client.upload("PUT", target, b"body");
        // The folder itself takes forms.
        let allow = if target == "/in/" { "GET, HEAD, OPTIONS, POST" } else { "GET, HEAD, OPTIONS" };
        assert_eq!((answer.status, answer.field("Allow")), (405, Some(allow)), "{target}");
    }
    assert_eq!((site.names(""), site.names("in")), (vec!["in".to_owned()], vec![]));
}

fn put_makes_and_replaces(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |_| {});
    let mut client = site.connect();
    for (body, status) in [(&b"first"[..], 201), (b"second, longer", 204), (b"", 204), (b"third", 204)] {
        let answer = client.upload("PUT", "/in/name.txt?query", body);
        let location = (status == 201).then_some("/in/name.txt");
        assert_eq!((answer.status, answer.field("Location")), (status, location));
        assert_eq!(fs::read(site.path("in/name.txt")).unwrap(), body);
        assert_eq!(site.names("in"), ["name.txt"]);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(site.path("in/name.txt")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777 & !0o644, 0, "{mode:o}");
    }
}

fn post_makes_and_does_not_replace(backend: BackendChoice) {
    let mut site = Site::with_uploads(backend, |_| {});
    let mut client = site.connect();
    assert_eq!(client.upload("POST", "/in/name", b"first").status, 201);
    assert_eq!(client.upload("POST", "/in/name", b"second").status, 409);
    assert_eq!(site.get("/in/name").body, b"first");
    // Stopping waits until everything has ended.
    assert!(site.stop(Duration::from_secs(60)).is_clean());
    assert_eq!(site.names("in"), ["name"]);
}

fn every_length_is_written_whole(backend: BackendChoice) {
    for receive_buffer_bytes in [4_096, 16] {
        let site =
            Site::with_uploads(backend, |settings| settings.receive_buffer_bytes = receive_buffer_bytes);
        let mut client = site.connect();
        for length in [0, 1, 4_095, 4_096, 4_097, 65_536, 262_143, 262_144, 262_145, 5 << 20] {
            let content = bytes(length, length as u64);
            assert_eq!(client.upload("PUT", &format!("/in/{length}"), &content).status, 201, "{length}");
            assert_same(&fs::read(site.path(&format!("in/{length}"))).unwrap(), &content, "on disk");
            assert_same(&client.get(&format!("/in/{length}")).body, &content, "served");
        }
    }
}

/// Lengths around pages and the pieces in which large bodies are received, one behind the other, in whatever parts they arrive.
fn large_bodies_come_whole_from_disks_and_from_memory(backend: BackendChoice) {
    let places =
        [(std::env::temp_dir(), 512 << 10), ("/dev/shm".into(), 512 << 10), ("/dev/shm".into(), 50_000)];
    for (place, queued_bytes) in places.into_iter().filter(|(place, _)| place.is_dir()) {
        let folder = tempfile::tempdir_in(place).unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("in")).unwrap();
        let site = Site::with_uploads(backend, |settings| {
            (settings.upload, settings.root) = (Some(root.join("in")), root.clone());
            (settings.queued_bytes, settings.send_slice_bytes) =
                (queued_bytes, settings.send_slice_bytes.min(queued_bytes / 4));
        });
        let mut client = site.connect();
        for length in [65_535, 65_536, 69_632, 131_072, 131_073, 262_144 - 81, 1 << 20, (1 << 20) + 4_097] {
            let body = bytes(length, 7);
            for part in [length, 4_096, 100_001] {
                // A name for each: what the cache has open cannot be replaced on every version of Windows.
                let name = format!("{length}-{part}");
                client.send(format!(
                    "PUT /in/{name} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
                ));
                body.chunks(part).for_each(|part| client.send(part));
                // The next request lies right behind the body.
                client.send(format!("GET /in/{name} HTTP/1.1\r\nHost: test\r\n\r\n"));
                assert_eq!(client.answer().status, 201, "{length} bytes in parts of {part}");
                assert_same(&client.answer().body, &body, "served");
                assert_same(&fs::read(root.join("in").join(name)).unwrap(), &body, "written");
            }
        }
        assert_eq!(fs::read_dir(root.join("in")).unwrap().count(), 24);
    }
}

fn chunks_are_joined(backend: BackendChoice) {
    for receive_buffer_bytes in [4_096, 16] {
        let site =
            Site::with_uploads(backend, |settings| settings.receive_buffer_bytes = receive_buffer_bytes);
        let mut client = site.connect();
        let content = bytes(300_000, 6);
        for piece in [7, 100, 4_096, 70_000, 300_000] {
            let mut body = Vec::new();
            // Of extensions only so many bytes are taken.
            let extension = if piece > 4_000 { ";extension=\"a\"" } else { "" };
            for chunk in content.chunks(piece) {
                body.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\nTrailer: value\r\n\r\n");
            // Another request lies right behind the last chunk.
            body.extend_from_slice(format!("GET /in/{piece} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
            client.send(format!(
                "PUT /in/{piece} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
            ));
            client.send(&body);
            assert_eq!(client.answer().status, 201, "chunks of {piece}");
            assert_same(&client.answer().body, &content, "served");
            assert_same(&fs::read(site.path(&format!("in/{piece}"))).unwrap(), &content, "on disk");
        }
        // Byte by byte.
        client.send("PUT /in/slow HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        for byte in b"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n" {
            client.send([*byte]);
        }
        assert_eq!(client.answer().status, 201);
        assert_eq!(fs::read(site.path("in/slow")).unwrap(), b"abc0123456789abcdef");
    }
}

fn a_client_may_wait_for_100(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| settings.upload_bytes = 1_000);
    let mut client = site.connect();
    for status in [201, 204] {
        client
            .send("PUT /in/name HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(client.head().status, 100);
        assert!(!client.has_more());
        client.send("body");
        assert_eq!(client.answer().status, status);
    }
    // A refusal instead of 100.
    let mut client = site.connect();
    client
        .send("PUT /in/name HTTP/1.1\r\nHost: test\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.closes()), (413, true));
    // A body of no bytes is not waited for, and 1.0 does not know 100.
    let mut client = site.connect();
    client.send("PUT /in/none HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer().status, 201);
    client.send("PUT /in/old HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx");
    assert_eq!(client.answer().status, 201);
    client.ends();
}

fn too_large_is_refused_before_the_body(backend: BackendChoice) {
    let mut site = Site::with_uploads(backend, |settings| settings.upload_bytes = 1_000);
    assert_eq!(site.connect().upload("PUT", "/in/most", &[b'x'; 1_000]).status, 201);
    for length in ["1001", "99999999999", "18446744073709551615"] {
        let mut client = site.connect();
        client.send(format!("PUT /in/name HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.closes()), (413, true), "{length}");
    }
    // Of chunks nobody knows before.
    let mut client = site.connect();
    client.send("PUT /in/name HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("258\r\n{}\r\n", "x".repeat(600)).repeat(2));
    let answer = client.answer();
    assert_eq!((answer.status, answer.closes()), (413, true));
    // Stopping waits until everything has ended.
    assert!(site.stop(Duration::from_secs(60)).is_clean());
    assert_eq!(site.names("in"), ["most"]);
}

fn a_client_that_leaves_leaves_nothing(backend: BackendChoice) {
    let mut site = Site::with_uploads(backend, |_| {});
    site.write("in/kept", "as it was");
    for (name, part) in [
        ("new", "Content-Length: 100\r\n\r\n"),
        ("new", "Content-Length: 100\r\n\r\nhalf"),
        ("kept", "Content-Length: 100\r\n\r\nhalf"),
        ("new", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        ("new", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
    ] {
        // One ends its side in order, and sees the connection end; another is gone at once.
        let mut client = site.connect();
        client.send(format!("PUT /in/{name} HTTP/1.1\r\nHost: test\r\n{part}"));
        client.finish();
        client.ending();
        let mut client = site.connect();
        client.send(format!("PUT /in/{name} HTTP/1.1\r\nHost: test\r\n{part}"));
    }
    let mut client = site.connect();
    client.send("PUT /in/new HTTP/1.1\r\nHost: test\r\nContent-Length: 9000000\r\n\r\n");
    client.send(bytes(4 << 20, 1));
    drop(client);
    // Stopping waits until everything has ended.
    assert!(site.stop(Duration::from_secs(60)).is_clean());
    assert_eq!(site.names("in"), ["kept"]);
    assert_eq!(fs::read(site.path("in/kept")).unwrap(), b"as it was");
}

fn what_was_put_is_seen_by_the_next_request(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| settings.file_revalidate = Duration::from_secs(3_600));
    let mut client = site.connect();
    assert_eq!(client.get("/in/name").status, 404);
    assert_eq!(client.get("/in/").status, 404);
    for round in 0..5 {
        let content = bytes(1_000 * round + 5, round as u64);
        client.send(format!(
            "PUT /in/name HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
            content.len()
        ));
        client.send(&content);
        client.send("GET /in/name HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!([201, 204].contains(&client.answer().status));
        assert_same(&client.answer().body, &content, &format!("round {round}"));
        // The index of a folder too.
        client.send(format!(
            "PUT /in/index.html HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
            content.len()
        ));
        client.send(&content);
        client.send("GET /in/ HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!([201, 204].contains(&client.answer().status));
        assert_same(&client.answer().body, &content, &format!("index, round {round}"));
    }
}

fn many_uploads_at_once(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| settings.workers = 2);
    std::thread::scope(|scope| {
        for worker in 0..16 {
            let site = &site;
            scope.spawn(move || {
                let mut client = site.connect();
                for number in 0..8 {
                    let content = bytes(worker * 10_007 + number * 3_001, (worker * 8 + number) as u64);
                    assert_eq!(client.upload("PUT", &format!("/in/{worker}-{number}"), &content).status, 201);
                }
            });
        }
    });
    assert_eq!(site.names("in").len(), 128);
    for worker in 0..16 {
        for number in 0..8 {
            let content = bytes(worker * 10_007 + number * 3_001, (worker * 8 + number) as u64);
            assert_same(&fs::read(site.path(&format!("in/{worker}-{number}"))).unwrap(), &content, "on disk");
        }
    }
}

fn two_uploads_of_one_name(backend: BackendChoice) {
    let mut site = Site::with_uploads(backend, |settings| settings.workers = 2);
    for round in 0..10 {
        let name = format!("/in/{round}");
        let statuses: Vec<_> = std::thread::scope(|scope| {
            let (site, name) = (&site, &name);
            let posting: Vec<_> = (0..4)
                .map(|number| {
                    scope.spawn(move || site.connect().upload("POST", name, &bytes(50_000, number)).status)
                })
                .collect();
            posting.into_iter().map(|posting| posting.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 3, "{statuses:?}");
        let found = fs::read(site.path(&format!("in/{round}"))).unwrap();
        assert!((0..4).any(|number| found == bytes(50_000, number)), "two bodies were mixed");
        // Of several that replace, each is whole.
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (site, name) = (&site, &name);
                scope.spawn(move || {
                    let status = site.connect().upload("PUT", name, &bytes(50_000, number)).status;
                    assert_eq!(status, 204);
                });
            }
        });
        let found = fs::read(site.path(&format!("in/{round}"))).unwrap();
        assert!((0..4).any(|number| found == bytes(50_000, number)), "two bodies were mixed");
    }
    // Stopping waits until everything has ended.
    assert!(site.stop(Duration::from_secs(60)).is_clean());
    assert_eq!(site.names("in").len(), 10);
}

fn names_that_are_not_uploaded(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| settings.dot_files = true);
    fs::create_dir(site.path("in/folder")).unwrap();
    let long = format!("/in/{}", "n".repeat(256));
    let mut refused = vec![
        "/in/.hidden",
        "/in/%2ehidden",
        "/in/.portico-upload-1-1.part",
        "/in/..",
        "/in/../outside",
        "/in/%2e%2e/outside",
        "/in/..%2foutside",
        "/in/..%5coutside",
        "/in/folder/inside",
        "/in/a%2fb",
        "/in/a%00b",
        "/in/a%0ab",
        "/in/portico.toml",
        "/in/PORTICO.TOML",
        "/in//name",
        &long,
    ];
    if cfg!(windows) {
        refused.extend([
            "/in/nul",
            "/in/COM1.txt",
            "/in/name.",
            "/in/name%20",
            "/in/name:stream",
            "/in/name::$DATA",
            "/in/NAMEXX~1.TXT",
        ]);
    }
    for target in refused {
        let mut client = site.connect();
        let status = client.upload("PUT", target, b"body").status;
        assert!([400, 404, 405].contains(&status), "{target}: {status}");
    }
    // A folder has the name.
    for method in ["PUT", "POST"] {
        let status = site.connect().upload(method, "/in/folder", b"body").status;
        assert!([403, 409].contains(&status), "{method}: {status}");
    }
    assert_eq!((site.names("in"), site.names("")), (vec!["folder".to_owned()], vec!["in".to_owned()]));
    for (target, name) in [("/in/two%20words", "two words"), ("/in/%C3%BCber", "über"), ("/in/a..b", "a..b")]
    {
        assert_eq!(site.connect().upload("PUT", target, b"body").status, 201, "{target}");
        assert_eq!(fs::read(site.path(&format!("in/{name}"))).unwrap(), b"body");
    }
}

fn broken_bodies_are_refused(backend: BackendChoice) {
    let mut site = Site::with_uploads(backend, |_| {});
    for (rest, status) in [
        ("\r\n", 411),
        ("Content-Range: bytes 0-3/10\r\nContent-Length: 4\r\n\r\nbody", 400),
        ("Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
    ] {
        let mut client = site.connect();
        client.send(format!("PUT /in/name HTTP/1.1\r\nHost: test\r\n{rest}"));
        let answer = client.answer();
        assert!(
            answer.status == status || (status == 400 && answer.status == 413),
            "{rest:?}: {}",
            answer.head
        );
        assert!(answer.closes(), "{rest:?}");
        client.finish();
        client.ends();
    }
    // Stopping waits until everything has ended.
    assert!(site.stop(Duration::from_secs(60)).is_clean());
    assert!(site.names("in").is_empty());
}

fn preconditions_of_an_upload_are_kept(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| settings.file_revalidate = Duration::from_secs(3_600));
    let mut client = site.connect();
    let mut put = |method: &str, name: &str, fields: &str, body: &str| {
        let length = body.len();
        client.send(format!(
            "{method} /in/{name} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n{fields}\r\n{body}"
        ));
        client.answer().status
    };
    let etag = |name: &str| site.get(&format!("/in/{name}")).field("ETag").unwrap().to_owned();
    // There is nothing yet.
    assert_eq!(put("PUT", "name", "If-Match: *\r\n", "none"), 412);
    assert_eq!(put("PUT", "name", "If-Match: \"a\"\r\n", "none"), 412);
    assert_eq!(put("PUT", "name", "If-None-Match: *\r\n", "first"), 201);
    // Now there is.
    let first = etag("name");
    assert_eq!(put("PUT", "name", "If-None-Match: *\r\n", "again"), 412);
    assert_eq!(put("POST", "name", "If-None-Match: *\r\n", "again"), 412);
    assert_eq!(put("PUT", "name", &format!("If-None-Match: {first}\r\n"), "again"), 412);
    assert_eq!(put("PUT", "name", "If-Match: \"a\"\r\n", "again"), 412);
    let long_ago = "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    assert_eq!(put("PUT", "name", long_ago, "again"), 412);
    assert_eq!(fs::read(site.path("in/name")).unwrap(), b"first");
    assert_eq!(put("PUT", "name", &format!("If-Match: {first}\r\n"), "the second"), 204);
    // What another wrote in the meantime is seen, however long the cache trusts what it knows.
    let second = etag("name");
    assert_eq!(put("PUT", "name", &format!("If-Match: {first}\r\n"), "lost"), 412);
    fs::write(site.path("in/name"), "by another hand").unwrap();
    assert_eq!(put("PUT", "name", &format!("If-Match: {second}\r\n"), "lost"), 412);
    assert_eq!(fs::read(site.path("in/name")).unwrap(), b"by another hand");
    // Where a body waits for 100 it is not asked for.
    let mut client = site.connect();
    client.send(
        "PUT /in/name HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nIf-None-Match: *\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.answer().status, 412);
}

/// The 100 takes a place in the gathered send of its own, whatever waits there.
fn a_client_may_wait_for_100_behind_many_answers(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| settings.pipeline_depth = 100);
    site.write("joined", bytes(5_000, 1));
    site.write("copied", "content");
    assert_eq!((site.get("/joined").status, site.get("/copied").status), (200, 200));
    let (joined, copied) =
        ("GET /joined HTTP/1.1\r\nHost: test\r\n\r\n", "GET /copied HTTP/1.1\r\nHost: test\r\n\r\n");
    for count in 28..=34 {
        let mut client = site.connect();
        client.send(format!(
            "{}{copied}PUT /in/{count} HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
            joined.repeat(count)
        ));
        for _ in 0..count {
            assert_same(&client.answer().body, &bytes(5_000, 1), "joined");
        }
        assert_eq!(client.answer().body, b"content", "{count}");
        assert_eq!(client.answer().status, 100, "{count}");
        client.send("body");
        assert_eq!(client.answer().status, 201, "{count}");
    }
}
