//! What the engine notes in a slot's `stage`.

/// Flags in the low byte, the number of the scratch memory and one above them.
pub(super) struct Stage;

impl Stage {
    /// The kernel has an entry of the operation whose last completion has not been reaped.
    pub(super) const IN_KERNEL: u32 = 1;
    /// Was refused without waiting, and is to run where it may wait: on a thread of the kernel.
    pub(super) const MAY_BLOCK: u32 = 2;
    /// What is in the kernel is the read of a transmit-file, not its send.
    pub(super) const READS: u32 = 4;
    /// An accept stream that was asked to stop until there is room for handles.
    pub(super) const STOPS: u32 = 8;
    /// What is in the kernel only waits for a descriptor.
    pub(super) const POLLS: u32 = 16;
    /// How many pauses of an operation are told apart; the three highest bits of the low byte count them.
    pub(super) const PAUSES: usize = 8;
    const PAUSE_SHIFT: u32 = 5;
    const SCRATCH_SHIFT: u32 = 8;
    const FLAGS: u32 = (1 << Self::SCRATCH_SHIFT) - 1;

    pub(super) fn scratch(stage: u32) -> Option<u32> {
        (stage >> Self::SCRATCH_SHIFT).checked_sub(1)
    }

    pub(super) fn with_scratch(stage: u32, number: u32) -> u32 {
        assert!(number < u32::MAX >> Self::SCRATCH_SHIFT, "fewer scratches than operations");
        (stage & Self::FLAGS) | ((number + 1) << Self::SCRATCH_SHIFT)
    }

    /// How many pauses there were before this one, at most one less than are told apart.
    pub(super) fn count_pause(stage: &mut u32) -> usize {
        let before = (*stage >> Self::PAUSE_SHIFT) as usize % Self::PAUSES;
        if before + 1 < Self::PAUSES {
            *stage += 1 << Self::PAUSE_SHIFT;
        }
        before
    }

    pub(super) fn without_scratch(stage: u32) -> u32 {
        stage & Self::FLAGS
    }
}
