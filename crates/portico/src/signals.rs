//! What the system tells the program: to stop, to stop at once, to open its log anew.

#[cfg(unix)]
use std::sync::Arc;
use std::{
    io,
    sync::mpsc::{Receiver, channel},
};

/// What the program is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Finish what runs, then end.
    Stop,
    /// Open the access log anew.
    #[cfg_attr(windows, expect(dead_code, reason = "Windows has no such signal"))]
    Reopen,
}

/// The exit code after a second order to stop, as shells know it from SIGINT.
const INTERRUPTED: i32 = 130;

/// Listens for SIGINT, SIGTERM and SIGHUP. The second order to stop ends the process at once. SIGXFSZ no longer ends it: an upload that
/// goes beyond the limit for a file's length (RLIMIT_FSIZE, setrlimit(2)) fails by itself.
#[cfg(unix)]
pub(crate) fn listen() -> io::Result<Receiver<Order>> {
    use signal_hook::{consts, iterator::Signals};
    signal_hook::flag::register(consts::SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new([consts::SIGINT, consts::SIGTERM, consts::SIGHUP])?;
    let (tell, told) = channel();
    std::thread::Builder::new().name("portico-signals".into()).spawn(move || {
        let mut stopping = false;
        for signal in signals.forever() {
            let order = if signal == consts::SIGHUP { Order::Reopen } else { Order::Stop };
            if order == Order::Stop && std::mem::replace(&mut stopping, true) {
                std::process::exit(INTERRUPTED);
            }
            if tell.send(order).is_err() {
                return;
            }
        }
    })?;
    Ok(told)
}

/// Listens for Ctrl-C, Ctrl-Break, and the closing of the console or session. The second order to stop ends the process at once.
#[cfg(windows)]
pub(crate) fn listen() -> io::Result<Receiver<Order>> {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (tell, told) = channel();
    let stopping = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if stopping.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        let _ = tell.send(Order::Stop);
    })
    .map_err(io::Error::other)?;
    Ok(told)
}
