//! What is never served, however it is asked for.

use crate::common::{Site, on_every_backend, write};
use portico::settings::BackendChoice;

on_every_backend!(
    nothing_outside_the_root_is_served,
    hidden_names_are_served_only_when_told_to,
    the_configuration_is_never_served,
    what_is_missing_gets_a_page,
    what_is_too_long_for_the_system_is_missing,
);

const SECRET: &str = "the secret outside";

/// A root with a secret beside it.
fn site(backend: BackendChoice) -> Site {
    let site = Site::with(backend, |settings| {
        write(&settings.root, "secret.txt", SECRET);
        settings.root.push("site");
        write(&settings.root, "inside.txt", "inside");
        write(&settings.root, "folder/inside.txt", "inside");
    });
    assert_eq!(site.get("/folder/inside.txt").body, b"inside");
    site
}

fn nothing_outside_the_root_is_served(backend: BackendChoice) {
    let site = site(backend);
    let long = format!("/{}", "a".repeat(300));
    let deep = "/folder/..".repeat(200) + "/../secret.txt";
    let absolute = format!("/{}", site.path("secret.txt").display()).replace('\\', "/");
    let encoded = absolute.replace('/', "%2F");
    for target in [
        "/../secret.txt",
        "/folder/../../secret.txt",
        "/./../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2E%2E/secret.txt",
        "/.%2e/secret.txt",
        "/%2e./secret.txt",
        "/..%2fsecret.txt",
        "/..%2Fsecret.txt",
        "/folder%2f..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "/folder%5c..%5c..%5csecret.txt",
        "/..\\secret.txt",
        "/%252e%252e/secret.txt",
        "/%c0%ae%c0%ae/secret.txt",
        "/%e0%80%ae%e0%80%ae/secret.txt",
        "/%c0%af..%c0%afsecret.txt",
        "/..%00/secret.txt",
        "/inside.txt%00.html",
        "/%00",
        "/..;/secret.txt",
        "/.../secret.txt",
        "//secret.txt",
        "//../secret.txt",
        "///..//secret.txt",
        "/folder//../../secret.txt",
        "/folder/./inside.txt/../../../secret.txt",
        "/secret.txt",
        "/anything/../secret.txt",
        "/..",
        "/../",
        "/%2e%2e",
        "/%2e%2e%2f",
        "/C:/secret.txt",
        "/C:%5csecret.txt",
        "/%5c%5chost%5cshare%5csecret.txt",
        "/%5c%5c%3f%5cC:%5csecret.txt",
        "/inside.txt::$DATA",
        "/inside.txt%3a%3a$DATA",
        "/folder::$INDEX_ALLOCATION/inside.txt",
        "/CON",
        "/nul.txt",
        "/COM1",
        "/aux%20.txt",
        "/INSIDE~1.TXT",
        "/inside.txt%20",
        "/inside.txt.",
        "/.%20./secret.txt",
        "/.%09./secret.txt",
        "/%",
        "/%4",
        "/%zz",
        "/%ff%fe",
        "/%ed%a0%80",
        "/proc/self/environ",
        "/dev/stdin",
        "/etc/passwd",
        "http://test/../secret.txt",
        "http://test/%2e%2e/secret.txt",
        &long,
        &deep,
        &absolute,
        &encoded,
    ] {
        let mut client = site.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let answer = client.answer();
        let refused = [400, 403, 404, 414].contains(&answer.status);
        assert!(refused, "{target}: {} {}", answer.head, answer.body.escape_ascii());
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains(SECRET) && !text.contains("inside"), "{target}: {text}");
    }
}

fn hidden_names_are_served_only_when_told_to(backend: BackendChoice) {
    let fill = |site: &Site| {
        for name in
            [".hidden", ".git/config", "folder/.env", ".well-known/acme/token", "folder/.well-known/x", "a.b"]
        {
            site.write(name, name);
        }
    };
    let site = Site::start(backend);
    fill(&site);
    for (target, status) in [
        ("/.hidden", 404),
        ("/%2ehidden", 404),
        ("/.git/config", 404),
        ("/.git", 404),
        ("/.git/", 404),
        ("/folder/.env", 404),
        ("/folder/.well-known/x", 404),
        ("/.well-known/acme/token", 200),
        ("/.well-known", 301),
        ("/a.b", 200),
    ] {
        assert_eq!(site.get(target).status, status, "{target}");
    }
    drop(site);
    let site = Site::with(backend, |settings| settings.dot_files = true);
    fill(&site);
    for target in ["/.hidden", "/.git/config", "/folder/.env", "/folder/.well-known/x"] {
        assert_eq!(site.get(target).status, 200, "{target}");
    }
    assert_eq!(site.get("/..").status, 400);
}

fn the_configuration_is_never_served(backend: BackendChoice) {
    let site = Site::with(backend, |settings| settings.dot_files = true);
    for name in ["portico.toml", "folder/portico.toml"] {
        site.write(name, "port = 1");
    }
    for target in
        ["/portico.toml", "/portico%2etoml", "/PORTICO.TOML", "/folder/portico.toml", "/portico.toml/"]
    {
        assert_eq!(site.get(target).status, 404, "{target}");
    }
}

