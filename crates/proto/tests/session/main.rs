//! Tests of frames, batches and the session machine, with everything around it in memory.
//!
//! `history` writes ops, `memory` keeps them, `world` joins two sessions by a wire that can be cut. Nothing here touches
//! a disk, a socket or a clock. The same machine over real logs is tested in the package `suite`.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod bodies;
mod codec;
mod cost;
mod credit;
mod cuts;
mod history;
mod hostile;
mod liars;
mod memory;
mod names;
mod pinned;
mod registers;
mod states;
mod tools;
mod versions;
mod world;

pub(crate) use tombolo_proto::reconcile::testing::VecSource;
