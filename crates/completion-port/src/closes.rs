//! The handles that other threads want closed: each open one at most once, stale ones not at all.

use crate::identity::Handle;

/// By the index of the handle. As long as the most handles that were ever open at once, however often they are closed.
#[derive(Default)]
pub(crate) struct Closes {
    places: Vec<Place>,
    /// Places that [`Closes::take`] has to look at, each once.
    listed: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Place {
    /// The handle that is open here, or none.
    open: Handle,
    wanted: bool,
    listed: bool,
}

const VACANT: Place = Place { open: Handle::NONE, wanted: false, listed: false };

impl Closes {
    /// A handle of the queue was opened.
    pub(crate) fn opened(&mut self, handle: Handle) {
        let index = handle.index() as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, VACANT);
        }
        (self.places[index].open, self.places[index].wanted) = (handle, false);
    }

    /// A handle of the queue begins to close: nobody needs to ask for that any more.
    pub(crate) fn closing(&mut self, handle: Handle) {
        if let Some(place) = self.find(handle) {
            (place.open, place.wanted) = (Handle::NONE, false);
        }
    }

    /// Has the worker close the handle. False if it is not open, or is asked for already.
    pub(crate) fn want(&mut self, handle: Handle) -> bool {
        let Some(place) = self.find(handle).filter(|place| !place.wanted) else { return false };
        place.wanted = true;
        if !std::mem::replace(&mut place.listed, true) {
            self.listed.push(handle.index());
        }
        true
    }

    /// Moves what is to be closed to the end of `into`.
    pub(crate) fn take(&mut self, into: &mut Vec<Handle>) {
        for index in self.listed.drain(..) {
            let place = &mut self.places[index as usize];
            place.listed = false;
            if std::mem::take(&mut place.wanted) {
                into.push(place.open);
            }
        }
    }

    fn find(&mut self, handle: Handle) -> Option<&mut Place> {
        self.places
            .get_mut(handle.index() as usize)
            .filter(|place| handle != Handle::NONE && place.open == handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(closes: &mut Closes) -> Vec<Handle> {
        let mut taken = Vec::new();
        closes.take(&mut taken);
        taken
    }

    #[test]
    fn each_open_handle_is_listed_once_and_stale_ones_never() {
        let mut closes = Closes::default();
        let [first, second, stale] = [(3, 7), (0, 0), (3, 6)].map(|(index, age)| Handle::new(0, index, age));
        assert!(!closes.want(first), "it is not open yet");
        closes.opened(first);
        closes.opened(second);
        for _ in 0..1_000 {
            closes.want(first);
            closes.want(stale);
            closes.want(second);
            closes.want(Handle::NONE);
        }
        assert!(closes.listed.len() == 2 && closes.places.len() == 4);
        assert_eq!(taken(&mut closes), [first, second]);
        assert_eq!(taken(&mut closes), []);
    }

    #[test]
    fn a_successor_is_not_closed_in_the_place_of_its_predecessor() {
        let mut closes = Closes::default();
        for age in 0..100 {
            let handle = Handle::new(0, 0, age);
            closes.opened(handle);
            assert!(closes.want(handle));
            closes.closing(handle);
            assert!(!closes.want(handle));
        }
        assert_eq!(closes.listed.len(), 1);
        let last = Handle::new(0, 0, 100);
        closes.opened(last);
        assert_eq!(taken(&mut closes), []);
        assert!(closes.want(last));
        assert_eq!(taken(&mut closes), [last]);
    }
}
