//! The allocator that counts.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    backtrace::Backtrace,
    cell::Cell,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// What was allocated by the threads that show it to the allocator.
pub(crate) struct Count {
    pub(crate) counts: AtomicBool,
    pub(crate) allocations: AtomicU64,
    pub(crate) first: Mutex<Option<String>>,
}

impl Count {
    pub(crate) const fn new() -> Self {
        Self { counts: AtomicBool::new(false), allocations: AtomicU64::new(0), first: Mutex::new(None) }
    }
}

thread_local! {
    /// Where the thread's allocations are counted, if they are.
    pub(crate) static WATCHED: Cell<Option<&'static Count>> = const { Cell::new(None) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl Counting {
    fn count() {
        let Ok(Some(count)) = WATCHED.try_with(Cell::get) else { return };
        if count.counts.load(Ordering::Relaxed) && count.allocations.fetch_add(1, Ordering::Relaxed) == 0 {
            // It allocates itself.
            WATCHED.set(None);
            *count.first.lock().unwrap() = Some(Backtrace::force_capture().to_string());
            WATCHED.set(Some(count));
        }
    }
}

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: forwarded from the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: forwarded from the caller.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: forwarded from the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: forwarded from the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}
