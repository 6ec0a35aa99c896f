//! What goes wrong in a world, and how often.

use super::Random;
use std::time::Duration;

/// How often things go wrong, as ratios of 1.0, and how badly. [`Faults::none`] is a world where all goes well.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Faults {
    /// Operations on sockets that are tried within the submit; the others have their turn later. No fault, but a choice.
    pub inline: f64,
    /// Turns that come late, by up to [`Faults::longest_delay`].
    pub delays: f64,
    /// The longest delay on the network.
    pub longest_delay: Duration,
    /// Reads and writes, of sockets and files, that transfer less than they could.
    pub short_transfers: f64,
    /// Cancels that come too late: the operation completes first, with its data if there is any.
    pub cancel_races: f64,
    /// Receives into the port's buffers that find none, though some are there; they wait a while.
    pub starvation: f64,
    /// [`Port::post`](crate::Port::post) calls that find the queue full.
    pub refused_posts: f64,
    /// Submits that find no free operation slot, while others are in flight. Never a close.
    pub refused_submits: f64,
    /// Socket operations that find the connection reset by the network.
    pub resets: f64,
    /// Connects that are refused though somebody listens.
    pub refused_connects: f64,
    /// Accepts that find no descriptor (EMFILE) or no memory (ENOBUFS).
    pub accept_failures: f64,
    /// File operations that take up to [`Faults::longest_disk_delay`].
    pub slow_disk: f64,
    /// The longest delay of a file operation.
    pub longest_disk_delay: Duration,
    /// Reads, writes and syncs of files that fail with EIO.
    pub disk_errors: f64,
    /// Writes and links of files that fail with ENOSPC.
    pub disk_full: f64,
    /// Waits of a queue for its kernel that return early, with nothing.
    pub early_returns: f64,
    /// Bytes that a connection holds for each direction, at least 1.
    pub socket_buffer_bytes: usize,
}

impl Faults {
    /// All goes well: nothing is late, short, refused or broken, and a socket holds 64 KiB in each direction.
    pub const fn none() -> Self {
        Self {
            inline: 0.0,
            delays: 0.0,
            longest_delay: Duration::ZERO,
            short_transfers: 0.0,
            cancel_races: 0.0,
            starvation: 0.0,
            refused_posts: 0.0,
            refused_submits: 0.0,
            resets: 0.0,
            refused_connects: 0.0,
            accept_failures: 0.0,
            slow_disk: 0.0,
            longest_disk_delay: Duration::ZERO,
            disk_errors: 0.0,
            disk_full: 0.0,
            early_returns: 0.0,
            socket_buffer_bytes: 65_536,
        }
    }

    /// Faults drawn from a seed: which of them there are at all, and each one's ratio. Over many seeds, every mixture comes up: those
    /// where one fault hides another as well as those where it does not.
    pub fn from_seed(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed_0fa1_1ab1_e000);
        let mut ratio = |most: f64| match random.below(2) {
            0 => 0.0,
            // Small ratios are as likely as large ones: a rare fault meets a program that has come further.
            _ => most * 0.01_f64.powf(random.fraction()),
        };
        let (inline, delays, short_transfers) = (ratio(1.0), ratio(1.0), ratio(1.0));
        let (cancel_races, starvation, early_returns) = (ratio(1.0), ratio(0.3), ratio(0.5));
        let (refused_posts, refused_submits) = (ratio(0.3), ratio(0.05));
        let (resets, refused_connects, accept_failures) = (ratio(0.02), ratio(0.2), ratio(0.3));
        let (slow_disk, disk_errors, disk_full) = (ratio(0.5), ratio(0.05), ratio(0.1));
        Self {
            inline,
            delays,
            longest_delay: Duration::from_micros(1 << random.below(18)),
            short_transfers,
            cancel_races,
            starvation,
            refused_posts,
            refused_submits,
            resets,
            refused_connects,
            accept_failures,
            slow_disk,
            longest_disk_delay: Duration::from_micros(1 << random.below(20)),
            disk_errors,
            disk_full,
            early_returns,
            socket_buffer_bytes: [1, 100, 1_000, 4_096, 16_384, 65_536, 262_144][random.below(7)],
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_draw_different_mixtures_and_the_same_again() {
        let mixtures: Vec<_> = (0..64).map(Faults::from_seed).collect();
        assert_eq!(mixtures[9], Faults::from_seed(9));
        let ratios: [fn(&Faults) -> f64; 3] =
            [|faults| faults.resets, |faults| faults.inline, |faults| faults.disk_full];
        for ratio in ratios {
            let without = mixtures.iter().filter(|faults| ratio(faults) == 0.0).count();
            assert!((16..48).contains(&without), "{without} of 64 have none");
            assert!(mixtures.iter().all(|faults| ratio(faults) <= 1.0));
        }
    }
}
