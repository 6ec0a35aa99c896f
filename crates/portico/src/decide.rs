//! From a request to what is to be done: pure decisions, with the file cache as memory.

use crate::{
    context::Context,
    cors::CorsAnswer,
    entry::{Entry, File, Kind},
    host::{Host, HostNumber},
    seek::{Asked, Lookup, Purpose},
};
use portico_http::{
    conditional::{self, Outcome},
    method::Method,
    range::{self, RangeOutcome},
    request::{Request, TargetForm},
    status::Status,
    target,
};
use std::sync::Arc;

/// The methods that files answer to, and those of the upload folder.
const ALLOW: &str = "GET, HEAD, OPTIONS";
const ALLOW_UPLOAD: &str = "GET, HEAD, OPTIONS, POST, PUT";

/// What is to be done about a request.
pub(crate) enum Decision {
    /// The cache does not know the path: ask the disk, and decide again.
    LookUp(Lookup),
    /// Send a file or a part of it.
    File(FileAnswer),
    /// An answer without a file.
    Simple(Simple),
    /// Take the body and make it a file with this name in the upload folder.
    Upload { name: String, replace: bool },
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
}

/// Decides about `request`, which is for `host`. `known` is the entry of its path where it has just been looked up.
pub(crate) fn decide(
    request: &Request<'_>,
    host: HostNumber,
    known: Option<Arc<Entry>>,
    context: &mut Context,
) -> Decision {
    let with_body = request.method != Method::Head;
    let mut decision = match known.as_ref().filter(|known| known.page_of.is_some()) {
        Some(page) => answer_with_page(page, with_body),
        None => {
            let decision = decide_for_any(request, host, known, context);
            let page = match &decision {
                Decision::Simple(simple) => find_page(simple, host, with_body, context),
                _ => None,
            };
            page.unwrap_or(decision)
        }
    };
    if let Decision::Simple(simple) = &mut decision {
        simple.with_body &= with_body;
        simple.cors = cors_answer(request, host, context);
    }
    decision
}

/// What an answer says to other origins that is no file, or the page of a status: by the path that was asked for.
pub(crate) fn cors_answer(
    request: &Request<'_>,
    host: HostNumber,
    context: &mut Context,
) -> Option<CorsAnswer> {
    let cors = context.site.hosts[host].cors.as_ref()?;
    let path = target::decode(request.target, &mut context.scratch).ok()?;
    cors.covers(path.text()).then(|| cors.answer(request))
}

/// The page of its own that a status has, or its look-up.
fn find_page(
    simple: &Simple,
    number: HostNumber,
    with_body: bool,
    context: &mut Context,
) -> Option<Decision> {
    let site = Arc::clone(&context.site);
    let key = site.hosts[number].routing.page(simple.status).filter(|_| !simple.close)?;
    let (now, revalidate) = (context.port.now(), site.settings.file_revalidate);
    Some(match context.cache.get(number, key).filter(|entry| !entry.is_due(now, revalidate)) {
        Some(page) => answer_with_page(page, with_body),
        None => Decision::LookUp(Lookup::new(number, key, Purpose::Page(simple.status))),
    })
}

