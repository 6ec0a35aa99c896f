//! Changes in folders. A system may tell more than what a case did (of the folder around it, or of one thing twice): the cases look
//! for what must be told, and in which order.

use crate::{
    harness::{PATIENCE, Rig, failure},
    suite::Case,
};
use completion_port::{
    Change, ChangeKind, Directory, ErrorKind, Handle, Operation, OperationKind, Payload, Port, Token,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

pub(crate) const CASES: &[Case] = cases![
needs OperationKind::WatchDirectory;

    changes_are_told_in_order,
    a_folder_that_is_renamed_meanwhile_is_still_watched,
    what_lies_below_is_told_only_if_asked_for,
    folders_that_are_there_are_watched_below,
    folders_that_appear_are_watched_too,
    a_folder_that_comes_with_content_is_told_with_it,
    a_folder_that_moves_is_watched_under_its_new_name,
    a_large_tree_misses_nothing_unsaid,
    changes_that_come_too_fast_are_said_to_be_missed,
    a_watch_ends_by_cancel_deadline_and_close,
];

fn watch(rig: &mut Rig, path: &Path, recursive: bool) -> Token {
    let directory = Arc::new(Directory::open(path).unwrap());
    rig.submit(Handle::NONE, Operation::WatchDirectory { directory, recursive })
}

#[track_caller]
fn next(rig: &mut Rig, watch: Token) -> Change {
    let item = rig.next_of(watch);
    assert_eq!((item.kind, item.result, item.last), (OperationKind::WatchDirectory, Ok(0), false));
    match item.payload {
        Payload::Change(change) => change,
        other => panic!("{other:?} instead of a change"),
    }
}

/// Waits for one change; others may come before.
#[track_caller]
fn expect(rig: &mut Rig, watch: Token, kind: ChangeKind, path: impl AsRef<Path>) {
    let until = Instant::now() + PATIENCE;
    let mut others = Vec::new();
    loop {
        let change = next(rig, watch);
        if change.kind == kind && change.path == path.as_ref() {
            return;
        }
        others.push(change);
        assert!(Instant::now() < until, "{kind:?} {:?} did not come, but {others:?}", path.as_ref());
    }
}

#[track_caller]
fn end(rig: &mut Rig, watch: Token) {
    rig.worker.cancel(watch);
    loop {
        let completion = rig.next_of(watch);
        if completion.last {
            assert_eq!(failure(&completion), ErrorKind::Cancelled);
            return;
        }
    }
}

use ChangeKind::{Appeared, Disappeared, Missed, Modified};

fn changes_are_told_in_order(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let token = watch(rig, folder.path(), false);
    rig.expect_silence();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    expect(rig, token, Appeared, "file");
    fs::write(&file, "longer").unwrap();
    expect(rig, token, Modified, "file");
    fs::rename(&file, folder.path().join("other")).unwrap();
    expect(rig, token, Disappeared, "file");
    expect(rig, token, Appeared, "other");
    fs::remove_file(folder.path().join("other")).unwrap();
    expect(rig, token, Disappeared, "other");
    for number in 0..50 {
        fs::write(folder.path().join(format!("{number}")), "").unwrap();
    }
    for number in 0..50 {
        expect(rig, token, Appeared, format!("{number}"));
    }
    end(rig, token);
}

fn a_folder_that_is_renamed_meanwhile_is_still_watched(rig: &mut Rig) {
    // Windows does not let go of the name of a folder that is open.
    if cfg!(windows) {
        return;
    }
    let around = tempfile::tempdir().unwrap();
    let (before, after) = (around.path().join("before"), around.path().join("after"));
    fs::create_dir(&before).unwrap();
    let directory = Arc::new(Directory::open(&before).unwrap());
    // Another folder takes its name before the watch begins.
    fs::rename(&before, &after).unwrap();
    fs::create_dir(&before).unwrap();
    let token = rig.submit(Handle::NONE, Operation::WatchDirectory { directory, recursive: true });
    fs::write(before.join("decoy"), "").unwrap();
    fs::create_dir(after.join("sub")).unwrap();
    fs::write(after.join("file"), "").unwrap();
    let mut seen = Vec::new();
    while !seen.contains(&PathBuf::from("file")) {
        seen.push(next(rig, token).path);
    }
    assert!(!seen.contains(&PathBuf::from("decoy")), "{seen:?}");
    fs::write(after.join("sub/deep"), "").unwrap();
    expect(rig, token, Appeared, Path::new("sub").join("deep"));
    end(rig, token);
}

fn what_lies_below_is_told_only_if_asked_for(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("below")).unwrap();
    let token = watch(rig, folder.path(), false);
    fs::write(folder.path().join("below").join("hidden"), "").unwrap();
    fs::write(folder.path().join("seen"), "").unwrap();
    loop {
        let change = next(rig, token);
        assert!(!change.path.ends_with("hidden"), "{change:?}");
        if change.path == Path::new("seen") {
            break;
        }
    }
    end(rig, token);
}

