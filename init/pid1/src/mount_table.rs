//! What is mounted, as /proc/self/mountinfo tells it.
//!
//! Source: proc_pid_mountinfo(5).

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where.
    pub(crate) target: String,
    /// File system type.
    pub(crate) kind: String,
}

/// Reads the table, in the order in which it was mounted. Lines that cannot be read are left out.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let target = unescape(before.split(' ').nth(4)?);
            Some(Mount {
                target,
                kind: after.split(' ').next()?.to_owned(),
            })
        })
        .collect()
}

/// Resolves the octal escapes of space, tab, line feed and backslash.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.push_str(plain);
        let code = escaped
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
            .filter(u8::is_ascii);
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = escaped.get(3..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = escaped;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_and_types_are_read() {
        let text = "22 1 254:0 / / ro,relatime shared:1 - erofs /dev/dm-0 ro\n\
                    40 22 0:30 /x /state/my\\040disk rw - ext4 /dev/vda8 rw\nbroken\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(
            (mounts[0].target.as_str(), mounts[0].kind.as_str()),
            ("/", "erofs")
        );
        assert_eq!(
            (mounts[1].target.as_str(), mounts[1].kind.as_str()),
            ("/state/my disk", "ext4")
        );
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[ -~\\\\0-9ü\n]{0,60}") {
            let _ = parse(&text);
        }
    }
}
