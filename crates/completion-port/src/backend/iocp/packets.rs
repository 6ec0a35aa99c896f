//! Transmit-packets: TransmitPackets where a test at start has seen it work, and what fits into one call of it; else a transmit-file
//! for each file and the bytes before it. Wine has no TransmitPackets, so that it has not run anywhere yet.

use super::{
    handle::{Object, State},
    scratch::Scratch,
    slot::{Body, Job, Slot},
    start::transmit,
    trial::Trial,
    turn::Turn,
    winsock::{Functions, Issued, MAXIMUM_TRANSMIT_BYTES, judge},
};
use crate::{
    counters::SystemCall,
    error::{Error, ErrorKind},
    identity::Handle,
    operation::OperationKind,
    tally,
    transmit::{TransmitElement, TransmitList},
};
use std::{
    fs::File,
    io::Read,
    net::{TcpListener, TcpStream},
    os::windows::io::{AsRawHandle, AsRawSocket},
    time::Duration,
};
use windows_sys::Win32::{
    Foundation::{ERROR_HANDLE_EOF, HANDLE},
    Networking::WinSock as w,
};

impl Turn<'_> {
    /// Makes the call for all of a list, or for its next part.
    ///
    /// # Safety
    ///
    /// As for [`winsock::receive`](super::winsock::receive); `job` is the slot's.
    pub(super) unsafe fn issue_list(&self, state: &State, slot: &Slot, job: &mut Job) -> Issued {
        let Some(scratch) = &mut job.scratch else { return Issued::Failed(0) };
        let Body::List(list) = &mut job.body else { return Issued::Failed(0) };
        if scratch.rest.part.is_none() {
            if let Some(transmit_packets) = self.core.functions.transmit_packets
                && self.core.abilities.transmit_packets
                && matches!(state.object, Object::Socket(_))
                && list.len() <= MAXIMUM_TRANSMIT_BYTES
            {
                // SAFETY: as the caller promises; the slot owns the list, its files and the scratch block.
                return unsafe {
                    slot.prepare(0);
                    let count = describe(list, scratch);
                    let elements = (&raw const (*scratch.block()).elements).cast();
                    let socket = state.raw_socket();
                    tally::call(SystemCall::Send);
                    let done = transmit_packets(socket, elements, count, 0, slot.overlapped(), 0) != 0;
                    judge(done, state.skips, if done && state.skips { slot.outcome().1 as u32 } else { 0 })
                };
            }
            scratch.rest.part = list.next_part();
        }
        let Some(part) = &scratch.rest.part else { return Issued::Done(0) };
        let file = raw(scratch, part.file);
        transmit(slot, state, (part.offset, part.length), &part.head, job.transferred, file)
    }

    /// A call for a list has ended, with `bytes` bytes. None if there is more to send.
    pub(super) fn list_was_sent(job: &mut Job, bytes: u64) -> Option<Result<u64, Error>> {
        let short =
            Error::with_code(ErrorKind::Other, ERROR_HANDLE_EOF as i32, OperationKind::TransmitPackets);
        let (Body::List(list), Some(scratch)) = (&mut job.body, &mut job.scratch) else {
            return Some(Ok(bytes));
        };
        let part = &mut scratch.rest.part;
        let Some(sent) = part else {
            return Some(if bytes < list.len() { Err(short) } else { Ok(bytes) });
        };
        if job.transferred < sent.head.len() + sent.length {
            return (bytes == 0).then_some(Err(short));
        }
        *part = list.next_part();
        job.transferred = 0;
        if part.is_none() { Some(Ok(list.sent)) } else { None }
    }
}

/// The system's handle of one of the files.
fn raw(scratch: &Scratch, file: Handle) -> HANDLE {
    let borrowed = scratch.rest.files.iter().find(|borrowed| borrowed.handle == file);
    borrowed.map_or(std::ptr::null_mut(), |borrowed| borrowed.raw())
}

/// Writes the elements of a list. Returns how many.
///
/// # Safety
///
/// The kernel does not have the block.
unsafe fn describe(list: &TransmitList, scratch: &Scratch) -> u32 {
    for (number, element) in list.elements().iter().enumerate() {
        let length = element.len() as u32;
        let element = match element {
            TransmitElement::Memory(slice) => memory_element(slice),
            TransmitElement::File { file, offset, .. } => file_element(raw(scratch, *file), *offset, length),
        };
        // SAFETY: as the caller promises; a list has no more elements than the block has places.
        unsafe { (&raw mut (*scratch.block()).elements[number]).write(element) };
    }
    list.elements().len() as u32
}

fn memory_element(bytes: &[u8]) -> w::TRANSMIT_PACKETS_ELEMENT {
    let pointer = bytes.as_ptr().cast_mut().cast();
    w::TRANSMIT_PACKETS_ELEMENT {
        dwElFlags: w::TP_ELEMENT_MEMORY,
        cLength: bytes.len() as u32,
        Anonymous: w::TRANSMIT_PACKETS_ELEMENT_0 { pBuffer: pointer },
    }
}

fn file_element(file: HANDLE, offset: u64, length: u32) -> w::TRANSMIT_PACKETS_ELEMENT {
    let range = w::TRANSMIT_PACKETS_ELEMENT_0_0 { nFileOffset: offset as i64, hFile: file };
    w::TRANSMIT_PACKETS_ELEMENT {
        dwElFlags: w::TP_ELEMENT_FILE,
        cLength: length,
        Anonymous: w::TRANSMIT_PACKETS_ELEMENT_0 { Anonymous: range },
    }
}

/// Whether TransmitPackets sends bytes of memory and of a file here, found out by doing it on the loopback.
pub(super) fn works(functions: &Functions) -> bool {
    try_it(functions).unwrap_or(false)
}

fn try_it(functions: &Functions) -> Option<bool> {
    const LIMIT: Duration = Duration::from_secs(1);
    let transmit_packets = functions.transmit_packets?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).ok()?;
    let mut peer = TcpStream::connect_timeout(&listener.local_addr().ok()?, LIMIT).ok()?;
    peer.set_read_timeout(Some(LIMIT)).ok()?;
    let (sender, _) = listener.accept().ok()?;
    // Every program begins with the same two bytes.
    let program = File::open(std::env::current_exe().ok()?).ok()?;
    // Leaked, with the program's file, where the call does not end.
    let elements = Box::leak(Box::new([memory_element(b"x"), file_element(program.as_raw_handle(), 0, 2)]));
    let mut trial = Trial::new()?;
    let socket = sender.as_raw_socket() as w::SOCKET;
    // SAFETY: what the kernel reads and writes is leaked until the call is known to be over.
    let begun = unsafe { transmit_packets(socket, elements.as_ptr(), 2, 0, trial.overlapped(), 0) };
    if trial.end(socket, begun, LIMIT).is_none() {
        std::mem::forget((program, sender));
        return Some(false);
    }
    // SAFETY: leaked above, and the call is over.
    drop(unsafe { Box::from_raw(std::ptr::from_mut(elements)) });
    let mut read = [0; 3];
    peer.read_exact(&mut read).ok()?;
    Some(&read == b"xMZ")
}
