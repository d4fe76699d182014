//! Taking up a config on a running node: at once, for a while, or at the next boot.
//!
//! The order makes a power cut harmless: a config is written down first, then taken up by those whose part changed,
//! and only then in force. What is only tried is never in force, so the next boot does not know it.
//!
//! From before the first part is written until the last program has read its own, a mark stands below /run. While it
//! stands, nobody can say what the programs work by: what is in force is written out again, and all of them read it, until
//! that is done ([`Keeper::settle`]) or another config is taken up.

use std::io;
use std::time::Duration;

use client::key_file::SECRET;
use client::machine_config;
use serde::{Deserialize, Serialize};
use spec_api::{ConfigChange, ConfigMode, ConfigTrial, ConfigView, MAX_TRIAL_SECONDS};
use spec_config::{Config, ConfigState, Hidden, difference};
use tokio::time::{Instant, timeout};

use super::ask::{Answer, Ask, Problem};
use super::boot;
use super::ledger::{Kept, Ledger, Manner, Record};
use super::parts::{self, Places};
use crate::node::facts;

/// How long all programs together may take to read their parts.
const TAKE_UP: Duration = Duration::from_secs(30);
/// How long until what is in force is written out again, where that failed.
const SETTLE_AGAIN: Duration = Duration::from_secs(5);

/// Has a unit read its part anew, and waits until it has.
pub(super) trait Reload {
    /// `unit` is its name; the error says why it did not.
    async fn reload(&mut self, unit: &str) -> Result<(), String>;
}

/// A config on trial, as the keeper remembers it over a restart of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trial {
    number: u64,
    /// CLOCK_BOOTTIME.
    ends: Duration,
}

/// The keeper's state.
pub(super) struct Keeper<R> {
    places: Places,
    ledger: Ledger,
    reload: R,
    trial: Option<Trial>,
    /// The mark stands; what is in force is written out again then.
    unsettled: Option<Instant>,
}

impl<R: Reload> Keeper<R> {
    pub(super) fn new(places: Places, ledger: Ledger, reload: R) -> Self {
        Self {
            places,
            ledger,
            reload,
            trial: None,
            unsettled: None,
        }
    }

