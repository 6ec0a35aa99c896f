//! Listing a folder: the pool makes the page, the cache keeps it, and it is sent like a small file.

use super::{
    Activity, COPY_BYTES, Connection,
    lookup::{is_missing, status_of},
};
use crate::{
    context::Context,
    decide::cors_answer,
    entry::{Entry, Kind},
    listing::{Listing, Page, PageAnswer, Work},
    seek,
};
use completion_port::{Completion, Error, Operation, Payload, Slice};
use portico_http::{
    body::BodyLength,
    etag::ETag,
    request::{Request, Version},
    response::{self, Connection as ConnectionField, ResponseHead},
    status::Status,
};
use std::sync::Arc;

/// Room for the head of a page, beside its lines and where it redirects to.
const HEAD_ROOM: usize = 768;

/// An answer that is made and not a file.
pub(super) struct Made<'a> {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    /// Its further field lines.
    pub(super) lines: [&'a [u8]; 2],
    pub(super) etag: Option<ETag<'a>>,
    pub(super) location: Option<&'a str>,
    pub(super) bytes: Slice,
    pub(super) with_body: bool,
    pub(super) close: bool,
}

impl Connection {
    /// Has the pool read a folder. The request in front is read once more when the page is there.
    pub(super) fn list(&mut self, listing: Listing, context: &mut Context) {
        let host = &context.site.hosts[listing.host];
        let key = listing.folder_key().to_owned();
        let upload = host.upload.as_ref().filter(|folder| folder.is(key.trim_end_matches('/')));
        let work = Work {
            root: Arc::clone(&host.root),
            key,
            options: host.open_options(),
            rules: host.rules,
            most: context.site.settings.listing_entries,
            view: listing.view,
            upload: upload.is_some(),
            changes: upload.map_or(0, |folder| folder.changes()),
            buffers: context.port.buffers().clone(),
        };
        let operation = Operation::Call { work: Box::new(move || Box::new(work.run())) };
        match context.port.submit(self.handle, operation) {
            Ok(_) => self.activity = Activity::Listing(Box::new(listing)),
            // The pool is full: what is waited for would come too late for many.
            Err(_) => self.refuse(Status::SERVICE_UNAVAILABLE, context),
        }
    }

    pub(super) fn on_listed(&mut self, completion: Completion, context: &mut Context) {
        let Activity::Listing(listing) = std::mem::replace(&mut self.activity, Activity::Reading) else {
            return;
        };
        if self.closing {
            return;
        }
        let made = match (completion.result, completion.payload) {
            (Ok(_), Payload::Returned(returned)) => returned.downcast::<Result<Page, Error>>().ok(),
            _ => None,
        };
        let now = context.port.now();
        let kind = match made.map(|made| *made) {
            Some(Ok(page)) => {
                let folder = seek::url(listing.folder_key());
                let asked = if folder == "/" { "" } else { &folder };
                let host = &context.site.hosts[listing.host];
                let audience = host.audience(listing.folder_key());
                let lines = host.fields.lines_for_page(asked, page.policy, audience);
                Kind::Page(Page { lines, ..page })
            }
            Some(Err(error)) if is_missing(&error) => {
                // There is no such folder: that is known from now on, like every name that leads nowhere.
                let nothing = Arc::new(Entry::new(Kind::Nothing(Status::NOT_FOUND), now));
                context.cache.remove(listing.host, &listing.key);
                context.cache.insert(listing.host, listing.folder_key(), Arc::clone(&nothing));
                self.known = Some(nothing);
                return;
            }
            failed => {
                let error = failed.and_then(Result::err);
                if let Some(held_back) = context.warnings.may_warn(now) {
                    let reason = error.map_or("the work did not end".to_owned(), |error| error.to_string());
                    tracing::warn!(
                        path = listing.folder_key(),
                        reason,
                        held_back,
                        "a folder could not be listed"
                    );
                }
                context.cache.remove(listing.host, &listing.key);
                self.known = Some(Arc::new(Entry::new(Kind::Nothing(status_of(error)), now)));
                return;
            }
        };
        let bytes = if let Kind::Page(page) = &kind { page.bytes.len() } else { 0 };
        let entry = Arc::new(Entry::new(kind, now));
        if context.cache.would_keep(bytes as u64) {
            context.cache.insert(listing.host, &listing.key, Arc::clone(&entry));
        } else {
            context.cache.remove(listing.host, &listing.key);
        }
        self.known = Some(entry);
    }

    /// Writes a listing. None if there is no room in this batch.
    pub(super) fn write_page(
        &mut self,
        request: &Request<'_>,
        answer: &PageAnswer,
        close: bool,
        batch: usize,
        context: &mut Context,
    ) -> Option<()> {
        let Kind::Page(page) = &answer.entry.kind else { return Some(()) };
        let said = cors_answer(request, self.host, context);
        let cors = context.site.hosts[self.host].cors.clone();
        let cors = said.zip(cors.as_ref()).map_or(&[][..], |(said, cors)| cors.lines(said));
        let made = Made {
            status: answer.status,
            content_type: page.content_type,
            lines: [&page.lines, cors],
            etag: Some(page.etag.as_etag()),
            location: None,
            bytes: page.bytes.clone(),
            with_body: answer.with_body,
            close,
        };
        let sent = self.write_made(request.version, made, batch, context)?;
        self.log(Some(request), answer.status, sent, context);
        Some(())
    }

    /// Writes an answer that was made, and gives the length of its body. None if there is no room in this batch.
    pub(super) fn write_made(
        &mut self,
        version: Version,
        made: Made<'_>,
        batch: usize,
        context: &mut Context,
    ) -> Option<u64> {
        let host = &context.site.hosts[self.host];
        let length = made.bytes.len();
        let copied = length <= COPY_BYTES;
        if made.with_body && !copied && !self.output.has_room_for_slice() {
            return None;
        }
        let body = if made.with_body && copied { length } else { 0 };
        let line_bytes = made.lines.iter().map(|lines| lines.len()).sum::<usize>();
        let needed = HEAD_ROOM + made.location.map_or(0, str::len) + line_bytes + body;
        let Some(buffer) = self.output.room(context.port.buffers(), needed, batch) else {
            return self.wait_for_room(context);
        };
        let unchanged = made.status == Status::NOT_MODIFIED;
        let head = ResponseHead {
            body: if unchanged { BodyLength::Unsaid } else { BodyLength::Length(length as u64) },
            content_type: (!unchanged).then_some(made.content_type),
            vary: Some("Accept"),
            etag: made.etag,
            location: made.location,
            server: host.server(),
            ..ResponseHead::new(made.status)
        };
        let Ok(written) = head.write_open(buffer.spare_mut()) else {
            // Only a target that cannot stand in a field gets here, and no client can send one.
            self.last_answer = true;
            return Some(0);
        };
        buffer.advance(written);
        made.lines.iter().for_each(|lines| buffer.extend_from_slice(lines));
        let (date, connection) =
            (context.dates.at(context.wall), ConnectionField::for_version(version, !made.close));
        let length =
            response::write_end(buffer.spare_mut(), Some(date), connection).expect("there is room for it");
        buffer.advance(length);
        self.last_answer |= made.close;
        if made.with_body && copied {
            buffer.extend_from_slice(&made.bytes);
            context.counts.count_body_copied(length);
        } else if made.with_body {
            self.output.join(made.bytes);
        }
        self.count_answer(made.status, context);
        Some(if made.with_body { length as u64 } else { 0 })
    }
}
