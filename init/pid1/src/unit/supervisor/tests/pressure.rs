//! Want of memory over a folder that looks like a tree of control groups.

use super::*;

/// A slice that is watched, three services in it that run, and one beside it.
const UNITS: [(&str, &str); 5] = [
    (
        "w.slice",
        "[Slice]\nManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=50%\n\
         ManagedOOMMemoryPressureDurationSec=1s\n",
    ),
    ("little.service", "[Service]\nSlice=w.slice\nExecStart=/s\n"),
    ("most.service", "[Service]\nSlice=w.slice\nExecStart=/s\n"),
    (
        "guarded.service",
        "[Service]\nSlice=w.slice\nExecStart=/s\nManagedOOMPreference=omit\n",
    ),
    ("beside.service", "[Service]\nExecStart=/s\n"),
];

struct Tree(Node);

impl Tree {
    fn new() -> Self {
        let node = Node::with(&[]);
        let folder = node.folder.path().join("etc/systemd/system");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in UNITS {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let mut tree = Self(node);
        let groups = [
            "w.slice/little",
            "w.slice/most",
            "w.slice/guarded",
            "system.slice/beside",
        ];
        tree.write("w.slice", "cgroup.events", "populated 1\n");
        tree.write("w.slice", "cgroup.subtree_control", "memory\n");
        for group in groups {
            let group = format!("{group}.service");
            tree.write(&group, "cgroup.events", "populated 1\n");
            tree.write(&group, "cgroup.kill", "");
            tree.write(&group, "memory.current", "1048576\n");
        }
        for (name, _) in UNITS {
            tree.0.supervisor.load(name).unwrap();
        }
        tree.0.start("w.slice");
        for group in groups {
            let name = group.rsplit('/').next().unwrap();
            let state = tree.state(&format!("{name}.service"));
            state.phase = Phase::Running;
            state.cgroup = Some(format!("{group}.service"));
        }
        tree
    }

    fn write(&self, group: &str, file: &str, text: &str) {
        let folder = self.0.folder.path().join("no-cgroups").join(group);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file), text).unwrap();
    }

    fn state(&mut self, unit: &str) -> &mut UnitState {
        let id = self.0.supervisor.graph.id(unit).unwrap();
        &mut self.0.supervisor.states[id]
    }

    /// The slice waits for so much of the time, and of each service so many pages were looked through until now.
    fn press(&self, percent: u32, scanned: [(&str, u64); 4]) {
        let text = format!("full avg10={percent}.00 avg60=0.00 avg300=0.00 total=1\n");
        self.write("w.slice", "memory.pressure", &text);
        let all: u64 = scanned.iter().map(|(_, scanned)| scanned).sum();
        self.write("w.slice", "memory.stat", &format!("pgscan {all}\n"));
        for (name, scanned) in scanned {
            let slice = if name == "beside" {
                "system.slice"
            } else {
                "w.slice"
            };
            let group = format!("{slice}/{name}.service");
            self.write(&group, "memory.stat", &format!("pgscan {scanned}\n"));
        }
    }

    /// A trigger tells, and what is due at once is done.
    fn told(&mut self) {
        self.0.supervisor.pressure_told(1);
        self.0.supervisor.look_at_pressure();
    }

    /// The next look, after the second that it takes.
    fn later(&mut self) {
        let next = self.0.supervisor.pressure.next_us().unwrap();
        let wait = next.saturating_sub(self.0.supervisor.host.now_us());
        std::thread::sleep(Duration::from_micros(wait + 1000));
        self.0.supervisor.look_at_pressure();
    }

    fn killed(&self) -> Vec<&'static str> {
        let all = ["little", "most", "guarded", "beside"];
        let is_killed = |name: &&&str| {
            let slice = if **name == "beside" {
                "system.slice"
            } else {
                "w.slice"
            };
            let file = format!("no-cgroups/{slice}/{name}.service/cgroup.kill");
            std::fs::read_to_string(self.0.folder.path().join(file)).unwrap() == "1"
        };
        all.iter().filter(is_killed).copied().collect()
    }
}

#[test]
fn who_thrashes_in_a_slice_that_waits_is_killed_and_says_why() {
    let mut tree = Tree::new();
    let before = [
        ("little", 10),
        ("most", 500),
        ("guarded", 500),
        ("beside", 500),
    ];
    tree.press(90, before);
    tree.told();
    assert_eq!(tree.killed(), [""; 0], "it has not lasted yet");
    let after = [
        ("little", 20),
        ("most", 600),
        ("guarded", 9_000),
        ("beside", 9_000),
    ];
    tree.press(90, after);
    tree.later();
    assert_eq!(tree.killed(), ["most"]);
    let state = tree.state("most.service");
    assert_eq!(state.result, Outcome::OomKill);
    let reason = state.reason.clone().unwrap();
    for part in [
        "killed for want of memory, with 1.0 MiB",
        "w.slice waited for memory 90.00% of the last 10 s and more than 50.00% for 1 s",
        "of 3 groups most is reclaimed from w.slice/most.service, 100 pages",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
    tree.press(
        90,
        [
            ("little", 900),
            ("most", 900),
            ("guarded", 9_900),
            ("beside", 9_900),
        ],
    );
    tree.later();
    assert_eq!(tree.killed(), ["most"], "what it frees is waited for");
}

#[test]
fn pressure_that_passes_or_reclaims_nothing_kills_nobody() {
    for (percent, grows) in [(50, 100), (90, 0)] {
        let mut tree = Tree::new();
        let scanned = |more: u64| {
            [
                ("little", 10 + more),
                ("most", 10),
                ("guarded", 10),
                ("beside", 10),
            ]
        };
        tree.press(90, scanned(0));
        tree.told();
        tree.press(percent, scanned(grows));
        tree.later();
        assert_eq!(tree.killed(), [""; 0], "{percent} {grows}");
    }
}

#[test]
fn another_image_goes_on_with_the_time_that_has_passed() {
    let mut tree = Tree::new();
    tree.press(
        90,
        [
            ("little", 10),
            ("most", 10),
            ("guarded", 10),
            ("beside", 10),
        ],
    );
    tree.told();
    let record = tree.0.supervisor.pressure.record();
    let text = serde_json::to_string(&record).unwrap();
    assert!(
        text.contains("w.slice") && text.contains("\"looks\":true"),
        "{text}"
    );
    tree.0.supervisor.pressure = super::super::pressure::Pressure::default();
    let read = serde_json::from_str(&text).unwrap();
    tree.0.supervisor.begin_pressure(read);
    assert_eq!(tree.0.supervisor.pressure.record(), record);
}

#[test]
fn a_slice_that_is_left_is_watched_no_more() {
    let mut tree = Tree::new();
    tree.press(
        90,
        [
            ("little", 10),
            ("most", 10),
            ("guarded", 10),
            ("beside", 10),
        ],
    );
    // All in it has stopped before.
    for name in ["little.service", "most.service", "guarded.service"] {
        *tree.state(name) = UnitState::default();
    }
    tree.0.stop("w.slice");
    tree.told();
    let text = serde_json::to_string(&tree.0.supervisor.pressure.record()).unwrap();
    assert!(!text.contains("w.slice"), "{text}");
}
