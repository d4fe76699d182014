//! One virtual machine: a QEMU process with its control socket, serial log and console.
//!
//! The process dies with ours (`PR_SET_PDEATHSIG`), and its pid file lets a later run reap it should
//! that ever fail. QEMU works in the machine's folder and names its sockets without a path, so that
//! folder may be deep. Secrets are handed over in files, never on a command line.

use crate::{
    accel::Accel,
    disk,
    error::{Error, Result},
    images::Image,
    process::{self, Identity},
    qmp::Qmp,
    serial::{self, Serial},
    socket, sys,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    fs::{self, File},
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long QEMU may take to open its control socket.
const START: Duration = Duration::from_secs(30);

/// Everything a machine is made of.
#[derive(Debug, Clone)]
pub struct VmSpec {
    /// Shown in messages; QEMU's `-name`.
    pub name: String,
    /// Existing folder for its logs, sockets, variables and pid file.
    pub folder: PathBuf,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory.
    pub memory_mib: u32,
    /// Firmware or direct kernel boot.
    pub boot: Boot,
    /// Disks, the first one first in the boot order.
    pub disks: Vec<Disk>,
    /// Network cards.
    pub nics: Vec<Nic>,
    /// What the guest gets as system credentials.
    pub credentials: Vec<Credential>,
    /// SMBIOS system UUID.
    pub uuid: Option<String>,
    /// SMBIOS system serial number.
    pub serial_number: Option<String>,
    /// An i6300ESB watchdog that resets the machine.
    pub watchdog: bool,
    /// A PCI Express slot without a card, for [`Vm::plug`].
    pub empty_slot: bool,
    /// The emulated processor has cmpxchg16b, which some programs take for granted. The guest's kernel must leave it
    /// alone: `clearcpuid=cx16`.
    pub cmpxchg16b: bool,
    /// Real-time clock: `utc` or a date such as `2001-01-01T00:00:00`.
    pub clock: String,
}

impl VmSpec {
    /// A machine with one processor and 512 MiB, without disk and network.
    pub fn new(name: &str, folder: &Path, boot: Boot) -> VmSpec {
        VmSpec {
            name: name.into(),
            folder: folder.into(),
            cpus: 1,
            memory_mib: 512,
            boot,
            disks: Vec::new(),
            nics: Vec::new(),
            credentials: Vec::new(),
            uuid: None,
            serial_number: None,
            watchdog: false,
            empty_slot: false,
            cmpxchg16b: false,
            clock: "utc".into(),
        }
    }

    /// A machine of its own with an image on its disk, booted by the kernel directly: no network, no machine config,
    /// and no cluster. Whatever PID 1 the image has. Makes the folder.
    pub fn of_image(name: &str, folder: &Path, image: &Image) -> Result<VmSpec> {
        fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        let disk = folder.join("disk.raw");
        disk::copy(&image.required("raw")?, &disk, 0)?;
        let mut spec = VmSpec::new(name, folder, image.direct(folder)?);
        spec.disks.push(Disk {
            path: disk,
            bus: DiskBus::Virtio,
            serial: format!("{name}-disk"),
        });
        Ok(spec)
    }
}

/// What the machine starts with.
#[derive(Debug, Clone)]
pub enum Boot {
    /// OVMF; the machine's own variables are kept in its folder.
    Uefi,
    /// The kernel directly.
    Direct {
        /// Kernel image.
        kernel: PathBuf,
        /// Initial RAM disk.
        initrd: PathBuf,
        /// Kernel command line.
        cmdline: String,
    },
    /// PC BIOS from the first disk or the network card's boot ROM.
    Bios,
}

/// A disk, raw.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The image file.
    pub path: PathBuf,
    /// How it is attached.
    pub bus: DiskBus,
    /// Serial number the guest sees.
    pub serial: String,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskBus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// SATA through AHCI.
    Ahci,
    /// NVMe.
    Nvme,
    /// virtio-scsi.
    VirtioScsi,
}

/// A network card.
#[derive(Debug, Clone)]
pub struct Nic {
    /// Its hardware address.
    pub mac: String,
    /// Model.
    pub model: NicModel,
    /// What it is plugged into.
    pub peer: Peer,
}

