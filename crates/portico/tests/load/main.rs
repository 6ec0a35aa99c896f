//! The program with many clients, and with slow ones: what they cost, and that they hinder nobody.

#[path = "../common/mod.rs"]
mod common;

mod idle_connections;
mod silent_clients;
mod slow_clients;
#[cfg(target_os = "linux")]
mod slow_crowd;

/// Lets this process, and the programs it starts, open as many files as the system allows.
fn raise_descriptor_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}
