//! A server: started on a port of its own, and ended with all that it started.

use crate::{Failure, tuned, usage};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A server that can be started.
pub struct Peer {
    pub name: &'static str,
    /// How to get it where it is missing.
    pub get: &'static str,
    /// What tells its version: a program with arguments, or the name of a package in `../peers/Cargo.lock`.
    pub version: &'static [&'static str],
    command: fn(&Start<'_>) -> Command,
    pub takes_uploads: bool,
}

/// What a server is told.
pub struct Start<'s> {
    pub root: &'s Path,
    /// Where it may write: its configuration, its own files.
    pub folder: PathBuf,
    pub port: u16,
    /// How many threads or processes it may work with.
    pub workers: usize,
    /// Of the request and of the answer, for the bare loop.
    pub lengths: (usize, usize),
    /// The programs of this repository.
    pub programs: &'s Path,
    pub peers: &'s Path,
}

const HERE: &str = "built by the benchmark";
/// The names that begin like this are Portico's.
pub const OURS: &str = "portico";
/// The limit of the machine, not a server.
pub const LIMIT: &str = "bare loop";
/// Those that Portico is to be ahead of, whatever the workload.
pub const BEHIND: [&str; 4] = ["caddy", "static-web-server", "tower-http", "actix-files"];

/// All of them; the first is what the others are compared with.
pub const PEERS: &[Peer] = &[
    peer("nginx", "apt-get install nginx", &["nginx", "-v"], tuned::nginx).with_uploads(),
    peer("portico, io_uring", HERE, &["git", "describe", "--always", "--dirty"], tuned::io_uring)
        .with_uploads(),
    peer("portico, readiness", HERE, &["git", "describe", "--always", "--dirty"], tuned::readiness)
        .with_uploads(),
    peer(LIMIT, HERE, &["io-uring"], tuned::bare),
    peer("h2o", "apt-get install h2o", &["h2o", "--version"], tuned::h2o),
    peer("lighttpd", "apt-get install lighttpd", &["lighttpd", "-v"], tuned::lighttpd),
    peer("caddy", "apt-get install caddy", &["caddy", "version"], tuned::caddy),
    peer(
        "static-web-server",
        "cargo install --locked static-web-server",
        &["static-web-server", "--version"],
        tuned::static_web_server,
    ),
    peer("tower-http", HERE, &["tower-http"], tuned::tower),
    peer("actix-files", HERE, &["actix-files"], tuned::actix),
];

const fn peer(
    name: &'static str,
    get: &'static str,
    version: &'static [&'static str],
    command: fn(&Start<'_>) -> Command,
) -> Peer {
    Peer { name, get, version, command, takes_uploads: false }
}

/// A server that runs. Ended with all its processes when it is dropped.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
    /// It and what it started.
    pub family: Vec<u32>,
}

/// A port that nobody listens on now.
pub fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Peer {
    const fn with_uploads(self) -> Self {
        Self { takes_uploads: true, ..self }
    }

    /// Its version; none where it is not here.
    pub fn said_version(&self) -> Option<String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (program, arguments) = self.version.split_first()?;
        if arguments.is_empty() {
            let locked = fs::read_to_string(here.join("../peers/Cargo.lock")).ok()?;
            let after = locked.split_once(&format!("name = \"{program}\"\nversion = \""))?.1;
            return Some(format!("{program} {}", after.split_once('"')?.0));
        }
        let output = Command::new(program).args(arguments).current_dir(here).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&said).lines().next()?.to_owned())
    }

    /// Starts it on the processors that the calling thread is bound to, and waits until it takes connections.
    pub fn start(&self, start: &Start<'_>) -> Result<Running, Failure> {
        let mut command = (self.command)(start);
        let log = fs::File::create(start.folder.join("output"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A group of its own: some signal theirs when they stop.
        let child =
            command.process_group(0).spawn().map_err(|error| format!("it cannot be started: {error}"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], start.port));
        let mut running = Running { child, address, family: Vec::new() };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = running.child.try_wait()? {
                let said = fs::read_to_string(start.folder.join("output")).unwrap_or_default();
                return Err(format!("it ended at once ({status}): {said}").into());
            }
            if Instant::now() > until {
                return Err("it takes no connections".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        running.family = usage::family(running.child.id());
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(number) = i32::try_from(self.child.id())
            && let Some(number) = Pid::from_raw(number)
        {
            let _ = kill_process_group(number, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
