//! A machine config, as a disk, a server or an operator brings it.

use spec_config::{Config, HIDDEN, Hidden, MAX_DOCUMENT, difference};

pub(crate) fn run(bytes: &[u8]) {
    match Config::parse_bytes(bytes, Hidden::Refuse) {
        Ok(config) => holds(&config),
        Err(error) => {
            assert!(!error.problems.is_empty());
            let lines = bytes.split(|byte| *byte == b'\n').count();
            for problem in error.problems {
                let line = problem.line;
                assert!((1..=lines).contains(&line), "line {line} of {lines}");
                assert!(problem.column >= 1 && !problem.message.is_empty());
            }
        }
    }
}

fn holds(config: &Config) {
    let text = config.to_toml().expect("what was read can be written");
    if text.len() > MAX_DOCUMENT {
        return;
    }
    let again = Config::parse(&text).expect("what was written can be read");
    assert_eq!(&again, config);
    let masked = config.masked();
    let shown = masked.to_toml().expect("a view can be written");
    assert!(shown.contains(HIDDEN));
    let filled = Config::parse_with(&shown, Hidden::From(config)).expect("a view can be applied");
    assert_eq!(&filled, config);
    let none = difference::between(config, &again).expect("configs can be compared");
    assert!(none.is_empty(), "{none:?}");
}
