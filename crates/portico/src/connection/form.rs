//! Forms with files: an upload of several, each a file of its own.

use super::{Activity, Connection, listing::Made};
use crate::{
    context::Context,
    listing::{result_page, results},
    upload::{Stage, Upload},
};
use completion_port::{BufferChain, Slice};
use portico_http::status::Status;

impl Connection {
    /// A file of a form is done with, and this came of it. The next part may begin.
    pub(super) fn end_file(&mut self, status: Status, context: &mut Context) {
        self.abandon_upload(context);
        self.disk_moved(context);
        let Activity::Uploading(upload) = &mut self.activity else { return };
        upload.next_part(status);
    }

    /// Answers a form whose body has come to its end.
    pub(super) fn finish_form(&mut self, context: &mut Context) {
        let Activity::Uploading(upload) = std::mem::replace(&mut self.activity, Activity::Reading) else {
            return;
        };
        let Upload { version, close, log, form: Some(form), .. } = *upload else { return };
        let failed = form.results.iter().map(|(_, status)| *status).find(|status| *status != Status::CREATED);
        let status = match failed {
            Some(status) => status,
            // No file at all.
            None if form.results.is_empty() => Status::BAD_REQUEST,
            None if form.wants_json => Status::CREATED,
            None => Status::SEE_OTHER,
        };
        let (content_type, (policy, text)) = if form.wants_json {
            ("application/json", ("default-src 'none'", results(&form.results)))
        } else {
            ("text/html; charset=utf-8", result_page(&form.results))
        };
        let bytes = context.port.buffers().allocate(text.len()).map(|mut buffer| {
            buffer.extend_from_slice(text.as_bytes());
            buffer.freeze()
        });
        let lines = context.site.hosts[self.host].fields.lines_for_result(policy);
        let made = Made {
            status,
            content_type,
            lines: [&lines, &[]],
            etag: None,
            location: (status == Status::SEE_OTHER).then_some(form.folder.as_str()),
            // The files are there, and the status says so.
            bytes: bytes.unwrap_or_else(|_| Slice::from_static(b"")),
            with_body: true,
            close: close || context.draining,
        };
        match self.write_made(version, made, 0, context) {
            Some(sent) => {
                if let Some(late) = log {
                    late.record_as(status, self.client.remote, sent, context);
                }
            }
            // Only when no buffer is free; the files are there, and the client will see them.
            None => self.last_answer = true,
        }
    }
}

impl Upload {
    /// Makes way for the next part of a form.
    fn next_part(&mut self, status: Status) {
        self.stage = Stage::Between;
        self.file = crate::entry::OpenFile::none();
        self.temporary = None;
        self.gathered = BufferChain::new();
        self.offset = 0;
        let name = std::mem::take(&mut self.name);
        if let Some(form) = &mut self.form {
            form.end_part();
            form.results.push((name, status));
        }
    }
}
