//! The architectures whose calls a kernel takes, and the numbers of these calls.

use std::ops::RangeInclusive;

use syscalls::{aarch64, arm, x86, x86_64};

use crate::plan::Architecture;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// x86-64, which also takes the calls of i386 and x32.
    X86_64,
    /// arm64, which also takes those of 32-bit ARM.
    Aarch64,
}

/// One table of system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X32,
    /// What a tracer makes of a call that it skips: number -1, which is no call.
    X86_64Skipped,
    X86,
    Aarch64,
    Arm,
}

/// __X32_SYSCALL_BIT.
const X32_BIT: u32 = 0x4000_0000;
/// Calls that x32 has under a number of their own, from 512 on.
const X32_CALLS: &[&str] = &[
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];
/// Calls of x86-64 that x32 does not have.
const NOT_IN_X32: &[&str] = &[
    "_sysctl",
    "create_module",
    "epoll_ctl_old",
    "epoll_wait_old",
    "get_kernel_syms",
    "get_thread_area",
    "nfsservctl",
    "query_module",
    "set_thread_area",
    "uselib",
    "vserver",
];
/// __ARM_NR_BASE and the calls from there on.
const ARM_CALLS: (u32, &[&str]) = (
    0x000f_0001,
    &[
        "breakpoint",
        "cacheflush",
        "usr26",
        "usr32",
        "set_tls",
        "get_tls",
    ],
);

/// Calls of i386 that go through socketcall(2), from number 1 on.
const SOCKET_CALLS: &[&str] = &[
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];
/// Calls of i386 that go through ipc(2); a gap has no name.
const IPC_CALLS: &[&str] = &[
    "semop",
    "semget",
    "semctl",
    "semtimedop",
    "",
    "",
    "",
    "",
    "",
    "",
    "msgsnd",
    "msgrcv",
    "msgget",
    "msgctl",
    "",
    "",
    "",
    "",
    "",
    "",
    "shmat",
    "shmdt",
    "shmget",
    "shmctl",
];

impl Machine {
    /// What this program was built for.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else {
        Self::X86_64
    };

    /// Its tables by AUDIT_ARCH_*, each in ascending order of numbers.
    pub(super) fn abis(self) -> [(u32, &'static [Abi]); 2] {
        match self {
            Self::X86_64 => [
                (0xc000_003e, &[Abi::X86_64, Abi::X32, Abi::X86_64Skipped]),
                (0x4000_0003, &[Abi::X86]),
            ],
            Self::Aarch64 => [(0xc000_00b7, &[Abi::Aarch64]), (0x4000_0028, &[Abi::Arm])],
        }
    }

    /// Whether SystemCallArchitectures= permits a table; the native one always is.
    pub(super) fn permits(self, abi: Abi, listed: Option<&[Architecture]>) -> bool {
        let has = |one| listed.is_none_or(|listed| listed.contains(&one));
        match abi {
            Abi::X86_64 | Abi::X86_64Skipped | Abi::Aarch64 => true,
            Abi::X32 => has(Architecture::X32),
            Abi::X86 => has(Architecture::X86),
            Abi::Arm => has(Architecture::Arm),
        }
    }
}

impl Abi {
    /// The numbers that are this table's.
    pub(super) fn numbers(self) -> RangeInclusive<u32> {
        match self {
            Self::X86_64 => 0..=X32_BIT - 1,
            Self::X32 => X32_BIT..=u32::MAX - 1,
            Self::X86_64Skipped => u32::MAX..=u32::MAX,
            Self::X86 | Self::Aarch64 | Self::Arm => 0..=u32::MAX,
        }
    }

    /// The calls that go through a call by the number in its first argument, and the bits that count in it.
    pub(super) fn multiplexed(self, call: &str) -> Option<(&'static [&'static str], u32)> {
        match (self, call) {
            (Self::X86, "socketcall") => Some((SOCKET_CALLS, u32::MAX)),
            (Self::X86, "ipc") => Some((IPC_CALLS, 0xffff)),
            _ => None,
        }
    }
}

/// A call as the kernel and systemd write it; the crate's names are Rust's.
fn plain(name: &'static str) -> &'static str {
    match name {
        "r#break" => "break",
        "arm_sync_file_range" => "sync_file_range2",
        name => name,
    }
}

/// Calls back with each call of a table.
pub(super) fn for_each_call(abi: Abi, mut each: impl FnMut(u32, &'static str)) {
    macro_rules! each_of {
        ($table:ident) => {
            for call in $table::Sysno::iter() {
                each(call.id().unsigned_abs(), plain(call.name()));
            }
        };
    }
    match abi {
        Abi::X86_64 => each_of!(x86_64),
        Abi::X86 => each_of!(x86),
        Abi::Aarch64 => each_of!(aarch64),
        Abi::X86_64Skipped => {}
        Abi::X32 => {
            let absent = |name: &str| X32_CALLS.contains(&name) || NOT_IN_X32.contains(&name);
            for call in x86_64::Sysno::iter().filter(|call| !absent(call.name())) {
                each(X32_BIT | call.id().unsigned_abs(), call.name());
            }
            for (number, name) in (X32_BIT | 512..).zip(X32_CALLS) {
                each(number, name);
            }
        }
        Abi::Arm => {
            each_of!(arm);
            for (number, name) in (ARM_CALLS.0..).zip(ARM_CALLS.1) {
                each(number, name);
            }
        }
    }
}

/// Whether some table has a call of this name.
pub(super) fn has(call: &str) -> bool {
    call.parse::<x86_64::Sysno>().is_ok()
        || call.parse::<x86::Sysno>().is_ok()
        || call.parse::<aarch64::Sysno>().is_ok()
        || call.parse::<arm::Sysno>().is_ok()
        || ARM_CALLS.1.contains(&call)
        || ["break", "sync_file_range2"].contains(&call)
}
