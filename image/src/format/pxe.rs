//! `pxe`: kernel, initrd that carries the whole root, command line and iPXE script.
//!
//! The node runs from memory and needs no disk: PID 1 finds `/root.erofs` and its tree `/root.verity` in the
//! initrd and verifies them as it would partitions.

use archive::cpio::{Entry, FILE, Writer};
use spec_layout::command_line;

use super::Image;
use crate::Error;
use crate::output::{Output, Written};

/// Writes `NAME.vmlinuz`, `NAME.initrd`, `NAME.cmdline` and `NAME.ipxe`; the script stands for all.
pub(super) fn write(image: &Image, output: &mut Output) -> Result<Written, Error> {
    let name = image.name();
    let command_line = format!("{} {}=ram", image.command_line, command_line::ROOT);
    output.write(&format!("{name}.vmlinuz"), &image.kernel)?;
    output.write(&format!("{name}.initrd"), &initrd(image))?;
    output.write(
        &format!("{name}.cmdline"),
        format!("{command_line}\n").as_bytes(),
    )?;
    let script = format!(
        "#!ipxe\nkernel {name}.vmlinuz {command_line} initrd={name}.initrd\ninitrd {name}.initrd\nboot\n"
    );
    output.write(&format!("{name}.ipxe"), script.as_bytes())
}

/// The initramfs, then an archive with the root: the kernel unpacks one after the other.
fn initrd(image: &Image) -> Vec<u8> {
    let mut initrd = image.initramfs.to_vec();
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    let mut root = Writer::new(initrd);
    for (name, content) in [
        ("root.erofs", &image.root[..]),
        ("root.verity", &image.verity.tree[..]),
    ] {
        root.write(&Entry::new(name, FILE | 0o400), content)
            .expect("memory takes every write");
    }
    root.finish().expect("memory takes every write")
}
