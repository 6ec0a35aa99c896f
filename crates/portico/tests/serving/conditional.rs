//! Conditions and ranges, of files in memory and of files that are streamed.

use crate::common::{Answer, Site, assert_same, bytes, on_every_backend};
use portico::settings::{BackendChoice, Charset};
use std::{fs::File, time::Duration, time::SystemTime};

on_every_backend!(
    unchanged_files_are_not_sent_again,
    preconditions_are_kept,
    ranges_give_their_bytes,
    several_ranges_come_in_parts,
    parts_are_pipelined_with_other_answers,
    parts_of_a_file_that_shrinks_end_the_connection,
    a_file_that_was_just_written_has_no_strong_validator_that_lies,
    what_the_client_knows_is_not_told_again,
    every_answer_has_its_date_and_no_server_where_that_is_off,
    methods_that_select_nothing_know_no_condition,
    a_range_of_another_version_is_the_whole_file,
    times_before_1970_and_ahead_of_now_do_no_harm,
);

/// One that is kept in memory, and one that is streamed.
const LENGTHS: [usize; 2] = [1_000, 400_000];

/// Writes a file, and lets it have been written an hour ago: its tag and its date are strong.
fn write_settled(site: &Site, name: &str, content: impl AsRef<[u8]>) {
    let path = site.write(name, content);
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3_600)).unwrap();
}

fn unchanged_files_are_not_sent_again(backend: BackendChoice) {
    let site = Site::start(backend);
    let mut client = site.connect();
    for length in LENGTHS {
        let name = format!("/{length}");
        write_settled(&site, &name[1..], bytes(length, 3));
        let first = client.get(&name);
        let (etag, date) = (first.field("ETag").unwrap(), first.field("Last-Modified").unwrap());
        assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
        for (fields, status) in [
            (format!("If-None-Match: {etag}\r\n"), 304),
            (format!("If-None-Match: W/{etag}\r\n"), 304),
            (format!("If-None-Match: \"a\", {etag}\r\n"), 304),
            (format!("If-None-Match: \"a\"\r\nIf-None-Match: {etag}\r\n"), 304),
            ("If-None-Match: *\r\n".into(), 304),
            ("If-None-Match: \"a\"\r\n".into(), 200),
            (format!("If-Modified-Since: {date}\r\n"), 304),
            ("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".into(), 200),
            ("If-Modified-Since: yesterday\r\n".into(), 200),
            // The date counts only where there is no tag.
            (format!("If-None-Match: \"a\"\r\nIf-Modified-Since: {date}\r\n"), 200),
            (format!("If-None-Match: {etag}\r\nRange: bytes=0-1\r\n"), 304),
            (format!("If-None-Match: {etag}\r\nRange: bytes=99999999-\r\n"), 304),
            // More than one date is none (RFC 9110 section 13.1.3).
            (format!("If-Modified-Since: {date}\r\nIf-Modified-Since: {date}\r\n"), 200),
            (format!("If-Modified-Since: {date}, {date}\r\n"), 200),
            ("If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT\r\n".into(), 304),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = client.request(method, &name, &fields);
                assert_eq!(answer.status, status, "{method} {fields}");
                if status == 304 {
                    assert_eq!((answer.field("ETag"), answer.field("Content-Length")), (Some(etag), None));
                    // What is not for caches to go by is left out (RFC 9110 section 15.4.5).
                    assert_eq!((answer.field("Last-Modified"), answer.field("Content-Type")), (None, None));
                    assert!(answer.body.is_empty() && answer.field("Date").is_some());
                } else if method == "GET" {
                    assert_same(&answer.body, &bytes(length, 3), &fields);
                }
            }
        }
    }
}

fn preconditions_are_kept(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    let mut client = site.connect();
    let first = client.get("/file");
    let (etag, date) = (first.field("ETag").unwrap(), first.field("Last-Modified").unwrap());
    for (fields, status) in [
        (format!("If-Match: {etag}\r\n"), 200),
        ("If-Match: *\r\n".into(), 200),
        ("If-Match: \"other\"\r\n".into(), 412),
        (format!("If-Match: W/{etag}\r\n"), 412),
        (format!("If-Unmodified-Since: {date}\r\n"), 200),
        ("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".into(), 412),
    ] {
        assert_eq!(client.request("GET", "/file", &fields).status, status, "{fields}");
    }
}

