use super::*;

/// Packages as `name version: fields`, one per line; fields are separated by `;`.
fn universe(text: &str) -> Universe {
    let mut index = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, fields) = line.split_once(" :").unwrap_or((line, ""));
        let (name, version) = head.split_once(' ').expect("name and version");
        index.push_str(&format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}.deb\nSize: 1\nSHA256: {}\n",
            "0".repeat(64)
        ));
        for field in fields
            .split(';')
            .map(str::trim)
            .filter(|field| !field.is_empty())
        {
            index.push_str(&format!("{field}\n"));
        }
        index.push('\n');
    }
    let mut universe = Universe::default();
    universe.add("trixie", &index).expect("a good index");
    universe
}

fn solve(universe: &Universe, wished: &[&str], exclude: &[&str]) -> Result<Vec<String>, String> {
    let owned = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let exclude = owned(exclude);
    let packages = closure(universe, &owned(wished), &exclude)?;
    Ok(packages
        .iter()
        .map(|package| format!("{} {}", package.name, package.version))
        .collect())
}

#[test]
fn relations_pull_in_the_newest_version_and_nothing_essential() {
    let universe = universe(
        "etcd 3 : Pre-Depends: init-helpers; Depends: libc (>= 2)
         libc 1
         libc 2.1
         libc 2.0
         init-helpers 1
         bash 5 : Essential: yes",
    );
    assert_eq!(
        solve(&universe, &["etcd"], &[]).expect("solved"),
        ["etcd 3", "init-helpers 1", "libc 2.1"]
    );
}

#[test]
fn an_excluded_package_counts_as_there() {
    let universe = universe(
        "etcd 3 : Depends: adduser (>= 3) | passwd, libc\n libc 1 : Depends: awk\n adduser 3\n mawk 1 : Provides: awk",
    );
    assert_eq!(
        solve(&universe, &["etcd"], &["adduser", "awk"]).expect("solved"),
        ["etcd 3", "libc 1"]
    );
}

#[test]
fn the_first_alternative_is_preferred_unless_another_is_there_anyway() {
    let universe = universe("a 1 : Depends: x | y\n b 1 : Depends: y\n x 1\n y 1");
    assert_eq!(
        solve(&universe, &["a"], &[]).expect("solved"),
        ["a 1", "x 1"]
    );
    assert_eq!(
        solve(&universe, &["y", "a"], &[]).expect("solved"),
        ["a 1", "y 1"]
    );
}

#[test]
fn a_provider_stands_in_if_its_version_fits() {
    let universe = universe(
        "a 1 : Depends: mta\n b 1 : Depends: mta (>= 2)\n exim 4 : Provides: mta\n postfix 3 : Provides: mta (= 2.5)",
    );
    assert_eq!(
        solve(&universe, &["a"], &[]).expect("solved"),
        ["a 1", "exim 4"]
    );
    assert_eq!(
        solve(&universe, &["b"], &[]).expect("solved"),
        ["b 1", "postfix 3"]
    );
}

#[test]
fn a_choice_that_conflicts_later_is_taken_back() {
    let universe = universe(
        "a 1 : Depends: x | y, z
         x 1
         y 1
         z 1 : Breaks: x (<< 2)",
    );
    assert_eq!(
        solve(&universe, &["a"], &[]).expect("solved"),
        ["a 1", "y 1", "z 1"]
    );
}

#[test]
fn an_older_version_is_taken_where_the_newest_does_not_fit() {
    let universe =
        universe("a 1 : Depends: lib, plugin\n lib 2\n lib 1\n plugin 1 : Depends: lib (= 1)");
    assert_eq!(
        solve(&universe, &["a"], &[]).expect("solved"),
        ["a 1", "lib 1", "plugin 1"]
    );
}

#[test]
fn a_package_may_conflict_with_what_it_provides_itself() {
    let universe = universe("mawk 1 : Provides: awk; Conflicts: awk\n gawk 1 : Provides: awk");
    assert_eq!(
        solve(&universe, &["mawk"], &[]).expect("solved"),
        ["mawk 1"]
    );
    let message = solve(&universe, &["mawk", "gawk"], &[]).expect_err("conflict");
    assert_eq!(
        message,
        "the recipe asks for gawk, but mawk 1 conflicts with awk, which gawk is"
    );
}

#[test]
fn a_circle_of_relations_is_no_problem() {
    let universe = universe("libc 1 : Depends: gcc\n gcc 1 : Depends: libc");
    assert_eq!(
        solve(&universe, &["libc"], &[]).expect("solved"),
        ["gcc 1", "libc 1"]
    );
}

#[test]
fn an_unknown_package_gets_the_nearest_names() {
    let universe = universe("etcd-server 3\n etcd-client 3\n zsh 5");
    assert_eq!(
        solve(&universe, &["etcd-sever"], &[]).expect_err("unknown"),
        "unknown package \"etcd-sever\"; did you mean etcd-server?"
    );
    assert_eq!(
        solve(&universe, &["qqqqq"], &[]).expect_err("unknown"),
        "unknown package \"qqqqq\""
    );
}

#[test]
fn what_cannot_be_is_explained_with_the_chain() {
    let universe = universe(
        "app 1 : Depends: mid
         mid 2 : Depends: lib (>= 9)
         lib 3
         other 1 : Depends: gone
         left 1
         right 1 : Depends: helper
         helper 1 : Conflicts: left",
    );
    assert_eq!(
        solve(&universe, &["app"], &[]).expect_err("no"),
        "app -> mid depends on lib (>= 9), but there is only lib 3 in trixie"
    );
    assert_eq!(
        solve(&universe, &["other"], &[]).expect_err("no"),
        "other depends on gone, which no suite of the recipe has"
    );
    assert_eq!(
        solve(&universe, &["left", "right"], &[]).expect_err("no"),
        "right depends on helper, but helper 1 conflicts with left"
    );
}

#[test]
fn the_answer_does_not_hang_on_the_order_of_the_index() {
    let one = universe("a 1 : Depends: v\n p 1 : Provides: v\n q 1 : Provides: v");
    let two = universe("q 1 : Provides: v\n p 1 : Provides: v\n a 1 : Depends: v");
    assert_eq!(solve(&one, &["a"], &[]), solve(&two, &["a"], &[]));
}
