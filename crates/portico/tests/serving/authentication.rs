//! Basic authentication: who sees what, and what everybody else is told.

use crate::{
    common::{Answer, Client, Site, on_every_backend, write},
    rules::configured,
};
use base64ct::{Base64, Encoding as _};
use portico::settings::{BackendChoice, LogTarget, Settings};
use std::{fs, path::PathBuf, time::Duration};

on_every_backend!(
    nobody_sees_anything_without_a_password,
    only_folders_that_are_protected_ask,
    every_way_of_using_a_folder_asks,
    no_way_of_writing_a_path_goes_around_it,
    names_that_some_file_systems_take_for_the_folder_ask_too,
    what_a_password_opens_is_kept_by_no_shared_cache,
    uploads_ask_before_the_body_is_taken,
    pipelined_requests_are_each_asked,
    the_access_log_names_the_user,
);

/// "hunter2".
pub(crate) const ALICE: &str = "alice:$2y$04$uKeOAn6DjHbwDYCwIsKtBe93RRR5CVwoa7lcMzJdakycVuGSZxmwq\n";

pub(crate) struct Protected {
    pub(crate) site: Site,
    pub(crate) users: PathBuf,
    _folder: tempfile::TempDir,
}

pub(crate) fn protected(backend: BackendChoice, change: impl FnOnce(&mut Settings)) -> Protected {
    let folder = tempfile::tempdir().unwrap();
    let users = write(folder.path(), "users", ALICE);
    let site = Site::with_uploads(backend, |settings| {
        settings.auth_users = Some(users.clone());
        settings.auth_realm = "Say \"please\"".to_owned();
        change(settings);
    });
    site.write("index.html", "public");
    site.write("private/file", "secret");
    site.write("private/index.html", "secrets");
    site.write("privately/file", "public");
    Protected { site, users, _folder: folder }
}

fn only_private(settings: &mut Settings) {
    settings.auth_folders = vec!["/private/".parse().unwrap(), "/in/".parse().unwrap()];
}

pub(crate) fn field(credentials: &str) -> String {
    format!("Authorization: Basic {}\r\n", Base64::encode_string(credentials.as_bytes()))
}

pub(crate) fn ask(client: &mut Client, target: &str, credentials: &str) -> Answer {
    client.request("GET", target, &field(credentials))
}

fn nobody_sees_anything_without_a_password(backend: BackendChoice) {
    for remember in [0, 300_000] {
        let protected =
            protected(backend, |settings| settings.auth_remember = Duration::from_millis(remember));
        let mut client = protected.site.connect();
        for target in ["/", "/absent", "/private/file", "/private"] {
            let answer = client.get(target);
            assert_eq!((answer.status, answer.closes()), (401, false), "{target}");
            let challenge = answer.field("WWW-Authenticate");
            assert_eq!(challenge, Some("Basic realm=\"Say \\\"please\\\"\", charset=\"UTF-8\""));
        }
        let head = client.request("HEAD", "/", "");
        assert_eq!((head.status, client.has_more()), (401, false));
        for wrong in [
            "alice:",
            "alice:hunter",
            "alice:hunter2 ",
            "alice",
            ":hunter2",
            "mallory:hunter2",
            "Alice:hunter2",
        ] {
            assert_eq!(ask(&mut client, "/", wrong).status, 401, "{wrong}");
        }
        let right = field("alice:hunter2");
        for malformed in [
            right.replace("Basic", "Bearer"),
            right.replace("Basic ", "Basic"),
            right.replace("\r\n", "=\r\n"),
            format!("{right}{right}"),
            format!("Authorization: Basic {}\r\n", "A".repeat(4_000)),
        ] {
            assert_eq!(client.request("GET", "/", &malformed).status, 401, "{malformed}");
        }
        // Checked, and remembered.
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "/", "alice:hunter2").body, b"public");
        }
        assert_eq!(client.request("GET", "/", &right.replace("Basic", "bASIC")).status, 200);
        assert_eq!(ask(&mut client, "/absent", "alice:hunter2").status, 404);
        // What one request showed is no other's.
        assert_eq!(client.get("/").status, 401);
        assert_eq!(ask(&mut client, "/", "alice:hunter3").status, 401);
    }
}

