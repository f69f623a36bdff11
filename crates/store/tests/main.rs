//! Tests of the views from outside: a naive model, random orders of arrival, windows, late marks, repairs.
//!
//! `world.rs` writes ops (bodies are the plain padded content; sealing is not this crate's business), `naive.rs` says
//! what a set of ops means to people, the rest are the tests.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod beside;
mod fold;
mod gone;
mod imports;
mod late;
mod naive;
mod pages;
mod reading;
mod repair;
mod sealed;
mod search;
mod timeline;
mod world;
