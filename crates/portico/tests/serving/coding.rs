//! Coded representations: precompressed neighbours, and compression on the fly.

use crate::common::{Answer, Client, Site, assert_same, bytes, on_every_backend};
use portico::settings::{BackendChoice, Coding};
use std::{
    fs,
    io::Read,
    path::Path,
    time::{Duration, SystemTime},
};

on_every_backend!(
    neighbours_answer_for_those_who_accept_them,
    neighbours_are_representations_of_their_own,
    neighbours_of_any_length_are_sent_whole_and_in_parts,
    an_older_neighbour_is_not_used,
    neighbours_come_and_go_and_change,
    neighbours_of_an_index_answer_for_its_folder,
    what_is_not_a_file_is_no_neighbour,
    a_neighbour_in_the_upload_folder_is_not_used,
    without_the_setting_nothing_varies,
    a_file_is_compressed_for_those_who_accept_it,
    a_large_file_is_compressed_from_the_disk,
    what_does_not_gain_is_not_compressed,
    a_change_is_compressed_anew,
    a_part_is_no_reason_to_compress,
    many_who_ask_at_once_get_the_same,
    a_file_with_neighbours_is_not_compressed,
    pipelined_requests_get_each_its_coding,
);

/// The disk is asked at every request.
fn precompressed(backend: BackendChoice) -> Site {
    Site::with(backend, |settings| {
        settings.file_revalidate = Duration::ZERO;
        settings.precompressed = vec![Coding::Brotli, Coding::Zstd, Coding::Gzip];
    })
}

fn compressing(backend: BackendChoice) -> Site {
    Site::with(backend, |settings| {
        settings.file_revalidate = Duration::ZERO;
        settings.compress = vec![Coding::Brotli, Coding::Gzip];
    })
}

fn accept(client: &mut Client, target: &str, codings: &str) -> Answer {
    client.request("GET", target, &format!("Accept-Encoding: {codings}\r\n"))
}

/// Asks until the answer is coded: what is made on the fly is not waited for.
fn coded(client: &mut Client, target: &str, coding: &str) -> Answer {
    let begin = SystemTime::now();
    loop {
        let answer = accept(client, target, coding);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("Vary"), Some("Accept-Encoding"));
        if answer.field("Content-Encoding") == Some(coding) {
            return answer;
        }
        assert!(begin.elapsed().unwrap() < Duration::from_secs(60), "never compressed:\n{}", answer.head);
        std::thread::yield_now();
    }
}

fn decode(answer: &Answer) -> Vec<u8> {
    let mut decoded = Vec::new();
    match answer.field("Content-Encoding") {
        Some("br") => brotli::BrotliDecompress(&mut &answer.body[..], &mut decoded).unwrap(),
        Some("gzip") => {
            flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut decoded).unwrap();
        }
        other => panic!("{other:?}"),
    }
    decoded
}

/// Sets the time of modification, relative to now.
fn set_age(path: &Path, age: Duration) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

/// Text that compresses to something, and differs by seed.
fn text(length: usize, seed: u64) -> Vec<u8> {
    bytes(length, seed).into_iter().map(|byte| b"etaoin shrdlu\n<>"[usize::from(byte & 15)]).collect()
}

