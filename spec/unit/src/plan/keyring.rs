//! The session keyring of a child, session-keyring(7).

use serde::{Deserialize, Serialize};

/// A session keyring of its own, empty but for what is said here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keyring {
    /// Whose it is.
    pub uid: u32,
    /// The group whose it is.
    pub gid: u32,
    /// That user's own keyring is linked into it.
    pub shared: bool,
    /// Put into it as the key `invocation_id`, in 16 bytes: 32 hexadecimal digits.
    pub invocation: Option<String>,
}

impl Keyring {
    /// Refuses an invocation that is none.
    pub(super) fn check(&self) -> Result<(), String> {
        match &self.invocation {
            Some(text) if self.invocation_bytes().is_none() => {
                let text: String = text.chars().take(64).collect();
                Err(format!(
                    "keyring.invocation: {text:?} is not 32 hexadecimal digits"
                ))
            }
            _ => Ok(()),
        }
    }

    /// The invocation as bytes.
    pub fn invocation_bytes(&self) -> Option<[u8; 16]> {
        let text = self.invocation.as_deref()?;
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok())??;
        Some(number.to_be_bytes())
    }
}
