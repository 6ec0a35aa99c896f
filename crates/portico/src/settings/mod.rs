//! Every setting of the server: typed, with its default, its limits and where its value came from.
//!
//! [`Settings::new`] is all a library user needs. The program lays flags, environment variables and `portico.toml`
//! over the defaults with [`Sources`]; [`table`] is the one list from which their names are made.

mod addresses;
mod choices;
mod error;
mod field;
mod file;
mod folders;
mod hosts;
mod print;
mod print_tables;
mod site_rules;
mod site_tables;
mod sources;
pub mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use addresses::{AdminAddress, ListenAddress, Peers, SiteFolder, SocketMode};
pub use choices::{
    AccessLogFormat, BackendChoice, Charset, FollowSymlinks, LogFormat, LogLevel, LogTarget, UnknownHosts,
};
/// A content coding, as the settings `precompressed` and `compress` list them.
pub use portico_http::coding::Coding;

pub use error::{Place, SettingsError};
pub use folders::{FolderError, Folders};
pub use site_rules::{
    Cors, ERROR_PAGE_STATUSES, MOST_FIELD_BYTES, MOST_ORIGINS, MOST_RULES, Redirect, Rule, SitePath,
};
pub use sources::{ConfigFile, Effective, Origin, Sources};

/// A virtual host: the names that it has, and what holds under them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSettings {
    /// Host names without a port, such as `example.org`, or `*.example.org` for all names below that one. Capital letters do not
    /// matter.
    pub names: Vec<String>,
    /// All settings as they hold for this host. Only those in [`table::OF_HOST`] are looked up here; `hosts` is empty.
    pub settings: Settings,
}

