//! From a request to what is to be done: pure decisions, with the file cache as memory.

use crate::{
    connection::Report,
    context::Context,
    cors::CorsAnswer,
    entry::{Entry, File, Kind},
    host::{Host, HostNumber},
    listing::{Listing, PageAnswer, View},
    protection::{Check, Protection},
    seek::{Asked, Lookup},
    site::Site,
    upload::{self, Goal},
    variants,
};
use portico_http::{
    conditional::{self, Outcome, Representation},
    method::Method,
    range::{self, RangeOutcome, Ranges},
    request::{Request, TargetForm},
    status::Status,
    target,
};
use std::{rc::Rc, sync::Arc};

/// The methods that files answer to, and those of the upload folder.
const ALLOW: &str = "GET, HEAD, OPTIONS";
const ALLOW_UPLOAD: &str = "GET, HEAD, OPTIONS, POST, PUT";
const ALLOW_DELETE: &str = "GET, HEAD, OPTIONS, POST, PUT, DELETE";
const ALLOW_FORM: &str = "GET, HEAD, OPTIONS, POST";

/// What is to be done about a request.
pub(crate) enum Decision {
    /// The cache does not know the path: ask the disk, and decide again.
    LookUp(Lookup),
    /// Send a file or a part of it.
    File(FileAnswer),
    /// Send several parts of a file.
    Parts(Arc<Entry>, Box<Ranges>),
    /// An answer without a file.
    Simple(Simple),
    /// Read a folder, and decide again.
    List(Listing),
    /// Send the listing of a folder.
    Page(PageAnswer),
    /// Take the body and make files of it in the upload folder.
    Upload(Goal),
    /// Remove the file with this name from the upload folder.
    Delete { name: String },
    /// Ask for the name and the password of a user, and decide again.
    Authenticate,
    /// Check those that the request has on the pool, and decide again.
    Check(Box<Check>),
    /// Show the counters.
    Report(Report),
}

/// A file to be sent.
pub(crate) struct FileAnswer {
    pub(crate) entry: Arc<Entry>,
    pub(crate) status: Status,
    /// First and last byte, with 206.
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) with_body: bool,
}

/// An answer that says all in its head and a line of text.
pub(crate) struct Simple {
    pub(crate) status: Status,
    pub(crate) location: Option<String>,
    pub(crate) allow: Option<&'static str>,
    /// The length of the representation, with 416.
    pub(crate) unsatisfied: Option<u64>,
    /// With 429 and 503.
    pub(crate) retry_after_s: Option<u32>,
    /// The answer depends on what codings the request accepts.
    pub(crate) varies: bool,
    pub(crate) close: bool,
    pub(crate) with_body: bool,
    /// The body, where it is not a page that says the status.
    pub(crate) text: Option<&'static str>,
    /// Whether the access log gets a line.
    pub(crate) logged: bool,
    /// What is said to pages of other origins.
    pub(crate) cors: Option<CorsAnswer>,
}

impl Simple {
    pub(crate) fn new(status: Status) -> Self {
        let with_body = !status.is_without_content();
        Self {
            status,
            location: None,
            allow: None,
            unsatisfied: None,
            retry_after_s: (status == Status::SERVICE_UNAVAILABLE).then_some(1),
            varies: false,
            close: false,
            with_body,
            text: None,
            logged: true,
            cors: None,
        }
    }

    pub(crate) fn closing(status: Status) -> Self {
        Self { close: true, ..Self::new(status) }
    }

    /// Whether nothing in it depends on the request, but for the status.
    pub(crate) fn is_the_same_for_all(&self) -> bool {
        self.status != Status::UNAUTHORIZED
            && self.location.is_none()
            && self.allow.is_none()
            && self.unsatisfied.is_none()
            && self.retry_after_s.is_none()
            && !self.varies
            && !self.close
            && self.with_body
            && self.text.is_none()
            && self.cors.is_none()
    }
}

/// Decides about `request`, which is for `host`. `known` is the entry of its path where it has just been looked up; `granted` says that it
/// comes from a user of that host.
pub(crate) fn decide(
    request: &Request<'_>,
    host: HostNumber,
    known: Option<Arc<Entry>>,
    granted: bool,
    context: &mut Context,
) -> Decision {
    let with_body = request.method != Method::Head;
    let mut decision = decide_for_any(request, host, known, granted, context);
    if let Decision::Simple(simple) = &mut decision {
        simple.with_body &= with_body;
        simple.cors = cors_answer(request, host, context);
    }
    decision
}

