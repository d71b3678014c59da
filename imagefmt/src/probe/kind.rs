//! What an inode is, as Unix counts it.

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    /// Something without content, by its name.
    Special(&'static str),
}

impl Kind {
    /// The kind that an inode's mode tells (inode(7)).
    pub(super) fn of(mode: u32) -> Option<Kind> {
        Some(match mode & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Folder,
            0o120_000 => Kind::Link,
            0o010_000 => Kind::Special("a FIFO"),
            0o140_000 => Kind::Special("a socket"),
            0o020_000 | 0o060_000 => Kind::Special("a device"),
            _ => return None,
        })
    }

    /// What it is, if it is not a file.
    pub(super) fn other_than_file(self) -> Option<&'static str> {
        match self {
            Kind::File => None,
            Kind::Folder => Some("a directory"),
            Kind::Link => Some("a symbolic link"),
            Kind::Special(what) => Some(what),
        }
    }
}