/// What a server is told before it starts.
///
/// Sizes are bytes. A value outside its limits, or one that contradicts another, is named by [`Settings::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The folder whose files are served.
    pub root: PathBuf,
    /// The interface to listen on. Default: 127.0.0.1, this machine only.
    pub address: IpAddr,
    /// The TCP port to listen on; 0 takes any free one. Default: 8080.
    pub port: u16,
    /// All addresses to listen on, instead of `address` and `port`. Default: none.
    pub listen: Vec<ListenAddress>,
    /// Whether a socket of IPv6 takes connections of IPv6 only; else `::` takes those of IPv4 too. Default: false.
    pub ipv6_only: bool,
    /// Who may connect to Unix-domain sockets, as permissions of their files. Default: 660, owner and group.
    pub unix_socket_mode: SocketMode,
    /// Where the counters are shown: a loopback address of its own port, or a Unix-domain socket. Default: nowhere.
    pub admin_listen: Option<AdminAddress>,
    /// The peers that begin each connection with a header of the PROXY protocol. Default: none.
    pub proxy_protocol_from: Vec<Peers>,
    /// What is done about requests for a host that no virtual host names. Default: they are served.
    pub unknown_hosts: UnknownHosts,
    /// Files that answer for their folder, in order of preference. Default: `index.html`.
    pub index: Vec<String>,
    /// Whether a folder without an index file is listed. Default: false.
    pub listing: bool,
    /// Whether a connection may carry more than one request. Default: true.
    pub keep_alive: bool,
    /// Whether answers carry a `Server` field. Default: true.
    pub server_name: bool,
    /// The `Cache-Control` field sent with files. Default: none.
    pub cache_control: Option<String>,
    /// Whether `/about` is answered by `about.html`, and `/about.html` redirects there. Default: false.
    pub clean_urls: bool,
    /// What answers for paths that lead nowhere and whose last name has no dot. Default: none.
    pub fallback: Option<SitePath>,
    /// Whether answers carry the preset of security fields. Default: false.
    pub security_headers: bool,
    /// A path that answers 200 and a line of text, without asking the disk. Default: none.
    pub health_path: Option<SitePath>,
    /// Whether requests for `health_path` are in the access log. Default: false.
    pub health_log: bool,
    /// Redirects, rewrites and fields by path; the first that says something counts. Default: none.
    pub rules: Vec<Rule>,
    /// Files that are sent with a status instead of the built-in text. Default: none.
    pub error_pages: Vec<(u16, SitePath)>,
    /// Which pages of other origins may read answers. Default: none.
    pub cors: Option<Cors>,
    /// The character encoding that the types of text files name; none names none. Default: utf-8.
    pub charset: Option<Charset>,
    /// The `Content-Language` field sent with text files. Default: none.
    pub content_language: Option<String>,

    /// The users of basic authentication: a file with lines of the form `name:hash`. Default: none, nobody is asked.
    pub auth_users: Option<PathBuf>,
    /// The folders that only they may see. Default: the whole site.
    pub auth_folders: Vec<SiteFolder>,
    /// What the browser shows where it asks for the name and the password. Default: `Restricted`.
    pub auth_realm: String,
    /// How long a password that was right is not checked again; zero checks each time. Default: 5 minutes.
    pub auth_remember: Duration,

    /// Which symbolic links are followed. Default: those that stay inside the root.
    pub follow_symlinks: FollowSymlinks,
    /// Whether names that begin with a dot are served. Default: false.
    pub dot_files: bool,
    /// The slice of a file that is read while the one before it is sent. Default: 131,072 bytes.
    pub send_slice_bytes: usize,
    /// Whether the system sends large files by itself, without a copy through this process (sendfile(2), TransmitFile), rather than slice by slice; with `trace`,
    /// always slice by slice. Default: true on Linux, false elsewhere.
    pub transmit_files: bool,
    /// Open files that the file cache holds. Default: 16,384.
    pub file_cache_entries: usize,
    /// File contents that the file cache holds in memory; 0 caches no contents. Default: 64 MiB.
    pub file_cache_bytes: usize,
    /// The largest file whose contents are cached. Default: 16,384 bytes on Linux, where larger ones cost less by `transmit_files`; 65,536 elsewhere.
    pub file_cache_file_bytes: usize,
    /// How long a cached file is trusted before it is compared with the disk again. Default: 1 second.
    pub file_revalidate: Duration,
    /// Codings of which a file beside the one asked for is sent, where the client accepts it: `file.js.br`, `file.js.zst`,
    /// `file.js.gz`. Where it likes several alike, the first. Default: none.
    pub precompressed: Vec<Coding>,
    /// Codings in which files are compressed on the fly, brotli and gzip. Default: none.
    pub compress: Vec<Coding>,
    /// The smallest file that is compressed. Default: 1,024 bytes.
    pub compress_least_bytes: u64,
    /// The largest file that is compressed. Default: 4 MiB.
    pub compress_most_bytes: u64,

    /// Names in the listing of one folder. Default: 10,000.
    pub listing_entries: usize,
    /// Connections at one time. Default: 16,384.
    pub connections: usize,
    /// Connections at one time from one client address, of IPv6 from one /64 network; 0 is no limit. Default: 0.
    pub client_connections: u32,
    /// Requests a second from one client address; 0 is no limit. Default: 0.
    pub client_requests_per_s: u32,
    /// Requests that one client address may make at once before it is held to that rate. Default: 100.
    pub client_request_burst: u32,
    /// The request line and all fields of one request. Default: 16,384 bytes.
    pub head_bytes: usize,
    /// Fields in one request head. Default: 100.
    pub header_fields: usize,
    /// Requests of one connection that are read ahead of their answers. Default: 16.
    pub pipeline_depth: usize,
    /// The first receive buffer of a request; it doubles up to `head_bytes`. Default: 4,096 bytes.
    pub receive_buffer_bytes: usize,
    /// Memory that one connection may hold. Default: 524,288 bytes.
    pub queued_bytes: usize,
    /// Memory that the buffers of all connections may hold together. Default: 256 MiB.
    pub buffer_memory_bytes: usize,
    /// Operations in flight on one worker. Default: 65,536.
    pub operations: usize,

    /// From the first byte of a request to the end of its head. Default: 10 seconds.
    pub header_timeout: Duration,
    /// The window over which `minimum_rate_bytes` is measured while a request body comes. Default: 30 seconds.
    pub body_timeout: Duration,
    /// Between two requests of a connection. Default: 60 seconds.
    pub idle_timeout: Duration,
    /// The window over which `minimum_rate_bytes` is measured while an answer is sent; and how long the disk may take for a slice.
    /// Default: 60 seconds.
    pub write_timeout: Duration,
    /// The bytes a second that a client must send of a body, or take of an answer; 0 asks for one byte in the whole window. Default: 240.
    pub minimum_rate_bytes: u64,
    /// For what is running when the server is told to stop. Default: 30 seconds.
    pub shutdown_timeout: Duration,

    /// The folder inside the root in which PUT and POST create files. Default: none, uploads are refused.
    pub upload: Option<PathBuf>,
    /// The largest upload. Default: 1 GiB.
    pub upload_bytes: u64,
    /// Whether DELETE removes files from the upload folder. Default: false.
    pub upload_delete: bool,

    /// Where the access log goes. Default: none is written.
    pub access_log: Option<LogTarget>,
    /// The form of a line of the access log. Default: combined.
    pub access_log_format: AccessLogFormat,
    /// Lines that wait for the logging thread; further ones are dropped and counted. Default: 16 MiB.
    pub access_log_queue_bytes: usize,
    /// The size at which the access log is rotated; 0 never rotates. Default: 0.
    pub access_log_rotate_bytes: u64,
    /// Rotated access logs that are kept. Default: 5.
    pub access_log_keep: u32,
    /// The least important event that the program log shows. Default: info.
    pub log: LogLevel,
    /// The form of the program log. Default: text.
    pub log_format: LogFormat,
    /// Whether each completion is printed. Default: false.
    pub trace: bool,

    /// The completion port's implementation. Default: the best that this system offers.
    pub backend: BackendChoice,
    /// Worker threads in all; 0 means `threads_per_processor` for each processor. Default: 0.
    pub workers: usize,
    /// Worker threads for each processor while `workers` is 0. Default: 2 on Windows, 1 elsewhere.
    pub threads_per_processor: usize,
    /// Completion ports that share the workers (IOCP only). Default: 1.
    pub ports: usize,
    /// Accepts kept posted on the listener (IOCP only). Default: 25.
    pub accepts_posted: usize,
    /// Connections that the system holds until they are accepted. Default: 1,024.
    pub backlog: u32,
    /// Virtual hosts. What they do not answer to is answered by these settings themselves. Default: none.
    pub hosts: Vec<HostSettings>,

    /// Most threads for what blocks. Default: 16.
    pub pool_threads: usize,
    /// Blocking jobs that wait for a thread of the pool. Default: 1,024.
    pub pool_queue: usize,
}

