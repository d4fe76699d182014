//! Whose signature counts for which suite: an allow-list of keys by fingerprint.
//!
//! The keys are files of `image/keys`, compiled in. Sources: RFC 9580; the package debian-archive-keyring.

use std::time::{Duration, SystemTime};

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, Timestamp};

/// One row of the allow-list.
struct Row {
    /// The suite's code name, and whether its security suite is meant.
    suite: &'static str,
    security: bool,
    fingerprint: &'static str,
    key: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        suite: "trixie",
        security: false,
        fingerprint: "04b54c3cdca79751b16bc6b5225629df75b188bd",
        key: include_str!("../keys/trixie-automatic.asc"),
    },
    Row {
        suite: "trixie",
        security: false,
        fingerprint: "41587f7db8c774bccf131416762f67a0b2c39de4",
        key: include_str!("../keys/trixie-stable.asc"),
    },
    Row {
        suite: "trixie",
        security: true,
        fingerprint: "5e04a1e3223a19a20706e20f9904613d4cce68c6",
        key: include_str!("../keys/trixie-security-automatic.asc"),
    },
    Row {
        suite: "bookworm",
        security: false,
        fingerprint: "b8b80b5b623eab6ad8775c45b7c5d7d6350947f8",
        key: include_str!("../keys/bookworm-automatic.asc"),
    },
    Row {
        suite: "bookworm",
        security: false,
        fingerprint: "4d64fec119c2029067d6e791f8d2585b8783d481",
        key: include_str!("../keys/bookworm-stable.asc"),
    },
    Row {
        suite: "bookworm",
        security: true,
        fingerprint: "05ab90340c0c5e797f44a8c8254cf3b5aec0a8f0",
        key: include_str!("../keys/bookworm-security-automatic.asc"),
    },
];

/// A clock that is wrong by so much is still believed.
const CLOCK_SLACK: Duration = Duration::from_secs(24 * 3600);

/// The keys that may sign one suite.
#[derive(Debug)]
pub(crate) struct Keyring {
    keys: Vec<SignedPublicKey>,
}

impl Keyring {
    /// Debian's keys for `suite`.
    pub(crate) fn debian(suite: &str) -> Result<Self, String> {
        let (name, rest) = suite.split_once('-').unwrap_or((suite, ""));
        let rows = ROWS
            .iter()
            .filter(|row| row.suite == name && row.security == (rest == "security"));
        let keys = rows
            .map(|row| read(row.key, row.fingerprint))
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(format!(
                "no archive key is known for suite {suite}; add it to image/keys and image/src/keyring.rs"
            ));
        }
        Ok(Keyring { keys })
    }

    /// Exactly this key.
    #[cfg(test)]
    pub(crate) fn of(key: SignedPublicKey) -> Self {
        Keyring { keys: vec![key] }
    }

    /// The text that a clear-signed message signs, if one of these keys signed it and was valid at `now`.
    pub(crate) fn signed_text(&self, message: &str, now: SystemTime) -> Result<String, String> {
        let (message, _) = CleartextSignedMessage::from_string(message)
            .map_err(|error| format!("is no clear-signed message: {error}"))?;
        let text = message.signed_text();
        let mut reasons = Vec::new();
        for signature in message.signatures() {
            match self
                .keys
                .iter()
                .map(|key| verify(key, signature, &text, now))
                .find(|outcome| !matches!(outcome, Outcome::OtherKey))
            {
                Some(Outcome::Good) => return Ok(text),
                Some(Outcome::Bad(reason)) => reasons.push(reason),
                Some(Outcome::OtherKey) | None => {}
            }
        }
        Err(match reasons.is_empty() {
            true => "is not signed by a key that may sign this suite (see image/keys)".to_owned(),
            false => reasons.join("; "),
        })
    }
}

/// One key, held against one signature.
enum Outcome {
    Good,
    Bad(String),
    OtherKey,
}

fn read(armoured: &str, fingerprint: &str) -> Result<SignedPublicKey, String> {
    let (key, _) = SignedPublicKey::from_string(armoured)
        .map_err(|error| format!("key {fingerprint}: {error}"))?;
    if key.fingerprint().to_string() != fingerprint {
        return Err(format!(
            "key {fingerprint}: the file holds {}",
            key.fingerprint()
        ));
    }
    bound(&key).map_err(|error| format!("key {fingerprint}: {error}"))?;
    Ok(key)
}

/// Checks the key's own signatures on its user and subkeys. Other people's, which Debian's keys carry, do not count.
fn bound(key: &SignedPublicKey) -> pgp::errors::Result<()> {
    for user in &key.details.users {
        for own in user
            .signatures
            .iter()
            .filter(|signature| is_own(key, signature))
        {
            own.verify_certification(&key.primary_key, Tag::UserId, &user.id)?;
        }
    }
    key.public_subkeys
        .iter()
        .try_for_each(|subkey| subkey.verify_bindings(&key.primary_key))
}

/// Whether the key itself made this signature.
fn is_own(key: &SignedPublicKey, signature: &Signature) -> bool {
    signature.issuer_fingerprint().contains(&&key.fingerprint())
}

