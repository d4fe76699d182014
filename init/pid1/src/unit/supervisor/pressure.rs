//! Want of memory: which groups are watched, and what is done when one has waited for too long ([`crate::pressure`]).

use std::collections::BTreeMap;
use std::fs::File;

use serde::{Deserialize, Serialize};
use spec_unit::directive::resource::ROOT_SLICE;
use spec_unit::directive::resource::managed_oom::ManagedOom;
use spec_unit::graph::UnitId;
use spec_unit::name::UnitType;

use super::super::supervise::Host as _;
use super::Supervisor;
use crate::event::Source;
use crate::pressure::{OF_NODE, Rule, Seen, swap_trigger};

/// The number of the trigger for swap; those of groups come after it.
const SWAP: u32 = 0;

/// A group that is watched.
#[derive(Debug)]
struct Watch {
    group: String,
    rule: Rule,
    seen: Seen,
    /// It was said that nobody may be killed for it.
    said: bool,
    number: u32,
    /// Tells of pressure. Without one the group is looked at while others are.
    trigger: Option<File>,
}

/// What PID 1 knows of want of memory.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// By the unit whose group it is.
    watches: BTreeMap<String, Watch>,
    /// Groups of units with ManagedOOMSwap=kill, by unit.
    swap: BTreeMap<String, String>,
    swap_trigger: Option<File>,
    /// The last number that a trigger was given.
    last: u32,
    /// When the next look is due, while there is pressure.
    next_us: Option<u64>,
    /// When a trigger has told last.
    told_us: u64,
    /// When somebody was killed last.
    killed_us: Option<u64>,
    /// Pages looked through of each group that may be killed, last time.
    scanned: BTreeMap<String, u64>,
    /// What another image of PID 1 knew of groups that are not watched yet.
    before: BTreeMap<String, u64>,
}

/// What the next image of PID 1 goes on with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Record {
    /// Since when a unit's group is above its limit, CLOCK_MONOTONIC.
    above_us: BTreeMap<String, u64>,
    killed_us: Option<u64>,
    looks: bool,
}

impl Pressure {
    pub(super) fn record(&self) -> Record {
        let above = self.watches.iter();
        let above = above.filter_map(|(unit, watch)| Some((unit.clone(), watch.seen.since_us?)));
        Record {
            above_us: above.collect(),
            killed_us: self.killed_us,
            looks: self.next_us.is_some(),
        }
    }

    /// When there is something to do.
    pub(super) fn next_us(&self) -> Option<u64> {
        self.next_us
    }

    fn is_watched(&self, unit: &str, group: &str, rule: &Rule) -> bool {
        let watch = self.watches.get(unit);
        watch.is_some_and(|watch| watch.group == group && watch.rule == *rule)
    }
}

impl Supervisor {
    /// Watches what is watched without any unit that asks, and goes on where another image of PID 1 was.
    pub(super) fn begin_pressure(&mut self, record: Record) {
        let now = self.host.now_us();
        self.pressure.killed_us = record.killed_us;
        self.pressure.before = record.above_us;
        for unit in OF_NODE {
            let group = if unit == ROOT_SLICE { "" } else { unit };
            self.watch_group(unit, group, &ManagedOom::default());
        }
        let ids: Vec<UnitId> = self.graph.units().map(|(id, _)| id).collect();
        for id in ids {
            self.watch_pressure(id);
        }
        self.pressure.before.clear();
        if record.looks {
            (self.pressure.next_us, self.pressure.told_us) = (Some(now), now);
        }
    }

