//! A system that lets a process open few files.

use crate::common::{Program, assert_same, bytes, on_every_backend, write};
use portico::settings::BackendChoice;

on_every_backend!(
    many_files_and_many_clients_share_few_descriptors,
    more_clients_than_descriptors_are_all_answered,
    silent_clients_that_hold_all_descriptors_make_room_in_time,
    uploads_without_descriptors_are_told_to_come_back,
);

const DESCRIPTORS: u32 = 100;
const FILES: usize = 300;

/// More files than descriptors, each too large to be kept in memory.
fn many_files_and_many_clients_share_few_descriptors(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        write(folder.path(), &number.to_string(), bytes(70_000, number as u64));
    }
    let arguments = ["--backend", backend.name(), "--workers=2"];
    let program = Program::start_with_descriptors(DESCRIPTORS, folder.path(), &arguments);
    let mut clients: Vec<_> = (0..20).map(|_| program.connect()).collect();
    for round in 0..2 {
        for number in 0..FILES {
            let client = &mut clients[(number + round) % 20];
            let answer = client.get(&format!("/{number}"));
            assert_eq!(answer.status, 200, "file {number} in round {round}");
            assert_same(&answer.body, &bytes(70_000, number as u64), "a file");
        }
    }
    program.kill();
}

/// Clients for whom there is no descriptor wait until others leave; where there is none for the file they are told to come back.
fn more_clients_than_descriptors_are_all_answered(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "file", "content");
    let arguments = ["--backend", backend.name(), "--workers=1"];
    let program = Program::start_with_descriptors(DESCRIPTORS, folder.path(), &arguments);
    let mut clients: Vec<_> = (0..3 * DESCRIPTORS).map(|_| program.connect()).collect();
    for client in &mut clients {
        client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    // In the order of their coming; each makes room for one more.
    for mut client in clients {
        let answer = client.answer();
        let served = answer.status == 200 && answer.body == b"content";
        let told = answer.status == 503 && answer.field("Retry-After").is_some();
        assert!(served || told, "{}", answer.head);
    }
    assert_eq!(program.connect().get("/file").status, 200);
    program.kill();
}

/// Nobody of them leaves by itself.
fn silent_clients_that_hold_all_descriptors_make_room_in_time(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "file", "content");
    let arguments = ["--backend", backend.name(), "--workers=1", "--idle-timeout-ms=100"];
    let program = Program::start_with_descriptors(DESCRIPTORS, folder.path(), &arguments);
    let silent: Vec<_> = (0..3 * DESCRIPTORS).map(|_| program.connect()).collect();
    // Behind all of them in the system's queue.
    let answer = program.connect().get("/file");
    assert!(answer.status == 200 || answer.status == 503, "{}", answer.head);
    for mut client in silent {
        client.ends();
    }
    assert_eq!(program.connect().get("/file").body, b"content");
    program.kill();
}

fn uploads_without_descriptors_are_told_to_come_back(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let inbox = folder.path().join("in");
    let arguments = ["--backend", backend.name(), "--workers=1", "--upload", inbox.to_str().unwrap()];
    let program = Program::start_with_descriptors(DESCRIPTORS, folder.path(), &arguments);
    let mut clients: Vec<_> = (0..3 * DESCRIPTORS).map(|_| program.connect()).collect();
    // Half of a body: what could be opened stays open.
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("PUT /in/{number} HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nhalf"));
    }
    let mut told = 0;
    for mut client in clients {
        client.try_send("half");
        let answer = client.answer();
        match answer.status {
            201 => {}
            503 => {
                assert!(answer.field("Retry-After").is_some() && answer.closes(), "{}", answer.head);
                told += 1;
            }
            _ => panic!("{}", answer.head),
        }
    }
    let whole = crate::common::names(&inbox);
    assert_eq!(whole.len(), 3 * DESCRIPTORS as usize - told);
    assert!(whole.iter().all(|name| std::fs::read(inbox.join(name)).unwrap() == b"halfhalf"));
    assert!(told > 0, "there were descriptors for all");
    assert_eq!(program.connect().upload("PUT", "/in/last", b"content").status, 201);
    program.kill();
}