fn ranges_give_their_bytes(backend: BackendChoice) {
    let site = Site::with(backend, |settings| settings.send_slice_bytes = 32_768);
    let mut client = site.connect();
    for length in LENGTHS {
        let content = bytes(length, 5);
        let name = format!("/{length}");
        site.write(&name[1..], &content);
        let last = length - 1;
        let middle = length / 2;
        for (range, first, end) in [
            ("0-0".to_owned(), 0, 1),
            ("0-".into(), 0, length),
            ("1-9".into(), 1, 10),
            ("500-".into(), 500, length),
            (format!("{last}-"), last, length),
            (format!("{last}-{last}"), last, length),
            ("-1".into(), last, length),
            ("-300".into(), length - 300, length),
            (format!("-{length}"), 0, length),
            ("-99999999".into(), 0, length),
            ("7-99999999".into(), 7, length),
            (format!("{}-{}", length / 4, length / 2), length / 4, length / 2 + 1),
            // Several that are one.
            ("-1, 5-,1-4,".into(), 1, length),
            (format!("{middle}-{},0-{}", length * 2, middle - 1), 0, length),
            ("99999999-,3-4,-0".into(), 3, 5),
        ] {
            let answer = client.request("GET", &name, &format!("Range: bytes={range}\r\n"));
            assert_eq!(answer.status, 206, "{range} of {length}");
            let said = format!("bytes {first}-{}/{length}", end - 1);
            assert_eq!(answer.field("Content-Range"), Some(&*said));
            assert_same(&answer.body, &content[first..end], &format!("{range} of {length}"));
        }
        for range in [format!("bytes={length}-"), "bytes=99999999-".into(), "bytes=-0".into()] {
            let answer = client.request("GET", &name, &format!("Range: {range}\r\n"));
            let said = format!("bytes */{length}");
            assert_eq!((answer.status, answer.field("Content-Range")), (416, Some(&*said)), "{range}");
        }
        // What is no range, or too many, is answered with the whole.
        let many = format!("bytes={}", ["0-0"; 17].join(","));
        for range in [
            "bytes=5-2",
            "bytes=a-b",
            "lines=1-2",
            "bytes=",
            "bytes=,",
            "bytes 0-1",
            "bytes=--1",
            "bytes=0-1,5-2",
            &many,
        ] {
            let answer = client.request("GET", &name, &format!("Range: {range}\r\n"));
            assert_eq!(answer.status, 200, "{range}");
            assert_same(&answer.body, &content, range);
        }
        for range in ["0-1", "0-1,5-9", "99999999-"] {
            let head = client.request("HEAD", &name, &format!("Range: bytes={range}\r\n"));
            assert_eq!(
                (head.status, head.field("Content-Range"), head.field("Content-Length")),
                (200, None, Some(&*length.to_string())),
                "a range is for GET (RFC 9110 section 14.2)"
            );
        }
    }
    site.write("empty", "");
    assert_eq!(client.request("GET", "/empty", "Range: bytes=0-\r\n").status, 416);
    assert_eq!(client.request("GET", "/absent", "Range: bytes=0-\r\n").status, 404);
}

/// The parts of an answer with several: where each begins, and its bytes. Checks everything around them.
#[track_caller]
fn parts(answer: &Answer, content_type: &str, length: usize) -> Vec<(usize, Vec<u8>)> {
    assert_eq!((answer.status, answer.field("Content-Range")), (206, None), "{}", answer.head);
    let media_type = answer.field("Content-Type").unwrap();
    let boundary = media_type.strip_prefix("multipart/byteranges; boundary=").expect(media_type);
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = answer.body.strip_prefix(delimiter.as_bytes()).expect("a delimiter comes first");
    let mut parts = Vec::new();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let end = part.windows(4).position(|four| four == b"\r\n\r\n").expect("a head of a part");
        let (head, content) = (std::str::from_utf8(&part[..end]).unwrap(), &part[end + 4..]);
        let range = head
            .strip_prefix(&*format!("Content-Type: {content_type}\r\nContent-Range: bytes "))
            .and_then(|range| range.strip_suffix(&*format!("/{length}")))
            .unwrap_or_else(|| panic!("{head}"));
        let (first, last) = range.split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let (content, behind) = content.split_at(last - first + 1);
        parts.push((first, content.to_vec()));
        rest = behind.strip_prefix(delimiter.as_bytes()).expect("a delimiter follows");
    }
    assert_eq!(rest, b"--\r\n");
    parts
}

