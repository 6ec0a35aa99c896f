//! Writing answers into the output.

use super::{
    Activity, COPY_BYTES, Connection, Decision, Progress, Taken, body::needs_body,
    stream::LEAST_TRANSMITTED_BYTES,
};
use crate::{
    context::Context,
    decide::{FileAnswer, Simple},
    entry::{Extent, File, HEAD_ROOM},
    log::{AccessRecord, Remote},
    ready::Subject,
};
use completion_port::Buffer;
use portico_http::{
    body::BodyDecoder,
    date::{self, HttpDate},
    method::Method,
    request::{self, Parsed, Request, Version},
    response::{self, Connection as ConnectionField, MAX_END_BYTES},
    status::Status,
};
use std::{ops::Range, time::Duration};

/// Capacity for several pipelined answers in one send.
pub(super) const BATCH_BYTES: usize = 65_536;

impl Connection {
    /// Answers `request` as decided; `behind` says that more input follows it.
    pub(super) fn answer(
        &mut self,
        request: &Request<'_>,
        decision: Decision,
        behind: bool,
        context: &mut Context,
    ) -> Taken {
        let batch = if behind { BATCH_BYTES } else { 0 };
        let written = match decision {
            Decision::LookUp(lookup) => {
                context.counts.count_miss();
                self.answers_head = request.method == Method::Head;
                self.look_up(lookup, context);
                self.answers_head = false;
                return Taken::Kept(if self.known.is_some() { Progress::Again } else { Progress::Wait });
            }
            Decision::List(listing) => {
                self.list(listing, context);
                return Taken::Kept(Progress::Wait);
            }
            Decision::Page(answer) => {
                let close = self.decide_end(request, false, context);
                self.write_page(request, &answer, close, batch, context)
            }
            Decision::Report(report) => {
                let close = self.decide_end(request, false, context);
                self.write_report(request, report, close, batch, context)
            }
            Decision::Authenticate => unreachable!("it was replaced by what became of it"),
            Decision::Check(check) => {
                self.answers_head = request.method == Method::Head;
                self.check(*check, context);
                self.answers_head = false;
                return Taken::Kept(Progress::Wait);
            }
            Decision::Upload(goal) => {
                return match self.begin_upload(request, goal, context) {
                    Some(()) => Taken::Answered(Progress::Again),
                    None => Taken::Kept(Progress::Wait),
                };
            }
            Decision::Delete { name } => {
                let close = self.decide_end(request, false, context);
                self.begin_deletion(request, name, close, context);
                Some(())
            }
            Decision::Simple(simple) => {
                let close = self.decide_end(request, simple.close, context);
                let (status, logged) = (simple.status, simple.logged);
                let simple = Simple { close, ..simple };
                if self.has_page(status, context) {
                    let log = self.late_record(Some(request), status).filter(|_| logged);
                    self.wait_for_page(request.version, simple, log);
                    Some(())
                } else {
                    let sent = self.write_simple(request.version, &simple, batch, context);
                    sent.map(|sent| {
                        if logged {
                            self.log(Some(request), status, sent, context);
                        }
                    })
                }
            }
            Decision::File(answer) => {
                let close = self.decide_end(request, false, context);
                self.write_file(request, &answer, close, batch, context)
            }
            Decision::Parts(entry, ranges) => {
                let close = self.decide_end(request, false, context);
                self.write_parts(request, &entry, &ranges, close, batch, context)
            }
        };
        match written {
            Some(()) => {
                // Too long to be read past, or waiting for 100 (Continue): `decide_end` has said that this answer is the last.
                self.still_sends |= needs_body(request);
                Taken::Answered(Progress::Again)
            }
            // This batch goes out first.
            None => Taken::Kept(Progress::Wait),
        }
    }

    /// Whether the connection ends after this answer.
    fn decide_end(&mut self, request: &Request<'_>, close: bool, context: &Context) -> bool {
        let keep = request.keep_alive && context.site.settings.keep_alive && !context.draining;
        // A client that waits for 100 (Continue) may send its body or not after another answer: the framing is lost.
        let lost = needs_body(request)
            && (request.expect_continue
                || BodyDecoder::new(request.body, &context.site.discard_limits).is_err());
        let close = close || !keep || lost;
        // A client that did not ask for the end may have sent its next request already.
        self.still_sends |= close && request.keep_alive;
        close
    }

