//! What reaches the terminal: tables, JSON, colour.
//!
//! Results go to stdout, everything else to stderr, so `--json` can be piped. Colour only where the stream is
//! a terminal and `NO_COLOR` is unset. A reader that has gone away (`| head`) ends the output, not the program.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::exit::Error;

/// How a cell or line looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As it is.
    Plain,
    /// What is well.
    Good,
    /// What needs a look.
    Warn,
    /// What is wrong.
    Bad,
    /// Headings.
    Bold,
}

impl Style {
    fn sgr(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
            Self::Bold => "1",
        }
    }
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell in a style.
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        // What a node says may hold escape sequences; they stay on the node.
        let text: String = text.into();
        Self {
            text: text
                .chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect(),
            style,
        }
    }

    /// A plain cell.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::styled(text, Style::Plain)
    }

    /// `yes` in good, `no` in bad.
    pub(crate) fn yes_no(yes: bool) -> Self {
        if yes {
            Self::styled("yes", Style::Good)
        } else {
            Self::styled("no", Style::Bad)
        }
    }
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    colour_out: bool,
    colour_err: bool,
}

impl Output {
    /// Looks at the streams once.
    pub(crate) fn new(json: bool) -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            json,
            colour_out: colour && io::stdout().is_terminal(),
            colour_err: colour && io::stderr().is_terminal(),
        }
    }

    /// `--json` was given.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// One line of result for people; nothing under `--json`.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        if !self.json {
            print(&format!("{}\n", text.as_ref()));
        }
    }

    /// One line of result in a style; nothing under `--json`.
    pub(crate) fn cell(&self, cell: &Cell) {
        if !self.json {
            print(&format!(
                "{}\n",
                paint(&cell.text, cell.style, self.colour_out)
            ));
        }
    }

    /// One JSON document, on lines of its own.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(value).map_err(Error::failed)?;
        text.push('\n');
        print(&text);
        Ok(())
    }

    /// One JSON value on one line, for streams.
    pub(crate) fn json_line<T: Serialize>(&self, value: &T) -> Result<(), Error> {
        let mut text = serde_json::to_string(value).map_err(Error::failed)?;
        text.push('\n');
        print(&text);
        Ok(())
    }

    /// A table; nothing under `--json`.
    pub(crate) fn table(&self, head: &[&str], rows: &[Vec<Cell>]) {
        if !self.json {
            print(&render(head, rows, self.colour_out));
        }
    }

    /// A note on stderr.
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// A warning on stderr that must be seen.
    pub(crate) fn warn(&self, text: &str) {
        let _ = writeln!(
            io::stderr(),
            "{} {text}",
            paint("warning:", Style::Warn, self.colour_err)
        );
    }

    /// The last word of a command that failed.
    pub(crate) fn error(&self, error: &Error) {
        let _ = writeln!(
            io::stderr(),
            "{} {error}",
            paint("error:", Style::Bad, self.colour_err)
        );
    }
}

/// Writes to stdout; a closed pipe ends the process quietly, as it would end a C program by SIGPIPE.
pub(crate) fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        std::process::exit(if error.kind() == io::ErrorKind::BrokenPipe {
            0
        } else {
            1
        });
    }
}

fn paint(text: &str, style: Style, colour: bool) -> String {
    if colour && style != Style::Plain {
        format!("\x1b[{}m{text}\x1b[0m", style.sgr())
    } else {
        text.to_owned()
    }
}

/// Columns as wide as their widest cell, two spaces between, nothing after the last.
fn render(head: &[&str], rows: &[Vec<Cell>], colour: bool) -> String {
    let mut widths: Vec<usize> = head.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let mut text = String::new();
    let heading: Vec<Cell> = head
        .iter()
        .map(|title| Cell::styled(*title, Style::Bold))
        .collect();
    for row in std::iter::once(&heading).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(&paint(&cell.text, cell.style, colour));
            if column + 1 < row.len() {
                let width = widths.get(column).copied().unwrap_or(0);
                let fill = width.saturating_sub(cell.text.chars().count()) + 2;
                text.extend(std::iter::repeat_n(' ', fill));
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// A time for people, in UTC: `2026-01-31 12:00:00.123`.
pub(crate) fn time(realtime_us: u64) -> String {
    let format =
        format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(realtime_us) * 1000)
        .ok()
        .and_then(|time| time.format(&format).ok())
        .unwrap_or_else(|| realtime_us.to_string())
}

/// Bytes for people: `64.0 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_without_trailing_space() {
        let rows = vec![
            vec![Cell::plain("dev-1"), Cell::yes_no(true)],
            vec![Cell::plain("a-longer-name"), Cell::yes_no(false)],
        ];
        let text = render(&["NODE", "READY"], &rows, false);
        assert_eq!(
            text,
            "NODE           READY\ndev-1          yes\na-longer-name  no\n"
        );
    }

    #[test]
    fn an_empty_last_cell_leaves_no_space() {
        let rows = vec![vec![Cell::plain("dev-1"), Cell::plain("")]];
        assert_eq!(
            render(&["NODE", "NOTES"], &rows, false),
            "NODE   NOTES\ndev-1\n"
        );
    }

    #[test]
    fn colour_does_not_shift_columns() {
        let rows = vec![vec![Cell::yes_no(true), Cell::plain("x")]];
        let text = render(&["R", "NODE"], &rows, true);
        assert!(text.ends_with("\x1b[32myes\x1b[0m  x\n"), "{text:?}");
    }

    #[test]
    fn what_a_node_says_cannot_steer_the_terminal() {
        let cell = Cell::plain("evil\x1b]0;title\x07");
        assert!(!cell.text.contains('\x1b') && !cell.text.contains('\x07'));
    }

    #[test]
    fn bytes_read_like_people_write_them() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(bytes(1536), "1.5 KiB");
    }
}
