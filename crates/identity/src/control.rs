//! Checking what control ops claim: that devices belong to accounts, that newcomers were invited.
//!
//! Only signatures are judged here. Whether the author is a member, the invitation is known, unexpired and not used up is
//! for `oplog`, which has the roster.

use crate::{error::IdentityError, strict};
use tombolo_model::control::{Certificate, Control, join_bytes};
use tombolo_model::crypto::{DOMAIN_CERTIFICATE, DOMAIN_JOIN};
use tombolo_model::op::VERSION;
use tombolo_model::{Class, Op};

/// Checks that the account signed the certificate.
///
/// # Errors
/// [`IdentityError::BadCertificate`].
pub fn check_certificate(certificate: &Certificate) -> Result<(), IdentityError> {
    let signed = certificate.signed_bytes();
    if strict::verify(&certificate.account, DOMAIN_CERTIFICATE, &signed, &certificate.signature) {
        Ok(())
    } else {
        Err(IdentityError::BadCertificate)
    }
}

/// Checks the signatures inside a control op, and that genesis ops and only they found conversations. The op's own
/// signature is checked by [`crate::verify_run`] or [`crate::verify_batch`].
///
/// # Errors
/// [`IdentityError::ForeignCertificate`], [`IdentityError::BadCertificate`], [`IdentityError::BadJoinProof`],
/// [`IdentityError::Misplaced`].
pub fn check_control(op: &Op, control: &Control) -> Result<(), IdentityError> {
    if op.header.is_genesis() != matches!(control, Control::Genesis { .. }) {
        return Err(IdentityError::Misplaced);
    }
    match control {
        Control::Genesis { certificate, .. } => own_certificate(op, certificate),
        Control::Join { certificate, invite, proof, .. } => {
            own_certificate(op, certificate)?;
            let signed = join_bytes(&op.conversation(), certificate);
            if strict::verify(invite, DOMAIN_JOIN, &signed, proof) { Ok(()) } else { Err(IdentityError::BadJoinProof) }
        }
        Control::Device { certificate } => check_certificate(certificate),
        Control::Invite { .. } => Ok(()),
        Control::Revoke { .. } => Ok(()),
        Control::Relays { .. } => Ok(()),
    }
}

fn own_certificate(op: &Op, certificate: &Certificate) -> Result<(), IdentityError> {
    if certificate.device() != op.header.author {
        return Err(IdentityError::ForeignCertificate);
    }
    check_certificate(certificate)
}

/// Reads and checks the body of a control op. `None` for ops of other classes, of versions that this code does not know
/// (they are stored and passed on), and where the body is not held.
pub(crate) fn read_control(op: &Op) -> Result<Option<Control>, IdentityError> {
    if op.header.class != Class::Control || op.header.version > VERSION {
        return Ok(None);
    }
    let Some(body) = &op.body else { return Ok(None) };
    let control = Control::from_bytes(body)?;
    check_control(op, &control)?;
    Ok(Some(control))
}
