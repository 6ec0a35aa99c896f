//! Faults that can be planted, to see that the tests find them: scripts/test-faults. None in any other build.

/// Whether the fault of this name is planted: in a build with `--cfg completion_port_faults`, by the variable
/// `COMPLETION_PORT_FAULT`.
#[cfg(completion_port_faults)]
pub(crate) fn is_planted(name: &str) -> bool {
    static PLANTED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    PLANTED.get_or_init(|| std::env::var("COMPLETION_PORT_FAULT").unwrap_or_default()) == name
}

#[cfg(not(completion_port_faults))]
pub(crate) const fn is_planted(_: &str) -> bool {
    false
}
