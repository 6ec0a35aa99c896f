//! Virtual hosts: which folder and settings a name stands for.

use crate::common::{Answer, Client, Site, on_every_backend, write};
use portico::settings::{BackendChoice, HostSettings, Settings, UnknownHosts};

on_every_backend!(
    names_stand_for_folders,
    an_absolute_target_names_the_host,
    a_connection_may_ask_for_several_hosts,
    no_host_reaches_the_files_of_another,
    unknown_hosts_are_refused_where_that_is_wanted,
);

fn ask(client: &mut Client, target: &str, host: &str) -> Answer {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.answer()
}

fn site(backend: BackendChoice) -> Site {
    site_with(backend, |_| {})
}

fn site_with(backend: BackendChoice, change: impl FnOnce(&mut Settings)) -> Site {
    let site = Site::with(backend, |settings| {
        let root = settings.root.clone();
        let host = |names: &[&str], folder: &str| {
            write(&root, &format!("{folder}/index.html"), folder);
            let mut settings = settings.clone();
            settings.root = root.join(folder);
            HostSettings { names: names.iter().map(|&name| name.to_owned()).collect(), settings }
        };
        let mut hosts =
            vec![host(&["one.example", "[::1]"], "one"), host(&["*.example", "*.two.example"], "two")];
        hosts[1].settings.server_name = false;
        hosts[0].settings.cache_control = Some("no-store".into());
        settings.hosts = hosts;
        change(settings);
    });
    site.write("index.html", "first");
    site
}

fn names_stand_for_folders(backend: BackendChoice) {
    let site = site(backend);
    for (host, body) in [
        ("one.example", "one"),
        ("ONE.example.:8080", "one"),
        ("[::1]:80", "one"),
        ("two.example", "two"),
        ("a.b.two.example", "two"),
        ("example", "first"),
        ("one.example.org", "first"),
        ("127.0.0.1", "first"),
    ] {
        // Twice: from the disk, and from the cache.
        for _ in 0..2 {
            let answer = ask(&mut site.connect(), "/", host);
            assert_eq!((answer.status, &answer.body[..]), (200, body.as_bytes()), "{host}");
            assert_eq!(answer.field("cache-control"), (body == "one").then_some("no-store"), "{host}");
            assert_eq!(answer.field("server").is_some(), body != "two", "{host}");
        }
    }
}

/// RFC 9112 section 3.2.2: the authority of the target counts, and the field does not.
fn an_absolute_target_names_the_host(backend: BackendChoice) {
    let site = site(backend);
    let answer = ask(&mut site.connect(), "http://one.example/", "two.example");
    assert_eq!(answer.body, b"one");
}

fn a_connection_may_ask_for_several_hosts(backend: BackendChoice) {
    let site = site(backend);
    let mut client = site.connect();
    for (host, body) in
        [("one.example", "one"), ("two.example", "two"), ("x", "first"), ("one.example", "one")]
    {
        let answer = ask(&mut client, "/index.html", host);
        assert_eq!(answer.body, body.as_bytes());
    }
}

/// What is above a host's root is not that host's.
fn no_host_reaches_the_files_of_another(backend: BackendChoice) {
    let site = site(backend);
    for target in ["/../two/index.html", "/two/index.html", "/%2e%2e/index.html"] {
        let answer = ask(&mut site.connect(), target, "one.example");
        assert!(matches!(answer.status, 400 | 404), "{target}: {}", answer.status);
    }
}

fn unknown_hosts_are_refused_where_that_is_wanted(backend: BackendChoice) {
    let site = site_with(backend, |settings| settings.unknown_hosts = UnknownHosts::Refuse);
    let mut client = site.connect();
    for (host, status) in [("one.example", 200), ("x.example", 200), ("example", 421), ("127.0.0.1", 421)] {
        let answer = ask(&mut client, "/index.html", host);
        assert_eq!((answer.status, answer.closes()), (status, false), "{host}");
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().status, 421);
}
