//! The command line as people meet it: help, completions, exit codes, JSON.

use std::path::Path;
use std::process::{Command, Output};

fn bedplate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bedplate"))
        .args(arguments)
        .output()
        .expect("bedplate starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The commands that `--help` lists, hidden ones left out.
fn commands() -> Vec<String> {
    let help = stdout(&bedplate(&["--help"]));
    let list = help
        .split("Commands:")
        .nth(1)
        .expect("a list of commands")
        .split("\n\n")
        .next()
        .expect("its end");
    list.lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_explains_itself_and_takes_json() {
    let commands = commands();
    assert!(commands.len() > 3, "{commands:?}");
    for command in commands.iter().filter(|name| *name != "help") {
        let output = bedplate(&[command, "--help"]);
        assert!(
            output.status.success(),
            "{command} --help: {}",
            stderr(&output)
        );
        let help = stdout(&output);
        assert!(
            help.contains("Usage: bedplate") && help.contains("--json"),
            "{command}: {help}"
        );
        assert!(!help.starts_with("Usage"), "{command} has no description");
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = bedplate(&["completions", shell]);
        assert!(output.status.success());
        let text = stdout(&output);
        for command in commands() {
            assert!(
                text.contains(&command),
                "{shell} does not complete {command}"
            );
        }
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_says_so() {
    let output = bedplate(&["raise"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("unrecognized subcommand 'raise'"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn help_names_the_exit_codes() {
    let help = stdout(&bedplate(&["--help"]));
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for code in [
        "0 done",
        "1 failed",
        "2 wrong command line",
        "3 this machine lacks",
        "4 no such cluster",
    ] {
        assert!(help.contains(code), "{code}");
    }
}

#[test]
fn outside_a_checkout_the_message_says_where_to_go() {
    let output = Command::new(env!("CARGO_BIN_EXE_bedplate"))
        .args(["build", "base"])
        .current_dir("/")
        .env_remove("CARGO_MANIFEST_DIR")
        .output()
        .expect("bedplate starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("not a Bedplate checkout"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_unknown_recipe_is_a_usage_error_that_lists_the_known_ones() {
    let output = Command::new(env!("CARGO_BIN_EXE_bedplate"))
        .args(["build", "nosuch"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .expect("bedplate starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("recipes/nosuch.toml"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn doctor_reports_in_json_whatever_it_finds() {
    let output = bedplate(&["doctor", "--json"]);
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "{}",
        stderr(&output)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = report.as_array().expect("a list");
    assert!(
        rows.iter()
            .any(|row| row["name"] == "qemu-system-x86_64" && row["area"] == "run")
    );
    assert_eq!(
        output.status.success(),
        rows.iter().all(|row| row["present"] == true)
    );
}

#[test]
fn output_is_plain_where_nobody_looks() {
    let output = bedplate(&["doctor"]);
    assert!(
        !stdout(&output).contains('\x1b'),
        "escape sequences in a pipe"
    );
}
