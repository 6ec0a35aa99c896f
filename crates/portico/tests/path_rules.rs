//! Which names are opened beneath the root: hostile names in a table, and what always holds.

use std::path::{Component, Path};

use portico::path::Refusal::{self, *};
use portico::path::{Form, Rules};
use proptest::prelude::*;

#[path = "serving/hostile_targets.rs"]
mod hostile_targets;

const UNIX: Rules = Rules { windows: false, dot_files: false };
const WINDOWS: Rules = Rules { windows: true, dot_files: false };

fn resolve(rules: Rules, segments: &[&str]) -> Result<(String, Form), Refusal> {
    let mut path = String::from("what was there before");
    let form = rules.resolve(segments.iter().copied(), &mut path);
    assert!(form.is_ok() || path.is_empty(), "a refused path is empty");
    form.map(|form| (path, form))
}

fn file(rules: Rules, name: &str) -> Result<(), Refusal> {
    let alone = resolve(rules, &[name]);
    let inside = resolve(rules, &["folder", name]);
    let before = resolve(rules, &[name, "file"]);
    assert_eq!(alone.as_ref().err(), inside.as_ref().err(), "{name:?} inside a folder");
    assert_eq!(alone.as_ref().err(), before.as_ref().err(), "{name:?} as a folder");
    alone.map(|(path, form)| assert_eq!((path.as_str(), form), (name, Form::File)))
}

/// Refused on both systems.
const HOSTILE: &[(Refusal, &[&str])] = &[
    (DotSegment, &[".", "..", ".\u{200c}.", "\u{200b}..", "..\u{feff}", ".\u{ad}", "\u{2060}."]),
    (
        Separator,
        &[
            "/",
            "\\",
            "a/b",
            "a\\b",
            "../x",
            "..\\x",
            "/etc/passwd",
            "\\windows",
            "\\\\server\\share",
            "//server/share",
            "..\\..\\windows\\win.ini",
            "....\\\\",
            "\\\\?\\C:",
            "\\\\.\\pipe\\x",
            "a/",
            "a\\",
            "/..",
            "..\\",
            "./",
            "%2e/..",
            "\\??\\C",
            "\\Device\\HarddiskVolume1",
        ],
    ),
    (
        ControlCharacter,
        &[
            "\0",
            "a\0",
            "\0a",
            "index.html\0.jpg",
            "..\0",
            "a\nb",
            "a\rb",
            "a\tb",
            "\x01",
            "\x1b[2J",
            "a\x7f",
            "a\u{80}",
            "a\u{85}b",
            "\u{9f}",
            "x\x0b",
            "x\x0c",
            "x\x08",
            "\x1f",
        ],
    ),
    (
        Hidden,
        &[
            ".git",
            ".env",
            ".htaccess",
            ".htpasswd",
            ".ssh",
            ".DS_Store",
            ".svn",
            ".npmrc",
            ".bash_history",
            "...a",
            "..a",
            ".Well-Known",
            ".well-known2",
            ".a.b",
            "..git",
            ".\u{fffd}",
            "\u{200c}.git",
            "\u{feff}\u{2060}.env",
            ".g\u{200d}it",
            "\u{ad}.htaccess",
            "\u{fe0f}.ssh",
            "\u{e0020}.npmrc",
            "\u{200b}.well-known",
        ],
    ),
    (
        Configuration,
        &[
            "portico.toml",
            "Portico.toml",
            "PORTICO.TOML",
            "portico\u{200d}.toml",
            "\u{feff}portico.toml\u{200b}",
        ],
    ),
];