    /// A unit came up or went down: its group is watched as it says, or no more.
    pub(super) fn watch_pressure(&mut self, id: UnitId) {
        let (Some(unit), Some(state)) = (self.graph.unit(id), self.states.get(id)) else {
            return;
        };
        let of_node = OF_NODE.contains(&unit.name.as_str());
        let managed = &unit.service.resources.managed_oom;
        let group = match unit.kind {
            UnitType::Slice if unit.name == ROOT_SLICE => Some(""),
            UnitType::Slice if of_node => Some(unit.name.as_str()),
            UnitType::Slice | UnitType::Service => state.cgroup.as_deref(),
            _ => return,
        };
        let (name, managed, group) = (unit.name.clone(), managed.clone(), group.map(String::from));
        match group.filter(|_| of_node || !state.phase.is_down()) {
            Some(group) => self.watch_group(&name, &group, &managed),
            None => self.watch_group(&name, "", &ManagedOom::default()),
        }
    }

    /// Watches the group of a unit for what is said of it, or no more.
    fn watch_group(&mut self, unit: &str, group: &str, managed: &ManagedOom) {
        let none = self.pressure.swap.is_empty();
        match managed.swap {
            Some(true) => drop(self.pressure.swap.insert(unit.into(), group.into())),
            _ => drop(self.pressure.swap.remove(unit)),
        }
        if none != self.pressure.swap.is_empty() {
            self.watch_swap();
        }
        let rule = Rule::of(unit, managed);
        match rule {
            Some(rule) if self.pressure.is_watched(unit, group, &rule) => {}
            Some(rule) => {
                self.unwatch_group(unit);
                self.add_watch(unit, group, rule);
            }
            None => self.unwatch_group(unit),
        }
    }

    fn add_watch(&mut self, unit: &str, group: &str, rule: Rule) {
        self.pressure.last = self.pressure.last.wrapping_add(1).max(SWAP + 1);
        let number = self.pressure.last;
        let trigger = self.arm_trigger(unit, group, &rule.trigger(), number);
        let seen = Seen::since(self.pressure.before.get(unit).copied());
        let watch = Watch {
            group: group.into(),
            rule,
            seen,
            said: false,
            number,
            trigger,
        };
        self.pressure.watches.insert(unit.into(), watch);
    }

    fn unwatch_group(&mut self, unit: &str) {
        let watch = self.pressure.watches.remove(unit);
        if let Some(trigger) = watch.and_then(|watch| watch.trigger) {
            self.host.events.remove(&trigger);
        }
    }

    /// For groups with ManagedOOMSwap=kill the node is watched for any wait.
    fn watch_swap(&mut self) {
        let wanted = !self.pressure.swap.is_empty();
        match self.pressure.swap_trigger.take() {
            None if wanted => {
                self.pressure.swap_trigger =
                    self.arm_trigger(ROOT_SLICE, "", &swap_trigger(), SWAP);
            }
            Some(trigger) if !wanted => self.host.events.remove(&trigger),
            kept => self.pressure.swap_trigger = kept,
        }
    }

    fn arm_trigger(&self, unit: &str, group: &str, line: &str, number: u32) -> Option<File> {
        let trigger = self.host.cgroups.watch_pressure(group, line);
        let armed = trigger.and_then(|trigger| {
            let source = Source::Pressure(number);
            self.host.events.add_change(&trigger, source)?;
            Ok(trigger)
        });
        armed
            .map_err(|cause| match unit {
                ROOT_SLICE => crate::warning!(
                    "memory pressure: {cause}; when memory is short only the kernel kills. psi=1 on the kernel \
                     command line switches it on, where the kernel has CONFIG_PSI"
                ),
                _ => crate::debug!("{unit}: memory pressure: {cause}"),
            })
            .ok()
    }

    /// A trigger tells: from now on pressure is looked at.
    pub(super) fn pressure_told(&mut self, number: u32) {
        let now = self.host.now_us();
        self.pressure.told_us = now;
        self.pressure.next_us.get_or_insert(now);
        let watches = &mut self.pressure.watches;
        let told = watches.values_mut().find(|watch| watch.number == number);
        // The trigger of a group that is gone tells for ever.
        if let Some(watch) = told.filter(|watch| !self.host.cgroups.exists(&watch.group))
            && let Some(trigger) = watch.trigger.take()
        {
            self.host.events.remove(&trigger);
        }
    }
}

mod kill;
