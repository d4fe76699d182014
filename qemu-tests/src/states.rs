//! What a service manager says of a unit, in systemd's words, and how two of them differ.
//!
//! systemd's side comes from the console of the image `check-systemd` (`overlays/check-systemd`), ours from the node
//! API. `docs/systemd-differences.md` lists the differences there are; a row is one unit with both states.

use crate::error::{Error, Result};
use spec_api::Unit;
use std::{collections::BTreeMap, fmt, str::FromStr};

/// First word of a line with the state of a unit.
const LINE: &str = "bedplate-state ";
/// First word of the line after them all, which says how many there are.
const LAST: &str = "bedplate-states ";
/// The line after that one: the report is whole.
pub const TOLD: &str = "bedplate-told";
/// Closes a line; one without it was cut or mixed with another.
const CLOSING: &str = " .";

/// Where a unit stands and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    /// `ActiveState=`.
    pub active: String,
    /// `SubState=`.
    pub sub: String,
    /// `Result=`.
    pub result: String,
    /// `ExecMainCode=` as a word: `exited`, `killed`, `dumped`, or `-` if no main process has ended.
    pub code: String,
    /// `ExecMainStatus=`: exit code or signal.
    pub status: i32,
}

impl State {
    /// What the node API says.
    pub fn of_unit(unit: &Unit) -> State {
        State {
            active: unit.active.clone(),
            sub: unit.sub.clone(),
            result: unit.result.clone(),
            code: unit.exec_main_code.clone().unwrap_or_else(|| "-".into()),
            status: unit.exec_main_status.unwrap_or_default(),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State {
            active,
            sub,
            result,
            code,
            status,
        } = self;
        write!(f, "{active} {sub} {result} {code} {status}")
    }
}

impl FromStr for State {
    type Err = String;

    /// The five words that it is shown as.
    fn from_str(text: &str) -> std::result::Result<State, String> {
        let wrong = || format!("\"{text}\" is not ACTIVE SUB RESULT CODE STATUS");
        let words: Vec<&str> = text.split_whitespace().collect();
        let [active, sub, result, code, status] = words[..] else {
            return Err(wrong());
        };
        Ok(State {
            active: active.into(),
            sub: sub.into(),
            result: result.into(),
            code: code.into(),
            status: status.parse().map_err(|_| wrong())?,
        })
    }
}

/// Words of the kernel's command line for the image `check-systemd`: just these units are started.
pub fn alone(units: &[&str]) -> String {
    let units = units.join(",");
    format!("systemd.unit=only.target bedplate.only={units}")
}

/// Reads the lines of the console; refused if one is missing or damaged.
pub fn of_console(text: &str) -> Result<BTreeMap<String, State>> {
    let mut states = BTreeMap::new();
    for line in text.lines() {
        let damaged = || Error::Failed(format!("a damaged line on the console: {line}"));
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix(LINE) {
            let rest = rest.strip_suffix(CLOSING).ok_or_else(damaged)?;
            let (unit, properties) = rest.split_once(' ').ok_or_else(damaged)?;
            states.insert(
                unit.to_owned(),
                of_properties(properties).ok_or_else(damaged)?,
            );
        } else if let Some(rest) = line.strip_prefix(LAST) {
            let told: usize = rest
                .strip_suffix(CLOSING)
                .and_then(|number| number.parse().ok())
                .ok_or_else(damaged)?;
            let found = states.len();
            return match told == found {
                true => Ok(states),
                false => Err(Error::Failed(format!(
                    "{told} units were told of on the console, {found} were read"
                ))),
            };
        }
    }
    Err(Error::Failed("the console does not tell the states".into()))
}

/// `ActiveState=failed SubState=failed Result=exit-code ExecMainCode=1 ExecMainStatus=3`, in any order. A unit that
/// was never a service has no result.
fn of_properties(text: &str) -> Option<State> {
    let properties: BTreeMap<&str, &str> = text
        .split_whitespace()
        .map(|property| property.split_once('='))
        .collect::<Option<_>>()?;
    let property = |name: &str| properties.get(name).copied();
    // CLD_EXITED, CLD_KILLED and CLD_DUMPED of waitid(2).
    let code = match property("ExecMainCode").unwrap_or("0") {
        "0" => "-",
        "1" => "exited",
        "2" => "killed",
        "3" => "dumped",
        _ => return None,
    };
    Some(State {
        active: property("ActiveState")?.into(),
        sub: property("SubState")?.into(),
        result: property("Result").unwrap_or("success").into(),
        code: code.into(),
        status: property("ExecMainStatus").unwrap_or("0").parse().ok()?,
    })
}

/// A difference that is known, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What systemd says.
    pub systemd: State,
    /// What ours says.
    pub ours: State,
    /// Why.
    pub reason: String,
}

