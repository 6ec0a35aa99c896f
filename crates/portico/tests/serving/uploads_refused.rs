//! What is wrong with an upload is said before its body is asked for, and the client gets to read it.

use crate::common::{Site, bytes, on_every_backend};
use portico::settings::BackendChoice;
use std::fs;

on_every_backend!(
    too_long_and_too_little_room_are_said_at_once,
    a_client_that_sends_all_the_same_reads_the_answer,
    a_folder_that_was_made_again_takes_uploads,
    other_sites_cannot_send_forms,
    preconditions_come_after_what_is_wrong_anyway,
    an_upload_that_was_held_up_has_to_come_again,
);

const TARGETS: [(&str, &str, &str); 3] = [
    ("PUT", "/in/name", ""),
    ("POST", "/in/name", ""),
    ("POST", "/in/", "Content-Type: multipart/form-data; boundary=b\r\n"),
];

fn too_long_and_too_little_room_are_said_at_once(backend: BackendChoice) {
    for (upload_bytes, status) in [(1_000_u64, 413), (i64::MAX as u64, 507)] {
        let site = Site::with_uploads(backend, |settings| settings.upload_bytes = upload_bytes);
        for (method, target, field) in TARGETS {
            for expect in ["", "Expect: 100-continue\r\n"] {
                let mut client = site.connect();
                // More than any file system has.
                client.send(format!(
                    "{method} {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 9000000000000000000\r\n{field}{expect}\r\n"
                ));
                let answer = client.answer();
                assert_eq!((answer.status, answer.closes()), (status, true), "{method} {target} {expect}");
                client.finish();
                client.ends();
            }
        }
        assert!(site.names("in").is_empty());
        // What fits is taken.
        assert_eq!(site.connect().upload("PUT", "/in/name", &[0; 1_000]).status, 201);
    }
}

fn a_client_that_sends_all_the_same_reads_the_answer(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| settings.upload_bytes = 1_000);
    let content = bytes(4 << 20, 1);
    for (method, target, field) in TARGETS {
        let mut client = site.connect();
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n{field}\r\n",
            content.len()
        ));
        client.send(&content);
        assert_eq!(client.answer().status, 413, "{method} {target}");
        client.finish();
        client.ends();
    }
}

fn a_folder_that_was_made_again_takes_uploads(backend: BackendChoice) {
    // On Windows the folder cannot be removed while an upload has it open, and between two it can.
    let site = Site::with_uploads(backend, |_| {});
    let mut client = site.connect();
    assert_eq!(client.upload("PUT", "/in/name", b"first").status, 201);
    fs::remove_dir_all(site.path("in")).unwrap();
    let answer = site.connect().upload("PUT", "/in/name", b"lost");
    assert_eq!(answer.status, 404);
    fs::create_dir(site.path("in")).unwrap();
    assert_eq!(client.upload("PUT", "/in/name", b"second").status, 201);
    assert_eq!(fs::read(site.path("in/name")).unwrap(), b"second");
    #[cfg(unix)]
    {
        // A link in its place leads nowhere.
        let outside = tempfile::tempdir().unwrap();
        fs::remove_dir_all(site.path("in")).unwrap();
        std::os::unix::fs::symlink(outside.path(), site.path("in")).unwrap();
        let status = site.connect().upload("PUT", "/in/name", b"lost").status;
        assert!((400..=500).contains(&status), "{status}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

/// RFC 9110 section 13.2.1.
fn preconditions_come_after_what_is_wrong_anyway(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| settings.upload_bytes = 1_000);
    site.write("in/name", "kept");
    for precondition in ["", "If-None-Match: *\r\n", "If-Match: \"x\"\r\n"] {
        for (fields, status) in [
            ("", 411),
            ("Content-Length: 1001\r\n", 413),
            ("Content-Length: 4\r\nContent-Range: bytes 0-3/8\r\n", 400),
            ("Content-Length: 4\r\n", if precondition.is_empty() { 204 } else { 412 }),
        ] {
            for expect in ["", "Expect: 100-continue\r\n"] {
                let mut client = site.connect();
                let head =
                    format!("PUT /in/name HTTP/1.1\r\nHost: test\r\n{fields}{precondition}{expect}\r\n");
                client.send(head);
                if status == 204 && !expect.is_empty() {
                    assert_eq!(client.head().status, 100);
                }
                client.try_send("body");
                assert_eq!(client.answer().status, status, "{fields}{precondition}{expect}");
            }
        }
    }
    assert_eq!(site.names("in"), ["name"]);
}

/// Where a body is read past for the sake of another answer, and what that answer would say is over when the body has come, there is
/// nothing left to be uploaded, and nothing wrong with the request either.
fn an_upload_that_was_held_up_has_to_come_again(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| {
        settings.client_requests_per_s = 10_000;
        settings.client_request_burst = 1;
    });
    site.write("file", "content");
    let mut client = site.connect();
    let get = "GET /file HTTP/1.1\r\nHost: test\r\n\r\n";
    let put = "PUT /in/name HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\n";
    let held_up = (0..10_000).any(|_| {
        client.send([get, put].concat());
        assert!([200, 429].contains(&client.answer().status));
        // By now there may be a request left for this client.
        client.send("body");
        let answer = client.answer();
        assert!([201, 204, 429, 503].contains(&answer.status), "{}", answer.head);
        answer.status == 503
    });
    assert!(held_up, "no answer changed while its body came");
    if site.path("in/name").exists() {
        assert_eq!(fs::read(site.path("in/name")).unwrap(), b"body");
    }
}

fn other_sites_cannot_send_forms(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |_| {});
    let form = "--b\r\nContent-Disposition: form-data; name=f; filename=form\r\n\r\n\r\n--b--";
    for (field, taken) in [
        ("", true),
        ("Origin: http://test\r\n", true),
        ("Origin: https://TEST\r\n", true),
        ("Sec-Fetch-Site: same-origin\r\nOrigin: http://behind-a-proxy\r\n", true),
        ("Sec-Fetch-Site: none\r\n", true),
        ("Origin: http://other\r\n", false),
        ("Origin: http://test:81\r\n", false),
        ("Origin: null\r\n", false),
        ("Origin: test\r\n", false),
        ("Sec-Fetch-Site: cross-site\r\n", false),
        ("Sec-Fetch-Site: same-site\r\nOrigin: http://test\r\n", false),
    ] {
        let mut client = site.connect();
        client.send(format!(
            "POST /in/ HTTP/1.1\r\nHost: test\r\nContent-Type: multipart/form-data; boundary=b\r\n{field}\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        ));
        assert_eq!(client.answer().status, if taken { 303 } else { 403 }, "{field}");
        client.send(format!("POST /in/raw HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n{field}\r\nbody"));
        assert_eq!(client.answer().status, if taken { 201 } else { 403 }, "{field}");
        let names: &[&str] = if taken { &["form", "raw"] } else { &[] };
        assert_eq!(site.names("in"), names, "{field}");
        for name in names {
            fs::remove_file(site.path(&format!("in/{name}"))).unwrap();
        }
    }
}
