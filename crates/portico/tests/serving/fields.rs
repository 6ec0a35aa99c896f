//! Fields that the site's settings add, on every kind of answer: rules, the security preset, CORS, Vary.

use crate::{
    common::{Answer, Client, Site, assert_same, on_every_backend},
    rules::configured,
};
use portico::settings::{BackendChoice, ERROR_PAGE_STATUSES, LogTarget, UnknownHosts};
use std::{fs, time::Duration};

on_every_backend!(
    a_listing_has_the_fields_that_a_file_there_has,
    a_listing_keeps_what_is_true_of_it_alone,
    a_listing_may_be_read_by_other_origins,
    the_preset_comes_with_every_answer_of_the_server,
    every_error_may_have_a_page,
    pipelined_errors_have_their_pages_in_order,
    who_asks_too_often_may_have_a_page,
    what_is_refused_before_it_is_looked_up_may_be_read_by_other_origins,
    an_answer_varies_by_coding_and_origin,
);

/// Serves a folder whose subfolder `in` takes uploads, with what a `portico.toml` says.
fn site(backend: BackendChoice, toml: &str) -> Site {
    Site::with_uploads(backend, |settings| {
        let upload = settings.upload.take();
        *settings = configured(settings, toml);
        settings.upload = upload;
    })
}

/// What an answer depends on, however many lines say it.
fn varies(answer: &Answer) -> String {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    let values = lines.filter(|(name, _)| name.eq_ignore_ascii_case("vary")).map(|(_, value)| value);
    values.collect::<Vec<_>>().join(", ")
}

fn a_listing_has_the_fields_that_a_file_there_has(backend: BackendChoice) {
    let site = site(
        backend,
        "listing = true\nsecurity_headers = true\ncache_control = \"max-age=60\"\n\
         [[rule]]\npath = \"/docs/**\"\nheaders = { X-Docs = \"yes\", X-Frame-Options = \"\" }\n\
         [[rule]]\npath = \"/docs/sub/*\"\ncache_control = \"private\"\n\
         [[rule]]\npath = \"/\"\nheaders = { X-Root = \"yes\" }\n",
    );
    site.write("docs/sub/file", "x");
    let mut client = site.connect();
    for fields in ["", "Accept: application/json\r\n"] {
        // Twice: made, and from the cache.
        for method in ["GET", "GET", "HEAD"] {
            let docs = client.request(method, "/docs/", fields);
            assert_eq!((docs.field("X-Docs"), docs.field("X-Frame-Options")), (Some("yes"), None));
            assert_eq!(docs.field("Referrer-Policy"), Some("strict-origin-when-cross-origin"));
            assert_eq!(docs.field("Cache-Control"), Some("no-cache"), "not that of the settings");
            assert_eq!((docs.field("X-Root"), docs.field("Vary")), (None, Some("Accept")));
            let sub = client.request(method, "/docs/sub/", fields);
            assert_eq!((sub.field("X-Docs"), sub.field("Cache-Control")), (Some("yes"), Some("private")));
            let root = client.request(method, "/", fields);
            assert_eq!(
                (root.field("X-Root"), root.field("X-Frame-Options")),
                (Some("yes"), Some("SAMEORIGIN"))
            );
        }
        let etag = client.request("GET", "/docs/", fields).field("ETag").unwrap().to_owned();
        let unchanged = client.request("GET", "/docs/", &format!("{fields}If-None-Match: {etag}\r\n"));
        assert_eq!((unchanged.status, unchanged.field("X-Docs")), (304, Some("yes")));
        assert_eq!(unchanged.field("Cross-Origin-Opener-Policy"), Some("same-origin"));
    }
}

fn a_listing_keeps_what_is_true_of_it_alone(backend: BackendChoice) {
    let toml = "listing = true\n[[rule]]\npath = \"/**\"\n\
                headers = { Content-Security-Policy = \"default-src *\", X-Content-Type-Options = \"\" }\n";
    let site = site(backend, toml);
    site.write("file", "x");
    let mut client = site.connect();
    let file = client.get("/file");
    assert_eq!(file.field("Content-Security-Policy"), Some("default-src *"));
    // Its style and script are allowed by its own policy only.
    let page = client.get("/");
    let policy = page.field("Content-Security-Policy").unwrap();
    assert!(policy.contains("style-src 'sha256-"), "{policy}");
    assert_eq!(page.field("X-Content-Type-Options"), None);
}

