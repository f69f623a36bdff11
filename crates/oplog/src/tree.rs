//! The digest tree: count and sum of ids for any range of a conversation's display order.
//!
//! A 16-way trie over the 128 bits of [`Key`]. The root always exists; a node has child rows if and only if its count is
//! above [`LEAF_MAX`]; a child without ops has no row. So the tree is a function of the set: no order of arrival shows
//! in it. It is kept up inside the transaction that appends, never rebuilt at open.
//! Responsible for: keeping it up ([`Tree`], the writer's part in memory) and asking it (`Reader`). Not here: comparing
//! trees over a wire (`proto`).

use crate::row::{self, prefix_from_sql, prefix_to_sql};
use crate::{LogError, Reader};
use rusqlite::{Connection, params};
use tombolo_model::digest::Sum;
use tombolo_model::{ConversationId, Hlc, Key, OpId};

/// Ops that a node holds before it has children: a leaf is read row by row, so this bounds the cost of a boundary.
pub const LEAF_MAX: u64 = 32;
/// Nibbles of a key.
const DEPTH_MAX: u8 = 32;
/// Marks a child that is not in memory or does not exist. (Node 0 is the root, which is nobody's child.)
const NONE: u32 = 0;

/// First `depth` nibbles of a key, rounded up to whole bytes: how a node is named in its row.
fn name(lo: u128, depth: u8) -> Vec<u8> {
    lo.to_be_bytes()[..usize::from(depth.div_ceil(2))].to_vec()
}

fn lo_of(name: &[u8]) -> Result<u128, LogError> {
    let mut bytes = [0; 16];
    bytes
        .get_mut(..name.len())
        .ok_or_else(|| LogError::damaged("a node of the digest tree has too long a name"))?
        .copy_from_slice(name);
    Ok(u128::from_be_bytes(bytes))
}

/// The nibble of `key` that leads from a node of `depth` to a child.
fn nibble(key: u128, depth: u8) -> usize {
    (key >> (124 - 4 * u32::from(depth)) & 0xf) as usize
}

/// How many keys a node of `depth` spans, less one: added to its lowest key it gives the highest.
fn span(depth: u8) -> u128 {
    u128::MAX.checked_shr(4 * u32::from(depth)).unwrap_or(0)
}

/// A node as stored.
#[derive(Clone, Copy, Debug)]
struct Stored {
    lo: u128,
    sum: Sum,
}

fn root(conn: &Connection, n: i64) -> Result<Sum, LogError> {
    let found = children_like(conn, n, 0, 0)?;
    Ok(found.first().map_or(Sum::ZERO, |node| node.sum))
}

/// Children of the node of `depth` at `lo`, ascending; empty for a leaf.
fn children(conn: &Connection, n: i64, depth: u8, lo: u128) -> Result<Vec<Stored>, LogError> {
    if depth >= DEPTH_MAX { Ok(Vec::new()) } else { children_like(conn, n, depth + 1, lo) }
}

/// Rows of `depth` under the parent at `lo` (whose depth is one less).
fn children_like(conn: &Connection, n: i64, depth: u8, lo: u128) -> Result<Vec<Stored>, LogError> {
    let hi = lo | span(depth.saturating_sub(1));
    let mut statement = conn.prepare_cached(
        "SELECT prefix, count, sum FROM node WHERE conversation = ?1 AND depth = ?2 AND prefix BETWEEN ?3 AND ?4",
    )?;
    let mut rows = statement.query(params![n, depth, name(lo, depth), name(hi, depth)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let lo = lo_of(row::blob(row, 0)?)?;
        found.push(Stored { lo, sum: Sum::from_bytes(row::number(row, 1)?, &row::array(row, 2)?) });
    }
    Ok(found)
}

/// Keys and ids in `lo..=last` by display order.
fn scan(
    conn: &Connection,
    n: i64,
    lo: u128,
    last: u128,
    limit: i64,
    mut each: impl FnMut(Key, OpId),
) -> Result<(), LogError> {
    let hlc = |key: u128| Key(key).hlc().0;
    if hlc(lo) > i64::MAX as u64 || last < lo {
        return Ok(());
    }
    // Keys above every possible one end at the greatest that a row can have.
    let last = last.min((i64::MAX as u128) << 64 | u128::from(u64::MAX));
    let mut statement = conn.prepare_cached(
        "SELECT hlc, prefix, id FROM op INDEXED BY op_order WHERE conversation = ?1 \
         AND (hlc, prefix) >= (?2, ?3) AND (hlc, prefix) <= (?4, ?5) ORDER BY hlc, prefix, id LIMIT ?6",
    )?;
    let mut rows = statement.query(params![
        n,
        hlc(lo) as i64,
        prefix_to_sql(lo as u64),
        hlc(last) as i64,
        prefix_to_sql(last as u64),
        limit
    ])?;
    while let Some(row) = rows.next()? {
        let key = u128::from(row::number(row, 0)?) << 64 | u128::from(prefix_from_sql(row.get(1)?));
        each(Key(key), OpId(row::array(row, 2)?));
    }
    Ok(())
}

/// The writer's view of one conversation's tree: the nodes that it has touched, to be written before the commit.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    /// Numbers of the dirty ones.
    dirty: Vec<u32>,
}

