//! GUIDs that follow from what they name, so that no random number reaches an artifact.

use sha2::{Digest, Sha256};
use spec_layout::gpt::Uuid;

/// The version 8 UUID (RFC 9562) of `seed` in the role `name`.
pub(crate) fn named(name: &str, seed: &[u8]) -> Uuid {
    let digest = Sha256::new()
        .chain_update(b"bedplate ")
        .chain_update(name)
        .chain_update([0])
        .chain_update(seed);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.finalize()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_guid_depends_on_name_and_seed() {
        let guid = named("disk", b"x");
        assert_eq!(guid, named("disk", b"x"));
        assert_ne!(guid, named("disk", b"y"));
        assert_ne!(guid, named("esp", b"x"));
        assert_eq!(guid.to_string().as_bytes()[14], b'8');
    }
}
