//! ISO 9660: the primary volume descriptor (ECMA-119, 8.4). Its UUID is the time it was made.

use crate::device::superblock::{Found, Source, has, text_at};

const DESCRIPTOR: u64 = 32 * 1024;

pub(super) fn probe(source: &dyn Source) -> Option<Found> {
    let block = source.read(DESCRIPTOR, 2048)?;
    if !has(&block, 0, b"\x01CD001") {
        return None;
    }
    // Modified, else created: YYYYMMDDHHMMSSCC.
    let uuid = [830, 813]
        .into_iter()
        .find_map(|at| time_at(&block, at))
        .unwrap_or_default();
    Some(Found {
        kind: "iso9660",
        uuid,
        label: text_at(&block, 40, 32),
    })
}

fn time_at(block: &[u8], at: usize) -> Option<String> {
    let digits = block.get(at..at + 16)?;
    let valid = digits.iter().all(u8::is_ascii_digit) && digits.iter().any(|digit| *digit != b'0');
    let pair = |range: std::ops::Range<usize>| {
        Some(std::str::from_utf8(digits.get(range)?).unwrap_or_default())
    };
    let parts = [0..4, 4..6, 6..8, 8..10, 10..12, 12..14, 14..16]
        .into_iter()
        .map(pair)
        .collect::<Option<Vec<_>>>()?;
    valid.then(|| parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::superblock::tests::disk;

    #[test]
    fn label_and_time_are_read() {
        let start = DESCRIPTOR as usize;
        let bytes = disk(&[
            (start, b"\x01CD001"),
            (start + 40, b"BEDPLATE-CFG                    "),
            (start + 830, b"0000000000000000"),
            (start + 813, b"2026112011223344"),
        ]);
        let found = probe(&bytes).unwrap();
        assert_eq!(
            (found.label.as_str(), found.uuid.as_str()),
            ("BEDPLATE-CFG", "2026-11-20-11-22-33-44")
        );
    }
}
