//! Answers without a file: what is said of a request that is refused, and the pages that a site has of its own for that.
//!
//! Such an answer may come instead of any other, in the middle of a body, or where no request could be read. Where a page is set for
//! its status, the answer waits here until the page is in the cache; the request, and its place in the input, are done with by then.

use super::{
    Activity, Audience, COPY_BYTES, Connection,
    answer::{BATCH_BYTES, LateRecord, put_end},
    stream::{Part, Parts},
};
use crate::{
    context::Context,
    decide::Simple,
    entry::{Entry, VARY},
    host::Host,
    ready::Subject,
    seek::{Lookup, Purpose},
};
use completion_port::{Buffer, Slice};
use portico_http::{
    body::BodyLength,
    date::{self, HttpDate},
    request::Version,
    response::{Connection as ConnectionField, ContentRange, ResponseHead},
    status::Status,
};
use std::{rc::Rc, sync::Arc};

/// Room for the head and the text of an answer without a file, beside its variable fields.
const SIMPLE_ROOM: usize = 768;
/// With a text that says how things are now.
const NOT_STORED: (&str, &[u8]) = ("Cache-Control", b"no-store");
const TEXT: [&str; 5] =
    ["<!doctype html>\n<meta charset=\"utf-8\">\n<title>", " ", "</title>\n<h1>", " ", "</h1>\n"];

/// An answer that waits for the page of its status.
pub(super) struct Refusal {
    simple: Simple,
    version: Version,
    log: Option<Box<LateRecord>>,
}

/// What stands behind the head of an answer.
struct Content<'a> {
    media_type: &'a str,
    length: u64,
    language: Option<&'a str>,
    lines: [&'a [u8]; 2],
}

impl Connection {
    /// Whether an answer with this status waits for its page.
    pub(super) fn has_page(&self, status: Status, context: &Context) -> bool {
        self.audience == Audience::Site && context.site.hosts[self.host].routing.page(status).is_some()
    }

    /// Has an answer wait for the page of its status.
    pub(super) fn wait_for_page(
        &mut self,
        version: Version,
        simple: Simple,
        mut log: Option<Box<LateRecord>>,
    ) {
        if let Some(late) = &mut log {
            late.status = simple.status;
        }
        self.refusal = Some(Box::new(Refusal { simple, version, log }));
    }

    /// Answers a request that is out of the input already.
    pub(super) fn answer_late(
        &mut self,
        version: Version,
        simple: Simple,
        log: Option<Box<LateRecord>>,
        context: &mut Context,
    ) {
        if self.has_page(simple.status, context) {
            return self.wait_for_page(version, simple, log);
        }
        match self.write_simple(version, &simple, 0, context) {
            Some(sent) => {
                if let Some(late) = log {
                    late.record_as(simple.status, self.client.remote, sent, context);
                }
            }
            // Only when no buffer is free: the end of the connection says it, behind the answers that wait to be sent.
            None => self.last_answer = true,
        }
    }

    /// Writes the answer that waits for its page, or looks for the page. False if there is no room in this batch.
    pub(super) fn answer_with_page(&mut self, context: &mut Context) -> bool {
        let Some(mut refusal) = self.refusal.take() else { return true };
        let (site, number, status) = (Rc::clone(&context.site), self.host, refusal.simple.status);
        let known = self.known.take().filter(|known| known.page_of == Some(status));
        let page = match (known, site.hosts[number].routing.page(status)) {
            (None, Some(key)) => {
                let (now, revalidate) = (context.port.now(), site.settings.file_revalidate);
                match context.cache.get(number, key).filter(|page| !page.is_due(now, revalidate)) {
                    Some(page) => Some(Arc::clone(page)),
                    None => {
                        self.refusal = Some(refusal);
                        self.look_up(Lookup::new(number, key, Purpose::Page(status)), context);
                        return true;
                    }
                }
            }
            (known, _) => known,
        };
        let batch = if self.input.is_empty() { 0 } else { BATCH_BYTES };
        let written = match &page {
            Some(page) if page.file().is_some() => self.write_page_of(&mut refusal, page, batch, context),
            _ => self.write_simple(refusal.version, &refusal.simple, batch, context),
        };
        let Some(sent) = written else {
            (self.refusal, self.known) = (Some(refusal), page);
            return false;
        };
        // Where it is gone, it is with what is being sent.
        if let Some(late) = refusal.log {
            late.record(self.client.remote, sent, context);
        }
        true
    }

