//! The node id: 128 random bits on the state partition, bound to the machine's SMBIOS UUID, so that a cloned disk
//! gets a new one. Without a disk it follows from that UUID.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use spec_layout::path::{NODE_ID, STATE_NODE_ID};

use super::{Result, at, layout};

const PRODUCT_UUID: &str = "/sys/class/dmi/id/product_uuid";
/// Stands for a machine that has no UUID.
const NONE: &str = "-";

/// Settles the id and shows it at [`NODE_ID`].
pub(super) fn settle(ephemeral: bool) -> Result<()> {
    let machine = machine_uuid(&fs::read_to_string(PRODUCT_UUID).unwrap_or_default());
    let id = match (ephemeral, &machine) {
        (true, Some(machine)) => derived(machine),
        (true, None) => hex(&random()?),
        (false, machine) => kept(Path::new(STATE_NODE_ID), machine.as_deref())?,
    };
    layout::write(Path::new(NODE_ID), &format!("{id}\n"))
}

/// The id on the state partition, made anew if there is none or if it belongs to another machine.
fn kept(file: &Path, machine: Option<&str>) -> Result<String> {
    let text = match fs::read_to_string(file) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => String::new(),
        other => other.map_err(at(file.display()))?,
    };
    let machine = machine.unwrap_or(NONE);
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        [id, bound] if is_id(id) && (bound == machine || bound == NONE || machine == NONE) => {
            if bound == NONE && machine != NONE {
                layout::write(file, &format!("{id} {machine}\n"))?;
            }
            return Ok(id.to_owned());
        }
        [_, bound] => {
            log::warn!(target: "bedplate", "the disk comes from the machine {bound}: this node gets an id of its own");
        }
        [] => {}
        _ => {
            log::warn!(target: "bedplate", "{} cannot be read: this node gets a new id", file.display())
        }
    }
    let id = hex(&random()?);
    layout::write(file, &format!("{id} {machine}\n"))?;
    Ok(id)
}

/// The UUID of the machine, unless its maker left it blank.
fn machine_uuid(text: &str) -> Option<String> {
    let uuid: spec_layout::gpt::Uuid = text.trim().parse().ok()?;
    let bytes = uuid.to_bytes();
    (bytes != [0; 16] && bytes != [0xff; 16]).then(|| uuid.to_string())
}

fn derived(machine: &str) -> String {
    let digest = Sha256::new()
        .chain_update("bedplate node id ")
        .chain_update(machine)
        .finalize();
    hex(digest.get(..16).unwrap_or_default())
}

/// 128 bits from the kernel, once it has gathered enough.
pub(super) fn random() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/random")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(at("/dev/random"))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "11111111-2222-3333-4444-555555555555";
    const THERE: &str = "aaaaaaaa-2222-3333-4444-555555555555";

    #[test]
    fn an_id_stays_with_its_machine_and_a_clone_gets_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node-id");
        let id = kept(&file, Some(HERE)).unwrap();
        assert!(is_id(&id));
        assert_eq!(kept(&file, Some(HERE)), Ok(id.clone()));
        assert_eq!(
            kept(&file, None),
            Ok(id.clone()),
            "a machine that lost its UUID keeps the id"
        );
        let clone = kept(&file, Some(THERE)).unwrap();
        assert_ne!(clone, id);
        assert_eq!(kept(&file, Some(THERE)), Ok(clone));
    }

    #[test]
    fn an_id_made_without_a_uuid_is_bound_later() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node-id");
        let id = kept(&file, None).unwrap();
        assert_eq!(kept(&file, Some(HERE)), Ok(id.clone()));
        assert_ne!(kept(&file, Some(THERE)), Ok(id));
    }

    #[test]
    fn garbage_gives_a_new_id_and_blank_uuids_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node-id");
        fs::write(&file, "garbage").unwrap();
        assert!(kept(&file, Some(HERE)).is_ok_and(|id| is_id(&id)));
        assert_eq!(machine_uuid("00000000-0000-0000-0000-000000000000\n"), None);
        assert_eq!(machine_uuid("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"), None);
        assert_eq!(machine_uuid(&HERE.to_uppercase()).as_deref(), Some(HERE));
        assert_eq!(derived(HERE), derived(HERE));
        assert_ne!(derived(HERE), derived(THERE));
    }
}
