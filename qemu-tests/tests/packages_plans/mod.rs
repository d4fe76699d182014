//! Plans of a service's commands, as a node would make them that has its users and its environment files.

use spec_unit::{
    account::Accounts,
    directive::{PlanHost, Planning, identity::dynamic_name},
    load::{Loader, UnitSource},
    name::UnitName,
    plan::ExecPlan,
    specifier::Facts,
    unit::Unit,
};

/// A node that has what a service names.
struct Host {
    accounts: Accounts,
    facts: Facts,
}

impl Host {
    fn of(unit: &Unit, facts: Facts) -> Host {
        let identity = &unit.service.identity;
        let group = identity.group.iter().chain(&identity.groups);
        let mut passwd = "root:x:0:0::/root:/bin/sh\n".to_owned();
        let mut groups = "root:x:0:\n".to_owned();
        if let Some(user) = dynamic_name(unit).or_else(|| identity.user.clone()) {
            passwd.push_str(&format!("{user}:x:900:900::/:/usr/sbin/nologin\n"));
            groups.push_str(&format!("{user}:x:900:\n"));
        }
        for (number, name) in (901..).zip(group) {
            groups.push_str(&format!("{name}:x:{number}:\n"));
        }
        Host {
            accounts: Accounts::parse(&passwd, &groups),
            facts,
        }
    }
}

impl PlanHost for Host {
    fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn environment_file(&self, _: &str) -> Result<Option<String>, String> {
        Ok(Some(String::new()))
    }

    fn is_program(&self, _: &str) -> bool {
        true
    }

    fn stored_credentials(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Makes a plan of each command of a service that loads; of a template, of an instance.
pub(crate) fn make(source: &dyn UnitSource, unit: &str) -> Result<(), String> {
    let facts = Facts::default();
    let mut name = UnitName::parse(unit)?;
    if name.is_template() {
        name = name.with_instance("instance");
    }
    let unit = Loader::new(source, &facts)?.load(&name.to_string())?.unit;
    let host = Host::of(&unit, Facts::default());
    let exec = &unit.service.exec;
    let commands = [
        &exec.condition,
        &exec.start_pre,
        &exec.start,
        &exec.start_post,
        &exec.reload,
        &exec.stop,
        &exec.stop_post,
    ];
    for command in commands.into_iter().flatten() {
        ExecPlan::of(&Planning {
            unit: &unit,
            command,
            host: &host,
            variables: &[],
        })
        .map_err(|message| format!("{}: no plan: {message}", command.at))?;
    }
    Ok(())
}
