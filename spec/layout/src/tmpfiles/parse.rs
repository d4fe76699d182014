//! One line of tmpfiles.d as it is written: fields, quotes, escapes, modifiers.

use super::{Flags, Kind, Mode};

/// Longest line that is read.
const LINE_MAX: usize = 64 * 1024;

/// A line with names not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw {
    /// `None` for a kind that a node has no use for.
    pub(super) kind: Option<Kind>,
    pub(super) flags: Flags,
    pub(super) path: String,
    pub(super) mode: Option<Mode>,
    pub(super) user: Option<RawOwner>,
    pub(super) group: Option<RawOwner>,
    pub(super) argument: Option<String>,
}

/// Name or number of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawOwner {
    pub(super) name: String,
    pub(super) only_new: bool,
}

/// Type letter, with `+` or `?` where that makes another kind. `None`: known, and of no use on a node.
const KINDS: &[(&str, Option<Kind>)] = &[
    ("f", Some(Kind::File)),
    ("f+", Some(Kind::Truncate)),
    ("F", Some(Kind::Truncate)),
    ("w", Some(Kind::Write)),
    ("w+", Some(Kind::Append)),
    ("d", Some(Kind::Folder)),
    ("v", Some(Kind::Folder)),
    ("q", Some(Kind::Folder)),
    ("Q", Some(Kind::Folder)),
    ("D", Some(Kind::EmptyFolder)),
    ("e", Some(Kind::AdjustFolder)),
    ("p", Some(Kind::Fifo)),
    ("p+", Some(Kind::Fifo)),
    ("L", Some(Kind::Link)),
    ("L+", Some(Kind::Link)),
    ("L?", Some(Kind::LinkIfTarget)),
    ("c", Some(Kind::Character)),
    ("c+", Some(Kind::Character)),
    ("b", Some(Kind::Block)),
    ("b+", Some(Kind::Block)),
    ("C", Some(Kind::Copy)),
    ("C+", Some(Kind::Merge)),
    ("r", Some(Kind::Remove)),
    ("R", Some(Kind::RemoveAll)),
    ("m", Some(Kind::Adjust)),
    ("z", Some(Kind::Adjust)),
    ("Z", Some(Kind::AdjustAll)),
    ("t", Some(Kind::Xattr)),
    ("T", Some(Kind::XattrAll)),
    ("x", None),
    ("X", None),
    ("h", None),
    ("H", None),
    ("a", None),
    ("a+", None),
    ("A", None),
    ("A+", None),
];

/// Reads one line; `Ok(None)` for an empty one or a comment.
pub(super) fn line(text: &str) -> Result<Option<Raw>, String> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    if text.len() > LINE_MAX {
        return Err(format!("the line is longer than {LINE_MAX} bytes"));
    }
    let mut rest = text;
    let mut field = || word(&mut rest);
    let (letter, path) = (field()?.unwrap_or_default(), field()?);
    let (mode, user, group, _age) = (field()?, field()?, field()?, field()?);
    let (kind, flags) = kind(&letter)?;
    let path = path.ok_or("the path is missing")?;
    let argument = Some(rest.trim())
        .filter(|rest| !rest.is_empty() && *rest != "-")
        .map(unescape)
        .transpose()?;
    Ok(Some(Raw {
        kind,
        flags,
        path,
        mode: given(mode).map(|text| self::mode(&text)).transpose()?,
        user: given(user).map(owner),
        group: given(group).map(owner),
        argument,
    }))
}

fn given(field: Option<String>) -> Option<String> {
    field.filter(|text| text != "-" && !text.is_empty())
}

