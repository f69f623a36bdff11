//! The tables of the log, as numbered steps.
//!
//! Small integers stand for conversations, logs and peers so that rows of `op` stay small; ids of ops are kept whole.
//! Not here: running the steps (`migrate.rs`), meaning of the rows (`row.rs`, `append.rs`).
//!
//! How numbers are kept: SQLite's integers are signed. Clock readings, seq and arrival are below 2^63 and kept as they
//! are; random numbers are kept bit for bit.

use crate::Step;

/// Name of the log's part in the `schema` table.
pub(crate) const NAME: &str = "oplog";

/// All steps, oldest first. A released step never changes.
pub(crate) const STEPS: &[Step] = &[
    Step {
    why: "The log, its digest tree and who takes part: everything that a replica needs to exchange ops.",
    sql: "
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- kind: NULL until the genesis op is here. sum: of all ids. waiting: ops that are pending, early, or own and ahead of
-- what they name.
-- top_hlc: greatest reading among delivered ops, from which lateness is judged.
CREATE TABLE conversation (
    n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, kind INTEGER, ops INTEGER NOT NULL, sum BLOB NOT NULL,
    last_arrival INTEGER NOT NULL, waiting INTEGER NOT NULL, top_hlc INTEGER NOT NULL) STRICT;

-- contiguous: everything from 1 to there is held. tip: least id at max_seq. branched: two ops claim one place, or an
-- op names a prev that is not the op before it. branches: ops that came to an occupied place.
CREATE TABLE log (
    n INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, author BLOB NOT NULL, log BLOB NOT NULL,
    max_seq INTEGER NOT NULL, count INTEGER NOT NULL, contiguous INTEGER NOT NULL, tip BLOB NOT NULL,
    tip_hlc INTEGER NOT NULL, branched INTEGER NOT NULL, branches INTEGER NOT NULL,
    UNIQUE (conversation, author, log)) STRICT;
CREATE INDEX log_author ON log (author);

-- arrival is given by the program (never used twice, also after a repair). chain: hash over the order of arrival up to
-- here. rest: the fields of the header that nothing is searched by. prev: NULL where it is the id of the earliest
-- arrival at seq - 1 (and for seq 1). body_hash: NULL where the body is held. Short columns first, the body last, so
-- that walking rows does not read bodies. Few columns and indexes: they are what appending costs. Display order is in
-- the leaves of `node`.
CREATE TABLE op (
    arrival INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, log INTEGER NOT NULL, seq INTEGER NOT NULL,
    hlc INTEGER NOT NULL, prefix INTEGER NOT NULL, state INTEGER NOT NULL, source INTEGER NOT NULL,
    body_len INTEGER NOT NULL, id BLOB NOT NULL, chain BLOB NOT NULL, rest BLOB NOT NULL, prev BLOB, body_hash BLOB,
    signature BLOB, body BLOB) STRICT;
CREATE INDEX op_prefix ON op (prefix);
CREATE INDEX op_log ON op (log, seq);
CREATE INDEX op_waiting ON op (state, hlc) WHERE state <> 0;

-- What a pending or early op waits for; and what an own op names that is not here yet.
CREATE TABLE missing (
    conversation INTEGER NOT NULL, prefix INTEGER NOT NULL, id BLOB NOT NULL, waiter INTEGER NOT NULL,
    PRIMARY KEY (conversation, prefix, id, waiter)) STRICT, WITHOUT ROWID;
CREATE INDEX missing_waiter ON missing (waiter);

-- Delivered ops that no delivered op names.
CREATE TABLE head (
    conversation INTEGER NOT NULL, id BLOB NOT NULL, hlc INTEGER NOT NULL,
    PRIMARY KEY (conversation, id)) STRICT, WITHOUT ROWID;

-- Digest tree: 16-way trie over (hlc, prefix). prefix: the first `depth` nibbles, rounded up to whole bytes. items: of a
-- leaf, (hlc, prefix, arrival) of its ops in order, 8 bytes each; NULL when it has children.
CREATE TABLE node (
    conversation INTEGER NOT NULL, depth INTEGER NOT NULL, prefix BLOB NOT NULL, count INTEGER NOT NULL,
    sum BLOB NOT NULL, items BLOB, PRIMARY KEY (conversation, depth, prefix)) STRICT, WITHOUT ROWID;

-- Coded symbols over the conversation's ids, kept by `replica`; through = arrival up to which they are current.
CREATE TABLE sketch (
    conversation INTEGER PRIMARY KEY, cells BLOB NOT NULL, estimator BLOB NOT NULL, through INTEGER NOT NULL) STRICT;

-- since: arrival of the op that made the device a member.
CREATE TABLE member (
    conversation INTEGER NOT NULL, device BLOB NOT NULL, account BLOB NOT NULL, certificate BLOB NOT NULL,
    since INTEGER NOT NULL, PRIMARY KEY (conversation, device, account)) STRICT, WITHOUT ROWID;
CREATE INDEX member_device ON member (device);

CREATE TABLE invite (
    conversation INTEGER NOT NULL, key BLOB NOT NULL, op BLOB NOT NULL, uses INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL, by BLOB NOT NULL, PRIMARY KEY (conversation, key, op)) STRICT, WITHOUT ROWID;
CREATE TABLE revoked (
    conversation INTEGER NOT NULL, key BLOB NOT NULL, PRIMARY KEY (conversation, key)) STRICT, WITHOUT ROWID;
CREATE TABLE invite_use (
    conversation INTEGER NOT NULL, key BLOB NOT NULL, account BLOB NOT NULL,
    PRIMARY KEY (conversation, key, account)) STRICT, WITHOUT ROWID;

-- hlc, id: of the op that added it (0 and empty: named locally, from an invitation), which orders them.
CREATE TABLE relay (
    conversation INTEGER NOT NULL, key BLOB NOT NULL, url TEXT NOT NULL, region TEXT NOT NULL, hlc INTEGER NOT NULL,
    id BLOB NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (conversation, key, url)) STRICT, WITHOUT ROWID;
CREATE INDEX relay_key ON relay (key);

CREATE TABLE peer (
    n INTEGER PRIMARY KEY, device BLOB NOT NULL UNIQUE, their_incarnation INTEGER, their_position INTEGER,
    their_chain BLOB, acked INTEGER NOT NULL, last_seen_ms INTEGER NOT NULL) STRICT;
CREATE TABLE proven (
    conversation INTEGER NOT NULL, peer INTEGER NOT NULL, at_ms INTEGER NOT NULL, position INTEGER NOT NULL,
    ops INTEGER NOT NULL, PRIMARY KEY (conversation, peer)) STRICT, WITHOUT ROWID;

-- Ids that claim one place of a log; a place with a row has two or more.
CREATE TABLE equivocation (
    log INTEGER NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (log, seq, id)) STRICT, WITHOUT ROWID;

-- Ops of unknown authors, bounded per conversation. by_author: the author itself brought it. control: its body had been
-- understood and its proofs checked when it came.
CREATE TABLE stranger (
    conversation INTEGER NOT NULL, hlc INTEGER NOT NULL, id BLOB NOT NULL, source INTEGER NOT NULL,
    by_author INTEGER NOT NULL, control INTEGER NOT NULL, header BLOB NOT NULL, signature BLOB, body BLOB,
    PRIMARY KEY (conversation, hlc, id)) STRICT, WITHOUT ROWID;

-- Logs that this store itself began; at most one per conversation and device is open for writing.
CREATE TABLE own_log (
    conversation INTEGER NOT NULL, device BLOB NOT NULL, log BLOB NOT NULL, open INTEGER NOT NULL,
    PRIMARY KEY (conversation, device, log)) STRICT, WITHOUT ROWID;

-- Damaged ops that were dropped: their arrivals stay used, and the chain goes on behind them.
CREATE TABLE dropped (
    arrival INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, id BLOB NOT NULL, chain BLOB NOT NULL) STRICT;
",
    },
    Step {
        why: "An index over `op` costs as much as the row itself, so that appending was twice as slow as it need be: \
              places, ids and states move to tables that take one write for many ops.",
        sql: "
-- Which ops stand where in a log: 64 seqs a page; entries: 1 byte of seq within the page and 7 of arrival, each.
CREATE TABLE log_page (
    log INTEGER NOT NULL, page INTEGER NOT NULL, entries BLOB NOT NULL, PRIMARY KEY (log, page)) STRICT, WITHOUT ROWID;
INSERT INTO log_page (log, page, entries) SELECT log, seq / 64,
    unhex(group_concat(printf('%016x', (seq % 64) << 56 | arrival), '' ORDER BY seq, arrival)) FROM op GROUP BY 1, 2;

-- Arrivals by id, of all conversations. n: era and first bits of the id; entries: 5 bytes of further bits and 5 of
-- arrival, each (see ids.rs). Rows of the old table have the prefix less 2^63, which shifting must undo.
CREATE TABLE id_page (n INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;
WITH RECURSIVE era (n, first, past, bits) AS (VALUES (0, 0, 16384, 7) UNION ALL
    SELECT n + 1, past, past * 2, max(7, 7 + n) FROM era WHERE n < 16)
INSERT INTO id_page (n, entries)
    SELECT era.n << 48 | ((prefix >> (64 - bits)) + (1 << (bits - 1))),
    unhex(group_concat(printf('%010x%010x', (prefix >> (24 - bits)) & 1099511627775, arrival), '' ORDER BY arrival))
    FROM op JOIN era ON arrival >= first AND arrival < past GROUP BY 1;

-- Ops that are pending, early or void; every other one is delivered.
CREATE TABLE undelivered (
    arrival INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, state INTEGER NOT NULL, hlc INTEGER NOT NULL) STRICT;
CREATE INDEX undelivered_state ON undelivered (state, hlc);
INSERT INTO undelivered (arrival, conversation, state, hlc)
    SELECT arrival, conversation, state, hlc FROM op WHERE state <> 0;

-- tip_arrival: arrival of the tip.
ALTER TABLE log ADD COLUMN tip_arrival INTEGER NOT NULL DEFAULT 0;
UPDATE log SET tip_arrival = coalesce((SELECT arrival FROM op WHERE op.log = log.n AND seq = max_seq AND id = tip), 0);

-- prev: the arrival of the op that it names, or its id where that op was not here; NULL for the first of a log. The
-- rest is as it was. No index: places are in `log_page`, display order in the leaves of `node`, ids in `id_page`, and
-- whatever is not delivered in `undelivered`.
CREATE TABLE op_2 (
    arrival INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, log INTEGER NOT NULL, seq INTEGER NOT NULL,
    hlc INTEGER NOT NULL, source INTEGER NOT NULL, body_len INTEGER NOT NULL, id BLOB NOT NULL, chain BLOB NOT NULL,
    rest BLOB NOT NULL, prev ANY, body_hash BLOB, signature BLOB, body BLOB) STRICT;
INSERT INTO op_2 SELECT arrival, conversation, log, seq, hlc, source, body_len, id, chain, rest,
    CASE WHEN prev IS NULL AND seq > 1 THEN (SELECT p.arrival FROM op p WHERE p.log = o.log AND p.seq = o.seq - 1
    ORDER BY p.arrival LIMIT 1) ELSE prev END, body_hash, signature, body FROM op o ORDER BY arrival;
DROP TABLE op;
ALTER TABLE op_2 RENAME TO op;

CREATE TABLE missing_2 (
    conversation INTEGER NOT NULL, id BLOB NOT NULL, waiter INTEGER NOT NULL,
    PRIMARY KEY (conversation, id, waiter)) STRICT, WITHOUT ROWID;
INSERT INTO missing_2 SELECT conversation, id, waiter FROM missing;
DROP TABLE missing;
ALTER TABLE missing_2 RENAME TO missing;
CREATE INDEX missing_waiter ON missing (waiter);

-- Headers that vouch for an unsigned op before them, and whose own bodies have not come: whoever is sent that op needs
-- them, too. Gone once their log is held as far as they reach.
CREATE TABLE voucher (
    conversation INTEGER NOT NULL, author BLOB NOT NULL, log BLOB NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL,
    header BLOB NOT NULL, signature BLOB, PRIMARY KEY (conversation, author, log, seq, id)) STRICT, WITHOUT ROWID;

-- streamed: as acked, but only by acknowledgements of batches that moved the peer's cursor in the same transaction.
ALTER TABLE peer ADD COLUMN streamed INTEGER NOT NULL DEFAULT 0;
UPDATE peer SET streamed = acked;
",
    },
    Step {
        why: "Every table that a message touches costs a page of the file per message: heads move into the row of their \
              conversation, and the pages of places and ids are written for many messages at once.",
        sql: "
-- heads: delivered ops that no delivered op names, by id: 32 bytes of id and 8 of clock reading, each.
ALTER TABLE conversation ADD COLUMN heads BLOB NOT NULL DEFAULT x'';
UPDATE conversation SET heads = coalesce((SELECT
    unhex(group_concat(hex(h.id) || printf('%016x', h.hlc), '' ORDER BY h.id)) FROM head h WHERE h.conversation = n), x'');
DROP TABLE head;

-- One row: up to this arrival every op is in `log_page` and `id_page`; those above are found in `op` (see newest.rs).
CREATE TABLE listed (n INTEGER PRIMARY KEY, arrival INTEGER NOT NULL) STRICT;
INSERT INTO listed (n, arrival) SELECT 1, coalesce(max(arrival), 0) FROM op;
",
    },
    crate::registers::STEP,
    Step {
        why: "Bodies go: an op erases them, their time is over, or this device lets go of them. No version before this one \
              wrote or obeyed such ops; should any be stored, doctor finds and mends what they ask for.",
        sql: "
-- Ops whose bodies are gone for good, in the order in which they went. why: bits: 1 erased by an op, 2 expired, 4 pruned.
CREATE TABLE gone (n INTEGER PRIMARY KEY, arrival INTEGER NOT NULL UNIQUE, why INTEGER NOT NULL) STRICT;

-- What delivered ops say about the bodies of others, whether they may or not: a right may come later, and so may the op.
-- by: arrival of the op that says it; author: its author; at: arrival of the op that it names, NULL until that is here.
CREATE TABLE erase (
    conversation INTEGER NOT NULL, target BLOB NOT NULL, by INTEGER NOT NULL, author BLOB NOT NULL, at INTEGER,
    PRIMARY KEY (conversation, target, by)) STRICT, WITHOUT ROWID;
CREATE INDEX erase_open ON erase (conversation) WHERE at IS NULL;

-- When bodies expire; at_ms: milliseconds since 1970.
CREATE TABLE expiry (at_ms INTEGER NOT NULL, arrival INTEGER NOT NULL, PRIMARY KEY (at_ms, arrival)) STRICT, WITHOUT ROWID;
ALTER TABLE stranger ADD COLUMN expires_ms INTEGER NOT NULL DEFAULT 0;
CREATE INDEX stranger_expires ON stranger (expires_ms) WHERE expires_ms > 0;

-- Ops that came without their bodies, and nothing says why: peers may have them.
CREATE TABLE wanted (arrival INTEGER PRIMARY KEY, conversation INTEGER NOT NULL) STRICT;
CREATE INDEX wanted_conversation ON wanted (conversation);

-- How many messages this device has let go of, all older than before_ms (milliseconds since 1970).
CREATE TABLE pruned (conversation INTEGER PRIMARY KEY, messages INTEGER NOT NULL, before_ms INTEGER NOT NULL) STRICT;
",
    },
];
