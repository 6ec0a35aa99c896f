//! Changes in a folder.

use std::path::PathBuf;

#[cfg(target_os = "linux")]
pub(crate) mod inotify;

/// One change that a [`WatchDirectory`](crate::Operation::WatchDirectory) saw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To what, from the watched folder on; empty for the folder itself and for [`ChangeKind::Missed`].
    pub path: PathBuf,
}

/// What happened to a name in a watched folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is new, or was renamed to this name.
    Appeared,
    /// It is gone, or was renamed to another name.
    Disappeared,
    /// Its content, length, times or rights changed.
    Modified,
    /// Changes came faster than they were taken, and some are lost: look at everything afresh. (IN_Q_OVERFLOW;
    /// ERROR_NOTIFY_ENUM_DIR.)
    Missed,
}
