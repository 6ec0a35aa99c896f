//! DELETE: only where it is switched on, only files, only in the upload folder.

use crate::common::{Client, Site, on_every_backend};
use portico::settings::BackendChoice;
use std::{fs, time::Duration};

on_every_backend!(
    nothing_is_deleted_unless_that_is_switched_on,
    a_file_is_deleted_and_the_next_request_knows,
    only_files_of_the_folder_are_deleted,
    preconditions_of_a_deletion_are_kept,
    a_deletion_may_have_a_body,
    one_of_many_deletions_wins,
);

fn deleting(backend: BackendChoice) -> Site {
    Site::with_uploads(backend, |settings| {
        settings.upload_delete = true;
        settings.listing = true;
        settings.file_revalidate = Duration::from_secs(3_600);
    })
}

fn delete(client: &mut Client, target: &str) -> u16 {
    client.request("DELETE", target, "").status
}

fn nothing_is_deleted_unless_that_is_switched_on(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |_| {});
    site.write("in/name", "kept");
    let answer = site.connect().request("DELETE", "/in/name", "");
    assert_eq!((answer.status, answer.field("Allow")), (405, Some("GET, HEAD, OPTIONS, POST, PUT")));
    assert_eq!(site.names("in"), ["name"]);
    // Nor where there is no upload folder.
    drop(site);
    let site = Site::with(backend, |settings| settings.upload_delete = true);
    site.write("name", "kept");
    assert_eq!(site.connect().request("DELETE", "/name", "").status, 405);
    assert_eq!(site.names(""), ["name"]);
}

fn a_file_is_deleted_and_the_next_request_knows(backend: BackendChoice) {
    let site = deleting(backend);
    site.write("in/large", vec![0; 200_000]);
    site.write("in/name", "content");
    site.write("in/index.html", "index");
    let mut client = site.connect();
    for name in ["large", "name", "index.html"] {
        let options = client.request("OPTIONS", &format!("/in/{name}"), "");
        assert_eq!(options.field("Allow"), Some("GET, HEAD, OPTIONS, POST, PUT, DELETE"));
    }
    assert_eq!(client.get("/in/").body, b"index");
    for name in ["index.html", "large", "name"] {
        let target = format!("/in/{name}");
        assert_eq!(client.get(&target).status, 200);
        assert_eq!(delete(&mut client, &target), 204);
        assert_eq!((client.get(&target).status, delete(&mut client, &target)), (404, 404));
        let listing = String::from_utf8(client.get("/in/").body).unwrap();
        assert!(listing.contains("<table>") && !listing.contains(&format!("<bdi>{name}<")), "{listing}");
    }
    assert!(site.names("in").is_empty());
    // And the name can be used again.
    assert_eq!(client.upload("POST", "/in/name", b"again").status, 201);
    assert_eq!(client.get("/in/name").body, b"again");
}

fn only_files_of_the_folder_are_deleted(backend: BackendChoice) {
    let site = deleting(backend);
    site.write("kept", "");
    site.write("in/folder/inside", "");
    site.write("in/.hidden", "");
    fs::create_dir(site.path("in/empty")).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../kept", site.path("in/link")).unwrap();
        std::os::unix::fs::symlink("folder", site.path("in/folder-link")).unwrap();
    }
    let mut client = site.connect();
    for target in ["/kept", "/", "/in", "/in/", "/in/folder/", "/in/folder/inside", "/in/../kept"] {
        assert_eq!(delete(&mut client, target), 405, "{target}");
    }
    for target in ["/in/folder", "/in/empty"] {
        assert_eq!(delete(&mut client, target), 409, "{target}");
    }
    for target in ["/in/.hidden", "/in/none", "/in/portico.toml"] {
        assert_eq!(delete(&mut client, target), 404, "{target}");
    }
    for target in ["/in/..%2fkept", "/in/..%5ckept", "/in/%00", "/in/a%0ab"] {
        assert_eq!(delete(&mut client, target), 400, "{target}");
    }
    #[cfg(unix)]
    {
        for target in ["/in/link", "/in/folder-link"] {
            assert_eq!(delete(&mut client, target), 409, "{target}");
        }
        assert_eq!(delete(&mut client, "/in/folder-link/inside"), 405);
    }
    assert!(site.path("kept").exists() && site.path("in/folder/inside").exists());
    assert_eq!(site.names("in").len(), if cfg!(unix) { 5 } else { 3 });
}

fn preconditions_of_a_deletion_are_kept(backend: BackendChoice) {
    let site = deleting(backend);
    site.write("in/name", "first");
    let mut client = site.connect();
    let etag = client.get("/in/name").field("ETag").unwrap().to_owned();
    let mut conditional = |target: &str, fields: &str| client.request("DELETE", target, fields).status;
    assert_eq!(conditional("/in/name", "If-Match: \"other\"\r\n"), 412);
    assert_eq!(conditional("/in/name", "If-None-Match: *\r\n"), 412);
    assert_eq!(conditional("/in/name", "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), 412);
    assert_eq!(conditional("/in/none", "If-Match: *\r\n"), 404);
    // What another wrote in the meantime is seen, however long the cache trusts what it knows.
    fs::write(site.path("in/name"), "by another hand").unwrap();
    assert_eq!(conditional("/in/name", &format!("If-Match: {etag}\r\n")), 412);
    assert_eq!(site.names("in"), ["name"]);
    let etag = site.get("/in/name").field("ETag").unwrap().to_owned();
    assert_eq!(conditional("/in/name", &format!("If-Match: {etag}\r\n")), 204);
    assert!(site.names("in").is_empty());
}

fn a_deletion_may_have_a_body(backend: BackendChoice) {
    let site = deleting(backend);
    let mut client = site.connect();
    for framing in
        ["Content-Length: 4\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"]
    {
        site.write("in/name", "");
        client.send(format!("DELETE /in/name HTTP/1.1\r\nHost: test\r\n{framing}"));
        client.send("GET /in/name HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!((client.answer().status, client.answer().status), (204, 404));
    }
    // The connection ends behind one that nobody wants to read.
    site.write("in/name", "");
    client.send("DELETE /in/name HTTP/1.1\r\nHost: test\r\nContent-Length: 10000000\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.closes()), (204, true));
    client.finish();
    client.ends();
}

fn one_of_many_deletions_wins(backend: BackendChoice) {
    let site = Site::with_uploads(backend, |settings| (settings.upload_delete, settings.workers) = (true, 2));
    for round in 0..10 {
        site.write(&format!("in/{round}"), "");
        let statuses: Vec<_> = std::thread::scope(|scope| {
            let site = &site;
            let each = |_| scope.spawn(move || delete(&mut site.connect(), &format!("/in/{round}")));
            let deleting: Vec<_> = (0..4).map(each).collect();
            deleting.into_iter().map(|deleting| deleting.join().unwrap()).collect()
        });
        let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
        // Wine lets several that have the file open at once delete it.
        assert!(count(204) == 1 || (cfg!(windows) && count(204) > 1), "{statuses:?}");
        assert_eq!(count(204) + count(404), 4, "{statuses:?}");
    }
}
