//! Files that change while they are served.

use crate::common::{Client, Site, assert_same, bytes, on_every_backend};
use portico::settings::BackendChoice;
use std::{fs, time::Duration};

on_every_backend!(
    a_change_is_seen_when_the_disk_is_asked_again,
    what_was_missing_is_found_when_it_comes,
    a_trusted_file_is_not_asked_again,
    a_file_that_shrinks_under_a_download_ends_the_connection,
    a_file_that_shrinks_under_a_part_of_it_ends_the_connection,
    a_file_that_grows_under_a_download_arrives_as_long_as_promised,
    a_file_that_is_emptied_and_filled_again_is_never_mixed_up_with_the_next_answer,
    a_file_that_is_replaced_under_a_download_arrives_as_it_was,
    a_file_that_is_deleted_under_a_download_arrives_whole,
);

/// The disk is asked at every request.
fn site(backend: BackendChoice) -> Site {
    Site::with(backend, |settings| settings.file_revalidate = Duration::ZERO)
}

fn a_change_is_seen_when_the_disk_is_asked_again(backend: BackendChoice) {
    let site = site(backend);
    let mut client = site.connect();
    // Between memory and stream in both directions; in place, by replacement, and gone.
    for (step, length) in [100, 200_000, 300_000, 50, 0, 70_000, 10].into_iter().enumerate() {
        let content = bytes(length, step as u64);
        if step % 2 == 0 {
            site.write("file", &content);
        } else {
            let other = site.write("other", &content);
            match fs::rename(other, site.path("file")) {
                // Some versions of Windows refuse it for a file that is open, as one in the cache is.
                Err(_) if cfg!(windows) => drop(site.write("file", &content)),
                renamed => renamed.unwrap(),
            }
        }
        let answer = client.get("/file");
        assert_same(&answer.body, &content, &format!("step {step}"));
        let etag = answer.field("ETag").unwrap().to_owned();
        assert_eq!(client.request("GET", "/file", &format!("If-None-Match: {etag}\r\n")).status, 304);
    }
    fs::remove_file(site.path("file")).unwrap();
    assert_eq!(client.get("/file").status, 404);
    fs::create_dir(site.path("file")).unwrap();
    assert_eq!(client.get("/file").status, 301);
    site.write("file/index.html", "inside");
    assert_eq!(client.get("/file/").body, b"inside");
}

fn what_was_missing_is_found_when_it_comes(backend: BackendChoice) {
    let site = site(backend);
    let mut client = site.connect();
    assert_eq!(client.get("/later/page.html").status, 404);
    assert_eq!(client.get("/later/").status, 404);
    site.write("later/page.html", "came");
    site.write("later/index.html", "too");
    assert_eq!(client.get("/later/page.html").body, b"came");
    assert_eq!(client.get("/later/").body, b"too");
}

fn a_trusted_file_is_not_asked_again(backend: BackendChoice) {
    let site = Site::with(backend, |settings| settings.file_revalidate = Duration::from_secs(3_600));
    let mut client = site.connect();
    site.write("small", "first");
    assert_eq!(client.get("/absent").status, 404);
    assert_eq!(client.get("/small").body, b"first");
    site.write("small", "second one");
    site.write("absent", "here");
    let answer = client.get("/small");
    assert_eq!((answer.field("Content-Length"), answer.body.as_slice()), (Some("5"), &b"first"[..]));
    assert_eq!(client.get("/absent").status, 404);
}

/// So long that it cannot be in the sockets' buffers, and is still being read when its first bytes are here.
const LONG: usize = 40 << 20;

/// Asks for the long file, and reads its head only.
fn begin(site: &Site) -> (Client, Vec<u8>) {
    let content = bytes(LONG, 9);
    site.write("long", &content);
    let mut client = site.connect();
    client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.head();
    assert_eq!(head.field("Content-Length"), Some(&*LONG.to_string()));
    (client, content)
}

