//! Who wrote it: account, device and invitation keys, device certificates, signatures of ops.
//!
//! Responsible for: making and strictly checking Ed25519 signatures, each under its own domain; checking a run of ops of
//! one log through its hash chain with one signature; checking what a control op claims (certificates, proofs of a join).
//! Not responsible for: who may write where (`oplog` applies control ops), sealing (`seal`), where secrets are kept
//! (`client::key_store`). Nothing here draws random numbers: seeds are arguments.
//!
//! Read in this order: [`key`], [`strict`], [`control`], [`run`], [`error`].

pub mod control;
pub mod error;
pub mod key;
pub mod run;
pub mod strict;

pub use control::{check_certificate, check_control};
pub use error::IdentityError;
pub use key::{AccountKey, DeviceKey, InviteKey};
pub use run::{Refused, Signed, Verified, sign_op, verify_batch, verify_run};
pub use strict::Strict;
