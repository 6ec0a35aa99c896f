//! How many files the system lets this process hold open.

/// The most that the caches of all workers may hold open together: half of what the process may have. The rest is for connections,
/// downloads, uploads and logs, which would otherwise find the door shut until something leaves the cache.
#[cfg(unix)]
pub(crate) fn most_cached() -> usize {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    most.map_or(usize::MAX, |most| usize::try_from(most / 2).unwrap_or(usize::MAX))
}

/// Windows bounds the handles of a process by memory alone.
#[cfg(not(unix))]
pub(crate) fn most_cached() -> usize {
    usize::MAX
}
