//! The whole build, step after step.

use std::path::Path;

use spec_recipe::Architecture;

use crate::cache::Cache;
use crate::disk::{self, Disk};
use crate::esp::{self, Esp};
use crate::fetch;
use crate::format::Image;
use crate::fs::erofs;
use crate::inputs::Inputs;
use crate::kernel::Kernel;
use crate::manifest::{self, Manifest};
use crate::output::Output;
use crate::packages::Packages;
use crate::previous::Previous;
use crate::release_file::Release;
use crate::root::{self, Parts};
use crate::tool::Tools;
use crate::uki::{self, Uki};
use crate::{Artifact, Build, BuildRequest, Error, Progress, verity};

/// Runs every step for one request.
pub(crate) fn run(request: &BuildRequest, progress: &dyn Progress) -> Result<Build, Error> {
    let folder = fetch::cache_folder()?.join("build");
    let inputs = Inputs::read(request)?;
    // From here to the end nobody else writes into the folder, nor into what is remembered of it.
    let mut output = Output::open(&request.out, progress)?;
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
    let packages = Packages::read(&inputs, request.offline, &cache, progress)?;
    let image = make_image(&inputs, &packages, &folder, progress)?;

    progress.begin("write", None);
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
    let names = output.publish()?;
    previous.remember(&build, &request.out, names.iter().map(String::as_str));
    progress.end("write", &request.out.display().to_string());
    Ok(build)
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
