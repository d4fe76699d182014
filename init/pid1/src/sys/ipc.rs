//! System V IPC objects, sysvipc(7).

use std::io;

/// Kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Shared memory.
    Memory,
    /// Sets of semaphores.
    Semaphores,
    /// Message queues.
    Messages,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Semaphores, Self::Messages];

    /// Where the kernel lists them.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Memory => "/proc/sysvipc/shm",
            Self::Semaphores => "/proc/sysvipc/sem",
            Self::Messages => "/proc/sysvipc/msg",
        }
    }
}

/// Removes one; one that is gone already is no error.
pub(crate) fn remove(kind: Kind, id: i32) -> io::Result<()> {
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: IPC_RMID takes no pointer.
    let result = unsafe {
        match kind {
            Kind::Memory => libc::shmctl(id, libc::IPC_RMID, null.cast()),
            Kind::Semaphores => libc::semctl(id, 0, libc::IPC_RMID),
            Kind::Messages => libc::msgctl(id, libc::IPC_RMID, null.cast()),
        }
    };
    match io::Error::last_os_error() {
        _ if result == 0 => Ok(()),
        cause if [Some(libc::EINVAL), Some(libc::EIDRM)].contains(&cause.raw_os_error()) => Ok(()),
        cause => Err(cause),
    }
}
