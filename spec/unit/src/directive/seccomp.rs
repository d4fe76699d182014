//! `SystemCallFilter=` and its like: which system calls a service may make, systemd.exec(5) "System Call Filtering".
//!
//! Words that are no system call, group or address family are warned of and left out, as systemd does: a unit may be
//! newer than the tables. What cannot be read at all refuses the unit.

use serde::{Deserialize, Serialize};

use super::{Directive, Planning, Support, Value};
use crate::plan::{
    AddressFamilies, CallAction, CallList, CallWord, ExecPlan, Namespace, Resource, Rlimit, Seccomp,
};
use crate::seccomp::names;
use crate::unit::Unit;
use crate::value;

mod words;

use words::{KINDS, architecture, family};

/// Which system calls a service may make, and as whose machine it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompSettings {
    /// All but Personality=.
    pub filter: Seccomp,
    /// Personality=, as personality(2) has it.
    pub personality: Option<u32>,
}

const fn row(
    name: &'static str,
    value: &'static str,
    documentation: &'static str,
    support: Support,
) -> Directive {
    Directive {
        section: "Service",
        name,
        value,
        documentation,
        support,
    }
}

const fn switch(name: &'static str, documentation: &'static str) -> Directive {
    row(name, "BOOLEAN", documentation, Support::Confine(set_switch))
}

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    row(
        "SystemCallFilter",
        "[~](CALL|@GROUP)[:ERRNO|:kill]...",
        "Only these system calls and @default, or with \"~\" all but these; groups as in systemd 257.",
        Support::Confine(set_calls),
    ),
    row(
        "SystemCallErrorNumber",
        "ERRNO|kill",
        "How a call that SystemCallFilter= denies fails; by default the process dies of SIGSYS.",
        Support::Confine(set_error_number),
    ),
    row(
        "SystemCallArchitectures",
        "(native|x86|x86-64|x32|arm|arm64)...",
        "A process that makes a call of another architecture dies of SIGSYS; native ones are always allowed.",
        Support::Confine(set_architectures),
    ),
    row(
        "SystemCallLog",
        "[~](CALL|@GROUP)...",
        "The kernel logs these system calls, or with \"~\" all but these.",
        Support::Confine(set_log),
    ),
    row(
        "RestrictAddressFamilies",
        "[~]FAMILY...|none",
        "Only sockets of these families, or with \"~\" all but these; socket(2) only, and not that of i386 programs.",
        Support::Confine(set_address_families),
    ),
    row(
        "RestrictNamespaces",
        "BOOLEAN|[~]KIND...",
        "No namespaces are made or entered, or only these kinds, or with \"~\" all but these; clone3(2) is not there.",
        Support::Confine(set_namespaces),
    ),
    switch(
        "MemoryDenyWriteExecute",
        "No memory is writable and executable, or becomes executable.",
    ),
    switch(
        "LockPersonality",
        "personality(2) stays what it is, or what Personality= says.",
    ),
    switch(
        "RestrictRealtime",
        "No real-time scheduling: sched_setscheduler(2) fails, and RLIMIT_RTPRIO is 0 unless LimitRTPRIO= is given.",
    ),
    switch(
        "RestrictSUIDSGID",
        "No setting of setuid and setgid bits; openat2(2) is not there.",
    ),
    row(
        "Personality",
        "x86|x86-64|arm|arm64",
        "The architecture uname(2) tells: the machine's own or its 32-bit one.",
        Support::Set(set_personality),
    ),
];

/// The calls of an assignment and whether they stand behind a `~`.
fn call_words(value: &Value<'_>, actions: bool) -> Result<(bool, Vec<CallWord>), String> {
    let (inverted, text) = inversion(value.text);
    let mut words = Vec::new();
    for word in crate::words::texts(text)? {
        let (name, action) = match word.split_once(':') {
            None => (word.as_str(), None),
            Some((name, _)) if !inverted || !actions => {
                return Err(format!(
                    "{name:?} is not denied: only calls behind \"~\" take an error number"
                ));
            }
            Some((name, action)) => (name, Some(names::action(action)?)),
        };
        if !names::is_known(name) {
            value.warn(format!("there is no system call or group {name:?}"));
            continue;
        }
        words.push(CallWord {
            name: name.into(),
            inverted,
            action,
        });
    }
    Ok((inverted, words))
}

fn inversion(text: &str) -> (bool, &str) {
    text.strip_prefix('~')
        .map_or((false, text), |rest| (true, rest))
}

fn set_calls(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let list = &mut unit.service.seccomp.filter.calls;
    if value.is_reset() {
        *list = None;
        return Ok(());
    }
    let (inverted, words) = call_words(value, true)?;
    let list = list.get_or_insert_with(|| {
        // Without these nothing starts: they begin each list of what is allowed.
        let default = CallWord {
            name: "@default".into(),
            inverted: false,
            action: None,
        };
        CallList {
            allow: !inverted,
            words: if inverted { vec![] } else { vec![default] },
        }
    });
    list.words.extend(words);
    Ok(())
}

