//! Showing the counters: what connections of the admin address are answered, and no others.

use super::Connection;
use crate::{
    context::Context,
    decide::{Decision, Simple},
};
use portico_http::{
    body::BodyLength,
    method::Method,
    request::{Request, TargetForm},
    response::{Connection as ConnectionField, ResponseHead},
    status::Status,
    target,
};

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Index,
    Text,
    Json,
}

const INDEX: &str =
    "Counters of Portico.\n\n/metrics        text, in Prometheus' exposition format\n/counters.json  JSON\n";

/// Room for the head, and for what a host's server name may be.
const HEAD_ROOM: usize = 768;

/// What a request on the admin address is answered.
pub(super) fn decide_report(request: &Request<'_>, context: &mut Context) -> Decision {
    let with_body = request.method != Method::Head;
    let simple = |simple| Decision::Simple(Simple { with_body, logged: false, ..simple });
    if !matches!(request.method, Method::Get | Method::Head) {
        let close = request.target_form == TargetForm::Authority;
        let refused = Simple::new(Status::METHOD_NOT_ALLOWED);
        return simple(Simple { allow: Some("GET, HEAD"), close, ..refused });
    }
    let path = match target::decode(request.target, &mut context.scratch) {
        Ok(path) => path,
        Err(rejection) => {
            return simple(Simple { close: rejection.close, ..Simple::new(rejection.status) });
        }
    };
    match path.text() {
        "" => Decision::Report(Report::Index),
        "metrics" => Decision::Report(Report::Text),
        "counters.json" => Decision::Report(Report::Json),
        _ => simple(Simple::new(Status::NOT_FOUND)),
    }
}

impl Connection {
    /// Writes a report. None if there is no room in this batch.
    pub(super) fn write_report(
        &mut self,
        request: &Request<'_>,
        report: Report,
        close: bool,
        batch: usize,
        context: &mut Context,
    ) -> Option<()> {
        if !self.output.has_room_for_slice() {
            return None;
        }
        let counters = || context.site.counters.counters(&context.port.port(), &context.site.log);
        let (content_type, text) = match report {
            Report::Index => ("text/plain; charset=utf-8", INDEX.to_owned()),
            Report::Text => ("text/plain; version=0.0.4; charset=utf-8", counters().to_prometheus()),
            Report::Json => ("application/json", counters().to_json()),
        };
        let buffers = context.port.buffers();
        let Ok(mut body) = buffers.allocate(text.len()) else { return self.wait_for_room(context) };
        body.extend_from_slice(text.as_bytes());
        let Some(buffer) = self.output.room(buffers, HEAD_ROOM, batch) else {
            return self.wait_for_room(context);
        };
        let fields: [(&str, &[u8]); 2] =
            [("Cache-Control", b"no-store"), ("X-Content-Type-Options", b"nosniff")];
        let head = ResponseHead {
            body: BodyLength::Length(text.len() as u64),
            content_type: Some(content_type),
            server: context.site.hosts[self.host].server(),
            fields: &fields,
            date: Some(context.dates.at(context.wall)),
            connection: ConnectionField::for_version(request.version, !close),
            ..ResponseHead::new(Status::OK)
        };
        let written = head.write(buffer.spare_mut()).expect("all fields are of this program, and short");
        buffer.advance(written);
        if request.method == Method::Get {
            self.output.join(body.freeze());
        }
        self.last_answer |= close;
        Some(())
    }
}
