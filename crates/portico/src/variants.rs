//! The coded representations of a file, and which of them answers a request.
//!
//! They are precompressed neighbours (`file.js.br` beside `file.js`), or made by [`compression`] when first asked for. A file that
//! has neighbours is not compressed: whoever put them there has decided.

use crate::{
    compression,
    context::Context,
    entry::{Entry, File},
    host::HostNumber,
};
use portico_http::{
    coding::{AcceptEncoding, Choice, Coding},
    request::Request,
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// What a file has beside itself.
#[derive(Clone)]
pub(crate) struct Variants {
    slots: Box<[Slot]>,
    /// Where the file lies that is compressed; none where these are neighbours.
    source: Option<PathBuf>,
    /// The cache's name for that file.
    key: Box<str>,
}

#[derive(Clone)]
struct Slot {
    coding: Coding,
    /// Empty as long as it is not made. None where it gains nothing.
    entry: OnceLock<Option<Arc<Entry>>>,
}

impl Variants {
    /// Files that lie beside the original.
    pub(crate) fn neighbours(found: Vec<(Coding, Arc<Entry>)>) -> Self {
        let slot = |(coding, entry)| Slot { coding, entry: OnceLock::from(Some(entry)) };
        Self { slots: found.into_iter().map(slot).collect(), source: None, key: Box::default() }
    }

    /// What may be made of the file at `source`.
    pub(crate) fn to_make(codings: &[Coding], source: &Path, key: &str) -> Self {
        let slot = |coding: &Coding| Slot { coding: *coding, entry: OnceLock::new() };
        Self { slots: codings.iter().map(slot).collect(), source: Some(source.to_owned()), key: key.into() }
    }

    pub(crate) fn source(&self) -> Option<&Path> {
        self.source.as_deref()
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The neighbour with this coding.
    pub(crate) fn neighbour(&self, coding: Coding) -> Option<&Arc<Entry>> {
        if self.source.is_some() { None } else { self.get(coding)? }
    }

    /// Says what was made. The cache counts its bytes: see `FileCache::complete`.
    pub(crate) fn complete(&self, coding: Coding, variant: Option<Arc<Entry>>) {
        if let Some(slot) = self.slots.iter().find(|slot| slot.coding == coding) {
            // What another worker put there is as good.
            let _ = slot.entry.set(variant);
        }
    }

    /// Those that can be sent.
    pub(crate) fn ready(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.slots.iter().filter_map(|slot| slot.entry.get()?.as_ref())
    }

    /// None where it is not made yet, or never asked for.
    fn get(&self, coding: Coding) -> Option<Option<&Arc<Entry>>> {
        let slot = self.slots.iter().find(|slot| slot.coding == coding)?;
        slot.entry.get().map(Option::as_ref)
    }

    /// The coding to send: of those that can be, and with `unmade` also of those that can be made.
    fn choose(&self, accept: &AcceptEncoding, unmade: bool) -> Option<Coding> {
        let available = |slot: &&Slot| slot.entry.get().map_or(unmade, Option::is_some);
        match accept.choose(self.slots.iter().filter(available).map(|slot| slot.coding)) {
            Choice::Coded(coding) => Some(coding),
            // Even for who refuses that, as RFC 9110 section 12.4.1 allows: a file without variants does not look either.
            Choice::Identity | Choice::Nothing => None,
        }
    }
}

/// The representation of `entry` that answers `request`. What would be better, and has to be made first, is set going.
pub(crate) fn select(
    request: &Request<'_>,
    host: HostNumber,
    entry: Arc<Entry>,
    context: &mut Context,
) -> Arc<Entry> {
    match entry.file().and_then(File::variants) {
        Some(variants) => negotiate(request, host, &entry, variants, context).unwrap_or(entry),
        None => entry,
    }
}

fn negotiate(
    request: &Request<'_>,
    host: HostNumber,
    entry: &Arc<Entry>,
    variants: &Variants,
    context: &mut Context,
) -> Option<Arc<Entry>> {
    let accept = AcceptEncoding::new(request.fields().named("accept-encoding"));
    // Each round but the last settles one coding.
    while let Some(coding) = variants.choose(&accept, true) {
        if let Some(Some(variant)) = variants.get(coding) {
            return Some(Arc::clone(variant));
        }
        // A part of a file is no reason to compress the whole.
        let make = request.range.is_none();
        compression::find_or_make(host, entry, coding, make, context);
        if variants.get(coding).is_none() {
            break;
        }
    }
    // Nobody waits for what is being made.
    let coding = variants.choose(&accept, false)?;
    variants.get(coding).flatten().cloned()
}

/// The search for the neighbours of a file.
pub(crate) struct Beside {
    pub(crate) original: Original,
    /// Which coding of the setting is looked for.
    pub(crate) at: usize,
    pub(crate) found: Vec<(Coding, Arc<Entry>)>,
}

/// The file whose neighbours are looked for.
pub(crate) enum Original {
    /// It is in the cache, and has not changed.
    Known(Arc<Entry>),
    New(Box<File>),
}

impl Original {
    pub(crate) fn file(&self) -> Option<&File> {
        match self {
            Self::Known(entry) => entry.file(),
            Self::New(file) => Some(file),
        }
    }
}

/// What stands behind the name of a neighbour.
pub(crate) fn suffix(coding: Coding) -> &'static str {
    match coding {
        Coding::Brotli => ".br",
        Coding::Zstd => ".zst",
        Coding::Gzip => ".gz",
    }
}

/// Whether files of this type become smaller when they are compressed.
pub(crate) fn gains(content_type: &str) -> bool {
    const TYPES: [&str; 18] = [
        "application/javascript",
        "application/json",
        "application/json5",
        "application/jsonl",
        "application/postscript",
        "application/rtf",
        "application/sql",
        "application/toml",
        "application/vnd.apple.mpegurl",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-ndjson",
        "application/xml",
        "application/yaml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/x-icon",
    ];
    let kind = content_type.split(';').next().unwrap_or("");
    kind.starts_with("text/") || kind.ends_with("+xml") || kind.ends_with("+json") || TYPES.contains(&kind)
}
