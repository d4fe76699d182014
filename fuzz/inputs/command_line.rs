//! A command line, and an environment file after the first line: split into words, expanded, made into a plan.

use std::collections::BTreeMap;

use spec_unit::environment::{self, Environment};
use spec_unit::load::Loader;
use spec_unit::words;

use super::node::{Files, Host, facts, plan};

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (line, file) = text.split_once('\n').unwrap_or((&text, ""));
    split(line);
    let (found, skipped) = environment::parse_file(file);
    let lines = file.matches('\n').count() as u32 + 1;
    assert!(
        skipped.iter().all(|number| (1..=lines).contains(number)),
        "{skipped:?} of {lines}"
    );
    assert!(found.iter().all(|(name, _)| environment::is_name(name)));
    let environment: Environment = found.into_iter().collect();
    expand(line, &environment);
    exec(line, file);
}

/// Words that were quoted come back; so does a text that was escaped.
fn split(line: &str) {
    let _ = words::unescape(line);
    let Ok(found) = words::texts(line) else {
        return;
    };
    let quoted: Vec<String> = found.iter().map(|word| quoted(word)).collect();
    assert_eq!(words::texts(&quoted.join(" ")), Ok(found));
}

fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A word without a dollar sign stays; a doubled one stands for itself.
fn expand(line: &str, environment: &Environment) {
    let Ok(found) = words::texts(line) else {
        return;
    };
    let expanded = environment::expand(&found, environment);
    if !line.contains('$') {
        assert_eq!(expanded.as_ref(), Ok(&found));
    }
    let doubled: Vec<String> = found.iter().map(|word| word.replace('$', "$$")).collect();
    assert_eq!(environment::expand(&doubled, environment), Ok(found));
}

/// The same as the command of a service.
fn exec(line: &str, file: &str) {
    let text = format!("[Service]\nType=oneshot\nEnvironmentFile=/etc/fuzz\nExecStart={line}\n");
    let path = "/usr/lib/systemd/system/fuzz@.service".to_string();
    let files = Files(BTreeMap::from([(path, text.as_bytes())]));
    let facts = facts();
    let loader = Loader::new(&files, &facts).expect("the folders can be read");
    let loaded = loader.load("fuzz@one-two.service").expect("it loads");
    plan(&loaded.unit, &Host::new(file));
}
