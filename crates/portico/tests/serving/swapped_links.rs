//! Names that become links, and folders that move away, while they are being asked for.

use crate::common::{Site, on_every_backend, write};
use portico::settings::BackendChoice;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

on_every_backend!(nothing_outside_is_served_while_links_are_swapped);

const REQUESTS: usize = 3_000;

/// Changes what two names mean, in one step.
fn swap(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

fn nothing_outside_is_served_while_links_are_swapped(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        for name in ["outside.txt", "outside/page.txt", "outside/deep/page.txt", "away/way/mark.txt"] {
            write(&settings.root, name, "secret");
        }
        settings.root.push("root");
        for name in
            ["file.txt", "folder/page.txt", "folder/deep/page.txt", "outside.txt", "deep/way/mark.txt"]
        {
            write(&settings.root, name, "inside");
        }
        // Nothing is remembered: each request opens anew.
        settings.file_revalidate = Duration::ZERO;
        settings.file_cache_file_bytes = 0;
    });
    let root = site.path("root");
    symlink("../outside.txt", root.join("file-link")).unwrap();
    symlink("../outside", root.join("folder-link")).unwrap();
    // From where it stands this stays inside; from where its folder is moved to it leads to the secret.
    symlink("../../outside.txt", root.join("deep/way/up.txt")).unwrap();
    let (over, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut answers = [0_usize; 2];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                swap(&root.join("file.txt"), &root.join("file-link"));
                swap(&root.join("folder"), &root.join("folder-link"));
                swap(&root.join("deep/way"), &site.path("away/way"));
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let targets = ["/file.txt", "/folder/page.txt", "/folder/deep/page.txt", "/deep/way/up.txt"];
            let mut client = site.connect();
            // Until each was seen to be there and to be gone, however the threads take their turns.
            let mut asked = 0;
            while asked < REQUESTS || (answers.contains(&0) && asked < 100 * REQUESTS) {
                let target = targets[asked % targets.len()];
                let answer = client.get(target);
                match answer.status {
                    200 => assert_eq!(answer.body, b"inside", "{target}"),
                    404 => {}
                    status => panic!("{target}: {status}"),
                }
                answers[usize::from(answer.status == 404)] += 1;
                asked += 1;
            }
        }));
        over.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(!answers.contains(&0), "{answers:?} answers in {swaps:?} swaps: nothing was raced for");
}
