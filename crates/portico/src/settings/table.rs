//! The one list of all settings, from which flags, variables, keys, help and checks are made.

use super::Settings;
use super::field::{Field, Range, Value};

pub use super::field::Shape;

/// A heading of the help, and of the file that `--print-config` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// What is served, and where.
    Serving,
    /// Who may see what.
    Access,
    /// Files and their cache.
    Files,
    /// Limits of size and number.
    Limits,
    /// Limits of time.
    TimeLimits,
    /// Uploads.
    Upload,
    /// The access log and the program log.
    Logs,
    /// The completion port, its workers and the pool.
    PortAndWorkers,
}

impl Heading {
    /// The heading as it is shown.
    pub fn title(self) -> &'static str {
        match self {
            Heading::Serving => "Serving",
            Heading::Access => "Access",
            Heading::Files => "Files",
            Heading::Limits => "Limits",
            Heading::TimeLimits => "Time limits",
            Heading::Upload => "Upload",
            Heading::Logs => "Logs",
            Heading::PortAndWorkers => "Port and workers",
        }
    }
}

/// One setting: a row of the table.
pub struct Setting {
    /// The key in `portico.toml`; `--flag-name` and `PORTICO_FLAG_NAME` are made from it.
    pub name: &'static str,
    /// Where it stands in the help.
    pub heading: Heading,
    /// The placeholder of its value.
    pub placeholder: &'static str,
    /// What it does, in one sentence.
    pub help: &'static str,
    /// What kind of value it takes.
    pub shape: Shape,
    pub(super) range: Range,
    read: fn(&mut Settings, Value, Range, &str) -> Result<(), String>,
    show: fn(&Settings) -> Value,
}

impl Setting {
    /// The flag, without its two hyphens.
    pub fn flag_name(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    pub fn variable_name(&self) -> String {
        variable_name(self.name)
    }

    /// What a number of this setting counts, from the end of its name; empty for a bare count.
    pub fn unit(&self) -> &'static str {
        match self.name.rsplit('_').next() {
            Some("bytes") => "bytes",
            Some("ms") => "ms",
            _ => "",
        }
    }

