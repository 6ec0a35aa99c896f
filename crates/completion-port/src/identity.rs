//! Names for things that live in tables: handles and tokens, both checked by generation, both `Copy`.
//!
//! Layout of the 64 bits, for handles and tokens alike: index (32), generation (24), queue (8). A name that outlived its
//! entry is told from the entry's successor by the generation, which is why a stale name is an error and never an accident.

use std::fmt;

/// How many queues a port can have. The queue is one byte of a name; the last value means "no queue".
pub(crate) const MAXIMUM_QUEUES: usize = 255;
const GENERATION_MASK: u32 = 0x00ff_ffff;

macro_rules! name {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl $name {
            /// The name of nothing: what a completion carries that concerns none.
            pub const NONE: Self = Self(u64::MAX);

            #[allow(dead_code, reason = "not every platform's backend uses every part of a name")]
            pub(crate) const fn new(queue: u8, index: u32, generation: u32) -> Self {
                Self(((queue as u64) << 56) | (((generation & GENERATION_MASK) as u64) << 32) | index as u64)
            }
            /// The name as a number, unique within its port for the life of the entry, and for 16 million lives after.
            pub const fn to_bits(self) -> u64 {
                self.0
            }
            /// The name that [`to_bits`](Self::to_bits) gave: the way to send it in a packet. One that was made up is stale, or
            /// names something else of the same port, and nothing worse.
            pub const fn from_bits(bits: u64) -> Self {
                Self(bits)
            }
            #[allow(dead_code, reason = "not every platform's backend uses every part of a name")]
            pub(crate) const fn index(self) -> u32 {
                self.0 as u32
            }
            #[allow(dead_code, reason = "not every platform's backend uses every part of a name")]
            pub(crate) const fn generation(self) -> u32 {
                (self.0 >> 32) as u32 & GENERATION_MASK
            }
            /// Which queue of the port the entry belongs to.
            pub const fn queue(self) -> usize {
                (self.0 >> 56) as usize
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                if *self == Self::NONE {
                    return formatter.write_str(concat!(stringify!($name), "(none)"));
                }
                write!(formatter, concat!(stringify!($name), "({}:{}.{})"), self.queue(), self.index(), self.generation())
            }
        }
    };
}

name! {
    /// A socket or file that was associated with the port: a generation-checked index, not a system handle.
    ///
    /// It stays valid until the handle is closed; after that every use is [`StaleHandle`](crate::ErrorKind::StaleHandle). In
    /// the terms of Win32 it stands for the HANDLE and its CompletionKey together.
    Handle
}

name! {
    /// One accepted operation. It names the operation in its completions and in [`Worker::cancel`](crate::Worker::cancel).
    ///
    /// In the terms of Win32 it stands for the address of the OVERLAPPED structure.
    Token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive_packing() {
        for (queue, index, generation) in [(0, 0, 0), (254, u32::MAX, GENERATION_MASK), (7, 12345, 99)] {
            let handle = Handle::new(queue, index, generation);
            assert_eq!(
                (handle.queue(), handle.index(), handle.generation()),
                (queue as usize, index, generation)
            );
            assert_eq!(Handle::from_bits(handle.to_bits()), handle);
        }
        assert_ne!(Token::new(0, 0, 0), Token::NONE);
    }
}
