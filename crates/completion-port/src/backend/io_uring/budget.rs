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
        let place = if handle == Handle::NONE { 0 } else { handle.index() as usize + 1 };
        if place >= self.spent.len() {
            self.spent.resize(place + 1, (0, 0));
        }
        let (round, spent) = &mut self.spent[place];
        if *round != self.round {
            (*round, *spent) = (self.round, 0);
        }
        *spent += 1;
        *spent <= self.limit
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
}