/// Model of a network card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NicModel {
    /// virtio-net.
    #[default]
    Virtio,
    /// Intel 82540EM.
    E1000,
    /// Intel 82574L.
    E1000e,
}

impl NicModel {
    fn device(self) -> &'static str {
        match self {
            NicModel::Virtio => "virtio-net-pci",
            NicModel::E1000 => "e1000",
            NicModel::E1000e => "e1000e",
        }
    }
}

/// What a network card is plugged into.
#[derive(Debug, Clone)]
pub enum Peer {
    /// A port of our [`crate::Switch`]: its socket.
    Switch(PathBuf),
    /// QEMU's user-mode network with the LAN's numbers: DHCP, TFTP, and forwarded host loopback ports.
    User {
        /// (host port on 127.0.0.1, address and port in the guest's network).
        forwards: Vec<(u16, SocketAddrV4)>,
        /// Folder served by TFTP, and the boot file named in DHCP.
        tftp: Option<(PathBuf, String)>,
    },
}

/// A system credential for the guest, in a file.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Its name in the guest.
    pub name: String,
    /// Its content; for [`Via::Smbios`] the whole OEM string `io.systemd.credential…:NAME=VALUE`.
    pub path: PathBuf,
    /// How it gets there.
    pub via: Via,
}

/// The way of a credential into the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Via {
    /// fw_cfg file `opt/io.systemd.credentials/NAME`.
    #[default]
    FwCfg,
    /// SMBIOS type 11 OEM string.
    Smbios,
}

/// A machine, on or off.
#[derive(Debug)]
pub struct Vm {
    spec: VmSpec,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    qmp: Qmp,
}

impl Vm {
    /// A machine that is off. Whatever an earlier run left of it is killed.
    pub fn new(spec: VmSpec) -> Result<Vm> {
        process::reap(&spec.folder.join("vm.pid"))?;
        Ok(Vm {
            spec,
            running: None,
        })
    }

    /// What it is made of; changes count from the next start.
    pub fn spec_mut(&mut self) -> &mut VmSpec {
        &mut self.spec
    }

    /// What it is made of.
    pub fn spec(&self) -> &VmSpec {
        &self.spec
    }

