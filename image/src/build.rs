//! The whole build, step after step.

use std::path::Path;

use rayon::prelude::*;
use spec_recipe::{Architecture, LockedPackage, pattern};

use crate::cache::{Cache, Key};
use crate::disk::{self, Disk};
use crate::esp::{self, Esp};
use crate::fetch::{self, Fetcher, LocalDeb};
use crate::format::Image;
use crate::fs::erofs;
use crate::inputs::Inputs;
use crate::kernel::{self, Kernel};
use crate::manifest::{self, Manifest};
use crate::output::Output;
use crate::package::{self, Package};
use crate::previous::Previous;
use crate::release_file::Release;
use crate::root::{self, Parts};
use crate::tool::{self, Tools};
use crate::uki::{self, Uki};
use crate::{Artifact, Build, BuildRequest, Error, Progress, verity};

/// Runs every step for one request.
pub(crate) fn run(request: &BuildRequest, progress: &dyn Progress) -> Result<Build, Error> {
    let folder = fetch::cache_folder()?.join("build");
    let inputs = Inputs::read(request)?;
    let previous = Previous::new(&folder, &inputs, &request.out);
    if !request.no_cache
        && let Some(build) = previous.unchanged()
    {
        return Ok(build);
    }
    let cache = if request.no_cache {
        Cache::none()
    } else {
        Cache::open(&folder)
    };
    let packages = read_packages(&inputs, request.offline, &cache, progress)?;
    let image = make_image(&inputs, &packages, &folder, progress)?;

    progress.begin("write", None);
    let mut output = Output::open(&request.out)?;
    let mut artifacts = Vec::new();
    for &format in &inputs.formats {
        let written = format.write(&image, &mut output)?;
        artifacts.push(Artifact {
            format,
            path: output.path(&written.name),
            bytes: written.bytes,
        });
    }
    let manifest = manifest(&inputs, &image, &output);
    output.write("manifest.json", manifest.text().as_bytes())?;
    let sums = manifest::sums(output.written());
    output.write("SHA256SUMS", sums.as_bytes())?;
    let build = Build {
        id: image.id,
        version: image.version,
        root_hash: image.verity.root_hex(),
        artifacts,
        manifest: output.path("manifest.json"),
        unchanged: false,
    };
    output.publish()?;
    previous.remember(&build, &request.out);
    progress.end("write", &request.out.display().to_string());
    Ok(build)
}

/// The packages of a build.
struct Packages {
    root: Vec<Package>,
    kernel: Package,
    boot: Vec<Package>,
    tools: Vec<Package>,
}

/// Fetches what is missing and reads every package.
fn read_packages(
    inputs: &Inputs,
    offline: bool,
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<Packages, Error> {
    let lock = &inputs.lock;
    let wanted: Vec<LockedPackage> = lock
        .packages
        .iter()
        .chain(&lock.boot_packages)
        .chain(&lock.tools.packages)
        .cloned()
        .collect();
    let debs = Fetcher::new(&inputs.recipe, offline)?.packages(&wanted, progress)?;
    let (root, rest) = debs.split_at(lock.packages.len());
    let (boot, tools) = rest.split_at(lock.boot_packages.len());

    progress.begin("packages", None);
    let filter = filter(inputs);
    let admit = |name: &str, path: &str| {
        inputs.recipe.paths.admit(name, path)
            && !inputs
                .entries
                .of(name)
                .any(|(_, entry)| pattern::any(&entry.drop, path))
    };
    let read = |deb: &LocalDeb, filter: &[u8], admit: &dyn Fn(&str) -> bool| {
        package::read(&deb.path, &deb.sha256, filter, admit, cache)
    };
    let all = |debs: &[LocalDeb], filter: &'static [u8], admit: fn(&str) -> bool| {
        debs.par_iter()
            .map(|deb| read(deb, filter, &admit))
            .collect::<Result<Vec<_>, _>>()
    };
    let ((root, kernel), (boot, tools)) = rayon::join(
        || {
            rayon::join(
                || {
                    root.par_iter()
                        .filter(|deb| deb.name != lock.kernel)
                        .map(|deb| read(deb, &filter, &|path| admit(&deb.name, path)))
                        .collect::<Result<Vec<_>, _>>()
                },
                || {
                    all(
                        &root
                            .iter()
                            .filter(|deb| deb.name == lock.kernel)
                            .cloned()
                            .collect::<Vec<_>>(),
                        b"kernel",
                        kernel::admit,
                    )
                },
            )
        },
        || {
            rayon::join(
                || {
                    all(boot, b"boot", |path| {
                        path.starts_with("usr/lib/systemd/boot/efi/")
                    })
                },
                || all(tools, b"tools", tool::admit),
            )
        },
    );
    let kernel = kernel?.pop();
    let kernel = kernel.ok_or_else(|| {
        Error::Input(format!(
            "the lock has no package {}: lock again",
            lock.kernel
        ))
    })?;
    let packages = Packages {
        root: root?,
        boot: boot?,
        tools: tools?,
        kernel,
    };
    progress.end("packages", &format!("{} packages", wanted.len()));
    Ok(packages)
}