/// What an answer says to other origins that is no file: by the path that was asked for.
pub(crate) fn cors_answer(
    request: &Request<'_>,
    host: HostNumber,
    context: &mut Context,
) -> Option<CorsAnswer> {
    let cors = context.site.hosts[host].cors.as_ref()?;
    let path = target::decode(request.target, &mut context.scratch).ok()?;
    cors.covers(path.text()).then(|| cors.answer(request))
}

/// What the health path answers, without a look at the disk.
fn answer_health(request: &Request<'_>, host: &Host) -> Simple {
    let simple = match request.method {
        Method::Get | Method::Head => Simple { text: Some("ok\n"), ..Simple::new(Status::OK) },
        _ => Simple { allow: Some("GET, HEAD"), ..Simple::new(Status::METHOD_NOT_ALLOWED) },
    };
    Simple { logged: host.settings.health_log, ..simple }
}

fn decide_for_any(
    request: &Request<'_>,
    number: HostNumber,
    known: Option<Arc<Entry>>,
    granted: bool,
    context: &mut Context,
) -> Decision {
    let site = Rc::clone(&context.site);
    let host = &site.hosts[number];
    if request.target_form == TargetForm::Asterisk {
        let allow = if host.upload.is_some() { ALLOW_UPLOAD } else { ALLOW };
        return Decision::Simple(Simple { allow: Some(allow), ..Simple::new(Status::NO_CONTENT) });
    }
    if request.target_form == TargetForm::Authority {
        return Decision::Simple(Simple {
            allow: Some(ALLOW),
            ..Simple::closing(Status::METHOD_NOT_ALLOWED)
        });
    }
    if request.target_form == TargetForm::Absolute
        && !request.target.as_bytes()[..5].eq_ignore_ascii_case(b"http:")
    {
        // Nobody may be told that this came over a secured connection (RFC 9110 section 7.4).
        return Decision::Simple(Simple::new(Status::MISDIRECTED_REQUEST));
    }
    let path = match target::decode(request.target, &mut context.scratch) {
        Ok(path) => path,
        Err(rejection) => {
            return Decision::Simple(Simple { close: rejection.close, ..Simple::new(rejection.status) });
        }
    };
    if host.routing.is_health(path.text()) {
        return Decision::Simple(answer_health(request, host));
    }
    let key = &mut context.key;
    let resolved = if path.has_empty_segment() {
        Err(Status::NOT_FOUND)
    } else {
        host.rules
            .resolve(path.segments(), key)
            .map_err(|refusal| Status::from_code(refusal.status()).unwrap_or(Status::NOT_FOUND))
    };
    if let Err(status) = resolved {
        return Decision::Simple(Simple::new(status));
    }
    // What a browser asks before it asks for a page of another origin comes without a password.
    let is_preflight =
        request.method == Method::Options && request.field("access-control-request-method").is_some();
    let is_barred = |file: &str| {
        let covers = |protection: &Protection| protection.covers(file);
        !granted && !is_preflight && host.protection.as_ref().is_some_and(covers)
    };
    if is_barred(key) {
        return Decision::Authenticate;
    }
    if !matches!(request.method, Method::Get | Method::Head | Method::Options)
        && let Some((status, location)) = host.routing.redirect(path.text(), host.rules)
    {
        return Decision::Simple(redirect(status, &location, path.query()));
    }
    let upload = host.upload.as_ref().and_then(|folder| folder.name_in(key));
    let upload = upload.filter(|_| !path.ends_with_slash());
    let form = path.ends_with_slash() && host.upload.as_ref().is_some_and(|folder| folder.is(key));
    let allow = match (upload.is_some(), form) {
        (true, _) if host.settings.upload_delete => ALLOW_DELETE,
        (true, _) => ALLOW_UPLOAD,
        (false, true) => ALLOW_FORM,
        (false, false) => ALLOW,
    };
    match request.method {
        Method::Get | Method::Head => {}
        Method::Options => {
            return Decision::Simple(Simple { allow: Some(allow), ..Simple::new(Status::NO_CONTENT) });
        }
        Method::Post if (form || upload.is_some()) && upload::is_foreign(request) => {
            return Decision::Simple(Simple::new(Status::FORBIDDEN));
        }
        Method::Post if form => return Decision::Upload(Goal::Form { folder: path.written().to_owned() }),
        Method::Put | Method::Post => {
            return match upload {
                Some(name) => decide_for_upload(request, (number, &site), known, key, name),
                None => {
                    Decision::Simple(Simple { allow: Some(allow), ..Simple::new(Status::METHOD_NOT_ALLOWED) })
                }
            };
        }
        Method::Other
            if request.method_text == "DELETE" && host.settings.upload_delete && upload.is_some() =>
        {
            return decide_for_deletion(request, (number, host), known, key, upload.unwrap_or_default());
        }
        Method::Other => {
            let known = ["DELETE", "PATCH", "TRACE", "CONNECT"].contains(&request.method_text);
            let status = if known { Status::METHOD_NOT_ALLOWED } else { Status::NOT_IMPLEMENTED };
            return Decision::Simple(Simple { allow: known.then_some(allow), ..Simple::new(status) });
        }
    }
    if path.ends_with_slash() {
        key.push('/');
    }
    let (now, revalidate) = (context.port.now(), site.settings.file_revalidate);
    let was_known = known.is_some();
    let asked = Asked { number, host, path: path.text(), key, now, revalidate, is_barred: &is_barred };
    let entry = match asked.seek(known, &mut context.cache) {
        Ok(entry) => {
            if !was_known {
                context.counts.count_hit();
            }
            entry
        }
        // Where a rule leads into such a folder from outside.
        Err(lookup) if is_barred(lookup.file()) => return Decision::Authenticate,
        Err(lookup) => return Decision::LookUp(lookup),
    };
    match &entry.kind {
        Kind::Listed => {
            let view = View::of(request, path.query());
            let changes = host.upload.as_ref().filter(|_| form).map_or(0, |folder| folder.changes());
            view.extend(key);
            match context.cache.get(number, key) {
                Some(page)
                    if is_current(page, changes) && !page.is_due(now, site.settings.file_revalidate) =>
                {
                    decide_for_page(request, Arc::clone(page))
                }
                _ => Decision::List(Listing { host: number, key: key.as_str().into(), view }),
            }
        }
        Kind::Page(_) => decide_for_page(request, entry),
        Kind::Nothing(status) => Decision::Simple(Simple::new(*status)),
        // A rewrite or the fallback names a folder as if it were a file.
        Kind::Folder if path.ends_with_slash() => Decision::Simple(Simple::new(Status::NOT_FOUND)),
        Kind::Folder => {
            let location = format!("{}/", path.written());
            Decision::Simple(redirect(Status::MOVED_PERMANENTLY, &location, path.query()))
        }
        Kind::Redirect(status, location) => Decision::Simple(redirect(*status, location, path.query())),
        Kind::Alias(_) => Decision::Simple(Simple::new(Status::INTERNAL_SERVER_ERROR)),
        Kind::File(_) => {
            let entry = variants::select(request, number, entry, context);
            let Some(file) = entry.file() else {
                return Decision::Simple(Simple::new(Status::NOT_FOUND));
            };
            let representation = file.representation();
            let with_body = request.method == Method::Get;
            match conditional::evaluate(request, Some(&representation)) {
                Outcome::NotModified => {
                    let status = Status::NOT_MODIFIED;
                    return Decision::File(FileAnswer { entry, status, range: None, with_body: false });
                }
                Outcome::PreconditionFailed => {
                    let varies = file.is_negotiated();
                    return Decision::Simple(Simple { varies, ..Simple::new(Status::PRECONDITION_FAILED) });
                }
                Outcome::Proceed => {}
            }
            match range::for_request(request, &representation, file.length()) {
                RangeOutcome::Whole => {
                    Decision::File(FileAnswer { entry, status: Status::OK, range: None, with_body })
                }
                RangeOutcome::Partial { first, last } => {
                    let (status, range) = (Status::PARTIAL_CONTENT, Some((first, last)));
                    Decision::File(FileAnswer { entry, status, range, with_body })
                }
                // Whether the frames between the parts of a coded representation were to be decoded with it, nobody could tell.
                RangeOutcome::Several(_) if file.is_coded() => {
                    Decision::File(FileAnswer { entry, status: Status::OK, range: None, with_body })
                }
                RangeOutcome::Several(ranges) => Decision::Parts(entry, Box::new(ranges)),
                RangeOutcome::Unsatisfiable => {
                    let unsatisfied = Some(file.length());
                    let varies = file.is_negotiated();
                    Decision::Simple(Simple {
                        unsatisfied,
                        varies,
                        ..Simple::new(Status::RANGE_NOT_SATISFIABLE)
                    })
                }
            }
        }
    }
}

