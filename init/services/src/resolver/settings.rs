//! [`Settings`]: whom to ask for what, ready to be asked.

use std::io;
use std::path::Path;
use std::sync::Arc;

use spec_config::{Cache, Resolver};

use super::route::Routes;
use super::upstream::Upstream;
use super::wire::Name;

/// Largest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// What the resolver works by at a time.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Other settings have another number: what was asked by these is not kept by those.
    pub generation: u64,
    /// Upstreams by domain.
    pub routes: Routes<Arc<[Upstream]>>,
    /// All lists of upstreams that the routes lead to.
    groups: Vec<Arc<[Upstream]>>,
    /// Bounds of what is kept.
    pub cache: Cache,
}

impl Settings {
    /// Those of a config.
    pub(crate) fn new(generation: u64, resolver: &Resolver) -> Result<Self, String> {
        let connector = Upstream::connector(&resolver.roots)?;
        let group = |upstreams: &[spec_config::Upstream]| -> Result<Arc<[Upstream]>, String> {
            upstreams
                .iter()
                .map(|upstream| Upstream::new(upstream, connector.as_ref()))
                .collect()
        };
        let mut domains = Vec::new();
        for domain in &resolver.domains {
            let name = Name::of_text(domain.name.as_str())
                .ok_or_else(|| format!("{} is not a domain name", domain.name))?;
            domains.push((name, group(&domain.upstreams)?));
        }
        let others = group(&resolver.upstreams)?;
        let groups = domains.iter().map(|(_, group)| group.clone());
        Ok(Self {
            generation,
            groups: groups.chain([others.clone()]).collect(),
            routes: Routes::new(domains, others),
            cache: resolver.cache,
        })
    }

    /// Those before there are any: nobody is asked.
    pub(crate) fn none() -> Self {
        let nobody: Arc<[Upstream]> = Arc::new([]);
        Self {
            generation: 0,
            groups: Vec::new(),
            routes: Routes::new(Vec::new(), nobody),
            cache: Cache::default(),
        }
    }

    /// Every upstream.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Upstream> {
        self.groups.iter().flat_map(|group| group.iter())
    }
}

/// The file's text, if it has changed.
pub(crate) fn read(path: &Path, before: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let length = std::fs::metadata(path)?.len();
    if length > BYTES_MAX {
        let message = format!("{length} bytes, at most {BYTES_MAX} are read");
        return Err(io::Error::other(message));
    }
    let bytes = std::fs::read(path)?;
    Ok((bytes != before).then_some(bytes))
}
