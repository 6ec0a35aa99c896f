//! The folders that settings name, as they are on disk.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::Settings;

/// The root and the upload folder, found and made absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// The root: absolute, without symbolic links.
    pub root: PathBuf,
    /// The upload folder, relative to the root; empty where it is the root itself.
    pub upload: Option<PathBuf>,
}

/// Why a folder cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum FolderError {
    /// There is nothing of that name.
    Missing(PathBuf),
    /// It is no folder.
    NotAFolder(PathBuf),
    /// This user may not list it.
    Forbidden(PathBuf),
    /// The upload folder is not inside the root.
    UploadOutside {
        /// The upload folder.
        upload: PathBuf,
        /// The root.
        root: PathBuf,
    },
    /// The system said something else.
    Other(PathBuf, io::Error),
}

impl Folders {
    /// Looks for the folders. Blocks on the disk.
    ///
    /// # Errors
    /// [`FolderError`] says which folder is wrong and what to do.
    pub fn find(settings: &Settings) -> Result<Folders, FolderError> {
        let root = folder(&settings.root)?;
        let upload = match &settings.upload {
            None => None,
            Some(named) => match folder(named)?.strip_prefix(&root) {
                Ok(inside) => Some(inside.to_path_buf()),
                Err(_) => {
                    return Err(FolderError::UploadOutside {
                        upload: named.clone(),
                        root: settings.root.clone(),
                    });
                }
            },
        };
        Ok(Folders { root, upload })
    }
}

fn folder(path: &Path) -> Result<PathBuf, FolderError> {
    let explain = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FolderError::Missing(path.to_path_buf()),
        io::ErrorKind::NotADirectory => FolderError::NotAFolder(path.to_path_buf()),
        io::ErrorKind::PermissionDenied => FolderError::Forbidden(path.to_path_buf()),
        _ => FolderError::Other(path.to_path_buf(), error),
    };
    let absolute = std::fs::canonicalize(path).map_err(explain)?;
    if !std::fs::metadata(&absolute).map_err(explain)?.is_dir() {
        return Err(FolderError::NotAFolder(path.to_path_buf()));
    }
    // Listing is what a missing right shows up in; opening a file below would show it only at the first request.
    std::fs::read_dir(&absolute).map_err(explain)?;
    Ok(absolute)
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderError::Missing(path) => {
                write!(f, "there is no folder {}: check the path, or create it", path.display())
            }
            FolderError::NotAFolder(path) => {
                write!(f, "{} is not a folder: name the folder that contains it", path.display())
            }
            FolderError::Forbidden(path) => {
                write!(
                    f,
                    "no permission to read {}: let this user read it, or run as one who may",
                    path.display()
                )
            }
            FolderError::UploadOutside { upload, root } => {
                let (upload, root) = (upload.display(), root.display());
                write!(
                    f,
                    "the upload folder {upload} is not inside the root {root}: choose a folder inside the root"
                )
            }
            FolderError::Other(path, error) => write!(f, "cannot use the folder {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for FolderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FolderError::Other(_, error) => Some(error),
            _ => None,
        }
    }
}
