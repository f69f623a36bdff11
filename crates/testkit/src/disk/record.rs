//! The log of everything that was done to a disk, and the power cuts that can be made from it.
//!
//! Responsible for: replaying a recorded workload operation by operation and handing out, after each one, as many
//! surviving disks as wanted, without running the workload again.
//! Not responsible for: what a power cut does to a file (`content.rs`) or to the directory (`image.rs`).
//! Read next: `state.rs`, which writes the log.

use super::Disk;
use super::image::{Image, Inode};

/// One operation that changed the disk, or a note of the test.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create { name: String, inode: Inode, syncs_directory: bool },
    Write { inode: Inode, offset: usize, data: Box<[u8]> },
    Truncate { inode: Inode, size: usize },
    Sync { inode: Inode },
    Delete { name: String, sync_directory: bool },
    Put { inode: Inode, name: String, bytes: Vec<u8> },
    EntriesDurableAtOnce(bool),
    Mark(u64),
}

/// What happened on a disk between `Disk::start_recording` and `Disk::stop_recording`.
#[derive(Clone, Debug)]
pub struct Recording {
    base: Image,
    base_mark: u64,
    ops: Vec<Op>,
}

impl Recording {
    pub(super) const fn new(base: Image, base_mark: u64) -> Self {
        Self { base, base_mark, ops: Vec::new() }
    }

    pub(super) fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// Number of recorded operations (marks are not counted).
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.iter().filter(|op| !matches!(op, Op::Mark(_))).count()
    }

    /// True if nothing was done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A cursor before the first operation.
    #[must_use]
    pub fn replay(&self) -> Replay<'_> {
        let mut replay = Replay { image: self.base.clone(), rest: &self.ops, mark: self.base_mark, done: 0 };
        replay.take_marks();
        replay
    }

    /// The disk that a power cut right after operation number `ops` could leave (0: before the first one). Replays from
    /// the start; to visit many points use [`Recording::replay`].
    #[must_use]
    pub fn power_loss_after(&self, ops: usize, seed: u64) -> Disk {
        let mut replay = self.replay();
        while replay.ops_done() < ops && replay.step() {}
        replay.power_loss(seed)
    }
}

/// A recorded workload, stopped after some operation.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    image: Image,
    rest: &'a [Op],
    mark: u64,
    done: usize,
}

impl Replay<'_> {
    /// Performs the next operation, and takes note of all marks that follow it directly. False at the end.
    ///
    /// A mark right behind an operation belongs to the instant after it: what it promises must survive from then on.
    pub fn step(&mut self) -> bool {
        let Some((op, rest)) = self.rest.split_first() else {
            return false;
        };
        self.apply(op);
        self.rest = rest;
        self.done += 1;
        self.take_marks();
        true
    }

    fn take_marks(&mut self) {
        while let Some((Op::Mark(mark), rest)) = self.rest.split_first() {
            (self.mark, self.rest) = (*mark, rest);
        }
    }

    fn apply(&mut self, op: &Op) {
        let image = &mut self.image;
        match op {
            Op::Create { name, inode, syncs_directory } => image.create(*inode, name, *syncs_directory),
            Op::Write { inode, offset, data } => image.write(*inode, *offset, data),
            Op::Truncate { inode, size } => image.truncate(*inode, *size),
            Op::Sync { inode } => image.sync(*inode),
            Op::Delete { name, sync_directory } => image.delete(name, *sync_directory),
            Op::Put { inode, name, bytes } => image.put(*inode, name, bytes.clone()),
            Op::EntriesDurableAtOnce(at_once) => image.set_entries_durable_at_once(*at_once),
            Op::Mark(mark) => self.mark = *mark,
        }
    }

    /// Operations performed so far.
    #[must_use]
    pub const fn ops_done(&self) -> usize {
        self.done
    }

    /// The last mark that was set before this instant (see `Disk::mark`); 0 if none was.
    #[must_use]
    pub const fn mark(&self) -> u64 {
        self.mark
    }

    /// A new disk as a power cut at this instant could leave it. Other seeds give other survivors.
    #[must_use]
    pub fn power_loss(&self, seed: u64) -> Disk {
        Disk::with_image(seed, self.image.power_loss(seed))
    }
}
