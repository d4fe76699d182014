//! Loading units: where their files are, aliases, templates, masks, drop-ins, `.wants` folders, implied dependencies.
//!
//! Pure: files come from a [`UnitSource`], which is the node's file system in PID 1 and the tree in memory at build.
//! A [`Loader`] lists the folders once; make a new one to see later changes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::directive::resource::{slice_of, slice_path};
use crate::directive::service::{PID_FILES, ServiceType};
use crate::directive::{self, dependency::Relation, mount_point};
use crate::finding::{Finding, Place, Severity};
use crate::name::{UnitName, UnitType, drop_in_folders};
use crate::parse::{Parsed, parse};
use crate::specifier::{Facts, Specifiers};
use crate::unit::{LoadState, Unit};

/// Folders of unit files; earlier ones win.
pub const FOLDERS: [&str; 3] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
];
/// Longest chain of aliases.
const MAX_ALIASES: usize = 8;
/// Most drop-ins of one unit.
const MAX_DROP_INS: usize = 256;

/// What stands in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A symbolic link.
    Link,
    /// A folder.
    Folder,
}

/// Where unit files come from.
pub trait UnitSource {
    /// Names in a folder; none if there is no such folder.
    fn list(&self, folder: &str) -> Result<Vec<(String, EntryKind)>, String>;
    /// The target of a symbolic link, as it is written.
    fn link(&self, path: &str) -> Result<String, String>;
    /// A file's bytes, links followed, at most [`crate::parse::MAX_FILE`] and one; none if it does not exist.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String>;
}

/// A loaded unit and what was found in its files.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The unit, whatever its [`LoadState`].
    pub unit: Unit,
    /// Warnings and refusals.
    pub findings: Vec<Finding>,
}

/// Loads units out of the folders as they were when it was made.
pub struct Loader<'a> {
    source: &'a dyn UnitSource,
    facts: &'a Facts,
    folders: Vec<(&'static str, BTreeMap<String, EntryKind>)>,
    aliases: BTreeMap<String, String>,
    masked: BTreeSet<String>,
    allowed: BTreeSet<String>,
    mounted: BTreeSet<String>,
    /// The file that was parsed last: the instances of a template come one after another.
    last: RefCell<Option<(String, Rc<Parsed>)>>,
}

impl<'a> Loader<'a> {
    /// Lists the folders and reads the links in them.
    pub fn new(source: &'a dyn UnitSource, facts: &'a Facts) -> Result<Self, String> {
        let mut folders = Vec::new();
        for folder in FOLDERS {
            folders.push((
                folder,
                source.list(folder)?.into_iter().collect::<BTreeMap<_, _>>(),
            ));
        }
        let (aliases, masked, allowed) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut loader = Self {
            source,
            facts,
            folders,
            aliases,
            masked,
            allowed,
            mounted: BTreeSet::new(),
            last: RefCell::default(),
        };
        loader.read_links()?;
        Ok(loader)
    }

    /// Units that run although they ask for isolation that is not implemented; a template stands for its instances.
    pub fn allow(mut self, units: impl IntoIterator<Item = String>) -> Self {
        self.allowed.extend(units);
        self
    }

    /// Mount units that need no file: something is mounted there.
    pub fn mounted(mut self, units: BTreeSet<String>) -> Self {
        self.mounted = units;
        self
    }

    fn read_links(&mut self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for (folder, entries) in &self.folders {
            for (name, kind) in entries {
                if UnitName::parse(name).is_err()
                    || !seen.insert(name.clone())
                    || *kind != EntryKind::Link
                {
                    continue;
                }
                let target = self.source.link(&format!("{folder}/{name}"))?;
                let base = target.rsplit('/').next().unwrap_or_default();
                if target == "/dev/null" {
                    self.masked.insert(name.clone());
                } else if base != name && UnitName::parse(base).is_ok() && in_unit_folder(&target) {
                    self.aliases.insert(name.clone(), base.into());
                }
            }
        }
        Ok(())
    }

    /// The name a unit goes by after its aliases; an instance follows the alias of its template.
    pub fn canonical(&self, name: &UnitName) -> Result<UnitName, String> {
        let mut current = name.clone();
        for _ in 0..MAX_ALIASES {
            let direct = self
                .aliases
                .get(&current.to_string())
                .map(|target| UnitName::parse(target))
                .transpose()?;
            let instance = current.instance.clone();
            let next = match direct {
                Some(next) => Some(next),
                None => match current
                    .template()
                    .and_then(|template| self.aliases.get(&template.to_string()))
                {
                    Some(target) => Some(UnitName::parse(target)?),
                    None => None,
                },
            };
            match next {
                None => return Ok(current),
                Some(next) if next.is_template() => {
                    current = next.with_instance(instance.as_deref().unwrap_or(""))
                }
                Some(next) => current = next,
            }
        }
        Err(format!(
            "{name}: more than {MAX_ALIASES} aliases one behind the other"
        ))
    }

