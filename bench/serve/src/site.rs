//! The folder that all servers serve.

use crate::Failure;
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// When every file was last modified, and how that is written in a request.
pub const MODIFIED: Duration = Duration::from_secs(1_704_067_200);
pub const MODIFIED_TEXT: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
/// Files in the folder `many`.
pub const MANY: usize = 10_000;

/// Files in the folder `upload`.
pub const UPLOADS: usize = 8;

/// Makes the files below `folder`, in memory where that is in memory: 1k.bin to 10m.bin, `many/`, `upload/`, and 1g.bin if wanted.
pub fn make(folder: &Path, with_gibibyte: bool) -> Result<PathBuf, Failure> {
    let root = folder.join("site");
    fs::create_dir_all(root.join("many"))?;
    fs::create_dir_all(root.join("upload"))?;
    for (name, bytes) in
        [("1k.bin", 1 << 10), ("10k.bin", 10 << 10), ("100k.bin", 100 << 10), ("10m.bin", 10 << 20)]
    {
        write(&root.join(name), bytes)?;
    }
    // Uploads replace what is there, for an answer of 204.
    for number in 0..UPLOADS {
        write(&root.join(format!("upload/{number}")), 0)?;
    }
    if with_gibibyte {
        write(&root.join("1g.bin"), 1 << 30)?;
    }
    for number in 0..MANY {
        write(&root.join(many(number)), 1 << 10)?;
    }
    Ok(root)
}

/// The name of one of many.
pub fn many(number: usize) -> String {
    format!("many/{number:05}.bin")
}

pub fn write(path: &Path, bytes: usize) -> Result<(), Failure> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = bytes;
    while left > 0 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let piece = &state.to_le_bytes()[..left.min(8)];
        file.write_all(piece)?;
        left -= piece.len();
    }
    let file = file.into_inner().map_err(|error| error.into_error())?;
    file.set_modified(SystemTime::UNIX_EPOCH + MODIFIED)?;
    Ok(())
}
