//! What fuzzers have found once, and what stands for each kind of input, through the same checks as in `fuzz/`.

use std::path::Path;

use proptest::prelude::*;
use spec_unit::directive::table;

#[path = "../../../fuzz/inputs/mod.rs"]
mod inputs;

/// The inputs that are kept for a target, in the order of their names.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/regressions");
    let entries = std::fs::read_dir(folder.join(target)).unwrap();
    let mut kept: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    kept.sort();
    kept
}

#[test]
fn what_was_found_once_is_not_found_again() {
    for (target, run) in inputs::TARGETS {
        let kept = kept(target);
        assert!(!kept.is_empty(), "{target}: nothing is kept");
        for (name, bytes) in kept {
            println!("{target}: {name}");
            run(&bytes);
        }
    }
}

#[test]
fn every_directive_alone_is_read_with_odd_values() {
    for row in table() {
        for value in [
            "", "yes", "~", "%i", "-1", "infinity", "a b:c=d", "\"", "/a/../b",
        ] {
            let text = format!("[{}]\n{}={value}\n", row.section, row.name);
            inputs::unit_file::run(text.as_bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn kept_inputs_with_a_piece_cut_out_or_put_in(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        length in 0usize..40,
        piece in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        for (target, run) in inputs::TARGETS {
            let mut all = kept(target);
            let (_, mut bytes) = all.swap_remove(which.index(all.len()));
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + length);
                bytes.splice(at..end, piece.iter().copied());
            }
            run(&bytes);
        }
    }
}
