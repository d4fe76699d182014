//! Image formats: one row here and one file beside it for each.

mod pxe;
mod qcow2;
mod raw;
mod uki;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::Error;
use crate::output::{Output, Written};
use crate::sparse::Sparse;
use crate::verity::Verity;

/// What every format is made of.
#[derive(Debug)]
pub(crate) struct Image {
    /// The recipe's id.
    pub(crate) id: String,
    /// Its version.
    pub(crate) version: String,
    /// The root file system.
    pub(crate) root: Vec<u8>,
    /// Its tree.
    pub(crate) verity: Verity,
    /// The kernel.
    pub(crate) kernel: Bytes,
    /// `uname -r` of the kernel.
    pub(crate) kernel_version: String,
    /// The initramfs.
    pub(crate) initramfs: Vec<u8>,
    /// The kernel's command line, root hash included.
    pub(crate) command_line: String,
    /// The unified kernel image.
    pub(crate) uki: Vec<u8>,
    /// The disk, if a format needs it.
    pub(crate) disk: Option<Sparse>,
}

impl Image {
    /// `ID_VERSION`, the name of every artifact before its extension.
    pub(crate) fn name(&self) -> String {
        format!("{}_{}", self.id, self.version)
    }

    fn disk(&self) -> Result<&Sparse, Error> {
        self.disk
            .as_ref()
            .ok_or_else(|| Error::Input("the disk was not laid out for this format".to_owned()))
    }
}

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

    /// Whether it holds the disk.
    pub(crate) fn has_disk(self) -> bool {
        matches!(self, Format::Raw | Format::Qcow2)
    }

    /// Writes the image in this format; gives the file that stands for it.
    pub(crate) fn write(self, image: &Image, output: &mut Output) -> Result<Written, Error> {
        match self {
            Format::Raw => raw::write(image, output),
            Format::Qcow2 => qcow2::write(image, output),
            Format::Uki => uki::write(image, output),
            Format::Pxe => pxe::write(image, output),
        }
    }

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
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|format| format.name()).collect();
                format!(
                    "unknown image format \"{name}\"; known are {}",
                    known.join(", ")
                )
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
