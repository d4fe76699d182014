//! Paths inside an archive: relative, without `.` and `..`, UTF-8.

/// The path as the tree knows it: no leading `./`, no trailing `/`, `""` for the archive's own folder.
pub(crate) fn normal(raw: &[u8], path_bytes: usize) -> Result<String, String> {
    let text = std::str::from_utf8(raw).map_err(|_| "its path is not UTF-8".to_owned())?;
    if text.len() > path_bytes {
        return Err(format!(
            "its path has {} bytes; at most {path_bytes} are taken",
            text.len()
        ));
    }
    if text.starts_with('/') {
        return Err("its path is absolute; an archive holds relative paths only".to_owned());
    }
    if text.contains('\0') {
        return Err("its path holds a zero byte".to_owned());
    }
    let mut out = String::with_capacity(text.len());
    for part in text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        if part == ".." {
            return Err("its path leaves the archive (..)".to_owned());
        }
        if part.len() > 255 {
            return Err("a name in its path has more than 255 bytes".to_owned());
        }
        if !out.is_empty() {
            out.push('/');
        }
        out.push_str(part);
    }
    Ok(out)
}

/// A symbolic link's target: any text, as it is only resolved inside the image.
pub(crate) fn target(raw: &[u8], path_bytes: usize) -> Result<String, String> {
    let text = std::str::from_utf8(raw).map_err(|_| "its link target is not UTF-8".to_owned())?;
    if text.is_empty() || text.len() > path_bytes || text.contains('\0') {
        return Err("its link target is empty, too long or holds a zero byte".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_relative_and_stays_inside() {
        assert_eq!(
            normal(b"./usr/bin/bash", 100),
            Ok("usr/bin/bash".to_owned())
        );
        assert_eq!(normal(b"./", 100), Ok(String::new()));
        assert_eq!(normal(b"usr//lib/./x/", 100), Ok("usr/lib/x".to_owned()));
        for bad in [
            &b"/etc/passwd"[..],
            b"../x",
            b"a/../../x",
            b"a\0b",
            b"\xff",
            &[b'a'; 101],
            &[b'a'; 300],
        ] {
            assert!(normal(bad, 100).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_comes_out_never_climbs(raw in proptest::collection::vec(proptest::sample::select(b"./ab".to_vec()), 0..40)) {
            if let Ok(path) = normal(&raw, 4095) {
                proptest::prop_assert!(!path.starts_with('/') && path.split('/').all(|part| part != ".." && part != "."));
            }
        }
    }
}
