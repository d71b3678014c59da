//! A file system as strict as POSIX lets it be: a file's bytes are durable after its sync, its name after a sync of the
//! folder that has it. Of all else a power cut may leave any part.

use super::recorder::{Event, is_of_machine};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Default)]
struct Node {
    bytes: Vec<u8>,
    mode: u32,
}

/// A change, with the file (its number) or the folder whose sync makes it durable.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Name(PathBuf, usize),
    NoName(PathBuf),
    Moved(PathBuf, PathBuf),
    Folder(PathBuf),
    Write(usize, u64, Vec<u8>),
    Length(usize, u64),
    Hole(usize, u64, u64),
    Mode(usize, u32),
}

/// Files and folders.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    folders: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    nodes: Vec<Node>,
}

impl Tree {
    /// What lies below a folder on this host.
    pub(super) fn read(folder: &Path) -> Tree {
        let mut tree = Tree::default();
        let mut next = vec![folder.to_path_buf()];
        while let Some(folder) = next.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    next.push(path);
                } else if !path.to_string_lossy().ends_with("-shm") {
                    let mode = path.symlink_metadata().unwrap().permissions().mode();
                    let bytes = std::fs::read(&path).unwrap();
                    tree.names.insert(path, tree.nodes.len());
                    tree.nodes.push(Node { bytes, mode });
                }
            }
            tree.folders.insert(folder);
        }
        tree
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.names.keys()
    }

    fn node(&mut self, number: usize) -> &mut Node {
        let missing = self.nodes.len()..=number;
        self.nodes.extend(missing.map(|_| Node {
            bytes: Vec::new(),
            mode: 0o600,
        }));
        &mut self.nodes[number]
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Name(path, node) => {
                self.node(*node);
                self.names.insert(path.clone(), *node);
            }
            Change::NoName(path) => {
                self.names.remove(path);
                self.folders.remove(path);
            }
            Change::Moved(from, to) => {
                if let Some(node) = self.names.remove(from) {
                    self.names.insert(to.clone(), node);
                }
            }
            Change::Folder(path) => drop(self.folders.insert(path.clone())),
            Change::Write(node, at, bytes) => {
                let file = &mut self.node(*node).bytes;
                let end = *at as usize + bytes.len();
                file.resize(file.len().max(end), 0);
                file[*at as usize..end].copy_from_slice(bytes);
            }
            Change::Length(node, len) => self.node(*node).bytes.resize(*len as usize, 0),
            Change::Hole(node, at, len) => {
                let file = &mut self.node(*node).bytes;
                let end = (at.saturating_add(*len) as usize).min(file.len());
                file[(*at as usize).min(end)..end].fill(0);
            }
            Change::Mode(node, mode) => self.node(*node).mode = *mode,
        }
    }

    /// Makes the folder on this host what the tree says; whatever else is in it goes. After a power cut no machine runs.
    pub(super) fn write(&self, home: &Path, power: Power) {
        std::fs::remove_dir_all(home).unwrap();
        for folder in &self.folders {
            // A folder whose parent was lost is lost with it.
            let _ = std::fs::create_dir(folder);
        }
        for (path, node) in &self.names {
            if power == Power::Cut && path.ends_with("running") {
                continue;
            }
            let Ok(file) = File::create(path) else { continue };
            let node = &self.nodes[*node];
            for (nth, piece) in node.bytes.chunks(4096).enumerate() {
                if piece.iter().any(|byte| *byte != 0) {
                    file.write_all_at(piece, nth as u64 * 4096).unwrap();
                }
            }
            file.set_len(node.bytes.len() as u64).unwrap();
            file.set_permissions(Permissions::from_mode(node.mode)).unwrap();
        }
    }
}

/// What ended the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Power {
    /// It was killed: all that it did is there, and its machines live.
    On,
    Cut,
}

/// A host on which events happen.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) durable: Tree,
    now: Tree,
    /// Changes since the sync that would have made them durable, by number.
    pub(super) pending: Vec<(usize, Change)>,
    changes: usize,
}

impl Host {
    pub(super) fn of(tree: Tree) -> Host {
        Host {
            durable: tree.clone(),
            now: tree,
            pending: Vec::new(),
            changes: 0,
        }
    }

    pub(super) fn happens(&mut self, event: &Event) {
        let node = |path: &PathBuf| self.now.names[path];
        let change = match event {
            Event::Create(path) => Change::Name(path.clone(), self.now.nodes.len()),
            Event::Folder(path) => Change::Folder(path.clone()),
            Event::Write(path, at, bytes) => Change::Write(node(path), *at, bytes.clone()),
            Event::Length(path, len) => Change::Length(node(path), *len),
            Event::Hole(path, at, len) => Change::Hole(node(path), *at, *len),
            // A folder's own mode is as it was made.
            Event::Mode(path, _) if !self.now.names.contains_key(path) => return,
            Event::Mode(path, mode) => Change::Mode(node(path), *mode),
            Event::Rename(from, to) => Change::Moved(from.clone(), to.clone()),
            Event::Remove(path) => Change::NoName(path.clone()),
            Event::Sync(path) => return self.sync(path),
            Event::Answer => return,
        };
        self.now.apply(&change);
        self.changes += 1;
        // What a machine writes of itself is its own affair.
        match event {
            Event::Create(path)
            | Event::Write(path, ..)
            | Event::Length(path, _)
            | Event::Remove(path)
            | Event::Rename(_, path)
                if is_of_machine(path) =>
            {
                self.durable.apply(&change);
            }
            _ => self.pending.push((self.changes, change)),
        }
    }

    /// The numbers of the changes that are there if these of the pending ones are left.
    pub(super) fn there(&self, left: &[bool]) -> Vec<usize> {
        let lost: BTreeSet<usize> = self
            .pending
            .iter()
            .zip(left)
            .filter(|(_, left)| !**left)
            .map(|((number, _), _)| *number)
            .collect();
        (1..=self.changes)
            .filter(|number| !lost.contains(number))
            .collect()
    }

    fn sync(&mut self, path: &PathBuf) {
        let file = self.now.names.get(path);
        let is_in = |name: &Path| name.parent() == Some(path);
        let reached = |change: &Change| match change {
            Change::Name(name, _) | Change::NoName(name) | Change::Folder(name) | Change::Moved(_, name) => {
                is_in(name)
            }
            Change::Write(node, ..)
            | Change::Length(node, _)
            | Change::Hole(node, ..)
            | Change::Mode(node, _) => Some(node) == file,
        };
        let durable = &mut self.durable;
        self.pending.retain(|(_, change)| {
            let is_reached = reached(change);
            if is_reached {
                durable.apply(change);
            }
            !is_reached
        });
    }
}