/// Refused where names mean what they mean to Windows; ordinary names elsewhere.
const HOSTILE_ON_WINDOWS: &[(Refusal, &[&str])] = &[
    (
        ReservedCharacter,
        &[
            "C:",
            "c:x",
            "Z:secret",
            "a:b",
            "index.html::$DATA",
            "index.html:stream",
            "index.html::$data",
            "x:$DATA",
            "folder::$INDEX_ALLOCATION",
            "a:$i30:$INDEX_ALLOCATION",
            "a*",
            "*",
            "?",
            "a?b",
            "\"",
            "a\"b",
            "<",
            ">",
            "a<b>",
            "|",
            "a|b",
            "file:",
            "::",
            ":",
            "index.ht?",
            "*.*",
            "<script>",
            "nul:",
            "com1:",
            "AUX:x",
        ],
    ),
    (
        TrailingDotOrSpace,
        &[
            "index.html.",
            "index.html..",
            "index.html ",
            "index.html. ",
            "index.html . .",
            "a ",
            " ",
            "a.",
            "a. .",
            "nul.",
            "con ",
            "aux. ",
            "file.txt   ",
            "secret.",
        ],
    ),
    (
        DeviceName,
        &[
            "CON",
            "con",
            "Con",
            "PRN",
            "prn",
            "AUX",
            "aux",
            "aUx",
            "NUL",
            "nul",
            "COM0",
            "COM1",
            "com1",
            "COM2",
            "COM3",
            "COM4",
            "COM5",
            "COM6",
            "COM7",
            "COM8",
            "COM9",
            "LPT0",
            "LPT1",
            "lpt1",
            "LPT2",
            "LPT3",
            "LPT4",
            "LPT5",
            "LPT6",
            "LPT7",
            "LPT8",
            "LPT9",
            "COM\u{b9}",
            "COM\u{b2}",
            "com\u{b3}",
            "LPT\u{b9}",
            "lpt\u{b2}",
            "LPT\u{b3}",
            "CONIN$",
            "conin$",
            "CONOUT$",
            "conout$",
            "CLOCK$",
            "con.txt",
            "CON.tar.gz",
            "aux.html",
            "Aux.HTML",
            "nul.js",
            "prn.css",
            "com1.html",
            "com9.a.b",
            "lpt1.pdf",
            "COM\u{b9}.txt",
            "conin$.txt",
            "nul .txt",
            "aux  .html",
            "con..txt",
            "nul.a ",
        ],
    ),
    (
        ShortName,
        &[
            "PROGRA~1",
            "progra~1",
            "INDEX~1.HTM",
            "index~1.htm",
            "a~1",
            "~1",
            "SECRET~1.TXT",
            "LONGFI~2.txt",
            "AB1234~1",
            "FOO~12.C",
            "X~999999",
            "foo~1",
            "foo~1.c",
            "DOCUME~1",
            "\u{e9}\u{e9}\u{e9}~1.txt",
            "WEB~1.CON",
            "a~0",
        ],
    ),
    (
        FileSystemName,
        &[
            "$MFT", "$mft", "$MFTMirr", "$LogFile", "$Volume", "$AttrDef", "$Bitmap", "$BOOT", "$BadClus",
            "$Quota", "$Secure", "$UpCase", "$Extend",
        ],
    ),
];

#[test]
fn hostile_names_are_refused() {
    let mut count = 0;
    for (refusal, names) in HOSTILE {
        for name in *names {
            assert_eq!(file(UNIX, name), Err(*refusal), "{name:?} on Unix");
            // Windows may have a stricter reason, but never none.
            assert!(file(WINDOWS, name).is_err(), "{name:?} on Windows");
            count += 1;
        }
    }
    for (refusal, names) in HOSTILE_ON_WINDOWS {
        for name in *names {
            let found = file(WINDOWS, name);
            // Two rules may hold for one name: `nul.a ` ends in a space and is a device.
            assert!(
                found == Err(*refusal) || found == Err(TrailingDotOrSpace),
                "{name:?} on Windows: {found:?}"
            );
            assert_eq!(file(UNIX, name), Ok(()), "{name:?} on Unix");
            count += 1;
        }
    }
    assert!(count >= 150, "{count} names");
}

/// What becomes of a target by the rules of a system: the status, or none where it names something to be opened.
fn refused(rules: Rules, target: &str) -> Option<u16> {
    let mut scratch = vec![0; target.len()];
    let decoded = match portico_http::target::decode(target, &mut scratch) {
        Ok(decoded) => decoded,
        Err(rejection) => return Some(rejection.status.code()),
    };
    if decoded.has_empty_segment() {
        return Some(404);
    }
    rules.resolve(decoded.segments(), &mut String::new()).err().map(Refusal::status)
}