    /// Loads a unit; what is wrong is said in its state and the findings.
    pub fn load(&self, name: &str) -> Result<Loaded, String> {
        let asked = UnitName::parse(name)?;
        if asked.is_template() {
            return Err(format!("{name} is a template; name an instance of it"));
        }
        let name = self.canonical(&asked)?;
        let mut unit = Unit::new(&name.to_string(), name.kind);
        unit.aliases = self.aliases_of(&name);
        if asked != name && !unit.aliases.contains(&asked.to_string()) {
            unit.aliases.push(asked.to_string());
        }
        let mut findings = Vec::new();
        self.read_into(&mut unit, &name, &mut findings)?;
        if unit.load == LoadState::Loaded {
            self.settle(&mut unit, &name, &mut findings);
        }
        Ok(Loaded { unit, findings })
    }

    fn aliases_of(&self, name: &UnitName) -> Vec<String> {
        let own = name.to_string();
        let template = name.template().map(|template| template.to_string());
        let leads_here = |(alias, _): &(&String, &String)| {
            let parsed = UnitName::parse(alias).and_then(|alias| self.canonical(&alias));
            parsed.is_ok_and(|target| target.to_string() == own)
        };
        let of_template = self
            .aliases
            .iter()
            .filter(|(_, target)| template.as_ref() == Some(target));
        let instance = name.instance.as_deref().unwrap_or_default();
        let of_template = of_template.filter_map(|(alias, _)| UnitName::parse(alias).ok());
        let of_template = of_template.map(|alias| alias.with_instance(instance).to_string());
        self.aliases
            .iter()
            .filter(leads_here)
            .map(|(alias, _)| alias.clone())
            .chain(of_template)
            .collect()
    }

    /// The path of the file that stands for a name.
    fn fragment(&self, name: &UnitName) -> Option<String> {
        let names = [
            Some(name.to_string()),
            name.template().map(|template| template.to_string()),
        ];
        let find = |name: &String| {
            self.folders
                .iter()
                .find(|(_, entries)| entries.contains_key(name))
        };
        names
            .iter()
            .flatten()
            .find_map(|name| find(name).map(|(folder, _)| format!("{folder}/{name}")))
    }

    fn is_masked(&self, name: &UnitName) -> bool {
        let template = name.template().map(|template| template.to_string());
        self.masked.contains(&name.to_string())
            || template.is_some_and(|template| self.masked.contains(&template))
    }

    fn read_into(
        &self,
        unit: &mut Unit,
        name: &UnitName,
        findings: &mut Vec<Finding>,
    ) -> Result<(), String> {
        let Some(path) = self.fragment(name) else {
            if name.kind.needs_no_file() || self.mounted.contains(&name.to_string()) {
                return self.read_beside(unit, name, findings);
            }
            unit.load = LoadState::NotFound;
            unit.reason = Some(format!("there is no {name} in {}", FOLDERS.join(", ")));
            return Ok(());
        };
        unit.fragment = Some(path.clone());
        let parsed = if self.is_masked(name) {
            None
        } else {
            self.parsed(&path)?
        };
        let Some(parsed) = parsed else {
            unit.load = LoadState::Masked;
            unit.reason = Some(format!("{path} is empty or links to /dev/null"));
            return Ok(());
        };
        if !name.kind.runs() {
            unit.load = LoadState::Error;
            unit.reason = Some(format!(
                "{path}: units of type {} are not run by PID 1 yet",
                name.kind.suffix()
            ));
            return Ok(());
        }
        self.apply_file(unit, name, &path, &parsed, findings);
        self.read_beside(unit, name, findings)
    }

    /// What stands beside a unit's own file, whether it has one or not.
    fn read_beside(
        &self,
        unit: &mut Unit,
        name: &UnitName,
        findings: &mut Vec<Finding>,
    ) -> Result<(), String> {
        for path in self.drop_ins(name, &unit.aliases)? {
            if let Some(bytes) = self.source.read(&path)? {
                self.apply_file(unit, name, &path, &parse(&path, &bytes), findings);
                unit.drop_ins.push(path);
            }
        }
        self.read_dependency_folders(unit)
    }

