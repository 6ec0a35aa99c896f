//! How many files the system lets this process have open.

/// The share of the process's descriptors that cached files may take: half of them. The rest is for connections, where these take
/// descriptors, and for whatever else the process does.
#[cfg(unix)]
pub(crate) fn for_cached_files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX))
}

/// Windows has no such limit that a server meets.
#[cfg(not(unix))]
pub(crate) fn for_cached_files() -> usize {
    usize::MAX
}
