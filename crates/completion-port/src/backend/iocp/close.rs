//! Closing handles.

use super::{handle::State, slot::NONE, turn::Turn};
use crate::{error::ErrorKind, identity::Handle};
use std::sync::atomic::Ordering;

impl Turn<'_> {
    /// Closes a handle without a completion. A stale one is ignored.
    pub(super) fn close(&mut self, handle: Handle) {
        if let Some(entry) = self.core.handles.get(handle.index()) {
            let mut state = entry.lock();
            if state.is(handle) && !state.closing {
                self.begin_close(&mut state, NONE);
                self.advance(entry, &mut state);
            }
        }
        self.settle();
    }

    /// Ends everything of the handle. `close` is the slot of the operation that asks for it, or none.
    pub(super) fn begin_close(&mut self, state: &mut State, close: u32) {
        self.shared.queues[self.core.queue as usize].closing(Handle::new(
            self.core.queue,
            state.index(),
            state.generation,
        ));
        state.closing = true;
        state.close = close;
        state.early = None;
        state.held.clear();
        // The list changes under the walk where operations end at once: take the next before.
        let mut next = state.operations;
        while next != NONE {
            let index = next;
            next = self.core.slot(index).links.after.load(Ordering::Relaxed);
            self.end(state, index, ErrorKind::Cancelled);
        }
    }

    /// Lets go of what the handle stands for, once everything has come home.
    pub(super) fn finish_close(&mut self, state: &mut State) {
        let own = u32::from(state.close != NONE);
        if !state.closing || state.closed || state.pending > own {
            return;
        }
        self.retire(state);
        if state.close != NONE {
            let close = std::mem::replace(&mut state.close, NONE);
            // Through the gate, behind everything else.
            self.complete(state, close, Ok(0), Default::default());
        }
        state.closed = true;
        self.release(state);
    }

    /// Gives the entry of a closed handle back, once nobody holds its gate.
    pub(super) fn release(&mut self, state: &mut State) {
        if state.closed && state.closing && state.gate.is_free() {
            state.closing = false;
            state.generation = state.generation.wrapping_add(1) & 0x00ff_ffff;
            self.core.handles.give_back(state.index());
        }
    }
}
