//! The table of directives: how each is parsed, what it does, what people are told about it.
//!
//! One file holds one directive or one tight family: its rows, the settings they fill in, and what these settings
//! make of an [`ExecPlan`]. To add a directive, add a row (and to a new family, a line in [`FAMILIES`]).
//!
//! Unknown is loud: a name that is not in the table is a warning with file and line. A directive that promises
//! isolation and is not implemented refuses the unit; it is never ignored.

use std::cell::RefCell;

use crate::account::Accounts;
use crate::finding::{Finding, Place};
use crate::parse::Assignment;
use crate::plan::ExecPlan;
use crate::specifier::{Facts, Specifiers};
use crate::unit::Unit;

pub mod action;
pub mod address;
pub mod capability;
pub mod condition;
pub mod credential;
pub mod dependency;
pub mod description;
pub mod device;
pub mod directory;
pub mod environment;
pub mod exec;
pub mod exit_status;
pub mod identity;
pub mod image;
pub mod install;
pub mod isolation;
pub mod keyring;
pub mod kill;
pub mod limit;
pub mod mount;
pub mod mount_point;
pub mod namespace;
pub mod notify;
pub mod open_file;
pub mod other;
pub mod process;
pub mod protect;
pub mod resource;
pub mod restart;
pub mod root;
pub mod scheduling;
pub mod seccomp;
pub mod service;
pub mod slice;
pub mod socket;
pub mod start_limit;
pub mod stdio;
pub mod timeout;
pub mod working_directory;

/// One directive.
#[derive(Debug, Clone, Copy)]
pub struct Directive {
    /// Its section.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What its value looks like, for people.
    pub value: &'static str,
    /// What it does, for people.
    pub documentation: &'static str,
    /// What PID 1 makes of it.
    pub support: Support,
}

