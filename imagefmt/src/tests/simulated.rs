//! Files in memory whose power can be cut and whose operations can fail.

use std::io;
use std::sync::{Arc, Mutex};

use crate::io::{Host, Span, Storage};

/// A small, seeded generator: the same seed gives the same cut.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// What changes a file.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Punch(u64, u64),
}

/// What a recording has of the file of this number.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Change(usize, Change),
    Sync(usize),
}

impl Change {
    pub(crate) fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                let end = *at as usize + bytes.len();
                file.resize(file.len().max(end), 0);
                file[*at as usize..end].copy_from_slice(bytes);
            }
            Self::SetLen(len) => file.resize(*len as usize, 0),
            Self::Punch(at, len) => {
                let from = (*at as usize).min(file.len());
                let to = ((*at + *len) as usize).min(file.len());
                file[from..to].fill(0);
            }
        }
    }

    /// The parts that may reach the disk alone: sectors.
    fn pieces(&self) -> Vec<Change> {
        match self {
            Self::Write(at, bytes) => {
                let head = (512 - at % 512) as usize;
                let (first, rest) = bytes.split_at(head.min(bytes.len()));
                let chunks = std::iter::once(first).chain(rest.chunks(512));
                let mut place = *at;
                let piece = |chunk: &[u8]| {
                    let piece = Change::Write(place, chunk.to_vec());
                    place += chunk.len() as u64;
                    piece
                };
                chunks.map(piece).collect()
            }
            whole => vec![whole.clone()],
        }
    }
}

#[derive(Debug, Default)]
struct Contents {
    /// What a read sees.
    now: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What was done since the last sync.
    pending: Vec<Change>,
    /// A sync has failed since the host was healed the last time.
    unsynced: bool,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The host's disk is full: the operation fails, and every later one that would change the file.
    Full,
    /// It fails in the same way once: there is room again right after it.
    FullOnce,
    /// The operation fails once.
    Once,
    /// The operation fails, and every later one that would change the file.
    Broken,
    /// A failed sync forgets what was pending, as Linux does: later reads see it, the disk never does.
    Forgetful,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Contents>,
    changes: u64,
    fail_at: Option<(u64, Failure)>,
    dead: bool,
    tape: Option<Vec<Event>>,
}

/// A host with some files.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct SimulatedFile {
    world: World,
    nth: usize,
}

impl World {
    /// A host with these files, all of them durable.
    pub(crate) fn of(files: Vec<Vec<u8>>) -> Self {
        let world = Self::default();
        let durable = |bytes: Vec<u8>| Contents {
            durable: bytes.clone(),
            now: bytes,
            ..Contents::default()
        };
        world.state.lock().unwrap().files = files.into_iter().map(durable).collect();
        world
    }

    /// From now on every change and every sync is recorded, in their order.
    pub(crate) fn record(&self) {
        self.state.lock().unwrap().tape = Some(Vec::new());
    }

    /// What was recorded so far.
    pub(crate) fn tape(&self) -> Vec<Event> {
        self.state.lock().unwrap().tape.clone().unwrap_or_default()
    }

    /// A new, empty file; messages call it `/simulated/<nth>`.
    pub(crate) fn file(&self) -> Host {
        let mut state = self.state.lock().unwrap();
        state.files.push(Contents::default());
        let nth = state.files.len() - 1;
        drop(state);
        self.host(nth)
    }

    /// A file that is there.
    pub(crate) fn host(&self, nth: usize) -> Host {
        Host::new(
            Arc::new(SimulatedFile {
                world: self.clone(),
                nth,
            }),
            &format!("/simulated/{nth}"),
        )
    }

    pub(crate) fn name(nth: usize) -> String {
        nth.to_string()
    }

    /// How many files there are.
    pub(crate) fn files(&self) -> usize {
        self.state.lock().unwrap().files.len()
    }

    /// Removes the newest file.
    pub(crate) fn pop(&self) {
        self.state.lock().unwrap().files.pop();
    }

    pub(crate) fn bytes(&self, nth: usize) -> Vec<u8> {
        self.state.lock().unwrap().files[nth].now.clone()
    }

    /// Operations so far that change a file or sync it.
    pub(crate) fn changes(&self) -> u64 {
        self.state.lock().unwrap().changes
    }

    /// Lets the n-th operation from now on (0 is the next one) fail.
    pub(crate) fn fail(&self, nth: u64, failure: Failure) {
        let mut state = self.state.lock().unwrap();
        state.fail_at = Some((state.changes + nth, failure));
    }

