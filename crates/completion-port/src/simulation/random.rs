//! Chance from a seed.

use std::time::Duration;

/// A sequence of numbers that looks random and follows from its seed: SplitMix64 (Steele, Lea and Flood, 2014). Good enough to choose
/// with, useless as a secret.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    pub const fn below(&mut self, bound: usize) -> usize {
        ((self.number() as u128 * bound as u128) >> 64) as usize
    }

    /// True as often as `ratio` says, of 1.0. Draws nothing where it is never.
    pub fn chance(&mut self, ratio: f64) -> bool {
        ratio > 0.0 && self.fraction() < ratio
    }

    /// A number from 0.0 up to but not 1.0.
    pub const fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A time of at most `longest`.
    pub fn time(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.fraction())
    }

    /// One of `choices`; none of none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        choices.get(self.below(choices.len())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_its_authors() {
        let mut random = Random::new(1_234_567);
        assert_eq!(
            [random.number(), random.number()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }

    #[test]
    fn ratios_hold() {
        let mut random = Random::new(7);
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits} of 10,000");
        assert!(!random.chance(0.0) && random.chance(1.0) && random.below(1) == 0);
        assert_eq!(random.pick::<u8>(&[]), None);
    }
}
