//! What one transmit-packets sends.

use crate::{buffer::Slice, chain::BufferChain, identity::Handle};

/// One element of a [`TransmitList`] (TRANSMIT_PACKETS_ELEMENT).
#[derive(Clone, Debug)]
pub enum TransmitElement {
    /// Bytes in memory.
    Memory(Slice),
    /// A range of a file.
    File {
        /// The file.
        file: Handle,
        /// Where in the file to begin, in bytes.
        offset: u64,
        /// How many bytes of the file.
        length: u64,
    },
}

/// What a [`TransmitPackets`](crate::Operation::TransmitPackets) sends, in order. Boxed there, and brought home, so that a program
/// can use the same memory again and again.
///
/// ```
/// use completion_port::{Slice, TransmitElement, TransmitList};
///
/// let mut list = TransmitList::default();
/// list.push(TransmitElement::Memory(Slice::from_static(b"--boundary\r\n\r\n"))).unwrap();
/// assert_eq!((list.len(), list.elements().len()), (14, 1));
/// ```
#[derive(Debug, Default)]
pub struct TransmitList {
    elements: Vec<TransmitElement>,
    bytes: u64,
    /// Elements that have been sent, or are being sent.
    pub(crate) begun: usize,
    /// Bytes of the elements that have been sent.
    pub(crate) sent: u64,
}

impl TransmitElement {
    /// How many bytes it sends.
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(slice) => slice.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    /// Whether it sends nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl TransmitList {
    /// How many elements a list can hold.
    pub const MAXIMUM_ELEMENTS: usize = 64;

    /// Appends an element; an empty one is dropped.
    ///
    /// # Errors
    ///
    /// The element comes back if the list is full, if its range of a file ends beyond 2^64 bytes, or the whole list would.
    pub fn push(&mut self, element: TransmitElement) -> Result<(), TransmitElement> {
        if element.is_empty() {
            return Ok(());
        }
        let range_ends = match &element {
            TransmitElement::File { offset, length, .. } => offset.checked_add(*length).is_some(),
            TransmitElement::Memory(_) => true,
        };
        match self.bytes.checked_add(element.len()) {
            Some(bytes) if range_ends && self.elements.len() < Self::MAXIMUM_ELEMENTS => {
                self.bytes = bytes;
                self.elements.push(element);
                Ok(())
            }
            _ => Err(element),
        }
    }

    /// Empties the list, and keeps its memory.
    pub fn clear(&mut self) {
        self.elements.clear();
        self.bytes = 0;
    }

    /// The elements, in order.
    pub fn elements(&self) -> &[TransmitElement] {
        &self.elements
    }

    /// Bytes in all elements together.
    pub const fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether there are no bytes.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes that lie in memory.
    pub(crate) fn bytes_in_memory(&self) -> u64 {
        let in_memory = |element: &&TransmitElement| matches!(element, TransmitElement::Memory(_));
        self.elements.iter().filter(in_memory).map(TransmitElement::len).sum()
    }

    /// The files that it names.
    pub(crate) fn files(&self) -> impl Iterator<Item = Handle> {
        self.elements.iter().filter_map(|element| match element {
            TransmitElement::File { file, .. } => Some(*file),
            TransmitElement::Memory(_) => None,
        })
    }

    /// Begins again with the first element.
    pub(crate) fn rewind(&mut self) {
        (self.begun, self.sent) = (0, 0);
    }

    /// The next part: what is in memory up to the next file, and that file's range. None at the end.
    pub(crate) fn next_part(&mut self) -> Option<Part> {
        let mut part = Part::default();
        let from = self.begun;
        while let Some(element) = self.elements.get(self.begun) {
            self.begun += 1;
            self.sent += element.len();
            match element {
                TransmitElement::Memory(slice) => {
                    part.head.push(slice.clone()).expect("a chain has room for as many slices as a list");
                }
                TransmitElement::File { file, offset, length } => {
                    (part.file, part.offset, part.length) = (*file, *offset, *length);
                    break;
                }
            }
        }
        (self.begun > from).then_some(part)
    }
}

/// What a transmit-file could send.
pub(crate) struct Part {
    pub(crate) head: BufferChain,
    pub(crate) file: Handle,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Default for Part {
    fn default() -> Self {
        Self { head: BufferChain::new(), file: Handle::NONE, offset: 0, length: 0 }
    }
}