    /// Nothing fails any more. Whether a sync of a file that is there has failed.
    pub(crate) fn heal(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.fail_at = None;
        let syncs = state
            .files
            .iter_mut()
            .map(|file| std::mem::take(&mut file.unsynced));
        syncs.fold(false, |any, failed| any | failed)
    }

    /// From now on nothing works: whoever still has a file open can do nothing more.
    pub(crate) fn kill(&self) {
        self.state.lock().unwrap().dead = true;
    }

    /// The process that was killed is gone, and the host lives on: what it has not synced is seen, and may be lost yet.
    pub(crate) fn restart(&self) {
        let mut state = self.state.lock().unwrap();
        state.dead = false;
        state.fail_at = None;
    }

    /// The power comes back: of what was pending, arbitrary sectors are there.
    pub(crate) fn revive(&self, dice: &mut Dice) {
        let mut state = self.state.lock().unwrap();
        for file in &mut state.files {
            let style = dice.roll(4);
            for change in std::mem::take(&mut file.pending) {
                let whole = dice.roll(2) == 0;
                for piece in change.pieces() {
                    let keep = match style {
                        0 => true,
                        1 => false,
                        _ => whole || dice.roll(2) == 0,
                    };
                    if keep {
                        piece.apply(&mut file.durable);
                    }
                }
            }
            file.now = file.durable.clone();
        }
        state.dead = false;
        state.fail_at = None;
    }
}

impl SimulatedFile {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.world.state.lock().unwrap();
        if let Err(error) = fails(&mut state) {
            // Half of a failed write may be there.
            if let Change::Write(at, bytes) = &change {
                let half = Change::Write(*at, bytes[..bytes.len() / 2 / 512 * 512].to_vec());
                if !state.dead && bytes.len() >= 1024 {
                    half.apply(&mut state.files[self.nth].now);
                    state.files[self.nth].pending.push(half);
                }
            }
            return Err(error);
        }
        if let Some(tape) = &mut state.tape {
            tape.push(Event::Change(self.nth, change.clone()));
        }
        let file = &mut state.files[self.nth];
        change.apply(&mut file.now);
        file.pending.push(change);
        Ok(())
    }
}

fn fails(state: &mut State) -> io::Result<()> {
    let number = state.changes;
    state.changes += 1;
    if state.dead {
        return Err(io::Error::from_raw_os_error(libc::EIO));
    }
    match state.fail_at {
        Some((at, Failure::Full)) if number >= at => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        Some((at, Failure::FullOnce)) if number == at => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        Some((at, Failure::Broken)) if number >= at => Err(io::Error::from_raw_os_error(libc::EIO)),
        Some((at, _)) if number == at => Err(io::Error::from_raw_os_error(libc::EIO)),
        _ => Ok(()),
    }
}

impl Storage for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.world.state.lock().unwrap().files[self.nth].now.len() as u64)
    }

    fn read_at(&self, offset: u64, to: Span<'_, '_>) -> io::Result<usize> {
        let state = self.world.state.lock().unwrap();
        let file = &state.files[self.nth].now;
        let rest = file.get(offset as usize..).unwrap_or_default();
        to.copy_from(rest);
        Ok(rest.len().min(to.len()))
    }

    fn read_cached_at(&self, offset: u64, to: Span<'_, '_>) -> io::Result<usize> {
        self.read_at(offset, to)
    }

    fn write_at(&self, offset: u64, from: Span<'_, '_>) -> io::Result<()> {
        let mut bytes = vec![0; from.len()];
        from.copy_to(&mut bytes);
        self.change(Change::Write(offset, bytes))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.world.state.lock().unwrap();
        let outcome = fails(&mut state);
        let forgetful = matches!(state.fail_at, Some((_, Failure::Forgetful)));
        if let (Some(tape), Ok(())) = (&mut state.tape, &outcome) {
            tape.push(Event::Sync(self.nth));
        }
        let file = &mut state.files[self.nth];
        file.unsynced |= outcome.is_err();
        if outcome.is_ok() {
            for change in std::mem::take(&mut file.pending) {
                change.apply(&mut file.durable);
            }
        } else if forgetful {
            // The length is kept: it is not a page.
            let len = file.now.len();
            file.pending.clear();
            file.durable.resize(len, 0);
        }
        outcome
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::SetLen(len))
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Change::Punch(offset, len))
    }
}
