//! Words that inputs are made of, for libFuzzer's `-dict`: the directive table itself, and the words of each language.

use spec_unit::directive::table;

use super::{Room, TARGETS};
use crate::exit::{Context, Error};

/// What unit files, command lines and specifiers are made of beside directives.
const TEXT: [&str; 36] = [
    "\\x20",
    "\\u00e9",
    "\\U0001F600",
    "\\101",
    "\\n",
    "\\\\",
    "\\\n",
    "\"",
    "'",
    " ; ",
    "\\;",
    "$$",
    "${A}",
    "$A",
    "$MAINPID",
    "%%",
    "%i",
    "%I",
    "%n",
    "%f",
    "%j",
    "%J",
    "%H",
    "%y",
    "infinity",
    "yes",
    "no",
    "true",
    "5min 20s",
    "100%",
    "~",
    "+-!!@:",
    "/dev/null",
    "0-3,5",
    "\n#---\n",
    ".service",
];
/// What a packet of the control protocol is made of beside the names of its fields.
const PACKET: [&str; 24] = [
    "\"version\":1",
    "\"id\":",
    "\"request\":",
    "\"list\"",
    "\"offset\":",
    "\"show\"",
    "\"start\"",
    "\"stop\"",
    "\"restart\"",
    "\"reload\"",
    "\"reset_failed\"",
    "\"kill\"",
    "\"signal\":",
    "\"watch\"",
    "\"shutdown\"",
    "\"action\":",
    "\"poweroff\"",
    "\"run\"",
    "\"unit\":",
    "\"plan\":",
    "\"collect\"",
    "\"reexecute\"",
    "null",
    "[]",
];
/// sd_notify(3).
const MESSAGE: [&str; 17] = [
    "READY=1",
    "RELOADING=1",
    "MONOTONIC_USEC=",
    "STOPPING=1",
    "WATCHDOG=1",
    "WATCHDOG=trigger",
    "WATCHDOG_USEC=",
    "STATUS=",
    "MAINPID=",
    "ERRNO=",
    "EXTEND_TIMEOUT_USEC=",
    "FDSTORE=1",
    "FDSTOREREMOVE=1",
    "FDNAME=",
    "FDPOLL=0",
    "\n",
    "BARRIER=1",
];

/// DNS: labels, the end of a name with a type and a class, the beginning of EDNS.
const NAMES: [&str; 12] = [
    "\u{3}www\u{7}example\0",
    "\u{3}www",
    "\u{7}example\0",
    "\0\0\u{1}\0\u{1}",
    "\0\0\u{1c}\0\u{1}",
    "\0\u{2}\0\u{1}",
    "\0\u{5}\0\u{1}",
    "\0\u{6}\0\u{1}",
    "\0\u{c}\0\u{1}",
    "\0\u{f}\0\u{1}",
    "\0!\0\u{1}",
    "\0\0)\u{4}",
];

/// Writes the dictionary of each target.
pub(super) fn write(room: &Room) -> Result<(), Error> {
    let folder = room.folder("words", "")?;
    for target in TARGETS {
        let file = folder.join(target);
        let lines: String = words(target).iter().map(|word| entry(word)).collect();
        std::fs::write(&file, lines).context(format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn words(target: &str) -> Vec<String> {
    let owned = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
    match target {
        "unit_file" => {
            let sections = ["[Unit]", "[Service]", "[Install]"].map(|name| format!("\n{name}\n"));
            let rows = table().map(|row| format!("\n{}=", row.name));
            let values = table().flat_map(|row| row.value.split([' ', '|', ',']));
            let values = values.filter(|word| word.len() > 1).map(String::from);
            let mut all: Vec<String> = sections.into_iter().chain(rows).chain(values).collect();
            all.extend(TEXT.map(String::from));
            all.sort();
            all.dedup();
            all
        }
        "control" => {
            let mut all: Vec<String> = owned(&PACKET);
            let plan = serde_json::to_value(spec_unit::plan::ExecPlan::default());
            fields(&plan.unwrap_or_default(), &mut all);
            all.sort();
            all.dedup();
            all
        }
        "notify" => owned(&MESSAGE),
        "dns" => owned(&NAMES),
        _ => owned(&TEXT),
    }
}

/// Every name of a field, as it stands in a packet.
fn fields(value: &serde_json::Value, names: &mut Vec<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        names.push(format!("\"{name}\":"));
        fields(inner, names);
    }
}

/// A line of a dictionary: what is not plain is written as `\xNN`.
fn entry(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' || byte == b' ';
    let text: String = word
        .bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("\\x{byte:02X}"),
        })
        .collect();
    format!("\"{text}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive_is_a_word() {
        let words = words("unit_file");
        for row in table() {
            assert!(words.contains(&format!("\n{}=", row.name)), "{}", row.name);
        }
        assert_eq!(entry("\nA \"b\\"), "\"\\x0AA \\x22b\\x5C\"\n");
    }

    #[test]
    fn every_field_of_a_plan_is_a_word() {
        let words = words("control");
        for name in ["\"program\":", "\"seccomp\":", "\"input\":"] {
            assert!(words.contains(&name.to_string()), "{name}");
        }
    }
}