fn neighbours_answer_for_those_who_accept_them(backend: BackendChoice) {
    let site = precompressed(backend);
    site.write("app.js", "plain");
    for suffix in ["br", "zst", "gz"] {
        site.write(&format!("app.js.{suffix}"), format!("as {suffix}"));
    }
    let mut client = site.connect();
    let table = [
        ("gzip, deflate, br, zstd", Some("br"), "as br"),
        ("gzip, zstd", Some("zstd"), "as zst"),
        ("gzip", Some("gzip"), "as gz"),
        ("x-gzip", Some("gzip"), "as gz"),
        ("br;q=0.5, gzip", Some("gzip"), "as gz"),
        ("*", Some("br"), "as br"),
        ("br;q=0, *;q=0.1", Some("zstd"), "as zst"),
        ("identity, br;q=0.5", None, "plain"),
        ("deflate", None, "plain"),
        ("", None, "plain"),
        // RFC 9110 section 12.4.1: what is there is sent, rather than 406.
        ("identity;q=0, deflate", None, "plain"),
    ];
    for (codings, coding, body) in table {
        let answer = accept(&mut client, "/app.js", codings);
        let got = (answer.status, answer.field("Content-Encoding"), answer.body.as_slice());
        assert_eq!(got, (200, coding, body.as_bytes()), "{codings}");
        assert_eq!(answer.field("Content-Type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(answer.field("Vary"), Some("Accept-Encoding"));
        let fields = format!("Accept-Encoding: {codings}\r\n");
        let head = client.request("HEAD", "/app.js", &fields).head;
        let without_date = |head: &str| {
            head.lines().filter(|line| !line.starts_with("Date")).map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(without_date(&head), without_date(&answer.head), "{codings}");
    }
    // Without the field.
    assert_eq!(client.get("/app.js").body, b"plain");
    // In two lines.
    let answer = client.request("GET", "/app.js", "Accept-Encoding: deflate\r\nAccept-Encoding: gzip\r\n");
    assert_eq!(answer.body, b"as gz");
    // Itself it is an archive, whatever is accepted.
    let answer = accept(&mut client, "/app.js.gz", "gzip");
    let got = (answer.field("Content-Encoding"), answer.field("Content-Type"), answer.field("Vary"));
    assert_eq!(got, (None, Some("application/gzip"), None));
}

fn neighbours_are_representations_of_their_own(backend: BackendChoice) {
    let site = precompressed(backend);
    let plain = site.write("app.js", "0123456789");
    let coded = site.write("app.js.br", "abcdefghij");
    site.write("app.js.gz", "ABCDEFGHIJ");
    // Same length and time: only the coding differs.
    for path in [&plain, &coded, &site.path("app.js.gz")] {
        set_age(path, Duration::ZERO);
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    }
    let mut client = site.connect();
    let tags: Vec<String> = ["", "br", "gzip"]
        .iter()
        .map(|codings| accept(&mut client, "/app.js", codings).field("ETag").unwrap().to_owned())
        .collect();
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    assert!(tags.iter().all(|tag| tag.starts_with('"')), "not strong: {tags:?}");
    for (at, codings) in ["identity", "br", "gzip"].iter().enumerate() {
        for (other, tag) in tags.iter().enumerate() {
            let fields = format!("Accept-Encoding: {codings}\r\nIf-None-Match: {tag}\r\n");
            let answer = client.request("GET", "/app.js", &fields);
            assert_eq!(answer.status, if at == other { 304 } else { 200 }, "{codings} {tag}");
            assert_eq!(answer.field("Vary"), Some("Accept-Encoding"));
            if at == other {
                assert_eq!((answer.field("Content-Encoding"), answer.field("ETag")), (None, Some(&**tag)));
            }
            let fields = format!("Accept-Encoding: {codings}\r\nIf-Match: {tag}\r\n");
            let answer = client.request("GET", "/app.js", &fields);
            assert_eq!(answer.status, if at == other { 200 } else { 412 }, "{codings} {tag}");
            assert_eq!(answer.field("Vary"), Some("Accept-Encoding"));
            let fields = format!("Accept-Encoding: {codings}\r\nRange: bytes=2-4\r\nIf-Range: {tag}\r\n");
            let answer = client.request("GET", "/app.js", &fields);
            let whole = ["0123456789", "abcdefghij", "ABCDEFGHIJ"][at];
            if at == other {
                assert_eq!((answer.status, &answer.body[..]), (206, &whole.as_bytes()[2..5]));
                assert_eq!(answer.field("Content-Encoding"), (at > 0).then_some(*codings));
                assert_eq!(answer.field("Content-Range"), Some("bytes 2-4/10"));
            } else {
                assert_eq!((answer.status, &answer.body[..]), (200, whole.as_bytes()));
            }
        }
    }
    // Several parts of a coded file: all of it. Of the file as it is: the parts.
    let several = "Range: bytes=0-0, 5-5\r\n";
    let answer = client.request("GET", "/app.js", &format!("Accept-Encoding: br\r\n{several}"));
    assert_eq!((answer.status, &answer.body[..]), (200, &b"abcdefghij"[..]));
    let answer = client.request("GET", "/app.js", several);
    assert_eq!((answer.status, answer.field("Vary")), (206, Some("Accept-Encoding")));
    let answer = client.request("GET", "/app.js", "Accept-Encoding: br\r\nRange: bytes=10-\r\n");
    assert_eq!((answer.status, answer.field("Vary")), (416, Some("Accept-Encoding")));
    assert_eq!(answer.field("Content-Range"), Some("bytes */10"));
}

fn neighbours_of_any_length_are_sent_whole_and_in_parts(backend: BackendChoice) {
    let site = precompressed(backend);
    // Copied behind the head, joined from the cache, streamed.
    for (number, length) in [10, 20_000, 700_000].into_iter().enumerate() {
        let (plain, packed) = (text(2 * length, 1), bytes(length, 2));
        let name = format!("{number}.txt");
        site.write(&name, &plain);
        site.write(&format!("{name}.zst"), &packed);
        let mut client = site.connect();
        for _ in 0..2 {
            let answer = accept(&mut client, &format!("/{name}"), "zstd");
            assert_same(&answer.body, &packed, &name);
            assert_eq!(answer.field("Content-Encoding"), Some("zstd"));
            assert_same(&client.get(&format!("/{name}")).body, &plain, &name);
        }
        let fields = format!("Accept-Encoding: zstd\r\nRange: bytes=-{}\r\n", length - 3);
        let answer = client.request("GET", &format!("/{name}"), &fields);
        assert_eq!(answer.status, 206);
        assert_same(&answer.body, &packed[3..], &name);
    }
}

fn an_older_neighbour_is_not_used(backend: BackendChoice) {
    let site = precompressed(backend);
    site.write("app.js", "new");
    let coded = site.write("app.js.br", "old");
    set_age(&coded, Duration::from_secs(60));
    let mut client = site.connect();
    let answer = accept(&mut client, "/app.js", "br");
    assert_eq!((answer.body.as_slice(), answer.field("Vary")), (&b"new"[..], None));
    // Made anew; as the very same bytes, too.
    set_age(&coded, Duration::ZERO);
    assert_eq!(accept(&mut client, "/app.js", "br").body, b"old");
    // And behind again when the file itself changes.
    site.write("app.js", "newer");
    set_age(&coded, Duration::from_secs(60));
    assert_eq!(accept(&mut client, "/app.js", "br").body, b"newer");
}

fn neighbours_come_and_go_and_change(backend: BackendChoice) {
    let site = precompressed(backend);
    let original = site.write("app.js", "plain");
    set_age(&original, Duration::from_secs(60));
    let mut client = site.connect();
    let mut ask = |codings: &str| {
        let answer = accept(&mut client, "/app.js", codings);
        (String::from_utf8(answer.body.clone()).unwrap(), answer.field("Vary").is_some())
    };
    assert_eq!(ask("br, gzip"), ("plain".to_owned(), false));
    site.write("app.js.gz", "gz one");
    assert_eq!(ask("br, gzip"), ("gz one".to_owned(), true));
    site.write("app.js.br", "br one");
    assert_eq!(ask("br, gzip"), ("br one".to_owned(), true));
    site.write("app.js.br", "br two, longer");
    assert_eq!(ask("br, gzip"), ("br two, longer".to_owned(), true));
    site.write("app.js", "plain two");
    set_age(&original, Duration::from_secs(60));
    assert_eq!(ask(""), ("plain two".to_owned(), true));
    assert_eq!(ask("br"), ("br two, longer".to_owned(), true));
    fs::remove_file(site.path("app.js.br")).unwrap();
    assert_eq!(ask("br, gzip"), ("gz one".to_owned(), true));
    fs::remove_file(site.path("app.js.gz")).unwrap();
    assert_eq!(ask("br, gzip"), ("plain two".to_owned(), false));
    // A neighbour does not stand in for a file that is not there.
    site.write("app.js.br", "br three");
    fs::remove_file(original).unwrap();
    assert_eq!(accept(&mut client, "/app.js", "br").status, 404);
}

fn neighbours_of_an_index_answer_for_its_folder(backend: BackendChoice) {
    let site = precompressed(backend);
    site.write("in/index.html", "plain");
    site.write("in/index.html.br", "coded");
    site.write("LICENSE", "plain");
    site.write("LICENSE.gz", "coded");
    site.write("photo.jpg", "plain");
    site.write("photo.jpg.gz", "coded");
    let mut client = site.connect();
    for (target, body) in [("/in/", "coded"), ("/LICENSE", "coded"), ("/photo.jpg", "plain")] {
        let answer = accept(&mut client, target, "br, gzip");
        assert_eq!(answer.body, body.as_bytes(), "{target}");
    }
    assert_eq!(client.get("/in/").body, b"plain");
    assert_eq!(accept(&mut client, "/in/", "br").field("Content-Type"), Some("text/html; charset=utf-8"));
}

fn what_is_not_a_file_is_no_neighbour(backend: BackendChoice) {
    let site = precompressed(backend);
    site.write("app.js", "plain");
    site.write("app.js.br/inside", "x");
    site.write("app.js.gz", "");
    let answer = site.connect().request("GET", "/app.js", "Accept-Encoding: br, gzip\r\n");
    assert_eq!((answer.body.as_slice(), answer.field("Vary")), (&b"plain"[..], None));
    #[cfg(unix)]
    {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), site.path("app.js.zst")).unwrap();
        let answer = accept(&mut site.connect(), "/app.js", "zstd");
        assert_eq!(answer.body, b"plain");
    }
}

fn a_neighbour_in_the_upload_folder_is_not_used(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| settings.precompressed = vec![Coding::Gzip]);
    site.write("in/page.html", "plain");
    site.write("page.html", "plain");
    site.write("page.html.gz", "coded");
    let mut client = site.connect();
    assert_eq!(client.upload("PUT", "/in/page.html.gz", b"forged").status, 201);
    assert_eq!(accept(&mut client, "/in/page.html", "gzip").body, b"plain");
    assert_eq!(accept(&mut client, "/page.html", "gzip").body, b"coded");
}

