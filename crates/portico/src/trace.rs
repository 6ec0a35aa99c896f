//! `--trace`: each completion as the seed's debug listing prints it.

use completion_port::OperationKind;
use std::io::Write;

/// Prints to standard output. A listing for people who watch one request; it blocks the workers, which is why it is off by default.
pub(crate) struct Trace(());

const RULE: &str = "++++++++++++++++++++++++++++++++++";

impl Trace {
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// A socket read: bytes that came, the buffer's length, and the request as far as it is there.
    pub(crate) fn received(&self, worker: usize, bytes: u64, buffer_length: usize, request: &[u8]) {
        let mut text = title(worker, OperationKind::Receive, bytes);
        text.push_str(&format!("{RULE}, BuffLen= {buffer_length}\n"));
        text.extend(request.escape_ascii().map(char::from));
        let text = text.replace("\\r\\n", "\n").replace("\\\"", "\"").replace("\\'", "'");
        print(&format!("{text}\n{RULE}\n\n"));
    }

    /// A file read: bytes of this slice, and how far it is with the whole.
    pub(crate) fn read(&self, worker: usize, bytes: u64, accumulated: u64, total: u64) {
        let title = title(worker, OperationKind::ReadAt, bytes);
        print(&format!("{title}bytesToWrite= {bytes}, AcumBytes= {accumulated} of {total}\n\n"));
    }

    /// A socket write, and what comes after it.
    pub(crate) fn sent(&self, worker: usize, bytes: u64, next: &str) {
        let title = title(worker, OperationKind::Send, bytes);
        print(&format!("{title}{next}\n\n"));
    }

    /// A file write.
    pub(crate) fn written(&self, worker: usize, bytes: u64, accumulated: u64) {
        let title = title(worker, OperationKind::WriteAt, bytes);
        print(&format!("{title}AcumBytes= {accumulated}\n\n"));
    }

    /// The shutdown packet.
    pub(crate) fn shutdown(&self, worker: usize) {
        print(&format!("{}\n", title(worker, OperationKind::Shutdown, 0)));
    }
}

fn title(worker: usize, kind: OperationKind, bytes: u64) -> String {
    let name = kind.seed_name().unwrap_or(kind.name());
    format!("{worker:5}------------ {name} Bytes= {bytes}\n")
}

fn print(text: &str) {
    // A listing that nobody reads any more must not stop the server.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
