//! Specifiers: `%n`, `%i` and their like, systemd.unit(5) "Specifiers".

use serde::{Deserialize, Serialize};

use crate::name::{UnitName, unescape};

/// What the node knows about itself. At build the defaults stand in: they are never written to an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// %H, and up to the first dot %l.
    pub hostname: String,
    /// %m, 32 hex digits.
    pub machine_id: String,
    /// %b, 32 hex digits.
    pub boot_id: String,
    /// %v.
    pub kernel_release: String,
    /// %a, such as `x86-64`.
    pub architecture: String,
    /// ID of os-release: %o.
    pub os_id: String,
    /// VERSION_ID of os-release: %w.
    pub os_version_id: String,
    /// VARIANT_ID of os-release: %W.
    pub os_variant_id: String,
    /// BUILD_ID of os-release: %B.
    pub os_build_id: String,
    /// IMAGE_ID of os-release: %M.
    pub image_id: String,
    /// IMAGE_VERSION of os-release: %A.
    pub image_version: String,
    /// Bytes of memory: what 100 % is for MemoryMax= and its like.
    pub memory_bytes: u64,
    /// Most tasks of the machine: what 100 % is for TasksMax=.
    pub tasks: u64,
}

/// Replaces specifiers in the values of one unit.
#[derive(Debug, Clone)]
pub struct Specifiers<'a> {
    /// The unit.
    pub name: &'a UnitName,
    /// Its file.
    pub fragment: &'a str,
    /// The node.
    pub facts: &'a Facts,
}

impl Specifiers<'_> {
    /// The text with every known specifier replaced; an unknown one stays as it is.
    pub fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            let mut tail = after.chars();
            let letter = tail.next();
            match letter.and_then(|letter| self.value(letter)) {
                Some(value) => {
                    out.push_str(&value);
                    rest = tail.as_str();
                }
                None => {
                    out.push('%');
                    rest = after;
                }
            }
        }
        out + rest
    }

    fn value(&self, letter: char) -> Option<String> {
        let facts = self.facts;
        let instance = self.name.instance.as_deref().unwrap_or_default();
        let last = self.name.prefix.rsplit('-').next().unwrap_or_default();
        let value = match letter {
            '%' => "%".into(),
            'n' => self.name.to_string(),
            'N' => self.name.stem(),
            'p' => self.name.prefix.clone(),
            'P' => unescape(&self.name.prefix),
            'i' => instance.into(),
            'I' => unescape(instance),
            'j' => last.into(),
            'J' => unescape(last),
            'f' => self.file(instance),
            'y' => self.fragment.into(),
            'Y' => self
                .fragment
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder)
                .into(),
            't' => "/run".into(),
            'S' => "/var/lib".into(),
            'C' => "/var/cache".into(),
            'L' => "/var/log".into(),
            'E' => "/etc".into(),
            'T' => "/tmp".into(),
            'V' => "/var/tmp".into(),
            'd' => format!("{}/{}", spec_layout::path::CREDENTIALS, self.name),
            'u' | 'g' => "root".into(),
            'U' | 'G' => "0".into(),
            'h' => "/root".into(),
            's' => "/bin/sh".into(),
            'H' => facts.hostname.clone(),
            'l' => facts.hostname.split('.').next().unwrap_or_default().into(),
            'q' => facts.hostname.clone(),
            'm' => facts.machine_id.clone(),
            'b' => facts.boot_id.clone(),
            'v' => facts.kernel_release.clone(),
            'a' => facts.architecture.clone(),
            'o' => facts.os_id.clone(),
            'w' => facts.os_version_id.clone(),
            'W' => facts.os_variant_id.clone(),
            'B' => facts.os_build_id.clone(),
            'M' => facts.image_id.clone(),
            'A' => facts.image_version.clone(),
            _ => return None,
        };
        Some(value)
    }

    /// The unescaped instance or prefix as an absolute path.
    fn file(&self, instance: &str) -> String {
        let text = unescape(if instance.is_empty() {
            &self.name.prefix
        } else {
            instance
        });
        if text.starts_with('/') {
            text
        } else {
            format!("/{text}")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expand(unit: &str, text: &str) -> String {
        let facts = Facts {
            hostname: "dev-1.lan".into(),
            boot_id: "b0".into(),
            ..Facts::default()
        };
        let name = UnitName::parse(unit).unwrap();
        Specifiers {
            name: &name,
            fragment: "/usr/lib/systemd/system/x@.service",
            facts: &facts,
        }
        .expand(text)
    }

    #[test]
    fn an_instance_fills_its_template() {
        let text = "%n %N %p %i %I %j %f";
        let expected = "a-b@var-lib.service a-b@var-lib a-b var-lib var/lib b /var/lib";
        assert_eq!(expand("a-b@var-lib.service", text), expected);
    }

    #[test]
    fn facts_and_folders() {
        assert_eq!(
            expand("a.service", "%H %l %b %t/%p %S %%i %h %U %Y"),
            "dev-1.lan dev-1 b0 /run/a /var/lib %i /root 0 /usr/lib/systemd/system"
        );
    }

    #[test]
    fn an_unknown_specifier_stays() {
        assert_eq!(expand("a.service", "%X 100% %"), "%X 100% %");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = expand("a@b.service", &text);
        }
    }
}
