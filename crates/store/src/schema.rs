//! The tables of the views, as numbered steps of the component `store`.
//!
//! Not here: running the steps (`tombolo_oplog`), meaning of the rows (`views.rs`, `read.rs`).

use tombolo_oplog::{Component, Step};

/// The part of a device's file that holds the views; to be named when the log is opened.
pub const COMPONENT: Component = Component { name: "store", steps: STEPS };

/// All steps, oldest first. A released step never changes.
const STEPS: &[Step] = &[MESSAGES, crate::beside::STEP, crate::reading::STEP, crate::search::STEP, crate::gone::STEP];

const MESSAGES: Step = Step {
    why: "Messages in display order, titles, names, and how far this person has read.",
    sql: "
-- section 0: imported, at = claimed time, sub = clock reading of the op that brought it; section 1: written here, at =
-- clock reading, sub = 0. The primary key is display order, so a window is one range of neighbouring rows.
-- late: 0 no, 1 came in above what had been seen and has not been shown since, 2 has been shown. came_ms: when it came,
-- for late ones. log: number of the author's log in `log`. kind: 0 readable, 1 sealed (no key, or no body, yet), 2
-- written by a newer version.
CREATE TABLE message (
    conversation INTEGER NOT NULL, section INTEGER NOT NULL, at INTEGER NOT NULL, sub INTEGER NOT NULL, id BLOB NOT NULL,
    arrival INTEGER NOT NULL, log INTEGER NOT NULL, kind INTEGER NOT NULL, late INTEGER NOT NULL, came_ms INTEGER,
    source_key BLOB, who TEXT, text TEXT NOT NULL,
    PRIMARY KEY (conversation, section, at, sub, id)) STRICT, WITHOUT ROWID;
-- Equal keys are one message, whoever imported it.
CREATE UNIQUE INDEX message_source ON message (conversation, source_key) WHERE source_key IS NOT NULL;
CREATE INDEX message_late ON message (conversation, at) WHERE late = 1;

-- Last writer wins by (hlc, id).
CREATE TABLE title (
    conversation INTEGER PRIMARY KEY, title TEXT NOT NULL, hlc INTEGER NOT NULL, id BLOB NOT NULL) STRICT;
-- Per device; an account's name is the last one of its devices.
CREATE TABLE name (
    conversation INTEGER NOT NULL, device BLOB NOT NULL, name TEXT NOT NULL, hlc INTEGER NOT NULL, id BLOB NOT NULL,
    PRIMARY KEY (conversation, device)) STRICT, WITHOUT ROWID;

-- The newest place (of section 1) that this person has seen.
CREATE TABLE seen (conversation INTEGER PRIMARY KEY, at INTEGER NOT NULL, id BLOB NOT NULL) STRICT;
",
};
