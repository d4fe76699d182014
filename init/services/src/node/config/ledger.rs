//! The configs that there were, on the state partition: `history/NUMBER.toml` with its [`Record`] beside it, and two
//! links into that folder. `SCHEMA.toml` leads to the one in force, one such link for each schema version, so that an
//! older image finds one it can read; `next` to the one that waits for the next boot.
//!
//! A link is put in place by rename(2) once what it leads to is on the disk: whenever power fails, the next boot finds
//! the old config or the new one, whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use client::key_file::{self, SECRET};
use client::machine_config;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spec_api::{ConfigEntry, ConfigOutcome};
use spec_config::{Config, Hidden, MAX_DOCUMENT, SCHEMA};

/// Configs that are kept, besides those that a link leads to.
const KEPT: usize = 32;
/// Largest record that is read, in bytes.
const MAX_RECORD: u64 = 4096;
const FOLDER: &str = "history";
const NEXT: &str = "next";

/// How far a config has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Manner {
    /// Written down, and nothing more yet.
    #[default]
    Begun,
    /// In force, then or now.
    Applied,
    /// To be tried.
    Tried,
    /// To wait for the next boot.
    Waiting,
    /// It could not be taken up.
    Failed,
}

/// What is written beside a document. Another image may know more or less of it: what is not known is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// When it came, microseconds since the epoch.
    pub(super) realtime_us: u64,
    /// Who brought it: an operator, or a place.
    pub(super) by: String,
    /// How it came.
    pub(super) manner: Manner,
    /// SHA-256 of what the platform offered then, hex; nothing if it offered nothing.
    pub(super) offer: Option<String>,
}

/// A config with its record.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) number: u64,
    pub(super) config: Config,
    /// Nothing where it cannot be read: that costs the config nothing.
    pub(super) record: Option<Record>,
}

impl Kept {
    /// What it is called.
    pub(super) fn source(&self) -> String {
        format!("config {} by {}", self.number, self.by())
    }

    /// Who brought it.
    pub(super) fn by(&self) -> &str {
        self.record
            .as_ref()
            .map_or("nobody knows whom", |record| &record.by)
    }
}

/// The folder, below `spec_layout::path::STATE_CONFIG` on a node.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    folder: PathBuf,
}

/// The link to the config in force on this machine, for the schema this image reads.
pub(in crate::node) fn in_force() -> PathBuf {
    Ledger::at(Path::new(spec_layout::path::STATE_CONFIG)).in_force_link()
}

