//! `bedplate logs`: the journal of a node, its serial console, or the daemon's log.

use std::path::Path;

use spec_api::{LogEntry, LogQuery};

use crate::cluster_folder::ClusterFolder;
use crate::exit::{Context, Error};
use crate::node::{Running, Which, unit_name};
use crate::output::{self, Output};

/// Show the journal of a node, or follow it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node.
    #[arg(required_unless_present = "daemon")]
    node: Option<String>,
    /// Only this unit; "kernel" for the kernel.
    unit: Option<String>,
    /// Stay, and show what comes.
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many entries.
    #[arg(short = 'n', long)]
    lines: Option<u32>,
    /// Only this syslog priority and more urgent ones, 0 to 7.
    #[arg(short, long, value_parser = clap::value_parser!(u8).range(0..=7))]
    priority: Option<u8>,
    /// Show what the node's serial console has shown instead.
    #[arg(long, conflicts_with_all = ["follow", "unit", "lines", "priority"])]
    serial: bool,
    /// Show the log of the cluster's daemon instead.
    #[arg(long, conflicts_with_all = ["follow", "unit", "lines", "priority", "serial", "node"])]
    daemon: bool,
    #[command(flatten)]
    which: Which,
}

/// Prints until the end, or until interrupted when following.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    if args.daemon {
        return file(&ClusterFolder::of(&args.which.name)?.log());
    }
    let running = Running::find(&args.which)?;
    let node = running.node(args.node.as_deref().unwrap_or_default())?;
    if args.serial {
        return file(&node.serial_log);
    }
    let unit = args.unit.as_deref().map(|unit| {
        if unit == "kernel" {
            String::new()
        } else {
            unit_name(unit)
        }
    });
    let query = LogQuery {
        unit,
        lines: args.lines,
        follow: args.follow,
        priority: args.priority,
        ..LogQuery::default()
    };
    let each = |entry: LogEntry| {
        if output.is_json() {
            return output.json_line(&entry).is_ok();
        }
        output::print(&line(&entry));
        true
    };
    running.client(node)?.logs(&query, each).context(format!(
        "{} does not give its journal (`bedplate logs --serial {}` shows its console)",
        node.name, node.name
    ))
}

fn file(path: &Path) -> Result<(), Error> {
    let text = std::fs::read(path).context(format!("cannot read {}", path.display()))?;
    output::print(&String::from_utf8_lossy(&text));
    Ok(())
}

/// `2026-01-31 12:00:00.123 etcd[214]: message`, control characters made harmless.
fn line(entry: &LogEntry) -> String {
    let time = output::time(entry.realtime_us);
    let who = match (entry.identifier.as_str(), entry.unit.as_str()) {
        ("", "") => "kernel",
        ("", unit) => unit,
        (identifier, _) => identifier,
    };
    let pid = entry.pid.map_or(String::new(), |pid| format!("[{pid}]"));
    let clean = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_control() && c != '\n' && c != '\t' {
                    '\u{fffd}'
                } else {
                    c
                }
            })
            .collect()
    };
    format!(
        "{time} {}{pid}: {}\n",
        clean(who),
        clean(&entry.message).replace('\n', "\n    ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_readable_line() {
        let entry = LogEntry {
            realtime_us: 1_000_000_000_123_456,
            identifier: "etcd".into(),
            pid: Some(214),
            message: "elected\x1b[31m leader\nat term 2".into(),
            ..LogEntry::default()
        };
        assert_eq!(
            line(&entry),
            "2001-09-09 01:46:40.123 etcd[214]: elected\u{fffd}[31m leader\n    at term 2\n"
        );
    }

    #[test]
    fn the_kernel_has_a_name() {
        assert!(
            line(&LogEntry {
                message: "x".into(),
                ..LogEntry::default()
            })
            .ends_with(" kernel: x\n")
        );
    }
}
