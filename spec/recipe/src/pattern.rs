//! Path patterns: `?` one character, `*` any run within a name, `**` any run over names.
//!
//! A pattern that matches a folder matches all that is in it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

/// `*` in one pattern; more would make matching slow.
const STARS_MAX: usize = 8;

impl Pattern {
    /// Checks and takes a pattern. A leading `/` is dropped, as paths have none inside an archive.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let body = pattern.strip_prefix('/').unwrap_or(pattern);
        let body = body.strip_suffix('/').unwrap_or(body);
        if body.is_empty()
            || body.len() > 1024
            || body.contains('\0')
            || body.split('/').any(|part| part == ".." || part == ".")
        {
            return Err(format!("\"{pattern}\" is no path pattern"));
        }
        if body.matches('*').count() > STARS_MAX * 2 {
            return Err(format!("\"{pattern}\" has more than {STARS_MAX} stars"));
        }
        Ok(Pattern(body.to_owned()))
    }

    /// Whether `path` (with or without a leading `/`) or a folder above it matches.
    pub fn matches(&self, path: &str) -> bool {
        let path = path.strip_prefix('/').unwrap_or(path);
        matches(self.0.as_bytes(), path.as_bytes())
    }

    /// As written, without the leading `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether any of `patterns` matches.
pub fn any(patterns: &[Pattern], path: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(path))
}

fn matches(pattern: &[u8], path: &[u8]) -> bool {
    match pattern {
        [] => path.is_empty() || path.first() == Some(&b'/'),
        [b'*', b'*', b'/', rest @ ..] => {
            matches(rest, path)
                || path
                    .iter()
                    .enumerate()
                    .filter(|(_, b)| **b == b'/')
                    .any(|(at, _)| matches(rest, path.get(at + 1..).unwrap_or(&[])))
        }
        [b'*', b'*', rest @ ..] => {
            (0..=path.len()).any(|at| matches(rest, path.get(at..).unwrap_or(&[])))
        }
        [b'*', rest @ ..] => {
            let end = path.iter().position(|b| *b == b'/').unwrap_or(path.len());
            (0..=end).any(|at| matches(rest, path.get(at..).unwrap_or(&[])))
        }
        [b'?', rest @ ..] => {
            matches!(path, [first, tail @ ..] if *first != b'/' && matches(rest, tail))
        }
        [byte, rest @ ..] => {
            matches!(path, [first, tail @ ..] if first == byte && matches(rest, tail))
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(pattern: String) -> Result<Self, String> {
        Pattern::new(&pattern)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).expect("a pattern").matches(path)
    }

    #[test]
    fn a_folder_matches_what_is_in_it_and_not_its_neighbour() {
        assert!(check("/usr/share/doc", "usr/share/doc"));
        assert!(check("/usr/share/doc", "usr/share/doc/bash/copyright"));
        assert!(!check("/usr/share/doc", "usr/share/doc-base/x"));
        assert!(!check("/usr/share/doc", "usr/share"));
    }

    #[test]
    fn one_star_stays_within_a_name_and_two_do_not() {
        assert!(check("usr/lib/*.a", "usr/lib/libx.a"));
        assert!(!check("usr/lib/*.a", "usr/lib/x86/libx.a"));
        assert!(check("usr/lib/**/*.a", "usr/lib/x86/y/libx.a"));
        assert!(check("usr/lib/**/*.a", "usr/lib/libx.a"));
        assert!(check(
            "**/nvme*.ko*",
            "kernel/drivers/nvme/host/nvme-core.ko.xz"
        ));
        assert!(check("a?c", "abc") && !check("a?c", "a/c"));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "/", "a/../b", "****************************"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn matching_never_panics(pattern in "[a*/?]{1,12}", path in "[a/b]{0,24}") {
            if let Ok(pattern) = Pattern::new(&pattern) {
                let _ = pattern.matches(&path);
            }
        }

        #[test]
        fn a_plain_path_matches_itself(path in "[a-z]{1,8}(/[a-z]{1,8}){0,4}") {
            let pattern = Pattern::new(&path).expect("a plain path");
            let below = format!("{path}/x");
            proptest::prop_assert!(pattern.matches(&path));
            proptest::prop_assert!(pattern.matches(&below));
        }
    }
}
