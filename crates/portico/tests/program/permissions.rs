//! What the system does not let the program read or write is refused, and only that.

use crate::common::{Program, on_every_backend, write};
use portico::settings::BackendChoice;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

on_every_backend!(what_may_not_be_read_is_answered_403, what_may_not_be_written_is_answered_403);

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn what_may_not_be_read_is_answered_403(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o755);
    for name in ["small", "secret", "closed/file", "closed/index.html"] {
        write(folder.path(), name, "content");
    }
    write(folder.path(), "large", vec![b'x'; 200_000]);
    let paths = ["secret", "closed"].map(|name| folder.path().join(name));
    paths.iter().for_each(|path| set_mode(path, 0));
    let arguments = ["--backend", backend.name(), "--workers=1", "--file-revalidate-ms=0"];
    let program = Program::start_unprivileged(folder.path(), &arguments);
    let mut client = program.connect();
    for target in ["/secret", "/closed/file", "/closed/", "/closed/absent"] {
        assert_eq!(client.get(target).status, 403, "{target}");
        assert_eq!(client.request("HEAD", target, "").status, 403, "{target}");
        assert_eq!(client.get("/small").body, b"content", "after {target}");
    }
    // It is not remembered when that changes, one way or the other.
    set_mode(&paths[0], 0o644);
    set_mode(&paths[1], 0o755);
    for target in ["/secret", "/closed/file", "/closed/"] {
        assert_eq!(client.get(target).body, b"content", "{target}");
    }
    for name in ["small", "large"] {
        let (path, target) = (folder.path().join(name), format!("/{name}"));
        assert_eq!(client.get(&target).status, 200);
        set_mode(&path, 0);
        assert_eq!(client.get(&target).status, 403, "{name}");
        set_mode(&path, 0o644);
        assert_eq!(client.get(&target).status, 200);
    }
    program.kill();
}

fn what_may_not_be_written_is_answered_403(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o755);
    write(folder.path(), "in/there", "content");
    let inbox = folder.path().join("in");
    set_mode(&inbox, 0o555);
    let arguments = ["--backend", backend.name(), "--workers=1", "--upload", inbox.to_str().unwrap()];
    let program = Program::start_unprivileged(folder.path(), &arguments);
    for target in ["/in/new", "/in/there"] {
        let answer = program.connect().upload("PUT", target, &[b'x'; 100_000]);
        assert_eq!((answer.status, answer.closes()), (403, true), "{target}");
    }
    assert_eq!(program.connect().get("/in/there").body, b"content");
    assert_eq!(program.connect().get("/in/new").status, 404);
    set_mode(&inbox, 0o777);
    assert_eq!(program.connect().upload("PUT", "/in/other", b"content").status, 201);
    program.kill();
}
