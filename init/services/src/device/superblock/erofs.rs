//! EROFS (fs/erofs/erofs_fs.h).

use crate::device::superblock::{Found, Source, has, text_at, uuid_at};

pub(super) fn probe(source: &dyn Source) -> Option<Found> {
    let block = source.read(1024, 128)?;
    has(&block, 0, &[0xe2, 0xe1, 0xf5, 0xe0]).then(|| Found {
        kind: "erofs",
        uuid: uuid_at(&block, 48),
        label: text_at(&block, 64, 16),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::superblock::tests::disk;

    #[test]
    fn uuid_and_label_are_read() {
        let bytes = disk(&[
            (1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
            (1024 + 48, &[7; 16]),
            (1024 + 64, b"root"),
        ]);
        let found = probe(&bytes).unwrap();
        assert_eq!((found.kind, found.label.as_str()), ("erofs", "root"));
        assert_eq!(found.uuid, "07070707-0707-0707-0707-070707070707");
    }
}
