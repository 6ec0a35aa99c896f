//! Answers that are ready in one piece: head, date, end and body one behind the other, shared by all clients that ask within a second.
//!
//! Sending one touches no other memory and takes no buffer. It is good until its date is not; then its bytes are written anew in
//! place, once nothing that is being sent needs the old ones. What is asked for only once in a second is not worth that.

use crate::{entry::Entry, host::HostNumber};
use completion_port::{Buffer, Buffers, Slice};
use portico_http::status::Status;
use std::sync::{Arc, Weak};

/// Answers that one worker has ready at most. A power of two.
const PLACES: usize = 256;
/// The longest answer that is made ready. Of a longer one the copy would cost more than what it saves.
const MOST_BYTES: usize = 20_480;
/// Heap bytes that one worker needs at most.
pub(crate) const HEAP_BYTES: usize = PLACES * MOST_BYTES;
/// A client that has not taken an answer for so long is not waited for: others get a new piece of memory.
const LONG_S: u64 = 2;

/// What an answer is made of, apart from the date. All of them keep an HTTP/1.1 connection open.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// A whole file: 200.
    Whole(&'a Arc<Entry>),
    /// A file that the client has: 304.
    Unchanged(&'a Arc<Entry>),
    /// A status of a host with its text, and nothing that depends on the request.
    Status(HostNumber, Status),
}

impl Subject<'_> {
    /// Another number for each. Entries are aligned, so that the lowest bits of their addresses are free.
    fn number(self) -> u64 {
        let address = |entry: &Arc<Entry>| Arc::as_ptr(entry).addr() as u64;
        match self {
            Self::Whole(entry) => address(entry),
            Self::Unchanged(entry) => address(entry) | 1,
            Self::Status(host, status) => (host.index() as u64) << 32 | u64::from(status.code()) << 2 | 2,
        }
    }

    fn entry(self) -> Option<Weak<Entry>> {
        match self {
            Self::Whole(entry) | Self::Unchanged(entry) => Some(Arc::downgrade(entry)),
            Self::Status(..) => None,
        }
    }
}

const _: () = assert!(align_of::<Entry>() >= 4);

/// The answers of one worker. Each subject has one place where it can be; of several that share it, one has it for a second.
pub(crate) struct Ready {
    places: Box<[Place]>,
}

#[derive(Default)]
struct Place {
    number: u64,
    /// So that no other entry gets its address. It may be gone, and with it an open file, which keeps others from replacing it on Windows.
    _entry: Option<Weak<Entry>>,
    /// The last second in which it was asked for.
    asked_s: u64,
    /// The second of the date in `answer`.
    made_s: u64,
    answer: Option<Slice>,
}