fn only_folders_that_are_protected_ask(backend: BackendChoice) {
    let protected = protected(backend, only_private);
    let mut client = protected.site.connect();
    for target in ["/", "/privately/file", "/absent", "/privat"] {
        assert_ne!(client.get(target).status, 401, "{target}");
    }
    for target in ["/private", "/private/", "/private/file", "/private/absent", "/private/file?x=/../.."] {
        assert_eq!(client.get(target).status, 401, "{target}");
    }
    assert_eq!(ask(&mut client, "/private/", "alice:hunter2").body, b"secrets");
    assert_eq!(client.request("OPTIONS", "/private/file", "").status, 401);
}

/// Whatever else may be asked of a folder asks for the password first; so does what leads there from outside.
fn every_way_of_using_a_folder_asks(backend: BackendChoice) {
    let protected = protected(backend, |settings| {
        only_private(settings);
        (settings.listing, settings.upload_delete, settings.clean_urls) = (true, true, true);
        let toml = "fallback = \"/private/file\"\nprecompressed = [\"gzip\"]\n[cors]\norigins = [\"https://a.example\"]\n\
                    [[rule]]\npath = \"/way\"\nrewrite = \"/private/file\"\n\
                    [[rule]]\npath = \"/private/gone\"\nredirect = \"/\"\n";
        let read = configured(settings, toml);
        (settings.rules, settings.cors, settings.fallback) = (read.rules, read.cors, read.fallback);
        settings.precompressed = read.precompressed;
    });
    protected.site.write("private/list/file", "secret");
    protected.site.write("private/file.gz", "secret, smaller");
    protected.site.write("in/kept", "kept");
    let right = field("alice:hunter2");
    // Twice: what the first one brought into the cache is no way in for the second.
    for credentials in ["", &right, ""] {
        let refused = credentials.is_empty();
        for (method, target, fields, allowed) in [
            ("GET", "/private/list/", "", 200),
            ("GET", "/private/list/?format=json", "", 200),
            ("HEAD", "/private/file", "", 200),
            ("GET", "/private/file", "Accept-Encoding: gzip\r\n", 200),
            ("GET", "/private/file", "Range: bytes=0-0,2-2\r\n", 206),
            ("GET", "/way", "", 200),
            ("GET", "/nowhere", "", 200),
            ("GET", "/private/gone", "", 302),
            ("POST", "/private/gone", "Content-Length: 0\r\n", 302),
            ("DELETE", "/in/absent", "", 404),
            ("DELETE", "/in/absent", "If-Match: *\r\n", 404),
            ("PUT", "/in/kept", "Content-Length: 0\r\nIf-None-Match: *\r\n", 412),
            ("POST", "/in/", "Content-Length: 0\r\nContent-Type: multipart/form-data; boundary=x\r\n", 400),
            ("OPTIONS", "/in/kept", "", 204),
        ] {
            let mut client = protected.site.connect();
            client.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}{credentials}\r\n"));
            let answer = if method == "HEAD" { client.head() } else { client.answer() };
            assert_eq!(answer.status, if refused { 401 } else { allowed }, "{method} {target} {fields}");
            assert!(!refused || !answer.body.windows(6).any(|part| part == b"secret"), "{method} {target}");
        }
        assert_eq!(fs::read(protected.site.path("in/kept")).unwrap(), b"kept");
    }
    let fields = "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n";
    let answer = protected.site.connect().request("OPTIONS", "/private/file", fields);
    assert_eq!(
        (answer.status, answer.field("Access-Control-Allow-Origin")),
        (204, Some("https://a.example"))
    );
}

