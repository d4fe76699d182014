//! InRelease: the signed list of a suite's indexes by hash, and when it was made.
//!
//! Refused: a signature by another key than the suite's, another suite than asked for, one past its Valid-Until,
//! one older than the lock has seen. Source: <https://wiki.debian.org/DebianRepository/Format>.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::deb822;
use crate::keyring::Keyring;

/// Bytes that an InRelease may have.
pub(crate) const BYTES_MAX: u64 = 16 << 20;

/// A verified Release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// Seconds since 1970 of its Date.
    pub(crate) date: i64,
    /// Whether indexes are also to be had under their hash.
    pub(crate) by_hash: bool,
    /// Size and SHA-256 of each index.
    pub(crate) files: BTreeMap<String, (u64, String)>,
}

/// What the caller knows.
pub(crate) struct Expected<'a> {
    /// The suite asked for.
    pub(crate) suite: &'a str,
    /// Date that the lock has seen.
    pub(crate) not_before: Option<i64>,
    /// The time.
    pub(crate) now: SystemTime,
}

/// Reads and verifies an InRelease.
pub(crate) fn verify(
    inrelease: &[u8],
    keyring: &Keyring,
    expected: &Expected,
) -> Result<Release, String> {
    let message = std::str::from_utf8(inrelease).map_err(|_| "is not text".to_owned())?;
    let text = keyring.signed_text(message, expected.now)?;
    let paragraph = deb822::paragraphs(&text).next().ok_or("is empty")?;
    let names = [paragraph.get("Codename"), paragraph.get("Suite")];
    if !names.contains(&Some(expected.suite)) {
        let other = names.iter().flatten().next().unwrap_or(&"no suite at all");
        return Err(format!("is of {other}, not of {}", expected.suite));
    }
    let date =
        seconds(paragraph.get("Date").ok_or("has no Date")?).ok_or("has a Date that is no date")?;
    let now = expected
        .now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs() as i64;
    if date > now + 24 * 3600 {
        return Err(format!(
            "is dated {}, in the future: look at this machine's clock",
            shown(date)
        ));
    }
    if let Some(until) = paragraph.get("Valid-Until") {
        let until = seconds(until).ok_or("has a Valid-Until that is no date")?;
        if until < now {
            return Err(format!(
                "expired on {}: the mirror is out of date, or somebody holds back updates",
                shown(until)
            ));
        }
    }
    if let Some(seen) = expected.not_before.filter(|seen| date < *seen) {
        return Err(format!(
            "is dated {}, older than the one the lock has seen ({}): the mirror is out of date, or somebody holds back updates",
            shown(date),
            shown(seen)
        ));
    }
    let by_hash = paragraph.get("Acquire-By-Hash") == Some("yes");
    Ok(Release {
        date,
        by_hash,
        files: files(paragraph.get("SHA256").ok_or("lists no SHA-256")?)?,
    })
}

/// `HASH SIZE PATH` lines.
fn files(list: &str) -> Result<BTreeMap<String, (u64, String)>, String> {
    let mut files = BTreeMap::new();
    for line in list.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (Some(hash), Some(size), Some(path)) = (words.next(), words.next(), words.next())
        else {
            return Err(format!(
                "has the line \"{}\" in its SHA256 list",
                line.escape_debug()
            ));
        };
        let size = size
            .parse()
            .map_err(|_| format!("says no size for {}", path.escape_debug()))?;
        if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("says no SHA-256 for {}", path.escape_debug()));
        }
        files.insert(path.to_owned(), (size, hash.to_ascii_lowercase()));
    }
    Ok(files)
}

const DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day padding:none] [month repr:short] [year] [hour]:[minute]:[second]"
);

/// `Sat, 12 Sep 2026 07:55:41 UTC`.
fn seconds(date: &str) -> Option<i64> {
    let (date, zone) = date.rsplit_once(' ')?;
    let date = time::PrimitiveDateTime::parse(date, DATE).ok()?;
    matches!(zone, "UTC" | "GMT" | "+0000" | "Z").then(|| date.assume_utc().unix_timestamp())
}

/// For a message.
fn shown(seconds: i64) -> String {
    let date = time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    date.map_or_else(
        || seconds.to_string(),
        |date| {
            format!(
                "{} {:02}:{:02} UTC",
                date.date(),
                date.hour(),
                date.minute()
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_archive::{Key, now};

    fn text(extra: &str) -> String {
        format!(
            "Suite: stable\nCodename: trixie\nDate: Fri, 20 Nov 2026 10:00:00 UTC\nAcquire-By-Hash: yes\n{extra}SHA256:\n {} 12 main/binary-amd64/Packages.xz\n",
            "ab".repeat(32)
        )
    }

    fn check(key: &Key, message: &str, not_before: Option<i64>) -> Result<Release, String> {
        verify(
            message.as_bytes(),
            &key.keyring(),
            &Expected {
                suite: "trixie",
                not_before,
                now: now(),
            },
        )
    }

    #[test]
    fn a_signed_release_is_read() {
        let key = Key::new();
        let release = check(&key, &key.sign(&text("")), Some(1_000)).expect("good");
        assert_eq!(release.date, 1_795_168_800);
        assert!(release.by_hash);
        assert_eq!(
            release.files["main/binary-amd64/Packages.xz"],
            (12, "ab".repeat(32))
        );
    }

    #[test]
    fn a_changed_release_is_refused() {
        let key = Key::new();
        let message = key.sign(&text(""));
        let changed = message.replace(" 12 main", " 13 main");
        assert!(
            check(&key, &changed, None)
                .expect_err("changed")
                .contains("changed after it was signed")
        );
        assert!(
            check(&key, &text(""), None)
                .expect_err("unsigned")
                .contains("no clear-signed message")
        );
        let other = Key::new();
        assert!(
            check(&other, &message, None)
                .expect_err("other key")
                .contains("not signed by a key that may sign")
        );
    }

    #[test]
    fn text_outside_the_signature_does_not_count() {
        let key = Key::new();
        let message = key.sign(&text(""));
        let around = format!(
            "Codename: trixie\nDate: Fri, 20 Nov 2099 10:00:00 UTC\n\n{message}\nDate: x\n"
        );
        if let Ok(release) = check(&key, &around, None) {
            assert_eq!(release.date, 1_795_168_800);
        }
    }

    #[test]
    fn an_expired_or_older_release_is_refused() {
        let key = Key::new();
        let refused =
            |message: &str, seen| check(&key, &key.sign(message), seen).expect_err("refused");
        let late = refused(&text("Valid-Until: Fri, 20 Nov 2026 11:00:00 UTC\n"), None);
        assert!(
            late.starts_with("expired on 2026-11-20 11:00 UTC"),
            "{late}"
        );
        let older = refused(&text(""), Some(1_795_168_801));
        assert!(
            older.contains("older than the one the lock has seen"),
            "{older}"
        );
        let future = refused(&text("").replace("20 Nov 2026", "29 Nov 2026"), None);
        assert!(future.contains("in the future"), "{future}");
    }

    #[test]
    fn another_suite_is_refused() {
        let key = Key::new();
        let message = key.sign(&text("").replace("trixie", "bookworm"));
        assert_eq!(
            check(&key, &message, None).expect_err("other"),
            "is of bookworm, not of trixie"
        );
    }

    #[test]
    fn debian_s_own_dates_are_read() {
        assert_eq!(
            seconds("Sat, 12 Sep 2026 07:55:41 UTC"),
            Some(1_789_199_741)
        );
        assert!(seconds("Sat, 5 Sep 2026 07:55:41 UTC").is_some());
        assert_eq!(seconds("yesterday"), None);
    }
}
