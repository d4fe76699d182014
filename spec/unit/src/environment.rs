//! Environment variables: names, assignments, files, and their expansion in command lines. systemd.exec(5)
//! "Environment", systemd.service(5) "Command lines".

use std::collections::BTreeMap;

use crate::words;

/// The whole environment of a process.
pub type Environment = BTreeMap<String, String>;

/// Most bytes of an EnvironmentFile.
pub const MAX_FILE: usize = 1 << 20;
/// Most bytes of a command's arguments: what the kernel takes of them and the environment, execve(2).
pub const MAX_ARGUMENTS: usize = 6 << 20;

/// Whether this may name a variable.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && text.len() <= 4096 && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `NAME=value` in its two parts.
pub fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not NAME=value"))?;
    if !is_name(name) {
        return Err(format!("{name:?} is not a variable name"));
    }
    Ok((name.into(), value.into()))
}

/// Reads an EnvironmentFile: shell-like assignments, comments, quotes, continued lines.
///
/// A line that is no assignment is skipped, as systemd does; its number comes back in the second part.
pub fn parse_file(text: &str) -> (Vec<(String, String)>, Vec<u32>) {
    let mut found = Vec::new();
    let mut skipped = Vec::new();
    let mut scan = Scan {
        chars: text.chars().peekable(),
        line: 1,
    };
    while scan.chars.peek().is_some() {
        let line = scan.line;
        let Some(head) = scan.head() else { continue };
        match head {
            Head::Comment => scan.rest_of_line(),
            Head::Broken => skipped.push(line),
            Head::Name(name) => {
                let value = scan.value();
                if is_name(&name) && !value.contains('\0') {
                    found.push((name, value));
                } else {
                    skipped.push(line);
                }
            }
        }
    }
    (found, skipped)
}

enum Head {
    Comment,
    Broken,
    Name(String),
}

struct Scan<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    line: u32,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next();
        self.line += u32::from(c == Some('\n'));
        c
    }

    fn rest_of_line(&mut self) {
        while let Some(c) = self.next() {
            if c == '\\' {
                self.next();
            } else if c == '\n' {
                break;
            }
        }
    }

    /// What stands before the equals sign; none on an empty line.
    fn head(&mut self) -> Option<Head> {
        let mut name = String::new();
        loop {
            match self.chars.peek() {
                None | Some('\n') => {
                    self.next();
                    return (!name.trim().is_empty()).then_some(Head::Broken);
                }
                Some('#' | ';') if name.trim().is_empty() => return Some(Head::Comment),
                Some('=') => {
                    self.next();
                    let name = name.trim();
                    return Some(Head::Name(
                        name.strip_prefix("export ").unwrap_or(name).trim().into(),
                    ));
                }
                Some(_) => name.extend(self.next()),
            }
        }
    }

    fn value(&mut self) -> String {
        let mut value = String::new();
        let mut keep = 0;
        while matches!(self.chars.peek(), Some(' ' | '\t')) {
            self.next();
        }
        while let Some(c) = self.next() {
            match c {
                '\n' => break,
                '\r' if self.chars.peek() == Some(&'\n') => {}
                '\\' => match self.next() {
                    None | Some('\n') => {}
                    Some(other) => {
                        value.push(other);
                        keep = value.len();
                    }
                },
                '"' | '\'' => {
                    self.quoted(c, &mut value);
                    keep = value.len();
                }
                other => value.push(other),
            }
        }
        let tail = value.get(keep..).unwrap_or_default().trim_end().len();
        value.truncate(keep + tail);
        value
    }

    fn quoted(&mut self, quote: char, value: &mut String) {
        while let Some(c) = self.next() {
            if c == quote {
                return;
            }
            if c == '\\' && quote == '"' {
                match self.next() {
                    Some('\n') | None => {}
                    Some(escaped @ ('"' | '\\' | '`' | '$')) => value.push(escaped),
                    Some(other) => value.extend(['\\', other]),
                }
            } else {
                value.push(c);
            }
        }
    }
}

