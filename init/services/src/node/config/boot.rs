//! `node config`: decides at boot which machine config is in force, and gives each program its part.
//!
//! It runs as root before any unit and touches no network. Whatever is wrong is written to
//! `spec_layout::path::BOOT_FACTS` and said; a node without any config that holds boots without roles, so that no
//! cluster component starts.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use client::key_file::{PUBLIC, SECRET};
use client::machine_config;
use spec_config::{BootFacts, Config, ConfigState, Hidden, Role};
use spec_layout::path;

use super::ledger::{Kept, Ledger, Manner, Record, digest};
use super::parts::{self, Places};
use crate::node::facts;
use crate::node::platform::{self, Found};

/// Decides, writes. Only a /run that cannot be written is a failure, and even that is told.
pub(in crate::node) fn run() -> ExitCode {
    let (found, failures) = platform::find();
    for failure in &failures {
        log::warn!("{failure}");
    }
    let boot = Boot {
        places: Places::of_this_machine(),
        ledger: Ledger::at(Path::new(path::STATE_CONFIG)),
    };
    let facts = boot.decide(found, &failures);
    match (facts.config, &facts.message) {
        (ConfigState::Ok, message) => {
            log::info!("machine config: {}", message.as_deref().unwrap_or("ok"))
        }
        (state, message) => log::error!(
            "machine config {state}: {}. This node runs no cluster component",
            message.as_deref().unwrap_or("no reason known")
        ),
    }
    if let Err(error) = parts::write_json(&PathBuf::from(path::BOOT_FACTS), &facts, PUBLIC) {
        log::error!("cannot say what became of the machine config: {error}");
    }
    ExitCode::SUCCESS
}

pub(super) struct Boot {
    pub(super) places: Places,
    pub(super) ledger: Ledger,
}

/// What is in force, where it came from, and what else is to be said.
struct Choice {
    config: Config,
    source: String,
    remarks: Vec<String>,
}

impl Boot {
    /// What becomes of what was found; takes it up if it holds.
    pub(super) fn decide(&self, found: Option<Found>, failures: &[String]) -> BootFacts {
        let mut remarks = failures.to_vec();
        if let Err(error) = self.ledger.open() {
            remarks.push(format!("the history of configs: {error}"));
        }
        self.take_next(&mut remarks);
        let choice = match self.choose(found, &mut remarks) {
            Ok(choice) => choice,
            Err((config, message)) => {
                return BootFacts {
                    config,
                    message: Some(with(message, &remarks)),
                    ..BootFacts::default()
                };
            }
        };
        let config = &choice.config;
        if let Err(error) = parts::write(&self.places, config) {
            let source = choice.source;
            return BootFacts {
                config: ConfigState::Invalid,
                message: Some(format!("{source} holds, but cannot be taken up: {error}")),
                ..BootFacts::default()
            };
        }
        remarks.extend(choice.remarks);
        BootFacts {
            hostname: Some(config.node.hostname.to_string()),
            roles: config.node.roles.iter().map(Role::to_string).collect(),
            config: ConfigState::Ok,
            message: Some(with(choice.source, &remarks)),
        }
    }

    /// The config that waits for this boot comes into force.
    fn take_next(&self, remarks: &mut Vec<String>) {
        let Some(number) = self.ledger.next_number() else {
            return;
        };
        let taken = self
            .ledger
            .read(number)
            .and_then(|_| self.ledger.put_in_force(number));
        if let Err(error) = taken {
            remarks.push(format!(
                "config {number}, which was to come into force with this boot, is refused: {error}"
            ));
            self.ledger.set_manner(number, Manner::Failed);
            if let Err(error) = self.ledger.forget_next() {
                remarks.push(error.to_string());
            }
        }
    }

    fn choose(
        &self,
        found: Option<Found>,
        remarks: &mut Vec<String>,
    ) -> Result<Choice, (ConfigState, String)> {
        let kept = self.ledger.in_force().unwrap_or_else(|error| {
            remarks.push(format!("the config in force cannot be read: {error}"));
            None
        });
        let offer = found.as_ref().map(|found| digest(&found.document));
        self.note_offer(offer.as_deref(), remarks);
        let offered_before = |kept: &Kept| {
            let record = kept.record.as_ref();
            record.is_none_or(|record| record.offer == offer)
        };
        match (found, kept) {
            (None, None) => {
                let message = format!("found at none of: {}", platform::names());
                Err((ConfigState::Missing, message))
            }
            (Some(found), Some(kept)) if !offered_before(&kept) => match read(&found) {
                Ok(config) => Ok(self.keep(config, found.source, offer)),
                Err(problem) => {
                    let mut choice = in_force(kept);
                    let problem = format!("a new document is refused: {problem}");
                    choice.remarks.push(problem);
                    Ok(choice)
                }
            },
            (_, Some(kept)) => Ok(in_force(kept)),
            (Some(found), None) => match read(&found) {
                Ok(config) => Ok(self.keep(config, found.source, offer)),
                Err(problem) => Err((ConfigState::Invalid, problem)),
            },
        }
    }

    /// Puts what was found in force.
    fn keep(&self, config: Config, source: String, offer: Option<String>) -> Choice {
        let record = Record {
            realtime_us: facts::realtime_us(),
            by: source.clone(),
            manner: Manner::Begun,
            offer,
        };
        let kept = self
            .ledger
            .add(&config, &record)
            .and_then(|number| self.ledger.put_in_force(number));
        let remarks = kept
            .err()
            .map(|error| format!("not kept on the state partition: {error}"));
        Choice {
            config,
            source,
            remarks: remarks.into_iter().collect(),
        }
    }

    /// Leaves word of what was offered for whoever applies a config later.
    fn note_offer(&self, offer: Option<&str>, remarks: &mut Vec<String>) {
        if let Err(error) = parts::write_json(&self.places.offer, &offer, SECRET) {
            remarks.push(error.to_string());
        }
    }
}

fn in_force(kept: Kept) -> Choice {
    let source = kept.source();
    Choice {
        config: kept.config,
        source,
        remarks: Vec::new(),
    }
}

/// Reads what was found; the error begins with where.
fn read(found: &Found) -> Result<Config, String> {
    machine_config::read(&found.document, Hidden::Refuse)
        .map_err(|error| format!("{}:{error}", found.source))
}

fn with(mut message: String, remarks: &[String]) -> String {
    for remark in remarks {
        message.push_str("; ");
        message.push_str(remark);
    }
    message
}

/// What the platform offered at this boot, as [`Boot::note_offer`] left it.
pub(super) fn offer(places: &Places) -> io::Result<Option<String>> {
    Ok(serde_json::from_slice(&std::fs::read(&places.offer)?)?)
}
