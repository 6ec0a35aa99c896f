//! The access log of the program: rotated by others, and in JSON.

use crate::common::{Program, on_every_backend, write};
use portico::settings::BackendChoice;
use std::fs;

on_every_backend!(the_log_is_opened_anew_when_told_so, lines_may_be_json, the_log_may_go_to_standard_output);

fn the_log_is_opened_anew_when_told_so(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "site/file", "content");
    let log = folder.path().join("access.log");
    let arguments = ["--backend", backend.name(), "--workers=1", "--access-log", log.to_str().unwrap()];
    let program = Program::start(&folder.path().join("site"), &arguments);
    let mut client = program.connect();
    client.get("/file?before");
    fs::rename(&log, folder.path().join("access.log.old")).unwrap();
    program.signal("HUP");
    // It is opened anew when the file is there again.
    while !log.exists() {
        std::thread::yield_now();
    }
    client.get("/file?after");
    program.signal("INT");
    let (status, output) = program.wait();
    assert!(status.success(), "{output}");
    let old = fs::read_to_string(folder.path().join("access.log.old")).unwrap();
    let new = fs::read_to_string(&log).unwrap();
    assert!(old.lines().count() == 1 && old.contains("GET /file?before HTTP/1.1"), "{old}");
    assert!(new.lines().count() == 1 && new.contains("GET /file?after HTTP/1.1"), "{new}");
}

fn lines_may_be_json(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "site/file", "content");
    let log = folder.path().join("access.log");
    let arguments =
        ["--backend", backend.name(), "--access-log", log.to_str().unwrap(), "--access-log-format", "json"];
    let program = Program::start(&folder.path().join("site"), &arguments);
    program.connect().request("GET", "/file", "User-Agent: a \"quoted\\\" agent\r\n");
    program.signal("INT");
    assert!(program.wait().0.success());
    let line = fs::read_to_string(&log).unwrap();
    assert!(line.starts_with('{') && line.ends_with("}\n") && line.lines().count() == 1, "{line}");
    for part in ["\"/file\"", "\"GET\"", ":200", "\"a \\\"quoted\\\\\\\" agent\"", "\"127.0.0.1\""] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

fn the_log_may_go_to_standard_output(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "file", "content");
    let program = Program::start(folder.path(), &["--backend", backend.name(), "--access-log=-"]);
    program.connect().get("/file");
    program.signal("INT");
    let (status, output) = program.wait();
    assert!(status.success());
    assert!(output.lines().count() == 1 && output.contains("\"GET /file HTTP/1.1\" 200 7 "), "{output}");
}
