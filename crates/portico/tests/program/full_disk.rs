//! A disk that is full, and a limit for the length of files: an upload ends with 507, and all else goes on.

use crate::common::{Program, on_every_backend, report, write};
use portico::settings::BackendChoice;
use std::{
    path::Path,
    process::{Command, Stdio},
};

on_every_backend!(
    an_upload_beyond_the_limit_for_files_is_answered_507,
    an_upload_to_a_full_disk_is_answered_507
);

const KIB: usize = 1 << 10;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "file", "content");
    std::fs::create_dir(folder.path().join("in")).unwrap();
    folder
}

/// There is room for 1 MiB.
fn room_for_a_mebibyte(program: &Program) {
    let mut other = program.connect();
    for round in 0..3 {
        let small = program.connect().upload("PUT", "/in/small", &[b's'; 1_000]);
        assert_eq!(small.status, if round == 0 { 201 } else { 204 });
        let answer = program.connect().upload("PUT", "/in/large", &vec![b'l'; 3 << 20]);
        assert_eq!((answer.status, answer.closes()), (507, true), "round {round}");
        let mut client = program.connect();
        client.send("PUT /in/large HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = ["10000\r\n", &"c".repeat(64 * KIB), "\r\n"].concat();
        for _ in 0..48 {
            client.try_send(&chunk);
        }
        client.try_send("0\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.status, answer.closes()), (507, true), "round {round}");
        // What the broken uploads had taken is free again; the others notice nothing.
        assert_eq!(other.get("/file").body, b"content");
        assert_eq!(other.get("/in/large").status, 404);
        assert_eq!(other.get("/in/small").body, [b's'; 1_000]);
        let middle = other.upload("PUT", "/in/middle", &vec![b'm'; 600 * KIB]);
        assert_eq!(middle.status, if round == 0 { 201 } else { 204 });
    }
}

fn arguments(backend: BackendChoice, inbox: &Path) -> [String; 5] {
    ["--backend", backend.name(), "--workers=1", "--upload", inbox.to_str().unwrap()].map(Into::into)
}

fn an_upload_beyond_the_limit_for_files_is_answered_507(backend: BackendChoice) {
    let folder = folder();
    let arguments = arguments(backend, &folder.path().join("in"));
    // In blocks of 512 bytes. The program must not be ended by the signal that comes with it.
    let program =
        Program::start_after("ulimit -f 2048", folder.path(), &arguments.each_ref().map(|it| &**it));
    room_for_a_mebibyte(&program);
    program.kill();
}

/// On a small disk in memory, which only the program sees. Where the system lets this user mount none, that is said, and the test above
/// has to do.
fn an_upload_to_a_full_disk_is_answered_507(backend: BackendChoice) {
    let folder = folder();
    let inbox = folder.path().join("in");
    let mount = format!("mount -t tmpfs -o size=2m none '{}'", inbox.display());
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh"]);
        command
    };
    let tried = unshare().arg("-c").arg(&mount).stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        return report("not tested: this user may not mount a disk in memory");
    }
    let mut command = unshare();
    Program::prepare(&mut command, &mount);
    let arguments = arguments(backend, &inbox);
    let program = Program::start_with(command, folder.path(), &arguments.each_ref().map(|it| &**it));
    room_for_a_mebibyte(&program);
    program.kill();
}