    /// Answers what could not be read as a request, or cannot go on; the connection ends.
    pub(super) fn refuse(&mut self, status: Status, context: &mut Context) {
        // Where there is no room, the answers before this one go first. Then the request is read again, and refused again.
        self.try_refuse(status, context);
    }

    /// As [`Self::refuse`]; false if there is no room for the answer yet.
    pub(super) fn try_refuse(&mut self, status: Status, context: &mut Context) -> bool {
        // The refusal of a HEAD request has no body either (RFC 9110 section 9.3.2), be the rest of it as it may.
        let mut received = self.held.as_deref().unwrap_or(self.input.bytes());
        while let Some(behind) = received.strip_prefix(b"\r\n") {
            received = behind;
        }
        let is_head = self.answers_head || received.starts_with(b"HEAD ");
        let simple = Simple { with_body: !is_head, ..Simple::closing(status) };
        let has_page = self.has_page(status, context);
        let mut sent = 0;
        if !has_page {
            let Some(written) = self.write_simple(Version::Http11, &simple, 0, context) else { return false };
            sent = written;
        }
        // What such a client sends further is not looked at, but it has to be read for it to see the answer.
        self.still_sends = true;
        let held = self.held.take();
        let request = match held.as_deref().map(|head| request::parse(head, &context.site.limits)) {
            Some(Ok(Parsed::Complete(request))) => Some(request),
            _ => None,
        };
        if has_page {
            let log = self.late_record(request.as_ref(), status);
            self.wait_for_page(Version::Http11, simple, log);
        } else {
            self.log(request.as_ref(), status, sent, context);
        }
        true
    }

    /// Writes the head of a file, and its bytes or what is needed to stream them. None if there is no room in this batch.
    fn write_file(
        &mut self,
        request: &Request<'_>,
        answer: &FileAnswer,
        close: bool,
        batch: usize,
        context: &mut Context,
    ) -> Option<()> {
        let file = answer.entry.file().expect("the decision was made for a file");
        let field = ConnectionField::for_version(request.version, !close);
        if field.is_none() && batch == 0 && self.join_ready_file(request, answer, file, context) {
            return Some(());
        }
        let mut room = [0; HEAD_ROOM];
        let head: [&[u8]; 2] = if answer.status == Status::OK {
            [&file.head, &[]]
        } else {
            let extent = answer.range.map_or(Extent::Unchanged, |(first, last)| Extent::Part(first, last));
            let fields = context.site.hosts[self.host].head_fields();
            let length = file.head_for(extent, request.if_range.is_some(), &fields, &mut room);
            [&room[..length], &file.lines]
        };
        let cors = if file.cors { context.site.hosts[self.host].cors.clone() } else { None };
        let cors = cors.as_ref().map_or(&[][..], |cors| cors.lines(cors.answer(request)));
        let head = [head[0], head[1], cors];
        let (first, end) = answer.range.map_or((0, file.length()), |(first, last)| (first, last + 1));
        let end = if answer.with_body { end } else { first };
        let streamed = file.bytes.is_none() && end > first;
        if streamed && self.write_from_memory(file, &head, first..end, field, batch, context) {
            self.last_answer |= close;
            self.count_answer(answer.status, context);
            self.log(Some(request), answer.status, end - first, context);
            return Some(());
        }
        let date = context.dates.at(context.wall);
        if streamed {
            let mut end_of_head = [0; MAX_END_BYTES];
            let length =
                response::write_end(&mut end_of_head, Some(date), field).expect("it never needs more");
            let head = [head[0], head[1], head[2], &end_of_head[..length]];
            if !self.begin_stream(request, answer, first..end, &head, context) {
                return None;
            }
            self.last_answer |= close;
            self.count_answer(answer.status, context);
            return Some(());
        }
        let body = file.bytes.as_ref().map_or(&[][..], |bytes| &bytes[first as usize..end as usize]);
        let copied = body.len() <= COPY_BYTES;
        if !copied && !self.output.has_room_for_slice() {
            return None;
        }
        let head_bytes = head.iter().map(|part| part.len()).sum::<usize>();
        let needed = head_bytes + MAX_END_BYTES + if copied { body.len() } else { 0 };
        let Some(buffer) = self.output.room(context.port.buffers(), needed, batch) else {
            return self.wait_for_room(context);
        };
        head.iter().for_each(|part| buffer.extend_from_slice(part));
        put_end(buffer, date, field);
        if copied {
            buffer.extend_from_slice(body);
            context.counts.count_body_copied(body.len());
        } else if let Some(bytes) = &file.bytes {
            self.output.join(bytes.slice(first as usize..end as usize));
        }
        self.last_answer |= close;
        self.count_answer(answer.status, context);
        self.log(Some(request), answer.status, end - first, context);
        Some(())
    }

