//! Direct descriptors: connections in a table of the ring's own instead of the process's.

use super::{Ring, UNANSWERED, system::System};
use crate::{
    backend::local::{Core, Descriptor},
    identity::Handle,
};
use ::io_uring::{opcode, squeue, types::Fixed};
use std::io;

/// Places that stay free at least, because the kernel closes connections that it accepts and finds no place for.
const SPARE: u32 = 64;
/// A stream accepts as many as are in the backlog before anybody can stop it (net.core.somaxconn is 4,096).
const BACKLOG: u32 = 4_096;

/// The table, as far as this side of it goes.
pub(super) struct Direct {
    places: u32,
    taken: u32,
    /// Accepts that the kernel has.
    accepts: u32,
}

impl Direct {
    /// Registers a table of so many places.
    pub(super) fn new(system: &System, places: u32) -> io::Result<Self> {
        if places > 0 {
            system.submitter().register_files_sparse(places)?;
        }
        Ok(Self { places, taken: 0, accepts: 0 })
    }

    /// Whether connections get a place in the table.
    pub(super) fn is_on(&self) -> bool {
        self.places > 0
    }

    /// Whether there is a place for one more connection, whatever the accepts under way bring; and room enough for a stream to begin.
    pub(super) fn room(&self) -> (bool, bool) {
        let free = self.places - self.taken;
        let plenty = Self::backlogs(2, self.accepts + 1);
        (!self.is_on() || free > SPARE.max(self.accepts), !self.is_on() || free > plenty)
    }

    /// Whether streams that are under way have to stop, before their backlogs fill the table.
    pub(super) fn is_short(&self) -> bool {
        self.is_on() && self.places - self.taken <= Self::backlogs(1, self.accepts)
    }

    fn backlogs(each: u32, accepts: u32) -> u32 {
        accepts.saturating_mul(each * BACKLOG).saturating_add(SPARE)
    }

    /// An accept is handed to the kernel.
    pub(super) fn begin_accept(&mut self) {
        self.accepts += 1;
    }

    /// The kernel has let go of one.
    pub(super) fn end_accept(&mut self) {
        self.accepts -= 1;
    }

    /// The kernel put a connection into the table.
    pub(super) fn took(&mut self) {
        self.taken += 1;
    }

    /// Says in an entry on the socket of `handle` that its descriptor is a direct one, if it is.
    pub(super) fn mark(&self, core: &Core, handle: Handle, entry: squeue::Entry) -> squeue::Entry {
        match core.descriptor(handle) {
            Some(Descriptor::Direct(_)) if self.is_on() => entry.flags(squeue::Flags::FIXED_FILE),
            _ => entry,
        }
    }
}

impl Ring {
    /// Closes what is in a place of the table.
    pub(super) fn close_direct(&mut self, place: u32) {
        self.direct.taken -= 1;
        let close = opcode::Close::new(Fixed(place)).build().flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: a close points to nothing.
        unsafe { self.system.push(close.user_data(UNANSWERED)) };
    }
}
