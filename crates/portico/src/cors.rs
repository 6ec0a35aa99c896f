//! Which pages of other origins may read answers (Fetch Standard, section 3.3, "CORS protocol"), as ready-made lines.

use crate::{pattern::Pattern, settings::Cors};
use portico_http::{method::Method, request::Request};
use rustc_hash::FxHashMap;
use std::fmt::Write as _;

/// The table `[cors]` of one host, compiled at start.
pub(crate) struct CorsRules {
    paths: Vec<Pattern>,
    /// Of each origin its place in `blocks`; where any may read, none.
    origins: FxHashMap<Box<[u8]>, u16>,
    any: bool,
    /// For origins that may not read, where not any may; then for each that may.
    blocks: Vec<Block>,
}

struct Block {
    answer: Box<[u8]>,
    preflight: Box<[u8]>,
}

/// Which lines an answer gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CorsAnswer {
    block: u16,
    preflight: bool,
}

impl CorsRules {
    pub(crate) fn new(settings: &Cors) -> Self {
        let any = settings.is_for_any_origin();
        let block = |origin: Option<&str>| {
            // What differs by origin must not be given to another by a cache (Fetch Standard, "CORS protocol and HTTP caches").
            let mut both = if any { String::new() } else { "Vary: Origin\r\n".to_owned() };
            let Some(origin) = origin else {
                return Block {
                    answer: both.clone().into_bytes().into(),
                    preflight: both.into_bytes().into(),
                };
            };
            let _ = write!(both, "Access-Control-Allow-Origin: {origin}\r\n");
            if settings.credentials {
                both.push_str("Access-Control-Allow-Credentials: true\r\n");
            }
            let list = |name: &str, names: &[String]| match names {
                [] => String::new(),
                names => format!("{name}: {}\r\n", names.join(", ")),
            };
            let answer = both.clone() + &list("Access-Control-Expose-Headers", &settings.expose_headers);
            let preflight = both
                + &list("Access-Control-Allow-Methods", &settings.methods)
                + &list("Access-Control-Allow-Headers", &settings.allow_headers)
                + &format!("Access-Control-Max-Age: {}\r\n", settings.max_age_s);
            Block { answer: answer.into_bytes().into(), preflight: preflight.into_bytes().into() }
        };
        if any {
            let blocks = vec![block(Some("*"))];
            return Self { paths: settings.paths.clone(), origins: FxHashMap::default(), any, blocks };
        }
        let mut rules = Self {
            paths: settings.paths.clone(),
            origins: FxHashMap::default(),
            any,
            blocks: vec![block(None)],
        };
        for origin in &settings.origins {
            let Ok(place) = u16::try_from(rules.blocks.len()) else { break };
            rules.origins.insert(origin.as_bytes().into(), place);
            rules.blocks.push(block(Some(origin)));
        }
        rules
    }

    /// Whether a decoded path, without its leading slash, may be read by others.
    pub(crate) fn covers(&self, path: &str) -> bool {
        self.paths.iter().any(|pattern| pattern.matches(path).is_some())
    }

    /// The lines for every answer, where they depend on no request.
    pub(crate) fn lines_for_any(&self) -> Option<&[u8]> {
        self.any.then(|| &*self.blocks[0].answer)
    }

    /// What is said to the origin of a request for a path that is covered.
    pub(crate) fn answer(&self, request: &Request<'_>) -> CorsAnswer {
        let origin = if self.any { None } else { request.field("origin") };
        let block = origin.and_then(|origin| self.origins.get(origin)).copied().unwrap_or(0);
        let preflight =
            request.method == Method::Options && request.field("access-control-request-method").is_some();
        CorsAnswer { block, preflight }
    }

    pub(crate) fn lines(&self, answer: CorsAnswer) -> &[u8] {
        let block = &self.blocks[usize::from(answer.block)];
        if answer.preflight { &block.preflight } else { &block.answer }
    }
}
