//! The syntax of unit files: sections, assignments, comments, continued lines, systemd.syntax(7).
//!
//! Every byte is hostile: sizes are bounded, a file with a NUL byte is refused, a line that makes no sense is
//! reported with its number and skipped. Meaning is given by [`crate::directive`].

use crate::finding::{Finding, Place};

/// Most bytes of one file.
pub const MAX_FILE: usize = 1 << 20;
/// Most bytes of one assignment, continued lines included.
pub const MAX_VALUE: usize = 128 << 10;
/// Most assignments of one file.
pub const MAX_ASSIGNMENTS: usize = 8192;

/// `Name=Value` in a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Section without brackets.
    pub section: String,
    /// Left of the equals sign.
    pub name: String,
    /// Right of it, continued lines joined by a blank.
    pub value: String,
    /// Its first line.
    pub at: Place,
}

/// A file in its assignments, and what was wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// In the order of the file.
    pub assignments: Vec<Assignment>,
    /// Lines that made no sense.
    pub findings: Vec<Finding>,
}

/// Reads the text of the file at path `file`.
pub fn parse(file: &str, bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    if bytes.len() > MAX_FILE {
        let message = format!(
            "{} bytes long; a unit file has at most {MAX_FILE}",
            bytes.len()
        );
        parsed
            .findings
            .push(Finding::error(Place::new(file, 0), message));
        return parsed;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Some(position) = bytes.iter().position(|byte| *byte == 0) {
        let line = bytes
            .iter()
            .take(position)
            .filter(|byte| **byte == b'\n')
            .count() as u32
            + 1;
        parsed.findings.push(Finding::error(
            Place::new(file, line),
            "holds a NUL byte; write the file anew as text",
        ));
        return parsed;
    }
    let mut section = None;
    for (line, text) in logical_lines(bytes) {
        let at = Place::new(file, line);
        if parsed.assignments.len() >= MAX_ASSIGNMENTS {
            parsed.findings.push(Finding::error(
                at,
                format!("more than {MAX_ASSIGNMENTS} assignments"),
            ));
            break;
        }
        match statement(&text, section.as_deref(), &at) {
            Ok(Statement::Section(name)) => section = Some(name),
            Ok(Statement::Assignment(assignment)) => parsed.assignments.push(assignment),
            Err(message) => parsed.findings.push(Finding::warning(at, message)),
        }
    }
    parsed
}

enum Statement {
    Section(String),
    Assignment(Assignment),
}

fn statement(text: &[u8], section: Option<&str>, at: &Place) -> Result<Statement, String> {
    if text.len() > MAX_VALUE {
        return Err(format!("longer than {MAX_VALUE} bytes; ignored"));
    }
    let text = std::str::from_utf8(text).map_err(|_| "is not UTF-8; ignored".to_string())?;
    if let Some(rest) = text.strip_prefix('[') {
        let name = rest
            .strip_suffix(']')
            .ok_or("section header without \"]\"; ignored")?;
        if name.is_empty() || name.contains(['[', ']']) {
            return Err(format!("{text:?} is not a section header; ignored"));
        }
        return Ok(Statement::Section(name.into()));
    }
    let (name, value) = text
        .split_once('=')
        .ok_or("neither a section nor \"Name=value\"; ignored")?;
    let name = name.trim_end_matches(is_blank);
    if name.is_empty() {
        return Err("no name before \"=\"; ignored".into());
    }
    let section = section
        .ok_or("stands before the first section; ignored")?
        .to_string();
    let value = value.trim_start_matches(is_blank).to_string();
    Ok(Statement::Assignment(Assignment {
        section,
        name: name.into(),
        value,
        at: at.clone(),
    }))
}

/// Lines with their first number: trimmed, comments and empty ones left out, continued ones joined by a blank.
fn logical_lines(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut lines = Vec::new();
    let mut open: Option<(u32, Vec<u8>)> = None;
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let start = trim_start(line);
        if matches!(start.first(), Some(b'#' | b';')) {
            continue;
        }
        let body = if open.is_some() { line } else { start };
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        let (mut first, mut text) = open.take().unwrap_or((number as u32 + 1, Vec::new()));
        if text.is_empty() {
            first = number as u32 + 1;
        }
        if let Some(head) = continued(body) {
            text.extend_from_slice(head);
            text.push(b' ');
            open = Some((first, text));
            continue;
        }
        text.extend_from_slice(body);
        push_line(&mut lines, first, &text);
    }
    if let Some((first, text)) = open {
        push_line(&mut lines, first, &text);
    }
    lines
}

