//! What all workers share: the settings as the request path needs them, the folders, the logs.

use crate::{
    clients::Clients,
    compression::Compression,
    counters::Registry,
    host::{HostNumber, Hosts},
    log::AccessLog,
    protection::Checks,
    settings::{Folders, Settings},
    trace::Trace,
};
use portico_http::limits::Limits;
use std::{io, sync::Arc};

pub(crate) struct Site {
    pub(crate) settings: Settings,
    pub(crate) hosts: Hosts,
    pub(crate) limits: Limits,
    /// Limits for a body that nobody wants, and that is read only to find the next request behind it.
    pub(crate) discard_limits: Limits,
    pub(crate) log: AccessLog,
    pub(crate) counters: Arc<Registry>,
    pub(crate) compression: Arc<Compression>,
    pub(crate) trace: Option<Trace>,
    /// None where clients are not limited by their address.
    pub(crate) clients: Option<Clients>,
    pub(crate) checks: Checks,
    /// They live as long as a worker does.
    #[cfg(unix)]
    pub(crate) socket_files: Vec<crate::unix_socket::SocketFile>,
}

/// A body that is not wanted is read up to this length; behind a longer one the connection closes.
const DISCARD_BYTES: u64 = 65_536;

impl Site {
    /// Limits for what a host takes as an upload.
    pub(crate) fn upload_limits(&self, host: HostNumber) -> Limits {
        Limits { body_bytes: self.hosts[host].settings.upload_bytes, ..self.limits }
    }

    pub(crate) fn open(
        settings: Settings,
        folders: &[Folders],
        log: AccessLog,
        counters: Arc<Registry>,
    ) -> io::Result<Self> {
        let limits = Limits {
            head_bytes: settings.head_bytes,
            fields: settings.header_fields,
            // Of the host that allows the most; each upload is measured by its own.
            body_bytes: settings.each_host().map(|(_, host)| host.upload_bytes).max().unwrap_or(0),
            ..Limits::default()
        };
        Ok(Self {
            hosts: Hosts::open(&settings, folders)?,
            discard_limits: Limits { body_bytes: DISCARD_BYTES, ..limits },
            limits,
            log,
            counters,
            clients: Clients::new(&settings),
            checks: Checks::default(),
            compression: Compression::new(settings.pool_threads),
            trace: settings.trace.then(Trace::new),
            #[cfg(unix)]
            socket_files: Vec::new(),
            settings,
        })
    }
}
