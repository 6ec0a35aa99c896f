//! Operations that have a descriptor of their own, on which the system tells of what they wait for: changes in a folder, and of the
//! machine's addresses. An engine awaits the descriptor and then has the notices taken.

use super::{Body, Core};
use crate::{
    control::ControlRequest,
    error::{Error, ErrorKind},
    identity::Token,
};
use std::os::fd::BorrowedFd;

#[cfg(target_os = "linux")]
use crate::{
    completion::Payload,
    control::netlink::AddressNotices,
    operation::OperationKind,
    watch::{
        Change,
        inotify::{Bounds, Looked, Watcher},
    },
};

/// The open descriptor of such an operation.
pub(crate) enum Notices {
    #[cfg(target_os = "linux")]
    Folder(Box<Watcher>),
    #[cfg(target_os = "linux")]
    Addresses(AddressNotices),
}

/// What an engine has to do next.
pub(crate) enum Next {
    /// Take notices once more, when others had their turn.
    Again,
    /// Wait until the descriptor is readable.
    Wait,
    /// Have the pool walk through folders.
    #[cfg(target_os = "linux")]
    Walk,
    /// The operation is over.
    End(Result<u64, Error>),
}

impl Notices {
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Folder(watcher) => watcher.as_fd(),
            #[cfg(target_os = "linux")]
            Self::Addresses(socket) => socket.as_fd(),
            #[cfg(not(target_os = "linux"))]
            _ => unreachable!("there are none on this system"),
        }
    }
}

impl Core {
    /// Opens what the operation waits on, if that has not been done. True if it was done now.
    pub(crate) fn open_notices(&mut self, token: Token) -> Result<bool, Error> {
        let slot = self.slot_mut(token);
        let notices = match &slot.body {
            #[cfg(target_os = "linux")]
            Body::Watch { directory, recursive } => {
                let watcher = Watcher::new(std::sync::Arc::clone(directory), *recursive);
                watcher.map(|watcher| Notices::Folder(Box::new(watcher)))
            }
            #[cfg(target_os = "linux")]
            Body::Control(ControlRequest::AddressChange) => AddressNotices::open().map(Notices::Addresses),
            #[cfg(not(target_os = "linux"))]
            Body::Watch { .. } | Body::Control(ControlRequest::AddressChange) => {
                return Err(Error::new(ErrorKind::Unsupported, slot.kind));
            }
            _ => return Ok(false),
        };
        slot.body = Body::Notices(notices.map_err(|error| Error::from_io(&error, slot.kind))?);
        Ok(true)
    }

    /// The descriptor that the operation waits on.
    pub(crate) fn notices(&self, token: Token) -> &Notices {
        match &self.slot(token).body {
            Body::Notices(notices) => notices,
            _ => unreachable!("it was opened before it is awaited"),
        }
    }
}

#[cfg(target_os = "linux")]
impl Core {
    /// Takes the notices that are there, and reports what they say.
    pub(crate) fn take_notices(&mut self, token: Token) -> Next {
        if self.ready_count() >= self.enough() {
            return Next::Again;
        }
        let slot = self.slot_mut(token);
        let kind = slot.kind;
        let Body::Notices(mut notices) = std::mem::replace(&mut slot.body, Body::None) else {
            unreachable!("it was opened before")
        };
        let next = match &mut notices {
            Notices::Folder(watcher) => {
                let looked = watcher.look(|change| self.tell(token, change));
                match looked {
                    Ok(Looked::Gone) => Next::End(Err(Error::new(ErrorKind::NotFound, kind))),
                    Ok(_) if watcher.has_to_walk() => Next::Walk,
                    Ok(Looked::Again) => Next::Again,
                    Ok(Looked::Waits) => Next::Wait,
                    Err(error) => Next::End(Err(Error::from_io(&error, kind))),
                }
            }
            Notices::Addresses(socket) => match socket.changed() {
                Ok(true) => Next::End(Ok(0)),
                Ok(false) => Next::Wait,
                Err(error) => Next::End(Err(Error::from_io(&error, kind))),
            },
        };
        self.slot_mut(token).body = Body::Notices(notices);
        next
    }

    fn tell(&mut self, token: Token, change: Change) {
        self.item(token, 0, Payload::Change(change));
    }

    /// How much of a tree the pool walks through at once: no more changes than one wait hands out, and it can be cancelled between.
    pub(super) fn walk_bounds(&self) -> Bounds {
        Bounds { folders: 256, names: self.configuration.batch }
    }

    /// The watcher comes back: from a walk, or because it was not begun. True if the operation goes on.
    pub(super) fn take_watcher_back(
        &mut self,
        token: Token,
        watcher: Box<Watcher>,
        changes: Vec<Change>,
        result: Result<u64, Error>,
    ) -> bool {
        let slot = self.slot_mut(token);
        slot.on_pool = false;
        slot.body = Body::Notices(Notices::Folder(watcher));
        let ended = slot.cancelled || slot.timed_out;
        for change in changes {
            self.tell(token, change);
        }
        let error = match result {
            Ok(_) if !ended => return true,
            Ok(_) => Error::new(ErrorKind::Cancelled, OperationKind::WatchDirectory),
            Err(error) => error,
        };
        self.complete_with_body(token, Err(error));
        false
    }
}

#[cfg(not(target_os = "linux"))]
impl Core {
    pub(crate) fn take_notices(&mut self, token: Token) -> Next {
        Next::End(Err(Error::new(ErrorKind::Unsupported, self.slot(token).kind)))
    }
}
