//! What the system lets a process hold open, against what the cache would like to.

use crate::common::{Program, write};

/// Each of these files stays open in the cache, and there are more than the process may have. All are served, again and again, and
/// so are new connections.
#[test]
fn more_files_are_served_than_may_be_open() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..200 {
        write(folder.path(), &format!("{number}"), vec![b'x'; 100]);
    }
    for backend in ["auto", "readiness"] {
        let arguments = [
            "--backend",
            backend,
            "--file-cache-bytes",
            "0",
            "--file-cache-file-bytes",
            "0",
            "--workers",
            "2",
        ];
        let program = Program::start_with_open_files(120, folder.path(), &arguments);
        for round in 0..2 {
            for number in 0..200 {
                let answer = program.connect().get(&format!("/{number}"));
                assert_eq!((answer.status, answer.body.len()), (200, 100), "{backend}, {round}: {number}");
            }
        }
        program.signal("INT");
        let (status, text) = program.wait();
        assert!(status.success(), "{text}");
    }
}
