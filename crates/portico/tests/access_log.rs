//! The access log as a file on disk: lines, rotation, reopening, and counting what is lost.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use portico::log::{AccessLog, AccessRecord};
use portico::settings::{AccessLogFormat, LogTarget, Settings};

const LONG: Duration = Duration::from_secs(60);

fn settings(path: &Path) -> Settings {
    let mut settings = Settings::new(".");
    settings.access_log = Some(LogTarget::File(path.to_path_buf()));
    settings
}

fn record(target: &str) -> AccessRecord<'_> {
    AccessRecord {
        time: UNIX_EPOCH + Duration::from_secs(971_186_136),
        remote: std::net::IpAddr::from([127, 0, 0, 1]).into(),
        user: b"",
        method: b"GET",
        target: target.as_bytes(),
        version: b"HTTP/1.1",
        status: 200,
        bytes: 5,
        referer: b"",
        user_agent: b"test",
        duration: Duration::from_millis(1),
    }
}

fn line(target: &str) -> String {
    format!("127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] \"GET {target} HTTP/1.1\" 200 5 \"-\" \"test\"\n")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn lines_are_appended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::fs::write(&path, "there before\n").unwrap();
    let log = AccessLog::start(&settings(&path)).unwrap();
    assert!(log.is_on());
    let mut expected = "there before\n".to_owned();
    for number in 0..20 {
        let target = format!("/{number}");
        log.clone().record(&record(&target));
        assert!(log.flush(LONG));
        expected.push_str(&line(&target));
        assert_eq!(read(&path), expected);
    }
    log.record(&record("/last"));
    let stopped = log.stop(LONG);
    assert!(stopped.finished);
    assert_eq!((stopped.counts.written, stopped.counts.dropped, stopped.counts.failed), (21, 0, 0));
    assert_eq!(read(&path), expected + &line("/last"));
}

#[test]
fn json_is_one_object_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let mut settings = settings(&path);
    settings.access_log_format = AccessLogFormat::Json;
    let log = AccessLog::start(&settings).unwrap();
    log.record(&record("/\"quoted\""));
    log.stop(LONG);
    assert_eq!(
        read(&path),
        "{\"time\":\"2000-10-10T13:55:36.000000Z\",\"remote\":\"127.0.0.1\",\"user\":null,\"method\":\"GET\",\
         \"target\":\"/\\\"quoted\\\"\",\"version\":\"HTTP/1.1\",\"referer\":null,\"user_agent\":\"test\",\
         \"status\":200,\"bytes\":5,\"duration_us\":1000}\n"
    );
}

#[test]
fn a_line_is_written_without_being_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLog::start(&settings(&path)).unwrap();
    let end = Instant::now() + LONG;
    for target in ["/first", "/after-a-sleep"] {
        log.record(&record(target));
        while !read(&path).ends_with(&line(target)) {
            assert!(Instant::now() < end, "the logging thread was not woken");
            std::thread::yield_now();
        }
    }
    // The last handle goes: what is waiting is written all the same.
    log.record(&record("/dropped-handle"));
    drop(log);
    while !read(&path).ends_with(&line("/dropped-handle")) {
        assert!(Instant::now() < end, "the logging thread did not finish");
        std::thread::yield_now();
    }
}

#[test]
fn every_record_of_many_threads_is_written_once_or_counted() {
    const THREADS: usize = 8;
    const RECORDS: usize = 5_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let mut settings = settings(&path);
    settings.workers = 2;
    settings.access_log_queue_bytes = 512 << 10;
    let log = AccessLog::start(&settings).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                for number in 0..RECORDS {
                    log.record(&record(&format!("/{thread}/{number}/{}", "x".repeat(number % 700))));
                }
            });
        }
    });
    let stopped = log.stop(LONG);
    assert!(stopped.finished);
    assert_eq!(stopped.counts.failed, 0);
    assert_eq!(stopped.counts.written + stopped.counts.dropped, (THREADS * RECORDS) as u64);
    let text = read(&path);
    let lines: HashSet<&str> = text.lines().collect();
    assert_eq!(lines.len(), text.lines().count(), "no line twice");
    assert_eq!(lines.len() as u64, stopped.counts.written);
    let whole = |line: &&str| {
        line.starts_with("127.0.0.1 - - [") && line.ends_with(" HTTP/1.1\" 200 5 \"-\" \"test\"")
    };
    assert!(lines.iter().all(whole), "no line is torn");
}

