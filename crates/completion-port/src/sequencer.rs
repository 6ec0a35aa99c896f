//! Items that come in any order, out in order.

use std::collections::VecDeque;

/// Puts items back into the order of their numbers: the seed's "Re-Ordering".
///
/// Several reads of a file that are in flight at once complete in any order; give each a number when it is submitted,
/// put its completion in under that number, and take out what is next.
///
/// ```
/// use completion_port::Sequencer;
///
/// let mut sequencer = Sequencer::new(4);
/// sequencer.put(1, "second").unwrap();
/// assert_eq!(sequencer.take(), None);
/// sequencer.put(0, "first").unwrap();
/// assert_eq!([sequencer.take(), sequencer.take(), sequencer.take()], [Some("first"), Some("second"), None]);
/// ```
#[derive(Debug)]
pub struct Sequencer<T> {
    /// The number of the front place.
    next: u64,
    places: VecDeque<Option<T>>,
    window: usize,
}

impl<T> Sequencer<T> {
    /// Numbers begin with 0. An item may come up to `window` numbers early, counted from the next that is due.
    pub fn new(window: usize) -> Self {
        Self { next: 0, places: VecDeque::with_capacity(window.min(1_024)), window }
    }

    /// The number of the item that is due next.
    pub const fn due(&self) -> u64 {
        self.next
    }

    /// Puts `item` in under its number.
    ///
    /// # Errors
    ///
    /// The item comes back if its number was used already, or is `window` or more numbers ahead of the one that is due.
    pub fn put(&mut self, number: u64, item: T) -> Result<(), T> {
        let place = number.checked_sub(self.next).and_then(|ahead| usize::try_from(ahead).ok());
        let Some(place) = place.filter(|&place| place < self.window) else { return Err(item) };
        while self.places.len() <= place {
            self.places.push_back(None);
        }
        if self.places[place].is_some() {
            return Err(item);
        }
        self.places[place] = Some(item);
        Ok(())
    }

    /// Takes the item that is due, if it is there.
    pub fn take(&mut self) -> Option<T> {
        let item = self.places.front_mut()?.take()?;
        self.places.pop_front();
        self.next += 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_fit_comes_back() {
        let mut sequencer = Sequencer::new(2);
        assert_eq!(sequencer.put(2, 'c'), Err('c'));
        assert_eq!(sequencer.put(u64::MAX, 'z'), Err('z'));
        assert_eq!(Sequencer::new(usize::MAX).put(0, 'a'), Ok(()));
        sequencer.put(1, 'b').unwrap();
        assert_eq!(sequencer.put(1, 'x'), Err('x'));
        sequencer.put(0, 'a').unwrap();
        assert_eq!((sequencer.take(), sequencer.due()), (Some('a'), 1));
        assert_eq!(sequencer.put(0, 'y'), Err('y'));
        sequencer.put(2, 'c').unwrap();
        assert_eq!([sequencer.take(), sequencer.take(), sequencer.take()], [Some('b'), Some('c'), None]);
    }

    proptest! {
        #[test]
        fn any_order_comes_out_in_order(order in Just((0u64..50).collect::<Vec<_>>()).prop_shuffle()) {
            let mut sequencer = Sequencer::new(50);
            let mut out = Vec::new();
            for number in order {
                prop_assert!(sequencer.put(number, number).is_ok());
                while let Some(item) = sequencer.take() {
                    out.push(item);
                }
            }
            prop_assert_eq!(out, (0..50).collect::<Vec<_>>());
        }
    }
}
