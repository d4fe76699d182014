//! sources.list(5): which addresses this machine's own apt takes Debian from, in both of apt's formats.

use std::path::Path;

/// One address and the suites that apt takes from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The address, without a slash at its end.
    pub(crate) address: String,
    /// The suites.
    pub(crate) suites: Vec<String>,
}

/// Sources of `folder` (`/etc/apt`) that are Debian's, each address once, in apt's order of files.
pub(crate) fn debian(folder: &Path) -> Vec<Source> {
    let mut files = vec![folder.join("sources.list")];
    let mut parts: Vec<_> = std::fs::read_dir(folder.join("sources.list.d"))
        .map(|entries| {
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect()
        })
        .unwrap_or_default();
    parts.sort();
    files.extend(parts);
    let mut found: Vec<Source> = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let sources = match file.extension().and_then(|end| end.to_str()) {
            Some("list") => one_line(&text),
            Some("sources") => deb822(&text),
            _ => continue,
        };
        for source in sources
            .into_iter()
            .filter(|source| source.suites.iter().any(|suite| is_debian(suite)))
        {
            match found
                .iter_mut()
                .find(|known| known.address == source.address)
            {
                Some(known) => known.suites.extend(source.suites),
                None => found.push(source),
            }
        }
    }
    found
}

/// Whether a suite has a name that Debian gives.
fn is_debian(suite: &str) -> bool {
    const NAMES: [&str; 11] = [
        "stable",
        "oldstable",
        "oldoldstable",
        "testing",
        "unstable",
        "sid",
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "duke",
    ];
    let name = suite.split(['-', '/']).next().unwrap_or_default();
    NAMES.contains(&name)
}

/// `deb [options] URI SUITE COMPONENT...`
fn one_line(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line
            .strip_prefix("deb")
            .filter(|rest| rest.starts_with([' ', '\t']))
        else {
            continue;
        };
        let rest = match rest.trim_start().strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
            None => rest,
        };
        let mut words = rest.split_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            sources.extend(source(uri, vec![suite.to_owned()]));
        }
    }
    sources
}

/// `Types:`, `URIs:`, `Suites:` in paragraphs.
fn deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for paragraph in crate::deb822::paragraphs(text) {
        let words = |field: &str| {
            paragraph
                .get(field)
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let enabled = !matches!(
            paragraph.get("Enabled").unwrap_or("yes").trim(),
            "no" | "false" | "0" | "off" | "without" | "disable"
        );
        if enabled && words("Types").iter().any(|kind| kind == "deb") {
            let suites = words("Suites");
            sources.extend(
                words("URIs")
                    .iter()
                    .filter_map(|uri| source(uri, suites.clone())),
            );
        }
    }
    sources
}

/// A source that can be reached by HTTP.
fn source(uri: &str, suites: Vec<String>) -> Option<Source> {
    let reachable = uri.starts_with("http://") || uri.starts_with("https://");
    reachable.then(|| Source {
        address: uri.trim_end_matches('/').to_owned(),
        suites,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let list = "# comment\ndeb http://one.example/debian trixie main\n\
                    deb [arch=amd64 signed-by=/x.gpg] https://two.example/debian/ trixie-security main # tail\n\
                    deb-src http://one.example/debian trixie main\ndeb file:/srv/x trixie main\n";
        let read = one_line(list);
        assert_eq!(read.len(), 2);
        assert_eq!(
            (read[0].address.as_str(), read[0].suites[0].as_str()),
            ("http://one.example/debian", "trixie")
        );
        assert_eq!(
            (read[1].address.as_str(), read[1].suites[0].as_str()),
            ("https://two.example/debian", "trixie-security")
        );
        let sources = "Types: deb deb-src\nURIs: http://one.example/debian\n http://three.example/debian\nSuites: trixie trixie-updates\n\
                       Components: main\n\n# off\nTypes: deb\nURIs: http://four.example/x\nSuites: trixie\nEnabled: no\n";
        let read = deb822(sources);
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].address, "http://three.example/debian");
        assert_eq!(read[1].suites, ["trixie", "trixie-updates"]);
    }

    #[test]
    fn only_debian_is_taken_and_each_address_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let parts = folder.path().join("sources.list.d");
        std::fs::create_dir(&parts).expect("made");
        let write =
            |name: &str, text: &str| std::fs::write(parts.join(name), text).expect("written");
        write(
            "debian.sources",
            "Types: deb\nURIs: http://one.example/debian\nSuites: bookworm\n\nTypes: deb\nURIs: http://one.example/debian\nSuites: bookworm-updates\n",
        );
        write(
            "vendor.list",
            "deb https://vendor.example/apt cloud-sdk-bookworm main\n",
        );
        write(
            "old.list.save",
            "deb http://gone.example/debian bookworm main\n",
        );
        let found = debian(folder.path());
        assert_eq!(
            found,
            [Source {
                address: "http://one.example/debian".into(),
                suites: vec!["bookworm".into(), "bookworm-updates".into()]
            }]
        );
    }
}
