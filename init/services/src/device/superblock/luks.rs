//! LUKS 1 and 2 headers (LUKS2 on-disk format specification). The UUID is text in both.

use crate::device::superblock::{Found, Source, has, text_at};

pub(super) fn probe(source: &dyn Source) -> Option<Found> {
    let block = source.read(0, 512)?;
    if !has(&block, 0, b"LUKS\xba\xbe") {
        return None;
    }
    let version = u16::from_be_bytes(*block.get(6..)?.first_chunk()?);
    let uuid = text_at(&block, 168, 40);
    let plain = uuid
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let label = if version == 2 {
        text_at(&block, 24, 48)
    } else {
        String::new()
    };
    matches!(version, 1 | 2).then(|| Found {
        kind: "crypto_LUKS",
        uuid: if plain { uuid } else { String::new() },
        label,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::superblock::tests::disk;

    const UUID: &[u8] = b"1f2e3d4c-0000-1111-2222-333344445555";

    #[test]
    fn version_2_has_a_label_too() {
        let bytes = disk(&[(0, b"LUKS\xba\xbe\0\x02"), (24, b"state"), (168, UUID)]);
        let found = probe(&bytes).unwrap();
        assert_eq!(
            (found.uuid.as_bytes(), found.label.as_str()),
            (UUID, "state")
        );
    }

    #[test]
    fn a_version_that_does_not_exist_is_none() {
        assert_eq!(
            probe(&disk(&[(0, b"LUKS\xba\xbe\0\x09"), (168, UUID)])),
            None
        );
    }
}
