//! What people expect of a site: clean URLs, a fallback, error pages, the health path, the security preset, CORS.

use crate::{
    common::{Answer, Client, on_every_backend},
    rules::site,
};
use portico::settings::BackendChoice;
use std::fs;

on_every_backend!(
    clean_urls_leave_out_the_extension,
    clean_urls_are_off_by_default,
    a_fallback_answers_what_leads_nowhere,
    a_fallback_that_is_missing_is_not_found,
    a_fallback_appears_and_goes_with_its_file,
    an_error_page_keeps_the_status,
    an_error_page_that_is_missing_is_the_built_in_text,
    an_error_page_may_be_large_and_hidden,
    the_health_path_needs_no_file,
    security_headers_come_with_every_answer,
    a_rule_takes_the_place_of_the_preset,
    an_origin_may_read_what_the_table_says,
    an_error_page_is_for_the_origin_that_asked,
    any_origin_may_read,
    a_preflight_is_answered,
);

#[cfg(unix)]
mod where_rights_exist {
    use super::*;

    on_every_backend!(a_page_for_what_may_not_be_read);

    fn a_page_for_what_may_not_be_read(backend: BackendChoice) {
        let site = site(backend, "[error_pages]\n403 = \"/403.html\"\n");
        site.write("403.html", "not for you");
        // Neither a file nor a folder: that is refused whoever runs this.
        let made = std::process::Command::new("mkfifo").arg(site.path("pipe")).status().unwrap();
        assert!(made.success());
        let mut client = site.connect();
        for _ in 0..2 {
            let answer = client.get("/pipe");
            assert_eq!((answer.status, &answer.body[..]), (403, &b"not for you"[..]));
        }
    }
}

fn clean_urls_leave_out_the_extension(backend: BackendChoice) {
    let site = site(backend, "clean_urls = true\n");
    site.write("index.html", "home");
    site.write("about.html", "about");
    site.write("docs/index.html", "docs");
    site.write("docs/a b.html", "a b");
    site.write("both.html", "both");
    site.write("both/c.html", "c");
    site.write("folder/index.html", "folder");
    site.write("plain", "plain");
    let mut client = site.connect();
    for _ in 0..2 {
        for (target, body) in [
            ("/", "home"),
            ("/about?x", "about"),
            ("/docs/", "docs"),
            ("/docs/a%20b", "a b"),
            ("/both", "both"),
            ("/both/c", "c"),
            ("/folder/", "folder"),
            ("/plain", "plain"),
        ] {
            let answer = client.get(target);
            assert_eq!((answer.status, &answer.body[..]), (200, body.as_bytes()), "{target}");
        }
        assert_eq!(client.get("/about").field("content-type"), Some("text/html; charset=utf-8"));
        for (target, location) in [
            ("/about.html", "/about"),
            ("/about.html?x=1", "/about?x=1"),
            ("/docs/a%20b.html", "/docs/a%20b"),
            ("/index.html", "/"),
            ("/docs/index.html", "/docs/"),
            ("/folder", "/folder/"),
        ] {
            let answer = client.get(target);
            assert_eq!((answer.status, answer.field("location")), (301, Some(location)), "{target}");
        }
        for target in ["/absent", "/absent.html", "/about/", "/about.htm", "/.html"] {
            assert_eq!(client.get(target).status, 404, "{target}");
        }
    }
}

fn clean_urls_are_off_by_default(backend: BackendChoice) {
    let site = site(backend, "");
    site.write("about.html", "about");
    assert_eq!((site.get("/about").status, site.get("/about.html").status), (404, 200));
}

fn a_fallback_answers_what_leads_nowhere(backend: BackendChoice) {
    for clean in [false, true] {
        let toml = format!(
            "fallback = \"/index.html\"\nclean_urls = {clean}\n\
             [[rule]]\npath = \"/index.html\"\ncache_control = \"no-cache\"\n"
        );
        let site = site(backend, &toml);
        site.write("index.html", "app");
        site.write("real", "real");
        site.write("empty/x.txt", "x");
        let mut client = site.connect();
        for target in ["/", "/users", "/users/7?tab=1", "/users/7/", "/a.b/c", "/empty/", "/users"] {
            let answer = client.get(target);
            assert_eq!((answer.status, &answer.body[..]), (200, &b"app"[..]), "{target}");
            assert_eq!(answer.field("cache-control"), Some("no-cache"), "{target}");
            assert_eq!(answer.field("content-type"), Some("text/html; charset=utf-8"));
        }
        assert_eq!(client.get("/real").body, b"real");
        assert_eq!(client.get("/empty").field("location"), Some("/empty/"));
        for target in ["/app.js", "/users/7.png", "/.hidden", "/a//b"] {
            assert_eq!(client.get(target).status, 404, "{target}");
        }
        assert_eq!(client.request("POST", "/users", "Content-Length: 0\r\n").status, 405);
    }
}