/// Reads the type field: a letter and its modifiers in any order.
fn kind(text: &str) -> Result<(Option<Kind>, Flags), String> {
    let mut chars = text.chars();
    let letter = chars.next().ok_or("the type is missing")?;
    let (mut name, mut flags) = (letter.to_string(), Flags::default());
    for modifier in chars {
        match modifier {
            '+' if matches!(letter, 'p' | 'L' | 'c' | 'b') => {
                (flags.replace, name) = (true, format!("{letter}+"))
            }
            '+' | '?' => name = format!("{letter}{modifier}"),
            '=' => flags.replace = true,
            '-' => flags.may_fail = true,
            '^' => flags.credential = true,
            // Only at boot, and purging: a node executes the lines at boot and never purges.
            '!' | '$' => {}
            '~' => {
                return Err(
                    "a base64 argument is not supported: write the text with escapes".to_owned(),
                );
            }
            other => {
                return Err(format!(
                    "\"{other}\" is not a known modifier of type \"{letter}\""
                ));
            }
        }
    }
    match KINDS.iter().find(|(known, _)| *known == name) {
        Some((_, kind)) => Ok((*kind, flags)),
        None => Err(format!("\"{text}\" is not a known type; see tmpfiles.d(5)")),
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    let mut mode = Mode {
        bits: 0,
        masked: false,
        only_new: false,
    };
    let mut digits = text;
    while let Some(prefix) = digits
        .chars()
        .next()
        .filter(|char| matches!(char, '~' | ':'))
    {
        if prefix == '~' {
            mode.masked = true
        } else {
            mode.only_new = true
        }
        digits = &digits[1..];
    }
    let octal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match u32::from_str_radix(digits, 8) {
        Ok(bits @ 0..=0o7777) if octal => Ok(Mode { bits, ..mode }),
        _ => Err(format!("mode \"{text}\" is not octal between 0 and 7777")),
    }
}

fn owner(text: String) -> RawOwner {
    match text.strip_prefix(':') {
        Some(name) => RawOwner {
            name: name.to_owned(),
            only_new: true,
        },
        None => RawOwner {
            name: text,
            only_new: false,
        },
    }
}

/// Takes the next field off `rest`: white space ends it, quotes and backslashes protect.
fn word(rest: &mut &str) -> Result<Option<String>, String> {
    let text = rest.trim_start();
    let (mut out, mut quote, mut escaped) = (String::new(), None, false);
    let mut end = text.len();
    for (at, char) in text.char_indices() {
        match (char, quote) {
            (char, _) if escaped => {
                out.push(char);
                escaped = false;
            }
            ('\\', _) => {
                out.push(char);
                escaped = true;
            }
            (char, Some(open)) if char == open => quote = None,
            ('"' | '\'', None) => quote = Some(char),
            (char, None) if char.is_whitespace() => {
                end = at;
                break;
            }
            (char, _) => out.push(char),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    *rest = text.get(end..).unwrap_or_default();
    if text.is_empty() {
        Ok(None)
    } else {
        unescape(&out).map(Some)
    }
}

/// Resolves the escapes of C strings.
pub(super) fn unescape(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let mut chars = escape.chars();
        let letter = chars.next().ok_or("a backslash ends the line")?;
        rest = chars.as_str();
        let mut number = |digits: usize, radix: u32, head: &str| -> Result<u8, String> {
            let wrong = || format!("\"\\{letter}\" is not followed by its digits");
            let tail = rest
                .get(..digits)
                .filter(|tail| tail.chars().all(|c| c.is_digit(radix)))
                .ok_or_else(wrong)?;
            let value = u8::from_str_radix(&format!("{head}{tail}"), radix).map_err(|_| wrong())?;
            rest = rest.get(digits..).unwrap_or_default();
            Ok(value)
        };
        out.push(match letter {
            'a' => 7,
            'b' => 8,
            't' => b'\t',
            'n' => b'\n',
            'v' => 11,
            'f' => 12,
            'r' => b'\r',
            's' => b' ',
            '\\' | '"' | '\'' => letter as u8,
            'x' => number(2, 16, "")?,
            '0'..='3' => number(2, 8, &letter.to_string())?,
            other => return Err(format!("\"\\{other}\" is not a known escape")),
        });
    }
    out.extend_from_slice(rest.as_bytes());
    if out.contains(&0) {
        return Err("a zero byte is not possible".to_owned());
    }
    String::from_utf8(out).map_err(|_| "the escapes do not make UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Raw {
        line(text).unwrap().unwrap()
    }

    #[test]
    fn a_folder_line() {
        let raw = read("d  /run/screens  1777 root utmp 10d");
        assert_eq!(
            (raw.kind, raw.path.as_str()),
            (Some(Kind::Folder), "/run/screens")
        );
        assert_eq!(
            raw.mode,
            Some(Mode {
                bits: 0o1777,
                masked: false,
                only_new: false
            })
        );
        assert_eq!(
            raw.group,
            Some(RawOwner {
                name: "utmp".into(),
                only_new: false
            })
        );
        assert_eq!(raw.argument, None);
    }

    #[test]
    fn an_argument_is_the_rest_of_the_line_with_its_escapes() {
        let raw = read(r#"f+! "/run/my file" - - - - one two\n\x41"#);
        assert_eq!(
            (raw.kind, raw.path.as_str()),
            (Some(Kind::Truncate), "/run/my file")
        );
        assert_eq!(raw.argument.as_deref(), Some("one two\nA"));
    }

    #[test]
    fn modifiers_stand_in_any_order() {
        assert_eq!(
            read("L+- /etc/mtab - - - - ../proc/self/mounts").flags,
            Flags {
                replace: true,
                may_fail: true,
                ..Flags::default()
            }
        );
        assert_eq!(read("L? /a - - - - /b").kind, Some(Kind::LinkIfTarget));
        assert!(read("f^= /etc/motd - - - - login.motd").flags.credential);
        let mode = read("z /x :~2750 :u :g").mode.unwrap();
        assert!(mode.masked && mode.only_new && mode.bits == 0o2750);
        assert_eq!(
            read("a+ /var/log/journal - - - - d:group:adm:r-x").kind,
            None
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("y /x", "\"y\" is not a known type"),
            ("d% /x", "not a known modifier"),
            ("d", "path is missing"),
            ("d /x 0888", "mode \"0888\""),
            ("d /x +755", "mode \"+755\""),
            ("d \"/x", "quote"),
            ("f /x - - - - a\\q", "escape"),
            ("f~ /x - - - - YQ==", "base64"),
        ] {
            let error = line(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert_eq!(line("  # comment"), Ok(None));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[dfLwzC+!=^?-]{1,3} [ -~ü\\\\\"']{0,40}") {
            let _ = line(&text);
        }
    }
}
