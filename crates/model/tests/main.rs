//! Properties of the model: one form per header, ids that depend on everything, laws of merging, causal order, digests, sets of places.
#![allow(clippy::unwrap_used, missing_docs)]

mod digests;
mod header;
mod order;
mod seen;