fn a_listing_may_be_read_by_other_origins(backend: BackendChoice) {
    for (origins, named) in [("\"https://a.example\"", true), ("\"*\"", false)] {
        let toml = format!("listing = true\n[cors]\npath = \"/data/**\"\norigins = {origins}\n");
        let site = site(backend, &toml);
        site.write("data/sub/file", "x");
        let mut client = site.connect();
        for target in ["/data/", "/data/sub/?format=json"] {
            let answer = client.request("GET", target, "Origin: https://a.example\r\n");
            let allowed = origins.replace('"', "");
            assert_eq!(answer.field("Access-Control-Allow-Origin"), Some(&*allowed), "{target}");
            let other = client.request("GET", target, "Origin: https://b.example\r\n");
            let allowed = (!named).then_some("*");
            assert_eq!(other.field("Access-Control-Allow-Origin"), allowed, "{target}");
            let expected = if named { "Accept, Origin" } else { "Accept" };
            assert_eq!((&*varies(&answer), &*varies(&other)), (expected, expected));
        }
        let answer = client.request("GET", "/", "Origin: https://a.example\r\n");
        assert_eq!(answer.field("Access-Control-Allow-Origin"), None);
    }
}

/// A site that gives every kind of answer, to the requests of [`every_answer`].
struct Answering {
    site: Site,
    _folder: tempfile::TempDir,
}

fn answering(backend: BackendChoice, toml: &str) -> Answering {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    fs::write(&users, "alice:$2y$04$uKeOAn6DjHbwDYCwIsKtBe93RRR5CVwoa7lcMzJdakycVuGSZxmwq\n").unwrap();
    let log = folder.path().join("access.log");
    let site = Site::with_uploads(backend, |settings| {
        let upload = settings.upload.take();
        let toml = format!(
            "upload_delete = true\nlisting = true\nhealth_path = \"/health\"\nheader_timeout_ms = 300\n{toml}\n\
             [[host]]\nnames = [\"test\"]\n"
        );
        *settings = configured(settings, &toml);
        settings.unknown_hosts = UnknownHosts::Refuse;
        settings.access_log = Some(LogTarget::File(log));
        let host = &mut settings.hosts[0].settings;
        host.upload = upload;
        host.upload_bytes = 100_000;
        host.auth_users = Some(users);
        host.auth_folders = vec!["/private/".parse().unwrap()];
    });
    site.write("file", "content");
    site.write("folder/file", "content");
    Answering { site, _folder: folder }
}

/// Requests, one after the other, and the status of each answer.
fn every_answer() -> Vec<(u16, String)> {
    let form = "--b\r\nContent-Disposition: form-data; name=f; filename=form\r\n\r\n\r\n--b--";
    let form = |fields: &str| {
        let length = form.len();
        let kind = "Content-Type: multipart/form-data; boundary=b";
        format!(
            "POST /in/ HTTP/1.1\r\nHost: test\r\n{kind}\r\n{fields}Content-Length: {length}\r\n\r\n{form}"
        )
    };
    let plain = |start: &str, fields: &str| format!("{start} HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    vec![
        (200, plain("GET /file", "")),
        (200, plain("GET /folder/", "")),
        (200, plain("GET /health", "")),
        (201, plain("PUT /in/new", "Content-Length: 0\r\n")),
        (204, plain("PUT /in/new", "Content-Length: 0\r\n")),
        (204, plain("DELETE /in/new", "")),
        (204, plain("OPTIONS /file", "")),
        (206, plain("GET /file", "Range: bytes=0-0,2-2\r\n")),
        (301, plain("GET /folder", "")),
        (303, form("")),
        (400, plain("GET /a%00", "")),
        (400, "GET / HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\n".to_owned()),
        (400, plain("PUT /in/new", "Content-Length: 1\r\nContent-Range: bytes 0-0/9\r\n")),
        (400, plain("PUT /in/new", "Transfer-Encoding: chunked\r\n") + "x\r\n"),
        (401, plain("GET /private/file", "")),
        (403, plain("POST /in/x", "Sec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n")),
        (404, plain("GET /absent", "")),
        (404, plain("DELETE /in/absent", "")),
        (405, plain("PUT /file", "Content-Length: 0\r\n")),
        (408, "GET /file HTTP/1.1\r\nHost: te".to_owned()),
        (409, plain("POST /in/form", "Content-Length: 0\r\n")),
        (411, plain("PUT /in/new", "")),
        (412, plain("GET /file", "If-Match: \"x\"\r\n")),
        (413, plain("PUT /in/new", "Content-Length: 100001\r\n")),
        (414, plain(&format!("GET /{}", "x".repeat(20_000)), "")),
        (415, plain("POST /in/", "Content-Length: 0\r\n")),
        (416, plain("GET /file", "Range: bytes=9-\r\n")),
        (417, plain("GET /file", "Expect: more\r\n")),
        (421, "GET / HTTP/1.1\r\nHost: other\r\n\r\n".to_owned()),
        (431, plain("GET /file", &format!("X: {}\r\n", "x".repeat(100_000)))),
        (501, plain("BREW /file", "")),
        (505, "GET / HTTP/2.0\r\nHost: test\r\n\r\n".to_owned()),
    ]
}

