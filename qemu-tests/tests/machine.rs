//! The machine itself, with a guest of one boot sector: no image is needed.
//!
//! The guest says `K` and the year of its hardware clock, then echoes what it hears; at `q` it powers off.

use qemu_tests::{
    Boot, Vm, VmSpec,
    process::{self, Identity},
    runner::{self, Context, Outcome, Stop, Test, check},
    socket,
    vm::{Disk, DiskBus},
};
use rustix::process::Signal;
use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

const TESTS: &[Test] = &[
    quick("starts_resets_and_powers_off", starts_resets_and_powers_off),
    quick(
        "a_frozen_machine_answers_nobody",
        a_frozen_machine_answers_nobody,
    ),
    quick(
        "a_power_cut_leaves_nothing_running",
        a_power_cut_leaves_nothing_running,
    ),
    quick(
        "machines_die_with_their_process",
        machines_die_with_their_process,
    ),
    quick(
        "a_wrong_clock_is_wrong_in_the_guest",
        a_wrong_clock_is_wrong_in_the_guest,
    ),
    quick("what_qemu_refuses_is_told", what_qemu_refuses_is_told),
];

const fn quick(name: &'static str, run: fn(&Context) -> Outcome) -> Test {
    Test::new(name, 1, 60, run)
}

/// Names the folder of a machine that this program shall hold until it is killed.
const HOLD: &str = "BEDPLATE_TEST_HOLD";

fn main() -> ExitCode {
    match env::var_os(HOLD) {
        Some(folder) => hold(Path::new(&folder)),
        None => runner::main("machine", TESTS),
    }
}

#[rustfmt::skip]
const GUEST: &[u8] = &[
    0xba, 0xf8, 0x03,   //       mov dx, 3f8h    COM1, data
    0xb0, b'K',         //       mov al, 'K'
    0xee,               //       out dx, al
    0xb0, 0x09,         //       mov al, 9       clock, year in BCD
    0xe6, 0x70,         //       out 70h, al
    0xe4, 0x71,         //       in al, 71h
    0xee,               //       out dx, al
    0xba, 0xfd, 0x03,   // next: mov dx, 3fdh    COM1, line status
    0xec,               //       in al, dx
    0xa8, 0x01,         //       test al, 1
    0x74, 0xf8,         //       jz next
    0xba, 0xf8, 0x03,   //       mov dx, 3f8h
    0xec,               //       in al, dx
    0x3c, b'q',         //       cmp al, 'q'
    0x74, 0x03,         //       je off
    0xee,               //       out dx, al
    0xeb, 0xed,         //       jmp next
    0xba, 0x04, 0x06,   // off:  mov dx, 604h    ICH9 PM1a control
    0xb8, 0x00, 0x20,   //       mov ax, 2000h   SLP_EN, S5
    0xef,               //       out dx, ax
    0xf4,               //       hlt
];

fn guest(folder: &Path) -> Result<VmSpec, Stop> {
    let mut sector = vec![0; 1 << 20];
    sector[..GUEST.len()].copy_from_slice(GUEST);
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    let path = folder.join("disk.raw");
    fs::write(&path, sector).map_err(|error| Stop::Failed(error.to_string()))?;
    let mut spec = VmSpec::new("guest", folder, Boot::Bios);
    spec.memory_mib = 64;
    spec.disks.push(Disk {
        path,
        bus: DiskBus::Ahci,
        serial: "guest".into(),
    });
    Ok(spec)
}

const SOON: Duration = Duration::from_secs(15);

fn started(context: &Context) -> Result<Vm, Stop> {
    context.tool(qemu_tests::vm::QEMU)?;
    let mut vm = Vm::new(guest(&context.folder)?)?;
    vm.start(context.accel())?;
    vm.serial().wait_for("K", SOON)?;
    Ok(vm)
}

/// Types a word. QEMU forgets what the guest has not taken when the connection ends, so it is returned.
fn say(vm: &Vm, word: &str) -> Result<UnixStream, Stop> {
    let mut console = socket::connect(&vm.console_path())?;
    console
        .write_all(word.as_bytes())
        .map_err(|error| Stop::Failed(error.to_string()))?;
    Ok(console)
}

