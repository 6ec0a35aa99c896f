//! `[[rule]]`: redirects, rewrites and fields by path.

use crate::common::{Client, Site, on_every_backend};
use portico::settings::{BackendChoice, ConfigFile, Settings, Sources};

on_every_backend!(
    a_redirect_fills_in_what_the_path_had,
    a_redirect_keeps_the_query,
    a_redirect_holds_for_other_methods_too,
    a_redirect_cannot_be_led_to_another_host,
    the_first_rule_that_matches_counts,
    a_rewrite_serves_another_file,
    a_rewrite_stays_inside_the_root_and_the_policy,
    fields_come_with_every_kind_of_answer_that_has_the_file,
    fields_are_for_the_path_asked_and_for_the_file,
    many_fields_fit_in_a_streamed_head,
    a_host_has_rules_of_its_own_before_those_above,
);

/// Serves an empty folder with what a `portico.toml` says.
pub(crate) fn site(backend: BackendChoice, toml: &str) -> Site {
    Site::with(backend, |settings| *settings = configured(settings, toml))
}

/// The settings with what a `portico.toml` says laid over them.
pub(crate) fn configured(settings: &Settings, toml: &str) -> Settings {
    let file = ConfigFile { path: settings.root.join("portico.toml"), text: format!("root = \".\"\n{toml}") };
    let mut read = Sources { file: Some(file), ..Sources::default() }.resolve().unwrap().settings;
    read.port = settings.port;
    read.workers = settings.workers;
    read.backend = settings.backend;
    read.buffer_memory_bytes = settings.buffer_memory_bytes;
    read
}

#[track_caller]
fn leads(client: &mut Client, target: &str, status: u16, location: &str) {
    // Twice: from the rules, and from the cache.
    for _ in 0..2 {
        let answer = client.get(target);
        assert_eq!((answer.status, answer.field("location")), (status, Some(location)), "{target}");
    }
}

fn a_redirect_fills_in_what_the_path_had(backend: BackendChoice) {
    let site = site(
        backend,
        "[[rule]]\npath = \"/blog/*/**\"\nredirect = \"/news/$2?year=$1\"\nstatus = 308\n\
         [[rule]]\npath = [\"/a\", \"/b\"]\nredirect = \"https://example.org/\"\n\
         [[rule]]\npath = \"/see\"\nredirect = \"/other\"\nstatus = 303\n\
         [[rule]]\npath = \"/moved/**\"\nredirect = \"/$1\"\nstatus = 301\n\
         [[rule]]\npath = \"/kept\"\nredirect = \"/other\"\nstatus = 307\n",
    );
    let mut client = site.connect();
    leads(&mut client, "/blog/2024/a/b", 308, "/news/a/b?year=2024");
    leads(&mut client, "/blog/%C3%BC%20x/%25", 308, "/news/%25?year=%C3%BC%20x");
    leads(&mut client, "/a", 302, "https://example.org/");
    leads(&mut client, "/b", 302, "https://example.org/");
    leads(&mut client, "/see", 303, "/other");
    leads(&mut client, "/moved/x/", 301, "/x/");
    leads(&mut client, "/kept", 307, "/other");
    // Longer than what is remembered.
    let long = "x".repeat(200);
    leads(&mut client, &format!("/blog/2024/{long}/{long}"), 308, &format!("/news/{long}/{long}?year=2024"));
    assert_eq!(client.get("/blog/2024").status, 404);
    assert_eq!(client.request("HEAD", "/a", "").field("location"), Some("https://example.org/"));
}

fn a_redirect_keeps_the_query(backend: BackendChoice) {
    let site = site(
        backend,
        "[[rule]]\npath = \"/a\"\nredirect = \"/b\"\n[[rule]]\npath = \"/c\"\nredirect = \"/d?x=1#part\"\n",
    );
    let mut client = site.connect();
    leads(&mut client, "/a?q=%20&r", 302, "/b?q=%20&r");
    leads(&mut client, "/a", 302, "/b");
    leads(&mut client, "/c?q", 302, "/d?x=1&q#part");
}

fn a_redirect_holds_for_other_methods_too(backend: BackendChoice) {
    let site = site(backend, "[[rule]]\npath = \"/a\"\nredirect = \"/b\"\nstatus = 307\n");
    for method in ["POST", "PUT", "DELETE"] {
        let answer = site.connect().request(method, "/a", "Content-Length: 0\r\n");
        assert_eq!((answer.status, answer.field("location")), (307, Some("/b")), "{method}");
    }
    assert_eq!(site.connect().request("OPTIONS", "/a", "").status, 204);
}

