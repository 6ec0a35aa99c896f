//! Looking for precompressed neighbours of a file: `file.js.br` beside `file.js`.
//!
//! Each coding of the setting `precompressed` is opened once the file itself is found, and again whenever the disk is asked about the
//! file. A neighbour that is older than its file was made of what the file no longer holds, and is not used.

use super::{Activity, Connection};
use crate::{
    context::Context,
    entry::{Entry, File, Kind, OpenFile},
    mime,
    seek::{Lookup, Purpose},
    variants::{self, Beside, Original, Variants},
};
use completion_port::{FileKind, Metadata, Operation};
use portico_http::coding::Coding;
use std::{path::PathBuf, sync::Arc};

impl Connection {
    /// Whether the file of `lookup`, which is there, may have neighbours.
    pub(super) fn has_neighbours(&self, lookup: &Lookup, context: &Context) -> bool {
        let host = &context.site.hosts[lookup.host];
        if host.settings.precompressed.is_empty() || lookup.beside.is_some() || is_page(lookup) {
            return false;
        }
        // Whoever may upload must not decide what others get for a name that is there already.
        let uploaded = host.upload.as_ref().is_some_and(|folder| folder.name_in(lookup.file()).is_some());
        let path = lookup.candidate(host).unwrap_or_default();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let content_type = mime::content_type(name);
        !uploaded && (variants::gains(content_type) || content_type == mime::UNKNOWN)
    }

    /// Looks for the neighbours of a file that was found.
    pub(super) fn look_beside(&mut self, mut lookup: Box<Lookup>, original: Original, context: &mut Context) {
        lookup.beside = Some(Box::new(Beside { original, at: 0, found: Vec::new() }));
        self.open_beside(lookup, context);
    }

    /// Opens the next neighbour, or ends with what was found.
    fn open_beside(&mut self, mut lookup: Box<Lookup>, context: &mut Context) {
        let host = &context.site.hosts[lookup.host];
        while let Some(coding) = coding(&lookup, context) {
            let mut path = lookup.candidate(host).unwrap_or_default().into_os_string();
            path.push(variants::suffix(coding));
            let (directory, options) = (Some(Arc::clone(&host.root)), host.open_options());
            let operation = Operation::Open { directory, path: PathBuf::from(path), options };
            if context.port.submit(self.handle, operation).is_ok() {
                self.activity = Activity::LookingUp(lookup);
                return;
            }
            // The pool is full: as if it were not there, until the disk is asked again.
            if !go_on(&mut lookup, coding, None) {
                return self.start_over(&lookup, context);
            }
        }
        let Some(Beside { original, found, .. }) = lookup.beside.take().map(|beside| *beside) else { return };
        match original {
            Original::Known(entry) => self.known = Some(entry),
            Original::New(file) => self.found_with_variants(&lookup, *file, found, context),
        }
    }

    /// A neighbour was opened, or is not there.
    pub(super) fn on_beside_opened(
        &mut self,
        mut lookup: Box<Lookup>,
        opened: Option<(OpenFile, Metadata)>,
        context: &mut Context,
    ) {
        let Some(coding) = coding(&lookup, context) else { return };
        let Some(original) = lookup.beside.as_ref().and_then(|beside| beside.original.file()) else { return };
        let oldest = original.metadata.modified;
        let opened = opened.filter(|(_, metadata)| {
            metadata.kind == FileKind::File && metadata.modified >= oldest && metadata.length > 0
        });
        if let Some((file, metadata)) = opened {
            let known = original.variants().and_then(|variants| variants.neighbour(coding)).cloned();
            let known = known
                .filter(|entry| entry.file().is_some_and(|file| file.settled && file.metadata == metadata));
            match (&lookup.beside.as_ref().map(|beside| &beside.original), known) {
                (Some(Original::New(_)), _) => return self.load(lookup, file, metadata, context),
                (_, None) => return self.start_over(&lookup, context),
                (_, Some(entry)) => {
                    go_on(&mut lookup, coding, Some(entry));
                }
            }
        } else if !go_on(&mut lookup, coding, None) {
            return self.start_over(&lookup, context);
        }
        self.open_beside(lookup, context);
    }

    /// A neighbour is ready to be sent.
    pub(super) fn found_beside(&mut self, mut lookup: Box<Lookup>, file: File, context: &mut Context) {
        if let Some(coding) = coding(&lookup, context) {
            let fields = context.site.hosts[lookup.host].head_fields();
            let file = file.coded(coding, &fields);
            let entry = Entry::new(Kind::File(Box::new(file)), context.port.now());
            go_on(&mut lookup, coding, Some(Arc::new(entry)));
        }
        self.open_beside(lookup, context);
    }

    /// What is known of the neighbours is not so any more.
    fn start_over(&mut self, lookup: &Lookup, context: &mut Context) {
        context.cache.remove(lookup.host, &lookup.key);
        self.look_up(Lookup::new(lookup.host, &lookup.key, lookup.purpose), context);
    }

    /// A file is found, with its neighbours. One without may be compressed.
    pub(super) fn found_with_variants(
        &mut self,
        lookup: &Lookup,
        file: File,
        neighbours: Vec<(Coding, Arc<Entry>)>,
        context: &mut Context,
    ) {
        let host = &context.site.hosts[lookup.host];
        let settings = &host.settings;
        let worth = settings.compress_least_bytes..=settings.compress_most_bytes;
        let variants = if !neighbours.is_empty() {
            Some(Variants::neighbours(neighbours))
        } else if !settings.compress.is_empty()
            && !is_page(lookup)
            && worth.contains(&file.length())
            && variants::gains(&file.content_type)
        {
            let path = lookup.candidate(host).unwrap_or_default();
            // A file that has just been written is read again and again for a while, and mostly is the same.
            let before = context.cache.get(lookup.host, &lookup.key).and_then(|entry| entry.file());
            let same = before.filter(|before| before.etag() == file.etag() && !file.etag().is_weak());
            let made = same.and_then(File::variants).filter(|made| made.source() == Some(&path));
            Some(made.cloned().unwrap_or_else(|| Variants::to_make(&settings.compress, &path, &lookup.key)))
        } else {
            None
        };
        let file = match variants {
            Some(variants) => file.with_variants(variants, &host.head_fields()),
            None => file,
        };
        self.found(lookup, Kind::File(Box::new(file)), context);
    }
}

/// Which coding is looked for.
fn coding(lookup: &Lookup, context: &Context) -> Option<Coding> {
    let codings = &context.site.hosts[lookup.host].settings.precompressed;
    codings.get(lookup.beside.as_ref()?.at).copied()
}

/// Goes on to the next coding. False where the one that was known is gone.
fn go_on(lookup: &mut Lookup, coding: Coding, found: Option<Arc<Entry>>) -> bool {
    let Some(beside) = &mut lookup.beside else { return false };
    let known = match &beside.original {
        Original::Known(entry) => entry.file().and_then(File::variants),
        Original::New(_) => None,
    };
    let gone = found.is_none() && known.is_some_and(|variants| variants.neighbour(coding).is_some());
    beside.at += 1;
    beside.found.extend(found.map(|entry| (coding, entry)));
    !gone
}

/// The page of a status is sent as it is, whatever its request accepts.
fn is_page(lookup: &Lookup) -> bool {
    matches!(lookup.purpose, Purpose::Page(_))
}