    /// Answers with what is ready, where it is. False if the answer has to be written.
    fn join_ready_file(
        &mut self,
        request: &Request<'_>,
        answer: &FileAnswer,
        file: &File,
        context: &mut Context,
    ) -> bool {
        let (subject, body, head_bytes) = match (answer.status, &file.bytes) {
            (Status::OK, Some(bytes)) if answer.with_body => {
                (Subject::Whole(&answer.entry), &bytes[..], file.head.len())
            }
            (Status::NOT_MODIFIED, _) if request.if_range.is_none() => {
                (Subject::Unchanged(&answer.entry), &[][..], HEAD_ROOM + file.lines.len())
            }
            _ => return false,
        };
        // What is said to the origin of a request is not the same for all.
        if file.cors || !self.output.is_empty() {
            return false;
        }
        let (date, now_s) = (context.dates.at(context.wall), date::second(context.wall));
        let most_bytes = head_bytes + MAX_END_BYTES + body.len();
        let (site, counts) = (&context.site, &context.counts);
        let host = self.host;
        let ready = context.ready.answer(subject, now_s, most_bytes, context.port.buffers(), |buffer| {
            if answer.status == Status::OK {
                buffer.extend_from_slice(&file.head);
            } else {
                let fields = site.hosts[host].head_fields();
                let length =
                    file.head_for(Extent::Unchanged, false, &file.head_fields(fields), buffer.spare_mut());
                buffer.advance(length);
                buffer.extend_from_slice(&file.lines);
            }
            put_end(buffer, date, None);
            buffer.extend_from_slice(body);
            counts.count_body_copied(body.len());
        });
        let Some(ready) = ready else { return false };
        self.output.join(ready);
        self.count_answer(answer.status, context);
        self.log(Some(request), answer.status, body.len() as u64, context);
        true
    }

    /// Writes a head and a small part of an open file, where that can be read at once. False, with nothing written, where it cannot.
    fn write_from_memory(
        &mut self,
        file: &File,
        head: &[&[u8]],
        range: Range<u64>,
        field: Option<ConnectionField>,
        batch: usize,
        context: &mut Context,
    ) -> bool {
        let length = range.end - range.start;
        if length >= LEAST_TRANSMITTED_BYTES || context.site.trace.is_some() {
            return false;
        }
        let bytes = length as usize;
        let needed = head.iter().map(|part| part.len()).sum::<usize>() + MAX_END_BYTES + bytes;
        let Some(buffer) = self.output.room(context.port.buffers(), needed, batch) else { return false };
        let before = buffer.len();
        head.iter().for_each(|part| buffer.extend_from_slice(part));
        let date = context.dates.at(context.wall);
        put_end(buffer, date, field);
        let room = &mut buffer.spare_mut()[..bytes];
        if context.port.read_at_once(self.handle, file.handle.handle(), range.start, room) < bytes {
            self.output.take_back(before);
            return false;
        }
        buffer.advance(bytes);
        true
    }