/// Sends each request on a connection of its own, on which the server knows the host from another before.
fn answers(site: &Site) -> impl Iterator<Item = (Answer, String, Client)> {
    every_answer().into_iter().map(|(status, request)| {
        let mut client = site.connect();
        assert_eq!(client.get("/file").status, 200);
        client.try_send(&request);
        let answer = client.answer();
        let start = request[..request.len().min(60)].to_owned();
        assert_eq!(answer.status, status, "{start}");
        (answer, start, client)
    })
}

fn the_preset_comes_with_every_answer_of_the_server(backend: BackendChoice) {
    let answering = answering(backend, "security_headers = true");
    for (answer, start, _) in answers(&answering.site) {
        for name in
            ["X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Content-Security-Policy"]
        {
            assert!(answer.field(name).is_some(), "{name} is missing from {} for {start}", answer.status);
        }
    }
}

fn every_error_may_have_a_page(backend: BackendChoice) {
    // Small, from memory in a slice of its own, and from the disk.
    for (page_bytes, cached_bytes) in [(10, 65_536), (20_000, 65_536), (300_000, 0)] {
        let pages =
            ERROR_PAGE_STATUSES.map(|status| format!("{status} = \"/.errors/{status}.txt\"\n")).concat();
        let fields = "[[rule]]\npath = \"/.errors/*\"\nheaders = { X-Page = \"yes\" }\n";
        let toml = format!(
            "security_headers = true\ncontent_language = \"en\"\nfile_cache_file_bytes = {cached_bytes}\n\
             [error_pages]\n{pages}{fields}"
        );
        let mut answering = answering(backend, &toml);
        let page = |status: u16| format!("{status} ").repeat(page_bytes / 4);
        for status in ERROR_PAGE_STATUSES {
            answering.site.write(&format!(".errors/{status}.txt"), page(status));
        }
        // Twice: from the disk, and from the cache.
        for _ in 0..2 {
            for (answer, start, mut client) in answers(&answering.site) {
                let status = answer.status;
                if status < 400 {
                    assert_eq!(answer.field("X-Page"), None, "{start}");
                    continue;
                }
                assert_same(&answer.body, page(status).as_bytes(), &start);
                assert_eq!(answer.field("Content-Type"), Some("text/plain; charset=utf-8"));
                assert_eq!(
                    (answer.field("X-Page"), answer.field("X-Frame-Options")),
                    (Some("yes"), Some("SAMEORIGIN"))
                );
                assert_eq!((answer.field("Content-Language"), answer.field("ETag")), (Some("en"), None));
                for (of, name) in
                    [(401, "WWW-Authenticate"), (405, "Allow"), (416, "Content-Range"), (503, "Retry-After")]
                {
                    assert_eq!(answer.field(name).is_some(), status == of, "{name} {start}");
                }
                // What ends the connection goes on doing so, and nothing else does.
                let ends = [408, 411, 413, 414, 415, 417, 431, 505].contains(&status);
                assert!(answer.closes() == ends || [400, 409].contains(&status), "{start}");
                if answer.closes() {
                    client.finish();
                    client.ends();
                } else {
                    assert_eq!(client.get("/file").body, b"content", "{start}");
                    let head = client.request("HEAD", "/absent", "");
                    assert_eq!(head.field("Content-Length"), Some(&*page(404).len().to_string()));
                    assert_eq!(client.get("/file").body, b"content");
                }
            }
            fs::remove_file(answering.site.path("in/form")).unwrap();
        }
        assert!(answering.site.stop(Duration::from_secs(30)).is_clean());
        let log = fs::read_to_string(answering._folder.path().join("access.log")).unwrap();
        for (status, _) in every_answer().iter().filter(|(status, _)| *status >= 400) {
            let line =
                log.lines().filter(|line| line.contains(&format!("\" {status} {}", page(*status).len())));
            assert!(line.count() >= 2, "{status} in\n{log}");
        }
    }
}

fn who_asks_too_often_may_have_a_page(backend: BackendChoice) {
    let site = site(
        backend,
        "client_requests_per_s = 1\nclient_request_burst = 1\n[error_pages]\n429 = \"/often.txt\"\n",
    );
    site.write("often.txt", "too often");
    let mut client = site.connect();
    // More than a second's worth at once.
    client.send("GET /absent HTTP/1.1\r\nHost: test\r\n\r\n".repeat(60));
    let answers: Vec<_> = (0..60).map(|_| client.answer()).collect();
    assert_eq!(answers[0].status, 404);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(refused.len() > 30, "{}", refused.len());
    for answer in refused {
        assert_eq!((&answer.body[..], answer.field("Retry-After")), (&b"too often"[..], Some("1")));
    }
}

