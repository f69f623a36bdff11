//! Skeleton.

pub mod key_store;
