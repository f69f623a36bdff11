//! An op whose parts are known to fit each other, so that nobody has to hash them again.
//!
//! Responsible for: the two ways to such an op. Not here: who signed it (`identity`), whether it may be stored (`oplog`).

use crate::{BodyHash, Header, Malformed, Op, Signature};
use alloc::vec::Vec;
use core::ops::Deref;

/// An op whose header obeys the format, whose id is that of its header, and whose body, where it is held, is the one
/// that the header names. It cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound(Op);

impl Sound {
    /// Checks an op that comes from anywhere. Hashes header and body.
    ///
    /// # Errors
    /// [`Malformed`] naming what does not fit.
    pub fn check(op: Op) -> Result<Self, Malformed> {
        if let Some(body) = &op.body {
            if body.len() != op.header.body_len as usize {
                return Err(Malformed::NotCanonical("length of the body"));
            }
            if BodyHash::of(body) != op.header.body_hash {
                return Err(Malformed::NotCanonical("hash of the body"));
            }
        }
        op.header.check()?;
        if op.header.id() != op.id {
            return Err(Malformed::NotCanonical("id"));
        }
        Ok(Self(op))
    }

    /// Joins the parts of an op and computes what follows from them: the id and, where the body is held, its length and
    /// hash in the header.
    ///
    /// # Errors
    /// [`Malformed`] when the header does not obey the format.
    pub fn join(mut header: Header, signature: Option<Signature>, body: Option<Vec<u8>>) -> Result<Self, Malformed> {
        if let Some(body) = &body {
            header.body_len = u32::try_from(body.len()).map_err(|_| Malformed::TooLarge("body"))?;
            header.body_hash = BodyHash::of(body);
        }
        header.check()?;
        Ok(Self(Op::new(header, signature, body)))
    }

    /// The op.
    #[must_use]
    pub fn into_op(self) -> Op {
        self.0
    }
}

impl Deref for Sound {
    type Target = Op;

    fn deref(&self) -> &Op {
        &self.0
    }
}