    /// The value as text for the help; none where the setting is off, or an empty list.
    pub fn shown(&self, settings: &Settings) -> Option<String> {
        match (self.show)(settings) {
            Value::Off => None,
            Value::Words(words) => Some(words.to_string_lossy().into_owned()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Boolean(yes) => Some(yes.to_string()),
            Value::Text(text) => Some(text),
            Value::List(items) if items.is_empty() => None,
            Value::List(items) => Some(items.join(",")),
        }
    }

    pub(super) fn value(&self, settings: &Settings) -> Value {
        (self.show)(settings)
    }

    pub(super) fn set(&self, settings: &mut Settings, value: Value) -> Result<(), String> {
        (self.read)(settings, value, self.range, self.unit())
    }

    /// Reads the present value back, so that values set by code meet the same limits.
    pub(super) fn check(&self, settings: &Settings) -> Result<(), String> {
        (self.read)(&mut settings.clone(), (self.show)(settings), self.range, self.unit())
    }
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setting")
            .field("name", &self.name)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

pub(super) fn variable_name(name: &str) -> String {
    format!("PORTICO_{}", name.to_ascii_uppercase())
}

/// The row with this key.
pub fn find(name: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.name == name)
}

const fn shape<T: Field>(_: fn(&Settings) -> &T) -> Shape {
    T::SHAPE
}

/// One row. The field is named like the key, or differently where its type says the unit (`Duration`).
macro_rules! row {
    ($heading:ident, $name:ident = $field:ident, $placeholder:literal, $least:expr, $most:expr, $help:literal) => {
        Setting {
            name: stringify!($name),
            heading: Heading::$heading,
            placeholder: $placeholder,
            help: $help,
            shape: shape(|settings| &settings.$field),
            range: Range { least: $least, most: $most },
            read: |settings, value, range, unit| {
                settings.$field = Field::read(value, range, unit)?;
                Ok(())
            },
            show: |settings| settings.$field.show(),
        }
    };
    ($heading:ident, $name:ident = $field:ident, $placeholder:literal, $help:literal) => {
        row!($heading, $name = $field, $placeholder, 0, 0, $help)
    };
    ($heading:ident, $name:ident, $($rest:tt)+) => {
        row!($heading, $name = $name, $($rest)+)
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Memory sizes stop here, so that sums of several stay far from overflow on 32-bit systems too.
const MOST_MEMORY: u64 = GIB;
const MOST_TOTAL_MEMORY: u64 = if usize::BITS > 32 { 1024 * GIB } else { 2 * GIB };
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The most workers that one server starts.
pub const MOST_WORKERS: u64 = 255;

/// The settings that a `[[host]]` may have of its own.
pub static OF_HOST: &[&str] = &[
    "root",
    "index",
    "listing",
    "server_name",
    "cache_control",
    "clean_urls",
    "fallback",
    "security_headers",
    "health_path",
    "health_log",
    "charset",
    "content_language",
    "follow_symlinks",
    "dot_files",
    "precompressed",
    "compress",
    "compress_least_bytes",
    "compress_most_bytes",
    "upload",
    "upload_bytes",
    "upload_delete",
    "auth_users",
    "auth_folders",
    "auth_realm",
];

/// All settings, in the order of the help.
#[rustfmt::skip]
pub static TABLE: &[Setting] = &[
    row!(Serving, root, "ROOT", "The folder whose files are served"),
    row!(Serving, address, "ADDRESS", "The interface to listen on: 127.0.0.1 is this machine only, 0.0.0.0 is every interface"),
    row!(Serving, port, "NUMBER", 0, 65_535, "The TCP port to listen on; 0 takes any free one"),
    row!(Serving, listen, "ADDRESSES", "All addresses to listen on, instead of address and port: 127.0.0.1:8080, [::1]:8080, unix:/run/portico.sock"),
    row!(Serving, ipv6_only, "BOOL", "Let a socket of IPv6 take connections of IPv6 only; else [::] takes those of IPv4 too"),
    row!(Serving, unix_socket_mode, "MODE", "Permissions of Unix sockets, in octal: who may connect"),
    row!(Serving, admin_listen, "ADDRESS", "Show counters at this address, of this machine only: 127.0.0.1:9090, [::1]:9090, unix:/run/portico-admin.sock"),
    row!(Serving, proxy_protocol_from, "NETWORKS", "The peers that begin each connection with a header of the PROXY protocol, which says whose it is: 10.0.0.0/8, unix"),
    row!(Serving, unknown_hosts, "POLICY", "Requests for a host that no [[host]] names: serve them as at the top level, or refuse them with 421"),
    row!(Serving, index, "NAMES", "Files that answer for their folder, in order of preference"),
    row!(Serving, listing, "BOOL", "List a folder that has no index file, as a page or as JSON"),
    row!(Serving, keep_alive, "BOOL", "Let a connection carry more than one request"),
    row!(Serving, server_name, "BOOL", "Send a Server field"),
    row!(Serving, cache_control, "TEXT", "Send this Cache-Control field with files, such as max-age=3600"),
    row!(Serving, clean_urls, "BOOL", "Answer /about with about.html, and redirect /about.html to /about"),
    row!(Serving, fallback, "PATH", "Answer paths that lead nowhere and whose last name has no dot with this file, such as /index.html"),
    row!(Serving, security_headers, "BOOL", "Send the preset of security fields with every answer"),
    row!(Serving, health_path, "PATH", "Answer this path with 200 and a line of text, without asking the disk"),
    row!(Serving, health_log, "BOOL", "Write requests for health-path to the access log too"),
    row!(Serving, charset, "NAME", "The character encoding of text files, as their type names it; empty names none"),
    row!(Serving, content_language, "TEXT", "Send this Content-Language field with text files, such as en"),

    row!(Access, auth_users, "FILE", "The users of basic authentication: lines of the form name:hash, with hashes of Argon2 or bcrypt"),
    row!(Access, auth_folders, "FOLDERS", "The folders that only these users may see, as clients name them: /private/"),
    row!(Access, auth_realm, "TEXT", "What the browser shows where it asks for the name and the password"),
    row!(Access, auth_remember_ms = auth_remember, "MS", 0, DAY_MS, "How long a password that was right is not checked again"),

    row!(Files, follow_symlinks, "POLICY", "Symbolic links that are followed: relative ones that stay inside ROOT, or none"),
    row!(Files, dot_files, "BOOL", "Serve names that begin with a dot (.well-known always is)"),
    row!(Files, send_slice_bytes, "BYTES", 16, 16 * MIB, "The slice of a file that is read while the one before it is sent"),
    row!(Files, transmit_files, "BOOL", "Let the system send large files by itself (sendfile, TransmitFile) instead of slice by slice; never with trace"),
    row!(Files, file_cache_entries, "COUNT", 1, 16 * MIB, "Open files that the cache holds"),
    row!(Files, file_cache_bytes, "BYTES", 0, MOST_TOTAL_MEMORY, "Contents of small files that the cache holds; 0 holds none"),
    row!(Files, file_cache_file_bytes, "BYTES", 0, MOST_MEMORY, "The largest file whose contents are cached"),
    row!(Files, file_revalidate_ms = file_revalidate, "MS", 0, DAY_MS, "How long a cached file is trusted before the disk is asked again"),
    row!(Files, precompressed, "CODINGS", "Send file.js.br, file.js.zst or file.js.gz for file.js to who accepts it: br, zstd, gzip, in order of preference"),
    row!(Files, compress, "CODINGS", "Compress text and the like for who accepts it, and cache the result: br, gzip, in order of preference"),
    row!(Files, compress_least_bytes, "BYTES", 64, MIB, "The smallest file that is compressed"),
    row!(Files, compress_most_bytes, "BYTES", 64, 64 * MIB, "The largest file that is compressed"),

    row!(Limits, listing_entries, "COUNT", 1, 1_000_000, "Names in the listing of one folder; what is beyond is left out, and that is said"),
    row!(Limits, connections, "COUNT", 1, 4 * MIB, "Connections at one time"),
    row!(Limits, client_connections, "COUNT", 0, 4 * MIB, "Connections at one time from one client address, of IPv6 from one /64 network; 0 is no limit"),
    row!(Limits, client_requests_per_s, "COUNT", 0, 1_000_000, "Requests a second from one client address; 0 is no limit"),
    row!(Limits, client_request_burst, "COUNT", 1, 1_000_000, "Requests that one client address may make at once before it is held to that rate"),
    row!(Limits, head_bytes, "BYTES", 64, MIB, "The request line and all fields of one request"),
    row!(Limits, header_fields, "COUNT", 1, 4096, "Fields in one request head"),
    row!(Limits, pipeline_depth, "COUNT", 1, 1024, "Requests of one connection that are read ahead of their answers"),
    row!(Limits, receive_buffer_bytes, "BYTES", 16, MIB, "The first receive buffer of a request; it doubles up to head-bytes"),
    row!(Limits, queued_bytes, "BYTES", 128, MOST_MEMORY, "Memory that one connection may hold"),
    row!(Limits, buffer_memory_bytes, "BYTES", 64 * KIB, MOST_TOTAL_MEMORY, "Memory that the buffers of all connections may hold together"),
    row!(Limits, operations, "COUNT", 64, MIB, "Operations in flight on one worker"),

    row!(TimeLimits, header_timeout_ms = header_timeout, "MS", 1, DAY_MS, "From the first byte of a request to the end of its head"),
    row!(TimeLimits, body_timeout_ms = body_timeout, "MS", 1, DAY_MS, "For a request body to move on: the time over which minimum-rate-bytes is measured"),
    row!(TimeLimits, idle_timeout_ms = idle_timeout, "MS", 1, DAY_MS, "Between two requests of a connection"),
    row!(TimeLimits, write_timeout_ms = write_timeout, "MS", 1, DAY_MS, "For an answer to move on: the time over which minimum-rate-bytes is measured; and for the disk to give a slice"),
    row!(TimeLimits, minimum_rate_bytes, "BYTES", 0, GIB, "Least bytes a second that a client sends of a body or takes of an answer; with 0 it is one byte in the whole time"),
    row!(TimeLimits, shutdown_timeout_ms = shutdown_timeout, "MS", 0, DAY_MS, "For what still runs when the server is told to stop"),

    row!(Upload, upload, "FOLDER", "Let PUT and POST create files in this folder, which lies inside ROOT"),
    row!(Upload, upload_bytes, "BYTES", 0, i64::MAX as u64, "The largest upload"),
    row!(Upload, upload_delete, "BOOL", "Let DELETE remove files from the upload folder"),

    row!(Logs, access_log, "FILE", "Write a line for each request to this file, or to standard output (-)"),
    row!(Logs, access_log_format, "FORMAT", "The form of that line"),
    row!(Logs, access_log_queue_bytes, "BYTES", 512 * KIB, MOST_MEMORY, "Lines that may wait for the disk; further ones are dropped and counted"),
    row!(Logs, access_log_rotate_bytes, "BYTES", 0, i64::MAX as u64, "Rotate the file before it grows beyond this; 0 never does"),
    row!(Logs, access_log_keep, "COUNT", 0, 1000, "Rotated files that are kept (FILE.1 is the newest)"),
    row!(Logs, log, "LEVEL", "The least important event that the program log on standard error shows"),
    row!(Logs, log_format, "FORMAT", "The form of the program log"),
    row!(Logs, trace, "BOOL", "Print each socket and file read and write: worker, bytes, buffer length, bytes so far"),

    row!(PortAndWorkers, backend, "BACKEND", "The completion port's implementation"),
    row!(PortAndWorkers, workers, "COUNT", 0, MOST_WORKERS, "Worker threads in all; 0 leaves it to threads-per-processor"),
    row!(PortAndWorkers, threads_per_processor, "COUNT", 1, 64, "Worker threads for each processor"),
    row!(PortAndWorkers, ports, "COUNT", 1, MOST_WORKERS, "Completion ports that share the workers (IOCP only)"),
    row!(PortAndWorkers, accepts_posted, "COUNT", 1, 4096, "Accepts that are kept posted (IOCP only)"),
    row!(PortAndWorkers, backlog, "COUNT", 1, 65_535, "Connections that the system holds until they are accepted"),
    row!(PortAndWorkers, pool_threads, "COUNT", 1, 1024, "Most threads for what blocks, such as opening a file"),
    row!(PortAndWorkers, pool_queue, "COUNT", 1, MIB, "Blocking jobs that wait for a thread of the pool"),
];
