//! Rules of the house that no compiler checks, held against every Rust file of the checkout.

use std::path::{Path, PathBuf};

/// Most lines of a file.
const MOST_LINES: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the checkout")
}

/// Rust files below `folder`, build results left out.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut todo = vec![folder.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() {
                if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                    todo.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// A file's code without what follows `#[cfg(test)]`, comments and strings dropped, with line numbers.
fn code(text: &str) -> Vec<(usize, String)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .map(|(number, line)| {
            (
                number + 1,
                without_strings(line.split("//").next().unwrap_or(line)),
            )
        })
        .collect()
}

fn without_strings(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

fn is_in_sys(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "sys")
        || path.file_name().is_some_and(|name| name == "sys.rs")
}

fn is_test(path: &Path) -> bool {
    let named = path.file_stem().is_some_and(|name| name == "tests");
    named || path.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn the_checkout_is_seen() {
    let files = rust_files(&root());
    assert!(
        files
            .iter()
            .any(|file| file.ends_with("init/pid1/src/main.rs"))
    );
    assert!(
        files
            .iter()
            .any(|file| file.ends_with("cli/tests/hygiene.rs"))
    );
}

#[test]
fn no_file_is_longer_than_a_reader() {
    let long: Vec<String> = rust_files(&root())
        .iter()
        .filter_map(|path| {
            let lines = std::fs::read_to_string(path).ok()?.lines().count();
            (lines > MOST_LINES).then(|| format!("{} has {lines} lines", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn unsafe_stands_only_in_modules_named_sys() {
    let found = search(&rust_files(&root()), |path, line| {
        !is_in_sys(path) && is_unsafe(line)
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn init_never_panics_by_its_own_hand() {
    const PANICS: [&str; 7] = [
        ".unwrap()",
        ".expect(",
        "panic!(",
        "unreachable!(",
        "todo!(",
        "unimplemented!(",
        ".unwrap_err()",
    ];
    let files: Vec<PathBuf> = rust_files(&root().join("init"))
        .into_iter()
        .filter(|path| !is_test(path))
        .collect();
    assert!(!files.is_empty());
    let found = search(&files, |_, line| {
        PANICS.iter().any(|word| line.contains(word))
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_room_is_called_utils() {
    let found: Vec<String> = rust_files(&root())
        .iter()
        .flat_map(|path| {
            path.strip_prefix(root())
                .into_iter()
                .flat_map(Path::components)
                .collect::<Vec<_>>()
        })
        .filter_map(|part| part.as_os_str().to_str())
        .map(|name| name.trim_end_matches(".rs").to_owned())
        .filter(|name| {
            ["util", "utils", "common", "helpers", "manager", "misc"].contains(&name.as_str())
        })
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// An example that rustdoc would run belongs into a test, which `bedplate test` runs; others are marked as text.
#[test]
fn no_example_in_a_comment_waits_to_be_run() {
    let mut found = Vec::new();
    for path in rust_files(&root()) {
        let mut inside = false;
        let text = std::fs::read_to_string(&path).expect("readable");
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            let comment = line.strip_prefix("///").or(line.strip_prefix("//!"));
            let Some(fence) = comment.and_then(|text| text.trim_start().strip_prefix("```")) else {
                continue;
            };
            inside = !inside;
            if inside && fence != "text" {
                found.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_required_test_stands_in_the_table_of_its_area() {
    let required = std::fs::read_to_string(root().join(".ci/required")).expect("readable");
    let names: Vec<&str> = required
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|name| !name.is_empty())
        .collect();
    assert!(!names.is_empty());
    let stands = |name: &str| {
        let (area, test) = name.split_once("::")?;
        let file = root().join(format!("qemu-tests/tests/{area}.rs"));
        let text = std::fs::read_to_string(file).ok()?;
        text.contains(&format!("\"{test}\"")).then_some(())
    };
    let gone: Vec<&str> = names
        .into_iter()
        .filter(|name| stands(name).is_none())
        .collect();
    assert!(gone.is_empty(), "no such tests: {}", gone.join(", "));
}

/// `unsafe` as a word of the language, not in a lint's name.
fn is_unsafe(line: &str) -> bool {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == "unsafe")
}

fn search(files: &[PathBuf], wrong: impl Fn(&Path, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path).expect("readable");
        for (number, line) in code(&text) {
            if wrong(path, &line) {
                found.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    found
}
