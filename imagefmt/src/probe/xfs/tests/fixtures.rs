//! File systems made by `mkfs.xfs`, which takes their files from a prototype: nothing is mounted.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::probe::tests::fixtures::{Ram, tool};
use crate::probe::{FileTree, ProbeError, Window};

/// What can differ: the options, and whether metadata have checksums.
pub(super) const VARIANTS: &[(&str, &[&str])] = &[
    ("v4", &["-m", "crc=0"]),
    (
        "v4, old",
        &[
            "-m",
            "crc=0",
            "-n",
            "ftype=0",
            "-i",
            "size=256",
            "-b",
            "size=1024",
        ],
    ),
    (
        "v4, smallest blocks",
        &[
            "-m",
            "crc=0",
            "-n",
            "size=8192",
            "-i",
            "size=256",
            "-b",
            "size=512",
        ],
    ),
    ("v5", &[]),
    ("v5, small blocks", &["-b", "size=1024"]),
    ("v5, wide folders", &["-n", "size=16384", "-i", "size=2048"]),
    (
        "v5, old",
        &[
            "-m",
            "finobt=0,rmapbt=0,reflink=0,inobtcount=0,bigtime=0",
            "-i",
            "sparse=0",
        ],
    ),
    (
        "v5, new",
        &[
            "-m",
            "rmapbt=1,reflink=1,inobtcount=1,bigtime=1",
            "-i",
            "nrext64=1",
        ],
    ),
    ("v5, groups", &["-d", "agcount=2", "-s", "size=4096"]),
];

/// A file, or a link where it begins with `->`.
pub(super) type File<'a> = (&'a str, &'a [u8]);

enum Tree {
    Folder(BTreeMap<String, Tree>),
    File(Vec<u8>),
}

impl Tree {
    fn put(&mut self, path: &str, content: &[u8]) {
        let Tree::Folder(entries) = self else {
            panic!("{path}: a file is in the way")
        };
        match path.split_once('/') {
            None => drop(entries.insert(path.into(), Tree::File(content.to_vec()))),
            Some((first, rest)) => entries
                .entry(first.into())
                .or_insert_with(|| Tree::Folder(BTreeMap::new()))
                .put(rest, content),
        }
    }

    /// Lines of the prototype; contents go to files in `folder`.
    fn write(&self, to: &mut String, folder: &Path, count: &mut usize) {
        let Tree::Folder(entries) = self else {
            return;
        };
        for (name, entry) in entries {
            match entry {
                Tree::Folder(_) => {
                    writeln!(to, "{name} d--755 0 0").unwrap();
                    entry.write(to, folder, count);
                    writeln!(to, "$").unwrap();
                }
                Tree::File(content) => match content.strip_prefix(b"->") {
                    Some(target) => {
                        let target = std::str::from_utf8(target).unwrap();
                        writeln!(to, "{name} l--777 0 0 {target}").unwrap();
                    }
                    None => {
                        *count += 1;
                        let source = folder.join(format!("content{count}"));
                        std::fs::write(&source, content).unwrap();
                        writeln!(to, "{name} ---644 0 0 {}", source.display()).unwrap();
                    }
                },
            }
        }
    }
}

/// A file system of 32 MiB made with these options, and these files in it.
pub(super) fn made(options: &[&str], files: &[File<'_>]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let mut tree = Tree::Folder(BTreeMap::new());
    for (path, content) in files {
        tree.put(path.trim_start_matches('/'), content);
    }
    let mut prototype = "none\n0 0\nd--755 0 0\n".to_owned();
    tree.write(&mut prototype, folder.path(), &mut 0);
    prototype += "$\n";
    let (image, list) = (folder.path().join("image"), folder.path().join("prototype"));
    std::fs::write(&list, prototype).unwrap();
    std::fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    // Without the option nothing below 300 MiB is made.
    let mut arguments = vec!["-q", "--unsupported", "-p", list.to_str().unwrap()];
    arguments.extend_from_slice(options);
    arguments.push(image.to_str().unwrap());
    tool("mkfs.xfs", &arguments);
    std::fs::read(image).unwrap()
}

pub(super) fn window(bytes: &[u8]) -> Window {
    Window::whole(Ram::disk(bytes.to_vec()))
}

pub(super) fn open(bytes: &[u8]) -> Result<FileTree, ProbeError> {
    FileTree::open(&window(bytes))
}

/// `len` bytes that differ from place to place.
pub(super) fn content(len: u32) -> Vec<u8> {
    (0..len).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect()
}
