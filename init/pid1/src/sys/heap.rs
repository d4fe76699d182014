//! Memory of PID 1 that its children need not copy.
//!
//! What fork(2) shares is copied page by page as either side writes it: between two starts PID 1 writes a hundred pages of
//! its own heap, which no service ever reads. So there are two heaps, each in a range of addresses of its own. What is
//! allocated within [`handed`] is for a child; all else stays out of one that is born within [`kept`], and from the first
//! such one on out of every child (madvise(2), `MADV_DONTFORK`) but those that are born within [`whole`].
//!
//! A program that std starts shares PID 1's memory until it runs, and copies none, as long as it does so by posix_spawn(3):
//! not with another user, group or root, nor with something to be done before.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};
use std::io;
use std::ptr::null_mut;

use dlmalloc::{Allocator, Dlmalloc};

/// Most that either heap may grow to: 1 GiB of addresses, of which only what is used is memory.
const MOST: usize = 1 << 30;
/// A heap grows by so much at once: 64 KiB.
const GROWTH: usize = 1 << 16;

#[cfg(not(test))]
#[global_allocator]
static HEAP: Heap = Heap::new();

/// Runs `body`; what it allocates and keeps, a child born within [`kept`] can read and write.
pub(crate) fn handed<T>(body: impl FnOnce() -> T) -> T {
    #[cfg(not(test))]
    return HEAP.handed(body);
    #[cfg(test)]
    body()
}

/// Runs `body`, whose children have nothing of what was allocated outside of [`handed`].
pub(crate) fn kept<T>(body: impl FnOnce() -> T) -> T {
    #[cfg(not(test))]
    HEAP.keep();
    body()
}

/// Runs `body`, whose children have all of PID 1's memory. The error is that the kernel does not give it to them.
pub(crate) fn whole<T>(body: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(not(test))]
    return HEAP.whole(body);
    #[cfg(test)]
    body()
}

/// Both heaps.
struct Heap {
    own: UnsafeCell<Dlmalloc<Range>>,
    handed: UnsafeCell<Dlmalloc<Range>>,
    /// What is allocated now is for a child.
    hands: Cell<bool>,
    /// Children have nothing of the own heap.
    kept: Cell<bool>,
}

// SAFETY: the program has one thread, and no handler of a signal allocates. Tests have their own allocator, and of this
// one only instances that one thread owns.
unsafe impl Sync for Heap {}

impl Heap {
    const fn new() -> Self {
        Self {
            own: UnsafeCell::new(Dlmalloc::new_with_allocator(Range::new())),
            handed: UnsafeCell::new(Dlmalloc::new_with_allocator(Range::new())),
            hands: Cell::new(false),
            kept: Cell::new(false),
        }
    }

    fn handed<T>(&self, body: impl FnOnce() -> T) -> T {
        let before = self.hands.replace(true);
        let done = body();
        self.hands.set(before);
        done
    }

    /// What madvise(2) makes of the own heap; where that is empty, nothing is to be done.
    fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        // SAFETY: one thread, and no other borrow outlives a call of the allocator.
        let base = unsafe { (*self.own.get()).allocator() }.base.get();
        // SAFETY: the range is this heap's own, and what children inherit of it changes nothing here.
        match base.is_null() || unsafe { libc::madvise(base.cast(), MOST, advice) } == 0 {
            true => Ok(()),
            false => Err(io::Error::last_os_error()),
        }
    }

    /// From now on children have nothing of the own heap. Where the kernel does not do that, they copy more than they need.
    fn keep(&self) {
        if !self.kept.get() {
            // Set although it may have failed: in part it may have been done.
            self.kept.set(true);
            let _ = self.advise(libc::MADV_DONTFORK);
        }
    }

    fn whole<T>(&self, body: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if !self.kept.get() {
            return body();
        }
        let done = self.advise(libc::MADV_DOFORK).and_then(|()| body());
        let _ = self.advise(libc::MADV_DONTFORK);
        done
    }

    /// Finds the addresses of both heaps, at the first use of either.
    fn reserve(&self) {
        // SAFETY: as in `advise`.
        let (own, handed) = unsafe {
            let own = (*self.own.get()).allocator();
            (own, (*self.handed.get()).allocator())
        };
        if !own.base.get().is_null() {
            return;
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let size = 2 * MOST;
        // SAFETY: at addresses that the kernel chooses, and without access to any.
        let mapped = unsafe { libc::mmap(null_mut(), size, libc::PROT_NONE, flags, -1, 0) };
        if mapped != libc::MAP_FAILED {
            own.base.set(mapped.cast());
            handed.base.set(mapped.cast::<u8>().wrapping_add(MOST));
        }
    }

    /// The heap that a piece of memory is of.
    fn of(&self, place: *mut u8) -> *mut Dlmalloc<Range> {
        // SAFETY: as in `advise`.
        let handed = unsafe { (*self.handed.get()).allocator() };
        match handed.holds(place) {
            true => self.handed.get(),
            false => self.own.get(),
        }
    }

    /// The heap that memory comes from now.
    fn now(&self) -> *mut Dlmalloc<Range> {
        self.reserve();
        match self.hands.get() {
            true => self.handed.get(),
            false => self.own.get(),
        }
    }
}