#[track_caller]
fn assert_parts(answer: &Answer, content: &[u8], ranges: &[(usize, usize)], what: &str) {
    let parts = parts(answer, "text/plain; charset=utf-8", content.len());
    assert_eq!(parts.iter().map(|(first, bytes)| (*first, first + bytes.len())).collect::<Vec<_>>(), ranges);
    for ((first, end), (_, bytes)) in ranges.iter().zip(parts) {
        assert_same(&bytes, &content[*first..*end], what);
    }
}

fn several_ranges_come_in_parts(backend: BackendChoice) {
    // From slices that are read one after the other, to those that hold a whole part.
    for slice in [700, 20_000, 131_072] {
        let site = Site::with(backend, |settings| settings.send_slice_bytes = slice);
        let mut client = site.connect();
        for length in LENGTHS {
            let content = bytes(length, 5);
            let name = format!("/{length}.txt");
            site.write(&name[1..], &content);
            let last = length - 1;
            let most: Vec<_> = (0..16).map(|part| (part * 60, part * 60 + 1 + part)).collect();
            let most_asked: Vec<_> = most.iter().map(|(first, end)| format!("{first}-{}", end - 1)).collect();
            for (range, expected) in [
                ("0-0,2-2".to_owned(), vec![(0, 1), (2, 3)]),
                ("-1,0-0".into(), vec![(last, length), (0, 1)]),
                (" ,0-9 ,\t20-29,".trim().into(), vec![(0, 10), (20, 30)]),
                ("500-,0-99,50-199".into(), vec![(500, length), (0, 200)]),
                ("0-99,99999999-,-0,200-299".into(), vec![(0, 100), (200, 300)]),
                (
                    format!("{}-,0-{}", length / 2 + 1, length / 2 - 1),
                    vec![(length / 2 + 1, length), (0, length / 2)],
                ),
                (most_asked.join(","), most),
            ] {
                let answer = client.request("GET", &name, &format!("Range: bytes={range}\r\n"));
                assert_parts(&answer, &content, &expected, &format!("{range} of {length}"));
                assert!(answer.field("ETag").is_some() && answer.field("Last-Modified").is_some());
            }
        }
    }
}

fn parts_are_pipelined_with_other_answers(backend: BackendChoice) {
    let site = Site::with(backend, |settings| settings.send_slice_bytes = 20_000);
    let contents = LENGTHS.map(|length| bytes(length, 6));
    for content in &contents {
        site.write(&format!("{}.txt", content.len()), content);
    }
    let asked: Vec<_> = (0..16).map(|part| format!("{}-{}", part * 60, part * 60 + 9)).collect();
    let expected: Vec<_> = (0..16).map(|part| (part * 60, part * 60 + 10)).collect();
    let asked = asked.join(",");
    let mut all = String::new();
    for round in 0..40 {
        let length = LENGTHS[usize::from(round % 3 == 2)];
        all.push_str(&format!(
            "GET /{length}.txt HTTP/1.1\r\nHost: test\r\nRange: bytes={asked}\r\n\r\n\
             GET /{length}.txt HTTP/1.1\r\nHost: test\r\nRange: bytes=1-2\r\n\r\n"
        ));
    }
    for piece in [all.len(), 333] {
        let mut client = site.connect();
        let mut sender = client.stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for part in all.as_bytes().chunks(piece) {
                    std::io::Write::write_all(&mut sender, part).unwrap();
                }
            });
            for round in 0..40 {
                let content = &contents[usize::from(round % 3 == 2)];
                assert_parts(&client.answer(), content, &expected, &format!("answer {round}"));
                assert_eq!(client.answer().body, &content[1..3]);
            }
        });
        assert!(!client.has_more());
    }
}

/// Not on Windows, where an open file cannot be truncated by others.
fn parts_of_a_file_that_shrinks_end_the_connection(backend: BackendChoice) {
    let site = Site::start(backend);
    // So long that it cannot be in the sockets' buffers, and is still being read when its first bytes are here.
    let (length, half) = (40 << 20, 20 << 20);
    site.write("long", bytes(length, 9));
    let mut client = site.connect();
    let range = format!("Range: bytes=0-{},{half}-\r\n", half - 2);
    client.send(format!("GET /long HTTP/1.1\r\nHost: test\r\n{range}\r\n"));
    let promised: usize = client.head().field("Content-Length").unwrap().parse().unwrap();
    let Ok(file) = File::options().write(true).open(site.path("long")) else { return };
    if file.set_len(half as u64 + 10).is_err() {
        return;
    }
    let (_, came) = client.try_body(promised).expect_err("the whole length came of a file that is shorter");
    assert!(came.len() < promised);
}

