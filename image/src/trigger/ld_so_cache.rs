//! /etc/ld.so.cache, as ldconfig(8) makes it, for images whose libraries lie outside the loader's own folders.
//!
//! Source: glibc's `sysdeps/generic/dl-cache.h`, format "glibc-ld.so.cache1.1", without extensions.

use std::cmp::Ordering;

use crate::tree::{Kind, Tree};

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Bytes of the header and of an entry.
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// Folders that the loader knows by itself, and what their libraries are marked with.
const FOLDERS: [(&str, u32); 2] = [
    ("usr/lib/x86_64-linux-gnu", 0x0303),
    ("usr/lib/aarch64-linux-gnu", 0x0a03),
];

/// Writes the cache.
pub(crate) fn run(tree: &mut Tree) -> Result<(), String> {
    let Some((known, flags)) = FOLDERS
        .iter()
        .find(|(folder, _)| tree.get(folder).is_some())
    else {
        return Ok(());
    };
    let mut folders = vec![(*known).to_owned()];
    for (name, node) in tree
        .folder("etc/ld.so.conf.d")
        .filter(|(name, _)| name.ends_with(".conf"))
    {
        let path = format!("etc/ld.so.conf.d/{name}");
        let text = tree
            .text(&path)
            .ok_or_else(|| format!("/{path} in {} is no text file", node.origin))?;
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with('/'));
        folders.extend(lines.map(|line| line.trim_matches('/').to_owned()));
    }
    let mut libraries: Vec<(String, String)> = Vec::new();
    for folder in &folders {
        for (name, node) in tree.folder(folder) {
            let path = format!("/{folder}/{name}");
            let library = name.contains(".so.") && node.kind != Kind::Folder;
            if library
                && tree
                    .file(&path)
                    .is_some_and(|content| content.starts_with(b"\x7fELF"))
            {
                libraries.push((name.to_owned(), path));
            }
        }
    }
    libraries.sort_by(|a, b| compare(b.0.as_bytes(), a.0.as_bytes()));
    libraries.dedup_by(|later, first| later.0 == first.0);
    tree.make_file("etc/ld.so.cache", 0o644, encode(&libraries, *flags))
}

/// The file.
fn encode(libraries: &[(String, String)], flags: u32) -> Vec<u8> {
    let strings_at = HEADER + libraries.len() * ENTRY;
    let mut strings = Vec::new();
    let mut entries = Vec::new();
    for (name, path) in libraries {
        let mut offset = |text: &str| {
            let at = (strings_at + strings.len()) as u32;
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at
        };
        for field in [flags, offset(name), offset(path), 0, 0, 0] {
            entries.extend_from_slice(&field.to_le_bytes());
        }
    }
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&(libraries.len() as u32).to_le_bytes());
    file.extend_from_slice(&(strings.len() as u32).to_le_bytes());
    file.push(2); // little-endian
    file.resize(HEADER, 0);
    file.extend_from_slice(&entries);
    file.extend_from_slice(&strings);
    file
}

/// The loader's order of names: runs of digits count as numbers.
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    let number = |text: &[u8]| {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let value = text[..digits].iter().fold(0u64, |value, digit| {
            value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
        });
        (digits, value)
    };
    loop {
        let ((a_digits, a_value), (b_digits, b_value)) = (number(a), number(b));
        let order = match (a_digits, b_digits) {
            (0, 0) => match (a.first(), b.first()) {
                (None, None) => return Ordering::Equal,
                (a, b) => a.cmp(&b),
            },
            (0, _) => Ordering::Less,
            (_, 0) => Ordering::Greater,
            _ => a_value.cmp(&b_value),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (&a[a_digits.max(1)..], &b[b_digits.max(1)..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_as_numbers() {
        assert_eq!(compare(b"libx.so.10", b"libx.so.9"), Ordering::Greater);
        assert_eq!(compare(b"libx.so.1", b"libx.so.1"), Ordering::Equal);
        assert_eq!(compare(b"libx.so.1", b"libxa.so.1"), Ordering::Less);
    }

    #[test]
    fn libraries_of_named_folders_are_in_it() {
        let mut tree = Tree::new(0);
        tree.make_file("usr/lib/x86_64-linux-gnu/liba.so.1", 0o644, &b"\x7fELF"[..])
            .unwrap();
        tree.make_file("opt/lib/libb.so.2", 0o644, &b"\x7fELF"[..])
            .unwrap();
        tree.make_file("etc/ld.so.conf.d/b.conf", 0o644, "# ours\n/opt/lib\n")
            .unwrap();
        run(&mut tree).unwrap();
        let cache = tree.file("etc/ld.so.cache").unwrap();
        assert_eq!(&cache[..20], MAGIC);
        assert_eq!(cache[20], 2);
        let strings = String::from_utf8_lossy(&cache[HEADER + 2 * ENTRY..]).into_owned();
        assert_eq!(
            strings,
            "libb.so.2\0/opt/lib/libb.so.2\0liba.so.1\0/usr/lib/x86_64-linux-gnu/liba.so.1\0"
        );
    }
}