fn no_way_of_writing_a_path_goes_around_it(backend: BackendChoice) {
    let protected = protected(backend, only_private);
    for target in [
        "/%70rivate/file",
        "/private/%66ile",
        "//private/file",
        "/./private/file",
        "/x/../private/file",
        "/privately/../private/file",
        "/private%2ffile",
        "/private%5cfile",
        "/private\\file",
        "/private./file",
        "/private /file",
        "/private;x/file",
        "/PRIVATE/file",
        "http://test/private/file",
        "/%2570rivate/file",
        "/private%00/file",
        "/private/file/",
        "/private//file",
    ] {
        let mut client = protected.site.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let answer = client.answer();
        assert!([400, 401, 404].contains(&answer.status), "{target}: {}", answer.status);
        assert!(!answer.body.windows(6).any(|part| part == b"secret"), "{target}");
    }
}

/// On Linux too, where the folder may lie on a file system of another system.
fn names_that_some_file_systems_take_for_the_folder_ask_too(backend: BackendChoice) {
    let protected = protected(backend, |settings| {
        settings.auth_folders = vec!["/private/".parse().unwrap(), "/Straße/ÉTÉ/".parse().unwrap()];
        settings.rules =
            configured(settings, "[[rule]]\npath = \"/way/*\"\nrewrite = \"/PRIVATE/$1\"\n").rules;
    });
    let mut client = protected.site.connect();
    for target in [
        "/PRIVATE/file",
        "/Private",
        "/pRIVATE/",
        "/private./file",
        "/private.%20./file",
        "/private%20/file",
        "/pri%E2%80%8Bvate/file",
        "/private%C2%AD/file",
        "/way/file",
        "/way/",
        "/STRASSE/%C3%A9t%C3%A9/x",
    ] {
        let status = client.get(target).status;
        // On Windows no name ends in a dot or a space.
        let refused = cfg!(windows) && target.starts_with("/private") && status == 404;
        assert!(status == 401 || refused, "{target}: {status}");
    }
    for target in
        ["/", "/privat", "/privately/file", "/private.d/file", "/x/private/file", "/%C3%A9t%C3%A9/x"]
    {
        assert_ne!(client.get(target).status, 401, "{target}");
    }
}

fn what_a_password_opens_is_kept_by_no_shared_cache(backend: BackendChoice) {
    for (cache_control, inside) in [
        ("", "private"),
        ("public, max-age=60", "private, max-age=60"),
        ("S-MaxAge=9,max-age=60 , PUBLIC", "private, max-age=60"),
        ("no-store", "private, no-store"),
        ("private, must-revalidate", "private, must-revalidate"),
    ] {
        let protected = protected(backend, |settings| {
            only_private(settings);
            settings.cache_control = (!cache_control.is_empty()).then(|| cache_control.to_owned());
            settings.listing = true;
            let toml = "[error_pages]\n401 = \"/page.html\"\n404 = \"/page.html\"\n\
                        [[rule]]\npath = \"/way\"\nrewrite = \"/private/file\"\n\
                        [[rule]]\npath = \"/**/*.js\"\ncache_control = \"public, immutable\"\n";
            let read = configured(settings, toml);
            (settings.rules, settings.error_pages) = (read.rules, read.error_pages);
        });
        protected.site.write("page.html", "page");
        protected.site.write("private/a.js", "secret");
        protected.site.write("private/list/file", "secret");
        protected.site.write("open.js", "open");
        let mut client = protected.site.connect();
        let outside = Some(cache_control).filter(|value| !value.is_empty());
        // Twice: from the disk, and from the cache.
        for _ in 0..2 {
            for (target, fields, status, expected) in [
                ("/private/file", "", 200, Some(inside)),
                ("/private/file", "Range: bytes=0-0\r\n", 206, Some(inside)),
                ("/private/file", "If-None-Match: *\r\n", 304, Some(inside)),
                ("/private/", "", 200, Some(inside)),
                ("/way", "", 200, Some(inside)),
                ("/private/a.js", "", 200, Some("private, immutable")),
                ("/private/list/", "", 200, Some("private, no-cache")),
                ("/private/absent", "", 404, None),
                ("/", "", 200, outside),
                ("/open.js", "", 200, Some("public, immutable")),
                ("/page.html", "", 200, outside),
            ] {
                let answer = client.request("GET", target, &format!("{fields}{}", field("alice:hunter2")));
                assert_eq!(
                    (answer.status, answer.field("Cache-Control")),
                    (status, expected),
                    "{target} {fields}"
                );
            }
            let refused = client.get("/private/file");
            assert_eq!((&refused.body[..], refused.field("Cache-Control")), (&b"page"[..], None));
        }
    }
}

