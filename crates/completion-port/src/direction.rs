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
            Kind::Accept
            | Kind::AcceptStream
            | Kind::Receive
            | Kind::ReceiveScatter
            | Kind::ReceiveFrom
            | Kind::ReceiveMessage
            | Kind::ReceiveStream => Some(Self::Receive),
            Kind::Connect
            | Kind::Disconnect
            | Kind::Send
            | Kind::SendTo
            | Kind::SendMessage
            | Kind::TransmitFile
            | Kind::TransmitPackets => Some(Self::Send),
            _ => None,
        }
    }
}

/// What a handle is, as far as operations care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    Listener,
    Socket,
    Pipe,
    File,
}

impl Nature {
    /// Whether an operation of `kind` can be submitted for such a handle. For what does not touch a socket, any handle will do.
    pub(crate) fn takes(self, kind: OperationKind) -> bool {
        use OperationKind as Kind;
        match kind {
            Kind::Accept | Kind::AcceptStream => self == Self::Listener,
            Kind::Receive | Kind::ReceiveScatter | Kind::ReceiveStream | Kind::Send => {
                matches!(self, Self::Socket | Self::Pipe)
            }
            Kind::Control => matches!(self, Self::Socket | Self::Listener),
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
        for (kind, listener, socket, pipe, file) in [
            (Kind::Accept, true, false, false, false),
            (Kind::AcceptStream, true, false, false, false),
            (Kind::ReceiveStream, false, true, true, false),
            (Kind::ReceiveFrom, false, true, false, false),
            (Kind::Send, false, true, true, false),
            (Kind::TransmitFile, false, true, false, false),
            (Kind::Control, true, true, false, false),
            (Kind::ReadAt, true, true, true, true),
            (Kind::Timer, true, true, true, true),
            (Kind::Close, true, true, true, true),
        ] {
            let natures = [Nature::Listener, Nature::Socket, Nature::Pipe, Nature::File];
            assert_eq!(natures.map(|nature| nature.takes(kind)), [listener, socket, pipe, file], "{kind:?}");
        }
    }
}
