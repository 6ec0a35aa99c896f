//! Settings from flags, environment and file: precedence, limits, and the place that an error names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portico::settings::table::{Shape, TABLE};
use portico::settings::{
    BackendChoice, ConfigFile, Effective, FolderError, Folders, FollowSymlinks, LogTarget, Origin, Place,
    Settings, Sources,
};

fn file(text: &str) -> Sources {
    Sources {
        file: Some(ConfigFile { path: "portico.toml".into(), text: text.to_owned() }),
        ..Sources::default()
    }
}

fn variables(variables: &[(&str, &str)]) -> Sources {
    let environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Sources { environment, ..Sources::default() }
}

fn flags(flags: &[(&'static str, &str)]) -> Sources {
    Sources { flags: flags.iter().map(|(name, value)| (*name, value.into())).collect(), ..Sources::default() }
}

fn good(sources: &Sources) -> Effective {
    sources.resolve().unwrap_or_else(|error| panic!("{error}"))
}

fn error(sources: &Sources) -> String {
    sources.resolve().expect_err("a mistake").to_string()
}

#[test]
fn defaults_are_valid_and_say_so() {
    let settings = Settings::new("site");
    settings.check().unwrap();
    assert_eq!(settings.root, Path::new("site"));
    assert_eq!(settings.socket_address().to_string(), "127.0.0.1:8080");
    assert!(settings.worker_count() >= 1);
    let effective = good(&Sources::default());
    assert_eq!(effective.settings, Settings::new("."));
    assert!(TABLE.iter().all(|setting| effective.origin(setting.name) == Origin::Default));
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let mut sources = file("port = 1001\nworkers = 3\nbackend = \"readiness\"\n");
    let settings = good(&sources).settings;
    assert_eq!((settings.port, settings.workers, settings.backend), (1001, 3, BackendChoice::Readiness));

    sources.environment =
        vec![("PORTICO_PORT".into(), "1002".into()), ("PORTICO_WORKERS".into(), "4".into())];
    let settings = good(&sources).settings;
    assert_eq!((settings.port, settings.workers, settings.backend), (1002, 4, BackendChoice::Readiness));

    sources.flags = vec![("port", "1003".into())];
    let effective = good(&sources);
    let settings = &effective.settings;
    assert_eq!((settings.port, settings.workers, settings.backend), (1003, 4, BackendChoice::Readiness));
    assert_eq!(effective.origin("port"), Origin::Flag);
    assert_eq!(effective.origin("workers"), Origin::Environment);
    assert_eq!(effective.origin("backend"), Origin::File(3));
    assert_eq!(effective.origin("backlog"), Origin::Default);
}

/// Every setting can be given in all three ways; each way changes that setting and no other.
#[test]
fn every_setting_is_a_flag_a_variable_and_a_key() {
    let default = Settings::new(".");
    for setting in TABLE {
        let before = setting.shown(&default);
        let (words, literal) = match (setting.shape, setting.name) {
            (Shape::Boolean, _) if before.as_deref() == Some("true") => {
                ("false".to_owned(), "false".to_owned())
            }
            (Shape::Boolean, _) => ("true".to_owned(), "true".to_owned()),
            (Shape::Choice(names), _) => {
                let other = names.iter().find(|name| before.as_deref() != Some(name)).unwrap();
                (other.to_string(), format!("{other:?}"))
            }
            (Shape::List, "listen") => {
                ("127.0.0.1:1,[::1]:2".to_owned(), "[\"127.0.0.1:1\", \"[::1]:2\"]".to_owned())
            }
            (Shape::List, "auth_folders") => ("/a/,/b/".to_owned(), "[\"/a/\", \"/b/\"]".to_owned()),
            (Shape::List, "proxy_protocol_from") => {
                ("10.0.0.0/8,unix".to_owned(), "[\"10.0.0.0/8\", \"unix\"]".to_owned())
            }
            (Shape::List, "precompressed" | "compress") => {
                ("gzip,br".to_owned(), "[\"gzip\", \"br\"]".to_owned())
            }
            (Shape::List, _) => ("a.html,b.html".to_owned(), "[\"a.html\", \"b.html\"]".to_owned()),
            (Shape::Path, _) => ("folder".to_owned(), "\"folder\"".to_owned()),
            (Shape::Text, "address") => ("::1".to_owned(), "\"::1\"".to_owned()),
            (Shape::Text, "fallback" | "health_path") => ("/a".to_owned(), "\"/a\"".to_owned()),
            (Shape::Text, "unix_socket_mode") => ("600".to_owned(), "\"600\"".to_owned()),
            (Shape::Text, "admin_listen") => ("127.0.0.1:1".to_owned(), "\"127.0.0.1:1\"".to_owned()),
            (Shape::Text, "charset") => ("us-ascii".to_owned(), "\"us-ascii\"".to_owned()),
            (Shape::Text, _) => ("max-age=60".to_owned(), "\"max-age=60\"".to_owned()),
            (Shape::Integer, _) => {
                let number = before.unwrap().parse::<u64>().unwrap() + 1;
                (number.to_string(), number.to_string())
            }
        };
        for (sources, origin) in [
            (flags(&[(setting.name, &words)]), Origin::Flag),
            (variables(&[(&setting.variable_name(), &words)]), Origin::Environment),
            (file(&format!("{} = {literal}\n", setting.name)), Origin::File(1)),
        ] {
            let effective = good(&sources);
            assert_eq!(effective.origin(setting.name), origin);
            assert_eq!(setting.shown(&effective.settings).as_ref(), Some(&words), "{}", setting.name);
            for other in TABLE.iter().filter(|other| other.name != setting.name) {
                assert_eq!(
                    other.shown(&effective.settings),
                    other.shown(&default),
                    "{} by {}",
                    other.name,
                    setting.name
                );
            }
        }
    }
}

#[test]
fn values_are_typed() {
    let settings = good(&file(
        "address = \"::\"\nheader_timeout_ms = 1_500\nfollow_symlinks = \"never\"\nindex = [\"a.htm\", \"b\"]\n\
         keep_alive = false\naccess_log = \"-\"\nbuffer_memory_bytes = 0x1000_0000\n",
    ))
    .settings;
    assert_eq!(settings.address.to_string(), "::");
    assert_eq!(settings.header_timeout, Duration::from_millis(1500));
    assert_eq!(settings.follow_symlinks, FollowSymlinks::Never);
    assert_eq!(settings.index, ["a.htm", "b"]);
    assert!(!settings.keep_alive);
    assert_eq!(settings.access_log, Some(LogTarget::StandardOutput));
    assert_eq!(settings.buffer_memory_bytes, 256 << 20);

    let settings =
        good(&flags(&[("address", "[::1]"), ("keep_alive", "off"), ("connections", "1_000")])).settings;
    assert_eq!(
        (settings.address.to_string().as_str(), settings.keep_alive, settings.connections),
        ("::1", false, 1000)
    );
}

#[test]
fn paths_in_a_file_start_at_its_folder() {
    let mut sources = file("root = \"site\"\naccess_log = \"logs/access.log\"\n");
    sources.file.as_mut().unwrap().path = Path::new("etc").join("portico.toml");
    let settings = good(&sources).settings;
    assert_eq!(settings.root, Path::new("etc").join("site"));
    assert_eq!(settings.access_log, Some(LogTarget::File(Path::new("etc").join("logs/access.log"))));
    sources.flags.push(("root", OsString::from("here")));
    assert_eq!(good(&sources).settings.root, Path::new("here"));
}

#[test]
fn an_empty_value_switches_off_what_a_file_switched_on() {
    let mut sources = file("access_log = \"x.log\"\n");
    sources.environment.push(("PORTICO_ACCESS_LOG".into(), "".into()));
    assert_eq!(good(&sources).settings.access_log, None);
}

#[test]
fn a_mistake_in_the_file_is_named_with_its_line() {
    for (text, message) in [
        (
            "\n\n# buffers\n\n\n\nreceive_buffer_bytes = 8\n",
            "portico.toml:7: receive_buffer_bytes: 8 is below the least 16 bytes",
        ),
        ("port = 70000", "portico.toml:1: port: 70000 is above the most 65535"),
        ("port = -1", "portico.toml:1: port: -1 is negative"),
        ("port = \"80\"", "portico.toml:1: port: expected a whole number, found text"),
        (
            "idle_timeout_ms = true",
            "portico.toml:1: idle_timeout_ms: expected a whole number of ms, found true or false",
        ),
        ("port = 80.5", "portico.toml:1: port: a float cannot be the value of a setting"),
        (
            "upload_bytes = 99999999999999999999",
            "portico.toml:1: upload_bytes: 18446744073709551615 is above the most",
        ),
        (
            "precompressed = [\"deflate\"]",
            "portico.toml:1: precompressed: \"deflate\" is none of br, zstd, gzip",
        ),
        ("compress = [\"br\", \"br\"]", "portico.toml:1: compress: \"br\" is named twice"),
        ("compress = [\"zstd\"]", "portico.toml:1: compress: zstd is not made on the fly"),
        (
            "compress_least_bytes = 5_000\ncompress_most_bytes = 4_000",
            "portico.toml:1: compress_least_bytes: the smallest file that is compressed (5000 bytes) is above the largest (4000 bytes)",
        ),
        ("keep_alive = 1", "portico.toml:1: keep_alive: expected true or false, found a number"),
        (
            "backend = \"epoll\"",
            "portico.toml:1: backend: \"epoll\" is none of auto, iocp, io-uring, readiness",
        ),
        (
            "address = \"localhost\"",
            "portico.toml:1: address: \"localhost\" is not an IP address; use 127.0.0.1",
        ),
        (
            "index = [\"a/b.html\"]",
            "portico.toml:1: index: \"a/b.html\" is not the name of a file inside a folder",
        ),
        ("index = [1]", "portico.toml:1: index: a list holds texts only"),
        ("root = \"\"", "portico.toml:1: root: the path is empty"),
        (
            "cache_control = \"a\\r\\nX: y\"",
            "portico.toml:1: cache_control: \"a\\r\\nX: y\" cannot be the value of",
        ),
        (
            "port = 1\nrecieve_buffer_bytes = 64",
            "portico.toml:2: \"recieve_buffer_bytes\" is not a setting; did you mean receive_buffer_bytes?",
        ),
        ("head-bytes = 64", "portico.toml:1: \"head-bytes\" is not a setting; did you mean head_bytes?"),
        ("prot = 1", "portico.toml:1: \"prot\" is not a setting; did you mean port?"),
        (
            "idle_timeout = 1",
            "portico.toml:1: \"idle_timeout\" is not a setting; did you mean idle_timeout_ms?",
        ),
        ("xyzzy = 1", "portico.toml:1: \"xyzzy\" is not a setting"),
        ("config = \"x\"", "portico.toml:1: \"config\" is not a setting: the file is named by --config or"),
        (
            "\n[limits]\nport = 1",
            "portico.toml:2: \"limits\" is not a setting; all keys stand at the top level",
        ),
        ("port = 1\nport = 2", "portico.toml:2: duplicate key"),
        ("port = 1\n\nworkers = = 3", "portico.toml:3: "),
    ] {
        let error = error(&file(text));
        assert!(error.starts_with(message), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error:?} is one line");
    }
}

#[test]
fn a_byte_order_mark_does_not_move_the_lines() {
    assert_eq!(
        error(&file("\u{feff}workers = 1\nport = 70000")),
        "portico.toml:2: port: 70000 is above the most 65535"
    );
}

#[test]
fn a_mistake_in_a_flag_or_variable_is_named() {
    assert_eq!(error(&flags(&[("port", "http")])), "--port: \"http\" is not a whole number");
    assert_eq!(
        error(&flags(&[("receive_buffer_bytes", "8")])),
        "--receive-buffer-bytes: 8 is below the least 16 bytes"
    );
    assert_eq!(
        error(&flags(&[("header_timeout_ms", "10s")])),
        "--header-timeout-ms: \"10s\" is not a whole number of ms"
    );
    assert_eq!(error(&flags(&[("trace", "maybe")])), "--trace: \"maybe\" is neither true nor false");
    assert_eq!(error(&flags(&[("root", "")])), "ROOT: the path is empty");
    assert_eq!(error(&variables(&[("PORTICO_PORT", "")])), "PORTICO_PORT: \"\" is not a whole number");
    let kubernetes = error(&variables(&[("PORTICO_PORT", "tcp://10.0.0.1:8080")]));
    assert!(kubernetes.contains("enableServiceLinks: false"), "{kubernetes}");
}

#[test]
fn an_unknown_variable_is_a_warning() {
    let effective = good(&variables(&[("PORTICO_PROT", "1"), ("PORTICO_SERVICE_HOST", "x"), ("PORT", "1")]));
    assert_eq!(
        effective.warnings,
        [
            "PORTICO_PROT is not a setting; did you mean PORTICO_PORT?",
            "PORTICO_SERVICE_HOST is not a setting"
        ]
    );
}

#[test]
fn a_variable_in_small_letters_counts_on_windows() {
    let port = if cfg!(windows) { 81 } else { 8080 };
    assert_eq!(good(&variables(&[("portico_Port", "81")])).settings.port, port);
}

#[test]
fn a_contradiction_is_named_where_the_stronger_side_stands() {
    let mut sources = file("# small\nhead_bytes = 2048\n");
    let first = "the first buffer (4096 bytes) is larger than head_bytes (2048 bytes), to which it may grow";
    assert_eq!(error(&sources), format!("portico.toml:2: head_bytes: {first}"));
    sources.flags.push(("receive_buffer_bytes", "4096".into()));
    assert_eq!(error(&sources), format!("--receive-buffer-bytes: {first}"));

    assert!(
        error(&flags(&[("send_slice_bytes", "1048576")]))
            .starts_with("--send-slice-bytes: a connection needs two")
    );
    assert!(
        error(&flags(&[("buffer_memory_bytes", "65536")]))
            .starts_with("--buffer-memory-bytes: all connections")
    );
    assert!(
        error(&flags(&[("file_cache_bytes", "1024")])).starts_with("--file-cache-bytes: one cached file")
    );
    assert!(error(&flags(&[("ports", "3"), ("workers", "2")])).contains("3 ports need a worker each"));
    good(&flags(&[("file_cache_bytes", "0")]));
}

#[test]
fn code_meets_the_same_limits() {
    let mut settings = Settings::new(".");
    settings.receive_buffer_bytes = 8;
    let error = settings.check().unwrap_err();
    assert_eq!(error.to_string(), "receive_buffer_bytes: 8 is below the least 16 bytes");
    assert_eq!((error.place(), error.name()), (&Place::Code, "receive_buffer_bytes"));
    settings.receive_buffer_bytes = 16;
    settings.cache_control = Some("a\nb".to_owned());
    assert!(settings.check().is_err());
    // It goes into the head of every file, which has room for this much.
    settings.cache_control = Some("a".repeat(512));
    assert!(settings.check().is_ok());
    settings.cache_control = Some("a".repeat(513));
    assert!(settings.check().unwrap_err().to_string().contains("at most 512 bytes"));
}

#[test]
fn the_seeds_own_sizes_are_accepted() {
    let settings = good(&flags(&[("receive_buffer_bytes", "48"), ("send_slice_bytes", "768")])).settings;
    assert_eq!((settings.receive_buffer_bytes, settings.send_slice_bytes), (48, 768));
}

#[test]
fn what_is_printed_gives_the_same_settings() {
    let mut sources = file("\nport = 81\naccess_log = \"C:\\\\logs\\\\it's \\\"x\\\".log\"\nindex = []\n");
    sources.environment.push(("PORTICO_TRACE".into(), "on".into()));
    sources.flags = vec![("cache_control", "max-age=3600, public".into()), ("root", "site folder".into())];
    let effective = good(&sources);
    let printed = effective.to_toml();
    assert_eq!(good(&file(&printed)).settings, effective.settings, "{printed}");
    for line in [
        "root = \"site folder\"                         # argument ROOT",
        "port = 81                                    # portico.toml:2",
        "trace = true                                 # environment PORTICO_TRACE",
        "cache_control = \"max-age=3600, public\"       # flag --cache-control",
        "backlog = 1024                               # default",
        "# upload = FOLDER                            # default",
        "# Time limits",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}\nnot in\n{printed}");
    }
}

#[test]
fn folders_are_found_or_named() {
    let temporary = tempfile::tempdir().unwrap();
    let site = temporary.path().join("site");
    std::fs::create_dir_all(site.join("inbox")).unwrap();
    std::fs::create_dir(temporary.path().join("site-2")).unwrap();
    std::fs::write(site.join("file"), "").unwrap();

    let mut settings = Settings::new(&site);
    settings.upload = Some(site.join(".").join("inbox"));
    let folders = Folders::find(&settings).unwrap();
    assert!(folders.root.is_absolute());
    assert_eq!(folders.upload, Some(PathBuf::from("inbox")));
    settings.upload = Some(site.clone());
    assert_eq!(Folders::find(&settings).unwrap().upload, Some(PathBuf::new()));

    settings.upload = Some(temporary.path().join("site-2"));
    let error = Folders::find(&settings).unwrap_err();
    assert!(matches!(error, FolderError::UploadOutside { .. }), "{error}");
    settings.upload = Some(site.join("outbox"));
    assert!(
        matches!(Folders::find(&settings), Err(FolderError::Missing(path)) if path == site.join("outbox"))
    );
    for (root, part) in [("missing", "there is no folder"), ("file", "is not a folder")] {
        let error = Folders::find(&Settings::new(site.join(root))).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(root), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn an_upload_folder_cannot_leave_the_root_by_a_link() {
    let temporary = tempfile::tempdir().unwrap();
    let (site, outside) = (temporary.path().join("site"), temporary.path().join("outside"));
    std::fs::create_dir(&site).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, site.join("inbox")).unwrap();
    let mut settings = Settings::new(&site);
    settings.upload = Some(site.join("inbox"));
    assert!(matches!(Folders::find(&settings), Err(FolderError::UploadOutside { .. })));
}

#[test]
fn a_host_has_settings_of_its_own_and_the_others_from_above() {
    let text = "root = \"all\"\nserver_name = false\n[[host]]\nnames = [\"a.example\", \"*.b.example\"]\nroot = \"a\"\n\
                [[host]]\nnames = \"c.example\"\ncache_control = \"no-store\"\n";
    let mut sources = file(text);
    sources.flags = vec![("port", "99".into())];
    let effective = good(&sources);
    let [a, c] = &effective.settings.hosts[..] else { panic!("{:?}", effective.settings.hosts) };
    assert_eq!(a.names, ["a.example", "*.b.example"]);
    assert_eq!((&*a.settings.root, a.settings.port, a.settings.server_name), (Path::new("a"), 99, false));
    assert_eq!(
        (&*c.settings.root, c.settings.cache_control.as_deref()),
        (Path::new("all"), Some("no-store"))
    );
    let again = good(&file(&effective.to_toml()));
    assert_eq!(again.settings, effective.settings);
    again.settings.check().unwrap();
}

#[test]
fn a_mistake_in_a_host_is_named_with_its_line() {
    for (host, line, words) in [
        ("[[host]]\nroot = \"a\"", 2, "no names"),
        ("[[host]]\nnames = [\"a b\"]", 2, "no host name"),
        ("[[host]]\nnames = [\"a:80\"]", 2, "without a port"),
        ("[[host]]\nnames = [\"a..b\"]", 2, "no host name"),
        ("[[host]]\nnames = [\"a\", \"A\"]", 2, "named twice"),
        ("[[host]]\nnames = [\"a\"]\n[[host]]\nnames = [\"a\"]", 4, "named twice"),
        ("[[host]]\nnames = 3", 3, "expected a list"),
        ("[[host]]\nnames = [\"a\"]\nport = 80", 4, "the whole server"),
        ("[[host]]\nnames = [\"a\"]\nrot = \"x\"", 4, "did you mean root"),
        ("[[host]]\nnames = [\"a\"]\nserver_name = 1", 4, "expected true or false"),
        ("[host]\nnames = [\"a\"]", 2, "two brackets"),
        ("host = 1", 2, "two brackets"),
    ] {
        let mistake = error(&file(&format!("port = 1\n{host}\n")));
        assert!(
            mistake.contains(words) && mistake.contains(&format!("portico.toml:{line}")),
            "{host}: {mistake}"
        );
    }
}

#[test]
fn addresses_that_cannot_be_listened_on_together_are_named() {
    for (listen, part) in [
        ("[\"127.0.0.1:80\", \"127.0.0.1:80\"]", "named twice"),
        ("[\"[::]:80\", \"0.0.0.0:80\"]", "ipv6_only"),
        ("[\"localhost:80\"]", "no address to listen on"),
    ] {
        let mistake = file(&format!("listen = {listen}\n")).resolve().unwrap_err().to_string();
        assert!(mistake.contains("listen:") && mistake.contains(part), "{mistake}");
    }
    for good_ones in [
        "listen = [\"127.0.0.1:0\", \"127.0.0.1:0\", \"[::]:80\", \"0.0.0.0:81\"]\n",
        "listen = [\"[::]:80\", \"0.0.0.0:80\"]\nipv6_only = true\n",
    ] {
        good(&file(good_ones));
    }
}
