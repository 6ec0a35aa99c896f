//! The bytes that a client sent and nobody has read yet.

use completion_port::{Buffer, Buffers, Slice};
use std::collections::VecDeque;

/// Received bytes: one buffer that is being read, and the buffers that came after it. A buffer is only copied where a request
/// head lies across two of them.
#[derive(Default)]
pub(crate) struct Input {
    current: Option<Buffer>,
    /// How much of `current` is done with.
    start: usize,
    later: VecDeque<Buffer>,
    later_bytes: usize,
}

impl Input {
    /// Takes in a buffer that was received. Bytes that fit behind those before them are copied there, and the buffer is free
    /// again: a client that sends its bytes one by one must not hold a buffer for each.
    pub(crate) fn push(&mut self, buffer: Buffer) {
        if buffer.is_empty() {
            return;
        }
        let waits = !self.later.is_empty();
        match self.later.back_mut().or(self.current.as_mut()) {
            None => {
                self.current = Some(buffer);
                self.start = 0;
            }
            Some(last) if last.spare_capacity() >= buffer.len() => {
                last.extend_from_slice(&buffer);
                self.later_bytes += if waits { buffer.len() } else { 0 };
            }
            Some(_) => {
                self.later_bytes += buffer.len();
                self.later.push_back(buffer);
            }
        }
    }

