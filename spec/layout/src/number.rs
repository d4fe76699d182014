//! Numbers of users and groups that nobody in /etc/passwd has.

use std::ops::RangeInclusive;

/// How many each task gets, from 0 inside.
pub const TASK_IDS: u32 = 1 << 16;
/// The numbers of tasks outside, [`TASK_IDS`] each.
pub const TASK_NUMBERS: RangeInclusive<u32> = (1 << 19)..=0x7fff_ffff;