/// The same list is tried at the socket; here both systems' rules see it on every system.
#[test]
fn hostile_targets_are_refused() {
    use hostile_targets::*;
    let mut wrong = Vec::new();
    for (targets, unix, windows) in [
        (ABOVE, Some(400), Some(400)),
        (SEPARATORS, Some(400), Some(400)),
        (BYTES, Some(400), Some(400)),
        (NO_SEGMENTS, Some(400), Some(400)),
        (REFUSED, Some(404), Some(404)),
        (ON_WINDOWS, None, Some(404)),
        (MISSING, None, None),
    ] {
        for target in targets {
            let found = (refused(UNIX, target), refused(WINDOWS, target));
            if found != (unix, windows) {
                wrong.push(format!("{target}: {found:?} instead of {:?}", (unix, windows)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ordinary_names_are_served_everywhere() {
    for name in [
        "index.html",
        "a",
        "README",
        "a.b.c",
        "über.html",
        "日本語.txt",
        "with space.txt",
        " leading",
        "a+b&c=d;e,f.txt",
        "it's",
        "(1).pdf",
        "[x]",
        "{y}",
        "#hash",
        "100%",
        "%2e%2e",
        "~user",
        "file~",
        "a~b",
        "v1~",
        "notes~2.html",
        "longer-name~1.txt",
        "a~1.tar.gz",
        "CONSOLE",
        "con-1",
        "com",
        "COM10",
        "com1x",
        "lpt",
        "auxiliary.html",
        "nuls",
        "null",
        "icon",
        "my.con",
        "x.aux",
        "CONIN",
        "COM\u{b9}\u{b9}",
        "co\u{301}m",
        "toml",
        "portico.toml.html",
        "e\u{301}",
        "\u{200b}",
        "$MFT.txt",
        "$",
        "@",
        "!",
        "emoji-😀",
        "family-\u{1f468}\u{200d}\u{1f469}.png",
        "\u{2764}\u{fe0f}.html",
        "می\u{200c}خواهم.html",
        "\u{2026}and justice.mp3",
    ] {
        assert_eq!(file(UNIX, name), Ok(()), "{name:?}");
        assert_eq!(file(WINDOWS, name), Ok(()), "{name:?}");
    }
}

#[test]
fn segments_become_a_path() {
    for (segments, unix, windows, form) in [
        (&[][..], "", "", Form::Folder),
        (&[""], "", "", Form::Folder),
        (&["a"], "a", "a", Form::File),
        (&["a", ""], "a", "a", Form::Folder),
        (&["a", "b", "c.html"], "a/b/c.html", "a\\b\\c.html", Form::File),
        (&["a", "b", ""], "a/b", "a\\b", Form::Folder),
        (
            &[".well-known", "acme-challenge", "x"],
            ".well-known/acme-challenge/x",
            ".well-known\\acme-challenge\\x",
            Form::File,
        ),
    ] {
        assert_eq!(resolve(UNIX, segments), Ok((unix.to_owned(), form)));
        assert_eq!(resolve(WINDOWS, segments), Ok((windows.to_owned(), form)));
    }
    for segments in [&["", "a"][..], &["a", "", "b"], &["a", "", ""], &["", ""]] {
        assert_eq!(resolve(UNIX, segments), Err(EmptySegment), "{segments:?}");
    }
    assert_eq!(resolve(UNIX, &["a", ".well-known"]), Err(Hidden));
}

#[test]
fn dot_files_are_a_policy_and_dot_segments_are_not() {
    for windows in [false, true] {
        let rules = Rules { windows, dot_files: true };
        for name in [".git", ".env", "..a", "...a"] {
            assert_eq!(file(rules, name), Ok(()), "{name}");
        }
        for name in [".", "..", "portico.toml", "a/b", "\0"] {
            assert!(file(rules, name).is_err(), "{name:?}");
        }
    }
    for name in ["...", ".. ", ". ", ".git.", "....", ".. ."] {
        assert_eq!(file(Rules { windows: true, dot_files: true }, name), Err(TrailingDotOrSpace), "{name:?}");
    }
}

#[test]
fn lengths_are_limited() {
    let longest = "x".repeat(255);
    assert_eq!(file(UNIX, &longest), Ok(()));
    assert_eq!(file(UNIX, &"x".repeat(256)), Err(SegmentTooLong));
    assert_eq!(file(UNIX, &"é".repeat(128)), Err(SegmentTooLong));
    let segments = [longest.as_str(); 16];
    assert_eq!(resolve(UNIX, &segments).map(|(path, _)| path.len()), Ok(16 * 255 + 15));
    assert_eq!(resolve(UNIX, &[longest.as_str(); 17]), Err(PathTooLong));
}

#[test]
fn what_nobody_sends_in_good_faith_is_a_bad_request() {
    for (refusal, status) in
        [(DotSegment, 400), (ControlCharacter, 400), (Separator, 400), (Hidden, 404), (DeviceName, 404)]
    {
        assert_eq!(refusal.status(), status);
        assert!(!refusal.to_string().is_empty());
    }
    assert_eq!(Rules::native(true), Rules { windows: cfg!(windows), dot_files: true });
}

fn hostile_segment() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "",
        ".",
        "..",
        "/",
        "\\",
        ":",
        "\0",
        "C",
        "a",
        "~1",
        "~",
        "1",
        " ",
        "con",
        "NUL",
        "com1",
        "\u{b9}",
        "$DATA",
        "é",
        "*",
        "portico",
        "toml",
        "?",
        ".well-known",
        "\u{2215}",
        "\u{ff0e}",
    ]);
    prop_oneof![
        prop::collection::vec(parts, 0..5).prop_map(|parts| parts.concat()),
        any::<String>(),
        "[a-c.~1]{0,12}"
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

    #[test]
    fn a_path_that_is_allowed_stays_beneath_the_root(
        segments in prop::collection::vec(hostile_segment(), 0..6),
        windows: bool,
        dot_files: bool,
    ) {
        let rules = Rules { windows, dot_files };
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        if let Ok((path, form)) = resolve(rules, &segments) {
            let separator = if windows { '\\' } else { '/' };
            let names: Vec<&str> = path.split(separator).filter(|name| !name.is_empty()).collect();
            let asked: Vec<&str> = segments.iter().copied().filter(|name| !name.is_empty()).collect();
            prop_assert_eq!(&names, &asked, "nothing is dropped, added or split");
            prop_assert_eq!(form == Form::File, segments.last().is_some_and(|last| !last.is_empty()));
            for name in names {
                prop_assert!(!matches!(name, "." | ".."));
                prop_assert!(!name.contains(['/', '\\', '\0']));
                prop_assert!(!windows || !name.contains(':') && !name.ends_with(['.', ' ']));
            }
            // The separators of the other system would be part of a name here.
            if windows == cfg!(windows) {
                let path = Path::new(&path);
                prop_assert!(path.components().all(|component| matches!(component, Component::Normal(_))));
                prop_assert!(Path::new("root").join(path).starts_with("root"));
            }
        }
    }
}
