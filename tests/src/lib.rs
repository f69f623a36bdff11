//! The world in one process, integration, benches, replays.

pub mod bench;
pub mod pair;
pub mod power;
pub mod sim;
