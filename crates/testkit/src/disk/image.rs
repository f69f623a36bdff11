//! The whole content of a simulated disk: files, the directory, and what of both is not synced yet.
//!
//! Responsible for: names and inodes, when a directory entry becomes durable, making the image that a power cut leaves.
//! Not responsible for: the bytes of one file (`content.rs`), faults and the operation log (`state.rs`, `record.rs`).
//!
//! When is a directory entry durable? As SQLite and a journalling file system on Linux do it:
//! - syncing a file makes its own entry durable;
//! - the first sync of a journal or WAL that SQLite created also syncs the directory (its Unix VFS does), and so does
//!   a deletion that asks for it (`synchronous=EXTRA` does, `FULL` does not);
//! - anything else waits: after a power cut a created file may be missing, and a deleted one may be back.
//!
//! Read next: `record.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{Content, Fate};
use crate::rng::Rng;

/// Number of a file on one disk; never used twice.
pub(super) type Inode = u64;

#[derive(Clone, Debug)]
struct Node {
    content: Content,
    /// The next sync of this file also syncs the directory.
    syncs_directory: bool,
    /// Open handles; only the live image counts them.
    opens: u32,
}

/// A change of the directory that is not synced.
#[derive(Clone, Debug)]
struct EntryUndo {
    seq: u64,
    name: String,
    /// What the name stood for before the change.
    old: Option<Inode>,
}

/// Files and directory of one disk, with their pending changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    nodes: BTreeMap<Inode, Node>,
    names: BTreeMap<String, Inode>,
    entry_undo: Vec<EntryUndo>,
    last_inode: Inode,
    last_seq: u64,
    entries_durable_at_once: bool,
}

impl Image {
    /// Directory changes are durable at once from now on (pending ones, too), or wait for a sync (the default).
    pub(super) fn set_entries_durable_at_once(&mut self, at_once: bool) {
        self.entries_durable_at_once = at_once;
        if at_once {
            self.sync_directory();
        }
    }

    fn take_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    /// The file that `name` stands for.
    pub(super) fn lookup(&self, name: &str) -> Option<Inode> {
        self.names.get(name).copied()
    }

    /// Names of all files, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The newest bytes of a file; empty if it is gone.
    pub(super) fn bytes(&self, inode: Inode) -> &[u8] {
        self.nodes.get(&inode).map_or(&[], |node| node.content.bytes())
    }

    /// A number that no file of this disk had yet.
    pub(super) const fn free_inode(&self) -> Inode {
        self.last_inode + 1
    }

    fn add_node(&mut self, inode: Inode, syncs_directory: bool) {
        self.last_inode = self.last_inode.max(inode);
        self.nodes.insert(inode, Node { content: Content::default(), syncs_directory, opens: 0 });
    }

    /// Creates an empty file. Its entry is pending until the file or the directory is synced.
    pub(super) fn create(&mut self, inode: Inode, name: &str, syncs_directory: bool) {
        self.add_node(inode, syncs_directory);
        self.change_entry(name, Some(inode));
    }

    /// Creates a file without a name, which lives as long as it is open.
    pub(super) fn create_unnamed(&mut self, inode: Inode) {
        self.add_node(inode, false);
    }

    /// Removes a name. The file lives on while it is open or a power cut could bring it back.
    pub(super) fn delete(&mut self, name: &str, sync_directory: bool) {
        self.change_entry(name, None);
        if sync_directory {
            self.sync_directory();
        }
    }

    fn change_entry(&mut self, name: &str, new: Option<Inode>) {
        let seq = self.take_seq();
        let old = match new {
            Some(inode) => self.names.insert(name.to_owned(), inode),
            None => self.names.remove(name),
        };
        if !self.entries_durable_at_once {
            self.entry_undo.push(EntryUndo { seq, name: name.to_owned(), old });
        } else if let Some(inode) = old {
            self.forget_if_unreachable(inode);
        }
    }

    /// Makes every change of the directory durable.
    pub(super) fn sync_directory(&mut self) {
        for change in std::mem::take(&mut self.entry_undo) {
            if let Some(inode) = change.old {
                self.forget_if_unreachable(inode);
            }
        }
    }

