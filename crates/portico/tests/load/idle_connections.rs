//! Idle connections cost little, and each of them is answered when it speaks.

use crate::common::{Program, on_every_backend, write};
use portico::settings::BackendChoice;

on_every_backend!(
    a_thousand_idle_connections_cost_little,
    #[ignore = "needs 20,000 descriptors in two processes"]
    ten_thousand_idle_connections_cost_little,
);

/// Memory of the program's own that an idle connection may cost.
#[cfg(target_os = "linux")]
const MOST_BYTES: u64 = 2_048;

fn a_thousand_idle_connections_cost_little(backend: BackendChoice) {
    idle(backend, 1_000);
}

fn ten_thousand_idle_connections_cost_little(backend: BackendChoice) {
    idle(backend, 10_000);
}

fn idle(backend: BackendChoice, count: usize) {
    crate::raise_descriptor_limit();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "file", "content");
    let arguments = ["--backend", backend.name(), "--workers=2", "--idle-timeout-ms=3600000"];
    let program = Program::start(folder.path(), &arguments);
    // The buffers that all connections share are touched one after the other; they are not what a connection costs.
    for _ in 0..1_000 {
        assert_eq!(program.connect().get("/file").status, 200);
    }
    #[cfg(target_os = "linux")]
    let before = program.resident_bytes();
    let mut clients: Vec<_> = (0..count)
        .map(|_| {
            let mut client = program.connect();
            assert_eq!(client.get("/file").body, b"content");
            client
        })
        .collect();
    #[cfg(target_os = "linux")]
    {
        let each = (program.resident_bytes() - before) / count as u64;
        assert!(each < MOST_BYTES, "an idle connection costs {each} bytes");
        crate::common::report(&format!(
            "{} with {count} idle connections: {each} bytes each",
            backend.name()
        ));
    }
    for client in clients.iter_mut().step_by(97) {
        assert_eq!(client.get("/file").body, b"content");
    }
    assert_eq!(clients.last_mut().unwrap().get("/file").body, b"content");
    program.kill();
}
