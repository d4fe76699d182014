//! `OpenFile=`: files that a service is handed open, systemd.service(5).

use super::notify::is_fd_name;
use super::{Directive, Planning, Support, Value};
use crate::plan::ExecPlan;
use crate::plan::fd::{MAX_OPENED, OpenedFile, OpenedHow};
use crate::unit::Unit;
use crate::value;

/// The directives of this family.
pub const ROWS: &[Directive] = &[Directive {
    section: "Service",
    name: "OpenFile",
    value: "PATH[:NAME[:OPTION,...]]",
    documentation: "A file or a Unix socket that ExecStart= is handed open, as LISTEN_FDS; read-only, append, truncate, or graceful where it may be missing.",
    support: Support::Must(add),
}];

fn add(unit: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    let files = &mut unit.service.open_files;
    if value.is_reset() {
        files.clear();
        return Ok(());
    }
    if files.len() >= MAX_OPENED {
        return Err(format!("more than {MAX_OPENED} files"));
    }
    files.push(file(&value.expanded())?);
    Ok(())
}

fn file(text: &str) -> Result<OpenedFile, String> {
    let mut parts = text.splitn(3, ':');
    let path = value::path(parts.next().unwrap_or_default())?;
    let base = path.rsplit('/').next().unwrap_or_default();
    let name = match parts.next() {
        None | Some("") => base.to_string(),
        Some(name) => name.to_string(),
    };
    if !is_fd_name(&name) {
        return Err(format!("{name:?} cannot be the name of a descriptor"));
    }
    let mut opened = OpenedFile {
        name,
        path,
        how: OpenedHow::ReadWrite,
        missing_ok: false,
    };
    let options = parts.next().unwrap_or_default().split(',');
    for option in options.filter(|option| !option.is_empty()) {
        let how = match option {
            "read-only" => OpenedHow::ReadOnly,
            "append" => OpenedHow::Append,
            "truncate" => OpenedHow::Truncate,
            "graceful" => {
                opened.missing_ok = true;
                continue;
            }
            _ => {
                return Err(format!(
                    "{option:?} is not read-only, append, truncate or graceful"
                ));
            }
        };
        if opened.how != OpenedHow::ReadWrite {
            return Err("of read-only, append and truncate only one can hold".into());
        }
        opened.how = how;
    }
    Ok(opened)
}

/// Only ExecStart= gets them.
pub(super) fn plan(planning: &Planning<'_>, plan: &mut ExecPlan) -> Result<(), String> {
    let service = &planning.unit.service;
    if service.exec.start.contains(planning.command) {
        plan.fds.opened = service.open_files.clone();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    #[test]
    fn a_file_has_a_path_a_name_and_options() {
        let opened = file("/a/b.txt").unwrap();
        assert_eq!(
            (opened.name.as_str(), opened.how),
            ("b.txt", OpenedHow::ReadWrite)
        );
        let opened = file("/a/b::append,graceful").unwrap();
        assert_eq!((opened.name.as_str(), opened.how), ("b", OpenedHow::Append));
        assert!(opened.missing_ok);
        for text in [
            "a",
            "/a:\u{e9}:",
            "/a:b:odd",
            "/a:b:append,truncate",
            "/",
            "/a:b:read-only,x",
        ] {
            assert!(file(text).is_err(), "{text}");
        }
    }

    #[test]
    fn files_reach_the_plan_in_their_order() {
        let plan = plan("ExecStart=/bin/a\nOpenFile=/x\nOpenFile=\nOpenFile=/b\nOpenFile=/a\n");
        let names = plan.fds.opened.iter().map(|file| file.name.as_str());
        assert!(names.eq(["b", "a"]), "{plan:?}");
        plan.check(0).unwrap();
    }
}
