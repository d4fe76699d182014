//! Units loaded out of a small tree in memory.

use super::*;

/// Files and links by path; a link's text starts with `->`.
#[derive(Default)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, String>);

impl Tree {
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let path = |path: &str| {
            if path.starts_with('/') {
                path.into()
            } else {
                format!("/usr/lib/systemd/system/{path}")
            }
        };
        Self(
            files
                .iter()
                .map(|(name, text)| (path(name), text.to_string()))
                .collect(),
        )
    }
}

impl UnitSource for Tree {
    fn list(&self, folder: &str) -> Result<Vec<(String, EntryKind)>, String> {
        let mut found = BTreeMap::new();
        for (path, text) in &self.0 {
            let Some(rest) = path
                .strip_prefix(folder)
                .and_then(|rest| rest.strip_prefix('/'))
            else {
                continue;
            };
            let kind = if text.starts_with("->") {
                EntryKind::Link
            } else {
                EntryKind::File
            };
            match rest.split_once('/') {
                Some((name, _)) => found.insert(name.to_string(), EntryKind::Folder),
                None => found.insert(rest.to_string(), kind),
            };
        }
        Ok(found.into_iter().collect())
    }
    fn link(&self, path: &str) -> Result<String, String> {
        let text = self.0.get(path).and_then(|text| text.strip_prefix("->"));
        text.map(String::from)
            .ok_or_else(|| format!("{path} is no link"))
    }
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        match self.0.get(path).map(String::as_str) {
            Some(text) if text.starts_with("->/dev/null") => Ok(Some(Vec::new())),
            Some(text) if text.starts_with("->") => self.read(text.trim_start_matches("->")),
            Some(text) => Ok(Some(text.as_bytes().to_vec())),
            None => Ok(None),
        }
    }
}

fn load(files: &[(&str, &str)], name: &str) -> Loaded {
    let (tree, facts) = (Tree::of(files), Facts::default());
    Loader::new(&tree, &facts).unwrap().load(name).unwrap()
}

#[test]
fn etc_wins_over_usr_and_drop_ins_apply_by_name() {
    let loaded = load(
        &[
            ("a.service", "[Service]\nExecStart=/bin/usr\n"),
            (
                "/etc/systemd/system/a.service",
                "[Service]\nExecStart=/bin/etc\n",
            ),
            ("a.service.d/20.conf", "[Service]\nNice=2\n"),
            ("service.d/10.conf", "[Service]\nNice=1\nUMask=0077\n"),
            (
                "/etc/systemd/system/a.service.d/20.conf",
                "[Service]\nNice=3\n",
            ),
            ("a.service.d/ignored.txt", "[Service]\nNice=9\n"),
        ],
        "a.service",
    );
    assert_eq!(loaded.findings, []);
    assert_eq!(loaded.unit.service.exec.start[0].program, "/bin/etc");
    assert_eq!(
        (
            loaded.unit.service.process.nice,
            loaded.unit.service.process.umask
        ),
        (Some(3), Some(0o077))
    );
    assert_eq!(loaded.unit.drop_ins.len(), 2);
}

#[test]
fn an_instance_comes_from_its_template() {
    let files = [(
        "pg@.service",
        "[Unit]\nDescription=Cluster %i\n[Service]\nExecStart=/bin/pg %I\n",
    )];
    let unit = load(&files, "pg@17-main.service").unit;
    assert_eq!(
        (unit.description.text.as_str(), unit.load),
        ("Cluster 17-main", LoadState::Loaded)
    );
    assert_eq!(unit.service.exec.start[0].arguments[1], "17/main");
    let (tree, facts) = (Tree::of(&files), Facts::default());
    assert!(
        Loader::new(&tree, &facts)
            .unwrap()
            .load("pg@.service")
            .unwrap_err()
            .contains("template")
    );
}

#[test]
fn a_template_among_the_dependencies_of_a_plain_unit_gets_its_name() {
    let files = [(
        "keys.service",
        "[Unit]\nBefore=sshd@.service\n[Service]\nExecStart=/bin/keys\n",
    )];
    let loaded = load(&files, "keys.service");
    assert!(
        loaded
            .unit
            .dependencies
            .has(Relation::Before, "sshd@keys.service")
    );
    assert_eq!(loaded.findings, []);
}

#[test]
fn an_alias_is_another_name_for_the_same_unit() {
    let files = [
        ("multi-user.target", "[Unit]\nDescription=Up\n"),
        ("default.target", "->multi-user.target"),
        ("default.target.wants/a.service", "->../a.service"),
        ("multi-user.target.wants/b.service", "->../b.service"),
        ("multi-user.target.wants/c.service", "->/dev/null"),
        ("old@.service", "->/lib/systemd/system/new@.service"),
        ("new@.service", "[Service]\nExecStart=/bin/a %i\n"),
    ];
    let unit = load(&files, "default.target").unit;
    assert_eq!(
        (unit.name.as_str(), &unit.aliases[..]),
        ("multi-user.target", &["default.target".to_string()][..])
    );
    let wants: Vec<&str> = unit
        .dependencies
        .of(Relation::Wants)
        .map(|wants| wants.on.as_str())
        .collect();
    assert_eq!(wants, ["b.service", "a.service"]);
    let instance = load(&files, "old@x.service").unit;
    assert_eq!(
        (instance.name.as_str(), &instance.aliases[..]),
        ("new@x.service", &["old@x.service".to_string()][..])
    );
}

