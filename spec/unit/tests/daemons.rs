//! Units in the manner of well-known daemons' packages: what becomes of them as they are.

use std::collections::BTreeMap;

use spec_unit::account::Accounts;
use spec_unit::check::check;
use spec_unit::directive::{PlanHost, Planning, restart::Restart, service::ServiceType};
use spec_unit::finding::Severity;
use spec_unit::load::{EntryKind, Loader, UnitSource};
use spec_unit::plan::{Credentials, ExecPlan, Resource};
use spec_unit::specifier::Facts;
use spec_unit::unit::{LoadState, Unit};

const ETCD: &str = r"[Unit]
Description=etcd - highly-available key value store
Documentation=https://etcd.io/docs
Documentation=man:etcd
After=network.target
Wants=network-online.target

[Service]
Environment=DAEMON_ARGS=
Environment=ETCD_NAME=%H
Environment=ETCD_DATA_DIR=/var/lib/etcd/default
EnvironmentFile=-/etc/default/%p
Type=notify
User=etcd
PermissionsStartOnly=true
#ExecStart=/bin/sh -c 'GOMAXPROCS=$(nproc) /usr/bin/etcd $DAEMON_ARGS'
ExecStart=/usr/bin/etcd $DAEMON_ARGS
Restart=on-abnormal
#RestartSec=10s
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
Alias=etcd2.service
";

const ETCD_DROP_IN: &str = "[Unit]
After=bedplate-etcd.service
ConditionPathExists=/run/bedplate/roles/master
StartLimitIntervalSec=0
[Service]
EnvironmentFile=/run/bedplate/etcd.env
Restart=always
RestartSec=1s
TimeoutStartSec=infinity
";

const CHRONY: &str = r"[Unit]
Description=chrony, an NTP client/server
Conflicts=ntp.service ntpsec.service
Wants=time-sync.target
Before=time-sync.target
After=network.target
ConditionCapability=CAP_SYS_TIME

[Service]
Type=notify
NotifyAccess=main
PIDFile=/run/chrony/chronyd.pid
Environment=DAEMON_OPTS=-F\x201
User=_chrony
ExecStart=!/usr/sbin/chronyd -n $DAEMON_OPTS
CapabilityBoundingSet=CAP_CHOWN CAP_SYS_TIME
CapabilityBoundingSet=~CAP_CHOWN
ProtectSystem=strict
ReadWritePaths=/run /var/lib/chrony
RestrictNamespaces=yes
";

const NGINX: &str = "[Unit]
Description=A high performance web server and a reverse proxy server
After=network-online.target remote-fs.target nss-lookup.target
Wants=network-online.target
[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStartPre=/usr/sbin/nginx -t -q -g 'daemon on; master_process on;'
ExecStart=/usr/sbin/nginx -g 'daemon on; master_process on;'
ExecReload=/usr/sbin/nginx -g 'daemon on; master_process on;' -s reload
ExecStop=-/sbin/start-stop-daemon --quiet --stop --retry QUIT/5 --pidfile /run/nginx.pid
TimeoutStopSec=5
KillMode=mixed
";

struct Files(BTreeMap<&'static str, &'static str>);

impl UnitSource for Files {
    fn list(&self, folder: &str) -> Result<Vec<(String, EntryKind)>, String> {
        let below = self
            .0
            .keys()
            .filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/'));
        let entry = |rest: &str| match rest.split_once('/') {
            Some((name, _)) => (name.to_string(), EntryKind::Folder),
            None => (rest.to_string(), EntryKind::File),
        };
        Ok(below
            .map(entry)
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect())
    }
    fn link(&self, path: &str) -> Result<String, String> {
        Err(format!("{path} is no link"))
    }
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self.0.get(path).map(|text| text.as_bytes().to_vec()))
    }
}

fn files() -> Files {
    Files(BTreeMap::from([
        ("/usr/lib/systemd/system/etcd.service", ETCD),
        (
            "/usr/lib/systemd/system/etcd.service.d/bedplate.conf",
            ETCD_DROP_IN,
        ),
        ("/usr/lib/systemd/system/chrony.service", CHRONY),
        ("/usr/lib/systemd/system/nginx.service", NGINX),
        (
            "/usr/lib/systemd/system/bus.service",
            "[Service]\nType=dbus\nBusName=org.example\nExecStart=/usr/bin/bus\n",
        ),
        ("/usr/lib/systemd/system/sysinit.target", "[Unit]\n"),
        ("/usr/lib/systemd/system/network-online.target", "[Unit]\n"),
        ("/usr/lib/systemd/system/time-sync.target", "[Unit]\n"),
    ]))
}

