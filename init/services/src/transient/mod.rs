//! Transient units on this node: `run` and `collect`, for root beside PID 1, and what the node API makes of a request.
//!
//! - [`plan`]: from a command and directives to the plan that PID 1 carries out
//! - [`root`]: the detached mount that a unit is handed as its root

pub(crate) mod plan;
mod root;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use client::control::Control;
use spec_layout::number::{TASK_IDS, TASK_NUMBERS};
use spec_unit::control::ExitStatus;
use spec_unit::plan::{ExecPlan, FdSlot, IdMaps, Input, Output};

const USAGE: &str = "usage: run [--unit NAME] [--property KEY=VALUE]... [--root FOLDER | --root-image FILE] \
    [--ids FIRST] [--detach] -- PROGRAM [ARGUMENT...]";
/// Where another root stands in a plan until it is handed over instead.
const PLACEHOLDER: &str = "/run";

/// What the command line of `run` says.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    unit: Option<String>,
    properties: Vec<String>,
    root: Option<Root>,
    ids: Option<u32>,
    detach: bool,
    command: Vec<String>,
}

/// Another root for the unit.
#[derive(Debug, PartialEq)]
enum Root {
    /// A folder, with what is mounted in it.
    Folder(PathBuf),
    /// A file that holds an erofs.
    Image(PathBuf),
}

impl Wanted {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut wanted = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().ok_or(USAGE);
            match arg.as_str() {
                "--" => break,
                "--detach" => wanted.detach = true,
                "--unit" => wanted.unit = Some(value()?),
                "--property" => wanted.properties.push(value()?),
                "--root" => wanted.root = Some(Root::Folder(value()?.into())),
                "--root-image" => wanted.root = Some(Root::Image(value()?.into())),
                "--ids" => wanted.ids = Some(first_id(&value()?)?),
                _ => return Err(USAGE.into()),
            }
        }
        wanted.command = args.cloned().collect();
        if wanted.command.is_empty() {
            return Err(USAGE.into());
        }
        Ok(wanted)
    }

    /// The plan and what is handed over with it: standard streams, and the root.
    fn plan(&self, name: &str) -> Result<(ExecPlan, Vec<OwnedFd>), String> {
        let mut properties = self.properties.clone();
        if self.root.is_some() {
            properties.push(format!("RootDirectory={PLACEHOLDER}"));
        }
        let streams = [
            std::io::stdin().as_fd().try_clone_to_owned(),
            std::io::stdout().as_fd().try_clone_to_owned(),
            std::io::stderr().as_fd().try_clone_to_owned(),
        ];
        let streams: std::io::Result<Vec<OwnedFd>> = streams.into_iter().collect();
        let mut fds = streams.map_err(|cause| format!("standard streams: {cause}"))?;
        let mut plan = plan::plan(name, &properties, &self.command, &plan::ThisNode::open())?;
        plan.stdio.input = Input::Fd(FdSlot(0));
        plan.stdio.output = Output::Fd(FdSlot(1));
        plan.stdio.error = Output::Fd(FdSlot(2));
        plan.namespaces.users = self.ids.map(|first| IdMaps::range(first, TASK_IDS));
        if let Some(root) = &self.root {
            fds.push(match root {
                Root::Folder(path) => root::of_folder(path)?,
                Root::Image(path) => root::of_image(path)?,
            });
            plan.mounts.root = None;
            plan.mounts.idmapped = self.ids.is_some();
            plan.fds.root = Some(FdSlot(3));
        }
        Ok((plan, fds))
    }
}

/// The first number of a task: a multiple of [`TASK_IDS`] among those that are kept for them.
fn first_id(text: &str) -> Result<u32, String> {
    let first: u32 = text.parse().map_err(|_| USAGE)?;
    match TASK_NUMBERS.contains(&first) && first.is_multiple_of(TASK_IDS) {
        true => Ok(first),
        false => Err(format!(
            "--ids: {first} is not the first number of a task: they begin at {} and every {TASK_IDS}",
            TASK_NUMBERS.start()
        )),
    }
}

/// `run`: starts a transient unit with the streams of this process, waits for its end, and ends as it did.
///
/// Should this process die, the unit runs on, and `collect` has its exit status.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let wanted = match Wanted::parse(args) {
        Ok(wanted) => wanted,
        Err(message) => return refused(&message),
    };
    finish(async {
        let name = wanted.unit.clone().unwrap_or_else(plan::made_up_name);
        let (plan, fds) = wanted.plan(&name)?;
        let mut control = connect()?;
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
        let begun = control.run(&name, plan, &fds).await;
        begun.map_err(|error| error.to_string())?;
        if wanted.detach {
            return Ok(ExitCode::SUCCESS);
        }
        Ok(code(ended(&mut control, &name).await?))
    })
}

/// `collect UNIT...`: waits for the end of transient units, says how each has ended, and forgets them.
pub(crate) fn collect(args: &[String]) -> ExitCode {
    if args.is_empty() {
        return refused("usage: collect UNIT...");
    }
    finish(async {
        let mut control = connect()?;
        let mut fine = true;
        for name in args {
            let said = match ended(&mut control, name).await {
                Ok(ExitStatus::Exited(code)) => format!("exited {code}"),
                Ok(ExitStatus::Signaled(signal)) => format!("signaled {signal}"),
                Ok(ExitStatus::Dumped(signal)) => format!("dumped {signal}"),
                Err(message) => {
                    fine = false;
                    format!("failed {message}")
                }
            };
            println!("{name} {said}");
        }
        Ok(if fine {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

async fn ended(control: &mut Control, name: &str) -> Result<ExitStatus, String> {
    let said = |error: client::control::Error| error.to_string();
    control.wait(name).await.map_err(said)?;
    control.collect(name).await.map_err(said)
}

fn connect() -> Result<Control, String> {
    let path = Path::new(spec_layout::path::CONTROL_SOCKET);
    Control::connect(path).map_err(|error| error.to_string())
}

/// As a shell has it.
fn code(status: ExitStatus) -> ExitCode {
    let code = match status {
        ExitStatus::Exited(code) => code,
        ExitStatus::Signaled(signal) | ExitStatus::Dumped(signal) => 128 + signal,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

fn finish(work: impl Future<Output = Result<ExitCode, String>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime
            .block_on(work)
            .unwrap_or_else(|message| refused(&message)),
        Err(error) => refused(&format!("cannot start a runtime: {error}")),
    }
}

fn refused(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Wanted, String> {
        let args: Vec<String> = text.split_whitespace().map(String::from).collect();
        Wanted::parse(&args)
    }

    #[test]
    fn a_command_line_names_the_unit_its_root_and_its_numbers() {
        let wanted = parsed("--unit a.service --root /r --ids 524288 --detach -- /bin/x --unit y");
        let wanted = wanted.unwrap();
        assert_eq!(wanted.unit.as_deref(), Some("a.service"));
        assert_eq!(wanted.root, Some(Root::Folder("/r".into())));
        assert_eq!((wanted.ids, wanted.detach), (Some(1 << 19), true));
        assert_eq!(wanted.command, ["/bin/x", "--unit", "y"]);
        for wrong in ["", "--", "--unit", "--what -- /bin/x", "--ids x -- /bin/x"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        for first in [0, 65_536, (1 << 19) + 1] {
            let message = parsed(&format!("--ids {first} -- /bin/x")).unwrap_err();
            assert!(message.contains("524288"), "{message}");
        }
    }
}
