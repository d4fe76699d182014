//! The certificates that the image trusts, in one file, as update-ca-certificates(8) makes it.
//!
//! All of `/usr/share/ca-certificates` and `/usr/local/share/ca-certificates`, in the order of their paths.

use crate::tree::{Kind, Tree};

/// The bundle.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
/// Where certificates come from.
const SOURCES: [&str; 2] = [
    "usr/share/ca-certificates/",
    "usr/local/share/ca-certificates/",
];

/// Writes the bundle.
pub(crate) fn run(tree: &mut Tree) -> Result<(), String> {
    let mut bundle = String::new();
    for (path, node) in tree.iter().filter(|(path, _)| path.ends_with(".crt")) {
        if !SOURCES.iter().any(|source| path.starts_with(source))
            || !matches!(node.kind, Kind::File(_))
        {
            continue;
        }
        let text = tree
            .text(path)
            .filter(|text| text.contains("-----BEGIN CERTIFICATE-----"));
        let text =
            text.ok_or_else(|| format!("/{path} in {} is no PEM certificate", node.origin))?;
        bundle.push_str(text.trim_end());
        bundle.push('\n');
    }
    tree.make_file(BUNDLE, 0o644, bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_joined_in_the_order_of_their_paths() {
        let mut tree = Tree::new(0);
        for (path, body) in [("mozilla/b.crt", "B"), ("mozilla/a.crt", "A")] {
            let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n\n");
            tree.make_file(&format!("usr/share/ca-certificates/{path}"), 0o644, pem)
                .unwrap();
        }
        run(&mut tree).unwrap();
        let bundle = tree.text(BUNDLE).unwrap();
        assert_eq!(bundle.matches("BEGIN").count(), 2);
        assert!(bundle.find("\nA\n") < bundle.find("\nB\n"), "{bundle}");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let mut tree = Tree::new(0);
        tree.make_file("usr/share/ca-certificates/x.crt", 0o644, "junk")
            .unwrap();
        assert!(
            run(&mut tree)
                .unwrap_err()
                .contains("/usr/share/ca-certificates/x.crt")
        );
    }
}
