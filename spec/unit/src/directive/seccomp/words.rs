//! The words of these directives: architectures, address families, kinds of namespaces.

use crate::plan::{Architecture, Namespace};

/// Kinds of namespaces by name.
pub(super) const KINDS: &[(&str, Namespace)] = &[
    ("cgroup", Namespace::Cgroup),
    ("ipc", Namespace::Ipc),
    ("net", Namespace::Network),
    ("mnt", Namespace::Mount),
    ("pid", Namespace::Pid),
    ("user", Namespace::User),
    ("uts", Namespace::Uts),
    ("time", Namespace::Time),
];

/// An architecture of systemd.unit(5) ConditionArchitecture=.
pub(super) fn architecture(word: &str) -> Result<Architecture, String> {
    const FOREIGN: &[&str] = &[
        "arc",
        "arc-be",
        "arm-be",
        "arm64-be",
        "alpha",
        "cris",
        "ia64",
        "loongarch64",
        "m68k",
        "mips",
        "mips-le",
        "mips64",
        "mips64-le",
        "mips64-le-n32",
        "mips64-n32",
        "nios2",
        "parisc",
        "parisc64",
        "ppc",
        "ppc-le",
        "ppc64",
        "ppc64-le",
        "riscv32",
        "riscv64",
        "s390",
        "s390x",
        "sh",
        "sh64",
        "sparc",
        "sparc64",
        "tilegx",
    ];
    match word {
        "native" => Ok(Architecture::Native),
        "x86" => Ok(Architecture::X86),
        "x86-64" => Ok(Architecture::X86_64),
        "x32" => Ok(Architecture::X32),
        "arm" => Ok(Architecture::Arm),
        "arm64" => Ok(Architecture::Arm64),
        foreign if FOREIGN.contains(&foreign) => Ok(Architecture::Foreign),
        other => Err(format!("{other:?} is not an architecture")),
    }
}

/// Address families by name, systemd's and the kernel's: numbered from 1 on.
const FAMILIES: &[&str] = &[
    "AF_UNIX",
    "AF_INET",
    "AF_AX25",
    "AF_IPX",
    "AF_APPLETALK",
    "AF_NETROM",
    "AF_BRIDGE",
    "AF_ATMPVC",
    "AF_X25",
    "AF_INET6",
    "AF_ROSE",
    "AF_DECnet",
    "AF_NETBEUI",
    "AF_SECURITY",
    "AF_KEY",
    "AF_NETLINK",
    "AF_PACKET",
    "AF_ASH",
    "AF_ECONET",
    "AF_ATMSVC",
    "AF_RDS",
    "AF_SNA",
    "AF_IRDA",
    "AF_PPPOX",
    "AF_WANPIPE",
    "AF_LLC",
    "AF_IB",
    "AF_MPLS",
    "AF_CAN",
    "AF_TIPC",
    "AF_BLUETOOTH",
    "AF_IUCV",
    "AF_RXRPC",
    "AF_ISDN",
    "AF_PHONET",
    "AF_IEEE802154",
    "AF_CAIF",
    "AF_ALG",
    "AF_NFC",
    "AF_VSOCK",
    "AF_KCM",
    "AF_QIPCRTR",
    "AF_SMC",
    "AF_XDP",
    "AF_MCTP",
];

/// The number of an address family.
pub(super) fn family(name: &str) -> Option<u16> {
    let name = match name {
        "AF_LOCAL" | "AF_FILE" => "AF_UNIX",
        "AF_ROUTE" => "AF_NETLINK",
        name => name,
    };
    let place = FAMILIES.iter().position(|known| *known == name)?;
    u16::try_from(place + 1).ok()
}
