//! The relay as a whole, over real sockets: what it serves, whom it serves, what it refuses, how it ends.
#![allow(clippy::unwrap_used)]

mod access;
mod binary;
mod blobs;
mod ending;
mod limits;
mod probe;
mod secure;
mod serving;
mod world;
