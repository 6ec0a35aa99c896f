//! Which operations of a handle are pending, and which of each direction is under way. Both lists go through the slots.

use super::{
    handle::State,
    slot::{Place, Slot},
};
use crate::{direction::Direction, identity::Token, slab::Slab};

/// Operations of one direction in the order of submission; the first is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    first: Token,
    last: Token,
}

impl Line {
    pub(super) const EMPTY: Self = Self { first: Token::NONE, last: Token::NONE };

    #[cfg(target_os = "linux")]
    pub(super) fn is_empty(self) -> bool {
        self.first == Token::NONE
    }
}

fn at(slots: &mut Slab<Slot>, token: Token) -> &mut Slot {
    let slot = slots.get_mut(token.index(), token.generation());
    slot.expect("what stands in a list of its handle stays in the books until it leaves the list")
}

impl State {
    /// Enters an operation in the list of all, and counts it as pending.
    pub(super) fn enter(&mut self, token: Token, slots: &mut Slab<Slot>) {
        self.pending += 1;
        let after = std::mem::replace(&mut self.operations, token);
        at(slots, token).after = after;
        if after != Token::NONE {
            at(slots, after).before = token;
        }
    }

    /// Takes an operation that stood at `place` out of the list of all. It still counts as pending.
    pub(super) fn leave(&mut self, place: &Place, slots: &mut Slab<Slot>) {
        if place.before == Token::NONE {
            self.operations = place.after;
        } else {
            at(slots, place.before).after = place.after;
        }
        if place.after != Token::NONE {
            at(slots, place.after).before = place.before;
        }
    }

    fn line(&mut self, direction: Direction) -> &mut Line {
        match direction {
            Direction::Receive => &mut self.receive,
            Direction::Send => &mut self.send,
        }
    }

    /// True if nothing stands before it: it may begin.
    pub(super) fn stand_in_line(
        &mut self,
        direction: Direction,
        token: Token,
        slots: &mut Slab<Slot>,
    ) -> bool {
        let line = self.line(direction);
        let last = std::mem::replace(&mut line.last, token);
        if last == Token::NONE {
            line.first = token;
            return true;
        }
        at(slots, last).next = token;
        false
    }

    /// Takes an operation that stood at `place` out of its line. Which one may begin, if it was the first.
    pub(super) fn leave_line(
        &mut self,
        direction: Direction,
        token: Token,
        place: &Place,
        slots: &mut Slab<Slot>,
    ) -> Option<Token> {
        let line = self.line(direction);
        if line.first == token {
            if place.next == Token::NONE {
                *line = Line::EMPTY;
                return None;
            }
            line.first = place.next;
            return Some(place.next);
        }
        let mut before = line.first;
        while at(slots, before).next != token {
            before = at(slots, before).next;
        }
        at(slots, before).next = place.next;
        if line.last == token {
            line.last = before;
        }
        None
    }

    /// Bytes wait no more. True if sends were refused for want of room, and there is room again: the program is to hear of it.
    pub(super) fn let_send_again(&mut self, bytes: u64, limit: u64) -> bool {
        self.send_bytes -= bytes;
        if !self.send_refused || self.send_bytes > limit / 2 {
            return false;
        }
        self.send_refused = false;
        !self.closing
    }
}
