//! Shutdown: nobody is seated once it has waited for all to leave, and it does not wait for ever.

use super::check;
use crate::{
    error::ErrorKind,
    seats::Seats,
    shutdown::{Phase, PhaseCell},
};
use loom::{cell::UnsafeCell, thread};
use std::sync::Arc;

struct Rig {
    phase: PhaseCell,
    seats: Seats,
    /// What a port has for its workers, and is gone after the end: one by seat, and loom objects to two who use one at once.
    places: Vec<UnsafeCell<u32>>,
}

impl Rig {
    fn new(count: usize) -> Arc<Self> {
        let places = (0..count).map(|_| UnsafeCell::new(0)).collect();
        Arc::new(Self { phase: PhaseCell::default(), seats: Seats::new(count), places })
    }

    /// A worker comes, works and goes.
    fn work(&self) -> Result<(), ErrorKind> {
        let number = self.seats.take(&self.phase)?;
        // SAFETY: loom checks that nobody else is here.
        self.places[number].with_mut(|uses| unsafe { *uses += 1 });
        self.seats.leave(number, 1);
        Ok(())
    }

    fn shut_down(&self) {
        self.phase.advance(Phase::Draining);
        assert!(self.seats.wait(None));
        for place in &self.places {
            // SAFETY: as in `work`.
            place.with_mut(|uses| unsafe { *uses = u32::MAX });
        }
        assert_eq!(self.seats.count().0, 0);
    }
}

fn race(seats: usize, workers: usize) {
    check(move || {
        let rig = Rig::new(seats);
        let others: Vec<_> = (0..workers)
            .map(|_| {
                let rig = Arc::clone(&rig);
                thread::spawn(move || match rig.work() {
                    Ok(()) => 1,
                    Err(ErrorKind::ShuttingDown) => 0,
                    Err(ErrorKind::InvalidArgument) if seats < workers => 0,
                    Err(other) => panic!("{other:?}"),
                })
            })
            .collect();
        rig.shut_down();
        let worked: usize = others.into_iter().map(|other| other.join().unwrap()).sum();
        assert_eq!(rig.seats.count(), (0, worked), "the leaked operations of all who worked are counted");
    });
}

#[test]
fn two_workers_with_a_seat_each() {
    race(2, 2);
}

#[test]
fn two_workers_for_one_seat() {
    race(1, 2);
}

#[test]
fn of_two_who_move_the_phase_on_one_does() {
    check(|| {
        let rig = Rig::new(0);
        let other = Arc::clone(&rig);
        let other = thread::spawn(move || other.phase.advance(Phase::Draining));
        let mine = rig.phase.advance(Phase::Draining);
        assert_ne!(mine, other.join().unwrap());
        assert!(rig.phase.advance(Phase::Cancelling) && rig.phase.get() == Phase::Cancelling);
    });
}
