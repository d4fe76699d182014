//! The little of ELF that the builder reads: sections by name, in 64-bit little-endian files.
//!
//! Source: elf(5). The files come out of packages, so every offset is checked.

/// A section's content.
pub(crate) fn section<'a>(file: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, String> {
    if file.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("is no 64-bit little-endian ELF file".to_owned());
    }
    let table = number(file, 40, 8)?;
    let (size, count, names) = (
        number(file, 58, 2)?,
        number(file, 60, 2)?,
        number(file, 62, 2)?,
    );
    if size < 64 {
        return Err("has section headers that are too small".to_owned());
    }
    let header = |index: u64| {
        let at = index
            .checked_mul(size)
            .and_then(|offset| offset.checked_add(table));
        at.and_then(|at| usize::try_from(at).ok())
            .ok_or_else(|| "has its section headers beyond its end".to_owned())
    };
    let names = content(file, header(names)?)?;
    for index in 0..count {
        let at = header(index)?;
        let start = number(file, at, 4)? as usize;
        let found = names
            .get(start..)
            .and_then(|rest| rest.split(|&byte| byte == 0).next());
        if found == Some(name.as_bytes()) {
            return content(file, at).map(Some);
        }
    }
    Ok(None)
}

/// Content of the section whose header stands at `at`.
fn content(file: &[u8], at: usize) -> Result<&[u8], String> {
    const NOBITS: u64 = 8;
    if number(file, at + 4, 4)? == NOBITS {
        return Ok(&[]);
    }
    let (offset, size) = (number(file, at + 24, 8)?, number(file, at + 32, 8)?);
    let end = offset.checked_add(size);
    end.and_then(|end| file.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?))
        .ok_or_else(|| "has a section beyond its end".to_owned())
}

/// A little-endian number of `bytes` bytes.
fn number(file: &[u8], at: usize, bytes: usize) -> Result<u64, String> {
    let field = at
        .checked_add(bytes)
        .and_then(|end| file.get(at..end))
        .ok_or("ends within a header")?;
    Ok(field
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An ELF file with one section.
    pub(crate) fn elf(name: &str, body: &[u8]) -> Vec<u8> {
        let names = format!("\0{name}\0.shstrtab\0").into_bytes();
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        let (names_at, body_at) = (64, 64 + names.len());
        file.extend_from_slice(&names);
        file.extend_from_slice(body);
        let table = file.len() as u64;
        let header = |name: u32, offset: usize, size: usize| {
            let mut header = vec![0; 64];
            header[0..4].copy_from_slice(&name.to_le_bytes());
            header[4] = 1;
            header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            header
        };
        file.extend_from_slice(&header(1, body_at, body.len()));
        file.extend_from_slice(&header(name.len() as u32 + 2, names_at, names.len()));
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[58..60].copy_from_slice(&64u16.to_le_bytes());
        file[60..62].copy_from_slice(&2u16.to_le_bytes());
        file[62..64].copy_from_slice(&1u16.to_le_bytes());
        file
    }

    #[test]
    fn a_section_is_found_by_name() {
        let file = elf(".modinfo", b"license=GPL\0");
        assert_eq!(
            section(&file, ".modinfo").unwrap(),
            Some(&b"license=GPL\0"[..])
        );
        assert_eq!(section(&file, ".text").unwrap(), None);
        assert!(section(b"MZ", ".modinfo").is_err());
    }

    proptest! {
        #[test]
        fn no_file_panics(noise in proptest::collection::vec((0usize..300, any::<u8>()), 0..20), cut in 0usize..300) {
            let mut file = elf(".modinfo", b"license=GPL\0");
            for (at, value) in noise {
                if let Some(byte) = file.get_mut(at) { *byte = value; }
            }
            file.truncate(cut);
            let _ = section(&file, ".modinfo");
        }
    }
}
