//! `WorkingDirectory=`: where a service runs.

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::plan::{ExecPlan, WorkingDirectory};
use crate::unit::Unit;
use crate::value;

/// Where a service runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkingDirectorySettings {
    /// Absolute path, or `~`.
    pub path: Option<String>,
    /// It may be missing.
    pub missing_ok: bool,
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[Directive {
    section: "Service",
    name: "WorkingDirectory",
    value: "[-]PATH|~",
    documentation: "Where commands run; ~ is the user's home; with \"-\" it may be missing.",
    support: Support::Must(set),
}];

fn set(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let text = value.expanded();
    let (path, missing_ok) = text
        .strip_prefix('-')
        .map_or((text.as_str(), false), |path| (path, true));
    let path = match path {
        "" => None,
        "~" => Some("~".into()),
        path => Some(value::path(path)?),
    };
    unit.service.working_directory = WorkingDirectorySettings { path, missing_ok };
    Ok(())
}

pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let settings = &planning.unit.service.working_directory;
    let Some(path) = &settings.path else {
        return Ok(());
    };
    let home = || {
        super::identity::user_of(planning).map(|user| user.map_or("/root".into(), |user| user.home))
    };
    let path = if path == "~" { home()? } else { path.clone() };
    plan.working_directory = Some(WorkingDirectory {
        path,
        missing_ok: settings.missing_ok,
    });
    Ok(())
}