/// A redirect that keeps the query of the request: behind one that the new address has, and before its fragment.
fn redirect(status: Status, to: &str, query: Option<&str>) -> Simple {
    let (address, fragment) = to.split_at(to.find('#').unwrap_or(to.len()));
    let location = match query {
        None => to.to_owned(),
        Some(query) if address.contains('?') => format!("{address}&{query}{fragment}"),
        Some(query) => format!("{address}?{query}{fragment}"),
    };
    Simple { location: Some(location), ..Simple::new(status) }
}

/// Whether nothing was uploaded or deleted since a page was made.
fn is_current(page: &Entry, changes: u64) -> bool {
    matches!(&page.kind, Kind::Page(page) if page.changes == changes)
}

fn decide_for_page(request: &Request<'_>, entry: Arc<Entry>) -> Decision {
    let Kind::Page(page) = &entry.kind else { return Decision::Simple(Simple::new(Status::NOT_FOUND)) };
    let representation =
        Representation { etag: Some(page.etag.as_etag()), last_modified: None, date_is_strong: false };
    let status = match conditional::evaluate(request, Some(&representation)) {
        Outcome::Proceed => Status::OK,
        Outcome::NotModified => Status::NOT_MODIFIED,
        Outcome::PreconditionFailed => return Decision::Simple(Simple::new(Status::PRECONDITION_FAILED)),
    };
    let with_body = request.method == Method::Get && status == Status::OK;
    Decision::Page(PageAnswer { entry, status, with_body })
}