    /// Writes into a file; ignored if the file is gone.
    pub(super) fn write(&mut self, inode: Inode, offset: usize, data: &[u8]) {
        let seq = self.take_seq();
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.content.write(seq, offset, data);
        }
    }

    /// Sets the size of a file in bytes; ignored if the file is gone.
    pub(super) fn truncate(&mut self, inode: Inode, size: usize) {
        let seq = self.take_seq();
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.content.truncate(seq, size);
        }
    }

    /// Makes a file durable, together with its directory entry.
    pub(super) fn sync(&mut self, inode: Inode) {
        let Some(node) = self.nodes.get_mut(&inode) else { return };
        node.content.sync();
        if std::mem::take(&mut node.syncs_directory) {
            self.sync_directory();
        } else if !self.entry_undo.is_empty()
            && let Some(name) = self.names.iter().find(|&(_, &other)| other == inode).map(|(name, _)| name.clone())
        {
            let (settled, waiting) =
                std::mem::take(&mut self.entry_undo).into_iter().partition(|change| change.name == name);
            self.entry_undo = waiting;
            for old in settled.into_iter().filter_map(|change: EntryUndo| change.old) {
                self.forget_if_unreachable(old);
            }
        }
    }

    /// Puts a file on the disk, durable at once. `inode` is that of the file that `name` stands for, so that open
    /// handles see the new bytes, or a free one.
    pub(super) fn put(&mut self, inode: Inode, name: &str, bytes: Vec<u8>) {
        if self.lookup(name) != Some(inode) {
            self.create(inode, name, false);
        }
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.content = Content::synced(bytes);
        }
        self.sync(inode);
    }

    /// Counts one more open handle.
    pub(super) fn opened(&mut self, inode: Inode) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.opens += 1;
        }
    }

    /// Counts one open handle less; a file that nothing can reach any more is freed.
    pub(super) fn closed(&mut self, inode: Inode) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.opens = node.opens.saturating_sub(1);
            self.forget_if_unreachable(inode);
        }
    }

    fn forget_if_unreachable(&mut self, inode: Inode) {
        let open = self.nodes.get(&inode).is_some_and(|node| node.opens > 0);
        let named = self.names.values().any(|&other| other == inode);
        let may_return = self.entry_undo.iter().any(|change| change.old == Some(inode));
        if !open && !named && !may_return {
            self.nodes.remove(&inode);
        }
    }

    /// An image that a power cut at this instant could leave behind: nothing pending, nothing open. The same seed means
    /// other choices at another instant.
    pub(super) fn power_loss(&self, seed: u64) -> Self {
        let rng = Rng::new(seed).fork(&format!("power loss {}", self.last_seq));
        let oldest_write = self.nodes.values().filter_map(|node| node.content.oldest_pending()).min();
        let oldest_entry = self.entry_undo.first().map(|change| change.seq);
        let oldest = oldest_write.into_iter().chain(oldest_entry).min().unwrap_or(self.last_seq);
        let mut fate = Fate::draw(rng, oldest, self.last_seq);
        let mut names = self.names.clone();
        let mut decided = BTreeSet::new();
        for change in self.entry_undo.iter().rev() {
            if decided.contains(&change.name) {
                continue;
            }
            if fate.keeps(change.seq) {
                decided.insert(&change.name);
                continue;
            }
            match change.old {
                Some(inode) => names.insert(change.name.clone(), inode),
                None => names.remove(&change.name),
            };
        }
        self.with_names(names, |content| content.survive(&mut fate))
    }

    /// A fully synced copy of what the files show now, as a copy of the folder would be.
    pub(super) fn copy(&self) -> Self {
        self.with_names(self.names.clone(), |content| {
            let mut content = content.clone();
            content.sync();
            content
        })
    }

    fn with_names(&self, names: BTreeMap<String, Inode>, mut content: impl FnMut(&Content) -> Content) -> Self {
        let nodes = names
            .values()
            .filter_map(|&inode| {
                let content = content(&self.nodes.get(&inode)?.content);
                Some((inode, Node { content, syncs_directory: false, opens: 0 }))
            })
            .collect();
        Self {
            nodes,
            names,
            entry_undo: Vec::new(),
            last_inode: self.last_inode,
            last_seq: self.last_seq,
            entries_durable_at_once: self.entries_durable_at_once,
        }
    }
}