/// The rows of `docs/systemd-differences.md`: unit, systemd's state, ours, reason.
pub fn known(page: &str) -> Result<BTreeMap<String, Known>> {
    let mut known = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let refused = |why: &str| Error::Failed(format!("{why}: {line}"));
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [unit, systemd, ours, reason] = cells[..] else {
            return Err(refused("a row has four cells"));
        };
        if reason.is_empty() {
            return Err(refused("a difference has a reason"));
        }
        let plain = |cell: &str| cell.trim_matches('`').to_owned();
        let state = |cell: &str| plain(cell).parse().map_err(|why: String| refused(&why));
        let row = Known {
            systemd: state(systemd)?,
            ours: state(ours)?,
            reason: reason.to_owned(),
        };
        if known.insert(plain(unit), row).is_some() {
            return Err(refused("the unit has a row already"));
        }
    }
    Ok(known)
}

/// Every difference that is not known, and every known one that is none any more; a line each.
pub fn compare(
    systemd: &BTreeMap<String, State>,
    ours: &BTreeMap<String, State>,
    known: &BTreeMap<String, Known>,
) -> Vec<String> {
    let mut units: Vec<&String> = systemd
        .keys()
        .chain(ours.keys())
        .chain(known.keys())
        .collect();
    units.sort();
    units.dedup();
    let shown = |state: Option<&State>| state.map_or("not there".to_owned(), State::to_string);
    let complain = |unit: &&String| {
        let (theirs, own) = (systemd.get(*unit), ours.get(*unit));
        let row = known.get(*unit);
        let both = format!("systemd: {}; ours: {}", shown(theirs), shown(own));
        match row {
            Some(row) if theirs == Some(&row.systemd) && own == Some(&row.ours) => None,
            Some(_) if theirs.is_some() && theirs == own => Some(format!(
                "{unit}: listed as a difference, and it is none: {both}"
            )),
            None if theirs.is_some() && theirs == own => None,
            _ => Some(format!("{unit}: {both}")),
        }
    };
    units.iter().filter_map(complain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(rows: &[(&str, &str)]) -> BTreeMap<String, State> {
        rows.iter()
            .map(|(unit, state)| (unit.to_string(), state.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_console_tells_states_between_other_lines() {
        let text = "[  1.0] kernel\r\n\
            bedplate-state a.service ExecMainCode=1 ExecMainStatus=3 Result=exit-code ActiveState=failed SubState=failed .\r\n\
            bedplate-state b.service ExecMainCode=0 ExecMainStatus=0 Result=success ActiveState=inactive SubState=dead .\r\n\
            bedplate-states 2 .\r\n";
        let expected = states(&[
            ("a.service", "failed failed exit-code exited 3"),
            ("b.service", "inactive dead success - 0"),
        ]);
        assert_eq!(of_console(text).unwrap(), expected);
    }

    #[test]
    fn a_line_that_is_cut_or_missing_is_told() {
        let told = |text: &str| of_console(text).unwrap_err().to_string();
        assert!(told("bedplate-state a.service ActiveSta\n").contains("damaged"));
        assert!(told("bedplate-states 1 .\n").contains("1 units were told of"));
        assert!(told("").contains("does not tell"));
    }

    #[test]
    fn only_differences_that_are_not_listed_are_told_and_stale_rows_too() {
        let systemd = states(&[
            ("same", "active running success - 0"),
            ("known", "failed failed signal killed 9"),
            ("stale", "failed failed signal killed 9"),
            ("new", "failed failed timeout killed 15"),
            ("theirs", "inactive dead success - 0"),
        ]);
        let mut ours = systemd.clone();
        ours.remove("theirs");
        let other = || "failed failed oom-kill killed 9".parse::<State>().unwrap();
        ours.insert("known".into(), other());
        ours.insert("new".into(), other());
        let page = "| unit | systemd | Bedplate | reason |\n|---|---|---|---|\n\
            | `known` | `failed failed signal killed 9` | `failed failed oom-kill killed 9` | so |\n\
            | `stale` | `failed failed signal killed 9` | `failed failed oom-kill killed 9` | so |\n";
        let told = compare(&systemd, &ours, &known(page).unwrap());
        let begin: Vec<&str> = told
            .iter()
            .filter_map(|line| line.split(':').next())
            .collect();
        assert_eq!(begin, ["new", "stale", "theirs"]);
        assert!(told[1].contains("it is none"));
    }

    #[test]
    fn a_row_without_a_reason_is_refused() {
        let state = "`inactive dead success - 0`";
        let error = known(&format!("| `a` | {state} | {state} | |\n")).unwrap_err();
        assert!(error.to_string().contains("has a reason"), "{error}");
        assert!(known("| `a` | `x` | `y` | z |\n").is_err());
    }
}
