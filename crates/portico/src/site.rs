//! What all workers share: the settings as the request path needs them, the folders, the logs.

use crate::{
    entry::HeadFields,
    log::AccessLog,
    mime,
    path::Rules,
    settings::{Charset, Folders, FollowSymlinks, Settings},
    trace::Trace,
    upload::UploadFolder,
};
use completion_port::{Directory, OpenOptions};
use portico_http::limits::Limits;
use std::{borrow::Cow, io, sync::Arc};

/// The `Server` field.
const SERVER: &str = concat!("Portico/", env!("CARGO_PKG_VERSION"));

pub(crate) struct Site {
    pub(crate) settings: Settings,
    pub(crate) root: Arc<Directory>,
    pub(crate) rules: Rules,
    pub(crate) limits: Limits,
    /// Limits for a body that nobody wants, and that is read only to find the next request behind it.
    pub(crate) discard_limits: Limits,
    pub(crate) upload: Option<UploadFolder>,
    pub(crate) log: AccessLog,
    pub(crate) trace: Option<Trace>,
}

/// A body that is not wanted is read up to this length; behind a longer one the connection closes.
const DISCARD_BYTES: u64 = 65_536;

impl Site {
    pub(crate) fn open(settings: Settings, folders: &Folders, log: AccessLog) -> io::Result<Self> {
        let limits = Limits {
            head_bytes: settings.head_bytes,
            fields: settings.header_fields,
            body_bytes: settings.upload_bytes,
            ..Limits::default()
        };
        let upload = match &folders.upload {
            Some(relative) => Some(UploadFolder::open(&folders.root, relative)?),
            None => None,
        };
        Ok(Self {
            root: Arc::new(Directory::open(&folders.root)?),
            rules: Rules::native(settings.dot_files),
            discard_limits: Limits { body_bytes: DISCARD_BYTES, ..limits },
            limits,
            upload,
            log,
            trace: settings.trace.then(Trace::new),
            settings,
        })
    }

    pub(crate) fn server(&self) -> Option<&'static str> {
        self.settings.server_name.then_some(SERVER)
    }

    pub(crate) fn head_fields(&self) -> HeadFields<'_> {
        HeadFields {
            server: self.server(),
            cache_control: self.settings.cache_control.as_deref(),
            content_language: self.settings.content_language.as_deref(),
        }
    }

    /// The content type of a file of this name, with the charset of the settings.
    pub(crate) fn content_type(&self, name: &str) -> Cow<'static, str> {
        mime::with_charset(mime::content_type(name), self.settings.charset.as_ref().map(Charset::as_str))
    }

    /// How files are opened for sending.
    pub(crate) fn open_options(&self) -> OpenOptions {
        OpenOptions::new().read(true).refuse_links(self.settings.follow_symlinks == FollowSymlinks::Never)
    }
}