fn starts_resets_and_powers_off(context: &Context) -> Outcome {
    let mut vm = started(context)?;
    let console = say(&vm, "hello")?;
    vm.serial().wait_for("hello", SOON)?;
    drop(console);

    let mut serial = vm.serial();
    serial.skip_to_end();
    vm.reset()?;
    vm.qmp()?.wait_event("RESET", SOON)?;
    serial.wait_for("K", SOON)?;

    let _console = say(&vm, "q")?;
    vm.wait_off(SOON)?;
    check(!vm.is_on(), || "it is on after it powered off".into())
}

fn a_frozen_machine_answers_nobody(context: &Context) -> Outcome {
    let mut vm = started(context)?;
    vm.freeze()?;
    let _console = say(&vm, "anybody")?;
    let silent = vm.serial().wait_for("anybody", Duration::from_secs(1));
    check(silent.is_err(), || "a frozen machine answered".into())?;
    vm.thaw()?;
    vm.serial().wait_for("anybody", SOON)?;
    Ok(())
}

fn a_power_cut_leaves_nothing_running(context: &Context) -> Outcome {
    let mut vm = started(context)?;
    let qemu = vm.pid().and_then(|pid| Identity::of(pid as i32));
    let qemu = qemu.ok_or_else(|| Stop::Failed("QEMU has no process".into()))?;
    vm.power_cut()?;
    check(!qemu.alive(), || "QEMU runs after the power cut".into())?;
    check(!context.folder.join("vm.pid").exists(), || {
        "its pid file is there still".into()
    })?;
    vm.start(context.accel())?;
    vm.serial().wait_for("K", SOON)?;
    Ok(())
}

/// Holds a machine until somebody kills this process.
fn hold(folder: &Path) -> ExitCode {
    let Ok(mut vm) = guest(folder).and_then(|spec| Ok(Vm::new(spec)?)) else {
        return ExitCode::FAILURE;
    };
    if let Err(error) = vm.start(qemu_tests::accel::Accel::Tcg) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    println!("{}", vm.pid().unwrap_or_default());
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

fn machines_die_with_their_process(context: &Context) -> Outcome {
    context.tool(qemu_tests::vm::QEMU)?;
    let failed = |error: std::io::Error| Stop::Failed(error.to_string());
    let program = env::current_exe().map_err(failed)?;
    let mut holder = Command::new(program)
        .env(HOLD, &context.folder)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut line = String::new();
    if let Some(stdout) = holder.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(failed)?;
    }
    let qemu = line.trim().parse().ok().and_then(Identity::of);
    let qemu = qemu.ok_or_else(|| Stop::Failed(format!("no QEMU: '{line}'")))?;

    let holder_identity = Identity::of(holder.id() as i32);
    check(
        holder_identity.is_some_and(|it| it.signal(Signal::KILL)),
        || "no holder".into(),
    )?;
    holder.wait().map_err(failed)?;
    let deadline = Instant::now() + SOON;
    while qemu.alive() {
        check(Instant::now() < deadline, || {
            "QEMU outlives the process that started it".into()
        })?;
        thread::sleep(Duration::from_millis(20));
    }
    // The pid file that is left names nobody who runs.
    check(!process::reap(&context.folder.join("vm.pid"))?, || {
        "a stranger was killed".into()
    })
}

fn a_wrong_clock_is_wrong_in_the_guest(context: &Context) -> Outcome {
    context.tool(qemu_tests::vm::QEMU)?;
    let mut spec = guest(&context.folder)?;
    spec.clock = "2041-02-03T04:05:06".into();
    let mut vm = Vm::new(spec)?;
    vm.start(context.accel())?;
    // The year 41 in BCD is the letter A.
    vm.serial().wait_for("KA", SOON)?;
    Ok(())
}

fn what_qemu_refuses_is_told(context: &Context) -> Outcome {
    context.tool(qemu_tests::vm::QEMU)?;
    let mut spec = guest(&context.folder)?;
    spec.clock = "yesterday".into();
    let error = Vm::new(spec)?.start(context.accel());
    let told = error.map_or_else(|error| error.to_string(), |()| String::new());
    check(told.contains("invalid datetime format"), || {
        format!("said only: '{told}'")
    })
}
