//! The port in a simulated world: programs with faults from a seed, whose breaches of a law come back with the seed.
//!
//! `COMPLETION_PORT_SEEDS` says how many seeds the random programs run with, or which: `1000`, or `17..18`.
#![cfg(unix)]

#[path = "simulation/basics.rs"]
mod basics;
#[path = "simulation/echo.rs"]
mod echo;
#[path = "simulation/rig.rs"]
mod rig;
#[path = "simulation/turmoil.rs"]
mod turmoil;
