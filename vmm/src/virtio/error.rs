//! What a hostile driver can do wrong.

/// What a driver did wrong with a queue, by name.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The rings do not lie in guest memory, or are misaligned.
    #[error("the rings of queue {queue} are misaligned or outside guest memory")]
    RingsUnusable {
        /// Index of the queue.
        queue: u16,
    },
    /// The ring could not be read or written.
    #[error("ring access: {0}")]
    Ring(virtio_queue::Error),
    /// More was made available than the queue holds.
    #[error("more requests made available than the queue's {size} entries")]
    AvailableOverflow {
        /// Size of the queue.
        size: u16,
    },
    /// A head or `next` names no descriptor.
    #[error("descriptor {index} of a table of {len}")]
    IndexBeyondTable {
        /// The index given.
        index: u16,
        /// Entries of the table.
        len: u16,
    },
    /// A descriptor table lies outside guest memory.
    #[error("descriptor table at {address:#x} outside guest memory")]
    TableOutsideMemory {
        /// Guest physical address of the table.
        address: u64,
    },
    /// A chain longer than the queue: a loop.
    #[error("a chain of more than {size} descriptors")]
    ChainTooLong {
        /// Size of the queue.
        size: u16,
    },
    /// An indirect table without negotiation, within another, or within a chain.
    #[error("indirect descriptor where none is allowed")]
    IndirectMisused,
    /// An indirect table that is empty, broken or longer than the queue.
    #[error("indirect table of {bytes} bytes")]
    IndirectLength {
        /// Length that the descriptor gives.
        bytes: u32,
    },
    /// Device-readable after device-writable buffers.
    #[error("readable buffer after a writable one")]
    ReadableAfterWritable,
    /// A buffer (partly) outside guest memory.
    #[error("buffer of {len} bytes at {address:#x} outside guest memory")]
    BufferOutsideMemory {
        /// Guest physical address of the buffer.
        address: u64,
        /// Bytes.
        len: u32,
    },
    /// An array of numbers of pages that no driver of a balloon makes.
    #[error("{bytes} bytes of page numbers: whole numbers of 4 bytes were expected, 4096 at most")]
    PageNumbers {
        /// Length of the array.
        bytes: u64,
    },
    /// Too few bytes for the request.
    #[error("chain shorter than the {wanted} bytes needed")]
    ChainTooShort {
        /// Bytes needed.
        wanted: u64,
    },
}

impl From<virtio_queue::Error> for QueueError {
    fn from(error: virtio_queue::Error) -> Self {
        Self::Ring(error)
    }
}