/// Not on Windows, where an open file cannot be truncated by others.
fn a_file_that_shrinks_under_a_download_ends_the_connection(backend: BackendChoice) {
    let site = site(backend);
    let (mut client, content) = begin(&site);
    let Ok(file) = fs::File::options().write(true).open(site.path("long")) else { return };
    if file.set_len(1_000_000).is_err() {
        return;
    }
    let (_, came) = client.try_body(LONG).expect_err("the whole length came of a file that is shorter");
    // The page in which the file ends now is the file's own: what is behind the end became zero in it, on its way to the client too.
    let kept = came.len().min(1_000_000);
    assert_same(&came[..kept], &content[..kept], "what came before the end");
    // The next one is told the new length.
    assert_same(&site.get("/long").body, &content[..1_000_000], "the shorter file");
}

/// The same for a range: its length was promised too.
fn a_file_that_shrinks_under_a_part_of_it_ends_the_connection(backend: BackendChoice) {
    let site = site(backend);
    let content = bytes(LONG, 9);
    site.write("long", &content);
    let mut client = site.connect();
    client.send("GET /long HTTP/1.1\r\nHost: test\r\nRange: bytes=1000-\r\n\r\n");
    assert_eq!(client.head().status, 206);
    let Ok(file) = fs::File::options().write(true).open(site.path("long")) else { return };
    if file.set_len(1_000_000).is_err() {
        return;
    }
    let (_, came) = client.try_body(LONG - 1_000).expect_err("a part of a file that is shorter came whole");
    let kept = came.len().min(999_000);
    assert_same(&came[..kept], &content[1_000..][..kept], "what came before the end");
    assert_eq!(site.connect().request("GET", "/long", "Range: bytes=2000000-\r\n").status, 416);
}

fn a_file_that_grows_under_a_download_arrives_as_long_as_promised(backend: BackendChoice) {
    let site = site(backend);
    let (mut client, mut content) = begin(&site);
    let Ok(mut file) = fs::File::options().append(true).open(site.path("long")) else { return };
    let more = bytes(3_000_000, 11);
    std::io::Write::write_all(&mut file, &more).unwrap();
    assert_same(&client.try_body(LONG).unwrap(), &content, "the length that was promised");
    // The next answer begins right behind it, and has the new length.
    content.extend_from_slice(&more);
    assert_same(&client.get("/long").body, &content, "the longer file");
}

/// A file that is rewritten in place while many ask for it: each answer ends where its head says, or its connection ends before.
fn a_file_that_is_emptied_and_filled_again_is_never_mixed_up_with_the_next_answer(backend: BackendChoice) {
    let site = site(backend);
    site.write("file", bytes(300_000, 1));
    let mut client = site.connect();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_usize.. {
                if over.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                // Windows may refuse it while the file is open.
                let _ = fs::write(site.path("file"), bytes([300_000, 10, 150_000][round % 3], 1));
            }
        });
        let (mut whole, mut cut) = (0, 0);
        for _ in 0..400 {
            if !client.try_send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n") {
                client = site.connect();
                continue;
            }
            let Ok(head) = client.try_head() else {
                client = site.connect();
                continue;
            };
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            match client.try_body(length.unwrap().parse().unwrap()) {
                Ok(_) => whole += 1,
                Err(_) => {
                    cut += 1;
                    client = site.connect();
                }
            }
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(whole > 0, "{cut} were cut and none came whole");
    });
}

fn a_file_that_is_replaced_under_a_download_arrives_as_it_was(backend: BackendChoice) {
    let site = site(backend);
    let (mut client, content) = begin(&site);
    let other = site.write("other", bytes(LONG, 10));
    if fs::rename(other, site.path("long")).is_err() && cfg!(windows) {
        return;
    }
    assert_same(&client.try_body(LONG).unwrap(), &content, "the file as it was");
    assert_same(&client.get("/long").body, &bytes(LONG, 10), "the file as it is");
}

fn a_file_that_is_deleted_under_a_download_arrives_whole(backend: BackendChoice) {
    let site = site(backend);
    let (mut client, content) = begin(&site);
    if fs::remove_file(site.path("long")).is_err() && cfg!(windows) {
        return;
    }
    assert_same(&client.try_body(LONG).unwrap(), &content, "the deleted file");
    // On Windows the name may stay until the last handle is closed, which the cache's is.
    assert!(client.get("/long").status == 404 || cfg!(windows));
}