// SAFETY: each piece of memory is given back to the heap that it came from; dlmalloc keeps the rest of the contract.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread; the heap is borrowed for this call alone.
        unsafe { (*self.now()).malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { (*self.now()).calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above; the place came from this heap with this layout.
        unsafe { (*self.of(place)).free(place, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above. What was not for a child does not become so by growing.
        unsafe { (*self.of(place)).realloc(place, layout.size(), layout.align(), size) }
    }
}

/// Addresses of which the first part is memory.
struct Range {
    /// Null until they are found, or where there is no room for them.
    base: Cell<*mut u8>,
    used: Cell<usize>,
}

// SAFETY: the pointer is to memory that belongs to whoever has the range.
unsafe impl Send for Range {}

impl Range {
    const fn new() -> Self {
        Self {
            base: Cell::new(null_mut()),
            used: Cell::new(0),
        }
    }

    fn holds(&self, place: *mut u8) -> bool {
        place.addr().wrapping_sub(self.base.get().addr()) < self.used.get()
    }
}

// SAFETY: what is handed out is the range's own memory, in order and once.
unsafe impl Allocator for Range {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        const NOTHING: (*mut u8, usize, u32) = (null_mut(), 0, 0);
        let (base, used) = (self.base.get(), self.used.get());
        let grown = size.checked_next_multiple_of(GROWTH);
        let Some(size) = grown.filter(|size| *size <= MOST - used) else {
            return NOTHING;
        };
        if base.is_null() {
            return NOTHING;
        }
        let place = base.wrapping_add(used);
        // SAFETY: the unused end of the range, which nobody refers to.
        let given =
            unsafe { libc::mprotect(place.cast(), size, libc::PROT_READ | libc::PROT_WRITE) };
        if given != 0 {
            return NOTHING;
        }
        self.used.set(used + size);
        (place, size, 0)
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        null_mut()
    }

    /// Gives back the end of what is used: the addresses stay, and are zeroes when they are used again.
    fn free_part(&self, place: *mut u8, old: usize, new: usize) -> bool {
        /// Since Linux 5.18; of memory that is locked MADV_DONTNEED takes none.
        const MADV_DONTNEED_LOCKED: libc::c_int = 24;
        let end = place.addr().wrapping_add(old);
        let last = end == self.base.get().addr().wrapping_add(self.used.get());
        let (from, size) = (place.wrapping_add(new), old - new);
        // SAFETY: the range's own memory, which nobody refers to any more.
        let given = |advice| unsafe { libc::madvise(from.cast(), size, advice) } == 0;
        if !last || !given(MADV_DONTNEED_LOCKED) {
            return false;
        }
        self.used.set(self.used.get() - size);
        true
    }

    fn free(&self, place: *mut u8, size: usize) -> bool {
        self.free_part(place, size, 0)
    }

    fn can_release_part(&self, _: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        4096
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clone::{Birth, child};
    use rustix::process::{Pid, WaitOptions, waitpid};

    fn bytes(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn a_child_has_what_is_handed_to_it_and_nothing_else_of_the_heap() {
        let heap = Heap::new();
        // SAFETY: of a size that is not zero, and given back below as it was got.
        let own = unsafe { heap.alloc(bytes(100)) };
        // SAFETY: as above.
        let handed = heap.handed(|| unsafe { heap.alloc(bytes(100)) });
        // SAFETY: both are memory of 100 bytes.
        unsafe { (*own, *handed) = (1, 2) };
        let ended = |place: *mut u8, lean: bool| {
            let born = || {
                child(Birth::default(), || {
                    // SAFETY: ends the child, or a signal does where there is no such memory.
                    unsafe { libc::_exit(i32::from(place.read_volatile())) }
                })
            };
            let born = if lean { born() } else { heap.whole(born) };
            let pid = Pid::from_raw(born.unwrap().pid);
            let (_, status) = waitpid(pid, WaitOptions::empty()).unwrap().unwrap();
            (status.exit_status(), status.terminating_signal())
        };
        assert_eq!(ended(own, true), (Some(1), None), "none was kept yet");
        heap.keep();
        // What is used of it from now on is no other memory.
        // SAFETY: as above.
        let later = unsafe { heap.alloc(bytes(1 << 20)) };
        // SAFETY: as above.
        unsafe { *later = 3 };
        for (lean, expected) in [(true, None), (false, Some(1)), (true, None)] {
            assert_eq!(ended(handed, lean), (Some(2), None));
            let signal = expected.is_none().then_some(libc::SIGSEGV);
            assert_eq!(ended(own, lean), (expected, signal));
            assert_eq!(ended(later, lean), (expected.map(|_| 3), signal));
        }
        // SAFETY: got above.
        unsafe {
            heap.dealloc(later, bytes(1 << 20));
            heap.dealloc(own, bytes(100));
            heap.dealloc(handed, bytes(100));
        }
    }

    #[test]
    fn memory_goes_back_to_where_it_came_from_and_to_the_kernel() {
        let heap = Heap::new();
        let used = |range: &UnsafeCell<Dlmalloc<Range>>| {
            // SAFETY: nothing else borrows it.
            unsafe { (*range.get()).allocator().used.get() }
        };
        // SAFETY: sizes are not zero; each is given back as it was got.
        unsafe {
            let small = heap.handed(|| heap.alloc(bytes(10)));
            let grown = heap.realloc(small, bytes(10), 8 << 20);
            assert!(used(&heap.handed) >= 8 << 20);
            assert_eq!(used(&heap.own), 0, "it grew where it was");
            heap.dealloc(grown, bytes(8 << 20));
            assert!(used(&heap.handed) <= 2 << 20, "{}", used(&heap.handed));
            let zeroed = heap.handed(|| heap.alloc_zeroed(bytes(8 << 20)));
            let all = std::slice::from_raw_parts(zeroed, 8 << 20);
            assert!(all.iter().all(|byte| *byte == 0), "memory had by others");
            heap.dealloc(zeroed, bytes(8 << 20));
            assert!(heap.alloc(bytes(MOST)).is_null(), "more than it may have");
            let handed = heap.handed(|| heap.alloc(bytes(MOST)));
            assert!(handed.is_null(), "more than it may have");
        }
    }
}
