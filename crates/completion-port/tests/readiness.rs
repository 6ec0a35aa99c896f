//! What only the readiness backend can get wrong: edges that are missed, turns that are not shared, lists that are left.
//! What every backend has to do is in the conformance suite.

#![cfg(unix)]

#[path = "readiness/connections.rs"]
mod connections;
#[path = "readiness/files.rs"]
mod files;
#[path = "readiness/queue.rs"]
mod queue;
#[path = "readiness/rig.rs"]
mod rig;
#[path = "readiness/sharing.rs"]
mod sharing;
