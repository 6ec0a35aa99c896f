//! The servers: how each is started, tuned for what is measured, on a port of its own.

use crate::{Failure, usage};
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
    /// How its package is called where it is missing.
    pub package: &'static str,
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

/// All of them; the first is what the others are compared with.
pub const PEERS: &[Peer] = &[
    Peer { name: "nginx", package: "nginx-extras", command: nginx, takes_uploads: true },
    Peer { name: "portico, io_uring", package: "portico", command: io_uring, takes_uploads: true },
    Peer { name: "portico, readiness", package: "portico", command: readiness, takes_uploads: true },
    Peer { name: "bare loop", package: "peers", command: bare, takes_uploads: false },
    Peer { name: "h2o", package: "h2o", command: h2o, takes_uploads: false },
    Peer { name: "lighttpd", package: "lighttpd", command: lighttpd, takes_uploads: false },
    Peer { name: "caddy", package: "caddy", command: caddy, takes_uploads: false },
    Peer { name: "static-web-server", package: "static-web-server", command: sws, takes_uploads: false },
    Peer { name: "tower-http", package: "peers", command: tower, takes_uploads: false },
    Peer { name: "actix-files", package: "peers", command: actix, takes_uploads: false },
];

fn configured(start: &Start<'_>, name: &str, text: String) -> PathBuf {
    let path = start.folder.join(name);
    fs::write(&path, text).expect("the benchmark's own folder can be written");
    path
}

fn nginx(start: &Start<'_>) -> Command {
    let (folder, root) = (start.folder.display(), start.root.display());
    let (port, workers) = (start.port, start.workers);
    let path = configured(
        start,
        "nginx.conf",
        format!(
            "worker_processes {workers};\ndaemon off;\nuser root;\npid {folder}/pid;\nerror_log {folder}/error.log crit;\n\
             events {{ worker_connections 32768; use epoll; multi_accept on; }}\n\
             http {{\n  include /etc/nginx/mime.types;\n  access_log off;\n  sendfile on;\n  tcp_nopush off;\n  tcp_nodelay on;\n\
             \x20 keepalive_timeout 600;\n  keepalive_requests 1000000000;\n  client_body_temp_path {folder}/body;\n\
             \x20 open_file_cache max=20000 inactive=60s;\n  open_file_cache_valid 1s;\n  open_file_cache_errors on;\n\
             \x20 server {{\n    listen 127.0.0.1:{port} backlog=1024 reuseport;\n    root {root};\n\
             \x20   location /upload/ {{ dav_methods PUT DELETE; client_max_body_size 0; client_body_buffer_size 1m; }}\n  }}\n}}\n"
        ),
    );
    let mut command = Command::new("nginx");
    command.arg("-c").arg(path).arg("-e").arg(start.folder.join("error.log"));
    command
}

fn portico(start: &Start<'_>, backend: &str) -> Command {
    let mut command = Command::new(start.programs.join("portico"));
    command
        .arg(start.root)
        .args([
            "--port",
            &start.port.to_string(),
            "--backend",
            backend,
            "--workers",
            &start.workers.to_string(),
        ])
        .args(["--connections", "32768", "--idle-timeout-ms", "600000", "--log", "error"])
        .arg("--upload")
        .arg(start.root.join("upload"));
    command
}

fn io_uring(start: &Start<'_>) -> Command {
    portico(start, "io-uring")
}

fn readiness(start: &Start<'_>) -> Command {
    portico(start, "readiness")
}

fn bare(start: &Start<'_>) -> Command {
    let mut command = Command::new(start.peers.join("bare"));
    let (request, body) = start.lengths;
    command.args([start.port.to_string(), request.to_string(), body.to_string()]);
    command
}