impl Settings {
    /// The defaults, serving the files under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Settings {
        Settings {
            root: root.into(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            listen: Vec::new(),
            ipv6_only: false,
            unix_socket_mode: SocketMode(0o660),
            admin_listen: None,
            proxy_protocol_from: Vec::new(),
            unknown_hosts: UnknownHosts::Serve,
            auth_users: None,
            auth_folders: vec![SiteFolder::whole()],
            auth_realm: "Restricted".to_owned(),
            auth_remember: Duration::from_millis(300_000),
            index: vec!["index.html".to_owned()],
            listing: false,
            keep_alive: true,
            server_name: true,
            cache_control: None,
            clean_urls: false,
            fallback: None,
            security_headers: false,
            health_path: None,
            health_log: false,
            rules: Vec::new(),
            error_pages: Vec::new(),
            cors: None,
            charset: Charset::new("utf-8"),
            content_language: None,
            follow_symlinks: FollowSymlinks::Inside,
            dot_files: false,
            send_slice_bytes: 128 << 10,
            transmit_files: cfg!(target_os = "linux"),
            file_cache_entries: 16_384,
            file_cache_bytes: 64 << 20,
            file_cache_file_bytes: if cfg!(target_os = "linux") { 16 << 10 } else { 64 << 10 },
            file_revalidate: Duration::from_millis(1_000),
            precompressed: Vec::new(),
            compress: Vec::new(),
            compress_least_bytes: 1 << 10,
            compress_most_bytes: 4 << 20,
            listing_entries: 10_000,
            connections: 16_384,
            client_connections: 0,
            client_requests_per_s: 0,
            client_request_burst: 100,
            head_bytes: 16 << 10,
            header_fields: 100,
            pipeline_depth: 16,
            receive_buffer_bytes: 4 << 10,
            queued_bytes: 512 << 10,
            buffer_memory_bytes: 256 << 20,
            operations: 65_536,
            header_timeout: Duration::from_millis(10_000),
            body_timeout: Duration::from_millis(30_000),
            idle_timeout: Duration::from_millis(60_000),
            write_timeout: Duration::from_millis(60_000),
            minimum_rate_bytes: 240,
            shutdown_timeout: Duration::from_millis(30_000),
            upload: None,
            upload_bytes: 1 << 30,
            upload_delete: false,
            access_log: None,
            access_log_format: AccessLogFormat::Combined,
            access_log_queue_bytes: 16 << 20,
            access_log_rotate_bytes: 0,
            access_log_keep: 5,
            log: LogLevel::Info,
            log_format: LogFormat::Text,
            trace: false,
            backend: BackendChoice::Auto,
            workers: 0,
            threads_per_processor: if cfg!(windows) { 2 } else { 1 },
            ports: 1,
            accepts_posted: 25,
            backlog: 1_024,
            hosts: Vec::new(),
            pool_threads: 16,
            pool_queue: 1_024,
        }
    }

    /// The hosts with their names: first these settings themselves, which answer to every other name.
    pub(crate) fn each_host(&self) -> impl Iterator<Item = (&[String], &Settings)> {
        let own: (&[String], &Settings) = (&[], self);
        std::iter::once(own).chain(self.hosts.iter().map(|host| (&host.names[..], &host.settings)))
    }

