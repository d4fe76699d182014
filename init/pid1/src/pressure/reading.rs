//! The kernel's files about memory: bounded, and anything odd in them is nothing.
//!
//! Source: Documentation/accounting/psi.rst, Documentation/admin-guide/cgroup-v2.rst, proc(5).

/// Of the last 10, 60 and 300 s, the part in which tasks waited; in hundredths of a percent, 10000 at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Averages {
    /// avg10
    pub(crate) avg10: u32,
    /// avg60
    pub(crate) avg60: u32,
    /// avg300
    pub(crate) avg300: u32,
}

/// The line of a pressure file that begins with this word, `some` or `full`.
pub(crate) fn averages(text: &str, word: &str) -> Option<Averages> {
    let line = text.lines().find_map(|line| {
        let (first, rest) = line.split_once(' ')?;
        (first == word).then_some(rest)
    })?;
    let average = |name: &str| {
        let mut fields = line.split_ascii_whitespace();
        fields.find_map(|field| hundredths(field.strip_prefix(name)?.strip_prefix('=')?))
    };
    Some(Averages {
        avg10: average("avg10")?,
        avg60: average("avg60")?,
        avg300: average("avg300")?,
    })
}

/// `12.34` as 1234.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if part.len() != 2 || !digits(part) || !digits(whole) {
        return None;
    }
    let whole = whole.parse::<u32>().ok()?;
    let value = whole.checked_mul(100)?.checked_add(part.parse().ok()?)?;
    Some(value.min(10_000))
}

/// A number of a file that has lines such as `pgscan 7`.
pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (first, rest) = line.split_once(' ')?;
        (first == name).then(|| rest.trim().parse().ok())?
    })
}

/// Pages that were looked through because the node itself was short, from /proc/vmstat.
pub(crate) fn scanned_for_node(vmstat: &str) -> Option<u64> {
    let counts = ["pgscan_kswapd", "pgscan_direct"].map(|name| field(vmstat, name));
    let found = counts.iter().any(Option::is_some);
    found.then(|| counts.into_iter().flatten().fold(0, u64::saturating_add))
}

/// What /proc/meminfo says of memory and swap, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// MemTotal
    pub(crate) total: u64,
    /// MemAvailable
    pub(crate) available: u64,
    /// SwapTotal
    pub(crate) swap: u64,
    /// SwapFree
    pub(crate) swap_free: u64,
}

impl Memory {
    /// Reads the text of /proc/meminfo.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kib = line.strip_prefix(':')?.trim().strip_suffix("kB")?;
            kib.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self {
            total: bytes("MemTotal")?,
            available: bytes("MemAvailable")?,
            swap: bytes("SwapTotal")?,
            swap_free: bytes("SwapFree")?,
        })
    }

    /// Less than a tenth is left, of memory and of swap: SwapUsedLimit=90% of oomd.conf(5).
    pub(crate) fn is_short(&self) -> bool {
        self.swap > 0 && self.available < self.total / 10 && self.swap_free < self.swap / 10
    }
}
