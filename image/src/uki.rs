//! The unified kernel image: systemd's stub with kernel, initrd, command line and release as PE sections.
//!
//! Sources: the UAPI group's Unified Kernel Image specification, Microsoft's PE format, systemd-stub(7).

use crate::Error;

/// What goes into the image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uki<'a> {
    /// systemd's stub.
    pub(crate) stub: &'a [u8],
    /// The kernel.
    pub(crate) kernel: &'a [u8],
    /// The initramfs.
    pub(crate) initrd: &'a [u8],
    /// The command line.
    pub(crate) command_line: &'a str,
    /// os-release.
    pub(crate) os_release: &'a str,
    /// Kernel version, as `uname -r` prints it.
    pub(crate) kernel_version: &'a str,
    /// Line that is added to the stub's SBAT table: who revokes this image, and at which generation.
    pub(crate) sbat: &'a str,
}

/// Bytes of a section header.
const HEADER: usize = 40;
/// IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ.
const DATA: u32 = 0x4000_0040;
/// IMAGE_SCN_CNT_CODE | IMAGE_SCN_MEM_EXECUTE | IMAGE_SCN_MEM_READ.
const CODE: u32 = 0x6000_0020;

/// Assembles the image.
pub(crate) fn assemble(uki: &Uki<'_>) -> Result<Vec<u8>, Error> {
    let refuse =
        |message: &str| Error::Input(format!("the boot stub {message}: lock the recipe again"));
    let mut image = Image::parse(uki.stub.to_vec()).map_err(refuse)?;
    image.extend_sbat(uki.sbat).map_err(refuse)?;
    let sections: [(&str, &[u8], u32); 5] = [
        (".osrel", uki.os_release.as_bytes(), DATA),
        (".cmdline", uki.command_line.as_bytes(), DATA),
        (".uname", uki.kernel_version.as_bytes(), DATA),
        (".initrd", uki.initrd, DATA),
        // Last, since the kernel may use the memory behind itself.
        (".linux", uki.kernel, CODE),
    ];
    for (name, content, flags) in sections {
        image.append(name, content, flags).map_err(refuse)?;
    }
    Ok(image.bytes)
}

/// A PE32+ file that sections are appended to.
struct Image {
    bytes: Vec<u8>,
    /// Offset of the COFF header.
    coff: usize,
    /// Offset of the first section header.
    table: usize,
    sections: usize,
    section_alignment: u32,
    file_alignment: u32,
    headers_end: usize,
}