/// Whether the system watches folders below which it has not seen appear. Wine does not.
fn sees_old_folders(rig: &Rig) -> bool {
    let backend = rig.port.backend();
    let line = Port::backends(Some(backend)).into_iter().find(|line| line.starts_with(backend.name()));
    !line.is_some_and(|line| line.contains("on Wine"))
}

fn folders_that_are_there_are_watched_below(rig: &mut Rig) {
    if !sees_old_folders(rig) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let deep = Path::new("a").join("b").join("c");
    fs::create_dir_all(folder.path().join(&deep)).unwrap();
    fs::create_dir_all(folder.path().join("d")).unwrap();
    fs::write(folder.path().join(&deep).join("old"), "").unwrap();
    let token = watch(rig, folder.path(), true);
    fs::write(folder.path().join(&deep).join("new"), "").unwrap();
    expect(rig, token, Appeared, deep.join("new"));
    fs::write(folder.path().join("d").join("new"), "").unwrap();
    expect(rig, token, Appeared, Path::new("d").join("new"));
    fs::remove_file(folder.path().join(&deep).join("old")).unwrap();
    expect(rig, token, Disappeared, deep.join("old"));
    end(rig, token);
}

fn folders_that_appear_are_watched_too(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let token = watch(rig, folder.path(), true);
    let mut path = PathBuf::new();
    for depth in 0..5 {
        path.push(format!("{depth}"));
        fs::create_dir(folder.path().join(&path)).unwrap();
        expect(rig, token, Appeared, &path);
    }
    fs::write(folder.path().join(&path).join("file"), "").unwrap();
    expect(rig, token, Appeared, path.join("file"));
    fs::remove_dir_all(folder.path().join("0")).unwrap();
    expect(rig, token, Disappeared, "0");
    // The name is free for another.
    fs::create_dir(folder.path().join("0")).unwrap();
    expect(rig, token, Appeared, "0");
    fs::write(folder.path().join("0").join("again"), "").unwrap();
    expect(rig, token, Appeared, Path::new("0").join("again"));
    end(rig, token);
}

fn a_folder_that_comes_with_content_is_told_with_it(rig: &mut Rig) {
    if !sees_old_folders(rig) {
        return;
    }
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let token = watch(rig, folder.path(), true);
    // Faster than anybody could watch it.
    let deep = Path::new("x").join("y").join("z");
    fs::create_dir_all(folder.path().join(&deep)).unwrap();
    fs::write(folder.path().join(&deep).join("file"), "").unwrap();
    expect(rig, token, Appeared, deep.join("file"));
    fs::create_dir_all(elsewhere.path().join("ready").join("made")).unwrap();
    for number in 0..300 {
        fs::write(elsewhere.path().join("ready").join("made").join(format!("{number}")), "").unwrap();
    }
    if fs::rename(elsewhere.path().join("ready"), folder.path().join("ready")).is_ok() {
        let made = Path::new("ready").join("made");
        let mut wanted: std::collections::BTreeSet<PathBuf> =
            (0..300).map(|number| made.join(format!("{number}"))).collect();
        // Windows tells of the folder only: nothing in it has changed.
        if cfg!(windows) {
            wanted = [PathBuf::from("ready")].into();
        }
        while !wanted.is_empty() {
            let change = next(rig, token);
            assert!(change.kind != Disappeared, "{change:?}");
            wanted.remove(&change.path);
        }
        fs::write(folder.path().join(&made).join("late"), "").unwrap();
        expect(rig, token, Appeared, made.join("late"));
    }
    end(rig, token);
}

