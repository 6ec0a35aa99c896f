//! What the contract says of an operation's kind, the same on every backend: its direction, and what it acts on.

use crate::operation::OperationKind;

/// Which way an operation goes on its socket. Those of one direction run one after the other, in the order of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Receive,
    Send,
}

impl Direction {
    #[cfg(windows)]
    pub(crate) const BOTH: [Self; 2] = [Self::Receive, Self::Send];

    /// None for what has no order: files, timers and the like.
    pub(crate) fn of(kind: OperationKind) -> Option<Self> {
        use OperationKind as Kind;
        match kind {
            Kind::Accept | Kind::AcceptStream | Kind::Receive | Kind::ReceiveStream => Some(Self::Receive),
            Kind::Connect | Kind::Disconnect | Kind::Send | Kind::TransmitFile => Some(Self::Send),
            _ => None,
        }
    }
}

/// What a handle is, as far as operations care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    Listener,
    Socket,
    File,
}

impl Nature {
    /// Whether an operation of `kind` can be submitted for such a handle. For what does not touch a socket, any handle will do.
    pub(crate) fn takes(self, kind: OperationKind) -> bool {
        match kind {
            OperationKind::Accept | OperationKind::AcceptStream => self == Self::Listener,
            _ => Direction::of(kind).is_none() || self == Self::Socket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_go_where_they_make_sense() {
        use OperationKind as Kind;
        for (kind, listener, socket, file) in [
            (Kind::Accept, true, false, false),
            (Kind::AcceptStream, true, false, false),
            (Kind::ReceiveStream, false, true, false),
            (Kind::TransmitFile, false, true, false),
            (Kind::ReadAt, true, true, true),
            (Kind::Timer, true, true, true),
            (Kind::Close, true, true, true),
        ] {
            let taken = [Nature::Listener, Nature::Socket, Nature::File].map(|nature| nature.takes(kind));
            assert_eq!(taken, [listener, socket, file], "{kind:?}");
        }
    }
}