impl Image {
    fn parse(bytes: Vec<u8>) -> Result<Image, &'static str> {
        const SHORT: &str = "is cut short";
        if bytes.get(..2) != Some(b"MZ") {
            return Err("is no PE file");
        }
        let pe = get_u32(&bytes, 0x3c).ok_or(SHORT)? as usize;
        if bytes.get(pe..pe.saturating_add(4)) != Some(b"PE\0\0") {
            return Err("is no PE file");
        }
        let coff = pe + 4;
        let sections = get_u16(&bytes, coff + 2).ok_or(SHORT)? as usize;
        let optional = coff + 20;
        let optional_bytes = get_u16(&bytes, coff + 16).ok_or(SHORT)? as usize;
        if get_u16(&bytes, optional) != Some(0x20b) || optional_bytes < 112 {
            return Err("is no PE32+ file");
        }
        let image = Image {
            coff,
            table: optional + optional_bytes,
            sections,
            section_alignment: get_u32(&bytes, optional + 32).ok_or(SHORT)?,
            file_alignment: get_u32(&bytes, optional + 36).ok_or(SHORT)?,
            headers_end: get_u32(&bytes, optional + 60).ok_or(SHORT)? as usize,
            bytes,
        };
        let aligned = |value: u32| value.is_power_of_two() && value <= 1 << 20;
        if !aligned(image.section_alignment) || !aligned(image.file_alignment) {
            return Err("has an alignment that is no power of two");
        }
        if image.bytes.len() < image.table + sections * HEADER
            || image.bytes.len() < image.headers_end
        {
            return Err(SHORT);
        }
        Ok(image)
    }

    /// Offset of the header of section `index`.
    fn header(&self, index: usize) -> usize {
        self.table + index * HEADER
    }

    /// Adds a line to the SBAT table that the stub brings, in the padding of its section.
    fn extend_sbat(&mut self, line: &str) -> Result<(), &'static str> {
        let found = (0..self.sections)
            .map(|index| self.header(index))
            .find(|&at| &self.bytes[at..at + 8] == b".sbat\0\0\0");
        let at = found.ok_or("has no .sbat section")?;
        let used = get_u32(&self.bytes, at + 8).ok_or("is cut short")?;
        let room = get_u32(&self.bytes, at + 16).ok_or("is cut short")?;
        let offset = get_u32(&self.bytes, at + 20).ok_or("is cut short")? as usize;
        let content = self
            .bytes
            .get_mut(offset..offset + room as usize)
            .ok_or("is cut short")?;
        let text_end = content
            .iter()
            .take(used as usize)
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        let end = text_end + line.len();
        let place = content
            .get_mut(text_end..end)
            .ok_or("has no room left in its .sbat section")?;
        place.copy_from_slice(line.as_bytes());
        self.put_u32(at + 8, end as u32);
        Ok(())
    }

    /// Appends a section behind the last one, in the file and in memory.
    fn append(&mut self, name: &str, content: &[u8], flags: u32) -> Result<(), &'static str> {
        const LARGE: &str = "and what it carries are larger than 4 GiB";
        let at = self.header(self.sections);
        if at + HEADER > self.headers_end
            || self.bytes[at..at + HEADER].iter().any(|&byte| byte != 0)
        {
            return Err("has no room for another section header");
        }
        let length = u32::try_from(content.len()).map_err(|_| LARGE)?;
        let address = (0..self.sections)
            .map(|index| self.header(index))
            .filter_map(|at| {
                get_u32(&self.bytes, at + 12)?.checked_add(get_u32(&self.bytes, at + 8)?)
            })
            .max()
            .unwrap_or(0)
            .checked_next_multiple_of(self.section_alignment)
            .ok_or(LARGE)?;
        let end = address
            .checked_add(length)
            .and_then(|end| end.checked_next_multiple_of(self.section_alignment))
            .ok_or(LARGE)?;
        let file_alignment = self.file_alignment as usize;
        self.bytes
            .resize(self.bytes.len().next_multiple_of(file_alignment), 0);
        let offset = u32::try_from(self.bytes.len()).map_err(|_| LARGE)?;
        self.bytes.extend_from_slice(content);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(file_alignment), 0);
        let stored = self.bytes.len() as u32 - offset;

        self.bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
        for (field, value) in [
            (8, length),
            (12, address),
            (16, stored),
            (20, offset),
            (36, flags),
        ] {
            self.put_u32(at + field, value);
        }
        self.sections += 1;
        let count = (self.sections as u16).to_le_bytes();
        self.bytes[self.coff + 2..self.coff + 4].copy_from_slice(&count);
        let optional = self.coff + 20;
        self.put_u32(optional + 56, end); // SizeOfImage
        let initialized = get_u32(&self.bytes, optional + 8).unwrap_or(0);
        self.put_u32(optional + 8, initialized.wrapping_add(stored)); // SizeOfInitializedData
        Ok(())
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

fn get_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn get_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

/// Machine type of an image: 0x8664 is x86-64, 0xaa64 arm64.
pub fn machine(image: &[u8]) -> Option<u16> {
    let pe = get_u32(image, 0x3c)? as usize;
    get_u16(image, pe.checked_add(4)?)
}