#[test]
fn after_the_end_records_are_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLog::start(&settings(&path)).unwrap();
    let other = log.clone();
    assert!(log.stop(LONG).finished);
    other.record(&record("/late"));
    assert_eq!(other.dropped(), 1);
    assert!(other.flush(LONG), "an ended log has nothing to flush");
    assert!(log.stop(LONG).finished);
    assert_eq!(read(&path), "");
}

#[test]
fn a_log_that_is_off_takes_everything_and_does_nothing() {
    for log in [AccessLog::off(), AccessLog::start(&Settings::new(".")).unwrap()] {
        assert!(!log.is_on());
        log.record(&record("/"));
        log.reopen();
        assert!(log.flush(Duration::ZERO));
        assert!(log.stop(Duration::ZERO).finished);
        assert_eq!(log.dropped(), 0);
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent").join("access.log");
    let error = AccessLog::start(&settings(&path)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write the access log {}: ", path.display())), "{error}");
    assert!(error.ends_with("; create its folder first"), "{error}");
}

#[test]
fn the_file_is_rotated_before_it_grows_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let mut settings = settings(&path);
    // Three lines and a bit.
    settings.access_log_rotate_bytes = 3 * line("/00").len() as u64 + 7;
    settings.access_log_keep = 2;
    let log = AccessLog::start(&settings).unwrap();
    for number in 0..11 {
        log.record(&record(&format!("/{number:02}")));
        assert!(log.flush(LONG));
    }
    log.stop(LONG);
    let lines = |numbers: std::ops::Range<u32>| {
        numbers.map(|number| line(&format!("/{number:02}"))).collect::<String>()
    };
    assert_eq!(read(&path), lines(9..11));
    assert_eq!(read(&folder.path().join("access.log.1")), lines(6..9));
    assert_eq!(read(&folder.path().join("access.log.2")), lines(3..6));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "the oldest is gone");

    // What was there at the start counts, and a line that is larger than the limit gets a file of its own.
    settings.access_log_rotate_bytes = 50;
    settings.access_log_keep = 1;
    let log = AccessLog::start(&settings).unwrap();
    for target in ["/a", "/b"] {
        log.record(&record(target));
        assert!(log.flush(LONG));
    }
    log.stop(LONG);
    assert_eq!(read(&path), line("/b"));
    assert_eq!(read(&folder.path().join("access.log.1")), line("/a"));
}

#[test]
fn rotation_may_keep_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let mut settings = settings(&path);
    settings.access_log_rotate_bytes = 10;
    settings.access_log_keep = 0;
    let log = AccessLog::start(&settings).unwrap();
    for target in ["/a", "/b", "/c"] {
        log.record(&record(target));
        assert!(log.flush(LONG));
    }
    log.stop(LONG);
    assert_eq!(read(&path), line("/c"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn reopening_leaves_the_past_in_the_renamed_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.old"));
    let log = AccessLog::start(&settings(&path)).unwrap();
    log.record(&record("/past"));
    assert!(log.flush(LONG));
    std::fs::rename(&path, &old).unwrap();
    log.reopen();
    assert!(log.flush(LONG));
    log.record(&record("/present"));
    log.stop(LONG);
    assert_eq!(read(&old), line("/past"));
    assert_eq!(read(&path), line("/present"));
}

#[test]
fn a_renamed_or_removed_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.old"));
    let log = AccessLog::start(&settings(&path)).unwrap();
    log.record(&record("/one"));
    assert!(log.flush(LONG));
    std::fs::rename(&path, &old).unwrap();
    log.record(&record("/two"));
    assert!(log.flush(LONG));
    assert_eq!((read(&old), read(&path)), (line("/one"), line("/two")));

    // Windows keeps the name of a removed file until it is closed, and cannot tell two files apart here.
    if cfg!(unix) {
        std::fs::remove_file(&path).unwrap();
        log.record(&record("/three"));
        assert!(log.flush(LONG));
        assert_eq!(read(&path), line("/three"));

        // As logrotate's `create` does it: another file is there already.
        std::fs::rename(&path, &old).unwrap();
        std::fs::write(&path, "").unwrap();
        log.record(&record("/four"));
        assert!(log.flush(LONG));
        assert_eq!((read(&old), read(&path)), (line("/three"), line("/four")));
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_and_the_group_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    AccessLog::start(&settings(&path)).unwrap().stop(LONG);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o027, 0);
}
