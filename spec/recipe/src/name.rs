//! What names may look like: they end up in paths, file names and messages.

/// A Debian package name (policy 5.6.1), with `:architecture` refused.
pub(crate) fn package(name: &str) -> Result<(), String> {
    let ok = name.len() >= 2
        && name.len() <= 128
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
    if ok {
        Ok(())
    } else {
        Err(format!(
            "\"{name}\" is no Debian package name (a-z, 0-9, + - .)"
        ))
    }
}

/// An image's id or a suite's name.
pub(crate) fn identifier(name: &str) -> Result<(), String> {
    let ok = !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-');
    if ok {
        Ok(())
    } else {
        Err(format!(
            "\"{name}\" must be a-z, 0-9 and -, at most 64 characters"
        ))
    }
}

/// An image's version: `_` and `+` have a meaning in file names on the ESP.
pub(crate) fn version(name: &str) -> Result<(), String> {
    let ok = !name.is_empty()
        && name.len() <= 32
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        && name.bytes().next().is_some_and(|b| b.is_ascii_digit());
    if ok {
        Ok(())
    } else {
        Err(format!(
            "\"{name}\" must begin with a digit and be 0-9, a-z, . and -, at most 32 characters"
        ))
    }
}

/// A user or group (systemd's strict rule).
pub(crate) fn user(name: &str) -> Result<(), String> {
    let ok = !name.is_empty()
        && name.len() <= 31
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if ok {
        Ok(())
    } else {
        Err(format!(
            "\"{name}\" is no user or group name (a-z, 0-9, - and _, at most 31 characters)"
        ))
    }
}

/// A unit's name.
pub(crate) fn unit(name: &str) -> Result<(), String> {
    let ok = name.len() <= 255
        && name.contains('.')
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b));
    if ok {
        Ok(())
    } else {
        Err(format!("\"{name}\" is no unit name (such as etcd.service)"))
    }
}

/// A unit's name, or a pattern of names with `*` or `?`.
pub(crate) fn units(pattern: &str) -> Result<(), String> {
    unit(&pattern.replace(['*', '?'], "x")).map_err(|_| {
        format!("\"{pattern}\" is no unit name (such as etcd.service or my-*.service)")
    })
}

/// An absolute path in the image, without `.` and `..`.
pub(crate) fn path(path: &str) -> Result<(), String> {
    let parts = path.strip_prefix('/').map(|rest| rest.split('/'));
    let ok = path.len() <= 4096
        && !path.contains('\0')
        && parts.is_some_and(|mut parts| {
            parts.all(|part| !part.is_empty() && part != "." && part != "..")
        });
    if ok {
        Ok(())
    } else {
        Err(format!(
            "\"{path}\" must be an absolute path without empty parts, . and .."
        ))
    }
}

/// A mirror's address: http or https, no user, no query.
pub(crate) fn mirror(address: &str) -> Result<(), String> {
    let rest = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"));
    let ok = address.len() <= 1024
        && rest.is_some_and(|rest| {
            !rest.is_empty()
                && !rest.starts_with('/')
                && rest
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !b"@?#\"\\".contains(&b))
        });
    if ok {
        Ok(())
    } else {
        Err(format!(
            "\"{address}\" must be an http:// or https:// address without user and query"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_carry_a_path() {
        assert!(package("libc6").is_ok());
        assert!(package("linux-image-6.12.107+deb13-cloud-amd64").is_ok());
        for bad in ["", "a", "../x", "A", "a/b", "a b", "-a"] {
            assert!(package(bad).is_err(), "{bad}");
        }
        assert!(path("/etc/passwd").is_ok());
        for bad in ["etc", "/", "/a//b", "/a/../b", "/a/.", "/a\0"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_version_leaves_the_file_name_alone() {
        assert!(version("1.2.3-rc1").is_ok());
        for bad in ["", "v1", "1+2", "1_2", "1/2"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mirror_is_an_address() {
        assert!(mirror("https://mirror.example/debian").is_ok());
        for bad in [
            "",
            "ftp://x/",
            "https://",
            "http://u:p@x/",
            "https://x/?q",
            "http:///x",
        ] {
            assert!(mirror(bad).is_err(), "{bad}");
        }
    }
}
