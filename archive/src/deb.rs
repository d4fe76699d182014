//! deb(5): a Debian package, its control files in memory, its files one after the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::compress::Compression;
use crate::limits::Limits;
use crate::{Error, ar, error, tar};

/// Bytes of the control archive and of each file in it.
const CONTROL_BYTES_MAX: u64 = 16 << 20;
/// Fields of a control file.
const FIELDS_MAX: usize = 200;

/// A package whose control files were read.
#[derive(Debug, Clone)]
pub struct Package {
    /// What the package says of itself.
    pub control: Control,
    path: PathBuf,
    file: String,
    data: ar::Member,
    limits: Limits,
}

/// The control archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control {
    /// Fields of `control`, in their order.
    pub fields: Vec<(String, String)>,
    /// The other files: `postinst`, `conffiles`, `triggers`, `md5sums`.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Control {
    /// A field's value; names are the same in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Opens a package and reads its control files.
pub fn read(path: &Path, limits: &Limits) -> Result<Package, Error> {
    let file = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy();
    read_named(path, &file, limits)
}

/// The same for a file whose name says nothing, such as one in a cache: messages call it `file`.
pub fn read_named(path: &Path, file: &str, limits: &Limits) -> Result<Package, Error> {
    let file = file.to_owned();
    let opened = File::open(path)
        .map_err(|error| Error::whole(&path.display().to_string(), error::reading(&error)))?;
    let (control, data) = members(BufReader::new(opened), &file, limits)?;
    Ok(Package {
        control,
        path: path.to_path_buf(),
        file,
        data,
        limits: limits.clone(),
    })
}

/// Walks the three members: `debian-binary`, `control.tar.*`, `data.tar.*`.
fn members(reader: impl Read, file: &str, limits: &Limits) -> Result<(Control, ar::Member), Error> {
    let mut archive = ar::Reader::new(reader, file)?;
    let mut control = None;
    let mut first = true;
    while let Some(member) = archive.next()? {
        if std::mem::take(&mut first) {
            let version = if member.name == "debian-binary" {
                archive.data(&member, 100)?
            } else {
                Vec::new()
            };
            if !version.starts_with(b"2.") {
                return Err(Error::whole(file, "is no Debian package of format 2"));
            }
        } else if member.name.starts_with("control.tar") && control.is_none() {
            let packed = archive.data(&member, CONTROL_BYTES_MAX)?;
            control = Some(read_control(&packed, file, &member.name, limits)?);
        } else if member.name.starts_with("data.tar") {
            let Some(control) = control else {
                return Err(Error::member(
                    file,
                    &member.name,
                    "comes before control.tar",
                ));
            };
            return Ok((control, member));
        } else if !member.name.starts_with('_') {
            return Err(Error::member(
                file,
                &member.name,
                "is an unknown member of a Debian package",
            ));
        }
    }
    Err(Error::whole(file, "has no data.tar (truncated?)"))
}

fn read_control(
    packed: &[u8],
    file: &str,
    member: &str,
    limits: &Limits,
) -> Result<Control, Error> {
    let limits = Limits {
        member_bytes: CONTROL_BYTES_MAX,
        total_bytes: 4 * CONTROL_BYTES_MAX,
        members: 1000,
        ..limits.clone()
    };
    let name = format!("{file}: {member}");
    let plain = Compression::of_name(member)
        .reader(packed)
        .map_err(|error| Error::member(file, member, error::reading(&error)))?;
    let mut reader = tar::Reader::new(plain, &name, &limits);
    let mut control = Control::default();
    let mut described = false;
    while let Some(entry) = reader.next()? {
        match entry.kind {
            tar::Kind::Folder => {}
            tar::Kind::File if entry.path == "control" => {
                let text = String::from_utf8(reader.data()?)
                    .map_err(|_| Error::member(&name, "control", "is not UTF-8"))?;
                control.fields =
                    fields(&text).map_err(|message| Error::member(&name, "control", message))?;
                described = true;
            }
            tar::Kind::File => {
                let data = reader.data()?;
                control.files.insert(entry.path, data);
            }
            _ => {
                return Err(Error::member(
                    &name,
                    &entry.path,
                    "is neither file nor folder",
                ));
            }
        }
    }
    match described {
        true => Ok(control),
        false => Err(Error::whole(&name, "has no file \"control\"")),
    }
}

/// Fields of one deb822(5) paragraph.
fn fields(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut().ok_or("begins with a continuation line")?;
            value.push('\n');
            value.push_str(line.trim());
        } else if !line.is_empty() {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| format!("\"{}\" is no field", line.escape_debug()))?;
            if fields.len() >= FIELDS_MAX {
                return Err(format!("has more than {FIELDS_MAX} fields"));
            }
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    Ok(fields)
}