    /// Switches it on.
    pub fn start(&mut self, accel: Accel) -> Result<()> {
        if self.is_on() {
            return Err(Error::Refused(format!("{} is on already", self.spec.name)));
        }
        let folder = &self.spec.folder;
        let log_path = folder.join("qemu.log");
        let log = File::create(&log_path).map_err(Error::io("create", &log_path))?;
        let mut command = self.command(accel)?;
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(Error::io("write", &log_path))?)
            .stderr(log);
        let mut child = sys::spawn_tied(command).map_err(Error::doing(format!(
            "start {QEMU} (is it installed? `bedplate doctor` says how)"
        )))?;
        let named = Identity::of(child.id() as i32).map(|id| id.write(&folder.join("vm.pid")));
        match named
            .unwrap_or(Ok(()))
            .and_then(|()| self.connect(&mut child))
        {
            Ok(qmp) => {
                self.running = Some(Running { child, qmp });
                Ok(())
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn connect(&self, child: &mut Child) -> Result<Qmp> {
        let path = self.spec.folder.join("qmp.sock");
        let deadline = Instant::now() + START;
        loop {
            // A QEMU that ends at once may do so while it greets.
            let greeted = socket::connect(&path).and_then(Qmp::greet);
            if greeted.is_err() {
                thread::sleep(Duration::from_millis(20));
            }
            if let Ok(Some(status)) = child.try_wait() {
                let log = fs::read_to_string(self.spec.folder.join("qemu.log")).unwrap_or_default();
                let name = &self.spec.name;
                return Err(Error::Failed(format!(
                    "QEMU of {name} ended at once ({status}): {}",
                    log.trim()
                )));
            }
            match greeted {
                Err(_) if Instant::now() < deadline => {}
                greeted => return greeted,
            }
        }
    }

    /// The serial log, from its start over all boots.
    pub fn serial(&self) -> Serial {
        Serial::new(&self.serial_path())
    }

    /// The serial log's file.
    pub fn serial_path(&self) -> PathBuf {
        self.spec.folder.join("serial.log")
    }

    /// The socket that takes input for the serial console and gives its output.
    pub fn console_path(&self) -> PathBuf {
        self.spec.folder.join("console.sock")
    }

    /// QEMU runs.
    pub fn is_on(&mut self) -> bool {
        let child = self
            .running
            .as_mut()
            .map(|running| running.child.try_wait());
        let on = matches!(child, Some(Ok(None)));
        if !on {
            self.running = None;
        }
        on
    }

    /// QEMU's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// Why the machine, though QEMU runs, cannot go on by itself; `None` while nothing of the kind is known.
    pub fn given_up(&mut self) -> Option<String> {
        let state = self.qmp().ok()?.run_state().ok()?;
        given_up(
            &state,
            &serial::tail(&self.spec.folder.join("qemu.log"), 50),
        )
    }

    /// The control connection.
    pub fn qmp(&mut self) -> Result<&mut Qmp> {
        let name = &self.spec.name;
        let off = || Error::Refused(format!("{name} is off"));
        self.running
            .as_mut()
            .map(|running| &mut running.qmp)
            .ok_or_else(off)
    }

    /// Presses the reset button.
    pub fn reset(&mut self) -> Result<()> {
        self.qmp()?.execute("system_reset", json!({})).map(drop)
    }

    /// Stops the processors: the machine hangs for everybody else.
    pub fn freeze(&mut self) -> Result<()> {
        self.qmp()?.execute("stop", json!({})).map(drop)
    }

    /// Lets it go on.
    pub fn thaw(&mut self) -> Result<()> {
        self.qmp()?.execute("cont", json!({})).map(drop)
    }

    /// Presses the power button: the guest shuts down if it likes.
    pub fn press_power(&mut self) -> Result<()> {
        self.qmp()?.execute("system_powerdown", json!({})).map(drop)
    }

    /// Presses Ctrl-Alt-Del.
    pub fn press_ctrl_alt_del(&mut self) -> Result<()> {
        let key = |name: &str| json!({ "type": "qcode", "data": name });
        let keys = json!({ "keys": [key("ctrl"), key("alt"), key("delete")] });
        self.qmp()?.execute("send-key", keys).map(drop)
    }

    /// Raises a non-maskable interrupt (with `unknown_nmi_panic` the guest panics).
    pub fn inject_nmi(&mut self) -> Result<()> {
        self.qmp()?.execute("inject-nmi", json!({})).map(drop)
    }

    /// Plugs a card, by QEMU's name for it, into the empty slot.
    pub fn plug(&mut self, card: &str) -> Result<()> {
        let arguments = json!({ "driver": card, "id": "plugged", "bus": "plug" });
        self.qmp()?.execute("device_add", arguments).map(drop)
    }

    /// Pulls the cable of a network card, by its place in the machine's list, or plugs it in again: the guest sees the
    /// carrier go or come.
    pub fn set_cable(&mut self, nic: usize, plugged: bool) -> Result<()> {
        let arguments = json!({ "name": format!("net{nic}"), "up": plugged });
        self.qmp()?.execute("set_link", arguments).map(drop)
    }

    /// Takes the power away: QEMU is killed, what the guest had not flushed is gone.
    pub fn power_cut(&mut self) -> Result<()> {
        if let Some(mut running) = self.running.take() {
            running.child.kill().map_err(Error::doing("kill QEMU"))?;
            running
                .child
                .wait()
                .map_err(Error::doing("wait for QEMU"))?;
        }
        self.forget_pid();
        Ok(())
    }

    /// Waits until QEMU ends by itself (the guest powered off).
    pub fn wait_off(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        let name = self.spec.name.clone();
        let Some(running) = &mut self.running else {
            return Err(Error::Refused(format!("{name} is off")));
        };
        loop {
            if let Some(status) = running
                .child
                .try_wait()
                .map_err(Error::doing("wait for QEMU"))?
            {
                self.running = None;
                self.forget_pid();
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout {
                    what: format!("{name} to power off"),
                    seconds: timeout.as_secs(),
                    last: serial::tail(&self.serial_path(), 1),
                });
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses the power button, and takes the power away if the guest is not off in time. True if it
    /// went by itself.
    pub fn stop(&mut self, timeout: Duration) -> Result<bool> {
        if !self.is_on() {
            self.forget_pid();
            return Ok(true);
        }
        let went = self.press_power().is_ok() && self.wait_off(timeout).is_ok();
        self.power_cut().map(|()| went)
    }

    fn forget_pid(&self) {
        let _ = fs::remove_file(self.spec.folder.join("vm.pid"));
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.power_cut();
    }
}

/// What to say of a machine in this run state (QEMU, "qapi/run-state.json") that cannot go on; QEMU's log says why.
fn given_up(run_state: &str, log: &str) -> Option<String> {
    let why = log
        .lines()
        .find(|line| line.contains("KVM") || line.contains("error"))
        .map(|line| format!(" ({})", line.trim()))
        .unwrap_or_default();
    match run_state {
        "internal-error" => Some(format!(
            "QEMU gave the machine up{why}: KVM does not work here; BEDPLATE_ACCEL=tcg does without it"
        )),
        "io-error" => Some(format!(
            "QEMU stopped the machine, since it cannot write its disk{why}: is there room where that lies?"
        )),
        _ => None,
    }
}

/// The emulator.
pub const QEMU: &str = "qemu-system-x86_64";

/// Code and variables of UEFI firmware, first pair that exists.
const FIRMWARE: &[(&str, &str)] = &[
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
];

/// UEFI firmware of this machine: code and a template of its variables.
pub fn firmware() -> Result<(&'static Path, &'static Path)> {
    FIRMWARE
        .iter()
        .map(|(code, variables)| (Path::new(*code), Path::new(*variables)))
        .find(|(code, variables)| code.exists() && variables.exists())
        .ok_or_else(|| {
            Error::Failed("no UEFI firmware (OVMF) here: install the package ovmf".into())
        })
}

/// A path as QEMU's option parser wants it: absolute, a comma doubled.
fn option_path(path: &Path) -> Result<String> {
    option_text(&std::path::absolute(path).map_err(Error::io("resolve", path))?)
}

fn option_text(path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| {
        Error::Refused(format!(
            "{}: QEMU needs file names in UTF-8",
            path.display()
        ))
    })?;
    Ok(text.replace(',', ",,"))
}

impl Vm {
    fn command(&self, accel: Accel) -> Result<Command> {
        let spec = &self.spec;
        let mut command = Command::new(QEMU);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-name", &spec.name.replace(',', "_"), "-machine", "q35"]);
        command.args(accel.arguments(self.spec.cmpxchg16b));
        command.args([
            "-smp",
            &spec.cpus.to_string(),
            "-m",
            &spec.memory_mib.to_string(),
        ]);
        command.args(["-rtc", &format!("base={}", spec.clock)]);
        command.args(["-chardev", "socket,id=console,path=console.sock,server=on,wait=off,logfile=serial.log,logappend=on"]);
        command.args(["-serial", "chardev:console"]);
        command.args(["-chardev", "socket,id=qmp,path=qmp.sock,server=on,wait=off"]);
        command.args(["-mon", "chardev=qmp,mode=control"]);
        command.args(["-device", "virtio-rng-pci"]);
        if let Some(uuid) = &spec.uuid {
            command.args(["-uuid", uuid]);
        }
        if let Some(number) = &spec.serial_number {
            command.args([
                "-smbios",
                &format!("type=1,serial={}", number.replace(',', "_")),
            ]);
        }
        if spec.watchdog {
            command.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
        }
        if spec.empty_slot {
            command.args(["-device", "pcie-root-port,id=plug"]);
        }
        self.boot_arguments(&mut command)?;
        for (index, disk) in spec.disks.iter().enumerate() {
            command.args(disk_arguments(index, disk)?);
        }
        for (index, nic) in spec.nics.iter().enumerate() {
            command.args(nic_arguments(&spec.folder, index, nic)?);
        }
        for credential in &spec.credentials {
            let file = option_path(&credential.path)?;
            match credential.via {
                Via::FwCfg => {
                    let name = &credential.name;
                    command.args([
                        "-fw_cfg",
                        &format!("name=opt/io.systemd.credentials/{name},file={file}"),
                    ]);
                }
                Via::Smbios => {
                    command.args(["-smbios", &format!("type=11,path={file}")]);
                }
            }
        }
        Ok(command)
    }

    fn boot_arguments(&self, command: &mut Command) -> Result<()> {
        match &self.spec.boot {
            Boot::Bios => {}
            Boot::Direct {
                kernel,
                initrd,
                cmdline,
            } => {
                command
                    .arg("-kernel")
                    .arg(std::path::absolute(kernel).map_err(Error::io("resolve", kernel))?);
                command
                    .arg("-initrd")
                    .arg(std::path::absolute(initrd).map_err(Error::io("resolve", initrd))?);
                command.args(["-append", cmdline]);
            }
            Boot::Uefi => {
                let (code, template) = firmware()?;
                let variables = self.spec.folder.join("efi-variables.fd");
                if !variables.exists() {
                    let mut from = File::open(template).map_err(Error::io("open", template))?;
                    let mut to =
                        File::create(&variables).map_err(Error::io("create", &variables))?;
                    std::io::copy(&mut from, &mut to).map_err(Error::io("write", &variables))?;
                }
                let code = option_path(code)?;
                command.args([
                    "-drive",
                    &format!("if=pflash,unit=0,format=raw,readonly=on,file={code}"),
                ]);
                command.args([
                    "-drive",
                    "if=pflash,unit=1,format=raw,file=efi-variables.fd",
                ]);
            }
        }
        Ok(())
    }
}

fn disk_arguments(index: usize, disk: &Disk) -> Result<Vec<String>> {
    let file = option_path(&disk.path)?;
    let serial = disk.serial.replace(',', "_");
    let device = match disk.bus {
        DiskBus::Virtio => "virtio-blk-pci".to_owned(),
        DiskBus::Ahci => format!("ide-hd,bus=ide.{index}"),
        DiskBus::Nvme => "nvme".to_owned(),
        DiskBus::VirtioScsi => format!("scsi-hd,bus=scsi{index}.0"),
    };
    let mut arguments = vec![
        "-drive".to_owned(),
        format!("if=none,id=disk{index},format=raw,discard=unmap,file={file}"),
    ];
    if disk.bus == DiskBus::VirtioScsi {
        arguments.extend([
            "-device".to_owned(),
            format!("virtio-scsi-pci,id=scsi{index}"),
        ]);
    }
    arguments.extend([
        "-device".to_owned(),
        // 0 is the kernel's own in a direct boot.
        format!(
            "{device},drive=disk{index},serial={serial},bootindex={}",
            index + 1
        ),
    ]);
    Ok(arguments)
}

fn nic_arguments(folder: &Path, index: usize, nic: &Nic) -> Result<[String; 4]> {
    let mut boots = false;
    let netdev = match &nic.peer {
        Peer::Switch(path) => {
            // QEMU works in the folder: a socket there needs no path, which may be too long for one.
            let near = path.parent() == Some(folder);
            let file = match path.file_name() {
                Some(name) if near => option_text(Path::new(name))?,
                _ => option_path(path)?,
            };
            format!("stream,id=net{index},server=off,addr.type=unix,addr.path={file}")
        }
        Peer::User { forwards, tftp } => {
            let mut text =
                format!("user,id=net{index},net=10.77.0.0/24,host=10.77.0.1,dhcpstart=10.77.0.100");
            for (host, guest) in forwards {
                text.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-{guest}"));
            }
            if let Some((folder, file)) = tftp {
                boots = true;
                text.push_str(&format!(
                    ",tftp={},bootfile={}",
                    option_path(folder)?,
                    file.replace(',', ",,")
                ));
            }
            text
        }
    };
    let rom = if boots { "" } else { ",romfile=" };
    let (model, mac) = (nic.model.device(), &nic.mac);
    let boot_order = if boots { ",bootindex=9" } else { "" };
    let device = format!("{model},netdev=net{index},mac={mac}{rom}{boot_order}");
    Ok(["-netdev".to_owned(), netdev, "-device".to_owned(), device])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_qemu_gave_up_says_what_to_do() {
        let log = "qemu: warning: x\nKVM internal error. Suberror: 1\nEAX=00000000\n";
        let said = given_up("internal-error", log).unwrap();
        assert!(
            said.contains("(KVM internal error. Suberror: 1)")
                && said.contains("BEDPLATE_ACCEL=tcg"),
            "{said}"
        );
        assert!(given_up("io-error", "").unwrap().contains("is there room"));
        for alive in ["running", "paused", "watchdog", "shutdown"] {
            assert_eq!(given_up(alive, log), None, "{alive}");
        }
    }
}
