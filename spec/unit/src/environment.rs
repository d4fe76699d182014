//! Environment variables: names, assignments, files, and their expansion in command lines. systemd.exec(5)
//! "Environment", systemd.service(5) "Command lines".

use std::collections::BTreeMap;

use crate::words;

/// The whole environment of a process.
pub type Environment = BTreeMap<String, String>;

/// Most bytes of an EnvironmentFile.
pub const MAX_FILE: usize = 1 << 20;

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
/// that is given the word finds its own variable there.
pub fn expand(arguments: &[String], environment: &Environment) -> Vec<String> {
    let mut expanded = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let alone = argument.strip_prefix('$').filter(|name| is_name(name));
        match alone {
            Some(name) => {
                let value = environment.get(name).map_or("", String::as_str);
                match words::texts(value) {
                    Ok(words) => expanded.extend(words),
                    Err(_) => expanded.extend(value.split_ascii_whitespace().map(String::from)),
                }
            }
            None => expanded.push(expand_word(argument, environment)),
        }
    }
    expanded
}

fn expand_word(word: &str, environment: &Environment) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
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
