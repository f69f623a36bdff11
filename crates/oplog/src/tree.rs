//! The digest tree: count and sum of ids for any range of a conversation's display order.
//!
//! A 16-way trie over the 128 bits of [`Key`]. The root always exists; a node has child rows if and only if its count is
//! above [`LEAF_MAX`], else it lists its ops itself; a child without ops has no row. So the tree is a function of the set:
//! no order of arrival shows in it (but for the arrivals that leaves name). It is also the index by display order: a
//! batch of ops of the same time writes few leaves, where an index over `op` would take a write per op. It is kept up
//! inside the transaction that appends, never rebuilt at open.
//! Responsible for: keeping it up ([`Tree`], the writer's part in memory) and asking it (`Reader`). Not here: comparing
//! trees over a wire (`proto`).

use crate::row;
use crate::{LogError, Reader};
use rusqlite::{Connection, params};
use tombolo_model::digest::Sum;
use tombolo_model::{ConversationId, Hlc, Key, OpId};

/// Ops that a node lists before it has children. Bounds the cost of a boundary, and keeps a leaf's row below a quarter
/// of a page, above which SQLite would spill it.
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

/// An op in a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    pub(crate) key: u128,
    pub(crate) arrival: u64,
}

/// **Bytes** of an item in a row: key and arrival.
const ITEM_BYTES: usize = 24;

