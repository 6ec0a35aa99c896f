//! The answers that go out with the next send.

use completion_port::{Buffer, BufferChain, Buffers, Slice};
use portico_http::range::MAX_RANGES;

const _: () = assert!(2 * MAX_RANGES < BufferChain::MAXIMUM_SLICES);

/// A gathered send in the making: heads and small bodies are written one behind the other into one buffer, larger bodies
/// are joined as slices.
#[derive(Default)]
pub(crate) struct Output {
    buffer: Option<Buffer>,
    /// Slices, each with the place in `buffer` that it goes behind.
    slices: Vec<(usize, Slice)>,
}

impl Output {
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.as_ref().is_none_or(|buffer| buffer.is_empty()) && self.slices.is_empty()
    }

    /// The room for what is written next: at least `bytes`. None if this batch is full; after it was sent there is room again, unless
    /// no buffer is free.
    pub(crate) fn room(&mut self, buffers: &Buffers, bytes: usize, capacity: usize) -> Option<&mut Buffer> {
        if self.buffer.is_none() {
            self.buffer = buffers.acquire(capacity.max(bytes)).or_else(|_| buffers.acquire(bytes)).ok();
        }
        self.buffer.as_mut().filter(|buffer| buffer.spare_capacity() >= bytes)
    }

    /// Forgets what was written since it had `length` bytes of heads and small bodies.
    pub(crate) fn take_back(&mut self, length: usize) {
        if let Some(buffer) = &mut self.buffer {
            buffer.truncate(length);
        }
        // Somebody else may want it.
        self.buffer.take_if(|buffer| buffer.is_empty());
    }

    /// Whether another body can be joined.
    pub(crate) fn has_room_for_slice(&self) -> bool {
        self.has_room_for_slices(1)
    }

    /// Whether so many more bodies can be joined. An empty output has room for [`MAX_RANGES`] of them.
    pub(crate) fn has_room_for_slices(&self, count: usize) -> bool {
        // Each may cut the buffer, so that it takes two places in the chain, and the last piece of the buffer one more.
        2 * (self.slices.len() + count) < BufferChain::MAXIMUM_SLICES
    }

    /// Joins a body behind what was written.
    pub(crate) fn join(&mut self, slice: Slice) {
        let place = self.buffer.as_ref().map_or(0, |buffer| buffer.len());
        self.slices.push((place, slice));
    }

    /// Takes the whole batch.
    pub(crate) fn take(&mut self) -> BufferChain {
        let mut chain = BufferChain::new();
        let buffer = self.buffer.take().map(Buffer::freeze);
        let mut written = 0;
        let mut push =
            |slice: Slice| assert!(chain.push(slice).is_ok(), "`has_room_for_slices` is asked before");
        for (place, slice) in self.slices.drain(..) {
            if let Some(buffer) = &buffer {
                push(buffer.slice(written..place));
            }
            written = place;
            push(slice);
        }
        if let Some(mut buffer) = buffer {
            buffer.cut(written..);
            push(buffer);
        }
        chain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use completion_port::BufferClass;

    #[test]
    fn parts_go_out_in_the_order_of_writing() {
        let buffers = Buffers::new(&[BufferClass { capacity: 256, count: 1 }], 0).unwrap();
        let mut output = Output::default();
        output.room(&buffers, 5, 100).unwrap().extend_from_slice(b"head1");
        output.join(Slice::from_static(b"body1"));
        output.room(&buffers, 5, 100).unwrap().extend_from_slice(b"head2body2");
        output.room(&buffers, 5, 100).unwrap().extend_from_slice(b"head3");
        output.join(Slice::from_static(b"body3"));
        output.join(Slice::from_static(b"body4"));
        assert!(output.room(&buffers, 90, 100).is_none());
        let chain = output.take();
        let all: Vec<u8> = chain.slices().iter().flat_map(|slice| slice.iter().copied()).collect();
        assert_eq!(all, b"head1body1head2body2head3body3body4");
        assert!(output.is_empty() && output.take().is_empty());
        drop(chain);
        assert_eq!(buffers.in_use(), 0);
    }
}
