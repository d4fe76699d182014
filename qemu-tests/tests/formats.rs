//! Other people's tools read what we make.

mod erofs_utils;

use erofs_utils::ErofsUtils;
use qemu_tests::{
    disk,
    images::Image,
    runner::{self, Context, Outcome, Stop, Test, check},
};
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const TESTS: &[Test] = &[
    test("sgdisk_verifies_the_table", sgdisk_verifies_the_table),
    test("fsck_erofs_reads_the_root", fsck_erofs_reads_the_root),
    test(
        "veritysetup_verifies_the_tree",
        veritysetup_verifies_the_tree,
    ),
    test("fsck_vfat_reads_the_esp", fsck_vfat_reads_the_esp),
    test("qemu_img_checks_the_qcow2", qemu_img_checks_the_qcow2),
    test("objdump_reads_the_uki", objdump_reads_the_uki),
    test("ukify_inspects_the_uki", ukify_inspects_the_uki),
    test("sha256sum_checks_the_folder", sha256sum_checks_the_folder),
];

const fn test(name: &'static str, run: fn(&Context) -> Outcome) -> Test {
    Test::new(name, 1, 300, run)
}

fn main() -> ExitCode {
    runner::main("formats", TESTS)
}

/// Runs a tool that must succeed; returns what it said.
fn run(command: &mut Command) -> Result<String, Stop> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| Stop::Failed(format!("{name}: {error}")))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    check(output.status.success(), || {
        format!("{name} ended with {}: {}", output.status, said.trim())
    })?;
    Ok(said)
}

fn image(context: &Context) -> Result<Image, Stop> {
    context.image("node-cloud")
}

/// A partition of the raw disk, as a file of its own.
fn extracted(context: &Context, image: &Image, label: &str) -> Result<PathBuf, Stop> {
    let raw = image.required("raw")?;
    let path = context.folder.join(label);
    disk::extract(&raw, disk::partition(&raw, label)?, &path)?;
    Ok(path)
}

fn sgdisk_verifies_the_table(context: &Context) -> Outcome {
    let raw = image(context)?.required("raw")?;
    let said = run(context.tool("sgdisk")?.arg("-v").arg(raw))?;
    check(said.contains("No problems found"), || said)
}

fn fsck_erofs_reads_the_root(context: &Context) -> Outcome {
    let image = image(context)?;
    let root = extracted(context, &image, image.version())?;
    let tools = ErofsUtils::unpack(context)?;
    let mut tool = tools.command(context, "fsck.erofs")?;
    run(tool.arg(&root)).map(drop)
}

fn veritysetup_verifies_the_tree(context: &Context) -> Outcome {
    let image = image(context)?;
    let mut tool = context.tool("veritysetup")?;
    let root = extracted(context, &image, image.version())?;
    let tree = extracted(context, &image, &format!("{}_verity", image.version()))?;
    let hash = image.root_hash()?;
    run(tool.arg("verify").arg(&root).arg(&tree).arg(&hash))?;
    // It would also say so if it were wrong.
    disk::flip(&root, 4096..4097)?;
    let wrong = context
        .tool("veritysetup")?
        .arg("verify")
        .arg(&root)
        .arg(&tree)
        .arg(&hash)
        .output();
    let wrong = wrong.map_err(|error| Stop::Failed(error.to_string()))?;
    check(!wrong.status.success(), || "a corrupt root verifies".into())
}

fn fsck_vfat_reads_the_esp(context: &Context) -> Outcome {
    let image = image(context)?;
    let esp = extracted(context, &image, "ESP")?;
    run(context.tool("fsck.vfat")?.arg("-n").arg(&esp)).map(drop)
}

fn qemu_img_checks_the_qcow2(context: &Context) -> Outcome {
    let image = image(context)?;
    let qcow2 = image.required("qcow2")?;
    run(context
        .tool("qemu-img")?
        .args(["check", "-f", "qcow2"])
        .arg(&qcow2))?;
    let raw = image.required("raw")?;
    run(context
        .tool("qemu-img")?
        .args(["compare", "-f", "raw", "-F", "qcow2"])
        .arg(&raw)
        .arg(&qcow2))
    .map(drop)
}

const SECTIONS: [&str; 6] = [".linux", ".initrd", ".cmdline", ".osrel", ".uname", ".sbat"];

fn has_sections(said: &str) -> Outcome {
    for section in SECTIONS {
        check(said.contains(section), || {
            format!("no section {section} in: {said}")
        })?;
    }
    Ok(())
}

fn objdump_reads_the_uki(context: &Context) -> Outcome {
    let uki = image(context)?.required("efi")?;
    has_sections(&run(context.tool("objdump")?.arg("-h").arg(uki))?)
}

fn ukify_inspects_the_uki(context: &Context) -> Outcome {
    let mut tool = match context.tool("ukify") {
        Err(Stop::Skipped(_)) if Path::new("/usr/lib/systemd/ukify").exists() => {
            Command::new("/usr/lib/systemd/ukify")
        }
        tool => tool?,
    };
    let uki = image(context)?.required("efi")?;
    has_sections(&run(tool.arg("inspect").arg(uki))?)
}

fn sha256sum_checks_the_folder(context: &Context) -> Outcome {
    let image = image(context)?;
    let mut tool = context.tool("sha256sum")?;
    run(tool
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(&image.folder))
    .map(drop)
}