    /// Goes on where an earlier run of the keeper ended: a trial that had begun lasts, and a change that was cut short is
    /// taken back.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.trial = match std::fs::read(&self.places.trial) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let marked = self.places.changing.exists();
        let confirmed = |trial: Trial| self.ledger.in_force_number() == Some(trial.number);
        if self.trial.is_some_and(|trial| marked || confirmed(trial)) {
            self.forget_trial();
        }
        if marked {
            log::warn!("an earlier change was cut short; what is in force is taken up again");
            self.unsettled = Some(Instant::now());
        }
        Ok(())
    }

    /// When [`Keeper::on_time`] is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let left = |trial: Trial| trial.ends.saturating_sub(facts::boottime());
        let trial = self.trial.map(|trial| Instant::now() + left(trial));
        [trial, self.unsettled].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) async fn on_time(&mut self) {
        if self
            .trial
            .is_some_and(|trial| trial.ends <= facts::boottime())
        {
            self.end_trial().await;
        } else if self.unsettled.is_some_and(|when| when <= Instant::now()) {
            self.settle().await;
        }
    }

    /// The config on trial was not confirmed: what is in force comes back.
    pub(super) async fn end_trial(&mut self) {
        let Some(trial) = self.trial else { return };
        log::warn!("config {} was not confirmed: going back", trial.number);
        if let Err(error) = self.mark() {
            log::error!("{error}");
        }
        self.forget_trial();
        self.settle().await;
    }

    /// Writes what is in force out again and has everybody read it; tried again later where it fails.
    async fn settle(&mut self) {
        let settled = match self.ledger.in_force() {
            Ok(Some(kept)) => self.make_live(&kept.config, parts::all_readers()).await,
            Ok(None) => Err("nothing is in force".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match settled {
            Ok(()) => log::info!("what is in force is taken up again"),
            Err(problem) => {
                log::error!("what is in force is not taken up: {problem}");
                self.unsettled = Some(Instant::now() + SETTLE_AGAIN);
            }
        }
    }

    fn forget_trial(&mut self) {
        self.trial = None;
        remove(&self.places.trial);
    }

    /// From now on nobody can say what the programs work by.
    fn mark(&mut self) -> io::Result<()> {
        self.unsettled = Some(Instant::now() + SETTLE_AGAIN);
        parts::write_json(&self.places.changing, &true, SECRET)
    }

    /// Writes all parts and has those units read theirs. Where the mark stood before, or in the end still does, all must.
    async fn make_live(
        &mut self,
        config: &Config,
        concerned: Vec<&'static str>,
    ) -> Result<(), String> {
        let readers = if self.unsettled.is_some() {
            parts::all_readers()
        } else {
            concerned
        };
        self.mark().map_err(|error| error.to_string())?;
        parts::write(&self.places, config).map_err(|error| error.to_string())?;
        let all = async {
            for unit in readers {
                let reloaded = self.reload.reload(unit).await;
                reloaded.map_err(|problem| format!("{unit}: {problem}"))?;
            }
            Ok::<(), String>(())
        };
        let in_time = timeout(TAKE_UP, all).await;
        in_time.map_err(|_| format!("not within {} s", TAKE_UP.as_secs()))??;
        remove(&self.places.changing);
        self.unsettled = None;
        Ok(())
    }

    /// Answers one question.
    pub(super) async fn answer(&mut self, ask: Ask) -> Answer {
        let answered = match ask {
            Ask::Show => self.show().map(Answer::View),
            Ask::History => {
                let tried = self.trial.map(|trial| trial.number);
                let entries = self.ledger.entries(tried);
                entries.map(Answer::History).map_err(Problem::from)
            }
            Ask::Apply { by, document, mode } => {
                self.apply(by, &document, mode).await.map(Answer::Change)
            }
            Ask::Confirm { number } => self.confirm(number).map(Answer::Change),
            Ask::Rollback { by, number, mode } => {
                self.roll_back(by, number, mode).await.map(Answer::Change)
            }
        };
        answered.unwrap_or_else(Answer::Problem)
    }

    fn in_force(&self) -> Result<Kept, Problem> {
        let kept = self.ledger.in_force()?;
        kept.ok_or_else(|| Problem::NotFound("no machine config is in force".to_owned()))
    }

    fn show(&self) -> Result<ConfigView, Problem> {
        let boot = facts::boot_facts();
        let mut view = ConfigView {
            config: boot.config.to_string(),
            message: boot.message,
            at_reboot: self.ledger.next_number(),
            ..ConfigView::default()
        };
        let shown = match self.trial {
            Some(trial) => Some(self.ledger.read(trial.number)?),
            None => self.ledger.in_force()?,
        };
        if let Some(kept) = shown {
            let text = kept.config.masked().to_toml();
            view.document = Some(text.map_err(|error| Problem::Failed(error.to_string()))?);
            view.number = Some(kept.number);
            if boot.config == ConfigState::Ok {
                view.message = Some(kept.source());
            }
        }
        view.trial = self.trial.map(|trial| ConfigTrial {
            number: trial.number,
            seconds_left: left(trial),
        });
        Ok(view)
    }

    async fn apply(
        &mut self,
        by: String,
        document: &str,
        mode: ConfigMode,
    ) -> Result<ConfigChange, Problem> {
        let kept = self.in_force()?;
        let config = machine_config::read(document.as_bytes(), Hidden::From(&kept.config))
            .map_err(|error| Problem::Invalid(error.to_string()))?;
        self.take(by, &kept, config, mode).await
    }

    async fn roll_back(
        &mut self,
        by: String,
        number: Option<u64>,
        mode: ConfigMode,
    ) -> Result<ConfigChange, Problem> {
        let kept = self.in_force()?;
        let again = match number {
            Some(number) => self.read(number)?,
            None => self.one_before(&kept)?,
        };
        self.take(by, &kept, again.config, mode).await
    }

    fn read(&self, number: u64) -> Result<Kept, Problem> {
        self.ledger
            .read(number)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Problem::NotFound(format!(
                    "there is no config {number} in the history; `config history` lists them"
                )),
                _ => Problem::Failed(error.to_string()),
            })
    }

    /// The newest of the history that was in force before, and is another.
    fn one_before(&self, kept: &Kept) -> Result<Kept, Problem> {
        let entries = self.ledger.entries(None)?;
        entries
            .iter()
            .filter(|entry| entry.outcome == spec_api::ConfigOutcome::Replaced)
            .filter(|entry| entry.number < kept.number)
            .filter_map(|entry| self.ledger.read(entry.number).ok())
            .find(|before| before.config != kept.config)
            .ok_or_else(|| Problem::NotFound("no other config was in force before".to_owned()))
    }

    async fn take(
        &mut self,
        by: String,
        kept: &Kept,
        config: Config,
        mode: ConfigMode,
    ) -> Result<ConfigChange, Problem> {
        let differences = difference::between(&kept.config, &config)
            .map_err(|error| Problem::Failed(error.to_string()))?;
        let mut change = ConfigChange {
            needs_reboot: parts::needs_reboot(&kept.config, &config),
            differences,
            ..ConfigChange::default()
        };
        if mode == ConfigMode::DryRun {
            return Ok(change);
        }
        self.check_mode(mode, &change)?;
        let waiting = self.ledger.next_number();
        if change.differences.is_empty() && self.unsettled.is_none() {
            // What waited for the next boot would undo this.
            self.ledger.forget_next()?;
            change.dropped = waiting;
            return Ok(change);
        }
        let offer = boot::offer(&self.places)?;
        let before = kept.record.as_ref().and_then(|record| record.offer.clone());
        let record = Record {
            realtime_us: facts::realtime_us(),
            by,
            manner: match mode {
                ConfigMode::AtReboot => Manner::Waiting,
                ConfigMode::Try(_) => Manner::Tried,
                ConfigMode::Now | ConfigMode::DryRun => Manner::Begun,
            },
            // A disk that was away for one boot is no news when it comes back.
            offer: offer.or(before),
        };
        let number = self.ledger.add(&config, &record)?;
        change.number = Some(number);
        match mode {
            ConfigMode::AtReboot => {
                self.ledger.put_next(number)?;
                change.at_reboot = true;
                change.dropped = waiting;
            }
            ConfigMode::Try(seconds) => {
                self.begin_trial(number, seconds, kept, &config).await?;
                change.trial_seconds = Some(seconds);
            }
            ConfigMode::Now | ConfigMode::DryRun => {
                self.take_up(number, kept, &config).await?;
                if let Err(error) = self.ledger.put_in_force(number) {
                    let problem = format!("it cannot be put in force: {error}");
                    return Err(self.take_back(number, problem).await);
                }
                change.dropped = waiting;
            }
        }
        Ok(change)
    }

    /// Refuses what cannot be done now, or in this way.
    fn check_mode(&self, mode: ConfigMode, change: &ConfigChange) -> Result<(), Problem> {
        if let Some(trial) = self.trial {
            return Err(Problem::Conflict(format!(
                "config {} is on trial for {} s more; confirm it, or wait",
                trial.number,
                left(trial)
            )));
        }
        if let ConfigMode::Try(seconds) = mode
            && !(1..=MAX_TRIAL_SECONDS).contains(&seconds)
        {
            return Err(Problem::Conflict(format!(
                "a config is tried for 1 to {MAX_TRIAL_SECONDS} s, not {seconds}"
            )));
        }
        if mode != ConfigMode::AtReboot && !change.needs_reboot.is_empty() {
            return Err(Problem::Conflict(format!(
                "a running node cannot take up changes of: {}; apply it at the next reboot (--at-reboot)",
                change.needs_reboot.join(", ")
            )));
        }
        Ok(())
    }

    /// Has a config taken up for a trial, which ends in time even if somebody dawdles over it.
    async fn begin_trial(
        &mut self,
        number: u64,
        seconds: u32,
        kept: &Kept,
        config: &Config,
    ) -> Result<(), Problem> {
        let time = Duration::from_secs(seconds.into());
        let ends = facts::boottime() + time;
        let trial = Trial { number, ends };
        parts::write_json(&self.places.trial, &trial, SECRET)?;
        self.trial = Some(trial);
        let taken_up = timeout(time, self.take_up(number, kept, config)).await;
        match taken_up {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(problem)) => {
                self.forget_trial();
                return Err(problem);
            }
            Err(_) => self.forget_trial(),
        }
        let problem = format!("it was not taken up within {seconds} s");
        Err(self.take_back(number, problem).await)
    }

    /// Has a config taken up by whom it concerns.
    async fn take_up(&mut self, number: u64, kept: &Kept, config: &Config) -> Result<(), Problem> {
        let concerned = parts::readers(&kept.config, config);
        match self.make_live(config, concerned).await {
            Ok(()) => Ok(()),
            Err(problem) => Err(self.take_back(number, problem).await),
        }
    }

    /// A config is not taken after all: what is in force comes back, now or as soon as it can.
    async fn take_back(&mut self, number: u64, problem: String) -> Problem {
        self.ledger.set_manner(number, Manner::Failed);
        if let Err(error) = self.mark() {
            log::error!("{error}");
        }
        self.settle().await;
        let then = if self.unsettled.is_some() {
            "; going back fails too, and is tried again"
        } else {
            "; what is in force is taken up again"
        };
        Problem::Failed(format!("config {number} is not taken: {problem}{then}"))
    }

    fn confirm(&mut self, number: u64) -> Result<ConfigChange, Problem> {
        let Some(trial) = self.trial else {
            return Err(Problem::Conflict(
                "no config is on trial; what was tried has gone back".to_owned(),
            ));
        };
        if trial.number != number {
            return Err(Problem::Conflict(format!(
                "config {} is on trial, not {number}",
                trial.number
            )));
        }
        let dropped = self.ledger.next_number();
        self.ledger.put_in_force(number)?;
        self.forget_trial();
        Ok(ConfigChange {
            number: Some(number),
            dropped,
            ..ConfigChange::default()
        })
    }
}

/// Removes a file that may be gone already.
fn remove(path: &std::path::Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        log::error!("{}: {error}", path.display());
    }
}

/// Whole seconds that are left of a trial, the begun one included.
fn left(trial: Trial) -> u32 {
    let left = trial.ends.saturating_sub(facts::boottime());
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
