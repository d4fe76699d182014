//! Credentials of a child: secrets that nobody else on the node can read, systemd's CREDENTIALS(7).

use serde::{Deserialize, Serialize};

use super::absolute;

/// Most credentials of one plan.
pub const MAX_CREDENTIALS: usize = 128;
/// Most bytes of one credential, as in systemd.
pub const MAX_CREDENTIAL: usize = 1024 * 1024;

/// A folder of credentials, on a file system of its own that is read-only once it is filled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialFolder {
    /// Its absolute path, `$CREDENTIALS_DIRECTORY`.
    pub path: String,
    /// Who may read what is in it, besides root.
    pub uid: u32,
    /// What is in it; of two with the same name the first that is there counts.
    pub list: Vec<Credential>,
}

/// One credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Name of its file.
    pub name: String,
    /// What it holds.
    pub source: CredentialSource,
}

/// What a credential holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialSource {
    /// These bytes.
    Text(Vec<u8>),
    /// What is in the first of these files that is there.
    Files {
        /// Absolute paths.
        paths: Vec<String>,
        /// It is no error if none is there.
        missing_ok: bool,
    },
}

/// Whether a name may be that of a credential: a file name of printable ASCII without a colon.
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
    (1..=255).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

impl CredentialFolder {
    pub(super) fn check(&self) -> Result<(), String> {
        let field = "mounts.credentials";
        absolute(field, &self.path)?;
        if self.list.len() > MAX_CREDENTIALS {
            return Err(format!("{field}: more than {MAX_CREDENTIALS}"));
        }
        for credential in &self.list {
            if !is_name(&credential.name) {
                return Err(format!("{field}: {:?} is not a name", credential.name));
            }
            match &credential.source {
                CredentialSource::Text(text) if text.len() > MAX_CREDENTIAL => {
                    return Err(format!("{field}: {} is too long", credential.name));
                }
                CredentialSource::Text(_) => {}
                CredentialSource::Files { paths, .. } => {
                    for path in paths {
                        absolute(field, path)?;
                    }
                }
            }
        }
        Ok(())
    }
}