#[test]
fn masked_missing_and_foreign_units_say_so() {
    let files = [
        ("/etc/systemd/system/a.service", "->/dev/null"),
        ("a.service", "[Service]\nExecStart=/bin/a\n"),
        ("b.service", ""),
        ("c.socket", "[Socket]\nListenStream=1\n"),
        ("d.service", "[Service]\nType=simple\n"),
        ("e.service", "[Service]\nExecStart=/a\nExecStart=/b\n"),
    ];
    let state = |name| load(&files, name).unit.load;
    assert_eq!(
        [state("a.service"), state("b.service")],
        [LoadState::Masked, LoadState::Masked]
    );
    assert_eq!(
        [state("c.socket"), state("x.service")],
        [LoadState::Error, LoadState::NotFound]
    );
    assert_eq!(
        [state("d.service"), state("e.service")],
        [LoadState::BadSetting, LoadState::BadSetting]
    );
}

#[test]
fn an_alias_loop_is_refused() {
    let (tree, facts) = (
        Tree::of(&[("a.service", "->b.service"), ("b.service", "->a.service")]),
        Facts::default(),
    );
    assert!(
        Loader::new(&tree, &facts)
            .unwrap()
            .load("a.service")
            .unwrap_err()
            .contains("aliases")
    );
}

#[test]
fn unimplemented_isolation_refuses_unless_the_recipe_allows_it() {
    let files = [(
        "a@.service",
        "[Service]\nExecStart=/bin/a\nExtensionImages=/more.raw\n",
    )];
    let loaded = load(&files, "a@1.service");
    assert_eq!(loaded.unit.load, LoadState::BadSetting);
    assert_eq!(loaded.findings[0].severity, Severity::Isolation);
    assert_eq!(
        loaded.unit.reason.unwrap().split(':').nth(1),
        Some("3"),
        "file and line"
    );
    let (tree, facts) = (Tree::of(&files), Facts::default());
    let loader = Loader::new(&tree, &facts)
        .unwrap()
        .allow(["a@.service".to_string()]);
    let loaded = loader.load("a@1.service").unwrap();
    assert_eq!(
        (loaded.unit.load, loaded.findings[0].severity),
        (LoadState::Loaded, Severity::Warning)
    );
}

#[test]
fn default_dependencies_are_added_unless_switched_off() {
    let files = [
        ("a.service", "[Service]\nExecStart=/bin/a\n"),
        (
            "b.service",
            "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/a\n",
        ),
    ];
    let unit = load(&files, "a.service").unit;
    assert!(unit.dependencies.has(Relation::Requires, "sysinit.target"));
    assert!(
        unit.dependencies
            .has(Relation::Conflicts, "shutdown.target")
    );
    let on: Vec<String> = load(&files, "b.service")
        .unit
        .dependencies
        .list
        .into_iter()
        .map(|dependency| dependency.on)
        .collect();
    assert_eq!(
        on,
        ["system.slice", "system.slice"],
        "its slice in any case"
    );
}

#[test]
fn a_slice_needs_no_file_and_has_its_drop_ins() {
    let files = [
        ("a-b.slice.d/10.conf", "[Slice]\nCPUWeight=7\n"),
        ("a-.slice.d/10.conf", "[Slice]\nCPUWeight=8\n"),
        ("a-.slice.d/20.conf", "[Slice]\nTasksMax=9\n"),
    ];
    let loaded = load(&files, "a-b.slice");
    let unit = loaded.unit;
    assert_eq!((loaded.findings, unit.load), (vec![], LoadState::Loaded));
    assert_eq!(unit.service.resources.hints["cpu.weight"], "7");
    assert_eq!(unit.drop_ins.len(), 2);
    assert!(unit.dependencies.has(Relation::Requires, "a.slice"));
    assert!(unit.dependencies.has(Relation::After, "a.slice"));
    assert!(
        unit.dependencies
            .has(Relation::Conflicts, "shutdown.target")
    );
    let root = load(&[], "-.slice").unit;
    assert!(root.is_perpetual() && root.dependencies.list.is_empty());
    let system = load(&[], "system.slice").unit;
    assert!(system.is_perpetual() && !system.dependencies.default);
    assert!(system.dependencies.has(Relation::Requires, "-.slice"));
    for name in ["a--b.slice", "a-.slice", "a@b.slice"] {
        let unit = load(&[], name).unit;
        assert_eq!(unit.load, LoadState::BadSetting, "{name}");
    }
}

#[test]
fn an_instance_is_in_the_slice_of_its_template() {
    let files = [
        ("pg-x@.service", "[Service]\nExecStart=/bin/a\n"),
        (
            "in@.service",
            "[Service]\nExecStart=/bin/a\nSlice=task.slice\n",
        ),
    ];
    let unit = load(&files, "pg-x@1.service").unit;
    assert!(
        unit.dependencies
            .has(Relation::Requires, "system-pg\\x2dx.slice")
    );
    let unit = load(&files, "in@1.service").unit;
    assert!(unit.dependencies.has(Relation::After, "task.slice"));
}
