//! The file of users: whose it is, when it is read again, and what checking passwords may cost others.

use crate::{
    authentication::{ALICE, ask, field, protected},
    clients::connect_from,
    common::{on_every_backend, settings, write},
};
use portico::settings::{BackendChoice, HostSettings};
use portico::{Server, StartError};
use std::{fs, path::PathBuf, time::Duration};

on_every_backend!(
    each_host_has_users_of_its_own,
    a_changed_file_of_users_is_read_again,
    many_at_once_are_checked_or_told_to_come_back,
    who_guesses_passwords_keeps_nobody_else_out,
    a_users_file_that_cannot_be_used_is_said_at_the_start,
    a_users_file_that_would_be_served_is_said_at_the_start,
);

fn each_host_has_users_of_its_own(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    let bob = write(folder.path(), "bob", ALICE.replace("alice", "bob"));
    let protected = protected(backend, |settings| {
        let host = |name: &str, users: Option<PathBuf>| {
            let mut settings = settings.clone();
            settings.auth_users = users;
            HostSettings { names: vec![name.to_owned()], settings }
        };
        settings.hosts = vec![host("bob.example", Some(bob)), host("open.example", None)];
    });
    let mut client = protected.site.connect();
    let mut ask = |host: &str, credentials: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{}\r\n", field(credentials)));
        client.answer().status
    };
    for _ in 0..2 {
        assert_eq!(ask("test", "alice:hunter2"), 200);
        assert_eq!(ask("bob.example", "alice:hunter2"), 401);
        assert_eq!(ask("bob.example", "bob:hunter2"), 200);
        assert_eq!(ask("test", "bob:hunter2"), 401);
        assert_eq!(ask("open.example", "nobody:"), 200);
    }
}

fn a_changed_file_of_users_is_read_again(backend: BackendChoice) {
    let protected = protected(backend, |settings| settings.file_revalidate = Duration::ZERO);
    let mut client = protected.site.connect();
    assert_eq!(ask(&mut client, "/", "alice:hunter2").status, 200);
    assert_eq!(ask(&mut client, "/", "bobby:hunter2").status, 401);
    fs::write(&protected.users, ALICE.replace("alice", "somebody")).unwrap();
    // Who is remembered is until the file has been looked at, which the first request has done.
    while ask(&mut client, "/", "alice:hunter2").status != 401 {}
    assert_eq!(ask(&mut client, "/", "somebody:hunter2").status, 200);
    // With a mistake in it, or without it, all stays as it was.
    fs::write(&protected.users, "nonsense").unwrap();
    for _ in 0..5 {
        assert_eq!(ask(&mut client, "/", "somebody:hunter2").status, 200);
        assert_eq!(ask(&mut client, "/", "alice:hunter2").status, 401);
    }
    fs::remove_file(&protected.users).unwrap();
    for _ in 0..5 {
        assert_eq!(ask(&mut client, "/", "somebody:hunter2").status, 200);
    }
    fs::write(&protected.users, ALICE).unwrap();
    while ask(&mut client, "/", "alice:hunter2").status != 200 {}
    while ask(&mut client, "/", "somebody:hunter2").status != 401 {}
}

fn many_at_once_are_checked_or_told_to_come_back(backend: BackendChoice) {
    let protected = protected(backend, |settings| {
        settings.pool_threads = 2;
        settings.auth_remember = Duration::ZERO;
    });
    let mut clients: Vec<_> = (0..100).map(|_| protected.site.connect()).collect();
    for client in &mut clients {
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", field("alice:hunter2")));
    }
    for client in &mut clients {
        let answer = client.answer();
        match answer.status {
            200 => assert_eq!(answer.body, b"public"),
            503 => assert_eq!(answer.field("Retry-After"), Some("1")),
            other => panic!("{other}"),
        }
    }
    assert_eq!(ask(&mut protected.site.connect(), "/", "alice:hunter2").status, 200);
}

/// Checks that take their time, and more of them from one address than are made at one time: those of another address are made.
fn who_guesses_passwords_keeps_nobody_else_out(backend: BackendChoice) {
    if !cfg!(target_os = "linux") {
        // Elsewhere this machine has one address only.
        return;
    }
    let protected = protected(backend, |settings| {
        settings.pool_threads = 2;
        settings.auth_remember = Duration::ZERO;
    });
    let slow = bcrypt::hash("hunter2", if cfg!(debug_assertions) { 8 } else { 11 }).unwrap();
    fs::write(&protected.users, format!("alice:{slow}\n")).unwrap();
    let mut other = connect_from([127, 0, 0, 2], protected.site.address);
    // With this one the file is read again.
    assert_eq!(ask(&mut other, "/", "alice:hunter2").status, 200);
    let mut guessing: Vec<_> = (0..40).map(|_| protected.site.connect()).collect();
    for (number, client) in guessing.iter_mut().enumerate() {
        let guess = field(&format!("alice:{number}"));
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{guess}\r\n"));
    }
    // As many are being checked for this address as may be.
    let refused = loop {
        let answer = guessing.pop().unwrap().answer();
        if answer.status == 503 {
            break answer;
        }
    };
    assert_eq!(refused.field("Retry-After"), Some("1"));
    assert_eq!(ask(&mut other, "/", "alice:hunter2").status, 200);
    let statuses: Vec<_> = guessing.iter_mut().map(|client| client.answer().status).collect();
    assert!(statuses.iter().all(|status| [401, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&401), "{statuses:?}");
}

fn a_users_file_that_cannot_be_used_is_said_at_the_start(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), backend);
    settings.auth_users = Some(folder.path().join("users"));
    for (content, part) in [(None, "cannot be read"), (Some("alice:secret"), "line 1")] {
        if let Some(content) = content {
            write(folder.path(), "users", content);
        }
        let error = Server::start(settings.clone()).unwrap_err();
        assert!(matches!(error, StartError::Users(_)), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

fn a_users_file_that_would_be_served_is_said_at_the_start(backend: BackendChoice) {
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (name, dot_files, served) in
        [("users", false, true), ("sub/users", false, true), (".users", false, false), (".users", true, true)]
    {
        let mut settings = settings(root.path(), backend);
        settings.dot_files = dot_files;
        settings.auth_users = Some(write(root.path(), name, ALICE));
        // Whichever host's folder it is in.
        let mut hosts = settings.clone();
        hosts.auth_users = None;
        hosts.hosts = vec![HostSettings { names: vec!["other".to_owned()], settings: settings.clone() }];
        hosts.hosts[0].settings.root = other.path().to_owned();
        for settings in [settings, hosts] {
            match Server::start(settings) {
                Ok(server) => assert!(!served && server.stop(Duration::from_secs(30)).is_clean(), "{name}"),
                Err(error) => {
                    assert!(served && matches!(error, StartError::Users(_)), "{name}: {error}");
                    assert!(error.to_string().contains("move it out of"), "{error}");
                }
            }
        }
    }
}
