//! What can go wrong with an operation: a kind that a program can match on, the operation, and the system's own code.

use crate::operation::OperationKind;
use std::{fmt, io};

/// Why an operation did not succeed.
///
/// Small and `Copy`, so that a failed completion costs no allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    operation: OperationKind,
    code: i32,
}

/// The kinds of [`Error`], the same on every backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operation was cancelled: by [`Worker::cancel`](crate::Worker::cancel), by closing its handle, or by shutdown.
    Cancelled,
    /// The deadline of the operation passed before it completed.
    TimedOut,
    /// The peer reset the connection, or it was aborted. Never reported as an orderly end, which is zero bytes.
    Reset,
    /// The peer refused the connection.
    Refused,
    /// The handle was closed, or never belonged to this port.
    StaleHandle,
    /// The handle belongs to another worker's queue; post a packet to that queue instead.
    WrongQueue,
    /// The handle is of another kind than the operation wants, or an argument is out of range.
    InvalidArgument,
    /// The limit of operations in flight is reached ([`Configuration::operations`](crate::Configuration::operations)).
    OperationsExhausted,
    /// The limit of handles is reached ([`Configuration::handles`](crate::Configuration::handles)).
    HandlesExhausted,
    /// No buffer of a fitting size class is free ([`Configuration::buffers`](crate::Configuration::buffers)).
    BuffersExhausted,
    /// The queue for posted packets or for blocking work is full.
    QueueFull,
    /// As many bytes as [`Configuration::send_bytes`](crate::Configuration::send_bytes) allows wait to be sent on the handle. A completion of kind
    /// [`Writable`](crate::OperationKind::Writable) follows when there is room again.
    SendQueueFull,
    /// The process or the system has no more descriptors.
    DescriptorsExhausted,
    /// The system has no more memory for the operation (ENOBUFS, ENOMEM, WSAENOBUFS).
    SystemResources,
    /// The file or folder does not exist.
    NotFound,
    /// The system denies access.
    PermissionDenied,
    /// The file exists already.
    AlreadyExists,
    /// The path leads out of the folder that it has to stay in, or through a link that the options forbid.
    OutsideDirectory,
    /// The path names a folder where a file is wanted, or the reverse, or what cannot be opened at all, such as a socket.
    WrongFileKind,
    /// No space is left on the device.
    StorageFull,
    /// The backend has no such operation.
    Unsupported,
    /// The port is shutting down and takes no new operations.
    ShuttingDown,
    /// Anything else; [`Error::code`] has the system's own code.
    Other,
}

impl Error {
    /// An error of `kind` that the port itself found.
    pub const fn new(kind: ErrorKind, operation: OperationKind) -> Self {
        Self { kind, operation, code: 0 }
    }

    /// An error from the system's own code: `errno` on Unix, `GetLastError`/`WSAGetLastError` on Windows.
    pub fn from_code(code: i32, operation: OperationKind) -> Self {
        Self { kind: classify(code), operation, code }
    }

    /// An error of `kind` that keeps the system's `code`, where the kind follows from what the port knows and not from the code.
    pub(crate) const fn with_code(kind: ErrorKind, code: i32, operation: OperationKind) -> Self {
        Self { kind, operation, code }
    }

    /// An error from `std::io`.
    pub fn from_io(error: &io::Error, operation: OperationKind) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::from_code(code, operation),
            None => Self::new(kind_of(error.kind()), operation),
        }
    }

    /// The kind.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The operation that failed.
    pub const fn operation(&self) -> OperationKind {
        self.operation
    }

    /// The system's own code, if the system reported the error.
    pub const fn code(&self) -> Option<i32> {
        if self.code == 0 { None } else { Some(self.code) }
    }
}

fn kind_of(kind: io::ErrorKind) -> ErrorKind {
    use io::ErrorKind as Io;
    match kind {
        Io::NotFound => ErrorKind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        Io::AlreadyExists => ErrorKind::AlreadyExists,
        Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe => ErrorKind::Reset,
        Io::ConnectionRefused => ErrorKind::Refused,
        Io::TimedOut => ErrorKind::TimedOut,
        Io::IsADirectory | Io::NotADirectory => ErrorKind::WrongFileKind,
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::StorageFull,
        Io::OutOfMemory => ErrorKind::SystemResources,
        Io::Unsupported => ErrorKind::Unsupported,
        Io::InvalidInput | Io::InvalidFilename => ErrorKind::InvalidArgument,
        _ => ErrorKind::Other,
    }
}

