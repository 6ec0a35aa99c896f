//! Listings: what is there and may be asked for, in the order and form that is asked for, and nothing else.

use crate::common::{Answer, Site, on_every_backend};
use portico::settings::{BackendChoice, HostSettings};
use std::{fs, time::Duration};

on_every_backend!(
    folders_are_listed_only_where_that_is_allowed,
    the_page_has_every_name_and_leads_to_it,
    names_are_text_whatever_is_in_them,
    json_says_the_same,
    a_client_says_which_form_it_wants,
    the_order_is_the_one_that_is_asked_for,
    a_page_is_sent_again_only_when_it_changed,
    what_is_not_served_is_not_listed,
    #[cfg(target_os = "linux")]
    links_are_listed_where_they_may_be_followed,
    a_large_folder_is_cut_off,
    a_large_page_is_sent_whole_to_each_of_many,
    a_listing_is_as_old_as_the_cache_allows,
    folders_that_are_not_there_are_not_listed,
    pipelined_listings_come_in_order,
);

fn listed(backend: BackendChoice) -> Site {
    Site::with(backend, |settings| {
        settings.listing = true;
        settings.file_revalidate = Duration::ZERO;
    })
}

/// The links of a page's rows, as they are written.
fn links(answer: &Answer) -> Vec<String> {
    let page = std::str::from_utf8(&answer.body).unwrap();
    let (_, rows) = page.split_once("<tbody>").unwrap();
    rows.split("<a href=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0.to_owned()).collect()
}

/// The names in JSON, where they need no escape.
fn names(answer: &Answer) -> Vec<String> {
    let text = std::str::from_utf8(&answer.body).unwrap();
    text.split("{\"name\":\"").skip(1).map(|rest| rest.split_once('"').unwrap().0.to_owned()).collect()
}

fn folders_are_listed_only_where_that_is_allowed(backend: BackendChoice) {
    let site = Site::start(backend);
    site.write("folder/page.html", "page");
    assert_eq!((site.get("/").status, site.get("/folder/").status), (404, 404));
    drop(site);
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("other.txt"), "other").unwrap();
    let site = Site::with(backend, |settings| {
        let mut host = settings.clone();
        host.root = other.path().to_owned();
        host.listing = true;
        settings.hosts.push(HostSettings { names: vec!["listed.test".to_owned()], settings: host });
    });
    site.write("page.html", "page");
    assert_eq!(site.get("/").status, 404);
    let mut client = site.connect();
    client.send("GET / HTTP/1.1\r\nHost: listed.test\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, links(&answer)), (200, vec!["./other.txt".to_owned()]));
}

fn the_page_has_every_name_and_leads_to_it(backend: BackendChoice) {
    let site = listed(backend);
    for name in ["b.txt", "A.txt", "sub/inner.txt", "sub/deeper/x", "empty file", "x:y", "100%", "ä?#&.txt"]
    {
        if cfg!(windows) && name.contains([':', '?']) {
            continue;
        }
        site.write(name, name.as_bytes());
    }
    let mut client = site.connect();
    let answer = client.get("/");
    assert_eq!((answer.status, answer.field("Content-Type")), (200, Some("text/html; charset=utf-8")));
    let found = links(&answer);
    assert_eq!(found[0], "./sub/", "folders come first");
    assert_eq!(found.len(), site.names("").len());
    for link in &found {
        let target = link.strip_prefix('.').unwrap();
        let answer = client.get(target);
        assert_eq!(answer.status, 200, "{target}");
    }
    let page = String::from_utf8(answer.body).unwrap();
    assert!(page.contains("1 folder, "), "{page}");
    // Below, the way back is there.
    let answer = client.get("/sub/deeper/");
    assert_eq!(links(&answer), ["../", "./x"]);
    let page = String::from_utf8(answer.body).unwrap();
    let steps = "<li><a href=\"../../\"><bdi>Home</bdi></a></li><li><a href=\"../\"><bdi>sub</bdi></a></li>";
    assert!(page.contains(steps) && page.contains("<h1><bdi>deeper</bdi></h1>"), "{page}");
    // Without the slash it is a redirect, and an index is preferred.
    assert_eq!(client.get("/sub").status, 301);
    site.write("sub/index.html", "index");
    assert_eq!(client.get("/sub/").body, b"index");
    // A HEAD is the same without the body.
    let (head, get) = (client.request("HEAD", "/sub/deeper/", ""), client.get("/sub/deeper/"));
    for name in ["Content-Length", "Content-Type", "ETag", "Content-Security-Policy", "Vary", "Cache-Control"]
    {
        assert_eq!(head.field(name), get.field(name), "{name}");
    }
    assert!(!client.has_more());
    assert_eq!(client.get("/sub/deeper/").status, 200);
}

fn names_are_text_whatever_is_in_them(backend: BackendChoice) {
    let site = listed(backend);
    let mut hostile = vec!["&amp; &copy;.txt", "'onclick='x", "javascript&colon;alert(1)", "${x}{{y}}"];
    if !cfg!(windows) {
        hostile.extend([
            "<script>alert(1)<",
            "\"><img src=x onerror=alert(1)>",
            "javascript:alert(1)",
            "a?b#c",
        ]);
    }
    for name in &hostile {
        site.write(name, "");
    }
    fs::create_dir(site.path("<b>".trim_matches(|c| cfg!(windows) && "<>".contains(c)))).unwrap();
    let mut client = site.connect();
    let answer = client.get("/");
    let policy = answer.field("Content-Security-Policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("inline"));
    assert!(!policy.contains("script-src"), "{policy}");
    assert_eq!(answer.field("X-Content-Type-Options"), Some("nosniff"));
    let page = std::str::from_utf8(&answer.body).unwrap();
    for wrong in ["<script", "<img", "<b>", "\"javascript", "href=\"data", "onclick='"] {
        assert!(!page.contains(wrong), "{wrong} in {page}");
    }
    for link in links(&answer) {
        let name = link.strip_prefix("./").unwrap().trim_end_matches('/');
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)), "{link}");
        assert_eq!(client.get(&format!("/{}", &link[2..])).status, 200, "{link}");
    }
    let json = client.get("/?format=json");
    assert_eq!(json.field("Content-Type"), Some("application/json"));
    assert_eq!(
        json.body.split(|byte| *byte == b'\n').count(),
        site.names("").len() + 3,
        "a name ends a line"
    );
}

