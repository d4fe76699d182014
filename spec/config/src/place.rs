//! Where in a document a key stands: from a key path such as `network.links[2].mtu` to a byte offset.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One step of a key path.
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The steps of `a.b[3].c`.
fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split('.').flat_map(|part| {
        let mut pieces = part.split('[');
        let key = pieces.next().filter(|key| !key.is_empty()).map(Step::Key);
        let indices = pieces.filter_map(|index| {
            let index = index.trim_end_matches(']').parse().ok()?;
            Some(Step::Index(index))
        });
        key.into_iter().chain(indices)
    })
}

/// A document whose values can be found; nothing is found in what is no TOML.
pub(crate) struct Places<'a>(Option<Spanned<DeTable<'a>>>);

impl<'a> Places<'a> {
    /// Those of a document.
    pub(crate) fn of(text: &'a str) -> Self {
        Self(DeTable::parse(text).ok())
    }

    /// The byte offset of the value at the path, or of the nearest thing around it that is written down.
    pub(crate) fn offset(&self, path: &str) -> usize {
        let Some(document) = &self.0 else { return 0 };
        let mut offset = 0;
        let mut value: Option<&Spanned<DeValue<'_>>> = None;
        for step in steps(path) {
            let next = match (step, value.map(Spanned::get_ref)) {
                (Step::Key(key), None) => document.get_ref().get(key),
                (Step::Key(key), Some(DeValue::Table(table))) => table.get(key),
                (Step::Index(index), Some(DeValue::Array(array))) => array.get(index),
                _ => None,
            };
            let Some(next) = next else { break };
            offset = next.span().start;
            value = Some(next);
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = 1\n[network]\nx = [1, { y = 7 }]\n[[network.links]]\nmtu = 5\n[[network.links]]\nmtu = 6\n";

    #[test]
    fn values_are_found_by_their_path() {
        let at = |path| &TEXT[Places::of(TEXT).offset(path)..];
        assert!(at("a").starts_with("1\n"));
        assert!(at("network.x[1].y").starts_with("7 }"));
        assert!(at("network.links[1].mtu").starts_with("6\n"));
    }

    #[test]
    fn what_is_not_written_is_placed_where_it_belongs() {
        let at = |path| &TEXT[Places::of(TEXT).offset(path)..];
        assert!(at("network.links[1].routes[0]").starts_with("[[network.links]]\nmtu = 6"));
        assert!(at("network.gone").starts_with("[network]"));
        assert_eq!(Places::of(TEXT).offset("gone.too"), 0);
        assert_eq!(Places::of("no toml").offset("a"), 0);
    }
}
