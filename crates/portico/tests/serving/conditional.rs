//! Conditions and ranges, of files in memory and of files that are streamed.

use crate::common::{Site, assert_same, bytes, on_every_backend};
use portico::settings::BackendChoice;
use std::{fs::File, time::Duration, time::SystemTime};

on_every_backend!(
    unchanged_files_are_not_sent_again,
    preconditions_are_kept,
    ranges_give_their_bytes,
    a_range_of_another_version_is_the_whole_file,
    times_before_1970_and_ahead_of_now_do_no_harm,
);

/// One that is kept in memory, and one that is streamed.
const LENGTHS: [usize; 2] = [1_000, 400_000];

fn unchanged_files_are_not_sent_again(backend: BackendChoice) {
    let site = Site::start(backend);
    let mut client = site.connect();
    for length in LENGTHS {
        site.write("file", bytes(length, 3));
        let name = format!("/{length}");
        site.write(&name[1..], bytes(length, 3));
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
        ] {
            for method in ["GET", "HEAD"] {
                let answer = client.request(method, &name, &fields);
                assert_eq!(answer.status, status, "{method} {fields}");
                if status == 304 {
                    assert_eq!((answer.field("ETag"), answer.field("Content-Length")), (Some(etag), None));
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
        // What is no range, or more than one, is answered with the whole.
        for range in ["bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=", "bytes=0-1,5-9", "bytes 0-1", "bytes=--1"] {
            let answer = client.request("GET", &name, &format!("Range: {range}\r\n"));
            assert_eq!(answer.status, 200, "{range}");
            assert_same(&answer.body, &content, range);
        }
        let head = client.request("HEAD", &name, "Range: bytes=0-1\r\n");
        assert_eq!((head.status, head.field("Content-Range")), (200, None), "a range is for GET (RFC 9110 section 14.2)");
    }
    site.write("empty", "");
    assert_eq!(client.request("GET", "/empty", "Range: bytes=0-\r\n").status, 416);
    assert_eq!(client.request("GET", "/absent", "Range: bytes=0-\r\n").status, 404);
}

fn a_range_of_another_version_is_the_whole_file(backend: BackendChoice) {
    let site = Site::start(backend);
    let mut client = site.connect();
    for length in LENGTHS {
        let content = bytes(length, 7);
        let name = format!("/{length}");
        let path = site.write(&name[1..], &content);
        // A date is a strong validator only when it is older than the answer (RFC 9110 section 8.8.2.2).
        File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3_600)).unwrap();
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
            let answer = client.request("GET", &name, &format!("Range: bytes=2-9\r\nIf-Range: {if_range}\r\n"));
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
        let etag = answer.field("ETag").unwrap();
        assert_eq!(client.request("GET", &format!("/{name}"), &format!("If-None-Match: {etag}\r\n")).status, 304);
    }
}