fn without_the_setting_nothing_varies(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("app.js", text(5_000, 1));
    site.write("app.js.br", "coded");
    let mut client = site.connect();
    for _ in 0..3 {
        let answer = accept(&mut client, "/app.js", "br, gzip");
        assert_eq!((answer.field("Content-Encoding"), answer.field("Vary")), (None, None));
        assert_same(&answer.body, &text(5_000, 1), "as it is");
    }
}

fn a_file_is_compressed_for_those_who_accept_it(backend: BackendChoice) {
    let site = compressing(backend);
    let plain = text(30_000, 1);
    site.write("app.js", &plain);
    let mut client = site.connect();
    // The first does not wait.
    let first = accept(&mut client, "/app.js", "br");
    assert_eq!((first.field("Content-Encoding"), first.field("Vary")), (None, Some("Accept-Encoding")));
    assert_same(&first.body, &plain, "the first");
    let mut tags = vec![first.field("ETag").unwrap().to_owned()];
    for coding in ["br", "gzip"] {
        let answer = coded(&mut client, "/app.js", coding);
        assert!(answer.body.len() < 20_000, "{} bytes", answer.body.len());
        assert_same(&decode(&answer), &plain, coding);
        assert_eq!(answer.field("Content-Type"), Some("text/javascript; charset=utf-8"));
        let tag = answer.field("ETag").unwrap().to_owned();
        assert!(tag.starts_with('"') && !tags.contains(&tag), "{tag} {tags:?}");
        let fields = format!("Accept-Encoding: {coding}\r\nIf-None-Match: {tag}\r\n");
        assert_eq!(client.request("GET", "/app.js", &fields).status, 304);
        // A range is one of the coded bytes.
        let fields = format!("Accept-Encoding: {coding}\r\nRange: bytes=100-199\r\nIf-Range: {tag}\r\n");
        let part = client.request("GET", "/app.js", &fields);
        assert_eq!((part.status, part.field("Content-Encoding")), (206, Some(coding)));
        assert_same(&part.body, &answer.body[100..200], "part");
        let head = client.request("HEAD", "/app.js", &format!("Accept-Encoding: {coding}\r\n"));
        assert_eq!(head.field("Content-Length"), answer.field("Content-Length"));
        tags.push(tag);
    }
    // What is preferred; and nothing for those who want nothing.
    assert_eq!(accept(&mut client, "/app.js", "gzip, br").field("Content-Encoding"), Some("br"));
    assert_eq!(accept(&mut client, "/app.js", "gzip, br;q=0.1").field("Content-Encoding"), Some("gzip"));
    let plainly = client.get("/app.js");
    assert_eq!((plainly.field("Content-Encoding"), plainly.field("Vary")), (None, Some("Accept-Encoding")));
    assert_same(&plainly.body, &plain, "plainly");
}

