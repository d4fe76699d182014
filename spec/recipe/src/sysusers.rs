//! sysusers.d(5), as packages and overlays bring it.
//!
//! The lock gives each name its number; the builder writes /etc/passwd and /etc/group from the same lines.

use crate::{Error, name};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// `u`: a user and its group.
    User {
        /// Name.
        name: String,
        /// Number that the line fixes.
        uid: Option<u32>,
        /// Primary group that the line names instead of one of the user's name.
        group: Option<String>,
        /// Full name.
        gecos: String,
        /// Home folder.
        home: String,
        /// Login shell.
        shell: String,
    },
    /// `g`: a group.
    Group {
        /// Name.
        name: String,
        /// Number that the line fixes.
        gid: Option<u32>,
    },
    /// `m`: a user joins a group.
    Member {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
}

/// Reads one file. `file` is only named in messages.
pub fn parse(file: &str, text: &str) -> Result<Vec<Line>, Error> {
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let refuse = |message: String| Error {
            file: file.to_owned(),
            position: Some((number + 1, 1)),
            message,
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words = words(line).map_err(refuse)?;
        if let Some(line) = line_of(&words).map_err(refuse)? {
            lines.push(line);
        }
    }
    Ok(lines)
}

fn line_of(words: &[String]) -> Result<Option<Line>, String> {
    // "-" stands for "not given".
    let word = |at: usize| {
        words
            .get(at)
            .map(String::as_str)
            .filter(|word| *word != "-" && !word.is_empty())
    };
    let kind = word(0).unwrap_or_default();
    if kind == "r" {
        // A range to take numbers from; the lock gives numbers, from its own range.
        return Ok(None);
    }
    let subject = word(1).ok_or("a line needs a name")?;
    name::user(subject)?;
    match kind {
        "u" | "u!" => {
            let (uid, group) = user_number(word(2).unwrap_or_default())?;
            Ok(Some(Line::User {
                name: subject.to_owned(),
                uid,
                group,
                gecos: field(word(3).unwrap_or_default())?,
                home: field(word(4).unwrap_or("/"))?,
                shell: field(word(5).unwrap_or("/usr/sbin/nologin"))?,
            }))
        }
        "g" => Ok(Some(Line::Group {
            name: subject.to_owned(),
            gid: word(2).map(system_number).transpose()?,
        })),
        "m" => {
            let group = word(2).ok_or("m needs a user and a group")?;
            name::user(group)?;
            Ok(Some(Line::Member {
                user: subject.to_owned(),
                group: group.to_owned(),
            }))
        }
        other => Err(format!("unknown type \"{other}\"; known are u, g, m, r")),
    }
}

/// `UID`, `UID:GID` (taken where they are equal), `UID:GROUP`, `-:GROUP`.
fn user_number(word: &str) -> Result<(Option<u32>, Option<String>), String> {
    if word.is_empty() {
        return Ok((None, None));
    }
    let (uid, group) = word
        .split_once(':')
        .map_or((word, None), |(uid, group)| (uid, Some(group)));
    let uid = if uid == "-" {
        None
    } else {
        Some(system_number(uid)?)
    };
    match group {
        None => Ok((uid, None)),
        Some(group) if group.parse::<u32>().is_ok() => {
            if group.parse::<u32>().ok() == uid {
                Ok((uid, None))
            } else {
                Err(format!("\"{word}\": name the group instead of its number"))
            }
        }
        Some(group) => {
            name::user(group)?;
            Ok((uid, Some(group.to_owned())))
        }
    }
}

fn system_number(word: &str) -> Result<u32, String> {
    match word.parse::<u32>() {
        Ok(number) if number < 1000 || number == 65534 => Ok(number),
        _ => Err(format!("\"{word}\" is no system number (below 1000)")),
    }
}

fn field(value: &str) -> Result<String, String> {
    if value.contains([':', '\n', '\0']) || value.len() > 256 {
        return Err(format!("\"{value}\" cannot stand in /etc/passwd"));
    }
    Ok(value.to_owned())
}

/// Words as systemd splits them: blanks, single and double quotes.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_debian_ships_are_read() {
        let text = "# systemd\nu!  systemd-network  998:systemd-network \"systemd Network Management\"\ng tty 5\nm etcd ssl-cert\n\
                    u etcd - \"etcd store\" /var/lib/etcd /bin/false\nr - 500-900\n";
        let lines = parse("x.conf", text).expect("good lines");
        assert_eq!(lines.len(), 4);
        assert_eq!(
            lines[1],
            Line::Group {
                name: "tty".into(),
                gid: Some(5)
            }
        );
        assert_eq!(
            lines[2],
            Line::Member {
                user: "etcd".into(),
                group: "ssl-cert".into()
            }
        );
        let Line::User {
            name,
            uid,
            group,
            gecos,
            home,
            shell,
        } = &lines[0]
        else {
            panic!("a user")
        };
        assert_eq!(
            (name.as_str(), *uid, group.as_deref()),
            ("systemd-network", Some(998), Some("systemd-network"))
        );
        assert_eq!(
            (gecos.as_str(), home.as_str(), shell.as_str()),
            ("systemd Network Management", "/", "/usr/sbin/nologin")
        );
        let Line::User { uid, home, .. } = &lines[3] else {
            panic!("a user")
        };
        assert_eq!((*uid, home.as_str()), (None, "/var/lib/etcd"));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let refused = |text: &str| {
            parse("x.conf", text)
                .expect_err("must be refused")
                .to_string()
        };
        assert_eq!(
            refused("g a\nz b\n"),
            "x.conf:2:1: unknown type \"z\"; known are u, g, m, r"
        );
        assert!(refused("u a \"b").contains("quote"));
        assert!(refused("u ../a").contains("is no user"));
        assert!(refused("u a 70000").contains("no system number"));
        assert!(refused("u a - \"x:y\"").contains("/etc/passwd"));
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(text in "[ugmr!a-z0-9:\"' -]{0,60}") {
            let _ = parse("x", &text);
        }
    }
}
