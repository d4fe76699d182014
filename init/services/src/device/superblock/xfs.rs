//! XFS (xfs_db(8), superblock).

use crate::device::superblock::{Found, Source, has, text_at, uuid_at};

pub(super) fn probe(source: &dyn Source) -> Option<Found> {
    let block = source.read(0, 512)?;
    has(&block, 0, b"XFSB").then(|| Found {
        kind: "xfs",
        uuid: uuid_at(&block, 32),
        label: text_at(&block, 108, 12),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::superblock::tests::disk;

    #[test]
    fn uuid_and_label_are_read() {
        let bytes = disk(&[(0, b"XFSB"), (32, &[0xab; 16]), (108, b"data")]);
        let found = probe(&bytes).unwrap();
        assert_eq!((found.kind, found.label.as_str()), ("xfs", "data"));
        assert_eq!(found.uuid, "abababab-abab-abab-abab-abababababab");
    }
}