fn a_large_file_is_compressed_from_the_disk(backend: BackendChoice) {
    let site = compressing(backend);
    let plain = text(400_000, 1);
    site.write("in/index.html", &plain);
    let answer = coded(&mut site.connect(), "/in/", "gzip");
    assert_same(&decode(&answer), &plain, "large");
}

/// Asks often enough for anything to have been made: another file that is asked for later is.
fn what_does_not_gain_is_not_compressed(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.compress = vec![Coding::Gzip];
        settings.compress_most_bytes = 100_000;
        settings.pool_threads = 1;
    });
    site.write("small.txt", text(1_023, 1));
    site.write("large.txt", text(100_001, 1));
    site.write("photo.jpg", text(10_000, 1));
    site.write("noise.txt", bytes(10_000, 1));
    site.write("good.txt", text(10_000, 1));
    let names = ["small.txt", "large.txt", "photo.jpg", "noise.txt"];
    let mut client = site.connect();
    for round in 0..2 {
        for name in names {
            let answer = accept(&mut client, &format!("/{name}"), "gzip");
            assert_eq!(answer.field("Content-Encoding"), None, "{name}");
            assert_eq!(answer.field("Vary").is_some(), name == "noise.txt", "{name}");
        }
        if round == 0 {
            coded(&mut client, "/good.txt", "gzip");
        }
    }
}

