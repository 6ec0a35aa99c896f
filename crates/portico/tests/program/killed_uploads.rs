//! Killed without a warning while clients upload: what was answered 201 is whole, and no other name is there.

use crate::common::{Client, Program, assert_same, bytes, names, on_every_backend};
use portico::settings::BackendChoice;
use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

on_every_backend!(what_was_answered_survives_and_nothing_else_is_there);

const CLIENTS: usize = 100;
/// So many uploads are answered before the program is killed.
const BEFORE: usize = 150;

fn length(client: usize, number: usize) -> usize {
    (client * 7_919 + number * 104_729) % 300_000
}

fn what_was_answered_survives_and_nothing_else_is_there(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("in");
    fs::create_dir(&inbox).unwrap();
    let arguments = ["--backend", backend.name(), "--workers=2", "--upload", inbox.to_str().unwrap()];
    let program = Program::start(folder.path(), &arguments);
    let address = program.address;
    let answered = AtomicUsize::new(0);
    let (created, asked) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let answered = &answered;
                let mut connection = Client::connect(address);
                scope.spawn(move || {
                    let (mut created, mut asked) = (Vec::new(), Vec::new());
                    for number in 0.. {
                        let name = format!("{client}-{number}");
                        let content = bytes(length(client, number), (client * 1_000 + number) as u64);
                        let head = format!(
                            "PUT /in/{name} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
                            content.len()
                        );
                        asked.push((name.clone(), content.clone()));
                        if !connection.try_send(head) || !connection.try_send(&content) {
                            break;
                        }
                        let Ok(head) = connection.try_head() else { break };
                        assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
                        created.push(name);
                        answered.fetch_add(1, Ordering::SeqCst);
                        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                        if connection.try_body(length.unwrap().parse().unwrap()).is_err() {
                            break;
                        }
                    }
                    (created, asked)
                })
            })
            .collect();
        while answered.load(Ordering::SeqCst) < BEFORE {
            assert!(clients.iter().any(|client| !client.is_finished()), "every client has failed");
            std::thread::yield_now();
        }
        program.kill();
        let (mut created, mut asked) = (Vec::new(), Vec::new());
        for client in clients {
            let (its_created, its_asked) = client.join().unwrap();
            created.extend(its_created);
            asked.extend(its_asked);
        }
        (created, asked)
    });
    assert!(created.len() >= BEFORE);
    let found = names(&inbox);
    for (name, content) in &asked {
        // One that was published when the program was killed, before its answer went out, is there; it must be whole too.
        if found.contains(name) {
            assert_same(&fs::read(inbox.join(name)).unwrap(), content, name);
        }
    }
    let there: BTreeSet<_> = found.iter().collect();
    let missing: Vec<_> = created.iter().filter(|name| !there.contains(name)).collect();
    assert!(missing.is_empty(), "answered 201 and not there: {missing:?}");
    let strange: Vec<_> =
        found.iter().filter(|name| !asked.iter().any(|(asked, _)| asked == *name)).collect();
    // Elsewhere an unfinished upload has a temporary name, that the next start removes.
    let strange: Vec<_> = strange
        .into_iter()
        .filter(|name| cfg!(target_os = "linux") || !name.starts_with(".portico-upload-"))
        .collect();
    assert!(strange.is_empty(), "nobody asked for {strange:?}");
    let program = Program::start(folder.path(), &arguments);
    assert_eq!(program.connect().get(&format!("/in/{}", created[0])).status, 200);
    assert!(names(&inbox).iter().all(|name| asked.iter().any(|(asked, _)| asked == name)));
    program.kill();
}