/// SHA-256 in hex: how documents are compared.
pub(super) fn digest(document: &[u8]) -> String {
    let digest = Sha256::digest(document);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Ledger {
    pub(super) fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    fn history(&self) -> PathBuf {
        self.folder.join(FOLDER)
    }

    fn document(&self, number: u64) -> PathBuf {
        self.history().join(format!("{number}.toml"))
    }

    fn record(&self, number: u64) -> PathBuf {
        self.history().join(format!("{number}.json"))
    }

    fn in_force_link(&self) -> PathBuf {
        self.folder.join(format!("{SCHEMA}.toml"))
    }

    /// Writes a config down; it is in force only once a link leads to it.
    pub(super) fn add(&self, config: &Config, record: &Record) -> io::Result<u64> {
        let number = self.numbers()?.last().map_or(1, |last| last + 1);
        let text = config.to_toml().map_err(io::Error::other)?;
        if text.len() > MAX_DOCUMENT {
            return Err(io::Error::other(format!(
                "written out with its defaults the document has {} bytes; at most {MAX_DOCUMENT} can be kept",
                text.len()
            )));
        }
        key_file::write(&self.record(number), &serde_json::to_vec(record)?, SECRET)?;
        key_file::write(&self.document(number), text.as_bytes(), SECRET)?;
        self.prune(number)?;
        Ok(number)
    }

    /// Makes the folder, and removes what a power cut left half written.
    pub(super) fn open(&self) -> io::Result<()> {
        fs::create_dir_all(self.history())?;
        let entries = fs::read_dir(self.history()).into_iter().flatten().flatten();
        for entry in entries {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// All numbers, ascending.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(self.history()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut numbers: Vec<u64> = entries
            .filter_map(|entry| number_of(&entry.ok()?.path()))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Forgets the oldest, but for those that a link leads to and `newest`.
    fn prune(&self, newest: u64) -> io::Result<()> {
        let held = [self.in_force_number(), self.next_number(), Some(newest)];
        let numbers = self.numbers()?;
        let over = numbers.len().saturating_sub(KEPT);
        for number in numbers.into_iter().take(over) {
            if !held.contains(&Some(number)) {
                fs::remove_file(self.document(number))?;
                // One that is left alone is in the way of nobody.
                let _ = fs::remove_file(self.record(number));
            }
        }
        Ok(())
    }

    /// One of them.
    pub(super) fn read(&self, number: u64) -> io::Result<Kept> {
        let path = self.document(number);
        let document = read_at_most(&path, MAX_DOCUMENT as u64 + 1)?;
        let config = machine_config::read(&document, Hidden::Refuse)
            .map_err(|error| invalid(&path, &error))?;
        let record = self.read_record(number);
        if let Err(error) = &record {
            log::warn!("{error}");
        }
        Ok(Kept {
            number,
            config,
            record: record.ok(),
        })
    }

    fn read_record(&self, number: u64) -> io::Result<Record> {
        let path = self.record(number);
        serde_json::from_slice(&read_at_most(&path, MAX_RECORD)?)
            .map_err(|error| invalid(&path, &error))
    }

    /// Notes how far a config has come. It is for people: where it cannot be noted, that is only told.
    pub(super) fn set_manner(&self, number: u64, manner: Manner) {
        let noted = self.read_record(number).and_then(|mut record| {
            record.manner = manner;
            key_file::write(&self.record(number), &serde_json::to_vec(&record)?, SECRET)
        });
        if let Err(error) = noted {
            log::warn!("config {number}: {error}");
        }
    }

    /// The config in force, if there is one. Where it is damaged, the newest that was in force before and can be read
    /// stands in for it.
    pub(super) fn in_force(&self) -> io::Result<Option<Kept>> {
        let Some(number) = self.in_force_number() else {
            return Ok(None);
        };
        let damage = match self.read(number) {
            Ok(kept) => return Ok(Some(kept)),
            Err(error) => error,
        };
        log::error!("config {number}, in force, cannot be read: {damage}");
        let mut numbers = self.numbers()?;
        numbers.reverse();
        let was_in_force = |number: &u64| {
            let record = self.read_record(*number);
            record.is_ok_and(|record| record.manner == Manner::Applied)
        };
        let mut before = numbers.into_iter().filter(was_in_force);
        let stands_in = before.find_map(|number| self.read(number).ok());
        stands_in.map(Some).ok_or(damage)
    }

    /// Its number.
    pub(super) fn in_force_number(&self) -> Option<u64> {
        number_of(&fs::read_link(self.in_force_link()).ok()?)
    }

    /// Number of the one that waits for the next boot.
    pub(super) fn next_number(&self) -> Option<u64> {
        number_of(&fs::read_link(self.folder.join(NEXT)).ok()?)
    }

    /// Puts a config in force, at once and at every later boot; none waits any more.
    pub(super) fn put_in_force(&self, number: u64) -> io::Result<()> {
        self.link(&self.in_force_link(), number)?;
        self.set_manner(number, Manner::Applied);
        if let Err(error) = self.forget_next() {
            log::error!("the config for the next boot cannot be forgotten: {error}");
        }
        Ok(())
    }

    /// Has a config wait for the next boot.
    pub(super) fn put_next(&self, number: u64) -> io::Result<()> {
        self.link(&self.folder.join(NEXT), number)
    }

    /// Nothing waits any more.
    pub(super) fn forget_next(&self) -> io::Result<()> {
        match fs::remove_file(self.folder.join(NEXT)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => File::open(&self.folder)?.sync_all(),
        }
    }

    fn link(&self, path: &Path, number: u64) -> io::Result<()> {
        let temporary = self.folder.join(".link");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(format!("{FOLDER}/{number}.toml"), &temporary)?;
        fs::rename(&temporary, path)?;
        File::open(&self.folder)?.sync_all()
    }

    /// All that are kept, newest first; `tried` is the one on trial.
    pub(super) fn entries(&self, tried: Option<u64>) -> io::Result<Vec<ConfigEntry>> {
        let (in_force, next) = (self.in_force_number(), self.next_number());
        let mut entries = Vec::new();
        for number in self.numbers()?.into_iter().rev() {
            let record = self.read_record(number).unwrap_or_else(|error| {
                log::warn!("{error}");
                Record::default()
            });
            let outcome = match record.manner {
                _ if in_force == Some(number) => ConfigOutcome::InForce,
                _ if tried == Some(number) => ConfigOutcome::OnTrial,
                _ if next == Some(number) => ConfigOutcome::AtReboot,
                Manner::Begun | Manner::Failed => ConfigOutcome::Failed,
                Manner::Tried => ConfigOutcome::WentBack,
                Manner::Waiting => ConfigOutcome::Dropped,
                Manner::Applied => ConfigOutcome::Replaced,
            };
            entries.push(ConfigEntry {
                number,
                realtime_us: record.realtime_us,
                by: record.by,
                outcome,
            });
        }
        Ok(entries)
    }
}

/// The number of a document by its name.
fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".toml")?.parse().ok()
}

fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let at =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(at)?;
    file.take(most).read_to_end(&mut bytes).map_err(at)?;
    Ok(bytes)
}

