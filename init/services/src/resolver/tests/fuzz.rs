//! What fuzzers have found once, and what stands for each kind of message, through the same checks as in `fuzz/`.

use std::path::Path;

use proptest::prelude::*;

use crate::resolver::fuzz_input;

/// The inputs that are kept, in the order of their names.
fn kept() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/regressions/dns");
    let entries = std::fs::read_dir(folder).unwrap();
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
    let kept = kept();
    assert!(!kept.is_empty(), "nothing is kept");
    for (name, bytes) in kept {
        println!("{name}");
        fuzz_input::run(&bytes);
    }
}

proptest! {
    #[test]
    fn kept_inputs_with_a_piece_cut_out_or_put_in(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        length in 0usize..12,
        piece in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        let mut all = kept();
        let (_, mut bytes) = all.swap_remove(which.index(all.len()));
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + length);
        bytes.splice(at..end, piece);
        fuzz_input::run(&bytes);
    }
}
