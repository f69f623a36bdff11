//! The program as scripts and people meet it: the real binary, one home, no network. What two homes say to each other
//! through a relay is tested in the suite.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod failures;
mod offline;
mod program;
mod talk;
mod transfer;