/// RFC 9110 sections 8.8.1 and 8.8.2.2: what could change once more without its time changing.
fn a_file_that_was_just_written_has_no_strong_validator_that_lies(backend: BackendChoice) {
    let site = Site::with(backend, |settings| settings.file_revalidate = Duration::ZERO);
    let mut client = site.connect();
    for length in LENGTHS {
        let in_memory = length == LENGTHS[0];
        let name = format!("/{length}");
        // Ahead of the clock by less than it may stand still: as fresh as it can be for as long as the test runs.
        let fresh = SystemTime::now() + Duration::from_secs(1);
        let mut tags = Vec::new();
        for seed in [1, 2] {
            let path = site.write(&name[1..], bytes(length, seed));
            let whole = fresh.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(whole);
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
            let answer = client.get(&name);
            assert_same(&answer.body, &bytes(length, seed), "the same length and time, and other content");
            let tag = answer.field("ETag").unwrap().to_owned();
            assert_eq!(tag.starts_with("W/"), !in_memory, "{tag}");
            let date = answer.field("Last-Modified").unwrap();
            let part = client.request("GET", &name, &format!("Range: bytes=0-1\r\nIf-Range: {date}\r\n"));
            assert_eq!(part.status, 200, "a date that is not over is weak");
            let part = client.request("GET", &name, &format!("Range: bytes=0-1\r\nIf-Range: {tag}\r\n"));
            assert_eq!(part.status, if in_memory { 206 } else { 200 }, "{tag}");
            let status = client.request("GET", &name, &format!("If-None-Match: {tag}\r\n")).status;
            assert_eq!(status, 304, "a weak tag will do for a cache");
            tags.push(tag);
        }
        assert_eq!(tags[0] != tags[1], in_memory, "{tags:?}");
    }
}

fn what_the_client_knows_is_not_told_again(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.cache_control = Some("max-age=60".into());
        settings.content_language = Some("de".into());
        settings.charset = Charset::new("ISO-8859-15");
    });
    write_settled(&site, "a.txt", bytes(1_000, 1));
    site.write("a.bin", "x");
    let mut client = site.connect();
    let whole = client.get("/a.txt");
    let tag = whole.field("ETag").unwrap();
    for (fields, status, content_type, language, date) in [
        (String::new(), 200, Some("text/plain; charset=ISO-8859-15"), true, true),
        ("Range: bytes=0-1\r\n".into(), 206, Some("text/plain; charset=ISO-8859-15"), true, true),
        (
            format!("Range: bytes=0-1\r\nIf-Range: {tag}\r\n"),
            206,
            Some("text/plain; charset=ISO-8859-15"),
            true,
            false,
        ),
        (format!("If-None-Match: {tag}\r\n"), 304, None, false, false),
    ] {
        let answer = client.request("GET", "/a.txt", &fields);
        assert_eq!((answer.status, answer.field("Content-Type")), (status, content_type), "{fields}");
        assert_eq!(answer.field("Content-Language"), language.then_some("de"), "{fields}");
        assert_eq!(answer.field("Last-Modified").is_some(), date, "{fields}");
        assert_eq!(answer.field("Cache-Control"), Some("max-age=60"), "{fields}");
        assert_eq!(answer.field("ETag"), Some(tag), "{fields}");
        assert!(answer.field("Date").is_some());
    }
    let binary = client.get("/a.bin");
    assert_eq!(
        (binary.field("Content-Type"), binary.field("Content-Language")),
        (Some("application/octet-stream"), None)
    );
    let several = client.request("GET", "/a.txt", "Range: bytes=0-1,5-6\r\n");
    assert_eq!(parts(&several, "text/plain; charset=ISO-8859-15", 1_000).len(), 2);
    drop(site);
    let site = Site::with(backend, |settings| settings.charset = None);
    site.write("a.txt", "x");
    assert_eq!(site.get("/a.txt").field("Content-Type"), Some("text/plain"));
}

