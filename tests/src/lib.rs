//! The world in one process, integration, benches, replays.

pub mod pair;