impl Ready {
    pub(crate) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Place::default()).collect() }
    }

    /// The answer of the second `now_s`, which `write` writes into a buffer of `most_bytes` where it has to be made. None if it is not
    /// worth being ready, or cannot be.
    #[inline]
    pub(crate) fn answer(
        &mut self,
        subject: Subject<'_>,
        now_s: u64,
        most_bytes: usize,
        buffers: &Buffers,
        write: impl FnOnce(&mut Buffer),
    ) -> Option<Slice> {
        let number = subject.number();
        let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = &mut self.places[(hash >> (u64::BITS - PLACES.ilog2())) as usize];
        if place.number == number && place.made_s == now_s {
            return place.answer.clone();
        }
        if std::mem::replace(&mut place.asked_s, now_s) != now_s {
            if place.number != number {
                *place = Place { number, _entry: subject.entry(), asked_s: now_s, made_s: 0, answer: None };
            }
            return None;
        }
        if place.number != number || most_bytes > MOST_BYTES {
            return None;
        }
        let mut buffer = match place.answer.take().map(Slice::try_into_buffer) {
            Some(Ok(buffer)) if buffer.capacity() >= most_bytes => buffer,
            Some(Err(sent)) if now_s.abs_diff(place.made_s) < LONG_S => {
                place.answer = Some(sent);
                return None;
            }
            _ => buffers.allocate(most_bytes).ok()?,
        };
        buffer.clear();
        write(&mut buffer);
        place.made_s = now_s;
        place.answer = Some(buffer.freeze());
        place.answer.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Kind;
    use std::time::Duration;

    fn entry() -> Arc<Entry> {
        Arc::new(Entry::new(Kind::Nothing(Status::NOT_FOUND), Duration::ZERO))
    }

    struct Bench {
        ready: Ready,
        buffers: Buffers,
    }

    impl Bench {
        fn new() -> Self {
            Self { ready: Ready::new(), buffers: Buffers::new(&[], HEAP_BYTES).unwrap() }
        }

        /// The answer, if it is ready; what it says is `text`, where it is made now.
        fn ask(&mut self, subject: Subject<'_>, now_s: u64, text: &str) -> Option<Slice> {
            self.ready.answer(subject, now_s, 100, &self.buffers, |buffer| {
                buffer.extend_from_slice(text.as_bytes());
            })
        }
    }

    #[test]
    fn the_second_request_of_a_second_makes_it_and_the_next_share_it() {
        let (mut bench, entry) = (Bench::new(), entry());
        let subject = Subject::Whole(&entry);
        assert!(bench.ask(subject, 5, "a").is_none());
        assert_eq!(&bench.ask(subject, 5, "b").unwrap()[..], b"b");
        let shared = bench.ask(subject, 5, "c").unwrap();
        assert_eq!(&shared[..], b"b");
        let address = shared.as_ptr();
        drop(shared);
        // A new date, in the same memory.
        assert!(bench.ask(subject, 6, "d").is_none());
        let next = bench.ask(subject, 6, "e").unwrap();
        assert_eq!((&next[..], next.as_ptr()), (&b"e"[..], address));
    }

    #[test]
    fn what_is_being_sent_does_not_change_and_holds_nobody_up_for_long() {
        let (mut bench, entry) = (Bench::new(), entry());
        let subject = Subject::Whole(&entry);
        bench.ask(subject, 5, "a");
        let sent = bench.ask(subject, 5, "old").unwrap();
        assert!((0..3).all(|_| bench.ask(subject, 6, "new").is_none()));
        bench.ask(subject, 7, "");
        assert_eq!(&bench.ask(subject, 7, "new").unwrap()[..], b"new");
        assert_eq!(&sent[..], b"old");
    }

    #[test]
    fn subjects_are_told_apart_and_long_answers_are_not_made() {
        let (mut bench, entry, other) = (Bench::new(), entry(), entry());
        let subjects = [
            Subject::Whole(&entry),
            Subject::Unchanged(&entry),
            Subject::Whole(&other),
            Subject::Status(HostNumber::FIRST, Status::NOT_FOUND),
            Subject::Status(HostNumber::FIRST, Status::FORBIDDEN),
        ];
        for (second, subject) in subjects.into_iter().enumerate() {
            // A second of its own for each, should two share a place.
            let text = second.to_string();
            bench.ask(subject, second as u64 + 1, "");
            assert_eq!(&bench.ask(subject, second as u64 + 1, &text).unwrap()[..], text.as_bytes());
        }
        let mut numbers = subjects.map(Subject::number).to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), subjects.len());
        let mut long = |bytes| {
            let subject = Subject::Status(HostNumber::FIRST, Status::OK);
            bench.ready.answer(subject, 9, bytes, &bench.buffers, |_| {})
        };
        assert!(long(MOST_BYTES + 1).is_none() && long(MOST_BYTES + 1).is_none());
        assert!(long(MOST_BYTES).is_some());
    }

    #[test]
    fn an_entry_goes_though_its_answer_stays_and_no_other_gets_its_answer() {
        let (mut bench, first) = (Bench::new(), entry());
        assert!(bench.ask(Subject::Whole(&first), 5, "").is_none());
        assert_eq!(&bench.ask(Subject::Whole(&first), 5, "first").unwrap()[..], b"first");
        let gone = Arc::downgrade(&first);
        drop(first);
        assert_eq!(gone.strong_count(), 0);
        drop(gone);
        for _ in 0..100 {
            let other = entry();
            let answer = bench.ask(Subject::Whole(&other), 5, "other");
            assert!(answer.is_none_or(|answer| &answer[..] == b"other"));
        }
    }

    #[test]
    fn of_many_subjects_those_stay_that_are_asked_for() {
        let mut bench = Bench::new();
        let entries: Vec<_> = (0..4 * PLACES).map(|_| entry()).collect();
        let mut made = 0;
        for second in 1..4 {
            for _ in 0..2 {
                for entry in &entries {
                    made += usize::from(bench.ask(Subject::Whole(entry), second, "x").is_some());
                }
            }
            let held = bench.ready.places.iter().filter(|place| place.answer.is_some()).count();
            assert!(made >= held && held > PLACES / 2, "{held} held, {made} made");
        }
        // Those that came first in a second had their places for all of it.
        assert!(made <= 3 * PLACES);
    }
}
