//! A writer of Btrfs for tests: files of every kind of piece, in as many subvolumes as are wanted.
//!
//! What it writes has all that is needed for reading, and no more: neither the trees that tell what is free nor the
//! checksums of data. It knows nothing of the reader, and has nothing in common with it.
//!
//! ```text
//!  64 KiB: superblock   1 MiB: tree of chunks   2 MiB: all other trees   then data     (each twice, if asked for)
//! ```

use std::collections::BTreeMap;

/// Where chunks begin: addresses, as they are used in the file system.
const SYSTEM: u64 = 16 << 20;
const METADATA: u64 = 32 << 20;
const DATA: u64 = 64 << 20;

/// When everything was written.
pub(crate) const GENERATION: u64 = 7;

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 4096;

/// Where the superblock lies, and bytes of it.
pub(crate) const SUPERBLOCK: usize = 64 << 10;
pub(crate) const SUPERBLOCK_LEN: usize = 4096;

/// Numbers of trees: that of trees, that of chunks, the topmost subvolume.
pub(crate) const ROOTS: u64 = 1;
pub(crate) const CHUNKS: u64 = 3;
pub(crate) const TOP: u64 = 5;

/// A key: object, kind, offset.
pub(crate) type Key = (u64, u8, u64);

/// A file or link: path and content; content that begins with `->` makes a symbolic link.
pub(crate) type File<'a> = (&'a str, &'a [u8]);

/// Makes a checksum.
pub(crate) type Sum = fn(&[u8]) -> Vec<u8>;

/// A piece of a file.
#[derive(Clone)]
pub(crate) enum Piece {
    /// In its item: the number of the way in which it is packed, the length before, the bytes.
    Inline(u8, usize, Vec<u8>),
    /// The part of an extent that begins behind so many bytes, and has so many. The extent: as above.
    Extent(u8, usize, Vec<u8>, usize, usize),
    /// Nothing.
    Hole(usize),
    /// Room in an extent, of that length, which was not written.
    SetAside(usize),
}

/// A file system in the making.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) node_size: usize,
    /// Whether metadata and chunks lie there twice.
    pub(crate) is_double: bool,
    /// The number of the kind of its checksums, and how they are made.
    pub(crate) checksum: (u16, Sum),
    pub(crate) uuid: [u8; 16],
    pub(crate) label: &'static str,
    pub(crate) features: u64,
    pub(crate) has_log: bool,
    /// Items by their keys, by the numbers of their trees.
    pub(crate) trees: BTreeMap<u64, BTreeMap<Key, Vec<u8>>>,
    data: Vec<u8>,
    inodes: BTreeMap<(u64, String), u64>,
    next: u64,
}

impl Default for Writer {
    fn default() -> Writer {
        let mut writer = Writer {
            node_size: 4096,
            is_double: false,
            checksum: (0, |bytes| crc32c(!0, bytes, !0).to_le_bytes().to_vec()),
            uuid: *b"a uuid of btrfs.",
            label: "",
            // Back references, a default subvolume, LZO, zstd, no holes.
            features: 0x21B,
            has_log: false,
            trees: BTreeMap::new(),
            data: Vec::new(),
            inodes: BTreeMap::new(),
            next: 256,
        };
        writer.top_of(TOP);
        writer.set_default(TOP);
        writer
    }
}

