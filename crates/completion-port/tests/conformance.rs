//! What every backend has to do, in one suite: a behaviour is what these cases say, not what one kernel does.
//!
//! Each case runs on every backend that works here, as a test named `backend::file::case`; the end says how many ran where. It gets a
//! [`Rig`](harness::Rig): a port with one worker, made on the test's own thread, and reaches the other side of its connections
//! through the rig only. A case for one backend alone belongs into that backend's own file.

#[macro_use]
#[path = "conformance/suite.rs"]
mod suite;

#[path = "conformance/at_once.rs"]
mod at_once;
#[path = "conformance/blocking.rs"]
mod blocking;
#[path = "conformance/cancel_states.rs"]
mod cancel_states;
#[path = "conformance/cancelling.rs"]
mod cancelling;
#[path = "conformance/closing.rs"]
mod closing;
#[path = "conformance/connections.rs"]
mod connections;
#[path = "conformance/control.rs"]
mod control;
#[path = "conformance/counting.rs"]
mod counting;
#[path = "conformance/datagrams.rs"]
mod datagrams;
#[path = "conformance/dropping.rs"]
mod dropping;
#[path = "conformance/fairness.rs"]
mod fairness;
#[path = "conformance/files.rs"]
mod files;
#[path = "conformance/harness.rs"]
mod harness;
#[cfg(target_os = "linux")]
#[path = "conformance/idling.rs"]
mod idling;
#[path = "conformance/large_files.rs"]
mod large_files;
#[path = "conformance/limits.rs"]
mod limits;
#[path = "conformance/misuse.rs"]
mod misuse;
#[path = "conformance/operations.rs"]
mod operations;
#[path = "conformance/outstanding.rs"]
mod outstanding;
#[path = "conformance/packets.rs"]
mod packets;
#[path = "conformance/partial.rs"]
mod partial;
#[path = "conformance/peer.rs"]
mod peer;
#[cfg(unix)]
#[path = "conformance/pipes.rs"]
mod pipes;
#[path = "conformance/posting.rs"]
mod posting;
#[path = "conformance/random.rs"]
mod random;
#[path = "conformance/scatter.rs"]
mod scatter;
#[path = "conformance/shutting_down.rs"]
mod shutting_down;
#[path = "conformance/timers.rs"]
mod timers;
#[path = "conformance/transmitting.rs"]
mod transmitting;
#[cfg(unix)]
#[path = "conformance/unix_sockets.rs"]
mod unix_sockets;
#[path = "conformance/watching.rs"]
mod watching;

use libtest_mimic::Arguments;
use std::process::ExitCode;

const TABLES: &[(&str, &[suite::Case])] = &[
    ("blocking", blocking::CASES),
    ("cancelling", cancelling::CASES),
    ("cancel_states", cancel_states::CASES),
    ("closing", closing::CASES),
    ("connections", connections::CASES),
    ("control", control::CASES),
    ("counting", counting::CASES),
    ("datagrams", datagrams::CASES),
    ("dropping", dropping::CASES),
    ("fairness", fairness::CASES),
    ("files", files::CASES),
    #[cfg(target_os = "linux")]
    ("idling", idling::CASES),
    ("large_files", large_files::CASES),
    ("limits", limits::CASES),
    ("misuse", misuse::CASES),
    ("operations", operations::CASES),
    ("outstanding", outstanding::CASES),
    ("packets", packets::CASES),
    ("partial", partial::CASES),
    #[cfg(unix)]
    ("pipes", pipes::CASES),
    ("posting", posting::CASES),
    ("random", random::CASES),
    ("scatter", scatter::CASES),
    ("shutting_down", shutting_down::CASES),
    ("timers", timers::CASES),
    ("transmitting", transmitting::CASES),
    ("at_once", at_once::CASES),
    #[cfg(unix)]
    ("unix_sockets", unix_sockets::CASES),
    ("watching", watching::CASES),
];

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what runs the tests")]
fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or_else(test_threads);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref() != Some(&"on purpose") {
            report(panic);
        }
    }));
    let available = suite::available();
    if available.is_empty() {
        eprintln!("no backend works here: {:?}", completion_port::Port::backends(None));
        return ExitCode::FAILURE;
    }
    let conclusion = libtest_mimic::run(&arguments, suite::trials(TABLES, &available));
    if !arguments.list {
        println!("{}\n", suite::summary(TABLES, &available));
    }
    conclusion.exit_code()
}

/// As many tests at a time as the environment says, which the other test programs obey by themselves.
fn test_threads() -> Option<usize> {
    let count = std::env::var("RUST_TEST_THREADS").ok()?;
    Some(count.parse().expect("RUST_TEST_THREADS is a number"))
}