fn a_change_is_compressed_anew(backend: BackendChoice) {
    let site = compressing(backend);
    let mut client = site.connect();
    for seed in 1..4 {
        let plain = text(20_000 + seed as usize, seed);
        site.write("app.js", &plain);
        let first = accept(&mut client, "/app.js", "br");
        assert_eq!(first.field("Content-Encoding"), None, "the old bytes of a new file");
        assert_same(&first.body, &plain, "the first");
        assert_same(&decode(&coded(&mut client, "/app.js", "br")), &plain, "compressed");
    }
    fs::remove_file(site.path("app.js")).unwrap();
    assert_eq!(accept(&mut client, "/app.js", "br").status, 404);
}

fn a_part_is_no_reason_to_compress(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.compress = vec![Coding::Gzip];
        settings.pool_threads = 1;
    });
    let plain = text(10_000, 1);
    site.write("a.txt", &plain);
    site.write("b.txt", &plain);
    let mut client = site.connect();
    let mut part = || {
        let answer = client.request("GET", "/a.txt", "Accept-Encoding: gzip\r\nRange: bytes=5-9\r\n");
        assert_eq!((answer.status, answer.field("Content-Encoding")), (206, None));
        assert_same(&answer.body, &plain[5..10], "part");
        assert_eq!(answer.field("Vary"), Some("Accept-Encoding"));
    };
    part();
    coded(&mut site.connect(), "/b.txt", "gzip");
    part();
}

fn many_who_ask_at_once_get_the_same(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.compress = vec![Coding::Brotli];
        settings.workers = 3;
    });
    let plain = text(60_000, 1);
    site.write("app.js", &plain);
    let mut clients: Vec<Client> = (0..16).map(|_| site.connect()).collect();
    for client in &mut clients {
        client.send("GET /app.js HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\n\r\n".repeat(4));
    }
    for client in &mut clients {
        for _ in 0..4 {
            let answer = client.answer();
            match answer.field("Content-Encoding") {
                None => assert_same(&answer.body, &plain, "as it is"),
                Some(_) => assert_same(&decode(&answer), &plain, "compressed"),
            }
        }
    }
    let tags: Vec<_> = clients
        .iter_mut()
        .map(|client| coded(client, "/app.js", "br").field("ETag").unwrap().to_owned())
        .collect();
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
}

fn a_file_with_neighbours_is_not_compressed(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.precompressed = vec![Coding::Gzip];
        settings.compress = vec![Coding::Brotli];
        settings.pool_threads = 1;
    });
    site.write("app.js", text(10_000, 1));
    site.write("app.js.gz", "coded");
    site.write("other.js", text(10_000, 1));
    let mut client = site.connect();
    for round in 0..2 {
        assert_eq!(accept(&mut client, "/app.js", "br, gzip;q=0.1").body, b"coded");
        assert_same(&accept(&mut client, "/app.js", "br").body, &text(10_000, 1), "as it is");
        if round == 0 {
            coded(&mut client, "/other.js", "br");
        }
    }
}

fn pipelined_requests_get_each_its_coding(backend: BackendChoice) {
    let site = precompressed(backend);
    site.write("app.js", "plain");
    site.write("app.js.br", "as br");
    site.write("app.js.gz", bytes(200_000, 1));
    let mut client = site.connect();
    let codings = ["br", "", "gzip", "identity", "br", "gzip", "gzip", "br"];
    for coding in codings {
        client.send(format!("GET /app.js HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n"));
    }
    for coding in codings {
        let answer = client.answer();
        match coding {
            "br" => assert_eq!(answer.body, b"as br"),
            "gzip" => assert_same(&answer.body, &bytes(200_000, 1), "gzip"),
            _ => assert_eq!(answer.body, b"plain"),
        }
    }
}
