//! Executing the tmpfiles.d plan that the builder compiled.
//!
//! No path is followed through a symbolic link, and no file with another name elsewhere changes its owner or mode:
//! part of what is walked over belongs to programs that are not trusted. A line that fails is said, and the next one
//! is executed. In a read-only place a line can only confirm what is there.
//!
//! Source: tmpfiles.d(5).

mod copy;
mod make;
mod place;

use std::path::Path;

use spec_layout::path::{SYSTEM_CREDENTIALS, TMPFILES};
use spec_layout::tmpfiles::{self, Kind, Line, Plan};

use crate::boot::Boot;
use crate::error::{Error, Result, What};
use place::Root;

/// Which lines are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// All but those of /var, before there is one.
    Volatile,
    /// Those of /var.
    Var,
}

/// Executes the lines of one pass.
pub(crate) fn run(boot: &mut Boot, pass: Pass) -> Result<()> {
    let text = std::fs::read_to_string(TMPFILES).map_err(Error::at(What::Tmpfiles, TMPFILES))?;
    let plan = Plan::parse(&text).map_err(Error::at(What::Tmpfiles, TMPFILES))?;
    let root = Root::open(Path::new("/")).map_err(Error::at(What::Tmpfiles, "/"))?;
    let mut failed = 0;
    for line in plan.lines.iter().filter(|line| in_pass(line, pass)) {
        if let Err(why) = execute(&root, line, &specifier, Path::new(SYSTEM_CREDENTIALS))
            && !line.flags.may_fail
        {
            crate::warning!("{}: {}: {why}", What::Tmpfiles, line.path);
            failed += 1;
        }
        boot.watchdog.feed();
    }
    match failed {
        0 => Ok(()),
        count => Err(Error::new(
            What::Tmpfiles,
            format!("{count} lines could not be executed; see above"),
        )),
    }
}

fn in_pass(line: &Line, pass: Pass) -> bool {
    let var = line.path == "/var" || line.path.starts_with("/var/");
    var == (pass == Pass::Var)
}

/// What only a running node knows.
fn specifier(letter: char) -> Option<String> {
    let read = |path| {
        std::fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let uname = rustix::system::uname();
    let host = || uname.nodename().to_string_lossy().into_owned();
    match letter {
        'b' => read("/proc/sys/kernel/random/boot_id").map(|id| id.replace('-', "")),
        'm' => read("/etc/machine-id"),
        'v' => Some(uname.release().to_string_lossy().into_owned()),
        'H' | 'q' => Some(host()),
        'l' => host().split('.').next().map(str::to_owned),
        _ => None,
    }
}

type Outcome = std::result::Result<(), String>;

/// Executes one line below `root`.
fn execute(
    root: &Root,
    line: &Line,
    specifier: &dyn Fn(char) -> Option<String>,
    credentials: &Path,
) -> Outcome {
    let expand = |text: &str| {
        tmpfiles::expand(text, specifier)
            .ok_or_else(|| format!("\"{text}\" has a specifier that is not known"))
    };
    let path = expand(&line.path)?;
    let argument = line.argument.as_deref().map(expand).transpose()?;
    let content = match (&argument, line.flags.credential) {
        (Some(name), true) => match std::fs::read(credentials.join(name)) {
            Ok(content) => Some(content),
            // Not handed in: the line is not meant for this node.
            Err(_) => return Ok(()),
        },
        (Some(text), false) => Some(text.clone().into_bytes()),
        (None, _) => None,
    };
    let content = content.unwrap_or_default();
    let text = argument.unwrap_or_default();
    match line.kind {
        Kind::File => make::file(root, line, &path, &content, false),
        Kind::Truncate => make::file(root, line, &path, &content, true),
        Kind::Folder => make::folder(root, line, &path, false),
        Kind::EmptyFolder => make::folder(root, line, &path, true),
        Kind::Fifo => make::fifo(root, line, &path),
        Kind::Link => make::link(root, line, &path, &text, false),
        Kind::LinkIfTarget => make::link(root, line, &path, &text, true),
        Kind::Character => make::device(
            root,
            line,
            &path,
            &text,
            rustix::fs::FileType::CharacterDevice,
        ),
        Kind::Block => make::device(root, line, &path, &text, rustix::fs::FileType::BlockDevice),
        Kind::Copy => copy::copy(root, line, &path, &text, false),
        Kind::Merge => copy::copy(root, line, &path, &text, true),
        Kind::Write
        | Kind::Append
        | Kind::AdjustFolder
        | Kind::Remove
        | Kind::RemoveAll
        | Kind::Adjust
        | Kind::AdjustAll
        | Kind::Xattr
        | Kind::XattrAll => on_matches(root, line, &path, &text),
    }
}

/// Executes a line for all that its pattern finds.
fn on_matches(root: &Root, line: &Line, pattern: &str, text: &str) -> Outcome {
    let mut outcome = Ok(());
    for path in root.matches(pattern) {
        let one = match line.kind {
            Kind::Write => make::write(root, &path, text, false),
            Kind::Append => make::write(root, &path, text, true),
            Kind::AdjustFolder => make::adjust_folder(root, line, &path),
            Kind::Remove => make::remove(root, &path, false),
            Kind::RemoveAll => make::remove(root, &path, true),
            Kind::AdjustAll => make::adjust(root, line, &path, true),
            Kind::Xattr => make::xattr(root, &path, text, false),
            Kind::XattrAll => make::xattr(root, &path, text, true),
            _ => make::adjust(root, line, &path, false),
        };
        outcome = outcome.and(one.map_err(|why| {
            if path == pattern {
                why
            } else {
                format!("{path}: {why}")
            }
        }));
    }
    outcome
}

#[cfg(test)]
mod tests;
