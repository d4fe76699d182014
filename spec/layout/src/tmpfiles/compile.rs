//! From the image's tmpfiles.d files to the plan: precedence, specifiers, names, order.

use std::collections::BTreeMap;

use super::parse::{self, Raw, RawOwner};
use super::{Kind, Line, Owner, Plan};

/// A file of tmpfiles.d.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Path in the image, such as `/usr/lib/tmpfiles.d/etcd.conf`.
    pub path: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// What the image knows and a line may name.
pub struct Names<'a> {
    /// Number of a user.
    pub user: &'a dyn Fn(&str) -> Option<u32>,
    /// Number of a group.
    pub group: &'a dyn Fn(&str) -> Option<u32>,
    /// Field of os-release, such as `VERSION_ID`.
    pub os_release: &'a dyn Fn(&str) -> Option<String>,
}

/// Something to say about a line: an error, or why it has no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct Note {
    /// Path in the image.
    pub file: String,
    /// Number of the line, from 1.
    pub line: usize,
    /// What to know.
    pub message: String,
}

/// The plan, and the lines that are not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// What PID 1 executes.
    pub plan: Plan,
    /// Lines without effect on a node, and why.
    pub skipped: Vec<Note>,
}

/// Folders that hold tmpfiles.d, the strongest first.
const FOLDERS: [&str; 4] = [
    "/etc/tmpfiles.d/",
    "/run/tmpfiles.d/",
    "/usr/local/lib/tmpfiles.d/",
    "/usr/lib/tmpfiles.d/",
];

