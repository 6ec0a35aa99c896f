//! How each server is started: with one thread or process for each processor it gets, its cache of open files on where it has one, no
//! access log, no limit on the requests of a connection, and time enough for those that are idle.

use crate::{peer::Start, slow_disk};
use rustix::process::{Resource, getrlimit};
use std::{fs, path::PathBuf, process::Command};

fn configured(start: &Start<'_>, name: &str, text: String) -> PathBuf {
    let path = start.folder.join(name);
    fs::write(&path, text).expect("the benchmark's own folder can be written");
    path
}

pub fn nginx(start: &Start<'_>) -> Command {
    let (folder, root) = (start.folder.display(), start.root.display());
    let (port, workers, slow) = (start.port, start.workers, slow_disk::FOLDER);
    // An open file is a descriptor, which connections need too: 20,000 in all are usual.
    // Threads are for files that may not be in memory: with them each file of the other folders would cost a hand-over.
    let path = configured(
        start,
        "nginx.conf",
        format!(
            "worker_processes {workers};\ndaemon off;\nuser root;\npid {folder}/pid;\nerror_log {folder}/error.log crit;\n\
             events {{ worker_connections 32768; use epoll; multi_accept on; }}\n\
             http {{\n  include /etc/nginx/mime.types;\n  access_log off;\n  sendfile on;\n  tcp_nopush off;\n  tcp_nodelay on;\n\
             \x20 keepalive_timeout 600;\n  keepalive_requests 1000000000;\n  client_body_temp_path {folder}/body;\n\
             \x20 open_file_cache max=12000 inactive=60s;\n  open_file_cache_valid 1s;\n  open_file_cache_errors on;\n\
             \x20 server {{\n    listen 127.0.0.1:{port} backlog=1024 reuseport;\n    root {root};\n\
             \x20   location /{slow}/ {{ aio threads; }}\n\
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

pub fn io_uring(start: &Start<'_>) -> Command {
    portico(start, "io-uring")
}

pub fn readiness(start: &Start<'_>) -> Command {
    portico(start, "readiness")
}

pub fn bare(start: &Start<'_>) -> Command {
    let mut command = Command::new(start.peers.join("bare"));
    let (request, body) = start.lengths;
    command.args([start.port.to_string(), request.to_string(), body.to_string()]);
    command
}

/// It keeps open files of its own accord; there is no setting.
pub fn h2o(start: &Start<'_>) -> Command {
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

/// 65,535 requests for each connection are the most that it can be told, and half of its descriptors can be connections.
pub fn lighttpd(start: &Start<'_>) -> Command {
    // More than it may have, and it would go back to 4,096.
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX).min(65_536);
    let (port, root) = (start.port, start.root.display());
    let workers =
        if start.workers > 1 { format!("server.max-worker = {}\n", start.workers) } else { String::new() };
    let path = configured(
        start,
        "lighttpd.conf",
        format!(
            "server.document-root = \"{root}\"\nserver.port = {port}\nserver.bind = \"127.0.0.1\"\nserver.max-connections = 16384\n\
             server.max-fds = {files}\nserver.max-keep-alive-requests = 65535\nserver.max-keep-alive-idle = 600\n\
             server.stat-cache-engine = \"simple\"\nmimetype.assign = ( \".bin\" => \"application/octet-stream\" )\n{workers}"
        ),
    );
    let mut command = Command::new("lighttpd");
    command.arg("-D").arg("-f").arg(path);
    command
}

pub fn caddy(start: &Start<'_>) -> Command {
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

pub fn static_web_server(start: &Start<'_>) -> Command {
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

pub fn tower(start: &Start<'_>) -> Command {
    of_peers(start, "tower")
}

pub fn actix(start: &Start<'_>) -> Command {
    of_peers(start, "actix")
}