fn h2o(start: &Start<'_>) -> Command {
    let (port, root, workers) = (start.port, start.root.display(), start.workers);
    let path = configured(
        start,
        "h2o.yaml",
        format!(
            "num-threads: {workers}\nuser: root\nhttp1-request-timeout: 600\nmax-connections: 32768\nlisten:\n  host: 127.0.0.1\n  port: {port}\n\
             hosts:\n  default:\n    paths:\n      /:\n        file.dir: {root}\n"
        ),
    );
    let mut command = Command::new("h2o");
    command.arg("-c").arg(path);
    command
}

fn lighttpd(start: &Start<'_>) -> Command {
    let (port, root) = (start.port, start.root.display());
    let workers =
        if start.workers > 1 { format!("server.max-worker = {}\n", start.workers) } else { String::new() };
    let path = configured(
        start,
        "lighttpd.conf",
        format!(
            "server.document-root = \"{root}\"\nserver.port = {port}\nserver.bind = \"127.0.0.1\"\nserver.max-connections = 32768\n\
             server.max-fds = 65536\nserver.max-keep-alive-requests = 65535\nserver.max-keep-alive-idle = 600\n\
             server.feature-flags = ( )\nmimetype.assign = ( \".bin\" => \"application/octet-stream\" )\n{workers}"
        ),
    );
    let mut command = Command::new("lighttpd");
    command.arg("-D").arg("-f").arg(path);
    command
}

fn caddy(start: &Start<'_>) -> Command {
    let (port, root) = (start.port, start.root.display());
    // JSON is what every version reads alike.
    let path = configured(
        start,
        "caddy.json",
        format!(
            "{{\"admin\":{{\"disabled\":true,\"config\":{{\"persist\":false}}}},\n\
             \"logging\":{{\"logs\":{{\"default\":{{\"level\":\"ERROR\"}}}}}},\n\
             \"apps\":{{\"http\":{{\"servers\":{{\"files\":{{\"listen\":[\"127.0.0.1:{port}\"],\"idle_timeout\":\"10m\",\n\
             \"automatic_https\":{{\"disable\":true}},\n\
             \"routes\":[{{\"handle\":[{{\"handler\":\"file_server\",\"root\":\"{root}\"}}]}}]}}}}}}}}}}\n"
        ),
    );
    let mut command = Command::new("caddy");
    command.args(["run", "--config"]).arg(path);
    command.env("GOMAXPROCS", start.workers.to_string()).env("HOME", &start.folder);
    command
}

fn sws(start: &Start<'_>) -> Command {
    let mut command = Command::new("static-web-server");
    command.args(["--host", "127.0.0.1", "--port", &start.port.to_string(), "--log-level", "error"]);
    command.args(["--threads-multiplier", "1", "--compression", "false", "--cache-control-headers", "false"]);
    command.arg("--root").arg(start.root);
    command
}

fn of_peers(start: &Start<'_>, name: &str) -> Command {
    let mut command = Command::new(start.peers.join(name));
    command.arg(start.port.to_string()).arg(start.root).arg(start.workers.to_string());
    command
}

fn tower(start: &Start<'_>) -> Command {
    of_peers(start, "tower")
}

fn actix(start: &Start<'_>) -> Command {
    of_peers(start, "actix")
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
    /// Starts it on the processors that the calling thread is bound to, and waits until it takes connections. None if it is not here.
    pub fn start(&self, start: &Start<'_>) -> Result<Option<Running>, Failure> {
        let mut command = (self.command)(start);
        let log = fs::File::create(start.folder.join("output"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A group of its own: some signal theirs when they stop.
        let child = match command.process_group(0).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", self.name).into()),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], start.port));
        let mut running = Running { child, address, family: Vec::new() };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = running.child.try_wait()? {
                let said = fs::read_to_string(start.folder.join("output")).unwrap_or_default();
                return Err(format!("{} ended at once ({status}): {said}", self.name).into());
            }
            if Instant::now() > until {
                return Err(format!("{} takes no connections", self.name).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        running.family = usage::family(running.child.id());
        Ok(Some(running))
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