/// Compiles all files; refuses every line that cannot be read, all of them in one answer.
pub fn compile(sources: &[Source<'_>], names: &Names<'_>) -> Result<Compiled, Vec<Note>> {
    let mut errors = Vec::new();
    let mut skipped = Vec::new();
    let mut lines: Vec<Line> = Vec::new();
    let mut made: BTreeMap<String, String> = BTreeMap::new();
    for source in in_order(sources) {
        for (text, number) in source.text.lines().zip(1..) {
            let note = |message: String| Note {
                file: source.path.to_owned(),
                line: number,
                message,
            };
            let raw = match parse::line(text) {
                Ok(Some(raw)) => raw,
                Ok(None) => continue,
                Err(message) => {
                    errors.push(note(message));
                    continue;
                }
            };
            match resolve(raw, names) {
                Ok(Some(line)) => {
                    let place = format!("{}:{number}", source.path);
                    let earlier = if line.kind.creates() {
                        made.get(&line.path).cloned()
                    } else {
                        None
                    };
                    match earlier {
                        Some(earlier) => skipped
                            .push(note(format!("{} is already made by {earlier}", line.path))),
                        None => {
                            if line.kind.creates() {
                                made.insert(line.path.clone(), place);
                            }
                            lines.push(line);
                        }
                    }
                }
                Ok(None) => skipped.push(note("this type has no effect on a node".to_owned())),
                Err(message) => errors.push(note(message)),
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    lines.sort_by(|a, b| order(a).cmp(&order(b)));
    Ok(Compiled {
        plan: Plan { lines },
        skipped,
    })
}

/// Files by their name; of two with the same name only the one in the stronger folder.
fn in_order<'a>(sources: &'a [Source<'a>]) -> impl Iterator<Item = &'a Source<'a>> {
    let mut chosen: BTreeMap<&str, (usize, &Source<'_>)> = BTreeMap::new();
    for source in sources {
        let strength = FOLDERS
            .iter()
            .position(|folder| source.path.starts_with(folder))
            .unwrap_or(FOLDERS.len());
        let file = source.path.rsplit('/').next().unwrap_or(source.path);
        let entry = chosen.entry(file).or_insert((strength, source));
        if strength < entry.0 {
            *entry = (strength, source);
        }
    }
    chosen.into_values().map(|(_, source)| source)
}

/// Removals, then paths before what is below them and making before adjusting, then patterns.
fn order(line: &Line) -> (bool, bool, &str, Kind) {
    let pattern = line.kind.takes_pattern() && crate::glob::is_pattern(&line.path);
    (!line.kind.removes(), pattern, &line.path, line.kind)
}

fn resolve(raw: Raw, names: &Names<'_>) -> Result<Option<Line>, String> {
    let path = path(&specifiers(&raw.path, names)?)?;
    let argument = raw
        .argument
        .map(|argument| specifiers(&argument, names))
        .transpose()?;
    let user = raw
        .user
        .map(|owner| number(&owner, "user", names.user))
        .transpose()?;
    let group = raw
        .group
        .map(|owner| number(&owner, "group", names.group))
        .transpose()?;
    let Some(kind) = raw.kind else {
        return Ok(None);
    };
    let argument = match (kind, argument) {
        (Kind::Link | Kind::LinkIfTarget | Kind::Copy | Kind::Merge, None) => {
            Some(format!("/usr/share/factory{path}"))
        }
        (Kind::Character | Kind::Block, argument) => Some(device(argument.as_deref())?),
        (Kind::Write | Kind::Append | Kind::Xattr | Kind::XattrAll, None) => {
            return Err("this type needs an argument".to_owned());
        }
        (_, argument) => argument,
    };
    Ok(Some(Line {
        kind,
        path,
        mode: raw.mode,
        user,
        group,
        argument,
        flags: raw.flags,
    }))
}

/// Checks `MAJOR:MINOR`.
fn device(argument: Option<&str>) -> Result<String, String> {
    let numbers = argument.and_then(|text| text.split_once(':'));
    match numbers {
        Some((major, minor)) if major.parse::<u16>().is_ok() && minor.parse::<u32>().is_ok() => {
            Ok(format!("{major}:{minor}"))
        }
        _ => Err("a device needs MAJOR:MINOR as its argument".to_owned()),
    }
}

fn number(
    owner: &RawOwner,
    what: &str,
    find: &dyn Fn(&str) -> Option<u32>,
) -> Result<Owner, String> {
    let id = owner
        .name
        .parse()
        .ok()
        .filter(|&id| id < u32::MAX)
        .or_else(|| find(&owner.name));
    let id = id.ok_or_else(|| {
        format!(
            "there is no {what} \"{}\" in this image: add it to sysusers.d",
            owner.name
        )
    })?;
    Ok(Owner {
        id,
        only_new: owner.only_new,
    })
}

/// Makes the path plain; the legacy folders below /var are what they link to.
fn path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("the path \"{text}\" does not begin with /"));
    }
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return Err(format!("the path \"{text}\" has \"..\" in it"));
    }
    if parts.is_empty() {
        return Err("the root itself cannot be meant".to_owned());
    }
    Ok(match parts[..] {
        ["var", "run", ref rest @ ..] if !rest.is_empty() => format!("/run/{}", rest.join("/")),
        ["var", "lock", ref rest @ ..] if !rest.is_empty() => {
            format!("/run/lock/{}", rest.join("/"))
        }
        ref parts => format!("/{}", parts.join("/")),
    })
}

/// Puts in what the image knows; what only the node knows stays, for [`super::expand`].
fn specifiers(text: &str, names: &Names<'_>) -> Result<String, String> {
    let expanded = super::expand(text, &|specifier| {
        let fixed = |text: &str| Some(text.to_owned());
        let release = |key| Some((names.os_release)(key).unwrap_or_default());
        match specifier {
            't' => fixed("/run"),
            'S' => fixed("/var/lib"),
            'C' => fixed("/var/cache"),
            'L' => fixed("/var/log"),
            'T' => fixed("/tmp"),
            'V' => fixed("/var/tmp"),
            'h' => fixed("/root"),
            'u' | 'g' => fixed("root"),
            'U' | 'G' => fixed("0"),
            'o' => release("ID"),
            'w' => release("VERSION_ID"),
            'W' => release("VARIANT_ID"),
            'B' => release("BUILD_ID"),
            'M' => release("IMAGE_ID"),
            'A' => release("IMAGE_VERSION"),
            'a' => release("ARCHITECTURE"),
            'b' | 'm' | 'H' | 'l' | 'q' | 'v' => Some(format!("{KEPT}{specifier}")),
            _ => None,
        }
    });
    let expanded =
        expanded.ok_or_else(|| format!("\"{text}\" has a specifier that is not known"))?;
    Ok(expanded.replace('%', "%%").replace(KEPT, "%"))
}

/// Stands for the `%` of a specifier that is kept; no text of a line can have it.
const KEPT: char = '\0';

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names<'static> {
        Names {
            user: &|name| {
                (name == "root")
                    .then_some(0)
                    .or((name == "etcd").then_some(101))
            },
            group: &|name| (name == "root").then_some(0),
            os_release: &|key| (key == "VERSION_ID").then(|| "1".to_owned()),
        }
    }

    fn compiled(sources: &[(&str, &str)]) -> Result<Compiled, Vec<Note>> {
        let sources: Vec<_> = sources
            .iter()
            .map(|&(path, text)| Source { path, text })
            .collect();
        compile(&sources, &names())
    }

    fn paths(compiled: &Compiled) -> Vec<&str> {
        compiled
            .plan
            .lines
            .iter()
            .map(|line| line.path.as_str())
            .collect()
    }

    #[test]
    fn removals_then_folders_then_what_is_in_them_then_patterns() {
        let text = "z /run/a*\nf /run/a/file - - - - x\nd /run/a\nr! /run/old\n";
        let compiled = compiled(&[("/usr/lib/tmpfiles.d/a.conf", text)]).unwrap();
        assert_eq!(
            paths(&compiled),
            ["/run/old", "/run/a", "/run/a/file", "/run/a*"]
        );
    }

    #[test]
    fn the_file_in_etc_masks_and_the_first_maker_of_a_path_wins() {
        let compiled = compiled(&[
            (
                "/usr/lib/tmpfiles.d/b.conf",
                "d /run/x 0700\nz /run/x 0711\n",
            ),
            ("/usr/lib/tmpfiles.d/a.conf", "d /run/masked\n"),
            ("/etc/tmpfiles.d/a.conf", "d /run/x 0755\n"),
        ])
        .unwrap();
        assert_eq!(paths(&compiled), ["/run/x", "/run/x"]);
        assert_eq!(compiled.plan.lines[0].mode.unwrap().bits, 0o755);
        assert_eq!(
            compiled.skipped[0].to_string(),
            "/usr/lib/tmpfiles.d/b.conf:1: /run/x is already made by /etc/tmpfiles.d/a.conf:1"
        );
    }

    #[test]
    fn names_become_numbers_and_legacy_folders_what_they_are() {
        let compiled = compiled(&[(
            "/usr/lib/tmpfiles.d/e.conf",
            "d /var/run/etcd 0750 etcd :root\nL /srv/www",
        )])
        .unwrap();
        let line = &compiled.plan.lines[0];
        assert_eq!(
            (line.path.as_str(), line.user.unwrap().id),
            ("/run/etcd", 101)
        );
        assert!(line.group.unwrap().only_new);
        assert_eq!(
            compiled.plan.lines[1].argument.as_deref(),
            Some("/usr/share/factory/srv/www")
        );
    }

    #[test]
    fn specifiers_of_the_image_are_put_in_and_those_of_the_node_stay() {
        let compiled =
            compiled(&[("/usr/lib/tmpfiles.d/s.conf", "f %t/v%w-%b-5%% - - - - %H")]).unwrap();
        assert_eq!(paths(&compiled), ["/run/v1-%b-5%%"]);
        assert_eq!(compiled.plan.lines[0].argument.as_deref(), Some("%H"));
    }

    #[test]
    fn every_bad_line_is_reported_with_file_and_line() {
        let text = "d /run/ok\ny /x\nd /run/u - nobody\nd run\nd /a/../b\nd /%Z\nd /\nc /dev/x - - - - 5\nw /proc/x\n";
        let errors = compiled(&[("/usr/lib/tmpfiles.d/bad.conf", text)]).unwrap_err();
        assert_eq!(
            errors.iter().map(|note| note.line).collect::<Vec<_>>(),
            [2, 3, 4, 5, 6, 7, 8, 9]
        );
        assert!(errors[1].to_string().contains("no user \"nobody\""));
    }
}