fn json_says_the_same(backend: BackendChoice) {
    let site = listed(backend);
    let file = site.write("page.txt", "12345");
    fs::create_dir(site.path("sub")).unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
    let body = site.get("/?format=json").body;
    let text = String::from_utf8(body).unwrap();
    assert!(
        text.starts_with(
            "{\"path\":\"/\",\"entries\":[\n{\"name\":\"sub\",\"type\":\"folder\",\"modified\":\""
        )
    );
    let line = "{\"name\":\"page.txt\",\"type\":\"file\",\"size\":5,\"modified\":\"2001-09-09T01:46:40Z\"}";
    assert!(text.ends_with(&format!("{line}\n],\"truncated\":false}}\n")), "{text}");
    assert_eq!(
        site.get("/sub/?format=json").body,
        b"{\"path\":\"/sub/\",\"entries\":[\n],\"truncated\":false}\n"
    );
    let page = String::from_utf8(site.get("/").body).unwrap();
    assert!(page.contains("title=\"5 bytes\">5 B<") && page.contains("datetime=\"2001-09-09T01:46:40Z\""));
    let empty = String::from_utf8(site.get("/sub/").body).unwrap();
    assert!(empty.contains("This folder is empty."));
}

fn a_client_says_which_form_it_wants(backend: BackendChoice) {
    let site = listed(backend);
    let mut client = site.connect();
    for (target, accept, json) in [
        ("/", "", false),
        ("/", "*/*", false),
        ("/", "application/json", true),
        ("/", "application/json, text/plain, */*", true),
        ("/", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
        ("/", "text/html, application/json", false),
        ("/", "text/html;q=0.5, Application/JSON;q=0.9", true),
        ("/", "application/json;q=0", false),
        ("/", "application/json;q=2", false),
        ("/?format=json", "text/html", true),
        ("/?format=html", "application/json", false),
        ("/?format=xml&x=y&format", "text/html", false),
        ("/?sort=size&format=json&order=desc", "", true),
    ] {
        let fields = if accept.is_empty() { String::new() } else { format!("Accept: {accept}\r\n") };
        let answer = client.request("GET", target, &fields);
        let wanted = if json { "application/json" } else { "text/html; charset=utf-8" };
        assert_eq!(answer.field("Content-Type"), Some(wanted), "{target} {accept}");
        assert_eq!(answer.field("Vary"), Some("Accept"));
    }
}

fn the_order_is_the_one_that_is_asked_for(backend: BackendChoice) {
    let site = listed(backend);
    for (name, length, day) in [("b", 30, 2), ("A", 20, 3), ("c", 10, 1)] {
        let file = fs::File::options().write(true).open(site.write(name, vec![b'x'; length])).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
        file.set_modified(time).unwrap();
    }
    fs::create_dir(site.path("z")).unwrap();
    fs::create_dir(site.path("Y")).unwrap();
    let mut client = site.connect();
    for (query, order) in [
        ("", ["Y", "z", "A", "b", "c"]),
        ("?sort=name&order=desc", ["z", "Y", "c", "b", "A"]),
        ("?sort=size", ["Y", "z", "c", "A", "b"]),
        ("?sort=size&order=desc", ["z", "Y", "b", "A", "c"]),
    ] {
        let separator = if query.is_empty() { "?" } else { "&" };
        assert_eq!(names(&client.get(&format!("/{query}{separator}format=json"))), order, "{query}");
        let shown = links(&client.get(&format!("/{query}")));
        let bare: Vec<_> = shown.iter().map(|link| link[2..].split('/').next().unwrap()).collect();
        assert_eq!(bare, order, "{query}");
    }
    let by_date = names(&client.get("/?sort=date&format=json"));
    assert_eq!(by_date[2..], ["c", "b", "A"]);
    // The order goes along into folders, and the heads of the columns turn it round.
    let answer = client.get("/?sort=size&order=desc");
    assert_eq!(links(&answer)[0], "./z/?sort=size&amp;order=desc");
    let page = String::from_utf8(answer.body).unwrap();
    assert!(page.contains("aria-sort=\"descending\"><a href=\"?sort=size&amp;order=asc\">"), "{page}");
}

fn a_page_is_sent_again_only_when_it_changed(backend: BackendChoice) {
    let site = listed(backend);
    site.write("a", "1");
    let mut client = site.connect();
    for target in ["/", "/?format=json"] {
        let etag = client.get(target).field("ETag").unwrap().to_owned();
        let fields = format!("If-None-Match: {etag}\r\n");
        for method in ["GET", "HEAD"] {
            client.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            let answer = client.head();
            assert_eq!((answer.status, answer.field("ETag")), (304, Some(etag.as_str())));
            assert_eq!((answer.field("Content-Length"), answer.field("Vary")), (None, Some("Accept")));
        }
        assert_eq!(client.request("GET", target, "If-Match: \"x\"\r\n").status, 412);
        // Of another length each time: a second file of one length may have the same date.
        fs::write(site.path("a"), format!("{etag}{target}")).unwrap();
        assert_eq!(client.request("GET", target, &fields).status, 200);
    }
    assert_ne!(client.get("/").field("ETag"), client.get("/?format=json").field("ETag"));
    assert_ne!(client.get("/").field("ETag"), client.get("/?order=desc").field("ETag"));
}

fn what_is_not_served_is_not_listed(backend: BackendChoice) {
    let site = listed(backend);
    for name in [".hidden", ".well-known/x", "portico.toml", "page", "sub/.well-known", "sub/PORTICO.toml"] {
        site.write(name, "");
    }
    #[cfg(unix)]
    {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        fs::write(site.path("").join(OsStr::from_bytes(b"no\xffutf8")), "").unwrap();
        for name in ["back\\slash", "line\nend", "bell\x07"] {
            site.write(name, "");
        }
        std::os::unix::net::UnixListener::bind(site.path("socket")).unwrap();
    }
    let mut client = site.connect();
    assert_eq!(names(&client.get("/?format=json")), [".well-known", "sub", "page"]);
    assert_eq!(names(&client.get("/sub/?format=json")), [""; 0]);
    drop((client, site));
    let site = Site::with(backend, |settings| (settings.listing, settings.dot_files) = (true, true));
    for name in [".hidden", "page", "portico.toml"] {
        site.write(name, "");
    }
    assert_eq!(names(&site.get("/?format=json")), [".hidden", "page"]);
}

#[cfg(target_os = "linux")]
fn links_are_listed_where_they_may_be_followed(backend: BackendChoice) {
    use portico::settings::FollowSymlinks;
    for policy in [FollowSymlinks::Inside, FollowSymlinks::Never] {
        use std::os::unix::fs::symlink;
        let site = Site::with(backend, |settings| {
            settings.listing = true;
            settings.follow_symlinks = policy;
        });
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        site.write("folder/page", "12345");
        symlink(outside.path(), site.path("folder/out")).unwrap();
        symlink(outside.path().join("secret"), site.path("folder/secret")).unwrap();
        symlink("../../../../../../etc/passwd", site.path("folder/climbing")).unwrap();
        symlink("nothing", site.path("folder/dangling")).unwrap();
        symlink("page", site.path("folder/inside")).unwrap();
        symlink("folder", site.path("alias")).unwrap();
        symlink(outside.path(), site.path("away")).unwrap();
        let mut client = site.connect();
        let follows = policy == FollowSymlinks::Inside;
        let wanted: &[&str] = if follows { &["inside", "page"] } else { &["page"] };
        let answer = client.get("/folder/?format=json");
        assert_eq!(names(&answer), wanted);
        assert_eq!(answer.body.windows(8).filter(|window| window == b"\"size\":5").count(), wanted.len());
        assert_eq!(client.get("/alias/?format=json").status, if follows { 200 } else { 404 });
        assert_eq!(client.get("/away/?format=json").status, 404);
        assert_eq!(client.get("/folder/out/").status, 404);
    }
}

fn a_large_folder_is_cut_off(backend: BackendChoice) {
    let site = Site::with(backend, |settings| (settings.listing, settings.listing_entries) = (true, 10));
    for number in 0..10 {
        site.write(&format!("{number:03}"), "");
        // What is not listed does not count.
        site.write(&format!(".{number:03}"), "");
    }
    let mut client = site.connect();
    let answer = client.get("/?format=json");
    assert_eq!(names(&answer).len(), 10);
    assert!(answer.body.ends_with(b"],\"truncated\":false}\n"));
    fs::create_dir(site.path("more")).unwrap();
    for number in 0..11 {
        site.write(&format!("more/{number:03}"), "");
    }
    let answer = client.get("/more/?format=json");
    assert_eq!(names(&answer).len(), 10);
    assert!(answer.body.ends_with(b"],\"truncated\":true}\n"));
    let page = String::from_utf8(client.get("/more/").body).unwrap();
    assert!(page.contains("There is more in this folder than is shown here."));
}

fn a_large_page_is_sent_whole_to_each_of_many(backend: BackendChoice) {
    // Once where the cache keeps the page, and once where it does not.
    for file_cache_bytes in [64 << 20, 0] {
        let site = Site::with(backend, |settings| {
            (settings.listing, settings.file_cache_bytes) = (true, file_cache_bytes);
            settings.workers = 2;
        });
        for number in 0..1_000 {
            site.write(&format!("a name that is long enough to make a page of some length {number:04}"), "");
        }
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let site = &site;
                scope.spawn(move || {
                    let mut client = site.connect();
                    for _ in 0..4 {
                        assert_eq!(links(&client.get("/")).len(), 1_000);
                        assert_eq!(names(&client.get("/?format=json&order=desc")).len(), 1_000);
                    }
                });
            }
        });
    }
}