    /// There is no room in the output: it has to be sent first, or, if it is empty, no buffer is free and the client is told.
    pub(super) fn wait_for_room<T>(&mut self, context: &mut Context) -> Option<T> {
        if self.output.is_empty() && !self.sending {
            self.send_overloaded(context);
        }
        None
    }

    /// Says what was answered to the access log.
    pub(super) fn log(&self, request: Option<&Request<'_>>, status: Status, bytes: u64, context: &Context) {
        let Some(remote) = self.client.remote else { return };
        let now = context.port.now();
        let record = AccessRecord {
            time: context.wall,
            remote,
            user: self.client.user(),
            method: request.map_or(b"", |request| request.method_text.as_bytes()),
            target: request.map_or(b"", |request| request.target.as_bytes()),
            version: request.map_or(b"", |request| version(request.version)),
            status: status.code(),
            bytes,
            referer: request.and_then(|request| request.referer).unwrap_or(b""),
            user_agent: request.and_then(|request| request.user_agent).unwrap_or(b""),
            duration: now.saturating_sub(self.arrived),
        };
        context.site.log.record(&record);
    }

    /// What the access log, if it is on, will need of a request that is answered later.
    pub(super) fn late_record(
        &self,
        request: Option<&Request<'_>>,
        status: Status,
    ) -> Option<Box<LateRecord>> {
        self.client.remote?;
        let mut late = LateRecord::of(request, status, self.arrived);
        late.user = self.client.user().into();
        Some(late)
    }

    /// Says an interrupted answer to the access log, if one is under way.
    pub(super) fn log_interrupted(&mut self, context: &Context) {
        if let Activity::Streaming(body) = &mut self.activity
            && let Some(late) = body.log.take()
        {
            late.record(self.client.remote, body.sent(), context);
        }
    }
}

/// Ends a head.
pub(super) fn put_end(buffer: &mut Buffer, date: &HttpDate, field: Option<ConnectionField>) {
    let length = response::write_end(buffer.spare_mut(), Some(date), field).expect("there is room for it");
    buffer.advance(length);
}

pub(super) fn version(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
    }
}

/// What the access log needs of a request that is answered long after its head is gone.
pub(crate) struct LateRecord {
    text: Box<[u8]>,
    /// Where method, target, referer and user agent end in `text`.
    ends: [usize; 4],
    /// The name of the user, where one was asked for.
    user: Box<[u8]>,
    version: Option<Version>,
    pub(super) status: Status,
    arrived: Duration,
}

impl LateRecord {
    /// None for what could not be read as a request.
    fn of(request: Option<&Request<'_>>, status: Status, arrived: Duration) -> Box<Self> {
        let parts = request.map_or([&b""[..]; 4], |request| {
            [
                request.method_text.as_bytes(),
                request.target.as_bytes(),
                request.referer.unwrap_or(b""),
                request.user_agent.unwrap_or(b""),
            ]
        });
        let mut ends = [0; 4];
        let mut end = 0;
        for (place, part) in parts.iter().enumerate() {
            end += part.len();
            ends[place] = end;
        }
        let (text, user) = (parts.concat().into(), Box::default());
        let version = request.map(|request| request.version);
        Box::new(Self { text, ends, user, version, status, arrived })
    }

    pub(super) fn record(&self, remote: Option<Remote>, bytes: u64, context: &Context) {
        self.record_as(self.status, remote, bytes, context);
    }

    /// Records with another status than was expected at first.
    pub(super) fn record_as(&self, status: Status, remote: Option<Remote>, bytes: u64, context: &Context) {
        let Some(remote) = remote else { return };
        let part = |place: usize| {
            let begin = if place == 0 { 0 } else { self.ends[place - 1] };
            &self.text[begin..self.ends[place]]
        };
        let record = AccessRecord {
            time: context.wall,
            remote,
            user: &self.user,
            method: part(0),
            target: part(1),
            version: self.version.map_or(b"", version),
            status: status.code(),
            bytes,
            referer: part(2),
            user_agent: part(3),
            duration: context.port.now().saturating_sub(self.arrived),
        };
        context.site.log.record(&record);
    }
}