fn a_folder_that_moves_is_watched_under_its_new_name(rig: &mut Rig) {
    if !sees_old_folders(rig) {
        return;
    }
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let below = |first: &str| Path::new(first).join("below");
    fs::create_dir_all(folder.path().join(below("old"))).unwrap();
    let token = watch(rig, folder.path(), true);
    fs::rename(folder.path().join("old"), folder.path().join("new")).unwrap();
    expect(rig, token, Disappeared, "old");
    expect(rig, token, Appeared, "new");
    fs::write(folder.path().join(below("new")).join("file"), "").unwrap();
    expect(rig, token, Appeared, below("new").join("file"));
    // What left is watched no more.
    if fs::rename(folder.path().join("new"), elsewhere.path().join("gone")).is_ok() {
        expect(rig, token, Disappeared, "new");
        fs::write(elsewhere.path().join(below("gone")).join("outside"), "").unwrap();
        fs::write(folder.path().join("inside"), "").unwrap();
        loop {
            let change = next(rig, token);
            assert!(!change.path.ends_with("outside"), "{change:?}");
            if change.path == Path::new("inside") {
                break;
            }
        }
    }
    end(rig, token);
}

fn a_large_tree_misses_nothing_unsaid(rig: &mut Rig) {
    if !sees_old_folders(rig) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = |number: usize| Path::new(&format!("{}", number % 10)).join(format!("{number}"));
    for number in 0..400 {
        fs::create_dir_all(folder.path().join(name(number))).unwrap();
    }
    let token = watch(rig, folder.path(), true);
    for number in 0..400 {
        fs::write(folder.path().join(name(number)).join("file"), "").unwrap();
    }
    // Each is told, or that some were missed; after that nothing is.
    let mut told = std::collections::BTreeSet::new();
    while told.len() < 400 {
        let change = next(rig, token);
        match change.kind {
            Missed => break,
            Appeared => told.insert(change.path),
            _ => false,
        };
    }
    for number in 0..400 {
        fs::write(folder.path().join(name(number)).join("later"), "").unwrap();
    }
    for number in 0..400 {
        expect(rig, token, Appeared, name(number).join("later"));
    }
    end(rig, token);
}

fn changes_that_come_too_fast_are_said_to_be_missed(rig: &mut Rig) {
    for recursive in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let token = watch(rig, folder.path(), recursive);
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        for path in [&one, &other] {
            fs::write(path, "").unwrap();
        }
        // More than any system keeps; two files by turns, since it may tell repeated changes once. Nobody takes them meanwhile.
        for round in 0..25_000u64 {
            let file = fs::OpenOptions::new().write(true).open(if round % 2 == 0 { &one } else { &other });
            file.unwrap().set_len(round / 2).unwrap();
        }
        fs::create_dir(folder.path().join("unseen")).unwrap();
        expect(rig, token, Missed, "");
        // From here on everything is told again.
        fs::write(folder.path().join("unseen").join("deep"), "").unwrap();
        if recursive {
            expect(rig, token, Appeared, Path::new("unseen").join("deep"));
        }
        fs::write(folder.path().join("last"), "").unwrap();
        expect(rig, token, Appeared, "last");
        end(rig, token);
    }
}

fn a_watch_ends_by_cancel_deadline_and_close(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let directory = Arc::new(Directory::open(folder.path()).unwrap());
    let operation = || Operation::WatchDirectory { directory: Arc::clone(&directory), recursive: true };
    let (first, second) = (rig.submit(Handle::NONE, operation()), rig.submit(Handle::NONE, operation()));
    end(rig, first);
    // The other one goes on.
    fs::write(folder.path().join("file"), "").unwrap();
    expect(rig, second, Appeared, "file");
    end(rig, second);
    let limit = std::time::Duration::from_millis(5);
    let limited = rig.worker.submit_with_limit(Handle::NONE, operation(), limit).unwrap();
    assert_eq!(failure(&rig.next_of(limited)), ErrorKind::TimedOut);
    // For a handle it comes with its key, and ends with it.
    let (handle, _peer) = rig.pair();
    let watching = rig.submit(handle, operation());
    fs::write(folder.path().join("another"), "").unwrap();
    let item = rig.next_of(watching);
    assert_eq!((item.handle, item.key), (handle, 7));
    let close = rig.submit(handle, Operation::Close);
    loop {
        let completion = rig.next();
        if completion.last {
            assert_eq!((completion.token, failure(&completion)), (watching, ErrorKind::Cancelled));
            break;
        }
    }
    assert_eq!(rig.next().token, close);
}
