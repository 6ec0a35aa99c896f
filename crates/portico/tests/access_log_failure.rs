//! A disk that is full: reported once, counted, and survived. Linux has a device that is always full.
#![cfg(target_os = "linux")]

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use portico::log::{AccessLog, AccessRecord};
use portico::settings::{LogTarget, Settings};
use tracing::field::{Field, Visit};
use tracing::span;

const LONG: Duration = Duration::from_secs(60);

/// Keeps what the program log would show.
struct Collector(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl tracing::Subscriber for Collector {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn record(log: &AccessLog) {
    log.record(&AccessRecord {
        time: UNIX_EPOCH,
        remote: std::net::IpAddr::from([127, 0, 0, 1]).into(),
        user: b"",
        method: b"GET",
        target: b"/",
        version: b"HTTP/1.1",
        status: 200,
        bytes: 5,
        referer: b"",
        user_agent: b"",
        duration: Duration::ZERO,
    });
}

/// One test, as there is one program log.
#[test]
fn a_full_disk_is_reported_once_and_survived() {
    let said = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::set_global_default(Collector(Arc::clone(&said))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();

    let mut settings = Settings::new(".");
    settings.access_log = Some(LogTarget::File(path.clone()));
    settings.access_log_rotate_bytes = 10;
    let log = AccessLog::start(&settings).unwrap();
    for _ in 0..3 {
        record(&log);
        record(&log);
        assert!(log.flush(LONG));
    }
    let counts = log.counts();
    assert_eq!((counts.written, counts.failed, counts.dropped), (0, 6, 0));
    {
        let said = said.lock().unwrap();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("ERROR ") && said[0].contains("cannot write the access log"), "{said:?}");
        assert!(said[0].contains(path.to_str().unwrap()) && said[0].contains("No space left"), "{said:?}");
    }
    assert!(!folder.path().join("access.log.1").exists(), "a device is never rotated");

    // There is room again.
    std::fs::remove_file(&path).unwrap();
    record(&log);
    assert!(log.flush(LONG));
    assert_eq!((log.counts().written, log.counts().failed), (1, 6));
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert!(said.lock().unwrap()[1].contains("records=6"), "{said:?}");

    // The folder is gone: the open file goes on, and that is said once.
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_dir(folder.path()).unwrap();
    for _ in 0..3 {
        record(&log);
        assert!(log.flush(LONG));
    }
    assert_eq!(said.lock().unwrap().len(), 3, "{said:?}");
    assert!(said.lock().unwrap()[2].contains("cannot open the access log again"), "{said:?}");

    // The folder is back, and so is the file.
    std::fs::create_dir(folder.path()).unwrap();
    assert!(log.stop(LONG).finished);
    assert!(path.exists());
}