/// What decides which files of a package pass.
fn filter(inputs: &Inputs) -> Vec<u8> {
    let paths = &inputs.recipe.paths;
    let mut key = Key::new("filter");
    for pattern in paths.drop.iter().chain(&paths.keep) {
        key.add(pattern.as_str().as_bytes());
    }
    key.add(b"only");
    for (package, patterns) in &paths.only {
        key.add(package.as_bytes());
        patterns
            .iter()
            .for_each(|pattern| key.add(pattern.as_str().as_bytes()));
    }
    key.add(b"entries");
    for (name, digest) in inputs.entries.digests() {
        key.add(name.as_bytes());
        key.add(digest.as_bytes());
    }
    key.hex().into_bytes()
}

/// Everything between packages and formats.
fn make_image(
    inputs: &Inputs,
    packages: &Packages,
    work: &Path,
    progress: &dyn Progress,
) -> Result<Image, Error> {
    let recipe = &inputs.recipe;
    let release = Release::new(recipe, &inputs.build_id());
    progress.begin("kernel", None);
    let kernel = Kernel::select(&packages.kernel, &recipe.modules).map_err(Error::Input)?;
    let (early, late) = kernel.counts();
    progress.end(
        "kernel",
        &format!(
            "{}, {early} modules in the initramfs, {late} in the root",
            kernel.version
        ),
    );

    progress.begin("root", None);
    let parts = Parts {
        recipe,
        lock: &inputs.lock,
        packages: &packages.root,
        kernel: &kernel,
        kernel_facts: &packages.kernel.facts,
        entries: &inputs.entries,
        overlays: &inputs.overlays,
        programs: &inputs.programs,
        release: &release,
    };
    let tree = root::assemble(&parts, progress)?;
    progress.end("root", &format!("{} paths", tree.iter().count()));

    progress.begin("file system", None);
    let tools = Tools::unpack(&packages.tools, work)?;
    let (root, initramfs) = rayon::join(
        || erofs::format(&tree, &tools),
        || kernel.initramfs(inputs.init(), &release.text()),
    );
    let root = root?;
    let verity = verity::format(&root);
    progress.end(
        "file system",
        &format!("{} MiB, root hash {}", root.len() >> 20, verity.root_hex()),
    );

    let mut words = vec![format!(
        "{}={}",
        spec_layout::command_line::ROOT_HASH,
        verity.root_hex()
    )];
    words.extend(recipe.kernel.command_line.iter().cloned());
    let command_line = words.join(" ");
    let uki = uki::assemble(&Uki {
        stub: boot_file(
            packages,
            &format!("linux{}.efi.stub", efi_architecture(recipe.architecture)),
        )?,
        kernel: &kernel.image,
        initrd: &initramfs,
        command_line: &command_line,
        os_release: &release.text(),
        kernel_version: &kernel.version,
        sbat: &format!("bedplate,1,Bedplate,{},{},\n", recipe.id, recipe.version),
    })?;
    let mut image = Image {
        id: recipe.id.clone(),
        version: recipe.version.clone(),
        root,
        verity,
        kernel: kernel.image.clone(),
        kernel_version: kernel.version.clone(),
        initramfs,
        command_line,
        uki,
        disk: None,
    };
    if inputs.formats.iter().any(|format| format.has_disk()) {
        image.disk = Some(lay_out(inputs, packages, &image)?);
    }
    Ok(image)
}

/// The disk of an image.
fn lay_out(
    inputs: &Inputs,
    packages: &Packages,
    image: &Image,
) -> Result<crate::sparse::Sparse, Error> {
    let architecture = efi_architecture(inputs.recipe.architecture);
    let seed = image.verity.root;
    let esp = esp::format(&Esp {
        loader: boot_file(packages, &format!("systemd-boot{architecture}.efi"))?,
        efi_architecture: architecture,
        uki: &image.uki,
        uki_name: &image.name(),
        bytes: spec_layout::disk::ESP_BYTES,
        offset: disk::ESP_OFFSET,
        epoch: inputs.lock.epoch,
        seed: &seed,
    })?;
    disk::lay_out(&Disk {
        esp: &esp,
        root: &image.root,
        verity: &image.verity,
        types: match inputs.recipe.architecture {
            Architecture::Amd64 => spec_layout::disk::ROOT_AMD64,
            Architecture::Arm64 => spec_layout::disk::ROOT_ARM64,
        },
        version: &image.version,
        slot_bytes: inputs.recipe.slot_bytes,
        seed: &seed,
    })
}

/// Architecture in the names of EFI programs.
fn efi_architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Amd64 => "x64",
        Architecture::Arm64 => "aa64",
    }
}

/// A file of systemd's boot package.
fn boot_file<'a>(packages: &'a Packages, name: &str) -> Result<&'a [u8], Error> {
    let files = packages.boot.iter().flat_map(|package| &package.files);
    let path = format!("usr/lib/systemd/boot/efi/{name}");
    let found = files.into_iter().find(|(entry, _)| entry.path == path);
    found.map(|(_, content)| &content[..]).ok_or_else(|| {
        Error::Input(format!("no package of boot_packages has /{path}: name systemd-boot-efi in the recipe and lock again"))
    })
}

fn manifest(inputs: &Inputs, image: &Image, output: &Output) -> Manifest {
    Manifest {
        schema: manifest::SCHEMA,
        id: image.id.clone(),
        version: image.version.clone(),
        architecture: inputs.recipe.architecture.to_string(),
        build_id: inputs.build_id(),
        epoch: inputs.lock.epoch,
        root_hash: image.verity.root_hex(),
        kernel: image.kernel_version.clone(),
        command_line: image.command_line.clone(),
        inputs: inputs.digests.clone(),
        artifacts: output.written().map(Into::into).collect(),
    }
}