impl Writer {
    /// A file system with these files at its top.
    pub(crate) fn with(files: &[File<'_>]) -> Writer {
        let mut writer = Writer::default();
        writer.put_all(TOP, files);
        writer
    }

    /// Puts files into a subvolume; folders are made as they are needed.
    pub(crate) fn put_all(&mut self, subvolume: u64, files: &[File<'_>]) {
        for (path, content) in files {
            self.put(subvolume, path, content);
        }
    }

    /// Puts a file or a link into a subvolume.
    pub(crate) fn put(&mut self, subvolume: u64, path: &str, content: &[u8]) {
        if let Some(target) = content.strip_prefix(b"->") {
            let pieces = [(0, Piece::Inline(0, target.len(), target.to_vec()))];
            self.make(subvolume, path, 0o120_777, target.len() as u64, &pieces);
            return;
        }
        let len = content.len();
        let piece = match len {
            0..=2048 => Piece::Inline(0, len, content.to_vec()),
            _ => Piece::Extent(0, len, content.to_vec(), 0, len.next_multiple_of(SECTOR)),
        };
        let pieces = [(0, piece)];
        let there = if len == 0 { &pieces[..0] } else { &pieces };
        self.make(subvolume, path, 0o100_644, len as u64, there);
    }

    /// Puts a file of these pieces, each at its place.
    pub(crate) fn put_pieces(&mut self, subvolume: u64, path: &str, len: u64, pieces: &[(u64, Piece)]) {
        self.make(subvolume, path, 0o100_644, len, pieces);
    }

    /// Makes a subvolume at a path of another one, and gives its number.
    pub(crate) fn subvolume(&mut self, parent: u64, path: &str) -> u64 {
        let number = self.number();
        self.top_of(number);
        self.enter(parent, path, (number, 132, u64::MAX), 2);
        number
    }

    /// Makes another subvolume the default one.
    pub(crate) fn set_default(&mut self, subvolume: u64) {
        let entry = entry(b"default", (subvolume, 132, u64::MAX), 2);
        self.item(ROOTS, (6, 84, hash(b"default")), entry);
    }

    /// Sets an item.
    pub(crate) fn item(&mut self, tree: u64, key: Key, content: Vec<u8>) {
        self.trees.entry(tree).or_default().insert(key, content);
    }

    /// The number of the inode of what was put at a path.
    pub(crate) fn inode(&self, subvolume: u64, path: &str) -> u64 {
        self.inodes[&(subvolume, path.trim_matches('/').to_owned())]
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn top_of(&mut self, subvolume: u64) {
        self.inodes.insert((subvolume, String::new()), 256);
        self.item(subvolume, (256, 1, 0), inode(0o040_755, 0));
    }

    fn make(&mut self, subvolume: u64, path: &str, mode: u32, len: u64, pieces: &[(u64, Piece)]) {
        let number = self.number();
        let kind = match mode & 0o170_000 {
            0o040_000 => 2,
            0o120_000 => 7,
            _ => 1,
        };
        self.enter(subvolume, path, (number, 1, 0), kind);
        self.inodes
            .insert((subvolume, path.trim_matches('/').to_owned()), number);
        self.item(subvolume, (number, 1, 0), inode(mode, len));
        for (place, piece) in pieces {
            let item = self.piece(piece);
            self.item(subvolume, (number, 108, *place), item);
        }
    }

    /// Makes an entry at `path`, in a folder that is made if it is not there.
    fn enter(&mut self, subvolume: u64, path: &str, target: Key, kind: u8) {
        let path = path.trim_matches('/');
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if !self.inodes.contains_key(&(subvolume, folder.to_owned())) {
            self.make(subvolume, folder, 0o040_755, 0, &[]);
        }
        let parent = self.inodes[&(subvolume, folder.to_owned())];
        let entry = entry(name.as_bytes(), target, kind);
        let order = self.number();
        self.item(subvolume, (parent, 96, order), entry.clone());
        let tree = self.trees.entry(subvolume).or_default();
        tree.entry((parent, 84, hash(name.as_bytes())))
            .or_default()
            .extend(entry);
    }

    fn piece(&mut self, piece: &Piece) -> Vec<u8> {
        let head = |packing: u8, unpacked: usize, kind: u8| {
            let mut item = [GENERATION, unpacked as u64].map(u64::to_le_bytes).concat();
            item.extend([packing, 0, 0, 0, kind]);
            item
        };
        let tail = |address: u64, on_disk: usize, before: usize, len: usize| {
            [address, on_disk as u64, before as u64, len as u64]
                .map(u64::to_le_bytes)
                .concat()
        };
        match piece {
            Piece::Inline(packing, unpacked, bytes) => [head(*packing, *unpacked, 0), bytes.clone()].concat(),
            Piece::Extent(packing, unpacked, bytes, before, len) => {
                let address = DATA + self.data.len() as u64;
                self.data.extend(bytes);
                let on_disk = bytes.len().next_multiple_of(SECTOR);
                self.data.resize(self.data.len().next_multiple_of(SECTOR), 0);
                let unpacked = unpacked.next_multiple_of(SECTOR);
                [head(*packing, unpacked, 1), tail(address, on_disk, *before, *len)].concat()
            }
            Piece::Hole(len) => [head(0, *len, 1), tail(0, 0, 0, *len)].concat(),
            Piece::SetAside(len) => {
                let address = DATA + self.data.len() as u64;
                // It is not zero on the disk.
                self.data.resize(self.data.len() + len, 0xEE);
                [head(0, *len, 2), tail(address, *len, 0, *len)].concat()
            }
        }
    }

    /// All of the disk.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut trees = self.trees.clone();
        let mut metadata = Nodes::new(self, METADATA);
        let roots = trees.remove(&ROOTS).unwrap_or_default();
        let given = trees.remove(&CHUNKS).unwrap_or_default();
        let mut all = BTreeMap::new();
        for (tree, items) in &trees {
            let (address, level) = metadata.write(*tree, items);
            all.insert((*tree, 132, 0), root(address, level));
        }
        all.extend(roots);
        let (root_address, root_level) = metadata.write(ROOTS, &all);
        let metadata = metadata.bytes;

        // Where chunks lie, and how long they are.
        let copies = if self.is_double { 2 } else { 1 };
        let metadata_len = metadata.len().next_multiple_of(64 << 10);
        let data_len = self.data.len().next_multiple_of(64 << 10) + (64 << 10);
        let data_place = (2 << 20) + copies * metadata_len;
        let len = data_place + data_len;
        let chunks = [
            (SYSTEM, 64 << 10, 2, 1 << 20, copies),
            (METADATA, metadata_len, 4, 2 << 20, copies),
            (DATA, data_len, 1, data_place, 1),
        ];
        let mut items: BTreeMap<Key, Vec<u8>> = chunks
            .iter()
            .map(|chunk| ((256, 228, chunk.0), self.chunk(*chunk)))
            .collect();
        items.insert((1, 216, 1), self.device(len as u64));
        items.extend(given);
        let mut system = Nodes::new(self, SYSTEM);
        let (chunk_address, chunk_level) = system.write(CHUNKS, &items);
        let system = system.bytes;
        assert!(system.len() <= 64 << 10);

        let mut disk = vec![0; len];
        for copy in 0..copies {
            put(&mut disk, (1 << 20) + copy * (64 << 10), &system);
            put(&mut disk, (2 << 20) + copy * metadata_len, &metadata);
        }
        put(&mut disk, data_place, &self.data);
        let array = [key((256, 228, SYSTEM)), self.chunk(chunks[0])].concat();
        let mut superblock = vec![0; SUPERBLOCK_LEN];
        let mut set = |at: usize, bytes: &[u8]| put(&mut superblock, at, bytes);
        set(0x20, &self.uuid);
        set(0x30, &(SUPERBLOCK as u64).to_le_bytes());
        set(0x38, &1_u64.to_le_bytes());
        set(0x40, b"_BHRfS_M");
        let log = if self.has_log { METADATA } else { 0 };
        let numbers = [
            GENERATION,
            root_address,
            chunk_address,
            log,
            0,
            len as u64,
            len as u64,
            6,
            1,
        ];
        set(0x48, &numbers.map(u64::to_le_bytes).concat());
        let node = self.node_size as u32;
        let sizes = [SECTOR as u32, node, node, SECTOR as u32, array.len() as u32];
        set(0x90, &sizes.map(u32::to_le_bytes).concat());
        set(0xA4, &GENERATION.to_le_bytes());
        set(0xBC, &self.features.to_le_bytes());
        set(0xC4, &self.checksum.0.to_le_bytes());
        set(0xC6, &[root_level, chunk_level, 0]);
        set(0xC9, &self.device(len as u64));
        set(0x12B, self.label.as_bytes());
        set(0x32B, &array);
        put(&mut disk, SUPERBLOCK, &superblock);
        self.seal(&mut disk[SUPERBLOCK..][..SUPERBLOCK_LEN]);
        disk
    }

    /// Makes the checksum of a superblock or node right.
    pub(crate) fn seal(&self, block: &mut [u8]) {
        let sum = (self.checksum.1)(&block[32..]);
        block[..32].fill(0);
        put(block, 0, &sum);
    }

    /// The same of everything in `disk` that looks like a node of this file system.
    pub(crate) fn seal_all(&self, disk: &mut [u8]) {
        self.seal(&mut disk[SUPERBLOCK..][..SUPERBLOCK_LEN]);
        for block in disk[1 << 20..].chunks_exact_mut(self.node_size) {
            if block[0x20..0x30] == self.uuid {
                self.seal(block);
            }
        }
    }

    fn chunk(&self, (_, len, kind, place, copies): (u64, usize, u64, usize, usize)) -> Vec<u8> {
        let kind = if copies == 2 { kind | 1 << 5 } else { kind };
        let mut item = [len as u64, 2, 64 << 10, kind].map(u64::to_le_bytes).concat();
        item.extend([64 << 10, 64 << 10, SECTOR as u32].map(u32::to_le_bytes).concat());
        item.extend([copies as u16, 1].map(u16::to_le_bytes).concat());
        for copy in 0..copies {
            item.extend([1, (place + copy * len) as u64].map(u64::to_le_bytes).concat());
            item.extend(self.uuid);
        }
        item
    }

    fn device(&self, len: u64) -> Vec<u8> {
        let mut item = [1, len, len].map(u64::to_le_bytes).concat();
        item.extend([SECTOR as u32; 3].map(u32::to_le_bytes).concat());
        item.extend([0; 30]);
        item.extend(self.uuid);
        item.extend(self.uuid);
        item
    }
}

/// Nodes that are written one behind the other.
struct Nodes<'a> {
    writer: &'a Writer,
    address: u64,
    bytes: Vec<u8>,
}

impl<'a> Nodes<'a> {
    fn new(writer: &'a Writer, address: u64) -> Nodes<'a> {
        Nodes {
            writer,
            address,
            bytes: Vec::new(),
        }
    }

    /// Writes a tree; gives the address of its topmost node, and its level.
    fn write(&mut self, tree: u64, items: &BTreeMap<Key, Vec<u8>>) -> (u64, u8) {
        let room = self.writer.node_size - 101;
        let mut level = 0;
        let (mut leaves, mut used) = (vec![Vec::new()], 0);
        for (own, content) in items {
            if used + 25 + content.len() > room {
                leaves.push(Vec::new());
                used = 0;
            }
            used += 25 + content.len();
            leaves.last_mut().unwrap().push((*own, content));
        }
        let mut nodes: Vec<(Key, u64)> = leaves
            .iter()
            .map(|leaf| {
                let (mut heads, mut contents) = (Vec::new(), vec![0; room]);
                let mut end = room;
                for (own, content) in leaf {
                    end -= content.len();
                    put(&mut contents, end, content);
                    heads.extend(key(*own));
                    heads.extend([end as u32, content.len() as u32].map(u32::to_le_bytes).concat());
                }
                put(&mut contents, 0, &heads);
                let first = leaf.first().map_or((0, 0, 0), |(own, _)| *own);
                (first, self.node(tree, 0, leaf.len(), &contents))
            })
            .collect();
        while nodes.len() > 1 {
            level += 1;
            nodes = nodes
                .chunks(room / 33)
                .map(|children| {
                    let body: Vec<u8> = children
                        .iter()
                        .flat_map(|(first, address)| {
                            [key(*first), [*address, GENERATION].map(u64::to_le_bytes).concat()].concat()
                        })
                        .collect();
                    (children[0].0, self.node(tree, level, children.len(), &body))
                })
                .collect();
        }
        (nodes[0].1, level)
    }

    fn node(&mut self, tree: u64, level: u8, count: usize, body: &[u8]) -> u64 {
        let address = self.address + self.bytes.len() as u64;
        let mut block = vec![0; self.writer.node_size];
        put(&mut block, 0x20, &self.writer.uuid);
        put(
            &mut block,
            0x30,
            &[address, 1 | 1 << 56].map(u64::to_le_bytes).concat(),
        );
        put(&mut block, 0x40, &self.writer.uuid);
        put(
            &mut block,
            0x50,
            &[GENERATION, tree].map(u64::to_le_bytes).concat(),
        );
        put(&mut block, 0x60, &(count as u32).to_le_bytes());
        block[0x64] = level;
        put(&mut block, 101, body);
        self.writer.seal(&mut block);
        self.bytes.extend(block);
        address
    }
}

fn put(bytes: &mut [u8], at: usize, content: &[u8]) {
    bytes[at..at + content.len()].copy_from_slice(content);
}

fn key((object, kind, offset): Key) -> Vec<u8> {
    [&object.to_le_bytes()[..], &[kind], &offset.to_le_bytes()].concat()
}

/// An entry of a folder.
pub(crate) fn entry(name: &[u8], target: Key, kind: u8) -> Vec<u8> {
    let mut entry = key(target);
    entry.extend(GENERATION.to_le_bytes());
    entry.extend([0, name.len() as u16].map(u16::to_le_bytes).concat());
    entry.push(kind);
    entry.extend(name);
    entry
}

/// An inode's item.
pub(crate) fn inode(mode: u32, len: u64) -> Vec<u8> {
    let mut item = [GENERATION, GENERATION, len, len, 0]
        .map(u64::to_le_bytes)
        .concat();
    item.extend([1, 0, 0, mode].map(u32::to_le_bytes).concat());
    item.resize(160, 0);
    item
}

/// The item of a tree.
pub(crate) fn root(address: u64, level: u8) -> Vec<u8> {
    let mut item = inode(0o040_755, 0);
    item.extend(
        [GENERATION, 256, address, 0, 0, 0, 0]
            .map(u64::to_le_bytes)
            .concat(),
    );
    item.extend(1_u32.to_le_bytes());
    item.extend([0; 18]);
    item.push(level);
    item.extend(GENERATION.to_le_bytes());
    item.resize(439, 0);
    item
}

/// The hash of a name.
pub(crate) fn hash(name: &[u8]) -> u64 {
    u64::from(crc32c(!1, name, 0))
}

/// CRC-32C, bit by bit, from a beginning, and with what is turned round at the end.
fn crc32c(begin: u32, bytes: &[u8], end: u32) -> u32 {
    let sum = bytes.iter().fold(begin, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| match sum & 1 {
            1 => sum >> 1 ^ 0x82F6_3B78,
            _ => sum >> 1,
        })
    });
    sum ^ end
}
