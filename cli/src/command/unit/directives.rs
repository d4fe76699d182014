//! `bedplate unit directives`: the table of directives.

use serde::Serialize;
use spec_unit::directive::{self, Directive, Support};

use crate::exit::Error;
use crate::output::{Cell, Output, Style};

/// Print the directives that PID 1 knows and what it makes of each
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print docs/unit-directives.md instead.
    #[arg(long)]
    markdown: bool,
}

#[derive(Serialize)]
struct Row {
    section: &'static str,
    directive: &'static str,
    support: &'static str,
    value: &'static str,
    documentation: &'static str,
}

/// Prints it.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    if output.is_json() {
        let rows: Vec<Row> = directive::table()
            .map(|row| Row {
                section: row.section,
                directive: row.name,
                support: row.support.word(),
                value: row.value,
                documentation: row.documentation,
            })
            .collect();
        return output.json(&rows);
    }
    if args.markdown {
        output.line(directive::markdown().trim_end());
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = directive::table().map(cells).collect();
    output.table(&["SECTION", "DIRECTIVE", "SUPPORT", "VALUE"], &rows);
    Ok(())
}

fn cells(row: &Directive) -> Vec<Cell> {
    let style = match row.support {
        Support::Set(_) | Support::Must(_) | Support::Confine(_) => Style::Good,
        Support::NoEffect => Style::Plain,
        Support::Later => Style::Warn,
        Support::Refuse => Style::Bad,
    };
    vec![
        Cell::plain(row.section),
        Cell::plain(row.name),
        Cell::styled(row.support.word(), style),
        Cell::plain(row.value),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_that_of_the_table() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/unit-directives.md");
        let wanted = spec_unit::directive::markdown();
        let found = std::fs::read_to_string(page).unwrap_or_default();
        assert!(
            found == wanted,
            "write it anew: cargo bedplate unit directives --markdown > docs/unit-directives.md"
        );
    }
}