/// Asks until the answer is as wanted: a change is seen when the disk is next asked.
#[track_caller]
fn comes(client: &mut Client, target: &str, is_wanted: impl Fn(&Answer) -> bool) {
    assert!((0..100_000).any(|_| is_wanted(&client.get(target))), "{target} never came to be as wanted");
}

/// What a rule or the fallback leads to is that file, and nothing in its place.
fn a_fallback_that_is_missing_is_not_found(backend: BackendChoice) {
    let site = site(
        backend,
        "fallback = \"/app\"\nclean_urls = true\n[[rule]]\npath = \"/rewritten\"\nrewrite = \"/absent\"\n",
    );
    let mut client = site.connect();
    assert_eq!((client.get("/x").status, client.get("/x").status), (404, 404));
    site.write("app.html", "app");
    assert_eq!((client.get("/app").body, client.get("/rewritten").status), (b"app".to_vec(), 404));
}

fn a_fallback_appears_and_goes_with_its_file(backend: BackendChoice) {
    let site = site(
        backend,
        "fallback = \"/app.html\"\nfile_revalidate_ms = 0\n[error_pages]\n404 = \"/404.html\"\n",
    );
    let mut client = site.connect();
    assert_eq!(client.get("/x").status, 404);
    site.write("app.html", "app");
    comes(&mut client, "/x", |answer| answer.body == b"app");
    site.write("x", "x");
    comes(&mut client, "/x", |answer| answer.body == b"x");
    fs::remove_file(site.path("x")).unwrap();
    fs::remove_file(site.path("app.html")).unwrap();
    site.write("404.html", "page");
    comes(&mut client, "/x", |answer| answer.status == 404 && answer.body == b"page");
}

