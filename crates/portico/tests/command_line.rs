//! The program `portico` as its user meets it: help, version, configuration, and mistakes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn portico(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
    command.current_dir(folder);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PORTICO_")) {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n")
}

/// One sentence on standard error, nothing on standard output, and the exit code.
#[track_caller]
fn refused(output: &Output, code: i32) -> String {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(text(&output.stdout), "");
    let sentence = error.strip_prefix("portico: ").and_then(|rest| rest.strip_suffix('\n'));
    let sentence = sentence.unwrap_or_else(|| panic!("{error:?} is not one line"));
    assert!(!sentence.contains('\n'), "{sentence}");
    sentence.to_owned()
}

#[test]
fn help_shows_every_setting_under_its_heading() {
    let folder = tempfile::tempdir().unwrap();
    let output = portico(folder.path()).arg("--help").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let help = text(&output.stdout);
    for setting in portico::settings::table::TABLE.iter().filter(|setting| setting.name != "root") {
        assert!(help.contains(&format!("\n{}:\n", setting.heading.title())), "{}", setting.heading.title());
        assert!(help.contains(&format!("      --{}", setting.flag_name())), "--{}", setting.flag_name());
    }
    for part in [
        "[default: 127.0.0.1]",
        "[default: 8080]",
        "[default: 16384 bytes]",
        "10000 ms]",
        "Examples:",
        "[ROOT]",
    ] {
        // Where a line breaks depends on the width of the terminal.
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(part), "{part} is not in\n{help}");
    }
    assert_eq!(portico(folder.path()).arg("-h").output().unwrap().stdout, output.stdout);
}

#[test]
fn a_line_for_the_users_file() {
    let folder = tempfile::tempdir().unwrap();
    let hash = |name: &str, password: &str| {
        let mut command = portico(folder.path());
        command
            .args(["--hash-password", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A name that is refused ends the program before it reads.
        let _ = child.stdin.take().unwrap().write_all(password.as_bytes());
        child.wait_with_output().unwrap()
    };
    let output = hash("alice", "secret\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line = text(&output.stdout);
    assert!(line.starts_with("alice:$argon2id$v=19$m=19456,t=2,p=1$") && line.ends_with('\n'), "{line}");
    assert_ne!(text(&hash("alice", "secret\n").stdout), line, "the salt is the same");
    refused(&hash("alice", "\n"), 1);
    refused(&hash("al:ice", "secret\n"), 2);
}

#[test]
fn version_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for flag in ["--version", "-V"] {
        let output = portico(folder.path()).arg(flag).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        assert_eq!(text(&output.stdout), format!("portico {}\n", env!("CARGO_PKG_VERSION")));
    }
    let output = portico(folder.path()).args(["--version", "--verbose"]).output().unwrap();
    assert!(output.status.success());
    assert!(text(&output.stdout).starts_with(&format!("portico {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn mistakes_on_the_command_line_are_one_sentence_and_code_2() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, part) in [
        (&["--prot", "1"][..], "there is no flag --prot; did you mean --port?"),
        (&["--bogus"], "there is no flag --bogus"),
        (&["--port"], "--port <NUMBER> needs a value"),
        (&["--access-log", "--trace"], "--access-log <FILE> needs a value"),
        (&["--port", "1", "--port", "2"], "--port <NUMBER> is given more than once"),
        (&["one", "two"], "only one folder can be served, and \"two\" is one more"),
        (&["--port", "http"], "--port: \"http\" is not a whole number"),
        (&["--port", "-1"], "--port: \"-1\" is not a whole number"),
        (&["--receive-buffer-bytes=8"], "--receive-buffer-bytes: 8 is below the least 16 bytes"),
        (&["--trace=perhaps"], "--trace: \"perhaps\" is neither true nor false"),
        (&["--head-bytes", "1024"], "--head-bytes: the first buffer (4096 bytes) is larger than head_bytes"),
        (
            &["--admin-listen", "0.0.0.0:9090"],
            "--admin-listen: 0.0.0.0:9090 can be reached from other machines",
        ),
        (&["--config", "absent.toml"], "--config: cannot read absent.toml: "),
        (&["--verbose"], "--verbose goes with --version"),
    ] {
        let sentence = refused(&portico(folder.path()).args(arguments).output().unwrap(), 2);
        assert!(sentence.starts_with(part), "{arguments:?}: {sentence}");
    }
}

#[test]
fn mistakes_in_the_environment_and_the_file_are_one_sentence_and_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let output = portico(folder.path()).env("PORTICO_PORT", "http").output().unwrap();
    assert_eq!(refused(&output, 2), "PORTICO_PORT: \"http\" is not a whole number");
    let output = portico(folder.path()).env("PORTICO_CONFIG", "absent.toml").output().unwrap();
    assert!(refused(&output, 2).starts_with("PORTICO_CONFIG: cannot read absent.toml: "));

    std::fs::write(folder.path().join("portico.toml"), "port = 81\n\nreceive_buffer_bytes = 8\n").unwrap();
    let output = portico(folder.path()).output().unwrap();
    assert_eq!(refused(&output, 2), "portico.toml:3: receive_buffer_bytes: 8 is below the least 16 bytes");
    std::fs::write(folder.path().join("other.toml"), "prot = 81\n").unwrap();
    let output = portico(folder.path()).args(["--config", "other.toml"]).output().unwrap();
    assert_eq!(refused(&output, 2), "other.toml:1: \"prot\" is not a setting; did you mean port?");
    std::fs::write(folder.path().join("portico.toml"), b"port = \"\xff\"\n").unwrap();
    let output = portico(folder.path()).output().unwrap();
    assert!(refused(&output, 2).starts_with("portico.toml: cannot be read: "));
}

#[test]
fn print_config_shows_where_each_value_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("portico.toml"), "port = 81\nworkers = 2\nbacklog = 7\n").unwrap();
    let mut command = portico(folder.path());
    command.env("PORTICO_WORKERS", "3").env("PORTICO_BACKLOG", "8");
    let output =
        command.args(["site", "--backlog", "9", "--trace", "--index=a", "--index=b,c", "--print-config"]);
    let output = output.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let line = |key: &str| {
        let line = printed.lines().find(|line| line.starts_with(&format!("{key} = ")));
        let (value, comment) =
            line.unwrap_or_else(|| panic!("no {key} in\n{printed}")).split_once(" # ").unwrap();
        (value.trim_end().to_owned(), comment.to_owned())
    };
    for (key, value, comment) in [
        ("root", "root = \"site\"", "argument ROOT"),
        ("port", "port = 81", "portico.toml:1"),
        ("workers", "workers = 3", "environment PORTICO_WORKERS"),
        ("backlog", "backlog = 9", "flag --backlog"),
        ("trace", "trace = true", "flag --trace"),
        ("index", "index = [\"a\", \"b\", \"c\"]", "flag --index"),
        ("head_bytes", "head_bytes = 16384", "default"),
    ] {
        assert_eq!(line(key), (value.to_owned(), comment.to_owned()));
    }

    // What was printed says the same again, on its own.
    std::fs::write(folder.path().join("again.toml"), &printed).unwrap();
    let again = portico(folder.path()).args(["--config", "again.toml", "--print-config"]).output().unwrap();
    let values = |text: &str| {
        text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&text(&again.stdout)), values(&printed));
}