/// The page, or the built-in text where there is none.
fn answer_with_page(page: &Arc<Entry>, with_body: bool) -> Decision {
    let status = page.page_of.unwrap_or(Status::NOT_FOUND);
    match page.file() {
        Some(_) => Decision::File(FileAnswer { entry: Arc::clone(page), status, range: None, with_body }),
        None => Decision::Simple(Simple { with_body, ..Simple::new(status) }),
    }
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
    context: &mut Context,
) -> Decision {
    let site = Arc::clone(&context.site);
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
    if !matches!(request.method, Method::Get | Method::Head | Method::Options)
        && let Some((status, location)) = host.routing.redirect(path.text(), host.rules)
    {
        return Decision::Simple(redirect(status, &location, path.query()));
    }
    let upload = host.upload.as_ref().and_then(|folder| folder.name_in(key));
    match request.method {
        Method::Get | Method::Head => {}
        Method::Options => {
            let allow = if upload.is_some() { ALLOW_UPLOAD } else { ALLOW };
            return Decision::Simple(Simple { allow: Some(allow), ..Simple::new(Status::NO_CONTENT) });
        }
        Method::Put | Method::Post => {
            return match upload.filter(|_| !path.ends_with_slash()) {
                Some(name) => decide_for_upload(request, number, known, key, name),
                None => {
                    Decision::Simple(Simple { allow: Some(ALLOW), ..Simple::new(Status::METHOD_NOT_ALLOWED) })
                }
            };
        }
        Method::Other => {
            let known = ["DELETE", "PATCH", "TRACE", "CONNECT"].contains(&request.method_text);
            let status = if known { Status::METHOD_NOT_ALLOWED } else { Status::NOT_IMPLEMENTED };
            let allow = if upload.is_some() { ALLOW_UPLOAD } else { ALLOW };
            return Decision::Simple(Simple { allow: known.then_some(allow), ..Simple::new(status) });
        }
    }
    if path.ends_with_slash() {
        key.push('/');
    }
    let (now, revalidate) = (context.port.now(), site.settings.file_revalidate);
    let asked = Asked { number, host, path: path.text(), key, now, revalidate };
    let entry = match asked.seek(known, &mut context.cache) {
        Ok(entry) => entry,
        Err(lookup) => return Decision::LookUp(lookup),
    };
    match &entry.kind {
        Kind::Nothing(status) => Decision::Simple(Simple::new(*status)),
        // A rewrite or the fallback names a folder as if it were a file.
        Kind::Folder if path.ends_with_slash() => Decision::Simple(Simple::new(Status::NOT_FOUND)),
        Kind::Folder => {
            let location = format!("{}/", path.written());
            Decision::Simple(redirect(Status::MOVED_PERMANENTLY, &location, path.query()))
        }
        Kind::Redirect(status, location) => Decision::Simple(redirect(*status, location, path.query())),
        Kind::Alias(_) => Decision::Simple(Simple::new(Status::INTERNAL_SERVER_ERROR)),
        Kind::File(file) => {
            let representation = file.representation();
            let with_body = request.method == Method::Get;
            match conditional::evaluate(request, Some(&representation)) {
                Outcome::NotModified => {
                    let status = Status::NOT_MODIFIED;
                    return Decision::File(FileAnswer { entry, status, range: None, with_body: false });
                }
                Outcome::PreconditionFailed => {
                    return Decision::Simple(Simple::new(Status::PRECONDITION_FAILED));
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
                RangeOutcome::Unsatisfiable => {
                    let unsatisfied = Some(file.length());
                    Decision::Simple(Simple { unsatisfied, ..Simple::new(Status::RANGE_NOT_SATISFIABLE) })
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

/// An upload with preconditions is decided by what the disk says now: what the cache trusts may be older than the client's knowledge.
fn decide_for_upload(
    request: &Request<'_>,
    host: HostNumber,
    known: Option<Arc<Entry>>,
    key: &str,
    name: &str,
) -> Decision {
    let mut replace = request.method == Method::Put;
    if request.if_match.is_present()
        || request.if_none_match.is_present()
        || request.if_unmodified_since.is_some()
    {
        let Some(entry) = known else { return Decision::LookUp(Lookup::inside(host, key)) };
        let current = entry.file().map(File::representation);
        if conditional::evaluate(request, current.as_ref()) != Outcome::Proceed {
            return Decision::Simple(Simple::new(Status::PRECONDITION_FAILED));
        }
        // A file that comes into being before this one is whole must not be lost either.
        replace &= !(request.if_none_match.is_present() && current.is_none());
    }
    Decision::Upload { name: name.to_owned(), replace }
}
