//! What a message *is*, without any machine around it.
//!
//! Responsible for: ids, the hybrid logical clock, the op and its canonical bytes, control ops and the
//! roster that they add up to, what a body may contain, version vectors, causal order, digests, limits.
//! Not responsible for: where ops are kept (`oplog`), who signed them (`identity`), who can read them
//! (`seal`), how they travel (`proto`). Nothing here reads a clock, draws a random number or touches a disk;
//! the crate is `no_std`, so naming one does not compile:
//!
//! ```compile_fail
//! # #![no_std]
//! use std::time::Instant;
//! ```
//!
//! Read in this order: [`id`], [`hlc`], [`op`], [`sound`], [`control`], [`content`], [`extension`], [`blob`],
//! [`frontier`], [`digest`], [`seen`], [`reading`], [`register`].
#![no_std]
extern crate alloc;

pub mod blob;
pub mod codec;
pub mod content;
pub mod control;
pub mod crypto;
pub mod digest;
pub mod extension;
pub mod frontier;
pub mod hlc;
pub mod id;
pub mod limit;
pub mod op;
pub mod reading;
pub mod register;
pub mod seen;
pub mod sound;

pub use codec::Malformed;
pub use control::{Control, RelayAddress};
pub use digest::{Chain, Fingerprint, Held, Key, Proof, Sum};
pub use frontier::Frontier;
pub use hlc::Hlc;
pub use id::{AccountId, BlobId, ConversationId, DeviceId, LogId, OpId};
pub use op::{BodyHash, Class, Header, Op, Signature};
pub use register::Register;
pub use seen::Seen;
pub use sound::Sound;
