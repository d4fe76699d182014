//! Looking at pressure while there is some, and killing for it.

use std::collections::{BTreeMap, BTreeSet};

use spec_unit::directive::resource::managed_oom::Preference;
use spec_unit::name::UnitType;

use super::super::super::node::read_bounded;
use super::super::super::supervise::Host as _;
use super::super::Supervisor;
use crate::log::Level;
use crate::pressure::reading::{Memory, averages, field, scanned_for_node};
use crate::pressure::{
    AFTER_KILL_US, CALM_US, Candidate, Evidence, INTERVAL_US, Verdict, by_reclaim, by_swap,
};

/// Most bytes read of /proc/vmstat and /proc/meminfo, which take some four thousand.
const MAX_BYTES: usize = 1 << 16;

impl Supervisor {
    /// Looks at all that is watched, if that is due.
    pub(in super::super) fn look_at_pressure(&mut self) {
        let now = self.host.now_us();
        if self.pressure.next_us.is_none_or(|at| at > now) {
            return;
        }
        // What is stopped gives its memory back.
        if self.shutdown.is_some() {
            self.pressure.next_us = None;
            return;
        }
        self.pressure.next_us = Some(now.saturating_add(INTERVAL_US));
        let verdicts = self.look(now);
        let wait = self.pressure.killed_us;
        let wait = wait.is_some_and(|at| now.saturating_sub(at) < AFTER_KILL_US);
        let known = !self.pressure.scanned.is_empty();
        let candidates = match wait {
            true => Vec::new(),
            false => self.candidates(&verdicts),
        };
        let mut killed = !wait && self.kill_for_swap(now);
        let due = verdicts.iter();
        for (unit, _) in due.filter(|(_, verdict)| **verdict == Verdict::Due) {
            // What is reclaimed shows in two looks.
            if known && !killed && !wait {
                killed = self.kill_for_pressure(unit, &candidates, now);
            }
        }
        let calm = verdicts.values().all(|verdict| *verdict == Verdict::Calm);
        if calm && now.saturating_sub(self.pressure.told_us) >= CALM_US {
            self.pressure.next_us = None;
        }
    }

    fn look(&mut self, now_us: u64) -> BTreeMap<String, Verdict> {
        let cgroups = &self.host.cgroups;
        let vmstat = self.proc("vmstat");
        let mut verdicts = BTreeMap::new();
        for (unit, watch) in &mut self.pressure.watches {
            let group = &watch.group;
            let count = match watch.rule.evidence {
                Evidence::Node => vmstat.as_deref().and_then(scanned_for_node),
                Evidence::Reclaim => cgroups
                    .read(group, "memory.stat")
                    .and_then(|text| field(&text, "pgscan")),
                Evidence::Limit => cgroups
                    .read(group, "memory.events.local")
                    .and_then(|text| field(&text, "max")),
            };
            let full = cgroups.read(group, "memory.pressure");
            let full = full.and_then(|text| averages(&text, "full"));
            let pressure = full.map_or(0, |full| full.avg10);
            let verdict = watch.seen.look(&watch.rule, now_us, pressure, count);
            watch.said &= watch.seen.since_us.is_some();
            verdicts.insert(unit.clone(), verdict);
        }
        verdicts
    }

