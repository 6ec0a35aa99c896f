//! The phases of a port's life, and how its end is reported.

use crate::{
    operation::OperationKind,
    sync::atomic::{AtomicU8, Ordering},
};
use std::fmt;

/// Where a port is in its life. Only ever advances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Running,
    /// Accept streams end; what runs may finish.
    Draining,
    /// Everything in flight is cancelled.
    Cancelling,
}

impl Phase {
    /// Whether an operation of `kind` is refused: accepts once it drains, everything but a close once it cancels.
    pub(crate) fn refuses(self, kind: OperationKind) -> bool {
        match self {
            Self::Running => false,
            Self::Draining => matches!(kind, OperationKind::Accept | OperationKind::AcceptStream),
            Self::Cancelling => kind != OperationKind::Close,
        }
    }
}

#[derive(Default)]
pub(crate) struct PhaseCell(AtomicU8);

impl PhaseCell {
    pub(crate) fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Cancelling,
        }
    }

    /// Moves on to `phase`; false if it was there or further already.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        self.0.fetch_max(phase as u8, Ordering::AcqRel) < phase as u8
    }
}

/// How a shutdown ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the report says whether something was left"]
pub struct ShutdownReport {
    /// The deadline came, or [`Port::cancel_all`](crate::Port::cancel_all) was called, before everything had ended by itself.
    pub cancelled: bool,
    /// Workers that did not leave in time.
    pub workers_left: usize,
    /// Operations that had not come home. Their memory is leaked rather than freed under the kernel.
    pub operations_left: usize,
    /// Buffers that are not back in the pool. Those that the program still holds count here.
    pub buffers_left: usize,
}

impl ShutdownReport {
    /// Nothing was cancelled, and nothing left.
    pub const fn is_clean(&self) -> bool {
        !self.cancelled && self.workers_left == 0 && self.operations_left == 0 && self.buffers_left == 0
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return formatter.write_str("clean");
        }
        let mut separator = "";
        for (count, what) in [
            (usize::from(self.cancelled), "running operations were cancelled at the deadline"),
            (self.workers_left, "workers did not leave"),
            (self.operations_left, "operations did not come home"),
            (self.buffers_left, "buffers are not back"),
        ] {
            match (count, what) {
                (0, _) => continue,
                (_, what) if self.cancelled && separator.is_empty() => write!(formatter, "{what}")?,
                (count, what) => write!(formatter, "{separator}{count} {what}")?,
            }
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_advance() {
        let phase = PhaseCell::default();
        assert!(phase.advance(Phase::Cancelling));
        assert!(!phase.advance(Phase::Draining));
        assert_eq!(phase.get(), Phase::Cancelling);
    }

    #[test]
    fn reports_read_as_sentences() {
        let clean = ShutdownReport { cancelled: false, workers_left: 0, operations_left: 0, buffers_left: 0 };
        assert_eq!(clean.to_string(), "clean");
        let left = ShutdownReport { workers_left: 1, buffers_left: 2, ..clean };
        assert_eq!(left.to_string(), "1 workers did not leave, 2 buffers are not back");
        let late = ShutdownReport { cancelled: true, operations_left: 3, ..clean };
        assert_eq!(
            late.to_string(),
            "running operations were cancelled at the deadline, 3 operations did not come home"
        );
    }
}
