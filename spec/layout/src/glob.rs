//! Shell patterns as kernel aliases and tmpfiles.d use them: `*`, `?`, `[abc]`, `[a-z]`, `[!x]`, `\x`.
//!
//! `*` and `?` match any byte, `/` too (fnmatch(3) without FNM_PATHNAME); who matches paths splits them first.
//! Never recursive: a hostile pattern costs at most pattern length times text length.

/// Whether the whole of `text` matches `pattern`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when a later part fails: after the last `*`, one byte further in the text.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match step(pattern, p, text.get(t).copied()) {
            Step::End if t == text.len() => return true,
            Step::Star(next) => {
                retry = Some((next, t));
                p = next;
                continue;
            }
            Step::Match(next) => {
                (p, t) = (next, t + 1);
                continue;
            }
            Step::End | Step::Mismatch => {}
        }
        match retry {
            Some((after_star, at)) if at < text.len() => {
                retry = Some((after_star, at + 1));
                (p, t) = (after_star, at + 1);
            }
            _ => return false,
        }
    }
}

/// Whether `text` has a character that means more than itself.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

enum Step {
    /// The pattern is used up.
    End,
    /// A `*`; the pattern goes on here.
    Star(usize),
    /// One byte matched; the pattern goes on here.
    Match(usize),
    Mismatch,
}

fn step(pattern: &[u8], at: usize, byte: Option<u8>) -> Step {
    let Some(&first) = pattern.get(at) else {
        return Step::End;
    };
    if first == b'*' {
        return Step::Star(at + 1);
    }
    let Some(byte) = byte else {
        return Step::Mismatch;
    };
    let (matched, next) = match first {
        b'?' => (true, at + 1),
        b'[' => match set(pattern, at + 1, byte) {
            Some(found) => found,
            None => (byte == b'[', at + 1),
        },
        b'\\' => match pattern.get(at + 1) {
            Some(&escaped) => (escaped == byte, at + 2),
            None => (byte == b'\\', at + 1),
        },
        other => (other == byte, at + 1),
    };
    if matched {
        Step::Match(next)
    } else {
        Step::Mismatch
    }
}

/// Matches a set that begins at `at`, after its `[`; gives the end of it. `None` if it is never closed.
fn set(pattern: &[u8], at: usize, byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    let first = at + usize::from(negated);
    let mut found = false;
    let mut i = first;
    loop {
        let &low = pattern.get(i)?;
        if low == b']' && i > first {
            return Some((found != negated, i + 1));
        }
        match (pattern.get(i + 1), pattern.get(i + 2)) {
            (Some(b'-'), Some(&high)) if high != b']' => {
                found |= (low..=high).contains(&byte);
                i += 3;
            }
            _ => {
                found |= low == byte;
                i += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_device_finds_its_driver() {
        assert!(matches("virtio:d00000002v*", "virtio:d00000002v00001AF4"));
        assert!(!matches("virtio:d00000001v*", "virtio:d00000002v00001AF4"));
        assert!(matches(
            "pci:v00008086d000025ABsv*sd*bc*sc*i*",
            "pci:v00008086d000025ABsv00001AF4sd00001100bc08sc80i00"
        ));
        assert!(matches(
            "usb:v*p*d*dc*dsc*dp*ic03isc01ip02in*",
            "usb:v0627p0001d0000dc00dsc00dp00ic03isc01ip02in00"
        ));
        assert!(matches("acpi*:PNP0501:*", "acpi:PNP0501:"));
    }

    #[test]
    fn sets_ranges_and_escapes() {
        assert!(matches("tty[0-9]", "tty7"));
        assert!(!matches("tty[0-9]", "ttyS"));
        assert!(matches("[!.]*", "visible"));
        assert!(!matches("[!.]*", ".hidden"));
        assert!(matches("[]]", "]"));
        assert!(
            matches("[a", "[a"),
            "a set that is not closed is a plain bracket"
        );
        assert!(matches("\\*", "*") && !matches("\\*", "x"));
        assert!(matches("", "") && !matches("", "a") && matches("*", ""));
    }

    proptest! {
        #[test]
        fn any_text_matches_itself_and_nothing_panics(pattern in "[-a*?\\[\\]!^\\\\]{0,24}", text in "[-a*?\\[\\]!^\\\\]{0,24}") {
            let _ = matches(&pattern, &text);
            let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(matches(&escaped, &text));
        }
    }
}
