//! The limit of locked memory, which rings count against where the process has no privileges. The tests run themselves again without
//! those, under a limit.

#![cfg(target_os = "linux")]

use completion_port::{Backend, Configuration, ErrorKind, Handle, Operation, Port, Worker};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    os::unix::process::CommandExt,
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Set in the process that runs under the limit.
const INSIDE: &str = "COMPLETION_PORT_LOCKED_MEMORY_TEST";

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

/// Runs the test of this name in a process that may lock so many bytes. False in that process, which is to do it.
fn runs_elsewhere(test: &str, bytes: u64) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    // The limit is inherited, and is the whole process's until it is set back.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let before = getrlimit(Resource::Memlock);
    setrlimit(Resource::Memlock, Rlimit { current: Some(bytes), ..before }).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output();
    setrlimit(Resource::Memlock, before).unwrap();
    let output = output.expect("the tests can be run by anybody");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

fn configuration(backend: Option<Backend>, queues: usize) -> Configuration {
    let mut configuration = Configuration::default();
    configuration.backend = backend;
    (configuration.queues, configuration.workers_per_queue) = (queues, 1);
    configuration.buffers.truncate(1);
    configuration
}

fn works(worker: &mut Worker) {
    let token = worker.submit(Handle::NONE, Operation::Timer { after: Duration::ZERO }).unwrap();
    let mut completions = Vec::new();
    worker.wait(&mut completions, Some(Duration::from_secs(20))).unwrap();
    assert_eq!((completions.len(), completions[0].token), (1, token));
}

#[test]
fn without_locked_memory_the_port_takes_another_backend_and_says_why() {
    if runs_elsewhere("without_locked_memory_the_port_takes_another_backend_and_says_why", 0) {
        return;
    }
    let lines = Port::backends(None);
    if !lines[0].contains("not available") {
        // Rings do not count against the limit here.
        return;
    }
    let refused = Port::new(configuration(Some(Backend::IoUring), 1)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let port = Port::new(configuration(None, 1)).unwrap();
    assert_eq!(port.backend(), Backend::Readiness);
    works(&mut port.worker().unwrap());
    let forbidden = lines[0].contains("forbidden") || lines[0].contains("kernel");
    assert!(lines[0].contains("ulimit -l") || forbidden, "{lines:?}");
}

#[test]
fn a_worker_that_finds_no_locked_memory_says_so_and_can_be_made_later() {
    if runs_elsewhere("a_worker_that_finds_no_locked_memory_says_so_and_can_be_made_later", 2 << 20) {
        return;
    }
    let Ok(port) = Port::new(configuration(Some(Backend::IoUring), 64)) else { return };
    let mut workers = Vec::new();
    let refused = loop {
        match port.worker() {
            Ok(worker) => workers.push(worker),
            Err(error) => break error,
        }
        if workers.len() == port.queues() {
            // Rings do not count against the limit here.
            return;
        }
    };
    assert_eq!(refused.kind(), ErrorKind::SystemResources, "{refused}");
    workers.iter_mut().for_each(works);
    // The kernel gives the memory of a ring back some time after it was closed.
    let left = workers.pop().expect("at least one ring fits");
    drop(left);
    let again = (0..1_000).find_map(|_| {
        let worker = port.worker().ok();
        if worker.is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        worker
    });
    works(&mut again.expect("there is room for a ring again"));
    workers.iter_mut().for_each(works);
}