fn verify(key: &SignedPublicKey, signature: &Signature, text: &str, now: SystemTime) -> Outcome {
    let issuers = signature.issuer_fingerprint();
    let subkey = key
        .public_subkeys
        .iter()
        .find(|subkey| issuers.contains(&&subkey.key.fingerprint()));
    let primary = issuers.contains(&&key.fingerprint());
    let shown = key.fingerprint();
    let checked = match subkey {
        Some(subkey) => usable_subkey(key, subkey, now)
            .and_then(|()| checked(signature, now))
            .and_then(|()| {
                signature
                    .verify(&subkey.key, text.as_bytes())
                    .map_err(|_| BROKEN.to_owned())
            }),
        None if primary => usable(key, now)
            .and_then(|()| checked(signature, now))
            .and_then(|()| {
                signature
                    .verify(&key.primary_key, text.as_bytes())
                    .map_err(|_| BROKEN.to_owned())
            }),
        None => return Outcome::OtherKey,
    };
    match checked {
        Ok(()) => Outcome::Good,
        Err(reason) => Outcome::Bad(format!("signature of key {shown}: {reason}")),
    }
}

const BROKEN: &str = "the text was changed after it was signed";

/// The signature itself: kind, hash and times.
fn checked(signature: &Signature, now: SystemTime) -> Result<(), String> {
    if !matches!(
        signature.typ(),
        Some(SignatureType::Text | SignatureType::Binary)
    ) {
        return Err("is of another kind than a document's".to_owned());
    }
    if !matches!(
        signature.hash_alg(),
        Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
    ) {
        return Err("uses a hash that is too weak".to_owned());
    }
    let made: SystemTime = signature.created().ok_or("says no time")?.into();
    if made > now + CLOCK_SLACK {
        return Err("was made in the future: look at this machine's clock".to_owned());
    }
    match signature.signature_expiration_time() {
        Some(valid)
            if valid.as_secs() != 0
                && made + Duration::from_secs(u64::from(valid.as_secs())) < now =>
        {
            Err("has expired".to_owned())
        }
        _ => Ok(()),
    }
}

/// A primary key that is neither expired nor revoked.
fn usable(key: &SignedPublicKey, now: SystemTime) -> Result<(), String> {
    if !key.details.revocation_signatures.is_empty() {
        return Err("the key is revoked".to_owned());
    }
    if !key
        .details
        .users
        .iter()
        .flat_map(|user| &user.signatures)
        .any(|signature| is_own(key, signature))
    {
        return Err("the key has no self-signature".to_owned());
    }
    // Of the key's own signatures some only name revokers: the newest that says how long the key is valid counts.
    let selfs = key
        .details
        .users
        .iter()
        .flat_map(|user| &user.signatures)
        .chain(&key.details.direct_signatures);
    let dated = selfs
        .filter(|signature| is_own(key, signature) && signature.key_expiration_time().is_some());
    match dated.max_by_key(|signature| signature.created().map(SystemTime::from)) {
        Some(newest) => not_expired(key.created_at(), newest, now),
        None => Ok(()),
    }
}

fn usable_subkey(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    now: SystemTime,
) -> Result<(), String> {
    usable(key, now)?;
    if subkey
        .signatures
        .iter()
        .any(|s| s.typ() == Some(SignatureType::SubkeyRevocation))
    {
        return Err("the subkey is revoked".to_owned());
    }
    let binding = subkey
        .signatures
        .iter()
        .max_by_key(|s| s.created().map(SystemTime::from))
        .ok_or("the subkey has no binding")?;
    if !binding.key_flags().sign() {
        return Err("the subkey is not meant for signing".to_owned());
    }
    not_expired(subkey.key.created_at(), binding, now)
}

fn not_expired(created: Timestamp, binding: &Signature, now: SystemTime) -> Result<(), String> {
    let Some(valid) = binding
        .key_expiration_time()
        .filter(|valid| valid.as_secs() != 0)
    else {
        return Ok(());
    };
    let until = SystemTime::from(created) + Duration::from_secs(u64::from(valid.as_secs()));
    if until < now {
        Err("the key has expired; a newer debian-archive-keyring may have the next one".to_owned())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_the_one_its_row_names_and_is_valid_for_years() {
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000); // 2030-01-01
        for row in ROWS {
            let key = read(row.key, row.fingerprint).expect("a key");
            assert_eq!(usable(&key, later), Ok(()), "{}", row.fingerprint);
        }
    }

    #[test]
    fn a_key_expires() {
        let key = read(ROWS[0].key, ROWS[0].fingerprint).expect("a key");
        let late = SystemTime::UNIX_EPOCH + Duration::from_secs(2_500_000_000);
        assert!(
            usable(&key, late)
                .expect_err("2049")
                .contains("has expired")
        );
    }

    #[test]
    fn a_security_suite_has_its_own_keys() {
        let main = Keyring::debian("trixie").expect("known");
        let security = Keyring::debian("trixie-security").expect("known");
        assert!(main.keys.iter().all(|key| !security.keys.contains(key)));
        assert!(Keyring::debian("trixie-updates").is_ok());
        assert!(
            Keyring::debian("warty")
                .expect_err("unknown")
                .contains("image/keys")
        );
    }
}