    /// Writes the page of a status, or what is needed to stream it, and gives the length of its body. None if there is no room in this
    /// batch.
    fn write_page_of(
        &mut self,
        refusal: &mut Refusal,
        page: &Arc<Entry>,
        batch: usize,
        context: &mut Context,
    ) -> Option<u64> {
        let Refusal { simple, version, log } = refusal;
        let file = page.file()?;
        let site = Rc::clone(&context.site);
        let host = &site.hosts[self.host];
        let cors = cors_lines(simple, host);
        let content = Content {
            media_type: &file.content_type,
            length: file.length(),
            language: file.language(host.settings.content_language.as_deref()),
            lines: [&file.lines, cors],
        };
        let length = if simple.with_body { file.length() } else { 0 };
        let copied = length <= COPY_BYTES as u64 && file.bytes.is_some();
        let needed = room_for(simple, host, &content) + if copied { length as usize } else { 0 };
        let buffers = context.port.buffers();
        let date = context.dates.at(context.wall);
        if length > 0 && file.bytes.is_none() {
            let Ok(mut buffer) = buffers.acquire(needed) else { return self.wait_for_room(context) };
            put_head(&mut buffer, *version, simple, host, &content, date);
            let parts = vec![Part { lead: buffer.freeze(), range: 0..length }];
            let parts = Parts { parts, end: Slice::from_static(b""), frame_bytes: 0 };
            if !self.begin_parts(page, parts, None, context) {
                return None;
            }
            if let Activity::Streaming(body) = &mut self.activity {
                body.log = log.take();
            }
        } else {
            if !copied && !self.output.has_room_for_slice() {
                return None;
            }
            let Some(buffer) = self.output.room(buffers, needed, batch) else {
                return self.wait_for_room(context);
            };
            put_head(buffer, *version, simple, host, &content, date);
            if let Some(bytes) = file.bytes.as_ref().filter(|_| length > 0) {
                if copied {
                    buffer.extend_from_slice(bytes);
                    context.counts.count_body_copied(bytes.len());
                } else {
                    self.output.join(bytes.clone());
                }
            }
        }
        self.last_answer |= simple.close;
        self.count_answer(simple.status, context);
        Some(length)
    }