fn a_listing_is_as_old_as_the_cache_allows(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        (settings.listing, settings.file_revalidate) = (true, Duration::from_secs(3_600));
    });
    site.write("one", "");
    let mut client = site.connect();
    assert_eq!(names(&client.get("/?format=json")), ["one"]);
    site.write("two", "");
    assert_eq!(names(&client.get("/?format=json")), ["one"]);
    drop((client, site));
    let site = listed(backend);
    site.write("one", "");
    let mut client = site.connect();
    assert_eq!(names(&client.get("/?format=json")), ["one"]);
    site.write("two", "");
    assert_eq!(names(&client.get("/?format=json")), ["one", "two"]);
    fs::remove_file(site.path("one")).unwrap();
    assert_eq!(names(&client.get("/?format=json")), ["two"]);
}

fn folders_that_are_not_there_are_not_listed(backend: BackendChoice) {
    let site = listed(backend);
    site.write("page", "");
    let mut client = site.connect();
    for target in ["/none/", "/none/?format=json", "/page/", "/none/deeper/", "/.git/", "/portico.toml/"] {
        assert_eq!(client.get(target).status, 404, "{target}");
    }
    for target in ["//", "/..%2f/", "/%00/"] {
        let status = client.get(target).status;
        assert!([400, 404].contains(&status), "{target}: {status}");
    }
    fs::create_dir(site.path("none")).unwrap();
    assert_eq!(client.get("/none/").status, 200);
    fs::remove_dir(site.path("none")).unwrap();
    assert_eq!(client.get("/none/").status, 404);
    #[cfg(unix)]
    {
        // It is there, and nobody may read it (but root may).
        use std::os::unix::fs::PermissionsExt;
        fs::create_dir(site.path("closed")).unwrap();
        fs::set_permissions(site.path("closed"), fs::Permissions::from_mode(0o100)).unwrap();
        let status = client.get("/closed/").status;
        fs::set_permissions(site.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        assert!([200, 403].contains(&status), "{status}");
    }
}

fn pipelined_listings_come_in_order(backend: BackendChoice) {
    let site = listed(backend);
    for number in 0..4 {
        site.write(&format!("{number}/file{number}"), "");
    }
    let mut client = site.connect();
    let requests: String = (0..40)
        .map(|number| format!("GET /{}/?format=json HTTP/1.1\r\nHost: test\r\n\r\n", number % 4))
        .collect();
    client.send(requests);
    for number in 0..40 {
        assert_eq!(names(&client.answer()), [format!("file{}", number % 4)]);
    }
}