fn invalid(path: &Path, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{}:{why}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::master;
    use super::*;

    fn record(manner: Manner) -> Record {
        Record {
            realtime_us: 7,
            by: "anna".to_owned(),
            manner,
            offer: None,
        }
    }

    #[test]
    fn a_config_is_in_force_once_it_is_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(folder.path());
        ledger.open().unwrap();
        assert!(ledger.in_force().unwrap().is_none());
        let number = ledger.add(&master(), &record(Manner::Applied)).unwrap();
        assert!(ledger.in_force().unwrap().is_none());
        ledger.put_in_force(number).unwrap();
        let kept = ledger.in_force().unwrap().unwrap();
        assert_eq!((kept.number, &kept.config), (1, &master()));
        assert_eq!(kept.by(), "anna");
    }

    #[test]
    fn what_waits_is_forgotten_when_another_is_put_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(folder.path());
        ledger.open().unwrap();
        let first = ledger.add(&master(), &record(Manner::Waiting)).unwrap();
        let second = ledger.add(&master(), &record(Manner::Applied)).unwrap();
        ledger.put_next(first).unwrap();
        assert_eq!(ledger.next_number(), Some(first));
        ledger.put_in_force(second).unwrap();
        assert_eq!(ledger.next_number(), None);
    }

    #[test]
    fn the_history_tells_what_became_of_each() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(folder.path());
        ledger.open().unwrap();
        let manners = [
            Manner::Applied,
            Manner::Tried,
            Manner::Begun,
            Manner::Applied,
            Manner::Tried,
            Manner::Waiting,
        ];
        for manner in manners {
            ledger.add(&master(), &record(manner)).unwrap();
        }
        ledger.put_in_force(4).unwrap();
        ledger.put_next(6).unwrap();
        ledger.add(&master(), &record(Manner::Waiting)).unwrap();
        let told = ledger.entries(Some(5)).unwrap();
        let outcomes: Vec<ConfigOutcome> = told.iter().map(|entry| entry.outcome).collect();
        assert_eq!(
            outcomes,
            [
                ConfigOutcome::Dropped,
                ConfigOutcome::AtReboot,
                ConfigOutcome::OnTrial,
                ConfigOutcome::InForce,
                ConfigOutcome::Failed,
                ConfigOutcome::WentBack,
                ConfigOutcome::Replaced,
            ]
        );
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_one_in_force_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(folder.path());
        ledger.open().unwrap();
        for _ in 0..3 {
            ledger.add(&master(), &record(Manner::Applied)).unwrap();
        }
        ledger.put_in_force(2).unwrap();
        for _ in 0..KEPT {
            ledger.add(&master(), &record(Manner::Tried)).unwrap();
        }
        assert!(ledger.read(1).is_err() && ledger.read(3).is_err());
        assert_eq!(ledger.in_force().unwrap().unwrap().number, 2);
        assert!(ledger.entries(None).unwrap().len() <= KEPT + 1);
        let another = ledger.add(&master(), &record(Manner::Tried)).unwrap();
        assert_eq!(another, 4 + KEPT as u64);
    }

    #[test]
    fn a_damaged_document_is_told_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(folder.path());
        ledger.open().unwrap();
        ledger.add(&master(), &record(Manner::Applied)).unwrap();
        ledger.put_in_force(1).unwrap();
        fs::write(folder.path().join("history/1.toml"), "schema = 1\n").unwrap();
        let error = ledger.in_force().unwrap_err().to_string();
        assert!(error.contains("history/1.toml:"), "{error}");
    }

    #[test]
    fn one_that_was_in_force_before_stands_in_for_a_damaged_one() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(folder.path());
        ledger.open().unwrap();
        for _ in 0..3 {
            ledger.add(&master(), &record(Manner::Begun)).unwrap();
        }
        ledger.put_in_force(1).unwrap();
        ledger.put_in_force(3).unwrap();
        fs::write(folder.path().join("history/3.toml"), "").unwrap();
        assert_eq!(ledger.in_force().unwrap().unwrap().number, 1);
        assert_eq!(ledger.in_force_number(), Some(3));
    }

    #[test]
    fn a_damaged_record_costs_no_config() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(folder.path());
        ledger.open().unwrap();
        ledger.add(&master(), &record(Manner::Begun)).unwrap();
        ledger.put_in_force(1).unwrap();
        fs::write(folder.path().join("history/1.json"), [0xff; 9]).unwrap();
        let kept = ledger.in_force().unwrap().unwrap();
        assert_eq!((kept.config, kept.record), (master(), None));
        assert_eq!(ledger.entries(None).unwrap().len(), 1);
    }

    #[test]
    fn what_could_not_be_read_again_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(folder.path());
        ledger.open().unwrap();
        let mut config = master();
        let root = config.trust.cluster.roots[0].clone();
        config.trust.cluster.roots = vec![root; 1000];
        let refused = ledger.add(&config, &record(Manner::Begun)).unwrap_err();
        assert!(refused.to_string().contains("can be kept"), "{refused}");
    }
}
