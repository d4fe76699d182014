//! Credentials that the machine's host or firmware hands in: SMBIOS type 11 strings and QEMU's fw_cfg.
//!
//! They are copied, bounded, to a folder that only root can read. The first source that names a credential wins.
//!
//! Source: systemd.system-credentials(7), SMBIOS specification "OEM Strings (Type 11)".

use std::fs::{DirBuilder, File, OpenOptions, read_dir};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use spec_layout::path::SYSTEM_CREDENTIALS;

use crate::early::modules::Loader;
use crate::error::{Error, Result, What};

/// Most bytes of one credential, as in systemd.
const ONE_MAX: usize = 1 << 20;
/// Most bytes of all.
const ALL_MAX: usize = 16 << 20;
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials";
const DMI: &str = "/sys/firmware/dmi/entries";

/// Name and content.
type Credential = (String, Vec<u8>);

/// Copies all of them to [`SYSTEM_CREDENTIALS`].
pub(super) fn import(modules: &mut Loader) -> Result<()> {
    modules.load_or_say("dmi_sysfs");
    modules.load_or_say("qemu_fw_cfg");
    let (mut found, mut problems) = smbios();
    let (more, other_problems) = fw_cfg();
    found.extend(more);
    problems.extend(other_problems);
    let mut room = ALL_MAX;
    let folder = folder()?;
    for (name, content) in found {
        match room.checked_sub(content.len()) {
            Some(left) => room = left,
            None => {
                problems.push(format!(
                    "{name}: no room left, all credentials together are at most {ALL_MAX} bytes"
                ));
                continue;
            }
        }
        if let Err(cause) = keep(&folder.join(&name), &content) {
            problems.push(format!("{name}: {cause}"));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::new(What::Credentials, problems.join("; ")))
    }
}

fn folder() -> Result<PathBuf> {
    let folder = PathBuf::from(SYSTEM_CREDENTIALS);
    let failed = || Error::at(What::Credentials, SYSTEM_CREDENTIALS);
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(failed())?;
    }
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => Err(failed()(cause)),
        _ => Ok(folder),
    }
}

fn keep(path: &Path, content: &[u8]) -> std::io::Result<()> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(path)
    {
        Ok(mut file) => file.write_all(content),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(cause),
    }
}

/// All that the type 11 structures hold, and what was wrong with them.
fn smbios() -> (Vec<Credential>, Vec<String>) {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let mut entries: Vec<PathBuf> = read_dir(DMI)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("11-"))
    });
    entries.sort();
    for entry in entries {
        let raw = entry.join("raw");
        match read_bounded(&raw) {
            Ok(bytes) => strings(&bytes)
                .filter_map(credential)
                .for_each(|result| match result {
                    Ok(credential) => found.push(credential),
                    Err(problem) => problems.push(problem),
                }),
            Err(cause) => problems.push(format!("{}: {cause}", raw.display())),
        }
    }
    (found, problems)
}

/// The strings that follow the formatted area of an SMBIOS structure; an empty one ends them.
fn strings(structure: &[u8]) -> impl Iterator<Item = &[u8]> {
    // A formatted area has at least type, length and handle.
    let formatted = structure
        .get(1)
        .map(|&length| usize::from(length))
        .filter(|&length| length >= 4);
    let strings = formatted
        .and_then(|length| structure.get(length..))
        .unwrap_or_default();
    strings
        .split(|&byte| byte == 0)
        .take_while(|string| !string.is_empty())
}

/// `io.systemd.credential[.binary]:NAME=VALUE`; `None` for any other string, which is none of our business.
fn credential(string: &[u8]) -> Option<std::result::Result<Credential, String>> {
    let rest = string.strip_prefix(b"io.systemd.credential")?;
    let (binary, rest) = match rest.strip_prefix(b".binary") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.strip_prefix(b":")?;
    let equals = rest
        .iter()
        .position(|&byte| byte == b'=')
        .unwrap_or(rest.len());
    let (name, value) = (
        rest.get(..equals).unwrap_or_default(),
        rest.get(equals + 1..),
    );
    let shown = String::from_utf8_lossy(name).into_owned();
    let Some(value) = value else {
        return Some(Err(format!("SMBIOS credential \"{shown}\" has no =VALUE")));
    };
    if !is_name(&shown) {
        return Some(Err(format!("\"{shown}\" is not a credential name")));
    }
    let content = if binary {
        match base64::engine::general_purpose::STANDARD.decode(value) {
            Ok(content) => content,
            Err(cause) => return Some(Err(format!("SMBIOS credential \"{shown}\": {cause}"))),
        }
    } else {
        value.to_vec()
    };
    Some(Ok((shown, content)))
}

/// All files below `opt/io.systemd.credentials` of fw_cfg.
fn fw_cfg() -> (Vec<Credential>, Vec<String>) {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let names = read_dir(FW_CFG)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    for name in names {
        let raw = Path::new(FW_CFG).join(&name).join("raw");
        match read_bounded(&raw) {
            _ if !is_name(&name) => problems.push(format!("\"{name}\" is not a credential name")),
            Ok(content) => found.push((name, content)),
            Err(cause) => problems.push(format!("{}: {cause}", raw.display())),
        }
    }
    (found, problems)
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
    (1..=255).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?
        .take(ONE_MAX as u64 + 1)
        .read_to_end(&mut content)?;
    if content.len() > ONE_MAX {
        return Err(std::io::Error::new(
            ErrorKind::FileTooLarge,
            format!("more than {ONE_MAX} bytes"),
        ));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strings_follow_the_formatted_area() {
        let structure = [b"\x0b\x05\x00\x00\x02".as_slice(), b"one\0two\0\0after"].concat();
        assert_eq!(strings(&structure).collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(strings(b"\x0b").count(), 0);
        assert_eq!(strings(b"\x0b\xff").count(), 0);
    }

    #[test]
    fn a_credential_is_plain_or_base64() {
        let read = |text: &str| credential(text.as_bytes());
        assert_eq!(
            read("io.systemd.credential:a=b=c"),
            Some(Ok(("a".into(), b"b=c".to_vec())))
        );
        assert_eq!(
            read("io.systemd.credential.binary:bedplate.config=AAE="),
            Some(Ok(("bedplate.config".into(), vec![0, 1])))
        );
        assert_eq!(read("io.systemd.stub.kernel-cmdline-extra=x"), None);
        for wrong in [
            "io.systemd.credential:../x=1",
            "io.systemd.credential:x",
            "io.systemd.credential.binary:x=%",
        ] {
            assert!(read(wrong).is_some_and(|result| result.is_err()), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_firmware_table_panics_or_names_a_path(bytes in proptest::collection::vec(any::<u8>(), 0..80), text in "[:=./a\0]{0,12}") {
            let hostile = [b"\x0b\x04\x00\x00io.systemd.credential:".as_slice(), text.as_bytes(), &bytes].concat();
            for result in strings(&hostile).filter_map(credential).flatten() {
                prop_assert!(!result.0.contains('/') && !result.0.starts_with('.'));
            }
            let _ = strings(&bytes).filter_map(credential).count();
        }
    }
}
