//! tmpfiles.d(5): the lines as packages ship them, and the plan that the builder compiles from them.
//!
//! The builder reads all lines once, resolves names to numbers, applies precedence and order, and refuses what it
//! does not know with file and line ([`compile`]). PID 1 reads the result ([`Plan::parse`]) and executes it at each
//! boot without deciding anything.
//!
//! Left out of the plan because a node has no use for them: `x` and `X` (they only steer cleaning by age), `h` and
//! `H` (attributes of btrfs), `a` and `A` (ACLs for groups of people). Ages are not kept either.

mod compile;
mod parse;
mod plan;

pub use compile::{Compiled, Names, Note, Source, compile};
pub use plan::Plan;

/// One line of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What is done.
    pub kind: Kind,
    /// Where; absolute, without `.` and `..`. Kinds of [`Kind::takes_pattern`] read it as a shell pattern.
    pub path: String,
    /// Access mode.
    pub mode: Option<Mode>,
    /// Owner.
    pub user: Option<Owner>,
    /// Group.
    pub group: Option<Owner>,
    /// Content, target or source; kind by kind.
    pub argument: Option<String>,
    /// Modifiers after the type letter.
    pub flags: Flags,
}

/// What a line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `f`: create a file, with the argument as its content.
    File,
    /// `f+`, `F`: create or truncate it.
    Truncate,
    /// `w`: write the argument to an existing file.
    Write,
    /// `w+`: append it.
    Append,
    /// `d`, `v`, `q`, `Q`: create a folder.
    Folder,
    /// `D`: the same, emptied at boot.
    EmptyFolder,
    /// `e`: set mode and owner of existing folders.
    AdjustFolder,
    /// `p`: create a FIFO.
    Fifo,
    /// `L`: create a symbolic link.
    Link,
    /// `L?`: the same, if its target exists.
    LinkIfTarget,
    /// `c`: create a character device.
    Character,
    /// `b`: create a block device.
    Block,
    /// `C`: copy a file or folder that does not exist yet.
    Copy,
    /// `C+`: copy into an existing folder, too.
    Merge,
    /// `r`: remove a file or an empty folder.
    Remove,
    /// `R`: remove with all that is below.
    RemoveAll,
    /// `z`, `m`: set mode and owner.
    Adjust,
    /// `Z`: the same with all that is below.
    AdjustAll,
    /// `t`: set extended attributes.
    Xattr,
    /// `T`: the same with all that is below.
    XattrAll,
}

impl Kind {
    /// Whether the path may be a shell pattern that existing files are sought by.
    pub fn takes_pattern(self) -> bool {
        use Kind::*;
        matches!(
            self,
            Write
                | Append
                | AdjustFolder
                | Remove
                | RemoveAll
                | Adjust
                | AdjustAll
                | Xattr
                | XattrAll
        )
    }

    /// Whether the kind removes; these lines come first.
    pub fn removes(self) -> bool {
        matches!(self, Kind::Remove | Kind::RemoveAll)
    }

    /// Whether the kind makes what stands at the path; of such lines a path has at most one.
    pub fn creates(self) -> bool {
        use Kind::*;
        matches!(
            self,
            File | Truncate
                | Folder
                | EmptyFolder
                | Fifo
                | Link
                | LinkIfTarget
                | Character
                | Block
                | Copy
                | Merge
        )
    }
}

/// An access mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Permission bits, at most 07777.
    pub bits: u32,
    /// `~`: take away what the existing mode does not have (executable bits of files, for instance).
    pub masked: bool,
    /// `:`: only when the line creates the file.
    pub only_new: bool,
}

/// An owner or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Number.
    pub id: u32,
    /// `:`: only when the line creates the file.
    pub only_new: bool,
}

/// Modifiers of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// `-`: a failure is not worth a word.
    pub may_fail: bool,
    /// `=` and `+` of `p`, `L`, `c`, `b`: remove what stands there and is something else.
    pub replace: bool,
    /// `^`: the argument names a credential whose content is meant.
    pub credential: bool,
}

/// Puts in the values of specifiers (`%b` and so on) that only a running node knows; `%%` is a percent sign.
/// `None` if `value` does not know one.
pub fn expand(text: &str, value: &dyn Fn(char) -> Option<String>) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, if char == '%' { chars.next() } else { None }) {
            ('%', Some('%')) => out.push('%'),
            ('%', Some(specifier)) => out.push_str(&value(specifier)?),
            ('%', None) => return None,
            (char, _) => out.push(char),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_are_put_in_at_boot() {
        let value = |specifier| (specifier == 'b').then(|| "42".to_owned());
        assert_eq!(
            expand("/run/%b/100%%", &value),
            Some("/run/42/100%".to_owned())
        );
        assert_eq!(expand("%z", &value), None);
        assert_eq!(expand("open%", &value), None);
    }
}
