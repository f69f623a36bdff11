//! Who can read: bodies sealed for a conversation, small secrets sealed at rest, the link that hands a secret on.
//!
//! Responsible for: [`Sealer`], the one door to the content of bodies, and its first implementation by a secret that all
//! members share; [`StorageKey`] for secrets in files; [`Invitation`] and its text form; [`backup`]s as one sealed file.
//! Not responsible for: signatures (`identity`), what a body says (`model::content`), where keys are kept
//! (`client::key_store`). Nothing here draws random numbers: secrets and nonces are arguments.
//!
//! Read in this order: [`body`], [`file`], [`storage`], [`invitation`], [`base64url`], [`backup`].

pub mod backup;
pub mod base64url;
pub mod body;
pub mod error;
pub mod file;
pub mod invitation;
pub mod storage;

pub use body::{ConversationSecret, OVERHEAD_BYTES, Place, Sealer, SecretSealer, open_body, seal_body};
pub use error::SealError;
pub use file::{FileKey, Layout};
pub use invitation::{InvalidInvitation, Invitation};
pub use storage::StorageKey;