/// As for an upload: what the disk says now counts.
fn decide_for_deletion(
    request: &Request<'_>,
    (number, host): (HostNumber, &Host),
    known: Option<Arc<Entry>>,
    key: &str,
    name: &str,
) -> Decision {
    if has_preconditions(request) {
        let Some(entry) = known else { return Decision::LookUp(Lookup::exact(number, host, key)) };
        match &entry.kind {
            Kind::File(file)
                if conditional::evaluate(request, Some(&file.representation())) != Outcome::Proceed =>
            {
                return Decision::Simple(Simple::new(Status::PRECONDITION_FAILED));
            }
            Kind::File(_) => {}
            Kind::Nothing(status) => return Decision::Simple(Simple::new(*status)),
            _ => return Decision::Simple(Simple::new(Status::CONFLICT)),
        }
    }
    Decision::Delete { name: name.to_owned() }
}

fn has_preconditions(request: &Request<'_>) -> bool {
    request.if_match.is_present()
        || request.if_none_match.is_present()
        || request.if_unmodified_since.is_some()
}

/// An upload with preconditions is decided by what the disk says now: what the cache trusts may be older than the client's knowledge.
/// One that would be refused without them is refused for that (RFC 9110 section 13.2.1).
fn decide_for_upload(
    request: &Request<'_>,
    (number, site): (HostNumber, &Site),
    known: Option<Arc<Entry>>,
    key: &str,
    name: &str,
) -> Decision {
    let host = &site.hosts[number];
    let mut replace = request.method == Method::Put;
    if has_preconditions(request) && upload::body_of(request, site.upload_limits(number)).is_ok() {
        let Some(entry) = known else { return Decision::LookUp(Lookup::exact(number, host, key)) };
        let current = entry.file().map(File::representation);
        if conditional::evaluate(request, current.as_ref()) != Outcome::Proceed {
            return Decision::Simple(Simple::new(Status::PRECONDITION_FAILED));
        }
        // A file that comes into being before this one is whole must not be lost either.
        replace &= !(request.if_none_match.is_present() && current.is_none());
    }
    Decision::Upload(Goal::File { name: name.to_owned(), replace })
}
