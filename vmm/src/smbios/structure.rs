//! One structure: its formatted area, then its texts (6.1).

/// How long a text may be: long enough for any name of ours.
const MAX_TEXT: usize = 64;

/// A structure being written.
pub(super) struct Structure {
    bytes: Vec<u8>,
    texts: Vec<u8>,
    count: u8,
}

impl Structure {
    /// A structure of type `kind`, which others call `handle`.
    pub(super) fn new(kind: u8, handle: u16) -> Self {
        let [low, high] = handle.to_le_bytes();
        Self {
            // The length is known at the end.
            bytes: vec![kind, 0, low, high],
            texts: Vec::new(),
            count: 0,
        }
    }

    pub(super) fn byte(mut self, value: u8) -> Self {
        self.bytes.push(value);
        self
    }

    pub(super) fn word(self, value: u16) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn long(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn quad(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The number of a text (6.1.3); an empty one has none and is number 0. What is no printable ASCII would
    /// end or garble it.
    pub(super) fn text(mut self, text: &str) -> Self {
        let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let text: Vec<u8> = text.bytes().filter(printable).take(MAX_TEXT).collect();
        if text.is_empty() {
            return self.byte(0);
        }
        self.texts.extend_from_slice(&text);
        self.texts.push(0);
        self.count = self.count.saturating_add(1);
        let number = self.count;
        self.byte(number)
    }

    /// The bytes: the area, whose length they tell, the texts, and a 0 more; two where there is no text.
    pub(super) fn finish(mut self) -> Vec<u8> {
        // No structure here has more than 255 bytes before its texts.
        let length = u8::try_from(self.bytes.len()).unwrap_or(u8::MAX);
        if let Some(place) = self.bytes.get_mut(1) {
            *place = length;
        }
        if self.texts.is_empty() {
            self.texts.push(0);
        }
        self.texts.push(0);
        self.bytes.append(&mut self.texts);
        self.bytes
    }
}