fn uploads_ask_before_the_body_is_taken(backend: BackendChoice) {
    let protected = protected(backend, only_private);
    let put = |fields: &str| {
        let mut client = protected.site.connect();
        client.send(format!("PUT /in/new HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n{fields}\r\n"));
        client.send("body");
        client.answer().status
    };
    assert_eq!(put(""), 401);
    assert_eq!(put(&field("alice:wrong")), 401);
    assert!(protected.site.names("in").is_empty());
    assert_eq!(put(&field("alice:hunter2")), 201);
    // And without 100 (Continue) for who is not allowed.
    let mut client = protected.site.connect();
    client.send("PUT /in/other HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.answer().status, 401);
    assert_eq!(protected.site.names("in"), ["new"]);
}

fn pipelined_requests_are_each_asked(backend: BackendChoice) {
    let protected = protected(backend, only_private);
    let mut client = protected.site.connect();
    let get = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    let (right, wrong) = (field("alice:hunter2"), field("alice:wrong"));
    client.send(
        [
            get("/", ""),
            get("/private/file", &right),
            get("/private/file", ""),
            get("/private/file", &wrong),
            get("/private/file", &right),
            get("/", &wrong),
        ]
        .concat(),
    );
    let statuses: Vec<_> = (0..6).map(|_| client.answer().status).collect();
    assert_eq!(statuses, [200, 200, 401, 401, 200, 200]);
}

fn the_access_log_names_the_user(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = LogTarget::File(path.clone());
    let mut protected = protected(backend, |settings| {
        only_private(settings);
        settings.access_log = Some(log);
        settings.upload_delete = true;
        settings.auth_remember = Duration::from_secs(300);
        settings
            .auth_users
            .as_ref()
            .map(|users| fs::write(users, ALICE.replace("alice", "al ice\"")))
            .unwrap()
            .unwrap();
    });
    protected.site.write("private/large", vec![b'x'; 3 << 20]);
    let right = field("al ice\":hunter2");
    let name = "al\\x20ice\\x22";
    let mut expected = Vec::new();
    let mut client = protected.site.connect();
    for (method, target, fields, status, user) in [
        ("GET", "/private/file", right.clone(), 200, name),
        ("GET", "/private/file", right.clone(), 200, name),
        ("GET", "/private/file", String::new(), 401, "-"),
        ("GET", "/private/file", field("al ice\":wrong"), 401, "-"),
        ("GET", "/private/absent", right.clone(), 404, name),
        ("GET", "/private/large", right.clone(), 200, name),
        ("GET", "/private/large", format!("{right}Range: bytes=1-1\r\n"), 206, name),
        ("GET", "/private/large", format!("{right}Range: bytes=1-1,9-9\r\n"), 206, name),
        // Nobody asked here, so that nobody knows.
        ("GET", "/", right.clone(), 200, "-"),
        ("PUT", "/in/new", format!("{right}Content-Length: 0\r\n"), 201, name),
        ("DELETE", "/in/new", right.clone(), 204, name),
        ("GET", "/private/file", String::new(), 401, "-"),
    ] {
        assert_eq!(client.request(method, target, &fields).status, status, "{method} {target}");
        expected.push(format!("127.0.0.1 - {user} \"{method} {target} HTTP/1.1\" {status}"));
    }
    drop(client);
    assert!(protected.site.stop(Duration::from_secs(30)).is_clean());
    let log = fs::read_to_string(&path).unwrap();
    let lines = log.lines().map(|line| {
        let (client, rest) = line.split_once(" [").unwrap();
        let request = rest.split_once("] ").unwrap().1;
        let end = request.find("HTTP/1.1\" ").unwrap() + "HTTP/1.1\" 200".len();
        format!("{client} {}", &request[..end])
    });
    assert_eq!(lines.collect::<Vec<_>>(), expected);
}