fn encode(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(items.len() * ITEM_BYTES);
    for item in items {
        bytes.extend_from_slice(&item.key.to_be_bytes());
        bytes.extend_from_slice(&item.arrival.to_be_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Result<Vec<Item>, LogError> {
    if !bytes.len().is_multiple_of(ITEM_BYTES) {
        return Err(LogError::damaged("a leaf of the digest tree has another length than was written"));
    }
    let item = |bytes: &[u8]| -> Result<Item, LogError> {
        let (key, arrival) = bytes.split_at(16);
        Ok(Item { key: u128::from_be_bytes(row::fixed(key)?), arrival: u64::from_be_bytes(row::fixed(arrival)?) })
    };
    bytes.chunks_exact(ITEM_BYTES).map(item).collect()
}

/// A node as stored.
#[derive(Debug)]
struct Stored {
    lo: u128,
    depth: u8,
    sum: Sum,
    /// Its ops by key; `None` = it has children instead, or is a leaf of which only the sum was asked for.
    items: Option<Vec<Item>>,
}

fn root(conn: &Connection, n: i64) -> Result<Stored, LogError> {
    let found = rows_under(conn, n, 0, 0, 0, u128::MAX)?.pop();
    Ok(found.unwrap_or_else(|| Stored { lo: 0, depth: 0, sum: Sum::ZERO, items: Some(Vec::new()) }))
}

/// Children of a node that has some, ascending.
fn children(conn: &Connection, n: i64, depth: u8, lo: u128) -> Result<Vec<Stored>, LogError> {
    rows_under(conn, n, depth + 1, lo, 0, u128::MAX)
}

/// Children of a node that has some, ascending; with their items only where they span a key of `lo..=last`.
fn children_about(conn: &Connection, n: i64, node: &Stored, lo: u128, last: u128) -> Result<Vec<Stored>, LogError> {
    rows_under(conn, n, node.depth + 1, node.lo, lo, last)
}

/// Rows of `depth` under the parent at `under` (whose depth is one less), ascending.
fn rows_under(
    conn: &Connection,
    n: i64,
    depth: u8,
    under: u128,
    lo: u128,
    last: u128,
) -> Result<Vec<Stored>, LogError> {
    let hi = under | span(depth.saturating_sub(1));
    let mut statement = conn.prepare_cached(
        "SELECT prefix, count, sum, items FROM node WHERE conversation = ?1 AND depth = ?2 AND prefix BETWEEN ?3 AND ?4",
    )?;
    let mut rows = statement.query(params![n, depth, name(under, depth), name(hi, depth)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let at = lo_of(row::blob(row, 0)?)?;
        let sum = Sum::from_bytes(row::number(row, 1)?, &row::array(row, 2)?);
        let wanted = at <= last && at | span(depth) >= lo;
        let items = if wanted { row::blob_or_none(row, 3)?.map(decode).transpose()? } else { None };
        found.push(Stored { lo: at, depth, sum, items });
    }
    Ok(found)
}

/// Id of the op of an arrival.
pub(crate) fn id_of(conn: &Connection, arrival: u64) -> Result<OpId, LogError> {
    let mut statement = conn.prepare_cached("SELECT id FROM op WHERE arrival = ?1")?;
    let mut rows = statement.query([arrival as i64])?;
    match rows.next()? {
        Some(row) => row::array(row, 0).map(OpId),
        None => Err(LogError::damaged("the digest tree names an op that is not stored")),
    }
}

/// Calls `each` with the items in `lo..=last` by key, until it says no. Returns whether it never did.
fn walk(
    conn: &Connection,
    n: i64,
    node: &Stored,
    lo: u128,
    last: u128,
    each: &mut dyn FnMut(Item) -> bool,
) -> Result<bool, LogError> {
    let Some(items) = &node.items else {
        for child in children_about(conn, n, node, lo, last)? {
            let overlaps = child.lo <= last && child.lo | span(child.depth) >= lo;
            if overlaps && !walk(conn, n, &child, lo, last, each)? {
                return Ok(false);
            }
        }
        return Ok(true);
    };
    let inside = items.iter().filter(|item| lo <= item.key && item.key <= last);
    Ok(inside.copied().all(each))
}

/// Arrivals of all ops of a conversation, by key.
pub(crate) fn all_arrivals(conn: &Connection, n: i64) -> Result<Vec<u64>, LogError> {
    let mut arrivals = Vec::new();
    walk(conn, n, &root(conn, n)?, 0, u128::MAX, &mut |item| {
        arrivals.push(item.arrival);
        true
    })?;
    Ok(arrivals)
}

/// The writer's view of one conversation's tree: the nodes that it has touched, to be written before the commit.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    /// Numbers of the dirty ones.
    dirty: Vec<u32>,
    /// Arrivals and ids of what was added since the last flush, ascending: a leaf that splits asks for its ids.
    fresh: Vec<(u64, OpId)>,
}

#[derive(Debug)]
struct Node {
    lo: u128,
    depth: u8,
    /// Whether `children` is complete.
    loaded: bool,
    dirty: bool,
    sum: Sum,
    /// As in [`Stored`].
    items: Option<Vec<Item>>,
    children: [u32; 16],
}

impl Tree {
    /// Reads the root of a conversation.
    pub(crate) fn load(conn: &Connection, n: i64) -> Result<Self, LogError> {
        let mut tree = Self { nodes: Vec::new(), dirty: Vec::new(), fresh: Vec::new() };
        tree.push(root(conn, n)?);
        Ok(tree)
    }

    /// The tree of a new conversation. The root's row is written with the next flush.
    pub(crate) fn empty() -> Self {
        let mut tree = Self { nodes: Vec::new(), dirty: Vec::new(), fresh: Vec::new() };
        tree.push(Stored { lo: 0, depth: 0, sum: Sum::ZERO, items: Some(Vec::new()) });
        tree.touch(0);
        tree
    }

    /// Builds a tree from everything, for repairs and checks: `items` sorted by key.
    pub(crate) fn build(items: &[(Item, OpId)]) -> Self {
        let mut tree = Self::empty();
        for (_, id) in items {
            tree.nodes[0].sum.add(id);
        }
        tree.fill(0, items);
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

    /// All nodes in memory as their rows: depth, name, count, sum, items.
    pub(crate) fn rows(&self) -> impl Iterator<Item = NodeRow> {
        self.nodes.iter().map(Node::row)
    }

    fn push(&mut self, stored: Stored) -> usize {
        let Stored { lo, depth, sum, items } = stored;
        self.nodes.push(Node { lo, depth, loaded: false, dirty: false, sum, items, children: [NONE; 16] });
        self.nodes.len() - 1
    }

    fn touch(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if !node.dirty {
            node.dirty = true;
            self.dirty.push(at as u32);
        }
    }

    /// Adds an op whose row is already stored.
    pub(crate) fn insert(
        &mut self,
        conn: &Connection,
        n: i64,
        key: Key,
        id: &OpId,
        arrival: u64,
    ) -> Result<(), LogError> {
        if self.fresh.last().is_none_or(|last| last.0 < arrival) {
            self.fresh.push((arrival, *id));
        }
        let one = Sum::of(id);
        let item = Item { key: key.0, arrival };
        let mut at = 0;
        loop {
            self.touch(at);
            let node = &mut self.nodes[at];
            node.sum.merge(&one);
            if let Some(items) = &mut node.items {
                let place = items.partition_point(|other| *other < item);
                items.insert(place, item);
                if items.len() as u64 > LEAF_MAX && node.depth < DEPTH_MAX {
                    self.split(conn, at)?;
                }
                return Ok(());
            }
            if !node.loaded {
                self.load_children(conn, n, at)?;
            }
            let way = nibble(key.0, self.nodes[at].depth);
            at = match self.nodes[at].children[way] {
                NONE => self.child(at, way),
                child => child as usize,
            };
        }
    }

    fn load_children(&mut self, conn: &Connection, n: i64, at: usize) -> Result<(), LogError> {
        let (lo, depth) = (self.nodes[at].lo, self.nodes[at].depth);
        for stored in children(conn, n, depth, lo)? {
            let way = nibble(stored.lo, depth);
            self.nodes[at].children[way] = self.push(stored) as u32;
        }
        self.nodes[at].loaded = true;
        Ok(())
    }

    /// Makes a leaf without ops.
    fn child(&mut self, at: usize, way: usize) -> usize {
        let parent = &self.nodes[at];
        let lo = parent.lo | (way as u128) << (124 - 4 * u32::from(parent.depth));
        let child = Stored { lo, depth: parent.depth + 1, sum: Sum::ZERO, items: Some(Vec::new()) };
        let number = self.push(child);
        self.nodes[at].children[way] = number as u32;
        number
    }

    /// Makes a leaf that has become too large a node with children.
    fn split(&mut self, conn: &Connection, at: usize) -> Result<(), LogError> {
        let items = self.nodes[at].items.take().unwrap_or_default();
        let mut with_ids = Vec::with_capacity(items.len());
        for item in items {
            let id = match self.fresh.binary_search_by_key(&item.arrival, |fresh| fresh.0) {
                Ok(found) => self.fresh[found].1,
                Err(_) => id_of(conn, item.arrival)?,
            };
            with_ids.push((item, id));
        }
        self.fill(at, &with_ids);
        Ok(())
    }

    /// Gives a node all its ops, sorted by key: as items if they are few, else as children, and those theirs.
    fn fill(&mut self, at: usize, items: &[(Item, OpId)]) {
        let depth = self.nodes[at].depth;
        if items.len() as u64 <= LEAF_MAX || depth == DEPTH_MAX {
            self.nodes[at].items = Some(items.iter().map(|(item, _)| *item).collect());
            return;
        }
        (self.nodes[at].items, self.nodes[at].loaded) = (None, true);
        for group in items.chunk_by(|a, b| nibble(a.0.key, depth) == nibble(b.0.key, depth)) {
            let child = self.child(at, nibble(group[0].0.key, depth));
            for (_, id) in group {
                self.nodes[child].sum.add(id);
            }
            self.touch(child);
            self.fill(child, group);
        }
    }

    /// Writes what changed since the last flush.
    pub(crate) fn flush(&mut self, conn: &Connection, n: i64) -> Result<(), LogError> {
        self.fresh = Vec::new();
        // In the order of the table, so that neighbours share pages.
        let nodes = &mut self.nodes;
        self.dirty.sort_unstable_by_key(|at| (nodes[*at as usize].depth, nodes[*at as usize].lo));
        let mut statement = conn.prepare_cached(
            "INSERT OR REPLACE INTO node (conversation, depth, prefix, count, sum, items) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for at in self.dirty.drain(..) {
            let node = &mut nodes[at as usize];
            let (depth, name, count, sum, items) = node.row();
            statement.execute(params![n, depth, name, count as i64, sum, items])?;
            node.dirty = false;
        }
        Ok(())
    }
}

/// Depth, name, count, sum, items.
pub(crate) type NodeRow = (u8, Vec<u8>, u64, [u8; 32], Option<Vec<u8>>);

impl Node {
    fn row(&self) -> NodeRow {
        let items = self.items.as_deref().map(encode);
        (self.depth, name(self.lo, self.depth), self.sum.count, self.sum.to_bytes(), items)
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
        let mut sum = if hi == Key::END { root(conn, n)?.sum } else { below(conn, n, hi.0)? };
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
        let mut at = root(conn, n)?;
        if rank >= at.sum.count {
            return Ok(None);
        }
        let uneven = || LogError::damaged("the digest tree's counts do not add up");
        loop {
            if let Some(items) = &at.items {
                let item = usize::try_from(rank).ok().and_then(|rank| items.get(rank));
                return item.map(|item| Some(Key(item.key))).ok_or_else(uneven);
            }
            let mut next = None;
            for child in children(conn, n, at.depth, at.lo)? {
                if rank < child.sum.count {
                    next = Some(child);
                    break;
                }
                rank -= child.sum.count;
            }
            at = next.ok_or_else(uneven)?;
        }
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
        if hi <= lo || limit == 0 {
            return Ok(Vec::new());
        }
        let conn = self.db()?;
        let mut items: Vec<Item> = Vec::new();
        walk(conn, n, &root(conn, n)?, lo.0, hi.0 - 1, &mut |item| {
            // Ops of one key are ordered by their whole ids, so all of them are needed.
            let fits = items.len() < limit || items.last().is_some_and(|last| last.key == item.key);
            if fits {
                items.push(item);
            }
            fits
        })?;
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            found.push((Key(item.key), id_of(conn, item.arrival)?));
        }
        found.sort_unstable();
        found.truncate(limit);
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

/// Sum of everything below `key`: whole children on the way down, then the ops of one leaf.
fn below(conn: &Connection, n: i64, key: u128) -> Result<Sum, LogError> {
    let mut sum = Sum::ZERO;
    let mut at = root(conn, n)?;
    loop {
        if let Some(items) = &at.items {
            for item in items.iter().take_while(|item| item.key < key) {
                sum.add(&id_of(conn, item.arrival)?);
            }
            return Ok(sum);
        }
        let way = nibble(key, at.depth);
        let mut next = None;
        for child in children_about(conn, n, &at, key, key)? {
            match nibble(child.lo, at.depth).cmp(&way) {
                std::cmp::Ordering::Less => sum.merge(&child.sum),
                std::cmp::Ordering::Equal => next = Some(child),
                std::cmp::Ordering::Greater => break,
            }
        }
        match next {
            Some(child) => at = child,
            None => return Ok(sum),
        }
    }
}
