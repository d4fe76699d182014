//! Directives that name other units: requirements, ordering, conflicts, reactions.

use serde::{Deserialize, Serialize};

use super::{Directive, Support, Value};
use crate::finding::Place;
use crate::name::UnitName;
use crate::unit::Unit;
use crate::value;

/// How one unit depends on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// Starting this starts the other; its failure fails this.
    Requires,
    /// The other must already be active.
    Requisite,
    /// Starting this tries to start the other.
    Wants,
    /// As Requires; and this stops when the other does, for whatever reason.
    BindsTo,
    /// Stopping or restarting the other does the same to this.
    PartOf,
    /// Starting this tries to start the other, and so does its going down while this is up.
    Upholds,
    /// Starting this stops the other, and the reverse.
    Conflicts,
    /// This starts first and stops last.
    Before,
    /// This starts last and stops first.
    After,
    /// Started when this has failed.
    OnFailure,
    /// Started when this has ended well.
    OnSuccess,
    /// Reloading this reloads the other.
    PropagatesReloadTo,
    /// Reloading the other reloads this.
    ReloadPropagatedFrom,
    /// Stopping the other stops this.
    StopPropagatedFrom,
    /// Stopping this stops the other.
    PropagatesStopTo,
}

impl Relation {
    /// Starting a unit brings the other one in.
    pub fn starts(self) -> bool {
        matches!(
            self,
            Self::Requires | Self::Wants | Self::BindsTo | Self::Upholds
        )
    }

    /// The other's failure to start fails the unit.
    pub fn requires(self) -> bool {
        matches!(self, Self::Requires | Self::BindsTo | Self::Requisite)
    }
}

/// One dependency and the line it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// How.
    pub relation: Relation,
    /// On whom.
    pub on: String,
    /// Where it is written; the link in a `.wants` folder; or the unit file for an implied one.
    pub at: Place,
    /// It follows from DefaultDependencies= or the unit's type.
    pub implied: bool,
}

/// All that names other units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependencies {
    /// In the order they were read.
    pub list: Vec<Dependency>,
    /// The usual dependencies on sysinit.target, basic.target and shutdown.target are added.
    pub default: bool,
    /// A request to start it by hand is refused.
    pub refuse_manual_start: bool,
    /// A request to stop it by hand is refused.
    pub refuse_manual_stop: bool,
    /// Stopped when nothing needs it any more.
    pub stop_when_unneeded: bool,
    /// RequiresMountsFor= and WantsMountsFor=: paths, whether their mounts are required, and the line.
    pub mounts: Vec<(String, bool, Place)>,
}

impl Default for Dependencies {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            default: true,
            refuse_manual_start: false,
            refuse_manual_stop: false,
            stop_when_unneeded: false,
            mounts: Vec::new(),
        }
    }
}

impl Dependencies {
    /// The units named by one relation.
    pub fn of(&self, relation: Relation) -> impl Iterator<Item = &Dependency> {
        self.list
            .iter()
            .filter(move |dependency| dependency.relation == relation)
    }

    /// Whether this relation to this unit is there already.
    pub fn has(&self, relation: Relation, on: &str) -> bool {
        self.of(relation).any(|dependency| dependency.on == on)
    }

    /// Adds a relation that nobody wrote down.
    pub fn imply(&mut self, relation: Relation, on: &str, at: Place) {
        if !self.has(relation, on) {
            self.list.push(Dependency {
                relation,
                on: on.into(),
                at,
                implied: true,
            });
        }
    }
}

const fn row(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Unit",
        name,
        value: "UNIT...",
        documentation,
        support: Support::Set(add),
    }
}

const fn mounts(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Unit",
        name,
        value: "PATH...",
        documentation,
        support: Support::Set(add_mounts),
    }
}

const fn job_mode(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Unit",
        name,
        value: "replace",
        documentation,
        support: Support::Set(set_job_mode),
    }
}