fn what_is_too_long_for_the_system_is_missing(backend: BackendChoice) {
    let site = Site::start(backend);
    for length in [4_080, 4_090, 4_094, 4_095, 4_096, 4_097, 5_000] {
        let path = &format!("/{}", format!("{}/", "n".repeat(200)).repeat(25))[..length + 1];
        for target in [path.trim_end_matches('/').to_owned(), format!("{path}/")] {
            assert_eq!(site.get(&target).status, 404, "{length}: {}", target.len());
        }
    }
}

fn what_is_missing_gets_a_page(backend: BackendChoice) {
    let site = Site::start(backend);
    let mut client = site.connect();
    for target in ["/absent", "/absent/", "/absent/deeper", "/"] {
        let answer = client.get(target);
        assert_eq!(answer.status, 404, "{target}");
        assert_eq!(answer.field("Content-Type"), Some("text/html; charset=utf-8"));
        let page = String::from_utf8(answer.body).unwrap();
        assert!(page.starts_with("<!doctype html>") && page.contains("<h1>404 Not Found</h1>"), "{page}");
    }
}

#[cfg(unix)]
mod links {
    use super::*;
    use portico::settings::FollowSymlinks;
    use std::{os::unix::fs::symlink, time::Duration};

    on_every_backend!(
        links_are_followed_inside_the_root_only,
        no_link_is_followed_when_told_so,
        what_is_no_file_is_not_opened
    );

    fn link(site: &Site) {
        let root = site.path("site");
        symlink("inside.txt", root.join("near.txt")).unwrap();
        symlink("../inside.txt", root.join("folder/up.txt")).unwrap();
        symlink("folder", root.join("alias")).unwrap();
        symlink("../secret.txt", root.join("out.txt")).unwrap();
        symlink("..", root.join("out")).unwrap();
        symlink(site.path("secret.txt"), root.join("absolute.txt")).unwrap();
        symlink("folder/../../secret.txt", root.join("winding.txt")).unwrap();
        symlink("out.txt", root.join("twice.txt")).unwrap();
        symlink("loop.txt", root.join("loop.txt")).unwrap();
        symlink("nowhere.txt", root.join("dangling.txt")).unwrap();
        // Inside, but only after it has been outside.
        symlink(root.join("inside.txt"), root.join("absolute-inside.txt")).unwrap();
        symlink("../site/inside.txt", root.join("round.txt")).unwrap();
        symlink("/proc/self/cwd", root.join("magic")).unwrap();
    }

    const OUTSIDE: [&str; 11] = [
        "/out.txt",
        "/out/secret.txt",
        "/absolute.txt",
        "/winding.txt",
        "/twice.txt",
        "/loop.txt",
        "/dangling.txt",
        "/absolute-inside.txt",
        "/round.txt",
        "/magic/secret.txt",
        "/magic",
    ];

    fn links_are_followed_inside_the_root_only(backend: BackendChoice) {
        let site = site(backend);
        link(&site);
        for target in ["/near.txt", "/folder/up.txt", "/alias/inside.txt"] {
            let answer = site.get(target);
            assert_eq!((answer.status, answer.body.as_slice()), (200, &b"inside"[..]), "{target}");
        }
        for target in OUTSIDE {
            assert_eq!(site.get(target).status, 404, "{target}");
        }
    }

    fn no_link_is_followed_when_told_so(backend: BackendChoice) {
        let site = Site::with(backend, |settings| {
            settings.follow_symlinks = FollowSymlinks::Never;
            settings.root.push("site");
            write(&settings.root, "inside.txt", "inside");
            write(&settings.root, "folder/inside.txt", "inside");
        });
        link(&site);
        assert_eq!(site.get("/inside.txt").status, 200);
        for target in
            ["/near.txt", "/folder/up.txt", "/alias/inside.txt", "/alias", "/alias/"].iter().chain(&OUTSIDE)
        {
            assert_eq!(site.get(target).status, 404, "{target}");
        }
    }

    /// Opening a pipe would wait for somebody to write into it.
    fn what_is_no_file_is_not_opened(backend: BackendChoice) {
        let site = Site::with(backend, |settings| settings.file_revalidate = Duration::ZERO);
        let made = std::process::Command::new("mkfifo").arg(site.path("pipe")).status();
        assert!(made.unwrap().success());
        assert_eq!(site.get("/pipe").status, 403);
        let _socket = std::os::unix::net::UnixListener::bind(site.path("socket")).unwrap();
        assert_eq!(site.get("/socket").status, 404);
        if !is_root() {
            use std::os::unix::fs::PermissionsExt;
            let path = site.write("locked", "x");
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o000)).unwrap();
            assert_eq!(site.get("/locked").status, 403);
        }
    }

    /// Root may read everything, so that there is nothing to refuse.
    fn is_root() -> bool {
        let id = std::process::Command::new("id").arg("-u").output().unwrap();
        id.stdout == b"0\n"
    }
}