    /// Where to listen: `listen`, or else `address` and `port`.
    pub fn listen_addresses(&self) -> Vec<ListenAddress> {
        if self.listen.is_empty() { vec![self.socket_address().into()] } else { self.listen.clone() }
    }

    /// The `address` and the `port`.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// How many workers to start: `workers`, or `threads_per_processor` for each processor of this machine.
    pub fn worker_count(&self) -> usize {
        if self.workers > 0 {
            return self.workers;
        }
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (processors * self.threads_per_processor).min(table::MOST_WORKERS as usize)
    }

    /// Names the first value that is outside its limits or contradicts another.
    ///
    /// # Errors
    /// [`SettingsError`] with [`Place::Code`]. Values that came through [`Sources`] have passed already.
    pub fn check(&self) -> Result<(), SettingsError> {
        for setting in table::TABLE {
            setting.check(self).map_err(|message| SettingsError::new(Place::Code, setting.name, message))?;
        }
        if let Some((names, message)) = self.contradiction() {
            return Err(SettingsError::new(Place::Code, names[0], message));
        }
        site_rules::check_in_code(self)?;
        hosts::check(&self.hosts).map_err(|(_, message)| SettingsError::new(Place::Code, "host", message))?;
        self.hosts.iter().try_for_each(|host| host.settings.check())
    }

    /// Addresses that cannot be listened on together.
    fn listen_contradiction(&self) -> Option<String> {
        for (number, address) in self.listen.iter().enumerate() {
            let any_port = matches!(address, ListenAddress::Internet(address) if address.port() == 0);
            if !any_port && self.listen[..number].contains(address) {
                return Some(format!("{address} is named twice"));
            }
            let ListenAddress::Internet(SocketAddr::V6(six)) = address else { continue };
            let four = SocketAddr::from((Ipv4Addr::UNSPECIFIED, six.port()));
            let both = six.ip().is_unspecified() && !self.ipv6_only && !any_port;
            if both && self.listen.contains(&four.into()) {
                return Some(format!(
                    "{address} takes the connections of IPv4 too: leave {four} out, or set ipv6_only = true"
                ));
            }
        }
        None
    }

    /// Two settings that cannot both hold: their names (the one to change first) and a sentence.
    fn contradiction(&self) -> Option<([&'static str; 2], String)> {
        if self.receive_buffer_bytes > self.head_bytes {
            let (first, head) = (self.receive_buffer_bytes, self.head_bytes);
            return Some((
                ["receive_buffer_bytes", "head_bytes"],
                format!(
                    "the first buffer ({first} bytes) is larger than head_bytes ({head} bytes), to which it may grow"
                ),
            ));
        }
        let needed = 2 * self.send_slice_bytes + self.head_bytes;
        if self.queued_bytes < needed {
            let queued = self.queued_bytes;
            return Some((
                ["queued_bytes", "send_slice_bytes"],
                format!(
                    "a connection needs two slices and a head (2 x send_slice_bytes + head_bytes = {needed} bytes), \
                     and queued_bytes is {queued}"
                ),
            ));
        }
        if self.buffer_memory_bytes < self.queued_bytes {
            let (all, one) = (self.buffer_memory_bytes, self.queued_bytes);
            return Some((
                ["buffer_memory_bytes", "queued_bytes"],
                format!(
                    "all connections together may hold {all} bytes, which is less than queued_bytes for one ({one} bytes)"
                ),
            ));
        }
        if self.file_cache_bytes > 0 && self.file_cache_file_bytes > self.file_cache_bytes {
            let (file, all) = (self.file_cache_file_bytes, self.file_cache_bytes);
            return Some((
                ["file_cache_file_bytes", "file_cache_bytes"],
                format!(
                    "one cached file may have {file} bytes, which is more than file_cache_bytes ({all} bytes)"
                ),
            ));
        }
        if let Some(message) = self.listen_contradiction() {
            return Some((["listen", "ipv6_only"], message));
        }
        if self.compress.contains(&Coding::Zstd) {
            let message = "zstd is not made on the fly; brotli is as well accepted, and smaller: br, gzip";
            return Some((["compress", "precompressed"], message.to_owned()));
        }
        if self.compress_least_bytes > self.compress_most_bytes {
            let (least, most) = (self.compress_least_bytes, self.compress_most_bytes);
            return Some((
                ["compress_least_bytes", "compress_most_bytes"],
                format!(
                    "the smallest file that is compressed ({least} bytes) is above the largest ({most} bytes)"
                ),
            ));
        }
        if self.workers > 0 && self.ports > self.workers {
            let (ports, workers) = (self.ports, self.workers);
            return Some((
                ["ports", "workers"],
                format!("{ports} ports need a worker each, and there are {workers}"),
            ));
        }
        None
    }
}