fn load(name: &str) -> Unit {
    let (files, facts) = (
        files(),
        Facts {
            hostname: "dev-1".into(),
            ..Facts::default()
        },
    );
    Loader::new(&files, &facts)
        .unwrap()
        .load(name)
        .unwrap()
        .unit
}

struct Node(Accounts, Facts);

impl PlanHost for Node {
    fn accounts(&self) -> &Accounts {
        &self.0
    }
    fn facts(&self) -> &Facts {
        &self.1
    }
    fn environment_file(&self, path: &str) -> Result<Option<String>, String> {
        Ok((path == "/run/bedplate/etcd.env")
            .then(|| "ETCD_NAME=dev-2\nDAEMON_ARGS=--auto-tls=false -v\n".into()))
    }
    fn is_program(&self, _: &str) -> bool {
        true
    }
}

#[test]
fn etcd_runs_with_its_drop_in() {
    let unit = load("etcd.service");
    assert_eq!(
        (unit.load, unit.reason.as_deref()),
        (LoadState::Loaded, None)
    );
    assert_eq!(unit.service.kind.given, Some(ServiceType::Notify));
    assert_eq!(unit.service.restart.policy, Restart::Always);
    assert_eq!(unit.service.timeout.start(false), u64::MAX);
    assert_eq!(unit.start_limit.interval_us, 0);
    let passwd = "etcd:x:100:101::/var/lib/etcd:/usr/sbin/nologin\n";
    let node = Node(Accounts::parse(passwd, "etcd:x:101:\n"), Facts::default());
    let command = &unit.service.exec.start[0];
    let plan = ExecPlan::of(&Planning {
        unit: &unit,
        command,
        host: &node,
        variables: &[],
    })
    .unwrap();
    assert_eq!(plan.argv, ["/usr/bin/etcd", "--auto-tls=false", "-v"]);
    assert_eq!(
        plan.environment["ETCD_NAME"], "dev-2",
        "a later file wins over Environment="
    );
    assert_eq!(plan.environment["ETCD_DATA_DIR"], "/var/lib/etcd/default");
    assert_eq!(
        plan.credentials,
        Some(Credentials {
            uid: 100,
            gid: 101,
            groups: vec![101]
        })
    );
    assert_eq!(
        (plan.rlimits[0].resource, plan.rlimits[0].soft),
        (Resource::Nofile, 65536)
    );
    assert_eq!(plan.cgroup.path, "system.slice/etcd.service");
}

#[test]
fn chrony_is_refused_for_each_wall_it_asks_for() {
    let unit = load("chrony.service");
    assert_eq!(unit.load, LoadState::BadSetting);
    assert_eq!(unit.refusals.keys().collect::<Vec<_>>(), ["ProtectSystem"]);
    let bounding = unit.service.capabilities.bounding.unwrap();
    assert_eq!(bounding.names().collect::<Vec<_>>(), ["CAP_SYS_TIME"]);
    assert_eq!(
        unit.service.environment.variables,
        [("DAEMON_OPTS".to_string(), "-F 1".to_string())]
    );
    assert!(unit.service.exec.start[0].privileged);
}

#[test]
fn a_forking_nginx_tells_its_main_process_by_a_file() {
    let unit = load("nginx.service");
    assert_eq!((unit.load, unit.reason), (LoadState::Loaded, None));
    assert_eq!(unit.service.kind.given, Some(ServiceType::Forking));
    let pid_file = unit.service.kind.pid_file.as_deref();
    assert_eq!(pid_file, Some("/run/nginx.pid"));
    assert_eq!(
        unit.service.exec.start[0].arguments[2],
        "daemon on; master_process on;"
    );
    assert!(unit.service.exec.stop[0].ignore_failure);
}

#[test]
fn the_builder_tells_all_of_it_with_file_and_line() {
    let roots = ["etcd.service", "chrony.service", "bus.service"].map(String::from);
    let findings = check(&files(), &roots, &["chrony.service".into()]).unwrap();
    let said = |severity: Severity| {
        findings
            .iter()
            .filter(|f| f.severity == severity)
            .map(|f| f.at.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        said(Severity::Error),
        ["/usr/lib/systemd/system/bus.service:2"]
    );
    assert_eq!(
        said(Severity::Isolation),
        [""; 0],
        "the recipe allows chrony"
    );
    let warnings = said(Severity::Warning);
    assert!(
        warnings.contains(&"/usr/lib/systemd/system/chrony.service:18".to_string()),
        "{warnings:?}"
    );
    assert!(
        !warnings.iter().any(|at| at.contains("etcd.service")),
        "etcd's own lines are all honoured, PermissionsStartOnly= too: {warnings:?}"
    );
}
