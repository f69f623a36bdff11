//! Control ops: what founds a conversation, who takes part, where it is kept. Signed, readable by relays.
//!
//! A log-governed conversation (DESIGN section 7) has no authority: each control op is judged in its causal past
//! alone, and every rule only ever adds (members, devices, invitations, relays), so the judgement does not depend on
//! the order of arrival. Limits that only a moment can enforce (how often an invitation was used, whether it has been
//! revoked meanwhile) are checked by whichever replica first takes a join from the newcomer itself.
//!
//! Bodies are CBOR with numbered fields (RFC 8949), so that fields can be added; the bytes are hashed as they came.
//! Not here: checking signatures (`identity`), applying to tables (`oplog`).

use crate::limit::{ADDRESS_BYTES_MAX, BODY_BYTES_MAX, INVITE_USES_MAX, RELAYS_MAX};
use crate::{AccountId, ConversationId, DeviceId, Malformed, Signature};
use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// A relay: its key is who it is, the address is where it was last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct RelayAddress {
    /// The relay's device key; zero when only the address is known yet.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// `ws://HOST:PORT` or `wss://HOST[:PORT]`, at most [`ADDRESS_BYTES_MAX`] bytes.
    #[n(1)]
    pub url: String,
    /// Where the relay lives, as its operator names it; empty when not said.
    #[n(2)]
    pub region: String,
}

/// An account's word that a device is its own. `identity` makes and checks it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Certificate {
    /// The account.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub account: [u8; 32],
    /// The device.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub device: [u8; 32],
    /// Milliseconds since 1970 at which it was made.
    #[n(2)]
    pub created_ms: u64,
    /// The account's signature over the fields above.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

impl Certificate {
    /// The account.
    #[must_use]
    pub fn account(&self) -> AccountId {
        AccountId(self.account)
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        DeviceId(self.device)
    }

    /// The bytes that the account signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(72);
        out.extend_from_slice(&self.account);
        out.extend_from_slice(&self.device);
        out.extend_from_slice(&self.created_ms.to_be_bytes());
        out
    }

    /// The account's signature.
    #[must_use]
    pub fn signature(&self) -> Signature {
        Signature(self.signature)
    }
}

/// What kind of conversation a genesis founds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// Any number of people.
    #[n(0)]
    Group,
    /// Two people.
    #[n(1)]
    Direct,
    /// One person's own devices.
    #[n(2)]
    Own,
}

/// The body of a control op.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Control {
    /// Founds the conversation; the author is its first member.
    #[n(0)]
    Genesis {
        /// The creator's device.
        #[n(0)]
        certificate: Certificate,
        /// What it is.
        #[n(1)]
        kind: Kind,
        /// Random, so that two foundings never share an id.
        #[cbor(n(2), with = "minicbor::bytes")]
        salt: [u8; 16],
        /// Where it is kept at first.
        #[n(3)]
        relays: Vec<RelayAddress>,
    },
    /// A member certifies a one-time signing key: whoever can sign with it may join.
    #[n(1)]
    Invite {
        /// Public half of the key that the link carries.
        #[cbor(n(0), with = "minicbor::bytes")]
        key: [u8; 32],
        /// How many accounts may use it, 1 to [`INVITE_USES_MAX`].
        #[n(1)]
        uses: u32,
        /// Milliseconds since 1970 after which joins are void; 0 = never.
        #[n(2)]
        expires_ms: u64,
    },
    /// Ends an invitation: joins that have this op in their past are void, and no replica that has it takes new ones.
    #[n(2)]
    Revoke {
        /// Key of the invitation.
        #[cbor(n(0), with = "minicbor::bytes")]
        key: [u8; 32],
    },
    /// The author and its account become members.
    #[n(3)]
    Join {
        /// The author's device.
        #[n(0)]
        certificate: Certificate,
        /// Key of the invitation, whose op is in this op's causal past.
        #[cbor(n(1), with = "minicbor::bytes")]
        invite: [u8; 32],
        /// That key's signature over [`join_bytes`].
        #[cbor(n(2), with = "minicbor::bytes")]
        proof: [u8; 64],
        /// Relays that the newcomer adds: a direct conversation lives on both people's relays.
        #[n(3)]
        relays: Vec<RelayAddress>,
    },
    /// Another device of a member; the author is a device of the same account, or the new device itself.
    #[n(4)]
    Device {
        /// The new device.
        #[n(0)]
        certificate: Certificate,
    },
    /// Relays are added.
    #[n(5)]
    Relays {
        /// At most [`RELAYS_MAX`] in the conversation; further ones are ignored.
        #[n(0)]
        add: Vec<RelayAddress>,
    },
}

impl Control {
    /// CBOR bytes: the body of the op.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Encoding into a growing vector cannot fail.
        let _ = minicbor::encode(self, &mut out);
        out
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are no control body or exceed a limit.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > BODY_BYTES_MAX {
            return Err(Malformed::TooLarge("control body"));
        }
        let control: Self = minicbor::decode(bytes).map_err(|_| Malformed::Unknown("control body"))?;
        control.check()?;
        Ok(control)
    }

    fn check(&self) -> Result<(), Malformed> {
        let relays = match self {
            Self::Genesis { relays, .. } => relays,
            Self::Join { relays, .. } => relays,
            Self::Relays { add } => add,
            Self::Invite { uses, .. } => {
                return if (1..=INVITE_USES_MAX).contains(uses) { Ok(()) } else { Err(Malformed::TooLarge("uses")) };
            }
            Self::Revoke { .. } => return Ok(()),
            Self::Device { .. } => return Ok(()),
        };
        if relays.len() > RELAYS_MAX {
            return Err(Malformed::TooLarge("relays"));
        }
        if relays.iter().any(|relay| relay.url.len() > ADDRESS_BYTES_MAX || relay.region.len() > ADDRESS_BYTES_MAX) {
            return Err(Malformed::TooLarge("relay address"));
        }
        Ok(())
    }

    /// The certificate that makes the author (or another device) a member, if this op carries one.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Genesis { certificate, .. } => Some(certificate),
            Self::Join { certificate, .. } => Some(certificate),
            Self::Device { certificate } => Some(certificate),
            Self::Invite { .. } => None,
            Self::Revoke { .. } => None,
            Self::Relays { .. } => None,
        }
    }
}

/// What the key of an invitation signs: this account, with this device, in this conversation.
#[must_use]
pub fn join_bytes(conversation: &ConversationId, certificate: &Certificate) -> Vec<u8> {
    let mut out = Vec::with_capacity(80);
    out.extend_from_slice(&conversation.0);
    out.extend_from_slice(&certificate.account);
    out.extend_from_slice(&certificate.device);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloc::vec;

    #[test]
    fn bodies_survive_and_limits_hold() {
        let relay = RelayAddress { key: [7; 32], url: "wss://relay".into(), region: String::new() };
        let control = Control::Relays { add: vec![relay.clone()] };
        assert_eq!(Control::from_bytes(&control.to_bytes()).unwrap(), control);
        let flood = Control::Relays { add: vec![relay; RELAYS_MAX + 1] };
        assert_eq!(Control::from_bytes(&flood.to_bytes()), Err(Malformed::TooLarge("relays")));
        let endless = Control::Invite { key: [1; 32], uses: 0, expires_ms: 0 };
        assert_eq!(Control::from_bytes(&endless.to_bytes()), Err(Malformed::TooLarge("uses")));
        assert!(Control::from_bytes(&[0xff; 40]).is_err());
    }
}
