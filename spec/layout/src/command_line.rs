//! Words of the kernel command line that PID 1 reads.

/// `roothash=HEX`: root hash of the dm-verity tree; gives the partition UUIDs too.
pub const ROOT_HASH: &str = "roothash";
/// `bedplate.root=ram`: the root is `/root.erofs` (tree at `/root.verity`) in the initrd.
pub const ROOT: &str = "bedplate.root";
/// `bedplate.log=debug|info|warning`: how much PID 1 says on the console.
pub const LOG: &str = "bedplate.log";
/// `bedplate.watchdog=SECONDS|off`: hardware watchdog timeout.
pub const WATCHDOG: &str = "bedplate.watchdog";