const fn flag(name: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Unit",
        name,
        value: "BOOLEAN",
        documentation,
        support: Support::Set(set_flag),
    }
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row(
        "Requires",
        "Units started with this one; if one ordered before it fails, this one fails too.",
    ),
    row(
        "Requisite",
        "Units that must be active already, or this one fails.",
    ),
    row(
        "Wants",
        "Units started with this one; their failure does not matter.",
    ),
    row(
        "BindsTo",
        "As Requires=; this unit also stops whenever one of them does.",
    ),
    row(
        "PartOf",
        "Units whose stop or restart does the same to this one.",
    ),
    row(
        "Upholds",
        "Units started with this one, and again whenever they are down while it is up; StartLimitBurst= holds.",
    ),
    row(
        "Conflicts",
        "Units that cannot be active together with this one.",
    ),
    row(
        "Before",
        "Units that start after this one and stop before it.",
    ),
    row(
        "After",
        "Units that start before this one and stop after it.",
    ),
    row("OnFailure", "Units started when this one has failed."),
    row("OnSuccess", "Units started when this one has ended well."),
    job_mode(
        "OnFailureJobMode",
        "OnFailure= replaces jobs in its way; any other mode is ignored with a warning, for nothing is isolated on a node.",
    ),
    job_mode("OnSuccessJobMode", "The same for OnSuccess=."),
    row(
        "PropagatesReloadTo",
        "Units reloaded together with this one.",
    ),
    row(
        "ReloadPropagatedFrom",
        "Units whose reload reloads this one.",
    ),
    row("StopPropagatedFrom", "Units whose stop stops this one."),
    row("PropagatesStopTo", "Units stopped together with this one."),
    mounts(
        "RequiresMountsFor",
        "Mount units of these paths, and of all folders above them, are required and started before. What is mounted without a unit file is there before the first unit starts.",
    ),
    mounts(
        "WantsMountsFor",
        "The same, and the failure of one does not matter.",
    ),
    row("BindTo", "Deprecated: BindsTo=."),
    row("PropagateReloadTo", "Deprecated: PropagatesReloadTo=."),
    row("PropagateReloadFrom", "Deprecated: ReloadPropagatedFrom=."),
    row("RequiresOverridable", "Deprecated: Requires=."),
    row("RequisiteOverridable", "Deprecated: Requisite=."),
    flag(
        "DefaultDependencies",
        "Add the usual dependencies on sysinit.target, basic.target and shutdown.target.",
    ),
    flag("RefuseManualStart", "Refuse to be started by hand."),
    flag("RefuseManualStop", "Refuse to be stopped by hand."),
    flag(
        "StopWhenUnneeded",
        "Stop when no other active unit needs this one.",
    ),
];

/// The relation of a directive of this name.
pub fn relation(name: &str) -> Option<Relation> {
    let relation = match name {
        "Requires" | "RequiresOverridable" => Relation::Requires,
        "Requisite" | "RequisiteOverridable" => Relation::Requisite,
        "Wants" => Relation::Wants,
        "BindsTo" | "BindTo" => Relation::BindsTo,
        "PartOf" => Relation::PartOf,
        "Upholds" => Relation::Upholds,
        "Conflicts" => Relation::Conflicts,
        "Before" => Relation::Before,
        "After" => Relation::After,
        "OnFailure" => Relation::OnFailure,
        "OnSuccess" => Relation::OnSuccess,
        "PropagatesReloadTo" | "PropagateReloadTo" => Relation::PropagatesReloadTo,
        "ReloadPropagatedFrom" | "PropagateReloadFrom" => Relation::ReloadPropagatedFrom,
        "StopPropagatedFrom" => Relation::StopPropagatedFrom,
        "PropagatesStopTo" => Relation::PropagatesStopTo,
        _ => return None,
    };
    Some(relation)
}

fn add(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let relation = relation(value.name).ok_or("has no relation")?;
    for word in value.words()? {
        let on = match UnitName::parse(&word) {
            Ok(on) => instance_for(unit, on).to_string(),
            // One bad name takes no other with it.
            Err(message) => {
                value.warn(message);
                continue;
            }
        };
        if !unit.dependencies.has(relation, &on) && on != unit.name {
            unit.dependencies.list.push(Dependency {
                relation,
                on,
                at: value.at.clone(),
                implied: false,
            });
        }
    }
    Ok(())
}

fn add_mounts(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let required = value.name == "RequiresMountsFor";
    let mounts = &mut unit.dependencies.mounts;
    if value.is_reset() {
        mounts.retain(|(_, kind, _)| *kind != required);
    }
    for word in value.words()? {
        match value::path(&word) {
            Ok(path) => mounts.push((path, required, value.at.clone())),
            Err(message) => value.warn(message),
        }
    }
    Ok(())
}

/// Of a template the instance that this unit is an instance of, or that has this unit's name, as in systemd.
fn instance_for(unit: &Unit, on: UnitName) -> UnitName {
    if !on.is_template() {
        return on;
    }
    match UnitName::parse(&unit.name) {
        Ok(own) => on.with_instance(own.instance.as_deref().unwrap_or(&own.prefix)),
        Err(_) => on,
    }
}

/// Nothing is kept: there is one mode.
fn set_job_mode(_: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    match value.text {
        "" | "replace" => Ok(()),
        other => Err(format!("{other:?} is not possible; it is replace")),
    }
}

fn set_flag(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let on = value::boolean(value.text)?;
    let dependencies = &mut unit.dependencies;
    match value.name {
        "DefaultDependencies" => dependencies.default = on,
        "RefuseManualStart" => dependencies.refuse_manual_start = on,
        "RefuseManualStop" => dependencies.refuse_manual_stop = on,
        _ => dependencies.stop_when_unneeded = on,
    }
    Ok(())
}
