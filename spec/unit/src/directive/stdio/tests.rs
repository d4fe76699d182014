//! Golden streams.

use super::super::tests::{plan, read};
use super::*;
use crate::plan::Stdio;

fn stdio(text: &str) -> Stdio {
    plan(&format!("ExecStart=/bin/a\n{text}")).stdio
}

#[test]
fn text_and_data_are_joined_in_the_order_of_the_file() {
    let text = "StandardInputText=  one\\ttwo %i \nStandardInputData=AAEC /w==\nStandardInputText=end\\n\n";
    let expected = b"one\ttwo a\n\0\x01\x02\xffend\n\n".to_vec();
    assert_eq!(stdio(text).input, Input::Data(expected));
    assert_eq!(stdio(text).output, Output::Journal, "not inherited");
    let reset = format!("{text}StandardInputData=\n");
    assert_eq!(stdio(&reset).input, Input::Null);
    let null = format!("{text}StandardInput=null\n");
    assert_eq!(stdio(&null).input, Input::Null);
    assert_eq!(stdio("StandardInput=data\n").input, Input::Data(vec![]));
    let (_, findings) = read("[Service]\nStandardInputData=A\nStandardInputText=\\x\n");
    assert_eq!(findings.len(), 2);
}

#[test]
fn a_terminal_says_what_it_does_when_another_session_has_it() {
    let input = |word: &str| stdio(&format!("StandardInput={word}\nTTYPath=/dev/tty9\n"));
    for (word, taken) in [
        ("tty", Taken::Share),
        ("tty-force", Taken::Force),
        ("tty-fail", Taken::Fail),
    ] {
        let stdio = input(word);
        let path = "/dev/tty9".into();
        assert_eq!(stdio.input, Input::Tty { path, taken });
        assert_eq!((stdio.output, stdio.terminal), (Output::Inherit, None));
    }
    assert_eq!(stdio("StandardInput=file:/a\n").output, Output::Journal);
}

#[test]
fn a_terminal_is_made_ready_where_one_is_used() {
    let asked = "TTYReset=yes\nTTYVHangup=yes\nTTYVTDisallocate=yes\nTTYRows=25\nTTYColumns=80\n";
    assert_eq!(stdio(asked).terminal, None);
    let expected = Terminal {
        path: "/dev/console".into(),
        reset: true,
        hang_up: true,
        disallocate: true,
        rows: 25,
        columns: 80,
    };
    let terminal = stdio(&format!("{asked}StandardError=tty\n")).terminal;
    assert_eq!(terminal, Some(expected));
    let terminal = stdio("TTYPath=/dev/tty9\nTTYRows=25\nTTYRows=\nTTYReset=yes\n")
        .terminal
        .unwrap();
    assert_eq!((terminal.path.as_str(), terminal.rows), ("/dev/tty9", 0));
    let (_, findings) = read("[Service]\nTTYRows=70000\n");
    assert_eq!(findings.len(), 1);
}

#[test]
fn a_service_on_a_terminal_is_told_what_kind_it_is() {
    let term = |text: &str| {
        plan(&format!("ExecStart=/bin/a\n{text}"))
            .environment
            .remove("TERM")
    };
    assert_eq!(term(""), None);
    assert_eq!(term("StandardInput=tty\n").as_deref(), Some("linux"));
    assert_eq!(term("TTYPath=/dev/tty12\n").as_deref(), Some("linux"));
    let serial = "StandardError=tty\nTTYPath=/dev/ttyS0\n";
    assert_eq!(term(serial).as_deref(), Some("vt220"));
    let own = format!("{serial}Environment=TERM=xterm\n");
    assert_eq!(term(&own).as_deref(), Some("xterm"));
}