    /// Writes an answer without a file, and gives the length of its body. None if there is no room in this batch.
    pub(super) fn write_simple(
        &mut self,
        version: Version,
        simple: &Simple,
        batch: usize,
        context: &mut Context,
    ) -> Option<u64> {
        let host = &context.site.hosts[self.host];
        let code = simple.status.code();
        let (mut digits, reason) = ([0; 3], simple.status.reason());
        for (place, digit) in digits.iter_mut().enumerate() {
            *digit = b'0' + (code / [100, 10, 1][place] % 10) as u8;
        }
        let page = [
            TEXT[0].as_bytes(),
            &digits,
            TEXT[1].as_bytes(),
            reason.as_bytes(),
            TEXT[2].as_bytes(),
            &digits,
            TEXT[3].as_bytes(),
            reason.as_bytes(),
            TEXT[4].as_bytes(),
        ];
        let plain = simple.text.map(str::as_bytes);
        let texts = plain.as_ref().map_or(&page[..], std::slice::from_ref);
        let content = Content {
            media_type: if plain.is_some() {
                "text/plain; charset=utf-8"
            } else {
                "text/html; charset=utf-8"
            },
            length: texts.iter().map(|text| text.len() as u64).sum(),
            language: None,
            lines: [host.fields.preset_lines(), cors_lines(simple, host)],
        };
        let needed = room_for(simple, host, &content) + content.length as usize;
        let with_body = simple.with_body && !simple.status.is_without_content();
        let (date, now_s) = (context.dates.at(context.wall), date::second(context.wall));
        let write = |buffer: &mut Buffer| {
            put_head(buffer, version, simple, host, &content, date);
            if with_body {
                texts.iter().for_each(|text| buffer.extend_from_slice(text));
            }
        };
        let buffers = context.port.buffers();
        let is_shared = batch == 0
            && self.output.is_empty()
            && version == Version::Http11
            && simple.is_the_same_for_all();
        let subject = is_shared.then_some(Subject::Status(self.host, simple.status));
        let ready = subject.and_then(|subject| context.ready.answer(subject, now_s, needed, buffers, write));
        if let Some(ready) = ready {
            self.output.join(ready);
        } else {
            let room = self.output.room(buffers, needed, batch);
            let Some(buffer) = room else { return self.wait_for_room(context) };
            write(buffer);
        }
        let sent = if with_body { content.length } else { 0 };
        self.last_answer |= simple.close;
        self.count_answer(simple.status, context);
        Some(sent)
    }
}

/// What an answer says to the origin of its request.
fn cors_lines<'h>(simple: &Simple, host: &'h Host) -> &'h [u8] {
    simple.cors.zip(host.cors.as_ref()).map_or(&[], |(answer, cors)| cors.lines(answer))
}

/// The most that a head takes.
fn room_for(simple: &Simple, host: &Host, content: &Content<'_>) -> usize {
    let challenge = challenge(simple, host).map_or(0, str::len);
    let lines = content.lines.iter().map(|lines| lines.len()).sum::<usize>();
    let location = simple.location.as_deref().map_or(0, str::len);
    SIMPLE_ROOM + location + challenge + content.language.map_or(0, str::len) + lines
}

fn challenge<'h>(simple: &Simple, host: &'h Host) -> Option<&'h str> {
    let protection = host.protection.as_ref().filter(|_| simple.status == Status::UNAUTHORIZED);
    protection.map(|protection| &*protection.challenge)
}

fn put_head(
    buffer: &mut Buffer,
    version: Version,
    simple: &Simple,
    host: &Host,
    content: &Content<'_>,
    date: &HttpDate,
) {
    let without = simple.status.is_without_content();
    let challenge = challenge(simple, host).map(|value| ("WWW-Authenticate", value.as_bytes()));
    let language = content.language.map(|value| ("Content-Language", value.as_bytes()));
    let not_stored = simple.text.map(|_| NOT_STORED);
    let none = ("", &b""[..]);
    let mut fields = [none; 3];
    let mut count = 0;
    for field in [challenge, language, not_stored].into_iter().flatten() {
        fields[count] = field;
        count += 1;
    }
    let head = ResponseHead {
        body: if without { BodyLength::Unsaid } else { BodyLength::Length(content.length) },
        content_type: (!without).then_some(content.media_type),
        vary: simple.varies.then_some(VARY),
        content_range: simple.unsatisfied.map(|length| ContentRange::Unsatisfied { length }),
        location: simple.location.as_deref(),
        allow: simple.allow,
        retry_after_s: simple.retry_after_s,
        server: host.server(),
        fields: &fields[..count],
        ..ResponseHead::new(simple.status)
    };
    let written =
        head.write_open(buffer.spare_mut()).expect("targets and settings were checked, and there is room");
    buffer.advance(written);
    content.lines.iter().for_each(|lines| buffer.extend_from_slice(lines));
    let connection = ConnectionField::for_version(version, !simple.close);
    put_end(buffer, date, connection);
}