impl Directive {
    /// A row of \[Service\] that confines what runs.
    const fn wall(
        name: &'static str,
        value: &'static str,
        documentation: &'static str,
        set: fn(&mut Unit, &Value<'_>) -> Result<(), String>,
    ) -> Self {
        Self {
            section: "Service",
            name,
            value,
            documentation,
            support: Support::Confine(set),
        }
    }
}

/// What PID 1 makes of a directive.
#[derive(Debug, Clone, Copy)]
pub enum Support {
    /// Honoured: sets something in the unit.
    Set(fn(&mut Unit, &Value<'_>) -> Result<(), String>),
    /// Honoured; a value that makes no sense refuses the unit.
    Must(fn(&mut Unit, &Value<'_>) -> Result<(), String>),
    /// Honoured, and it confines what runs; a value that makes no sense refuses the unit.
    Confine(fn(&mut Unit, &Value<'_>) -> Result<(), String>),
    /// Confines, and is not implemented: the unit is refused, except where the value switches it off.
    Refuse,
    /// Read, and of no consequence on a node; the documentation says why.
    NoEffect,
    /// Known, not implemented yet: a warning.
    Later,
}

impl Support {
    /// One word for the generated page.
    pub fn word(self) -> &'static str {
        match self {
            Self::Set(_) | Self::Must(_) => "honoured",
            Self::Confine(_) => "honoured, confines",
            Self::Refuse => "refused",
            Self::NoEffect => "no effect",
            Self::Later => "warned",
        }
    }
}

/// The value of one assignment.
pub struct Value<'a> {
    /// The directive's name: families share functions.
    pub name: &'static str,
    /// The text, specifiers not yet replaced.
    pub text: &'a str,
    /// Its line.
    pub at: &'a Place,
    /// Replaces specifiers.
    pub specifiers: &'a Specifiers<'a>,
    /// What of it has no effect, said by [`Value::warn`].
    pub warnings: RefCell<Vec<String>>,
}

impl Value<'_> {
    /// The text with specifiers replaced.
    pub fn expanded(&self) -> String {
        self.specifiers.expand(self.text)
    }

    /// The words, unquoted, with specifiers replaced in each.
    pub fn words(&self) -> Result<Vec<String>, String> {
        let words = crate::words::texts(self.text)?;
        Ok(words
            .iter()
            .map(|word| self.specifiers.expand(word))
            .collect())
    }

    /// Says that a part of the value is ignored; the rest has its effect.
    pub fn warn(&self, message: String) {
        self.warnings.borrow_mut().push(message);
    }

    /// An empty assignment resets.
    pub fn is_reset(&self) -> bool {
        self.text.is_empty()
    }
}

/// What planning needs from the node.
pub trait PlanHost {
    /// Its users and groups.
    fn accounts(&self) -> &Accounts;
    /// What it knows about itself.
    fn facts(&self) -> &Facts;
    /// The text of an EnvironmentFile; none if there is no such file.
    fn environment_file(&self, path: &str) -> Result<Option<String>, String>;
    /// Whether a program stands at this path.
    fn is_program(&self, path: &str) -> bool;
    /// Name and path of each credential in [`credential::STORES`], in their order.
    fn stored_credentials(&self) -> Vec<(String, String)>;
}

/// What a plan is made from.
pub struct Planning<'a> {
    /// The unit.
    pub unit: &'a Unit,
    /// The command to run.
    pub command: &'a exec::Command,
    /// The node.
    pub host: &'a dyn PlanHost,
    /// Variables that PID 1 adds: NOTIFY_SOCKET, MAINPID, SERVICE_RESULT and so on.
    pub variables: &'a [(String, String)],
}

/// What a family makes of a plan.
type PlanFn = fn(&Planning<'_>, &mut ExecPlan) -> Result<(), String>;

/// A family of directives, and what their settings make of a plan. Plans are made in this order.
pub struct Family {
    /// Its directives.
    pub rows: &'static [Directive],
    /// What they make of a plan.
    pub plan: Option<PlanFn>,
}

/// Every family. Users come before folders and variables, variables before commands, what is mounted last.
pub const FAMILIES: &[Family] = &[
    Family {
        rows: description::ROWS,
        plan: None,
    },
    Family {
        rows: dependency::ROWS,
        plan: None,
    },
    Family {
        rows: condition::ROWS,
        plan: None,
    },
    Family {
        rows: start_limit::ROWS,
        plan: None,
    },
    Family {
        rows: action::ROWS,
        plan: None,
    },
    Family {
        rows: install::ROWS,
        plan: None,
    },
    Family {
        rows: service::ROWS,
        plan: None,
    },
    Family {
        rows: restart::ROWS,
        plan: None,
    },
    Family {
        rows: timeout::ROWS,
        plan: None,
    },
    Family {
        rows: exit_status::ROWS,
        plan: None,
    },
    Family {
        rows: notify::ROWS,
        plan: None,
    },
    Family {
        rows: kill::ROWS,
        plan: None,
    },
    Family {
        rows: identity::ROWS,
        plan: Some(identity::plan),
    },
    Family {
        rows: protect::ROWS,
        plan: Some(protect::plan),
    },
    Family {
        rows: namespace::ROWS,
        plan: Some(namespace::plan),
    },
    Family {
        rows: credential::ROWS,
        plan: Some(credential::plan),
    },
    Family {
        rows: directory::ROWS,
        plan: Some(directory::plan),
    },
    Family {
        rows: environment::ROWS,
        plan: Some(environment::plan),
    },
    Family {
        rows: exec::ROWS,
        plan: Some(exec::plan),
    },
    Family {
        rows: working_directory::ROWS,
        plan: Some(working_directory::plan),
    },
    Family {
        rows: open_file::ROWS,
        plan: Some(open_file::plan),
    },
    Family {
        rows: limit::ROWS,
        plan: Some(limit::plan),
    },
    Family {
        rows: resource::delegate::ROWS,
        plan: Some(resource::plan),
    },
    Family {
        rows: device::ROWS,
        plan: Some(device::plan),
    },
    Family {
        rows: address::ROWS,
        plan: Some(address::plan),
    },
    Family {
        rows: socket::ROWS,
        plan: Some(socket::plan),
    },
    Family {
        rows: resource::memory::ROWS,
        plan: None,
    },
    Family {
        rows: resource::cpu::ROWS,
        plan: None,
    },
    Family {
        rows: resource::io::ROWS,
        plan: None,
    },
    Family {
        rows: resource::startup::ROWS,
        plan: None,
    },
    Family {
        rows: resource::oom::ROWS,
        plan: None,
    },
    Family {
        rows: resource::managed_oom::ROWS,
        plan: None,
    },
    Family {
        rows: slice::ROWS,
        plan: None,
    },
    Family {
        rows: mount_point::ROWS,
        plan: None,
    },
    Family {
        rows: capability::ROWS,
        plan: Some(capability::plan),
    },
    Family {
        rows: stdio::ROWS,
        plan: Some(stdio::plan),
    },
    Family {
        rows: process::ROWS,
        plan: Some(process::plan),
    },
    Family {
        rows: scheduling::ROWS,
        plan: Some(scheduling::plan),
    },
    Family {
        rows: keyring::ROWS,
        plan: Some(keyring::plan),
    },
    Family {
        rows: root::ROWS,
        plan: None,
    },
    Family {
        rows: image::ROWS,
        plan: None,
    },
    Family {
        rows: mount::ROWS,
        plan: Some(mount::plan),
    },
    Family {
        rows: seccomp::ROWS,
        plan: Some(seccomp::plan),
    },
    Family {
        rows: isolation::ROWS,
        plan: None,
    },
    Family {
        rows: other::ROWS,
        plan: None,
    },
];

/// Every row, in the order of the families.
pub fn table() -> impl Iterator<Item = &'static Directive> {
    FAMILIES.iter().flat_map(|family| family.rows)
}

/// What the page says before the table.
const PAGE_HEAD: &str = "\
# Unit directives

What PID 1 makes of each directive of a unit file. Written by `cargo bedplate unit directives --markdown`; a test
compares. `cargo bedplate unit verify PATH...` says what becomes of a unit file.

- honoured: it has systemd's meaning. *confines*: a value that makes no sense refuses the unit.
- no effect: read, and of no consequence on a node; the last column says why.
- warned: known and not implemented yet. The unit runs without it, and a warning names file and line.
- refused: it confines the service and is not implemented yet. The unit does not run, unless the recipe allows it by
  name (`[units] allow`).

A directive that is not here is warned of, and so is a section that has no meaning in the unit.

| section | directive | value | support | what it does |
|---|---|---|---|---|
";

/// The table as a Markdown page.
pub fn markdown() -> String {
    let mut page = String::from(PAGE_HEAD);
    let cell = |text: &str| text.replace('|', "\\|");
    for row in table() {
        let section = match (row.section, slice::shared(row.name)) {
            ("Service", Some(_)) => "Service, Slice",
            (section, _) => section,
        };
        let line = [
            section,
            row.name,
            row.value,
            row.support.word(),
            row.documentation,
        ]
        .map(cell)
        .join(" | ");
        page.push_str(&format!("| {line} |\n"));
    }
    page
}

/// The row of a directive.
pub fn find(section: &str, name: &str) -> Option<&'static Directive> {
    let own = table().find(|row| row.name == name && row.section == section);
    own.or_else(|| match section {
        "Slice" => slice::shared(name),
        "Mount" => mount_point::of_a_process(name),
        _ => None,
    })
}

/// Applies one assignment to a unit. A warning comes back; what refuses the unit is kept in [`Unit::refusals`], until
/// a later assignment of the same directive puts it right.
pub fn apply(
    unit: &mut Unit,
    assignment: &Assignment,
    specifiers: &Specifiers<'_>,
) -> Option<Finding> {
    let Assignment {
        section,
        name,
        value,
        at,
    } = assignment;
    if section.starts_with("X-") || name.starts_with("X-") {
        return None;
    }
    if !["Unit", "Install", unit_section(unit)].contains(&section.as_str()) {
        let message = format!(
            "section [{section}] has no meaning in {}; ignored",
            unit.name
        );
        return Some(Finding::warning(at.clone(), message));
    }
    let Some(row) = find(section, name) else {
        let message = format!("unknown directive {name}= in section [{section}]; ignored");
        return Some(Finding::warning(at.clone(), message));
    };
    let value = Value {
        name: row.name,
        text: value,
        at,
        specifiers,
        warnings: RefCell::default(),
    };
    let (set, must) = match row.support {
        Support::Set(set) => (set, false),
        Support::Must(set) | Support::Confine(set) => (set, true),
        Support::NoEffect => return None,
        Support::Later => {
            return Some(Finding::warning(
                at.clone(),
                format!("{name}= is not implemented yet; ignored"),
            ));
        }
        Support::Refuse => {
            unit.refusals.remove(row.name);
            if !isolation::is_off(row.name, value.text) {
                let message = format!(
                    "{name}= confines the service and is not implemented yet; the unit is refused"
                );
                unit.refusals
                    .insert(row.name.into(), Finding::isolation(at.clone(), message));
            }
            return None;
        }
    };
    match set(unit, &value) {
        Ok(()) => {
            if value.is_reset() || !row.name.starts_with("Exec") {
                unit.refusals.remove(row.name);
            }
            let ignored = value.warnings.take();
            let message = format!("{name}=: {}; ignored", ignored.join(", "));
            (!ignored.is_empty()).then(|| Finding::warning(at.clone(), message))
        }
        Err(message) if must => {
            let message = format!("{name}=: {message}; the unit is refused");
            unit.refusals
                .insert(row.name.into(), Finding::error(at.clone(), message));
            None
        }
        Err(message) => Some(Finding::warning(
            at.clone(),
            format!("{name}=: {message}; ignored"),
        )),
    }
}

/// The section named after the unit's type.
fn unit_section(unit: &Unit) -> &'static str {
    match unit.kind {
        crate::name::UnitType::Service => "Service",
        crate::name::UnitType::Slice => "Slice",
        crate::name::UnitType::Mount => "Mount",
        _ => "Unit",
    }
}

impl ExecPlan {
    /// The plan of one command of a service.
    pub fn of(planning: &Planning<'_>) -> Result<Self, String> {
        let command = identity::command_of(planning.unit, planning.command);
        let planning = &Planning {
            command: &command,
            ..*planning
        };
        let mut plan = Self::default();
        for family in FAMILIES {
            if let Some(step) = family.plan {
                step(planning, &mut plan)?;
            }
        }
        plan.check(0)?;
        Ok(plan)
    }
}

#[cfg(test)]
pub(crate) mod tests;
