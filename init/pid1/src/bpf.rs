//! What a control group is held to by programs that the kernel runs: BPF, Documentation/bpf/.
//!
//! A program is made of a plan's rules, unrolled: no maps, no loops. It is attached to the group before its first
//! process and goes with the group.

mod address;
mod device;
mod instruction;
mod link;
mod socket;

use std::io;
use std::os::fd::BorrowedFd;

use spec_unit::plan::filter::Filters;
use spec_unit::plan::socket::Family;

pub(crate) use instruction::Instruction;

use crate::sys::bpf::{self, Attach};

/// Holds a group to its filters. Where one cannot be attached nothing may run there.
pub(crate) fn attach(group: BorrowedFd<'_>, filters: &Filters) -> io::Result<()> {
    if let Some(rules) = &filters.devices {
        bpf::attach(group, Attach::Devices, &device::program(rules))?;
    }
    if !filters.allowed_addresses.is_empty() || !filters.denied_addresses.is_empty() {
        for (way, attach) in [
            (address::Way::In, Attach::Ingress),
            (address::Way::Out, Attach::Egress),
        ] {
            bpf::attach(group, attach, &address::program(filters, way))?;
        }
    }
    if let Some(links) = &filters.links {
        let program = link::program(links);
        bpf::attach(group, Attach::Ingress, &program)?;
        bpf::attach(group, Attach::Egress, &program)?;
    }
    if !filters.denied_binds.is_empty() {
        let program = |family| socket::program(filters, family);
        bpf::attach(group, Attach::Bind4, &program(Family::Ipv4))?;
        bpf::attach(group, Attach::Bind6, &program(Family::Ipv6))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;
    use std::path::{Path, PathBuf};

    use spec_unit::plan::filter::{DeviceRule, Devices, Prefix};

    use super::*;

    /// A control group for one test, if this process may make one.
    struct Group(PathBuf);

    impl Group {
        fn new(name: &str) -> Option<Self> {
            let mut trees = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
                .iter()
                .map(Path::new);
            let tree = trees.find(|tree| tree.join("cgroup.controllers").exists());
            let path = tree?.join(format!("bedplate-{name}-{}", std::process::id()));
            if fs::create_dir(&path).is_err() {
                println!("Skipped: it takes root to make a control group");
                return None;
            }
            Some(Self(path))
        }

        /// Runs a command in it; whether that was well.
        fn run(&self, script: &str) -> bool {
            let join = format!("echo $$ >{}/cgroup.procs; {script}", self.0.display());
            let mut shell = std::process::Command::new("/bin/bash");
            shell
                .args(["-ec", &join])
                .stderr(std::process::Stdio::null());
            shell.status().unwrap().success()
        }

        fn hold(&self, filters: &Filters) {
            attach(File::open(&self.0).unwrap().as_fd(), filters).unwrap();
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }

    #[test]
    fn only_the_devices_that_are_listed_open() {
        let Some(group) = Group::new("device") else {
            return;
        };
        let all = ["</dev/null", "</dev/zero", ">/dev/full", "</dev/urandom"];
        assert!(all.iter().all(|device| group.run(&format!(": {device}"))));
        let rule = |devices, write| DeviceRule {
            devices,
            read: true,
            write,
            make: false,
        };
        let full = Devices::Number {
            block: false,
            major: 1,
            minor: Some(7),
        };
        group.hold(&Filters {
            devices: Some(vec![
                rule(Devices::Node("/dev/null".into()), false),
                rule(full, true),
            ]),
            ..Filters::default()
        });
        assert_eq!(
            [
                "</dev/null",
                ">/dev/null",
                "</dev/zero",
                ">/dev/full",
                "</dev/urandom"
            ]
            .map(|device| group.run(&format!(": {device}"))),
            [true, false, false, true, false]
        );
    }

    #[test]
    fn only_ports_that_are_not_denied_are_bound() {
        use spec_unit::plan::socket::{BindRule, Transport};
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../overlays/check/usr/lib/bedplate-check/bind"
        );
        let bind = |group: &Group, port: u16, status: i32| {
            group.run(&format!(
                "s=0; {script} {port} || s=$?; [[ $s = {status} ]]"
            ))
        };
        let Some(group) = Group::new("bind") else {
            return;
        };
        if !cfg!(target_arch = "x86_64") || !Path::new(script).exists() {
            println!("Skipped: no program that binds");
            return;
        }
        assert!(bind(&group, 2000, libc::EINVAL));
        let rule = |transport, ports| BindRule {
            transport,
            ports,
            ..BindRule::default()
        };
        let all = vec![rule(None, None)];
        group.hold(&Filters {
            denied_binds: vec![
                rule(Some(Transport::Tcp), None),
                rule(Some(Transport::Udp), Some((2000, 2999))),
            ],
            allowed_binds: vec![rule(None, Some((2500, 2500)))],
            ..Filters::default()
        });
        for (port, status) in [
            (1999, libc::EINVAL),
            (2000, libc::EPERM),
            (2500, libc::EINVAL),
            (2501, libc::EPERM),
            (2999, libc::EPERM),
            (3000, libc::EINVAL),
        ] {
            assert!(bind(&group, port, status), "{port}");
        }
        group.hold(&Filters {
            denied_binds: all.clone(),
            ..Filters::default()
        });
        assert!(bind(&group, 2500, libc::EPERM));
        group.hold(&Filters {
            allowed_binds: all.clone(),
            denied_binds: all,
            ..Filters::default()
        });
    }

    #[test]
    fn only_links_that_are_not_denied_carry_packets() {
        use spec_unit::plan::socket::Links;
        let send = "echo x >/dev/udp/127.0.0.1/9";
        for (deny, name, reaches) in [
            (true, "lo", false),
            (true, "none", true),
            (false, "lo", true),
            (false, "none", false),
        ] {
            let Some(group) = Group::new(&format!("link-{deny}-{name}")) else {
                return;
            };
            assert!(group.run(send));
            group.hold(&Filters {
                links: Some(Links {
                    deny,
                    names: vec![name.into()],
                }),
                ..Filters::default()
            });
            assert_eq!(group.run(send), reaches, "{deny} {name}");
        }
    }

    #[test]
    fn only_addresses_that_are_not_denied_answer() {
        let Some(group) = Group::new("address") else {
            return;
        };
        let listen = |address: &str| TcpListener::bind((address, 0)).unwrap();
        let listeners = [listen("127.0.0.1"), listen("127.1.2.3"), listen("::1")];
        let ports = listeners
            .each_ref()
            .map(|listener| listener.local_addr().unwrap());
        let reach = |group: &Group| {
            ports.map(|to| {
                group.run(&format!(
                    "exec timeout 1 bash -c ': </dev/tcp/{}/{}'",
                    to.ip(),
                    to.port()
                ))
            })
        };
        assert_eq!(reach(&group), [true; 3]);
        let prefix = |address: &str, bits| Prefix {
            address: address.parse().unwrap(),
            bits,
        };
        group.hold(&Filters {
            denied_addresses: vec![prefix("127.0.0.0", 8), prefix("::", 0)],
            allowed_addresses: vec![prefix("127.1.0.0", 16)],
            ..Filters::default()
        });
        assert_eq!(reach(&group), [false, true, false]);
        assert!(
            ports.iter().all(|to| TcpStream::connect(to).is_ok()),
            "outside the group all answer"
        );
    }
}
