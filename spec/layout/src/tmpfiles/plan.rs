//! The compiled plan as text: one line each, seven fields divided by tabs, escaped, after a line with the version.

use std::fmt;

use super::parse::unescape;
use super::{Flags, Kind, Line, Mode, Owner};

/// First line; another one is another version.
const HEAD: &str = "bedplate tmpfiles 1";

/// Lines in the order in which they are executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The lines.
    pub lines: Vec<Line>,
}

/// The letters of the plan are those of tmpfiles.d, one each.
const LETTERS: [(&str, Kind); 20] = [
    ("f", Kind::File),
    ("f+", Kind::Truncate),
    ("w", Kind::Write),
    ("w+", Kind::Append),
    ("d", Kind::Folder),
    ("D", Kind::EmptyFolder),
    ("e", Kind::AdjustFolder),
    ("p", Kind::Fifo),
    ("L", Kind::Link),
    ("L?", Kind::LinkIfTarget),
    ("c", Kind::Character),
    ("b", Kind::Block),
    ("C", Kind::Copy),
    ("C+", Kind::Merge),
    ("r", Kind::Remove),
    ("R", Kind::RemoveAll),
    ("z", Kind::Adjust),
    ("Z", Kind::AdjustAll),
    ("t", Kind::Xattr),
    ("T", Kind::XattrAll),
];

impl Plan {
    /// Reads what [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Result<Plan, String> {
        let mut rows = text.lines();
        if rows.next() != Some(HEAD) {
            return Err(format!(
                "the first line is not \"{HEAD}\": rebuild the image with this version"
            ));
        }
        let lines = rows
            .zip(2..)
            .map(|(row, number)| line(row).map_err(|message| format!("line {number}: {message}")));
        Ok(Plan {
            lines: lines.collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        for line in &self.lines {
            let letter = LETTERS
                .iter()
                .find(|(_, kind)| *kind == line.kind)
                .map_or("", |(letter, _)| letter);
            let mode = line.mode.map(|mode| {
                format!(
                    "{}{}{:o}",
                    on(mode.only_new, ":"),
                    on(mode.masked, "~"),
                    mode.bits
                )
            });
            let owner = |owner: Option<Owner>| {
                owner.map(|owner| format!("{}{}", on(owner.only_new, ":"), owner.id))
            };
            let Flags {
                may_fail,
                replace,
                credential,
            } = line.flags;
            writeln!(
                f,
                "{letter}\t{}{}{}.\t{}\t{}\t{}\t{}\t{}",
                on(may_fail, "-"),
                on(replace, "="),
                on(credential, "^"),
                escape(&line.path),
                mode.as_deref().unwrap_or("-"),
                owner(line.user).as_deref().unwrap_or("-"),
                owner(line.group).as_deref().unwrap_or("-"),
                line.argument.as_deref().map_or_else(
                    || "-".to_owned(),
                    |argument| format!("={}", escape(argument))
                ),
            )?;
        }
        Ok(())
    }
}

fn on(set: bool, mark: &'static str) -> &'static str {
    if set { mark } else { "" }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char => out.push(char),
        }
    }
    out
}

fn line(row: &str) -> Result<Line, String> {
    let fields: Vec<&str> = row.split('\t').collect();
    let [letter, flags, path, mode, user, group, argument] = fields[..] else {
        return Err(format!("{} fields instead of 7", fields.len()));
    };
    let kind = LETTERS
        .iter()
        .find(|(known, _)| *known == letter)
        .map(|(_, kind)| *kind);
    let path = unescape(path)?;
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!("the path \"{path}\" is not absolute and plain"));
    }
    Ok(Line {
        kind: kind.ok_or_else(|| format!("type \"{letter}\" is not known"))?,
        path,
        mode: given(mode).map(self::mode).transpose()?,
        user: given(user).map(owner).transpose()?,
        group: given(group).map(owner).transpose()?,
        argument: argument.strip_prefix('=').map(unescape).transpose()?,
        flags: Flags {
            may_fail: flags.contains('-'),
            replace: flags.contains('='),
            credential: flags.contains('^'),
        },
    })
}

fn given(field: &str) -> Option<&str> {
    Some(field).filter(|field| *field != "-")
}

fn mode(text: &str) -> Result<Mode, String> {
    let digits = text.trim_start_matches([':', '~']);
    let bits = u32::from_str_radix(digits, 8)
        .ok()
        .filter(|&bits| bits <= 0o7777);
    let bits = bits.ok_or_else(|| format!("mode \"{text}\" is not octal between 0 and 7777"))?;
    Ok(Mode {
        bits,
        masked: text.contains('~'),
        only_new: text.contains(':'),
    })
}

fn owner(text: &str) -> Result<Owner, String> {
    let id = text
        .trim_start_matches(':')
        .parse()
        .map_err(|_| format!("owner \"{text}\" is not a number"))?;
    Ok(Owner {
        id,
        only_new: text.starts_with(':'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_line() -> impl Strategy<Value = Line> {
        let owner = || {
            proptest::option::of(
                (any::<u32>(), any::<bool>()).prop_map(|(id, only_new)| Owner { id, only_new }),
            )
        };
        let mode = (0..=0o7777u32, any::<bool>(), any::<bool>());
        let mode = proptest::option::of(mode.prop_map(|(bits, masked, only_new)| Mode {
            bits,
            masked,
            only_new,
        }));
        let flags = (any::<bool>(), any::<bool>(), any::<bool>());
        let flags = flags.prop_map(|(may_fail, replace, credential)| Flags {
            may_fail,
            replace,
            credential,
        });
        let kind = (0..LETTERS.len()).prop_map(|at| LETTERS[at].1);
        let argument = proptest::option::of("[ -~\t\n\rü]{0,20}");
        (
            kind,
            "/[ -~\t]{0,20}",
            mode,
            owner(),
            owner(),
            argument,
            flags,
        )
            .prop_map(|(kind, path, mode, user, group, argument, flags)| Line {
                kind,
                path: path.replace("..", "__"),
                mode,
                user,
                group,
                argument,
                flags,
            })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(lines in proptest::collection::vec(any_line(), 0..5)) {
            let plan = Plan { lines };
            prop_assert_eq!(Plan::parse(&plan.to_string()), Ok(plan));
        }

        #[test]
        fn noise_never_panics(text in "bedplate tmpfiles 1\n[dfL\t=/.0-9\\\\\n]{0,60}") {
            let _ = Plan::parse(&text);
        }
    }

    #[test]
    fn another_version_and_a_climbing_path_are_refused() {
        assert!(
            Plan::parse("bedplate tmpfiles 2\n")
                .unwrap_err()
                .contains("rebuild")
        );
        let error = Plan::parse("bedplate tmpfiles 1\nd\t.\t/a/../b\t-\t-\t-\t-\n").unwrap_err();
        assert!(error.starts_with("line 2:"), "{error}");
    }
}