    fn proc(&self, file: &str) -> Option<String> {
        let bytes = read_bounded(&self.config.proc.join(file), MAX_BYTES).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// Those who may be killed for what will be due soon, with what was reclaimed since the last look.
    fn candidates(&mut self, verdicts: &BTreeMap<String, Verdict>) -> Vec<Candidate> {
        let near = |unit: &&String| {
            let verdict = verdicts.get(*unit);
            matches!(verdict, Some(Verdict::Near | Verdict::Due))
        };
        let watches = self.pressure.watches.iter();
        let groups = watches
            .filter(|(unit, _)| near(unit))
            .flat_map(|(_, watch)| self.host.cgroups.killable(&watch.group));
        let groups: BTreeSet<String> = groups.collect();
        let before = std::mem::take(&mut self.pressure.scanned);
        let mut found: Vec<Candidate> = groups
            .into_iter()
            .map(|group| self.candidate(group))
            .collect();
        for candidate in &mut found {
            let (group, now) = (candidate.group.clone(), candidate.scanned);
            // What was reclaimed of one that was not looked at before may be years old.
            let before = before.get(&group);
            candidate.scanned = before.map_or(0, |before| now.checked_sub(*before).unwrap_or(now));
            self.pressure.scanned.insert(group, now);
        }
        found
    }

    /// A group and what it has; all that was ever reclaimed.
    fn candidate(&self, group: String) -> Candidate {
        let cgroups = &self.host.cgroups;
        let owner = self.owner_of(&group);
        let owner = owner.and_then(|id| Some((id, self.graph.unit(id)?)));
        let owner = owner.filter(|(_, unit)| unit.kind == UnitType::Service);
        let number = |file: &str| cgroups.read(&group, file)?.trim().parse().ok();
        let stat = cgroups.read(&group, "memory.stat");
        Candidate {
            unit: owner.map(|(id, _)| id),
            preference: owner.map_or(Preference::None, |(_, unit)| {
                unit.service.resources.managed_oom.preference
            }),
            scanned: stat.and_then(|stat| field(&stat, "pgscan")).unwrap_or(0),
            memory: number("memory.current").unwrap_or(0),
            swap: number("memory.swap.current").unwrap_or(0),
            group,
        }
    }

    /// Kills one of those below a group that has waited for too long; whether there was one.
    fn kill_for_pressure(&mut self, unit: &str, candidates: &[Candidate], now_us: u64) -> bool {
        let Some(watch) = self.pressure.watches.get_mut(unit) else {
            return false;
        };
        let rule = &watch.rule;
        let candidates = candidates.iter();
        let candidates = candidates.filter(|one| below(&one.group, &watch.group));
        let candidates: Vec<Candidate> = candidates.cloned().collect();
        let why = format!(
            "{unit} waited for memory {} of the last 10 s and more than {} for {} s",
            percent(watch.seen.pressure),
            percent(rule.limit),
            rule.duration_us / 1_000_000
        );
        let Some(chosen) = by_reclaim(&candidates) else {
            if !std::mem::replace(&mut watch.said, true) {
                crate::warning!("{why}; none of its groups may be killed for that");
            }
            return false;
        };
        let most = format!(
            "of {} groups most is reclaimed from {}, {} pages since the last look",
            candidates.len(),
            chosen.group,
            chosen.scanned
        );
        self.kill_group(chosen, &format!("{why}; {most}"), now_us)
    }

    /// Kills who has most swap, where memory and swap are at their end; whether there was one.
    fn kill_for_swap(&mut self, now_us: u64) -> bool {
        if self.pressure.swap.is_empty() {
            return false;
        }
        let memory = self.proc("meminfo").and_then(|text| Memory::of(&text));
        let Some(memory) = memory.filter(Memory::is_short) else {
            return false;
        };
        let watched = self.pressure.swap.values();
        let groups = watched.flat_map(|group| self.host.cgroups.killable(group));
        let groups: BTreeSet<String> = groups.collect();
        let candidates = groups.into_iter().map(|group| self.candidate(group));
        let candidates: Vec<Candidate> = candidates.collect();
        let Some(chosen) = by_swap(&candidates, memory.swap) else {
            return false;
        };
        let why = format!(
            "of {} memory {} is left and of {} swap {}; of {} groups {} has most swap, {}",
            mib(memory.total),
            mib(memory.available),
            mib(memory.swap),
            mib(memory.swap_free),
            candidates.len(),
            chosen.group,
            mib(chosen.swap)
        );
        self.kill_group(chosen, &why, now_us)
    }

    /// Kills all of a group at once, says why, and lets its service draw what follows (OOMPolicy=).
    fn kill_group(&mut self, chosen: &Candidate, why: &str, now_us: u64) -> bool {
        let Candidate { group, memory, .. } = chosen;
        let name = chosen.unit.map_or(group.as_str(), |id| self.name_of(id));
        let name = name.to_string();
        let what = format!("killed for want of memory, with {}: {why}", mib(*memory));
        if let Err(cause) = self.host.cgroups.kill(group) {
            crate::error!("{name} is not {what}: cgroup.kill: {cause}");
            return false;
        }
        self.pressure.killed_us = Some(now_us);
        self.host.say(Level::Error, &name, &what);
        if let Some(id) = chosen.unit {
            let of = self.states.get(id).and_then(|state| state.cgroup.as_ref());
            let whole = of == Some(group);
            self.with_machine(id, |machine| machine.killed_for_pressure(whole, &what));
        }
        true
    }
}

/// Whether a group is this one, or below it; all are below the root.
fn below(group: &str, other: &str) -> bool {
    let rest = group.strip_prefix(other);
    rest.is_some_and(|rest| other.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

fn percent(hundredths: u32) -> String {
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20)
}
