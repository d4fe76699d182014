//! A thread with a handle: plain data between the two under a lock, and an eventfd among what the thread polls, which
//! wakes it. The thread ends with the handle.

use crate::error::{Error, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// The handle; `C` is what it tells the thread.
#[derive(Debug)]
pub(crate) struct Worker<C> {
    shared: Arc<Shared<C>>,
    thread: Option<JoinHandle<()>>,
}

/// What handle and thread share.
#[derive(Debug)]
pub(crate) struct Shared<C> {
    wake: OwnedFd,
    ends: AtomicBool,
    control: Mutex<C>,
}

impl<C> Shared<C> {
    /// What the handle tells the thread.
    pub(crate) fn control(&self) -> MutexGuard<'_, C> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handle is gone: the thread is to end.
    pub(crate) fn ends(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    /// Readable once the handle has woken the thread; see [`Shared::rest`].
    pub(crate) fn woken(&self) -> PollFd<'_> {
        PollFd::new(&self.wake, PollFlags::IN)
    }

    /// The thread has heard it, and sleeps again until it is woken anew.
    pub(crate) fn rest(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }
}

impl<C: Default + Send + 'static> Worker<C> {
    /// Starts a thread of this name.
    pub(crate) fn start(
        name: &str,
        run: impl FnOnce(Arc<Shared<C>>) + Send + 'static,
    ) -> Result<Worker<C>> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|error| Error::doing("make an eventfd")(error.into()))?;
        let shared = Arc::new(Shared {
            wake,
            ends: AtomicBool::new(false),
            control: Mutex::default(),
        });
        let theirs = shared.clone();
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || run(theirs))
            .map_err(Error::doing(format!("start the {name}'s thread")))?;
        Ok(Worker {
            shared,
            thread: Some(thread),
        })
    }
}

impl<C> Worker<C> {
    /// What the thread is told.
    pub(crate) fn control(&self) -> MutexGuard<'_, C> {
        self.shared.control()
    }

    /// Lets the thread look at what it is told.
    pub(crate) fn wake(&self) {
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
    }
}

impl<C> Drop for Worker<C> {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::poll;

    #[test]
    fn a_thread_hears_its_handle_and_ends_with_it() {
        let (sender, heard) = std::sync::mpsc::channel();
        let worker = Worker::<u32>::start("test", move |shared| {
            while !shared.ends() {
                poll(&mut [shared.woken()], None).unwrap();
                shared.rest();
                sender.send(*shared.control()).unwrap();
            }
        })
        .unwrap();
        *worker.control() = 7;
        worker.wake();
        assert_eq!(heard.recv(), Ok(7));
        drop(worker);
        assert!(heard.iter().all(|told| told == 7), "the thread has ended");
    }
}
