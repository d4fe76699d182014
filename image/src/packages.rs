//! The packages of a build: from the cache where they have been read before, else fetched and read.

use rayon::prelude::*;
use spec_recipe::{LockedPackage, pattern};

use crate::cache::{Cache, Key};
use crate::fetch::Fetcher;
use crate::inputs::Inputs;
use crate::package::{self, Package};
use crate::{Error, Progress, kernel, tool};

/// The packages, by what they are for.
#[derive(Debug)]
pub(crate) struct Packages {
    /// Of the root, the kernel's apart.
    pub(crate) root: Vec<Package>,
    /// The kernel's.
    pub(crate) kernel: Package,
    /// With stub and boot loader.
    pub(crate) boot: Vec<Package>,
    /// With programs that write bytes of the image.
    pub(crate) tools: Vec<Package>,
}

/// What a package is read for: decides which of its files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Root,
    Kernel,
    Boot,
    Tool,
}

/// A package to read.
struct Wanted<'a> {
    package: &'a LockedPackage,
    used: Use,
}

impl Packages {
    /// Reads every package of the lock; only those that the cache does not hold are fetched.
    pub(crate) fn read(
        inputs: &Inputs,
        offline: bool,
        cache: &Cache,
        progress: &dyn Progress,
    ) -> Result<Packages, Error> {
        let lock = &inputs.lock;
        let mut wanted: Vec<Wanted<'_>> = all(&lock.packages, Use::Root).collect();
        for package in wanted
            .iter_mut()
            .filter(|wanted| wanted.package.name == lock.kernel)
        {
            package.used = Use::Kernel;
        }
        wanted.extend(all(&lock.boot_packages, Use::Boot));
        wanted.extend(all(&lock.tools.packages, Use::Tool));

        progress.begin("packages", None);
        let root_filter = root_filter(inputs);
        let filter = |wanted: &Wanted<'_>| match wanted.used {
            Use::Root => root_filter.as_slice(),
            Use::Kernel => b"kernel",
            Use::Boot => b"boot",
            Use::Tool => b"tool",
        };
        let mut read: Vec<Option<Package>> = wanted
            .par_iter()
            .map(|wanted| package::cached(&wanted.package.sha256, filter(wanted), cache))
            .collect();
        let missing: Vec<usize> = (0..wanted.len()).filter(|at| read[*at].is_none()).collect();
        if !missing.is_empty() {
            let locked: Vec<LockedPackage> = missing
                .iter()
                .map(|at| wanted[*at].package.clone())
                .collect();
            let debs = Fetcher::new(&inputs.recipe, offline)?.packages(&locked, progress)?;
            let fresh: Vec<Package> = missing
                .par_iter()
                .zip(&debs)
                .map(|(at, deb)| {
                    let wanted = &wanted[*at];
                    package::read(
                        deb,
                        filter(wanted),
                        &|path| admit(inputs, wanted, path),
                        cache,
                    )
                })
                .collect::<Result<_, _>>()?;
            missing
                .iter()
                .zip(fresh)
                .for_each(|(at, package)| read[*at] = Some(package));
        }
        progress.end(
            "packages",
            &format!(
                "{}, {} of them from the cache",
                wanted.len(),
                wanted.len() - missing.len()
            ),
        );

        let (mut root, mut kernel, mut boot, mut tools) =
            (Vec::new(), None, Vec::new(), Vec::new());
        for (wanted, package) in wanted.iter().zip(read.into_iter().flatten()) {
            match wanted.used {
                Use::Root => root.push(package),
                Use::Kernel => kernel = Some(package),
                Use::Boot => boot.push(package),
                Use::Tool => tools.push(package),
            }
        }
        let missing = || {
            Error::Input(format!(
                "the lock has no package {}: lock again",
                lock.kernel
            ))
        };
        Ok(Packages {
            root,
            kernel: kernel.ok_or_else(missing)?,
            boot,
            tools,
        })
    }
}

/// Each of these packages, for one use.
fn all(packages: &[LockedPackage], used: Use) -> impl Iterator<Item = Wanted<'_>> {
    packages.iter().map(move |package| Wanted { package, used })
}

/// Whether a file is kept.
fn admit(inputs: &Inputs, wanted: &Wanted<'_>, path: &str) -> bool {
    let name = &wanted.package.name;
    match wanted.used {
        Use::Root => {
            let dropped = |entry: &spec_recipe::PackageEntry| pattern::any(&entry.drop, path);
            inputs.recipe.paths.admit(name, path)
                && !inputs.entries.of(name).any(|(_, entry)| dropped(entry))
        }
        Use::Kernel => kernel::admit(path),
        Use::Boot => path.starts_with("usr/lib/systemd/boot/efi/"),
        Use::Tool => tool::admit(path),
    }
}

/// What decides which files of the root's packages are kept.
fn root_filter(inputs: &Inputs) -> Vec<u8> {
    let paths = &inputs.recipe.paths;
    let mut key = Key::new("filter");
    for (role, patterns) in [("drop", &paths.drop), ("keep", &paths.keep)] {
        key.add(role.as_bytes());
        patterns
            .iter()
            .for_each(|pattern| key.add(pattern.as_str().as_bytes()));
    }
    for (package, patterns) in &paths.only {
        key.add(b"only");
        key.add(package.as_bytes());
        patterns
            .iter()
            .for_each(|pattern| key.add(pattern.as_str().as_bytes()));
    }
    for (name, digest) in inputs.entries.digests() {
        key.add(b"entry");
        key.add(name.as_bytes());
        key.add(digest.as_bytes());
    }
    key.hex().into_bytes()
}