/// Content of a section of an image; nothing if there is none of that name.
pub fn section<'a>(image: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let parsed = Image::parse(image.to_vec()).ok()?;
    let mut padded = name.as_bytes().to_vec();
    padded.resize(8, 0);
    let at = (0..parsed.sections)
        .map(|index| parsed.header(index))
        .find(|&at| image[at..at + 8] == padded)?;
    let (length, offset) = (
        get_u32(image, at + 8)? as usize,
        get_u32(image, at + 20)? as usize,
    );
    image.get(offset..offset.checked_add(length)?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A PE32+ file with a .text and a .sbat section and room for more headers.
    pub(crate) fn stub() -> Vec<u8> {
        let mut stub = b"MZ".to_vec();
        stub.resize(1024, 0);
        stub[0x3c] = 0x40;
        stub[0x40..0x44].copy_from_slice(b"PE\0\0");
        let coff = 0x44;
        stub[coff + 2] = 2;
        stub[coff + 16] = 112;
        let optional = coff + 20;
        stub[optional..optional + 2].copy_from_slice(&0x20bu16.to_le_bytes());
        stub[optional + 32..optional + 36].copy_from_slice(&4096u32.to_le_bytes());
        stub[optional + 36..optional + 40].copy_from_slice(&512u32.to_le_bytes());
        stub[optional + 60..optional + 64].copy_from_slice(&1024u32.to_le_bytes());
        let table = optional + 112;
        for (index, name, length, address, offset) in [
            (0, &b".text"[..], 100u32, 4096u32, 1024u32),
            (1, b".sbat", 6, 8192, 1536),
        ] {
            let at = table + index * HEADER;
            stub[at..at + name.len()].copy_from_slice(name);
            for (field, value) in [(8, length), (12, address), (16, 512), (20, offset)] {
                stub[at + field..at + field + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        stub.resize(2048, 0);
        stub[1536..1542].copy_from_slice(b"sbat,\n");
        stub
    }

    fn uki(stub: &[u8]) -> Result<Vec<u8>, Error> {
        assemble(&Uki {
            stub,
            kernel: &[9; 1000],
            initrd: b"initrd",
            command_line: "roothash=00 quiet",
            os_release: "ID=bedplate\n",
            kernel_version: "6.12.1",
            sbat: "bedplate,1\n",
        })
    }

    #[test]
    fn every_section_reads_back() {
        let image = uki(&stub()).unwrap();
        assert_eq!(section(&image, ".cmdline").unwrap(), b"roothash=00 quiet");
        assert_eq!(section(&image, ".osrel").unwrap(), b"ID=bedplate\n");
        assert_eq!(section(&image, ".uname").unwrap(), b"6.12.1");
        assert_eq!(section(&image, ".initrd").unwrap(), b"initrd");
        assert_eq!(section(&image, ".linux").unwrap(), [9; 1000]);
        assert_eq!(section(&image, ".sbat").unwrap(), b"sbat,\nbedplate,1\n");
        assert_eq!(section(&image, ".pcrsig"), None);
    }

    #[test]
    fn sections_do_not_overlap_in_memory() {
        let image = Image::parse(uki(&stub()).unwrap()).unwrap();
        let mut ranges: Vec<_> = (0..image.sections)
            .map(|index| image.header(index))
            .map(|at| {
                (
                    get_u32(&image.bytes, at + 12).unwrap(),
                    get_u32(&image.bytes, at + 8).unwrap(),
                )
            })
            .collect();
        ranges.sort();
        assert!(
            ranges
                .windows(2)
                .all(|pair| pair[0].0 + pair[0].1 <= pair[1].0),
            "{ranges:?}"
        );
        let end = ranges
            .last()
            .map(|(address, length)| (address + length).next_multiple_of(4096))
            .unwrap();
        assert_eq!(get_u32(&image.bytes, image.coff + 20 + 56), Some(end));
    }

    #[test]
    fn a_stub_that_is_none_is_refused() {
        let message = uki(b"MZ").unwrap_err().to_string();
        assert!(message.contains("the boot stub is cut short"), "{message}");
        let mut crowded = stub();
        let table = 0x44 + 20 + 112;
        crowded[table + 2 * HEADER] = 1;
        assert!(
            uki(&crowded)
                .unwrap_err()
                .to_string()
                .contains("no room for another section header")
        );
    }

    proptest! {
        #[test]
        fn no_stub_panics(noise in proptest::collection::vec((0usize..400, any::<u8>()), 0..12), cut in 0usize..2048) {
            let mut bytes = stub();
            noise.into_iter().for_each(|(at, value)| bytes[at] = value);
            let _ = uki(&bytes);
            let _ = uki(&bytes[..cut]);
        }
    }
}
