//! Transmit-packets.

use super::winsock::Functions;

pub(super) fn works(functions: &Functions) -> bool {
    functions.transmit_packets.is_some() && false
}