/// The line without its last backslash, if it ends in an odd number of them.
fn continued(line: &[u8]) -> Option<&[u8]> {
    let slashes = line.iter().rev().take_while(|byte| **byte == b'\\').count();
    if slashes % 2 == 1 {
        line.strip_suffix(b"\\")
    } else {
        None
    }
}

fn push_line(lines: &mut Vec<(u32, Vec<u8>)>, first: u32, text: &[u8]) {
    let start = trim_start(text);
    let end = start
        .iter()
        .rposition(|byte| !byte.is_ascii_whitespace())
        .map_or(0, |last| last + 1);
    let text = start.get(..end).unwrap_or_default();
    if !text.is_empty() {
        lines.push((first, text.to_vec()));
    }
}

fn trim_start(line: &[u8]) -> &[u8] {
    let start = line
        .iter()
        .position(|byte| !byte.is_ascii_whitespace())
        .unwrap_or(line.len());
    line.get(start..).unwrap_or_default()
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, String, u32)> {
        let parsed = parse("a.service", text.as_bytes());
        let tuple = |a: Assignment| (a.section, a.name, a.value, a.at.line);
        parsed.assignments.into_iter().map(tuple).collect()
    }

    #[test]
    fn a_file_becomes_its_assignments_with_their_lines() {
        let text =
            "\u{feff}# comment\n[Unit]\nDescription = etcd  \n\n; other\n[Service]\nExecStart=\n";
        let expected = [
            ("Unit", "Description", "etcd", 3),
            ("Service", "ExecStart", "", 7),
        ];
        let expected =
            expected.map(|(s, n, v, l)| (s.to_string(), n.to_string(), v.to_string(), l));
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn continued_lines_join_and_skip_comments() {
        let text = "[Service]\nExecStart=/bin/a \\\n# why\n  --b \\\n  --c\nType=simple\n";
        let pairs = pairs(text);
        assert_eq!(pairs[0].2, "/bin/a    --b    --c");
        assert_eq!((pairs[0].3, pairs[1].3), (2, 6));
    }

    #[test]
    fn a_line_without_meaning_is_reported_and_skipped() {
        let parsed = parse(
            "a",
            b"Early=1\n[Unit]\nnonsense\n=x\n[broken\n\xff=1\nOk=1\n",
        );
        let lines: Vec<u32> = parsed
            .findings
            .iter()
            .map(|finding| finding.at.line)
            .collect();
        assert_eq!(lines, [1, 3, 4, 5, 6]);
        assert_eq!(parsed.assignments.len(), 1);
    }

    #[test]
    fn hostile_sizes_and_bytes_are_refused() {
        let nul = parse("a", b"[Unit]\nA=\0\n");
        assert_eq!((nul.findings[0].at.line, nul.assignments.len()), (2, 0));
        assert_eq!(parse("a", &vec![b'a'; MAX_FILE + 1]).findings.len(), 1);
        let long = format!("[Unit]\nA={}\nB=1\n", "x".repeat(MAX_VALUE));
        assert_eq!(parse("a", long.as_bytes()).assignments.len(), 1);
        let many = "[Unit]\n".to_string() + &"A=1\n".repeat(MAX_ASSIGNMENTS + 1);
        assert_eq!(
            parse("a", many.as_bytes()).assignments.len(),
            MAX_ASSIGNMENTS
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let lines = bytes.split(|byte| *byte == b'\n').count() as u32;
            let parsed = parse("a", &bytes);
            prop_assert!(parsed.assignments.iter().all(|a| a.at.line >= 1 && a.at.line <= lines));
        }

        #[test]
        fn line_numbers_are_those_of_the_file(gaps in proptest::collection::vec(0usize..4, 1..20)) {
            let mut text = "[Unit]\n".to_string();
            let mut expected = Vec::new();
            let mut line = 1;
            for gap in gaps {
                text.push_str(&"# c\n".repeat(gap));
                text.push_str("A=x \\\n y\n");
                line += gap as u32 + 1;
                expected.push(line);
                line += 1;
            }
            let found: Vec<u32> = parse("a", text.as_bytes()).assignments.iter().map(|a| a.at.line).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
