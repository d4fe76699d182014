//! The child's session keyring, session-keyring(7).

use std::ffi::c_int;

use super::{Result, check};
use crate::unit::spawn::step::{Failure, SessionKeyring};

const JOIN_SESSION_KEYRING: c_int = 1;
const SETPERM: c_int = 5;
const LINK: c_int = 8;
const SESSION_KEYRING: c_int = -3;
const USER_KEYRING: c_int = -4;
/// View, read and search, for who possesses the key and for its owner.
const PROTECTED: c_int = 0x0b0b_0000;

fn keyctl(operation: c_int, first: c_int, second: c_int) -> std::result::Result<c_int, Failure> {
    // SAFETY: the operations used here take numbers, or null for a name.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, operation, first, second, 0, 0) };
    check(result as c_int)
}

/// Joins a new session keyring. One that the kernel does not give (it has no keyrings, it does not let us, there is
/// no more room) is no failure, as in systemd.
pub(super) fn join(keyring: &SessionKeyring) -> Result {
    // SAFETY: takes no pointer.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    // The real user and group are whose the keyring becomes.
    let made = own(keyring.uid, keyring.gid).and_then(|()| fill(keyring));
    let back = own(uid, gid);
    if !made? {
        return back;
    }
    back?;
    keyring.invocation.as_ref().map_or(Ok(()), invocation)
}

/// Sets the real user and group, where they are others.
fn own(uid: u32, gid: u32) -> Result {
    // SAFETY: takes no pointer.
    let (now_uid, now_gid) = unsafe { (libc::getuid(), libc::getgid()) };
    if gid != now_gid {
        // SAFETY: takes no pointer. The system call itself: libc's would signal other threads.
        check(unsafe { libc::syscall(libc::SYS_setregid, gid, -1) } as c_int)?;
    }
    if uid != now_uid {
        // SAFETY: as above.
        check(unsafe { libc::syscall(libc::SYS_setreuid, uid, -1) } as c_int)?;
    }
    Ok(())
}

/// Whether there is a new keyring now.
fn fill(keyring: &SessionKeyring) -> std::result::Result<bool, Failure> {
    match keyctl(JOIN_SESSION_KEYRING, 0, 0) {
        Err(Failure(libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EDQUOT)) => return Ok(false),
        joined => joined?,
    };
    if keyring.shared {
        keyctl(LINK, USER_KEYRING, SESSION_KEYRING)?;
    }
    Ok(true)
}

/// Puts the invocation into the keyring, where nobody can change it. Without room for it, it is left out.
fn invocation(bytes: &[u8; 16]) -> Result {
    // SAFETY: both texts end in NUL, the payload is as long as said.
    let key = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            c"invocation_id".as_ptr(),
            bytes.as_ptr(),
            bytes.len(),
            SESSION_KEYRING,
        )
    };
    match check(key as c_int) {
        Ok(key) => keyctl(SETPERM, key, PROTECTED).map(drop),
        Err(_) => Ok(()),
    }
}