/// A Location of `//host` is an address of another host; a line end would start another field.
fn a_redirect_cannot_be_led_to_another_host(backend: BackendChoice) {
    let site = site(
        backend,
        "[[rule]]\npath = \"/a/**/b/*\"\nredirect = \"/$1/$2\"\n[[rule]]\npath = \"/c/*\"\nredirect = \"/$1\"\n",
    );
    let mut client = site.connect();
    leads(&mut client, "/a/b/evil.example", 302, "/evil.example");
    leads(&mut client, "/c/@evil.example", 302, "/%40evil.example");
    for target in ["/c/%0d%0aX:%20y", "/c/%2f%2fevil.example", "/c//evil.example", "/c/%5c%5cevil.example"] {
        let answer = client.get(target);
        assert!(matches!(answer.status, 400 | 404), "{target}: {}", answer.head);
        assert_eq!(answer.field("location"), None);
    }
}

fn the_first_rule_that_matches_counts(backend: BackendChoice) {
    let site = site(
        backend,
        "[[rule]]\npath = \"/x/keep\"\nrewrite = \"/x/keep.txt\"\nheaders = { X-Which = \"first\" }\n\
         [[rule]]\npath = \"/x/*\"\nredirect = \"/one\"\n\
         [[rule]]\npath = \"/x/**\"\nredirect = \"/two\"\n\
         [[rule]]\npath = \"/**\"\nheaders = { X-Which = \"last\", X-Other = \"yes\" }\n",
    );
    site.write("x/keep.txt", "kept");
    site.write("plain", "plain");
    let mut client = site.connect();
    leads(&mut client, "/x/a", 302, "/one");
    leads(&mut client, "/x/a/b", 302, "/two");
    assert_eq!(client.get("/x/keep").body, b"kept");
    let plain = client.get("/plain");
    assert_eq!((plain.field("x-which"), plain.field("x-other")), (Some("last"), Some("yes")));
}

fn a_rewrite_serves_another_file(backend: BackendChoice) {
    let site = site(
        backend,
        "[[rule]]\npath = \"/app/**\"\nrewrite = \"/app.html\"\n\
         [[rule]]\npath = \"/v*/**\"\nrewrite = \"/files/$2\"\n\
         [[rule]]\npath = \"/loop\"\nrewrite = \"/loop\"\n",
    );
    site.write("app.html", "app");
    site.write("files/a b.txt", "text");
    site.write("files/sub/index.html", "index");
    let mut client = site.connect();
    for _ in 0..2 {
        let answer = client.get("/app/any/thing.js?x");
        assert_eq!((answer.status, &answer.body[..]), (200, &b"app"[..]));
        assert_eq!(answer.field("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(client.get("/v12/a%20b.txt").body, b"text");
        assert_eq!(client.get("/v1/sub/").body, b"index");
        let folder = client.get("/v1/sub?x");
        assert_eq!((folder.status, folder.field("location")), (301, Some("/v1/sub/?x")));
        assert_eq!(client.get("/v1/absent").status, 404);
        // Rules are not looked at again for what a rule serves.
        assert_eq!(client.get("/loop").status, 404);
    }
    // What was rewritten is a file like any other.
    let etag = client.get("/app/x").field("etag").unwrap().to_owned();
    assert_eq!(client.request("GET", "/app/x", &format!("If-None-Match: {etag}\r\n")).status, 304);
    assert_eq!(client.request("GET", "/app/x", "Range: bytes=1-\r\n").body, b"pp");
    site.write("app.html", "changed");
    assert!((0..100_000).any(|_| client.get("/app/x").body == b"changed"), "a change of the file is seen");
}

fn a_rewrite_stays_inside_the_root_and_the_policy(backend: BackendChoice) {
    let site = site(
        backend,
        "[[rule]]\npath = \"/dots/*/*\"\nrewrite = \"/$1$2/secret\"\n\
         [[rule]]\npath = \"/any/**\"\nrewrite = \"/$1\"\n\
         [[rule]]\npath = \"/dot/*\"\nrewrite = \"/.$1\"\n",
    );
    site.write(".hidden", "hidden");
    site.write("portico.toml", "settings");
    let mut client = site.connect();
    for target in
        ["/any/.hidden", "/any/portico.toml", "/dot/hidden", "/dot/./secret", "/dots/%2e/%2e", "/dot/."]
    {
        let answer = client.get(target);
        assert!(matches!(answer.status, 400 | 404), "{target}: {}", answer.head);
    }
}

const FIELDS: &str = "cache_control = \"no-cache\"\ncontent_language = \"en\"\n\
     [[rule]]\npath = \"/assets/**\"\ncache_control = \"public, max-age=31536000, immutable\"\n\
     headers = { X-Robots-Tag = \"noindex\", Content-Language = \"de\" }\n\
     [[rule]]\npath = \"/assets/raw/**\"\nheaders = { Cache-Control = \"no-store\" }\n\
     [[rule]]\npath = \"/quiet/*\"\nheaders = { cache-control = \"\" }\n\
     [[rule]]\npath = \"/**/*.html\"\nheaders = { X-Page = \"yes\" }\n";

fn fields_come_with_every_kind_of_answer_that_has_the_file(backend: BackendChoice) {
    let site = site(backend, FIELDS);
    site.write("assets/a.js", "0123456789");
    site.write("assets/large.bin", vec![7; 200_000]);
    site.write("quiet/a", "a");
    let mut client = site.connect();
    for target in ["/assets/a.js", "/assets/large.bin"] {
        let whole = client.get(target);
        let since = format!("If-None-Match: {}\r\n", whole.field("etag").unwrap());
        let answers = [
            client.get(target),
            client.request("HEAD", target, ""),
            client.request("GET", target, "Range: bytes=2-4\r\n"),
            client.request("GET", target, "Range: bytes=2-3,7-7\r\n"),
            client.request("GET", target, &since),
            whole,
        ];
        assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 206, 206, 304, 200]);
        for answer in answers {
            assert_eq!(
                answer.field("cache-control"),
                Some("public, max-age=31536000, immutable"),
                "{target}"
            );
            assert_eq!(answer.field("x-robots-tag"), Some("noindex"));
            assert_eq!(answer.field("content-language"), Some("de"));
            assert_eq!(answer.field("x-page"), None);
        }
    }
    assert_eq!(client.get("/quiet/a").field("cache-control"), None);
    assert_eq!(client.get("/absent").field("cache-control"), None);
}