    /// What is in a file; none if there is no such file, or an empty one.
    fn parsed(&self, path: &str) -> Result<Option<Rc<Parsed>>, String> {
        if let Some((last, parsed)) = &*self.last.borrow()
            && last == path
        {
            return Ok(Some(Rc::clone(parsed)));
        }
        let bytes = self.source.read(path)?;
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return Ok(None);
        };
        let parsed = Rc::new(parse(path, &bytes));
        *self.last.borrow_mut() = Some((path.to_string(), Rc::clone(&parsed)));
        Ok(Some(parsed))
    }

    fn apply_file(
        &self,
        unit: &mut Unit,
        name: &UnitName,
        path: &str,
        parsed: &Parsed,
        findings: &mut Vec<Finding>,
    ) {
        if let Some(finding) = parsed
            .findings
            .iter()
            .find(|finding| finding.severity == Severity::Error)
        {
            unit.refusals.insert(path.into(), finding.clone());
        }
        let mild = parsed.findings.iter();
        let mild = mild.filter(|finding| finding.severity != Severity::Error);
        findings.extend(mild.cloned());
        let fragment = unit.fragment.clone().unwrap_or_default();
        let specifiers = Specifiers {
            name,
            fragment: &fragment,
            facts: self.facts,
        };
        for assignment in &parsed.assignments {
            findings.extend(directive::apply(unit, assignment, &specifiers));
        }
    }

    /// Paths of the drop-ins in the order they apply: by file name; of the same name the most important one.
    fn drop_ins(&self, name: &UnitName, aliases: &[String]) -> Result<Vec<String>, String> {
        let mut wanted = drop_in_folders(name);
        for alias in aliases
            .iter()
            .filter_map(|alias| UnitName::parse(alias).ok())
        {
            wanted.extend(drop_in_folders(&alias));
        }
        // The type's own folder is the least specific.
        wanted.sort_by_key(|folder| *folder == format!("{}.d", name.kind.suffix()));
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for (folder, entries) in &self.folders {
            for drop_in in wanted
                .iter()
                .filter(|drop_in| entries.contains_key(*drop_in))
            {
                for (file, _) in self.source.list(&format!("{folder}/{drop_in}"))? {
                    if file.ends_with(".conf") && found.len() < MAX_DROP_INS {
                        let path = format!("{folder}/{drop_in}/{file}");
                        found.entry(file).or_insert(path);
                    }
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// Links in `.wants`, `.requires` and `.upholds` folders.
    fn read_dependency_folders(&self, unit: &mut Unit) -> Result<(), String> {
        let kinds = [
            ("wants", Relation::Wants),
            ("requires", Relation::Requires),
            ("upholds", Relation::Upholds),
        ];
        let names: Vec<String> = std::iter::once(unit.name.clone())
            .chain(unit.aliases.iter().cloned())
            .collect();
        for (suffix, relation) in kinds {
            for (folder, entries) in &self.folders {
                for wanted in names
                    .iter()
                    .map(|name| format!("{name}.{suffix}"))
                    .filter(|n| entries.contains_key(n))
                {
                    let mut links = self.source.list(&format!("{folder}/{wanted}"))?;
                    links.sort_by(|left, right| left.0.cmp(&right.0));
                    for (link, kind) in links {
                        let path = format!("{folder}/{wanted}/{link}");
                        let masked =
                            kind == EntryKind::Link && self.source.link(&path)? == "/dev/null";
                        let fine = UnitName::parse(&link).is_ok_and(|name| !name.is_template());
                        if fine && !masked && !unit.dependencies.has(relation, &link) {
                            let at = Place::new(&path, 0);
                            let dependency = directive::dependency::Dependency {
                                relation,
                                on: link,
                                at,
                                implied: false,
                            };
                            unit.dependencies.list.push(dependency);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// What follows from the whole: refusals, impossible combinations, implied dependencies.
    fn settle(&self, unit: &mut Unit, name: &UnitName, findings: &mut Vec<Finding>) {
        let template = name.template().map(|template| template.to_string());
        let allowed = self.allowed.contains(&unit.name)
            || template.is_some_and(|template| self.allowed.contains(&template));
        if allowed {
            let isolation = unit
                .refusals
                .extract_if(.., |_, finding| finding.severity == Severity::Isolation);
            findings.extend(isolation.map(|(_, finding)| {
                Finding::warning(
                    finding.at,
                    format!(
                        "{} (allowed by the recipe: runs without it)",
                        finding.message
                    ),
                )
            }));
        }
        let wrong = match unit.kind {
            UnitType::Service => contradiction(unit),
            UnitType::Slice => not_a_slice(name),
            UnitType::Mount => mount_point::contradiction(unit),
            _ => None,
        };
        if let Some(message) = wrong {
            unit.refusals
                .insert(String::new(), Finding::error(unit.place(), message));
        }
        if let Some(finding) = unit
            .refusals
            .values()
            .max_by_key(|finding| finding.severity)
        {
            unit.load = LoadState::BadSetting;
            unit.reason = Some(finding.to_string());
        }
        findings.extend(unit.refusals.values().cloned());
        let at = unit.place();
        let paths = match unit.kind {
            UnitType::Mount => mount_point::imply(unit, &at),
            UnitType::Service => paths(unit),
            _ => Vec::new(),
        };
        let mut mounts = unit.dependencies.mounts.clone();
        mounts.extend(paths.into_iter().map(|path| (path, true, at.clone())));
        for (path, required, at) in mounts {
            self.need_mounts(unit, &path, required, &at);
        }
        imply(unit);
    }

    /// The mount units of a path and of all folders above it, as far as there are files of them. Without one nothing is to
    /// be started: what is mounted there is, whatever its unit says.
    fn need_mounts(&self, unit: &mut Unit, path: &str, required: bool, at: &Place) {
        let ends = path.match_indices('/').map(|(end, _)| end);
        for end in ends.chain([path.len()]) {
            let Some(name) =
                crate::name::of_path(path.get(..end).unwrap_or_default(), UnitType::Mount)
            else {
                continue;
            };
            let there = UnitName::parse(&name).is_ok_and(|name| self.fragment(&name).is_some());
            if name == unit.name || !there || self.masked.contains(&name) {
                continue;
            }
            let relation = if required {
                Relation::Requires
            } else {
                Relation::Wants
            };
            unit.dependencies.imply(relation, &name, at.clone());
            unit.dependencies.imply(Relation::After, &name, at.clone());
        }
    }
}

/// Folders that a service needs, systemd.exec(5) "Implicit Dependencies".
fn paths(unit: &Unit) -> Vec<String> {
    let service = &unit.service;
    let mut paths: Vec<String> = service.root.directory.iter().cloned().collect();
    let working = &service.working_directory;
    paths.extend(
        working
            .path
            .clone()
            .filter(|path| path.starts_with('/') && !working.missing_ok),
    );
    paths.extend(service.directories.paths());
    paths
}

fn in_unit_folder(target: &str) -> bool {
    match target.rsplit_once('/') {
        None => true,
        Some((folder, _)) => {
            !folder.starts_with('/') || FOLDERS.contains(&folder) || folder == "/lib/systemd/system"
        }
    }
}

/// Why this can be no slice.
fn not_a_slice(name: &UnitName) -> Option<String> {
    let refused = slice_path(&name.to_string()).is_err();
    let why = "is not the name of a slice: no \"-\" stands at its ends or beside another one, and there are no templates";
    refused.then(|| format!("{name} {why}; the unit is refused"))
}

fn contradiction(unit: &Unit) -> Option<String> {
    let service = &unit.service;
    let has_start = !service.exec.start.is_empty();
    let kind = service.kind.kind(has_start);
    if !has_start
        && (kind != ServiceType::Oneshot
            || service.exec.stop.is_empty() && !service.kind.remain_after_exit)
    {
        return Some("has no ExecStart=; the unit is refused".into());
    }
    if service.exec.start.len() > 1 && kind != ServiceType::Oneshot {
        return Some(
            "has more than one ExecStart=, which only Type=oneshot may; the unit is refused".into(),
        );
    }
    if service.kind.ends_with_group && kind == ServiceType::Oneshot {
        return Some("has ExitType=cgroup, which Type=oneshot may not; the unit is refused".into());
    }
    let file = service.kind.pid_file.as_ref();
    let file = file.filter(|file| kind == ServiceType::Forking && !file.starts_with(PID_FILES));
    file.map(|file| {
        format!("has PIDFile={file}, which is not below {PID_FILES}; the unit is refused")
    })
}

/// Adds the dependencies that nobody writes down, systemd.service(5), systemd.target(5) "Default Dependencies".
fn imply(unit: &mut Unit) {
    let at = unit.place();
    // A device goes when it goes, whatever shuts down.
    if unit.kind == UnitType::Device {
        return;
    }
    if let Some(slice) = slice_of(unit) {
        let dependencies = &mut unit.dependencies;
        dependencies.imply(Relation::Requires, &slice, at.clone());
        dependencies.imply(Relation::After, &slice, at.clone());
    }
    // What is always there does not go at a shutdown either.
    if unit.is_perpetual() {
        unit.dependencies.default = false;
    }
    if !unit.dependencies.default {
        return;
    }
    let dependencies = &mut unit.dependencies;
    if unit.kind == UnitType::Service {
        dependencies.imply(Relation::Requires, "sysinit.target", at.clone());
        dependencies.imply(Relation::After, "sysinit.target", at.clone());
        dependencies.imply(Relation::After, "basic.target", at.clone());
    }
    // A mount has umount.target instead.
    if unit.name != "shutdown.target" && unit.kind != UnitType::Mount {
        dependencies.imply(Relation::Conflicts, "shutdown.target", at.clone());
        dependencies.imply(Relation::Before, "shutdown.target", at);
    }
}

#[cfg(test)]
pub(crate) mod tests;
