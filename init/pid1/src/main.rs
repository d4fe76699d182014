//! PID 1 of a Bedplate node: boot, supervise, confine, execute.
//!
//! The same binary runs twice. As `/init` of the initramfs it finds and verifies the root and executes itself there
//! ([`early`]); in the root it brings the node up ([`boot`]), supervises the units until a shutdown is decided, and
//! takes the machine down clean ([`shutdown`]). On request, and after a crash, it executes itself anew in place
//! ([`reexec`]). For a service in a disk image a child of it executes the program to open that ([`image`]).
//!
//! Principles: single-threaded; parses no byte that came off a network; blocks on nothing it supervises; does not
//! panic. Each failure is `Degraded` or `Fatal`, and [`error`] alone says which.

mod boot;
mod bpf;
mod cgroup;
mod early;
mod error;
mod event;
mod image;
mod log;
mod mount_table;
mod notify;
mod pressure;
mod protocol;
mod reap;
mod reexec;
mod shutdown;
mod sys;
mod tmpfiles;
mod unit;
mod watchdog;

use std::process::ExitCode;

fn main() -> ExitCode {
    error::set_panic_hook();
    if std::process::id() != 1 {
        let mut arguments = std::env::args().skip(1);
        if arguments.next().as_deref() == Some(image::COMMAND) {
            return image::serve(arguments.next());
        }
        eprintln!("bedplate-init runs as process 1 of a node and nowhere else");
        return ExitCode::from(2);
    }
    let inherited = reexec::inherited();
    let mounted = early::mount::first();
    let command_line = boot::console::begin();
    if let Err(error) = mounted {
        error::settle(&error);
    }
    if early::is_here() {
        error::die(&early::run(command_line));
    }
    let (mut boot, state) = match inherited {
        Some(inherited) => boot::resume(command_line, inherited),
        None => (boot::run(command_line), None),
    };
    let action = boot::supervise(&mut boot, state);
    shutdown::finish(action, &mut boot.watchdog)
}