#[derive(Debug)]
struct Node {
    lo: u128,
    depth: u8,
    /// Whether `children` is complete.
    loaded: bool,
    dirty: bool,
    sum: Sum,
    children: [u32; 16],
}

impl Node {
    fn new(lo: u128, depth: u8) -> Self {
        Self { lo, depth, loaded: false, dirty: false, sum: Sum::ZERO, children: [NONE; 16] }
    }
}

impl Tree {
    /// Reads the root of a conversation.
    pub(crate) fn load(conn: &Connection, n: i64) -> Result<Self, LogError> {
        let mut node = Node::new(0, 0);
        node.sum = root(conn, n)?;
        Ok(Self { nodes: vec![node], dirty: Vec::new() })
    }

    /// The tree of a new conversation. The root's row is written with the next flush.
    pub(crate) fn empty() -> Self {
        let mut node = Node::new(0, 0);
        (node.loaded, node.dirty) = (true, true);
        Self { nodes: vec![node], dirty: vec![0] }
    }

    /// Builds a tree from everything, for repairs: `items` sorted by key.
    pub(crate) fn build(items: &[(u128, OpId)]) -> Self {
        let mut tree = Self::empty();
        for (_, id) in items {
            tree.nodes[0].sum.add(id);
        }
        tree.split(0, items);
        tree
    }

    /// Nodes in memory.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Sum of everything.
    pub(crate) fn sum(&self) -> Sum {
        self.nodes[0].sum
    }

    /// All nodes in memory as their rows: depth, name, count, sum.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u8, Vec<u8>, u64, [u8; 32])> {
        self.nodes.iter().map(|node| (node.depth, name(node.lo, node.depth), node.sum.count, node.sum.to_bytes()))
    }

    /// Adds an op whose row is already stored.
    pub(crate) fn insert(&mut self, conn: &Connection, n: i64, key: Key, id: &OpId) -> Result<(), LogError> {
        let one = Sum::of(id);
        let mut at = 0;
        loop {
            let node = &mut self.nodes[at];
            let before = node.sum.count;
            node.sum.merge(&one);
            if !node.dirty {
                node.dirty = true;
                self.dirty.push(at as u32);
            }
            let node = &self.nodes[at];
            let (lo, depth) = (node.lo, node.depth);
            if before < LEAF_MAX || depth == DEPTH_MAX {
                return Ok(());
            }
            if before == LEAF_MAX {
                let mut items = Vec::with_capacity(LEAF_MAX as usize + 1);
                scan(conn, n, lo, lo | span(depth), -1, |key, id| items.push((key.0, id)))?;
                self.split(at, &items);
                return Ok(());
            }
            if !node.loaded {
                self.load_children(conn, n, at)?;
            }
            let way = nibble(key.0, depth);
            at = match self.nodes[at].children[way] {
                NONE => self.child(at, way),
                child => child as usize,
            };
        }
    }

    fn load_children(&mut self, conn: &Connection, n: i64, at: usize) -> Result<(), LogError> {
        let (lo, depth) = (self.nodes[at].lo, self.nodes[at].depth);
        for stored in children(conn, n, depth, lo)? {
            let child = self.child(at, nibble(stored.lo, depth));
            self.nodes[child].sum = stored.sum;
            self.nodes[child].loaded = false;
        }
        self.nodes[at].loaded = true;
        Ok(())
    }

    /// Makes a child without ops, which knows that it has no children of its own.
    fn child(&mut self, at: usize, way: usize) -> usize {
        let parent = &self.nodes[at];
        let lo = parent.lo | (way as u128) << (124 - 4 * u32::from(parent.depth));
        let mut node = Node::new(lo, parent.depth + 1);
        node.loaded = true;
        let number = self.nodes.len();
        self.nodes.push(node);
        self.nodes[at].children[way] = number as u32;
        number
    }

    /// Gives a node above [`LEAF_MAX`] its children, from all its ops sorted by key, and those theirs.
    fn split(&mut self, at: usize, items: &[(u128, OpId)]) {
        self.nodes[at].loaded = true;
        let depth = self.nodes[at].depth;
        if items.len() as u64 <= LEAF_MAX || depth == DEPTH_MAX {
            return;
        }
        for group in items.chunk_by(|a, b| nibble(a.0, depth) == nibble(b.0, depth)) {
            let child = self.child(at, nibble(group[0].0, depth));
            for (_, id) in group {
                self.nodes[child].sum.add(id);
            }
            self.nodes[child].dirty = true;
            self.dirty.push(child as u32);
            self.split(child, group);
        }
    }

    /// Writes what changed since the last flush.
    pub(crate) fn flush(&mut self, conn: &Connection, n: i64) -> Result<(), LogError> {
        // In the order of the table, so that neighbours share pages.
        let nodes = &mut self.nodes;
        self.dirty.sort_unstable_by_key(|at| (nodes[*at as usize].depth, nodes[*at as usize].lo));
        let mut statement = conn.prepare_cached(
            "INSERT OR REPLACE INTO node (conversation, depth, prefix, count, sum) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for at in self.dirty.drain(..) {
            let node = &mut nodes[at as usize];
            let sum = node.sum.to_bytes();
            statement.execute(params![n, node.depth, name(node.lo, node.depth), node.sum.count as i64, sum])?;
            node.dirty = false;
        }
        Ok(())
    }
}

