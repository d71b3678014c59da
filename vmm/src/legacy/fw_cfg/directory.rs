//! What there is to read: items by key, of which some are files with a name.

use std::collections::BTreeMap;

/// The item that says which device this is.
const SIGNATURE: u16 = 0x00;
/// The item that says what it can do.
const ID: u16 = 0x01;
/// What it can do: be read by ports; and by requests.
const FEATURES: u32 = 1 << 0 | 1 << 1;
/// The item that lists the files.
const FILES: u16 = 0x19;
/// The key of the first file.
const FIRST_FILE: u16 = 0x20;
/// Bytes of a file's name in the list, with its closing 0.
const NAME: usize = 56;

/// The items.
#[derive(Debug, Clone)]
pub struct Directory {
    items: BTreeMap<u16, Vec<u8>>,
    files: Vec<File>,
}

#[derive(Debug, Clone)]
struct File {
    name: &'static str,
    key: u16,
    is_writable: bool,
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl Directory {
    /// The items that every device of this kind has, and no file.
    pub fn new() -> Self {
        let mut directory = Self {
            items: BTreeMap::new(),
            files: Vec::new(),
        };
        directory.add_item(SIGNATURE, b"QEMU".to_vec());
        directory.add_item(ID, FEATURES.to_le_bytes().to_vec());
        directory.list();
        directory
    }

    /// Adds an item that is no file.
    pub fn add_item(&mut self, key: u16, bytes: Vec<u8>) {
        self.items.insert(key, bytes);
    }

    /// Adds the file `name`, shorter than 56 bytes, which the guest reads.
    pub fn add_file(&mut self, name: &'static str, bytes: Vec<u8>) {
        self.add(name, bytes, false);
    }

    /// Adds the file `name` of `len` zeroes, which the guest reads and writes.
    pub fn add_writable_file(&mut self, name: &'static str, len: usize) {
        self.add(name, vec![0; len], true);
    }

    fn add(&mut self, name: &'static str, bytes: Vec<u8>, is_writable: bool) {
        // There are a dozen of them.
        let key = FIRST_FILE.saturating_add(u16::try_from(self.files.len()).unwrap_or(u16::MAX));
        self.items.insert(key, bytes);
        self.files.push(File {
            name,
            key,
            is_writable,
        });
        self.list();
    }

    /// Writes the list of files: their number, then size, key and name of each, big-endian.
    fn list(&mut self) {
        let long = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        let mut list = long(self.files.len()).to_vec();
        for file in &self.files {
            list.extend(long(self.item(file.key).len()));
            list.extend(file.key.to_be_bytes());
            list.extend([0; 2]);
            list.extend(file.name.bytes().chain(std::iter::repeat(0)).take(NAME));
        }
        self.items.insert(FILES, list);
    }

    /// The item `key`; one that does not exist is empty.
    pub(super) fn item(&self, key: u16) -> &[u8] {
        self.items.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The item `key`, if it is a file that the guest may write.
    pub(super) fn writable_item(&mut self, key: u16) -> Option<&mut [u8]> {
        let is_writable = |file: &&File| file.key == key && file.is_writable;
        self.files.iter().find(is_writable)?;
        self.items.get_mut(&key).map(Vec::as_mut_slice)
    }

    /// The file `name`.
    pub(super) fn file(&self, name: &str) -> Option<&[u8]> {
        let file = self.files.iter().find(|file| file.name == name)?;
        Some(self.item(file.key))
    }

    /// The files that the guest may write.
    pub(super) fn written(&self) -> Vec<(String, Vec<u8>)> {
        let writable = self.files.iter().filter(|file| file.is_writable);
        writable
            .map(|file| (file.name.to_owned(), self.item(file.key).to_vec()))
            .collect()
    }

    /// Gives the file `name` other bytes. `false`: the guest cannot have done that.
    pub(super) fn rewrite(&mut self, name: &str, bytes: &[u8]) -> bool {
        let key = self
            .files
            .iter()
            .find(|file| file.name == name)
            .map(|file| file.key);
        let item = key.and_then(|key| self.writable_item(key));
        match item.filter(|item| item.len() == bytes.len()) {
            Some(item) => {
                item.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
}
