//! The kernel command line: its words, and those that PID 1 reads.
//!
//! Source: kernel-parameters.rst, kernel-command-line(7).

/// `roothash=HEX`: root hash of the dm-verity tree; gives the partition UUIDs too.
pub const ROOT_HASH: &str = "roothash";
/// `bedplate.root=ram`: the root is `/root.erofs` (tree at `/root.verity`) in the initrd.
pub const ROOT: &str = "bedplate.root";
/// `init=PATH`: program of the verified root that becomes PID 1 there; ours ([`crate::path::INIT`]) if not given. The
/// kernel itself heeds it only without an initramfs.
pub const INIT: &str = "init";
/// `bedplate.log=debug|info|warning`: how much PID 1 says on the console.
pub const LOG: &str = "bedplate.log";
/// `bedplate.watchdog=SECONDS|off`: hardware watchdog timeout.
pub const WATCHDOG: &str = "bedplate.watchdog";
/// `bedplate.fault=crash`: root may ask PID 1 to crash. For tests.
pub const FAULT: &str = "bedplate.fault";

/// Most bytes that are read of /proc/cmdline; the kernel's own limit is smaller.
pub const BYTES_MAX: usize = 16 * 1024;

/// The parsed command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    words: Vec<(String, Option<String>)>,
}

impl CommandLine {
    /// Splits the text into words as the kernel does: by white space outside of double quotes.
    pub fn parse(text: &str) -> CommandLine {
        let mut words: Vec<String> = Vec::new();
        let (mut word, mut quoted) = (String::new(), false);
        for char in text.chars() {
            match char {
                '"' => quoted = !quoted,
                char if char.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
                char => word.push(char),
            }
        }
        words.push(word);
        let words = words
            .into_iter()
            .filter(|word| !word.is_empty())
            .map(|word| match word.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (word, None),
            });
        CommandLine {
            words: words.collect(),
        }
    }

    /// Value of `key=VALUE`; the last one counts. Keys are compared as the kernel does: `-` is `_`.
    pub fn value(&self, key: &str) -> Option<&str> {
        let found = self
            .words
            .iter()
            .rev()
            .find(|(word, value)| value.is_some() && same(word, key));
        found.and_then(|(_, value)| value.as_deref())
    }

    /// Every word with its value, in order.
    pub fn words(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.words
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
    }

    /// Whether `key` stands alone or with a value.
    pub fn has(&self, key: &str) -> bool {
        self.words.iter().any(|(word, _)| same(word, key))
    }
}

fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| dash(a) == dash(b))
}

fn dash(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_value_counts() {
        let line =
            CommandLine::parse("quiet console=tty0 console=ttyS0,115200 roothash=ab panic=1\n");
        assert_eq!(line.value("console"), Some("ttyS0,115200"));
        assert_eq!(line.value(ROOT_HASH), Some("ab"));
        assert!(line.has("quiet") && line.value("quiet").is_none());
        assert!(!line.has("debug"));
    }

    #[test]
    fn quotes_keep_spaces_and_dashes_are_underscores() {
        let line = CommandLine::parse(r#"a="x y" "b=1 2" log-level=3"#);
        assert_eq!(
            (line.value("a"), line.value("b")),
            (Some("x y"), Some("1 2"))
        );
        assert_eq!(line.value("log_level"), Some("3"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = CommandLine::parse(&text).value("a");
        }
    }
}