fn an_error_page_keeps_the_status(backend: BackendChoice) {
    let site = site(
        backend,
        "clean_urls = true\n[error_pages]\n404 = \"/404.html\"\n400 = \"/bad.txt\"\n501 = \"/404.html\"\n\
         [[host]]\nnames = \"own.example\"\n[host.error_pages]\n404 = \"/own.html\"\n\
         [[rule]]\npath = \"/404.html\"\nheaders = { X-Page = \"yes\" }\n",
    );
    site.write("404.html", "nothing here");
    site.write("own.html", "nothing here either");
    site.write("bad.txt", "bad");
    let mut client = site.connect();
    for _ in 0..2 {
        let answer = client.request("GET", "/absent", "Range: bytes=0-1\r\nIf-None-Match: *\r\n");
        assert_eq!((answer.status, &answer.body[..]), (404, &b"nothing here"[..]));
        assert_eq!(answer.field("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(answer.field("x-page"), Some("yes"));
        for name in ["etag", "last-modified", "accept-ranges"] {
            assert_eq!(answer.field(name), None, "{name}");
        }
        let head = client.request("HEAD", "/absent", "");
        assert_eq!((head.status, head.field("content-length")), (404, Some("12")));
        assert!(!client.has_more());
        let bad = client.get("/%00");
        assert_eq!((bad.status, &bad.body[..]), (400, &b"bad"[..]));
        assert_eq!(bad.field("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(client.request("BREW", "/", "").body, b"nothing here");
        client.send("GET /absent HTTP/1.1\r\nHost: own.example\r\n\r\n");
        assert_eq!(client.answer().body, b"nothing here either");
    }
    // Under its own path the page is a page.
    assert_eq!(client.get("/404").status, 200);
    assert_eq!(client.request("POST", "/x", "Content-Length: 0\r\n").status, 405);
}

fn an_error_page_that_is_missing_is_the_built_in_text(backend: BackendChoice) {
    for revalidate in [0, 1_000] {
        let toml = format!("file_revalidate_ms = {revalidate}\n[error_pages]\n404 = \"/404.html\"\n");
        let site = site(backend, &toml);
        let mut client = site.connect();
        for _ in 0..3 {
            let answer = client.get("/absent");
            assert_eq!(answer.status, 404);
            assert!(String::from_utf8(answer.body).unwrap().contains("404 Not Found"));
        }
        assert_eq!(client.get("/404.html").status, 404);
        fs::create_dir(site.path("404.html")).unwrap();
        comes(&mut client, "/other", |answer| answer.status == 404);
    }
}

fn an_error_page_may_be_large_and_hidden(backend: BackendChoice) {
    let site = site(backend, "[error_pages]\n404 = \"/.errors/404.html\"\n");
    site.write(".errors/404.html", vec![b'x'; 200_000]);
    let mut client = site.connect();
    for _ in 0..2 {
        let answer = client.get("/absent");
        assert_eq!((answer.status, answer.body.len()), (404, 200_000));
    }
    assert_eq!(client.get("/.errors/404.html").status, 404);
}

fn the_health_path_needs_no_file(backend: BackendChoice) {
    for logged in [false, true] {
        let toml =
            format!("access_log = \"access.log\"\nhealth_path = \"/-/health\"\nhealth_log = {logged}\n");
        let mut site = site(backend, &toml);
        let mut client = site.connect();
        for _ in 0..2 {
            let answer = client.get("/-/health?x");
            assert_eq!((answer.status, &answer.body[..]), (200, &b"ok\n"[..]));
            assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(answer.field("cache-control"), Some("no-store"));
        }
        assert_eq!(client.request("HEAD", "/%2D/health", "").field("content-length"), Some("3"));
        assert_eq!(client.request("POST", "/-/health", "Content-Length: 0\r\n").status, 405);
        assert_eq!(client.get("/-/health/").status, 404);
        drop(client);
        assert!(site.stop(std::time::Duration::from_secs(30)).is_clean());
        let log = fs::read_to_string(site.path("access.log")).unwrap();
        assert_eq!(log.lines().count(), if logged { 5 } else { 1 }, "{log}");
    }
}

const PRESET: [(&str, &str); 6] = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Content-Security-Policy", "frame-ancestors 'self'"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
];

fn security_headers_come_with_every_answer(backend: BackendChoice) {
    let site = site(backend, "security_headers = true\n[error_pages]\n404 = \"/404.html\"\n");
    site.write("folder/a.html", "a");
    site.write("404.html", "page");
    let mut client = site.connect();
    let etag = client.get("/folder/a.html").field("etag").unwrap().to_owned();
    for (method, target, fields, status) in [
        ("GET", "/folder/a.html", String::new(), 200),
        ("GET", "/folder/a.html", "Range: bytes=0-0\r\n".into(), 206),
        ("GET", "/folder/a.html", "Range: bytes=9-\r\n".into(), 416),
        ("GET", "/folder/a.html", format!("If-None-Match: {etag}\r\n"), 304),
        ("GET", "/folder", String::new(), 301),
        ("GET", "/absent", String::new(), 404),
        ("OPTIONS", "/", String::new(), 204),
        ("POST", "/", "Content-Length: 0\r\n".into(), 405),
    ] {
        let answer = client.request(method, target, &fields);
        assert_eq!(answer.status, status, "{method} {target}");
        for (name, value) in PRESET {
            assert_eq!(answer.field(name), Some(value), "{status}");
        }
    }
}

fn a_rule_takes_the_place_of_the_preset(backend: BackendChoice) {
    let site = site(
        backend,
        "security_headers = true\n[[rule]]\npath = \"/embed/**\"\n\
         headers = { X-Frame-Options = \"\", content-security-policy = \"frame-ancestors *\" }\n",
    );
    site.write("embed/a", "a");
    let answer = site.get("/embed/a");
    assert_eq!(answer.field("x-frame-options"), None);
    assert_eq!(answer.field("content-security-policy"), Some("frame-ancestors *"));
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
}

const CORS: &str = "[cors]\npath = [\"/fonts/**\", \"/data\"]\norigins = [\"https://a.example\", \"https://b.example:8443\"]\n\
     methods = [\"GET\", \"HEAD\"]\nallow_headers = [\"X-Token\"]\nexpose_headers = [\"ETag\"]\ncredentials = true\nmax_age_s = 60\n";

fn an_origin_may_read_what_the_table_says(backend: BackendChoice) {
    let site = site(backend, CORS);
    site.write("fonts/a.woff2", "font");
    site.write("fonts/sub/index.html", "sub");
    site.write("fonts/large", vec![1; 200_000]);
    site.write("other", "other");
    let mut client = site.connect();
    for target in ["/fonts/a.woff2", "/fonts/absent", "/fonts/sub", "/fonts/large", "/fonts/sub/", "/data"] {
        for (origin, allowed) in [
            ("https://a.example", true),
            ("https://b.example:8443", true),
            ("https://c.example", false),
            ("https://a.example.c.example", false),
            ("http://a.example", false),
            ("null", false),
        ] {
            let answer = client.request("GET", target, &format!("Origin: {origin}\r\n"));
            let allow = answer.field("access-control-allow-origin");
            assert_eq!(allow, allowed.then_some(origin), "{target} {origin}");
            assert_eq!(answer.field("access-control-allow-credentials"), allowed.then_some("true"));
            assert_eq!(answer.field("access-control-expose-headers"), allowed.then_some("ETag"));
            assert_eq!(answer.field("vary"), Some("Origin"));
        }
        let answer = client.get(target);
        assert_eq!(
            (answer.field("access-control-allow-origin"), answer.field("vary")),
            (None, Some("Origin"))
        );
    }
    let etag = client.get("/fonts/a.woff2").field("etag").unwrap().to_owned();
    let ranges = ["0-1", "0-0,3-3"].map(|ranges| format!("Range: bytes={ranges}\r\n"));
    for fields in ranges.into_iter().chain([format!("If-None-Match: {etag}\r\n")]) {
        let answer =
            client.request("GET", "/fonts/a.woff2", &format!("{fields}Origin: https://a.example\r\n"));
        assert!(matches!(answer.status, 206 | 304));
        assert_eq!(answer.field("access-control-allow-origin"), Some("https://a.example"));
        assert_eq!(answer.field("vary"), Some("Origin"));
    }
    let answer = client.request("GET", "/other", "Origin: https://a.example\r\n");
    assert_eq!((answer.field("access-control-allow-origin"), answer.field("vary")), (None, None));
}

fn an_error_page_is_for_the_origin_that_asked(backend: BackendChoice) {
    for origins in ["\"https://a.example\"", "\"*\""] {
        let site = site(
            backend,
            &format!(
                "[error_pages]\n404 = \"/404.html\"\n[cors]\npath = [\"/data/*\", \"/404.html\"]\norigins = {origins}\n"
            ),
        );
        site.write("404.html", "page");
        let mut client = site.connect();
        for (target, status, allowed) in
            [("/data/x", 404, true), ("/x", 404, false), ("/404.html", 200, true), ("/data/x", 404, true)]
        {
            let answer = client.request("GET", target, "Origin: https://a.example\r\n");
            assert_eq!((answer.status, &answer.body[..]), (status, &b"page"[..]), "{target}");
            let allow = answer.field("access-control-allow-origin");
            assert_eq!(allow, allowed.then_some(&*origins.replace('"', "")), "{target}");
        }
    }
}

fn any_origin_may_read(backend: BackendChoice) {
    let site = site(backend, "[cors]\norigins = \"*\"\n");
    site.write("a", "a");
    let mut client = site.connect();
    for target in ["/a", "/absent"] {
        for fields in ["", "Origin: https://a.example\r\n"] {
            let answer = client.request("GET", target, fields);
            assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
            assert_eq!(
                (answer.field("vary"), answer.field("access-control-allow-credentials")),
                (None, None)
            );
        }
    }
}

fn a_preflight_is_answered(backend: BackendChoice) {
    let site = site(backend, CORS);
    let mut client = site.connect();
    let ask = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: x-token\r\n";
    let answer = client.request("OPTIONS", "/data", &format!("Origin: https://a.example\r\n{ask}"));
    assert_eq!(
        (answer.status, answer.field("access-control-allow-origin")),
        (204, Some("https://a.example"))
    );
    for (name, value) in [
        ("access-control-allow-methods", "GET, HEAD"),
        ("access-control-allow-headers", "X-Token"),
        ("access-control-max-age", "60"),
        ("access-control-allow-credentials", "true"),
        ("vary", "Origin"),
    ] {
        assert_eq!(answer.field(name), Some(value), "{name}");
    }
    let refused = client.request("OPTIONS", "/data", &format!("Origin: https://c.example\r\n{ask}"));
    assert_eq!((refused.status, refused.field("access-control-allow-methods")), (204, None));
    let plain = client.request("OPTIONS", "/data", "Origin: https://a.example\r\n");
    assert_eq!(plain.field("access-control-allow-methods"), None);
    let elsewhere = client.request("OPTIONS", "/x", &format!("Origin: https://a.example\r\n{ask}"));
    assert_eq!(elsewhere.field("access-control-allow-origin"), None);
}