#[cfg(unix)]
fn classify(code: i32) -> ErrorKind {
    match code {
        libc::ECANCELED => ErrorKind::Cancelled,
        libc::EMFILE | libc::ENFILE => ErrorKind::DescriptorsExhausted,
        libc::ENOBUFS | libc::ENOMEM => ErrorKind::SystemResources,
        libc::EXDEV | libc::ELOOP => ErrorKind::OutsideDirectory,
        // Opening a socket, or a device that is not there.
        libc::ENXIO | libc::ENODEV => ErrorKind::WrongFileKind,
        libc::ENOTCONN | libc::ECONNABORTED => ErrorKind::Reset,
        libc::EOPNOTSUPP | libc::ENOSYS => ErrorKind::Unsupported,
        libc::EACCES | libc::EPERM => ErrorKind::PermissionDenied,
        _ => kind_of(io::Error::from_raw_os_error(code).kind()),
    }
}

#[cfg(windows)]
fn classify(code: i32) -> ErrorKind {
    use windows_sys::Win32::Foundation as f;
    use windows_sys::Win32::Networking::WinSock as w;
    match code as u32 {
        f::ERROR_OPERATION_ABORTED => return ErrorKind::Cancelled,
        f::ERROR_TOO_MANY_OPEN_FILES => return ErrorKind::DescriptorsExhausted,
        f::ERROR_NO_SYSTEM_RESOURCES
        | f::ERROR_NOT_ENOUGH_MEMORY
        | f::ERROR_WORKING_SET_QUOTA
        | f::ERROR_NONPAGED_SYSTEM_RESOURCES => return ErrorKind::SystemResources,
        f::ERROR_NETNAME_DELETED | f::ERROR_CONNECTION_ABORTED | f::ERROR_PORT_UNREACHABLE => {
            return ErrorKind::Reset;
        }
        f::ERROR_CONNECTION_REFUSED => return ErrorKind::Refused,
        f::ERROR_SEM_TIMEOUT => return ErrorKind::TimedOut,
        f::ERROR_SHARING_VIOLATION => return ErrorKind::PermissionDenied,
        f::ERROR_STOPPED_ON_SYMLINK | f::ERROR_CANT_RESOLVE_FILENAME => return ErrorKind::OutsideDirectory,
        _ => {}
    }
    match code {
        w::WSAEMFILE => ErrorKind::DescriptorsExhausted,
        w::WSAENOBUFS => ErrorKind::SystemResources,
        w::WSAENOTCONN | w::WSAECONNABORTED | w::WSAECONNRESET | w::WSAENETRESET | w::WSAESHUTDOWN => {
            ErrorKind::Reset
        }
        w::WSAEOPNOTSUPP => ErrorKind::Unsupported,
        _ => kind_of(io::Error::from_raw_os_error(code).kind()),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} failed: ", self.operation.name())?;
        match self.code() {
            Some(code) => write!(formatter, "{}", io::Error::from_raw_os_error(code)),
            None => formatter.write_str(self.kind.sentence()),
        }
    }
}

impl ErrorKind {
    fn sentence(self) -> &'static str {
        match self {
            Self::Cancelled => "it was cancelled",
            Self::TimedOut => "its deadline passed",
            Self::Reset => "the connection was reset",
            Self::Refused => "the connection was refused",
            Self::StaleHandle => "the handle is closed",
            Self::WrongQueue => "the handle belongs to another queue; post to that queue",
            Self::InvalidArgument => "an argument does not fit the operation",
            Self::OperationsExhausted => {
                "too many operations are in flight; raise `operations` or wait for completions"
            }
            Self::HandlesExhausted => "too many handles are open; raise `handles` or close some",
            Self::BuffersExhausted => "no buffer is free; raise the buffer limits or wait until one returns",
            Self::QueueFull => "the queue is full; try again after some completions",
            Self::SendQueueFull => "too many bytes wait to be sent; wait until the handle is writable",
            Self::DescriptorsExhausted => "no descriptor is free; raise the limit of open files",
            Self::SystemResources => "the system is out of memory for input and output",
            Self::NotFound => "there is no such file or folder",
            Self::PermissionDenied => "access is denied",
            Self::AlreadyExists => "it exists already",
            Self::OutsideDirectory => "the path leaves its folder or follows a forbidden link",
            Self::WrongFileKind => "it is a folder where a file is wanted, or the reverse",
            Self::StorageFull => "no space is left on the device",
            Self::Unsupported => "the backend has no such operation",
            Self::ShuttingDown => "the port is shutting down",
            Self::Other => "an unexpected error",
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Error({:?} in {:?}, code {})", self.kind, self.operation, self.code)
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error.code() {
            Some(code) => Self::from_raw_os_error(code),
            None => Self::other(error),
        }
    }
}