#[test]
fn a_switch_does_not_take_the_folder_for_its_value() {
    let folder = tempfile::tempdir().unwrap();
    let output = portico(folder.path())
        .args(["--trace", "site", "--keep-alive=false", "--print-config"])
        .output()
        .unwrap();
    let printed = text(&output.stdout);
    assert!(printed.contains("root = \"site\"") && printed.contains("trace = true"), "{printed}");
    assert!(printed.contains("keep_alive = false"), "{printed}");
}

#[test]
fn a_folder_that_cannot_be_served_is_one_sentence_and_code_1() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    std::fs::create_dir_all(folder.path().join("site")).unwrap();
    std::fs::create_dir_all(folder.path().join("elsewhere")).unwrap();
    for (arguments, sentence) in [
        (&["absent"][..], "there is no folder absent: check the path, or create it"),
        (&["file"], "file is not a folder: name the folder that contains it"),
        (&["site", "--upload", "absent"], "there is no folder absent: check the path, or create it"),
        (
            &["site", "--upload", "elsewhere"],
            "the upload folder elsewhere is not inside the root site: choose a folder inside the root",
        ),
    ] {
        assert_eq!(refused(&portico(folder.path()).args(arguments).output().unwrap(), 1), sentence);
    }
}

#[test]
fn the_program_log_has_two_forms() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output =
            portico(folder.path()).env("PORTICO_PROT", "1").arg("absent").args(arguments).output().unwrap();
        text(&output.stderr)
    };
    let warning = "PORTICO_PROT is not a setting; did you mean PORTICO_PORT?";
    let said = run(&[]);
    assert!(said.lines().next().unwrap().ends_with(&format!("WARN {warning}")), "{said}");
    let said = run(&["--log-format", "json"]);
    let line = said.lines().next().unwrap();
    assert!(line.starts_with('{') && line.contains(&format!("\"message\":\"{warning}\"")), "{said}");
    let said = run(&["--log", "error"]);
    assert_eq!(said.lines().count(), 1, "{said}");
}