impl Reader {
    /// Count and sum of a whole conversation. One row is read.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn sum(&self, conversation: &ConversationId) -> Result<Sum, LogError> {
        Ok(self.conversation(conversation)?.map_or(Sum::ZERO, |row| row.sum))
    }

    /// Count and sum of the ops with `lo <= key < hi`; [`Key::END`] is above every key.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn range(&self, conversation: &ConversationId, lo: Key, hi: Key) -> Result<Sum, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Sum::ZERO) };
        if hi <= lo {
            return Ok(Sum::ZERO);
        }
        let conn = self.db()?;
        let mut sum = if hi == Key::END { root(conn, n)? } else { below(conn, n, hi.0)? };
        if lo > Key::MIN {
            sum.remove(&below(conn, n, lo.0)?);
        }
        Ok(sum)
    }

    /// Key of the op that has `rank` ops between `lo` and itself: rank 0 is the first at or above `lo`. `None` when there
    /// are not that many.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn key_at(&self, conversation: &ConversationId, lo: Key, rank: u64) -> Result<Option<Key>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(None) };
        let conn = self.db()?;
        let skipped = if lo == Key::MIN { 0 } else { below(conn, n, lo.0)?.count };
        let Some(mut rank) = skipped.checked_add(rank) else { return Ok(None) };
        let (mut at, mut depth) = (Stored { lo: 0, sum: root(conn, n)? }, 0);
        if rank >= at.sum.count {
            return Ok(None);
        }
        while at.sum.count > LEAF_MAX && depth < DEPTH_MAX {
            let mut next = None;
            for child in children(conn, n, depth, at.lo)? {
                if rank < child.sum.count {
                    next = Some(child);
                    break;
                }
                rank -= child.sum.count;
            }
            at = next.ok_or_else(|| LogError::damaged("the digest tree's counts do not add up"))?;
            depth += 1;
        }
        let mut found = None;
        let limit = i64::try_from(rank).unwrap_or(i64::MAX - 1) + 1;
        let mut left = rank;
        scan(conn, n, at.lo, at.lo | span(depth), limit, |key, _| {
            if left == 0 {
                found = Some(key);
            }
            left = left.wrapping_sub(1);
        })?;
        Ok(found)
    }

    /// Keys and ids with `lo <= key < hi` in display order, at most `limit`.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn items(
        &self,
        conversation: &ConversationId,
        lo: Key,
        hi: Key,
        limit: usize,
    ) -> Result<Vec<(Key, OpId)>, LogError> {
        let Some(n) = self.number(conversation)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        if hi > lo {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            scan(self.db()?, n, lo.0, hi.0 - 1, limit, |key, id| found.push((key, id)))?;
        }
        Ok(found)
    }

    /// Everything at or above a reading, by [`Reader::items`]; for windows that begin at a moment.
    ///
    /// # Errors
    /// [`LogError`] of SQLite.
    pub fn items_since(
        &self,
        conversation: &ConversationId,
        since: Hlc,
        limit: usize,
    ) -> Result<Vec<(Key, OpId)>, LogError> {
        self.items(conversation, Key(u128::from(since.0) << 64), Key::END, limit)
    }
}

/// Sum of everything below `key`: whole children on the way down, then the rows of one leaf.
fn below(conn: &Connection, n: i64, key: u128) -> Result<Sum, LogError> {
    let mut sum = Sum::ZERO;
    let (mut at, mut depth) = (Stored { lo: 0, sum: root(conn, n)? }, 0);
    while at.sum.count > LEAF_MAX && depth < DEPTH_MAX {
        let way = nibble(key, depth);
        let mut next = None;
        for child in children(conn, n, depth, at.lo)? {
            match nibble(child.lo, depth).cmp(&way) {
                std::cmp::Ordering::Less => sum.merge(&child.sum),
                std::cmp::Ordering::Equal => next = Some(child),
                std::cmp::Ordering::Greater => break,
            }
        }
        match next {
            Some(child) => at = child,
            None => return Ok(sum),
        }
        depth += 1;
    }
    if key > at.lo {
        scan(conn, n, at.lo, key - 1, -1, |_, id| sum.add(&id))?;
    }
    Ok(sum)
}