/// Puts variables into the arguments of a command: `${NAME}` within a word, `$NAME` alone as words of its own,
/// `$$` as a dollar sign. A variable that is not set becomes empty. `$NAME` within a word stays, as in systemd: a shell
/// that is given the word finds its own variable there. The error is that they become longer than [`MAX_ARGUMENTS`].
pub fn expand(arguments: &[String], environment: &Environment) -> Result<Vec<String>, String> {
    let mut expanded = Vec::with_capacity(arguments.len());
    let mut room = MAX_ARGUMENTS;
    for argument in arguments {
        let alone = argument.strip_prefix('$').filter(|name| is_name(name));
        let words = match alone {
            Some(name) => {
                let value = environment.get(name).map_or("", String::as_str);
                let split = || value.split_ascii_whitespace().map(String::from).collect();
                words::texts(value).unwrap_or_else(|_| split())
            }
            None => vec![expand_word(argument, environment, room)],
        };
        let length: usize = words.iter().map(|word| word.len() + 1).sum();
        room = room.checked_sub(length).ok_or_else(too_long)?;
        expanded.extend(words);
    }
    Ok(expanded)
}

fn too_long() -> String {
    let mib = MAX_ARGUMENTS >> 20;
    format!(
        "with its variables the command is longer than {mib} MiB, more than the kernel executes"
    )
}

/// What is longer than `most` is cut off somewhere behind it.
fn expand_word(word: &str, environment: &Environment, most: usize) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        if out.len() > most {
            return out;
        }
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let braced = after
            .strip_prefix('{')
            .and_then(|tail| tail.split_once('}'));
        match braced {
            Some((name, tail)) if is_name(name) => {
                out.push_str(environment.get(name).map_or("", String::as_str));
                rest = tail;
            }
            _ => {
                out.push('$');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    fn expanded(words: &[&str], environment: &Environment) -> Vec<String> {
        expand(
            &words
                .iter()
                .map(|word| word.to_string())
                .collect::<Vec<_>>(),
            environment,
        )
        .expect("not too long")
    }

    #[test]
    fn a_command_longer_than_the_kernel_takes_is_refused_before_there_is_no_memory() {
        let long = "a".repeat(100 << 10);
        let environment = environment(&[("A", &long)]);
        let uses = |count: usize| expand(&vec!["${A}".to_string(); count], &environment);
        let within = MAX_ARGUMENTS / (long.len() + 1);
        assert!(uses(within).is_ok());
        let message = uses(within + 1).expect_err("too long");
        assert!(message.contains("longer than 6 MiB"), "{message}");
        // 100 GiB, were they all put in.
        let one = ["${A}".repeat(1 << 20)];
        assert!(expand(&one, &environment).is_err());
    }

    #[test]
    fn a_file_in_the_style_of_etc_default_is_read() {
        let text = "# etcd\nETCD_NAME=\"dev 1\"\n; no\nexport ARGS=-a \\\n -b  \nEMPTY=\nbroken line\nQ='$x \\n' tail\n";
        let (found, skipped) = parse_file(text);
        let expected = [
            ("ETCD_NAME", "dev 1"),
            ("ARGS", "-a  -b"),
            ("EMPTY", ""),
            ("Q", "$x \\n tail"),
        ];
        assert_eq!(
            found,
            expected.map(|(name, value)| (name.to_string(), value.to_string()))
        );
        assert_eq!(skipped, [7]);
    }

    #[test]
    fn variables_expand_as_systemd_does() {
        let environment = environment(&[("ONE", "one"), ("TWO", "two 'a b'"), ("E", "")]);
        let words = [
            "${ONE}-x",
            "$TWO",
            "${TWO}",
            "$E",
            "${E}",
            "$$ONE",
            "$MISSING",
            "a$ONE",
            "$",
            "${bad-name}",
        ];
        let expected = [
            "one-x",
            "two",
            "a b",
            "two 'a b'",
            "",
            "$ONE",
            "a$ONE",
            "$",
            "${bad-name}",
        ];
        assert_eq!(expanded(&words, &environment), expected);
    }

    #[test]
    fn names_and_assignments_are_checked() {
        assert!(is_name("A_1") && !is_name("1A") && !is_name("") && !is_name("A-B"));
        assert_eq!(assignment("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(assignment("A").is_err() && assignment("=a").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}|[\\\\\"'\n=a# ]{0,60}") {
            let (_, skipped) = parse_file(&text);
            let lines = text.matches('\n').count() as u32 + 1;
            prop_assert!(skipped.iter().all(|line| *line <= lines));
            let _ = expanded(&[&text], &Environment::new());
        }
    }
}