/// RFC 9110 section 6.6.1.
fn every_answer_has_its_date_and_no_server_where_that_is_off(backend: BackendChoice) {
    for server in [true, false] {
        let site = Site::with(backend, |settings| settings.server_name = server);
        site.write("file", bytes(100, 1));
        site.write("folder/index.html", "x");
        for (method, target, fields, status) in [
            ("GET", "/file", "", 200),
            ("HEAD", "/file", "", 200),
            ("OPTIONS", "*", "", 204),
            ("GET", "/file", "Range: bytes=0-1\r\n", 206),
            ("GET", "/file", "Range: bytes=0-1,5-6\r\n", 206),
            ("GET", "/folder", "", 301),
            ("GET", "/file", "If-None-Match: *\r\n", 304),
            ("GET", "/..", "", 400),
            ("GET", "/absent", "", 404),
            ("TRACE", "/file", "", 405),
            ("CONNECT", "test:80", "", 405),
            ("GET", "/file", "If-Match: \"x\"\r\n", 412),
            ("GET", "/file", "Range: bytes=100-\r\n", 416),
            ("BREW", "/file", "", 501),
        ] {
            let answer = site.connect().request(method, target, fields);
            assert_eq!(answer.status, status, "{method} {target} {fields}");
            let date = answer.field("Date").expect("a date").as_bytes();
            let date = portico_http::date::parse(date).expect("a valid date");
            assert!(SystemTime::now().duration_since(date).unwrap() < Duration::from_secs(3_600));
            assert_eq!(answer.field("Server").is_some(), server, "{method} {target} {fields}");
        }
    }
}

/// RFC 9110 section 13.2.1: where the answer is not about the file, or would be no success, nothing is a condition of it.
fn methods_that_select_nothing_know_no_condition(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("file", "content");
    site.write("folder/index.html", "x");
    let mut client = site.connect();
    let fields = "If-Match: \"x\"\r\nIf-None-Match: *\r\nRange: bytes=99-\r\n";
    for (method, target, status) in [
        ("OPTIONS", "/file", 204),
        ("OPTIONS", "*", 204),
        ("TRACE", "/file", 405),
        ("DELETE", "/file", 405),
        ("GET", "/absent", 404),
        ("HEAD", "/absent", 404),
        ("GET", "/folder", 301),
        ("GET", "/file", 412),
    ] {
        assert_eq!(client.request(method, target, fields).status, status, "{method} {target}");
    }
}

fn a_range_of_another_version_is_the_whole_file(backend: BackendChoice) {
    let site = Site::start(backend);
    let mut client = site.connect();
    for length in LENGTHS {
        let content = bytes(length, 7);
        let name = format!("/{length}");
        write_settled(&site, &name[1..], &content);
        let first = client.get(&name);
        let (etag, date) = (first.field("ETag").unwrap(), first.field("Last-Modified").unwrap());
        for (if_range, status) in [
            (etag, 206),
            (date, 206),
            ("\"other\"", 200),
            (&*format!("W/{etag}"), 200),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
            ("nonsense", 200),
        ] {
            let answer =
                client.request("GET", &name, &format!("Range: bytes=2-9\r\nIf-Range: {if_range}\r\n"));
            assert_eq!(answer.status, status, "{if_range}");
            let wanted = if status == 206 { &content[2..10] } else { &content[..] };
            assert_same(&answer.body, wanted, if_range);
        }
    }
}

fn times_before_1970_and_ahead_of_now_do_no_harm(backend: BackendChoice) {
    let site = Site::start(backend);
    let mut client = site.connect();
    for (name, time) in [
        ("old", SystemTime::UNIX_EPOCH - Duration::from_secs(1_000_000)),
        ("new", SystemTime::now() + Duration::from_secs(1_000_000)),
    ] {
        let path = site.write(name, name);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        let answer = client.get(&format!("/{name}"));
        assert_eq!((answer.status, answer.body.as_slice()), (200, name.as_bytes()));
        // What the file says is after the answer's date, the answer must not (RFC 9110 section 8.8.2.1).
        let said = |field| portico_http::date::parse(answer.field(field).unwrap().as_bytes()).unwrap();
        assert!(said("Last-Modified") <= said("Date"), "{}", answer.head);
        let fields = format!("If-Modified-Since: {}\r\n", answer.field("Last-Modified").unwrap());
        assert_eq!(client.request("GET", &format!("/{name}"), &fields).status, 304);
        let etag = answer.field("ETag").unwrap();
        assert_eq!(
            client.request("GET", &format!("/{name}"), &format!("If-None-Match: {etag}\r\n")).status,
            304
        );
    }
}
