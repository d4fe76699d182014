//! Which upstreams a name belongs to: the longest domain that it is in counts. Pure.

use super::wire::Name;

/// Domains with something of their own, and what is for all other names.
#[derive(Debug)]
pub(crate) struct Routes<T> {
    /// The longest first.
    domains: Vec<(Name, T)>,
    others: T,
}

impl<T> Routes<T> {
    /// Of domains in any order.
    pub(crate) fn new(mut domains: Vec<(Name, T)>, others: T) -> Self {
        domains.sort_by_key(|(name, _)| std::cmp::Reverse(name.labels()));
        Self { domains, others }
    }

    /// What a name belongs to.
    pub(crate) fn of(&self, name: &Name) -> &T {
        let domain = self
            .domains
            .iter()
            .find(|(domain, _)| name.is_within(domain));
        domain.map_or(&self.others, |(_, own)| own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_domain_counts_and_whole_labels_only() {
        let name = |text: &str| Name::of_text(text).unwrap();
        let domains = ["example", "eu.corp.example", "corp.example"];
        let routes = Routes::new(domains.map(|text| (name(text), text)).to_vec(), "others");
        for (asked, expected) in [
            ("corp.example", "corp.example"),
            ("a.b.corp.example", "corp.example"),
            ("A.EU.Corp.Example", "eu.corp.example"),
            ("acorp.example", "example"),
            ("corp.example.org", "others"),
            ("example.org", "others"),
        ] {
            assert_eq!(*routes.of(&name(asked)), expected, "{asked}");
        }
    }
}
