//! The bytes of the file system as they would be after the kernel's recovery.

use ext4_view::Ext4Read;

use super::journal::{Newer, Replay};
use super::journal_block::Header;
use super::superblock;
use crate::probe::{ProbeError, Window};

/// Reads through the journal's newer blocks, with the superblock as the reader shall see it.
pub(super) struct View {
    window: Window,
    block_size: u64,
    replay: Replay,
    superblock: [u8; superblock::LEN],
}

impl View {
    /// `None` where no superblock is to be seen, which takes a journal that destroys it.
    pub(super) fn new(window: Window, block_size: u32, replay: Replay) -> Result<Option<View>, ProbeError> {
        let mut view = View {
            window,
            block_size: u64::from(block_size),
            replay,
            superblock: [0; superblock::LEN],
        };
        let mut head = vec![0; superblock::OFFSET.saturating_add(superblock::LEN)];
        view.through_journal(0, &mut head)?;
        let Some(superblock) = superblock::Superblock::parse(&head) else {
            return Ok(None);
        };
        if superblock.implausible(view.window.len()).is_some() {
            return Ok(None);
        }
        view.superblock = superblock.for_reader();
        Ok(Some(view))
    }

    /// Reads block by block, each from where its newest version lies.
    fn through_journal(&self, offset: u64, to: &mut [u8]) -> Result<(), ProbeError> {
        if self.replay.blocks.is_empty() {
            return self.window.read(offset, to);
        }
        let mut at = offset;
        let mut rest = to;
        while !rest.is_empty() {
            let within = at.checked_rem(self.block_size).unwrap_or(0);
            let left = self.block_size.saturating_sub(within);
            let len = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
            let (piece, after) = rest.split_at_mut(len);
            match self
                .replay
                .blocks
                .get(&at.checked_div(self.block_size).unwrap_or(0))
            {
                None => self.window.read(at, piece)?,
                Some(newer) => self.newer(newer, within, piece)?,
            }
            at = at.saturating_add(len as u64);
            rest = after;
        }
        Ok(())
    }

    /// Reads `to` from `within` a block that lies in the journal.
    fn newer(&self, newer: &Newer, within: u64, to: &mut [u8]) -> Result<(), ProbeError> {
        self.window.read(newer.offset.saturating_add(within), to)?;
        if newer.escaped {
            let magic = Header::MAGIC.to_be_bytes();
            let skipped = usize::try_from(within).unwrap_or(usize::MAX);
            for (byte, original) in to.iter_mut().zip(magic.iter().skip(skipped)) {
                *byte = *original;
            }
        }
        Ok(())
    }
}

impl Ext4Read for View {
    fn read(
        &mut self,
        start: u64,
        to: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        self.through_journal(start, to)?;
        // Where the range covers bytes of the superblock, the changed one shows.
        let (offset, len) = (superblock::OFFSET as u64, superblock::LEN as u64);
        if start < offset.saturating_add(len) && start.saturating_add(to.len() as u64) > offset {
            let skip_to = usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX);
            let skip_from = usize::try_from(start.saturating_sub(offset)).unwrap_or(usize::MAX);
            let shown = self.superblock.iter().skip(skip_from);
            to.iter_mut()
                .skip(skip_to)
                .zip(shown)
                .for_each(|(byte, shown)| *byte = *shown);
        }
        Ok(())
    }
}
