//! How often a handle may complete at once before others get their turn.

use crate::identity::Handle;

/// Counts for each handle, void once the round is over. Grows with the highest handle in use.
pub(super) struct Budget {
    spent: Vec<(u32, u32)>,
    round: u32,
    limit: u32,
}

impl Budget {
    pub(super) fn new(limit: u32) -> Self {
        Self { spent: Vec::new(), round: 1, limit }
    }

    /// Every wait is a round.
    pub(super) fn renew(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// Whether the handle may complete another operation at once; all operations without a handle count together.
    pub(super) fn take(&mut self, handle: Handle) -> bool {
        self.spend(handle) <= self.limit
    }

    /// As [`Budget::take`], and once a round in any case: for what the ring has no way of its own.
    pub(super) fn take_once(&mut self, handle: Handle) -> bool {
        self.spend(handle) <= self.limit.max(1)
    }

    fn spend(&mut self, handle: Handle) -> u32 {
        let place = if handle == Handle::NONE { 0 } else { handle.index() as usize + 1 };
        if place >= self.spent.len() {
            self.spent.resize(place + 1, (0, 0));
        }
        let (round, spent) = &mut self.spent[place];
        if *round != self.round {
            (*round, *spent) = (self.round, 0);
        }
        *spent += 1;
        *spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_handle_has_its_own_budget_each_round() {
        let mut budget = Budget::new(2);
        let (one, other) = (Handle::new(0, 7, 0), Handle::new(0, 3, 1));
        assert_eq!(
            [one, one, one, other, Handle::NONE].map(|handle| budget.take(handle)),
            [true, true, false, true, true]
        );
        budget.renew();
        assert!(budget.take(one));
    }

    #[test]
    fn without_a_budget_there_is_one_turn_each_round_for_who_needs_it() {
        let mut budget = Budget::new(0);
        let handle = Handle::new(0, 7, 0);
        assert!(!budget.take(handle));
        budget.renew();
        assert_eq!([handle, handle].map(|handle| budget.take_once(handle)), [true, false]);
    }
}
