//! How the child shares processors, memory nodes and disks: the system calls themselves, as musl has not all of them.

use std::ffi::c_int;

use super::{Result, check};
use crate::unit::spawn::step::Failure;

pub(super) fn cpu_scheduling(policy: c_int, priority: c_int) -> Result {
    // SAFETY: struct sched_param of the kernel is one int, which outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    check(result as c_int).map(drop)
}

pub(super) fn cpu_affinity(mask: &[u64]) -> Result {
    // SAFETY: the mask is as long as said.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            0,
            size_of_val(mask),
            mask.as_ptr(),
        )
    };
    check(result as c_int).map(drop)
}

/// Sets the memory policy; with `all`, the nodes are first filled with those that the child may use. A kernel without
/// NUMA has no policy to set.
pub(super) fn numa_policy(mode: c_int, nodes: &mut [u64], all: bool) -> Result {
    const MPOL_F_MEMS_ALLOWED: c_int = 4;
    let bits = nodes.len() * 64;
    if all {
        let mode: *mut c_int = std::ptr::null_mut();
        // SAFETY: null is not written to; the mask is as long as said.
        let result = unsafe {
            libc::syscall(
                libc::SYS_get_mempolicy,
                mode,
                nodes.as_mut_ptr(),
                bits,
                0,
                MPOL_F_MEMS_ALLOWED,
            )
        };
        match check(result as c_int) {
            Err(Failure(libc::ENOSYS)) => return Ok(()),
            done => done?,
        };
    }
    // The kernel takes one bit less than it is told.
    let (mask, count) = match bits {
        0 => (std::ptr::null(), 0),
        bits => (nodes.as_ptr(), bits + 1),
    };
    // SAFETY: null, or a mask that is as long as said.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, count) };
    match check(result as c_int) {
        Err(Failure(libc::ENOSYS)) => Ok(()),
        done => done.map(drop),
    }
}

pub(super) fn io_priority(priority: c_int) -> Result {
    const IOPRIO_WHO_PROCESS: c_int = 1;
    // SAFETY: takes no pointer.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) };
    check(result as c_int).map(drop)
}