impl Package {
    /// The package's files, in the archive's order.
    pub fn entries(&self) -> Result<tar::Reader<Box<dyn Read + Send>>, Error> {
        let open = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.data.offset))?;
            let whole = Whole {
                inner: file,
                left: self.data.size,
            };
            Compression::of_name(&self.data.name).reader(BufReader::with_capacity(1 << 16, whole))
        };
        let reader = open()
            .map_err(|error| Error::member(&self.file, &self.data.name, error::reading(&error)))?;
        Ok(tar::Reader::new(reader, &self.file, &self.limits))
    }
}

/// Reads `left` bytes; fewer are an error.
struct Whole<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        match self.inner.read(&mut buffer[..wanted])? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}

/// Makes a package: `control` is the text of its control file, `scripts` the other control files, `entries` its files.
/// Meant for tests and for recipes' own packages: no time, xz.
pub fn write(
    control: &str,
    scripts: &[(&str, &str)],
    entries: &[(tar::Entry, Vec<u8>)],
) -> std::io::Result<Vec<u8>> {
    let mut writer = tar::Writer::new(Vec::new());
    for (name, text) in std::iter::once(&("control", control)).chain(scripts) {
        writer.write(&tar::Entry::file(name, 0o755), text.as_bytes())?;
    }
    let control = crate::compress::xz(&writer.finish()?)?;
    let mut writer = tar::Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.write(entry, data)?;
    }
    let data = crate::compress::xz(&writer.finish()?)?;
    let mut out = Vec::new();
    ar::write(
        &mut out,
        &[
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", &control),
            ("data.tar.xz", &data),
        ],
    )?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{Entry, Kind};

    const CONTROL: &str =
        "Package: hello\nVersion: 1:2-3\nArchitecture: amd64\nDescription: short\n long\n";

    fn on_disk(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::Builder::new()
            .suffix(".deb")
            .tempfile()
            .expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        file
    }

    fn package(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
        write(CONTROL, &[("postinst", "#!/bin/sh\n")], entries).expect("memory")
    }

    #[test]
    fn a_package_reads_back() {
        let mut hello = Entry::file("usr/bin/hello", 0o4755);
        hello.xattrs = vec![("security.capability".to_owned(), vec![1, 0, 10])];
        let file = on_disk(&package(&[
            (Entry::folder("usr", 0o755), vec![]),
            (hello.clone(), b"hi".to_vec()),
        ]));
        let package = read(file.path(), &Limits::default()).expect("a package");
        assert_eq!(package.control.get("version"), Some("1:2-3"));
        assert_eq!(package.control.get("Description"), Some("short\nlong"));
        assert_eq!(package.control.files["postinst"], b"#!/bin/sh\n");
        let mut entries = package.entries().expect("data");
        assert_eq!(
            entries.next().expect("good").expect("usr").kind,
            Kind::Folder
        );
        let entry = entries.next().expect("good").expect("hello");
        assert_eq!(entry, Entry { size: 2, ..hello });
        assert_eq!(entries.data().expect("whole"), b"hi");
        assert_eq!(entries.next().expect("good"), None);
    }

    #[test]
    fn a_truncated_package_is_refused_wherever_it_is_cut() {
        let whole = package(&[(
            Entry::file("x", 0o644),
            (0..=255).cycle().take(5000).collect(),
        )]);
        for cut in (0..whole.len()).step_by(7) {
            let file = on_disk(&whole[..cut]);
            let walked = read(file.path(), &Limits::default()).and_then(|package| {
                let mut entries = package.entries()?;
                while entries.next()?.is_some() {}
                Ok(())
            });
            assert!(walked.is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_package_that_climbs_out_is_refused_by_name() {
        let file = on_disk(&package(&[(
            Entry::file("../../etc/shadow", 0o644),
            vec![],
        )]));
        let package = read(file.path(), &Limits::default()).expect("a package");
        let message = package
            .entries()
            .and_then(|mut entries| entries.next())
            .expect_err("refused")
            .to_string();
        let name = file
            .path()
            .file_name()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        assert_eq!(
            message,
            format!("{name}: ./../../etc/shadow: its path leaves the archive (..)")
        );
    }

    #[test]
    fn members_of_another_kind_are_refused() {
        let mut out = Vec::new();
        ar::write(&mut out, &[("debian-binary", b"3.0\n")]).expect("memory");
        assert!(
            read(on_disk(&out).path(), &Limits::default())
                .expect_err("refused")
                .message
                .contains("format 2")
        );
        out.clear();
        ar::write(&mut out, &[("debian-binary", b"2.0\n"), ("data.tar", b"")]).expect("memory");
        assert!(
            read(on_disk(&out).path(), &Limits::default())
                .expect_err("refused")
                .message
                .contains("before control.tar")
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn a_flipped_byte_never_panics(at in 0usize..700, bit in 0u8..8) {
            let mut bytes = package(&[(Entry::file("x", 0o644), b"data".to_vec())]);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok((_, _)) = members(&bytes[..], "x.deb", &Limits::default()) {}
        }
    }
}
