//! [`Name`]: a domain name to compare and to keep.

use std::fmt;

/// Most bytes of a name (RFC 1035, section 2.3.4).
const BYTES_MAX: usize = 255;

/// A whole domain name: its labels, each behind its length, lower case. No length is a letter, so the case of all
/// bytes can be changed at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name(Box<[u8]>);

impl Name {
    /// Of bytes that are a name without compression.
    pub(super) fn of_wire(bytes: &[u8]) -> Self {
        Self(bytes.to_ascii_lowercase().into_boxed_slice())
    }

    /// Of labels with dots between them; `None` where that is no name.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len() + 2);
        for label in text.split('.') {
            let length = u8::try_from(label.len()).ok()?;
            if !(1..=63).contains(&length) {
                return None;
            }
            bytes.push(length);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        (bytes.len() <= BYTES_MAX).then(|| Self::of_wire(&bytes))
    }

    /// The bytes of a message.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The name, then each name that it is in, up to the root.
    fn around(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: Option<&[u8]> = Some(&self.0);
        std::iter::from_fn(move || {
            let here = rest.filter(|rest| !rest.is_empty())?;
            let length = usize::from(here.first().copied().unwrap_or(0));
            rest = if length == 0 {
                None
            } else {
                here.get(length + 1..)
            };
            Some(here)
        })
    }

    /// How many labels it has; the root has none.
    pub(crate) fn labels(&self) -> usize {
        self.around().count().saturating_sub(1)
    }

    /// Whether it is this name or in it.
    pub(crate) fn is_within(&self, other: &Name) -> bool {
        self.around().any(|name| *name == *other.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for name in self.around() {
            let length = usize::from(name.first().copied().unwrap_or(0));
            let label = name.get(1..=length).unwrap_or_default();
            if length > 0 || first {
                let dot = if first && length > 0 { "" } else { "." };
                write!(f, "{dot}{}", label.escape_ascii())?;
            }
            first = false;
        }
        Ok(())
    }
}
