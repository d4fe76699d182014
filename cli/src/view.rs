//! A cluster on its way up: a live view on a terminal, a line per change otherwise. Always on stderr.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use qemu_tests::ClusterStatus;
use qemu_tests::cluster::NodeView;

use crate::daemon::Description;
use crate::output::{Cell, Output, Style};

/// Shows statuses as they come.
pub(crate) struct View {
    since: Instant,
    bars: Option<BTreeMap<String, ProgressBar>>,
    said: BTreeMap<String, String>,
    description: Description,
}

impl View {
    /// Of the cluster described.
    pub(crate) fn new(description: Description) -> Self {
        let bars = io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let names = description
                .nodes
                .iter()
                .map(|node| node.name.clone())
                .chain(["etcd".to_owned()]);
            names
                .map(|name| {
                    let bar = all.add(ProgressBar::new_spinner());
                    let style = ProgressStyle::with_template("{spinner} {prefix:12} {wide_msg}");
                    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                    bar.set_prefix(name.clone());
                    bar.enable_steady_tick(Duration::from_millis(120));
                    (name, bar)
                })
                .collect()
        });
        Self {
            since: Instant::now(),
            bars,
            said: BTreeMap::new(),
            description,
        }
    }

    /// A new status.
    pub(crate) fn show(&mut self, status: &ClusterStatus) {
        for node in &status.nodes {
            let text = state(node);
            let detail = if node.reachable || self.bars.is_none() {
                String::new()
            } else {
                self.last_words(&node.name)
            };
            self.say(&node.name, &text, &detail);
        }
        if !status.etcd.members.is_empty() {
            self.say("etcd", &etcd(status), "");
        }
    }

    /// The view is over; what it drew is taken away.
    pub(crate) fn finish(self) {
        for bar in self.bars.into_iter().flat_map(BTreeMap::into_values) {
            bar.finish_and_clear();
        }
    }

    fn say(&mut self, name: &str, text: &str, detail: &str) {
        match &self.bars {
            Some(bars) => {
                if let Some(bar) = bars.get(name) {
                    bar.set_message(if detail.is_empty() {
                        text.to_owned()
                    } else {
                        format!("{text}: {detail}")
                    });
                }
            }
            None if self.said.get(name).is_none_or(|said| said != text) => {
                let _ = writeln!(
                    io::stderr(),
                    "{:6.1} s  {name}: {text}",
                    self.since.elapsed().as_secs_f64()
                );
                self.said.insert(name.to_owned(), text.to_owned());
            }
            None => {}
        }
    }

    /// What a node that does not answer yet wrote on its console last.
    fn last_words(&self, name: &str) -> String {
        let log = self
            .description
            .nodes
            .iter()
            .find(|node| node.name == name)
            .map(|node| &node.serial_log);
        let line = log.map_or(String::new(), |path| qemu_tests::serial::tail(path, 1));
        line.chars().filter(|c| !c.is_control()).take(200).collect()
    }
}

/// Characters of notes that a line of progress has room for.
const NOTES: usize = 100;

fn state(node: &NodeView) -> String {
    match (node.on, node.reachable, node.ready) {
        (false, ..) => "off".to_owned(),
        // Why it does not answer is no news while it boots.
        (_, false, _) => "boots".to_owned(),
        (_, _, false) => format!("answers{}", short_notes(node)),
        (_, _, true) => "ready".to_owned(),
    }
}

fn short_notes(node: &NodeView) -> String {
    let notes = node.notes.join("; ");
    match notes.char_indices().nth(NOTES) {
        _ if notes.is_empty() => notes,
        Some((end, _)) => format!(", {}...", &notes[..end]),
        None => format!(", {notes}"),
    }
}

fn etcd(status: &ClusterStatus) -> String {
    let healthy = status
        .etcd
        .members
        .iter()
        .filter(|member| member.healthy)
        .count();
    let leader = status
        .leader()
        .map_or("no leader".to_owned(), |name| format!("{name} leads"));
    format!(
        "{healthy} of {} members healthy, {leader}",
        status.etcd.members.len()
    )
}

/// The tables of `up` and `status`.
pub(crate) fn tables(status: &ClusterStatus, output: &Output) {
    let rows: Vec<Vec<Cell>> = status
        .nodes
        .iter()
        .map(|node| {
            vec![
                Cell::plain(&node.name),
                Cell::plain(&node.address),
                Cell::yes_no(node.ready),
                Cell::yes_no(node.root_verified),
                Cell::plain(node.roles.join(",")),
                Cell::plain(format!("{} {}", node.image, node.version)),
                Cell::plain(&node.kernel),
                Cell::plain(uptime(node.uptime_seconds)),
                Cell::styled(notes(node), Style::Warn),
            ]
        })
        .collect();
    output.table(
        &[
            "NODE", "ADDRESS", "READY", "VERIFIED", "ROLES", "IMAGE", "KERNEL", "UP", "NOTES",
        ],
        &rows,
    );
    if status.etcd.members.is_empty() {
        return;
    }
    output.line("");
    let rows: Vec<Vec<Cell>> = status
        .etcd
        .members
        .iter()
        .map(|member| {
            let role = if member.leader { "leader" } else { "follower" };
            vec![
                Cell::plain(&member.name),
                Cell::yes_no(member.healthy),
                Cell::plain(role),
            ]
        })
        .collect();
    output.table(&["ETCD", "HEALTHY", "ROLE"], &rows);
}

fn notes(node: &NodeView) -> String {
    if node.on {
        node.notes.join("; ")
    } else {
        "off".to_owned()
    }
}

fn uptime(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match (
        whole / 86400,
        whole / 3600 % 24,
        whole / 60 % 60,
        whole % 60,
    ) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes:02}m"),
        (days, hours, _, _) => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_where_it_is_on_its_way() {
        let mut node = NodeView {
            name: "dev-1".into(),
            ..NodeView::default()
        };
        assert_eq!(state(&node), "off");
        node.on = true;
        node.notes = vec!["connection refused".into()];
        assert_eq!(state(&node), "boots");
        node.reachable = true;
        node.notes = vec!["etcd.service is activating".into()];
        assert_eq!(state(&node), "answers, etcd.service is activating");
        node.ready = true;
        node.notes.clear();
        assert_eq!(state(&node), "ready");
    }

    #[test]
    fn time_up_is_as_short_as_it_can_be() {
        assert_eq!(uptime(7.9), "7s");
        assert_eq!(uptime(187.0), "3m07s");
        assert_eq!(uptime(7260.0), "2h01m");
        assert_eq!(uptime(90000.0), "1d01h");
    }
}
