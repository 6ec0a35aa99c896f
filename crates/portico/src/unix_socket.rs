//! The file of a listening Unix-domain socket: made with its permissions, cleared away when nobody listens on it any more.

use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// The file of a socket of this process. It is removed when this is dropped, if it still is that file.
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// What tells a file from another that took its name. The time is there because systems use the number of a removed file again.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    number: u64,
    made: (i64, i64),
}

impl SocketFile {
    /// Binds a socket to `path`, with these permissions from the first connection on: it does not listen yet. A socket file that
    /// an earlier process left there is removed; anything else there is an error.
    pub(crate) fn bind(path: &Path, mode: u32) -> io::Result<(Socket, Self)> {
        let address = SockAddr::unix(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        match socket.bind(&address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path, &address)?;
                socket.bind(&address)?;
            }
            bound => bound?,
        }
        let file = Self { path: path.to_path_buf(), identity: Identity::of(path)? };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        Ok((socket, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if Identity::of(&self.path).is_ok_and(|identity| identity == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket's file stays; the next start removes it");
        }
    }
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            number: metadata.ino(),
            made: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// Removes a socket that nobody listens on. What is no socket, or answers, stays and is an error.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let found = Identity::of(path)?;
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name, and it is no socket",
        ));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener with a full backlog would let the probe wait.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        // It is of another kind, can only be connected to by others, or is there and busy: not for this process to remove.
        Ok(()) | Err(_) => return Err(io::ErrorKind::AddrInUse.into()),
    }
    // Another server may have been as quick.
    if Identity::of(path)? != found {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    fs::remove_file(path)
}