fn what_is_refused_before_it_is_looked_up_may_be_read_by_other_origins(backend: BackendChoice) {
    let answering = answering(
        backend,
        "client_requests_per_s = 1\nclient_request_burst = 2\n[cors]\norigins = [\"https://a.example\"]",
    );
    let mut client = answering.site.connect();
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) {
        let answer = client.request("GET", "/private/file", "Origin: https://a.example\r\n");
        assert_eq!(answer.field("Access-Control-Allow-Origin"), Some("https://a.example"));
        assert_eq!(&*varies(&answer), "Origin");
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..2], [401, 401]);
}

/// Each waits for its page in its turn, however many requests come at once and may be answered at once.
fn pipelined_errors_have_their_pages_in_order(backend: BackendChoice) {
    for depth in [1, 2, 64] {
        let toml = format!(
            "pipeline_depth = {depth}\nfile_revalidate_ms = 0\n[error_pages]\n404 = \"/404.txt\"\n405 = \"/405.txt\"\n400 = \"/400.txt\"\n"
        );
        let site = site(backend, &toml);
        for name in ["404.txt", "405.txt", "400.txt", "file"] {
            site.write(name, name.repeat(2_000));
        }
        let requests =
            [("GET /file", "file"), ("GET /x", "404.txt"), ("PATCH /x", "405.txt"), ("GET /y", "404.txt")];
        let mut client = site.connect();
        for _ in 0..3 {
            client.send(
                requests
                    .map(|(start, _)| format!("{start} HTTP/1.1\r\nHost: test\r\n\r\n"))
                    .concat()
                    .repeat(4),
            );
            for (_, name) in requests.repeat(4) {
                assert_same(&client.answer().body, name.repeat(2_000).as_bytes(), name);
            }
        }
        client.send(["GET /x HTTP/1.1\r\nHost: test\r\n\r\n", "nonsense\r\n\r\n"].concat());
        for name in ["404.txt", "400.txt"] {
            assert_same(&client.answer().body, name.repeat(2_000).as_bytes(), name);
        }
        client.finish();
        client.ends();
    }
}

fn an_answer_varies_by_coding_and_origin(backend: BackendChoice) {
    let site = site(
        backend,
        "clean_urls = true\nprecompressed = [\"gzip\"]\ncompress = [\"br\"]\n[cors]\norigins = [\"https://a.example\"]\n",
    );
    site.write("page.html", "plain");
    site.write("page.html.gz", "smaller");
    site.write("large.html", "much the same again and again ".repeat(1_000));
    site.write("index.html", "home");
    site.write("index.html.gz", "home, smaller");
    let mut client = site.connect();
    let ask = |client: &mut Client, target: &str, fields: &str| {
        let answer = client.request("GET", target, &format!("{fields}Origin: https://a.example\r\n"));
        assert_eq!(
            answer.field("Access-Control-Allow-Origin"),
            Some("https://a.example"),
            "{target} {fields}"
        );
        answer
    };
    let both = "Accept-Encoding, Origin";
    for target in ["/page", "/", "/large"] {
        let plain = ask(&mut client, target, "");
        assert_eq!((plain.status, varies(&plain)), (200, both.to_owned()), "{target}");
        let coding = if target == "/large" { "br" } else { "gzip" };
        let accept = format!("Accept-Encoding: {coding}\r\n");
        // What is compressed on the fly is not waited for.
        let coded = (0..100_000).map(|_| ask(&mut client, target, &accept));
        let coded = coded.into_iter().find(|answer| {
            assert_eq!(varies(answer), both, "{target}");
            answer.field("Content-Encoding") == Some(coding)
        });
        let etag = coded.unwrap().field("ETag").unwrap().to_owned();
        for (fields, status) in [
            (format!("{accept}If-None-Match: {etag}\r\n"), 304),
            (format!("{accept}Range: bytes=0-1\r\n"), 206),
            (format!("{accept}Range: bytes=900000-\r\n"), 416),
            (format!("{accept}If-Match: \"x\"\r\n"), 412),
            ("Range: bytes=0-0,2-2\r\n".to_owned(), 206),
        ] {
            let answer = ask(&mut client, target, &fields);
            assert_eq!((answer.status, varies(&answer)), (status, both.to_owned()), "{target} {fields}");
        }
        // To an origin that may not read it, and to none.
        for fields in ["Origin: https://b.example\r\n", ""] {
            let answer = client.request("GET", target, &format!("{accept}{fields}"));
            assert_eq!(answer.field("Access-Control-Allow-Origin"), None);
            assert_eq!(varies(&answer), both, "{target} {fields}");
        }
    }
    // Where a clean URL leads depends on the origin only.
    let moved = ask(&mut client, "/page.html", "Accept-Encoding: gzip\r\n");
    assert_eq!((moved.status, varies(&moved)), (301, "Origin".to_owned()));
}