    /// What can be read now: the first of the unread bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.current.as_deref().map_or(&[], |current| &current[self.start..])
    }

    /// Whether nothing is unread.
    pub(crate) fn is_empty(&self) -> bool {
        self.current.is_none()
    }

    /// Unread bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.bytes().len() + self.later_bytes
    }

    /// How many buffers are held.
    pub(crate) fn buffers(&self) -> usize {
        usize::from(self.current.is_some()) + self.later.len()
    }

    /// Marks `bytes` as read.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        if self.current.as_ref().is_some_and(|current| current.len() == self.start) {
            self.next();
        }
    }

    fn next(&mut self) {
        self.current = self.later.pop_front();
        self.later_bytes -= self.current.as_ref().map_or(0, |current| current.len());
        self.start = 0;
    }

    /// Puts bytes of the following buffer behind those of the first, where a head goes across. False if there is no following
    /// buffer, or none free to hold both.
    pub(crate) fn join(&mut self, buffers: &Buffers) -> bool {
        let Some(next) = self.later.pop_front() else { return false };
        let needed = self.bytes().len() + next.len();
        if !self.make_room(buffers, next.len(), needed.next_power_of_two()) {
            self.later.push_front(next);
            return false;
        }
        self.later_bytes -= next.len();
        match &mut self.current {
            Some(current) => current.extend_from_slice(&next),
            None => self.current = Some(next),
        }
        true
    }

    /// Makes sure that `spare` bytes fit behind the unread ones, in a buffer of `capacity` bytes where the present one is full.
    fn make_room(&mut self, buffers: &Buffers, spare: usize, capacity: usize) -> bool {
        let Some(current) = &mut self.current else { return true };
        if current.spare_capacity() >= spare {
            return true;
        }
        if self.start > 0 && current.spare_capacity() + self.start >= spare {
            current.consume(std::mem::take(&mut self.start));
            return true;
        }
        self.move_to(buffers, capacity)
    }

    /// Moves what is unread of the first buffer to a new one. False if none is free.
    fn move_to(&mut self, buffers: &Buffers, capacity: usize) -> bool {
        let Ok(mut larger) = buffers.acquire(capacity) else { return false };
        larger.extend_from_slice(self.bytes());
        self.start = 0;
        self.current = Some(larger);
        true
    }

    /// Gives the buffer for the next receive away: a new one of `least` bytes, or the present one, doubled where it is full. None
    /// if no buffer is free. It comes back with [`Input::put_back`].
    pub(crate) fn take_for_receive(&mut self, buffers: &Buffers, least: usize) -> Option<Buffer> {
        match &self.current {
            None => return buffers.acquire(least).ok(),
            Some(current) => {
                let doubled = current.capacity() * 2;
                if !self.make_room(buffers, 1, doubled) {
                    return None;
                }
            }
        }
        let mut buffer = self.current.take()?;
        if self.start > 0 {
            buffer.consume(std::mem::take(&mut self.start));
        }
        Some(buffer)
    }

    /// As [`Input::take_for_receive`], of at least `capacity` bytes: the rest of a smaller buffer is copied into a new one.
    pub(crate) fn take_for_body(&mut self, buffers: &Buffers, capacity: usize) -> Option<Buffer> {
        debug_assert!(self.later.is_empty() && self.bytes().len() < capacity, "what there is fits");
        let is_large = self.current.as_ref().is_some_and(|current| current.capacity() >= capacity);
        if !is_large && !self.move_to(buffers, capacity) {
            return None;
        }
        self.take_for_receive(buffers, capacity)
    }

    /// Takes back the buffer of a receive.
    pub(crate) fn put_back(&mut self, buffer: Buffer) {
        debug_assert!(self.current.is_none(), "one receive at a time");
        self.current = Some(buffer).filter(|buffer| !buffer.is_empty());
        self.start = 0;
    }

    /// Takes the first of the unread bytes out, as a slice that can be written to a file without a copy.
    pub(crate) fn take_slice(&mut self) -> Option<Slice> {
        let start = self.start;
        let current = self.current.take()?;
        self.next();
        let mut slice = current.freeze();
        slice.cut(start..);
        Some(slice)
    }

    /// Puts what was left of a slice in front again. It is copied: only the bytes behind the end of a body come back.
    pub(crate) fn put_slice_back(&mut self, slice: &Slice, buffers: &Buffers) -> bool {
        if slice.is_empty() {
            return true;
        }
        let Ok(mut buffer) = buffers.acquire(slice.len()) else { return false };
        buffer.extend_from_slice(slice);
        if let Some(current) = self.current.replace(buffer) {
            self.later_bytes += current.len();
            self.later.push_front(current);
        }
        self.start = 0;
        true
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use completion_port::BufferClass;

    fn pool() -> Buffers {
        Buffers::new(&[BufferClass { capacity: 64, count: 16 }, BufferClass { capacity: 1024, count: 2 }], 0)
            .unwrap()
    }

    fn buffer(buffers: &Buffers, bytes: &[u8]) -> Buffer {
        let mut buffer = buffers.acquire(bytes.len()).unwrap();
        buffer.extend_from_slice(bytes);
        buffer
    }

    #[test]
    fn bytes_come_out_in_order_however_they_are_read() {
        let buffers = pool();
        let mut input = Input::default();
        for part in [&b"one "[..], b"two ", b"", b"three"] {
            input.push(if part.is_empty() { buffers.acquire(1).unwrap() } else { buffer(&buffers, part) });
        }
        assert_eq!((input.len(), input.buffers()), (13, 3));
        input.consume(2);
        assert!(input.join(&buffers));
        assert_eq!(input.bytes(), b"e two ");
        input.consume(6);
        assert_eq!(&input.take_slice().unwrap()[..], b"three");
        assert!(input.is_empty() && !input.join(&buffers));
        assert!(input.put_slice_back(&Slice::from_static(b"ee"), &buffers));
        assert_eq!(input.bytes(), b"ee");
        input.clear();
        assert_eq!(buffers.in_use(), 0);
    }

    #[test]
    fn single_bytes_do_not_hold_a_buffer_each() {
        let buffers = Buffers::new(&[BufferClass { capacity: 64, count: 4 }], 0).unwrap();
        let mut input = Input::default();
        for byte in 0..130 {
            let mut received = buffers.acquire(64).unwrap();
            received.extend_from_slice(&[byte]);
            input.push(received);
        }
        assert_eq!((input.len(), input.buffers(), buffers.in_use()), (130, 3, 3));
        let mut all = Vec::new();
        while !input.is_empty() {
            all.extend_from_slice(input.bytes());
            input.consume(input.bytes().len());
        }
        assert!(all.into_iter().eq(0..130));
        assert_eq!((input.len(), buffers.in_use()), (0, 0));
    }

    #[test]
    fn a_full_buffer_doubles() {
        let buffers = pool();
        let mut input = Input::default();
        let mut capacities = Vec::new();
        for _ in 0..4 {
            let mut receive = input.take_for_receive(&buffers, 12).unwrap();
            capacities.push(receive.capacity());
            let spare = receive.spare_capacity();
            receive.spare_mut().fill(b'x');
            receive.advance(spare);
            input.put_back(receive);
        }
        assert_eq!(capacities, [12, 24, 48, 96]);
        assert_eq!(input.len(), 96);
    }

    #[test]
    fn no_free_buffer_is_said_and_loses_nothing() {
        let buffers = Buffers::new(&[BufferClass { capacity: 64, count: 2 }], 0).unwrap();
        let mut input = Input::default();
        input.push(buffer(&buffers, &[1; 64]));
        input.push(buffer(&buffers, &[2; 64]));
        assert!(!input.join(&buffers));
        assert!(input.take_for_receive(&buffers, 1).is_none());
        assert_eq!((input.len(), input.bytes()[0]), (128, 1));
    }
}