fn set_log(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let list = &mut unit.service.seccomp.filter.log;
    if value.is_reset() {
        *list = None;
        return Ok(());
    }
    let (inverted, words) = call_words(value, false)?;
    let list = list.get_or_insert_with(|| CallList {
        allow: !inverted,
        words: Vec::new(),
    });
    list.words.extend(words);
    Ok(())
}

fn set_error_number(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let denied = match value.text {
        "" => CallAction::Kill,
        text => names::action(text)?,
    };
    if denied == CallAction::Errno(0) {
        return Err("0 is not an error number".into());
    }
    unit.service.seccomp.filter.denied = denied;
    Ok(())
}

fn set_architectures(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let architectures = &mut unit.service.seccomp.filter.architectures;
    if value.is_reset() {
        *architectures = None;
        return Ok(());
    }
    let mut listed = architectures.clone().unwrap_or_default();
    for word in value.words()? {
        let one = architecture(&word)?;
        if !listed.contains(&one) {
            listed.push(one);
        }
    }
    *architectures = Some(listed);
    Ok(())
}

fn set_address_families(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let setting = &mut unit.service.seccomp.filter.address_families;
    if value.is_reset() {
        *setting = None;
        return Ok(());
    }
    if value.text == "none" {
        *setting = Some(AddressFamilies {
            allow: true,
            families: Vec::new(),
        });
        return Ok(());
    }
    let (inverted, text) = inversion(value.text);
    let words = crate::words::texts(text)?;
    let setting = setting.get_or_insert_with(|| AddressFamilies {
        allow: !inverted,
        families: Vec::new(),
    });
    for word in words {
        let Some(number) = family(&word) else {
            value.warn(format!("there is no address family {word:?}"));
            continue;
        };
        setting.families.retain(|known| *known != number);
        if inverted != setting.allow {
            setting.families.push(number);
        }
    }
    Ok(())
}

fn set_namespaces(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let setting = &mut unit.service.seccomp.filter.namespaces;
    match value::boolean(value.text) {
        _ if value.is_reset() => *setting = None,
        Ok(true) => *setting = Some(Vec::new()),
        // Not a reset: systemd merges what follows into it.
        Ok(false) => *setting = Some(all_kinds()),
        Err(_) => *setting = Some(merged_namespaces(setting.as_deref(), value.text)?),
    }
    Ok(())
}

fn all_kinds() -> Vec<Namespace> {
    KINDS.iter().map(|(_, kind)| *kind).collect()
}

/// The kinds that stay allowed after one more assignment; none before it is the first one.
fn merged_namespaces(old: Option<&[Namespace]>, text: &str) -> Result<Vec<Namespace>, String> {
    let (inverted, text) = inversion(text);
    let mut kept = match old {
        Some(old) => old.to_vec(),
        None if inverted => all_kinds(),
        None => Vec::new(),
    };
    for word in crate::words::texts(text)? {
        let known = KINDS.iter().find(|(name, _)| *name == word);
        let (_, kind) = known.ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            format!("{word:?} is not a boolean or one of {}", names.join(", "))
        })?;
        kept.retain(|one| one != kind);
        if !inverted {
            kept.push(*kind);
        }
    }
    Ok(kept)
}

fn set_switch(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let on = !value.is_reset() && value::boolean(value.text)?;
    let filter = &mut unit.service.seccomp.filter;
    match value.name {
        "MemoryDenyWriteExecute" => filter.memory_deny_write_execute = on,
        "LockPersonality" => filter.lock_personality = on,
        "RestrictRealtime" => filter.realtime = on,
        _ => filter.suid_sgid = on,
    }
    Ok(())
}

/// PER_LINUX and PER_LINUX32.
fn set_personality(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    // At build the machine is not known yet.
    let machine = value.specifiers.facts.architecture.as_str();
    let domain = match (value.text, machine) {
        ("", _) => None,
        ("x86-64", "x86-64" | "") | ("arm64", "arm64" | "") => Some(0),
        ("x86", "x86-64" | "") | ("arm", "arm64" | "") => Some(8),
        (other, _) => return Err(format!("{other:?} is not a personality of this machine")),
    };
    unit.service.seccomp.personality = domain;
    Ok(())
}

/// Other families add to the same filter: what stands there stays.
pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let settings = &planning.unit.service.seccomp;
    plan.personality = settings.personality;
    if planning.command.privileged {
        return Ok(());
    }
    let mut filter = settings.filter.clone();
    filter.namespaces = filter.namespaces.filter(|kept| kept.len() < KINDS.len());
    plan.seccomp = Seccomp {
        clock: plan.seccomp.clock,
        hostname: plan.seccomp.hostname,
        kernel_modules: plan.seccomp.kernel_modules,
        kernel_logs: plan.seccomp.kernel_logs,
        kernel_tunables: plan.seccomp.kernel_tunables,
        private_devices: plan.seccomp.private_devices,
        suid_sgid: plan.seccomp.suid_sgid || filter.suid_sgid,
        ..filter
    };
    let real_time = |limit: &Rlimit| limit.resource == Resource::Rtprio;
    if plan.seccomp.realtime && !plan.rlimits.iter().any(real_time) {
        plan.rlimits.push(Rlimit {
            resource: Resource::Rtprio,
            soft: 0,
            hard: 0,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
