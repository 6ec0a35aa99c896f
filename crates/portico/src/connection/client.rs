//! Who is at the other end: the address of the client, behind a proxy too, and what its address may ask for.

use super::{Activity, Audience, Connection, Progress, report::decide_report};
use crate::{
    clients::Share,
    context::Context,
    decide::{Decision, Simple, cors_answer, decide},
    entry::Entry,
    log::Remote,
    protection::{self, Check, Checked, Verdict},
};
use completion_port::{Completion, ErrorKind, Handle, Operation, Payload};
use portico_http::{method::Method, proxy_protocol, request::Request, status::Status};
use std::{any::Any, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

/// What is known of the client.
pub(super) struct Client {
    stage: Stage,
    /// None where nobody wants to know.
    pub(super) remote: Option<Remote>,
    /// Its part in the limits per address.
    share: Option<Share>,
    /// The request in front has been counted already.
    counted: bool,
    standing: Standing,
}

/// What is known of the client between its requests.
pub(super) struct Acquaintance {
    stage: Stage,
    remote: Option<Remote>,
    share: Option<Share>,
}

/// From whom the request in front comes.
enum Standing {
    /// That was not asked, or is being checked.
    Unknown,
    /// The user with this name.
    User(Box<[u8]>),
    /// No user.
    Nobody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was done yet.
    New,
    /// The header of the PROXY protocol comes first.
    ExpectsHeader,
    Welcome,
}

impl Acquaintance {
    /// Of a client that nobody asks who it is.
    pub(super) const NONE: Self = Self { stage: Stage::New, remote: None, share: None };

    pub(super) fn new(handle: Handle, context: &Context) -> Self {
        let site = &context.site;
        let trusted = &site.settings.proxy_protocol_from;
        let wanted = site.log.is_on() || site.clients.is_some() || !trusted.is_empty();
        let remote = wanted.then(|| remote(handle, context)).flatten();
        let proxied =
            remote.is_some_and(|remote| trusted.iter().any(|peers| peers.include(remote.address())));
        let stage = if proxied { Stage::ExpectsHeader } else { Stage::New };
        Self { stage, remote, share: None }
    }
}

impl Client {
    pub(super) fn of(known: Acquaintance) -> Self {
        let Acquaintance { stage, remote, share } = known;
        Self { stage, remote, share, counted: false, standing: Standing::Unknown }
    }

    /// What is to be kept until the next request; none where one is in front.
    pub(super) fn rest(&mut self) -> Option<Acquaintance> {
        let rests =
            self.stage == Stage::Welcome && !self.counted && matches!(self.standing, Standing::Unknown);
        rests.then(|| Acquaintance {
            stage: self.stage,
            remote: self.remote.take(),
            share: self.share.take(),
        })
    }

    /// Whether the header of the PROXY protocol has yet to come.
    pub(super) fn expects_header(&self) -> bool {
        self.stage == Stage::ExpectsHeader
    }

    /// The request in front has been answered.
    pub(super) fn answered(&mut self) {
        (self.counted, self.standing) = (false, Standing::Unknown);
    }

    /// The name of the user from whom the request in front comes; empty where that was not asked.
    pub(super) fn user(&self) -> &[u8] {
        if let Standing::User(name) = &self.standing { name } else { b"" }
    }
}

/// The peer of a socket; none if it is gone already.
fn remote(handle: Handle, context: &Context) -> Option<Remote> {
    match context.port.peer_address(handle) {
        Ok(address) => Some(Remote::Internet(address.ip())),
        // What has no address of that kind.
        Err(error) if error.kind() == ErrorKind::InvalidArgument => Some(Remote::Unix),
        Err(_) => None,
    }
}

impl Connection {
    /// Takes in the header of the PROXY protocol where one has to come, and asks whether this address may have one more connection.
    /// False if requests cannot be read yet, or at all.
    pub(super) fn welcome(&mut self, context: &mut Context) -> bool {
        if self.client.stage == Stage::ExpectsHeader && self.read_proxy_header(context) == Progress::Wait {
            return false;
        }
        if self.client.stage != Stage::Welcome {
            self.client.stage = Stage::Welcome;
            if let (Some(clients), Some(address)) =
                (&context.site.clients, self.client.remote.and_then(Remote::address))
            {
                self.client.share = clients.join(address, context.port.now());
                if self.client.share.is_none() {
                    // Without a word: an answer would hold the place that it is refused.
                    warn(context, address, "a client has as many connections as it may");
                    self.close(context);
                    return false;
                }
            }
        }
        true
    }

    fn read_proxy_header(&mut self, context: &mut Context) -> Progress {
        loop {
            match proxy_protocol::parse(self.input.bytes()) {
                Ok(Some(header)) => {
                    self.input.consume(header.length);
                    if let Some(source) = header.origin.source() {
                        self.client.remote = Some(Remote::Internet(source.ip()));
                    }
                    self.client.stage = Stage::New;
                    return Progress::Again;
                }
                Ok(None) if self.input.join(context.port.buffers()) => {}
                Ok(None) => return Progress::Wait,
                Err(error) => {
                    if let Some(held_back) = context.warnings.may_warn(context.port.now()) {
                        tracing::warn!(%error, held_back, "a trusted peer is cut off");
                    }
                    self.close(context);
                    return Progress::Wait;
                }
            }
        }
    }

    /// Decides about the request in front, as far as its client may ask at all.
    pub(super) fn decide(
        &mut self,
        request: &Request<'_>,
        known: Option<Arc<Entry>>,
        context: &mut Context,
    ) -> Decision {
        if self.audience == Audience::Report {
            return decide_report(request, context);
        }
        let with_body = request.method != Method::Head;
        let number = self.host;
        let simple = |simple, context: &mut Context| {
            let cors = cors_answer(request, number, context);
            Decision::Simple(Simple { with_body, cors, ..simple })
        };
        if let Some(refusal) = self.limit_rate(context) {
            return simple(refusal, context);
        }
        if context.site.hosts.refuses(self.host) {
            return simple(Simple::new(Status::MISDIRECTED_REQUEST), context);
        }
        let granted = matches!(self.client.standing, Standing::User(_));
        let decision = decide(request, self.host, known.clone(), granted, context);
        if !matches!(decision, Decision::Authenticate) {
            return decision;
        }
        match self.authenticate(request, context) {
            Verdict::Granted(user) => {
                self.client.standing = Standing::User(user);
                decide(request, self.host, known, true, context)
            }
            Verdict::Refused => {
                self.client.standing = Standing::Nobody;
                simple(Simple::new(Status::UNAUTHORIZED), context)
            }
            Verdict::Busy => simple(Simple::new(Status::SERVICE_UNAVAILABLE), context),
            Verdict::Check(check) => Decision::Check(Box::new(check)),
        }
    }

    /// Whether the request in front comes from a user of its host.
    fn authenticate(&self, request: &Request<'_>, context: &mut Context) -> Verdict {
        let site = Rc::clone(&context.site);
        let Some(protection) = &site.hosts[self.host].protection else { return Verdict::Refused };
        if matches!(self.client.standing, Standing::Nobody) {
            return Verdict::Refused;
        }
        let mut values = request.fields().named("authorization");
        let value = values.next().filter(|_| values.next().is_none());
        let (now, revalidate) = (context.port.now(), site.settings.file_revalidate);
        let address =
            || self.client.remote.or_else(|| remote(self.handle, context)).and_then(Remote::address);
        let checks = (&site.checks, address);
        let (verdict, refresh) = context.remembered.judge(value, &protection.users, checks, now, revalidate);
        if refresh {
            let work = protection::refresh(&protection.users);
            // Where the pool is full, the next request whose turn it is tries again.
            let _ = context.port.submit(Handle::NONE, Operation::Call { work });
        }
        verdict
    }

    /// Has a password checked; the request in front is decided again when that is done.
    pub(super) fn check(&mut self, check: Check, context: &mut Context) {
        let work = Box::new(move || -> Box<dyn Any + Send> { Box::new(check.run()) });
        match context.port.submit(self.handle, Operation::Call { work }) {
            Ok(_) => self.activity = Activity::Verifying,
            Err(_) => self.refuse(Status::SERVICE_UNAVAILABLE, context),
        }
    }

    pub(super) fn on_checked(&mut self, completion: Completion, context: &mut Context) {
        self.activity = Activity::Reading;
        let checked = match completion.payload {
            Payload::Returned(returned) => returned.downcast::<Checked>().ok(),
            _ => None,
        };
        // A check that was cancelled, or that panicked, found nobody.
        self.client.standing = Standing::Nobody;
        if let Some(checked) = checked {
            let now = context.port.now();
            context.remembered.remember(&checked, now, context.site.settings.auth_remember);
            if let Some(user) = checked.user {
                self.client.standing = Standing::User(user);
            }
        }
    }

    /// The refusal of the request in front, if its client asks too often.
    fn limit_rate(&mut self, context: &mut Context) -> Option<Simple> {
        if std::mem::replace(&mut self.client.counted, true) {
            return None;
        }
        let wait = self.client.share.as_ref()?.take(context.port.now()).err()?;
        // Not for nothing: it is decided anew, and refused again, if there is no room for this answer yet.
        self.client.counted = false;
        if let Some(address) = self.client.remote.and_then(Remote::address) {
            warn(context, address, "a client asks more often than it may");
        }
        let retry_after_s = Some(wait.saturating_add(Duration::from_millis(999)).as_secs() as u32);
        Some(Simple { retry_after_s, ..Simple::new(Status::TOO_MANY_REQUESTS) })
    }
}

fn warn(context: &mut Context, client: IpAddr, what: &str) {
    if let Some(held_back) = context.warnings.may_warn(context.port.now()) {
        tracing::warn!(%client, held_back, "{what}");
    }
}
