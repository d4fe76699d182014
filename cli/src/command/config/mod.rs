//! `bedplate config`: machine configs, on the host and on running nodes.

mod apply;
mod check;
mod confirm;
mod history;
mod rollback;
mod schema;
mod show;

use spec_api::{ConfigChange, ConfigMode, MAX_TRIAL_SECONDS};

use crate::exit::Error;
use crate::output::{Cell, Output, Style};

/// Check machine configs, and change that of a running node
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Check(check::Args),
    Show(show::Args),
    Apply(apply::Args),
    Confirm(confirm::Args),
    Rollback(rollback::Args),
    History(history::Args),
    Schema(schema::Args),
}

/// Does it.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    match &args.action {
        Action::Check(args) => check::run(args, output),
        Action::Show(args) => show::run(args, output),
        Action::Apply(args) => apply::run(args, output),
        Action::Confirm(args) => confirm::run(args, output),
        Action::Rollback(args) => rollback::run(args, output),
        Action::History(args) => history::run(args, output),
        Action::Schema(args) => schema::run(args),
    }
}

/// When a config comes into force; now if nothing is said.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
struct When {
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
    /// Go back after this time (such as 60s or 5m) unless `config confirm` is run; a reboot goes back too.
    #[arg(long = "try", value_name = "TIME", value_parser = trial)]
    try_for: Option<u32>,
    /// Take it up at the next boot.
    #[arg(long)]
    at_reboot: bool,
}

impl When {
    fn mode(&self) -> ConfigMode {
        match (self.dry_run, self.try_for, self.at_reboot) {
            (true, ..) => ConfigMode::DryRun,
            (_, Some(seconds), _) => ConfigMode::Try(seconds),
            (_, _, true) => ConfigMode::AtReboot,
            _ => ConfigMode::Now,
        }
    }
}

/// Seconds of `90`, `90s`, `5m` or `1h`.
fn trial(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(digits) if text.ends_with('m') => (digits, 60),
        Some(digits) if text.ends_with('h') => (digits, 3600),
        Some(digits) => (digits, 1),
        None => (text, 1),
    };
    let seconds = digits.parse::<u32>().ok().and_then(|n| n.checked_mul(unit));
    seconds
        .filter(|seconds| (1..=MAX_TRIAL_SECONDS).contains(seconds))
        .ok_or_else(|| format!("write 1s to {MAX_TRIAL_SECONDS}s, such as 60s or 5m"))
}

/// Tells what became of a request.
fn tell(node: &str, mode: ConfigMode, change: &ConfigChange, output: &Output) -> Result<(), Error> {
    if output.is_json() {
        return output.json(&serde_json::json!({ "node": node, "change": change }));
    }
    if let Some(number) = change.dropped {
        output.line(format!(
            "{node}: config {number} does not wait for the next boot any more"
        ));
    }
    if change.differences.is_empty() {
        output.line(format!("{node}: nothing changes, it is in force already"));
        return Ok(());
    }
    for difference in &change.differences {
        let text = difference.to_string();
        let style = match text.as_bytes().first() {
            Some(b'+') => Style::Good,
            Some(b'-') => Style::Bad,
            _ => Style::Warn,
        };
        output.cell(&Cell::styled(text, style));
    }
    if mode == ConfigMode::DryRun && !change.needs_reboot.is_empty() {
        let keys = change.needs_reboot.join(", ");
        output.line(format!(
            "{node}: {keys} can only change with a reboot (--at-reboot)"
        ));
    }
    let Some(number) = change.number else {
        return Ok(());
    };
    output.line(match change.trial_seconds {
        Some(seconds) => format!(
            "{node}: config {number} is on trial for {seconds} s; keep it with: bedplate config confirm {node} {number}"
        ),
        None if change.at_reboot => {
            format!("{node}: config {number} comes into force with the next boot")
        }
        None => format!("{node}: config {number} is in force"),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_trial_reads_like_people_write_it() {
        assert_eq!(trial("60s"), Ok(60));
        assert_eq!(trial("5m"), Ok(300));
        assert_eq!(trial("1h"), Ok(3600));
        assert_eq!(trial("90"), Ok(90));
        for bad in ["", "s", "0", "2h", "-1s", "1d", "99999999999h", "ß"] {
            assert!(trial(bad).is_err(), "{bad}");
        }
    }
}
