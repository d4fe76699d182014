//! Swap areas of the usual page size (mkswap(8)).

use crate::device::superblock::{Found, Source, has, text_at, uuid_at};

pub(super) fn probe(source: &dyn Source) -> Option<Found> {
    let page = source.read(0, 4096)?;
    has(&page, 4086, b"SWAPSPACE2").then(|| Found {
        kind: "swap",
        uuid: uuid_at(&page, 1036),
        label: text_at(&page, 1052, 16),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::superblock::tests::disk;

    #[test]
    fn uuid_and_label_are_read() {
        let bytes = disk(&[(4086, b"SWAPSPACE2"), (1036, &[1; 16]), (1052, b"swap0")]);
        let found = probe(&bytes).unwrap();
        assert_eq!((found.kind, found.label.as_str()), ("swap", "swap0"));
    }
}