fn fields_are_for_the_path_asked_and_for_the_file(backend: BackendChoice) {
    let site = site(backend, FIELDS);
    site.write("index.html", "index");
    site.write("docs/index.html", "index");
    site.write("docs/a.txt", "text");
    let mut client = site.connect();
    for target in ["/", "/docs/", "/docs/index.html"] {
        let answer = client.get(target);
        assert_eq!((answer.status, answer.field("x-page")), (200, Some("yes")), "{target}");
        assert_eq!(answer.field("cache-control"), Some("no-cache"));
    }
    let text = client.get("/docs/a.txt");
    assert_eq!((text.field("x-page"), text.field("content-language")), (None, Some("en")));
}

fn many_fields_fit_in_a_streamed_head(backend: BackendChoice) {
    let (one, two) = ("a".repeat(4_000), "b".repeat(4_000));
    let toml = format!("[[rule]]\npath = \"/**\"\nheaders = {{ X-One = \"{one}\", X-Two = \"{two}\" }}\n");
    let site = site(backend, &toml);
    site.write("large", vec![7; 300_000]);
    site.write("small", "small");
    let mut client = site.connect();
    for (target, length) in [("/large", 300_000), ("/small", 5)] {
        let answer = client.get(target);
        assert_eq!((answer.field("x-one"), answer.body.len()), (Some(one.as_str()), length));
        let part = client.request("GET", target, "Range: bytes=0-2\r\n");
        assert_eq!((part.field("x-two"), part.body.len()), (Some(two.as_str()), 3));
    }
}

fn a_host_has_rules_of_its_own_before_those_above(backend: BackendChoice) {
    let site = site(
        backend,
        "[[rule]]\npath = \"/a\"\nredirect = \"/all\"\n[[rule]]\npath = \"/b\"\nredirect = \"/all\"\n\
         [[host]]\nnames = \"own.example\"\n[[host.rule]]\npath = \"/a\"\nredirect = \"/own\"\n\
         [[host]]\nnames = \"other.example\"\n",
    );
    let mut client = site.connect();
    for (host, target, location) in [
        ("x", "/a", "/all"),
        ("own.example", "/a", "/own"),
        ("own.example", "/b", "/all"),
        ("other.example", "/a", "/all"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.answer().field("location"), Some(location), "{host}{target}");
    }
}
