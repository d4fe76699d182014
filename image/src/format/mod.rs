//! Image formats: one row here and one file beside it for each.

use std::fmt;
use std::str::FromStr;

/// What an image can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// The disk, byte for byte; a sparse file.
    Raw,
    /// The disk as QEMU's qcow2.
    Qcow2,
    /// The unified kernel image alone.
    Uki,
    /// Kernel, initrd that carries the whole root, command line and iPXE script.
    Pxe,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 4] = [Format::Raw, Format::Qcow2, Format::Uki, Format::Pxe];

    /// Its name in recipes and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Uki => "uki",
            Format::Pxe => "pxe",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|format| format.name()).collect();
            format!("unknown image format \"{name}\"; known are {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_reads_back_from_its_name() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert_eq!(
            "iso".parse::<Format>(),
            Err("unknown image format \"iso\"; known are raw, qcow2, uki, pxe".to_owned())
        );
    }
}
