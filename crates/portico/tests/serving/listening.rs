//! Several addresses at once: of both families, and Unix-domain sockets.

use crate::common::{Client, Site, on_every_backend, settings};
use portico::settings::{BackendChoice, ListenAddress};
use portico::{Server, StartError};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

on_every_backend!(
    every_address_is_served,
    an_address_that_cannot_be_had_is_named_and_nothing_listens,
    every_interface_of_both_families_by_one_socket,
    a_socket_of_ipv6_only_leaves_ipv4_alone,
    the_limit_of_connections_holds_for_all_addresses_together,
);

fn listen(texts: &[&str]) -> Vec<ListenAddress> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn internet(address: &ListenAddress) -> SocketAddr {
    match address {
        ListenAddress::Internet(address) => *address,
        ListenAddress::Unix(path) => panic!("{}", path.display()),
    }
}

fn every_address_is_served(backend: BackendChoice) {
    for workers in [1, 3] {
        let site = Site::with(backend, |settings| {
            settings.workers = workers;
            settings.listen = listen(&["127.0.0.1:0", "[::1]:0", "127.0.0.1:0"]);
        });
        site.write("file", "content");
        let addresses = site.server().addresses();
        assert_eq!(internet(&addresses[0]), site.address);
        assert_eq!(addresses.len(), 3);
        for address in addresses {
            for _ in 0..5 {
                assert_eq!(Client::connect(internet(address)).get("/file").body, b"content", "{address}");
            }
        }
    }
}

fn an_address_that_cannot_be_had_is_named_and_nothing_listens(backend: BackendChoice) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), backend);
    let address = taken.local_addr().unwrap();
    settings.listen = vec![free.into(), address.into()];
    let error = Server::start(settings).unwrap_err();
    assert!(matches!(&error, StartError::Listen(at, _) if *at == address.into()), "{error}");
    assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    assert!(TcpStream::connect(free).is_err());
}

fn every_interface_of_both_families_by_one_socket(backend: BackendChoice) {
    let site = Site::with(backend, |settings| settings.listen = listen(&["[::]:0"]));
    site.write("file", "content");
    let port = site.address.port();
    for address in
        [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))]
    {
        assert_eq!(Client::connect(address).get("/file").body, b"content", "{address}");
    }
}

fn a_socket_of_ipv6_only_leaves_ipv4_alone(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.listen = listen(&["[::]:0"]);
        settings.ipv6_only = true;
    });
    site.write("file", "content");
    let port = site.address.port();
    let address = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
    assert_eq!(Client::connect(address).get("/file").body, b"content");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

/// Accepting ends on all, and begins on all again.
fn the_limit_of_connections_holds_for_all_addresses_together(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        settings.listen = listen(&["127.0.0.1:0", "127.0.0.1:0"]);
        settings.connections = 1;
    });
    site.write("file", "content");
    let addresses: Vec<_> = site.server().addresses().iter().map(internet).collect();
    for round in 0..3 {
        let mut inside = Client::connect(addresses[round % 2]);
        assert_eq!(inside.get("/file").status, 200);
        // So many that the server stops accepting.
        let mut waiting: Vec<_> = (0..150).map(|number| Client::connect(addresses[number % 2])).collect();
        assert_eq!(inside.get("/file").status, 200);
        drop(inside);
        let last = waiting.split_off(148);
        drop(waiting);
        // Both ask at once: which address is served first is open, and one that says nothing would keep the only place.
        thread::scope(|scope| {
            for mut client in last {
                scope.spawn(move || assert_eq!(client.get("/file").body, b"content"));
            }
        });
    }
}

#[cfg(unix)]
mod unix_sockets {
    use super::*;
    use std::{
        fs,
        io::{Read as _, Write as _},
        os::unix::{
            fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
        path::{Path, PathBuf},
        time::Duration,
    };

    on_every_backend!(
        a_unix_socket_is_served_and_goes_with_the_server,
        a_socket_that_was_left_behind_is_taken_over,
        what_is_no_socket_or_is_in_use_is_left_alone,
        a_file_that_took_the_sockets_name_stays,
    );

    fn ask(path: &Path) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(b"GET /file HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn site(backend: BackendChoice, path: &Path, workers: usize) -> Site {
        let site = Site::with(backend, |settings| {
            settings.workers = workers;
            settings.listen = vec![ListenAddress::Unix(path.to_path_buf()), "127.0.0.1:0".parse().unwrap()];
        });
        site.write("file", "content");
        site
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portico.sock");
        (folder, path)
    }

    fn a_unix_socket_is_served_and_goes_with_the_server(backend: BackendChoice) {
        for workers in [1, 2] {
            let (_folder, path) = place();
            let mut site = site(backend, &path, workers);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o660, "{mode:o}");
            for _ in 0..5 {
                let answer = ask(&path);
                assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("content"), "{answer}");
            }
            assert_eq!(site.get("/file").body, b"content");
            let end = site.stop(Duration::from_secs(30));
            assert!(end.is_clean(), "{end}");
            assert!(!path.exists(), "the file of the socket is left");
        }
    }

    fn a_socket_that_was_left_behind_is_taken_over(backend: BackendChoice) {
        let (_folder, path) = place();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _site = site(backend, &path, 1);
        assert!(ask(&path).ends_with("content"));
    }

    fn what_is_no_socket_or_is_in_use_is_left_alone(backend: BackendChoice) {
        let (folder, path) = place();
        let mut settings = settings(folder.path(), backend);
        settings.listen = vec![ListenAddress::Unix(path.clone())];
        let try_start = || {
            let error = Server::start(settings.clone()).unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("cannot listen on unix:{}: ", path.display())),
                "{error}"
            );
        };
        fs::write(&path, "precious").unwrap();
        try_start();
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();

        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        try_start();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        fs::remove_file(&path).unwrap();

        let _in_use = UnixListener::bind(&path).unwrap();
        let number = fs::metadata(&path).unwrap().ino();
        try_start();
        let metadata = fs::metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket() && metadata.ino() == number);
    }

    fn a_file_that_took_the_sockets_name_stays(backend: BackendChoice) {
        let (_folder, path) = place();
        let mut site = site(backend, &path, 1);
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        assert!(site.stop(Duration::from_secs(30)).is_clean());
        assert!(path.exists(), "another server's socket was removed");
    }
}
