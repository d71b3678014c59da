//! Pieces of the caller's memory, and views over lists of them.
//!
//! A guest's request names scattered pieces of guest memory. They are never turned into Rust slices (the
//! guest may write to them at any moment); everything that touches them copies through raw pointers here.

use std::marker::PhantomData;

/// One piece of the caller's memory: where it starts and how long it is.
///
/// A segment made by [`Segment::from_ref`] can only be the source of a write; using it as the target of a
/// read panics, for it is a mistake in the calling code.
#[derive(Debug)]
pub struct Segment<'m> {
    start: *mut u8,
    len: usize,
    writable: bool,
    memory: PhantomData<&'m mut [u8]>,
}

// SAFETY: a segment stands for a borrow of memory that whoever made it promised to be valid for 'm; like a
// `&mut [u8]` it may move to another thread. It is not `Sync`: its methods write through `&self`.
unsafe impl Send for Segment<'_> {}

impl<'m> Segment<'m> {
    /// The target of a read (or the source of a write).
    pub fn from_mut(bytes: &'m mut [u8]) -> Self {
        Self {
            start: bytes.as_mut_ptr(),
            len: bytes.len(),
            writable: true,
            memory: PhantomData,
        }
    }

    /// The source of a write.
    pub fn from_ref(bytes: &'m [u8]) -> Self {
        Self {
            start: bytes.as_ptr().cast_mut(),
            len: bytes.len(),
            writable: false,
            memory: PhantomData,
        }
    }

    /// Memory that is not Rust's: a guest's, or a device's.
    ///
    /// # Safety
    /// `start..start + len` must be mapped, readable and writable, for all of `'m`, and no Rust reference to
    /// it may exist in that time. Others (the guest) may write to it meanwhile; then its content is theirs.
    pub unsafe fn from_raw(start: *mut u8, len: usize) -> Self {
        Self {
            start,
            len,
            writable: true,
            memory: PhantomData,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    fn target(&self) -> *mut u8 {
        assert!(
            self.writable,
            "a segment made of a shared reference is the target of a read"
        );
        self.start
    }

    /// The part of `len` bytes from `at` on, cut at the end.
    fn part(&self, at: usize, len: usize) -> Segment<'m> {
        let at = at.min(self.len);
        let len = len.min(self.len - at);
        // The offset is at most the length, so this stays inside, or one past the end of, the same memory.
        let start = self.start.wrapping_add(at);
        Segment {
            start,
            len,
            writable: self.writable,
            memory: PhantomData,
        }
    }
}

/// A range of bytes within a list of segments: what one request, or a part of it, reads or writes.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a, 'm> {
    segments: &'a [Segment<'m>],
    skip: usize,
    len: usize,
}

impl<'a, 'm> Span<'a, 'm> {
    /// All bytes of a list of segments.
    pub fn new(segments: &'a [Segment<'m>]) -> Self {
        let len = segments
            .iter()
            .fold(0_usize, |sum, segment| sum.saturating_add(segment.len));
        Self {
            segments,
            skip: 0,
            len,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part of `len` bytes from `at` on, cut at the end.
    pub fn part(&self, at: usize, len: usize) -> Self {
        let at = at.min(self.len);
        let mut span = Self {
            segments: self.segments,
            skip: self.skip + at,
            len: len.min(self.len - at),
        };
        while let Some((first, rest)) = span.segments.split_first() {
            if span.skip < first.len {
                break;
            }
            span.skip -= first.len;
            span.segments = rest;
        }
        span
    }

    /// The pieces of memory, in order; none is empty.
    pub fn pieces(&self) -> impl Iterator<Item = Segment<'m>> + use<'a, 'm> {
        let mut skip = self.skip;
        let mut left = self.len;
        self.segments.iter().filter_map(move |segment| {
            let part = segment.part(skip, left);
            skip -= skip.min(segment.len);
            left -= part.len;
            (!part.is_empty()).then_some(part)
        })
    }

    /// Panics if one of the segments may not be written to: a mistake in the calling code.
    pub(super) fn check_target(&self) {
        for piece in self.pieces() {
            piece.target();
        }
    }

    /// Overwrites all bytes with zeroes.
    pub fn fill_zero(&self) {
        for piece in self.pieces() {
            // SAFETY: the piece is writable memory of that length for 'm.
            unsafe { piece.target().write_bytes(0, piece.len) };
        }
    }

    /// Copies `bytes` to the start; what does not fit is left out.
    pub fn copy_from(&self, bytes: &[u8]) {
        let mut rest = bytes;
        for piece in self.pieces() {
            let (now, later) = rest.split_at(piece.len.min(rest.len()));
            // SAFETY: `now` is at most the piece's length, the piece is writable memory for 'm, and no Rust
            // reference to it exists besides the one that the segment stands for.
            unsafe { std::ptr::copy_nonoverlapping(now.as_ptr(), piece.target(), now.len()) };
            rest = later;
        }
    }

    /// Copies the first bytes out into `bytes`; what does not fit is left out.
    pub fn copy_to(&self, bytes: &mut [u8]) {
        let mut rest = bytes;
        for piece in self.pieces() {
            let take = piece.len.min(rest.len());
            let (now, later) = rest.split_at_mut(take);
            // SAFETY: the piece is readable for 'm and at least `take` long; `now` is ours alone.
            unsafe { std::ptr::copy_nonoverlapping(piece.start.cast_const(), now.as_mut_ptr(), take) };
            rest = later;
        }
    }

    /// The pieces, to be joined with others.
    pub(crate) fn to_segments(self) -> Vec<Segment<'m>> {
        self.pieces().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_span_crosses_segments() {
        let (mut a, mut b, mut c) = ([1_u8; 3], [2_u8; 2], [3_u8; 4]);
        let list = [
            Segment::from_mut(&mut a),
            Segment::from_mut(&mut b),
            Segment::from_mut(&mut c),
        ];
        let span = Span::new(&list).part(2, 5);
        let mut seen = [0; 5];
        span.copy_to(&mut seen);
        assert_eq!(seen, [1, 2, 2, 3, 3]);
        span.part(1, 3).copy_from(&[7, 8, 9, 10]);
        span.part(4, 9).fill_zero();
        assert_eq!((a, b, c), ([1, 1, 1], [7, 8], [9, 0, 3, 3]));
    }

    #[test]
    #[should_panic(expected = "shared reference")]
    fn a_shared_reference_is_never_written_to() {
        let bytes = [0; 4];
        Span::new(&[Segment::from_ref(&bytes)]).fill_zero();
    }
}
